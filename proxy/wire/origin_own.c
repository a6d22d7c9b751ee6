/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Origin connections that are signed in (http/auth.h), see origin.h: whoever
 * sends a request over one is taken for the user who signed it in.  So they
 * are never in the pool; an idle one is kept by its client's connection.
 * Room: proxy.  Thread: its worker's.
 */
#include <assert.h>
#include "base/budget.h"
#include "http/auth.h"
#include "proxy/wire/origin_priv.h"

#define OWN_MAX 16		/* idle ones a client may keep: sockets of ours */
#define OWN_BYTES 16384		/* of memory each: its state and TLS */

void
origin_holder_init(struct origin_holder *h, struct account *account,
    struct task *wake)
{
	*h = (struct origin_holder){ .account = account, .wake = wake };
	list_init(&h->idle);
}

void
origin_holder_fini(struct origin_holder *h)
{
	h->wake = NULL;
	while (!list_empty(&h->idle))
		origin_own_drop(CONTAINER_OF(h->idle.next, struct origin,
		    link));
}

static void
own_remove(struct origin *o)
{
	struct origin_holder *h = o->holder;

	list_remove(&o->link);
	list_remove(&o->age);
	h->n--;
	account_give(h->account, BUDGET_MEMORY, OWN_BYTES);
}

struct origin *
origin_own_take(struct origin_holder *h, const struct worker_gen *g,
    const struct origin_want *want)
{
	struct list *it, *save;
	struct origin *o;

	LIST_EACH(it, save, &h->idle) {
		o = CONTAINER_OF(it, struct origin, link);
		if (!origin_is_for(o, g, want))
			continue;
		if (link_is_stale(o->transport)) {
			origin_own_drop(o);
			continue;
		}
		own_remove(o);
		return (o);
	}
	return (NULL);
}

/* More than it may keep, or than half its shares have room for. */
static bool
keeps_too_much(const struct origin_holder *h)
{
	return (h->n > OWN_MAX || (h->n > 0 &&
	    (account_spare(h->account, BUDGET_MEMORY) == 0 ||
	    account_spare(h->account, BUDGET_DESCRIPTORS) == 0)));
}

void
origin_own_put(struct origin *o)
{
	struct origin_holder *h = o->holder;

	o->owner = NULL;
	link_set_owner(o->transport, &o->task);
	list_insert(&h->idle, &o->link);
	list_append(&o->worker->pool->signed_in, &o->age);
	h->n++;
	account_add(h->account, BUDGET_MEMORY, OWN_BYTES);
	timer_set(&o->timer, o->gen->gen->conf->limits.origin_idle_ms);
	task_wake(&o->task);	/* arms the watch for the peer's end */
	while (keeps_too_much(h))
		origin_own_drop(CONTAINER_OF(h->idle.prev, struct origin,
		    link));
}

/*
 * In the middle of signing in the client's next leg would come to a stranger,
 * who refuses it as a wrong password: the client shall begin anew.
 */
void
origin_own_drop(struct origin *o)
{
	struct origin_holder *h = o->holder;

	own_remove(o);
	if (o->sign_in == HTTP_SIGN_HALF) {
		h->broken = true;
		task_wake(h->wake);
	}
	o->in.poisoned = link_is_stale(o->transport);
	origin_destroy(o);
}

void
origin_own_purge(struct origin_pool *p, const struct worker_gen *keep)
{
	struct list *it, *save;
	struct origin *o;

	LIST_EACH(it, save, &p->signed_in) {
		o = CONTAINER_OF(it, struct origin, age);
		if (o->gen != keep)
			origin_own_drop(o);
	}
}

/* Heads are looked at in both directions, so that nobody has to remember. */
void
origin_note_head(struct origin *o, const struct http_msg *m)
{
	enum http_sign_in said = http_sign_in_of(m);

	assert(o->holder != NULL);
	if (m->is_request)
		o->leg = said != HTTP_SIGN_NONE;
	if (said != HTTP_SIGN_NONE)
		o->sign_in = said;
	else if (o->sign_in == HTTP_SIGN_HALF)
		o->sign_in = HTTP_SIGN_CONNECTION;
}

bool
origin_may_repeat(const struct origin *o)
{
	return (!o->leg);
}
