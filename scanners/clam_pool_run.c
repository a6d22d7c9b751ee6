/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread that looks after scanner processes, see clam_pool_priv.h: it
 * polls the masters' sockets, and the scanners that are not born yet.  Scanners that
 * have a body are their loop's; of those that have none their master tells.
 *
 * Room: scanners.  Thread: its own.  Units: monotonic ms.
 */
#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "scanners/clam_pool_priv.h"

#define TICK_MS 1000
#define ANSWER_MS 15000 /* in which a master forks, or reaps */
#define WAIT_MS 10000   /* bodies wait so long for a master to come */
#define SPARE_MS 60000  /* more than one idle are kept so long */
#define BIRTHS 3        /* that fail in a row, before it is said */

/* ---- births ---- */

/* Nobody will come for those who wait. */
static void
queues_end(struct clam_pool *p, const char *why)
{
	struct turn *t;
	unsigned i;

	for (i = 0; i < CLASSES; i++)
		while ((t = turns_next(&p->queue[i].turns)) != NULL)
			clam_ride_down(clam_job_of_turn(t), why);
}

/* What one lacks the others lack too: nobody scans until one is fit. */
static void
unfit(struct clam_pool *p, enum clam_health h, const char *detail)
{
	unsigned i;

	for (i = 0; i < p->n_children; i++)
		if (p->child[i].state == PROC_IDLE)
			clam_proc_retire(p, &p->child[i]);
	p->make_after = clam_now_ms() + p->engine->watch_ms;
	clam_engine_set_health(p->engine, h, detail);
}

static void
birth_failed(struct clam_pool *p, const char *how)
{
	p->failed++;
	if (p->failed < BIRTHS)
		return;
	unfit(p, CLAM_NO_SCANNER, how);
}

static void
boxes_say(struct clam_pool *p, const struct clam_born *b)
{
	char master[SANDBOX_TEXT], scanner[SANDBOX_TEXT];
	char text[sizeof(master) + sizeof(scanner) + 20];

	if (p->boxes_said)
		return;
	p->boxes_said = true;
	sandbox_text(&p->master_box, master);
	sandbox_text(&b->box, scanner);
	snprintf(text, sizeof(text), "%s; scanners: %s", master, scanner);
	clam_engine_say(p->engine, "sandbox of the scan master: ", text);
}

static void
born(struct clam_pool *p, struct clam_proc *c, const struct clam_born *b)
{
	boxes_say(p, b);
	if (!b->fit) {
		clam_proc_retire(p, c);
		unfit(p, CLAM_NO_CANARY, p->temp_dir);
		return;
	}
	p->failed = 0;
	clam_engine_set_health(p->engine, CLAM_FIT, "");
	if (c->link->old)
		clam_proc_retire(p, c);
	else
		clam_proc_set(p, c, PROC_IDLE);
}

/* STARTING, and readable. */
static void
child_read(struct clam_pool *p, struct clam_proc *c)
{
	struct clam_packet m;

	switch (clam_wire_recv(c->fd, CLAM_BIT(CLAM_BORN), &m, 0)) {
	case CLAM_GOT:
		born(p, c, &m.m.born);
		break;
	case CLAM_NOTHING:
		break;
	case CLAM_BROKEN:
		(void)clam_wire_word(c->link->fd, CLAM_KILL, c->id, NULL, 0);
		close(c->fd);
		c->fd = -1;
		break;
	case CLAM_ENDED:
	case CLAM_UNREAD: /* what of is said by its master */
		close(c->fd);
		c->fd = -1;
		break;
	}
}

/* ---- what a master tells ---- */

/* The lock is held.  A child may have a job, which is told. */
static void
child_died(struct clam_pool *p, struct clam_proc *c)
{
	char text[100];

	switch (c->state) {
	case PROC_NONE:
		break;
	case PROC_STARTING:
		clam_death_text(c->how, c->of, text, sizeof(text));
		clam_proc_free(p, c);
		birth_failed(p, text);
		break;
	case PROC_IDLE:
		clam_proc_free(p, c);
		break;
	case PROC_BUSY: /* its loop sees the end of its socket */
		break;
	case PROC_LOST:
		if (c->job != NULL)
			clam_ride_died(c->job);
		else
			clam_proc_free(p, c);
		break;
	case PROC_STATES:
		assert(0);
		break;
	}
}

static void
link_died(struct clam_pool *p, const struct clam_died *d,
    const struct clam_link *l)
{
	struct clam_proc *c;
	unsigned i;

	for (i = 0; i < p->n_children; i++) {
		c = &p->child[i];
		if (c->state == PROC_NONE || c->id != d->id || c->link != l ||
		    c->died)
			continue;
		c->died = true;
		c->how = (enum clam_death)d->how;
		c->of = d->of;
		child_died(p, c);
		return;
	}
}

/* The master is gone, and all its scanners with it. */
static void
link_gone(struct clam_pool *p, struct clam_link *l)
{
	struct clam_proc *c;
	unsigned i;

	if (p->link == l) {
		p->link = NULL;
		p->lost_at = clam_now_ms();
	}
	l->old = true;
	for (i = 0; i < p->n_children; i++) {
		c = &p->child[i];
		if (c->state == PROC_NONE || c->link != l || c->died)
			continue;
		c->died = true;
		c->how = CLAM_KILLED;
		c->of = 0;
		if (c->state == PROC_STARTING)
			clam_proc_free(p, c);
		else
			child_died(p, c);
	}
}

static void
link_read(struct clam_pool *p, struct clam_link *l)
{
	struct clam_packet m;
	enum clam_got got;

	while ((got = clam_wire_recv(l->fd, CLAM_BIT(CLAM_DIED), &m, 0)) ==
	    CLAM_GOT)
		link_died(p, &m.m.died, l);
	if (got == CLAM_NOTHING)
		return;
	link_gone(p, l);
	close(l->fd);
	l->fd = -1;
}

/* ---- another master ---- */

static void
link_is_old(struct clam_pool *p, struct clam_link *l)
{
	unsigned i;

	l->old = true;
	for (i = 0; i < p->n_children; i++)
		if (p->child[i].state == PROC_IDLE && p->child[i].link == l)
			clam_proc_retire(p, &p->child[i]);
}

static struct clam_link *
link_place(struct clam_pool *p)
{
	unsigned i;

	for (i = 0; i < CLAM_LINKS; i++)
		if (p->links[i].fd < 0 && p->links[i].children == 0)
			return (&p->links[i]);
	return (NULL);
}

static void
link_new(struct clam_pool *p, int fd, const struct clam_ready *ready)
{
	bool again = p->life == ready->life;
	struct clam_link *l = link_place(p);

	if (l == NULL) { /* four are leaving, with bodies of two minutes */
		close(fd);
		return;
	}
	p->life = ready->life;
	if (p->link != NULL)
		link_is_old(p, p->link);
	*l = (struct clam_link){ .fd = fd };
	p->link = l;
	p->lost_at = 0;
	p->failed = 0;
	p->make_after = 0;
	p->master_box = ready->box;
	if (!again)
		clam_engine_set_ready(p->engine, ready);
	if (!again && !ready->fit)
		clam_engine_set_health(p->engine, CLAM_NO_CANARY, p->temp_dir);
	clam_pool_share(p);
}

void
clam_pool_come(struct clam_pool *p)
{
	struct clam_packet m;
	int fd = p->coming;

	if (fd < 0)
		return;
	switch (clam_wire_recv(fd, CLAM_BIT(CLAM_READY), &m, 0)) {
	case CLAM_GOT:
		p->coming = -1;
		link_new(p, fd, &m.m.ready);
		break;
	case CLAM_NOTHING:
		break;
	case CLAM_BROKEN:
	case CLAM_ENDED:
	case CLAM_UNREAD:
		close(fd);
		p->coming = -1;
		break;
	}
}

/* Of a master that leaves, with nothing left: it may go. */
static void
links_close(struct clam_pool *p)
{
	struct clam_link *l;
	unsigned i;

	for (i = 0; i < CLAM_LINKS; i++) {
		l = &p->links[i];
		if (l->fd >= 0 && l->old && l->children == 0) {
			close(l->fd);
			l->fd = -1;
		}
	}
}

/* ---- time ---- */

static bool
is_stuck(const struct clam_pool *p, const struct clam_proc *c, uint64_t now)
{
	return ((c->state == PROC_STARTING || c->state == PROC_LOST) &&
	    c->link == p->link && now - c->since > ANSWER_MS);
}

/* More than one that has nothing to do, for long. */
static void
spares_end(struct clam_pool *p, enum clam_class class, uint64_t now)
{
	struct clam_proc *c, *other = NULL;
	unsigned i;

	for (i = 0; i < p->n_children; i++) {
		c = &p->child[i];
		if (c->state != PROC_IDLE || c->class != class)
			continue;
		if (other != NULL && now - c->since > SPARE_MS)
			clam_proc_retire(p, c);
		else
			other = c;
	}
}

/* Whether it stands still is its owner's to see; here it begins anew. */
static void
stuck_end(struct clam_pool *p, uint64_t now)
{
	struct clam_link *l = p->link;
	unsigned i;

	for (i = 0; i < p->n_children && l != NULL; i++)
		if (is_stuck(p, &p->child[i], now)) {
			clam_engine_say(p->engine,
			    "the scan master does not answer", "");
			link_gone(p, l);
			close(l->fd);
			l->fd = -1;
			return;
		}
}

static void
tick(struct clam_pool *p, uint64_t now)
{
	stuck_end(p, now);
	spares_end(p, CLASS_SMALL, now);
	spares_end(p, CLASS_LARGE, now);
	if (p->lost_at != 0 && now - p->lost_at > WAIT_MS)
		queues_end(p, "no scan master is there");
	if (!clam_engine_fit(p->engine))
		queues_end(p, clam_engine_unfit(p->engine));
}

/* ---- the loop ---- */

struct polled {
	struct pollfd *v; /* owned */
	unsigned n;
};

#define FIRST_LINK 2
#define FIRST_CHILD (FIRST_LINK + CLAM_LINKS)

/* A child's place is that of its descriptor; -1 is passed over. */
static void
polls_fill(const struct clam_pool *p, struct polled *polls)
{
	unsigned i;

	polls->v[0] = (struct pollfd){ p->wake, POLLIN, 0 };
	polls->v[1] = (struct pollfd){ p->coming, POLLIN, 0 };
	for (i = 0; i < CLAM_LINKS; i++)
		polls->v[FIRST_LINK + i] = (struct pollfd){ p->links[i].fd,
			POLLIN, 0 };
	for (i = 0; i < p->n_children; i++)
		polls->v[FIRST_CHILD + i] = (struct pollfd){
			p->child[i].state == PROC_STARTING ? p->child[i].fd
							   : -1,
			POLLIN, 0
		};
	polls->n = FIRST_CHILD + p->n_children;
}

/*
 * Births before deaths: who has said that it lives and has died since was
 * born.  What was polled may be another's by now: nothing waits, then.
 */
static void
polls_read(struct clam_pool *p, const struct polled *polls)
{
	struct clam_proc *c;
	unsigned i;

	clam_pool_come(p);
	for (i = 0; i < p->n_children; i++) {
		c = &p->child[i];
		if (polls->v[FIRST_CHILD + i].revents != 0 &&
		    c->state == PROC_STARTING)
			child_read(p, c);
	}
	for (i = 0; i < CLAM_LINKS; i++)
		if (polls->v[FIRST_LINK + i].revents != 0 &&
		    p->links[i].fd >= 0)
			link_read(p, &p->links[i]);
}

/* False: it is over. */
static bool
look(struct clam_pool *p, const struct polled *polls)
{
	uint64_t got, now;
	bool asks, closing;

	(void)!read(p->wake, &got, sizeof(got));
	clam_pool_lock(p);
	polls_read(p, polls);
	now = clam_now_ms(); /* not before what others have noted */
	tick(p, now);
	links_close(p);
	clam_pool_share(p);
	asks = !p->closing && p->link == NULL && p->coming < 0 &&
	    (p->asked_at == 0 || now - p->asked_at >= TICK_MS);
	if (asks)
		p->asked_at = now;
	closing = p->closing;
	clam_pool_unlock(p);
	if (asks)
		p->door.want(p->door.arg, p->door.number);
	return (!closing);
}

void *
clam_pool_run(void *arg)
{
	struct clam_pool *p = arg;
	struct polled polls = { NULL, 0 };
	int wait = p->engine->watch_ms < TICK_MS ? (int)p->engine->watch_ms
						 : TICK_MS;

	polls.v = calloc(FIRST_CHILD + p->n_children, sizeof(*polls.v));
	if (polls.v == NULL)
		abort();
	do {
		clam_pool_lock(p);
		polls_fill(p, &polls);
		clam_pool_unlock(p);
		if (poll(polls.v, polls.n, wait) < 0)
			memset(polls.v, 0, polls.n * sizeof(*polls.v));
	} while (look(p, &polls));
	free(polls.v);
	return (NULL);
}
