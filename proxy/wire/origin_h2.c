/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to an origin that speaks HTTP/2: its octets go through the
 * session, for all leases on it; its silence is asked about; and what is known
 * of origins that want HTTP/1.1 instead.
 *
 * Room: proxy/wire.  Thread: its worker's.  Units: octets, ms.
 * Obeys RFC 9113 5.1.2, 6.7, 6.8, 9.1.
 */
#include <assert.h>
#include <stdlib.h>
#include "net/hostname.h"
#include "proxy/wire/lease_priv.h"

#define READ_PIECE 65536u
#define READ_MOST 262144u /* in one turn: others have theirs */
#define CONN_BYTES 32768u /* of memory: its session and TLS */
#define SILENT_MS 10000   /* then it is asked whether it lives */
#define PING_MS 10000     /* ... which it says in that time */
/* Servers call it a flood to be asked often (gRPC: 5 minutes). */
#define PING_AGAIN_MS 300000
#define WANTS_H1_MS 300000
/*
 * Origins end connections with many resets (CVE-2023-44487): clients who give
 * up again and again shall not end the requests of others.
 */
#define RESETS_MAX 100

static uint64_t
now_of(const struct origin *o)
{
	return (loop_now(o->worker->loop));
}

/* May it bear another lease, now or later? */
static bool
is_alive(const struct origin *o)
{
	return (!o->h2->ended && h2_session_can_open(o->h2->session) &&
	    o->h2->resets < RESETS_MAX && !link_broken(o->transport));
}

bool
origin_h2_is_asked(const struct origin *o)
{
	return (h2_session_is_ready(o->h2->session) || !is_alive(o));
}

bool
origin_h2_takes_websocket(const struct origin *o)
{
	return (is_alive(o) && h2_session_is_ready(o->h2->session) &&
	    h2_session_may_connect(o->h2->session));
}

bool
origin_h2_refuses_websocket(const struct origin *o)
{
	return (is_alive(o) && h2_session_is_ready(o->h2->session) &&
	    !h2_session_may_connect(o->h2->session));
}

/* Octets. */

static void
gone(struct origin *o, const char *why)
{
	struct fault f = { 0 };

	fault_set(&f, ERR_ORIGIN_CLOSED, "%s", why);
	h2_session_gone(o->h2->session, &f);
	o->h2->ended = true;
}

/* Leases that ask what it takes find out now. */
static void
tell_asking(struct origin *o)
{
	struct list *it, *save;
	struct lease *l;

	if (o->h2->told || !origin_h2_is_asked(o))
		return;
	o->h2->told = true;
	LIST_EACH (it, save, &o->leases) {
		l = CONTAINER_OF(it, struct lease, link);
		if (l->at == LEASE_AT_ASKING)
			task_wake(l->wake);
	}
}

static void
take(struct origin *o)
{
	struct h2_conn *h = o->h2;
	struct chq in = { 0 };
	size_t got = 0;
	enum pull p;

	while (!h->ended && h2_session_wants_read(h->session)) {
		if (got >= READ_MOST) {
			task_wake(&o->task);
			break;
		}
		p = link_read(o->transport, &in, READ_PIECE);
		if (p == PULL_WAIT)
			break;
		if (p != PULL_MORE) {
			gone(o, link_error(o->transport));
			break;
		}
		got += chq_len(&in);
		(void)h2_session_take(h->session, &in, now_of(o));
	}
	chq_fini(&in);
	if (got > 0)
		h->heard_at = o->used_at = now_of(o);
	tell_asking(o);
}

static void
give_octets(struct origin *o)
{
	struct h2_session *s = o->h2->session;
	bool choked = !h2_session_wants_read(s);
	struct chq out = { 0 };
	size_t room;

	while ((room = link_room(o->transport)) > 0 &&
	    h2_session_give(s, &out, room) > 0)
		link_write_chq(o->transport, &out, chq_len(&out));
	chq_fini(&out);
	/* It was not read while it did not take our answers. */
	if (choked && h2_session_wants_read(s))
		task_wake(&o->task);
}

void
origin_h2_flush(struct origin *o)
{
	if (h2_session_wants_write(o->h2->session))
		task_wake(&o->task);
}

/* Others may connect to its place, or stand on this one. */
static void
settle_connecting(struct origin *o)
{
	if (!o->connecting)
		return;
	if (!is_alive(o))
		origin_connecting_ended(o, false);
	else if (h2_session_is_ready(o->h2->session)) {
		if (origin_h2_refuses_websocket(o))
			origin_pool_refused_websocket(o->place);
		origin_pool_offer(o);
		origin_connecting_ended(o, true);
	}
}

void
origin_h2_run(struct origin *o)
{
	assert(o->n_leases > 0);
	take(o);
	lease_h2_news(o);
	lease_h2_open_waiting(o);
	give_octets(o);
	lease_h2_news(o); /* there is room again */
	settle_connecting(o);
	if (is_alive(o))
		origin_pool_offer(o);
	else
		origin_drain(o);
	origin_h2_watch(o);
}

bool
origin_h2_stale(struct origin *o)
{
	take(o);
	lease_h2_news(o);
	give_octets(o);
	return (!is_alive(o));
}

/* Before its SETTINGS nobody knows how many: who it was made for is one. */
bool
origin_h2_bears(const struct origin *o)
{
	const struct h2_session *s = o->h2->session;
	unsigned n = h2_session_streams(s), max = h2_session_limit(s);

	if (n < o->n_leases)
		n = o->n_leases;
	return (is_alive(o) && n < (h2_session_is_ready(s) ? max : 1));
}

/* Uploads. */

bool
origin_h2_takes_upload(const struct origin *o, const struct account *of)
{
	return (o->h2 == NULL || o->h2->uploads == 0 || o->h2->uploader == of);
}

void
origin_h2_upload_began(struct lease *l)
{
	struct h2_conn *h = l->origin->h2;

	assert(!l->h2.uploads);
	if (!origin_h2_takes_upload(l->origin, l->want.account))
		return; /* there was no better one */
	h->uploader = l->want.account;
	h->uploads++;
	l->h2.uploads = true;
}

void
origin_h2_upload_ended(struct lease *l)
{
	struct h2_conn *h = l->origin->h2;

	if (!l->h2.uploads)
		return;
	assert(h->uploads > 0 && h->uploader == l->want.account);
	l->h2.uploads = false;
	if (--h->uploads == 0)
		h->uploader = NULL;
}

/* Its life and its silence, while streams are open or it is probed. */

static void
ping(struct origin *o)
{
	if (h2_session_ping_unanswered(o->h2->session))
		return;
	h2_session_ping(o->h2->session);
	o->h2->asked_at = now_of(o);
}

void
origin_h2_probe(struct origin *o)
{
	o->h2->probing++;
	ping(o);
	origin_h2_flush(o);
}

bool
origin_h2_is_probed(const struct origin *o)
{
	return (!is_alive(o) || !h2_session_ping_unanswered(o->h2->session));
}

/* When it is to be looked at. */
static uint64_t
silence_due(const struct h2_conn *h)
{
	uint64_t at = h->heard_at + SILENT_MS;

	if (h2_session_ping_unanswered(h->session))
		return (
		    (h->heard_at > h->asked_at ? h->heard_at : h->asked_at) +
		    PING_MS);
	return (at > h->again_at ? at : h->again_at);
}

void
origin_h2_watch(struct origin *o)
{
	struct h2_conn *h = o->h2;
	uint64_t at = silence_due(h), now = now_of(o);

	if (h->ended ||
	    (h2_session_streams(h->session) == 0 && h->probing == 0))
		timer_pause(&h->timer);
	else
		timer_set_at(&h->timer, at > now ? at : now + 1);
}

static void
on_silence(struct timer *t)
{
	struct h2_conn *h = CONTAINER_OF(t, struct h2_conn, timer);
	struct origin *o = h->origin;
	uint64_t now = now_of(o);

	/* What has come and was not looked at is no silence. */
	if (now < silence_due(h) || !link_is_waiting(o->transport)) {
		task_wake(&o->task);
		return;
	}
	if (h2_session_ping_unanswered(h->session))
		gone(o, "no answer to PING");
	else {
		ping(o);
		h->again_at = now + PING_AGAIN_MS;
	}
	task_wake(&o->task);
}

/* Its begin and its end. */

void
origin_h2_charge(struct origin *o, struct account *payer)
{
	charge_set(&o->h2->charge, NULL, 0, 0);
	charge_set(&o->h2->charge, payer, CONN_BYTES, 0);
}

void
origin_h2_begin(struct origin *o)
{
	struct h2_conn *h = calloc(1, sizeof(*h));
	struct h2_config cfg = { .limits = &o->place->gen->gen->origin_limits };

	if (h == NULL)
		abort();
	o->h2 = h;
	o->own = NULL;
	h->origin = o;
	h->session = h2_session_new(&cfg);
	h->heard_at = now_of(o);
	timer_init(&h->timer, o->worker->loop, on_silence);
	link_set_owner(o->transport, &o->task);
	list_append(&o->place->shared, &o->link);
	origin_pays(o);
	origin_h2_watch(o);
	task_wake(&o->task);
}

void
origin_h2_end(struct origin *o)
{
	struct h2_conn *h = o->h2;

	assert(o->n_leases == 0 && h->waiting == 0 && h->probing == 0 &&
	    h->uploads == 0);
	if (!h->ended) {
		h2_session_drain(h->session);
		give_octets(o);
	}
	timer_stop(&h->timer);
	charge_set(&h->charge, NULL, 0, 0);
	h2_session_free(&h->session);
	free(h);
	o->h2 = NULL;
}

/* Who wants HTTP/1.1. */

/* Clients choose names: not the place in the table. */
static uint64_t
h1_key(const struct lease *l)
{
	const struct place *p = l->place;
	uint64_t seed = l->worker->pool->seed;

	return (hostname_hash(p->host, seed + p->port) ^
	    hostname_hash(p->dial, ~seed + p->route) ^
	    (uint64_t)(uintptr_t)l->want.account * 0x9e3779b97f4a7c15u);
}

void
origin_wants_h1(const struct lease *l)
{
	struct origin_pool *p = l->worker->pool;
	uint64_t key = h1_key(l);

	p->wants_h1_until = loop_now(l->worker->loop) + WANTS_H1_MS;
	p->wants_h1[key % WANTS_H1].key = key;
	p->wants_h1[key % WANTS_H1].until = p->wants_h1_until;
}

bool
origin_is_h1_wanted(const struct lease *l)
{
	const struct origin_pool *p = l->worker->pool;
	uint64_t now = loop_now(l->worker->loop), key;

	if (now >= p->wants_h1_until)
		return (false);
	key = h1_key(l);
	return (p->wants_h1[key % WANTS_H1].key == key &&
	    now < p->wants_h1[key % WANTS_H1].until);
}
