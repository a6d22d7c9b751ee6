/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Origin connections: asking for one, making one, giving it back; see origin.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/budget.h"
#include "proxy/wire/origin_priv.h"

#define RECENT_MS 1500		/* nobody closes an idle connection so soon */

static void origin_run(struct task *);
static void origin_expire(struct timer *);

static void
origin_free_now(void *p)
{
	free(p);
}

void
origin_destroy(struct origin *o)
{
	origin_connecting_ended(o, false);
	list_remove(&o->link);
	if (o->given != NULL)
		origin_pool_put(o->worker->pool, o->given);
	dial_cancel(&o->dial);
	verify_cancel(&o->verify);
	timer_stop(&o->timer);
	task_fini(&o->task);
	h1_in_fini(&o->in, NULL);
	if (o->transport != NULL)
		link_close(&o->transport, o->state == ORIGIN_READY &&
		    !o->in.poisoned ? LINK_QUIT : LINK_ABORT);
	origin_place_put(o->worker->pool, o->place);
	account_unref(&o->account);
	worker_gen_unref(&o->gen);
	loop_defer_free(o->worker->loop, o, origin_free_now);
}

bool
origin_is_recent(const struct origin *o)
{
	return (loop_now(o->worker->loop) - o->used_at < RECENT_MS);
}

bool
origin_is_for(const struct origin *o, const struct worker_gen *g,
    const struct origin_want *want)
{
	struct str dial = want->dial_host.p != NULL ? want->dial_host :
	    want->host;

	return (o->gen == g && o->is_tls == want->tls &&
	    o->tls.port == want->port &&
	    (!o->invalid || want->allow_invalid) &&
	    str_eq(str_of(o->tls.host), want->host) &&
	    str_eq(str_of(o->dial_host), dial));
}

/* Making one. */

static bool
origin_check(void *arg, const struct sockaddr *candidate)
{
	struct origin *o = arg;
	struct fault f = { 0 };

	if (conf_dest_check(o->gen->gen->conf, candidate, &f) == ERR_NONE) {
		if (o->may_reach == NULL || o->may_reach(o->may_arg, candidate))
			return (true);
		fault_set(&f, ERR_POLICY_BLOCK, NULL);
	}
	fault_copy(&o->verify.fault, &f);	/* kept in case all are refused */
	return (false);
}

void
origin_dial(struct origin *o)
{
	struct dial_options opts = { .check = origin_check, .arg = o,
	    .account = o->account,
	    .connect_timeout_ms =
		(unsigned)o->gen->gen->conf->limits.connect_ms };

	o->state = ORIGIN_DIALLING;
	o->connecting = true;
	o->place->connecting++;
	timer_stop(&o->timer);
	dial_start(o->worker->dialer, &o->dial, str_of(o->dial_host),
	    o->tls.port, &opts, &o->task);
}

static struct origin *
origin_new(struct worker *w, struct worker_gen *g,
    const struct origin_want *want)
{
	struct origin *o = calloc(1, sizeof(*o));
	struct place *place;
	struct str dial = want->dial_host.p != NULL ? want->dial_host :
	    want->host;

	if (o == NULL)
		abort();
	o->worker = w;
	o->gen = worker_gen_ref(g);
	o->is_tls = want->tls;
	o->host_is_ip = want->host_is_ip;
	o->allow_invalid = want->allow_invalid;
	o->tls.port = want->port;
	o->tls.protocols = want->protocols;
	o->tls.resume = g->resume;
	o->tls.legacy = conf_origin_legacy(g->gen->conf, want->host,
	    want->host_is_ip);
	snprintf(o->tls.host, sizeof(o->tls.host), "%.*s",
	    STR_ARG(want->host));
	snprintf(o->dial_host, sizeof(o->dial_host), "%.*s", STR_ARG(dial));
	o->dns_ms = o->connect_ms = o->tls_ms = -1;
	list_init(&o->link);
	list_init(&o->age);
	task_init(&o->task, w->loop, origin_run);
	timer_init(&o->timer, w->loop, origin_expire);
	o->fresh = want->fresh;
	o->account = account_ref(want->account);
	o->may_reach = want->may_reach;
	o->may_arg = want->arg;
	o->place = place = origin_place_get(w->pool, o->tls.host,
	    o->dial_host, want->port);
	if (want->dialled != NULL) {
		o->state = ORIGIN_DIALLING;
		o->dial = *want->dialled;
		*want->dialled = (struct dial){ .fd = -1 };
		task_wake(&o->task);
	} else if (origin_may_connect(w, place))
		origin_dial(o);
	else {
		o->state = ORIGIN_QUEUED;
		list_append(&place->waiting, &o->link);
		timer_set(&o->timer, g->gen->conf->limits.connect_ms);
	}
	return (o);
}

struct origin *
origin_get(struct worker *w, struct worker_gen *g,
    const struct origin_want *want, struct task *owner)
{
	bool fresh = want->fresh || want->dialled != NULL;
	struct origin *o = NULL;

	if (!fresh && want->holder != NULL)
		o = origin_own_take(want->holder, g, want);
	if (o == NULL && !fresh)
		o = origin_pool_take(w->pool, g, want);
	if (o != NULL) {
		timer_pause(&o->timer);
		o->reused = true;
		link_charge_to(o->transport, want->account);
		o->dns_ms = o->connect_ms = o->tls_ms = -1;
	} else
		o = origin_new(w, g, want);
	o->holder = want->holder;
	origin_set_owner(o, owner);
	return (o);
}

void
origin_set_owner(struct origin *o, struct task *owner)
{
	o->owner = owner;
	o->in.wake = owner;
	if (o->state == ORIGIN_READY)
		link_set_owner(o->transport, owner);
	else if (o->state == ORIGIN_FAILED || o->state == ORIGIN_GIVEN)
		task_wake(owner);
}

enum origin_state
origin_settle(struct origin **op)
{
	struct origin *o = *op, *given = o->given;

	if (given == NULL)
		return (o->state);
	o->given = NULL;
	if (link_is_stale(given->transport)) {	/* its peer ended it just now */
		given->in.poisoned = true;
		origin_destroy(given);
		origin_dial(o);
		return (o->state);
	}
	given->reused = true;
	given->holder = o->holder;
	link_charge_to(given->transport, o->account);
	given->dns_ms = given->connect_ms = given->tls_ms = -1;
	origin_set_owner(given, o->owner);
	origin_destroy(o);
	*op = given;
	return (given->state);
}

void
origin_release(struct origin **op, bool reusable)
{
	struct origin *o = *op;

	*op = NULL;
	if (o == NULL)
		return;
	o->owner = NULL;
	if (reusable && o->state == ORIGIN_READY && !o->in.poisoned &&
	    !o->in.in_body && chq_len(&o->in.bytes) == 0 &&
	    !h1_sink_is_open(&o->out) &&
	    !link_broken(o->transport) && !o->worker->draining &&
	    o->gen == o->worker->current)
		origin_pool_put(o->worker->pool, o);
	else {
		if (!reusable)
			o->in.poisoned = true;
		if (o->sign_in == HTTP_SIGN_HALF)
			o->holder->broken = true;
		origin_destroy(o);
	}
}

const struct sockaddr *
origin_peer(const struct origin *o)
{
	return (o->state >= ORIGIN_HANDSHAKE && o->transport != NULL ?
	    &o->dial.peer.sa : NULL);
}

/* While connecting. */

static void
origin_fail(struct origin *o, const struct fault *f)
{
	fault_copy(&o->fault, f);
	list_remove(&o->link);		/* it may have been waiting */
	o->state = ORIGIN_FAILED;
	timer_stop(&o->timer);
	origin_connecting_ended(o, false);
	task_wake(o->owner);
}

static void
origin_ready(struct origin *o)
{
	o->state = ORIGIN_READY;
	o->used_at = loop_now(o->worker->loop);
	timer_stop(&o->timer);
	origin_connecting_ended(o, true);
	h1_in_init(&o->in, o->transport, o->owner);
	if (o->is_tls) {
		o->tls_ms = (int64_t)(loop_now(o->worker->loop) -
		    o->dialled_at);
		if (!o->invalid)
			tls_client_verified(&o->tls, link_tls(o->transport));
	}
	if (o->owner != NULL)
		link_set_owner(o->transport, o->owner);
	task_wake(o->owner);
}

static void
origin_verified(struct origin *o)
{
	if (o->verify.ok)
		origin_ready(o);
	else if (o->allow_invalid) {
		o->invalid = true;
		origin_ready(o);
	} else
		origin_fail(o, &o->verify.fault);
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
	o->state = ORIGIN_VERIFYING;
	memset(&o->verify, 0, sizeof(o->verify));
	o->verify.wake = &o->task;
	if (verify_start(o->gen->gen->verifier, o->worker->loop, o->tls.host,
	    &chain, &o->verify))
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

static void
origin_dialled(struct origin *o)
{
	struct gnutls_session_int *s;

	if (!o->dial.done)
		return;
	o->dns_ms = o->dial.dns_ms;
	o->connect_ms = o->dial.connect_ms;
	if (o->dial.fault.code != ERR_NONE) {
		if (o->dial.fault.code == ERR_DEST_DENIED &&
		    o->verify.fault.code != ERR_NONE)
			origin_fail(o, &o->verify.fault);
		else
			origin_fail(o, &o->dial.fault);
		return;
	}
	o->dialled_at = loop_now(o->worker->loop);
	o->transport = link_new(o->worker->loop, o->dial.fd, &o->task);
	link_charge_to(o->transport, o->account);
	o->dial.fd = -1;
	if (!o->is_tls) {
		origin_ready(o);
		return;
	}
	s = tls_client_new(o->gen->gen->tls, &o->tls, o->host_is_ip);
	if (s == NULL) {
		origin_fail(o, &(struct fault){ .code = ERR_ORIGIN_TLS });
		return;
	}
	link_start_tls(o->transport, s);
	link_may_reshake(o->transport);
	o->state = ORIGIN_HANDSHAKE;
	timer_set(&o->timer, o->gen->gen->conf->limits.connect_ms);
	origin_handshake(o);
}

static void
idle_drop(struct origin *o)
{
	if (o->sign_in != HTTP_SIGN_NONE)
		origin_own_drop(o);
	else
		origin_pool_drop(o->worker->pool, o);
}

/* Idle: only a ticket may come. */
static void
origin_idle(struct origin *o)
{
	if (!link_is_stale(o->transport))
		return;
	o->in.poisoned = true;
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
	case ORIGIN_READY:
		if (o->owner == NULL)
			origin_idle(o);
		break;
	case ORIGIN_QUEUED:
	case ORIGIN_GIVEN:
	case ORIGIN_FAILED:
		break;
	}
}

static void
origin_expire(struct timer *t)
{
	struct origin *o = CONTAINER_OF(t, struct origin, timer);

	if (o->state == ORIGIN_READY && o->owner == NULL)
		idle_drop(o);
	else if (o->state == ORIGIN_QUEUED)
		origin_fail(o, &(struct fault){ .code = ERR_CONNECT_TIMEOUT });
	else if (o->state == ORIGIN_HANDSHAKE || o->state == ORIGIN_VERIFYING)
		origin_fail(o, &(struct fault){ .code = ERR_ORIGIN_TLS_TIMEOUT });
}
