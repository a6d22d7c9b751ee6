/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Doubly linked lists, embedded: {0} is not a list, list_init() makes one.
 * Room: base.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define CONTAINER_OF(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* it may be removed while walking. */
#define LIST_EACH(it, save, head)                                      \
	for ((it) = (head)->next, (save) = (it)->next; (it) != (head); \
	     (it) = (save), (save) = (it)->next)

static inline void
list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool
list_empty(const struct list *l)
{
	return (l->next == l);
}

/* Put e (not in a list) behind at; at = head: in front of everything. */
static inline void
list_insert(struct list *at, struct list *e)
{
	assert(at->next->prev == at);
	e->prev = at;
	e->next = at->next;
	at->next->prev = e;
	at->next = e;
}

static inline void
list_append(struct list *head, struct list *e)
{
	list_insert(head->prev, e);
}

/* e is a list of its own afterwards; removing it twice does no harm. */
static inline void
list_remove(struct list *e)
{
	assert(e->prev->next == e && e->next->prev == e);
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}

#endif
