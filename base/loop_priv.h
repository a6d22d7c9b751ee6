/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the loop share: loop.c (tasks, turns, mail, handles),
 * timer.c and watch.c.
 * Room: base.
 */
#ifndef BASE_LOOP_PRIV_H
#define BASE_LOOP_PRIV_H

#include <pthread.h>
#include <sys/epoll.h>
#include <uv.h>
#include "base/loop.h"

/*
 * So many of the descriptors behind the others are looked at in one poll.
 * With thousands of clients who all want something the number of exchanges
 * under way stays small, and what they use stays in the CPU's cache.
 */
#define BEHIND_MAX 32

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
struct due {
	uint64_t key;
	struct timer *timer;
};

struct slot {
	void *object; /* NULL: free */
	uint32_t generation;
	uint32_t next_free; /* index + 1 */
};

struct loop {
	uv_loop_t uv;
	pthread_t thread; /* that runs it, while it runs */
	bool runs;
	uv_prepare_t prepare;
	uv_check_t check;
	/* active while tasks are left over: polls do not wait */
	uv_idle_t busy;
	uv_timer_t alarm;
	uv_async_t mailed;
	struct task_queue run, end;
	struct dead *dead;
	unsigned jobs_out; /* that will be mailed back */
	struct due *heap;  /* 1-based binary heap by key */
	unsigned heap_n, heap_cap;
	uint64_t alarm_at; /* 0: not set */
	struct slot *slots;
	uint32_t slots_n, slots_free;
	pthread_mutex_t mail_lock;
	struct mail *mail_first, **mail_last;
	uint64_t window_at; /* ms: when this window began */
	uint64_t idle_ns;   /* the idle time until then */
	bool is_busy;       /* in the window before */
	int behind;         /* epoll: the descriptors behind the others */
	uv_poll_t behind_poll;
	struct epoll_event ready[BEHIND_MAX];
	int ready_at, ready_n; /* those not looked at yet */
};

/* Only mail comes from another thread; before and after, anybody has it. */
static inline bool
loop_is_here(const struct loop *l)
{
	return (!l->runs || pthread_equal(l->thread, pthread_self()));
}

/* One round of the loop: tasks, output, what is due. */
void loop_turn(struct loop *);

/* Have libuv wake us for the first timer. */
void timers_arm(struct loop *);
/* The loop ends: what only waited for its time (a link that lingers) has it now. */
void timers_end(struct loop *);

void watches_begin(struct loop *);
/* Before the libuv loop is closed; no watch is left. */
void watches_end(struct loop *);

#endif
