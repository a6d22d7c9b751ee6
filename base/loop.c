/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop, see loop.h.  libuv polls, keeps the clock and carries the
 * signal between threads; tasks, timers and handles are ours: they are
 * embedded in their owners and cost no closing callback.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>
#include "base/list.h"
#include "base/loop.h"

#define TURN_ROUNDS 8		/* then the kernel is asked again: no task starves a socket */

/*
 * So many woken tasks are run at once, between the callbacks of one poll:
 * what they touch is in the CPU's cache still.  (And with more than 1024
 * descriptors ready libuv polls up to 48 times before it lets anybody work,
 * and is told of the same ones again.)
 */
#define TURN_NOW 8

/*
 * So many of the descriptors behind the others are looked at in one poll.
 * With thousands of clients who all want something the number of exchanges
 * under way stays small, and what they use stays in the CPU's cache.
 */
#define BEHIND_MAX 32

#define NEVER UINT64_MAX		/* when a paused timer fires */
#define BUSY_WINDOW_MS 20
#define BUSY_IDLE_PART 20	/* busy: asleep for less than 1/20 of a window */

struct task_queue {
	struct task *first, **last;
	unsigned n;
};

struct dead {
	struct dead *next;
	void *p;
	void (*free_fn)(void *);
};

/* A timer in the heap; its key may be earlier than its deadline. */
struct place {
	uint64_t key;
	struct timer *timer;
};

struct slot {
	void *object;		/* NULL: free */
	uint32_t generation;
	uint32_t next_free;	/* index + 1 */
};

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t busy;		/* active while tasks are left over: polls do not wait */
	uv_timer_t alarm;
	uv_async_t mailed;
	struct task_queue run, end;
	struct dead *dead;
	unsigned jobs_out;	/* that will be mailed back */
	struct place *heap;	/* 1-based binary heap by key */
	unsigned heap_n, heap_cap;
	uint64_t alarm_at;	/* 0: not set */
	struct slot *slots;
	uint32_t slots_n, slots_free;
	pthread_mutex_t mail_lock;
	struct mail *mail_first, **mail_last;
	uint64_t window_at;	/* ms: when this window began */
	uint64_t idle_ns;	/* the idle time until then */
	bool is_busy;		/* in the window before */
	int behind;		/* epoll: the descriptors behind the others */
	uv_poll_t behind_poll;
	struct epoll_event ready[BEHIND_MAX];
	int ready_at, ready_n;	/* those not looked at yet */
};

struct watch {
	uv_poll_t poll;
	struct loop *loop;
	void (*ready)(void *arg, unsigned events);	/* NULL: freed */
	void *arg;
	int fd;
	bool is_polled;		/* by libuv; else behind, or not looked at yet */
	bool is_behind;
	unsigned events;
};

/* Tasks. */

void
task_init(struct task *t, struct loop *l, void (*run)(struct task *))
{
	t->run = run;
	t->loop = l;
	t->next = NULL;
	t->queued = false;
}

static void
queue_put(struct task_queue *q, struct task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*q->last = t;
	q->last = &t->next;
	q->n++;
}

static struct task *
queue_take(struct task_queue *q)
{
	struct task *t = q->first;

	if (t != NULL) {
		q->first = t->next;
		if (q->first == NULL)
			q->last = &q->first;
		t->queued = false;
		q->n--;
	}
	return (t);
}

static bool
queue_remove(struct task_queue *q, struct task *t)
{
	struct task **at;

	for (at = &q->first; *at != NULL; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			if (q->last == &t->next)
				q->last = at;
			t->queued = false;
			q->n--;
			return (true);
		}
	return (false);
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
	if (t->queued && !queue_remove(&t->loop->run, t))
		(void)queue_remove(&t->loop->end, t);
}

/* Timers. */

static inline void
heap_set(struct loop *l, unsigned i, struct place p)
{
	l->heap[i] = p;
	p.timer->slot = i;
}

static void
heap_up(struct loop *l, unsigned i)
{
	struct place p = l->heap[i];

	for (; i > 1 && l->heap[i / 2].key > p.key; i /= 2)
		heap_set(l, i, l->heap[i / 2]);
	heap_set(l, i, p);
}

static void
heap_down(struct loop *l, unsigned i)
{
	struct place p = l->heap[i];
	unsigned child;

	for (; (child = 2 * i) <= l->heap_n; i = child) {
		if (child < l->heap_n &&
		    l->heap[child + 1].key < l->heap[child].key)
			child++;
		if (l->heap[child].key >= p.key)
			break;
		heap_set(l, i, l->heap[child]);
	}
	heap_set(l, i, p);
}

static void
heap_remove(struct loop *l, struct timer *t)
{
	unsigned i = t->slot;
	struct place last = l->heap[l->heap_n--];

	t->slot = 0;
	if (last.timer == t)
		return;
	heap_set(l, i, last);
	heap_up(l, i);
	heap_down(l, last.timer->slot);
}

static void
heap_insert(struct loop *l, struct timer *t)
{
	if (l->heap_n + 2 > l->heap_cap) {
		l->heap_cap = l->heap_cap > 0 ? l->heap_cap * 2 : 64;
		l->heap = realloc(l->heap, l->heap_cap * sizeof(*l->heap));
		if (l->heap == NULL)
			abort();
	}
	heap_set(l, ++l->heap_n, (struct place){ t->at, t });
	heap_up(l, l->heap_n);
}

void
timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *))
{
	*t = (struct timer){ .fire = fire, .loop = l };
}

void
timer_set_at(struct timer *t, uint64_t at_ms)
{
	t->at = at_ms > 0 ? at_ms : 1;
	if (t->slot == 0)
		heap_insert(t->loop, t);
	else if (t->at < t->loop->heap[t->slot].key) {
		t->loop->heap[t->slot].key = t->at;
		heap_up(t->loop, t->slot);
	}
}

void
timer_set(struct timer *t, uint64_t after_ms)
{
	timer_set_at(t, loop_now(t->loop) + after_ms);
}

void
timer_stop(struct timer *t)
{
	t->at = 0;
	if (t->slot != 0)
		heap_remove(t->loop, t);
}

void
timer_pause(struct timer *t)
{
	if (t->slot != 0)
		t->at = NEVER;
}

/* Out of the heap, and fired unless it is paused. */
static void
heap_fire(struct loop *l, struct timer *t)
{
	bool paused = t->at == NEVER;

	heap_remove(l, t);
	t->at = 0;
	if (!paused)
		t->fire(t);
}

/*
 * Fire what is due; a timer moved to later is only put in its new place.  No
 * more than there are now: one that sets itself to "at once" comes next turn.
 */
static void
timers_run(struct loop *l)
{
	uint64_t now = loop_now(l);
	unsigned left = l->heap_n;
	struct timer *t;

	while (l->heap_n > 0 && left > 0 && l->heap[1].key <= now) {
		t = l->heap[1].timer;
		if (t->at > l->heap[1].key && t->at != NEVER) {
			l->heap[1].key = t->at;
			heap_down(l, 1);
			continue;
		}
		left--;
		heap_fire(l, t);
	}
}

static void
on_alarm(uv_timer_t *h)
{
	struct loop *l = h->data;

	l->alarm_at = 0;
	timers_run(l);
}

static void
alarm_set(struct loop *l)
{
	uint64_t at = l->heap_n > 0 ? l->heap[1].key : 0;
	uint64_t now = uv_now(&l->uv);

	/* An alarm that comes too early only finds nothing due. */
	if (at == 0 || (l->alarm_at != 0 && l->alarm_at <= at))
		return;
	l->alarm_at = at;
	uv_timer_start(&l->alarm, on_alarm, at > now ? at - now : 0, 0);
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

	for (n = q->n; n > 0 && (t = queue_take(q)) != NULL; n--)
		t->run(t);
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

static void
turn(struct loop *l)
{
	unsigned round;

	note_idle(l);
	for (round = 0; round < TURN_ROUNDS && l->run.n > 0; round++)
		queue_run(&l->run);
	queue_run(&l->end);
	free_dead(l);
	alarm_set(l);
	if (l->run.n + l->end.n > 0)
		uv_idle_start(&l->busy, on_busy);
	else
		uv_idle_stop(&l->busy);
}

static void
on_prepare(uv_prepare_t *h)
{
	turn(h->data);
}

static void
on_check(uv_check_t *h)
{
	turn(h->data);
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
	m->next = NULL;
	pthread_mutex_lock(&l->mail_lock);
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

static void on_behind(uv_poll_t *h, int status, int events);

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
	l->behind = epoll_create1(EPOLL_CLOEXEC);
	if (l->behind < 0 ||
	    uv_poll_init(&l->uv, &l->behind_poll, l->behind) != 0)
		abort();
	l->uv.data = l;
	l->prepare.data = l->check.data = l->alarm.data = l->mailed.data =
	    l->behind_poll.data = l;
	uv_prepare_start(&l->prepare, on_prepare);
	uv_check_start(&l->check, on_check);
	uv_poll_start(&l->behind_poll, UV_READABLE, on_behind);
	uv_update_time(&l->uv);
	l->window_at = uv_now(&l->uv);
	return (l);
}

void
loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
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
	l->jobs_out++;
}

void
loop_job_back(struct loop *l)
{
	l->jobs_out--;
}

void
loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

/* What only waited for its time (a link that lingers) has it now. */
static void
timers_end(struct loop *l)
{
	unsigned left = l->heap_n;

	for (; left > 0 && l->heap_n > 0; left--)
		heap_fire(l, l->heap[1].timer);
}

void
loop_free(struct loop **lp)
{
	struct loop *l = *lp;

	if (l == NULL)
		return;
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
	uv_close((uv_handle_t *)&l->behind_poll, NULL);
	uv_run(&l->uv, UV_RUN_NOWAIT);
	assert(l->heap_n == 0);
	(void)uv_loop_close(&l->uv);
	close(l->behind);
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

	if (d == NULL)
		abort();
	*d = (struct dead){ l->dead, p, free_fn };
	l->dead = d;
}

/* Descriptors. */

static void
on_poll(uv_poll_t *h, int status, int events)
{
	struct watch *w = h->data;
	struct loop *l = h->loop->data;
	unsigned got = 0;

	/* libuv has stopped; whoever reads or writes next finds the error. */
	if (status < 0 && (got = w->events) != 0) {
		w->events = 0;
		watch_set(w, got);
	}
	if ((events & UV_READABLE) != 0)
		got |= WATCH_READ;
	if ((events & UV_WRITABLE) != 0)
		got |= WATCH_WRITE;
	if (w->ready != NULL && got != 0)
		w->ready(w->arg, got);
	if (l->run.n >= TURN_NOW)
		turn(l);
}

static void
on_behind(uv_poll_t *h, int status, int events)
{
	struct loop *l = h->data;
	struct epoll_event *e;
	struct watch *w;
	unsigned got;

	(void)status;
	(void)events;
	l->ready_n = epoll_wait(l->behind, l->ready, BEHIND_MAX, 0);
	for (l->ready_at = 0; l->ready_at < l->ready_n;) {
		e = &l->ready[l->ready_at++];
		if ((w = e->data.ptr) == NULL)
			continue;	/* freed meanwhile */
		got = 0;
		/* Whoever reads or writes next finds the error. */
		if ((e->events & ~(unsigned)EPOLLOUT) != 0)
			got |= WATCH_READ;
		if ((e->events & ~(unsigned)EPOLLIN) != 0)
			got |= WATCH_WRITE;
		got &= w->events;
		if (got != 0)
			w->ready(w->arg, got);
		if (l->run.n >= TURN_NOW)
			turn(l);
	}
}

struct watch *
watch_new(struct loop *l, int fd, void (*ready)(void *, unsigned), void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		abort();
	w->loop = l;
	w->fd = fd;
	w->ready = ready;
	w->arg = arg;
	return (w);
}

void
watch_behind(struct watch *w)
{
	assert(!w->is_polled);
	w->is_behind = true;
}

static void
set_polled(struct watch *w, unsigned events)
{
	int want = 0;

	if ((events & WATCH_READ) != 0)
		want |= UV_READABLE;
	if ((events & WATCH_WRITE) != 0)
		want |= UV_WRITABLE;
	if (!w->is_polled) {
		if (uv_poll_init(&w->loop->uv, &w->poll, w->fd) != 0)
			abort();	/* not a pollable descriptor: our bug */
		w->poll.data = w;
		w->is_polled = true;
	}
	if (want == 0)
		uv_poll_stop(&w->poll);
	else
		uv_poll_start(&w->poll, want, on_poll);
}

static void
set_behind(struct watch *w, unsigned events)
{
	struct epoll_event e = { .data.ptr = w };

	if ((events & WATCH_READ) != 0)
		e.events |= EPOLLIN;
	if ((events & WATCH_WRITE) != 0)
		e.events |= EPOLLOUT;
	if (epoll_ctl(w->loop->behind, events == 0 ? EPOLL_CTL_DEL :
	    w->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, w->fd, &e) != 0)
		abort();
}

void
watch_set(struct watch *w, unsigned events)
{
	if (w->events == events)
		return;
	if (w->is_behind)
		set_behind(w, events);
	else
		set_polled(w, events);
	w->events = events;
}

static void
watch_closed(uv_handle_t *h)
{
	free(h->data);
}

static void
forget_ready(struct loop *l, const struct watch *w)
{
	int i;

	for (i = l->ready_at; i < l->ready_n; i++)
		if (l->ready[i].data.ptr == w)
			l->ready[i].data.ptr = NULL;
}

void
watch_free(struct watch **wp)
{
	struct watch *w = *wp;

	if (w == NULL)
		return;
	w->ready = NULL;
	if (w->is_polled)
		uv_close((uv_handle_t *)&w->poll, watch_closed);
	else {
		if (w->is_behind) {
			watch_set(w, 0);
			forget_ready(w->loop, w);
		}
		free(w);
	}
	*wp = NULL;
}

/* Handles. */

struct handle
handle_new(struct loop *l, void *object)
{
	uint32_t i, n;

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
