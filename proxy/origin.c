/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Origin connections and their pool, see origin.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/budget.h"
#include "proxy/origin_priv.h"
#include "tls/hostname.h"

/*
 * When many requests want one origin at once, so many connect; the others
 * take what comes free first.  A burst does not become a burst of handshakes.
 * While nothing comes free (long polls) the number doubles with each round
 * trip; while the worker is busy and connections do come free, more of them
 * would only cost it more.
 */
#define CONNECTING_START 16
#define CONNECTING_MAX 128
#define CONNECTING_BUSY 1
#define FREED_MS 100		/* a connection that came free is news so long */
#define RECENT_MS 1500		/* nobody closes an idle connection so soon */
#define IDLE_SPARE 256		/* idle connections beyond one a client */

static void origin_run(struct task *);
static void origin_expire(struct timer *);
static void origin_dial(struct origin *o);
static void pool_put(struct origin_pool *p, struct origin *o);

/* The pool. */

static struct place **
place_find(struct origin_pool *p, const char *host, uint16_t port)
{
	uint64_t h = hostname_hash(str_of(host), p->seed + port);
	struct place **at;

	at = &p->bucket[h % ORIGIN_BUCKETS];
	while (*at != NULL && ((*at)->port != port ||
	    strcmp((*at)->host, host) != 0))
		at = &(*at)->next;
	return (at);
}

/* With one more user. */
static struct place *
place_get(struct origin_pool *p, const char *host, uint16_t port)
{
	struct place **at = place_find(p, host, port), *place = *at;

	if (place == NULL) {
		place = calloc(1, sizeof(*place));
		if (place == NULL)
			abort();
		snprintf(place->host, sizeof(place->host), "%s", host);
		place->port = port;
		list_init(&place->idle);
		list_init(&place->waiting);
		place->connecting_max = CONNECTING_START;
		*at = place;
	}
	place->users++;
	return (place);
}

static void
place_put(struct origin_pool *p, struct place *place)
{
	struct place **at;

	if (--place->users > 0)
		return;
	at = place_find(p, place->host, place->port);
	*at = place->next;
	free(place);
}

struct origin_pool *
origin_pool_new(struct worker *w)
{
	struct origin_pool *p = calloc(1, sizeof(*p));

	if (p == NULL ||
	    getrandom(&p->seed, sizeof(p->seed), 0) != sizeof(p->seed))
		abort();
	p->worker = w;
	list_init(&p->age);
	list_init(&p->signed_in);
	return (p);
}

/* One that waited was given a connection of late. */
static bool
comes_free(const struct worker *w, const struct place *place)
{
	return (loop_now(w->loop) < place->freed_at + FREED_MS);
}

static bool
may_connect(const struct worker *w, const struct place *place)
{
	return (place->connecting < (comes_free(w, place) &&
	    loop_is_busy(w->loop) ? CONNECTING_BUSY : place->connecting_max));
}

/* It connects no more: others may. */
static void
connecting_ended(struct origin *o, bool ok)
{
	struct place *place;
	struct origin *next;

	if (!o->connecting)
		return;
	o->connecting = false;
	place = o->place;
	place->connecting--;
	if (!ok || list_empty(&place->waiting))
		place->connecting_max = CONNECTING_START;
	else if (!comes_free(o->worker, place) &&
	    place->connecting_max < CONNECTING_MAX)
		place->connecting_max++;
	while (!list_empty(&place->waiting) && may_connect(o->worker, place)) {
		next = CONTAINER_OF(place->waiting.next, struct origin, link);
		list_remove(&next->link);
		origin_dial(next);
	}
}

static void
origin_free_now(void *p)
{
	free(p);
}

void
origin_destroy(struct origin *o)
{
	connecting_ended(o, false);
	list_remove(&o->link);
	if (o->given != NULL)
		pool_put(o->worker->pool, o->given);
	dial_cancel(&o->dial);
	verify_cancel(&o->verify);
	timer_stop(&o->timer);
	task_fini(&o->task);
	h1_in_fini(&o->in, NULL);
	if (o->transport != NULL)
		link_close(&o->transport, o->state == ORIGIN_READY &&
		    !o->in.poisoned ? LINK_QUIT : LINK_ABORT);
	place_put(o->worker->pool, o->place);
	account_unref(&o->account);
	worker_gen_unref(&o->gen);
	loop_defer_free(o->worker->loop, o, origin_free_now);
}

static void
pool_remove(struct origin_pool *p, struct origin *o)
{
	list_remove(&o->link);
	list_remove(&o->age);
	p->idle--;
}

static void
pool_drop(struct origin_pool *p, struct origin *o)
{
	pool_remove(p, o);
	origin_destroy(o);
}

void
origin_pool_purge(struct origin_pool *p, const struct worker_gen *keep)
{
	struct list *it, *save;
	struct origin *o;

	LIST_EACH(it, save, &p->age) {
		o = CONTAINER_OF(it, struct origin, age);
		if (o->gen != keep)
			pool_drop(p, o);
	}
	origin_own_purge(p, keep);
}

void
origin_pool_free(struct origin_pool **pp)
{
	origin_pool_purge(*pp, NULL);
	free(*pp);
	*pp = NULL;
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

static struct origin *
pool_take(struct origin_pool *p, const struct worker_gen *g,
    const struct origin_want *want)
{
	char host[256];
	struct list *it, *save;
	struct place *place;
	struct origin *o, *found = NULL;

	snprintf(host, sizeof(host), "%.*s", STR_ARG(want->host));
	place = *place_find(p, host, want->port);
	if (place == NULL)
		return (NULL);
	place->users++;		/* a stale one may be its last user */
	LIST_EACH(it, save, &place->idle) {
		o = CONTAINER_OF(it, struct origin, link);
		if (!origin_is_for(o, g, want) ||
		    (want->recent && !origin_is_recent(o)))
			continue;
		/* RFC 9112 9.2: what came unasked answers nobody's request. */
		if (link_is_stale(o->transport)) {
			o->in.poisoned = true;
			pool_drop(p, o);
			continue;
		}
		pool_remove(p, o);
		found = o;
		break;
	}
	place_put(p, place);
	return (found);
}

/* Who waits for his turn to connect to the same origin; NULL: nobody. */
static struct origin *
find_waiting(struct place *place, const struct origin *o)
{
	struct list *it;
	struct origin *w;

	for (it = place->waiting.next; it != &place->waiting; it = it->next) {
		w = CONTAINER_OF(it, struct origin, link);
		if (!w->fresh && w->gen == o->gen && w->is_tls == o->is_tls &&
		    w->tls.port == o->tls.port &&
		    (!o->invalid || w->allow_invalid) &&
		    strcmp(w->tls.host, o->tls.host) == 0 &&
		    strcmp(w->dial_host, o->dial_host) == 0)
			return (w);
	}
	return (NULL);
}

static void
pool_put(struct origin_pool *p, struct origin *o)
{
	uint64_t idle = o->gen->gen->conf->limits.origin_idle_ms;
	struct place *place = o->place;
	struct origin *w;

	o->used_at = loop_now(o->worker->loop);
	if (o->sign_in != HTTP_SIGN_NONE) {
		origin_own_put(o);
		return;
	}
	w = find_waiting(place, o);
	o->holder = NULL;
	o->owner = NULL;
	link_set_owner(o->transport, &o->task);
	link_charge_to(o->transport, NULL);
	if (w != NULL) {
		list_remove(&w->link);
		timer_stop(&w->timer);
		w->given = o;
		w->state = ORIGIN_GIVEN;
		place->freed_at = loop_now(o->worker->loop);
		task_wake(w->owner);
		return;
	}
	if (p->idle >= o->worker->n_clients + IDLE_SPARE)
		pool_drop(p, CONTAINER_OF(p->age.next, struct origin, age));
	list_insert(&place->idle, &o->link);
	list_append(&p->age, &o->age);
	p->idle++;
	timer_set(&o->timer, idle);
	task_wake(&o->task);	/* arms the watch for the peer's end */
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

static void
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
	o->place = place = place_get(w->pool, o->tls.host, want->port);
	if (want->dialled != NULL) {
		o->state = ORIGIN_DIALLING;
		o->dial = *want->dialled;
		*want->dialled = (struct dial){ .fd = -1 };
		task_wake(&o->task);
	} else if (may_connect(w, place))
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
	struct origin *o = NULL;

	bool fresh = want->fresh || want->dialled != NULL;

	if (!fresh && want->holder != NULL)
		o = origin_own_take(want->holder, g, want);
	if (o == NULL && !fresh)
		o = pool_take(w->pool, g, want);
	if (o != NULL) {
		timer_pause(&o->timer);
		o->reused = true;
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
	    !link_broken(o->transport) && !o->worker->draining &&
	    o->gen == o->worker->current)
		pool_put(o->worker->pool, o);
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
	connecting_ended(o, false);
	task_wake(o->owner);
}

static void
origin_ready(struct origin *o)
{
	o->state = ORIGIN_READY;
	o->used_at = loop_now(o->worker->loop);
	timer_stop(&o->timer);
	connecting_ended(o, true);
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
		pool_drop(o->worker->pool, o);
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
