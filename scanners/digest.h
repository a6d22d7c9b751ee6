/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SHA-256 (FIPS 180-4) of bytes that come one after another.
 * Room: scanners.  Thread: any, one at a time.
 */
#ifndef SCANNERS_DIGEST_H
#define SCANNERS_DIGEST_H

#include <stddef.h>
#include "base/str.h"

#define DIGEST_BYTES 32

struct digest;

struct digest *digest_new(void); /* never NULL */
void digest_add(struct digest *, const void *p, size_t n);
/* With its length in front: different lists of strings are different bytes. */
void digest_str(struct digest *, struct str);
/* The end; *d becomes NULL. */
void digest_end(struct digest **d, unsigned char out[DIGEST_BYTES]);
void digest_free(struct digest **d); /* given up; *d may be NULL */

#endif
