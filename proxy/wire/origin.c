/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections to origins: dialled, over TLS verified before a byte of a
 * request leaves, ended; see lease_priv.h.
 *
 * Room: proxy/wire.  Thread: its worker's.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/budget.h"
#include "proxy/wire/outer.h"
#include "proxy/wire/lease_priv.h"

#define RECENT_MS 1500 /* nobody closes an idle connection so soon */

/* How long a state may last. */
enum deadline { LASTS_NONE, LASTS_SAME, LASTS_CONNECT, LASTS_IDLE };

static const struct {
	enum deadline lasts;
	unsigned follows;
} states[ORIGIN_STATES] = {
#define ON(name) (1u << ORIGIN_##name)
#define S(name, deadline, next) [ORIGIN_##name] = { LASTS_##deadline, next },
#include "proxy/wire/origin.def"
#undef S
#undef ON
};

static void origin_run(struct task *);
static void origin_expire(struct timer *);

static const struct conf *
conf_of(const struct origin *o)
{
	return (o->place->gen->gen->conf);
}

void
origin_go(struct origin *o, enum origin_state s)
{
	assert((states[o->state].follows & (1u << s)) != 0);
	o->state = s;
	switch (states[s].lasts) {
	case LASTS_NONE:
		timer_pause(&o->timer);
		break;
	case LASTS_SAME:
		break;
	case LASTS_CONNECT:
		timer_set(&o->timer, conf_of(o)->limits.connect_ms);
		break;
	case LASTS_IDLE:
		timer_set(&o->timer, conf_of(o)->limits.origin_idle_ms);
		break;
	}
}

static void
origin_free_now(void *p)
{
	free(p);
}

void
origin_pays(struct origin *o)
{
	struct account *payer = o->n_leases > 0
	    ? CONTAINER_OF(o->leases.next, struct lease, link)->want.account
	    : o->worker->kept;

	link_charge_to(o->transport, payer);
	way_charge_to(&o->way, payer);
	if (o->h2 != NULL)
		origin_h2_charge(o, payer);
}

void
origin_destroy(struct origin *o)
{
	assert(list_empty(&o->leases));
	origin_connecting_ended(o, false);
	list_remove(&o->link);
	verify_cancel(&o->verify);
	timer_stop(&o->timer);
	task_fini(&o->task);
	if (o->speech != NULL)
		o->speech->end(o);
	if (o->transport != NULL)
		link_close(&o->transport,
		    o->speech == NULL || o->spoilt ? LINK_ABORT
			: o->lingers               ? LINK_CLOSE
						   : LINK_QUIT);
	way_end(&o->way);
	account_unref(&o->account);
	origin_place_put(o->worker->pool, o->place);
	loop_defer_free(o->worker->loop, o, origin_free_now);
}

bool
origin_is_recent(const struct origin *o)
{
	return (loop_now(o->worker->loop) - o->used_at < RECENT_MS);
}

/* It is no kept one, has refused nobody, and takes several leases. */
static bool
origin_is_new(const struct origin *o)
{
	return (o->h2 != NULL && !o->h2->refused &&
	    loop_now(o->worker->loop) - o->connected_at < RECENT_MS);
}

bool
origin_is_stale(struct origin *o)
{
	assert(o->speech != NULL);
	return (o->speech->stale(o));
}

bool
origin_serves(const struct origin *o, const struct lease_want *want)
{
	if ((want->protocols & o->agreed) == 0 ||
	    ((want->uploads || want->websocket) &&
		!origin_h2_takes_upload(o, want->account)))
		return (false);
	return (!want->websocket || o->h2 == NULL || !origin_h2_is_asked(o) ||
	    origin_h2_takes_websocket(o));
}

bool
origin_suits(const struct origin *o, const struct lease *l)
{
	assert(o->place == l->place && o->speech != NULL);
	return (origin_serves(o, &l->want) &&
	    (!o->invalid || l->want.allow_invalid) &&
	    (!l->want.fresh || origin_is_new(o)) &&
	    (!l->want.recent || o->sign_in != HTTP_SIGN_NONE ||
		o->h2 != NULL || /* which can be asked */
		origin_is_recent(o)));
}

/* Making one. */

/* May a packet be sent there?  By the lease that it is made for. */
static bool
origin_check(void *arg, const struct sockaddr *candidate)
{
	struct origin *o = arg;
	const struct lease_want *want;
	struct fault f = { 0 };

	assert(!list_empty(&o->leases));
	want = &CONTAINER_OF(o->leases.next, struct lease, link)->want;
	if (conf_dest_check(conf_of(o), candidate, &f) == ERR_NONE) {
		if (want->may_reach == NULL ||
		    want->may_reach(want->arg, candidate))
			return (true);
		fault_set(&f, ERR_POLICY_BLOCK, NULL);
	}
	fault_copy(&o->verify.fault, &f); /* kept in case all are refused */
	return (false);
}

static void
origin_dial(struct origin *o, const struct lease_want *l)
{
	struct way_want want = { .route = o->place->route,
		.slot = o->place->slot,
		.host = o->place->dial,
		.port = o->place->port,
		.absolute = o->place->absolute,
		.via = l->via,
		.check = origin_check,
		.arg = o,
		.account = o->account,
		.connect_ms = (unsigned)conf_of(o)->limits.connect_ms };

	o->connecting = true;
	o->place->connecting++;
	way_start(o->worker, o->place->gen, &o->way, &want, &o->task);
}

static struct origin *
origin_new(const struct lease *l)
{
	struct origin *o = calloc(1, sizeof(*o));
	struct worker_gen *g = l->place->gen;

	if (o == NULL)
		abort();
	o->state = ORIGIN_DIALLING;
	o->way.dial.fd = -1;
	o->worker = l->worker;
	o->place = l->place;
	o->place->users++;
	o->host_is_ip = l->want.host_is_ip;
	o->allow_invalid = l->want.allow_invalid;
	o->tls.port = l->want.port;
	o->tls.protocols = l->want.protocols;
	o->tls.resume = g->resume;
	o->tls.legacy = conf_origin_legacy(g->gen->conf, l->want.host,
	    l->want.host_is_ip);
	snprintf(o->tls.host, sizeof(o->tls.host), "%s", l->place->host.p);
	o->times = (struct lease_times){ -1, -1, -1 };
	list_init(&o->link);
	list_init(&o->age);
	list_init(&o->leases);
	task_init(&o->task, l->worker->loop, origin_run);
	timer_init(&o->timer, l->worker->loop, origin_expire);
	o->account = account_ref(l->want.account);
	return (o);
}

void
origin_make(struct lease *l)
{
	struct way *dialled = l->want.dialled;
	struct origin *o = origin_new(l);

	lease_attach(l, o);
	lease_go(l, LEASE_AT_MAKING);
	if (dialled != NULL) {
		o->way = *dialled;
		*dialled = (struct way){ .dial = { .fd = -1 } };
		l->want.dialled = NULL;
		task_wake(&o->task);
	} else
		origin_dial(o, &l->want);
}

/* Whoever waits for it is told. */
static void
origin_tell(struct origin *o, bool ok)
{
	struct list *it, *save;
	struct lease *l;

	LIST_EACH (it, save, &o->leases) {
		l = CONTAINER_OF(it, struct lease, link);
		if (ok)
			lease_made(l);
		else
			lease_go(l, LEASE_AT_FAILED);
		task_wake(l->wake);
	}
}

static void
origin_fail(struct origin *o, const struct fault *f)
{
	assert(f->code != ERR_NONE);
	fault_copy(&o->fault, f);
	o->place->one_first = false; /* nobody waits for one that fails */
	origin_go(o, ORIGIN_FAILED);
	origin_connecting_ended(o, false);
	origin_tell(o, false);
}

static void
origin_ready(struct origin *o)
{
	uint64_t now = loop_now(o->worker->loop);
	/* That of a parent is none of the origin. */
	struct gnutls_session_int *s = o->place->tls ? link_tls(o->transport)
						     : NULL;

	origin_go(o, ORIGIN_LEASED);
	o->used_at = now;
	o->speech = s != NULL && tls_agreed(s) == TLS_H2 ? &speech_h2
							 : &speech_h1;
	o->agreed = o->speech->protocol;
	if ((o->tls.protocols & TLS_H2) != 0)
		o->place->one_first = o->place->speaks_h2 = o->agreed == TLS_H2;
	if (o->agreed != TLS_H2) /* else its SETTINGS say more */
		origin_connecting_ended(o, true);
	if (s != NULL) {
		o->times.tls_ms = (int64_t)(now - o->connected_at);
		if (!o->invalid)
			tls_client_verified(&o->tls, s, o->verify.until);
	}
	o->speech->begin(o);
	origin_tell(o, true);
}

static void
origin_verified(struct origin *o)
{
	if (o->verify.ok)
		origin_ready(o);
	else if (o->allow_invalid && !o->verify.is_final) {
		o->invalid = true;
		origin_ready(o);
	} else
		origin_fail(o, &o->verify.fault);
}

/* Before its state ends: with an eighth of what is left of that to spare. */
static uint64_t
verify_due(const struct origin *o)
{
	uint64_t now = loop_now(o->worker->loop);

	return (
	    o->timer.at > now ? o->timer.at - (o->timer.at - now) / 8 : now);
}

static void
origin_verify(struct origin *o)
{
	struct gnutls_session_int *s = link_tls(o->transport);
	struct verify_chain chain;
	struct fault f = { 0 };

	if (!tls_client_acceptable(s, &f)) {
		origin_fail(o, &f);
		return;
	}
	/* Tickets are of verified origins, and go with the generation. */
	if (!tls_client_chain(s, &chain)) {
		o->tls.verified = true;
		origin_ready(o);
		return;
	}
	origin_go(o, ORIGIN_VERIFYING);
	memset(&o->verify, 0, sizeof(o->verify));
	o->verify.wake = &o->task;
	o->verify.due = verify_due(o);
	if (verify_start(o->place->gen->gen->verifier, o->worker->loop,
		o->tls.host, &chain, &o->verify))
		origin_verified(o);
}

static void
origin_handshake(struct origin *o)
{
	struct fault f = { 0 };
	enum pull p = link_handshake(o->transport, ERR_ORIGIN_TLS, &f);

	if (p == PULL_END)
		origin_verify(o);
	else if (p != PULL_WAIT)
		origin_fail(o, &f);
}

/* What was made carries what comes from now on. */
static void
take_way(struct origin *o)
{
	struct way *w = &o->way;

	o->connected_at = loop_now(o->worker->loop);
	if (w->link != NULL) {
		o->transport = w->link;
		w->link = NULL;
		link_set_owner(o->transport, &o->task);
	} else {
		o->transport = link_new(o->worker->loop, w->dial.fd, &o->task);
		w->dial.fd = -1;
		link_unread(o->transport, &w->first);
	}
	if (w->outer != NULL)
		link_cut_by(o->transport, outer_cut(w->outer));
	link_charge_to(o->transport, o->account);
}

static void
origin_dialled(struct origin *o)
{
	const struct dial *d = &o->way.dial;
	struct gnutls_session_int *s;

	if (!d->done)
		return;
	o->times.dns_ms = d->dns_ms;
	o->times.connect_ms = d->connect_ms;
	if (d->fault.code != ERR_NONE) {
		if (d->fault.code == ERR_DEST_DENIED &&
		    o->verify.fault.code != ERR_NONE)
			origin_fail(o, &o->verify.fault);
		else
			origin_fail(o, &d->fault);
		return;
	}
	take_way(o);
	if (!o->place->tls) {
		origin_ready(o);
		return;
	}
	s = tls_client_new(o->place->gen->gen->tls, &o->tls, o->host_is_ip);
	if (s == NULL) {
		origin_fail(o, &(struct fault){ .code = ERR_ORIGIN_TLS });
		return;
	}
	link_start_tls(o->transport, s);
	link_may_reshake(o->transport);
	origin_go(o, ORIGIN_HANDSHAKE);
	origin_handshake(o);
}

static void
idle_drop(struct origin *o)
{
	if (o->sign_in != HTTP_SIGN_NONE)
		origin_own_drop(o);
	else
		origin_pool_drop(o);
}

/* Idle: only a ticket may come, or what HTTP/2 says of itself. */
static void
origin_idle(struct origin *o)
{
	if (!origin_is_stale(o))
		return;
	o->spoilt = o->h2 == NULL;
	idle_drop(o);
}

static void
origin_run(struct task *t)
{
	struct origin *o = CONTAINER_OF(t, struct origin, task);

	switch (o->state) {
	case ORIGIN_DIALLING:
		origin_dialled(o);
		break;
	case ORIGIN_HANDSHAKE:
		origin_handshake(o);
		break;
	case ORIGIN_VERIFYING:
		if (o->verify.done)
			origin_verified(o);
		break;
	case ORIGIN_IDLE:
		origin_idle(o);
		break;
	case ORIGIN_LEASED:
	case ORIGIN_DRAINING:
		o->speech->run(o);
		break;
	case ORIGIN_FAILED:
	case ORIGIN_STATES:
		break;
	}
}

static void
origin_expire(struct timer *t)
{
	struct origin *o = CONTAINER_OF(t, struct origin, timer);

	if (o->state == ORIGIN_IDLE) {
		idle_drop(o);
		return;
	}
	assert(o->state == ORIGIN_HANDSHAKE || o->state == ORIGIN_VERIFYING);
	origin_fail(o, &(struct fault){ .code = ERR_ORIGIN_TLS_TIMEOUT });
}
