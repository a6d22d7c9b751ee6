/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The watchdog of a serving process, see watchdog.h. */
#include <string.h>
#include "proxy/watchdog.h"

bool
watchdog_begin(struct watchdog *d, int flight, uint64_t now)
{
	memset(d, 0, sizeof(*d));
	d->words = flight_words(flight);
	d->looked_at = now;
	return (d->words != NULL);
}

void
watchdog_end(struct watchdog *d)
{
	flight_words_end(&d->words);
}

static uint32_t
passed(struct watchdog *d, uint64_t now)
{
	uint64_t ms = now > d->looked_at ? now - d->looked_at : 0;

	d->looked_at = now;
	return (ms < 2 * FLIGHT_TICK_MS ? (uint32_t)ms : 2 * FLIGHT_TICK_MS);
}

/* For how long the worker has been silent; one that does not run is not. */
static uint32_t
look_at(struct watchdog *d, unsigned i, uint32_t ms)
{
	uint32_t ticks = atomic_load(&d->words[i].ticks);

	if (ticks == 0 || ticks != d->seen[i].ticks)
		d->seen[i].silent_ms = 0;
	else
		d->seen[i].silent_ms += ms;
	d->seen[i].ticks = ticks;
	return (d->seen[i].silent_ms);
}

enum watchdog_says
watchdog_look(struct watchdog *d, uint64_t now, pid_t *thread)
{
	uint32_t ms = passed(d, now), most = 0, silent;
	unsigned i;

	if (d->words == NULL)
		return (WATCHDOG_WELL);
	if (d->left_ms > 0) {
		d->left_ms = d->left_ms > ms ? d->left_ms - ms : 0;
		if (d->left_ms > 0)
			return (WATCHDOG_WELL);
		d->left_ms = 1; /* until it has ended */
		return (WATCHDOG_KILL);
	}
	for (i = 0; i < FLIGHT_WORKERS; i++)
		if ((silent = look_at(d, i, ms)) > most) {
			most = silent;
			d->stuck = i;
		}
	if (most < WATCHDOG_SILENT_MS)
		return (WATCHDOG_WELL);
	d->left_ms = WATCHDOG_KILL_MS;
	*thread = (pid_t)atomic_load(&d->words[d->stuck].thread);
	return (WATCHDOG_ABORT);
}

uint64_t
watchdog_due(const struct watchdog *d)
{
	return (d->left_ms > 0 ? d->left_ms : FLIGHT_TICK_MS);
}

bool
watchdog_is_well(const struct watchdog *d, uint64_t ms)
{
	unsigned i;

	for (i = 0; i < FLIGHT_WORKERS; i++)
		if (d->seen[i].silent_ms >= ms)
			return (false);
	return (d->left_ms == 0);
}
