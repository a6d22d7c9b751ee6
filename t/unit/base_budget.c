/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The budget: one client gets half at most, who holds most is refused first,
 * a small one finds room however greedy the others are, and nothing is lost
 * or counted twice, from any number of threads.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include "base/arena.h"
#include "base/budget.h"
#include "t/unit/unit.h"

#define MAX 1000000u
#define STEP 1000u

static struct budget *budget;

static void
begin(uint64_t max)
{
	budget = budget_new();
	budget_set_limit(budget, BUDGET_MEMORY, max);
	budget_set_limit(budget, BUDGET_TEMP, max);
}

static void
end(void)
{
	CU_ASSERT_EQUAL(budget_used(budget, BUDGET_MEMORY), 0);
	CU_ASSERT_EQUAL(budget_used(budget, BUDGET_TEMP), 0);
	budget_free(&budget);
	CU_ASSERT_PTR_NULL(budget);
}

/* Take steps until there is no more; what it holds then. */
static uint64_t
gorge(struct account *a, enum budget_kind k)
{
	while (account_take(a, k, STEP))
		;
	return (account_used(a, k));
}

static void
close_account(struct account **a)
{
	account_give(*a, BUDGET_MEMORY, account_used(*a, BUDGET_MEMORY));
	account_give(*a, BUDGET_TEMP, account_used(*a, BUDGET_TEMP));
	account_unref(a);
}

/* Half for one, a third each for two ..., and as much is left for the next. */
static void
test_shares(void)
{
	struct account *a[20];
	uint64_t held, share;
	unsigned i;

	begin(MAX);
	for (i = 0; i < 20; i++) {
		a[i] = account_open(budget, i);
		held = gorge(a[i], BUDGET_TEMP);
		share = (MAX - budget_used(budget, BUDGET_TEMP) + held) / 2;
		CU_ASSERT(held <= share && held + 2 * STEP >= share);
		/* Those who came before hold more, and get nothing. */
		CU_ASSERT(i == 0 || !account_take(a[0], BUDGET_TEMP, 1));
		CU_ASSERT(i == 0 || account_room(a[0], BUDGET_TEMP) == 0);
		if (i > 10)
			break;
	}
	CU_ASSERT(account_used(a[0], BUDGET_TEMP) > MAX / 2 - 2 * STEP);
	CU_ASSERT(budget_used(budget, BUDGET_TEMP) < MAX);
	do
		close_account(&a[i]);
	while (i-- > 0);
	end();
}

/* The control: with half of it held by one, an ordinary client is served. */
static void
test_small_one(void)
{
	struct account *hog, *small;

	begin(MAX);
	hog = account_open(budget, 1);
	small = account_open(budget, 2);
	(void)gorge(hog, BUDGET_MEMORY);
	CU_ASSERT_FALSE(account_take(hog, BUDGET_MEMORY, STEP));
	CU_ASSERT_EQUAL(account_spare(hog, BUDGET_MEMORY), 0);
	CU_ASSERT(account_spare(small, BUDGET_MEMORY) > MAX / 8);
	CU_ASSERT(account_take(small, BUDGET_MEMORY, MAX / 8));
	/* What is there already may pass every limit; then nobody gets more. */
	account_add(hog, BUDGET_MEMORY, MAX);
	CU_ASSERT_EQUAL(account_room(hog, BUDGET_MEMORY), 0);
	CU_ASSERT_EQUAL(account_room(small, BUDGET_MEMORY), 0);
	account_give(hog, BUDGET_MEMORY, MAX + MAX / 4);
	CU_ASSERT(account_take(small, BUDGET_MEMORY, MAX / 8));
	/* Each kind for itself. */
	CU_ASSERT_EQUAL(account_used(hog, BUDGET_TEMP), 0);
	CU_ASSERT(account_take(hog, BUDGET_TEMP, MAX / 2));
	/* A new limit counts at once. */
	budget_set_limit(budget, BUDGET_MEMORY, MAX / 2);
	CU_ASSERT_FALSE(account_take(small, BUDGET_MEMORY, 1));
	budget_set_limit(budget, BUDGET_MEMORY, UINT64_MAX);
	CU_ASSERT(account_take(small, BUDGET_MEMORY, 9 * (uint64_t)MAX));
	close_account(&hog);
	close_account(&small);
	end();
}

/* What begins leaves a quarter of the share, what can be spared half of it. */
static void
test_early(void)
{
	struct account *a, *b;

	begin(MAX);
	a = account_open(budget, 1);
	b = account_open(budget, 2);
	while (account_take_spare(a, BUDGET_MEMORY, STEP))
		;
	CU_ASSERT(account_used(a, BUDGET_MEMORY) <= MAX / 4);
	CU_ASSERT(account_used(a, BUDGET_MEMORY) > MAX / 4 - 2 * STEP);
	while (account_take_early(a, BUDGET_MEMORY, STEP))
		;
	CU_ASSERT(account_used(a, BUDGET_MEMORY) <= MAX / 8 * 3 + STEP);
	CU_ASSERT(account_used(a, BUDGET_MEMORY) > MAX / 8 * 3 - 2 * STEP);
	CU_ASSERT(gorge(a, BUDGET_MEMORY) > MAX / 2 - 2 * STEP);
	CU_ASSERT(account_take_early(b, BUDGET_MEMORY, STEP));
	CU_ASSERT(account_take_spare(b, BUDGET_MEMORY, STEP));
	CU_ASSERT(account_take_early(NULL, BUDGET_MEMORY, MAX));
	CU_ASSERT(account_take_spare(NULL, BUDGET_MEMORY, MAX));
	close_account(&a);
	close_account(&b);
	end();
}

/* What a client left behind counts for him when he comes back. */
static void
test_comes_back(void)
{
	struct account *a, *job;

	begin(MAX);
	a = account_open(budget, 7);
	job = account_ref(a);
	account_add(job, BUDGET_MEMORY, MAX / 2);
	account_unref(&a);
	CU_ASSERT_PTR_NULL(a);
	a = account_open(budget, 7);
	CU_ASSERT_PTR_EQUAL(a, job);
	CU_ASSERT_FALSE(account_take(a, BUDGET_MEMORY, 1));
	account_give(job, BUDGET_MEMORY, MAX / 2);
	account_unref(&job);
	CU_ASSERT(account_take(a, BUDGET_MEMORY, 1));
	close_account(&a);
	account_unref(&a);
	end();
}

static void
test_nobody(void)
{
	struct charge c = { .held = 0 };

	CU_ASSERT(account_take(NULL, BUDGET_TEMP, UINT64_MAX));
	account_add(NULL, BUDGET_TEMP, 1);
	account_give(NULL, BUDGET_TEMP, 1);
	CU_ASSERT_EQUAL(account_room(NULL, BUDGET_TEMP), UINT64_MAX);
	CU_ASSERT_EQUAL(account_used(NULL, BUDGET_TEMP), 0);
	CU_ASSERT_PTR_NULL(account_ref(NULL));
	charge_set(&c, NULL, 1 << 30, 0);
	CU_ASSERT_EQUAL(c.held, 0);
}

static void
test_charge(void)
{
	struct charge c = { .held = 0 };
	struct account *a, *was;
	uint64_t n, want;
	unsigned i;

	begin(UINT64_MAX);
	a = was = account_open(budget, 1);
	for (i = 0; i < 10000; i++) {
		n = unit_random(200000);
		charge_set(&c, a, n, 16384);
		want = n <= 16384 ? 0 : (n - 1) / CHARGE_GRAIN * CHARGE_GRAIN;
		CU_ASSERT_EQUAL(c.held, want);
		CU_ASSERT_EQUAL(account_used(a, BUDGET_MEMORY), want);
		CU_ASSERT_EQUAL(budget_used(budget, BUDGET_MEMORY), want);
	}
	charge_set(&c, a, 1 << 20, 0);
	account_unref(&a); /* the charge has it still */
	a = account_open(budget, 1);
	CU_ASSERT_PTR_EQUAL(a, was);
	charge_set(&c, NULL, 0, 0);
	account_unref(&a);
	end();
}

/* An arena is counted beyond its first bytes, until it is freed. */
static void
test_arena(void)
{
	struct account *a;
	struct arena *arena = arena_new();

	begin(MAX);
	a = account_open(budget, 1);
	arena_charge_to(arena, a);
	CU_ASSERT_EQUAL(account_used(a, BUDGET_MEMORY), 0);
	while (arena_bytes(arena) <= ARENA_FREE)
		(void)arena_alloc(arena, 1000);
	CU_ASSERT(account_used(a, BUDGET_MEMORY) > 0);
	while (account_room(a, BUDGET_MEMORY) > 0)
		(void)arena_alloc(arena, 10000);
	CU_ASSERT(arena_bytes(arena) > MAX / 2 &&
	    arena_bytes(arena) < MAX / 2 + 60000);
	CU_ASSERT(
	    account_used(a, BUDGET_MEMORY) + ARENA_FREE >= arena_bytes(arena));
	arena_free(&arena);
	account_unref(&a);
	end();
}

/* Many threads, few clients: nothing is lost, no account is freed too early. */
#define THREADS 4
#define ROUNDS 20000u

static _Atomic unsigned refused;

static void *
spend(void *arg)
{
	struct account *a, *more;
	unsigned i, seed = (unsigned)(uintptr_t)arg;

	for (i = 0; i < ROUNDS; i++) {
		seed = seed * 1664525u + 1013904223u;
		a = account_open(budget, seed >> 30);
		more = account_ref(a);
		if (account_take(a, BUDGET_TEMP, MAX / 3))
			account_give(more, BUDGET_TEMP, MAX / 3);
		else
			atomic_fetch_add(&refused, 1);
		account_unref(&more);
		account_unref(&a);
	}
	return (NULL);
}

static void
test_threads(void)
{
	pthread_t t[THREADS];
	struct account *hog;
	unsigned i;

	begin(MAX);
	for (i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, spend, (void *)(uintptr_t)(i + 1));
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	hog = account_open(budget, 0);
	CU_ASSERT(gorge(hog, BUDGET_TEMP) > MAX / 2 - 2 * STEP);
	close_account(&hog);
	printf("# %u refused\n", refused);
	end();
}

/* Who has to give first; never what is kept for whoever comes next. */
static void
test_largest(void)
{
	struct account *a, *b, *kept, *most;

	begin(MAX);
	CU_ASSERT_PTR_NULL(budget_largest(budget, BUDGET_MEMORY));
	a = account_open(budget, 1);
	b = account_open(budget, 2);
	kept = account_open(budget, ACCOUNT_KEPT);
	CU_ASSERT_PTR_NULL(budget_largest(budget, BUDGET_MEMORY));
	account_add(a, BUDGET_MEMORY, 100);
	account_add(b, BUDGET_MEMORY, 101);
	account_add(a, BUDGET_TEMP, 7);
	account_add(kept, BUDGET_MEMORY, 10000);
	most = budget_largest(budget, BUDGET_MEMORY);
	CU_ASSERT_PTR_EQUAL(most, b);
	/* It is a reference: the client may go meanwhile. */
	close_account(&b);
	account_unref(&most);
	most = budget_largest(budget, BUDGET_TEMP);
	CU_ASSERT_PTR_EQUAL(most, a);
	account_unref(&most);
	close_account(&a);
	close_account(&kept);
	end();
}

UNIT_TESTS(base_budget, { "who holds most", test_largest },
    { "shares of clients", test_shares },
    { "a small one beside a hog", test_small_one },
    { "what others shall find", test_early },
    { "a client that comes back", test_comes_back },
    { "nobody's", test_nobody }, { "charges in grains", test_charge },
    { "arenas", test_arena }, { "many threads", test_threads })
