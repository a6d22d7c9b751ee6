/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * References: how a user names a flow to the help desk.  The same text stands
 * in the page, the access record, and what scanners are told.
 *
 * 60 random bits as 12 characters of Crockford's base32 (no I, L, O, U, so
 * nothing is misread aloud), in groups of four: "7K3Q-9D2M-5XTW".
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_REFERENCE_H
#define PROXY_REFERENCE_H

#define REFERENCE_LEN 14 /* "XXXX-XXXX-XXXX" */

/*
 * Write a new reference and a NUL.  Random bytes are asked of the kernel for
 * many references at once, so one costs about 20 ns and cannot be foretold.
 */
void reference_make(char out[REFERENCE_LEN + 1]);

#endif
