/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pool of origin connections: by place, who waits for one, how many are
 * made at a time.  See origin.h.
 * Room: proxy.  Thread: its worker's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/budget.h"
#include "proxy/wire/origin_priv.h"
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
#define FREED_MS 100		/* a connection that came free is news so long */
#define IDLE_SPARE 256		/* idle connections beyond one a client */

static struct place **
place_find(struct origin_pool *p, struct str host, struct str dial,
    uint16_t port)
{
	uint64_t h = hostname_hash(host, p->seed + port);
	struct place **at;

	if (!str_eq(host, dial))
		h ^= hostname_hash(dial, p->seed);
	at = &p->bucket[h % ORIGIN_BUCKETS];
	while (*at != NULL && ((*at)->port != port ||
	    !str_eq(str_of((*at)->host), host) ||
	    !str_eq(str_of((*at)->dial), dial)))
		at = &(*at)->next;
	return (at);
}

struct place *
origin_place_get(struct origin_pool *p, const char *host, const char *dial,
    uint16_t port)
{
	struct place **at = place_find(p, str_of(host), str_of(dial), port);
	struct place *place = *at;

	if (place == NULL) {
		place = calloc(1, sizeof(*place));
		if (place == NULL)
			abort();
		snprintf(place->host, sizeof(place->host), "%s", host);
		snprintf(place->dial, sizeof(place->dial), "%s", dial);
		place->port = port;
		list_init(&place->idle);
		list_init(&place->waiting);
		place->connecting_max = CONNECTING_START;
		*at = place;
	}
	place->users++;
	return (place);
}

void
origin_place_put(struct origin_pool *p, struct place *place)
{
	struct place **at;

	if (--place->users > 0)
		return;
	at = place_find(p, str_of(place->host), str_of(place->dial),
	    place->port);
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

bool
origin_may_connect(const struct worker *w, const struct place *place)
{
	return (place->connecting < (comes_free(w, place) &&
	    loop_is_busy(w->loop) ? CONNECTING_BUSY : place->connecting_max));
}

void
origin_connecting_ended(struct origin *o, bool ok)
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
	while (!list_empty(&place->waiting) && origin_may_connect(o->worker, place)) {
		next = CONTAINER_OF(place->waiting.next, struct origin, link);
		list_remove(&next->link);
		origin_dial(next);
	}
}

static void
pool_remove(struct origin_pool *p, struct origin *o)
{
	list_remove(&o->link);
	list_remove(&o->age);
	p->idle--;
}

void
origin_pool_drop(struct origin_pool *p, struct origin *o)
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
			origin_pool_drop(p, o);
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

struct origin *
origin_pool_take(struct origin_pool *p, const struct worker_gen *g,
    const struct origin_want *want)
{
	struct str where = want->dial_host.p != NULL ? want->dial_host :
	    want->host;
	struct list *it, *save;
	struct place *place;
	struct origin *o, *found = NULL;

	place = *place_find(p, want->host, where, want->port);
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
			origin_pool_drop(p, o);
			continue;
		}
		pool_remove(p, o);
		found = o;
		break;
	}
	origin_place_put(p, place);
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

void
origin_pool_put(struct origin_pool *p, struct origin *o)
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
	link_charge_to(o->transport, o->worker->kept);
	if (w != NULL) {
		list_remove(&w->link);
		timer_stop(&w->timer);
		w->given = o;
		w->state = ORIGIN_GIVEN;
		place->freed_at = loop_now(o->worker->loop);
		task_wake(w->owner);
		return;
	}
	if (p->idle > 0 && (p->idle >= o->worker->n_clients + IDLE_SPARE ||
	    account_spare(o->worker->kept, BUDGET_DESCRIPTORS) == 0))
		origin_pool_drop(p, CONTAINER_OF(p->age.next, struct origin, age));
	list_insert(&place->idle, &o->link);
	list_append(&p->age, &o->age);
	p->idle++;
	timer_set(&o->timer, idle);
	task_wake(&o->task);	/* arms the watch for the peer's end */
}
