/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The calls of libclamav, see clam_calls.h. */
#include <assert.h>
#include <stddef.h>
#include <sys/time.h>
#include <time.h>
#include "scanners/clam_calls.h"

#define LEAP 1000000000		/* seconds: further than any time limit */

static _Thread_local struct clam_calls *inside;

void
clam_calls_begin(struct clam_calls *c)
{
	assert(inside == NULL);
	inside = c;
}

void
clam_calls_end(void)
{
	assert(inside != NULL);
	inside = NULL;
}

/* Each time further on: it may be about to compute the limit. */
int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct clam_calls *c = inside;
	struct timespec now;

	(void)zone;		/* obsolete, and nobody here asks for it */
	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec;
	tv->tv_usec = now.tv_nsec / 1000;
	if (c == NULL)
		return (0);
	if (c->stopped || c->stop(c->stop_arg)) {
		c->stopped = true;
		tv->tv_sec += (time_t)++c->leaps * LEAP;
	}
	return (0);
}
