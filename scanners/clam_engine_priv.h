/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An engine from inside: clam_engine.c (what all have in common), and one of
 * clam_pool.c (scans in processes) and clam_threads.c (in threads of this one).
 *
 * Room: scanners.  Thread: any.
 */
#ifndef SCANNERS_CLAM_ENGINE_PRIV_H
#define SCANNERS_CLAM_ENGINE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include "scanners/clam_priv.h"

struct clam_pool;
struct clam_ready;
struct clam_threads;

struct clam_engine {
	atomic_uint refs;
	struct clam_limits limits;
	unsigned for_one; /* bodies of one client that are scanned at once */
	unsigned queue;   /* that wait */
	unsigned watch_ms;
	void (*report)(void *, const char *);
	void *report_arg;
	_Atomic enum clam_health health;
	_Atomic uint64_t state;       /* see clam_engine_state() */
	struct clam_pool *pool;       /* owned; one of these */
	struct clam_threads *threads; /* owned */
	pthread_mutex_t lock;         /* of what follows */
	struct clam_info info;
	char library[32]; /* of processes: its version */
};

/* A line for the log: what, then detail. */
void clam_engine_say(struct clam_engine *, const char *what,
    const char *detail);
/* Can something be scanned now?  detail: for the log; what is news is reported. */
void clam_engine_set_health(struct clam_engine *, enum clam_health,
    const char *detail);
/* Another database is in use: it is reported, unless it is the first. */
void clam_engine_set_info(struct clam_engine *, const struct clam_info *);
/* The same, as a scan master tells it. */
void clam_engine_set_ready(struct clam_engine *, const struct clam_ready *);

/* clam_pool.c */

/* How many scanners a pool has at most, for so many bodies of one client. */
unsigned clam_scanners(unsigned for_one);
/* Come in by the door; start the thread that looks after it.  NULL: f says why. */
struct clam_pool *clam_pool_new(struct clam_engine *,
    const struct clam_options *, struct fault *f);
void clam_pool_free(struct clam_pool **);
uint32_t clam_pool_number(const struct clam_pool *);
/* As clam_engine_start(), clam_engine_stop(); on the loop's thread. */
bool clam_pool_start(struct clam_pool *, struct clam_job *, struct loop *,
    uint64_t owner);
void clam_pool_stop(struct clam_job *);

/* clam_threads.c */

/* Load, start the threads.  NULL: f says why. */
struct clam_threads *clam_threads_new(struct clam_engine *,
    const struct clam_options *, struct fault *f);
/* Ends them, and waits for them. */
void clam_threads_free(struct clam_threads **);
struct clam_core *clam_threads_core(struct clam_threads *);
/* One more look: is it time for the canary? */
void clam_threads_count(struct clam_threads *);
/* As clam_engine_start(). */
bool clam_threads_start(struct clam_threads *, struct clam_job *, struct loop *,
    uint64_t owner);

#endif
