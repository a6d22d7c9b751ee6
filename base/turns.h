/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is next when many owners wait for a few places: owners have their turns
 * one after another, and each has its own things in order.
 *
 * Room: base.  Thread: one at a time, the caller locks.
 */
#ifndef BASE_TURNS_H
#define BASE_TURNS_H

#include <stdint.h>
#include "base/list.h"

#define TURNS_BUCKETS 64

struct turns_owner;

/* Something that waits, then runs.  Embedded in it. */
struct turn {
	struct list link;          /* of its owner, while it waits */
	struct turns_owner *owner; /* NULL: neither waits nor runs */
};

struct turns {
	struct list ready; /* owners of whom one waits; the next first */
	struct turns_owner *owners[TURNS_BUCKETS];
	unsigned most; /* that run for one owner at the same time */
};

/* Nothing may wait or run any more when it goes; there is nothing to free. */
void turns_init(struct turns *, unsigned most);
/* t waits for its owner's turn. */
void turns_add(struct turns *, struct turn *t, uint64_t owner);
/* The next one, which runs now; NULL: nobody's who may have one more. */
struct turn *turns_next(struct turns *);
/* It runs no more, or waits no more. */
void turns_end(struct turns *, struct turn *);
/* Back to where it was, the first of its owner. */
void turns_again(struct turns *, struct turn *);
unsigned turns_waiting_of(struct turns *, uint64_t owner);

static inline bool
turns_waiting(const struct turns *t)
{
	return (!list_empty(&t->ready));
}

#endif
