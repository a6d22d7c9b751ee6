/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop, see loop.h.  libuv polls, keeps the clock and carries the
 * signal between threads; tasks, timers and handles are ours: they are
 * embedded in their owners and cost no closing callback.
 */
#include <assert.h>
#include <stdlib.h>
#include "base/loop_priv.h"

/* then the kernel is asked again: no task starves a socket */
#define TURN_ROUNDS 8

#define BUSY_WINDOW_MS 20
#define BUSY_IDLE_PART 20 /* busy: asleep for less than 1/20 of a window */

/* Tasks. */

void
task_init(struct task *t, struct loop *l, void (*run)(struct task *))
{
	*t = (struct task){ .run = run, .loop = l };
}

static void
queue_put(struct task_queue *q, struct task *t)
{
	if (t->queue != NULL)
		return;
	assert(loop_is_here(t->loop));
	t->queue = q;
	t->next = NULL;
	t->at = q->last;
	*q->last = t;
	q->last = &t->next;
	q->n++;
}

/*
 * Only its neighbours are looked at: thousands of connections that end in one
 * turn are in the queue all at once.
 */
static void
queue_remove(struct task *t)
{
	struct task_queue *q = t->queue;

	assert(q->n > 0 && *t->at == t);
	*t->at = t->next;
	if (t->next != NULL)
		t->next->at = t->at;
	else
		q->last = t->at;
	t->queue = NULL;
	q->n--;
}

void
task_wake(struct task *t)
{
	if (t != NULL)
		queue_put(&t->loop->run, t);
}

void
loop_at_end(struct task *t)
{
	queue_put(&t->loop->end, t);
}

void
task_fini(struct task *t)
{
	if (t->queue != NULL)
		queue_remove(t);
}

/* The turn. */

static void
free_dead(struct loop *l)
{
	struct dead *d;

	while ((d = l->dead) != NULL) {
		l->dead = d->next;
		d->free_fn(d->p);
		free(d);
	}
}

/* Run what is queued now; what that queues waits for the next round. */
static void
queue_run(struct task_queue *q)
{
	unsigned n;
	struct task *t;

	for (n = q->n; n > 0 && (t = q->first) != NULL; n--) {
		queue_remove(t);
		t->run(t);
	}
}

static void
on_busy(uv_idle_t *h)
{
	(void)h;
}

static void
note_idle(struct loop *l)
{
	uint64_t ms = uv_now(&l->uv) - l->window_at, idle;

	if (ms < BUSY_WINDOW_MS)
		return;
	idle = uv_metrics_idle_time(&l->uv);
	l->is_busy = idle - l->idle_ns < ms * 1000000 / BUSY_IDLE_PART;
	l->idle_ns = idle;
	l->window_at += ms;
}

bool
loop_is_busy(const struct loop *l)
{
	return (l->is_busy);
}

void
loop_turn(struct loop *l)
{
	unsigned round;

	note_idle(l);
	for (round = 0; round < TURN_ROUNDS && l->run.n > 0; round++)
		queue_run(&l->run);
	queue_run(&l->end);
	free_dead(l);
	timers_arm(l);
	if (l->run.n + l->end.n > 0)
		uv_idle_start(&l->busy, on_busy);
	else
		uv_idle_stop(&l->busy);
}

static void
on_prepare(uv_prepare_t *h)
{
	loop_turn(h->data);
}

static void
on_check(uv_check_t *h)
{
	loop_turn(h->data);
}

static void
on_mailed(uv_async_t *h)
{
	struct loop *l = h->data;
	struct mail *m, *next;

	pthread_mutex_lock(&l->mail_lock);
	m = l->mail_first;
	l->mail_first = NULL;
	l->mail_last = &l->mail_first;
	pthread_mutex_unlock(&l->mail_lock);
	for (; m != NULL; m = next) {
		next = m->next;
		m->deliver(m, l);
	}
}

void
mail_post(struct loop *l, struct mail *m)
{
	pthread_mutex_lock(&l->mail_lock);
	assert(l->mail_last != &m->next); /* it is on its way already */
	m->next = NULL;
	*l->mail_last = m;
	l->mail_last = &m->next;
	/* Under the lock: loop_free() takes it last. */
	uv_async_send(&l->mailed);
	pthread_mutex_unlock(&l->mail_lock);
}

uint64_t
loop_now(const struct loop *l)
{
	return (uv_now(&l->uv));
}

struct uv_loop_s *
loop_uv(struct loop *l)
{
	return (&l->uv);
}

struct loop *
loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (l == NULL)
		abort();
	l->run.last = &l->run.first;
	l->end.last = &l->end.first;
	l->mail_last = &l->mail_first;
	pthread_mutex_init(&l->mail_lock, NULL);
	if (uv_loop_init(&l->uv) != 0 ||
	    uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME) != 0 ||
	    uv_async_init(&l->uv, &l->mailed, on_mailed) != 0)
		abort();
	uv_prepare_init(&l->uv, &l->prepare);
	uv_check_init(&l->uv, &l->check);
	uv_idle_init(&l->uv, &l->busy);
	uv_timer_init(&l->uv, &l->alarm);
	l->uv.data = l;
	l->prepare.data = l->check.data = l->alarm.data = l->mailed.data = l;
	uv_prepare_start(&l->prepare, on_prepare);
	uv_check_start(&l->check, on_check);
	watches_begin(l);
	uv_update_time(&l->uv);
	l->window_at = uv_now(&l->uv);
	return (l);
}

void
loop_run(struct loop *l)
{
	assert(!l->runs);
	l->thread = pthread_self();
	l->runs = true;
	uv_run(&l->uv, UV_RUN_DEFAULT);
	l->runs = false;
}

void
loop_settle(struct loop *l)
{
	do
		uv_run(&l->uv, l->jobs_out > 0 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
	while (l->run.n + l->end.n + l->jobs_out > 0 || l->dead != NULL);
}

void
loop_job_out(struct loop *l)
{
	assert(loop_is_here(l));
	l->jobs_out++;
}

void
loop_job_back(struct loop *l)
{
	assert(loop_is_here(l) && l->jobs_out > 0);
	l->jobs_out--;
}

void
loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

void
loop_free(struct loop **lp)
{
	struct loop *l = *lp;

	if (l == NULL)
		return;
	assert(!l->runs);
	loop_settle(l);
	timers_end(l);
	loop_settle(l);
	pthread_mutex_lock(&l->mail_lock);
	pthread_mutex_unlock(&l->mail_lock);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->busy, NULL);
	uv_close((uv_handle_t *)&l->alarm, NULL);
	uv_close((uv_handle_t *)&l->mailed, NULL);
	watches_end(l);
	uv_run(&l->uv, UV_RUN_NOWAIT);
	assert(l->heap_n == 0);
	(void)uv_loop_close(&l->uv);
	pthread_mutex_destroy(&l->mail_lock);
	free(l->heap);
	free(l->slots);
	free(l);
	*lp = NULL;
}

void
loop_defer_free(struct loop *l, void *p, void (*free_fn)(void *))
{
	struct dead *d = malloc(sizeof(*d));

	assert(loop_is_here(l));
	if (d == NULL)
		abort();
	*d = (struct dead){ l->dead, p, free_fn };
	l->dead = d;
}

/* Handles. */

struct handle
handle_new(struct loop *l, void *object)
{
	uint32_t i, n;

	assert(loop_is_here(l) && object != NULL); /* NULL: free */
	if (l->slots_free == 0) {
		n = l->slots_n > 0 ? l->slots_n * 2 : 64;
		l->slots = realloc(l->slots, n * sizeof(*l->slots));
		if (l->slots == NULL)
			abort();
		for (i = n; i-- > l->slots_n;) {
			l->slots[i] = (struct slot){ NULL, 1, l->slots_free };
			l->slots_free = i + 1;
		}
		l->slots_n = n;
	}
	i = l->slots_free - 1;
	assert(i < l->slots_n && l->slots[i].object == NULL);
	l->slots_free = l->slots[i].next_free;
	l->slots[i].object = object;
	return ((struct handle){ i, l->slots[i].generation });
}

void *
handle_get(struct loop *l, struct handle h)
{
	if (h.generation == 0 || h.slot >= l->slots_n ||
	    l->slots[h.slot].generation != h.generation)
		return (NULL);
	return (l->slots[h.slot].object);
}

void
handle_free(struct loop *l, struct handle *h)
{
	struct slot *s;

	if (handle_get(l, *h) != NULL) {
		s = &l->slots[h->slot];
		s->object = NULL;
		if (++s->generation == 0)
			s->generation = 1;
		s->next_free = l->slots_free;
		l->slots_free = h->slot + 1;
	}
	*h = (struct handle){ 0, 0 };
}
