/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leases of origins over HTTP/2: who shares a connection, what becomes of
 * requests that an origin did not look at, bodies and their ends.  The origin
 * is this file: a session of the same engine behind TLS.
 */
#include <gnutls/x509.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "base/job.h"
#include "certs/trust.h"
#include "net/resolve.h"
#include "proxy/conf/conf.h"
#include "proxy/wire/duplex.h"
#include "proxy/wire/lease_priv.h"
#include "stream/body.h"
#include "t/unit/http_help.h"
#include "t/unit/tls_lab.h"
#include "tls/resume.h"

#define LONG_MS 10000
#define PEERS_MAX 8

/* One connection at the origin. */
struct peer {
	struct link *link;
	struct task task;
	struct h2_session *s;
	struct h2_stream *st[16]; /* requests, in their order */
	unsigned n;
	bool shaken, mute;
};

static struct gen gen;
static struct worker_gen wgen;
static struct worker worker;
static struct budget *budget;
static struct lease_own own;
static struct task task;
static struct arena *arena;
static struct job_pool *jobs;
static struct body_store store = { .temp_dir = "/tmp", .window = 100000 };
static struct peer peers[PEERS_MAX];
static unsigned n_peers, limit;
static bool connects, silent; /* their SETTINGS take CONNECT, do not come */
static int listening;
static uint16_t port;

/* In place of those of assayd. */

struct worker_gen *
worker_gen_ref(struct worker_gen *g)
{
	g->refs++;
	return (g);
}

void
worker_gen_unref(struct worker_gen **g)
{
	CU_ASSERT((*g)->refs > 0);
	(*g)->refs--;
	*g = NULL;
}

static void
on_wake(struct task *t)
{
	(void)t;
}

/* The origin. */

static void
peer_go(struct peer *p)
{
	struct h2_config cfg = { .server = true,
		.streams = limit,
		.connect = connects };
	struct chq q = { 0 };
	struct h2_stream *st;
	struct fault f = { 0 };
	unsigned news;

	if (!p->shaken &&
	    link_handshake(p->link, ERR_CLIENT_TLS, &f) != PULL_END)
		return;
	p->shaken = true;
	if (p->s == NULL)
		p->s = h2_session_new(&cfg);
	while (!p->mute && link_read(p->link, &q, 65536) == PULL_MORE)
		(void)h2_session_take(p->s, &q, 1);
	while ((st = h2_session_next(p->s, &news)) != NULL)
		if ((news & H2_NEWS_HEAD) != 0 &&
		    h2_stream_head_take(st) != NULL) {
			CU_ASSERT_FATAL(p->n < COUNT(p->st));
			p->st[p->n++] = st;
		}
	if (!p->mute && !silent && h2_session_give(p->s, &q, 65536) > 0)
		link_write_chq(p->link, &q, chq_len(&q));
	chq_fini(&q);
}

static void
peer_run(struct task *t)
{
	peer_go(CONTAINER_OF(t, struct peer, task));
}

static void
take_peers(void)
{
	struct pollfd pfd = { .fd = listening, .events = POLLIN };
	struct peer *p;

	while (poll(&pfd, 1, 0) == 1) {
		CU_ASSERT_FATAL(n_peers < PEERS_MAX);
		p = &peers[n_peers++];
		*p = (struct peer){ .mute = false };
		task_init(&p->task, worker.loop, peer_run);
		p->link = link_new(worker.loop,
		    accept4(listening, NULL, NULL, SOCK_NONBLOCK), &p->task);
		link_start_tls(p->link,
		    tls_server_new(gen.tls, lab_leaf(), "lab.test", TLS_H2));
		task_wake(&p->task);
	}
}

static void
peer_close(struct peer *p)
{
	while (p->n > 0)
		h2_stream_free(&p->st[--p->n]);
	task_fini(&p->task);
	if (p->s != NULL)
		h2_session_free(&p->s);
	if (p->link != NULL)
		link_close(&p->link, LINK_ABORT);
}

/* Turn the loop until it is so, the origin's side with it. */
static bool
until(bool (*so)(void *), void *arg)
{
	unsigned i;

	for (i = 0; i < LONG_MS && !so(arg); i++) {
		take_peers();
		lab_run(worker.loop, 1);
	}
	return (so(arg));
}

/* Have so many requests come? */
static bool
has_requests(void *arg)
{
	unsigned i, n = 0;

	for (i = 0; i < n_peers; i++)
		n += peers[i].n;
	return (n >= *(unsigned *)arg);
}

static void
await_requests(unsigned n)
{
	CU_ASSERT_FATAL(until(has_requests, &n));
}

/* Its origin has said how many streams it takes. */
static bool
is_told(void *arg)
{
	const struct lease *l = arg;

	return (h2_session_is_ready(l->origin->h2->session));
}

/* Begin and end. */

static void
open_trust(void)
{
	static char path[] = "/tmp/assay-unit-XXXXXX";
	gnutls_x509_crt_t crt;
	gnutls_datum_t pem;
	struct fault f = { 0 };
	const char *name = path;
	int fd;

	strcpy(path + sizeof(path) - 7, "XXXXXX");
	CU_ASSERT_FATAL((fd = mkstemp(path)) >= 0);
	CU_ASSERT_FATAL(
	    gnutls_pcert_export_x509(&lab_leaf()->chain[0], &crt) == 0 &&
	    gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem) == 0);
	CU_ASSERT(write(fd, pem.data, pem.size) == (ssize_t)pem.size);
	gnutls_free(pem.data);
	gnutls_x509_crt_deinit(crt);
	close(fd);
	gen.trust = trust_open((const char *const[]){ name, NULL }, NULL, NULL,
	    &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(gen.trust);
	unlink(path);
}

static void
begin(void)
{
	static const char text[] = "destinations: {allow: ['127.0.0.0/8']}\n";
	struct tls_options to = { .epoch = "one" };
	struct resolver_options o = { .deadline_ms = 1000 };
	struct conf_problems p = { 0 };
	union address a;
	socklen_t n = sizeof(a.v4);

	gen.conf = conf_parse("c", text, sizeof(text) - 1, &p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(gen.conf);
	conf_problems_fini(&p);
	gen.origin_limits = h1_limits_origin;
	gen.tls = tls_context_new(&to, NULL);
	jobs = job_pool_new("keys", 1);
	open_trust();
	gen.verifier = verifier_new(
	    &(struct verify_options){ .trust = gen.trust,
		.pool = jobs,
		.max_entries = 10 });
	worker = (struct worker){ .loop = loop_new(), .current = &wgen };
	budget = budget_new();
	worker.kept = account_open(budget, 1);
	worker.resolver = resolver_new(worker.loop, &o, NULL);
	worker.dialer = dialer_new(worker.loop, worker.resolver);
	worker.pool = origin_pool_new(&worker);
	wgen = (struct worker_gen){ .worker = &worker, .gen = &gen };
	task_init(&task, worker.loop, on_wake);
	lease_own_init(&own, worker.kept, &task);
	arena = arena_new();
	CU_ASSERT_FATAL(address_parse(STR("127.0.0.1"), &a));
	listening = socket(AF_INET, SOCK_STREAM, 0);
	CU_ASSERT_FATAL(
	    bind(listening, &a.sa, n) == 0 && listen(listening, 100) == 0);
	getsockname(listening, &a.sa, &n);
	port = address_port(&a.sa);
	n_peers = 0;
	limit = 0;
	connects = silent = false;
}

static void
end(void)
{
	lease_own_fini(&own);
	origin_pool_free(&worker.pool);
	CU_ASSERT_EQUAL(wgen.refs, 0);
	while (n_peers > 0)
		peer_close(&peers[--n_peers]);
	task_fini(&task);
	loop_settle(worker.loop);
	dialer_free(&worker.dialer);
	resolver_free(&worker.resolver);
	CU_ASSERT_EQUAL(account_used(worker.kept, BUDGET_MEMORY), 0);
	account_unref(&worker.kept);
	budget_free(&budget);
	verifier_free(&gen.verifier);
	loop_free(&worker.loop);
	job_pool_free(&jobs);
	trust_unref(&gen.trust);
	tls_context_free(&gen.tls);
	arena_free(&arena);
	conf_unref(&gen.conf);
	close(listening);
	link_thread_fini();
}

/* Asking. */

static struct lease_want
want(void)
{
	return ((struct lease_want){ .account = worker.kept,
	    .own = &own,
	    .tls = true,
	    .protocols = TLS_HTTP1 | TLS_H2,
	    .host = STR("127.0.0.1"),
	    .host_is_ip = true,
	    .port = port,
	    .allow_invalid = true });
}

static bool
is_good(struct lease *l, const struct worker_gen *g, unsigned protocols,
    bool recent)
{
	struct lease_want w = want();

	w.protocols = protocols;
	w.recent = recent;
	return (lease_is_good(l, g, &w));
}

static struct lease *
get(const struct lease_want *w)
{
	return (lease_get(&worker, &wgen, w, &task));
}

static bool
is_settled(void *arg)
{
	return (lease_state(arg) != LEASE_WAITING);
}

static struct lease *
get_ready(void)
{
	struct lease_want w = want();
	struct lease *l = get(&w);

	CU_ASSERT_FATAL(until(is_settled, l));
	CU_ASSERT_EQUAL_FATAL(lease_state(l), LEASE_READY);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l->origin->h2);
	return (l);
}

static struct http_msg *
request(const char *method)
{
	struct http_msg *m = http_msg_new(arena, true);

	m->method = str_of(method);
	m->method_id = http_method_of(m->method);
	m->uri.scheme = STR("https");
	m->uri.host = STR("a.test");
	m->uri.port = 443;
	m->target = m->uri.path = STR("/");
	return (m);
}

/* A request without body; its stream at the origin, of peer i. */
static struct h2_stream *
ask(struct lease *l, unsigned i)
{
	unsigned had = i < n_peers ? peers[i].n : 0;

	CU_ASSERT_PTR_NULL(lease_send(l, request("GET"), false));
	await_requests(had + 1);
	CU_ASSERT_FATAL(i < n_peers && peers[i].n == had + 1);
	return (peers[i].st[had]);
}

/* A head, and n octets of a body of `length`. */
static void
answer(struct h2_stream *st, uint64_t length, size_t n)
{
	struct http_msg *m = http_msg_new(arena, false);
	struct chq q = { 0 };
	static const char octets[2000];

	m->status = 200;
	m->length_is = LENGTH_KNOWN;
	m->length = length;
	h2_stream_answer(st, m, length == 0);
	chq_copy(&q, octets, n);
	if (n > 0)
		h2_stream_write(st, &q, n);
	if (n == length && n > 0)
		h2_stream_end(st, NULL);
	chq_fini(&q);
	task_wake(&peers[0].task);
}

struct hearing {
	struct lease *lease;
	struct http_msg *msg;
	struct fault fault;
	enum lease_got got;
};

static bool
has_head(void *arg)
{
	struct hearing *h = arg;

	lease_turn(h->lease);
	h->got = lease_head(h->lease, arena, &h1_limits_origin, &h->msg,
	    &h->fault);
	return (h->got != LEASE_GOT_WAIT);
}

static struct hearing
hear(struct lease *l)
{
	struct hearing h = { .lease = l };
	unsigned i;

	for (i = 0; i < LONG_MS && !has_head(&h); i++) {
		take_peers();
		lab_run(worker.loop, 1);
	}
	CU_ASSERT_NOT_EQUAL_FATAL(h.got, LEASE_GOT_WAIT);
	return (h);
}

/* Tests. */

/* Those that wait while one is made share it, as far as it lets them. */
static void
test_shared(void)
{
	struct lease *l[6];
	struct lease_want w;
	struct str version, cipher, protocol;
	unsigned i;

	begin();
	limit = 4;
	w = want();
	for (i = 0; i < 6; i++)
		l[i] = get(&w);
	CU_ASSERT_EQUAL(l[0]->at, LEASE_AT_MAKING);
	for (i = 1; i < 6; i++)
		CU_ASSERT_EQUAL(l[i]->at, LEASE_AT_QUEUED);
	for (i = 0; i < 6; i++) {
		CU_ASSERT_FATAL(until(is_settled, l[i]));
		CU_ASSERT_EQUAL(lease_state(l[i]), LEASE_READY);
		CU_ASSERT_EQUAL(l[i]->reused, i != 0 && i != 4);
	}
	CU_ASSERT_EQUAL(n_peers, 2);
	for (i = 0; i < 4; i++)
		CU_ASSERT_PTR_EQUAL(l[i]->origin, l[0]->origin);
	lease_tls(l[0], &version, &cipher, &protocol);
	CU_ASSERT_TRUE(str_eq(protocol, STR("h2")));
	CU_ASSERT_TRUE(is_good(l[0], &wgen, TLS_H2, false));
	CU_ASSERT_FALSE(is_good(l[0], &wgen, TLS_HTTP1, false));
	for (i = 0; i < 6; i++)
		lease_release(&l[i]);
	CU_ASSERT_EQUAL(worker.pool->idle, 2);
	end();
}

/* It is no connection for who does not want one, or not a doubtful one. */
static void
test_not_shared(void)
{
	struct lease *first, *l;
	struct lease_want w;
	unsigned i;

	begin();
	first = get_ready();
	CU_ASSERT_FATAL(until(is_told, first));
	for (i = 0; i < 4; i++) {
		w = want();
		if (i == 1)
			w.protocols = TLS_HTTP1;
		else if (i == 2)
			w.allow_invalid = false;
		else if (i == 3)
			w.dial_host = STR("127.0.0.2");
		l = get(&w);
		CHECK_ROW(i, "state",
		    lease_state(l) == (i == 0 ? LEASE_READY : LEASE_WAITING));
		lease_release(&l);
	}
	w = want();
	w.fresh = true;
	l = get(&w); /* just made: it is fresh */
	CU_ASSERT_EQUAL(lease_state(l), LEASE_READY);
	lease_release(&l);
	first->origin->connected_at -= 10000;
	l = get(&w);
	CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
	lease_release(&l);
	lease_release(&first);
	end();
}

/* Answered, kept, used again; streams end and others live. */
static void
test_exchanges(void)
{
	struct lease *a, *b;
	struct hearing h;
	struct h2_stream *st;
	struct body *body;

	begin();
	a = get_ready();
	st = ask(a, 0);
	answer(st, 5, 5);
	h = hear(a);
	CU_ASSERT_EQUAL_FATAL(h.got, LEASE_GOT_HEAD);
	CU_ASSERT_EQUAL(h.msg->status, 200);
	body = lease_body(a, &store, h.msg);
	CU_ASSERT_PTR_NOT_NULL_FATAL(body);
	b = get_ready();
	CU_ASSERT_PTR_EQUAL(a->origin, b->origin);
	st = ask(b, 0);
	body_unref(&body);
	lease_release(&a);
	answer(st, 0, 0);
	h = hear(b);
	CU_ASSERT_EQUAL(h.got, LEASE_GOT_HEAD);
	CU_ASSERT_PTR_NULL(lease_body(b, &store, h.msg));
	CU_ASSERT_EQUAL(worker.pool->idle, 0);
	lease_release(&b);
	CU_ASSERT_EQUAL(worker.pool->idle, 1);
	a = get_ready();
	CU_ASSERT_EQUAL(n_peers, 1);
	lease_release(&a);
	end();
}

/* How an exchange ends without an answer, and what that says. */
static void
test_lost(void)
{
	static const struct {
		enum h2_code code;
		bool goaway, unseen;
	} is[] = { { H2_REFUSED_STREAM, false, true },
		{ H2_HTTP_1_1_REQUIRED, false, true },
		{ H2_INTERNAL_ERROR, false, false },
		{ H2_CANCEL, false, false }, { H2_NO_ERROR, true, false } };
	struct hearing h;
	struct h2_stream *st;
	struct lease_want w;
	struct lease *l;
	unsigned i;

	for (i = 0; i < COUNT(is); i++) {
		begin();
		l = get_ready();
		st = ask(l, 0);
		if (is[i].goaway)
			link_close(&peers[0].link, LINK_ABORT);
		else
			h2_stream_reset(st, is[i].code);
		if (peers[0].link != NULL)
			task_wake(&peers[0].task);
		h = hear(l);
		CHECK_ROW(i, "end",
		    h.got == LEASE_GOT_END &&
			h.fault.code == ERR_ORIGIN_CLOSED);
		CHECK_ROW(i, "unseen", lease_is_unseen(l) == is[i].unseen);
		CHECK_ROW(i, "doubtful", lease_may_be_lost(l));
		lease_release(&l);
		w = want();
		l = get(&w);
		CHECK_ROW(i, "wants h1",
		    l->want.protocols ==
			(is[i].code == H2_HTTP_1_1_REQUIRED
				? TLS_HTTP1
				: TLS_HTTP1 | TLS_H2));
		lease_release(&l);
		end();
	}
}

static bool
is_draining(void *arg)
{
	return (((struct lease *)arg)->origin->state == ORIGIN_DRAINING);
}

/* GOAWAY: what was begun goes on, nothing else comes; not even what waits. */
static void
test_goaway(void)
{
	struct lease *a, *b, *c;
	struct hearing h;
	struct h2_stream *st;

	begin();
	a = get_ready();
	CU_ASSERT_FATAL(until(is_told, a));
	b = get_ready();
	CU_ASSERT_PTR_EQUAL(a->origin, b->origin);
	st = ask(a, 0);
	h2_session_drain(peers[0].s);
	task_wake(&peers[0].task);
	CU_ASSERT_TRUE(until(is_draining, a));
	CU_ASSERT_FALSE(is_good(b, &wgen, TLS_H2, false));
	CU_ASSERT_PTR_NULL(lease_send(b, request("POST"), false));
	h = hear(b);
	CU_ASSERT_EQUAL(h.got, LEASE_GOT_END);
	CU_ASSERT_TRUE(lease_is_unseen(b));
	lease_release(&b);
	c = get_ready();
	CU_ASSERT_EQUAL(n_peers, 2);
	answer(st, 0, 0);
	h = hear(a);
	CU_ASSERT_EQUAL(h.got, LEASE_GOT_HEAD);
	lease_release(&a);
	lease_release(&c);
	CU_ASSERT_EQUAL(worker.pool->idle, 1);
	end();
}

static bool
has_ended(void *arg)
{
	struct chq q = { 0 };
	enum pull p = reader_pull(arg, &q, 100);

	chq_fini(&q);
	return (p != PULL_WAIT);
}

/* Inside the body: a cut; and one that its reader keeps outlives the lease. */
static void
test_cut(void)
{
	struct lease *l;
	struct hearing h;
	struct h2_stream *st;
	struct reader r = { .body = NULL };
	struct chq q = { 0 };
	struct body *b;
	unsigned how;

	for (how = 0; how < 3; how++) {
		begin();
		l = get_ready();
		st = ask(l, 0);
		answer(st, 1000, 10);
		h = hear(l);
		CU_ASSERT_EQUAL_FATAL(h.got, LEASE_GOT_HEAD);
		b = lease_body(l, &store, h.msg);
		CU_ASSERT_PTR_NOT_NULL_FATAL(b);
		reader_open(&r, b, 0, &task);
		CU_ASSERT_EQUAL(reader_pull(&r, &q, 100), PULL_MORE);
		CU_ASSERT_EQUAL(reader_pull(&r, &q, 100), PULL_WAIT);
		CU_ASSERT_TRUE(
		    lease_is_silent(l, loop_now(worker.loop) + 5000, 5000));
		lease_forgive(l, loop_now(worker.loop) + 5000);
		CU_ASSERT_FALSE(
		    lease_is_silent(l, loop_now(worker.loop) + 5000, 5000));
		CU_ASSERT(lease_body_due(l, 0, 5000, 0) < UINT64_MAX);
		if (how == 0) {
			h2_stream_reset(st, H2_INTERNAL_ERROR);
			task_wake(&peers[0].task);
		} else if (how == 1)
			link_close(&peers[0].link, LINK_ABORT);
		else
			lease_release(&l);
		CU_ASSERT_TRUE(until(has_ended, &r));
		CU_ASSERT_EQUAL(reader_pull(&r, &q, 100), PULL_CUT);
		CHECK_ROW(how, "cause", body_fault(b)->code == ERR_ORIGIN_CUT);
		chq_fini(&q);
		reader_close(&r);
		body_unref(&b);
		lease_release(&l);
		end();
	}
}

static bool
is_taken(void *arg)
{
	return (sink_taken(arg) == 4);
}

static bool
is_reset(void *arg)
{
	return (h2_stream_is_reset(arg, NULL));
}

static bool
is_whole(void *arg)
{
	return (h2_stream_ended(arg) && h2_stream_held(arg) == 4 &&
	    !h2_stream_is_reset(arg, NULL));
}

/* An upload: never more or less than was announced; deaf ends swallow it. */
static void
test_upload(void)
{
	struct lease *l;
	struct http_msg *m;
	struct sink *s;
	struct chq q = { 0 };
	unsigned how;

	for (how = 0; how < 4; how++) {
		begin();
		l = get_ready();
		m = request("POST");
		m->length_is = LENGTH_KNOWN;
		m->length = 4;
		s = lease_send(l, m, true);
		CU_ASSERT_PTR_NOT_NULL_FATAL(s);
		await_requests(1);
		chq_copy(&q, "abcdef", 6);
		CU_ASSERT_FATAL(sink_room(s) >= 6);
		if (how == 0)
			CU_ASSERT_FALSE(sink_write(s, &q, 6));
		if (how == 1) {
			CU_ASSERT_TRUE(sink_write(s, &q, 3));
			CU_ASSERT_EQUAL(sink_end(s, NULL), PULL_CUT);
		}
		if (how == 2) {
			CU_ASSERT_TRUE(sink_write(s, &q, 4));
			CU_ASSERT(sink_room(s) > 0);
			CU_ASSERT_EQUAL(sink_end(s, NULL), PULL_END);
			CU_ASSERT_TRUE(until(is_taken, s));
		}
		if (how == 3) {
			h2_stream_reset(peers[0].st[0], H2_NO_ERROR);
			task_wake(&peers[0].task);
			CU_ASSERT_TRUE(until(is_reset, l->h2.stream));
			CU_ASSERT_TRUE(sink_write(s, &q, 4));
			CU_ASSERT_EQUAL(sink_end(s, NULL), PULL_END);
		}
		if (how < 2)
			CU_ASSERT_TRUE(until(is_reset, peers[0].st[0]));
		if (how == 2)
			CU_ASSERT_TRUE(until(is_whole, peers[0].st[0]));
		chq_fini(&q);
		lease_release(&l);
		end();
	}
}

/* An idle connection is asked before a request that cannot be repeated. */
static void
test_probe(void)
{
	struct lease_want w;
	struct lease *l;
	unsigned how;

	for (how = 0; how < 3; how++) {
		begin();
		l = get_ready();
		CU_ASSERT_FATAL(until(is_told, l));
		lease_release(&l);
		CU_ASSERT_EQUAL(worker.pool->idle, 1);
		CONTAINER_OF(worker.pool->age.next, struct origin, age)
		    ->used_at -= 5000;
		peers[0].mute = how > 0;
		w = want();
		w.recent = true;
		l = get(&w);
		CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
		CU_ASSERT_EQUAL(l->at, LEASE_AT_GIVEN);
		if (how == 2) {
			lease_release(&l); /* while it probes */
			end();
			continue;
		}
		if (how == 1) {
			lab_run(worker.loop, 10);
			CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
			l->timer.fire(&l->timer);
			CU_ASSERT_EQUAL(l->at, LEASE_AT_MAKING);
		}
		CU_ASSERT_FATAL(until(is_settled, l));
		CU_ASSERT_EQUAL(lease_state(l), LEASE_READY);
		CU_ASSERT_EQUAL(n_peers, 1 + how);
		CU_ASSERT_TRUE(is_good(l, &wgen, TLS_H2, true));
		lease_release(&l);
		end();
	}
}

/* WebSocket connections (RFC 8441). */

static struct http_msg *
handshake(void)
{
	struct http_msg *m = request("GET");

	http_fields_add(arena, &m->fields, FIELD_UPGRADE, STR("websocket"));
	http_fields_add(arena, &m->fields, FIELD_SEC_WEBSOCKET_KEY,
	    STR("dGhlIHNhbXBsZSBub25jZQ=="));
	return (m);
}

static struct lease *
get_websocket(void)
{
	struct lease_want w = want();

	w.websocket = true;
	return (get(&w));
}

static void
grant(struct h2_stream *st)
{
	struct http_msg *m = http_msg_new(arena, false);

	m->status = 200;
	m->length_is = LENGTH_UNKNOWN;
	h2_stream_answer(st, m, false);
	task_wake(&peers[0].task);
}

struct reading {
	struct duplex *from;
	struct chq got;
	size_t want;
};

static bool
has_read(void *arg)
{
	struct reading *r = arg;

	(void)duplex_read(r->from, &r->got, 100);
	return (chq_len(&r->got) >= r->want || r->from->last != PULL_MORE);
}

static bool
is_lost(void *arg)
{
	return (duplex_is_lost(arg));
}

static bool
has_octets(void *arg)
{
	return (h2_stream_held(arg) == 3);
}

/* The head of HTTP/1, and octets; its end is a reset, in order, or the link's. */
static void
test_websocket(void)
{
	struct reading r = { .want = 2 };
	struct chq q = { 0 };
	struct h2_stream *st;
	struct duplex *d;
	struct hearing h;
	struct lease *l;
	unsigned how;

	for (how = 0; how < 3; how++) {
		begin();
		connects = true;
		l = get_websocket();
		CU_ASSERT_FATAL(until(is_settled, l));
		CU_ASSERT_EQUAL(lease_state(l), LEASE_READY);
		CU_ASSERT_PTR_NULL(lease_send(l, handshake(), false));
		await_requests(1);
		st = peers[0].st[0];
		grant(st);
		h = hear(l);
		CU_ASSERT_EQUAL_FATAL(h.got, LEASE_GOT_HEAD);
		CU_ASSERT_EQUAL(h.msg->status, 101);
		CU_ASSERT(str_eq(http_fields_value(&h.msg->fields,
				     FIELD_SEC_WEBSOCKET_ACCEPT),
		    STR("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
		d = lease_switch(l);
		chq_copy(&q, "abc", 3);
		CU_ASSERT_FATAL(duplex_room(d) >= 3);
		duplex_write(d, &q, 3);
		CU_ASSERT(until(has_octets, st));
		chq_copy(&q, "de", 2);
		h2_stream_write(st, &q, 2);
		task_wake(&peers[0].task);
		r.from = d;
		CU_ASSERT(until(has_read, &r));
		CU_ASSERT_EQUAL(chq_len(&r.got), 2);
		chq_fini(&r.got);
		if (how == 0) {
			h2_stream_end(st, NULL);
			duplex_end(d);
		} else if (how == 1)
			h2_stream_reset(st, H2_CANCEL);
		else
			link_close(&peers[0].link, LINK_ABORT);
		if (peers[0].link != NULL)
			task_wake(&peers[0].task);
		CU_ASSERT(until(has_read, &r));
		CHECK_ROW(how, "end",
		    d->last == (how == 0 ? PULL_END : PULL_FAIL));
		CHECK_ROW(how, "lost", is_lost(d) == (how > 0));
		CHECK_ROW(how, "over", duplex_is_over(d) == (how == 0));
		lease_release(&l);
		CHECK_ROW(how, "kept", worker.pool->idle == (how < 2));
		chq_fini(&q);
		end();
	}
}

/* Nothing is asked before SETTINGS have come; then the place is known. */
static void
test_asking(void)
{
	struct lease_want w;
	struct lease *l, *other;
	unsigned how;

	for (how = 0; how < 5; how++) {
		begin();
		connects = how == 0;
		silent = true;
		w = want();
		l = get(&w);
		CU_ASSERT_FATAL(until(is_settled, l));
		w.websocket = true; /* it turns out what it is for */
		CU_ASSERT_TRUE(lease_is_good(l, &wgen, &w));
		lease_adopt(l, &w, &task);
		CU_ASSERT_EQUAL(l->at, LEASE_AT_ASKING);
		CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
		other = get_websocket();
		CU_ASSERT_EQUAL(other->at, LEASE_AT_QUEUED);
		if (how == 2)
			l->timer.fire(&l->timer); /* they never come */
		else if (how == 3)
			link_close(&peers[0].link, LINK_ABORT);
		else if (how < 2) {
			silent = false;
			task_wake(&peers[0].task);
			CU_ASSERT_FATAL(until(is_told, l));
		}
		if (how == 0) {
			CU_ASSERT_EQUAL(lease_state(l), LEASE_READY);
			CU_ASSERT_TRUE(lease_is_good(l, &wgen, &w));
			CU_ASSERT_FATAL(until(is_settled, other));
			CU_ASSERT_PTR_EQUAL(other->origin, l->origin);
		} else if (how == 1) {
			CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
			CU_ASSERT_EQUAL(l->at, LEASE_AT_MAKING);
			CU_ASSERT_EQUAL(l->want.protocols, TLS_HTTP1);
			CU_ASSERT(other->at == LEASE_AT_MAKING ||
			    other->at == LEASE_AT_READY);
			CU_ASSERT_EQUAL(other->want.protocols, TLS_HTTP1);
			CU_ASSERT_EQUAL(worker.pool->idle, 1);
		} else if (how == 2) {
			CU_ASSERT_EQUAL(l->at, LEASE_AT_MAKING);
			CU_ASSERT_EQUAL(l->want.protocols, TLS_HTTP1);
		} else if (how == 3) {
			CU_ASSERT_FATAL(until(is_settled, l));
			CU_ASSERT_EQUAL(lease_state(l), LEASE_READY);
			CU_ASSERT_FALSE(lease_is_good(l, &wgen, &w));
		}
		lease_release(&l); /* also while it asks */
		lease_release(&other);
		end();
	}
}

UNIT_TESTS(proxy_lease_h2, { "shared by those that wait", test_shared },
    { "not by all", test_not_shared }, { "exchanges", test_exchanges },
    { "lost without an answer", test_lost }, { "GOAWAY", test_goaway },
    { "cut", test_cut }, { "uploads", test_upload },
    { "a sign of life", test_probe }, { "WebSocket", test_websocket },
    { "asking for WebSocket", test_asking })
