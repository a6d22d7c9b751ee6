/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of threads for work that blocks or burns (scans, signatures, files).
 * Room: base.
 */
#ifndef BASE_JOB_H
#define BASE_JOB_H

#include "base/loop.h"

struct job_pool;

/* Embedded in what it carries; belongs to the pool from job_start() to done(). */
struct job {
	void (*run)(struct job *);	/* in a thread of the pool; must not touch loop objects */
	void (*done)(struct job *);	/* on the loop's thread, exactly once */
	struct loop *loop;
	struct mail mail;
	struct job *next;
};

/* name: up to 15 bytes, shown by ps.  NULL when no thread can be made. */
struct job_pool *job_pool_new(const char *name, unsigned threads);
/* On the loop's thread. */
void job_start(struct job_pool *, struct job *, struct loop *);
/* How many wait for a thread. */
unsigned job_pool_waiting(struct job_pool *);
/* Runs what is queued to its end, then joins the threads. */
void job_pool_free(struct job_pool **);

#endif
