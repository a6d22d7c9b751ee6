/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions of both legs: what is agreed on, what is refused, and which
 * tickets are good where.
 */
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "certs/leaf.h"
#include "certs/rsa.h"
#include "tls/resume.h"
#include "t/unit/tls_lab.h"
#include "t/unit/unit.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define LONG_MS 20000
#define V12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"

static struct loop *loop;
static struct tls_resume *resume;
static struct tls_context *one, *two; /* of two epochs */
static const unsigned char secrets[2][TLS_TICKET_SECRET] = { "one", "two" };
static struct lab_end a, b; /* a is the client */
static struct tls_client client;

static struct tls_context *
context_new(const char *epoch, bool client_13, bool origin_13)
{
	struct tls_options o = { .epoch = epoch,
		.client_min_13 = client_13,
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
	resume = tls_resume_new(64, 1 << 20);
}

static void
end(void)
{
	tls_context_free(&one);
	tls_context_free(&two);
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
	const char *name; /* the server's tickets are bound to it */
	const char *host; /* the client wants; NULL: name */
	uint16_t port;
	const char *server_prio, *client_prio; /* NULL: as they are */
	unsigned server_speaks, client_speaks; /* 0: http/1.1 */
	bool unverified;
	bool no_table;
};

static unsigned
speaks(unsigned protocols)
{
	return (protocols != 0 ? protocols : TLS_HTTP1);
}

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
		.port = m->port,
		.protocols = speaks(m->client_speaks) };
	snprintf(client.host, sizeof(client.host), "%s",
	    m->host != NULL ? m->host : m->name);
	c = tls_client_new(one, &client, false);
	s = tls_server_new(m->server, lab_leaf(), m->name,
	    speaks(m->server_speaks));
	CU_ASSERT_FATAL(c != NULL && s != NULL);
	if (m->server_prio != NULL)
		gnutls_priority_set_direct(s, m->server_prio, NULL);
	if (m->client_prio != NULL)
		gnutls_priority_set_direct(c, m->client_prio, NULL);
	link_start_tls(a.link, c);
	link_start_tls(b.link, s);
	a.tls = b.tls = true;
	a.paused = true; /* tickets wait until we have verified */
	CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
	if (a.shake != PULL_END)
		return (false);
	if (!m->unverified)
		tls_client_verified(&client, c, time(NULL) + LONG_MS);
	link_ticket_due(b.link);
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

/* A certificate with an RSA key of 2048 bits and the exponent 2^64 + 13, signed by nobody. */
static unsigned char long_exponent[] = { 0x30, 0x82, 0x01, 0xd7, 0x30, 0x82,
	0x01, 0x7c, 0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01, 0x30, 0x0a,
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, 0x30, 0x0c,
	0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, 0x78,
	0x30, 0x1e, 0x17, 0x0d, 0x32, 0x30, 0x30, 0x31, 0x30, 0x31, 0x30, 0x30,
	0x30, 0x30, 0x30, 0x30, 0x5a, 0x17, 0x0d, 0x34, 0x39, 0x30, 0x31, 0x30,
	0x31, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x5a, 0x30, 0x0c, 0x31, 0x0a,
	0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, 0x78, 0x30, 0x82,
	0x01, 0x28, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d,
	0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x15, 0x00, 0x30, 0x82,
	0x01, 0x10, 0x02, 0x82, 0x01, 0x01, 0x00, 0xcb, 0xb0, 0xc9, 0x89, 0x42,
	0x0f, 0x8e, 0x4e, 0xfa, 0x3c, 0xdc, 0xe7, 0x5e, 0xbb, 0xba, 0x00, 0x82,
	0xf6, 0xd0, 0x4d, 0x2a, 0xc1, 0x91, 0xb4, 0xf9, 0x5c, 0xa0, 0x67, 0xc8,
	0xda, 0xd6, 0x63, 0xe2, 0xed, 0x13, 0x76, 0x72, 0xbc, 0x32, 0x36, 0x6d,
	0xd2, 0x4c, 0x6a, 0xbe, 0x84, 0x34, 0x7d, 0x36, 0x8c, 0xed, 0xad, 0x32,
	0xf7, 0x66, 0x1f, 0x50, 0xd5, 0xd9, 0x5f, 0xca, 0xf9, 0xc1, 0xba, 0xd0,
	0x4f, 0xd7, 0x5d, 0x81, 0x04, 0x58, 0x30, 0xe5, 0x84, 0x1a, 0x9a, 0x5b,
	0x42, 0xb4, 0xca, 0x6e, 0x22, 0x25, 0x94, 0xb7, 0xfe, 0xd2, 0xa7, 0xe1,
	0xb9, 0xb7, 0x70, 0xfe, 0x3a, 0x9e, 0x3b, 0xab, 0xcb, 0x57, 0x0d, 0xd8,
	0xcc, 0x7b, 0x95, 0x48, 0x1e, 0x47, 0xbe, 0x97, 0x22, 0xca, 0xf4, 0xec,
	0x8b, 0x3c, 0x43, 0xa8, 0x05, 0x4f, 0xe9, 0xb6, 0x53, 0xaa, 0x6e, 0x34,
	0xe0, 0xf7, 0xee, 0x43, 0xec, 0xe0, 0x54, 0xf9, 0x55, 0xf1, 0xba, 0x7b,
	0x1d, 0x79, 0x4a, 0x19, 0xfb, 0x0b, 0x7f, 0x3e, 0xb4, 0xc3, 0x34, 0xb7,
	0x56, 0x00, 0xe5, 0x97, 0x8f, 0x2b, 0x8e, 0x4a, 0xe2, 0x92, 0xbe, 0xfc,
	0x4f, 0x4c, 0x01, 0xc8, 0xea, 0x15, 0x8d, 0xe0, 0xe6, 0xf5, 0xe9, 0x1c,
	0x2a, 0x3d, 0x84, 0xd0, 0xb6, 0x2b, 0x31, 0x5c, 0x47, 0x14, 0x75, 0x91,
	0x3e, 0x30, 0xf2, 0x80, 0xd1, 0x5d, 0x62, 0x47, 0x1b, 0x50, 0x18, 0xee,
	0x95, 0x08, 0x51, 0x1e, 0x56, 0xcc, 0xf0, 0x84, 0x13, 0xe8, 0xe5, 0xeb,
	0x03, 0xfd, 0xd6, 0xa3, 0x9a, 0x26, 0xce, 0xbd, 0xcd, 0x0f, 0x34, 0x21,
	0x6d, 0x32, 0xef, 0xa9, 0xb1, 0x1e, 0x49, 0xef, 0xbc, 0x32, 0x61, 0x5c,
	0xb8, 0x40, 0x4a, 0x3b, 0xbf, 0xac, 0xc3, 0xad, 0xb5, 0x47, 0x68, 0x8b,
	0xb2, 0xef, 0xa6, 0x0d, 0x26, 0x61, 0x46, 0x2b, 0x56, 0x96, 0xcf, 0x02,
	0x09, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0d, 0x30, 0x0a,
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, 0x03, 0x49,
	0x00, 0x30, 0x46, 0x02, 0x21, 0x00, 0xfb, 0xda, 0xcb, 0xcf, 0xed, 0xde,
	0x57, 0xec, 0x8f, 0x1d, 0x1b, 0x43, 0xfb, 0x2d, 0x5d, 0x21, 0x75, 0x98,
	0xef, 0x51, 0xa5, 0x1f, 0x75, 0xf0, 0x85, 0xb4, 0x7b, 0xfd, 0x1d, 0xf7,
	0x78, 0xa9, 0x02, 0x21, 0x00, 0x9c, 0x5c, 0xe9, 0x4c, 0x2b, 0xe8, 0xc5,
	0xbc, 0x1c, 0xad, 0x50, 0x44, 0x2c, 0x8d, 0xe8, 0x5d, 0x98, 0xe5, 0x5f,
	0x84, 0xdd, 0xee, 0x48, 0x1f, 0x44, 0xfd, 0xb1, 0x3e, 0xb7, 0x2f, 0x23,
	0xa8 };

static void
reject_long_exponent(void)
{
	struct leaf leaf = { .fault = { 0 } };
	gnutls_session_t c, s;
	size_t n = sizeof(long_exponent);
	int fd[2];

	CU_ASSERT_FALSE(rsa_exponents_ok(long_exponent, n));
	CU_ASSERT_TRUE(rsa_exponents_ok(long_exponent, n - 200));
	CU_ASSERT_TRUE(rsa_exponents_ok((const unsigned char *)"", 0));
	begin();
	leaf = *lab_leaf();
	leaf.chain[0].cert = (gnutls_datum_t){ long_exponent, (unsigned)n };
	lab_tcp(fd);
	lab_end_init(&a, loop, fd[0], 0);
	lab_end_init(&b, loop, fd[1], 1);
	client = (struct tls_client){ .host = "a.test",
		.port = 443,
		.protocols = TLS_HTTP1 };
	c = tls_client_new(one, &client, false);
	s = tls_server_new(one, &leaf, "a.test", TLS_HTTP1);
	CU_ASSERT_FATAL(c != NULL && s != NULL);
	link_start_tls(a.link, c);
	link_start_tls(b.link, s);
	a.tls = b.tls = true;
	CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
	CU_ASSERT_EQUAL(a.shake, PULL_FAIL);
	CU_ASSERT_PTR_NOT_NULL(strstr(link_error(a.link), "public key"));
	part();
	end();
}

/* Cut anywhere, and damaged: answered within its bytes, which are its own. */
static void
exponent_damage(void)
{
	const size_t all = sizeof(long_exponent);
	unsigned char *p;
	size_t n;
	unsigned i, whole = 0; /* cuts behind the key */

	for (n = 0; n < all; n++) {
		p = malloc(n + 1);
		memcpy(p, long_exponent, n);
		whole += !rsa_exponents_ok(p, n);
		CU_ASSERT(whole == 0 || !rsa_exponents_ok(p, n));
		free(p);
	}
	CU_ASSERT(whole > 70 && whole < 100); /* the signature */
	for (i = 0; i < 2000; i++) {
		p = malloc(all);
		memcpy(p, long_exponent, all);
		p[unit_random((unsigned)all)] ^= (unsigned char)(1 +
		    unit_random(255));
		p[unit_random((unsigned)all)] = (unsigned char)unit_random(256);
		(void)rsa_exponents_ok(p, all);
		free(p);
	}
}

static void
test_long_exponent(void)
{
	exponent_damage();
	reject_long_exponent();
}

/* A ticket that a resumed session brought is not good for longer than the first. */
static void
test_resumed_no_longer(void)
{
	struct meeting m;
	uint64_t until;

	begin();
	m = (struct meeting){ .server = one, .name = "a.test", .port = 443 };
	CU_ASSERT_FALSE(resumed(&m));
	until = client.until;
	CU_ASSERT_TRUE(until > (uint64_t)time(NULL));
	usleep(1100000);
	CU_ASSERT_TRUE(resumed(&m));
	CU_ASSERT_EQUAL(client.until, until);
	CU_ASSERT_TRUE(resumed(&m));
	CU_ASSERT_EQUAL(client.until, until);
	end();
}

static void
resumption(const char *prio)
{
	struct meeting first, same, other_name, other_epoch, other_port,
	    other_host, none;

	begin();
	first = same = (struct meeting){ .server = one,
		.name = "a.test",
		.port = 443,
		.server_prio = prio };
	CU_ASSERT_FALSE(resumed(&first));
	CU_ASSERT_TRUE(resumed(&same));
	CU_ASSERT_TRUE(resumed(&same) || prio != NULL);

	other_name = same; /* our server was asked for another name */
	other_name.name = "b.test";
	other_name.host = "a.test";
	(void)resumed(&first);
	CU_ASSERT_FALSE(resumed(&other_name));
	tls_resume_free(&resume);
	resume = tls_resume_new(64, 1 << 20);
	(void)resumed(&first);
	other_epoch = same;
	other_epoch.server = two;
	CU_ASSERT_FALSE(resumed(&other_epoch));

	/* With the secret of another process, and with its own again. */
	tls_ticket_secret(secrets[0]);
	(void)resumed(&first);
	tls_ticket_secret(secrets[1]);
	CU_ASSERT_FALSE(resumed(&same));
	tls_resume_free(&resume);
	resume = tls_resume_new(64, 1 << 20);
	(void)resumed(&first);
	tls_ticket_secret(secrets[0]);
	tls_ticket_secret(secrets[1]);
	CU_ASSERT_TRUE(resumed(&same));

	tls_resume_free(&resume);
	resume = tls_resume_new(64, 1 << 20);
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
	struct meeting m = { .name = "a.test",
		.port = 443,
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
	struct meeting x = { .name = "x.test", .port = 1 },
		       y = { .name = "y.test", .port = 1 };

	begin();
	tls_resume_free(&resume);
	resume = tls_resume_new(1, 1 << 20);
	x.server = y.server = one;
	CU_ASSERT_FALSE(resumed(&x));
	CU_ASSERT_FALSE(resumed(&y));
	CU_ASSERT_TRUE(resumed(&y));
	CU_ASSERT_FALSE(resumed(&x));
	end();
}

/* A ticket of n bytes, each v. */
static void
keep(struct tls_resume *t, const char *host, size_t n, unsigned char v)
{
	gnutls_datum_t d = { gnutls_malloc(n), (unsigned)n };

	memset(d.data, v, n);
	tls_resume_keep(t, host, 443, &d, 1000);
}

static bool
takes(struct tls_resume *t, const char *host, unsigned char want)
{
	gnutls_datum_t d = { NULL, 0 };
	uint64_t until = 0;
	bool found = tls_resume_take(t, host, 443, 999, &d, &until);

	CU_ASSERT(!found || (until == 1000 && d.data[d.size - 1] == want));
	gnutls_free(d.data);
	return (found);
}

/* An origin's chain is in its tickets: the table is bounded by their bytes. */
static void
test_ticket_bytes(void)
{
	enum { BOUND = 100000, BIG = TLS_RESUME_TICKET_MAX };
	struct tls_resume *t = tls_resume_new(4096, BOUND);
	char host[32];
	unsigned i;

	for (i = 0; i < 20000; i++) {
		(void)snprintf(host, sizeof(host), "h%u.example", i % 5000);
		keep(t, host, 1 + unit_random(BIG), (unsigned char)i);
		CU_ASSERT(tls_resume_bytes(t) <= BOUND);
		CU_ASSERT_TRUE(i % 7 != 0 || takes(t, host, (unsigned char)i));
		if (i % 100 == 0)
			keep(t, "used.example", 100, 7);
	}
	CU_ASSERT(tls_resume_bytes(t) > BOUND / 2);
	keep(t, "big.example", BIG + 1, 1);
	CU_ASSERT_FALSE(takes(t, "big.example", 1));
	keep(t, "big.example", BIG, 1);
	keep(t, "big.example", BIG, 2);
	keep(t, "big.example", BIG, 3);
	keep(t, "big.example", BIG + 1, 4);
	CU_ASSERT_TRUE(takes(t, "big.example", 3));
	CU_ASSERT_TRUE(takes(t, "big.example", 2));
	CU_ASSERT_FALSE(takes(t, "big.example", 1)); /* two a host */
	tls_resume_free(&t);
	t = tls_resume_new(16, 1000);
	keep(t, "a.example", 1001, 1);
	CU_ASSERT_EQUAL(tls_resume_bytes(t), 0);
	keep(t, "a.example", 600, 2);
	keep(t, "b.example", 600, 3); /* the older one goes */
	CU_ASSERT_EQUAL(tls_resume_bytes(t), 600);
	CU_ASSERT_FALSE(takes(t, "a.example", 2));
	CU_ASSERT_TRUE(takes(t, "b.example", 3));
	CU_ASSERT_EQUAL(tls_resume_bytes(t), 0);
	tls_resume_free(&t);
}

/* --- what is agreed on --- */

static void
test_versions(void)
{
	static const struct {
		const char *client, *server, *version; /* NULL: refused */
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
		{ NULL, V12 ":-CIPHER-ALL:+AES-256-CBC", "1.2", false },
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
	tls_context_free(&only_13);
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

/* Both say what they speak; what both do is agreed on, the newer first. */
static void
test_protocols(void)
{
	static const struct {
		unsigned server, client, agreed;
	} is[] = { { TLS_HTTP1, TLS_HTTP1, TLS_HTTP1 },
		{ TLS_HTTP1 | TLS_H2, TLS_HTTP1, TLS_HTTP1 },
		{ TLS_HTTP1, TLS_HTTP1 | TLS_H2, TLS_HTTP1 },
		{ TLS_HTTP1 | TLS_H2, TLS_HTTP1 | TLS_H2, TLS_H2 },
		{ TLS_H2, TLS_HTTP1, 0 } };
	struct meeting m = { .name = "a.test", .no_table = true };
	struct fault f = { 0 };
	unsigned i;

	begin();
	m.server = one;
	for (i = 0; i < sizeof(is) / sizeof(is[0]); i++) {
		m.server_speaks = is[i].server;
		m.client_speaks = is[i].client;
		CU_ASSERT(meet(&m));
		CU_ASSERT_EQUAL(tls_agreed(link_tls(a.link)), is[i].agreed);
		CU_ASSERT_EQUAL(tls_agreed(link_tls(b.link)), is[i].agreed);
		CU_ASSERT_TRUE(tls_client_acceptable(link_tls(a.link), &f));
		part();
	}
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
			    &type, 0),
	    0);
	CU_ASSERT_STRING_EQUAL(name, "a.test");
	CU_ASSERT_EQUAL(gnutls_alpn_get_selected_protocol(link_tls(a.link),
			    &alpn),
	    0);
	CU_ASSERT(alpn.size == 8 && memcmp(alpn.data, "http/1.1", 8) == 0);
	part();
	client = (struct tls_client){ .host = "192.0.2.1" };
	s = tls_client_new(one, &client, true);
	CU_ASSERT_PTR_NOT_NULL(s);
	gnutls_deinit(s);
	end();
}

static void
test_bad_files(void)
{
	struct tls_options o = { .epoch = "x",
		.cert = "/nonexistent",
		.key = "/nonexistent" };
	struct fault f = { 0 };

	CU_ASSERT_PTR_NULL(tls_context_new(&o, &f));
	CU_ASSERT_EQUAL(f.code, ERR_CONFIG);
	CU_ASSERT(strstr(f.detail, "/nonexistent") != NULL);
}

UNIT_TESTS(tls_session, { "tickets, TLS 1.3", test_resumption_13 },
    { "tickets, TLS 1.2", test_resumption_12 },
    { "used once, and only of verified peers", test_used_once },
    { "resumed, but no longer than verified", test_resumed_no_longer },
    { "an RSA key with a long exponent", test_long_exponent },
    { "a table of one slot", test_one_slot },
    { "bytes of tickets", test_ticket_bytes },
    { "versions and suites", test_versions }, { "downgrade", test_downgrade },
    { "protocols inside", test_protocols },
    { "what the client says", test_client_hello },
    { "files that are not there", test_bad_files })
