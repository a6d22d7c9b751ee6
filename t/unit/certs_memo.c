/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memo: made once for all who wait, bounded, fresh, cancellable. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/list.h"
#include "certs/memo.h"
#include "t/unit/unit.h"

struct value {
	struct memo_value value;
	unsigned number;
};

static _Atomic unsigned made, freed, args_freed, finished;
static _Atomic bool hold;     /* make() waits as long as it is set */
static _Atomic int fresh_for; /* seconds */

static void
value_free(struct memo_value *v)
{
	freed++;
	free(v);
}

static struct memo_value *
make(void *owner, const void *key, size_t n, void *arg)
{
	struct value *v = calloc(1, sizeof(*v));

	(void)owner;
	(void)key;
	(void)n;
	(void)arg;
	while (hold)
		usleep(1000);
	v->value.refs = 1;
	v->value.fresh_until = time(NULL) + fresh_for;
	v->value.bytes = 100;
	v->value.free = value_free;
	v->number = ++made;
	return (&v->value);
}

static void
arg_free(void *arg)
{
	free(arg);
	args_freed++;
}

static void
fini(void *owner)
{
	(void)owner;
	finished++;
}

static const struct memo_type type = { make, arg_free, fini };

/* A thread that waits for some keys on a loop of its own. */
#define WAITS 8

struct waiter {
	struct memo_wait wait[WAITS];
	struct loop *loop;
	unsigned want, got, sum;
};

struct slot {
	struct memo_wait wait;
	struct waiter *of;
};

static struct slot slots[4][WAITS];

static void
on_ready(struct memo_wait *m, struct memo_value *v)
{
	struct waiter *w = CONTAINER_OF(m, struct slot, wait)->of;

	w->sum += CONTAINER_OF(v, struct value, value)->number;
	memo_value_unref(&v);
	if (++w->got == w->want)
		loop_stop(w->loop);
}

static void
reset(void)
{
	made = freed = args_freed = finished = 0;
	hold = false;
	fresh_for = 100;
}

static void
wait_for(struct memo *m, struct waiter *w, struct slot *s, const char *key)
{
	s->wait = (struct memo_wait){ .ready = on_ready };
	s->of = w;
	memo_start(m, w->loop, &s->wait, key, strlen(key), malloc(1));
}

/* A turn of the loop in which mail is delivered, and no more. */
static void
tick_stop(struct timer *t)
{
	loop_stop(t->loop);
}

static void
run_for(struct loop *l, unsigned ms)
{
	struct timer t;

	timer_init(&t, l, tick_stop);
	timer_set(&t, ms);
	loop_run(l);
	timer_stop(&t);
}

static void
test_once(void)
{
	struct loop *l = loop_new();
	struct job_pool *p = job_pool_new("memo", 4);
	struct memo *m = memo_new(&type, NULL, p, 10, 1 << 20);
	struct waiter w = { .loop = l, .want = 3 };
	struct memo_value *v;
	struct memo_stats s;

	reset();
	hold = true;
	CU_ASSERT_PTR_NULL(memo_get(m, "a", 1));
	wait_for(m, &w, &slots[0][0], "a");
	wait_for(m, &w, &slots[0][1], "a");
	wait_for(m, &w, &slots[0][2], "b");
	run_for(l, 20);
	CU_ASSERT_EQUAL(w.got, 0);
	hold = false;
	loop_run(l);
	CU_ASSERT_EQUAL(w.got, 3);
	CU_ASSERT_EQUAL(made, 2);
	CU_ASSERT(w.sum == 4 || w.sum == 5); /* 1 1 2 or 2 2 1 */
	v = memo_get(m, "a", 1);
	CU_ASSERT_PTR_NOT_NULL(v);
	memo_value_unref(&v);
	memo_stats(m, &s);
	CU_ASSERT_EQUAL(s.joined, 1);
	CU_ASSERT_EQUAL(s.misses, 2);
	CU_ASSERT_EQUAL(s.hits, 1);
	CU_ASSERT_EQUAL(s.entries, 2);
	run_for(l, 20); /* the jobs' own ends */
	CU_ASSERT_EQUAL(args_freed, 3);
	memo_free(&m);
	CU_ASSERT_EQUAL(finished, 1);
	CU_ASSERT_EQUAL(freed, 2);
	job_pool_free(&p);
	loop_free(&l);
}

static void
test_cancel(void)
{
	struct loop *l = loop_new();
	struct job_pool *p = job_pool_new("memo", 1);
	struct memo *m = memo_new(&type, NULL, p, 10, 1 << 20);
	struct waiter w = { .loop = l, .want = 1 };

	reset();
	hold = true;
	wait_for(m, &w, &slots[0][0], "a");
	wait_for(m, &w, &slots[0][1], "a");
	memo_cancel(&slots[0][0].wait);
	memo_cancel(&slots[0][0].wait);
	memset(&slots[0][0], 0xa5, sizeof(slots[0][0])); /* it is gone */
	hold = false;
	usleep(20000); /* the mail is on its way now */
	memo_cancel(&slots[0][1].wait);
	memset(&slots[0][1], 0xa5, sizeof(slots[0][1]));
	memo_free(&m); /* the job still has a reference */
	CU_ASSERT_EQUAL(finished, 0);
	run_for(l, 30);
	CU_ASSERT_EQUAL(w.got, 0);
	CU_ASSERT_EQUAL(finished, 1);
	CU_ASSERT_EQUAL(freed, made);
	CU_ASSERT_EQUAL(args_freed, 2);
	job_pool_free(&p);
	loop_free(&l);
}

/* Wait for key and nothing else. */
static void
fetch(struct memo *m, struct loop *l, const char *key)
{
	struct waiter w = { .loop = l, .want = 1 };

	wait_for(m, &w, &slots[0][0], key);
	loop_run(l);
}

static void
test_bounds(void)
{
	struct loop *l = loop_new();
	struct job_pool *p = job_pool_new("memo", 1);
	struct memo *m = memo_new(&type, NULL, p, 3, 1 << 20);
	struct memo_value *v;
	struct memo_stats s;

	reset();
	fetch(m, l, "a");
	fetch(m, l, "b");
	fetch(m, l, "c");
	v = memo_get(m, "a", 1); /* now b is the oldest */
	memo_value_unref(&v);
	fetch(m, l, "d");
	memo_stats(m, &s);
	CU_ASSERT_EQUAL(s.entries, 3);
	CU_ASSERT_PTR_NULL(memo_get(m, "b", 1));
	v = memo_get(m, "a", 1);
	CU_ASSERT_PTR_NOT_NULL(v);
	memo_value_unref(&v);
	run_for(l, 10);
	memo_free(&m);
	m = memo_new(&type, NULL, p, 100, 250); /* two of 101 bytes */
	fetch(m, l, "a");
	fetch(m, l, "b");
	fetch(m, l, "c");
	memo_stats(m, &s);
	CU_ASSERT_EQUAL(s.entries, 2);
	CU_ASSERT(s.bytes <= 250);
	run_for(l, 10);
	memo_free(&m);
	m = memo_new(&type, NULL, p, 100, 50); /* none fits, all are answered */
	fetch(m, l, "a");
	memo_stats(m, &s);
	CU_ASSERT_EQUAL(s.entries, 0);
	run_for(l, 10);
	memo_free(&m);
	CU_ASSERT_EQUAL(freed, made);
	job_pool_free(&p);
	loop_free(&l);
}

static void
test_fresh(void)
{
	struct loop *l = loop_new();
	struct job_pool *p = job_pool_new("memo", 1);
	struct memo *m = memo_new(&type, NULL, p, 10, 1 << 20);
	struct memo_stats s;

	reset();
	fresh_for = 0; /* as a failure: for who waits only */
	fetch(m, l, "a");
	CU_ASSERT_EQUAL(made, 1);
	CU_ASSERT_PTR_NULL(memo_get(m, "a", 1));
	fresh_for = 1;
	fetch(m, l, "a");
	CU_ASSERT_EQUAL(made, 2);
	fetch(m, l, "a"); /* there already: not made again */
	CU_ASSERT_EQUAL(made, 2);
	sleep(2);
	CU_ASSERT_PTR_NULL(memo_get(m, "a", 1));
	memo_stats(m, &s);
	CU_ASSERT_EQUAL(s.entries, 0);
	run_for(l, 10);
	memo_free(&m);
	CU_ASSERT_EQUAL(freed, made);
	job_pool_free(&p);
	loop_free(&l);
}

/* Four workers, the same keys in another order each. */
struct worker {
	pthread_t thread;
	struct memo *memo;
	struct waiter w;
	unsigned n;
};

static void *
work(void *arg)
{
	struct worker *k = arg;
	char key[2] = "";
	unsigned i;

	k->w.loop = loop_new();
	k->w.want = WAITS;
	for (i = 0; i < WAITS; i++) {
		key[0] = (char)('a' + (i * 3 + k->n) % WAITS);
		wait_for(k->memo, &k->w, &slots[k->n][i], key);
	}
	loop_run(k->w.loop);
	run_for(k->w.loop, 50);
	loop_free(&k->w.loop);
	return (NULL);
}

static void
test_workers(void)
{
	struct job_pool *p = job_pool_new("memo", 2);
	struct memo *m = memo_new(&type, NULL, p, 100, 1 << 20);
	struct worker k[4];
	unsigned i;

	reset();
	for (i = 0; i < 4; i++) {
		k[i] = (struct worker){ .memo = m, .n = i };
		pthread_create(&k[i].thread, NULL, work, &k[i]);
	}
	for (i = 0; i < 4; i++) {
		pthread_join(k[i].thread, NULL);
		CU_ASSERT_EQUAL(k[i].w.got, WAITS);
		CU_ASSERT_EQUAL(k[i].w.sum, WAITS * (WAITS + 1) / 2);
	}
	CU_ASSERT_EQUAL(made, WAITS);
	job_pool_free(&p);
	memo_free(&m);
	CU_ASSERT_EQUAL(freed, WAITS);
}

UNIT_TESTS(certs_memo, { "once for all", test_once }, { "cancel", test_cancel },
    { "bounds", test_bounds }, { "freshness", test_fresh },
    { "workers", test_workers })
