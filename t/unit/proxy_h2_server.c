/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP/2 server and its exchanges: what becomes a request, what the flow
 * says becomes frames, streams end in every phase without harm to others,
 * windows follow who reads, and the connection ends in order.
 */
#include <sys/socket.h>
#include "http/ws_open.h"
#include "t/unit/proxy_h2_rig.h"

#define TO ":scheme: https\n:authority: a.test\n:path: /1\n"
#define WEBSOCKET                                     \
	":method: CONNECT\n:protocol: websocket\n" TO \
	"sec-websocket-version: 13\n"
#define WINDOW 65535u
#define UNKNOWN HTTP_LENGTH_UNKNOWN

static bool
is_over(void *arg)
{
	(void)arg;
	return (rig.link == NULL && rig.eof);
}

static bool
has_goaway(void *arg)
{
	(void)arg;
	return (rig.goaways > 0);
}

/* The flow of a request that has come. */
static struct does *
does_of(const struct ask *a)
{
	struct does *d;

	rig_settle();
	d = rig_does(a);
	CU_ASSERT_FATAL(d != NULL);
	return (d);
}

static void
answer_and_end(struct does *d, size_t n)
{
	does_answer(d, 200, n);
	if (n > 0) {
		CU_ASSERT_EQUAL(does_write(d, n), n);
		does_end(d, false);
	}
	does_finish(d, EXCHANGE_DONE);
}

/* --- what becomes a request --- */

static void
test_forms(void)
{
	static const struct {
		const char *head;
		bool sends;
		const char *what; /* NULL: it is none, its stream is reset */
		enum err fault;
	} rows[] = {
		{ ":method: GET\n" TO, false, "GET /1", ERR_NONE },
		{ ":method: HEAD\n" TO, false, "HEAD /1", ERR_NONE },
		{ ":method: POST\n" TO, true, "POST /1", ERR_NONE },
		{ ":method: BREW\n" TO, false, "BREW /1", ERR_NONE },
		{ ":method: OPTIONS\n:scheme: https\n:authority: a.test\n"
		  ":path: *\nreferer: 1\n",
		    false, "OPTIONS *", ERR_NONE },
		{ ":method: GET\n:scheme: https\n:path: /1\nhost: a.test\n",
		    false, "GET /1", ERR_NONE },
		{ ":method: GET\n:scheme: https\n:authority: A.TEST:443\n"
		  ":path: /1\n",
		    false, "GET /1", ERR_NONE },
		/* answered with an error */
		{ ":method: GET\n:scheme: https\n:authority: b.test\n"
		  ":path: /1\n",
		    false, "GET /1", ERR_REQ_MISDIRECTED },
		{ ":method: CONNECT\n:authority: a.test:443\nreferer: 1\n",
		    true, "CONNECT a.test:443", ERR_REQ_METHOD },
		{ ":method: CONNECT\n:protocol: x\n" TO, true, "CONNECT /1",
		    ERR_REQ_METHOD },
		{ ":method: POST\n" TO "expect: a wonder\n", true, "POST /1",
		    ERR_REQ_EXPECT },
		/* an extended CONNECT as HTTP/1 says it */
		{ WEBSOCKET, true, "GET /1", ERR_NONE },
		/* none at all */
		{ ":method: GET\n:scheme: http\n:authority: a.test\n"
		  ":path: /1\n",
		    false, NULL, ERR_NONE },
		{ ":method: GET\n" TO "connection: close\n", false, NULL,
		    ERR_NONE },
		{ ":method: GET\n" TO "transfer-encoding: chunked\n", true,
		    NULL, ERR_NONE },
		{ ":method: GET\n:scheme: https\n:path: /1\n", false, NULL,
		    ERR_NONE },
		{ ":method: POST\n" TO "content-length: 5\n", false, NULL,
		    ERR_NONE },
		{ ":method: GET\n" TO "host: b.test\n", false, NULL, ERR_NONE },
	};
	struct does *d;
	struct ask *a;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		rig_begin(0);
		rig.piece = i % 3 == 0 ? 0 : 1 + unit_random(30);
		a = rig_ask(rows[i].head, rows[i].sends);
		rig_settle();
		d = rig_last();
		CU_ASSERT_FATAL(d != NULL);
		if (rows[i].what == NULL) { /* for the record alone */
			CHECK_ROW(i, "reset",
			    a->closed && a->code == NGHTTP2_PROTOCOL_ERROR);
			CHECK_ROW(i, "mute",
			    d->x->mute && d->what[0] == '\0' &&
				d->fault != ERR_NONE);
			rig_end();
			continue;
		}
		CHECK_ROW(i, d->what, strcmp(d->what, rows[i].what) == 0);
		CHECK_ROW(i, err_info(d->fault)->name,
		    d->fault == rows[i].fault && !d->x->mute);
		does_answer(d, d->fault != ERR_NONE ? 400 : 200, 0);
		does_finish(d, EXCHANGE_DONE);
		rig_settle();
		CHECK_ROW(i, "answer", a->status >= 200 && a->ended);
		CHECK_ROW(i, "the connection", rig.goaways == 0);
		rig_end();
	}
}

/* A head that is too large is answered; its request is none. */
static void
test_large(void)
{
	static char head[30000];
	struct does *d;
	struct ask *a;

	rig_begin(0);
	(void)snprintf(head, sizeof(head),
	    ":method: GET\n:scheme: https\n:authority: a.test\n:path: /%0*d\n",
	    20000, 7);
	a = rig_ask(head, false);
	rig_settle();
	CU_ASSERT_PTR_NOT_NULL_FATAL(d = rig_last());
	CU_ASSERT(d->fault == ERR_REQ_LINE_LONG && d->x->req == NULL);
	does_answer(d, 414, 0);
	does_finish(d, EXCHANGE_DONE);
	rig_settle();
	CU_ASSERT(a->status == 414 && a->ended);
	rig_end();
}

/* --- phases --- */

/* Heads before the answer, and 100 only for who waits for it. */
static void
test_interim(void)
{
	struct does *d;
	struct ask *a;

	rig_begin(0);
	a = rig_ask(":method: POST\n" TO "expect: 100-continue\n", true);
	d = does_of(a);
	CU_ASSERT(d->expects);
	does_body(d);
	exchange_continue(d->x);
	exchange_continue(d->x);
	rig_settle();
	does_interim(d, 103);
	CU_ASSERT_FALSE(exchange_takes_interim(d->x));
	d->woken = 0;
	rig_settle();
	CU_ASSERT(d->woken > 0 && exchange_takes_interim(d->x));
	CU_ASSERT_STRING_EQUAL(a->interims, "100 103 ");
	rig_send(a, 100, true);
	rig_settle();
	CU_ASSERT_EQUAL(does_read(d, 1000), PULL_END);
	CU_ASSERT_EQUAL(d->got, 100);
	answer_and_end(d, 5);
	rig_settle();
	CU_ASSERT(a->status == 200 && a->got == 5 && a->ended);
	CU_ASSERT_STRING_EQUAL(a->fields, "x-a: 1\n");
	rig_end();

	rig_begin(0);
	a = rig_post();
	exchange_continue(does_of(a)->x);
	rig_settle();
	CU_ASSERT_STRING_EQUAL(a->interims, "");
	rig_end();
}

/* Bodies that are as long as their heads say, and that are not. */
static void
test_lengths(void)
{
	static const struct {
		uint64_t says;
		size_t writes;
		bool whole;
	} rows[] = {
		{ 5, 5, true },
		{ 5, 4, false },
		{ 5, 6, false },
		{ UNKNOWN, 0, true },
		{ UNKNOWN, 50000, true },
		{ 60000, 60000, true },
	};
	struct does *d;
	struct ask *a;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		rig_begin(0);
		a = rig_get();
		d = does_of(a);
		does_answer(d, 200, rows[i].says);
		CHECK_ROW(i, "room",
		    does_write(d, rows[i].writes) ==
			(rows[i].writes <= rows[i].says ? rows[i].writes : 0));
		if (d->sink->end == PULL_MORE)
			does_end(d, false);
		CHECK_ROW(i, "whole", d->whole == rows[i].whole);
		does_finish(d, d->whole ? EXCHANGE_DONE : EXCHANGE_ABORT);
		rig_settle();
		CHECK_ROW(i, "seen whole", a->ended == rows[i].whole);
		CHECK_ROW(i, "code",
		    a->closed &&
			a->code == (rows[i].whole ? 0u : H2_INTERNAL_ERROR));
		CHECK_ROW(i, "octets",
		    !rows[i].whole || a->got == rows[i].writes);
		rig_end();
	}
}

static void
test_trailers(void)
{
	const struct http_fields *t;
	struct does *d;
	struct ask *a;

	rig_begin(0);
	a = rig_post();
	a->trailer = "x-sum: 77\ncontent-length: 9\n";
	rig_send(a, 10, true);
	d = does_of(a);
	does_body(d);
	CU_ASSERT_EQUAL(does_read(d, 100), PULL_END);
	t = body_trailer(d->body);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_PTR_NOT_NULL_FATAL(http_fields_find(t, STR("x-sum")));
	CU_ASSERT(str_eq(http_fields_find(t, STR("x-sum"))->value, STR("77")));
	does_answer(d, 200, 3);
	CU_ASSERT_EQUAL(does_write(d, 3), 3);
	does_end(d, true);
	does_finish(d, EXCHANGE_DONE);
	rig_settle();
	CU_ASSERT(a->ended && a->got == 3);
	CU_ASSERT_STRING_EQUAL(a->behind, "x-t: 2\n");
	rig_end();
}

/* The body of a request that is over is cut for who still reads it. */
static void
test_body_left(void)
{
	struct reader late = { .body = NULL };
	struct chq q = { 0 };
	struct does *d;
	struct ask *a;

	rig_begin(0);
	a = rig_post();
	rig_send(a, 5, false);
	d = does_of(a);
	does_body(d);
	reader_open(&late, d->body, 0, NULL);
	CU_ASSERT_EQUAL(reader_pull(&late, &q, 10), PULL_MORE);
	CU_ASSERT_EQUAL(reader_pull(&late, &q, 10), PULL_WAIT);
	answer_and_end(d, 0);
	CU_ASSERT_EQUAL(reader_pull(&late, &q, 10), PULL_CUT);
	CU_ASSERT_EQUAL(body_fault(late.body)->code, ERR_REQ_BODY_CUT);
	reader_close(&late);
	chq_fini(&q);
	rig_end();
}

/* Ways to end that are no answer. */
static void
test_ends(void)
{
	static const struct {
		enum exchange_end how;
		uint32_t code;
	} rows[] = {
		{ EXCHANGE_ABORT, NGHTTP2_INTERNAL_ERROR },
		{ EXCHANGE_HTTP1, NGHTTP2_HTTP_1_1_REQUIRED },
	};
	struct ask *a, *other;
	struct does *d;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		rig_begin(0);
		a = rig_post();
		other = rig_get();
		d = does_of(a);
		does_body(d);
		does_finish(d, rows[i].how);
		rig_settle();
		CHECK_ROW(i, "code", a->closed && a->code == rows[i].code);
		answer_and_end(does_of(other), 0);
		rig_settle();
		CHECK_ROW(i, "the other", other->status == 200 && other->ended);
		rig_end();
	}
}

static void
grant(struct does *d)
{
	struct http_msg *m = http_msg_new(d->arena, false);

	m->status = 101;
	d->raw = exchange_switch(d->x, m);
}

/* Octets both ways behind a granted extended CONNECT. */
static void
test_switch(void)
{
	struct chq q = { 0 };
	struct does *d;
	struct ask *a;

	rig_begin(0);
	a = rig_ask(WEBSOCKET, true);
	d = does_of(a);
	CU_ASSERT_EQUAL(ws_open_asks(d->x->req, NULL), WS_ASKS);
	grant(d);
	rig_send(a, 10, false);
	rig_settle();
	CU_ASSERT(a->status == 200 && !a->ended);
	CU_ASSERT_EQUAL(duplex_read(d->raw, &q, 100), PULL_MORE);
	CU_ASSERT_EQUAL(chq_len(&q), 10);
	CU_ASSERT_EQUAL(duplex_read(d->raw, &q, 100), PULL_WAIT);
	CU_ASSERT(duplex_room(d->raw) >= 10);
	duplex_write(d->raw, &q, 10); /* the same octets back */
	d->woken = 0;
	rig_send(a, 0, true);
	rig_settle();
	CU_ASSERT(a->got == 10 && d->woken > 0);
	CU_ASSERT_EQUAL(duplex_read(d->raw, &q, 100), PULL_END);
	duplex_end(d->raw);
	does_finish(d, EXCHANGE_DONE);
	rig_settle();
	CU_ASSERT(a->ended && a->closed && a->code == 0);
	chq_fini(&q);
	rig_end();
}

/* --- the client takes a request back, in each phase --- */

enum phase {
	NEW,       /* its flow has begun */
	IN_BODY,   /* ... and reads */
	ANSWERED,  /* ... and has answered, the request still comes */
	IN_ANSWER, /* ... and writes */
	WRITTEN,   /* ... and has written all, which is not fetched */
	SWITCHED,
	PHASES
};

/* Go there. */
static struct does *
reach(enum phase to, struct ask **ap)
{
	struct does *d;

	*ap = to == SWITCHED ? rig_ask(WEBSOCKET, true) : rig_post();
	d = does_of(*ap);
	if (to == SWITCHED)
		grant(d);
	if (to == IN_BODY || to == ANSWERED) {
		does_body(d);
		rig_send(*ap, 1000, false);
		rig_settle();
		CU_ASSERT_EQUAL(does_read(d, 100), PULL_MORE);
	}
	if (to == ANSWERED)
		does_answer(d, 200, 0);
	if (to == IN_ANSWER || to == WRITTEN) {
		does_answer(d, 200, UNKNOWN);
		CU_ASSERT(does_write(d, 200000) > 0);
	}
	if (to == WRITTEN)
		does_end(d, false);
	rig_settle();
	return (d);
}

static void
test_taken_back(void)
{
	struct ask *a, *other;
	struct chq q = { 0 };
	struct does *d;
	unsigned at;

	for (at = 0; at < PHASES; at++) {
		rig_begin(1000);
		rig.keeps = true;
		d = reach((enum phase)at, &a);
		d->woken = 0;
		rig_reset(a);
		other = rig_get();
		rig_settle();
		CHECK_ROW(at, "told", d->woken > 0);
		CHECK_ROW(at, "gone",
		    d->x->gone_at != 0 && d->x->gone_at <= loop_now(rig.loop));
		if (d->body != NULL) {
			while (does_read(d, 1000) == PULL_MORE)
				;
			CHECK_ROW(at, "body", d->end == PULL_CUT);
		}
		if (at == IN_ANSWER)
			CHECK_ROW(at, "room", does_write(d, 100) == 0);
		if (at == SWITCHED) {
			CHECK_ROW(at, "octets",
			    duplex_read(d->raw, &q, 9) == PULL_FAIL);
			CHECK_ROW(at, "lost", duplex_is_lost(d->raw));
		}
		/* It counts until its flow has ended. */
		CHECK_ROW(at, "streams",
		    h2_session_streams(rig.h2.session) == 2 && rig.h2.n == 2);
		does_finish(d, EXCHANGE_ABORT);
		answer_and_end(does_of(other), 0);
		rig_settle();
		CHECK_ROW(at, "the other", other->status == 200);
		CHECK_ROW(at, "nothing is left",
		    h2_session_streams(rig.h2.session) == 0 && rig.h2.n == 0);
		CHECK_ROW(at, "the connection", rig.goaways == 0);
		rig_end();
	}
}

/* Taken back before a turn has looked at it: no flow, or one that knows. */
static void
test_taken_back_at_once(void)
{
	struct ask *a;

	rig_begin(0);
	rig_settle();
	a = rig_post();
	rig_reset(a);
	CU_ASSERT(a->asked);
	rig_settle();
	CU_ASSERT(rig.n_does == 0 || rig_does(a)->x->gone_at != 0);
	if (rig.n_does > 0)
		does_finish(rig_does(a), EXCHANGE_ABORT);
	rig_settle();
	CU_ASSERT_EQUAL(h2_session_streams(rig.h2.session), 0);
	rig_end();
}

/* --- windows --- */

/* A body that nobody reads stops its client, and no other stream. */
static void
test_held(void)
{
	struct ask *a, *b;
	struct does *d, *e;

	rig_begin(0);
	a = rig_post();
	b = rig_post();
	rig_send(a, 300000, true);
	d = does_of(a);
	does_body(d);
	rig_settle();
	CU_ASSERT(a->sent <= WINDOW + 1 && a->sent > 60000);
	e = does_of(b);
	does_body(e);
	rig_send(b, 300000, true);
	while (e->end == PULL_MORE) {
		rig_settle();
		(void)does_read(e, 1000000);
	}
	CU_ASSERT(e->end == PULL_END && e->got == 300000);
	CU_ASSERT(a->sent <= WINDOW + 1);
	/* Silence is whose who is waited for. */
	CU_ASSERT_EQUAL(exchange_pace(d->x, loop_now(rig.loop) + 100000, 1000,
			    1000),
	    PACE_WELL);
	while (d->end == PULL_MORE) {
		(void)does_read(d, 10000);
		rig_settle();
	}
	CU_ASSERT(d->end == PULL_END && d->got == 300000);
	rig_end();
}

/* Who sends nothing is silent; who sends in drips is slow. */
static void
test_pace(void)
{
	struct does *d;
	struct ask *a;
	uint64_t now;

	rig_begin(0);
	a = rig_post();
	d = does_of(a);
	CU_ASSERT_EQUAL(exchange_pace_due(d->x, 0, 1000, 1), UINT64_MAX);
	does_body(d);
	CU_ASSERT_EQUAL(does_read(d, 10), PULL_WAIT);
	now = loop_now(rig.loop);
	CU_ASSERT_EQUAL(exchange_pace(d->x, now, 1000, 0), PACE_WELL);
	CU_ASSERT(exchange_pace_due(d->x, now, 1000, 0) <= now + 1000);
	CU_ASSERT_EQUAL(exchange_pace(d->x, now + 1000, 1000, 0), PACE_SILENT);
	rig_send(a, 3, false);
	rig_settle();
	CU_ASSERT_EQUAL(does_read(d, 10), PULL_WAIT);
	now = loop_now(rig.loop);
	CU_ASSERT_EQUAL(exchange_pace(d->x, now + PACE_MS, 10 * PACE_MS, 50),
	    PACE_SLOW);
	rig_end();
}

/* A client that opens no window stops its answer, and no other. */
static void
test_shut(void)
{
	struct ask *a, *b;
	struct does *d;

	rig_begin(1000);
	rig.keeps = true;
	a = rig_get();
	b = rig_get();
	d = does_of(a);
	does_answer(d, 200, UNKNOWN);
	CU_ASSERT_EQUAL(does_write(d, 5000), 1000);
	rig_settle();
	CU_ASSERT(a->got == 1000 && sink_room(d->sink) == 0);
	answer_and_end(does_of(b), 900);
	rig_settle();
	CU_ASSERT(b->ended && b->got == 900);
	d->woken = 0;
	rig_settle();
	CU_ASSERT(d->woken == 0 && sink_taken(d->sink) == 0);
	rig_consume(a, 1000);
	rig_settle();
	CU_ASSERT(d->woken > 0 && sink_room(d->sink) == 1000);
	CU_ASSERT_EQUAL(does_write(d, 5000), 1000);
	does_end(d, false);
	does_finish(d, EXCHANGE_DONE);
	rig_settle();
	CU_ASSERT(a->ended && a->got == 2000);
	rig_end();
}

/* --- the connection's end --- */

/* Whoever has to go says so a round trip before it counts. */
static void
test_drain(void)
{
	struct ask *a, *b;
	struct does *d;

	rig_begin(0);
	a = rig_get();
	d = does_of(a);
	rig.drains = true;
	task_wake(&rig.task);
	CU_ASSERT(rig_until(has_goaway, NULL));
	CU_ASSERT(rig.last_id == INT32_MAX && rig.code == 0);
	rig_settle();
	CU_ASSERT(rig.goaways == 2 && rig.last_id == a->id && rig.code == 0);
	CU_ASSERT_EQUAL(rig.h2.state, H2_SERVER_LAST);
	CU_ASSERT(d->x->gone_at == 0 && rig.link != NULL);
	answer_and_end(d, 3);
	CU_ASSERT(rig_until(is_over, NULL));
	CU_ASSERT(a->ended && a->got == 3 && rig.step == SERVER_CLOSE);
	rig_end();

	/* One that was on its way meanwhile is served. */
	rig_begin(0);
	a = rig_get();
	d = does_of(a);
	rig.drains = true;
	task_wake(&rig.task);
	lab_run(rig.loop, 5); /* its client has not read that yet */
	b = rig_get();
	answer_and_end(does_of(b), 0);
	CU_ASSERT_EQUAL(rig.last_id, b->id);
	answer_and_end(d, 0);
	CU_ASSERT(rig_until(is_over, NULL));
	CU_ASSERT(a->ended && b->ended);
	rig_end();
}

/* The client has ended its side: what is under way has a moment yet. */
static void
test_left(void)
{
	struct does *d;
	struct ask *a;
	uint64_t began;

	rig_begin(0);
	a = rig_get();
	d = does_of(a);
	began = loop_now(rig.loop);
	(void)shutdown(rig.fd, SHUT_WR);
	rig_settle();
	CU_ASSERT(d->x->gone_at >= began + 500 && rig.link != NULL);
	answer_and_end(d, 3);
	CU_ASSERT(rig_until(is_over, NULL));
	CU_ASSERT(a->got == 3 && a->ended && rig.step == SERVER_CLOSE);
	rig_end();
}

static void
test_deadlines(void)
{
	unsigned i;

	/* 0: it says nothing; 1: what is no HTTP/2; 2: it asks no more */
	for (i = 0; i < 3; i++) {
		rig_begin(0);
		rig.request_ms = i == 2 ? 600000 : 50;
		rig.idle_ms = i == 2 ? 50 : 600000;
		rig.mute = i < 2;
		if (i == 1)
			CU_ASSERT(send(rig.fd, "GET / HTTP/1.1\r\n\r\n", 18,
				      MSG_NOSIGNAL) == 18);
		if (i == 2)
			answer_and_end(does_of(rig_get()), 0);
		CU_ASSERT(rig_until(is_over, NULL));
		CU_ASSERT_EQUAL(rig.step, SERVER_CLOSE);
		CU_ASSERT_EQUAL(rig.n_does, i == 2 ? 1 : 0);
		rig_end();
	}
}

/* --- anything, in any order --- */

#define ASKS 60u
#define STEPS 500u

/* Of the flows that are under way. */
static struct does *
any_does(void)
{
	struct does *live[RIG_MOST];
	unsigned i, n = 0;

	for (i = 0; i < rig.n_does; i++)
		if (rig.does[i]->x != NULL)
			live[n++] = rig.does[i];
	return (n > 0 ? live[unit_random(n)] : NULL);
}

static size_t
some_octets(void)
{
	return (unit_random(unit_random(2) ? 50 : 40000));
}

static void
client_acts(void)
{
	struct ask *a = rig.n_ask > 0 ? &rig.ask[unit_random(rig.n_ask)] : NULL;

	switch (a == NULL ? 0 : unit_random(12)) {
	case 0:
	case 1:
		if (rig.n_ask < ASKS)
			(void)rig_get();
		break;
	case 2:
	case 3:
		if (rig.n_ask < ASKS)
			(void)rig_post();
		break;
	case 4:
		if (unit_random(3) == 0 && !a->closed)
			rig_reset(a);
		break;
	case 5:
	case 6:
	case 7:
		rig_consume(a, unit_random(100000));
		break;
	default:
		if (a->sends && !a->ends && !a->closed)
			rig_send(a, some_octets(), unit_random(4) == 0);
		break;
	}
}

static void
write_some(struct does *d)
{
	size_t n = some_octets();

	if (d->sink == NULL || d->sink->end != PULL_MORE)
		return;
	if (d->says != UNKNOWN && n > d->says - d->written)
		n = (size_t)(d->says - d->written);
	if (n > 0)
		(void)does_write(d, n);
	if (d->says == UNKNOWN ? unit_random(4) == 0 : d->written == d->says)
		does_end(d, unit_random(2) == 0);
}

static void
answer_something(struct does *d)
{
	uint64_t length = unit_random(3) == 0 ? 0
	    : unit_random(2) == 0             ? UNKNOWN
					      : 1 + unit_random(90000);

	if (!d->answered)
		does_answer(d, 200, length);
}

static void
flow_acts(struct does *d)
{
	switch (unit_random(10)) {
	case 0:
	case 1:
		if (!d->took && !d->answered)
			does_body(d);
		break;
	case 2:
	case 3:
		(void)does_read(d, 1 + unit_random(60000));
		break;
	case 4:
		if (d->answered)
			break;
		if (unit_random(2) == 0)
			exchange_continue(d->x);
		else
			does_interim(d, 103);
		break;
	case 5:
		answer_something(d);
		break;
	case 6:
		if (d->whole)
			does_finish(d, EXCHANGE_DONE);
		else if (unit_random(6) == 0)
			does_finish(d,
			    d->answered ? EXCHANGE_ABORT : EXCHANGE_HTTP1);
		break;
	default:
		write_some(d);
		break;
	}
}

/* All that is under way ends as it may, and the connection in order. */
static void
wind_up(bool by_server)
{
	struct does *d;
	unsigned i;

	rig.piece = 0;
	rig.keeps = false;
	for (i = 0; i < rig.n_ask; i++) {
		rig_consume(&rig.ask[i], SIZE_MAX);
		if (rig.ask[i].sends && !rig.ask[i].ends)
			rig_send(&rig.ask[i], 0, true);
	}
	while ((d = any_does()) != NULL)
		does_finish(d, d->whole ? EXCHANGE_DONE : EXCHANGE_ABORT);
	rig.drains = by_server;
	task_wake(&rig.task);
	rig_settle();
	while ((d = any_does()) != NULL) { /* such as come only now */
		does_finish(d, EXCHANGE_ABORT);
		rig_settle();
	}
	if (!by_server)
		(void)shutdown(rig.fd, SHUT_WR);
}

static void
check_all(bool by_server)
{
	const struct does *d;
	const struct ask *a;
	unsigned i;

	for (i = 0; i < rig.n_ask; i++) {
		a = &rig.ask[i];
		d = rig_does(a);
		if (d == NULL)
			continue;
		CHECK_ROW(i, "what was read is what was sent",
		    d->got <= a->sent &&
			(d->end != PULL_END || d->got == a->sent));
		CHECK_ROW(i, "no end before the end",
		    d->end != PULL_END || !a->sends || a->sent_end);
		CHECK_ROW(i, "nothing is broken", d->end != PULL_FAIL);
		CHECK_ROW(i, "what came is what was written",
		    a->got <= d->written);
		CHECK_ROW(i, "a whole answer alone looks whole",
		    !a->ended || (d->whole && a->got == d->written));
		CHECK_ROW(i, "a whole answer comes",
		    !d->whole || a->ended || a->code == NGHTTP2_CANCEL);
		/* The client may have left in the middle of a request. */
		CHECK_ROW(i, "streams end",
		    a->closed || !a->asked || !by_server);
	}
}

static void
check_gone(void)
{
	unsigned i;

	for (i = 0; i < rig.n_does; i++)
		CHECK_ROW(i, "gone",
		    rig.does[i]->x == NULL || rig.does[i]->x->gone_at != 0);
}

static void
test_random(void)
{
	unsigned round, step;
	struct does *d;

	for (round = 0; round < 12; round++) {
		rig_begin(1 + unit_random(100000));
		rig.piece = unit_random(2) == 0 ? 0 : 1 + unit_random(4000);
		rig.keeps = unit_random(2) == 0;
		for (step = 0; step < STEPS; step++) {
			client_acts();
			d = any_does();
			if (d != NULL)
				flow_acts(d);
			if (unit_random(3) == 0)
				rig_turn();
		}
		CU_ASSERT_EQUAL(rig.goaways, 0);
		if (round % 4 == 3) { /* all at once */
			(void)shutdown(rig.fd, SHUT_RDWR);
			lab_run(rig.loop, 20);
			check_gone();
		} else {
			wind_up(round % 4 == 0);
			CU_ASSERT(rig_until(is_over, NULL));
			CU_ASSERT_EQUAL(rig.step, SERVER_CLOSE);
			check_all(round % 4 == 0);
		}
		rig_end();
	}
}

UNIT_TESTS(proxy_h2_server, { "what becomes a request", test_forms },
    { "a head that is too large", test_large },
    { "heads before the answer", test_interim }, { "lengths", test_lengths },
    { "trailers", test_trailers }, { "a body that is left", test_body_left },
    { "ends without an answer", test_ends },
    { "an extended CONNECT", test_switch },
    { "taken back in each phase", test_taken_back },
    { "taken back at once", test_taken_back_at_once },
    { "a held body", test_held }, { "pace", test_pace },
    { "a window that stays shut", test_shut }, { "drain", test_drain },
    { "the client leaves", test_left }, { "deadlines", test_deadlines },
    { "anything in any order", test_random })
