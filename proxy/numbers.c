/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a serving process knows in numbers, see numbers.h. */
#include <stdio.h>
#include <stdlib.h>
#include "base/chunk.h"
#include "base/list.h"
#include "proxy/numbers.h"
#include "proxy/worker.h"
#include "tls/resume.h"

/*
 * Its mail goes from worker to worker, each of which writes into sum, and home.
 * When that takes too long, what is told is without them, and the round goes
 * when it is home.
 */
struct numbers_round {
	struct mail mail;
	struct timer late;
	struct loop *home;
	struct gen *gen; /* counted */
	struct worker *const *workers;
	unsigned n, at;
	bool told;
	struct numbers sum; /* of those that were asked; the mail's */
	void (*ready)(void *arg, const struct gen *, const struct numbers *);
	void *arg;
};

static void
add_endpoint(struct numbers_endpoint *e, const struct icap_stats *s)
{
	(void)snprintf(e->name, sizeof(e->name), "%s", s->endpoint);
	if (s->state == ICAP_DOWN)
		(void)snprintf(e->down, sizeof(e->down), "%s", s->down);
	e->up += s->state == ICAP_UP;
	e->max_connections = s->max_connections;
	e->idle += s->idle;
	e->busy += s->busy;
	e->options += s->options;
	e->transactions += s->transactions;
	e->retries += s->retries;
	e->failures += s->failures;
	e->connects += s->connects;
}

static void
add_services(struct numbers *sum, const struct worker_gen *wg)
{
	struct numbers_service *out;
	struct icap_stats s;
	unsigned i, k;

	for (i = 0; i < wg->gen->conf->services.n; i++) {
		out = &sum->services[i];
		if (wg->scanners[i] == NULL ||
		    wg->gen->conf->services.v[i].type != CONF_ICAP)
			continue;
		for (k = 0; k < NUMBERS_ENDPOINTS &&
		     icap_get_stats(wg->scanners[i], k, &s);
		     k++)
			add_endpoint(&out->v[k], &s);
		out->n = k;
	}
}

/* On the worker's thread. */
static void
add_worker(struct numbers_round *r, const struct worker *w)
{
	struct resolver_counts c;

	/* One that is between two generations has no services to add. */
	if (w->draining || w->current == NULL || w->current->gen != r->gen)
		return;
	c = resolver_counts(w->resolver);
	r->sum.names.queries += c.queries;
	r->sum.names.hits += c.hits;
	r->sum.names.joined += c.joined;
	r->sum.names.failed += c.failed;
	r->sum.names.cached += c.cached;
	r->sum.ticket_bytes += tls_resume_bytes(w->current->resume);
	r->sum.chunk_bytes += chunk_bytes_live();
	add_services(&r->sum, w->current);
	r->sum.answered++;
}

static void
round_free(struct numbers_round *r)
{
	timer_stop(&r->late);
	gen_unref(&r->gen);
	free(r->sum.services);
	free(r);
}

static void
tell(struct numbers_round *r, const struct numbers *what)
{
	if (r->told)
		return;
	r->told = true;
	timer_stop(&r->late);
	r->ready(r->arg, r->gen, what);
}

static void
come_home(struct mail *m, struct loop *loop)
{
	struct numbers_round *r = CONTAINER_OF(m, struct numbers_round, mail);

	(void)loop;
	tell(r, &r->sum);
	round_free(r);
}

static void
visit(struct mail *m, struct loop *loop)
{
	struct numbers_round *r = CONTAINER_OF(m, struct numbers_round, mail);

	(void)loop;
	add_worker(r, r->workers[r->at]);
	if (++r->at < r->n) {
		mail_post(r->workers[r->at]->loop, m);
		return;
	}
	m->deliver = come_home;
	mail_post(r->home, m);
}

/* What has been summed up is still a worker's to write. */
static void
on_late(struct timer *t)
{
	struct numbers_round *r = CONTAINER_OF(t, struct numbers_round, late);
	struct numbers none = { .workers = r->n,
		.services = calloc(r->gen->conf->services.n + 1,
		    sizeof(*none.services)) };

	if (none.services == NULL)
		abort();
	tell(r, &none);
	free(none.services);
}

struct numbers_round *
numbers_ask(struct loop *home, struct gen *g, struct worker *const *workers,
    unsigned n,
    void (*ready)(void *arg, const struct gen *, const struct numbers *),
    void *arg)
{
	struct numbers_round *r = calloc(1, sizeof(*r));

	if (r == NULL)
		abort();
	*r = (struct numbers_round){ .mail = { .deliver = visit },
		.home = home,
		.gen = gen_ref(g),
		.workers = workers,
		.n = n,
		.sum = { .workers = n,
		    .services = calloc(g->conf->services.n + 1,
			sizeof(*r->sum.services)) },
		.ready = ready,
		.arg = arg };
	if (r->sum.services == NULL)
		abort();
	timer_init(&r->late, home, on_late);
	timer_set(&r->late, NUMBERS_MS);
	if (n == 0)
		r->mail.deliver = come_home;
	mail_post(n > 0 ? workers[0]->loop : home, &r->mail);
	return (r);
}

void
numbers_forget(struct numbers_round **rp)
{
	if (*rp != NULL) {
		(*rp)->told = true;
		timer_stop(&(*rp)->late);
	}
	*rp = NULL;
}
