/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leases of origins over plain HTTP/1: what a place gives, to whom, and what
 * becomes of a connection afterwards.  The origin is this file: a listening
 * socket, whose connections are taken and answered by hand.
 */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "net/resolve.h"
#include "proxy/conf/conf.h"
#include "proxy/wire/lease_priv.h"
#include "stream/body.h"
#include "t/unit/http_help.h"
#include "t/unit/tls_lab.h"

#define LONG_MS 10000
#define BURST 16 /* so many connect to one place at a time */

static struct gen gen;
static struct worker_gen wgen, other_gen;
static struct worker worker;
static struct budget *budget;
static struct lease_own own, stranger;
static struct task task;
static struct arena *arena;
static struct body_store store = { .temp_dir = "/tmp", .window = 100000 };
static int listening;
static uint16_t port;
static unsigned wakes;

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
	wakes++;
}

static void
load_conf(void)
{
	static const char text[] = "destinations: {allow: ['127.0.0.0/8']}\n";
	struct conf_problems p = { 0 };

	gen.conf = conf_parse("c", text, sizeof(text) - 1, &p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(gen.conf);
	conf_problems_fini(&p);
}

static void
begin(void)
{
	struct resolver_options o = { .deadline_ms = 1000 };
	union address a;
	socklen_t n = sizeof(a.v4);

	load_conf();
	worker = (struct worker){ .loop = loop_new(), .current = &wgen };
	budget = budget_new();
	worker.kept = account_open(budget, 1);
	worker.resolver = resolver_new(worker.loop, &o, NULL);
	worker.dialer = dialer_new(worker.loop, worker.resolver);
	worker.pool = origin_pool_new(&worker);
	wgen = (struct worker_gen){ .worker = &worker, .gen = &gen };
	other_gen = wgen;
	task_init(&task, worker.loop, on_wake);
	lease_own_init(&own, worker.kept, &task);
	lease_own_init(&stranger, worker.kept, &task);
	arena = arena_new();
	CU_ASSERT_FATAL(address_parse(STR("127.0.0.1"), &a));
	listening = socket(AF_INET, SOCK_STREAM, 0);
	CU_ASSERT_FATAL(
	    bind(listening, &a.sa, n) == 0 && listen(listening, 100) == 0);
	getsockname(listening, &a.sa, &n);
	port = address_port(&a.sa);
}

static void
end(void)
{
	lease_own_fini(&own);
	lease_own_fini(&stranger);
	origin_pool_free(&worker.pool);
	CU_ASSERT_EQUAL(wgen.refs, 0);
	CU_ASSERT_EQUAL(other_gen.refs, 0);
	task_fini(&task);
	loop_settle(worker.loop);
	dialer_free(&worker.dialer);
	resolver_free(&worker.resolver);
	account_unref(&worker.kept);
	budget_free(&budget);
	loop_free(&worker.loop);
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
	    .protocols = TLS_HTTP1,
	    .host = STR("127.0.0.1"),
	    .host_is_ip = true,
	    .port = port });
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

	CU_ASSERT_FATAL(lab_until(worker.loop, is_settled, l, LONG_MS));
	CU_ASSERT_EQUAL_FATAL(lease_state(l), LEASE_READY);
	return (l);
}

/* The origin's end of the connection made before the others. */
static int
take(void)
{
	struct pollfd p = { .fd = listening, .events = POLLIN };

	CU_ASSERT_FATAL(poll(&p, 1, LONG_MS) == 1);
	return (accept(listening, NULL, NULL));
}

static bool
is_here(void *arg)
{
	struct pollfd p = { .fd = *(int *)arg, .events = POLLIN };

	return (poll(&p, 1, 0) == 1);
}

static struct http_msg *
request(const char *head)
{
	struct http_msg *m = http_help_head(arena, H1_REQUEST, head);

	m->uri.host = STR("a.test");
	return (m);
}

static void
send_head(struct lease *l, int fd, const char *head)
{
	char got[4096];

	CU_ASSERT_PTR_NULL(lease_send(l, request(head), false));
	CU_ASSERT(lab_until(worker.loop, is_here, &fd, LONG_MS));
	CU_ASSERT(read(fd, got, sizeof(got)) > 0);
}

#define GET "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
#define SIGNED                               \
	"GET / HTTP/1.1\r\nHost: a.test\r\n" \
	"Authorization: NTLM TlRMTVNTUAADAAAA\r\n\r\n"
#define OK(fields, body) "HTTP/1.1 200 OK\r\n" fields "\r\n" body

static void
say(int fd, const char *text)
{
	CU_ASSERT(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
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

	CU_ASSERT_FATAL(lab_until(worker.loop, has_head, &h, LONG_MS));
	return (h);
}

/* One exchange without a body; the connection is reusable after it. */
static void
exchange(struct lease *l, int fd, const char *head, const char *answer)
{
	struct hearing h;

	send_head(l, fd, head);
	say(fd, answer);
	h = hear(l);
	CU_ASSERT_EQUAL_FATAL(h.got, LEASE_GOT_HEAD);
	CU_ASSERT_PTR_NULL(lease_body(l, &store, h.msg));
}

static bool
is_closed(int fd)
{
	char c;

	lab_run(worker.loop, 0);
	loop_settle(worker.loop);
	CU_ASSERT(lab_until(worker.loop, is_here, &fd, LONG_MS));
	return (read(fd, &c, 1) <= 0);
}

/* Tests. */

/* Made, used, kept, used again; the facts say so. */
static void
test_kept(void)
{
	struct lease_times times;
	struct lease *l;
	int fd;

	begin();
	l = get_ready();
	fd = take();
	CU_ASSERT_FALSE(l->reused);
	CU_ASSERT_EQUAL(address_port(lease_peer(l)), port);
	CU_ASSERT_STRING_EQUAL(lease_peer_ip(l), "127.0.0.1");
	lease_times(l, &times);
	CU_ASSERT(times.connect_ms >= 0 && times.tls_ms == -1);
	exchange(l, fd, GET, OK("Content-Length: 0\r\n", ""));
	lease_release(&l);
	CU_ASSERT_PTR_NULL(l);
	CU_ASSERT_EQUAL(worker.pool->idle, 1);
	l = get_ready();
	CU_ASSERT_TRUE(l->reused);
	lease_times(l, &times);
	CU_ASSERT(times.connect_ms == -1);
	CU_ASSERT_EQUAL(worker.pool->idle, 0);
	exchange(l, fd, GET, OK("Content-Length: 0\r\n", ""));
	lease_release(&l);
	lease_release(&l); /* nothing */
	close(fd);
	end();
}

/* How an exchange ends, and whether its connection serves another one. */
static void
test_whole(void)
{
	static const struct {
		const char *answer;
		bool kept;
	} is[] = { { OK("Content-Length: 2\r\n", "ok"), true },
		{ OK("Content-Length: 3\r\n", "ok"), false },
		{ OK("Content-Length: 2\r\n", "ok!"), false },
		{ OK("Content-Length: 2\r\nConnection: close\r\n", "ok"),
		    false },
		{ OK("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
		    true },
		{ OK("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n"), false },
		{ OK("", "ok"), false },
		{ "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false },
		/* heads that others may read in another way */
		{ "HTTP/1.1 200 OK\nX: y\r\nContent-Length: 2\r\n\r\nok",
		    false },
		{ OK("what is this\r\nX: y\r\nContent-Length: 2\r\n", "ok"),
		    false } };
	struct hearing h;
	struct body *b;
	struct lease *l;
	unsigned i;
	int fd;

	begin();
	for (i = 0; i < COUNT(is); i++) {
		l = get_ready();
		fd = take();
		send_head(l, fd, GET);
		say(fd, is[i].answer);
		h = hear(l);
		CU_ASSERT_EQUAL_FATAL(h.got, LEASE_GOT_HEAD);
		b = lease_body(l, &store, h.msg);
		CU_ASSERT_PTR_NOT_NULL(b);
		body_unref(&b);
		lease_release(&l);
		CHECK_ROW(i, "kept", worker.pool->idle == is[i].kept);
		origin_pool_purge(worker.pool, NULL);
		CHECK_ROW(i, "closed", is_closed(fd));
		close(fd);
	}
	end();
}

/* An upload that has not ended leaves no connection. */
static void
test_upload(void)
{
	struct lease *l;
	struct hearing h;
	struct sink *s;
	struct chq q = { 0 };
	unsigned i;
	int fd;

	begin();
	for (i = 0; i < 2; i++) {
		l = get_ready();
		fd = take();
		h.msg = request("POST / HTTP/1.1\r\nHost: a.test\r\n\r\n");
		h.msg->length_is = LENGTH_KNOWN;
		h.msg->length = 2;
		s = lease_send(l, h.msg, true);
		CU_ASSERT_PTR_NOT_NULL_FATAL(s);
		chq_copy(&q, "hi", 2);
		CU_ASSERT(sink_room(s) >= 2 && sink_write(s, &q, 2));
		if (i == 1)
			CU_ASSERT_EQUAL(sink_end(s, NULL), PULL_END);
		say(fd, OK("Content-Length: 0\r\n", ""));
		h = hear(l);
		CU_ASSERT_EQUAL(h.got, LEASE_GOT_HEAD);
		lease_release(&l);
		CU_ASSERT_EQUAL(worker.pool->idle, i);
		chq_fini(&q);
		close(fd);
	}
	end();
}

/* One that nothing was sent on goes back, as old as it was. */
static void
test_unsent(void)
{
	struct lease_want w;
	struct lease *l;
	int fd;

	begin();
	l = get_ready();
	fd = take();
	CU_ASSERT_TRUE(is_good(l, &wgen, TLS_HTTP1, true));
	CU_ASSERT_FALSE(is_good(l, &other_gen, TLS_HTTP1, false));
	l->origin->used_at -= 2000;
	CU_ASSERT_FALSE(is_good(l, &wgen, TLS_HTTP1, true));
	CU_ASSERT_TRUE(is_good(l, &wgen, TLS_HTTP1, false));
	lease_release(&l);
	CU_ASSERT_EQUAL(worker.pool->idle, 1);
	w = want();
	w.recent = true;
	l = get(&w);
	CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
	lease_release(&l);
	w.recent = false;
	l = get(&w);
	CU_ASSERT_EQUAL(lease_state(l), LEASE_READY);
	close(fd); /* its peer ends it meanwhile */
	CU_ASSERT_FALSE(is_good(l, &wgen, TLS_HTTP1, false));
	lease_release(&l);
	CU_ASSERT_EQUAL(worker.pool->idle, 0);
	end();
}

/* Places: another host, port, scheme or generation is another one. */
static void
test_places(void)
{
	struct lease_want w = { 0 };
	struct lease *l;
	unsigned i;
	int fd;

	begin();
	l = get_ready();
	fd = take();
	lease_release(&l);
	for (i = 0; i < 5; i++) {
		w = want();
		if (i == 1)
			w.dial_host = STR("127.0.0.2");
		else if (i == 2)
			w.port++;
		else if (i == 3)
			w.protocols = TLS_H2;
		l = lease_get(&worker, i == 4 ? &other_gen : &wgen, &w, &task);
		CHECK_ROW(i, "state",
		    lease_state(l) == (i == 0 ? LEASE_READY : LEASE_WAITING));
		lease_release(&l);
		CHECK_ROW(i, "idle", worker.pool->idle == 1);
	}
	worker.current = &other_gen; /* after a reload it serves nobody */
	l = get_ready();
	lease_release(&l);
	CU_ASSERT_EQUAL(worker.pool->idle, 0);
	close(fd);
	end();
}

/*
 * More than may connect wait; what comes free is theirs first, and if it has
 * ended meanwhile, they connect.
 */
static void
test_queue(void)
{
	struct lease *first, *some[BURST], *last;
	struct lease_want w;
	unsigned i, round;
	int fd;

	for (round = 0; round < 2; round++) {
		begin();
		w = want();
		first = get_ready();
		fd = take();
		for (i = 0; i < BURST; i++)
			some[i] = get(&w);
		last = get(&w);
		CU_ASSERT_EQUAL(last->at, LEASE_AT_QUEUED);
		exchange(first, fd, GET, OK("Content-Length: 0\r\n", ""));
		if (last->at == LEASE_AT_QUEUED) { /* nobody was quicker */
			lease_release(&first);
			CU_ASSERT_EQUAL(last->at, LEASE_AT_GIVEN);
			if (round == 1)
				shutdown(fd, SHUT_RDWR);
			CU_ASSERT_EQUAL(lease_state(last),
			    round == 1 ? LEASE_WAITING : LEASE_READY);
		}
		CU_ASSERT(lab_until(worker.loop, is_settled, last, LONG_MS));
		CU_ASSERT_EQUAL(lease_state(last), LEASE_READY);
		lease_release(&first);
		lease_release(&last);
		for (i = 0; i < BURST; i++)
			lease_release(&some[i]);
		close(fd);
		end();
	}
}

/* Given up while it waits, in each way. */
static void
test_given_up(void)
{
	struct lease *some[2 * BURST];
	struct lease_want w;
	unsigned i, k;

	begin();
	w = want();
	for (k = 0; k < 2 * BURST; k++)
		some[k] = get(&w);
	CU_ASSERT_EQUAL(some[BURST]->at, LEASE_AT_QUEUED);
	for (k = 2 * BURST; k > 0; k--) {
		i = unit_random(k);
		lease_release(&some[i]);
		some[i] = some[k - 1];
		if (unit_random(3) == 0)
			lab_run(worker.loop, 0);
	}
	end();
}

static bool
may_not(void *arg, const struct sockaddr *to)
{
	CU_ASSERT_EQUAL(address_port(to), port);
	++*(unsigned *)arg;
	return (false);
}

/* No connection: the cause is the lease's. */
static void
test_failed(void)
{
	struct lease *l, *some[BURST];
	struct lease_want w;
	unsigned i, asked = 0;

	begin();
	w = want();
	w.may_reach = may_not;
	w.arg = &asked;
	l = get(&w);
	CU_ASSERT(lab_until(worker.loop, is_settled, l, LONG_MS));
	CU_ASSERT_EQUAL_FATAL(lease_state(l), LEASE_FAILED);
	CU_ASSERT_EQUAL(lease_fault(l)->code, ERR_POLICY_BLOCK);
	CU_ASSERT_EQUAL(asked, 1);
	CU_ASSERT_PTR_NULL(lease_peer(l));
	lease_release(&l);
	w = want();
	for (i = 0; i < BURST; i++)
		some[i] = get(&w);
	l = get(&w);
	CU_ASSERT_EQUAL(l->at, LEASE_AT_QUEUED);
	l->until = 0;
	l->timer.fire(&l->timer);
	CU_ASSERT_EQUAL(lease_state(l), LEASE_FAILED);
	CU_ASSERT_EQUAL(lease_fault(l)->code, ERR_CONNECT_TIMEOUT);
	lease_release(&l);
	for (i = 0; i < BURST; i++)
		lease_release(&some[i]);
	end();
}

/* When a request may go out again. */
static void
test_repeat(void)
{
	static const struct {
		const char *head, *answer;
		bool kept, may;
	} is[] = { { GET, "", true, true }, { GET, "", false, false },
		{ SIGNED, "", true, false },
		{ GET, "HTTP/1.1 103 Early Hints\r\n\r\n", true, false } };
	struct hearing h;
	struct lease *l;
	unsigned i;
	int fd;

	begin();
	for (i = 0; i < COUNT(is); i++) {
		l = get_ready();
		fd = take();
		if (is[i].kept) {
			lease_release(&l);
			l = get_ready();
		}
		send_head(l, fd, is[i].head);
		say(fd, is[i].answer);
		close(fd);
		h = hear(l);
		if (is[i].answer[0] != '\0') {
			CU_ASSERT_EQUAL(h.got, LEASE_GOT_HEAD);
			h = hear(l);
		}
		CU_ASSERT_EQUAL(h.got, LEASE_GOT_END);
		CU_ASSERT_EQUAL(h.fault.code, ERR_ORIGIN_CLOSED);
		CHECK_ROW(i, "may repeat", lease_may_repeat(l) == is[i].may);
		lease_release(&l);
	}
	end();
}

/* What is no answer is said, and its connection ends. */
static void
test_bad(void)
{
	static const char *const bad[] = { "HTTP/3 what\r\n\r\n",
		OK("Content-Length: 1\r\nContent-Length: 2\r\n", "") };
	struct hearing h;
	struct lease *l;
	unsigned i;
	int fd;

	begin();
	for (i = 0; i < COUNT(bad); i++) {
		l = get_ready();
		fd = take();
		send_head(l, fd, GET);
		say(fd, bad[i]);
		h = hear(l);
		CHECK_ROW(i, "bad",
		    h.got == LEASE_GOT_BAD && h.fault.code != ERR_NONE);
		lease_release(&l);
		CHECK_ROW(i, "closed", is_closed(fd));
		close(fd);
	}
	end();
}

/* Signed in: its client's alone, and lost it is noticed. */
static void
test_own(void)
{
	static const char
	    half[] = "HTTP/1.1 401 U\r\nContent-Length: 0\r\n"
		     "WWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n\r\n";
	struct lease_want w;
	struct lease *l;
	int fd;

	begin();
	l = get_ready();
	fd = take();
	exchange(l, fd, SIGNED, OK("Content-Length: 0\r\n", ""));
	lease_release(&l);
	CU_ASSERT(own.n == 1 && worker.pool->idle == 0);
	w = want();
	w.own = &stranger;
	l = get(&w);
	CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
	lease_release(&l);
	w.own = &own;
	w.recent = true;
	l = get(&w);
	CU_ASSERT_EQUAL(lease_state(l), LEASE_READY);
	l->origin->used_at -= 2000; /* however long it was idle */
	CU_ASSERT_TRUE(is_good(l, &wgen, TLS_HTTP1, true));
	exchange(l, fd, SIGNED, half);
	lease_release(&l);
	CU_ASSERT(own.n == 1 && !own.broken);
	close(fd);
	w.recent = false;
	l = get(&w); /* it has ended: the next leg comes to no stranger */
	CU_ASSERT_EQUAL(lease_state(l), LEASE_FAILED);
	CU_ASSERT_EQUAL(lease_fault(l)->code, ERR_ORIGIN_CLOSED);
	CU_ASSERT(own.n == 0 && own.broken);
	lease_release(&l);
	w.own = &stranger; /* of another client */
	l = get(&w);
	CU_ASSERT_EQUAL(lease_state(l), LEASE_WAITING);
	lease_release(&l);
	end();
}

/* A head that is late, by what has come of it. */
static void
test_late(void)
{
	struct hearing h = { .got = LEASE_GOT_WAIT };
	struct lease *l;
	uint64_t now;
	int fd;

	begin();
	l = get_ready();
	fd = take();
	now = loop_now(worker.loop);
	CU_ASSERT_FALSE(lease_is_late(l, now + 100000, 1, 1));
	send_head(l, fd, GET);
	now = l->asked_at;
	CU_ASSERT_FALSE(lease_is_late(l, now + 99, 100, 50));
	CU_ASSERT_TRUE(lease_is_late(l, now + 100, 100, 50));
	say(fd, "HTTP");
	h.lease = l;
	while (!l->begun) {
		CU_ASSERT_FALSE_FATAL(has_head(&h));
		lab_run(worker.loop, 1);
	}
	now = l->asked_at;
	CU_ASSERT_TRUE(lease_is_late(l, now + 50, 100, 50));
	lease_forgive(l, now + 50);
	CU_ASSERT_FALSE(lease_is_late(l, now + 99, 100, 50));
	lease_release(&l);
	close(fd);
	end();
}

UNIT_TESTS(proxy_lease, { "kept and used again", test_kept },
    { "whole between two messages", test_whole },
    { "an upload that has not ended", test_upload },
    { "nothing was sent on it", test_unsent }, { "places", test_places },
    { "who waits for a turn", test_queue },
    { "given up while it waits", test_given_up },
    { "no connection", test_failed }, { "may it be repeated", test_repeat },
    { "no answer", test_bad }, { "signed in", test_own },
    { "a late head", test_late })
