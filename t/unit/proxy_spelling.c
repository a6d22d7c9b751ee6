/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * URL rules and spellings: a block needs one way of reading the URL, an
 * exemption all of them, with "not" and lists too.
 */
#include <stdio.h>
#include <string.h>
#include "proxy/conf/conf.h"
#include "proxy/policy/policy.h"
#include "proxy/policy/match.h"
#include "t/unit/unit.h"

/* Raw, and what it may be taken for; the order does not count. */
static const struct {
	const char *url;
	const char *others[POLICY_SPELLINGS + 1];
} spellings[] = {
	{ "http://a/", { NULL } },
	{ "http://a", { NULL } },
	{ "http://a/b/c.d?e=//f/../g", { NULL } },
	{ "https://[::1]/x", { NULL } },
	{ "http://a:8080/x", { NULL } },
	{ "http://a/x%2Fy", { NULL } },
	{ "http://a/x%2fy", { "http://a/x%2Fy" } },
	{ "http://a/@s%2Fname", { NULL } },
	{ "http://a/%", { NULL } },
	{ "http://a/%4", { NULL } },
	{ "http://a/%zz", { NULL } },
	{ "http://a/..a/.b/c./...", { NULL } },
	{ "HTTP://Www.A.:80/x", { "http://www.a/x" } },
	{ "https://a:443/x", { "https://a/x" } },
	{ "https://a:80/x", { NULL } },
	{ "http://a.:81/", { NULL } },
	{ "https://[::1]:443/", { "https://[::1]/" } },
	{ "http://[::ffff:192.0.2.1]/x", { "http://192.0.2.1/x" } },
	{ "http://[::FFFF:192.0.2.1]:81/", { "http://192.0.2.1:81/" } },
	{ "https://[::ffff:0:1]/", { NULL } },
	{ "http://a/x/../b", { "http://a/b" } },
	{ "http://a/x/..", { "http://a/" } },
	{ "http://a/../../b", { "http://a/b" } },
	{ "http://a/..", { "http://a/" } },
	{ "http://a/./b/.", { "http://a/b/" } },
	{ "http://a//b", { "http://a/b" } },
	{ "http://a/b//", { "http://a/b/" } },
	{ "http://a///b///c", { "http://a/b/c" } },
	{ "http://a//x/../b", { "http://a/b", "http://a//b" } },
	{ "http://a/x//../b", { "http://a/b", "http://a/x/b" } },
	{ "http://a/%62%7E?%62=%2f", { "http://a/b~?b=%2F" } },
	{ "http://a/%2e%2E/b", { "http://a/b" } },
	{ "http://a/x/%2e./b?%2e%2e/", { "http://a/b?../" } },
	{ "http://a/x%2f..%2fb", { "http://a/x%2F..%2Fb", "http://a/b" } },
	{ "http://a/x\\..\\b", { "http://a/b" } },
	{ "http://a/x/..;y=1/b", { "http://a/b" } },
	{ "http://a/x;y/b", { NULL } },
	{ "http://a/%5c%2e%2e%5cb", { "http://a/%5C..%5Cb", "http://a/b" } },
	{ "http://a/%252e%252e/b", { NULL } },
	{ "*", { NULL } },
	{ "", { NULL } },
};

static void
test_spellings(void)
{
	struct str got[POLICY_SPELLINGS], url;
	char room[POLICY_SPELLINGS * 200];
	const char *const *want;
	unsigned i, k, n, wanted;
	bool fine;

	for (i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		url = str_of(spellings[i].url);
		n = policy_url_spellings(url, got, room);
		want = spellings[i].others;
		for (wanted = 0; want[wanted] != NULL; wanted++)
			;
		fine = n == wanted;
		for (k = 0; k < n && fine; k++) {
			for (wanted = 0; want[wanted] != NULL &&
			     !str_eq(got[k], str_of(want[wanted]));
			     wanted++)
				;
			fine = want[wanted] != NULL;
		}
		CU_ASSERT(fine);
		if (fine)
			continue;
		printf("# %s:", spellings[i].url);
		for (k = 0; k < n; k++)
			printf(" %.*s", STR_ARG(got[k]));
		printf("\n");
	}
}

/* No octet beyond the room, whatever comes; the shorter is stable. */
static void
test_random(void)
{
	static const char alphabet[] = "/.%2eEfF5c\\;?a:";
	struct str got[POLICY_SPELLINGS], again[POLICY_SPELLINGS], url;
	char text[80], room[POLICY_SPELLINGS * 80], more[sizeof(room)];
	unsigned i, k, n, len;

	for (i = 0; i < 200000; i++) {
		len = unit_random(60);
		memcpy(text, "http://h/", 9);
		for (k = 9; k < 9 + len; k++)
			text[k] = alphabet[unit_random(sizeof(alphabet) - 1)];
		url = (struct str){ text, k };
		memset(room, '#', sizeof(room));
		n = policy_url_spellings(url, got, room);
		for (k = 0; k < n; k++)
			if (got[k].n > url.n)
				CU_FAIL("longer than it was");
		for (k = n * url.n; k < sizeof(room); k++)
			if (room[k] != '#' && k >= POLICY_SPELLINGS * url.n)
				CU_FAIL("beyond the room");
		/* What dots stood for in the first one stays out of it. */
		if (n > 0 && policy_url_spellings(got[0], again, more) > 0 &&
		    memchr(got[0].p, '%', got[0].n) == NULL &&
		    memchr(got[0].p, '\\', got[0].n) == NULL &&
		    memchr(got[0].p, ';', got[0].n) == NULL) {
			CU_FAIL("not normal");
			printf("# %.*s: %.*s\n", STR_ARG(url), STR_ARG(got[0]));
			return;
		}
	}
}

#define SERVICES                                  \
	"services:\n"                             \
	"  dlp: {url: 'icap://h/q', mode: req}\n" \
	"  av: {url: 'icap://h/r', mode: resp}\n" \
	"  av2: {url: 'icap://h/r', mode: resp}\n"

/* The plan for a request of this URL and, with late, of its answer. */
static struct conf *
plan_for(const char *rules, const char *url, bool late, struct plan *plan)
{
	struct conf_problems problems = { 0 };
	struct policy_facts f = { .host = STR("h"),
		.url = str_of(url),
		.method = STR("GET"),
		.scheme = STR("http"),
		.port = 80,
		.type = STR("text/html"),
		.size = 5 };
	struct buf text = { 0 };
	struct conf *conf;

	buf_printf(&text, "%srules: [%s]\n", SERVICES, rules);
	conf = conf_parse("c", text.p, text.n, &problems);
	if (conf == NULL)
		conf_problems_print(&problems, "# c", stdout);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	conf_problems_fini(&problems);
	buf_fini(&text);
	policy_plan_init(&conf->policy, plan);
	policy_decide(&conf->policy, POLICY_REQUEST, &f, plan);
	if (late)
		policy_decide(&conf->policy, POLICY_RESPONSE, &f, plan);
	return (conf);
}

/* All of them are /admin to some origin; the raw one is none of the rule's. */
static const char *const odd_admin[] = { "http://h/x/../admin",
	"http://h//admin", "http://h/./admin", "http://h/%2e%2e/admin",
	"http://h/%2E/admin", "http://h/%61dmin", "http://h/x%2f../admin",
	"http://h/x//../admin", "http://h/admin/", "http://h/x/..;/admin",
	"http://h/..%5cadmin", "http://h/%61%64min?q", "http://H.:80/admin",
	"http://h:80/admin", "HTTP://h/admin", "http://h///x/.././/admin",
	"http://h/admin/../admin", NULL };

/* And these are not. */
static const char *const no_admin[] = { "http://h/", "http://h/x/admin",
	"http://h/administer?", "http://h/x%2Fadmin", "http://h/?/../admin",
	"http://h:81/admin", "http://h/x?u=//admin", "http://h/adm/in",
	"http://h/%2561dmin", NULL };

#define ADMIN "^http://h/admin($|[/?])"

static void
check_access(const char *rules, const char *const *urls, bool blocked)
{
	struct plan plan;
	struct conf *conf;
	unsigned i;

	for (i = 0; urls[i] != NULL; i++) {
		conf = plan_for(rules, urls[i], i % 2 == 0, &plan);
		CU_ASSERT((plan.access == POLICY_BLOCK) == blocked);
		if ((plan.access == POLICY_BLOCK) != blocked)
			printf("# %s: %s\n", rules, urls[i]);
		conf_unref(&conf);
	}
}

/* A hit of one spelling blocks. */
static void
test_blocks(void)
{
	static const char hit[] = "{name: b, if: {url: '" ADMIN "'}, "
				  "access: block}";
	static const char *const raw[] = { "http://h/admin/../x",
		"http://h/admin/..", "http://h/admin//x", NULL };

	check_access(hit, odd_admin, true);
	check_access(hit, raw, true); /* an origin may not resolve */
	check_access(hit, no_admin, false);
	check_access("{name: b, if: {url: ['^zzz', '" ADMIN "'], method: GET}, "
		     "access: block}",
	    odd_admin, true);
	check_access("{name: b, if: {not: {not: {url: '" ADMIN "'}}}, "
		     "access: block}",
	    odd_admin, true);
}

/* Whatever is not the allowed place is blocked, in two ways of writing it. */
static void
test_allows(void)
{
	static const char *const out[] = { "http://h/public/../x",
		"http://h/public/%2e%2e/x", "http://h/public/..%2fx",
		"http://h/public\\..\\x/public/", "http://h/x/../public/y",
		"http://h//public/y", "http://h/x", NULL };
	static const char *const in[] = { "http://h/public/",
		"http://h/public/x", "http://h/public/x/../y",
		"http://h/public//y", "http://h/public/%78?q",
		"http://h/public/@a%2Fb", NULL };
	static const char *const rules[] = {
		"{name: a, if: {url: '^http://h/public/'}, access: allow}, "
		"{name: b, access: block}",
		"{name: b, if: {not: {url: '^http://h/public/'}}, access: "
		"block}"
	};
	unsigned i;

	for (i = 0; i < 2; i++) {
		check_access(rules[i], out, true);
		check_access(rules[i], in, false);
	}
}

#define FREE "if: {url: '^http://h/free/'}"

/* What exempts: each member of the plan with its rule. */
static void
test_exemptions(void)
{
	static const char *const rules[] = {
		"{name: e, " FREE ", scan: none, log: none, download: stream, "
		"range: allow}",
		"{name: s, if: {not: {"
		"url: '^http://h/free/'}}, "
		"scan: [dlp, av, av2], log: full, download: hold, range: "
		"strip}, "
		"{name: e, scan: none, log: none, download: stream, "
		"range: allow}"
	};
	static const char *const odd[] = { "http://h/free/../x",
		"http://h/free/%2e%2e/x", "http://h/x/../free/y",
		"http://h//free/y", "http://h/fre%65/y", "http://h/free/..%2fx",
		NULL };
	static const char *const plain[] = { "http://h/free/y",
		"http://h/free/y/../z", "http://h/free/%79", NULL };
	struct plan plan;
	struct conf *conf;
	unsigned i, k;
	bool ok;

	for (k = 0; k < 4; k++)
		for (i = 0; odd[i] != NULL; i++) {
			conf = plan_for(rules[k / 2], odd[i], k % 2, &plan);
			ok = plan.scan_req->n == 1 && plan.scan_resp->n == 2 &&
			    plan.log == POLICY_LOG_FULL &&
			    plan.download < POLICY_STREAM &&
			    plan.range == POLICY_RANGE_STRIP;
			CU_ASSERT(ok);
			if (!ok)
				printf("# %u: %s\n", k, odd[i]);
			conf_unref(&conf);
		}
	for (k = 0; k < 4; k++)
		for (i = 0; plain[i] != NULL; i++) {
			conf = plan_for(rules[k / 2], plain[i], k % 2, &plan);
			ok = plan.scan_req->n == 0 && plan.scan_resp->n == 0 &&
			    plan.log == POLICY_LOG_NONE &&
			    plan.download == POLICY_STREAM &&
			    plan.range == POLICY_RANGE_ALLOW;
			CU_ASSERT(ok);
			if (!ok)
				printf("# %u: %s\n", k, plain[i]);
			conf_unref(&conf);
		}
}

/* Endless answers: the stricter of what the spellings say, late as it is. */
static void
test_streams(void)
{
	static const struct {
		const char *url;
		enum policy_stream want;
	} cases[] = {
		{ "http://h/x", POLICY_STREAM_DEFER },
		{ "http://h/live/", POLICY_STREAM_BLOCK },
		{ "http://h/%6Cive/", POLICY_STREAM_BLOCK },
		{ "http://h/x/../live/", POLICY_STREAM_BLOCK },
		{ "http://h/live/../x", POLICY_STREAM_BLOCK },
		{ "http://h//whole/", POLICY_STREAM_SCAN },
		{ "http://h/whole/../live/", POLICY_STREAM_BLOCK },
	};
	struct plan plan;
	struct conf *conf;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		conf = plan_for("{name: l, if: {url: '^http://h/live/'}, "
				"stream: block}, {name: w, if: {url: "
				"'^http://h/whole/'}, "
				"stream: scan}",
		    cases[i].url, true, &plan);
		CU_ASSERT_EQUAL(plan.stream, cases[i].want);
		if (plan.stream != cases[i].want)
			printf("# %s\n", cases[i].url);
		CU_ASSERT(plan.stream != POLICY_STREAM_BLOCK ||
		    strcmp(plan.rule[POLICY_BY_STREAM], "l") == 0);
		conf_unref(&conf);
	}
}

/* WebSocket and other switches: the stricter of what the spellings say. */
static void
test_switches(void)
{
	static const struct {
		const char *url;
		enum policy_websocket want;
		unsigned protocols;
	} cases[] = {
		{ "http://h/x", POLICY_WEBSOCKET_INSPECT, 0 },
		{ "http://h/live/", POLICY_WEBSOCKET_TUNNEL, 2 },
		{ "http://h/live/../x", POLICY_WEBSOCKET_INSPECT, 0 },
		{ "http://h/live/one", POLICY_WEBSOCKET_TUNNEL, 1 },
		{ "http://h/live/./one", POLICY_WEBSOCKET_TUNNEL, 1 },
		{ "http://h/live//no", POLICY_WEBSOCKET_BLOCK, 2 },
	};
	struct plan plan;
	struct conf *conf;
	unsigned i, n;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		conf = plan_for("{if: {url: '^http://h/live/one'}, "
				"upgrade: b}, {if: {url: '^http://h/live/no'}, "
				"websocket: block}, {if: {url: "
				"'^http://h/live/'}, "
				"websocket: tunnel, upgrade: [a, b]}",
		    cases[i].url, true, &plan);
		n = plan.upgrade != NULL ? plan.upgrade->n : 0;
		CU_ASSERT_EQUAL(plan.websocket, cases[i].want);
		CU_ASSERT_EQUAL(n, cases[i].protocols);
		if (plan.websocket != cases[i].want || n != cases[i].protocols)
			printf("# %s: %u\n", cases[i].url, n);
		conf_unref(&conf);
	}
}

static bool
has_service(const struct plan *p, const char *name, const struct conf *c)
{
	unsigned i;

	for (i = 0; i < c->services.n; i++)
		if (strcmp(c->services.v[i].name, name) == 0)
			return (policy_scan_has(p->scan_resp, i));
	return (false);
}

/* Two scans of which none contains the other: all of both. */
static void
test_scans(void)
{
	static const char rules
	    [] = "{name: a, if: {url: '^http://h/a/'}, "
		 "scan: av}, {name: b, if: {url: '^http://h/b/'}, scan: av2}, "
		 "{name: c, if: {url: '/x'}, scan: [av, av2]}, "
		 "{name: d, scan: none}";
	struct plan plan;
	struct conf *conf;

	conf = plan_for(rules, "http://h/a/../b/", false, &plan);
	CU_ASSERT(has_service(&plan, "av", conf));
	CU_ASSERT(has_service(&plan, "av2", conf));
	CU_ASSERT(plan.scan_req->n == 0); /* dlp is in no rule */
	conf_unref(&conf);
	conf = plan_for(rules, "http://h/a/", false, &plan);
	CU_ASSERT(has_service(&plan, "av", conf));
	CU_ASSERT(!has_service(&plan, "av2", conf));
	conf_unref(&conf);
	conf = plan_for(rules, "http://h/a/../x", false, &plan);
	CU_ASSERT(has_service(&plan, "av", conf));
	CU_ASSERT(has_service(&plan, "av2", conf));
	CU_ASSERT_STRING_EQUAL(plan.rule[POLICY_BY_SCAN], "c");
	conf_unref(&conf);
}

/* A pattern that runs into its limit on one spelling alone. */
static void
test_overrun(void)
{
	struct buf url = { 0 };
	struct plan plan;
	struct conf *conf;
	unsigned i;

	buf_cstr(&url, "http://h/");
	for (i = 0; i < 60; i++)
		buf_cstr(&url, "%61");
	buf_cstr(&url, "!");
	conf = plan_for("{name: b, if: {url: '/(a+)+$'}, log: none}", url.p,
	    false, &plan);
	CU_ASSERT(plan.overrun && plan.access == POLICY_BLOCK);
	CU_ASSERT_PTR_NOT_NULL(plan.rule[POLICY_BY_ACCESS]);
	conf_unref(&conf);
	buf_fini(&url);
}

UNIT_TESTS(proxy_spelling, { "how a URL may be read", test_spellings },
    { "random URLs", test_random },
    { "a block needs one spelling", test_blocks },
    { "an allow needs all", test_allows },
    { "so does an exemption", test_exemptions },
    { "a block of endless answers needs one", test_streams },
    { "a switch of protocols needs all", test_switches },
    { "scans of both", test_scans },
    { "a pattern's limit in one of them", test_overrun })
