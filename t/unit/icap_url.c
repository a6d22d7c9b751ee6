/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of ICAP services. */
#include <stdio.h>
#include "icap/icap.h"
#include "icap/url.h"
#include "t/unit/unit.h"

static const struct {
	const char *text, *host, *authority;
	unsigned port; /* 0: refused */
	bool tls;
} urls[] = {
	{ "icap://a/b", "a", "a", 1344, false },
	{ "icap://a", "a", "a", 1344, false },
	{ "icap://a?x", "a", "a", 1344, false },
	{ "icaps://a.example/b?c=d", "a.example", "a.example", 11344, true },
	{ "ICAP://A.b:99/", "A.b", "A.b:99", 99, false },
	{ "icaps://a:1344/x", "a", "a:1344", 1344, true },
	{ "icap://[::1]/x", "::1", "[::1]", 1344, false },
	{ "icap://[2001:db8::1]:65535/x", "2001:db8::1", "[2001:db8::1]:65535",
	    65535, false },
	{ "icap://127.0.0.1:1344/reqmod", "127.0.0.1", "127.0.0.1:1344", 1344,
	    false },
	{ "icap:///x", NULL, NULL, 0, false },
	{ "icap://", NULL, NULL, 0, false },
	{ "icap:/a", NULL, NULL, 0, false },
	{ "http://a/", NULL, NULL, 0, false },
	{ "a", NULL, NULL, 0, false },
	{ "", NULL, NULL, 0, false },
	{ "icap://a:0/", NULL, NULL, 0, false },
	{ "icap://a:/", NULL, NULL, 0, false },
	{ "icap://a:65536/", NULL, NULL, 0, false },
	{ "icap://a:1x/", NULL, NULL, 0, false },
	{ "icap://a:-1/", NULL, NULL, 0, false },
	{ "icap://user@a/", NULL, NULL, 0, false },
	{ "icap://a b/", NULL, NULL, 0, false },
	{ "icap://a/b c", NULL, NULL, 0, false },
	{ "icap://a/b\r\nX: y", NULL, NULL, 0, false },
	{ "icap://a/#f", NULL, NULL, 0, false },
	{ "icap://a/\xc3\xa4", NULL, NULL, 0, false },
	{ "icap://[::1/", NULL, NULL, 0, false },
	{ "icap://[::g]/", NULL, NULL, 0, false },
	{ "icap://[::1]x/", NULL, NULL, 0, false },
	{ "icap://[fe80::1%25eth0]/", NULL, NULL, 0, false },
	{ "icap://a_b.example./x", "a_b.example.", "a_b.example.", 1344,
	    false },
	{ "icap://av$1.example/x", NULL, NULL, 0, false },
	{ "icap://a..b/x", NULL, NULL, 0, false },
	{ "icap://0x7f.1/x", NULL, NULL, 0, false },
	{ "icap://2130706433/x", NULL, NULL, 0, false },
	{ "icap://a/`", NULL, NULL, 0, false },
	{ "icap://a/{|}^", NULL, NULL, 0, false },
	{ "icap://::1/", NULL, NULL, 0, false },
};

static void
test_urls(void)
{
	struct icap_url u;
	struct fault f;
	size_t i;
	bool ok;

	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		f = (struct fault){ .code = ERR_NONE };
		ok = icap_url_parse(urls[i].text, &u, &f);
		CU_ASSERT_EQUAL(ok, urls[i].port != 0);
		if (ok != (urls[i].port != 0))
			printf("# %s\n", urls[i].text);
		CU_ASSERT_EQUAL(f.code, ok ? ERR_NONE : ERR_CONFIG);
		if (!ok || urls[i].port == 0)
			continue;
		CU_ASSERT(str_eq(u.host, str_of(urls[i].host)));
		CU_ASSERT(str_eq(u.authority, str_of(urls[i].authority)));
		CU_ASSERT(str_eq(u.text, str_of(urls[i].text)));
		CU_ASSERT_EQUAL(u.port, urls[i].port);
		CU_ASSERT_EQUAL(u.tls, urls[i].tls);
	}
}

UNIT_TESTS(icap_url, { "addresses", test_urls })
