/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Turns: who is next, how many of one owner run, what goes before its turn. */
#include <string.h>
#include "base/turns.h"
#include "t/unit/unit.h"

static struct turn things[40];

static unsigned
which(const struct turn *t)
{
	return (t != NULL ? (unsigned)(t - things) : 99);
}

/* One owner's many do not stand before another's one. */
static void
test_order(void)
{
	static const unsigned want[] = { 0, 3, 1, 2, 99 };
	struct turns t;
	unsigned i;

	turns_init(&t, 10);
	for (i = 0; i < 3; i++)
		turns_add(&t, &things[i], 7);
	turns_add(&t, &things[3], 8);
	CU_ASSERT_EQUAL(turns_waiting_of(&t, 7), 3);
	CU_ASSERT_EQUAL(turns_waiting_of(&t, 9), 0);
	for (i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(which(turns_next(&t)), want[i]);
	CU_ASSERT_FALSE(turns_waiting(&t));
	for (i = 0; i < 4; i++)
		turns_end(&t, &things[i]);
}

static void
test_most(void)
{
	struct turns t;
	unsigned i;

	turns_init(&t, 2);
	for (i = 0; i < 4; i++)
		turns_add(&t, &things[i], 7);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 0);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 1);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 99);
	turns_add(&t, &things[4], 8);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 4);
	turns_end(&t, &things[0]);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 2);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 99);
	turns_end(&t, &things[3]); /* it waits no more */
	turns_end(&t, &things[1]);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 99);
	turns_end(&t, &things[2]);
	turns_end(&t, &things[4]);
	CU_ASSERT_PTR_NULL(things[2].owner);
}

/* What could not run after all is the next one. */
static void
test_again(void)
{
	struct turns t;
	unsigned i;

	turns_init(&t, 1);
	for (i = 0; i < 3; i++)
		turns_add(&t, &things[i], i < 2 ? 7 : 8);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 0);
	turns_again(&t, &things[0]);
	CU_ASSERT_EQUAL(turns_waiting_of(&t, 7), 2);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 2);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 0);
	turns_again(&t, &things[0]);
	turns_end(&t, &things[0]);
	CU_ASSERT_EQUAL(which(turns_next(&t)), 1);
	turns_end(&t, &things[1]);
	turns_end(&t, &things[2]);
}

/* Whatever happens, each thing runs once and nobody has more than his. */
static void
test_random(void)
{
	unsigned state[40] = { 0 }, running[5] = { 0 }, i, k;
	struct turns t;
	struct turn *next;

	memset(things, 0, sizeof(things));
	turns_init(&t, 3);
	for (i = 0; i < 20000; i++) {
		k = unit_random(40);
		if (state[k] == 0 && unit_random(2) == 0) {
			turns_add(&t, &things[k], k % 5);
			state[k] = 1;
		} else if (state[k] != 0) {
			running[k % 5] -= state[k] == 2;
			turns_end(&t, &things[k]);
			state[k] = 0;
		}
		if (unit_random(3) > 0 || (next = turns_next(&t)) == NULL)
			continue;
		k = which(next);
		CU_ASSERT_EQUAL(state[k], 1);
		state[k] = 2;
		CU_ASSERT(++running[k % 5] <= 3);
	}
	for (k = 0; k < 40; k++)
		if (state[k] != 0)
			turns_end(&t, &things[k]);
	CU_ASSERT_FALSE(turns_waiting(&t));
	CU_ASSERT_PTR_NULL(turns_next(&t));
}

UNIT_TESTS(base_turns, { "in order", test_order }, { "how many", test_most },
    { "once more", test_again }, { "random", test_random })
