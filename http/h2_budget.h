/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much a peer may do on one connection that makes work and moves nothing:
 * leaky buckets, one a kind.
 * Room: http.  Units: frames, octets; ms.
 */
#ifndef HTTP_H2_BUDGET_H
#define HTTP_H2_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * name, how many at once, how many more each second, how many may be earned
 * ahead, what is said of too many
 */
#define H2_KINDS(K)                                                            \
	/* RST_STREAM of the peer (CVE-2023-44487); a page that is left has */ \
	/* all of its streams reset at once; a stream that was answered */     \
	/* earns one back */                                                   \
	K(RESET, 400, 40, 0, "too many streams reset")                         \
	/* ours for broken frames or beyond the limit (CVE-2025-8671) */       \
	K(PROVOKED, 100, 10, 0, "too many broken streams")                     \
	/* CVE-2024-27316, CVE-2024-28182; full ones of good heads are */      \
	/* free, and so are the octets of good heads */                        \
	K(CONTINUATION, 100, 20, 0, "too many CONTINUATION frames")            \
	K(HEAD_OCTETS, 4194304, 1048576, 0, "too many octets of heads")        \
	/* a DATA frame that we send earns one back: gRPC measures by them */  \
	K(PING, 100, 10, 0, "too many PING frames")                            \
	K(SETTINGS, 50, 2, 0, "too many SETTINGS frames")                      \
	/* PRIORITY and PRIORITY_UPDATE (CVE-2019-9513) */                     \
	K(PRIORITY, 500, 100, 0, "too many priorities")                        \
	/* each DATA frame that we send earns two back, each head one: a */    \
	/* peer that is behind answers a window of small ones at once */       \
	K(WINDOW, 1000, 200, 200000, "too many WINDOW_UPDATE frames")          \
	/* CVE-2019-9518 */                                                    \
	K(EMPTY, 100, 10, 0, "too many empty DATA frames")                     \
	/* GOAWAY, and what we do not know */                                  \
	K(OTHER, 200, 20, 0, "too many unknown frames")

enum h2_kind {
#define K(name, burst, rate, ahead, text) H2_SPEND_##name,
	H2_KINDS(K)
#undef K
	    H2_KINDS_N
};

/* Embedded; {0} is full of allowance. */
struct h2_budget {
	int64_t spent[H2_KINDS_N]; /* thousandths; below 0: earned ahead */
	uint64_t at_ms[H2_KINDS_N];
};

/* n more of that kind; false: that is too many. */
bool h2_budget_spend(struct h2_budget *, enum h2_kind, uint32_t n,
    uint64_t now_ms);
/* It has earned n more, in part ahead. */
void h2_budget_earn(struct h2_budget *, enum h2_kind, uint32_t n);
const char *h2_budget_text(enum h2_kind);

#endif
