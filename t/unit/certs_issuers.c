/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Issuers that origins forgot to send.  A thread is the process that fetches:
 * it has what is published under each URL.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/channel.h"
#include "base/sealed.h"
#include "base/thread.h"
#include "certs/issuers.h"
#include "certs/verify.h"
#include "fetch/wire_priv.h"
#include "t/unit/certs_make.h"

#define SIGN_CERTS (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
#define CA_WITH(...) .ca = 1, .usage = SIGN_CERTS, __VA_ARGS__
#define LEAF_WITH(...)                             \
	.cn = "a.example", .dns = { "a.example" }, \
	.usage = GNUTLS_KEY_DIGITAL_SIGNATURE, __VA_ARGS__

/* What is published. */
static struct page {
	const char *url;
	gnutls_datum_t octets;
	atomic_uint asked;
} pages[8];
static unsigned n_pages;
static atomic_bool hold;
static atomic_uint asked_at_all;

static struct page *
publish(const char *url, const gnutls_datum_t *octets)
{
	pages[n_pages].url = url;
	pages[n_pages].octets = *octets;
	pages[n_pages].asked = 0;
	return (&pages[n_pages++]);
}

static struct page *
page_of(const char *url)
{
	unsigned i;

	for (i = 0; i < n_pages; i++)
		if (strcmp(pages[i].url, url) == 0)
			return (&pages[i]);
	return (NULL);
}

static void
reply(int fd, const struct wire_ask *a)
{
	struct page *p = page_of(a->url);
	struct wire_say s = { .op = WIRE_RESULT,
		.id = a->id,
		.outcome = p != NULL ? FETCH_DONE : FETCH_STATUS,
		.status = p != NULL ? 200 : 404,
		.size = p != NULL ? p->octets.size : 0,
		.fresh_s = -1 };
	int memory = p == NULL
	    ? -1
	    : sealed_new("page", p->octets.data, p->octets.size);

	asked_at_all++;
	if (p != NULL)
		p->asked++;
	if (p == NULL)
		strcpy(s.why, "status 404");
	while (hold)
		usleep(1000);
	(void)channel_send(fd, &s, sizeof(s), &memory, p != NULL, 20000);
	if (memory >= 0)
		close(memory);
}

static void *
process(void *arg)
{
	int fd = *(int *)arg, fds[CHANNEL_FDS];
	struct wire_ask a;
	unsigned n;

	while (channel_recv(fd, &a, sizeof(a), fds, &n, 60000) == CHANNEL_DONE)
		if (a.op == WIRE_START)
			reply(fd, &a);
	close(fd);
	return (NULL);
}

/* Who verifies. */

static struct loop *loop;
static struct fetch *fetch;
static struct issuers *issuers;
static struct trust *trust;
static struct job_pool *pool;
static struct verifier *verifier;
static struct made root;
static pthread_t thread;
static int process_fd;

static void
begin(bool fetches)
{
	static const struct make root_of = { CA_WITH(.cn = "root") };
	const struct fetch_events none = { 0 };
	const char *files[2] = { NULL };
	struct verify_options o = { .max_entries = 16 };
	struct fault f = { 0 };
	int pair[2];

	n_pages = 0;
	asked_at_all = 0;
	root = make_cert(&root_of, NULL);
	files[0] = make_cert_file("root.pem", &root);
	trust = trust_open(files, NULL, NULL, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(trust);
	loop = loop_new();
	pool = job_pool_new("crypto", 1);
	fetch = fetch_new(loop, &none);
	CU_ASSERT_TRUE(channel_pair(pair));
	fetch_attach(fetch, pair[0]);
	process_fd = pair[1];
	CU_ASSERT_EQUAL(thread_start(&thread, "process", process, &process_fd),
	    0);
	issuers = issuers_new(fetch, 16);
	o.trust = trust;
	o.pool = pool;
	o.issuers = fetches ? issuers : NULL;
	verifier = verifier_new(&o);
}

static void
end(void)
{
	fetch_free(&fetch);
	pthread_join(thread, NULL);
	loop_settle(loop);
	verifier_free(&verifier);
	issuers_unref(&issuers);
	job_pool_free(&pool);
	loop_free(&loop);
	trust_unref(&trust);
	made_free(&root);
}

struct want {
	struct task task;
	struct verify_wait wait;
};

static void
on_done(struct task *t)
{
	loop_stop(t->loop);
}

static void
start(struct want *x, const struct verify_chain *c)
{
	task_init(&x->task, loop, on_done);
	x->wait.wake = &x->task;
	(void)verify_start(verifier, loop, "a.example", c, &x->wait);
}

static bool
finish(struct want *x)
{
	while (!x->wait.done)
		loop_run(loop);
	verify_cancel(&x->wait);
	task_fini(&x->task);
	return (x->wait.ok);
}

/* The chain without what is missing.  True: good; why: else. */
static bool
is_good(const struct made *leaf, const char **why)
{
	static struct want x;
	struct verify_chain c = { .certs = &leaf->der, .n = 1 };

	memset(&x, 0, sizeof(x));
	start(&x, &c);
	*why = x.wait.fault.detail;
	return (finish(&x));
}

static bool
has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		printf("# \"%s\" is not in \"%s\"\n", part, text);
	return (strstr(text, part) != NULL);
}

#define INTER_URL "http://ca.test/inter.cer"
static const struct make inter_of = { CA_WITH(.cn = "inter") };
static const struct make leaf_of = { LEAF_WITH(.aia = INTER_URL) };

static void
test_fetched(void)
{
	struct made inter, leaf, other;
	const char *why;
	struct page *p;

	begin(true);
	inter = make_cert(&inter_of, &root);
	leaf = make_cert(&leaf_of, &inter);
	other = make_cert(&leaf_of, &inter);
	p = publish(INTER_URL, &inter.der);
	CU_ASSERT_TRUE(is_good(&leaf, &why));
	CU_ASSERT_TRUE(is_good(&leaf, &why));
	CU_ASSERT_TRUE(is_good(&other, &why)); /* of the same issuer */
	CU_ASSERT_EQUAL(p->asked, 1);
	end();
	begin(false);
	CU_ASSERT_FALSE(is_good(&leaf, &why));
	CU_ASSERT_EQUAL(asked_at_all, 0);
	end();
	made_free(&inter);
	made_free(&leaf);
	made_free(&other);
}

/* It is not to be had: the refusal says so, and it is not tried at once again. */
static void
test_absent(void)
{
	struct made inter, leaf;
	const char *why;

	begin(true);
	inter = make_cert(&inter_of, &root);
	leaf = make_cert(&leaf_of, &inter);
	CU_ASSERT_FALSE(is_good(&leaf, &why));
	CU_ASSERT_TRUE(has(why, "is not trusted"));
	CU_ASSERT_TRUE(has(why, "status 404"));
	CU_ASSERT_FALSE(is_good(&leaf, &why));
	CU_ASSERT_EQUAL(asked_at_all, 1);
	end();
	made_free(&inter);
	made_free(&leaf);
}

/* What comes is a candidate: it makes nothing good that is not. */
static void
test_candidates(void)
{
	static const struct make weak = { CA_WITH(.cn = "inter"),
		.key = KEY_RSA_1024 };
	static const struct make no_ca = { .cn = "inter", .ca = 0 };
	static const struct make others_of = { CA_WITH(.cn = "other") };
	static const struct make another = { CA_WITH(.cn = "inter"),
		.key = KEY_RSA };
	gnutls_datum_t junk = { (unsigned char *)(uintptr_t) "junk", 4 },
		       empty = { (unsigned char *)(uintptr_t) "", 0 };
	struct made others, inter[5], leaf;
	const char *why;
	unsigned i;

	others = make_cert(&others_of, NULL);
	for (i = 0; i < 7; i++) {
		begin(true);
		inter[0] = make_cert(&inter_of, &others); /* not our root's */
		inter[1] = make_cert(&weak, &root);
		inter[2] = make_cert(&no_ca, &root);
		inter[3] = make_cert(&others_of, &root); /* another name */
		inter[4] = make_cert(&another, &root);
		leaf = make_cert(&leaf_of, &inter[i < 3 ? i : 0]);
		(void)publish(INTER_URL,
		    i < 5       ? &inter[i].der
			: i < 6 ? &junk
				: &empty);
		CU_ASSERT_FALSE(is_good(&leaf, &why));
		CU_ASSERT_TRUE(why[0] != '\0');
		CU_ASSERT_EQUAL(asked_at_all, 1);
		end();
		made_free(&leaf);
		made_free(&inter[0]);
		made_free(&inter[1]);
		made_free(&inter[2]);
		made_free(&inter[3]);
		made_free(&inter[4]);
	}
	made_free(&others);
}

/* Several are missing, but not without end. */
static void
test_depth(void)
{
	static const struct make of[5] = { { CA_WITH(.cn = "level 0") },
		{ CA_WITH(.cn = "level 1"), .aia = "http://ca.test/0" },
		{ CA_WITH(.cn = "level 2"), .aia = "http://ca.test/1" },
		{ CA_WITH(.cn = "level 3"), .aia = "http://ca.test/2" },
		{ LEAF_WITH(.aia = "http://ca.test/3") } };
	static const struct make leaf_2 = {
		LEAF_WITH(.aia = "http://ca.test/2")
	};
	struct made level[5], leaf;
	const char *why;
	unsigned i;

	begin(true);
	level[0] = make_cert(&of[0], &root);
	for (i = 1; i < 5; i++)
		level[i] = make_cert(&of[i], &level[i - 1]);
	(void)publish("http://ca.test/0", &level[0].der);
	(void)publish("http://ca.test/1", &level[1].der);
	(void)publish("http://ca.test/2", &level[2].der);
	(void)publish("http://ca.test/3", &level[3].der);
	leaf = make_cert(&leaf_2, &level[2]);
	CU_ASSERT_TRUE(is_good(&leaf, &why));
	CU_ASSERT_EQUAL(asked_at_all, 3);
	CU_ASSERT_FALSE(is_good(&level[4], &why)); /* four */
	CU_ASSERT_TRUE(has(why, "nothing came that helps"));
	end();
	for (i = 0; i < 5; i++)
		made_free(&level[i]);
	made_free(&leaf);
}

/* An issuer that says it is to be found where it was. */
static void
test_circle(void)
{
	static const struct make of = { CA_WITH(.cn = "inter"),
		.aia = INTER_URL };
	static const struct make others_of = { CA_WITH(.cn = "other") };
	struct made others, inter, leaf;
	const char *why;

	begin(true);
	others = make_cert(&others_of, NULL);
	inter = make_cert(&of, &others);
	leaf = make_cert(&leaf_of, &inter);
	(void)publish(INTER_URL, &inter.der);
	CU_ASSERT_FALSE(is_good(&leaf, &why));
	CU_ASSERT_EQUAL(asked_at_all, 1);
	end();
	made_free(&others);
	made_free(&inter);
	made_free(&leaf);
}

/* A collection, as some publish it (RFC 5280 4.2.2.1). */
static void
test_collection(void)
{
	struct made inter, leaf;
	gnutls_datum_t der;
	gnutls_pkcs7_t p7;
	const char *why;

	begin(true);
	inter = make_cert(&inter_of, &root);
	leaf = make_cert(&leaf_of, &inter);
	gnutls_pkcs7_init(&p7);
	gnutls_pkcs7_set_crt(p7, root.crt);
	gnutls_pkcs7_set_crt(p7, inter.crt);
	CU_ASSERT_EQUAL(gnutls_pkcs7_export2(p7, GNUTLS_X509_FMT_DER, &der), 0);
	gnutls_pkcs7_deinit(p7);
	(void)publish(INTER_URL, &der);
	CU_ASSERT_TRUE(is_good(&leaf, &why));
	end();
	gnutls_free(der.data);
	made_free(&inter);
	made_free(&leaf);
}

/* Only where nothing else is wrong, and only by http and https. */
static void
test_not_asked(void)
{
	static const struct make expired = { LEAF_WITH(.aia = INTER_URL),
		.from = -9, .to = -2 };
	static const struct make odd[4] = { { LEAF_WITH(.aia = "") },
		{ LEAF_WITH(.aia = "ldap://ca.test/cn=x") },
		{ LEAF_WITH(.aia = "file:///etc/passwd") },
		{ LEAF_WITH(.aia = "http://ca.test/a b") } };
	static const struct make own = { LEAF_WITH(.aia = INTER_URL) };
	struct made inter, leaf;
	const char *why;
	unsigned i;

	begin(true);
	inter = make_cert(&inter_of, &root);
	for (i = 0; i < 6; i++) {
		leaf = i == 4 ? make_cert(&own, NULL)
			      : make_cert(i == 5 ? &expired : &odd[i], &inter);
		(void)is_good(&leaf, &why);
		CU_ASSERT_EQUAL(asked_at_all, 0);
		made_free(&leaf);
	}
	end();
	made_free(&inter);
}

/* All who want it wait for one fetch; who goes is forgotten. */
static void
test_joined(void)
{
	enum { N = 8 };
	static struct want x[N];
	struct made inter, leaf[N];
	struct verify_chain c = { .n = 1 };
	struct page *p;
	unsigned i;

	begin(true);
	hold = true;
	inter = make_cert(&inter_of, &root);
	p = publish(INTER_URL, &inter.der);
	memset(x, 0, sizeof(x));
	for (i = 0; i < N; i++) {
		leaf[i] = make_cert(&leaf_of, &inter);
		c.certs = &leaf[i].der;
		start(&x[i], &c);
		CU_ASSERT_FALSE(x[i].wait.done);
	}
	verify_cancel(&x[0].wait);
	verify_cancel(&x[0].wait);
	verify_cancel(&x[N - 1].wait);
	hold = false;
	for (i = 1; i + 1 < N; i++)
		CU_ASSERT_TRUE(finish(&x[i]));
	CU_ASSERT_FALSE(x[0].wait.done || x[N - 1].wait.done);
	CU_ASSERT_EQUAL(p->asked, 1);
	for (i = 0; i < N; i++)
		made_free(&leaf[i]);
	end();
	made_free(&inter);
}

/* The process dies under it: refused, and another time it is tried again. */
static void
test_dies(void)
{
	static struct want x;
	struct made inter, leaf;
	struct verify_chain c = { .n = 1 };
	const char *why;
	int pair[2];

	begin(true);
	inter = make_cert(&inter_of, &root);
	leaf = make_cert(&leaf_of, &inter);
	(void)publish(INTER_URL, &inter.der);
	CU_ASSERT_TRUE(channel_pair(pair));
	fetch_attach(fetch, pair[0]); /* one that says nothing */
	pthread_join(thread, NULL);
	memset(&x, 0, sizeof(x));
	c.certs = &leaf.der;
	start(&x, &c);
	close(pair[1]);
	CU_ASSERT_FALSE(finish(&x));
	CU_ASSERT_TRUE(has(x.wait.fault.detail, "has died"));
	CU_ASSERT_TRUE(channel_pair(pair));
	fetch_attach(fetch, pair[0]);
	process_fd = pair[1];
	CU_ASSERT_EQUAL(thread_start(&thread, "process", process, &process_fd),
	    0);
	CU_ASSERT_TRUE(is_good(&leaf, &why));
	end();
	made_free(&inter);
	made_free(&leaf);
}

CERTS_MAIN(certs_issuers, { "fetched", test_fetched },
    { "absent", test_absent }, { "candidates", test_candidates },
    { "depth", test_depth }, { "circle", test_circle },
    { "collection", test_collection }, { "not asked", test_not_asked },
    { "joined", test_joined }, { "dies", test_dies })
