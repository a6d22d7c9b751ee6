/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pool of threads: every job runs once elsewhere and comes back once. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/job.h"
#include "base/list.h"
#include "t/unit/unit.h"

#define JOBS 3000

struct sum {
	struct job job;
	unsigned in, out, done;
};

static pthread_t loop_thread;
static unsigned back, elsewhere_wrong, again;
static struct job_pool *pool;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned ran;

static void
run(struct job *j)
{
	struct sum *s = CONTAINER_OF(j, struct sum, job);
	unsigned i;

	for (i = 0; i <= s->in; i++)
		s->out += i;
	atomic_fetch_add(&ran, 1);
}

static void
run_gated(struct job *j)
{
	pthread_mutex_lock(&gate);
	run(j);
	pthread_mutex_unlock(&gate);
}

static void
done(struct job *j)
{
	struct sum *s = CONTAINER_OF(j, struct sum, job);

	elsewhere_wrong += !pthread_equal(pthread_self(), loop_thread);
	elsewhere_wrong += s->out != s->in * (s->in + 1) / 2;
	s->done++;
	back++;
	if (again > 0) { /* a job may start itself again */
		again--;
		s->out = 0;
		s->done--;
		job_start(pool, j, j->loop);
	} else if (back % JOBS == 0)
		loop_stop(j->loop);
}

static void
start(struct sum *s, unsigned in, void (*how)(struct job *), struct loop *l)
{
	*s = (struct sum){ .job = { .run = how, .done = done }, .in = in };
	job_start(pool, &s->job, l);
}

static void
test_many(void)
{
	static struct sum sums[JOBS];
	struct loop *l = loop_new();
	unsigned i, wrong = 0;

	loop_thread = pthread_self();
	pool = job_pool_new("a rather long name", 4);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
	back = elsewhere_wrong = 0;
	again = JOBS;
	for (i = 0; i < JOBS; i++)
		start(&sums[i], unit_random(300), run, l);
	while (back < 2 * JOBS)
		loop_run(l);
	for (i = 0; i < JOBS; i++)
		wrong += sums[i].done != 1;
	CU_ASSERT(wrong == 0 && elsewhere_wrong == 0);
	CU_ASSERT_EQUAL(job_pool_waiting_of(pool, JOB_NOBODY), 0);
	job_pool_free(&pool);
	CU_ASSERT_PTR_NULL(pool);
	job_pool_free(&pool);
	loop_free(&l);
}

/* What is queued when the pool ends still runs, and comes back. */
static void
test_end(void)
{
	struct sum sums[20];
	struct loop *l = loop_new();
	unsigned i;

	pool = job_pool_new("one", 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
	back = again = 0;
	ran = 0;
	pthread_mutex_lock(&gate);
	for (i = 0; i < 20; i++)
		start(&sums[i], i, run_gated, l);
	CU_ASSERT(job_pool_waiting_of(pool, JOB_NOBODY) >= 19);
	pthread_mutex_unlock(&gate);
	job_pool_free(&pool);
	CU_ASSERT_EQUAL(ran, 20);
	CU_ASSERT_EQUAL(back, 0);
	loop_settle(l);
	CU_ASSERT_EQUAL(back, 20);
	loop_free(&l);
	CU_ASSERT_PTR_NULL(job_pool_new("none", 0));
}

/* Owners. */

static pthread_mutex_t gate_x = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t gate_y = PTHREAD_MUTEX_INITIALIZER;
static char order[64];

static void
run_x(struct job *j)
{
	pthread_mutex_lock(&gate_x);
	run(j);
	pthread_mutex_unlock(&gate_x);
}

static void
run_y(struct job *j)
{
	pthread_mutex_lock(&gate_y);
	run(j);
	pthread_mutex_unlock(&gate_y);
}

/* Only one of these at a time: the other thread is held. */
static void
run_noted(struct job *j)
{
	order[atomic_load(&ran)] = (char)CONTAINER_OF(j, struct sum, job)->in;
	atomic_fetch_add(&ran, 1);
}

static void
done_noted(struct job *j)
{
	(void)j;
	back++;
}

static void
start_for(struct sum *s, char owner, void (*how)(struct job *), struct loop *l)
{
	*s = (struct sum){ .job = { .run = how, .done = done_noted },
		.in = (unsigned)owner };
	job_start_for(pool, &s->job, l, (uint64_t)owner);
}

/* Until so many are left, of all owners. */
static void
wait_for_idle(unsigned waiting)
{
	unsigned n;
	const char *o;

	do {
		usleep(1000);
		n = 0;
		for (o = "xyabc"; *o != '\0'; o++)
			n += job_pool_waiting_of(pool, (uint64_t)*o);
	} while (n > waiting);
}

/* One owner's queue is no other's: a thread is kept, and they take turns. */
static void
test_owners(void)
{
	struct sum x[9], y, a[5], b[3], c;
	struct loop *l = loop_new();
	unsigned i;

	pool = job_pool_new_fair("fair", 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
	back = 0;
	ran = 0;
	pthread_mutex_lock(&gate_x);
	pthread_mutex_lock(&gate_y);
	for (i = 0; i < 9; i++)
		start_for(&x[i], 'x', run_x, l);
	wait_for_idle(8);
	start_for(&y, 'y', run_y, l); /* gets the thread that x may not */
	wait_for_idle(8);
	CU_ASSERT_EQUAL(job_pool_waiting_of(pool, 'x'), 8);
	CU_ASSERT_EQUAL(job_pool_waiting_of(pool, 'y'), 0);
	CU_ASSERT_EQUAL(job_pool_waiting_of(pool, 'z'), 0);
	for (i = 0; i < 5; i++)
		start_for(&a[i], 'a', run_noted, l);
	for (i = 0; i < 3; i++)
		start_for(&b[i], 'b', run_noted, l);
	start_for(&c, 'c', run_noted, l);
	y.in = 0;
	atomic_store(&ran, 0);
	pthread_mutex_unlock(&gate_y);
	wait_for_idle(8); /* all but those of x */
	pthread_mutex_unlock(&gate_x);
	job_pool_free(&pool);
	loop_settle(l);
	CU_ASSERT_EQUAL(back, 19);
	CU_ASSERT_STRING_EQUAL(order + 1, "abcababaa"); /* y is the first */
	loop_free(&l);
}

UNIT_TESTS(base_job, { "owners take turns", test_owners },
    { "many jobs", test_many }, { "the pool ends", test_end })
