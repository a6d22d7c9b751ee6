/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libclamav asks of the C library during a look.  It says CL_CLEAN when
 * it could not make, write or open a file of its own, so such failures are
 * counted where they happen.  A program's own definition of a function is
 * the one that a shared library gets, and clam_calls.c defines the calls
 * that matter.  Outside of a look, and in other threads, each call is passed
 * on as it is.
 *
 * The clock: libclamav compares gettimeofday() with its time limit at every
 * 128 KB, and that is the only moment at which a scan can be ended.
 *
 * Memory: malloc() is not among the calls, for it belongs to the whole
 * process, which ends where it has none.
 *
 * Room: scanners.  Thread: any; a look is its thread's.  Units: bytes.
 */
#ifndef SCANNERS_CLAM_CALLS_H
#define SCANNERS_CLAM_CALLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum clam_lack {
	LACK_SPACE, /* a file not made, or not written whole */
	LACK_DESCRIPTORS,
	LACK_MEMORY,
	LACK_READ,  /* a file of its own could not be read */
	LACK_LIMIT, /* clam_temp said no */
	LACK_COUNT
};

/*
 * Temporary files of all looks of an engine together.  Each look may have
 * `sure`, whatever the others hold; beyond that there is `most` for all.
 * Where looks are made by several processes, each has a word that it alone
 * writes, in memory that they share.
 */
struct clam_temp {
	uint64_t sure, most;
	_Atomic uint64_t *held; /* [n], borrowed */
	unsigned n, me;         /* me: whose word is ours */
};
/* Held by all together. */
uint64_t clam_temp_used(const struct clam_temp *);

struct clam_calls {
	bool (*stop)(void *); /* is it time to give up? */
	void *stop_arg;
	struct clam_temp *temp; /* borrowed */
	/* Results. */
	bool stopped; /* stop() said so */
	unsigned failed[LACK_COUNT];
	uint64_t written; /* in files not removed again */
	unsigned leaps;   /* of the clock, since it stopped */
};

/* This thread is in a look, until clam_calls_end(). */
void clam_calls_begin(struct clam_calls *);
/* What is written is no longer counted in temp. */
void clam_calls_end(void);
/*
 * In a call back from libclamav: what follows is no call of its, until
 * clam_calls_back() with what this returned.
 */
struct clam_calls *clam_calls_leave(void);
void clam_calls_back(struct clam_calls *);

#endif
