/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the origin pool share.
 * Room: proxy, origin*.c only.
 */
#ifndef PROXY_ORIGIN_PRIV_H
#define PROXY_ORIGIN_PRIV_H

#include "proxy/wire/origin.h"

#define ORIGIN_BUCKETS 1024

/*
 * One host, address asked for and port: what is pooled, and who waits.  Two
 * never share one, so that an origin which does not answer holds up nobody
 * else: a tunnel to an address has its host from its client's own word.
 */
struct place {
	struct place *next;	/* in its bucket */
	char host[256], dial[256];
	uint16_t port;
	unsigned users;		/* connections that point here, in any state */
	struct list idle;	/* newest first */
	struct list waiting;	/* ORIGIN_QUEUED, oldest first */
	unsigned connecting, connecting_max;
	uint64_t freed_at;	/* ms: when one that waited was last given one */
};

struct origin_pool {
	struct worker *worker;
	struct place *bucket[ORIGIN_BUCKETS];
	uint64_t seed;			/* clients choose hosts: not their buckets */
	struct list age;		/* oldest first */
	unsigned idle;
	struct list signed_in;		/* idle ones that belong to a client */
};

/* Is the connection what is wanted, but for its owner? */
bool origin_is_for(const struct origin *, const struct worker_gen *,
    const struct origin_want *);
/* In any state, out of every list. */
void origin_destroy(struct origin *);
/* Its turn has come: look up the name, and connect. */
void origin_dial(struct origin *);

/* origin_pool.c */

/* With one more user; origin_place_put() is owed. */
struct place *origin_place_get(struct origin_pool *, const char *host,
    const char *dial, uint16_t port);
void origin_place_put(struct origin_pool *, struct place *);
/* Is there a turn for one more to connect there? */
bool origin_may_connect(const struct worker *, const struct place *);
/* It connects no more, if it did: others may.  ok: it is ready. */
void origin_connecting_ended(struct origin *, bool ok);
/* An idle one that is what is wanted, out of the pool; NULL: there is none. */
struct origin *origin_pool_take(struct origin_pool *,
    const struct worker_gen *, const struct origin_want *);
/* It is idle now: its holder's, if it is signed in; of who waits; or kept. */
void origin_pool_put(struct origin_pool *, struct origin *);
/* It is idle there, and is lost or too old. */
void origin_pool_drop(struct origin_pool *, struct origin *);

/* origin_own.c */

/* The holder's idle connection for want; NULL: it has none that lives. */
struct origin *origin_own_take(struct origin_holder *,
    const struct worker_gen *, const struct origin_want *);
/* o is signed in and idle: its holder keeps it. */
void origin_own_put(struct origin *);
/* It is idle there, and is lost or too old. */
void origin_own_drop(struct origin *);
/* Drop what is idle and of other generations than keep. */
void origin_own_purge(struct origin_pool *, const struct worker_gen *keep);

#endif
