/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules applied to flows: conditions, stages, what is not known yet. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/arena.h"
#include "proxy/conf/conf.h"
#include "proxy/policy/policy.h"
#include "proxy/policy/match.h"
#include "t/unit/unit.h"

#define SERVICES                                                        \
	"services:\n"                                                   \
	"  dlp: {url: 'icap://h/q', mode: req}\n"                       \
	"  av: {url: 'icap://h/r', mode: resp}\n"                       \
	"  av2: {url: 'icap://h/r', mode: resp}\n"                      \
	"listen: [{on: ':1', name: office}, {on: ':2', name: guest}]\n" \
	"scan: {both: [dlp, [av, av2]]}\n"

static struct conf *
load(const char *rules)
{
	struct conf_problems p = { 0 };
	struct buf text = { 0 };
	struct conf *conf;

	buf_cstr(&text, SERVICES);
	buf_cstr(&text, rules);
	conf = conf_parse("c", text.p, text.n, &p);
	if (p.errors > 0)
		conf_problems_print(&p, "# c", stdout);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	conf_problems_fini(&p);
	buf_fini(&text);
	return (conf);
}

static struct sockaddr_in
addr(const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	CU_ASSERT_FATAL(inet_pton(AF_INET, text, &in.sin_addr) == 1);
	return (in);
}

/* Facts by letters' places: what a case does not say is absent. */
struct given {
	const char *host, *url, *method, *type, *client, *dest, *listener;
	const char *types[3]; /* that receivers may take, if not one */
	uint64_t size;        /* 0: unknown */
	uint16_t port;        /* 0: 443 */
	bool navigation;
};

static void
decide(const struct conf *conf, enum policy_stage stage, const struct given *g,
    struct plan *plan)
{
	struct sockaddr_in client, dest;
	struct policy_facts f = { .host = str_of(g->host),
		.url = str_of(g->url),
		.method = str_of(g->method),
		.type = str_of(g->type),
		.listener = str_of(g->listener),
		.scheme = STR("https"),
		.port = g->port == 0 ? 443 : g->port,
		.size = g->size == 0 ? POLICY_SIZE_UNKNOWN : g->size,
		.navigation = g->navigation };
	unsigned char raw[16];

	for (; f.n_types < 3 && g->types[f.n_types] != NULL; f.n_types++)
		f.types[f.n_types] = str_of(g->types[f.n_types]);
	f.host_is_ip = g->host != NULL &&
	    (inet_pton(AF_INET, g->host, raw) == 1 ||
		inet_pton(AF_INET6, g->host, raw) == 1);
	if (g->client != NULL) {
		client = addr(g->client);
		f.client = (const struct sockaddr *)&client;
	}
	if (g->dest != NULL) {
		dest = addr(g->dest);
		f.dest = (const struct sockaddr *)&dest;
	}
	policy_decide(&conf->policy, stage, &f, plan);
}

/* One condition at one stage: does the rule "hit" block? */
struct one {
	const char *when;
	enum policy_stage stage;
	struct given given;
	bool hit;
};

static void
check_ones(const struct one *t, unsigned n)
{
	struct plan plan;
	struct buf rule = { 0 };
	struct conf *conf;
	unsigned i;

	for (i = 0; i < n; i++) {
		rule.n = 0;
		buf_printf(&rule,
		    "rules: [{name: hit, if: {%s}, access: "
		    "block}]\n",
		    t[i].when);
		conf = load(rule.p);
		policy_plan_init(&conf->policy, &plan);
		decide(conf, t[i].stage, &t[i].given, &plan);
		if ((plan.access == POLICY_BLOCK) != t[i].hit)
			printf("# case %u: %s\n", i, t[i].when);
		CU_ASSERT((plan.access == POLICY_BLOCK) == t[i].hit);
		CU_ASSERT((plan.rule[POLICY_BY_ACCESS] != NULL) == t[i].hit);
		conf_unref(&conf);
	}
	buf_fini(&rule);
}

#define CHECK_ONES(t) check_ones(t, sizeof(t) / sizeof((t)[0]))
#define AT_TLS POLICY_TLS
#define AT_REQ POLICY_REQUEST
#define AT_RESP POLICY_RESPONSE

static void
test_hosts(void)
{
	static const struct one t[] = {
		{ "host: example.com", AT_TLS, { .host = "example.com" }, 1 },
		{ "host: example.com", AT_TLS, { .host = "a.example.com" }, 1 },
		{ "host: example.com", AT_TLS, { .host = "a.b.example.com" },
		    1 },
		{ "host: example.com", AT_TLS, { .host = "badexample.com" },
		    0 },
		{ "host: example.com", AT_TLS, { .host = "example.com.evil" },
		    0 },
		{ "host: example.com", AT_TLS, { .host = "com" }, 0 },
		{ "host: Example.COM", AT_TLS, { .host = "example.com" }, 1 },
		{ "host: example.com", AT_TLS, { .host = "EXAMPLE.com" }, 1 },
		{ "host: example.com.", AT_TLS, { .host = "example.com" }, 1 },
		{ "host: example.com", AT_TLS, { .host = "example.com." }, 1 },
		{ "host: =example.com", AT_TLS, { .host = "example.com" }, 1 },
		{ "host: =example.com", AT_TLS, { .host = "a.example.com" },
		    0 },
		{ "host: '*.example.com'", AT_TLS, { .host = "example.com" },
		    0 },
		{ "host: '*.example.com'", AT_TLS, { .host = "a.example.com" },
		    1 },
		{ "host: [=a.test, '*.a.test']", AT_TLS, { .host = "a.test" },
		    1 },
		{ "host: [=a.test, '*.a.test']", AT_TLS, { .host = "x.a.test" },
		    1 },
		{ "host: [x.test, y.test, z.test, q.test, w.test]", AT_TLS,
		    { .host = "m.q.test" }, 1 },
		{ "host: [x.test, y.test, z.test, q.test, w.test]", AT_TLS,
		    { .host = "m.p.test" }, 0 },
		{ "host: com", AT_TLS, { .host = "example.com" }, 1 },
		{ "host: 10.0.0.1", AT_TLS, { .host = "10.0.0.1" }, 1 },
		{ "host: 10.0.0.1", AT_TLS, { .host = "9.10.0.0.1" }, 0 },
		{ "host: '192.0.2.1'", AT_TLS, { .host = "::ffff:192.0.2.1" },
		    1 },
		{ "host: '::FFFF:192.0.2.1'", AT_TLS, { .host = "192.0.2.1" },
		    1 },
		{ "host: '192.0.2.1'", AT_TLS, { .host = "::ffff:192.0.2.2" },
		    0 },
		{ "host: '2001:DB8:0::1'", AT_TLS, { .host = "2001:db8::1" },
		    1 },
		{ "host: '[2001:db8::1]'", AT_TLS,
		    { .host = "2001:db8:0:0::1" }, 1 },
		{ "host: example.com", AT_TLS, { .host = NULL }, 0 },
		{ "not: {host: example.com}", AT_TLS, { .host = NULL }, 0 },
		{ "not: {host: example.com}", AT_TLS, { .host = "x" }, 1 },
	};

	CHECK_ONES(t);
}

static void
test_conditions(void)
{
	static const struct one t[] = {
		{ "port: 443", AT_TLS, { .host = "a" }, 1 },
		{ "port: 80", AT_TLS, { .host = "a" }, 0 },
		{ "port: [80, 8000-8999]", AT_TLS, { .port = 8080 }, 1 },
		{ "client: 10.0.0.0/8", AT_TLS, { .client = "10.1.1.1" }, 1 },
		{ "client: 10.0.0.0/8", AT_TLS, { .client = "11.1.1.1" }, 0 },
		{ "client: private", AT_REQ, { .client = "127.0.0.1" }, 1 },
		{ "listener: office", AT_TLS, { .listener = "office" }, 1 },
		{ "listener: [guest, office]", AT_TLS, { .listener = "office" },
		    1 },
		{ "listener: guest", AT_TLS, { .listener = "office" }, 0 },
		{ "dest: 192.0.2.0/24", AT_REQ, { .dest = "192.0.2.9" }, 1 },
		{ "dest: 192.0.2.0/24", AT_REQ, { .dest = "192.0.3.9" }, 0 },
		{ "dest: 192.0.2.0/24", AT_REQ, { .host = "a" }, 0 },
		{ "not: {dest: 192.0.2.0/24}", AT_REQ, { .host = "a" }, 0 },
		{ "not: {dest: 192.0.2.0/24}", AT_REQ, { .dest = "192.0.3.1" },
		    1 },
		/* all must hold, one of a list is enough */
		{ "host: a.test, port: 443", AT_TLS, { .host = "a.test" }, 1 },
		{ "host: a.test, port: 80", AT_TLS, { .host = "a.test" }, 0 },
		{ "host: a.test, not: {port: 443}", AT_TLS,
		    { .host = "a.test" }, 0 },
		{ "host: a.test, not: {port: 80, client: any}", AT_TLS,
		    { .host = "a.test" }, 1 },
		{ "not: {not: {host: a.test}}", AT_TLS, { .host = "a.test" },
		    1 },
		/* methods are not known in a CONNECT, but for its own */
		{ "method: POST", AT_REQ, { .method = "POST" }, 1 },
		{ "method: POST", AT_REQ, { .method = "post" }, 0 },
		{ "method: [GET, POST]", AT_RESP, { .method = "POST" }, 1 },
		{ "method: GET", AT_REQ, { .method = "POST" }, 0 },
		{ "method: CONNECT", AT_TLS, { .method = "CONNECT" }, 1 },
		{ "not: {method: GET}", AT_TLS, { .method = "CONNECT" }, 0 },
		{ "not: {method: GET}", AT_REQ, { .method = "POST" }, 1 },
	};

	CHECK_ONES(t);
}

static void
test_types_and_sizes(void)
{
	static const struct one t[] = {
		{ "type: 'video/*'", AT_RESP, { .type = "video/mp4" }, 1 },
		{ "type: 'video/*'", AT_RESP, { .type = "VIDEO/MP4" }, 1 },
		{ "type: 'video/*'", AT_RESP, { .type = "videos/mp4" }, 0 },
		{ "type: 'video/*'", AT_RESP, { .type = "video/" }, 0 },
		{ "type: text/html", AT_RESP,
		    { .type = "Text/HTML; charset=utf-8" }, 1 },
		{ "type: text/html", AT_RESP, { .type = "text/html ;x" }, 1 },
		{ "type: text/html", AT_RESP, { .type = "text/htmlx" }, 0 },
		{ "type: '*/*'", AT_RESP, { .type = "x" }, 1 },
		{ "type: '*/*'", AT_RESP, { .type = NULL }, 0 },
		{ "type: [a/b, text/html]", AT_REQ, { .type = "text/html" },
		    1 },
		/* one of several is enough to block */
		{ "type: c/d", AT_RESP,
		    { .type = "a/b", .types = { "a/b", "c/d" } }, 1 },
		{ "type: c/d", AT_RESP,
		    { .type = "a/b, c/d", .types = { "a/b", "c/d" } }, 1 },
		{ "type: x/y", AT_RESP,
		    { .type = "a/b", .types = { "a/b", "c/d" } }, 0 },
		{ "not: {type: 'a/*'}", AT_RESP,
		    { .type = "a/b, c/d", .types = { "a/b", "c/d" } }, 1 },
		{ "not: {type: 'a/*'}", AT_RESP,
		    { .type = "a/b", .types = { "a/b", "a/c" } }, 0 },
		/* unknown is neither yes nor no until the response is there */
		{ "not: {type: text/html}", AT_TLS, { .host = "a" }, 0 },
		{ "not: {type: text/html}", AT_REQ, { .host = "a" }, 0 },
		{ "not: {type: text/html}", AT_RESP, { .type = "a/b" }, 1 },
		{ "not: {type: text/html}", AT_RESP, { .type = NULL }, 1 },
		{ "size: '>10'", AT_RESP, { .size = 11 }, 1 },
		{ "size: '>10'", AT_RESP, { .size = 10 }, 0 },
		{ "size: '>=10'", AT_RESP, { .size = 10 }, 1 },
		{ "size: '>= 10'", AT_RESP, { .size = 10 }, 1 },
		{ "size: '<10'", AT_RESP, { .size = 9 }, 1 },
		{ "size: '<10'", AT_RESP, { .size = 10 }, 0 },
		{ "size: '<=10'", AT_RESP, { .size = 10 }, 1 },
		{ "size: 1K-10M", AT_RESP, { .size = 1024 }, 1 },
		{ "size: 1K-10M", AT_RESP, { .size = 10 << 20 }, 1 },
		{ "size: 1K-10M", AT_RESP, { .size = (10 << 20) + 1 }, 0 },
		{ "size: ['<2', '>5']", AT_RESP, { .size = 6 }, 1 },
		{ "size: '>10M'", AT_RESP, { .size = 0 }, 0 },
		{ "not: {size: '>10M'}", AT_RESP, { .size = 0 }, 0 },
		{ "size: '>10M'", AT_RESP, { .size = UINT64_MAX - 1 }, 1 },
	};

	CHECK_ONES(t);
}

static void
test_urls(void)
{
#define U(path)                                       \
	{                                             \
		.url = "https://www.example.com" path \
	}
	static const struct one t[] = {
		{ "url: '\\.(exe|msi)($|\\?)'", AT_REQ, U("/a.exe"), 1 },
		{ "url: '\\.(exe|msi)($|\\?)'", AT_REQ, U("/a.exe?x=1"), 1 },
		{ "url: '\\.(exe|msi)($|\\?)'", AT_REQ, U("/a.exe.txt"), 0 },
		{ "url: '\\.(exe|msi)($|\\?)'", AT_REQ, U("/a.EXE"), 1 },
		{ "url: '(?-i)\\.exe$'", AT_REQ, U("/a.EXE"), 0 },
		/* percent-encoded letters are the same letters (RFC 3986) */
		{ "url: '\\.exe$'", AT_REQ, U("/a.%65x%45"), 1 },
		{ "url: '\\.exe$'", AT_REQ, U("/a%2eexe"), 1 },
		{ "url: '\\.exe$'", AT_REQ, U("/a%2Fexe"), 0 },
		{ "url: '%2F'", AT_REQ, U("/a%2Fexe"), 1 },
		{ "url: '%zz$'", AT_REQ, U("/a%zz"), 1 },
		{ "url: '%4$'", AT_REQ, U("/a%4"), 1 },
		{ "url: '^https://[^/]*example.com/'", AT_REQ, U("/"), 1 },
		{ "url: [x, y, 'www\\.ex']", AT_REQ, U("/"), 1 },
		{ "url: 'x'", AT_TLS, { .host = "x" }, 0 },
		{ "not: {url: 'x'}", AT_TLS, { .host = "x" }, 0 },
		{ "not: {url: 'zzz'}", AT_REQ, U("/"), 1 },
		{ "url: '.exe$'", AT_RESP, U("/a.exe"), 1 },
	};

	CHECK_ONES(t);
}

/* ---- whole plans ---- */

static const char *
name_of(const struct plan *p, enum policy_decision d)
{
	return (p->rule[d] == NULL ? "-" : p->rule[d]);
}

static void
test_no_rules(void)
{
	struct conf *c = load("download: {other: stream, browser: hold}\n");
	struct plan plan;

	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_TLS, &(struct given){ .host = "a" }, &plan);
	CU_ASSERT(plan.tls == POLICY_INSPECT && plan.access == POLICY_ALLOW);
	CU_ASSERT(plan.log == POLICY_LOG_FULL);
	decide(c, POLICY_REQUEST, &(struct given){ .host = "a" }, &plan);
	CU_ASSERT(plan.scan_req->n == 1 && plan.scan_resp->n == 2);
	CU_ASSERT(plan.download == POLICY_STREAM);
	decide(c, POLICY_RESPONSE,
	    &(struct given){ .host = "a", .navigation = true }, &plan);
	CU_ASSERT(plan.download == POLICY_HOLD);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_SCAN), "-");
	conf_unref(&c);
}

static void
test_first_wins(void)
{
	struct conf *c = load(
	    "rules:\n"
	    "- {name: one, if: {host: a.test}, log: none}\n"
	    "- {name: two, if: {host: test}, tls: splice, log: minimal}\n"
	    "- {name: three, if: {host: [b.test]}, scan: none, "
	    "download: hold}\n"
	    "- {name: four, tls: inspect, scan: both}\n");
	struct plan plan;

	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_TLS, &(struct given){ .host = "a.test" }, &plan);
	CU_ASSERT(plan.tls == POLICY_SPLICE);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_TLS), "two");
	CU_ASSERT(plan.log == POLICY_LOG_NONE);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_LOG), "one");
	decide(c, POLICY_TLS, &(struct given){ .host = "x.org" }, &plan);
	CU_ASSERT(plan.tls == POLICY_INSPECT);
	CU_ASSERT(plan.log == POLICY_LOG_FULL);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_TLS), "four");
	decide(c, POLICY_REQUEST, &(struct given){ .host = "b.test" }, &plan);
	CU_ASSERT(plan.scan_req->n == 0 && plan.scan_resp->n == 0);
	CU_ASSERT(plan.download == POLICY_HOLD);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_DOWNLOAD), "three");
	/* what the stage does not decide stays */
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_TLS), "four");
	decide(c, POLICY_REQUEST, &(struct given){ .host = "c.test" }, &plan);
	CU_ASSERT(plan.scan_req->n == 1 && plan.scan_resp->n == 1);
	CU_ASSERT(plan.scan_resp->v[0].n == 2);
	conf_unref(&c);
}

static void
test_scan_again(void)
{
	struct conf *c = load(
	    "rules:\n"
	    "- {name: video, if: {type: 'video/*', host: v.test}, scan: none, "
	    "download: stream}\n"
	    "- {name: all, scan: both}\n");
	struct plan plan;
	const struct policy_scan *req;

	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_REQUEST,
	    &(struct given){ .host = "v.test", .method = "GET" }, &plan);
	CU_ASSERT(plan.scan_req->n == 1 && plan.scan_resp->n == 1);
	req = plan.scan_req;
	decide(c, POLICY_RESPONSE,
	    &(struct given){ .host = "v.test", .type = "video/x" }, &plan);
	CU_ASSERT(plan.scan_req == req && plan.scan_resp->n == 0);
	CU_ASSERT(plan.download == POLICY_STREAM);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_SCAN), "video");
	decide(c, POLICY_RESPONSE,
	    &(struct given){ .host = "v.test", .type = "text/x" }, &plan);
	CU_ASSERT(plan.scan_resp->n == 1);
	CU_ASSERT(plan.download == POLICY_TRICKLE);
	conf_unref(&c);
}

/* Allow some, block the rest: the block waits for what is not known. */
static void
test_put_off(void)
{
	struct conf *c = load(
	    "rules:\n"
	    "- {name: wrong, if: {host: bad.test}, access: block}\n"
	    "- {name: reads, if: {host: a.test, method: [GET, HEAD]}, "
	    "access: allow}\n"
	    "- {name: pages, if: {type: text/html}, access: allow}\n"
	    "- {name: plain, if: {host: [s.test]}, tls: splice}\n"
	    "- {name: rest, access: block}\n");
	struct given a = { .host = "a.test", .method = "CONNECT" };
	struct plan plan;

	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.access == POLICY_ALLOW);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_ACCESS), "-");
	a.method = "GET";
	decide(c, POLICY_REQUEST, &a, &plan);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_ACCESS), "reads");
	a.method = "POST"; /* its answer may be a page */
	decide(c, POLICY_REQUEST, &a, &plan);
	CU_ASSERT(plan.access == POLICY_ALLOW);
	a.type = "image/png";
	decide(c, POLICY_RESPONSE, &a, &plan);
	CU_ASSERT(plan.access == POLICY_BLOCK);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_ACCESS), "rest");
	a.type = "text/html";
	decide(c, POLICY_RESPONSE, &a, &plan);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_ACCESS), "pages");
	/* a block that is certain is not put off */
	a = (struct given){ .host = "bad.test" };
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.access == POLICY_BLOCK);
	/* a spliced tunnel has no later stage */
	a = (struct given){ .host = "s.test" };
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.tls == POLICY_SPLICE && plan.access == POLICY_BLOCK);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_ACCESS), "rest");
	conf_unref(&c);
}

/* The address comes late: what could it still decide? */
static void
test_late_dest(void)
{
	struct conf *c = load(
	    "rules:\n"
	    "- {name: in, if: {host: a.test, dest: 10.0.0.0/8}, "
	    "access: block}\n"
	    "- {name: sp, if: {host: s.test, dest: 10.0.0.0/8}, "
	    "tls: splice}\n"
	    "- {name: sc, if: {host: c.test, not: {dest: 10.0.0.0/8}}, "
	    "scan: [dlp]}\n");
	struct given a = { .host = "a.test" };
	struct plan plan;

	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_REQUEST, &a, &plan);
	CU_ASSERT(plan.access == POLICY_ALLOW && plan.asks_dest);
	CU_ASSERT(plan.dest_open == 1u << POLICY_BY_ACCESS);
	a.dest = "10.1.1.1";
	decide(c, POLICY_REQUEST, &a, &plan);
	/* known, and to be asked again for the next connection */
	CU_ASSERT(plan.access == POLICY_BLOCK && plan.asks_dest);
	CU_ASSERT(plan.dest_open == 0);
	a.dest = "11.1.1.1";
	decide(c, POLICY_REQUEST, &a, &plan);
	CU_ASSERT(plan.access == POLICY_ALLOW && plan.asks_dest);
	a = (struct given){ .host = "b.test" };
	decide(c, POLICY_REQUEST, &a, &plan);
	CU_ASSERT(plan.access == POLICY_ALLOW && !plan.asks_dest);
	a = (struct given){ .host = "s.test" };
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.tls == POLICY_INSPECT &&
	    plan.dest_open == 1u << POLICY_BY_TLS);
	a.dest = "10.1.1.1";
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.tls == POLICY_SPLICE && plan.dest_open == 0);
	a = (struct given){ .host = "c.test" };
	decide(c, POLICY_REQUEST, &a, &plan);
	CU_ASSERT(plan.dest_open == 1u << POLICY_BY_SCAN);
	conf_unref(&c);
}

/* For a spliced tunnel the address is the last fact that comes. */
static void
test_late_dest_of_splice(void)
{
	struct conf *c = load(
	    "rules:\n"
	    "- {name: in, if: {dest: 10.0.0.0/8}, access: allow}\n"
	    "- {name: rest, access: block}\n"
	    "- {name: sp, tls: splice}\n");
	struct given a = { .host = "s.test" };
	struct plan plan;

	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.tls == POLICY_SPLICE && plan.access == POLICY_ALLOW);
	CU_ASSERT(plan.dest_open == 1u << POLICY_BY_ACCESS);
	a.dest = "11.1.1.1";
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.access == POLICY_BLOCK);
	a.dest = "10.1.1.1";
	decide(c, POLICY_TLS, &a, &plan);
	CU_ASSERT(plan.access == POLICY_ALLOW);
	conf_unref(&c);
}

/* A URL that makes a pattern run for ever is blocked, soon. */
static void
test_overrun(void)
{
	static char url[4000];
	struct conf *c = load(
	    "rules:\n"
	    "- {name: before, if: {host: x}, log: none}\n"
	    "- {name: evil, if: {url: '(a+)+\\1$'}, scan: none}\n");
	struct given g = { .host = "h", .url = url };
	struct plan plan;
	clock_t start = clock();

	memset(url, 'a', sizeof(url) - 2);
	url[sizeof(url) - 2] = '!';
	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_REQUEST, &g, &plan);
	CU_ASSERT(plan.overrun && plan.access == POLICY_BLOCK);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_ACCESS), "evil");
	CU_ASSERT(clock() - start < CLOCKS_PER_SEC);
	g.url = "http://h/b";
	decide(c, POLICY_REQUEST, &g, &plan);
	CU_ASSERT(!plan.overrun && plan.access == POLICY_ALLOW);
	conf_unref(&c);
}

/* Sets of hosts against a plain search. */
static void
test_random_hosts(void)
{
	static const char *const labels[] = { "a", "b", "cc", "test", "x-y" };
	char name[200][48], why[POLICY_WHY], host[64];
	struct arena *arena = arena_new();
	struct policy_hosts set = { 0 };
	struct policy_host_key key;
	unsigned i, j, k, n;
	bool want;

	for (i = 0; i < 200; i++) {
		name[i][0] = '\0';
		n = 1 + unit_random(4);
		for (j = 0; j < n; j++) {
			strcat(name[i], j > 0 ? "." : "");
			strcat(name[i], labels[unit_random(5)]);
		}
		if (i < 20)
			CU_ASSERT(policy_hosts_add(&set, arena, name[i], why));
	}
	for (i = 20; i < 200; i++) {
		want = false;
		for (k = 0; k < 20; k++) {
			host[0] = '.';
			strcpy(host + 1, name[k]);
			want |= strcmp(name[i], name[k]) == 0 ||
			    (strlen(name[i]) > strlen(host) &&
				strcmp(name[i] + strlen(name[i]) - strlen(host),
				    host) == 0);
		}
		policy_host_key(&key, str_of(name[i]), false);
		CU_ASSERT(policy_hosts_match(&set, &key) == want);
	}
	arena_free(&arena);
}

static void
test_long_hosts(void)
{
	char host[400];
	struct conf *c = load("rules: [{if: {host: b}, access: block}]\n");
	struct plan plan;
	unsigned i;

	for (i = 0; i < sizeof(host) - 1; i++)
		host[i] = i % 2 == 0 ? 'b' : '.';
	host[sizeof(host) - 1] = '\0';
	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_TLS, &(struct given){ .host = host }, &plan);
	CU_ASSERT(plan.access == POLICY_ALLOW); /* no host has 399 octets */
	host[253] = '\0';
	decide(c, POLICY_TLS, &(struct given){ .host = host }, &plan);
	CU_ASSERT(plan.access == POLICY_BLOCK);
	conf_unref(&c);
}

/* A host that is only said gets what it and the address both get. */
static void
test_led(void)
{
	static const struct {
		const char *host, *url;
		enum policy_access said, known;
		enum policy_log log_said, log_known;
	} t[] = {
		{ "good.test", "http://good.test/", POLICY_BLOCK, POLICY_ALLOW,
		    POLICY_LOG_FULL, POLICY_LOG_FULL },
		{ "bad.test", "http://bad.test/", POLICY_BLOCK, POLICY_BLOCK,
		    POLICY_LOG_FULL, POLICY_LOG_FULL },
		{ "other.test", "http://other.test/free/", POLICY_BLOCK,
		    POLICY_BLOCK, POLICY_LOG_FULL, POLICY_LOG_FULL },
		{ "free.test", "http://free.test/free/", POLICY_BLOCK,
		    POLICY_ALLOW, POLICY_LOG_FULL, POLICY_LOG_NONE },
		{ "192.0.2.1", "http://192.0.2.1/x", POLICY_ALLOW, POLICY_ALLOW,
		    POLICY_LOG_FULL, POLICY_LOG_FULL },
	};
	struct conf *c = load(
	    "rules:\n"
	    "- {name: bad, if: {host: bad.test}, access: block}\n"
	    "- {name: good, if: {host: [good.test, 192.0.2.1]}, access: "
	    "allow}\n"
	    "- {name: free, if: {url: '^http://free\\.test/'}, access: allow, "
	    "log: none}\n"
	    "- {name: rest, access: block}\n");
	struct policy_facts f = { .scheme = STR("http"),
		.port = 80,
		.method = STR("GET"),
		.size = POLICY_SIZE_UNKNOWN };
	struct plan plan;
	unsigned i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f.host = str_of(t[i].host);
		f.host_is_ip = t[i].host[0] == '1';
		f.url = str_of(t[i].url);
		f.led_host = f.led_url = STR_NONE;
		policy_plan_init(&c->policy, &plan);
		policy_decide(&c->policy, POLICY_REQUEST, &f, &plan);
		CU_ASSERT(plan.access == t[i].known);
		CU_ASSERT(plan.log == t[i].log_known);
		f.led_host = i == 4 ? STR("192.0.2.1") : STR("203.0.113.80");
		f.led_url = i == 4 ? STR("http://192.0.2.1/x")
				   : STR("http://203.0.113.80/");
		policy_plan_init(&c->policy, &plan);
		policy_decide(&c->policy, POLICY_REQUEST, &f, &plan);
		CU_ASSERT(plan.access == t[i].said);
		CU_ASSERT(plan.log == t[i].log_said);
	}
	conf_unref(&c);
}

static const char ten_rules
    [] = "rules:\n"
	 "- {name: r1, if: {host: [bank.test, clinic.test]}, access: block}\n"
	 "- {name: r2, if: {client: 10.9.0.0/16, port: 22}, access: block}\n"
	 "- {name: r3, if: {host: [a.org, b.org, c.org], method: POST}, "
	 "access: block}\n"
	 "- {name: r4, if: {type: 'video/*', size: '>1G'}, scan: none}\n"
	 "- {name: r5, if: {listener: guest}, log: minimal}\n"
	 "- {name: r6, if: {url: '\\.(exe|msi)($|\\?)'}, access: block}\n"
	 "- {name: r7, if: {host: updates.test}, scan: av}\n"
	 "- {name: r8, if: {not: {client: private}}, access: block}\n"
	 "- {name: r9, if: {method: [PUT, DELETE]}, scan: dlp}\n"
	 "- {name: r10, scan: both}\n";

static void
test_speed(void)
{
	struct conf *c = load(ten_rules);
	struct sockaddr_in client = addr("10.1.2.3");
	struct policy_facts f = { .client = (struct sockaddr *)&client,
		.listener = STR("office"),
		.host = STR("www.example.com"),
		.port = 443,
		.scheme = STR("https"),
		.method = STR("GET"),
		.url = STR("https://www.example.com/some/path/index.html?a=1"),
		.size = POLICY_SIZE_UNKNOWN };
	struct timespec a, b;
	struct plan plan;
	unsigned i, n = 200000;
	double ns;

	policy_plan_init(&c->policy, &plan);
	policy_decide(&c->policy, POLICY_REQUEST, &f, &plan);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	for (i = 0; i < n; i++)
		policy_decide(&c->policy, POLICY_REQUEST, &f, &plan);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 +
		 (double)(b.tv_nsec - a.tv_nsec)) /
	    n;
	printf("# ten rules: %.0f ns\n", ns);
	CU_ASSERT(plan.access == POLICY_ALLOW);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_SCAN), "r10");
	conf_unref(&c);
}

/* One configuration, many threads: each has its own scratch memory. */
static void *
run_thread(void *arg)
{
	const struct conf *conf = arg;
	struct plan plan;
	unsigned i, bad = 0;

	policy_plan_init(&conf->policy, &plan);
	for (i = 0; i < 20000; i++) {
		decide(conf, POLICY_REQUEST,
		    &(struct given){ .host = "a",
			.client = "10.0.0.1",
			.url = i % 2 == 0 ? "http://a/x.exe"
					  : "http://a/x.txt" },
		    &plan);
		bad += (plan.access == POLICY_BLOCK) != (i % 2 == 0);
	}
	return (bad == 0 ? arg : NULL);
}

static void
test_threads(void)
{
	struct conf *c = load(ten_rules);
	pthread_t thread[4];
	void *fine;
	unsigned i;

	for (i = 0; i < 4; i++)
		CU_ASSERT_FATAL(
		    pthread_create(&thread[i], NULL, run_thread, c) == 0);
	for (i = 0; i < 4; i++) {
		CU_ASSERT(pthread_join(thread[i], &fine) == 0);
		CU_ASSERT(fine == c);
	}
	conf_unref(&c);
}

/* Decided with the request, by what is known then. */
static void
test_range(void)
{
	struct conf *c = load(
	    "rules:\n"
	    "- {name: zip, if: {type: application/zip}, scan: both}\n"
	    "- {name: big, if: {host: a.test}, range: allow}\n"
	    "- {name: none, scan: none}\n");
	struct plan plan;

	policy_plan_init(&c->policy, &plan);
	decide(c, POLICY_REQUEST, &(struct given){ .host = "b.test" }, &plan);
	CU_ASSERT(plan.range == POLICY_RANGE_STRIP);
	CU_ASSERT(plan.scan_resp->n == 0 && plan.may_scan_resp);
	decide(c, POLICY_REQUEST, &(struct given){ .host = "a.test" }, &plan);
	CU_ASSERT(plan.range == POLICY_RANGE_ALLOW);
	CU_ASSERT_STRING_EQUAL(name_of(&plan, POLICY_BY_RANGE), "big");
	decide(c, POLICY_RESPONSE,
	    &(struct given){ .host = "b.test", .type = "text/x" }, &plan);
	CU_ASSERT(plan.range == POLICY_RANGE_ALLOW); /* it stays */
	CU_ASSERT(plan.scan_resp->n == 0 && !plan.may_scan_resp);
	conf_unref(&c);
}

/* Times of the week, by the clock on the wall. */
static void
test_times(void)
{
	static const struct {
		const char *time;
		const char *in[6],
		    *out[6]; /* a day of June 2026, the 1st is a Monday */
	} rows[] = {
		{ "Mon-Fri 08:00-18:00", { "1 08:00", "5 17:59", "3 12:00" },
		    { "1 07:59", "5 18:00", "6 12:00" } },
		{ "[Sat, Sun]", { "6 00:00", "7 23:59" },
		    { "8 00:00", "5 23:59" } },
		{ "'Sat,Sun'", { "6 00:00", "7 23:59" }, { "8 00:00" } },
		{ "22:00-06:00", { "1 22:00", "2 05:59", "7 23:00", "8 00:00" },
		    { "1 21:59", "2 06:00" } },
		{ "Sun 22:00-06:00", { "7 22:00", "8 05:59", "1 00:30" },
		    { "7 05:00", "8 06:00" } },
		{ "Fri-Mon", { "5 00:00", "6 12:00", "8 23:59" },
		    { "2 00:00" } },
		{ "mon 12:00-24:00", { "1 23:59" }, { "2 00:00", "1 11:59" } },
		{ "[Mon 08:00-09:00, Tue 9:00-10:00]", { "1 08:30", "2 09:30" },
		    { "1 09:30", "2 08:30" } },
	};
	struct policy_facts f = { .host = STR("a"),
		.port = 443,
		.size = POLICY_SIZE_UNKNOWN,
		.method = STR("GET"),
		.url = STR("https://a/") };
	char text[200];
	struct conf *conf;
	struct plan plan;
	struct tm tm;
	unsigned i, k, in;
	const char *at;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text),
		    "rules: [{if: {time: %s}, access: block}]\n", rows[i].time);
		conf = load(text);
		for (k = 0; k < 12; k++) {
			in = k < 6;
			at = in ? rows[i].in[k] : rows[i].out[k - 6];
			if (at == NULL)
				continue;
			tm = (struct tm){ .tm_year = 126,
				.tm_mon = 5,
				.tm_isdst = -1 };
			CU_ASSERT(sscanf(at, "%d %d:%d", &tm.tm_mday,
				      &tm.tm_hour, &tm.tm_min) == 3);
			f.at = mktime(&tm);
			policy_plan_init(&conf->policy, &plan);
			policy_decide(&conf->policy, POLICY_REQUEST, &f, &plan);
			if ((plan.access == POLICY_BLOCK) != in)
				printf("# %s: %s\n", rows[i].time, at);
			CU_ASSERT((plan.access == POLICY_BLOCK) == in);
		}
		conf_unref(&conf);
	}
}

/* A route is decided while there is no connection, and stays. */
static void
test_route(void)
{
	struct conf *conf = load("upstreams: {a: {url: 'http://a:1'}, b: {url: "
				 "'http://b:1'}}\n"
				 "rules:\n"
				 "  - {name: near, if: {dest: 192.0.2.0/24}, "
				 "route: direct}\n"
				 "  - {name: guests, if: {listener: guest}, "
				 "route: b}\n"
				 "  - {name: rest, route: a}\n");
	const struct given guest = { .host = "h.test", .listener = "guest" };
	const struct given named = { .host = "h.test", .listener = "office" };
	const struct given near = { .host = "192.0.2.7", .dest = "192.0.2.7" };
	struct policy_facts f = { .host = STR("h.test"),
		.listener = STR("office"),
		.scheme = STR("https"),
		.port = 443,
		.size = POLICY_SIZE_UNKNOWN,
		.connected = true };
	struct sockaddr_in dest = addr("192.0.2.7");
	struct plan plan;

	policy_plan_init(&conf->policy, &plan);
	CU_ASSERT_EQUAL(plan.route, POLICY_DIRECT);
	decide(conf, POLICY_TLS, &guest, &plan);
	CU_ASSERT_PTR_EQUAL(conf_route(conf, plan.route),
	    &conf->upstreams.v[1]);
	CU_ASSERT_STRING_EQUAL(plan.rule[POLICY_BY_ROUTE], "guests");
	decide(conf, POLICY_REQUEST, &near, &plan);
	CU_ASSERT_PTR_NULL(conf_route(conf, plan.route));
	CU_ASSERT_STRING_EQUAL(plan.rule[POLICY_BY_ROUTE], "near");
	decide(conf, POLICY_REQUEST, &named, &plan);
	CU_ASSERT_STRING_EQUAL(plan.rule[POLICY_BY_ROUTE], "rest");
	f.dest = (const struct sockaddr *)&dest;
	policy_decide(&conf->policy, POLICY_REQUEST, &f, &plan);
	CU_ASSERT_STRING_EQUAL(plan.rule[POLICY_BY_ROUTE], "rest");
	CU_ASSERT_PTR_EQUAL(conf_route(conf, plan.route),
	    &conf->upstreams.v[0]);
	conf_unref(&conf);
}

UNIT_TESTS(proxy_policy, { "routes", test_route }, { "times", test_times },
    { "hosts", test_hosts },
    { "client, listener, port, dest, method, not", test_conditions },
    { "types and sizes", test_types_and_sizes }, { "urls", test_urls },
    { "without rules", test_no_rules },
    { "the first rule wins, for each decision", test_first_wins },
    { "scan is decided again at the response", test_scan_again },
    { "ranges are decided at the request", test_range },
    { "a block waits while an allow is not known", test_put_off },
    { "the destination's address comes late", test_late_dest },
    { "the address is a splice's last fact", test_late_dest_of_splice },
    { "a host that is only said", test_led },
    { "patterns have limits", test_overrun },
    { "random hosts", test_random_hosts }, { "long hosts", test_long_hosts },
    { "ten rules are quick", test_speed }, { "threads", test_threads })
