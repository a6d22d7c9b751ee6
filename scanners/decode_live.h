/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking a content coding off while the body comes: what can be decoded of
 * the bytes so far, which is all that a client can make of them.
 *
 * Limits: so much more than the coded bytes, so that a bomb costs little time.
 *
 * Room: scanners.  Thread: any, one at a time.
 */
#ifndef SCANNERS_DECODE_LIVE_H
#define SCANNERS_DECODE_LIVE_H

#include "scanners/decode.h"

struct decode_live;

/* Its memory is a's.  NULL: there is none. */
struct decode_live *decode_live_new(enum decode_coding, struct account *a);
void decode_live_free(struct decode_live **);

/* What was decoded; false: no more is wanted. */
typedef bool (*decode_live_fn)(void *arg, const unsigned char *p, size_t n);

/*
 * The next bytes, n of them.  false, also from then on: they are broken, more
 * follows behind the end of the coded stream, they are a bomb, or to said no.
 */
bool decode_live_feed(struct decode_live *, const void *p, size_t n,
    decode_live_fn to, void *arg);

#endif
