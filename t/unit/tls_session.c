/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions of both legs: what is agreed on, what is refused, and which
 * tickets are good where.
 */
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include "t/unit/tls_lab.h"
#include "t/unit/unit.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define LONG_MS 20000
#define V12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"

static struct loop *loop;
static struct tls_resume *resume;
static struct tls_context *one, *two;	/* of two epochs */
static struct lab_end a, b;		/* a is the client */
static struct tls_client client;

static struct tls_context *
context_new(const char *epoch, bool client_13, bool origin_13)
{
	struct tls_options o = { .epoch = epoch, .client_min_13 = client_13,
	    .origin_min_13 = origin_13 };
	struct fault f = { 0 };
	struct tls_context *c = tls_context_new(&o, &f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(f.code, ERR_NONE);
	return (c);
}

static void
begin(void)
{
	loop = loop_new();
	one = context_new("one", false, false);
	two = context_new("two", false, false);
	resume = tls_resume_new(64);
}

static void
end(void)
{
	tls_context_unref(&one);
	tls_context_unref(&two);
	tls_resume_free(&resume);
	tls_resume_free(&resume);
	loop_free(&loop);
	lab_leaf_free();
	link_thread_fini();
}

static bool
shaken(void *arg)
{
	(void)arg;
	return (a.shake != PULL_WAIT && b.shake != PULL_WAIT);
}

struct meeting {
	struct tls_context *server;
	const char *name;	/* the server's tickets are bound to it */
	const char *host;	/* the client wants; NULL: name */
	uint16_t port;
	const char *server_prio, *client_prio;	/* NULL: as they are */
	bool unverified;
	bool no_table;
};

/* Shake hands, exchange some bytes, so that tickets come across. */
static bool
meet(const struct meeting *m)
{
	gnutls_session_t c, s;
	int fd[2];

	lab_tcp(fd);
	lab_end_init(&a, loop, fd[0], 0);
	lab_end_init(&b, loop, fd[1], 1);
	client = (struct tls_client){ .resume = m->no_table ? NULL : resume,
	    .port = m->port };
	snprintf(client.host, sizeof(client.host), "%s",
	    m->host != NULL ? m->host : m->name);
	c = tls_client_new(one, &client, false);
	s = tls_server_new(m->server, lab_leaf(), m->name);
	CU_ASSERT_FATAL(c != NULL && s != NULL);
	if (m->server_prio != NULL)
		gnutls_priority_set_direct(s, m->server_prio, NULL);
	if (m->client_prio != NULL)
		gnutls_priority_set_direct(c, m->client_prio, NULL);
	link_start_tls(a.link, c);
	link_start_tls(b.link, s);
	a.tls = b.tls = true;
	a.paused = true;	/* tickets wait until we have verified */
	CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
	if (a.shake != PULL_END)
		return (false);
	if (!m->unverified)
		tls_client_verified(&client, c);
	b.to_send = 100;
	a.paused = false;
	lab_end_wake(&a);
	lab_end_wake(&b);
	lab_run(loop, 8);
	return (b.shake == PULL_END);
}

static void
part(void)
{
	lab_end_fini(&a, LINK_CLOSE);
	lab_end_fini(&b, LINK_CLOSE);
}

/* Meet; was it resumed, and do both say so? */
static bool
resumed(const struct meeting *m)
{
	bool yes;

	CU_ASSERT_FATAL(meet(m));
	yes = gnutls_session_is_resumed(link_tls(a.link)) != 0;
	CU_ASSERT_EQUAL(gnutls_session_is_resumed(link_tls(b.link)) != 0, yes);
	CU_ASSERT_EQUAL(a.got, 100);
	part();
	return (yes);
}

static void
resumption(const char *prio)
{
	struct meeting first, same, other_name, other_epoch, other_port,
	    other_host, none;

	begin();
	first = same = (struct meeting){ .server = one, .name = "a.test",
	    .port = 443, .server_prio = prio };
	CU_ASSERT_FALSE(resumed(&first));
	CU_ASSERT_TRUE(resumed(&same));
	CU_ASSERT_TRUE(resumed(&same) || prio != NULL);

	other_name = same;		/* our server was asked for another name */
	other_name.name = "b.test";
	other_name.host = "a.test";
	(void)resumed(&first);
	CU_ASSERT_FALSE(resumed(&other_name));
	tls_resume_free(&resume);
	resume = tls_resume_new(64);
	(void)resumed(&first);
	other_epoch = same;
	other_epoch.server = two;
	CU_ASSERT_FALSE(resumed(&other_epoch));

	tls_resume_free(&resume);
	resume = tls_resume_new(64);
	(void)resumed(&first);
	other_port = other_host = none = same;
	other_port.port = 8443;
	CU_ASSERT_FALSE(resumed(&other_port));
	other_host.host = "c.test";
	CU_ASSERT_FALSE(resumed(&other_host));
	none.no_table = true;
	CU_ASSERT_FALSE(resumed(&none));
	end();
}

static void
test_resumption_13(void)
{
	resumption(NULL);
}

static void
test_resumption_12(void)
{
	resumption(V12);
}

/* A ticket is offered once; none is kept of a peer that nobody verified. */
static void
used_once(const char *prio)
{
	struct meeting m = { .name = "a.test", .port = 443,
	    .server_prio = prio };

	begin();
	m.server = one;
	m.unverified = true;
	CU_ASSERT_FALSE(resumed(&m));
	CU_ASSERT_FALSE(resumed(&m));
	m.unverified = false;
	CU_ASSERT_FALSE(resumed(&m));
	m.unverified = true;
	CU_ASSERT_TRUE(resumed(&m));
	CU_ASSERT_FALSE(resumed(&m));
	end();
}

static void
test_used_once(void)
{
	used_once(NULL);
	used_once(V12);
}

/* One slot: two hosts push each other out, and never get mixed up. */
static void
test_one_slot(void)
{
	struct meeting x = { .name = "x.test", .port = 1 }, y = {
	    .name = "y.test", .port = 1 };

	begin();
	tls_resume_free(&resume);
	resume = tls_resume_new(1);
	x.server = y.server = one;
	CU_ASSERT_FALSE(resumed(&x));
	CU_ASSERT_FALSE(resumed(&y));
	CU_ASSERT_TRUE(resumed(&y));
	CU_ASSERT_FALSE(resumed(&x));
	end();
}

/* --- what is agreed on --- */

static void
test_versions(void)
{
	static const struct {
		const char *client, *server, *version;	/* NULL: refused */
		bool client_13;
	} rows[] = {
		{ NULL, NULL, "1.3", false },
		{ NULL, V12, "1.2", false },
		{ V12, NULL, "1.2", false },
		{ V12, NULL, NULL, true },
		{ NULL, NULL, "1.3", true },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.1", NULL, NULL, false },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.0", NULL, NULL, false },
		{ NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.1", NULL, false },
		{ V12 ":-KX-ALL:+RSA", NULL, NULL, false },
		{ V12 ":-KX-ALL:+DHE-RSA", NULL, NULL, false },
		{ V12 ":-CIPHER-ALL:+AES-128-CBC", NULL, NULL, false },
		{ NULL, V12 ":-CIPHER-ALL:+AES-256-CBC", NULL, false },
		{ V12 ":-CIPHER-ALL:+CHACHA20-POLY1305", NULL, "1.2", false },
		{ V12 ":%DISABLE_SAFE_RENEGOTIATION", NULL, "1.2", false },
		{ NULL, V12 ":%DISABLE_SAFE_RENEGOTIATION", NULL, false },
	};
	struct meeting m = { .name = "a.test", .no_table = true };
	struct tls_context *only_13;
	unsigned i;
	bool met;

	begin();
	only_13 = context_new("x", true, true);
	for (i = 0; i < COUNT(rows); i++) {
		m.server = rows[i].client_13 ? only_13 : one;
		m.client_prio = rows[i].client;
		m.server_prio = rows[i].server;
		met = meet(&m);
		if (met != (rows[i].version != NULL))
			printf("# row %u\n", i);
		CU_ASSERT_EQUAL(met, rows[i].version != NULL);
		if (met) {
			CU_ASSERT(str_eq(tls_version_text(link_tls(a.link)),
			    str_of(rows[i].version)));
			CU_ASSERT(tls_cipher_text(link_tls(b.link)).n > 0);
		} else
			CU_ASSERT(a.fault.code == ERR_CLIENT_TLS ||
			    b.fault.code == ERR_CLIENT_TLS);
		part();
	}
	CU_ASSERT_PTR_NULL(tls_version_text(NULL).p);
	CU_ASSERT_PTR_NULL(tls_cipher_text(NULL).p);
	tls_context_unref(&only_13);
	end();
}

/* RFC 8446 4.1.3: a server that can do 1.3 was talked into 1.2. */
static void
test_downgrade(void)
{
	struct meeting m = { .name = "a.test", .no_table = true };
	struct fault f = { 0 };

	begin();
	m.server = one;
	CU_ASSERT(meet(&m));
	CU_ASSERT_TRUE(tls_client_acceptable(link_tls(a.link), &f));
	part();
	m.server_prio = V12;
	CU_ASSERT(meet(&m));
	CU_ASSERT_TRUE(tls_client_acceptable(link_tls(a.link), &f));
	part();
	CU_ASSERT_EQUAL(f.code, ERR_NONE);
	m.server_prio = NULL;
	m.client_prio = V12;
	CU_ASSERT(meet(&m));
	CU_ASSERT_FALSE(tls_client_acceptable(link_tls(a.link), &f));
	CU_ASSERT_EQUAL(f.code, ERR_ORIGIN_TLS);
	part();
	end();
}

/* What the client says: the name, unless it is an address; http/1.1. */
static void
test_client_hello(void)
{
	struct meeting m = { .name = "a.test", .no_table = true };
	gnutls_datum_t alpn;
	char name[100];
	size_t n = sizeof(name);
	unsigned type;
	gnutls_session_t s;

	begin();
	m.server = one;
	CU_ASSERT(meet(&m));
	CU_ASSERT_EQUAL(gnutls_server_name_get(link_tls(b.link), name, &n,
	    &type, 0), 0);
	CU_ASSERT_STRING_EQUAL(name, "a.test");
	CU_ASSERT_EQUAL(gnutls_alpn_get_selected_protocol(link_tls(a.link),
	    &alpn), 0);
	CU_ASSERT(alpn.size == 8 && memcmp(alpn.data, "http/1.1", 8) == 0);
	part();
	client = (struct tls_client){ .host = "192.0.2.1" };
	s = tls_client_new(one, &client, true);
	CU_ASSERT_PTR_NOT_NULL(s);
	gnutls_deinit(s);
	CU_ASSERT_PTR_EQUAL(tls_context_ref(one), one);
	tls_context_unref(&(struct tls_context *){ one });
	end();
}

static void
test_bad_files(void)
{
	struct tls_options o = { .epoch = "x", .cert = "/nonexistent",
	    .key = "/nonexistent" };
	struct fault f = { 0 };

	CU_ASSERT_PTR_NULL(tls_context_new(&o, &f));
	CU_ASSERT_EQUAL(f.code, ERR_CONFIG);
	CU_ASSERT(strstr(f.detail, "/nonexistent") != NULL);
}

UNIT_TESTS(tls_session,
    { "tickets, TLS 1.3", test_resumption_13 },
    { "tickets, TLS 1.2", test_resumption_12 },
    { "used once, and only of verified peers", test_used_once },
    { "a table of one slot", test_one_slot },
    { "versions and suites", test_versions },
    { "downgrade", test_downgrade },
    { "what the client says", test_client_hello },
    { "files that are not there", test_bad_files })
