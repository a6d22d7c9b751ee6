/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leases: got, settled, given back; see lease.h. */
#include <assert.h>
#include <stdlib.h>
#include "proxy/wire/duplex.h"
#include "proxy/wire/lease_priv.h"

#define SPARES_MAX 256
#define FIRST_MS 500  /* so long others wait for whether it is HTTP/2 */
#define ASK_MS 2000   /* for an origin's SETTINGS; then it is HTTP/1 */
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
	if (o != NULL || lease_own_is_broken(l->want.own, l->place))
		return (o);
	return (origin_pool_take(l));
}

/* Is its connection one of HTTP/2, and does its request ask more of it? */
static bool
has_to_ask(const struct lease *l)
{
	return (l->want.websocket && l->origin->h2 != NULL &&
	    !origin_h2_takes_websocket(l->origin));
}

static void lease_find(struct lease *);

/* Its connection takes no WebSocket connection: another one does. */
static void
lease_refused(struct lease *l)
{
	timer_stop(&l->timer);
	lease_detach(l, !origin_is_stale(l->origin));
	l->reused = false;
	l->want.protocols = TLS_HTTP1;
	lease_find(l);
}

static void
ask_expire(struct timer *t)
{
	struct lease *l = CONTAINER_OF(t, struct lease, timer);

	assert(l->at == LEASE_AT_ASKING);
	lease_refused(l);
	task_wake(l->wake);
}

static void
lease_ask(struct lease *l)
{
	lease_go(l, LEASE_AT_ASKING);
	timer_init(&l->timer, l->worker->loop, ask_expire);
	timer_set(&l->timer, ASK_MS);
}

/* What does its origin say?  See lease_state(). */
static void
lease_asked(struct lease *l)
{
	struct origin *o = l->origin;

	if (!origin_h2_is_asked(o))
		return;
	if (origin_h2_refuses_websocket(o)) {
		lease_refused(l);
		return;
	}
	/* Or it has ended, which shows as with any request. */
	timer_stop(&l->timer);
	lease_go(l, LEASE_AT_READY);
}

void
lease_made(struct lease *l)
{
	if (has_to_ask(l))
		lease_ask(l);
	else
		lease_go(l, LEASE_AT_READY);
}

/* A connection for it: one that is kept, a new one, or its turn for either. */
static void
lease_find(struct lease *l)
{
	struct origin *o = take_kept(l);

	if (o == NULL && l->want.websocket &&
	    (l->want.protocols & TLS_HTTP1) != 0 &&
	    origin_refuses_websocket(l->place))
		l->want.protocols = TLS_HTTP1;
	if (o == NULL && lease_own_is_broken(l->want.own, l->place)) {
		/* It may be the next leg: a stranger takes it for a guess. */
		lease_go(l, LEASE_AT_FAILED);
		return;
	}
	if (o != NULL) {
		lease_attach(l, o);
		if (l->want.recent && o->h2 != NULL && !origin_is_recent(o))
			lease_probe(l);
		else
			lease_made(l);
	} else if (l->want.dialled != NULL || origin_may_connect(l))
		origin_make(l);
	else
		lease_queue(l);
}

struct lease *
lease_get(struct worker *w, struct worker_gen *g, const struct lease_want *want,
    struct task *wake)
{
	struct lease *l = lease_alloc(w->pool);

	assert(want->own != NULL && want->protocols != 0);
	*l = (struct lease){ .worker = w,
		.wake = wake,
		.want = *want,
		.at = LEASE_AT_NEW };
	list_init(&l->link);
	l->place = origin_place_get(w->pool, g, want);
	l->want.host = l->place->host;
	l->want.dial_host = l->place->dial;
	l->want.uploads |= want->websocket;
	if ((want->protocols & TLS_HTTP1) != 0 &&
	    (!l->place->offers_h2 || origin_is_h1_wanted(l)))
		l->want.protocols = TLS_HTTP1;
	lease_find(l);
	return (l);
}

void
lease_adopt(struct lease *l, const struct lease_want *want, struct task *wake)
{
	l->wake = wake;
	l->want.may_reach = want->may_reach;
	l->want.arg = want->arg;
	l->want.uploads = want->uploads || want->websocket;
	l->want.websocket = want->websocket;
	if (l->origin != NULL && l->origin->speech != NULL)
		l->origin->speech->attach(l);
	if (l->at == LEASE_AT_READY && has_to_ask(l))
		lease_ask(l);
	if (l->at == LEASE_AT_FAILED || l->at == LEASE_AT_GIVEN)
		task_wake(wake);
}

/* Settling it. */

enum lease_state
lease_state(struct lease *l)
{
	if (l->at == LEASE_AT_ASKING)
		lease_asked(l);
	if (l->at != LEASE_AT_GIVEN)
		return (is_told[l->at]);
	if (l->h2.probes && !origin_h2_is_probed(l->origin))
		return (LEASE_WAITING);
	if (!origin_is_stale(l->origin)) {
		if (l->h2.probes)
			lease_h2_probed(l);
		lease_made(l);
	} else /* its peer ended it just now */
		lease_lose(l);
	return (is_told[l->at]);
}

const struct fault *
lease_fault(const struct lease *l)
{
	static const struct fault late = { .code = ERR_CONNECT_TIMEOUT },
				  lost = { .code = ERR_ORIGIN_CLOSED,
					  .detail = "the connection that was "
						    "being signed in has "
						    "ended" };

	assert(l->at == LEASE_AT_FAILED);
	if (l->origin != NULL)
		return (&l->origin->fault);
	return (lease_own_is_broken(l->want.own, l->place) ? &lost : &late);
}

bool
lease_is_good(struct lease *l, const struct worker_gen *g,
    const struct lease_want *want)
{
	struct origin *o = l->origin;

	if (l->place->gen != g || l->place->route != want->route ||
	    l->place->slot != want->slot ||
	    l->place->absolute != want->absolute)
		return (false);
	if (l->at != LEASE_AT_READY)
		return ((l->want.protocols & ~want->protocols) == 0);
	if (!origin_serves(o, want))
		return (false);
	/* One that is signed in is the client's own: there is no other. */
	return (!origin_is_stale(o) &&
	    (!want->recent || o->sign_in != HTTP_SIGN_NONE ||
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
	case LEASE_AT_ASKING:
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
	/* A way around parents is for who has to take it. */
	bool serves = over && !w->draining && l->place->gen == w->current &&
	    !o->way.around;

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
	o->lingers = l->at == LEASE_AT_SWITCHED && o->h2 == NULL &&
	    duplex_is_over(l->raw);
	o->spoilt |= !over && !o->lingers && o->h2 == NULL;
	if (o->sign_in == HTTP_SIGN_HALF)
		lease_own_break(o->own, o->place);
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
	if (l->at == LEASE_AT_ASKING)
		timer_stop(&l->timer);
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
	assert(l->heads > 0);
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

bool
lease_is_on(const struct lease *l)
{
	return (is_told[l->at] == LEASE_READY);
}

void
lease_turn(struct lease *l)
{
	if (l != NULL && lease_is_on(l))
		l->origin->speech->turn(l);
}
