/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One side of a connection that has switched protocols: octets both ways,
 * behind the heads of a request and its answer.  exchange_switch() lends the
 * client's side, lease_switch() the origin's; each wakes the task of the one
 * who got it.
 *
 * Room: proxy/wire.  Units: octets.  Thread: its loop's.
 */
#ifndef PROXY_WIRE_DUPLEX_H
#define PROXY_WIRE_DUPLEX_H

#include <assert.h>
#include "stream/source.h"

struct duplex;

struct duplex_type {
	enum pull (*read)(struct duplex *, struct chq *out, size_t want);
	size_t (*room)(struct duplex *);
	void (*write)(struct duplex *, struct chq *, size_t n);
	void (*end)(struct duplex *);
	bool (*lost)(const struct duplex *);
	bool (*gone)(struct duplex *);
};

/* Embedded. */
struct duplex {
	const struct duplex_type *type;
	enum pull last; /* of reading; PULL_MORE: it goes on */
	bool ended;     /* duplex_end() was said */
};

/*
 * The next octets, up to want, at the end of out.  PULL_WAIT: the task will
 * be woken.  PULL_END: its peer has ended in order; PULL_CUT: without saying
 * so (TLS); PULL_FAIL: it is lost.  Ends are said for ever.
 */
static inline enum pull
duplex_read(struct duplex *d, struct chq *out, size_t want)
{
	enum pull p;

	assert(want > 0);
	if (pull_is_last(d->last))
		return (d->last);
	p = d->type->read(d, out, want);
	if (pull_is_last(p))
		d->last = p;
	return (p);
}

/* How much may be written; 0: the task is woken when that changes. */
static inline size_t
duplex_room(struct duplex *d)
{
	assert(!d->ended);
	return (d->type->room(d));
}

/* Write n octets from the front of q, which loses them. */
static inline void
duplex_write(struct duplex *d, struct chq *q, size_t n)
{
	assert(!d->ended);
	d->type->write(d, q, n);
}

/* Our side ends in order, behind what was written.  Reading goes on. */
static inline void
duplex_end(struct duplex *d)
{
	if (!d->ended)
		d->type->end(d);
	d->ended = true;
}

/* Nothing more will go out: its peer has reset it. */
static inline bool
duplex_is_lost(const struct duplex *d)
{
	return (d->type->lost(d));
}

/* While nobody reads from it: has its peer ended?  Wakes the task then. */
static inline bool
duplex_is_gone(struct duplex *d)
{
	return (d->type->gone(d));
}

/* Our side has ended in order, and its peer was not lost. */
static inline bool
duplex_is_over(const struct duplex *d)
{
	return (d->ended && d->last != PULL_FAIL && !duplex_is_lost(d));
}

#endif
