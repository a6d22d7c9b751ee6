/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is asked about revocation, when, and how.  A thread is the process that
 * fetches, and says what a row wants; the clock is the test's.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/channel.h"
#include "base/sealed.h"
#include "base/thread.h"
#include "certs/statuses.h"
#include "fetch/wire_priv.h"
#include "t/unit/certs_make.h"

#define OCSP_URL "http://ocsp.example/"
#define LIST_URL "http://list.example/1"

/* The clock of this program: certs/ asks time(). */
static _Atomic time_t ahead;

time_t
time(time_t *t)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (t != NULL)
		*t = now.tv_sec + ahead;
	return (now.tv_sec + ahead);
}

/* The process. */

static enum fetch_outcome get_ends, post_ends; /* DONE: with octets */
static unsigned status_of_busy;                /* of a redirection before */
static gnutls_datum_t octets;
static struct {
	char url[FETCH_URL_MAX];
	enum fetch_kind kind;
	bool posts;
	unsigned deadline_ms;
} asked[32];
static _Atomic unsigned takes_ms; /* an answer */
static _Atomic unsigned n_asked;

static void
reply(int fd, const struct wire_ask *a)
{
	enum fetch_outcome end = a->body_n > 0 ? post_ends : get_ends;
	struct wire_say s = { .op = WIRE_RESULT,
		.id = a->id,
		.outcome = end,
		.fresh_s = -1 };
	int memory = -1;

	if (end == FETCH_DONE || end == FETCH_STATUS)
		s.status = end == FETCH_DONE ? 200 : 405;
	else if (end == FETCH_BUSY)
		s.status = status_of_busy;
	if (end == FETCH_DONE) {
		s.size = octets.size;
		memory = sealed_new("page", octets.data, octets.size);
	}
	snprintf(asked[n_asked].url, sizeof(asked[0].url), "%s", a->url);
	asked[n_asked].deadline_ms = a->deadline_ms;
	asked[n_asked].kind = (enum fetch_kind)a->kind;
	asked[n_asked++].posts = a->body_n > 0;
	usleep(takes_ms * 1000);
	(void)channel_send(fd, &s, sizeof(s), &memory, memory >= 0, 20000);
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

/* Who asks. */

static struct loop *loop;
static struct fetch *fetch;
static struct job_pool *pool;
static struct statuses *statuses;
static struct made root, leaf;
static struct memo_value owner;
static pthread_t thread;
static int process_fd;

static void
begin(void)
{
	static const struct make root_of = { .cn = "root",
		.ca = 1,
		.usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN };
	static const struct make leaf_of = { .cn = "leaf",
		.ocsp = OCSP_URL,
		.list = LIST_URL };
	const struct fetch_events none = { 0 };
	int pair[2];

	ahead = 0;
	n_asked = 0;
	get_ends = post_ends = FETCH_DONE;
	octets = (gnutls_datum_t){ NULL, 0 };
	root = make_cert(&root_of, NULL);
	leaf = make_cert(&leaf_of, &root);
	owner.refs = 1; /* never the last one */
	loop = loop_new();
	pool = job_pool_new("crypto", 1);
	fetch = fetch_new(loop, &none);
	CU_ASSERT_TRUE(channel_pair(pair));
	fetch_attach(fetch, pair[0]);
	process_fd = pair[1];
	CU_ASSERT_EQUAL(thread_start(&thread, "process", process, &process_fd),
	    0);
	statuses = statuses_new(fetch, pool, 64);
}

static void
end(void)
{
	statuses_end(statuses);
	job_pool_free(&pool);
	fetch_free(&fetch);
	pthread_join(thread, NULL);
	loop_settle(loop);
	CU_ASSERT_EQUAL(owner.refs, 1);
	statuses_unref(&statuses);
	loop_free(&loop);
	gnutls_free(octets.data);
	made_free(&leaf);
	made_free(&root);
}

static struct status_answer *came;

static void
on_came(struct statuses_wait *w, struct status_answer *a)
{
	(void)w;
	came = a;
	loop_stop(loop);
}

/* True: it has an answer; *questions: that were asked for it now. */
static bool
ask(const struct status_ask *a, unsigned *questions)
{
	struct statuses_wait w = { .ready = on_came };
	unsigned had = n_asked;
	struct memo_value *v;
	bool answers;

	came = statuses_known(statuses, loop, a, &owner);
	if (came == NULL) {
		statuses_start(statuses, loop, &w, a, &owner);
		loop_run(loop);
	}
	answers = status_answers(came);
	*questions = n_asked - had;
	CU_ASSERT(answers || came->why[0] != '\0');
	v = &came->value;
	memo_value_unref(&v);
	return (answers);
}

/* Who cannot be reached is left alone, longer each time, up to ten minutes. */
static void
test_pauses(void)
{
	static const unsigned pauses[] = { 60, 120, 240, 480, 600, 600 };
	struct status_ask *a;
	unsigned i, n;

	begin();
	a = status_ask_new(leaf.crt, root.crt);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	get_ends = FETCH_LATE;
	for (i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
		CU_ASSERT_FALSE(ask(a, &n));
		CU_ASSERT_EQUAL(n, 1);
		ahead += pauses[i] - 5;
		CU_ASSERT_FALSE(ask(a, &n));
		CU_ASSERT_EQUAL(n, 0);
		ahead += 6;
	}
	/* It says something: what was before is forgotten. */
	get_ends = FETCH_DONE;
	octets = make_staple(&leaf, &root, false);
	if (octets.size > 0) {
		ahead = 0;
		statuses_unref(&statuses);
		statuses = statuses_new(fetch, pool, 64);
		get_ends = FETCH_LATE;
		CU_ASSERT_FALSE(ask(a, &n));
		ahead = 61;
		get_ends = FETCH_DONE;
		CU_ASSERT_TRUE(ask(a, &n));
		ahead = 2 * 86400; /* the answer is over */
		get_ends = FETCH_LATE;
		CU_ASSERT_FALSE(ask(a, &n));
		ahead += 61;
		CU_ASSERT_FALSE(ask(a, &n));
		CU_ASSERT_EQUAL(n, 1);
	}
	status_ask_free(&a);
	end();
}

/* By GET, and by POST where GET is refused; a failure is known for a minute. */
static void
test_methods(void)
{
	static const struct {
		enum fetch_outcome get, post;
		unsigned questions;
	} rows[] = {
		{ FETCH_STATUS, FETCH_STATUS, 2 },
		{ FETCH_STATUS, FETCH_LATE, 2 },
		{ FETCH_CONNECT, FETCH_STATUS, 1 },
		{ FETCH_DENIED, FETCH_STATUS, 1 },
		{ FETCH_LARGE, FETCH_STATUS, 1 },
	};
	struct status_ask *a;
	unsigned i, n;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin();
		a = status_ask_new(leaf.crt, root.crt);
		CU_ASSERT_PTR_NOT_NULL_FATAL(a);
		get_ends = rows[i].get;
		post_ends = rows[i].post;
		CU_ASSERT_FALSE(ask(a, &n));
		CU_ASSERT_EQUAL(n, rows[i].questions);
		CU_ASSERT_FALSE(asked[0].posts);
		CU_ASSERT(n < 2 || asked[1].posts);
		CU_ASSERT(n < 2 || strcmp(asked[1].url, OCSP_URL) == 0);
		CU_ASSERT(strncmp(asked[0].url, OCSP_URL "M", 21) == 0);
		CU_ASSERT_PTR_NULL(strpbrk(asked[0].url + 20, "+/="));
		CU_ASSERT_FALSE(ask(a, &n));
		CU_ASSERT_EQUAL(n, 0);
		status_ask_free(&a);
		end();
	}
}

/* All that is asked for one answer is one wait. */
static void
test_one_due(void)
{
	struct status_ask *a;
	unsigned n;

	begin();
	a = status_ask_new(leaf.crt, root.crt);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	get_ends = post_ends = FETCH_STATUS;
	takes_ms = 300;
	CU_ASSERT_FALSE(ask(a, &n));
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_EQUAL(asked[0].deadline_ms, STATUSES_DEADLINE);
	CU_ASSERT_TRUE(asked[1].deadline_ms <= STATUSES_DEADLINE - 250);
	ahead = 61;
	takes_ms = STATUSES_DEADLINE + 100; /* no time is left */
	CU_ASSERT_FALSE(ask(a, &n));
	CU_ASSERT_EQUAL(n, 1);
	takes_ms = 0;
	/* It was reached, by GET: others of its certificates are asked for. */
	ahead = 122;
	post_ends = FETCH_LATE;
	CU_ASSERT_FALSE(ask(a, &n));
	CU_ASSERT_EQUAL(n, 2);
	came = statuses_known(statuses, loop, a, &owner);
	CU_ASSERT(came != NULL && came->failures == 0);
	if (came != NULL) {
		struct memo_value *v = &came->value;

		memo_value_unref(&v);
	}
	status_ask_free(&a);
	end();
}

/* What is ours is nobody's fault: it is asked for again at once. */
static void
test_busy(void)
{
	static const struct {
		enum fetch_outcome get, post;
		unsigned questions;
	} rows[] = {
		{ FETCH_BUSY, FETCH_BUSY, 1 },
		{ FETCH_LOST, FETCH_LOST, 1 },
		{ FETCH_STATUS, FETCH_BUSY, 2 },
	};
	struct status_ask *a;
	unsigned i, n;

	begin();
	a = status_ask_new(leaf.crt, root.crt);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	for (i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		get_ends = rows[i / 2].get;
		post_ends = rows[i / 2].post;
		status_of_busy = i % 2 == 0 ? 0 : 302;
		CU_ASSERT_FALSE(ask(a, &n));
		CU_ASSERT_EQUAL(n, rows[i / 2].questions);
	}
	status_ask_free(&a);
	end();
}

/* A list is kept until it ends, and asked for again before. */
static void
test_list(void)
{
	gnutls_datum_t pem;
	struct status_ask *a;
	unsigned n, i;

	begin();
	a = status_ask_list(leaf.crt, root.crt, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_PTR_NULL(status_ask_list(leaf.crt, root.crt, 1));
	pem = make_crl(&root, &leaf, 1, -1, 3);
	CU_ASSERT_FATAL(
	    gnutls_pem_base64_decode2("X509 CRL", &pem, &octets) >= 0);
	gnutls_free(pem.data);
	CU_ASSERT_TRUE(ask(a, &n));
	CU_ASSERT(n == 1 && asked[0].kind == FETCH_CRL);
	CU_ASSERT(strcmp(asked[0].url, LIST_URL) == 0);
	CU_ASSERT_TRUE(ask(a, &n));
	CU_ASSERT_EQUAL(n, 0);
	ahead = 86400 * 7 / 8; /* a day at most, and asked for in its end */
	CU_ASSERT_TRUE(ask(a, &n));
	for (i = 0; n_asked < 2 && i < 1000; i++)
		usleep(10000);
	CU_ASSERT_EQUAL(n_asked, 2);
	end(); /* who asked for it may be gone */
	status_ask_free(&a);
}

CERTS_MAIN(certs_statuses, { "pauses", test_pauses },
    { "methods", test_methods }, { "busy", test_busy },
    { "one due", test_one_due }, { "list", test_list })
