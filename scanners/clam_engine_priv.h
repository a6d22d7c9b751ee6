/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An engine from inside: clam_engine.c (what all have in common) and
 * clam_threads.c (scans in threads of this process).
 *
 * Room: scanners.  Thread: any.
 */
#ifndef SCANNERS_CLAM_ENGINE_PRIV_H
#define SCANNERS_CLAM_ENGINE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include "scanners/clam_priv.h"

struct clam_threads;

struct clam_engine {
	atomic_uint refs;
	struct clam_limits limits;
	unsigned for_one; /* bodies of one client that are scanned at once */
	unsigned queue;   /* that wait */
	unsigned watch_ms;
	void (*report)(void *, const char *);
	void *report_arg;
	atomic_bool fit;              /* libclamav finds the canary */
	_Atomic uint64_t state;       /* see clam_engine_state() */
	struct clam_threads *threads; /* owned */
	pthread_mutex_t lock;         /* of what follows */
	struct clam_info info;
};

/* A line for the log: what, then detail. */
void clam_engine_say(struct clam_engine *, const char *what,
    const char *detail);
/*
 * libclamav finds its test files, or does not any more; temp_dir: where there
 * may be no space.  What is news is reported.
 */
void clam_engine_set_fit(struct clam_engine *, bool fit, const char *temp_dir);
/* Another database is in use: it is reported, unless it is the first. */
void clam_engine_set_info(struct clam_engine *, const struct clam_info *);

/* clam_threads.c */

/* Load, start the threads.  NULL: f says why. */
struct clam_threads *clam_threads_new(struct clam_engine *,
    const struct clam_options *, struct fault *f);
/* Ends them, and waits for them. */
void clam_threads_free(struct clam_threads **);
struct clam_core *clam_threads_core(struct clam_threads *);
/* As clam_engine_start(), clam_engine_count(). */
bool clam_threads_start(struct clam_threads *, struct job *, struct loop *,
    uint64_t bytes, uint64_t owner);
void clam_threads_count(struct clam_threads *);

#endif
