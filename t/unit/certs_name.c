/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names: RFC 9525 matching, and which hosts a leaf may be made for. */
#include <string.h>
#include "certs/name.h"
#include "t/unit/unit.h"

#define L63 "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz"

static void
test_hosts(void)
{
	static const struct {
		const char *host;
		bool ok;
	} cases[] = {
		{ "example.com", true },
		{ "a", true },
		{ "xn--n1aae7f7o.example", true },
		{ "_sip._tcp.example", true },
		{ "a--b.example", true },
		{ L63 ".example", true },
		{ L63 "a.example", false },
		{ L63 "." L63 "." L63 "."
		      "abcdefghijklmnopqrstuvwxyz"
		      "01234567890123456789012345678901234",
		    true },
		{ L63 "." L63 "." L63 "." L63, false },
		{ "", false },
		{ ".", false },
		{ ".example", false },
		{ "example.", false },
		{ "a..b", false },
		{ "Example.com", false },
		{ "-a.example", true },
		{ "a-.example", true },
		{ "*.example.com", false },
		{ "a b.example", false },
		{ "a/b", false },
		{ "a\n.example", false },
		{ "b\xc3\xbc.example", false },
		{ "[::1]", false },
		{ "1.2.3.4", false },
		{ "1.2.3.4.5", false },
		{ "a.0x7f", false },
		{ "0x", false },
		{ "127.1", false },
		{ "3com.example", true },
		{ "a.1b", true },
	};
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_EQUAL(name_dns_ok(cases[i].host), cases[i].ok);
		if (name_dns_ok(cases[i].host) != cases[i].ok)
			printf("# %s\n", cases[i].host);
	}
}

static void
test_addresses(void)
{
	static const struct {
		const char *host;
		unsigned n;
	} cases[] = {
		{ "127.0.0.1", 4 },
		{ "::1", 16 },
		{ "2001:db8::1", 16 },
		{ "::ffff:1.2.3.4", 16 },
		{ "[::1]", 0 },
		{ "fe80::1%eth0", 0 },
		{ "1.2.3", 0 },
		{ "1.2.3.256", 0 },
		{ "0x7f.0.0.1", 0 },
		{ "1.2.3.4 ", 0 },
		{ "", 0 },
		{ "example.com", 0 },
	};
	unsigned char ip[16];
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT_EQUAL(name_ip(cases[i].host, ip), cases[i].n);
}

static void
test_matching(void)
{
	static const struct {
		struct str pattern;
		const char *host;
		bool match;
	} cases[] = {
		{ STR("a.example"), "a.example", true },
		{ STR("A.eXample"), "a.example", true },
		{ STR("a.example"), "b.a.example", false },
		{ STR("b.a.example"), "a.example", false },
		{ STR("a.example."), "a.example", false },
		{ STR("*.b.example"), "a.b.example", true },
		{ STR("*.B.EXAMPLE"), "a.b.example", true },
		{ STR("*.b.example"), "b.example", false },
		{ STR("*.b.example"), "x.a.b.example", false },
		{ STR("*.b.example"), "xn--mxa.b.example", true },
		{ STR("*.example"), "a.example", false },
		{ STR("*"), "a", false },
		{ STR("*."), "a", false },
		{ STR("*.*.example"), "a.b.example", false },
		{ STR("a.*.example"), "a.b.example", false },
		{ STR("a*.b.example"), "ab.b.example", false },
		{ STR("*a.b.example"), "ba.b.example", false },
		{ STR("**.b.example"), "ab.b.example", false },
		{ STR("a.example\0.evil.example"), "a.example", false },
		{ STR("a.example\0"), "a.example", false },
		{ STR("*.b\0.example"), "a.b", false },
		{ STR(""), "a.example", false },
		{ STR("a.example "), "a.example", false },
	};
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_EQUAL(name_matches(cases[i].pattern, cases[i].host),
		    cases[i].match);
		if (name_matches(cases[i].pattern, cases[i].host) !=
		    cases[i].match)
			printf("# %s for %s\n", cases[i].pattern.p,
			    cases[i].host);
	}
}

UNIT_TESTS(certs_name, { "hosts that may be named", test_hosts },
    { "addresses", test_addresses }, { "matching", test_matching })
