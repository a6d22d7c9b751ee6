/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS with a parent, under other connections; see outer.h. */
#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "net/descriptors.h"
#include "proxy/wire/outer.h"
#include "proxy/worker.h"
#include "tls/link.h"

#define TURN_BYTES (256 << 10) /* a direction's share of a turn */
#define READ_BYTES 65536
#define GONE_MS 1000 /* so often it is looked whether the other end is there */

struct outer {
	struct list link;       /* of its worker, while it runs */
	struct worker_gen *gen; /* counted */
	struct link *parent;    /* owned: TLS; NULL: it has ended */
	struct link *inner;     /* owned: our end of the pair; NULL like that */
	int inner_fd;           /* of that link */
	struct task task;
	struct timer timer;
	bool up_ended, down_ended; /* a direction: to the parent, from it */
	bool cut;
	bool released;
};

static void
free_now(void *p)
{
	free(p);
}

static void
outer_free(struct outer *o)
{
	assert(o->parent == NULL && o->released);
	loop_defer_free(o->gen->worker->loop, o, free_now);
	worker_gen_unref(&o->gen);
}

/* Whoever stands on it sees an end in any case: was it the parent's? */
static void
outer_end(struct outer *o, enum link_end how)
{
	assert(o->parent != NULL);
	if (!o->down_ended || (how == LINK_ABORT && !link_drained(o->inner)))
		o->cut = true;
	link_close(&o->parent, how);
	link_close(&o->inner, how);
	timer_stop(&o->timer);
	task_fini(&o->task);
	list_remove(&o->link);
	if (o->released)
		outer_free(o);
}

/* What there is.  PULL_WAIT: a side is waited for; PULL_MORE: there is more. */
static enum pull
move(struct link *from, struct link *to)
{
	size_t room, moved = 0;
	struct chq q = { 0 };
	enum pull p = PULL_MORE;

	while (moved < TURN_BYTES && (room = link_room(to)) > 0 &&
	    (p = link_read(from, &q, room < READ_BYTES ? room : READ_BYTES)) ==
		PULL_MORE) {
		moved += chq_len(&q);
		link_write_chq(to, &q, chq_len(&q));
	}
	chq_fini(&q);
	return (p == PULL_MORE && moved < TURN_BYTES ? PULL_WAIT : p);
}

/* False: a side is lost. */
static bool
run_way(struct outer *o, struct link *from, struct link *to, bool *ended)
{
	enum pull p;

	if (*ended)
		return (!link_broken(to));
	p = move(from, to);
	if (from == o->parent && (p == PULL_CUT || p == PULL_FAIL))
		o->cut = true;
	if (p == PULL_FAIL || link_broken(to))
		return (false);
	if (p == PULL_MORE)
		task_wake(&o->task);
	else if (p != PULL_WAIT) {
		link_shutdown(to);
		*ended = true;
	}
	return (true);
}

static void
outer_run(struct task *t)
{
	struct outer *o = CONTAINER_OF(t, struct outer, task);
	bool had = o->up_ended;

	if (!run_way(o, o->inner, o->parent, &o->up_ended) ||
	    !run_way(o, o->parent, o->inner, &o->down_ended)) {
		outer_end(o, LINK_ABORT);
		return;
	}
	if (o->up_ended && o->down_ended)
		outer_end(o, LINK_CLOSE);
	else if (o->up_ended && !had)
		timer_set(&o->timer, GONE_MS);
}

/* Its end was said: is anybody there who reads? */
static void
outer_look(struct timer *t)
{
	struct outer *o = CONTAINER_OF(t, struct outer, timer);
	struct pollfd p = { .fd = o->inner_fd };

	assert(o->up_ended && o->inner != NULL);
	if (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0)
		outer_end(o, LINK_CLOSE);
	else
		timer_set(&o->timer, GONE_MS);
}

/* Three descriptors in all: the parent's is counted already. */
static bool
make_pair(struct account *a, int fd[2], struct fault *f)
{
	if (a != NULL && account_room(a, BUDGET_DESCRIPTORS) < 2) {
		fault_set(f, ERR_DESCRIPTORS, "this client has its share");
		return (false);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		fd) != 0) {
		fault_set(f, ERR_DESCRIPTORS, "%m");
		return (false);
	}
	if (!descriptors_short(fd[0]) && !descriptors_short(fd[1]))
		return (true);
	(void)close(fd[0]);
	(void)close(fd[1]);
	fault_set(f, ERR_DESCRIPTORS, NULL);
	return (false);
}

struct outer *
outer_start(struct worker *w, struct worker_gen *g, struct link **parent,
    struct chq *first, struct account *a, int *fd, struct fault *f)
{
	struct outer *o;
	int pair[2];

	assert(link_tls(*parent) != NULL);
	if (!make_pair(a, pair, f)) {
		link_close(parent, LINK_ABORT);
		return (NULL);
	}
	if ((o = calloc(1, sizeof(*o))) == NULL)
		abort();
	o->gen = worker_gen_ref(g);
	task_init(&o->task, w->loop, outer_run);
	timer_init(&o->timer, w->loop, outer_look);
	o->parent = *parent;
	*parent = NULL;
	link_set_owner(o->parent, &o->task);
	o->inner_fd = pair[0];
	o->inner = link_new(w->loop, pair[0], &o->task);
	outer_charge_to(o, a);
	list_append(&w->outers, &o->link);
	if (chq_len(first) > 0)
		link_write_chq(o->inner, first, chq_len(first));
	task_wake(&o->task);
	*fd = pair[1];
	return (o);
}

void
outer_charge_to(struct outer *o, struct account *a)
{
	if (o->parent == NULL)
		return;
	link_charge_to(o->parent, a);
	link_charge_to(o->inner, a);
}

const bool *
outer_cut(const struct outer *o)
{
	return (&o->cut);
}

void
outer_release(struct outer **op)
{
	struct outer *o = *op;

	*op = NULL;
	if (o == NULL)
		return;
	o->released = true;
	if (o->parent == NULL)
		outer_free(o);
}

void
outer_end_all(struct worker *w)
{
	struct list *it, *save;

	LIST_EACH (it, save, &w->outers)
		outer_end(CONTAINER_OF(it, struct outer, link), LINK_ABORT);
}
