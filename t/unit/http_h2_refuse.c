/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What HTTP/2 peers may say and what not; each refusal has its control. */
#include "t/unit/http_h2_kit.h"

#define POST ":method: POST\n:scheme: https\n:authority: a.example\n:path: /\n"
#define ANY ":scheme: https\n:authority: a.example\n:path: /\n"

/* Requests: what becomes of them. */
static const struct {
	struct str text;
	enum err err;  /* ERR_NONE: good */
	bool answered; /* ... not reset, but for the owner to answer */
} requests[] = {
	{ LIT(GET), ERR_NONE, false },
	{ LIT(GET "accept: */*\nx: \nx-y: \xc3\xa4 \t z\n"), ERR_NONE, false },
	/* names */
	{ LIT(GET "x-a: 1\n"), ERR_NONE, false },
	{ LIT(GET "X-a: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x a: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x\ta: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x\x01: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x\x7f: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x\x80: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x\r: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x\0: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x(: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "=: 1\n"), ERR_REQ_SYNTAX, false }, /* no name at all */
	/* values */
	{ LIT(GET "x: a\rb\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x: a\0b\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x: a\x0b"
		  "b\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(GET "x: a\x7f\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x:  a\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x: a \n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x: \ta\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x: a\t\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "x: a\tb c\n"), ERR_NONE, false },
	/* pseudo fields */
	{ LIT(":method: GET\n" ANY), ERR_NONE, false },
	{ LIT(ANY), ERR_REQ_SYNTAX, false },
	{ LIT(":method: \n" ANY), ERR_REQ_SYNTAX, false },
	{ LIT(":method: G T\n" ANY), ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET /\n" ANY), ERR_REQ_SYNTAX, false },
	{ LIT(":method: get!\n" ANY), ERR_NONE, false },
	{ LIT(":method: GET\n:method: GET\n" ANY), ERR_REQ_SYNTAX, false },
	{ LIT(GET ":path: /\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET ":scheme: https\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET ":authority: a.example\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET ":status: 200\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET ":other: 1\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET ":Method: GET\n"), ERR_REQ_SYNTAX, false },
	{ LIT("x: 1\n" GET), ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\nx: 1\n" ANY), ERR_REQ_SYNTAX, false },
	/* :scheme */
	{ LIT(":method: GET\n:scheme: HTTPS\n:authority: a\n:path: /\n"),
	    ERR_NONE, false },
	{ LIT(":method: GET\n:scheme: http\n:authority: a\n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: ftp\n:authority: a\n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: \n:authority: a\n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:authority: a\n:path: /\n"), ERR_REQ_SYNTAX,
	    false },
	/* :path */
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: /a?b=//%\n"),
	    ERR_NONE, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n"
	      ":path: /\xc3\xa4\n"),
	    ERR_NONE, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n"), ERR_REQ_SYNTAX,
	    false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: \n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: a\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: *\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: OPTIONS\n:scheme: https\n:authority: a\n:path: *\n"),
	    ERR_NONE, false },
	{ LIT(":method: OPTIONS\n:scheme: https\n:authority: a\n:path: **\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n"
	      ":path: https://a/\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: /#a\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n"
	      ":path: / HTTP/1.1\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: /\r\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: /\x01\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: /\x7f\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a\n:path: /\0\n"),
	    ERR_REQ_SYNTAX, false },
	/* :authority and Host */
	{ LIT(GET "host: a.example\n"), ERR_NONE, false },
	{ LIT(GET "host: A.EXAMPLE:443\n"), ERR_NONE, false },
	{ LIT(GET "host: b.example\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "host: a.example:444\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "host: a.example\nhost: a.example\n"), ERR_REQ_SYNTAX,
	    false },
	{ LIT(GET "host: \n"), ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:path: /\nhost: a\n"), ERR_NONE,
	    false },
	{ LIT(":method: GET\n:scheme: https\n:path: /\nhost: a/b\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:path: /\n"), ERR_REQ_SYNTAX,
	    false },
	{ LIT(":method: GET\n:scheme: https\n:authority: \n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: u@a\n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a/\n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a b\n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	{ LIT(":method: GET\n:scheme: https\n:authority: a:99999\n:path: /\n"),
	    ERR_REQ_SYNTAX, false },
	/* fields of the connection */
	{ LIT(GET "connection: close\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "proxy-connection: keep-alive\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "keep-alive: 5\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "upgrade: h2c\n"), ERR_REQ_SYNTAX, false },
	{ LIT(POST "transfer-encoding: chunked\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "te: trailers\n"), ERR_NONE, false },
	{ LIT(GET "te: gzip\n"), ERR_REQ_SYNTAX, false },
	{ LIT(GET "te: trailers, gzip\n"), ERR_REQ_SYNTAX, false },
	/* lengths (END_STREAM is set) */
	{ LIT(GET "content-length: 0\n"), ERR_NONE, false },
	{ LIT(POST "content-length: 1\n"), ERR_REQ_FRAMING, false },
	{ LIT(POST "content-length: -0\n"), ERR_REQ_FRAMING, false },
	{ LIT(POST "content-length: 0, 0\n"), ERR_REQ_FRAMING, false },
	{ LIT(POST "content-length: 0\ncontent-length: 0\n"), ERR_REQ_FRAMING,
	    false },
	{ LIT(POST "content-length: 0x0\n"), ERR_REQ_FRAMING, false },
	{ LIT(POST "content-length: \n"), ERR_REQ_FRAMING, false },
	/* CONNECT */
	{ LIT(":method: CONNECT\n:authority: a:443\n"), ERR_REQ_METHOD, true },
	{ LIT(":method: CONNECT\n" ANY), ERR_REQ_SYNTAX, false },
	{ LIT(":method: CONNECT\n"), ERR_REQ_SYNTAX, false },
	{ LIT(":method: CONNECT\n:authority: \n"), ERR_REQ_SYNTAX, false },
	{ LIT(":method: CONNECT\n:protocol: websocket\n" ANY), ERR_NONE,
	    false },
	{ LIT(":method: CONNECT\n:protocol: web socket\n" ANY), ERR_REQ_SYNTAX,
	    false },
	{ LIT(":method: GET\n:protocol: websocket\n" ANY), ERR_REQ_SYNTAX,
	    false },
	/* for its owner to answer */
	{ LIT(POST "expect: 100-continue\n"), ERR_NONE, false },
	{ LIT(POST "expect: a-sandwich\n"), ERR_REQ_EXPECT, true },
};

static struct h2_config
server_config(void)
{
	return ((struct h2_config){ .server = true,
	    .connect = true,
	    .scheme = STR("https") });
}

static void
one_request(unsigned row, enum kit_cut cut)
{
	struct h2_config cfg = server_config();
	struct fault f = { 0 };
	struct h2_stream *st;
	uint32_t id, code;
	struct raw r;
	unsigned news;

	raw_init(&r, &cfg);
	raw_head_n(&r, ES | EH, 1, requests[row].text);
	CHECK_ROW(row, "connection", raw_send(&r, cut));
	st = h2_session_next(r.s, &news);
	CHECK_ROW(row, "news", st != NULL);
	if (st != NULL) {
		CHECK_ROW(row, "fault",
		    h2_stream_fault(st, &f) == requests[row].err);
		if (h2_stream_fault(st, NULL) != requests[row].err)
			printf("# %s\n", f.detail);
		CHECK_ROW(row, "head",
		    ((news & H2_NEWS_HEAD) != 0) ==
			(requests[row].err == ERR_NONE ||
			    requests[row].answered));
	}
	raw_read(&r);
	if (requests[row].err != ERR_NONE && !requests[row].answered)
		CHECK_ROW(row, "reset",
		    raw_find(&r, NGHTTP2_RST_STREAM, &id, &code) && id == 1 &&
			code == H2_PROTOCOL_ERROR);
	h2_stream_free(&st);
	/* its neighbour lives */
	raw_head(&r, ES | EH, 3, GET);
	CHECK_ROW(row, "neighbour",
	    raw_send(&r, cut) && (st = kit_next(r.s, H2_NEWS_HEAD)) != NULL &&
		h2_stream_fault(st, NULL) == ERR_NONE);
	h2_stream_free(&st);
	raw_fini(&r);
}

static void
test_requests(void)
{
	unsigned i;

	for (i = 0; i < COUNT(requests); i++) {
		one_request(i, CUT_WHOLE);
		one_request(i, CUT_OCTETS);
		one_request(i, CUT_RANDOM);
	}
}

/* Answers to GET (stream 1) or HEAD (7), with END_STREAM. */
static const struct {
	struct str text;
	uint32_t id;
	enum err err;
	const char *fields; /* of good ones: how many and the first */
} answers[] = {
	{ LIT(":status: 200\nserver: x\n"), 1, ERR_NONE, "1 Server=x" },
	{ LIT(":status: 999\n"), 1, ERR_NONE, "0" },
	{ LIT(":status: 99\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 2000\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 20x\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 099\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 101\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 100\n"), 1, ERR_ORIGIN_SYNTAX, "" }, /* ends */
	{ LIT("server: x\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 200\n:status: 200\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT("server: x\n:status: 200\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 200\n:path: /\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	/* fields: widely, where nothing depends on it */
	{ LIT(":status: 200\nx-a:  b \n"), 1, ERR_NONE, "1 x-a=b" },
	{ LIT(":status: 200\nx-a: b\x01"
	      "c\n"),
	    1, ERR_NONE,
	    "1 x-a=b\x01"
	    "c" },
	{ LIT(":status: 200\nx a: b\n"), 1, ERR_NONE, "0" },
	{ LIT(":status: 200\nconnection: close\nkeep-alive: 5\n"
	      "upgrade: h2\nte: x\nage: 1\n"),
	    1, ERR_NONE, "1 Age=1" },
	{ LIT(":status: 200\nX-a: b\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 200\nx-a: b\rc\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 200\nx-a: b\0c\n"), 1, ERR_ORIGIN_SYNTAX, "" },
	{ LIT(":status: 200\ntransfer-encoding: chunked\n"), 1,
	    ERR_ORIGIN_SYNTAX, "" },
	/* lengths */
	{ LIT(":status: 200\ncontent-length: 0\n"), 1, ERR_NONE, "0" },
	{ LIT(":status: 200\ncontent-length: 5\n"), 1, ERR_ORIGIN_FRAMING, "" },
	{ LIT(":status: 200\ncontent-length: 0\ncontent-length: 0\n"), 1,
	    ERR_NONE, "0" },
	{ LIT(":status: 200\ncontent-length: 0\ncontent-length: 1\n"), 1,
	    ERR_ORIGIN_FRAMING, "" },
	{ LIT(":status: 200\ncontent-length: +0\n"), 1, ERR_ORIGIN_FRAMING,
	    "" },
	{ LIT(":status: 304\ncontent-length: 5\n"), 1, ERR_NONE,
	    "1 Content-Length=5" },
	{ LIT(":status: 204\ncontent-length: 5\n"), 1, ERR_NONE, "0" },
	{ LIT(":status: 200\ncontent-length: 5\n"), 7, ERR_NONE,
	    "1 Content-Length=5" },
};

static void
one_answer(unsigned row)
{
	struct h2_config cfg = { .server = false };
	struct http_msg *m;
	struct buf b = { 0 };
	uint32_t id, code;
	unsigned which = answers[row].id / 2;
	struct raw r;

	raw_init(&r, &cfg);
	raw_head_n(&r, ES | EH, answers[row].id, answers[row].text);
	CHECK_ROW(row, "connection", raw_send(&r, CUT_RANDOM));
	CHECK_ROW(row, "fault",
	    h2_stream_fault(r.own[which], NULL) == answers[row].err);
	m = h2_stream_head_take(r.own[which]);
	CHECK_ROW(row, "head", (m != NULL) == (answers[row].err == ERR_NONE));
	if (m != NULL) {
		buf_printf(&b, "%u", m->fields.n);
		if (m->fields.n > 0)
			buf_printf(&b, " %.*s=%.*s",
			    STR_ARG(m->fields.v[0].name),
			    STR_ARG(m->fields.v[0].value));
		CHECK_ROW(row, "fields", http_help_is(&b, answers[row].fields));
	}
	raw_read(&r);
	CHECK_ROW(row, "reset",
	    raw_find(&r, NGHTTP2_RST_STREAM, &id, &code) ==
		(answers[row].err != ERR_NONE));
	raw_head(&r, ES | EH, 3, ":status: 200\n");
	CHECK_ROW(row, "neighbour",
	    raw_send(&r, CUT_WHOLE) && h2_stream_head_take(r.own[1]) != NULL);
	raw_fini(&r);
}

static void
test_answers(void)
{
	unsigned i;

	for (i = 0; i < COUNT(answers); i++)
		one_answer(i);
}

/* HEADERS (without END_STREAM), DATA frames of these lengths, a trailer. */
static const struct {
	const char *head;
	/* -1: none; the last one ends the stream unless there is a trailer */
	int data[3];
	const char *trailer;
	bool trailer_ends;
	enum err err;
} bodies[] = {
	{ POST "content-length: 5\n", { 5, -1 }, NULL, false, ERR_NONE },
	{ POST "content-length: 5\n", { 2, 3, 0 }, NULL, false, ERR_NONE },
	{ POST "content-length: 5\n", { 4, -1 }, NULL, false, ERR_REQ_FRAMING },
	{ POST "content-length: 5\n", { 6, -1 }, NULL, false, ERR_REQ_FRAMING },
	{ POST "content-length: 5\n", { 3, 3, 0 }, NULL, false,
	    ERR_REQ_FRAMING },
	{ POST "content-length: 0\n", { 0, -1 }, NULL, false, ERR_NONE },
	{ POST "content-length: 0\n", { 1, -1 }, NULL, false, ERR_REQ_FRAMING },
	{ GET "content-length: 0\n", { 1, -1 }, NULL, false, ERR_REQ_FRAMING },
	{ POST, { 0, -1 }, NULL, false, ERR_NONE },
	{ POST, { 16384, 1, 7 }, NULL, false, ERR_NONE },
	{ POST, { 3, -1 }, "x-check: 1\n", true, ERR_NONE },
	{ POST, { -1 }, "x-check: 1\n", true, ERR_NONE },
	{ POST "content-length: 3\n", { 3, -1 }, "x: 1\n", true, ERR_NONE },
	{ POST "content-length: 4\n", { 3, -1 }, "x: 1\n", true,
	    ERR_REQ_FRAMING },
	{ POST, { 3, -1 }, "x-check: 1\n", false, ERR_REQ_SYNTAX },
	{ POST, { 3, -1 }, ":path: /\n", true, ERR_REQ_SYNTAX },
	{ POST, { 3, -1 }, ":status: 200\n", true, ERR_REQ_SYNTAX },
	{ POST, { 3, -1 }, "X-Check: 1\n", true, ERR_REQ_SYNTAX },
	{ POST, { 3, -1 }, "connection: close\n", true, ERR_REQ_SYNTAX },
	{ POST, { 3, -1 }, "transfer-encoding: chunked\n", true,
	    ERR_REQ_SYNTAX },
	{ POST, { 3, -1 }, "x: a\rb\n", true, ERR_REQ_SYNTAX },
	/* left out, as in HTTP/1 */
	{ POST, { 3, -1 }, "content-length: 9\nauthorization: x\n", true,
	    ERR_NONE },
};

static void
one_body(unsigned row, enum kit_cut cut)
{
	static const char zeros[16384];
	struct h2_config cfg = server_config();
	struct h2_stream *st;
	struct arena *a = arena_new();
	size_t sum = 0;
	struct raw r;
	unsigned i, n = 0;
	enum pull end;
	struct str got;

	raw_init(&r, &cfg);
	raw_head(&r, EH, 1, bodies[row].head);
	while (n < 3 && bodies[row].data[n] >= 0)
		n++;
	for (i = 0; i < n; i++) {
		raw_frame(&r, NGHTTP2_DATA,
		    i + 1 == n && bodies[row].trailer == NULL ? ES : 0, 1,
		    zeros, (size_t)bodies[row].data[i]);
		sum += (size_t)bodies[row].data[i];
	}
	if (bodies[row].trailer != NULL)
		raw_head(&r, EH | (bodies[row].trailer_ends ? ES : 0), 1,
		    bodies[row].trailer);
	CHECK_ROW(row, "connection", raw_send(&r, cut));
	st = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(st != NULL);
	CHECK_ROW(row, "fault", h2_stream_fault(st, NULL) == bodies[row].err);
	got = kit_pull(a, st, &end);
	CHECK_ROW(row, "end",
	    end == (bodies[row].err == ERR_NONE ? PULL_END : PULL_FAIL));
	CHECK_ROW(row, "octets", bodies[row].err != ERR_NONE || got.n == sum);
	if (bodies[row].err == ERR_NONE && bodies[row].trailer != NULL)
		CHECK_ROW(row, "trailer",
		    h2_stream_trailer(st)->n ==
			(bodies[row].trailer[0] == 'x' ? 1 : 0));
	h2_stream_free(&st);
	raw_fini(&r);
	arena_free(&a);
}

static void
test_bodies(void)
{
	unsigned i;

	for (i = 0; i < COUNT(bodies); i++) {
		one_body(i, CUT_WHOLE);
		one_body(i, CUT_OCTETS);
		one_body(i, CUT_RANDOM);
	}
	CU_ASSERT(chunk_bytes_live() == 0);
}

/* Bodies of answers: HEAD has none, and none comes before its head. */
static void
test_answer_bodies(void)
{
	static const struct {
		uint32_t id;
		const char *head;
		size_t data;
		enum err err;
	} rows[] = {
		{ 1, ":status: 200\ncontent-length: 3\n", 3, ERR_NONE },
		{ 1, ":status: 200\n", 3, ERR_NONE },
		{ 1, ":status: 200\ncontent-length: 3\n", 4,
		    ERR_ORIGIN_FRAMING },
		{ 1, ":status: 200\ncontent-length: 3\n", 2,
		    ERR_ORIGIN_FRAMING },
		{ 1, ":status: 204\n", 3, ERR_ORIGIN_FRAMING },
		{ 1, ":status: 304\ncontent-length: 3\n", 3,
		    ERR_ORIGIN_FRAMING },
		{ 1, ":status: 103\n", 3, ERR_ORIGIN_FRAMING },
		{ 1, ":status: 103\n", 0, ERR_ORIGIN_FRAMING },
		{ 7, ":status: 200\ncontent-length: 3\n", 3,
		    ERR_ORIGIN_FRAMING },
	};
	struct h2_config cfg = { .server = false };
	struct raw r;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		raw_init(&r, &cfg);
		raw_head(&r, EH, rows[i].id, rows[i].head);
		raw_frame(&r, NGHTTP2_DATA, ES, rows[i].id, "abcd",
		    rows[i].data);
		CHECK_ROW(i, "connection", raw_send(&r, CUT_RANDOM));
		CHECK_ROW(i, "fault",
		    h2_stream_fault(r.own[rows[i].id / 2], NULL) ==
			rows[i].err);
		raw_fini(&r);
	}
}

/* Cookie crumbs are one field, where the first one was. */
static void
test_cookies(void)
{
	struct h2_config cfg = server_config();
	struct h2_stream *st;
	struct http_msg *m;
	struct buf b = { 0 };
	struct raw r;
	unsigned i;

	raw_init(&r, &cfg);
	raw_head(&r, ES | EH, 1,
	    GET "cookie: a=1\nx: y\ncookie: b=2\n"
		"cookie: c\n");
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	st = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(st != NULL);
	m = h2_stream_head_take(st);
	CU_ASSERT(m->fields.n == 3 && m->fields.v[0].id == FIELD_COOKIE &&
	    str_eq(m->fields.v[0].value, STR("a=1; b=2; c")));
	h2_stream_free(&st);
	/* more of them than fields are allowed */
	buf_cstr(&b, GET);
	for (i = 0; i < 400; i++)
		buf_printf(&b, "cookie: c%u\n", i);
	raw_head(&r, ES | EH, 3, b.p);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	st = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(st != NULL);
	CU_ASSERT(h2_stream_fault(st, NULL) == ERR_NONE);
	m = h2_stream_head_take(st);
	CU_ASSERT(m->fields.n == 2 && m->fields.v[0].value.n == 400 * 6 - 112);
	h2_stream_free(&st);
	buf_fini(&b);
	raw_fini(&r);
}

/* Heads that are too large: answered by the owner, and bounded. */
static void
test_large_heads(void)
{
	static const struct {
		unsigned fields, octets;
		enum err err;
		bool head;
	} rows[] = {
		{ 150, 100, ERR_NONE, true },
		{ 250, 10, ERR_REQ_HEAD_LARGE, true },   /* too many */
		{ 1, 33000, ERR_REQ_HEAD_LARGE, true },  /* one too long */
		{ 100, 1000, ERR_REQ_HEAD_LARGE, true }, /* in all */
		/* 150 references to one field (CVE-2016-6581) */
		{ 150, 3000, ERR_REQ_HEAD_LARGE, false },
	};
	struct h2_config cfg = server_config();
	struct buf b = { 0 };
	struct h2_stream *st;
	struct raw r;
	unsigned i, j, news;

	for (i = 0; i < COUNT(rows); i++) {
		b.n = 0;
		buf_cstr(&b, GET);
		for (j = 0; j < rows[i].fields; j++)
			buf_printf(&b, "x%u: %0*u\n", rows[i].head ? j : 0,
			    (int)rows[i].octets, rows[i].head ? j : 0);
		raw_init(&r, &cfg);
		raw_head_n(&r, ES | EH, 1, buf_as_str(&b));
		CHECK_ROW(i, "connection", raw_send(&r, CUT_WHOLE));
		st = h2_session_next(r.s, &news);
		CU_ASSERT_FATAL(st != NULL);
		CHECK_ROW(i, "fault", h2_stream_fault(st, NULL) == rows[i].err);
		CHECK_ROW(i, "head",
		    ((news & H2_NEWS_HEAD) != 0) == rows[i].head);
		h2_stream_free(&st);
		raw_fini(&r);
	}
	buf_fini(&b);
}

UNIT_TESTS(http_h2_refuse, { "requests", test_requests },
    { "answers", test_answers }, { "bodies and trailers", test_bodies },
    { "bodies of answers", test_answer_bodies },
    { "cookie crumbs", test_cookies }, { "large heads", test_large_heads })
