/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Encapsulated field: what is legal, what is survivable, what is not. */
#include <stdio.h>
#include <string.h>
#include "icap/encap.h"
#include "t/unit/unit.h"

static const struct {
	const char *value;
	bool resp_mode;
	const char *dump; /* NULL: refused */
} lists[] = {
	{ "req-hdr=0, null-body=170", false, "req-hdr=0 null-body=170 " },
	{ "req-hdr=0, req-body=147", false, "req-hdr=0 req-body=147 " },
	{ "req-hdr=0, res-hdr=137, res-body=296", true,
	    "req-hdr=0 res-hdr=137 res-body=296 " },
	{ "res-hdr=0, res-body=5", true, "res-hdr=0 res-body=5 " },
	{ "RES-HDR=0,Res-Body=5", true, "res-hdr=0 res-body=5 " },
	{ " res-hdr = 0 ,, null-body = 005 ", true, "res-hdr=0 null-body=5 " },
	{ "res-body=0", true, "res-body=0 " },
	{ "null-body=0", true, "null-body=0 " },
	{ "opt-body=0", false, "opt-body=0 " },
	/* seen: a head without a name */
	{ "res-body=137", true, "res-hdr=0 res-body=137 " },
	{ "null-body=9", true, "res-hdr=0 null-body=9 " },
	{ "null-body=9", false, "req-hdr=0 null-body=9 " },
	{ "req-body=9", false, "req-hdr=0 req-body=9 " },
	/* seen: nothing at all, said at length */
	{ "res-hdr=0, null-body=0", true, "null-body=0 " },
	{ "", true, NULL },
	{ "res-hdr=0", true, NULL },
	{ "res-hdr=1, res-body=5", true, NULL },
	{ "res-hdr=0, res-body=0", true, NULL },
	{ "res-hdr=0, res-body", true, NULL },
	{ "res-hdr=0, res-body=", true, NULL },
	{ "res-hdr=0, res-body=-5", true, NULL },
	{ "res-hdr=0, res-body=+5", true, NULL },
	{ "res-hdr=0, res-body=0x5", true, NULL },
	{ "res-hdr=0, res-body=5 6", true, NULL },
	{ "res-hdr=0, res-body=1048577", true, NULL },
	{ "res-hdr=0, res-body=99999999999999999999999", true, NULL },
	{ "res-hdr=0, res-body=18446744073709551621", true, NULL },
	{ "res-hdr=0, req-hdr=5, res-body=9", true, NULL },
	{ "req-hdr=0, req-hdr=5, res-body=9", true, NULL },
	{ "req-hdr=0, res-hdr=5, res-body=4", true, NULL },
	{ "req-hdr=0, res-hdr=5, res-body=5", true, NULL },
	{ "req-hdr=0, res-hdr=5, null-body=0", true, NULL },
	{ "res-hdr=0, res-body=5, null-body=9", true, NULL },
	{ "res-body=5, res-hdr=9", true, NULL },
	{ "req-hdr=0, res-hdr=5, res-body=9, opt-body=10", true, NULL },
	{ "pre-hdr=0, res-body=9", true, NULL },
	{ "\"res-hdr=0, res-body=9\"", true, NULL },
};

static void
test_lists(void)
{
	static const char *const names[ICAP_PARTS] = { "req-hdr", "res-hdr",
		"req-body", "res-body", "opt-body", "null-body" };
	struct icap_encap e;
	char dump[128];
	size_t i;
	unsigned k;
	bool ok;

	for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		ok = icap_encap_parse(str_of(lists[i].value),
		    lists[i].resp_mode, &e);
		dump[0] = '\0';
		for (k = 0; ok && k < e.n; k++)
			snprintf(dump + strlen(dump), 40, "%s=%u ",
			    names[e.v[k].part], e.v[k].offset);
		if (ok != (lists[i].dump != NULL))
			printf("# %s -> %d %s\n", lists[i].value, ok, dump);
		CU_ASSERT_EQUAL(ok, lists[i].dump != NULL);
		if (ok && lists[i].dump != NULL)
			CU_ASSERT_STRING_EQUAL(dump, lists[i].dump);
	}
}

static void
test_queries(void)
{
	struct icap_encap e = { 0 };

	CU_ASSERT_EQUAL(icap_encap_body(&e), ICAP_NULL_BODY);
	CU_ASSERT(icap_encap_parse(STR("req-hdr=0, res-hdr=7, res-body=9"),
	    true, &e));
	CU_ASSERT_EQUAL(icap_encap_body(&e), ICAP_RES_BODY);
	CU_ASSERT_EQUAL(e.n, 3);
	CU_ASSERT_EQUAL(e.v[0].part, ICAP_REQ_HDR);
	CU_ASSERT_EQUAL(e.v[1].part, ICAP_RES_HDR);
}

UNIT_TESTS(icap_encap, { "lists", test_lists }, { "queries", test_queries })
