/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names to addresses: literals, hosts, cache, and every mood of a server. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/loop.h"
#include "base/budget.h"
#include "net/resolve.h"
#include "t/unit/dns_server.h"
#include "t/unit/unit.h"

static const struct dns_entry entries[] = {
	{ .name = "both.test",
	    .v4 = "192.0.2.1 192.0.2.2",
	    .v6 = "2001:db8::1",
	    .ttl = 300 },
	{ .name = "v4.test", .v4 = "192.0.2.4", .ttl = 300 },
	{ .name = "v6late.test",
	    .v4 = "192.0.2.1",
	    .v6 = "2001:db8::1",
	    .v6_ms = 80,
	    .ttl = 300 },
	{ .name = "none.test", .a = SAYS_NO_NAME, .aaaa = SAYS_NO_NAME },
	{ .name = "empty.test" },
	{ .name = "fail.test", .a = SAYS_FAILURE, .aaaa = SAYS_FAILURE },
	{ .name = "silent.test", .a = SAYS_NOTHING, .aaaa = SAYS_NOTHING },
	{ .name = "half.test",
	    .v4 = "192.0.2.1",
	    .aaaa = SAYS_NOTHING,
	    .ttl = 300 },
	{ .name = "junk.test", .a = SAYS_JUNK, .aaaa = SAYS_JUNK },
	{ .name = "long.test",
	    .a = SAYS_TRUNCATED,
	    .v4 = "192.0.2.9",
	    .ttl = 300 },
	{ .name = "alias.test",
	    .v4 = "192.0.2.1",
	    .cname = "both.test",
	    .ttl = 300 },
	{ .name = "short.test", .v4 = "192.0.2.1", .ttl = 1 },
	{ .name = "mapped.test", .v6 = "::ffff:127.0.0.1", .ttl = 300 },
	{ .name = "crowd.test",
	    .v4 = "192.0.2.1 192.0.2.2 192.0.2.3 "
		  "192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 192.0.2.9 "
		  "192.0.2.10 192.0.2.11",
	    .ttl = 300 },
};

static struct loop *loop;
static struct resolver *resolver;
static struct dns_server *server;
static struct task woken;
static struct timer limit;
static unsigned wakes;
static struct resolve_query *awaited;

static void
on_wake(struct task *t)
{
	(void)t;
	wakes++;
	if (awaited == NULL || awaited->done)
		loop_stop(loop);
}

static void
on_limit(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

static void
run_ms(unsigned ms)
{
	timer_set(&limit, ms);
	loop_run(loop);
	timer_stop(&limit);
}

static void
set_up(unsigned deadline_ms, struct hosts *h, unsigned max_names)
{
	struct resolver_options o = { .hosts = h,
		.deadline_ms = deadline_ms,
		.max_names = max_names };

	wakes = 0;
	awaited = NULL;
	loop = loop_new();
	server = dns_server_new(loop, entries,
	    sizeof(entries) / sizeof(entries[0]));
	o.servers = dns_server_address(server);
	resolver = resolver_new(loop, &o, NULL);
	CU_ASSERT_FATAL(resolver != NULL);
	task_init(&woken, loop, on_wake);
	timer_init(&limit, loop, on_limit);
}

static void
tear_down(void)
{
	resolver_free(&resolver);
	CU_ASSERT(resolver == NULL);
	dns_server_free(&server);
	timer_stop(&limit);
	task_fini(&woken);
	loop_free(&loop);
}

static void
ask(struct resolve_query *q, const char *host)
{
	resolve_start(resolver, q, str_of(host), NULL, &woken);
}

/* Ask and wait for the end. */
static void
ask_wait(struct resolve_query *q, const char *host)
{
	awaited = q;
	ask(q, host);
	run_ms(4000);
	CU_ASSERT(q->done);
}

static const char *
text_of(const union address *a)
{
	static char text[ADDRESS_TEXT];

	address_text(&a->sa, text);
	return (text);
}

static void
test_address(void)
{
	static const struct {
		const char *in, *out; /* NULL: not a literal */
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1" },
		{ "[192.0.2.1]", "192.0.2.1" },
		{ "::1", "::1" },
		{ "[2001:DB8::1]", "2001:db8::1" },
		{ "::ffff:10.0.0.1", "10.0.0.1" },
		{ "[::ffff:7f00:1]", "127.0.0.1" },
		{ "127.1", NULL },
		{ "0x7f000001", NULL },
		{ "2130706433", NULL },
		{ "1.2.3.4.", NULL },
		{ "01.2.3.4", NULL },
		{ "fe80::1%lo", NULL },
		{ "", NULL },
		{ "[]", NULL },
		{ "[::1", NULL },
		{ "example.com", NULL },
		{ "1:2:3:4:5:6:7:8:9", NULL },
		{ "::1 ", NULL },
	};
	union address a, b;
	char text[ADDRESS_TEXT];
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT(address_parse(str_of(cases[i].in), &a) ==
		    (cases[i].out != NULL));
		if (cases[i].out != NULL)
			CU_ASSERT_STRING_EQUAL(text_of(&a), cases[i].out);
	}
	CU_ASSERT(!address_parse((struct str){ "1.2.3.4\0", 8 }, &a));
	CU_ASSERT(address_parse(STR("::1"), &a));
	b = a;
	address_set_port(&a, 443);
	CU_ASSERT(address_port(&a.sa) == 443);
	CU_ASSERT(address_eq(&a.sa, &b.sa));
	address_text(&a.sa, text);
	CU_ASSERT_STRING_EQUAL(text, "[::1]:443");
	address_ip_text(&a.sa, text);
	CU_ASSERT_STRING_EQUAL(text, "::1");
	CU_ASSERT(address_is_host(&a.sa));
	CU_ASSERT(address_parse(STR("::"), &a) && !address_is_host(&a.sa));
	CU_ASSERT(address_parse(STR("ff02::1"), &a) && !address_is_host(&a.sa));
	CU_ASSERT(address_parse(STR("0.0.0.0"), &a) && !address_is_host(&a.sa));
	CU_ASSERT(!address_eq(&a.sa, &b.sa));
	CU_ASSERT(
	    address_parse(STR("224.1.2.3"), &a) && !address_is_host(&a.sa));
}

static void
test_at_once(void)
{
	struct resolve_query q;

	set_up(1000, NULL, 0);
	ask(&q, "192.0.2.7");
	CU_ASSERT(q.done && q.has_v6 && q.has_v4 && q.n_v4 == 1 && q.n_v6 == 0);
	CU_ASSERT(wakes == 0); /* it only queues */
	run_ms(100);
	CU_ASSERT(wakes == 1);
	ask_wait(&q, "[2001:db8::2]");
	CU_ASSERT(q.n_v6 == 1 && q.n_v4 == 0);
	ask_wait(&q, "a.b.LocalHost.");
	CU_ASSERT(q.n_v6 == 1 && q.n_v4 == 1);
	CU_ASSERT_STRING_EQUAL(text_of(&q.v4[0]), "127.0.0.1");
	CU_ASSERT_STRING_EQUAL(text_of(&q.v6[0]), "::1");
	ask_wait(&q, "no name at all");
	CU_ASSERT(q.fault.code == ERR_DNS_NAME);
	ask_wait(&q, "127.1");
	CU_ASSERT(q.fault.code == ERR_DNS_NAME);
	CU_ASSERT(dns_server_questions(server) == 0);
	CU_ASSERT(resolver_counts(resolver).queries == 5);
	CU_ASSERT(resolver_counts(resolver).failed == 2);
	tear_down();
}

static char *
write_hosts(const char *text)
{
	static char path[] = "/tmp/assay-hosts-XXXXXX";
	int fd;

	memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
	fd = mkstemp(path);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	return (path);
}

static void
test_hosts(void)
{
	struct fault f = { 0 };
	struct resolve_query q;
	struct hosts *h;
	char *path = write_hosts(
	    "# a comment\n"
	    "127.0.0.9\tOne.Test  one  both.test # tail\n"
	    "::9 one\r\n127.0.0.9 one\n127.0.0.10 one\n"
	    "nonsense x\n10.0.0.1\n\n0.0.0.0 bad..name ads.test");

	h = hosts_load(path, &f);
	CU_ASSERT_FATAL(h != NULL);
	unlink(path);
	CU_ASSERT(hosts_count(h) == 4);
	set_up(1000, h, 0);
	hosts_unref(&h);
	ask_wait(&q, "ONE");
	CU_ASSERT(q.n_v4 == 2 && q.n_v6 == 1);
	CU_ASSERT_STRING_EQUAL(text_of(&q.v4[1]), "127.0.0.10");
	ask_wait(&q, "both.test");
	CU_ASSERT(q.n_v4 == 1 && q.n_v6 == 0);
	CU_ASSERT(dns_server_questions(server) == 0);
	tear_down();
	CU_ASSERT(hosts_load("/nonexistent/hosts", &f) == NULL);
	CU_ASSERT(f.code == ERR_CONFIG);
	h = hosts_load(NULL, NULL);
	CU_ASSERT(h != NULL && hosts_count(h) == 0);
	hosts_unref(&h);
}

static void
test_hosts_large(void)
{
	struct hosts *h;
	union address v4, v6;
	unsigned i, n4, n6;
	char *path = write_hosts(""), name[40];
	FILE *out = fopen(path, "w");

	for (i = 0; i < 100000; i++)
		fprintf(out, "10.%u.%u.%u n%u.test\n", i >> 16, i >> 8 & 255,
		    i & 255, i);
	fclose(out);
	h = hosts_load(path, NULL);
	unlink(path);
	CU_ASSERT_FATAL(h != NULL);
	CU_ASSERT(hosts_count(h) == 100000);
	for (i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%u.test", unit_random(100000));
		CU_ASSERT(hosts_find(h, str_of(name), 1, &v6, &n6, &v4, &n4));
		CU_ASSERT(n4 == 1 && n6 == 0);
	}
	CU_ASSERT(!hosts_find(h, STR("x.test"), 1, &v6, &n6, &v4, &n4));
	hosts_unref(&h);
}

static void
test_answers(void)
{
	static const struct {
		const char *host;
		enum err code;
		unsigned n_v4, n_v6;
	} cases[] = {
		{ "both.test", ERR_NONE, 2, 1 },
		{ "v4.test", ERR_NONE, 1, 0 },
		{ "none.test", ERR_DNS_NAME, 0, 0 },
		{ "empty.test", ERR_DNS_NAME, 0, 0 },
		{ "fail.test", ERR_DNS_FAIL, 0, 0 },
		{ "silent.test", ERR_DNS_TIMEOUT, 0, 0 },
		{ "half.test", ERR_NONE, 1, 0 },
		{ "junk.test", ERR_DNS_TIMEOUT, 0, 0 },
		{ "long.test", ERR_NONE, 1, 0 },
		{ "alias.test", ERR_NONE, 1, 0 },
		{ "mapped.test", ERR_DNS_NAME, 0, 0 },
		{ "crowd.test", ERR_NONE, RESOLVE_ADDRESSES, 0 },
		{ "unknown.test", ERR_DNS_NAME, 0, 0 },
	};
	struct resolve_query q;
	unsigned i;

	set_up(300, NULL, 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ask_wait(&q, cases[i].host);
		if (q.fault.code != cases[i].code || q.n_v4 != cases[i].n_v4 ||
		    q.n_v6 != cases[i].n_v6)
			printf("# %s: %s (%s), %u %u\n", cases[i].host,
			    err_info(q.fault.code)->name, q.fault.detail,
			    q.n_v4, q.n_v6);
		CU_ASSERT(q.fault.code == cases[i].code);
		CU_ASSERT(q.n_v4 == cases[i].n_v4 && q.n_v6 == cases[i].n_v6);
	}
	tear_down();
}

/* A dotted name is asked as it is, never with a search domain. */
static void
test_absolute(void)
{
	struct resolve_query q;

	set_up(500, NULL, 0);
	ask_wait(&q, "none.test");
	CU_ASSERT(dns_server_questions(server) == 2);
	CU_ASSERT(dns_server_strangers(server) == 0);
	tear_down();
}

static void
test_partial(void)
{
	struct resolve_query q;

	set_up(1000, NULL, 0);
	ask(&q, "v6late.test");
	CU_ASSERT(!q.done);
	run_ms(40);
	CU_ASSERT(!q.done && q.has_v4 && !q.has_v6 && q.n_v4 == 1);
	CU_ASSERT(wakes == 1);
	run_ms(1000);
	CU_ASSERT(q.done && q.has_v6 && q.n_v6 == 1 && wakes == 2);
	tear_down();
}

static void
test_cache(void)
{
	struct resolve_query q;
	unsigned asked;

	set_up(1000, NULL, 0);
	ask_wait(&q, "both.test");
	ask_wait(&q, "none.test");
	asked = dns_server_questions(server);
	ask(&q, "BOTH.test.");
	CU_ASSERT(q.done && q.n_v4 == 2 && q.n_v6 == 1);
	ask(&q, "none.test");
	CU_ASSERT(q.done && q.fault.code == ERR_DNS_NAME);
	CU_ASSERT(dns_server_questions(server) == asked);
	CU_ASSERT(resolver_counts(resolver).hits == 2);
	CU_ASSERT(resolver_counts(resolver).cached == 2);

	ask_wait(&q, "short.test");
	asked = dns_server_questions(server);
	awaited = NULL;
	wakes = 0;
	run_ms(1); /* swallow what is queued */
	run_ms(1200);
	ask_wait(&q, "short.test");
	CU_ASSERT(q.n_v4 == 1);
	CU_ASSERT(dns_server_questions(server) == asked + 2);
	tear_down();
}

static void
test_bounded(void)
{
	struct resolve_query q, many[5];
	unsigned i;
	char name[40];

	set_up(300, NULL, 4);
	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "x%u.test", i);
		ask_wait(&q, name);
		CU_ASSERT(resolver_counts(resolver).cached <= 4);
	}
	ask_wait(&q, "both.test");
	ask_wait(&q, "x18.test");
	ask(&q, "both.test");
	CU_ASSERT(q.done);
	/* All places taken by questions under way. */
	awaited = NULL;
	for (i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "silent.test");
		name[0] = (char)('a' + i);
		ask(&many[i],
		    i == 0       ? "silent.test"
			: i == 1 ? "half.test"
			: i == 2 ? "junk.test"
			: i == 3 ? "v6late.test"
				 : name);
	}
	CU_ASSERT(!many[3].done);
	CU_ASSERT(many[4].done && many[4].fault.code == ERR_DNS_FAIL);
	tear_down();
	for (i = 0; i < 4; i++)
		CU_ASSERT(many[i].done && many[i].fault.code == ERR_SHUTDOWN);
}

static void
test_joined(void)
{
	struct resolve_query q[10];
	unsigned i;

	set_up(1000, NULL, 0);
	for (i = 0; i < 10; i++)
		ask(&q[i], "v6late.test");
	resolve_cancel(&q[3]);
	awaited = &q[9];
	run_ms(1000);
	for (i = 0; i < 10; i++)
		CU_ASSERT(q[i].done && q[i].n_v6 == (i == 3 ? 0 : 1));
	CU_ASSERT(dns_server_questions(server) == 2);
	CU_ASSERT(resolver_counts(resolver).joined == 9);
	tear_down();
}

static void
test_deadline(void)
{
	struct resolve_query q, late;
	uint64_t before;

	set_up(200, NULL, 0);
	run_ms(1);
	before = loop_now(loop);
	ask(&q, "silent.test");
	awaited = &late;
	run_ms(100);
	ask(&late, "silent.test"); /* joins; has its own 200 ms */
	run_ms(2000);
	CU_ASSERT(q.done && q.fault.code == ERR_DNS_TIMEOUT);
	CU_ASSERT(late.done && late.fault.code == ERR_DNS_TIMEOUT);
	CU_ASSERT(
	    loop_now(loop) - before >= 290 && loop_now(loop) - before < 600);
	tear_down();
}

static void
test_cancel(void)
{
	struct resolve_query q, idle = { 0 };

	set_up(200, NULL, 0);
	resolve_cancel(&idle);
	ask(&q, "v6late.test");
	resolve_cancel(&q);
	CU_ASSERT(q.done);
	resolve_cancel(&q);
	run_ms(300);
	CU_ASSERT(wakes == 0);
	ask(&q, "v6late.test"); /* the answer was kept */
	CU_ASSERT(q.done && q.n_v6 == 1);
	tear_down();
}

static void
test_reload(void)
{
	struct resolver_options o = { .servers = "nonsense" };
	struct fault f = { 0 };
	struct resolve_query q, q2, after;

	set_up(1000, NULL, 0);
	ask(&q, "v6late.test");
	CU_ASSERT(!resolver_reload(resolver, &o, &f));
	CU_ASSERT(f.code == ERR_CONFIG);
	o.servers = dns_server_address(server);
	CU_ASSERT(resolver_reload(resolver, &o, NULL));
	ask(&q2, "v6late.test"); /* asked anew */
	CU_ASSERT(resolver_reload(resolver, &o, NULL));
	CU_ASSERT(resolver_reload(resolver, &o, NULL));
	ask_wait(&after, "v6late.test");
	CU_ASSERT(q.done && q.n_v6 == 1 && q2.done && q2.n_v4 == 1);
	CU_ASSERT(dns_server_questions(server) == 6);
	ask(&q, "silent.test");
	CU_ASSERT(resolver_reload(resolver, &o, NULL));
	tear_down(); /* with a retired question under way */
	CU_ASSERT(q.done && q.fault.code == ERR_SHUTDOWN);
}

static void
test_system(void)
{
	struct resolver_options o = { 0 };

	loop = loop_new();
	resolver = resolver_new(loop, &o, NULL);
	CU_ASSERT(resolver != NULL);
	resolver_free(&resolver);
	loop_free(&loop);
}

static void
test_speed(void)
{
	struct resolve_query q;
	struct timespec a, b;
	double ns;
	unsigned i;

	set_up(1000, NULL, 0);
	ask_wait(&q, "both.test");
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (i = 0; i < 1000000; i++)
		resolve_start(resolver, &q, STR("both.test"), NULL, &woken);
	clock_gettime(CLOCK_MONOTONIC, &b);
	ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 +
		 (double)(b.tv_nsec - a.tv_nsec)) /
	    1e6;
	printf("# %.0f ns a cached name\n", ns);
	CU_ASSERT(q.done && ns < 20000);
	tear_down();
}

/* A client has its share of names, also of those that he asked for and left. */
static void
test_share(void)
{
	struct budget *budget = budget_new();
	struct account *hog = account_open(budget, 1);
	struct account *other = account_open(budget, 2);
	struct resolve_query q[4];
	unsigned i;

	memset(q, 0, sizeof(q));
	budget_set_limit(budget, BUDGET_NAMES, 3); /* one each */
	set_up(300, NULL, 0);
	resolve_start(resolver, &q[0], STR("silent.test"), hog, &woken);
	CU_ASSERT_FALSE(q[0].done);
	resolve_cancel(&q[0]);
	resolve_start(resolver, &q[1], STR("half.test"), hog, &woken);
	CU_ASSERT(q[1].done && q[1].fault.code == ERR_DNS_FAIL);
	resolve_start(resolver, &q[2], STR("silent.test"), hog, &woken);
	CU_ASSERT_FALSE(q[2].done); /* it is asked for already */
	resolve_start(resolver, &q[3], STR("half.test"), other, &woken);
	CU_ASSERT_FALSE(q[3].done);
	for (i = 0; i < 100 && budget_used(budget, BUDGET_NAMES) > 0; i++)
		run_ms(100);
	CU_ASSERT_EQUAL(budget_used(budget, BUDGET_NAMES), 0);
	CU_ASSERT(q[3].done && q[3].n_v4 == 1);
	tear_down();
	account_unref(&hog);
	account_unref(&other);
	budget_free(&budget);
}

UNIT_TESTS(proxy_resolve, { "addresses as text", test_address },
    { "literals, localhost, junk", test_at_once },
    { "hosts table", test_hosts },
    { "hosts table of 100000 lines", test_hosts_large },
    { "every mood of a server", test_answers },
    { "dotted names are absolute", test_absolute },
    { "one family, then the other", test_partial },
    { "cache, negative too, and its end", test_cache },
    { "bounded", test_bounded }, { "shares of clients", test_share },
    { "equal questions are joined", test_joined },
    { "deadline of each query", test_deadline }, { "cancelled", test_cancel },
    { "reload", test_reload }, { "the system's servers", test_system },
    { "a cached name is cheap", test_speed })
