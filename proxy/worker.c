/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers, see worker.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/budget.h"
#include "base/thread.h"
#include "net/dns.h"
#include "proxy/accept.h"
#include "proxy/client.h"
#include "proxy/greet.h"
#include "proxy/proofs.h"
#include "proxy/wire/lease.h"
#include "proxy/wire/outer.h"
#include "proxy/worker.h"

/* Ending. */

static void
drain_now(struct timer *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, drain);
	struct list *it, *save;

	LIST_EACH (it, save, &w->clients)
		client_abort(CONTAINER_OF(it, struct client, link));
	loop_stop(w->loop);
}

void
worker_client_gone(struct worker *w)
{
	if (w->draining && list_empty(&w->clients) && list_empty(&w->greets))
		loop_stop(w->loop);
}

static void
worker_drain(struct worker *w, uint64_t drain_ms)
{
	struct list *it, *save;

	if (!w->draining) {
		w->draining = true;
		accept_stop(w);
		origin_pool_purge(w->pool, NULL);
		LIST_EACH (it, save, &w->clients)
			client_drain(CONTAINER_OF(it, struct client, link));
	}
	if (list_empty(&w->clients) && list_empty(&w->greets))
		loop_stop(w->loop);
	else if (drain_ms == 0)
		drain_now(&w->drain);
	else
		timer_set(&w->drain, drain_ms);
}

/* Messages of the main thread. */

struct post {
	struct mail mail;
	struct worker *worker;
	uint64_t drain_ms;
};

static void
drain_deliver(struct mail *m, struct loop *loop)
{
	struct post *p = CONTAINER_OF(m, struct post, mail);

	(void)loop;
	worker_drain(p->worker, p->drain_ms);
	free(p);
}

void
worker_post_drain(struct worker *w, uint64_t drain_ms)
{
	struct post *p = calloc(1, sizeof(*p));

	if (p == NULL)
		abort();
	p->mail.deliver = drain_deliver;
	p->worker = w;
	p->drain_ms = drain_ms;
	mail_post(w->loop, &p->mail);
}

/* The thread. */

struct thread {
	pthread_t id;
};

static void
worker_fini(struct worker *w)
{
	accept_stop(w);
	greet_close_all(w);
	timer_stop(&w->drain);
	timer_stop(&w->tick);
	refusals_fini(&w->refusals);
	origin_pool_free(&w->pool);
	outer_end_all(w);
	worker_gen_unref(&w->next);
	dns_free(&w->next_dns);
	worker_gen_unref(&w->current);
	loop_settle(w->loop); /* its services let go of the dialer */
	proofs_free(&w->proofs);
	splicer_free(&w->splicer);
	dialer_free(&w->dialer);
	resolver_free(&w->resolver);
	account_unref(&w->kept);
	conf_unref(&w->first);
}

/* It moves: the supervisor looks whether it does. */
static void
tick(struct timer *t)
{
	flight_tick(&CONTAINER_OF(t, struct worker, tick)->flight);
	timer_set(t, FLIGHT_TICK_MS);
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;

	flight_part_begin(&w->flight, w->shared->flight, w->index);
	timer_set(&w->tick, FLIGHT_TICK_MS);
	loop_run(w->loop);
	link_thread_fini();
	flight_part_end(&w->flight);
	return (NULL);
}

struct worker *
worker_start(unsigned index, struct gen *g, struct proxy_shared *shared,
    const int *fds, const struct conf_listen *const *of, unsigned n_fds,
    struct fault *f)
{
	struct worker *w = calloc(1, sizeof(*w));
	struct thread *t = calloc(1, sizeof(*t));
	struct resolver_options o;
	char name[THREAD_NAME_MAX];

	w->index = index;
	w->shared = shared;
	w->thread = t;
	w->first = conf_ref(g->conf);
	w->loop = loop_new();
	list_init(&w->clients);
	list_init(&w->greets);
	list_init(&w->outers);
	timer_init(&w->drain, w->loop, drain_now);
	timer_init(&w->tick, w->loop, tick);
	w->kept = account_open(shared->budget, ACCOUNT_KEPT);
	refusals_init(&w->refusals, w->loop, w->kept);
	worker_resolver(g, &o);
	w->resolver = resolver_new(w->loop, &o, f);
	if (w->resolver == NULL)
		return (NULL);
	w->dialer = dialer_new(w->loop, w->resolver);
	w->splicer = splicer_new(w->loop, w->kept);
	w->proofs = proofs_new();
	w->pool = origin_pool_new(w);
	w->current = worker_gen_new(w, g, f);
	if (w->current == NULL)
		return (NULL);
	accept_start(w, fds, of, n_fds);
	snprintf(name, sizeof(name), "worker/%u", index);
	if (thread_start(&t->id, name, worker_main, w) != 0)
		fault_set(f, ERR_SYSTEM, "no thread");
	return (f->code == ERR_NONE ? w : NULL);
}

void
worker_join(struct worker *w)
{
	struct thread *t = w->thread;

	pthread_join(t->id, NULL);
	worker_fini(w);
	loop_settle(w->loop);
}

void
worker_free(struct worker **wp)
{
	struct worker *w = *wp;

	loop_free(&w->loop);
	free(w->thread);
	free(w);
	*wp = NULL;
}
