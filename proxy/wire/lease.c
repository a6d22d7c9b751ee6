/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leases: got, settled, given back; see lease.h. */
#include <assert.h>
#include <stdlib.h>
#include "proxy/wire/duplex.h"
#include "proxy/wire/lease_priv.h"

#define SPARES_MAX 256
#define FIRST_MS 500  /* so long others wait for whether it is HTTP/2 */
#define PROBE_MS 2000 /* for a sign of life; then another one is made */

static const unsigned follows[LEASE_ATS] = {
#define ON(name) (1u << LEASE_AT_##name)
#define S(name, told, next) [LEASE_AT_##name] = (next),
#include "proxy/wire/lease.def"
#undef S
#undef ON
};

static const enum lease_state is_told[LEASE_ATS] = {
#define S(name, told, next) [LEASE_AT_##name] = LEASE_##told,
#include "proxy/wire/lease.def"
#undef S
};

void
lease_go(struct lease *l, enum lease_at at)
{
	assert((follows[l->at] & (1u << at)) != 0);
	l->at = at;
}

static void lease_detach(struct lease *, bool over);

/* Getting one. */

static struct lease *
lease_alloc(struct origin_pool *p)
{
	struct lease *l = p->spare;

	if (l != NULL) {
		p->spare = l->next;
		p->spares--;
	} else if ((l = malloc(sizeof(*l))) == NULL)
		abort();
	return (l);
}

static void
lease_dealloc(struct origin_pool *p, struct lease *l)
{
	if (p->spares >= SPARES_MAX) {
		free(l);
		return;
	}
	l->next = p->spare;
	p->spare = l;
	p->spares++;
}

/* Its turn to connect did not come. */
static void
lease_expire(struct timer *t)
{
	struct lease *l = CONTAINER_OF(t, struct lease, timer);

	if (loop_now(l->worker->loop) < l->until) {
		if (!origin_may_connect_beside(l)) {
			timer_set_at(&l->timer, l->until);
			return;
		}
		lease_unqueue(l);
		origin_make(l);
		return;
	}
	lease_unqueue(l);
	lease_go(l, LEASE_AT_FAILED);
	task_wake(l->wake);
}

void
lease_unqueue(struct lease *l)
{
	assert(l->at == LEASE_AT_QUEUED && l->origin == NULL);
	list_remove(&l->link);
	timer_stop(&l->timer);
}

static struct lease *
waiter(struct list *it)
{
	return (CONTAINER_OF(it, struct lease, link));
}

/*
 * Clients take turns: one with a lease more waits behind as many of every other
 * client as it has itself, not behind all of them.
 */
static void
take_turn(struct lease *l)
{
	struct list *waiting = &l->place->waiting, *it = waiting->prev;

	l->turn = list_empty(waiting) ? 0 : waiter(waiting->next)->turn;
	while (it != waiting && waiter(it)->want.account != l->want.account)
		it = it->prev;
	if (it != waiting)
		l->turn = waiter(it)->turn + 1;
	it = waiting->prev;
	while (it != waiting && waiter(it)->turn > l->turn)
		it = it->prev;
	list_insert(it, &l->link);
}

static void
lease_queue(struct lease *l)
{
	lease_go(l, LEASE_AT_QUEUED);
	take_turn(l);
	timer_init(&l->timer, l->worker->loop, lease_expire);
	l->until = loop_now(l->worker->loop) +
	    l->place->gen->gen->conf->limits.connect_ms;
	if (l->place->one_first && !l->place->speaks_h2)
		timer_set(&l->timer, FIRST_MS);
	else
		timer_set_at(&l->timer, l->until);
}

void
lease_attach(struct lease *l, struct origin *o)
{
	assert(l->origin == NULL && o->place == l->place);
	assert(o->sign_in == HTTP_SIGN_NONE || o->own == l->want.own);
	l->origin = o;
	list_append(&o->leases, &l->link);
	o->n_leases++;
	if (o->h2 == NULL)
		o->own = l->want.own;
	if (o->speech != NULL) {
		l->reused = true;
		if (o->n_leases == 1) /* the first: it is his */
			origin_pays(o);
		if (o->state != ORIGIN_LEASED)
			origin_go(o, ORIGIN_LEASED);
		o->speech->attach(l);
	}
}

/* It stands on a connection that has ended, or may have. */
static void
lease_lose(struct lease *l)
{
	lease_detach(l, false);
	l->reused = false;
	origin_make(l);
}

static void
probe_expire(struct timer *t)
{
	struct lease *l = CONTAINER_OF(t, struct lease, timer);

	assert(l->at == LEASE_AT_GIVEN && l->h2.probes);
	lease_lose(l);
}

/*
 * Its request could not be repeated, and the connection has been idle: it has
 * to show first that it lives (RFC 9113 6.7).
 */
static void
lease_probe(struct lease *l)
{
	lease_go(l, LEASE_AT_GIVEN);
	l->h2.probes = true;
	timer_init(&l->timer, l->worker->loop, probe_expire);
	timer_set(&l->timer, PROBE_MS);
	origin_h2_probe(l->origin);
}

static struct origin *
take_kept(const struct lease *l)
{
	struct origin *o;

	if (l->want.dialled != NULL)
		return (NULL);
	o = origin_own_take(l);
	return (o != NULL ? o : origin_pool_take(l));
}

struct lease *
lease_get(struct worker *w, struct worker_gen *g, const struct lease_want *want,
    struct task *wake)
{
	struct lease *l = lease_alloc(w->pool);
	struct origin *o;

	assert(want->own != NULL && want->protocols != 0);
	*l = (struct lease){ .worker = w,
		.wake = wake,
		.want = *want,
		.at = LEASE_AT_NEW };
	list_init(&l->link);
	l->place = origin_place_get(w->pool, g, want);
	l->want.host = l->place->host;
	l->want.dial_host = l->place->dial;
	if ((want->protocols & TLS_HTTP1) != 0 &&
	    (!l->place->offers_h2 || origin_is_h1_wanted(l)))
		l->want.protocols = TLS_HTTP1;
	if ((o = take_kept(l)) != NULL) {
		lease_attach(l, o);
		if (want->recent && o->h2 != NULL && !origin_is_recent(o))
			lease_probe(l);
		else
			lease_go(l, LEASE_AT_READY);
	} else if (want->dialled != NULL || origin_may_connect(l))
		origin_make(l);
	else
		lease_queue(l);
	return (l);
}

void
lease_set_wake(struct lease *l, struct task *wake)
{
	l->wake = wake;
	if (l->origin != NULL && l->origin->speech != NULL)
		l->origin->speech->attach(l);
	if (l->at == LEASE_AT_FAILED || l->at == LEASE_AT_GIVEN)
		task_wake(wake);
}

void
lease_set_reach(struct lease *l,
    bool (*may_reach)(void *arg, const struct sockaddr *), void *arg)
{
	l->want.may_reach = may_reach;
	l->want.arg = arg;
}

/* Settling it. */

enum lease_state
lease_state(struct lease *l)
{
	struct origin *o = l->origin;

	if (l->at != LEASE_AT_GIVEN)
		return (is_told[l->at]);
	if (l->h2.probes && !origin_h2_is_probed(o))
		return (LEASE_WAITING);
	if (!origin_is_stale(o)) {
		if (l->h2.probes)
			lease_h2_probed(l);
		lease_go(l, LEASE_AT_READY);
	} else /* its peer ended it just now */
		lease_lose(l);
	return (is_told[l->at]);
}

const struct fault *
lease_fault(const struct lease *l)
{
	static const struct fault late = { .code = ERR_CONNECT_TIMEOUT };

	assert(l->at == LEASE_AT_FAILED);
	return (l->origin != NULL ? &l->origin->fault : &late);
}

bool
lease_is_good(struct lease *l, const struct worker_gen *g, unsigned protocols,
    bool repeatable, bool uploads)
{
	struct origin *o = l->origin;

	if (l->place->gen != g)
		return (false);
	if (l->at != LEASE_AT_READY)
		return ((l->want.protocols & ~protocols) == 0);
	if ((o->agreed & protocols) == 0 ||
	    (uploads && !origin_h2_takes_upload(o, l)))
		return (false);
	/* One that is signed in is the client's own: there is no other. */
	return (!origin_is_stale(o) &&
	    (repeatable || o->sign_in != HTTP_SIGN_NONE ||
		origin_is_recent(o)));
}

/* Giving it back. */

/* Is nothing of this exchange left on its connection? */
static bool
is_over(const struct lease *l)
{
	if (l->origin->h2 != NULL) /* it has streams of their own */
		return (!origin_is_stale(l->origin));
	switch (l->at) {
	case LEASE_AT_GIVEN:
	case LEASE_AT_READY:
		return (!origin_is_stale(l->origin));
	case LEASE_AT_ANSWERED:
		return (l->keep && l->origin->speech->whole(l->origin));
	case LEASE_AT_NEW:
	case LEASE_AT_QUEUED:
	case LEASE_AT_MAKING:
	case LEASE_AT_SENT:
	case LEASE_AT_SWITCHED:
	case LEASE_AT_ENDED:
	case LEASE_AT_FAILED:
	case LEASE_ATS:
		break;
	}
	return (false);
}

/* over: nothing of its exchange is left on its connection. */
static void
lease_detach(struct lease *l, bool over)
{
	struct origin *o = l->origin;
	const struct worker *w = l->worker;
	bool serves = over && !w->draining && l->place->gen == w->current;

	if (o->speech != NULL)
		o->speech->detach(l);
	list_remove(&l->link);
	l->origin = NULL;
	o->n_leases--;
	if (!list_empty(&o->leases)) {
		assert(o->h2 != NULL);
		origin_pays(o);
		if (serves)
			origin_pool_offer(o);
		else
			origin_drain(o);
		return;
	}
	if (serves && o->state == ORIGIN_LEASED) {
		origin_pool_put(o);
		return;
	}
	o->lingers = l->at == LEASE_AT_SWITCHED && duplex_is_over(l->raw);
	o->spoilt |= !over && !o->lingers && o->h2 == NULL;
	if (o->sign_in == HTTP_SIGN_HALF)
		o->own->broken = true;
	origin_destroy(o);
}

void
lease_release(struct lease **lp)
{
	struct lease *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	if (l->at == LEASE_AT_QUEUED)
		lease_unqueue(l);
	if (l->at == LEASE_AT_ANSWERED)
		l->origin->used_at = loop_now(l->worker->loop);
	if (l->origin != NULL)
		lease_detach(l, is_over(l));
	origin_place_put(l->worker->pool, l->place);
	lease_dealloc(l->worker->pool, l);
}

/* The exchange. */

struct sink *
lease_send(struct lease *l, struct http_msg *req, bool has_body)
{
	struct sink *s;

	assert(req->is_request);
	lease_go(l, LEASE_AT_SENT);
	l->req = req;
	l->asked_at = loop_now(l->worker->loop);
	s = l->origin->speech->send(l, req, has_body);
	assert((s != NULL) == has_body);
	return (s);
}

enum lease_got
lease_head(struct lease *l, struct arena *a, const struct h1_limits *limits,
    struct http_msg **msg, struct fault *f)
{
	const struct speech *speech = l->origin->speech;
	enum lease_got got;

	assert(l->at == LEASE_AT_SENT);
	got = speech->head(l, a, limits, msg, f);
	switch (got) {
	case LEASE_GOT_HEAD:
		l->heads++;
		l->begun = false;
		l->asked_at = loop_now(l->worker->loop);
		if ((*msg)->status >= 200)
			lease_go(l, LEASE_AT_ANSWERED);
		break;
	case LEASE_GOT_WAIT:
		if (!l->begun && speech->begun(l)) {
			l->begun = true;
			l->asked_at = loop_now(l->worker->loop);
		}
		break;
	case LEASE_GOT_END:
	case LEASE_GOT_BAD:
		assert(f->code != ERR_NONE);
		lease_go(l, LEASE_AT_ENDED);
		break;
	}
	return (got);
}

struct duplex *
lease_switch(struct lease *l)
{
	assert(l->heads > 0 && l->origin->h2 == NULL);
	lease_go(l, LEASE_AT_SWITCHED);
	l->raw = l->origin->speech->switched(l);
	return (l->raw);
}

struct body *
lease_body(struct lease *l, struct body_store *store,
    const struct http_msg *msg)
{
	assert(l->at == LEASE_AT_ANSWERED);
	return (l->origin->speech->body(l, store, msg));
}

static bool
is_on(const struct lease *l)
{
	return (is_told[l->at] == LEASE_READY);
}

void
lease_turn(struct lease *l)
{
	if (l != NULL && is_on(l))
		l->origin->speech->turn(l);
}

/* Clocks. */

uint64_t
lease_head_due(const struct lease *l, uint64_t first, uint64_t rest)
{
	return (l->at != LEASE_AT_SENT
		? UINT64_MAX
		: l->asked_at + (l->begun ? rest : first));
}

bool
lease_is_late(const struct lease *l, uint64_t now, uint64_t first,
    uint64_t rest)
{
	return (now >= lease_head_due(l, first, rest));
}

uint64_t
lease_body_due(const struct lease *l, uint64_t now, uint64_t ms, uint64_t rate)
{
	return (l->at != LEASE_AT_ANSWERED
		? UINT64_MAX
		: l->origin->speech->due(l, now, ms, rate));
}

bool
lease_is_silent(const struct lease *l, uint64_t now, uint64_t ms)
{
	return (l->at == LEASE_AT_ANSWERED &&
	    l->origin->speech->silent(l, now, ms));
}

bool
lease_is_slow(struct lease *l, uint64_t now, uint64_t rate)
{
	return (l->at == LEASE_AT_ANSWERED &&
	    l->origin->speech->slow(l, now, rate));
}

void
lease_forgive(struct lease *l, uint64_t now)
{
	assert(is_on(l));
	l->asked_at = now;
	l->origin->speech->forgive(l, now);
}

/* Facts. */

bool
lease_is_reused(const struct lease *l)
{
	return (l->reused);
}

bool
lease_may_be_lost(const struct lease *l)
{
	return (l->reused || (l->origin != NULL && l->origin->h2 != NULL));
}

bool
lease_is_unseen(const struct lease *l)
{
	return (l->at == LEASE_AT_ENDED && l->unseen && l->heads == 0);
}

bool
lease_may_repeat(const struct lease *l)
{
	/* A leg of a sign-in means this connection alone. */
	return (
	    l->at == LEASE_AT_ENDED && l->reused && l->heads == 0 && !l->leg);
}

bool
lease_is_invalid(const struct lease *l)
{
	return (l->origin != NULL && l->origin->invalid);
}

void
lease_times(const struct lease *l, struct lease_times *t)
{
	*t = l->origin != NULL && !l->reused
	    ? l->origin->times
	    : (struct lease_times){ -1, -1, -1 };
}

const struct sockaddr *
lease_peer(const struct lease *l)
{
	const struct origin *o = l->origin;

	return (o != NULL && o->transport != NULL ? &o->dial.peer.sa : NULL);
}

const char *
lease_peer_ip(const struct lease *l)
{
	static const char none[ADDRESS_TEXT];

	return (lease_peer(l) != NULL ? l->origin->dial.peer_ip : none);
}

void
lease_tls(const struct lease *l, struct str *version, struct str *cipher,
    struct str *protocol)
{
	*version = *cipher = *protocol = STR_NONE;
	if (!is_on(l) || !l->place->tls)
		return;
	*version = tls_version_text(link_tls(l->origin->transport));
	*cipher = tls_cipher_text(link_tls(l->origin->transport));
	*protocol = tls_protocol_text(link_tls(l->origin->transport));
}
