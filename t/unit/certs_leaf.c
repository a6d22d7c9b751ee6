/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leaves: what is in them, what strict verifiers think of them, a handshake
 * with them, and the cache that workers wait on.
 */
#include <gnutls/gnutls.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/list.h"
#include "certs/leaf.h"
#include "t/unit/certs_make.h"

#define DAY 86400
#define SIGN_CERTS (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
#define M(...)               \
	&(const struct make) \
	{                    \
		__VA_ARGS__  \
	}

static struct made made;
static struct ca *ca;

static void
ca_begin(const struct make *m, unsigned days)
{
	struct fault f = { ERR_NONE, "" };

	made = make_cert(m, NULL);
	ca = ca_open(&(struct ca_options){ make_cert_file("ca.pem", &made),
			 make_key_file("ca.key", &made), false, days, NULL,
			 false },
	    &f);
	if (ca == NULL) {
		printf("Bail out! %s\n", f.detail);
		exit(99);
	}
}

static void
ca_end(void)
{
	ca_unref(&ca);
	made_free(&made);
}

#define CA_EC \
	M(.cn = "test CA", .ca = 1, .usage = SIGN_CERTS, .from = -1, .to = 3000)
#define CA_RSA                                                           \
	M(.cn = "test CA", .ca = 1, .usage = SIGN_CERTS, .key = KEY_RSA, \
	    .from = -1, .to = 3000)
#define LABEL "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"

static const char *const hosts[] = { "a.example", "127.0.0.1", "2001:db8::1",
	"xn--n1aae7f7o.example", "_x.a_b.example", "-a.b-.example", "localhost",
	LABEL "." LABEL ".example",
	LABEL "." LABEL "." LABEL "." LABEL
	      ".0123456789012345678901234567890.example" };

/* Write the chain and have openssl and certtool judge it. */
static void
judge(const struct leaf *l)
{
	char path[200], command[900];
	gnutls_datum_t pem;
	FILE *f;
	unsigned i;

	(void)snprintf(path, sizeof(path), "%s", make_path("leaf.pem"));
	f = fopen(path, "w");
	for (i = 0; f != NULL && i < l->n; i++) {
		gnutls_pem_base64_encode2("CERTIFICATE", &l->chain[i].cert,
		    &pem);
		fwrite(pem.data, 1, pem.size, f);
		gnutls_free(pem.data);
	}
	if (f != NULL)
		(void)fclose(f);
	(void)snprintf(command, sizeof(command),
	    "cd %s; "
	    "! command -v openssl >/dev/null || "
	    "openssl verify -x509_strict -purpose sslserver -CAfile ca.pem "
	    "-untrusted leaf.pem leaf.pem >judge.log 2>&1",
	    make_folder());
	CU_ASSERT_EQUAL(system(command), 0);
	(void)snprintf(command, sizeof(command),
	    "cd %s; "
	    "! command -v certtool >/dev/null || "
	    "certtool --verify --load-ca-certificate ca.pem "
	    "--infile leaf.pem >judge.log 2>&1",
	    make_folder());
	CU_ASSERT_EQUAL(system(command), 0);
}

static void
extension(gnutls_x509_crt_t crt, const char *oid, bool want_critical)
{
	unsigned char data[512];
	unsigned critical = 2;
	size_t n = sizeof(data);

	CU_ASSERT(gnutls_x509_crt_get_extension_by_oid(crt, oid, 0, data, &n,
		      &critical) >= 0);
	CU_ASSERT_EQUAL(critical, want_critical);
}

static void
contents(const struct leaf *l, const char *host)
{
	gnutls_x509_crt_t crt;
	char text[300];
	unsigned char id[64], serial[64];
	unsigned is_ca, usage, critical;
	size_t n;
	time_t now = time(NULL), from, to;
	int i;

	gnutls_x509_crt_init(&crt);
	CU_ASSERT(gnutls_x509_crt_import(crt, &l->chain[0].cert,
		      GNUTLS_X509_FMT_DER) >= 0);
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_version(crt), 3);
	n = sizeof(serial);
	gnutls_x509_crt_get_serial(crt, serial, &n);
	CU_ASSERT(n == 16 && (serial[0] & 0x80) == 0);
	from = gnutls_x509_crt_get_activation_time(crt);
	to = gnutls_x509_crt_get_expiration_time(crt);
	CU_ASSERT(from <= now - 3590 && from >= now - 3700);
	CU_ASSERT(to - from == 14 * DAY && to == l->expiry);
	extension(crt, GNUTLS_X509EXT_OID_BASIC_CONSTRAINTS, true);
	extension(crt, GNUTLS_X509EXT_OID_KEY_USAGE, true);
	extension(crt, GNUTLS_X509EXT_OID_EXTENDED_KEY_USAGE, false);
	extension(crt, GNUTLS_X509EXT_OID_SAN, false);
	CU_ASSERT(gnutls_x509_crt_get_basic_constraints(crt, &critical, &is_ca,
		      NULL) >= 0 &&
	    !is_ca);
	CU_ASSERT(gnutls_x509_crt_get_key_usage(crt, &usage, NULL) >= 0 &&
	    usage == GNUTLS_KEY_DIGITAL_SIGNATURE);
	n = sizeof(text);
	CU_ASSERT(
	    gnutls_x509_crt_get_key_purpose_oid(crt, 0, text, &n, NULL) >= 0 &&
	    strcmp(text, GNUTLS_KP_TLS_WWW_SERVER) == 0);
	n = sizeof(id);
	CU_ASSERT(gnutls_x509_crt_get_authority_key_id(crt, id, &n, NULL) >= 0);
	n = sizeof(id);
	CU_ASSERT(gnutls_x509_crt_get_subject_key_id(crt, id, &n, NULL) >= 0);
	n = sizeof(text);
	i = gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
	    0, text, &n);
	CU_ASSERT_EQUAL(i >= 0, strlen(host) <= 64);
	CU_ASSERT(i < 0 || strcmp(text, host) == 0);
	CU_ASSERT(gnutls_x509_crt_check_hostname(crt, host));
	for (i = 0; i < 20; i++)
		if (gnutls_x509_crt_get_extension_info(crt, (unsigned)i, text,
			&(size_t){ sizeof(text) }, NULL) < 0)
			break;
	CU_ASSERT_EQUAL(i, 6); /* and nothing else */
	gnutls_x509_crt_deinit(crt);
}

static void
test_contents(void)
{
	struct leaf_cache *c;
	struct leaf *l;
	struct fault f = { ERR_NONE, "" };
	unsigned kind, i;

	for (kind = 0; kind < 2; kind++) {
		ca_begin(kind == 0 ? CA_EC : CA_RSA, 14);
		c = leaf_cache_new(ca, 10, NULL);
		for (i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
			l = leaf_mint(c, hosts[i], false, &f);
			CU_ASSERT_PTR_NOT_NULL_FATAL(l);
			contents(l, hosts[i]);
			judge(l);
			leaf_unref(&l);
		}
		leaf_cache_free(&c);
		ca_end();
	}
}

static void
test_bad_hosts(void)
{
	static const char *const bad[] = { "", ".", "a..b", "*.a.example",
		"A.example", "a.example.", "1.2.3", "[::1]", "a b", "a\001b",
		"<script>", "a/b", "a?b", "a;b" };
	struct leaf_cache *c;
	struct leaf_wait w = { 0 };
	struct fault f;
	char longest[400];
	unsigned i;

	ca_begin(CA_EC, 14);
	c = leaf_cache_new(ca, 10, NULL);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		const char *host = i == sizeof(bad) / sizeof(bad[0]) ? longest
								     : bad[i];
		memset(&f, 0, sizeof(f));
		CU_ASSERT_FALSE(leaf_host_ok(host));
		CU_ASSERT_PTR_NULL(leaf_mint(c, host, false, &f));
		CU_ASSERT_EQUAL(f.code, ERR_MINT);
		CU_ASSERT_TRUE(leaf_start(c, NULL, host, 0, &w));
		CU_ASSERT_EQUAL(w.fault.code, ERR_MINT);
	}
	leaf_cache_free(&c);
	ca_end();
}

static time_t
life(unsigned leaf_days, int ca_days)
{
	struct fault f = { ERR_NONE, "" };
	struct leaf_cache *c;
	struct leaf *l;
	time_t t;

	ca_begin(M(.cn = "test CA", .ca = 1, .from = -30, .to = ca_days),
	    leaf_days);
	c = leaf_cache_new(ca, 10, NULL);
	l = leaf_mint(c, "a.example", false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	CU_ASSERT(l->expiry <= ca_not_after(ca));
	CU_ASSERT(l->value.fresh_until < l->expiry);
	t = l->expiry - (time(NULL) - 3600);
	leaf_unref(&l);
	leaf_cache_free(&c);
	ca_end();
	return ((t + 60) / DAY);
}

static void
test_dates(void)
{
	CU_ASSERT_EQUAL(life(14, 3000), 14);
	CU_ASSERT_EQUAL(life(1, 3000), 1);
	CU_ASSERT_EQUAL(life(2000, 3000), 398);
	CU_ASSERT_EQUAL(life(14, 5), 5);
}

static void
test_serials(void)
{
	struct fault f = { ERR_NONE, "" };
	struct leaf_cache *c;
	struct leaf *a, *b;

	ca_begin(CA_EC, 14);
	c = leaf_cache_new(ca, 10, NULL);
	a = leaf_mint(c, "a.example", false, &f);
	b = leaf_mint(c, "a.example", false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	/* version 5 bytes, then the serial number */
	CU_ASSERT(memcmp(a->der + 4 + 4 + 5, b->der + 4 + 4 + 5, 18) != 0);
	CU_ASSERT_PTR_EQUAL(a->key, b->key);
	leaf_unref(&a);
	leaf_unref(&b);
	leaf_cache_free(&c);
	ca_end();
}

/* A handshake with a leaf given as leaf.h says. */
static struct leaf *serving;

static int
retrieve(gnutls_session_t s, const struct gnutls_cert_retr_st *info,
    gnutls_pcert_st **certs, unsigned *n, gnutls_ocsp_data_st **ocsp,
    unsigned *ocsp_n, gnutls_privkey_t *key, unsigned *flags)
{
	(void)s;
	(void)info;
	(void)ocsp;
	*certs = serving->chain;
	*n = serving->n;
	*ocsp_n = 0;
	*key = serving->key;
	*flags = 0;
	return (0);
}

static gnutls_session_t
session(unsigned flags, int fd, gnutls_certificate_credentials_t cred,
    const char *priority)
{
	gnutls_session_t s;

	gnutls_init(&s, flags | GNUTLS_NONBLOCK);
	CU_ASSERT(gnutls_priority_set_direct(s, priority, NULL) >= 0);
	gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, cred);
	gnutls_transport_set_int(s, fd);
	return (s);
}

static void
handshake(const char *priority, bool trusted)
{
	gnutls_certificate_credentials_t sc, cc;
	gnutls_session_t s, c;
	int fd[2], i, rs = GNUTLS_E_AGAIN, rc = GNUTLS_E_AGAIN;

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd),
	    0);
	gnutls_certificate_allocate_credentials(&sc);
	gnutls_certificate_set_retrieve_function3(sc, retrieve);
	gnutls_certificate_allocate_credentials(&cc);
	gnutls_certificate_set_x509_trust_file(cc, make_path("ca.pem"),
	    GNUTLS_X509_FMT_PEM);
	s = session(GNUTLS_SERVER, fd[0], sc, priority);
	c = session(GNUTLS_CLIENT, fd[1], cc, priority);
	gnutls_session_set_verify_cert(c, "a.example", 0);
	gnutls_server_name_set(c, GNUTLS_NAME_DNS, "a.example", 9);
	for (i = 0; i < 100 && (rs != 0 || rc != 0); i++) {
		if (rc == GNUTLS_E_AGAIN)
			rc = gnutls_handshake(c);
		if (rs == GNUTLS_E_AGAIN)
			rs = gnutls_handshake(s);
	}
	CU_ASSERT_EQUAL(rc,
	    trusted ? 0 : GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR);
	CU_ASSERT(!trusted || rs == 0);
	gnutls_deinit(c);
	gnutls_deinit(s);
	gnutls_certificate_free_credentials(sc);
	gnutls_certificate_free_credentials(cc);
	close(fd[0]);
	close(fd[1]);
}

static void
test_handshake(void)
{
	struct fault f = { ERR_NONE, "" };
	struct leaf_cache *c;
	unsigned kind, which;
	bool trusted;

	for (kind = 0; kind < 2; kind++) {
		ca_begin(kind == 0 ? CA_EC : CA_RSA, 14);
		c = leaf_cache_new(ca, 10, NULL);
		for (which = 0; which <= (LEAF_UNTRUSTED | LEAF_RSA); which++) {
			serving = leaf_mint(c, "a.example", which, &f);
			CU_ASSERT_PTR_NOT_NULL_FATAL(serving);
			trusted = (which & LEAF_UNTRUSTED) == 0;
			handshake("NORMAL:-VERS-ALL:+VERS-TLS1.3", trusted);
			handshake("NORMAL:-VERS-ALL:+VERS-TLS1.2", trusted);
			handshake((which & LEAF_RSA) != 0
				? "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+"
				  "ECDHE-RSA"
				: "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:"
				  "+ECDHE-ECDSA",
			    trusted);
			leaf_unref(&serving);
		}
		leaf_cache_free(&c);
		ca_end();
	}
}

/* The cache on a loop. */
struct waits {
	struct task task;
	struct leaf_wait w[4];
	unsigned until;
};

static void
on_wake(struct task *t)
{
	struct waits *x = CONTAINER_OF(t, struct waits, task);
	unsigned i, done = 0;

	for (i = 0; i < 4; i++)
		done += x->w[i].done;
	if (done >= x->until)
		loop_stop(t->loop);
}

static void
tick_stop(struct timer *t)
{
	loop_stop(t->loop);
}

static void
run_for(struct loop *l, unsigned ms)
{
	struct timer t;

	timer_init(&t, l, tick_stop);
	timer_set(&t, ms);
	loop_run(l);
	timer_stop(&t);
}

static void
test_cache(void)
{
	struct job_pool *pool = job_pool_new("sign", 2);
	struct loop *l = loop_new();
	struct waits x = { .until = 3 };
	struct leaf_stats s;
	struct leaf_cache *c;
	struct leaf *leaf;
	unsigned i;

	ca_begin(CA_EC, 14);
	c = leaf_cache_new(ca, 2, pool);
	task_init(&x.task, l, on_wake);
	for (i = 0; i < 4; i++)
		x.w[i].wake = &x.task;
	kill(holder_pid(ca_keyholder(ca)), SIGSTOP);
	CU_ASSERT_FALSE(leaf_start(c, l, "a.example", 0, &x.w[0]));
	CU_ASSERT_TRUE(leaf_start(c, l, "a.example", LEAF_UNTRUSTED, &x.w[1]));
	CU_ASSERT_FALSE(leaf_start(c, l, "127.0.0.1", 0, &x.w[2]));
	CU_ASSERT_FALSE(leaf_start(c, l, "b.example", 0, &x.w[3]));
	leaf_cancel(&x.w[3]);
	kill(holder_pid(ca_keyholder(ca)), SIGCONT);
	loop_run(l);
	for (i = 0; i < 3; i++) {
		CU_ASSERT(x.w[i].done && x.w[i].leaf != NULL);
		CU_ASSERT_EQUAL(x.w[i].fault.code, ERR_NONE);
	}
	CU_ASSERT_FALSE(x.w[3].done);
	CU_ASSERT(x.w[0].leaf != x.w[1].leaf);
	for (i = 0; i < 4; i++)
		leaf_cancel(&x.w[i]);
	run_for(l, 20);
	leaf_cache_stats(c, &s);
	CU_ASSERT_EQUAL(s.entries, 2); /* bound */
	CU_ASSERT_EQUAL(s.minted, 4);
	x.until = 1;
	if (!leaf_start(c, l, "z.example", 0, &x.w[0]))
		loop_run(l);
	CU_ASSERT_TRUE(leaf_start(c, l, "z.example", 0, &x.w[1]));
	leaf = x.w[1].leaf;
	CU_ASSERT_PTR_EQUAL(leaf, x.w[0].leaf);
	leaf_cancel(&x.w[0]);
	leaf_cache_free(&c); /* the leaf outlives its cache */
	run_for(l, 20);
	ca_end();
	CU_ASSERT_EQUAL(leaf->n, 1);
	leaf_unref(&leaf);
	job_pool_free(&pool);
	loop_free(&l);
}

/* Made while the loop waits, and kept. */
static void
test_at_once(void)
{
	struct job_pool *pool = job_pool_new("sign", 1);
	struct loop *l = loop_new();
	struct leaf_wait w = { .wake = NULL }, again = { .wake = NULL };
	struct leaf_cache *c;

	ca_begin(CA_EC, 14);
	holder_patience(ca_keyholder(ca), 4000000);
	c = leaf_cache_new(ca, 100, pool);
	CU_ASSERT_TRUE(leaf_start(c, l, "a.example", 0, &w));
	CU_ASSERT_PTR_NOT_NULL(w.leaf);
	CU_ASSERT_TRUE(leaf_start(c, l, "a.example", 0, &again));
	CU_ASSERT_PTR_EQUAL(again.leaf, w.leaf);
	leaf_cancel(&again);
	leaf_cancel(&w);
	leaf_cache_free(&c);
	ca_end();
	job_pool_free(&pool);
	loop_free(&l);
}

/* RSA leaves have places of their own, beside those with the EC key. */
static void
test_rsa_leaf(void)
{
	struct job_pool *pool = job_pool_new("sign", 1);
	struct loop *l = loop_new();
	struct waits x = { .until = 1 };
	struct leaf *ec, *rsa;
	struct leaf_cache *c;
	struct leaf_stats st;

	ca_begin(CA_EC, 14);
	holder_patience(ca_keyholder(ca), 4000000);
	c = leaf_cache_new(ca, 10, pool);
	task_init(&x.task, l, on_wake);
	x.w[0].wake = &x.task;
	if (!leaf_start(c, l, "a.example", LEAF_RSA, &x.w[0]))
		loop_run(l);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rsa = x.w[0].leaf);
	CU_ASSERT_EQUAL(gnutls_privkey_get_pk_algorithm(rsa->key, NULL),
	    GNUTLS_PK_RSA);
	CU_ASSERT_TRUE(leaf_start(c, l, "a.example", 0, &x.w[1]));
	CU_ASSERT_PTR_NOT_NULL_FATAL(ec = x.w[1].leaf);
	CU_ASSERT_EQUAL(gnutls_privkey_get_pk_algorithm(ec->key, NULL),
	    GNUTLS_PK_EC);
	CU_ASSERT_TRUE(leaf_start(c, l, "a.example", LEAF_RSA, &x.w[2]));
	CU_ASSERT_PTR_EQUAL(x.w[2].leaf, rsa);
	CU_ASSERT_TRUE(leaf_start(c, l, "b.example", LEAF_RSA, &x.w[3]));
	CU_ASSERT_PTR_EQUAL(x.w[3].leaf->key, rsa->key);
	leaf_cache_stats(c, &st);
	CU_ASSERT_EQUAL(st.minted, 3);
	leaf_cancel(&x.w[0]);
	leaf_cancel(&x.w[1]);
	leaf_cancel(&x.w[2]);
	leaf_cancel(&x.w[3]);
	task_fini(&x.task);
	leaf_cache_free(&c);
	ca_end();
	job_pool_free(&pool);
	loop_free(&l);
}

/* No key any more: who waits gets the reason, and the next one a leaf. */
static void
test_failure(void)
{
	struct job_pool *pool = job_pool_new("sign", 1);
	struct loop *l = loop_new();
	struct waits x = { .until = 1 };
	struct leaf_cache *c;

	ca_begin(CA_EC, 14);
	c = leaf_cache_new(ca, 10, pool);
	task_init(&x.task, l, on_wake);
	x.w[0].wake = &x.task;
	unlink(make_path("ca.key"));
	kill(holder_pid(ca_keyholder(ca)), SIGKILL);
	CU_ASSERT_FALSE(leaf_start(c, l, "a.example", 0, &x.w[0]));
	loop_run(l);
	CU_ASSERT_PTR_NULL(x.w[0].leaf);
	CU_ASSERT_EQUAL(x.w[0].fault.code, ERR_MINT);
	make_key_file("ca.key", &made);
	usleep(1100000); /* restarts are paced */
	CU_ASSERT_FALSE(leaf_start(c, l, "a.example", 0, &x.w[0]));
	loop_run(l);
	CU_ASSERT_PTR_NOT_NULL(x.w[0].leaf);
	leaf_cancel(&x.w[0]);
	leaf_cache_free(&c);
	run_for(l, 20);
	ca_end();
	job_pool_free(&pool);
	loop_free(&l);
}

CERTS_MAIN(certs_leaf, { "contents", test_contents },
    { "hosts that are refused", test_bad_hosts }, { "dates", test_dates },
    { "serial numbers", test_serials }, { "handshakes", test_handshake },
    { "cache", test_cache }, { "at once", test_at_once },
    { "RSA leaves", test_rsa_leaf }, { "failure", test_failure })
