/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A table of values made once, see memo.h.  An entry is either being made
 * (tickets wait on it, it is not in the LRU list) or has its value.  A wait
 * is represented by a ticket, which travels as mail: the wait itself may go
 * while the mail is on its way.
 */
#include <assert.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/memo.h"

struct memo_ticket {
	struct mail mail;
	struct memo_ticket *next;
	struct loop *loop;        /* where wait lives */
	struct memo_wait *wait;   /* NULL: cancelled; that thread's only */
	struct memo_value *value; /* counted, once delivered */
};

struct entry {
	struct list lru;
	struct entry *next;       /* in its bucket */
	struct memo_value *value; /* counted; NULL: being made */
	struct memo_ticket *tickets;
	uint64_t hash;
	size_t n;
	unsigned char key[];
};

struct memo {
	_Atomic unsigned refs;
	const struct memo_type *type;
	void *owner;
	struct job_pool *pool;
	unsigned max_entries;
	size_t max_bytes;
	uint64_t seed;        /* peers choose keys, but not buckets */
	pthread_mutex_t lock; /* of everything below */
	struct list lru;      /* most recently used first */
	struct memo_stats stats;
	unsigned mask;
	struct entry *bucket[];
};

struct making {
	struct job job;
	struct memo *memo;   /* counted */
	struct entry *entry; /* stays while it has no value */
	void *arg;
};

struct memo_value *
memo_value_ref(struct memo_value *v)
{
	unsigned had = atomic_fetch_add_explicit(&v->refs, 1,
	    memory_order_relaxed);

	assert(had > 0);
	return (v);
}

void
memo_value_unref(struct memo_value **vp)
{
	struct memo_value *v = *vp;
	unsigned had;

	*vp = NULL;
	if (v == NULL)
		return;
	had = atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel);
	assert(had > 0);
	if (had == 1)
		v->free(v);
}

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return (p);
}

struct memo *
memo_new(const struct memo_type *type, void *owner, struct job_pool *pool,
    unsigned max_entries, size_t max_bytes)
{
	unsigned buckets = 64;
	struct memo *m;

	assert((type->make != NULL || pool == NULL) && type->fini != NULL);
	while (buckets < max_entries && buckets < 1u << 20)
		buckets *= 2;
	m = must(calloc(1, sizeof(*m) + buckets * sizeof(m->bucket[0])));
	atomic_init(&m->refs, 1);
	m->type = type;
	m->owner = owner;
	m->pool = pool;
	m->max_entries = max_entries;
	m->max_bytes = max_bytes;
	m->mask = buckets - 1;
	if (gnutls_rnd(GNUTLS_RND_NONCE, &m->seed, sizeof(m->seed)) < 0)
		abort();
	pthread_mutex_init(&m->lock, NULL);
	list_init(&m->lru);
	return (m);
}

/* Multiply and fold, keyed: nobody outside can aim at one bucket. */
static uint64_t
hash_of(const struct memo *m, const unsigned char *p, size_t n)
{
	uint64_t h = m->seed ^ n, word;
	unsigned __int128 wide;
	size_t part;

	for (; n > 0; p += part, n -= part) {
		part = n < 8 ? n : 8;
		word = 0;
		memcpy(&word, p, part);
		wide = (unsigned __int128)(h ^ word) *
		    (0x9e3779b97f4a7c15u ^ (m->seed << 1 | 1));
		h = (uint64_t)wide ^ (uint64_t)(wide >> 64);
	}
	return (h ^ h >> 29);
}

static struct entry **
entry_find(struct memo *m, uint64_t hash, const void *key, size_t n)
{
	struct entry **at = &m->bucket[hash & m->mask];

	while (*at != NULL &&
	    ((*at)->hash != hash || (*at)->n != n ||
		memcmp((*at)->key, key, n) != 0))
		at = &(*at)->next;
	return (at);
}

/* Out of the table, with the table's reference on its value. */
static void
entry_drop(struct memo *m, struct entry **at)
{
	struct entry *e = *at;

	assert(e->tickets == NULL);
	*at = e->next;
	if (e->value != NULL) {
		assert(m->stats.entries > 0);
		assert(m->stats.bytes >= e->value->bytes + e->n);
		list_remove(&e->lru);
		m->stats.entries--;
		m->stats.bytes -= e->value->bytes + e->n;
		memo_value_unref(&e->value);
	}
	free(e);
}

static void
entry_drop_oldest(struct memo *m)
{
	struct entry *e = CONTAINER_OF(m->lru.prev, struct entry, lru);

	assert(!list_empty(&m->lru) && e->value != NULL);
	entry_drop(m, entry_find(m, e->hash, e->key, e->n));
}

static struct entry *
entry_add(struct memo *m, uint64_t hash, const void *key, size_t n)
{
	struct entry *e = must(calloc(1, sizeof(*e) + n));
	struct entry **at = &m->bucket[hash & m->mask];

	list_init(&e->lru);
	e->hash = hash;
	e->n = n;
	memcpy(e->key, key, n);
	e->next = *at;
	*at = e;
	return (e);
}

static void
entry_keep(struct memo *m, struct entry *e, struct memo_value *v)
{
	assert(e->value == NULL && e->tickets == NULL);
	e->value = memo_value_ref(v);
	list_insert(&m->lru, &e->lru);
	m->stats.entries++;
	m->stats.bytes += v->bytes + e->n;
	while (
	    m->stats.entries > m->max_entries || m->stats.bytes > m->max_bytes)
		entry_drop_oldest(m); /* e itself if it is larger than all */
}

/* A counted fresh value, or NULL; a stale one is dropped. */
static struct memo_value *
value_at(struct memo *m, struct entry **at)
{
	struct entry *e = *at;

	if (e == NULL || e->value == NULL)
		return (NULL);
	if (e->value->fresh_until <= time(NULL)) {
		entry_drop(m, at);
		return (NULL);
	}
	list_remove(&e->lru);
	list_insert(&m->lru, &e->lru);
	m->stats.hits++;
	return (memo_value_ref(e->value));
}

struct memo_value *
memo_get(struct memo *m, const void *key, size_t n)
{
	uint64_t hash = hash_of(m, key, n);
	struct memo_value *v;

	pthread_mutex_lock(&m->lock);
	v = value_at(m, entry_find(m, hash, key, n));
	pthread_mutex_unlock(&m->lock);
	return (v);
}

void
memo_put(struct memo *m, const void *key, size_t n, struct memo_value *v)
{
	uint64_t hash = hash_of(m, key, n);

	pthread_mutex_lock(&m->lock);
	m->stats.misses++;
	if (v->fresh_until > time(NULL) && *entry_find(m, hash, key, n) == NULL)
		entry_keep(m, entry_add(m, hash, key, n), v);
	pthread_mutex_unlock(&m->lock);
}

void
memo_renew(struct memo *m, const void *key, size_t n, struct memo_value *v)
{
	uint64_t hash = hash_of(m, key, n);
	struct entry **at;

	assert(m->pool == NULL); /* nobody is making one */
	pthread_mutex_lock(&m->lock);
	m->stats.misses++;
	at = entry_find(m, hash, key, n);
	if (v->fresh_until > time(NULL)) {
		if (*at != NULL)
			entry_drop(m, at);
		entry_keep(m, entry_add(m, hash, key, n), v);
	}
	pthread_mutex_unlock(&m->lock);
}

/* On the wait's thread. */
static void
ticket_deliver(struct mail *mail, struct loop *loop)
{
	struct memo_ticket *t = CONTAINER_OF(mail, struct memo_ticket, mail);

	assert(t->value != NULL && t->loop == loop);
	if (t->wait != NULL) {
		assert(t->wait->ticket == t);
		t->wait->ticket = NULL;
		t->wait->ready(t->wait, t->value);
	} else
		memo_value_unref(&t->value);
	free(t);
}

static void
ticket_post(struct memo_ticket *t, struct memo_value *v)
{
	assert(t->value == NULL);
	t->value = memo_value_ref(v);
	mail_post(t->loop, &t->mail);
}

static void
making_run(struct job *j)
{
	struct making *k = CONTAINER_OF(j, struct making, job);
	struct memo *m = k->memo;
	struct entry *e = k->entry;
	struct memo_ticket *t, *next;
	struct memo_value *v;

	v = m->type->make(m->owner, e->key, e->n, k->arg);
	assert(v != NULL); /* a failure is a value, too */
	pthread_mutex_lock(&m->lock);
	assert(e->value == NULL && e->tickets != NULL);
	t = e->tickets;
	e->tickets = NULL;
	if (v->fresh_until > time(NULL))
		entry_keep(m, e, v);
	else
		entry_drop(m, entry_find(m, e->hash, e->key, e->n));
	pthread_mutex_unlock(&m->lock);
	for (; t != NULL; t = next) {
		next = t->next; /* a posted ticket is no longer ours */
		ticket_post(t, v);
	}
	memo_value_unref(&v);
}

static void
arg_free(struct memo *m, void *arg)
{
	if (m->type->free_arg != NULL)
		m->type->free_arg(arg);
}

static void
making_done(struct job *j)
{
	struct making *k = CONTAINER_OF(j, struct making, job);

	arg_free(k->memo, k->arg);
	memo_free(&k->memo);
	free(k);
}

static struct making *
making_new(struct memo *m, struct entry *e, void *arg)
{
	struct making *k = must(calloc(1, sizeof(*k)));

	atomic_fetch_add(&m->refs, 1);
	k->job.run = making_run;
	k->job.done = making_done;
	k->memo = m;
	k->entry = e;
	k->arg = arg;
	return (k);
}

static struct memo_ticket *
ticket_new(struct loop *loop, struct memo_wait *w)
{
	struct memo_ticket *t = must(calloc(1, sizeof(*t)));

	assert(w->ticket == NULL && w->ready != NULL);
	t->mail.deliver = ticket_deliver;
	t->loop = loop;
	t->wait = w;
	w->ticket = t;
	return (t);
}

/* Put t where its value comes; *k is the job to start if there is none yet. */
static struct memo_value *
join(struct memo *m, const void *key, size_t n, struct memo_ticket *t,
    struct making **k, void *arg)
{
	uint64_t hash = hash_of(m, key, n);
	struct entry **at = entry_find(m, hash, key, n), *e;
	struct memo_value *v = value_at(m, at);

	if (v != NULL)
		return (v); /* made since the caller looked */
	e = *entry_find(m, hash, key, n);
	if (e == NULL) {
		e = entry_add(m, hash, key, n);
		*k = making_new(m, e, arg);
		m->stats.misses++;
	} else {
		assert(e->value == NULL && e->tickets != NULL);
		m->stats.joined++;
	}
	t->next = e->tickets;
	e->tickets = t;
	return (NULL);
}

void
memo_start(struct memo *m, struct loop *loop, struct memo_wait *w,
    const void *key, size_t n, void *arg)
{
	struct memo_ticket *t = ticket_new(loop, w);
	struct making *k = NULL;
	struct memo_value *v;

	assert(m->pool != NULL);
	pthread_mutex_lock(&m->lock);
	v = join(m, key, n, t, &k, arg);
	pthread_mutex_unlock(&m->lock);
	if (v != NULL) {
		ticket_post(t, v);
		memo_value_unref(&v);
	}
	if (k != NULL)
		job_start(m->pool, &k->job, loop);
	else
		arg_free(m, arg);
}

void
memo_cancel(struct memo_wait *w)
{
	if (w->ticket != NULL) {
		assert(w->ticket->wait == w);
		w->ticket->wait = NULL;
	}
	w->ticket = NULL;
}

void
memo_stats(struct memo *m, struct memo_stats *out)
{
	pthread_mutex_lock(&m->lock);
	*out = m->stats;
	pthread_mutex_unlock(&m->lock);
}

void
memo_free(struct memo **mp)
{
	struct memo *m = *mp;

	*mp = NULL;
	if (m == NULL || atomic_fetch_sub(&m->refs, 1) != 1)
		return;
	while (!list_empty(&m->lru))
		entry_drop_oldest(m);
	assert(m->stats.entries == 0 && m->stats.bytes == 0);
	pthread_mutex_destroy(&m->lock);
	m->type->fini(m->owner);
	free(m);
}
