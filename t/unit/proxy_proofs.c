/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proven names: for their address, port, generation and hour alone. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include "proxy/proofs.h"
#include "t/unit/unit.h"

#define HOUR 3600000u

static union address
at(const char *ip, uint16_t port)
{
	union address a;

	CU_ASSERT_FATAL(address_parse(str_of(ip), &a));
	address_set_port(&a, port);
	return (a);
}

static void
test_what_it_is_for(void)
{
	struct proofs *p = proofs_new();
	union address a = at("192.0.2.1", 443), b = at("192.0.2.2", 443),
		      c = at("192.0.2.1", 8443), d = at("2001:db8::1", 443);
	struct str name = STR("bank.test");

	CU_ASSERT(!proofs_has(p, &a.sa, name, 1, 5));
	proofs_add(p, &a.sa, name, 1, 5);
	proofs_add(p, &d.sa, name, 1, 5);
	CU_ASSERT(proofs_has(p, &a.sa, name, 1, 5));
	CU_ASSERT(proofs_has(p, &d.sa, name, 1, 4 + HOUR));
	CU_ASSERT(proofs_has(p, &a.sa, name, 1, 4 + HOUR));
	CU_ASSERT(!proofs_has(p, &a.sa, name, 1, 5 + HOUR));
	CU_ASSERT(!proofs_has(p, &a.sa, name, 2, 5));
	CU_ASSERT(!proofs_has(p, &b.sa, name, 1, 5));
	CU_ASSERT(!proofs_has(p, &c.sa, name, 1, 5));
	CU_ASSERT(!proofs_has(p, &a.sa, STR("bank.tes"), 1, 5));
	proofs_free(&p);
	CU_ASSERT_PTR_NULL(p);
}

/* Many take places from each other, and never one another's proof. */
static void
test_many(void)
{
	struct proofs *p = proofs_new();
	union address a = at("192.0.2.1", 443);
	unsigned i, kept = 0;
	char name[300];

	for (i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "h%u.test", i);
		proofs_add(p, &a.sa, str_of(name), 1, 5);
		CU_ASSERT(proofs_has(p, &a.sa, str_of(name), 1, 5));
	}
	for (i = 0; i < 6000; i++) {
		snprintf(name, sizeof(name), "h%u.test", i);
		if (proofs_has(p, &a.sa, str_of(name), 1, 5)) {
			CU_ASSERT(i < 5000);
			kept++;
		}
	}
	CU_ASSERT(kept > 300 && kept <= 512);
	memset(name, 'a', 254);
	proofs_add(p, &a.sa, (struct str){ name, 254 }, 1, 5);
	CU_ASSERT(!proofs_has(p, &a.sa, (struct str){ name, 254 }, 1, 5));
	proofs_free(&p);
}

UNIT_TESTS(proxy_proofs, { "what it is for", test_what_it_is_for },
    { "many", test_many })
