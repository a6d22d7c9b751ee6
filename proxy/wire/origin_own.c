/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Origin connections that are signed in (http/auth.h), see lease.h: whoever
 * sends a request over one is taken for the user who signed it in.  So they
 * are never in the pool; an idle one is kept by its client's connection.
 * Room: proxy/wire.  Thread: its worker's.
 */
#include <assert.h>
#include "base/budget.h"
#include "http/auth.h"
#include "net/hostname.h"
#include "proxy/wire/lease_priv.h"

#define OWN_MAX 16      /* idle ones a client may keep: sockets of ours */
#define OWN_BYTES 16384 /* of memory each: its state and TLS */

void
lease_own_init(struct lease_own *own, struct account *account,
    struct task *wake)
{
	*own = (struct lease_own){ .account = account, .wake = wake };
	list_init(&own->idle);
}

void
lease_own_fini(struct lease_own *own)
{
	own->wake = NULL;
	while (!list_empty(&own->idle))
		origin_own_drop(
		    CONTAINER_OF(own->idle.next, struct origin, link));
}

/* Places come and go; that two share a hash costs a client an answer. */
static uint64_t
place_key(const struct place *at)
{
	return (hostname_hash(at->host, at->port) | 1);
}

void
lease_own_break(struct lease_own *own, const struct place *at)
{
	uint64_t key = place_key(at);

	own->broken_at = !own->broken || own->broken_at == key ? key : 0;
	own->broken = true;
}

bool
lease_own_is_broken(const struct lease_own *own, const struct place *at)
{
	return (own->broken &&
	    (own->broken_at == 0 || own->broken_at == place_key(at)));
}

static void
own_remove(struct origin *o)
{
	struct lease_own *own = o->own;

	list_remove(&o->link);
	list_remove(&o->age);
	own->n--;
	account_give(own->account, BUDGET_MEMORY, OWN_BYTES);
}

struct origin *
origin_own_take(const struct lease *l)
{
	struct lease_own *own = l->want.own;
	struct list *it, *save;
	struct origin *o;

	LIST_EACH (it, save, &own->idle) {
		o = CONTAINER_OF(it, struct origin, link);
		if (o->place != l->place || !origin_suits(o, l))
			continue;
		if (origin_is_stale(o)) {
			origin_own_drop(o);
			if (lease_own_is_broken(own, l->place))
				return (NULL);
			continue;
		}
		own_remove(o);
		return (o);
	}
	return (NULL);
}

/* More than it may keep, or than half its shares have room for. */
static bool
keeps_too_much(const struct lease_own *own)
{
	return (own->n > OWN_MAX ||
	    (own->n > 0 &&
		(account_spare(own->account, BUDGET_MEMORY) == 0 ||
		    account_spare(own->account, BUDGET_DESCRIPTORS) == 0)));
}

void
origin_own_put(struct origin *o)
{
	struct lease_own *own = o->own;

	assert(own != NULL && list_empty(&o->leases));
	origin_go(o, ORIGIN_IDLE);
	link_set_owner(o->transport, &o->task);
	list_insert(&own->idle, &o->link);
	list_append(&o->worker->pool->signed_in, &o->age);
	own->n++;
	account_add(own->account, BUDGET_MEMORY, OWN_BYTES);
	link_look(o->transport); /* the peer may end it */
	while (keeps_too_much(own))
		origin_own_drop(
		    CONTAINER_OF(own->idle.prev, struct origin, link));
}

/*
 * In the middle of signing in the client's next leg would come to a stranger,
 * who refuses it as a wrong password: the client shall begin anew.
 */
void
origin_own_drop(struct origin *o)
{
	struct lease_own *own = o->own;

	own_remove(o);
	if (o->sign_in == HTTP_SIGN_HALF) {
		lease_own_break(own, o->place);
		task_wake(own->wake);
	}
	o->spoilt = origin_is_stale(o);
	origin_destroy(o);
}

void
origin_own_purge(struct origin_pool *p, const struct worker_gen *keep)
{
	struct list *it, *save;
	struct origin *o;

	LIST_EACH (it, save, &p->signed_in) {
		o = CONTAINER_OF(it, struct origin, age);
		if (o->place->gen != keep)
			origin_own_drop(o);
	}
}

/* Heads are looked at in both directions, so that nobody has to remember. */
void
lease_note_head(struct lease *l, const struct http_msg *m)
{
	enum http_sign_in said = http_sign_in_of(m);
	struct origin *o = l->origin;

	assert(o->h2 == NULL && o->own != NULL && o->own == l->want.own);
	if (m->is_request)
		l->leg = said != HTTP_SIGN_NONE;
	if (said != HTTP_SIGN_NONE)
		o->sign_in = said;
	else if (o->sign_in == HTTP_SIGN_HALF)
		o->sign_in = HTTP_SIGN_CONNECTION;
}

bool
lease_breaks_sign_in(const struct lease *l)
{
	assert(l->at == LEASE_AT_ANSWERED);
	return (!l->keep && l->origin->sign_in == HTTP_SIGN_HALF);
}
