/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A memo: values that are dear to make, each made once on a job pool, kept
 * under a key in a bounded table (least recently used dropped first), and
 * waited for from any loop.  Leaves and verdicts are kept in one.
 *
 * Room: certs.  Any thread; the lock is held for the look-up only.  A wait
 * belongs to the thread of its loop.
 */
#ifndef CERTS_MEMO_H
#define CERTS_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include "base/job.h"
#include "base/loop.h"

struct memo;
struct memo_ticket;

/* First member of every value; made with one reference. */
struct memo_value {
	_Atomic unsigned refs;
	/* wall clock; <= now: given to who waits, not kept */
	time_t fresh_until;
	size_t bytes; /* what it costs against max_bytes */
	void (*free)(struct memo_value *);
};

struct memo_value *memo_value_ref(struct memo_value *);
void memo_value_unref(struct memo_value **); /* *v may be NULL; becomes NULL */

struct memo_type {
	/*
	 * Make the value for key; in a thread of the pool.  arg is what
	 * memo_start() was given.  Never NULL: a failure is a value too.
	 * NULL instead of the function: in a memo without a pool.
	 */
	struct memo_value *(
	    *make)(void *owner, const void *key, size_t n, void *arg);
	/* exactly once for each arg; NULL: nothing to free */
	void (*free_arg)(void *arg);
	void (*fini)(void *owner); /* the memo's last reference is gone */
};

struct memo_stats {
	unsigned long hits, misses, joined;
	unsigned entries;
	size_t bytes;
};

/* owner is handed to type's functions.  pool may be NULL: memo_get() and memo_put() only. */
struct memo *memo_new(const struct memo_type *type, void *owner,
    struct job_pool *pool, unsigned max_entries, size_t max_bytes);
/* Drops the caller's reference; jobs under way hold one each. */
void memo_free(struct memo **);
void memo_stats(struct memo *, struct memo_stats *);

/* A fresh value, counted, or NULL. */
struct memo_value *memo_get(struct memo *, const void *key, size_t n);

/* Embedded; {0} is a wait that was not started. */
struct memo_wait {
	void (*ready)(struct memo_wait *, struct memo_value *);
	struct memo_ticket *ticket; /* NULL: not waiting */
};

/*
 * Keep v, which the caller made himself, if it is fresh and nobody else has
 * made one or is about to.  v stays the caller's.
 */
void memo_put(struct memo *, const void *key, size_t n, struct memo_value *v);

/* The same instead of one that is kept already; in a memo without a pool. */
void memo_renew(struct memo *, const void *key, size_t n, struct memo_value *v);

/*
 * Wait for the value of key, starting to make it unless somebody has.
 * ready() runs once, later, on the loop's thread; the value is its to unref.
 * Call it after memo_get() gave NULL.  Takes arg.
 */
void memo_start(struct memo *, struct loop *, struct memo_wait *w,
    const void *key, size_t n, void *arg);
/* ready() will not be called any more; idempotent. */
void memo_cancel(struct memo_wait *w);

#endif
