/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A body that is a part of another one, whose octets it shares.
 * Room: stream.  Units: octets.  Thread: its loop's.
 */
#ifndef STREAM_SLICE_H
#define STREAM_SLICE_H

#include "stream/body.h"

/*
 * The n octets of `of` from offset from on, all of which have been received and
 * are still held, as they are from now on while the slice wants them.  Counted
 * for nobody yet.  One reference, the caller's.
 */
struct body *slice_new(struct loop *, struct body_store *, struct body *of,
    uint64_t from, uint64_t n);

#endif
