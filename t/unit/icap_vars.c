/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Variables in headers: what is one, and what it may do to a header line. */
#include "icap/vars.h"
#include "t/unit/unit.h"

static const struct scan_who who = {
	.client_ip = STR("192.0.2.7"),
	.user = STR("bob\r\nX-Evil: 1\t100%\x7f\xc3\xa4"),
	.reference = STR("7K3Q-9D2M-5XTW"),
	.rule = STR("exe"),
	.listener = STR("office"),
};

static const struct {
	const char *value, *bad, *text;
} rows[] = {
	{ "plain", NULL, "plain" },
	{ "100%, %} } { %%", NULL, "100%, %} } { %%" },
	{ "%{client.ip}", NULL, "192.0.2.7" },
	{ "a%{rule}%{reference}z", NULL, "aexe7K3Q-9D2M-5XTWz" },
	{ "%%{listener}}", NULL, "%office}" },
	{ "%{user}", NULL, "bob%0D%0AX-Evil: 1%09100%25%7F\xc3\xa4" },
	{ "%{sni}", NULL, "" },
	{ "x=%{sni};", NULL, "x=;" },
	{ "", NULL, "" },
	{ "%{client.port}", "%{client.port}", NULL },
	{ "%{rule}%{Rule} %{x}", "%{Rule}", NULL },
	{ "%{}", "%{}", NULL },
	{ "a%{", "%{", NULL },
	{ "a%{rule", "%{rule", NULL },
	{ "%{rul\xc3\xa9}", "%{rul\xc3\xa9}", NULL },
};

static void
test_values(void)
{
	struct buf b = { 0 };
	struct str bad;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bad = STR_NONE;
		CU_ASSERT_EQUAL(icap_vars_check(str_of(rows[i].value), &bad),
		    rows[i].bad == NULL);
		CU_ASSERT(str_eq(bad, str_of(rows[i].bad)));
		if (rows[i].bad != NULL)
			continue;
		b.n = 0;
		icap_vars_print(&b, str_of(rows[i].value), &who);
		CU_ASSERT(str_eq(buf_as_str(&b), str_of(rows[i].text)));
	}
	b.n = 0;
	icap_vars_print(&b, STR("[%{user}]"), NULL);
	CU_ASSERT(str_eq(buf_as_str(&b), STR("[]")));
	CU_ASSERT(icap_vars_has(STR("a%{sni}")));
	CU_ASSERT_FALSE(icap_vars_has(STR("a% {sni}")));
	buf_fini(&b);
}

UNIT_TESTS(icap_vars,
    { "each, none, unknown ones, and what breaks lines", test_values })
