/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owners that have their turns, see turns.h. */
#include <assert.h>
#include <stdlib.h>
#include "base/turns.h"

/* There while one of its things waits or runs. */
struct turns_owner {
	struct list turn;         /* of turns.ready, while one waits */
	struct turns_owner *next; /* in the bucket */
	uint64_t key;
	struct list things; /* that wait, of struct turn */
	unsigned waiting, running;
};

void
turns_init(struct turns *t, unsigned most)
{
	*t = (struct turns){ .most = most };
	list_init(&t->ready);
}

static struct turns_owner **
owner_slot(struct turns *t, uint64_t key)
{
	struct turns_owner **at;

	at = &t->owners[(key * 0x9e3779b97f4a7c15u) >> 58];
	while (*at != NULL && (*at)->key != key)
		at = &(*at)->next;
	return (at);
}

static struct turns_owner *
owner_get(struct turns *t, uint64_t key)
{
	struct turns_owner **at = owner_slot(t, key), *o = *at;

	if (o != NULL)
		return (o);
	o = *at = calloc(1, sizeof(*o));
	if (o == NULL)
		abort();
	o->key = key;
	list_init(&o->turn);
	list_init(&o->things);
	return (o);
}

/* It goes when it has nothing left. */
static void
owner_put(struct turns *t, struct turns_owner *o)
{
	struct turns_owner **at;

	if (o->waiting > 0 || o->running > 0)
		return;
	at = owner_slot(t, o->key);
	assert(*at == o && list_empty(&o->things) && list_empty(&o->turn));
	*at = o->next;
	free(o);
}

void
turns_add(struct turns *t, struct turn *thing, uint64_t owner)
{
	struct turns_owner *o = owner_get(t, owner);

	thing->owner = o;
	list_append(&o->things, &thing->link);
	if (o->waiting++ == 0)
		list_append(&t->ready, &o->turn);
}

/* The owner stands behind the others then. */
struct turn *
turns_next(struct turns *t)
{
	struct turns_owner *o;
	struct list *it, *save;
	struct turn *thing;

	LIST_EACH (it, save, &t->ready) {
		o = CONTAINER_OF(it, struct turns_owner, turn);
		if (o->running >= t->most)
			continue;
		thing = CONTAINER_OF(o->things.next, struct turn, link);
		assert(o->waiting > 0);
		list_remove(&thing->link);
		list_remove(&o->turn);
		if (--o->waiting > 0)
			list_append(&t->ready, &o->turn);
		o->running++;
		return (thing);
	}
	return (NULL);
}

void
turns_again(struct turns *t, struct turn *thing)
{
	struct turns_owner *o = thing->owner;

	assert(o->running > 0 && list_empty(&thing->link));
	o->running--;
	list_insert(&o->things, &thing->link);
	if (o->waiting++ == 0)
		list_insert(&t->ready, &o->turn);
}

void
turns_end(struct turns *t, struct turn *thing)
{
	struct turns_owner *o = thing->owner;

	assert(o != NULL);
	thing->owner = NULL;
	if (!list_empty(&thing->link)) {
		assert(o->waiting > 0);
		list_remove(&thing->link);
		if (--o->waiting == 0)
			list_remove(&o->turn);
	} else {
		assert(o->running > 0);
		o->running--;
	}
	owner_put(t, o);
}

unsigned
turns_waiting_of(struct turns *t, uint64_t owner)
{
	struct turns_owner *o = *owner_slot(t, owner);

	return (o != NULL ? o->waiting : 0);
}
