/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop: tasks, timers, watches, mail, handles. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/list.h"
#include "base/loop.h"
#include "t/unit/unit.h"

static struct loop *loop;
static unsigned runs;

/* --- tasks --- */

struct worker {
	struct task task, *other;
	unsigned runs, again;
	unsigned seen; /* number of runs before its own last one */
};

static void
work(struct task *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, task);

	w->seen = runs++;
	w->runs++;
	if (w->again > 0) {
		w->again--;
		task_wake(t);
	}
	task_wake(w->other);
}

static void
end_others(struct task *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, task);

	runs++;
	w->runs++;
	task_fini(w->other);
	task_fini(t);
}

static void
test_tasks(void)
{
	struct worker a = { .again = 100 }, b = { 0 }, c = { 0 };

	loop = loop_new();
	runs = 0;
	task_init(&a.task, loop, work);
	task_init(&b.task, loop, work);
	task_init(&c.task, loop, end_others);
	task_wake(NULL);
	task_wake(&b.task);
	task_wake(&a.task);
	task_wake(&b.task);
	CU_ASSERT_EQUAL(runs, 0);
	loop_settle(loop);
	CU_ASSERT(a.runs == 101 && b.runs == 1 && b.seen == 0);
	c.other = &a.task; /* c runs first and ends a */
	task_wake(&c.task);
	task_wake(&a.task);
	task_wake(&b.task);
	loop_settle(loop);
	CU_ASSERT(a.runs == 101 && b.runs == 2 && c.runs == 1);
	task_fini(&a.task);
	c.other = &b.task; /* the last of the queue */
	task_wake(&c.task);
	task_wake(&b.task);
	loop_settle(loop);
	CU_ASSERT(b.runs == 2 && c.runs == 2);
	task_wake(&b.task);
	loop_settle(loop);
	CU_ASSERT_EQUAL(b.runs, 3);
	loop_free(&loop);
	loop_free(&loop);
}

/* Thousands that leave the queue at once: none looks at all the others. */
#define PAGE_TASKS 64
#define PAGES 3

static void
no_work(struct task *t)
{
	(void)t;
	runs++;
}

static void
test_leaving(void)
{
	long page = sysconf(_SC_PAGESIZE);
	struct task *at[PAGES];
	unsigned i, k;
	char *p;

	loop = loop_new();
	p = mmap(NULL, (size_t)page * PAGES, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(p != MAP_FAILED);
	for (i = 0; i < PAGES; i++) {
		at[i] = (struct task *)(void *)(p + i * (unsigned long)page);
		for (k = 0; k < PAGE_TASKS; k++) {
			task_init(&at[i][k], loop, no_work);
			if (k % 2 == 0)
				task_wake(&at[i][k]);
			else
				loop_at_end(&at[i][k]);
		}
	}
	/* What is neither the task nor beside it must not be touched. */
	CU_ASSERT_EQUAL(mprotect(at[0], (size_t)page, PROT_NONE), 0);
	CU_ASSERT_EQUAL(mprotect(at[2], (size_t)page, PROT_NONE), 0);
	for (k = 2; k < PAGE_TASKS - 2; k++)
		task_fini(&at[1][k]);
	CU_ASSERT_EQUAL(mprotect(p, (size_t)page * PAGES,
			    PROT_READ | PROT_WRITE),
	    0);
	runs = 0;
	loop_settle(loop);
	CU_ASSERT_EQUAL(runs, 2 * PAGE_TASKS + 4);
	munmap(p, (size_t)page * PAGES);
	loop_free(&loop);
}

static void
test_at_end(void)
{
	struct worker a = { .again = 3 }, end = { 0 }, b = { 0 };

	loop = loop_new();
	runs = 0;
	task_init(&a.task, loop, work);
	task_init(&b.task, loop, work);
	task_init(&end.task, loop, work);
	end.other = &b.task; /* woken there, it runs next turn */
	loop_at_end(&end.task);
	loop_at_end(&end.task);
	task_wake(&a.task);
	loop_settle(loop);
	CU_ASSERT(a.runs == 4 && end.runs == 1 && b.runs == 1);
	CU_ASSERT(end.seen == 4 && b.seen == 5);
	loop_at_end(&end.task);
	task_fini(&end.task);
	loop_settle(loop);
	CU_ASSERT_EQUAL(end.runs, 1);
	loop_free(&loop);
}

static void
on_dead(void *p)
{
	runs++;
	free(p);
}

static void
bury(struct task *t)
{
	loop_defer_free(t->loop, malloc(7), on_dead);
	CU_ASSERT_EQUAL(runs, 0);
}

static void
test_defer(void)
{
	struct task t;

	loop = loop_new();
	runs = 0;
	task_init(&t, loop, bury);
	task_wake(&t);
	loop_settle(loop);
	CU_ASSERT_EQUAL(runs, 1);
	loop_defer_free(loop, malloc(7), on_dead);
	loop_free(&loop);
	CU_ASSERT_EQUAL(runs, 2);
}

/* --- timers --- */

#define TIMERS 10000

struct alarm {
	struct timer timer;
	uint64_t due; /* 0: must not fire */
	bool fired;
};

static struct alarm *alarms;
static uint64_t last_due;
static unsigned early, disorder, unasked, left;

/* Move, stop or start others from inside. */
static void
shuffle(void)
{
	struct alarm *a = &alarms[unit_random(TIMERS)];
	uint64_t at = loop_now(loop) + 1 + unit_random(200);

	if (a->fired)
		return;
	if (unit_random(3) == 0) {
		left -= a->due != 0;
		a->due = 0;
		timer_stop(&a->timer);
	} else {
		left += a->due == 0;
		a->due = at;
		timer_set_at(&a->timer, at);
	}
}

static void
on_alarm(struct timer *t)
{
	struct alarm *a = CONTAINER_OF(t, struct alarm, timer);

	early += loop_now(loop) < a->due;
	disorder += a->due < last_due;
	unasked += a->due == 0 || a->fired;
	last_due = a->due;
	a->fired = true;
	if (unit_random(3) == 0)
		shuffle();
	if (--left == 0)
		loop_stop(loop);
}

static void
test_timers(void)
{
	unsigned i, unfired = 0;

	loop = loop_new();
	alarms = calloc(TIMERS, sizeof(*alarms));
	left = TIMERS;
	last_due = early = disorder = unasked = 0;
	for (i = 0; i < TIMERS; i++) {
		timer_init(&alarms[i].timer, loop, on_alarm);
		alarms[i].due = loop_now(loop) + 1 + unit_random(500);
		timer_set_at(&alarms[i].timer, alarms[i].due);
	}
	for (i = 0; i < 2 * TIMERS; i++)
		shuffle();
	loop_run(loop);
	for (i = 0; i < TIMERS; i++)
		unfired += alarms[i].due != 0 && !alarms[i].fired;
	CU_ASSERT_EQUAL(early, 0);
	CU_ASSERT_EQUAL(disorder, 0);
	CU_ASSERT_EQUAL(unasked, 0);
	CU_ASSERT_EQUAL(unfired, 0);
	for (i = 0; i < TIMERS; i++)
		timer_stop(&alarms[i].timer);
	free(alarms);
	loop_free(&loop);
}

static void
on_again(struct timer *t)
{
	if (++runs < 1000)
		timer_set(t, 0);
	else
		loop_stop(loop);
}

static void
on_stop(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

/* Timers of no time let the rest of the loop go on. */
static void
test_timer_at_once(void)
{
	struct timer t, stop;
	uint64_t start;

	loop = loop_new();
	runs = 0;
	timer_init(&t, loop, on_again);
	timer_init(&stop, loop, on_stop);
	timer_set_at(&t, 0);
	loop_run(loop);
	CU_ASSERT_EQUAL(runs, 1000);
	start = loop_now(loop);
	timer_set(&stop, 5);
	timer_set(&stop, 30); /* later */
	loop_run(loop);
	CU_ASSERT(loop_now(loop) - start >= 30);
	CU_ASSERT(loop_now(loop) - start < 1000);
	start = loop_now(loop);
	timer_set(&stop, 60000);
	timer_set(&stop, 10); /* earlier */
	loop_run(loop);
	CU_ASSERT(loop_now(loop) - start >= 10);
	CU_ASSERT(loop_now(loop) - start < 5000);
	timer_set(&stop, 5);
	timer_stop(&stop);
	timer_stop(&stop);
	CU_ASSERT_EQUAL(stop.at, 0);
	loop_free(&loop);
}

static void
test_timer_at_the_end(void)
{
	struct timer t;

	loop = loop_new();
	runs = 998;
	timer_init(&t, loop, on_again);
	timer_set(&t, 3600000);
	loop_settle(loop);
	CU_ASSERT_EQUAL(runs, 998);
	runs = 1000;
	loop_free(&loop); /* tells it that its time has come */
	CU_ASSERT_EQUAL(runs, 1001);
}

/* --- watches --- */

struct end {
	struct watch *watch;
	int fd;
	unsigned events, calls;
	void (*then)(struct end *);
};

static void
on_event(void *arg, unsigned events)
{
	struct end *e = arg;

	e->events |= events;
	e->calls++;
	if (e->then != NULL)
		e->then(e);
}

static void
pair(struct end e[2])
{
	int fd[2], i;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK,
				  0, fd),
	    0);
	for (i = 0; i < 2; i++) {
		e[i] = (struct end){ .fd = fd[i] };
		e[i].watch = watch_new(loop, fd[i], on_event, &e[i]);
	}
}

static void
unpair(struct end e[2])
{
	int i;

	for (i = 0; i < 2; i++) {
		watch_free(&e[i].watch);
		watch_free(&e[i].watch);
		close(e[i].fd);
	}
}

static void
test_watch(void)
{
	struct end e[2];

	loop = loop_new();
	pair(e);
	CU_ASSERT_EQUAL(write(e[1].fd, "x", 1), 1);
	loop_settle(loop);
	CU_ASSERT_EQUAL(e[0].calls, 0);
	watch_set(e[0].watch, WATCH_READ);
	loop_settle(loop);
	CU_ASSERT(e[0].calls == 1 && e[0].events == WATCH_READ);
	loop_settle(loop); /* level-triggered */
	CU_ASSERT_EQUAL(e[0].calls, 2);
	watch_set(e[0].watch, WATCH_READ | WATCH_WRITE);
	loop_settle(loop);
	CU_ASSERT_EQUAL(e[0].events, WATCH_READ | WATCH_WRITE);
	e[0].calls = 0;
	watch_set(e[0].watch, 0);
	loop_settle(loop);
	CU_ASSERT_EQUAL(e[0].calls, 0);
	unpair(e);
	loop_free(&loop);
}

static struct end *victim;

static void
free_victim(struct end *e)
{
	(void)e;
	watch_free(&victim->watch);
}

static void
stop_watching(struct end *e)
{
	watch_set(e->watch, 0);
}

/* Both ends are ready; whoever is called first frees the other, or itself. */
static void
test_watch_inside(void)
{
	struct end a[2], b[2];
	int fd;

	loop = loop_new();
	pair(a);
	CU_ASSERT_EQUAL(write(a[0].fd, "x", 1) + write(a[1].fd, "x", 1), 2);
	a[0].then = free_victim;
	victim = &a[1];
	watch_set(a[0].watch, WATCH_READ);
	watch_set(a[1].watch, WATCH_READ);
	loop_settle(loop);
	CU_ASSERT(a[0].calls == 1 && a[1].calls <= 1);
	victim = &a[0];
	loop_settle(loop);
	CU_ASSERT(a[0].watch == NULL && a[0].calls == 2);
	/* The descriptor's number is used again at once. */
	fd = a[0].fd;
	unpair(a);
	pair(b);
	CU_ASSERT(b[0].fd == fd || b[1].fd == fd);
	b[1].then = stop_watching;
	watch_set(b[1].watch, WATCH_READ | WATCH_WRITE);
	loop_settle(loop);
	loop_settle(loop);
	CU_ASSERT(b[1].calls == 1 && b[0].calls == 0);
	unpair(b);
	loop_free(&loop);
}

/* Many behind and one before them: it is heard while they are served in parts. */

#define MANY 100

static struct {
	struct end many[MANY][2], first[2];
	unsigned served; /* of the many, in all */
	unsigned most;   /* of them between two calls of the first */
	unsigned since;
} crowd;

static void
crowd_served(struct end *e)
{
	char byte;

	CU_ASSERT_EQUAL(read(e->fd, &byte, 1), 1);
	crowd.served++;
	if (++crowd.since > crowd.most)
		crowd.most = crowd.since;
	/* The next but one goes before it is served. */
	if (e == crowd.many[10])
		watch_free(&crowd.many[MANY - 1][0].watch);
}

static void
first_heard(struct end *e)
{
	(void)e;
	crowd.since = 0;
}

static void
test_watch_behind(void)
{
	unsigned i;

	loop = loop_new();
	memset(&crowd, 0, sizeof(crowd));
	pair(crowd.first);
	CU_ASSERT_EQUAL(write(crowd.first[1].fd, "x", 1), 1);
	crowd.first[0].then = first_heard;
	watch_set(crowd.first[0].watch, WATCH_READ);
	for (i = 0; i < MANY; i++) {
		pair(crowd.many[i]);
		CU_ASSERT_EQUAL(write(crowd.many[i][1].fd, "x", 1), 1);
		crowd.many[i][0].then = crowd_served;
		watch_behind(crowd.many[i][0].watch);
		watch_set(crowd.many[i][0].watch, WATCH_READ);
	}
	for (i = 0; i < 20; i++)
		loop_settle(loop);
	CU_ASSERT_EQUAL(crowd.served, MANY - 1);
	CU_ASSERT(crowd.most > 1 && crowd.most <= MANY / 2);
	CU_ASSERT_EQUAL(crowd.many[0][0].calls, 1);
	CU_ASSERT_EQUAL(crowd.many[MANY - 1][0].calls, 0);
	/* Room to write, and a peer's end, are told as well. */
	crowd.many[0][0].then = NULL;
	watch_set(crowd.many[0][0].watch, WATCH_READ | WATCH_WRITE);
	crowd.many[0][0].events = 0;
	loop_settle(loop);
	CU_ASSERT_EQUAL(crowd.many[0][0].events, WATCH_WRITE);
	watch_set(crowd.many[0][0].watch, WATCH_READ);
	watch_free(&crowd.many[0][1].watch);
	shutdown(crowd.many[0][1].fd, SHUT_WR);
	loop_settle(loop);
	CU_ASSERT_EQUAL(crowd.many[0][0].events, WATCH_READ | WATCH_WRITE);
	for (i = 0; i < MANY; i++)
		unpair(crowd.many[i]);
	unpair(crowd.first);
	loop_free(&loop);
}

/* Tasks that always have more to do let sockets have their turns. */
static void
stop_loop(struct end *e)
{
	(void)e;
	loop_stop(loop);
}

static void
test_no_starving(void)
{
	struct worker w = { .again = 100000000 };
	struct end e[2];

	loop = loop_new();
	runs = 0;
	pair(e);
	task_init(&w.task, loop, work);
	task_wake(&w.task);
	e[0].then = stop_loop;
	watch_set(e[0].watch, WATCH_READ);
	CU_ASSERT_EQUAL(write(e[1].fd, "x", 1), 1);
	loop_run(loop);
	CU_ASSERT(e[0].calls == 1 && runs < 1000);
	task_fini(&w.task);
	unpair(e);
	loop_free(&loop);
}

/* --- mail --- */

#define SENDERS 4
#define LETTERS 2000

struct letter {
	struct mail mail;
	unsigned from, number;
};

static unsigned received[SENDERS], wrong_order;

static void
deliver(struct mail *m, struct loop *l)
{
	struct letter *letter = CONTAINER_OF(m, struct letter, mail);

	wrong_order += received[letter->from]++ != letter->number || l != loop;
	if (++runs == SENDERS * LETTERS)
		loop_stop(loop);
	free(letter);
}

static void *
send_letters(void *arg)
{
	struct letter *letter;
	unsigned i;

	for (i = 0; i < LETTERS; i++) {
		letter = malloc(sizeof(*letter));
		*letter = (struct letter){ .mail.deliver = deliver,
			.from = *(unsigned *)arg,
			.number = i };
		mail_post(loop, &letter->mail);
	}
	return (NULL);
}

static void
test_mail(void)
{
	pthread_t t[SENDERS];
	unsigned number[SENDERS], i;

	loop = loop_new();
	runs = wrong_order = 0;
	memset(received, 0, sizeof(received));
	for (i = 0; i < SENDERS; i++) {
		number[i] = i;
		pthread_create(&t[i], NULL, send_letters, &number[i]);
	}
	loop_run(loop);
	for (i = 0; i < SENDERS; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT(runs == SENDERS * LETTERS && wrong_order == 0);
	runs = 0; /* what is posted when the loop ends */
	memset(received, 0, sizeof(received));
	i = 0;
	(void)send_letters(&i);
	loop_free(&loop);
	CU_ASSERT_EQUAL(runs, LETTERS);
}

/* --- handles --- */

static void
test_handles(void)
{
	struct {
		struct handle h;
		int *object;
	} now[500] = { 0 };
	struct handle stale[500] = { 0 };
	unsigned i, k, bad = 0;
	int objects[500];

	loop = loop_new();
	CU_ASSERT_PTR_NULL(handle_get(loop, (struct handle){ 0, 0 }));
	CU_ASSERT_PTR_NULL(handle_get(loop, (struct handle){ 9, 1 }));
	for (i = 0; i < 20000; i++) {
		k = unit_random(500);
		if (now[k].object == NULL) {
			now[k].object = &objects[k];
			now[k].h = handle_new(loop, &objects[k]);
			bad += now[k].h.generation == 0;
		} else {
			stale[k] = now[k].h;
			handle_free(loop, &now[k].h);
			now[k].object = NULL;
			bad += now[k].h.generation != 0;
			handle_free(loop, &now[k].h);
		}
		k = unit_random(500);
		bad += handle_get(loop, now[k].h) != now[k].object;
		bad += handle_get(loop, stale[k]) != NULL;
		handle_free(loop,
		    &(struct handle){ stale[k].slot, stale[k].generation });
		bad += handle_get(loop, now[k].h) != now[k].object;
	}
	CU_ASSERT_EQUAL(bad, 0);
	loop_free(&loop);
}

/* --- paused timers, busy loops --- */

static void
count_fire(struct timer *t)
{
	(void)t;
	runs++;
}

static void
spin_ms(unsigned ms)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	do
		clock_gettime(CLOCK_MONOTONIC, &b);
	while (
	    (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 <
	    ms);
}

static void
pass_ms(unsigned ms)
{
	uint64_t until;

	loop_settle(loop);
	for (until = loop_now(loop) + ms; loop_now(loop) < until;) {
		usleep(1000);
		loop_settle(loop);
	}
}

static void
test_timer_pause(void)
{
	struct timer t, never;

	loop = loop_new();
	runs = 0;
	timer_init(&t, loop, count_fire);
	timer_init(&never, loop, count_fire);
	timer_pause(&t); /* not set: nothing */
	timer_set(&t, 5);
	timer_set(&never, 5);
	timer_pause(&t);
	timer_pause(&never);
	pass_ms(20);
	CU_ASSERT_EQUAL(runs, 0);
	timer_set(&t, 5);
	timer_pause(&t);
	timer_set(&t, 8); /* set again while it is paused */
	pass_ms(20);
	CU_ASSERT_EQUAL(runs, 1);
	timer_set(&t, 1000);
	timer_set(&never, 1000);
	timer_pause(&never);
	timer_stop(&t);
	loop_free(&loop); /* fires what only waits; not this */
	CU_ASSERT_EQUAL(runs, 1);
}

static struct timer nap;
static unsigned naps, busy_seen;
static bool naps_spin;

static void
on_nap(struct timer *t)
{
	if (naps_spin)
		spin_ms(10);
	if (naps > 4 && loop_is_busy(loop))
		busy_seen++;
	if (++naps == 20)
		loop_stop(loop);
	else
		timer_set(t, naps_spin ? 0 : 10);
}

static void
test_busy(void)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		loop = loop_new();
		naps = busy_seen = 0;
		naps_spin = i > 0;
		timer_init(&nap, loop, on_nap);
		timer_set(&nap, 0);
		loop_run(loop);
		timer_stop(&nap);
		CU_ASSERT(naps_spin ? busy_seen >= 10 : busy_seen == 0);
		loop_free(&loop);
	}
}

UNIT_TESTS(base_loop, { "tasks", test_tasks },
    { "leaving a queue touches only the neighbours", test_leaving },
    { "at the end of a turn", test_at_end }, { "deferred freeing", test_defer },
    { "timers in order and never early", test_timers },
    { "timers at once, earlier, later", test_timer_at_once },
    { "timers when the loop ends", test_timer_at_the_end },
    { "paused timers", test_timer_pause }, { "busy or idle", test_busy },
    { "watches", test_watch },
    { "watches changed and freed inside", test_watch_inside },
    { "watches behind the others", test_watch_behind },
    { "busy tasks starve nobody", test_no_starving },
    { "mail from threads", test_mail }, { "handles", test_handles })
