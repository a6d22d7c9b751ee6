/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which parent proxy is taken, when one is down, and how it comes back. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "proxy/wire/upstream.h"
#include "t/unit/unit.h"

static struct conf *conf;
static struct upstream *u;

static void
begin(const char *more)
{
	struct conf_problems p = { 0 };
	struct fault f = { 0 };
	char text[1000];

	snprintf(text, sizeof(text),
	    "upstreams: {up: {url: ['http://a.test:1', 'socks5://b.test:2', "
	    "'http://[2001:db8::1]:3'], probe: 1s%s}}\n"
	    "rules: [{route: up}]\n",
	    more);
	conf = conf_parse("c", text, strlen(text), &p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	conf_problems_fini(&p);
	u = upstream_new(&conf->upstreams.v[0], &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(u);
}

static void
end(void)
{
	upstream_free(&u);
	conf_unref(&conf);
}

/* -1: none. */
static int
pick(unsigned tried)
{
	bool trial;
	struct upstream_end *e = upstream_pick(u, tried, &trial);

	return (e != NULL ? (int)upstream_number(e) : -1);
}

static void
test_order(void)
{
	begin("");
	CU_ASSERT_EQUAL(pick(0), 0);
	CU_ASSERT_EQUAL(pick(1), 1);
	CU_ASSERT_EQUAL(pick(3), 2);
	CU_ASSERT_EQUAL(pick(7), -1);
	CU_ASSERT_EQUAL(u->end[0].busy, 1);
	upstream_release(&u->end[0]);
	CU_ASSERT_EQUAL(u->end[0].busy, 0);
	end();
	begin(", balance: round_robin");
	CU_ASSERT_EQUAL(pick(0), 0);
	CU_ASSERT_EQUAL(pick(0), 1);
	CU_ASSERT_EQUAL(pick(0), 2);
	CU_ASSERT_EQUAL(pick(0), 0);
	CU_ASSERT_EQUAL(pick(7), -1);
	end();
	begin(", balance: least_busy");
	CU_ASSERT_EQUAL(pick(0), 0);
	CU_ASSERT_EQUAL(pick(0), 1);
	CU_ASSERT_EQUAL(pick(0), 2);
	upstream_release(&u->end[1]);
	CU_ASSERT_EQUAL(pick(0), 1);
	end();
}

static void
fail(unsigned times, uint64_t at)
{
	while (times-- > 0)
		upstream_bad(&u->end[0], at, "refused");
}

static void
test_down(void)
{
	begin("");
	fail(2, 1000);
	CU_ASSERT_EQUAL(pick(0), 0);
	fail(1, 12000); /* the others were long ago */
	fail(1, 12001);
	CU_ASSERT_EQUAL(pick(0), 0);
	upstream_good(&u->end[0]); /* begins anew */
	fail(2, 12002);
	CU_ASSERT_EQUAL(pick(0), 0);
	CU_ASSERT_FALSE(upstream_has_down(u));
	fail(1, 12003);
	CU_ASSERT(upstream_has_down(u));
	CU_ASSERT_EQUAL(pick(0), 1);
	end();
}

/* DOWN, probed, tried by one flow alone. */
static void
test_back(void)
{
	struct upstream_end *e;
	bool trial;

	begin("");
	fail(3, 1000);
	CU_ASSERT_FALSE(upstream_probe_due(&u->end[0], 1999));
	CU_ASSERT(upstream_probe_due(&u->end[0], 2000));
	CU_ASSERT_FALSE(upstream_probe_due(&u->end[0], 2000));
	upstream_probed(&u->end[0], false);
	CU_ASSERT_EQUAL(pick(0), 1);
	CU_ASSERT(upstream_probe_due(&u->end[0], 3000));
	upstream_probed(&u->end[0], true);
	e = upstream_pick(u, 0, &trial);
	CU_ASSERT(e == &u->end[0] && trial);
	CU_ASSERT_EQUAL(pick(0), 1); /* the others wait for it */
	upstream_undecided(e);
	e = upstream_pick(u, 0, &trial);
	CU_ASSERT(e == &u->end[0] && trial);
	upstream_bad(e, 4000, "refused");
	CU_ASSERT_EQUAL(e->state, UPSTREAM_DOWN);
	upstream_probed(e, true);
	e = upstream_pick(u, 0, &trial);
	CU_ASSERT(trial);
	upstream_good(e);
	CU_ASSERT_EQUAL(pick(0), 0);
	CU_ASSERT_FALSE(upstream_has_down(u));
	end();
}

static void
check_user(const char *text, size_t n, const char *user, const char *password,
    const char *basic)
{
	char path[] = "/tmp/assay-unit-user-XXXXXX";
	struct conf_upstream c;
	struct fault f = { 0 };
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && write(fd, text, n) == (ssize_t)n);
	close(fd);
	begin("");
	c = conf->upstreams.v[0];
	upstream_free(&u);
	c.user = path;
	u = upstream_new(&c, &f);
	CU_ASSERT((u != NULL) == (user != NULL));
	CU_ASSERT((f.code == ERR_CONFIG) == (user == NULL));
	if (u != NULL && user != NULL) {
		CU_ASSERT_STRING_EQUAL(u->user, user);
		CU_ASSERT_STRING_EQUAL(u->password, password);
		CU_ASSERT_STRING_EQUAL(u->authorization, basic);
	}
	end();
	unlink(path);
}

#define USER(text, user, password, basic) \
	check_user(text, sizeof(text) - 1, user, password, basic)

static void
test_user(void)
{
	static char large[600];

	USER("amy:pw", "amy", "pw", "Basic YW15OnB3");
	USER("amy:pw\n", "amy", "pw", "Basic YW15OnB3");
	USER("amy:p:w\r\n", "amy", "p:w", "Basic YW15OnA6dw==");
	USER("amy", NULL, NULL, NULL);
	USER("", NULL, NULL, NULL);
	USER("\n", NULL, NULL, NULL);
	USER(":pw", NULL, NULL, NULL);
	USER("amy:", NULL, NULL, NULL);
	USER("amy:pw\n\n", NULL, NULL, NULL);
	USER("amy:p\r\nX: y", NULL, NULL, NULL);
	USER("amy:p\0w", NULL, NULL, NULL);
	memset(large, 'x', sizeof(large));
	large[255] = ':';
	check_user(large, 256 + 256, NULL, NULL, NULL);
	large[255] = 'x';
	large[256] = ':';
	check_user(large, 300, NULL, NULL, NULL);
}

UNIT_TESTS(proxy_upstream, { "order", test_order }, { "down", test_down },
    { "back", test_back }, { "user", test_user })
