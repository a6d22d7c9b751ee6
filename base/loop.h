/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop of a worker: tasks, timers, descriptors, mail from other
 * threads, and handles.  A thin layer over libuv.
 *
 * A wake-up only queues: loop_wake() puts a task in the run queue, and the
 * loop runs it later, never from inside the caller.  The order of a turn:
 * poll callbacks, mail and timers (they wake tasks), then the run queue for a
 * few rounds, then the end-of-turn list (flush output), then free what died.
 * A task with much to do does a part, wakes itself and returns.
 *
 * Room: base.  Thread: everything but mail_post() belongs to the loop's thread.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct task_queue;
struct watch;

/* Something that runs when woken.  Embedded in its owner. */
struct task {
	void (*run)(struct task *);
	struct loop *loop;
	struct task_queue *queue; /* it is in; NULL: in none */
	struct task *next, **at;  /* there; at: what points to it */
};

void task_init(struct task *, struct loop *, void (*run)(struct task *));
void task_wake(struct task *); /* idempotent until it runs; NULL is nothing */
void task_fini(struct task *); /* out of the queue; may be called from run */

/* A deadline.  Embedded; moving it later costs nothing. */
struct timer {
	void (*fire)(struct timer *); /* one shot; may set it again */
	struct loop *loop;
	uint64_t at;   /* monotonic ms; 0: not set, UINT64_MAX: paused */
	unsigned slot; /* 1-based index in the heap; 0: not in it */
};

void timer_init(struct timer *, struct loop *, void (*fire)(struct timer *));
void timer_set(struct timer *, uint64_t after_ms); /* from now */
void timer_set_at(struct timer *, uint64_t at_ms);
void timer_stop(struct timer *); /* also before its owner is freed */
/* the same, cheaper, if it will be set again soon */
void timer_pause(struct timer *);

/* Monotonic ms at the start of this turn. */
uint64_t loop_now(const struct loop *);
/* Has it hardly slept of late: is its processor all that more work would wait for? */
bool loop_is_busy(const struct loop *);

struct loop *loop_new(void);
struct uv_loop_s;
struct uv_loop_s *loop_uv(struct loop *);
void loop_run(struct loop *);  /* until loop_stop() */
void loop_stop(struct loop *); /* from the loop's own thread */
/*
 * The loop is not running any more: deal with what is queued, posted or due
 * now, and wait for jobs that are still out (job.h counts them).
 */
void loop_settle(struct loop *);
void loop_job_out(struct loop *);  /* a job will come back as mail ... */
void loop_job_back(struct loop *); /* ... it has */
/*
 * The owners of watches and timers are gone; what merely waits for its time
 * (a link that lingers) is told that it has come.
 */
void loop_free(struct loop **);

/* Call free_fn(p) at the end of this turn: nothing that is still on the stack uses it then. */
void loop_defer_free(struct loop *, void *p, void (*free_fn)(void *));

/* Run t->run once at the end of this turn, after the run queue (output is flushed there). */
void loop_at_end(struct task *t);

#define WATCH_READ 1
#define WATCH_WRITE 2
#define WATCH_END 4 /* the peer has ended, whatever is to be read before */

/*
 * Watch a descriptor, level-triggered.  The callback may change or close the
 * watch.  The descriptor stays the caller's.
 */
struct watch *watch_new(struct loop *, int fd,
    void (*ready)(void *arg, unsigned events), void *arg);
/*
 * Look at it only after the others, a few such at a time: what is under way
 * is finished before more is begun.  Before the first watch_set().
 */
void watch_behind(struct watch *);
/* Which of WATCH_READ|WATCH_WRITE|WATCH_END; 0 none.  Costs nothing when unchanged. */
void watch_set(struct watch *, unsigned events);
void watch_free(struct watch **); /* before close(fd) */

/*
 * A message to a loop of another thread.  Embedded in what it carries; the
 * sender gives it up.  deliver() runs on the loop's thread.
 */
struct mail {
	void (*deliver)(struct mail *, struct loop *);
	struct mail *next;
};

void mail_post(struct loop *, struct mail *); /* any thread */

/*
 * Handles {slot, generation}: how another thread names an object of this
 * loop that may be gone when its message arrives.
 */
struct handle {
	uint32_t slot;
	uint32_t generation; /* 0: no handle */
};

struct handle handle_new(struct loop *, void *object);
void *handle_get(struct loop *, struct handle); /* NULL: gone */
void handle_free(struct loop *, struct handle *);

#endif
