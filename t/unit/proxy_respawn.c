/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How soon a process that has died is started again. */
#include "proxy/respawn.h"
#include "t/unit/unit.h"

struct death {
	uint64_t at_ms, life_ms, wait_ms;
};

static void
go(const struct death *d, unsigned n)
{
	struct respawn r = { 0 };
	unsigned i;

	for (i = 0; i < n; i++)
		CU_ASSERT_EQUAL(respawn_after(&r, d[i].at_ms, d[i].life_ms),
		    d[i].wait_ms);
}

#define GO(...)                                                  \
	do {                                                     \
		static const struct death d[] = { __VA_ARGS__ }; \
		go(d, sizeof(d) / sizeof(d[0]));                 \
	} while (0)

static void
test_now_and_then(void)
{
	GO({ 5, 5, 0 }, { 50000, 49995, 0 }, { 100000, 49999, 0 },
	    { 150000, 49999, 0 }, { 200000, 49999, 0 });
	/* For years. */
	GO({ 70000, 70000, 0 }, { 140000, 60000, 0 }, { 200000, 60000, 0 },
	    { 260000, 60000, 0 }, { 320000, 60000, 0 }, { 380000, 60000, 0 },
	    { 440000, 60000, 0 }, { 500000, 60000, 0 }, { 560000, 60000, 0 },
	    { 620000, 60000, 0 }, { 680000, 60000, 0 }, { 740000, 60000, 0 });
}

static void
test_again_and_again(void)
{
	GO({ 1000, 900, 0 }, { 2000, 900, 0 }, { 3000, 900, 1000 },
	    { 4000, 10, 2000 }, { 6000, 10, 4000 }, { 10000, 10, 8000 },
	    { 18000, 10, 16000 }, { 34000, 10, 30000 }, { 64000, 10, 30000 },
	    { 94000, 10, RESPAWN_NEVER });
}

/* The third within ten seconds waits, not one that comes later. */
static void
test_edges(void)
{
	GO({ 1000, 1, 0 }, { 2000, 1, 0 }, { 11000, 1, 1000 });
	GO({ 1000, 1, 0 }, { 2000, 1, 0 }, { 11001, 1, 0 }, { 11500, 1, 1000 },
	    { 11600, 1, 2000 });
	/* A life of a minute, not less, begins anew. */
	GO({ 1, 1, 0 }, { 2, 1, 0 }, { 3, 1, 1000 }, { 60000, 59999, 2000 },
	    { 120000, 60000, 0 }, { 120001, 1, 0 }, { 120002, 1, 1000 });
}

UNIT_TESTS(proxy_respawn, { "now and then", test_now_and_then },
    { "again and again", test_again_and_again }, { "edges", test_edges })
