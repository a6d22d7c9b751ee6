/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of compressed streams one behind the other, of which libclamav sees
 * fewer than programs read.  Of gzip it ends in silence at zero bytes between
 * two members (Python passes over them) and at a head whose checksum is wrong
 * or that has reserved flags (RFC 1952 2.3.1); of bzip2 behind the first
 * stream (bzip2 itself reads them all, and pbzip2 writes many).
 *
 * Room: scanners.  Thread: any.  Units: bytes.
 */
#ifndef SCANNERS_MEMBERS_H
#define SCANNERS_MEMBERS_H

#include "scanners/decode.h"

enum members { MEMBERS_NONE, MEMBERS_GZIP, MEMBERS_BZIP2 };

/* Is it such a file, and may there be more in it?  Does not decompress. */
enum members members_of(const unsigned char *p, size_t n);

/*
 * Append what is in all of them to out (empty), as it comes to whoever reads
 * furthest.  *more: libclamav does not see all of that; also when it ends in
 * DECODE_LARGE or DECODE_STOPPED, with what was seen so far.  DECODE_CUT: the
 * last one ends early or is broken.  The ratio of limits is not asked: those
 * of bzip2 have none.
 */
enum decode_end members_open(enum members, const unsigned char *p, size_t n,
    struct decode_store *out, const struct decode_limits *limits, bool *more);

#endif
