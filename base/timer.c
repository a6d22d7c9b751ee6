/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers, see loop.h: a heap in which a timer's key may be earlier than its
 * deadline, so that one that is put off all the time is seldom moved.
 */
#include <assert.h>
#include <stdlib.h>
#include "base/loop_priv.h"

#define NEVER UINT64_MAX /* when a paused timer fires */

static inline void
heap_set(struct loop *l, unsigned i, struct due p)
{
	l->heap[i] = p;
	p.timer->slot = i;
}

static void
heap_up(struct loop *l, unsigned i)
{
	struct due p = l->heap[i];

	for (; i > 1 && l->heap[i / 2].key > p.key; i /= 2)
		heap_set(l, i, l->heap[i / 2]);
	heap_set(l, i, p);
}

static void
heap_down(struct loop *l, unsigned i)
{
	struct due p = l->heap[i];
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
	struct due last = l->heap[l->heap_n--];

	assert(i > 0 && i <= l->heap_n + 1 && l->heap[i].timer == t);
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
	assert(t->slot == 0);
	if (l->heap_n + 2 > l->heap_cap) {
		l->heap_cap = l->heap_cap > 0 ? l->heap_cap * 2 : 64;
		l->heap = realloc(l->heap, l->heap_cap * sizeof(*l->heap));
		if (l->heap == NULL)
			abort();
	}
	heap_set(l, ++l->heap_n, (struct due){ t->at, t });
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
	assert(loop_is_here(t->loop));
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

void
timers_arm(struct loop *l)
{
	uint64_t at = l->heap_n > 0 ? l->heap[1].key : 0;
	uint64_t now = uv_now(&l->uv);

	/* An alarm that comes too early only finds nothing due. */
	if (at == 0 || (l->alarm_at != 0 && l->alarm_at <= at))
		return;
	l->alarm_at = at;
	uv_timer_start(&l->alarm, on_alarm, at > now ? at - now : 0, 0);
}

void
timers_end(struct loop *l)
{
	unsigned left = l->heap_n;

	for (; left > 0 && l->heap_n > 0; left--)
		heap_fire(l, l->heap[1].timer);
}
