/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of threads for work that blocks or burns (scans, signatures, files).
 * Room: base.
 */
#ifndef BASE_JOB_H
#define BASE_JOB_H

#include <stdint.h>
#include "base/loop.h"
#include "base/turns.h"

struct job_pool;

/* Embedded in what it carries; belongs to the pool from job_start() to done(). */
struct job {
	/* in a thread of the pool; must not touch loop objects */
	void (*run)(struct job *);
	void (*done)(struct job *); /* on the loop's thread, exactly once */
	struct loop *loop;
	struct mail mail;
	struct turn turn; /* in the pool */
};

#define JOB_NOBODY 0 /* the owner of jobs that have none */

/* name: up to 15 bytes, shown by ps.  NULL when no thread can be made. */
struct job_pool *job_pool_new(const char *name, unsigned threads);
/*
 * The same in two steps: jobs may be started before there are threads, and run
 * when there are.  False: none can be made.
 */
struct job_pool *job_pool_prepare(const char *name, unsigned threads);
bool job_pool_begin(struct job_pool *);
/*
 * Owners have their turns one after another, and there is a thread more,
 * which no owner gets who has `threads` already.
 */
struct job_pool *job_pool_new_fair(const char *name, unsigned threads);
/* On the loop's thread. */
void job_start(struct job_pool *, struct job *, struct loop *);
void job_start_for(struct job_pool *, struct job *, struct loop *,
    uint64_t owner);
/* How many of this owner wait for a thread. */
unsigned job_pool_waiting_of(struct job_pool *, uint64_t owner);
/* Runs what is queued to its end, then joins the threads. */
void job_pool_free(struct job_pool **);

#endif
