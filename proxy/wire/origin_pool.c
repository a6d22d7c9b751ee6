/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pool of origin connections: by place, who waits for one, how many are
 * made at a time.  See lease.h.
 * Room: proxy/wire.  Thread: its worker's.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/budget.h"
#include "proxy/wire/lease_priv.h"
#include "net/hostname.h"

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
#define CONNECTING_FIRST 1 /* it may turn out to be HTTP/2, for all */
#define FREED_MS 100       /* a connection that came free is news so long */
#define IDLE_SPARE 256     /* idle connections beyond one a client */

static bool
is_place(const struct place *p, const struct worker_gen *g,
    const struct lease_want *w, struct str dial)
{
	return (p->gen == g && p->tls == w->tls && p->port == w->port &&
	    p->route == w->route && p->slot == w->slot &&
	    p->absolute == w->absolute && str_eq(p->host, w->host) &&
	    str_eq(p->dial, dial));
}

/* Where it is in its bucket, or would be. */
static struct place **
place_find(struct origin_pool *p, const struct worker_gen *g,
    const struct lease_want *w, struct str dial)
{
	uint64_t h = hostname_hash(w->host, p->seed + w->port);
	struct place **at;

	if (!str_eq(w->host, dial))
		h ^= hostname_hash(dial, p->seed);
	at = &p->bucket[(h + w->route + w->slot) % ORIGIN_BUCKETS];
	while (*at != NULL && !is_place(*at, g, w, dial))
		at = &(*at)->next;
	return (at);
}

static struct place *
place_new(struct worker_gen *g, const struct lease_want *want, struct str dial)
{
	struct str host = want->host;
	bool tls = want->tls;
	struct place *place = calloc(1, sizeof(*place));

	if (place == NULL)
		abort();
	assert(
	    host.n < sizeof(place->name[0]) && dial.n < sizeof(place->name[1]));
	place->gen = worker_gen_ref(g);
	place->tls = tls;
	place->port = want->port;
	place->route = want->route;
	place->slot = want->slot;
	place->absolute = want->absolute;
	memcpy(place->name[0], host.p, host.n);
	memcpy(place->name[1], dial.p, dial.n);
	place->host = (struct str){ place->name[0], host.n };
	place->dial = (struct str){ place->name[1], dial.n };
	list_init(&place->idle);
	list_init(&place->shared);
	list_init(&place->waiting);
	place->offers_h2 = tls &&
	    conf_origin_http2(g->gen->conf, host, want->host_is_ip);
	place->one_first = place->offers_h2;
	place->connecting_max = CONNECTING_START;
	return (place);
}

struct place *
origin_place_get(struct origin_pool *p, struct worker_gen *g,
    const struct lease_want *want)
{
	struct str dial = want->dial_host.p != NULL ? want->dial_host
						    : want->host;
	struct place **at = place_find(p, g, want, dial);

	if (*at == NULL)
		*at = place_new(g, want, dial);
	(*at)->users++;
	return (*at);
}

void
origin_place_put(struct origin_pool *p, struct place *place)
{
	const struct lease_want same = { .tls = place->tls,
		.host = place->host,
		.port = place->port,
		.route = place->route,
		.slot = place->slot,
		.absolute = place->absolute };
	struct place **at;

	assert(place->users > 0);
	if (--place->users > 0)
		return;
	assert(list_empty(&place->idle) && list_empty(&place->waiting) &&
	    list_empty(&place->shared) && place->connecting == 0);
	at = place_find(p, place->gen, &same, place->dial);
	assert(*at == place);
	*at = place->next;
	worker_gen_unref(&place->gen);
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

bool
origin_may_connect(const struct lease *l)
{
	const struct place *place = l->place;
	unsigned max = place->connecting_max;

	if (place->one_first && (l->want.protocols & TLS_H2) != 0)
		max = CONNECTING_FIRST;
	else if (comes_free(l->worker, place) && loop_is_busy(l->worker->loop))
		max = CONNECTING_BUSY;
	return (place->connecting < max);
}

static bool
one_refuses(const struct list *l)
{
	const struct list *it;
	const struct origin *o;

	for (it = l->next; it != l; it = it->next) {
		o = CONTAINER_OF(it, const struct origin, link);
		if (o->h2 != NULL && origin_h2_refuses_websocket(o))
			return (true);
	}
	return (false);
}

bool
origin_refuses_websocket(const struct place *place)
{
	return (place->speaks_h2 &&
	    (one_refuses(&place->shared) || one_refuses(&place->idle)));
}

void
origin_pool_refused_websocket(struct place *place)
{
	struct list *it, *save;
	struct lease *l;

	LIST_EACH (it, save, &place->waiting) {
		l = CONTAINER_OF(it, struct lease, link);
		if (l->want.websocket && (l->want.protocols & TLS_HTTP1) != 0)
			l->want.protocols = TLS_HTTP1;
	}
}

bool
origin_may_connect_beside(const struct lease *l)
{
	return (l->place->connecting < l->place->connecting_max);
}

void
origin_connecting_ended(struct origin *o, bool ok)
{
	struct place *place = o->place;
	struct lease *next;

	if (!o->connecting)
		return;
	assert(place->connecting > 0);
	o->connecting = false;
	place->connecting--;
	if (!ok || list_empty(&place->waiting))
		place->connecting_max = CONNECTING_START;
	else if (!comes_free(o->worker, place) &&
	    place->connecting_max < CONNECTING_MAX)
		place->connecting_max++;
	while (!list_empty(&place->waiting)) {
		next = CONTAINER_OF(place->waiting.next, struct lease, link);
		if (!origin_may_connect(next))
			break;
		lease_unqueue(next);
		origin_make(next);
	}
}

static void
pool_remove(struct origin *o)
{
	assert(o->state == ORIGIN_IDLE && o->sign_in == HTTP_SIGN_NONE);
	list_remove(&o->link);
	list_remove(&o->age);
	o->worker->pool->idle--;
}

void
origin_pool_drop(struct origin *o)
{
	pool_remove(o);
	origin_destroy(o);
}

void
origin_pool_purge(struct origin_pool *p, const struct worker_gen *keep)
{
	struct list *it, *save;
	struct origin *o;

	LIST_EACH (it, save, &p->age) {
		o = CONTAINER_OF(it, struct origin, age);
		if (o->place->gen != keep)
			origin_pool_drop(o);
	}
	origin_own_purge(p, keep);
}

void
origin_pool_free(struct origin_pool **pp)
{
	struct origin_pool *p = *pp;
	struct lease *l;

	origin_pool_purge(p, NULL);
	while ((l = p->spare) != NULL) {
		p->spare = l->next;
		free(l);
	}
	free(p);
	*pp = NULL;
}

void
origin_drain(struct origin *o)
{
	if (o->state != ORIGIN_LEASED)
		return;
	assert(o->h2 != NULL && o->n_leases > 0);
	list_remove(&o->link);
	origin_go(o, ORIGIN_DRAINING);
}

/* One that others stand on, with room for the lease; NULL: none. */
static struct origin *
take_shared(const struct lease *l)
{
	struct list *it, *save;
	struct origin *o;

	LIST_EACH (it, save, &l->place->shared) {
		o = CONTAINER_OF(it, struct origin, link);
		if (!origin_suits(o, l))
			continue;
		if (origin_is_stale(o))
			origin_drain(o);
		else if (o->speech->bears(o))
			return (o);
	}
	return (NULL);
}

struct origin *
origin_pool_take(const struct lease *l)
{
	struct list *it, *save;
	struct origin *o = take_shared(l);

	if (o != NULL)
		return (o);
	LIST_EACH (it, save, &l->place->idle) {
		o = CONTAINER_OF(it, struct origin, link);
		if (!origin_suits(o, l))
			continue;
		if (origin_is_stale(o)) {
			o->spoilt = o->h2 == NULL;
			origin_pool_drop(o);
			continue;
		}
		pool_remove(o);
		return (o);
	}
	return (NULL);
}

/* Who waits for his turn to connect, and may have o instead; NULL: nobody. */
static struct lease *
find_waiting(const struct origin *o)
{
	const struct list *waiting = &o->place->waiting;
	struct list *it;
	struct lease *l;

	for (it = waiting->next; it != waiting; it = it->next) {
		l = CONTAINER_OF(it, struct lease, link);
		if (origin_suits(o, l))
			return (l);
	}
	return (NULL);
}

static void
give(struct origin *o, struct lease *l)
{
	lease_unqueue(l);
	lease_attach(l, o);
	lease_go(l, LEASE_AT_GIVEN);
	o->place->freed_at = loop_now(o->worker->loop);
	task_wake(l->wake);
}

void
origin_pool_offer(struct origin *o)
{
	struct lease *l;

	while (o->state == ORIGIN_LEASED && o->speech->bears(o) &&
	    (l = find_waiting(o)) != NULL)
		give(o, l);
}

/* Has what is kept its share already? */
static bool
keeps_enough(const struct origin_pool *p)
{
	const struct worker *w = p->worker;

	return (p->idle > 0 &&
	    (p->idle >= w->n_clients + IDLE_SPARE ||
		account_spare(w->kept, BUDGET_DESCRIPTORS) == 0 ||
		account_spare(w->kept, BUDGET_MEMORY) == 0));
}

void
origin_pool_put(struct origin *o)
{
	struct origin_pool *p = o->worker->pool;

	assert(o->state == ORIGIN_LEASED && list_empty(&o->leases));
	if (o->sign_in != HTTP_SIGN_NONE) {
		origin_own_put(o);
		return;
	}
	origin_pool_offer(o);
	if (o->n_leases > 0)
		return;
	o->own = NULL;
	if (keeps_enough(p))
		origin_pool_drop(CONTAINER_OF(p->age.next, struct origin, age));
	origin_go(o, ORIGIN_IDLE);
	link_set_owner(o->transport, &o->task);
	origin_pays(o);
	list_remove(&o->link);
	list_insert(&o->place->idle, &o->link);
	list_append(&p->age, &o->age);
	p->idle++;
	if (o->h2 == NULL)
		link_look(o->transport); /* the peer may end it */
	else
		task_wake(&o->task);
}
