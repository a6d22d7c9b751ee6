/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libclamav asks of the C library during a look.  A program's own
 * definition of a function is the one that a shared library gets, which is
 * how this file learns about calls of libclamav that have no callback.
 * Outside of a look, and in other threads, each call is passed on as it is.
 *
 * The clock: libclamav compares gettimeofday() with its time limit at every
 * 128 KB, and that is the only moment at which a scan can be ended.
 *
 * Room: scanners.  Thread: any; a look is its thread's.
 */
#ifndef SCANNERS_CLAM_CALLS_H
#define SCANNERS_CLAM_CALLS_H

#include <stdbool.h>

struct clam_calls {
	bool (*stop)(void *);	/* is it time to give up? */
	void *stop_arg;
	bool stopped;		/* stop() said so */
	unsigned leaps;		/* of the clock, since then */
};

/* This thread is in a look, until clam_calls_end(). */
void clam_calls_begin(struct clam_calls *);
void clam_calls_end(void);

#endif
