/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does a serving process still move?  Its workers tick every FLIGHT_TICK_MS; the
 * supervisor looks at their words (proxy/flight.h) as often.  A worker
 * that was silent for WATCHDOG_SILENT_MS is stuck: it gets SIGABRT, so that
 * there is a report of where, and two seconds later the process is killed.
 *
 * Time is what passed between two looks, and of one that comes late no more
 * than two ticks: a machine that stood still (suspended, frozen, its clock
 * moved) has nothing to say about workers.
 *
 * Room: proxy.  Thread: the supervisor's.  Units: monotonic ms.
 */
#ifndef PROXY_WATCHDOG_H
#define PROXY_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "proxy/flight.h"

#define WATCHDOG_SILENT_MS 20000
#define WATCHDOG_KILL_MS 2000

enum watchdog_says {
	WATCHDOG_WELL,
	WATCHDOG_ABORT, /* a worker is stuck: SIGABRT now, to *thread */
	WATCHDOG_KILL   /* it has not ended of that: SIGKILL */
};

struct watchdog {
	const struct flight_worker *words; /* owned; NULL: nothing to watch */
	uint64_t looked_at;
	uint64_t left_ms; /* to live, after SIGABRT; 0: not sent */
	unsigned stuck;   /* the worker that is, in ABORT */
	struct {
		uint32_t ticks;
		uint32_t silent_ms;
	} seen[FLIGHT_WORKERS];
};

/*
 * Watch the process that has this memory.  False with errno: it cannot be
 * looked at.
 */
bool watchdog_begin(struct watchdog *, int flight, uint64_t now);
void watchdog_end(struct watchdog *);
/*
 * Look.  ABORT is said once.  *thread: the number that the stuck worker gave
 * itself, to be used with tgkill(2), which takes it only if the process has
 * such a thread.
 */
enum watchdog_says watchdog_look(struct watchdog *, uint64_t now,
    pid_t *thread);
/* When to look again, at the latest: ms from now. */
uint64_t watchdog_due(const struct watchdog *);
/* Has every worker ticked in the last ms, as far as was looked? */
bool watchdog_is_well(const struct watchdog *, uint64_t ms);

#endif
