/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of what happens when memory runs short: each step at its mark or
 * when the one before has not helped; none is left before there is enough.
 */
#include "proxy/pressure.h"
#include "t/unit/unit.h"

static struct pressure_meter m;
static uint64_t now;

static enum pressure_step
after(uint64_t ms, unsigned percent)
{
	now += ms;
	pressure_meter(&m, percent, now);
	return (m.step);
}

static void
begin(void)
{
	m = (struct pressure_meter){ .step = PRESSURE_NONE };
	now = 1000;
}

static void
test_marks(void)
{
	begin();
	CU_ASSERT_EQUAL(after(0, 0), PRESSURE_NONE);
	CU_ASSERT_EQUAL(after(250, 89), PRESSURE_NONE);
	CU_ASSERT_EQUAL(after(86400000, 89), PRESSURE_NONE);
	CU_ASSERT_EQUAL(after(250, 90), PRESSURE_NEW);
	CU_ASSERT_EQUAL(after(250, 93), PRESSURE_IDLE);
	CU_ASSERT_EQUAL(after(250, 96), PRESSURE_BODY);
	CU_ASSERT_EQUAL(after(250, 1000), PRESSURE_BODY);
	begin();
	CU_ASSERT_EQUAL(after(250, 99), PRESSURE_BODY);
}

static void
test_until_there_is_enough(void)
{
	begin();
	CU_ASSERT_EQUAL(after(250, 96), PRESSURE_BODY);
	CU_ASSERT_EQUAL(after(250, 91), PRESSURE_BODY);
	CU_ASSERT_EQUAL(after(250, 85), PRESSURE_BODY);
	CU_ASSERT_EQUAL(after(250, 84), PRESSURE_NONE);
	CU_ASSERT_EQUAL(after(250, 89), PRESSURE_NONE);
}

/* Who sits at 91 percent does not keep new clients out for ever. */
static void
test_what_does_not_help(void)
{
	begin();
	CU_ASSERT_EQUAL(after(0, 91), PRESSURE_NEW);
	CU_ASSERT_EQUAL(after(4999, 91), PRESSURE_NEW);
	CU_ASSERT_EQUAL(after(1, 86), PRESSURE_IDLE);
	CU_ASSERT_EQUAL(after(4999, 86), PRESSURE_IDLE);
	CU_ASSERT_EQUAL(after(1, 91), PRESSURE_BODY);
	CU_ASSERT_EQUAL(after(50000, 91), PRESSURE_BODY);
	CU_ASSERT_EQUAL(after(1, 10), PRESSURE_NONE);
	CU_ASSERT_EQUAL(after(1, 91), PRESSURE_NEW);
}

UNIT_TESTS(proxy_pressure, { "at its mark", test_marks },
    { "until there is enough", test_until_there_is_enough },
    { "what does not help is followed", test_what_does_not_help })
