/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A body that is another body without its content codings: decoded as it is
 * read, so that nobody waits for the whole and nothing is held that is not
 * being read.  It holds what a receiver can make of the bytes: where the
 * coding breaks or becomes too large, the body ends there, and *how says so;
 * what stands behind the coded end follows as it is.
 *
 * Limits: a ratio to the coded bytes so far, over all codings.
 *
 * Room: scanners.  Thread: its loop's.
 */
#ifndef SCANNERS_DECODE_BODY_H
#define SCANNERS_DECODE_BODY_H

#include "scanners/decode.h"
#include "stream/body.h"

/* {0} at first, valid as long as the body; shared by its codings. */
struct decode_how {
	enum decode_end end;       /* DECODE_DONE, DECODE_BAD, DECODE_LARGE */
	enum decode_coding coding; /* which one; of the first such end */
};

/*
 * The codings of list (at least one) taken off coded, which still has its
 * first byte.  Memory is counted for coded's account.  One reference, the
 * caller's.  It ends in PULL_CUT where coded does, in PULL_FAIL (ERR_MEMORY)
 * where that client has no more memory.
 */
struct body *decode_body_new(struct loop *, struct body_store *,
    struct body *coded, const struct decode_list *list, struct decode_how *how);

#endif
