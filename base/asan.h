/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is this a build with AddressSanitizer?  Then memory is not kept for reuse,
 * so that every use after free is seen.
 * Room: base.
 */
#ifndef BASE_ASAN_H
#define BASE_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define ASAN_ON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN_ON 1
#endif
#endif

#ifndef ASAN_ON
#define ASAN_ON 0
#endif

#endif
