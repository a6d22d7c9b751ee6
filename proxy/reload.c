/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a new generation comes into force, see reload.h. */
#include <assert.h>
#include <stdlib.h>
#include "proxy/client.h"
#include "net/dns.h"
#include "proxy/wire/lease.h"
#include "proxy/reload.h"

/* In the workers. */

static void
forget(struct worker *w)
{
	worker_gen_unref(&w->next);
	dns_free(&w->next_dns);
}

static void
prepare(struct worker *w, struct gen *g, struct fault *f)
{
	struct resolver_options o;

	assert(w->next == NULL);
	if (w->draining) {
		fault_set(f, ERR_SHUTDOWN, NULL);
		return;
	}
	worker_resolver(g, &o);
	if ((w->next = worker_gen_new(w, g, f)) == NULL ||
	    (w->next_dns = resolver_prepare(w->resolver, &o, f)) == NULL)
		forget(w);
}

static void
switch_over(struct worker *w)
{
	struct worker_gen *old = w->current;
	struct list *it, *save;
	struct resolver_options o;

	assert(w->next != NULL);
	worker_resolver(w->next->gen, &o);
	resolver_switch(w->resolver, &o, w->next_dns);
	w->current = w->next;
	w->next = NULL;
	w->next_dns = NULL;
	origin_pool_purge(w->pool, w->current);
	LIST_EACH (it, save, &w->clients)
		client_reload(CONTAINER_OF(it, struct client, link),
		    w->current->gen->conf);
	worker_gen_unref(&old);
}

/* There and back: one message for each worker and step. */

enum step_kind { STEP_PREPARE, STEP_SWITCH, STEP_FORGET };

struct step {
	struct mail mail;
	struct reload *reload;
	struct worker *worker;
	enum step_kind kind;
	struct gen *gen; /* counted; STEP_PREPARE */
	struct fault fault;
};

static void post_all(struct reload *, enum step_kind);

static void
finish(struct reload *r)
{
	struct gen *g = r->gen;

	r->gen = NULL;
	r->done(r, g, &r->fault);
}

static void
answered(struct mail *m, struct loop *loop)
{
	struct step *s = CONTAINER_OF(m, struct step, mail);
	struct reload *r = s->reload;

	(void)loop;
	if (s->fault.code != ERR_NONE)
		fault_copy(&r->fault, &s->fault);
	free(s);
	assert(r->waiting > 0);
	if (--r->waiting > 0)
		return;
	if (!r->switching && !r->cancelled && r->fault.code == ERR_NONE) {
		r->switching = true;
		post_all(r, STEP_SWITCH);
		return;
	}
	if (!r->switching && r->cancelled)
		fault_set(&r->fault, ERR_SHUTDOWN, NULL);
	if (!r->switching && !r->cancelled)
		post_all(r, STEP_FORGET);
	finish(r);
}

static void
deliver(struct mail *m, struct loop *loop)
{
	struct step *s = CONTAINER_OF(m, struct step, mail);

	(void)loop;
	if (s->kind == STEP_PREPARE)
		prepare(s->worker, s->gen, &s->fault);
	else if (s->kind == STEP_SWITCH)
		switch_over(s->worker);
	else
		forget(s->worker);
	gen_unref(&s->gen);
	if (s->kind == STEP_FORGET) { /* nobody waits for it */
		free(s);
		return;
	}
	s->mail.deliver = answered;
	mail_post(s->reload->home, &s->mail);
}

static void
post_all(struct reload *r, enum step_kind kind)
{
	struct step *s;
	unsigned i;

	for (i = 0; i < r->n; i++) {
		s = calloc(1, sizeof(*s));
		if (s == NULL)
			abort();
		s->mail.deliver = deliver;
		s->reload = r;
		s->worker = r->workers[i];
		s->kind = kind;
		s->gen = kind == STEP_PREPARE ? gen_ref(r->gen) : NULL;
		mail_post(r->workers[i]->loop, &s->mail);
	}
	if (kind != STEP_FORGET)
		r->waiting = r->n;
}

void
reload_start(struct reload *r, struct gen *g)
{
	assert(r->gen == NULL && r->n > 0);
	r->gen = g;
	r->switching = false;
	r->fault = (struct fault){ .code = ERR_NONE };
	post_all(r, STEP_PREPARE);
}

void
reload_cancel(struct reload *r)
{
	r->cancelled = true;
}
