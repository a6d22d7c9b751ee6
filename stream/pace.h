/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast a peer is while it is the one that is waited for.  Time in which
 * it waits for us, or for a scanner, is not counted.
 *
 * Room: stream.  Units: octets, ms.  Embedded; {0} is the begin.
 */
#ifndef STREAM_PACE_H
#define STREAM_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* What is found of a peer that is waited for. */
enum pace_says {
	PACE_WELL,
	PACE_SILENT, /* nothing at all, for so long */
	PACE_SLOW    /* less than it should */
};

#define PACE_MS 30000 /* of waiting, then it is judged */

struct pace {
	uint64_t octets; /* of this window */
	uint64_t waited; /* ms of this window, but for ... */
	uint64_t since;  /* ... a wait that began then; 0: none */
	unsigned slow;   /* windows in a row that were too slow */
};

/* it is waited for, from now on or longer */
void pace_wait(struct pace *, uint64_t now);
void pace_pause(struct pace *, uint64_t now); /* it is not */
void pace_got(struct pace *, uint64_t octets);
/*
 * Has it made less than rate (octets a second; 0: any will do) in each of the
 * last windows?  Looked at often, a window ends when it is due.
 */
bool pace_is_slow(struct pace *, uint64_t now, uint64_t rate, unsigned windows);
/* When its window is due, if it is waited for from now on. */
uint64_t pace_due(const struct pace *, uint64_t now);

#endif
