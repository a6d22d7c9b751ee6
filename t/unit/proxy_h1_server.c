/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP/1 server between a scripted client and a scripted flow: what comes
 * is told one exchange at a time, however it is cut, and what the flow wishes
 * becomes what the connection can bear.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "base/list.h"
#include "http/length.h"
#include "proxy/wire/h1_server.h"
#include "stream/pump.h"
#include "t/unit/http_help.h"
#include "t/unit/tls_lab.h"

#define LONG_MS 10000
#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define OK_CLOSE                                   \
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" \
	"Connection: close\r\n\r\n"

static struct loop *loop;
static struct body_store store = { .temp_dir = "/tmp", .window = 100000 };
static struct budget *budget;
static struct account *account;
static size_t live_before;

/*
 * What the flow does, a letter at a time: B take the body, R read it to its
 * end, C continue, I an interim head, A answer, a answer and wish to close,
 * S answer with a body of unknown length, D done, X abort, T tunnel, W wait.
 */
static struct flow {
	struct task task;
	struct exchange *x;
	struct arena *arena;
	struct body *body;
	struct reader reader;
	struct pump pump;
	const char *does;
} f;

static struct conn {
	struct task task;
	struct link *link;
	struct h1_server h1;
	enum server_step step;
	int peer;
	struct buf told;  /* to the flow */
	struct buf heard; /* by the client */
	const char *const *scripts;
	unsigned n; /* exchanges that have begun */
	bool drains;
	uint64_t request_ms, idle_ms;
} c;

static void
begin(void *host, struct exchange *x)
{
	static const char *const usual = "AD";

	(void)host;
	f.x = x;
	f.arena = exchange_take(x, &f.task);
	if (x->fault.code != ERR_NONE)
		buf_printf(&c.told, "!%s ", err_info(x->fault.code)->name);
	if (x->req != NULL)
		buf_printf(&c.told, "%.*s ", STR_ARG(x->req->target));
	f.does = c.scripts != NULL ? c.scripts[c.n] : usual;
	c.n++;
	task_wake(&f.task);
}

static void
limits(void *host, struct server_limits *l)
{
	(void)host;
	*l = (struct server_limits){ .head = h1_limits_client,
		.request_ms = c.request_ms,
		.idle_ms = c.idle_ms };
}

static bool
goes_on(void *host)
{
	(void)host;
	return (!c.drains);
}

static const struct server_host_type host_type = { begin, limits, goes_on };

/* False: it waits. */
static bool
read_body(void)
{
	struct chq q = { 0 };
	enum pull p;

	if (f.body == NULL)
		return (true);
	do {
		p = reader_pull(&f.reader, &q, 1000);
		while (chq_len(&q) > 0) {
			char o;

			chq_read(&q, 0, &o, 1);
			chq_drop(&q, 1);
			buf_add(&c.told, &o, 1);
		}
	} while (p == PULL_MORE);
	chq_fini(&q);
	if (p == PULL_WAIT)
		return (false);
	buf_cstr(&c.told, p == PULL_END ? "| " : "|cut ");
	return (true);
}

static void
let_go(void)
{
	pump_stop(&f.pump);
	reader_close(&f.reader);
	if (f.body != NULL)
		body_on_first_pull(f.body, NULL);
	body_unref(&f.body);
}

static void
finish(enum exchange_end how)
{
	let_go();
	exchange_end(&f.x, how);
	arena_free(&f.arena);
}

static void
answer(bool keep)
{
	struct http_msg *m = http_msg_new(f.arena, false);

	m->status = 200;
	m->reason = STR("OK");
	m->length_is = LENGTH_KNOWN;
	CU_ASSERT_PTR_NULL(exchange_respond(f.x, m, false, keep));
}

static void
answer_long(void)
{
	struct http_msg *m = http_msg_new(f.arena, false);
	struct body *b = body_of_bytes(loop, &store, "hello", 5);

	m->status = 200;
	m->reason = STR("OK");
	http_length_set(m, f.x->req, true, HTTP_LENGTH_UNKNOWN);
	pump_hold(&f.pump, b, &f.task);
	pump_begin(&f.pump, exchange_respond(f.x, m, true, true));
	reader_release(&f.pump.reader, BODY_ALL);
	CU_ASSERT_EQUAL(pump_run(&f.pump, loop_now(loop)), PULL_END);
	pump_stop(&f.pump);
	body_unref(&b);
}

static void
interim(void)
{
	struct http_msg *m = http_msg_new(f.arena, false);

	m->status = 103;
	m->reason = STR("Early Hints");
	exchange_interim(f.x, m);
}

/* One letter; false: it waits, or the exchange has ended. */
static bool
act(char what)
{
	switch (what) {
	case 'B':
		f.body = exchange_body(f.x, &store);
		if (f.body != NULL)
			reader_open(&f.reader, f.body, 0, &f.task);
		break;
	case 'R':
		return (read_body());
	case 'C':
		exchange_continue(f.x);
		break;
	case 'I':
		interim();
		break;
	case 'A':
	case 'a':
		answer(what == 'A');
		break;
	case 'S':
		answer_long();
		break;
	case 'D':
		finish(EXCHANGE_DONE);
		return (false);
	case 'X':
		finish(EXCHANGE_ABORT);
		return (false);
	case 'T':
		finish(EXCHANGE_TUNNEL);
		return (false);
	default:
		return (false);
	}
	return (true);
}

static void
flow_run(struct task *t)
{
	(void)t;
	while (f.x != NULL && act(*f.does))
		f.does++;
}

static void
conn_run(struct task *t)
{
	(void)t;
	if (c.step == SERVER_WAITS)
		c.step = server_run(&c.h1.server);
	if (c.step == SERVER_WAITS || c.link == NULL)
		return;
	server_fini(&c.h1.server);
	link_close(&c.link, c.step == SERVER_CLOSE ? LINK_CLOSE : LINK_ABORT);
}

static void
start(const char *const *scripts)
{
	struct server_options o = { .type = &host_type, .task = &c.task };
	int fd[2];

	live_before = chunk_bytes_live();
	loop = loop_new();
	budget = budget_new();
	account = account_open(budget, 1);
	memset(&f, 0, sizeof(f));
	memset(&c, 0, sizeof(c));
	c.scripts = scripts;
	c.request_ms = c.idle_ms = 60000;
	lab_tcp(fd);
	c.peer = fd[1];
	task_init(&c.task, loop, conn_run);
	task_init(&f.task, loop, flow_run);
	o.link = c.link = link_new(loop, fd[0], &c.task);
	o.account = account;
	(void)h1_server_start(&c.h1, &o);
	task_wake(&c.task);
}

static void
stop(void)
{
	if (f.x != NULL)
		finish(EXCHANGE_ABORT);
	if (c.link != NULL) {
		server_fini(&c.h1.server);
		link_close(&c.link, LINK_ABORT);
	}
	task_fini(&f.task);
	task_fini(&c.task);
	close(c.peer);
	buf_fini(&c.told);
	buf_fini(&c.heard);
	account_unref(&account);
	loop_free(&loop);
	budget_free(&budget);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live_before);
	link_thread_fini();
}

/* What the client hears until the connection ends. */
static bool
is_over(void *arg)
{
	ssize_t n = recv(c.peer, buf_room(&c.heard, 60000), 60000,
	    MSG_DONTWAIT);

	(void)arg;
	c.heard.n += n > 0 ? (size_t)n : 0;
	return (n == 0 || (n < 0 && errno != EAGAIN));
}

static void
say(const char *text, unsigned step)
{
	size_t at, part, n = strlen(text);

	for (at = 0; at < n; at += part) {
		part = 1 + unit_random(step);
		part = part > n - at ? n - at : part;
		if (send(c.peer, text + at, part, MSG_NOSIGNAL) < 0)
			break;
		if (step < n)
			lab_run(loop, 0);
	}
}

static bool
is_text(const char *what, struct buf *b, const char *text)
{
	bool same;

	buf_add(b, "", 1);
	same = strcmp(b->p, text) == 0;
	if (!same)
		printf("# %s: %s\n# wanted: %s\n", what, b->p, text);
	b->n--;
	return (same);
}

#define EXPECT                                                    \
	"POST /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" \
	"Content-Length: 3\r\n\r\n"
#define CHUNKS                                                  \
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" \
	"5\r\nhello\r\n0\r\n\r\n"

static const struct talk {
	const char *says, *does[4], *told, *heard;
	enum server_step step;
} talks[] = {
	/* nothing, and less than a request */
	{ "", { NULL }, "", "", SERVER_CLOSE },
	{ "GET /a HTTP/1.1\r\nHo", { NULL }, "", "", SERVER_CLOSE },
	/* one behind the other */
	{ GET GET GET, { "AD", "AD", "aD" }, "/a /a /a ", OK OK OK_CLOSE,
	    SERVER_CLOSE },
	{ GET GET, { "SD", "aD" }, "/a /a ", CHUNKS OK_CLOSE, SERVER_CLOSE },
	{ POST "abc" GET, { "BRAD", "aD" }, "/p abc| /a ", OK OK_CLOSE,
	    SERVER_CLOSE },
	/* HTTP/1.0 */
	{ "GET /a HTTP/1.0\r\nHost: h\r\n\r\n" GET, { "AD" }, "/a ", OK_CLOSE,
	    SERVER_CLOSE },
	{ "GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
	    { "ISD" }, "/a ",
	    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", SERVER_CLOSE },
	/* a body that nobody has taken is no request */
	{ POST "GET", { "AD" }, "/p ", OK_CLOSE, SERVER_CLOSE },
	/* one that broke off */
	{ POST "ab", { "BRAD" }, "/p ab|cut ", OK_CLOSE, SERVER_CLOSE },
	/* heads before the answer */
	{ EXPECT "abc", { "BCCIRaD" }, "/p abc| ",
	    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early "
	    "Hints\r\n\r\n" OK_CLOSE,
	    SERVER_CLOSE },
	/* what is no request, whatever the flow wishes */
	{ "GET\r\n\r\n" GET, { "AD" }, "!REQ_SYNTAX ", OK_CLOSE, SERVER_CLOSE },
	{ "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
	  "Transfer-Encoding: chunked\r\n\r\n" GET,
	    { "AD" }, "!REQ_FRAMING /a ", OK_CLOSE, SERVER_CLOSE },
	{ GET, { "X" }, "/a ", "", SERVER_ABORT },
};

static void
talk(const struct talk *t, unsigned step)
{
	start(t->does);
	say(t->says, step);
	shutdown(c.peer, SHUT_WR);
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	CU_ASSERT(is_text("told", &c.told, t->told));
	CU_ASSERT(is_text("heard", &c.heard, t->heard));
	CU_ASSERT_EQUAL(c.step, t->step);
	stop();
}

static void
test_talks(void)
{
	unsigned i, k;

	for (i = 0; i < sizeof(talks) / sizeof(talks[0]); i++) {
		talk(&talks[i], 65536);
		for (k = 0; k < 5; k++)
			talk(&talks[i], k == 0 ? 1 : 40);
	}
}

/* A connection that has to end says so, and ends at once between requests. */
static void
test_drains(void)
{
	start((const char *const[]){ "WAD" });
	say(GET, 1000);
	CU_ASSERT_FALSE(lab_until(loop, is_over, NULL, 20));
	CU_ASSERT(c.n == 1);
	c.drains = true;
	task_wake(&c.task); /* not while a request is under way */
	CU_ASSERT_FALSE(lab_until(loop, is_over, NULL, 20));
	f.does++;
	task_wake(&f.task);
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	CU_ASSERT(is_text("heard", &c.heard, OK_CLOSE));
	stop();

	start(NULL);
	CU_ASSERT_FALSE(lab_until(loop, is_over, NULL, 20));
	c.drains = true;
	task_wake(&c.task); /* as its host does */
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	CU_ASSERT(c.step == SERVER_CLOSE && c.n == 0);
	stop();

	/* Who has just come may have a request on its way. */
	start(NULL);
	c.drains = true;
	task_wake(&c.task);
	CU_ASSERT_FALSE(lab_until(loop, is_over, NULL, 20));
	say(GET, 1000);
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	CU_ASSERT(c.n == 1 && is_text("heard", &c.heard, OK_CLOSE));
	stop();
}

/* Each state has its deadline; a flow that is at work has none. */
static void
test_deadlines(void)
{
	static const struct {
		const char *says, *does[2], *told, *heard;
	} rows[] = {
		{ "", { "AD" }, "", "" },
		{ "\r\n", { "AD" }, "!REQ_TIMEOUT ", OK_CLOSE },
		{ "GET /a HT", { "AD" }, "!REQ_TIMEOUT ", OK_CLOSE },
		{ GET, { "AD" }, "/a ", OK },
		{ GET "\r\n", { "AD" }, "/a ", OK },
		{ GET "GE", { "AD", "AD" }, "/a !REQ_TIMEOUT ", OK OK_CLOSE },
	};
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start(rows[i].does);
		c.request_ms = 60;
		c.idle_ms = 30;
		server_fini(&c.h1.server);
		(void)h1_server_start(&c.h1,
		    &(struct server_options){ .type = &host_type,
			.link = c.link,
			.task = &c.task,
			.account = account });
		say(rows[i].says, 1000);
		CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
		CU_ASSERT(is_text("told", &c.told, rows[i].told));
		CU_ASSERT(is_text("heard", &c.heard, rows[i].heard));
		stop();
	}
	start((const char *const[]){ "W" });
	c.request_ms = c.idle_ms = 20;
	say(GET, 1000);
	CU_ASSERT_FALSE(lab_until(loop, is_over, NULL, 100));
	CU_ASSERT(f.x != NULL && f.x->gone_at == 0);
	stop();
}

static bool
is_gone(void *arg)
{
	(void)arg;
	return (f.x != NULL && f.x->gone_at != 0);
}

/* The flow learns that its client goes: at once, or after a while. */
static void
test_gone(void)
{
	struct linger now = { .l_onoff = 1 };
	unsigned i;

	for (i = 0; i < 2; i++) {
		start((const char *const[]){ "W" });
		say(GET, 1000);
		lab_run(loop, 20);
		CU_ASSERT_FATAL(f.x != NULL && f.x->gone_at == 0);
		if (i == 0)
			shutdown(c.peer, SHUT_WR);
		else {
			(void)setsockopt(c.peer, SOL_SOCKET, SO_LINGER, &now,
			    sizeof(now));
			close(c.peer);
			c.peer = dup(0);
		}
		CU_ASSERT(lab_until(loop, is_gone, NULL, LONG_MS));
		CU_ASSERT(i == 1 || f.x->gone_at > loop_now(loop));
		stop();
	}
}

/* CONNECT is granted; what came behind it is the link's again. */
static void
test_tunnel(void)
{
	struct chq q = { 0 };
	char text[8] = "";

	start((const char *const[]){ "T" });
	say("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\nhello", 1000);
	lab_run(loop, 20);
	(void)is_over(NULL);
	CU_ASSERT(is_text("heard", &c.heard,
	    "HTTP/1.1 200 Connection established\r\n\r\n"));
	CU_ASSERT(c.step == SERVER_WAITS && c.link != NULL);
	CU_ASSERT_EQUAL(link_read(c.link, &q, 100), PULL_MORE);
	CU_ASSERT_EQUAL_FATAL(chq_len(&q), 5);
	chq_read(&q, 0, text, 5);
	CU_ASSERT_STRING_EQUAL(text, "hello");
	chq_fini(&q);
	stop();
}

/* Behind a 101 octets go both ways, what came with the request first. */
static void
test_switch(void)
{
	struct http_msg *m;
	struct duplex *d;
	struct chq q = { 0 };
	char text[8] = "";
	enum pull p;

	start((const char *const[]){ "W" });
	say("GET /ws HTTP/1.1\r\nHost: h\r\n\r\nhello", 1 + unit_random(60));
	lab_run(loop, 20);
	m = http_msg_new(f.arena, false);
	m->status = 101;
	m->reason = STR("Switching Protocols");
	http_fields_add(f.arena, &m->fields, FIELD_UPGRADE, STR("x"));
	d = exchange_switch(f.x, m);
	while ((p = duplex_read(d, &q, 2)) == PULL_MORE)
		;
	CU_ASSERT_EQUAL(p, PULL_WAIT);
	CU_ASSERT_EQUAL_FATAL(chq_len(&q), 5);
	chq_read(&q, 0, text, 5);
	CU_ASSERT_STRING_EQUAL(text, "hello");
	CU_ASSERT(duplex_room(d) > 0);
	duplex_write(d, &q, 5);
	CU_ASSERT(!duplex_is_lost(d));
	CU_ASSERT(!duplex_is_over(d));
	duplex_end(d);
	CU_ASSERT(duplex_is_over(d));
	shutdown(c.peer, SHUT_WR);
	lab_run(loop, 20);
	CU_ASSERT_EQUAL(duplex_read(d, &q, 2), PULL_END);
	CU_ASSERT_EQUAL(duplex_read(d, &q, 2), PULL_END);
	finish(EXCHANGE_DONE);
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	CU_ASSERT(is_text("heard", &c.heard,
	    "HTTP/1.1 101 Switching "
	    "Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello"));
	CU_ASSERT_EQUAL(c.step, SERVER_CLOSE);
	chq_fini(&q);
	stop();
}

/* The body of a request that is over is cut for who still reads it. */
static void
test_body_left(void)
{
	struct reader late = { .body = NULL };
	struct chq q = { 0 };

	start((const char *const[]){ "BW" });
	say(POST "a", 1000);
	lab_run(loop, 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f.body);
	reader_open(&late, f.body, 0, NULL);
	CU_ASSERT_EQUAL(reader_pull(&late, &q, 10), PULL_MORE);
	CU_ASSERT_EQUAL(exchange_pace(f.x, loop_now(loop), 1000, 0), PACE_WELL);
	CU_ASSERT_EQUAL(reader_pull(&late, &q, 10), PULL_WAIT);
	CU_ASSERT_EQUAL(exchange_pace_due(f.x, loop_now(loop), 1000, 0),
	    loop_now(loop) + 1000);
	CU_ASSERT_EQUAL(exchange_pace(f.x, loop_now(loop) + 1000, 1000, 0),
	    PACE_SILENT);
	answer(true);
	finish(EXCHANGE_DONE);
	CU_ASSERT_EQUAL(reader_pull(&late, &q, 10), PULL_CUT);
	CU_ASSERT_EQUAL(body_fault(late.body)->code, ERR_REQ_BODY_CUT);
	reader_close(&late);
	chq_fini(&q);
	lab_run(loop, 5);
	CU_ASSERT_EQUAL(c.step, SERVER_CLOSE);
	stop();
}

UNIT_TESTS(proxy_h1_server, { "requests come apart", test_talks },
    { "the connection has to end", test_drains },
    { "deadlines", test_deadlines }, { "the client goes", test_gone },
    { "a tunnel", test_tunnel }, { "a switch of protocols", test_switch },
    { "a body that is left", test_body_left })
