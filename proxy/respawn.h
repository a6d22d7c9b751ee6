/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How soon a process that has died is started again.  One that dies now and
 * then at once: its successor is there before anybody notices.  One that keeps
 * dying (a message that kills it comes again and again) later and later, so
 * that the machine is there for others; in the end not at all.
 *
 * Room: proxy.  Units: ms, monotonic.
 */
#ifndef PROXY_RESPAWN_H
#define PROXY_RESPAWN_H

#include <stdint.h>

#define RESPAWN_SOON 2        /* deaths within ... */
#define RESPAWN_SOON_MS 10000 /* ... this are followed at once */
#define RESPAWN_FIRST_MS 1000 /* the next waits so long, and then ... */
#define RESPAWN_MOST_MS 30000 /* ... twice as long each time, up to this */
#define RESPAWN_LIFE_MS 60000 /* a life so long forgets all that */
#define RESPAWN_DEATHS 10     /* in a row without one: it is given up */
#define RESPAWN_NEVER UINT64_MAX

/* Of one process and its successors; {0} at first. */
struct respawn {
	unsigned deaths;                /* since a long life */
	uint64_t died_at[RESPAWN_SOON]; /* the last ones, in turn */
	uint64_t wait_ms;               /* the last wait; 0: there was none */
};

/*
 * It has died, after life_ms.  The time to wait, or RESPAWN_NEVER.
 */
uint64_t respawn_after(struct respawn *, uint64_t now_ms, uint64_t life_ms);

#endif
