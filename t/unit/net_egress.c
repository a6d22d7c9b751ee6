/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which address connections leave from. */
#include <string.h>
#include "base/arena.h"
#include "net/egress.h"
#include "t/unit/unit.h"

static struct arena *arena;
static struct egress s;

static void
begin(const char *one, const char *two)
{
	char why[NETS_WHY];

	arena = arena_new();
	s = (struct egress){ 0 };
	if (one != NULL)
		CU_ASSERT(nets_add(&s.addresses, arena, one, why));
	if (two != NULL)
		CU_ASSERT(nets_add(&s.addresses, arena, two, why));
}

static bool
is(int family, uint32_t slot, unsigned n, const char *want)
{
	char text[ADDRESS_TEXT] = "none";
	union address a;

	if (egress_address(&s, family, slot, n, &a) &&
	    a.sa.sa_family != AF_UNSPEC)
		address_ip_text(&a.sa, text);
	return (strcmp(text, want) == 0);
}

static void
test_pools(void)
{
	union address a;

	begin("198.51.100.128/28", "2001:db8:9::/64");
	CU_ASSERT(is(AF_INET, 0, 0, "198.51.100.128"));
	CU_ASSERT(is(AF_INET, 15, 0, "198.51.100.143"));
	CU_ASSERT(is(AF_INET, 15, 1, "198.51.100.128"));
	CU_ASSERT(is(AF_INET, 15, 15, "198.51.100.142"));
	CU_ASSERT(is(AF_INET, 15, 16, "none"));
	CU_ASSERT(is(AF_INET, 4000, 0, "198.51.100.128"));
	CU_ASSERT(is(AF_INET6, 0, 0, "2001:db8:9::1"));
	CU_ASSERT(is(AF_INET6, 4095, 0, "2001:db8:9::1000"));
	CU_ASSERT(is(AF_INET6, 4095, 1, "2001:db8:9::1"));
	arena_free(&arena);
	begin("192.0.2.1", "192.0.2.4/31");
	CU_ASSERT(is(AF_INET, 0, 0, "192.0.2.1"));
	CU_ASSERT(is(AF_INET, 1, 0, "192.0.2.4"));
	CU_ASSERT(is(AF_INET, 1, 1, "192.0.2.5"));
	CU_ASSERT(is(AF_INET, 1, 2, "192.0.2.1"));
	CU_ASSERT(is(AF_INET, 1, 3, "none"));
	CU_ASSERT(is(AF_INET6, 0, 0, "none"));
	CU_ASSERT(!egress_address(&s, AF_INET6, 0, 0, &a));
	arena_free(&arena);
	begin("2001:db8::8/127", "2001:db8:1::1");
	CU_ASSERT(is(AF_INET6, 0, 0, "2001:db8::8"));
	CU_ASSERT(is(AF_INET6, 1, 0, "2001:db8::9"));
	CU_ASSERT(is(AF_INET6, 2, 0, "2001:db8:1::1"));
	arena_free(&arena);
	begin(NULL, NULL);
	CU_ASSERT(egress_address(&s, AF_INET, 0, 0, &a));
	CU_ASSERT_EQUAL(a.sa.sa_family, AF_UNSPEC);
	CU_ASSERT(!egress_address(&s, AF_INET, 0, 1, &a));
	arena_free(&arena);
}

/* A client has one, and clients have all. */
static void
test_slots(void)
{
	unsigned seen[16] = { 0 }, i;
	char text[32];
	union address a;

	begin("198.51.100.128/28", NULL);
	for (i = 0; i < 256; i++) {
		snprintf(text, sizeof(text), "10.0.0.%u", i);
		CU_ASSERT(address_parse(str_of(text), &a));
		CU_ASSERT_FATAL(egress_slot(&s, &a.sa) < 16);
		CU_ASSERT_EQUAL(egress_slot(&s, &a.sa), egress_slot(&s, &a.sa));
		seen[egress_slot(&s, &a.sa)]++;
		address_set_port(&a, (uint16_t)(1000 + i));
		CU_ASSERT(egress_slot(&s, &a.sa) < 16);
	}
	for (i = 0; i < 16; i++)
		CU_ASSERT(seen[i] > 0);
	arena_free(&arena);
	begin(NULL, NULL);
	CU_ASSERT_EQUAL(egress_slot(&s, &a.sa), 0);
	arena_free(&arena);
}

UNIT_TESTS(net_egress, { "pools", test_pools }, { "slots", test_slots })
