/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Budgets and accounts, see budget.h. */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "base/budget.h"

#define BUCKETS 4096

struct account {
	struct budget *budget; /* borrowed */
	struct account *next;  /* in its bucket */
	uint64_t key;
	_Atomic unsigned refs;
	_Atomic uint64_t used[BUDGET_KINDS];
};

struct budget {
	_Atomic uint64_t max[BUDGET_KINDS];
	_Alignas(64) _Atomic uint64_t used[BUDGET_KINDS];
	_Alignas(64) pthread_mutex_t lock; /* guards the table */
	struct account *bucket[BUCKETS];
	unsigned accounts;
};

struct budget *
budget_new(void)
{
	struct budget *b = aligned_alloc(64, sizeof(*b));
	unsigned i;

	if (b == NULL)
		abort();
	*b = (struct budget){ .accounts = 0 };
	for (i = 0; i < BUDGET_KINDS; i++)
		atomic_init(&b->max[i], UINT64_MAX);
	pthread_mutex_init(&b->lock, NULL);
	return (b);
}

void
budget_free(struct budget **bp)
{
	struct budget *b = *bp;

	*bp = NULL;
	if (b == NULL)
		return;
	assert(b->accounts == 0);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

void
budget_set_limit(struct budget *b, enum budget_kind k, uint64_t max)
{
	assert(k < BUDGET_KINDS);
	atomic_store_explicit(&b->max[k], max, memory_order_relaxed);
}

uint64_t
budget_limit(const struct budget *b, enum budget_kind k)
{
	return (atomic_load_explicit(&b->max[k], memory_order_relaxed));
}

uint64_t
budget_used(const struct budget *b, enum budget_kind k)
{
	return (atomic_load_explicit(&b->used[k], memory_order_relaxed));
}

/* Accounts. */

static struct account **
account_find(struct budget *b, uint64_t key)
{
	struct account **at = &b->bucket[(key * 0x9e3779b97f4a7c15u) >> 52];

	while (*at != NULL && (*at)->key != key)
		at = &(*at)->next;
	return (at);
}

static struct account *
account_new(struct budget *b, uint64_t key)
{
	struct account *a = calloc(1, sizeof(*a));

	if (a == NULL)
		abort();
	a->budget = b;
	a->key = key;
	b->accounts++;
	return (a);
}

struct account *
account_open(struct budget *b, uint64_t key)
{
	struct account **at, *a;

	pthread_mutex_lock(&b->lock);
	at = account_find(b, key);
	if (*at == NULL)
		*at = account_new(b, key);
	a = account_ref(*at);
	pthread_mutex_unlock(&b->lock);
	return (a);
}

struct account *
account_ref(struct account *a)
{
	if (a != NULL)
		atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return (a);
}

struct account *
budget_largest(struct budget *b, enum budget_kind k)
{
	struct account *a, *most = NULL;
	uint64_t held = 0;
	unsigned i;

	pthread_mutex_lock(&b->lock);
	for (i = 0; i < BUCKETS; i++)
		for (a = b->bucket[i]; a != NULL; a = a->next)
			if (a->key != ACCOUNT_KEPT &&
			    account_used(a, k) > held) {
				held = account_used(a, k);
				most = a;
			}
	most = account_ref(most);
	pthread_mutex_unlock(&b->lock);
	return (most);
}

static bool
is_even(const struct account *a)
{
	unsigned k;

	for (k = 0; k < BUDGET_KINDS; k++)
		if (account_used(a, (enum budget_kind)k) > 0)
			return (false);
	return (true);
}

/* One reference less, if another one is left. */
static bool
drop_one_of_many(struct account *a)
{
	unsigned n = atomic_load_explicit(&a->refs, memory_order_relaxed);

	while (n > 1)
		if (atomic_compare_exchange_weak_explicit(&a->refs, &n, n - 1,
			memory_order_release, memory_order_relaxed))
			return (true);
	return (false);
}

void
account_unref(struct account **ap)
{
	struct account *a = *ap, **at;
	struct budget *b;

	*ap = NULL;
	if (a == NULL || drop_one_of_many(a))
		return;
	/* The last one goes under the lock: the client may be coming back. */
	b = a->budget;
	pthread_mutex_lock(&b->lock);
	if (atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1) {
		assert(is_even(a));
		at = account_find(b, a->key);
		assert(*at == a && b->accounts > 0);
		*at = a->next;
		b->accounts--;
		free(a);
	}
	pthread_mutex_unlock(&b->lock);
}

/* Taking. */

uint64_t
account_used(const struct account *a, enum budget_kind k)
{
	return (a == NULL
		? 0
		: atomic_load_explicit(&a->used[k], memory_order_relaxed));
}

uint64_t
account_room(const struct account *a, enum budget_kind k)
{
	uint64_t max, all, own;

	if (a == NULL)
		return (UINT64_MAX);
	max = atomic_load_explicit(&a->budget->max[k], memory_order_relaxed);
	if (max == UINT64_MAX)
		return (max);
	all = budget_used(a->budget, k);
	own = account_used(a, k);
	if (all >= max || own >= max - all)
		return (0);
	return ((max - all - own) / 2);
}

uint64_t
account_spare(const struct account *a, enum budget_kind k)
{
	uint64_t room = account_room(a, k), used = account_used(a, k);

	return (room > used ? room - used : 0);
}

void
account_add(struct account *a, enum budget_kind k, uint64_t n)
{
	if (a == NULL)
		return;
	atomic_fetch_add_explicit(&a->used[k], n, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->budget->used[k], n, memory_order_relaxed);
}

/*
 * Two threads that take at the same moment may both be let through: the limit
 * is passed by one step of each thread at most.
 */
bool
account_take(struct account *a, enum budget_kind k, uint64_t n)
{
	if (n > account_room(a, k))
		return (false);
	account_add(a, k, n);
	return (true);
}

bool
account_take_early(struct account *a, enum budget_kind k, uint64_t n)
{
	uint64_t room = account_room(a, k);

	if (room < n || room - n < account_used(a, k) / 3)
		return (false);
	account_add(a, k, n);
	return (true);
}

bool
account_take_spare(struct account *a, enum budget_kind k, uint64_t n)
{
	if (n > account_spare(a, k))
		return (false);
	account_add(a, k, n);
	return (true);
}

void
account_give(struct account *a, enum budget_kind k, uint64_t n)
{
	uint64_t had;

	if (a == NULL)
		return;
	had = atomic_fetch_sub_explicit(&a->used[k], n, memory_order_relaxed);
	assert(had >= n);
	had = atomic_fetch_sub_explicit(&a->budget->used[k], n,
	    memory_order_relaxed);
	assert(had >= n);
}

void
charge_set(struct charge *c, struct account *a, uint64_t n, uint64_t free_of)
{
	uint64_t want = 0;

	if (n > free_of)
		want = (n - free_of + CHARGE_GRAIN - 1) / CHARGE_GRAIN *
		    CHARGE_GRAIN;
	if (want == c->held)
		return;
	if (c->account == NULL && (c->account = account_ref(a)) == NULL)
		return;
	if (want > c->held)
		account_add(c->account, BUDGET_MEMORY, want - c->held);
	else
		account_give(c->account, BUDGET_MEMORY, c->held - want);
	c->held = want;
	if (want == 0)
		account_unref(&c->account);
}
