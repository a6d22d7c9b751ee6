/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Floods, streams that are closed, resets, the end of connections. */
#include <stdlib.h>
#include "base/budget.h"
#include "http/h1_frame.h"
#include "t/unit/http_h2_kit.h"

static const struct h2_config server_cfg = { .server = true };

/* --- floods --- */

static void
ping(struct raw *r, unsigned i)
{
	(void)i;
	raw_frame(r, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void
settings(struct raw *r, unsigned i)
{
	(void)i;
	raw_frame(r, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

static void
priority(struct raw *r, unsigned i)
{
	raw_frame(r, NGHTTP2_PRIORITY, 0, 2 * i + 1, "\0\0\0\0\1", 5);
}

static void
priority_update(struct raw *r, unsigned i)
{
	(void)i;
	raw_frame(r, NGHTTP2_PRIORITY_UPDATE, 0, 0, "\0\0\0\1u=1", 7);
}

static void
window(struct raw *r, unsigned i)
{
	(void)i;
	raw_frame(r, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
}

static void
unknown(struct raw *r, unsigned i)
{
	(void)i;
	raw_frame(r, 0xfa, 0, 0, "x", 1);
}

/* A request, once, and DATA without data. */
static void
empty(struct raw *r, unsigned i)
{
	if (i == 0)
		raw_head(r, EH, 1,
		    ":method: POST\n:scheme: https\n"
		    ":authority: a\n:path: /\n");
	raw_frame(r, NGHTTP2_DATA, 0, 1, NULL, 0);
}

static void
padding(struct raw *r, unsigned i)
{
	if (i == 0)
		raw_head(r, EH, 1,
		    ":method: POST\n:scheme: https\n"
		    ":authority: a\n:path: /\n");
	raw_frame(r, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, "\3\0\0\0", 4);
}

/* CVE-2023-44487; its server frees what is reset at once. */
static void
rapid_reset(struct raw *r, unsigned i)
{
	raw_head(r, ES | EH, 2 * i + 1, GET);
	raw_frame(r, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\10", 4);
}

/* CVE-2025-8671: the server is made to reset. */
static void
made_you_reset(struct raw *r, unsigned i)
{
	raw_head(r, EH, 2 * i + 1, GET "content-length: 1\n");
	raw_frame(r, NGHTTP2_DATA, ES, 2 * i + 1, "xx", 2);
}

static void
window_reset(struct raw *r, unsigned i)
{
	raw_head(r, EH, 2 * i + 1, GET);
	raw_frame(r, NGHTTP2_WINDOW_UPDATE, 0, 2 * i + 1, "\x7f\xff\xff\xff",
	    4);
}

static void
malformed(struct raw *r, unsigned i)
{
	raw_head(r, ES | EH, 2 * i + 1, GET "connection: close\n");
}

/* On a stream that we have reset: discarded, and nghttp2 tells nothing. */
static void
discarded_heads(struct raw *r, unsigned i)
{
	static char big[16000];

	if (i == 0) {
		raw_head(r, EH, 1, GET "connection: x\n");
		memset(big, 'a', sizeof(big));
	}
	/* a literal without indexing: name "x", a value in plain octets */
	memcpy(big, "\0\1x\177\x99\x7b", 6);
	raw_frame(r, NGHTTP2_HEADERS, EH, 1, big, 6 + 15896);
}

static void
continuations(struct raw *r, unsigned i)
{
	struct buf b = raw_block(r, STR(GET));

	raw_frame(r, NGHTTP2_HEADERS, ES, 2 * i + 1, b.p, b.n);
	raw_frame(r, NGHTTP2_CONTINUATION, 0, 2 * i + 1, NULL, 0);
	raw_frame(r, NGHTTP2_CONTINUATION, EH, 2 * i + 1, NULL, 0);
	buf_fini(&b);
}

static const struct {
	const char *name;
	void (*put)(struct raw *, unsigned i);
	unsigned most; /* at once: what http/h2_budget.h allows */
} floods[] = {
	{ "PING", ping, 100 },
	{ "SETTINGS", settings, 50 },
	{ "PRIORITY", priority, 500 },
	{ "PRIORITY_UPDATE", priority_update, 500 },
	{ "WINDOW_UPDATE", window, 1000 },
	{ "unknown", unknown, 200 },
	{ "empty DATA", empty, 100 },
	{ "padding", padding, 100 },
	{ "rapid reset", rapid_reset, 400 },
	{ "MadeYouReset", made_you_reset, 100 },
	{ "window overflow", window_reset, 100 },
	{ "malformed", malformed, 100 },
	{ "discarded heads", discarded_heads, 4194304 / 15902 },
	{ "CONTINUATION", continuations, 100 / 2 },
};

/* n times, step ms after another; how many went well. */
static unsigned
flood(unsigned row, unsigned n, unsigned step_ms)
{
	uint32_t id, code;
	struct raw r;
	unsigned i;

	raw_init(&r, &server_cfg);
	for (i = 0; i < n; i++) {
		floods[row].put(&r, i);
		r.now_ms += step_ms;
		if (!raw_send(&r, CUT_WHOLE))
			break;
		raw_free_streams(r.s);
		raw_read(&r);
		if (h2_session_is_over(r.s))
			break;
		chq_drop(&r.in, chq_len(&r.in));
	}
	if (i < n) {
		CHECK_ROW(row, "fault",
		    h2_session_fault(r.s, NULL) == ERR_CLIENT_FLOOD);
		raw_read(&r);
		CHECK_ROW(row, "GOAWAY",
		    raw_find(&r, NGHTTP2_GOAWAY, &id, &code) &&
			code == H2_ENHANCE_YOUR_CALM);
		CHECK_ROW(row, "over", h2_session_is_over(r.s));
	}
	raw_fini(&r);
	return (i);
}

static void
test_floods(void)
{
	unsigned i, n, most;

	for (i = 0; i < COUNT(floods); i++) {
		most = floods[i].most;
		n = flood(i, most * 2, 0);
		if (n + 3 < most || n > most)
			printf("# %s: %u of %u\n", floods[i].name, n, most);
		CHECK_ROW(i, floods[i].name, n + 3 >= most && n <= most);
		/* in good time it is no flood */
		CHECK_ROW(i, floods[i].name,
		    flood(i, most + 50, 1000) == most + 50);
	}
}

/* A head that never ends, in pieces within every other limit. */
static void
test_endless_head(void)
{
	struct buf b;
	struct raw r;
	unsigned i;

	raw_init(&r, &server_cfg);
	b = raw_block(&r, STR(GET));
	raw_frame(&r, NGHTTP2_HEADERS, ES, 1, b.p, b.n);
	buf_fini(&b);
	for (i = 0; i < 60; i++) {
		CU_ASSERT(!h2_session_in_head(r.s) || i > 0);
		raw_frame(&r, NGHTTP2_CONTINUATION, 0, 1, "\0\1x\1y", 5);
		r.now_ms += 10000;
		if (!raw_send(&r, CUT_RANDOM))
			break;
		CU_ASSERT(h2_session_in_head(r.s));
		raw_read(&r);
		if (h2_session_is_over(r.s))
			break;
	}
	raw_fini(&r);
}

/* Answers that the peer leaves unread stop us from reading more. */
static void
test_unread_answers(void)
{
	struct raw r;
	unsigned i;

	raw_init(&r, &server_cfg);
	CU_ASSERT(h2_session_wants_read(r.s));
	for (i = 0; i < 90; i++)
		ping(&r, i);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT(!h2_session_wants_read(r.s));
	raw_read(&r);
	CU_ASSERT(h2_session_wants_read(r.s));
	raw_fini(&r);
}

/* --- the limit of streams --- */

static void
test_stream_limit(void)
{
	struct h2_config cfg = { .server = true, .streams = 4 };
	struct h2_stream *st[4], *more;
	struct arena *a[4];
	uint32_t id, code;
	struct raw r;
	unsigned i, n;

	raw_init(&r, &cfg);
	for (i = 0; i < 4; i++)
		raw_head(&r, ES | EH, 2 * i + 1, GET);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	for (i = 0; i < 4; i++) {
		st[i] = kit_next(r.s, H2_NEWS_HEAD);
		CU_ASSERT_FATAL(st[i] != NULL);
		(void)h2_stream_head_take(st[i]);
		a[i] = h2_stream_arena_take(st[i]);
	}
	/* reset, but the work for them is not undone: they count */
	for (i = 0; i < 4; i++)
		raw_frame(&r, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\10", 4);
	raw_head(&r, ES | EH, 9, GET);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	for (n = 0; (more = h2_session_next(r.s, &i)) != NULL; n++) {
		CU_ASSERT(i & H2_NEWS_RESET);
		CU_ASSERT(h2_stream_fault(more, NULL) == ERR_CLIENT_GONE);
	}
	CU_ASSERT(n == 4);
	raw_read(&r);
	CU_ASSERT(raw_find(&r, NGHTTP2_RST_STREAM, &id, &code) && id == 9 &&
	    code == H2_REFUSED_STREAM);
	CU_ASSERT(h2_session_streams(r.s) == 4);
	h2_stream_free(&st[0]);
	raw_head(&r, ES | EH, 11, GET);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	more = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(more != NULL);
	h2_stream_reset(more, H2_CANCEL);
	raw_read(&r);
	CU_ASSERT(raw_find(&r, NGHTTP2_RST_STREAM, &id, &code) && id == 11 &&
	    code == H2_CANCEL);
	h2_stream_free(&more);
	for (i = 0; i < 4; i++) {
		h2_stream_free(&st[i]);
		arena_free(&a[i]);
	}
	raw_fini(&r);
}

/* --- streams that are closed --- */

static void
answer(struct h2_stream *st)
{
	struct arena *a = arena_new();

	h2_stream_answer(st,
	    kit_answer(a, http_msg_new(a, true), "HTTP/1.1 200 x\r\n\r\n", 0),
	    true);
	arena_free(&a);
}

static void
test_closed_streams(void)
{
	static const struct {
		const char *what;
		bool we_reset; /* else it was answered */
		uint8_t type;
		uint32_t id;
		bool good;
	} rows[] = {
		{ "new", false, NGHTTP2_HEADERS, 3, true },
		{ "HEADERS", false, NGHTTP2_HEADERS, 1, false },
		{ "DATA", false, NGHTTP2_DATA, 1, false },
		{ "WINDOW_UPDATE", false, NGHTTP2_WINDOW_UPDATE, 1, true },
		{ "RST_STREAM", false, NGHTTP2_RST_STREAM, 1, true },
		{ "on its way", true, NGHTTP2_HEADERS, 1, true },
		{ "on its way", true, NGHTTP2_DATA, 1, true },
		{ "new", true, NGHTTP2_DATA, 3, false },
		{ "even", false, NGHTTP2_HEADERS, 2, false },
		{ "zero", false, NGHTTP2_HEADERS, 0, false },
		{ "PRIORITY", false, NGHTTP2_PRIORITY, 5, true },
		{ "PRIORITY of 0", false, NGHTTP2_PRIORITY, 0, false },
		{ "push", false, NGHTTP2_PUSH_PROMISE, 1, false },
	};
	struct h2_stream *st;
	uint32_t id, code;
	struct raw r;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		raw_init(&r, &server_cfg);
		raw_head(&r, rows[i].we_reset ? EH : ES | EH, 1, GET);
		CU_ASSERT(raw_send(&r, CUT_WHOLE));
		st = kit_next(r.s, H2_NEWS_HEAD);
		CU_ASSERT_FATAL(st != NULL);
		if (rows[i].we_reset)
			h2_stream_reset(st, H2_CANCEL);
		else
			answer(st);
		h2_stream_free(&st);
		raw_read(&r);
		CHECK_ROW(i, "closed", h2_session_streams(r.s) == 0);
		if (rows[i].type == NGHTTP2_HEADERS)
			raw_head(&r, ES | EH, rows[i].id, GET);
		else
			raw_frame(&r, rows[i].type, 0, rows[i].id, "\0\0\0\1\1",
			    rows[i].type == NGHTTP2_PRIORITY ? 5 : 4);
		(void)raw_send(&r, CUT_RANDOM);
		raw_read(&r);
		CHECK_ROW(i, rows[i].what,
		    raw_find(&r, NGHTTP2_GOAWAY, &id, &code) != rows[i].good);
		raw_fini(&r);
	}
}

/* --- ends --- */

/* The preface, frames that are no HTTP/2, and their causes. */
static void
test_no_http2(void)
{
	static const struct {
		struct str text;
		bool good;
	} rows[] = {
		{ LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
		    true },
		{ LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\6\0\0\0\0\0"),
		    false },
		{ LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\0\0\4\0\0\0\0\0"),
		    false },
		{ LIT("GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\0\0\4\0\0\0\0\0"),
		    false },
	};
	struct chq q = { 0 };
	struct h2_session *s;
	struct fault f;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		f = (struct fault){ 0 };
		s = h2_session_new(&server_cfg);
		chq_copy(&q, rows[i].text.p, rows[i].text.n);
		(void)h2_session_take(s, &q, 1);
		while (h2_session_give(s, &q, 1000) > 0)
			;
		CHECK_ROW(i, "fault",
		    (h2_session_fault(s, &f) == ERR_NONE) == rows[i].good);
		CHECK_ROW(i, "over", h2_session_is_over(s) != rows[i].good);
		CHECK_ROW(i, "text", rows[i].good || f.detail[0] != '\0');
		chq_drop(&q, chq_len(&q));
		h2_session_free(&s);
	}
	chq_fini(&q);
}

/* An origin that says GOAWAY: what it did not look at is known. */
static void
test_goaway(void)
{
	struct h2_config cfg = { .server = false };
	enum h2_code code;
	struct raw r;

	raw_init(&r, &cfg);
	CU_ASSERT(h2_session_may_open(r.s));
	raw_frame(&r, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\3\0\0\0\0", 8);
	raw_head(&r, ES | EH, 1, ":status: 200\n");
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT(!h2_session_may_open(r.s) && !h2_session_can_open(r.s));
	CU_ASSERT(h2_stream_head_take(r.own[0]) != NULL);
	CU_ASSERT(!h2_stream_is_reset(r.own[1], NULL));
	CU_ASSERT(
	    h2_stream_is_reset(r.own[2], &code) && code == H2_REFUSED_STREAM);
	CU_ASSERT(h2_stream_fault(r.own[2], NULL) == ERR_ORIGIN_CLOSED);
	raw_head(&r, ES | EH, 3, ":status: 200\n");
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT(h2_stream_head_take(r.own[1]) != NULL);
	raw_read(&r);
	CU_ASSERT(h2_session_is_over(r.s));
	raw_fini(&r);
}

/* We go away: what is open is answered, what comes is not taken. */
static void
test_drain(void)
{
	struct h2_stream *st, *more;
	uint32_t id, code;
	struct raw r;

	raw_init(&r, &server_cfg);
	raw_head(&r, ES | EH, 1, GET);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	st = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(st != NULL);
	h2_session_drain(r.s);
	h2_session_drain(r.s);
	raw_head(&r, EH, 3, GET);
	raw_frame(&r, NGHTTP2_DATA, ES, 3, "x", 1);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	more = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT(more == NULL);
	raw_read(&r);
	CU_ASSERT(raw_find(&r, NGHTTP2_GOAWAY, &id, &code) && code == 0);
	raw_head(&r, EH, 5, GET);
	raw_frame(&r, NGHTTP2_DATA, ES, 5, "x", 1);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT(kit_next(r.s, H2_NEWS_HEAD) == NULL);
	CU_ASSERT(!h2_session_is_over(r.s));
	answer(st);
	h2_stream_free(&st);
	raw_read(&r);
	CU_ASSERT(raw_find(&r, NGHTTP2_HEADERS, &id, &code) && id == 1);
	CU_ASSERT(h2_session_is_over(r.s));
	raw_fini(&r);
}

/* In two steps (RFC 9113 6.8): what comes in between is served. */
static void
test_leave(void)
{
	struct h2_stream *st;
	uint32_t id, code;
	struct raw r;

	raw_init(&r, &server_cfg);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	raw_read(&r);
	h2_session_leave(r.s);
	h2_session_leave(r.s);
	CU_ASSERT(!h2_session_has_left(r.s));
	raw_frame(&r, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "unasked!", 8);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT(!h2_session_has_left(r.s));
	raw_read(&r);
	CU_ASSERT(raw_find(&r, NGHTTP2_GOAWAY, &id, &code) && code == 0);
	CU_ASSERT(raw_find(&r, NGHTTP2_PING, &id, &code)); /* behind it */
	CU_ASSERT(!raw_find(&r, NGHTTP2_GOAWAY, &id, &code));
	raw_head(&r, ES | EH, 1, GET);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	st = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT_PTR_NOT_NULL_FATAL(st);
	CU_ASSERT(!h2_session_has_left(r.s) && !h2_session_is_over(r.s));
	raw_frame(&r, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "\0\0\0\0\0\0\0\0", 8);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT(h2_session_has_left(r.s));
	h2_session_drain(r.s);
	raw_head(&r, ES | EH, 3, GET);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT_PTR_NULL(kit_next(r.s, H2_NEWS_HEAD));
	answer(st);
	h2_stream_free(&st);
	raw_read(&r);
	CU_ASSERT(raw_find(&r, NGHTTP2_GOAWAY, &id, &code) && code == 0);
	CU_ASSERT(h2_session_is_over(r.s));
	raw_fini(&r);
}

/* The connection goes: every stream gets its end, once. */
static void
test_gone(void)
{
	struct h2_config cfg = { .server = false };
	struct fault f = { 0 }, got = { 0 };
	struct chq q = { 0 };
	struct raw r;
	unsigned news, n = 0;

	raw_init(&r, &cfg);
	raw_head(&r, ES | EH, 3, ":status: 200\n"); /* whole: stays so */
	raw_head(&r, EH, 5, ":status: 200\n");
	raw_frame(&r, NGHTTP2_DATA, 0, 5, "ab", 2);
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	while (h2_session_next(r.s, &news) != NULL)
		;
	(void)fault_set(&f, ERR_ORIGIN_CUT, "reset by peer");
	h2_session_gone(r.s, &f);
	h2_session_gone(r.s, &f);
	while (h2_session_next(r.s, &news) != NULL)
		n += (news & H2_NEWS_RESET) != 0;
	CU_ASSERT(n == 3);
	CU_ASSERT(h2_stream_pull(r.own[2], &q, 10, &got) == PULL_MORE);
	CU_ASSERT(h2_stream_pull(r.own[2], &q, 10, &got) == PULL_CUT);
	CU_ASSERT(got.code == ERR_ORIGIN_CUT);
	CU_ASSERT(str_eq(str_of(got.detail), STR("reset by peer")));
	CU_ASSERT(h2_stream_pull(r.own[1], &q, 10, NULL) == PULL_END);
	CU_ASSERT(h2_stream_pull(r.own[0], &q, 10, NULL) == PULL_CUT);
	chq_fini(&q);
	raw_fini(&r);
}

/* A server that answers before it has the request, and stops it (8.1). */
static void
test_early_answer(void)
{
	struct h2_stream *up, *down;
	struct arena *a;
	enum h2_code code;
	enum pull end;
	struct kit k;

	kit_init(&k, NULL, NULL, CUT_RANDOM);
	up = h2_session_open(k.client, k.a,
	    kit_request(k.a,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
		"chunked\r\n\r\n"),
	    false);
	CU_ASSERT(kit_pump(&k));
	down = kit_next(k.server, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(down != NULL);
	(void)h2_stream_head_take(down);
	a = h2_stream_arena_take(down);
	h2_stream_answer(down,
	    kit_answer(a, http_msg_new(a, true), "HTTP/1.1 413 x\r\n\r\n", 3),
	    false);
	kit_write(down, "no!", 3);
	h2_stream_end(down, NULL);
	h2_stream_free(&down);
	arena_free(&a);
	kit_write(up, "x", 1);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(h2_session_streams(k.server) == 0);
	CU_ASSERT(kit_next(k.client, H2_NEWS_RESET) == up);
	CU_ASSERT(h2_stream_is_reset(up, &code) && code == H2_NO_ERROR);
	CU_ASSERT(h2_stream_fault(up, NULL) == ERR_NONE);
	CU_ASSERT(h2_stream_head_take(up)->status == 413);
	CU_ASSERT(str_eq(kit_pull(k.a, up, &end), STR("no!")));
	CU_ASSERT(end == PULL_END);
	CU_ASSERT(h2_stream_room(up) == 0);
	h2_stream_free(&up);
	CU_ASSERT(kit_pump(&k));
	kit_fini(&k);
}

/* Octets that do not come to what the head said: a visible cut. */
static void
test_cut_answers(void)
{
	static const struct {
		size_t said, put;
		bool end, good;
	} rows[] = {
		{ 5, 5, true, true }, { 5, 4, true, false }, /* short */
		{ 5, 6, true, false },                       /* long */
		{ HTTP_LENGTH_UNKNOWN, 5, true, true },
		{ HTTP_LENGTH_UNKNOWN, 5, false, false }, /* no end */
	};
	struct h2_stream *up, *down;
	struct arena *a;
	enum pull end;
	struct kit k;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		kit_init(&k, NULL, NULL, CUT_WHOLE);
		up = h2_session_open(k.client, k.a,
		    kit_request(k.a, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		    true);
		CU_ASSERT(kit_pump(&k));
		down = kit_next(k.server, H2_NEWS_HEAD);
		CU_ASSERT_FATAL(down != NULL);
		(void)h2_stream_head_take(down);
		a = h2_stream_arena_take(down);
		h2_stream_answer(down,
		    kit_answer(a, http_msg_new(a, true),
			"HTTP/1.1 200 x\r\n\r\n", rows[i].said),
		    false);
		kit_write(down, "abcdefgh", rows[i].put);
		if (rows[i].end)
			h2_stream_end(down, NULL);
		h2_stream_free(&down);
		arena_free(&a);
		CU_ASSERT(kit_pump(&k));
		(void)kit_pull(k.a, up, &end);
		CHECK_ROW(i, "end",
		    end == (rows[i].good ? PULL_END : PULL_CUT));
		h2_stream_free(&up);
		kit_fini(&k);
	}
}

static void
test_ping(void)
{
	struct kit k;

	kit_init(&k, NULL, NULL, CUT_OCTETS);
	CU_ASSERT(kit_pump(&k));
	h2_session_ping(k.client);
	h2_session_ping(k.client);
	CU_ASSERT(h2_session_ping_unanswered(k.client));
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(!h2_session_ping_unanswered(k.client));
	kit_fini(&k);
}

/* Extended CONNECT is offered where it is taken (RFC 8441 3). */
static void
test_connect_offer(void)
{
	static const char on[6] = "\0\10\0\0\0\1";
	struct h2_config cfg = { .server = true };
	struct h2_session *s;
	struct chq q = { 0 };
	uint8_t first[256];
	unsigned i, at, offered;

	for (i = 0; i < 2; i++) {
		cfg.connect = i > 0;
		s = h2_session_new(&cfg);
		(void)h2_session_give(s, &q, sizeof(first));
		CU_ASSERT_FATAL(chq_len(&q) > 9);
		chq_read(&q, 0, first, chq_len(&q));
		CU_ASSERT_EQUAL(first[3], NGHTTP2_SETTINGS);
		offered = 0;
		for (at = 9; at + 6 <= 9u + first[2]; at += 6)
			offered += memcmp(first + at, on, 6) == 0;
		CU_ASSERT_EQUAL(offered, i);
		chq_fini(&q);
		h2_session_free(&s);
	}
}

/* The server's limit is kept to; extended CONNECT where it is offered. */
static void
test_client_limit(void)
{
	struct h2_config server = { .server = true,
		.streams = 2,
		.connect = true };
	struct h2_stream *up[2];
	struct http_msg *m;
	struct kit k;

	kit_init(&k, NULL, &server, CUT_WHOLE);
	CU_ASSERT(!h2_session_is_ready(k.client));
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(h2_session_is_ready(k.client));
	CU_ASSERT(h2_session_may_connect(k.client));
	m = kit_request(k.a, "GET /chat HTTP/1.1\r\nHost: a\r\n\r\n");
	m->method = STR("CONNECT");
	m->method_id = METHOD_CONNECT;
	m->protocol = STR("websocket");
	up[0] = h2_session_open(k.client, k.a, m, false);
	up[1] = h2_session_open(k.client, k.a,
	    kit_request(k.a, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true);
	CU_ASSERT(!h2_session_may_open(k.client));
	CU_ASSERT(h2_session_can_open(k.client));
	CU_ASSERT(kit_pump(&k));
	m = h2_stream_head_take(kit_next(k.server, H2_NEWS_HEAD));
	CU_ASSERT(str_eq(m->protocol, STR("websocket")) &&
	    str_eq(m->target, STR("/chat")));
	h2_stream_free(&up[0]);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(h2_session_may_open(k.client));
	h2_stream_free(&up[1]);
	raw_free_streams(k.server);
	CU_ASSERT(kit_pump(&k));
	raw_free_streams(k.server);
	kit_fini(&k);
}

/* An extended CONNECT, whose stream at the server is returned. */
static struct h2_stream *
open_connect(struct kit *k, struct h2_stream **up)
{
	struct h2_stream *down;
	struct http_msg *m;

	m = kit_request(k->a,
	    "GET /chat HTTP/1.1\r\nHost: a\r\n"
	    "Sec-WebSocket-Version: 13\r\n\r\n");
	m->method = STR("CONNECT");
	m->method_id = METHOD_CONNECT;
	m->protocol = STR("websocket");
	*up = h2_session_open(k->client, k->a, m, false);
	CU_ASSERT(kit_pump(k));
	down = kit_next(k->server, H2_NEWS_HEAD);
	CU_ASSERT_PTR_NOT_NULL_FATAL(down);
	CU_ASSERT(h2_stream_head_take(down)->length_is == LENGTH_UNKNOWN);
	return (down);
}

/* RFC 8441: octets flow both ways behind a 2xx, whatever length it says. */
static void
test_extended_connect(void)
{
	static const struct h2_config server = { .server = true,
		.connect = true };
	static const unsigned statuses[] = { 200, 204, 299 };
	struct h2_stream *up, *down;
	struct http_msg *m;
	struct chq q = { 0 };
	struct kit k;
	unsigned i;

	for (i = 0; i < COUNT(statuses); i++) {
		kit_init(&k, NULL, &server, CUT_RANDOM);
		CU_ASSERT(kit_pump(&k));
		down = open_connect(&k, &up);
		m = http_msg_new(k.a, false);
		m->status = statuses[i];
		m->length_is = LENGTH_KNOWN; /* a foolish server */
		m->length = 100000;
		h2_stream_answer(down, m, false);
		kit_write(down, "abc", 3);
		kit_write(up, "de", 2);
		CU_ASSERT(kit_pump(&k));
		CU_ASSERT(kit_next(k.client, H2_NEWS_HEAD) == up);
		m = h2_stream_head_take(up);
		CU_ASSERT(
		    m->status == statuses[i] && m->length_is == LENGTH_UNKNOWN);
		CU_ASSERT(h2_stream_pull(up, &q, 9, NULL) == PULL_MORE);
		CU_ASSERT(h2_stream_pull(down, &q, 9, NULL) == PULL_MORE);
		CU_ASSERT(chq_len(&q) == 5);
		CU_ASSERT(h2_stream_pull(up, &q, 9, NULL) == PULL_WAIT);
		chq_fini(&q);
		h2_stream_end(up, NULL);
		CU_ASSERT(kit_pump(&k));
		CU_ASSERT(h2_stream_pull(down, &q, 9, NULL) == PULL_END);
		h2_stream_free(&up);
		h2_stream_free(&down);
		CU_ASSERT(kit_pump(&k));
		kit_fini(&k);
	}
}

/* RFC 9113 8.5: nothing but octets, from either side. */
static void
test_fields_behind_connect(void)
{
	static const struct h2_config server = { .server = true,
		.connect = true };
	struct http_fields trailer;
	struct h2_stream *up, *down;
	struct http_msg *m;
	struct chq q = { 0 };
	struct fault f = { 0 };
	struct kit k;
	unsigned i;

	for (i = 0; i < 2; i++) {
		kit_init(&k, NULL, &server, CUT_RANDOM);
		CU_ASSERT(kit_pump(&k));
		down = open_connect(&k, &up);
		m = http_msg_new(k.a, false);
		m->status = 200;
		m->length_is = LENGTH_UNKNOWN;
		h2_stream_answer(down, m, false);
		CU_ASSERT(kit_pump(&k));
		trailer = (struct http_fields){ 0 };
		http_fields_add_named(k.a, &trailer, STR("x-t"), STR("1"));
		h2_stream_end(i == 0 ? up : down, &trailer);
		CU_ASSERT(kit_pump(&k));
		CHECK_ROW(i, "its end",
		    h2_stream_pull(i == 0 ? down : up, &q, 9, &f) == PULL_FAIL);
		CU_ASSERT_EQUAL(f.code,
		    i == 0 ? ERR_REQ_SYNTAX : ERR_ORIGIN_SYNTAX);
		f.code = ERR_NONE;
		CU_ASSERT(!h2_session_is_over(k.client));
		h2_stream_free(&up);
		h2_stream_free(&down);
		CU_ASSERT(kit_pump(&k));
		kit_fini(&k);
	}
}

/* --- priorities (RFC 9218) --- */

/* Four answers wait; the order in which their DATA goes out. */
static void
test_priorities(void)
{
	static const struct {
		const char *says[3];
		const char *update; /* of stream 1, before it */
		const char *order;  /* streams of DATA frames */
	} rows[] = {
		{ { "u=5", "u=1", "u=3" }, NULL, "335511" },
		{ { "u=1, i", "u=1,i", "u=1;x, i" }, NULL, "135135" },
		{ { "u=2", "u=2", "i, u=1" }, NULL, "551133" },
		{ { NULL, NULL, NULL }, NULL, "135135" },
		{ { "u=9", "u=0", "!" }, NULL, "331155" },
		{ { NULL, "u=3", "u=3" }, "\0\0\0\1u=0", "113355" },
		{ { "u=7", "u=3", "u=3" }, "\0\0\0\1u=0", "113355" },
	};
	static char zeros[32768];
	struct h2_stream *st[3];
	struct buf b = { 0 };
	struct arena *a = arena_new();
	uint32_t id, len;
	struct raw r;
	unsigned i, j;

	for (i = 0; i < COUNT(rows); i++) {
		raw_init(&r, &server_cfg);
		if (rows[i].update != NULL)
			raw_frame(&r, NGHTTP2_PRIORITY_UPDATE, 0, 0,
			    rows[i].update, 7);
		for (j = 0; j < 3; j++) {
			b.n = 0;
			buf_cstr(&b, GET);
			if (rows[i].says[j] != NULL)
				buf_printf(&b, "priority: %s\n",
				    rows[i].says[j]);
			raw_head_n(&r, ES | EH, 2 * j + 1, buf_as_str(&b));
		}
		raw_frame(&r, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\1\0\0", 4);
		CU_ASSERT(raw_send(&r, CUT_WHOLE));
		for (j = 0; j < 3; j++) {
			st[j] = kit_next(r.s, H2_NEWS_HEAD);
			CU_ASSERT_FATAL(st[j] != NULL);
			h2_stream_answer(st[j],
			    kit_answer(a, http_msg_new(a, true),
				"HTTP/1.1 200 x\r\n\r\n", sizeof(zeros)),
			    false);
			kit_write(st[j], zeros, sizeof(zeros));
			h2_stream_end(st[j], NULL);
			h2_stream_free(&st[j]);
		}
		raw_read(&r);
		b.n = 0;
		while (raw_find(&r, NGHTTP2_DATA, &id, &len))
			if (len > 0)
				buf_printf(&b, "%u", id);
		if (!str_eq(buf_as_str(&b), str_of(rows[i].order)))
			printf("# %.*s\n", (int)b.n, b.p);
		CHECK_ROW(i, "order",
		    str_eq(buf_as_str(&b), str_of(rows[i].order)));
		raw_fini(&r);
	}
	buf_fini(&b);
	arena_free(&a);
	CU_ASSERT(chunk_bytes_live() == 0);
}

/* --- memory is counted --- */

static void
test_account(void)
{
	struct budget *b = budget_new();
	struct account *a = account_open(b, 1);
	struct h2_config cfg = { .server = true, .account = a };
	static char data[16384];
	struct h2_stream *st;
	struct chq q = { 0 };
	struct raw r;
	unsigned i;

	raw_init(&r, &cfg);
	raw_head(&r, EH, 1,
	    ":method: POST\n:scheme: https\n"
	    ":authority: a\n:path: /\n");
	for (i = 0; i < 3; i++)
		raw_frame(&r, NGHTTP2_DATA, 0, 1, data, sizeof(data));
	CU_ASSERT(raw_send(&r, CUT_WHOLE));
	CU_ASSERT(account_used(a, BUDGET_MEMORY) >= 3 * 16384);
	CU_ASSERT(account_used(a, BUDGET_MEMORY) <= 6 * 16384);
	st = kit_next(r.s, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(st != NULL);
	while (h2_stream_pull(st, &q, 100000, NULL) == PULL_MORE)
		;
	chq_fini(&q);
	raw_read(&r);
	CU_ASSERT(account_used(a, BUDGET_MEMORY) <= 2 * 16384);
	h2_stream_free(&st);
	raw_fini(&r);
	CU_ASSERT(account_used(a, BUDGET_MEMORY) == 0);
	account_unref(&a);
	budget_free(&b);
}

/* Did it give back some of the connection's window? */
static bool
gave_window(struct raw *r)
{
	uint32_t id, n;

	raw_read(r);
	while (raw_find(r, NGHTTP2_WINDOW_UPDATE, &id, &n))
		if (id == 0)
			return (true);
	return (false);
}

/* Whose share is used up gets no more window for what nobody reads. */
static void
test_account_is_full(void)
{
	static const struct {
		uint64_t taken;
		bool gives;
	} rows[] = { { 0, true }, { 64 << 20, false } };
	struct budget *b = budget_new();
	struct account *a = account_open(b, 1);
	struct h2_config cfg = { .server = true, .account = a };
	static char data[16384];
	struct h2_stream *st;
	struct chq q = { 0 };
	struct raw r;
	unsigned i, k;

	budget_set_limit(b, BUDGET_MEMORY, 64 << 20);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		raw_init(&r, &cfg);
		(void)gave_window(&r);
		account_add(a, BUDGET_MEMORY, rows[i].taken);
		for (k = 0; k < 16; k++) {
			raw_head(&r, EH, 1 + 2 * k,
			    ":method: POST\n"
			    ":scheme: https\n:authority: a\n:path: /\n");
			raw_frame(&r, NGHTTP2_DATA, 0, 1 + 2 * k, data, 16384);
			raw_frame(&r, NGHTTP2_DATA, 0, 1 + 2 * k, data, 16384);
			raw_frame(&r, NGHTTP2_DATA, 0, 1 + 2 * k, data, 16384);
		}
		CU_ASSERT(raw_send(&r, CUT_WHOLE));
		CHECK_ROW(i, "unread", gave_window(&r) == rows[i].gives);
		while ((st = kit_next(r.s, H2_NEWS_HEAD)) != NULL) {
			while (
			    h2_stream_pull(st, &q, 100000, NULL) == PULL_MORE)
				;
			h2_stream_free(&st);
		}
		chq_fini(&q);
		CHECK_ROW(i, "read", rows[i].gives || gave_window(&r));
		CU_ASSERT(h2_session_fault(r.s, NULL) == ERR_NONE);
		raw_fini(&r);
		account_give(a, BUDGET_MEMORY, rows[i].taken);
	}
	account_unref(&a);
	budget_free(&b);
}

/*
 * A patient server tells a client at the second look that its request has been
 * answered; what a shut window holds back is let go at the third.
 */
static void
test_sweep(void)
{
	struct h2_config server = { .server = true, .patient = true };
	struct h2_stream *up, *down;
	struct arena *a;
	enum h2_code code;
	struct kit k;

	kit_init(&k, NULL, &server, CUT_WHOLE);
	up = h2_session_open(k.client, k.a,
	    kit_request(k.a,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
		"chunked\r\n\r\n"),
	    false);
	CU_ASSERT(kit_pump(&k));
	down = kit_next(k.server, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(down != NULL);
	(void)h2_stream_head_take(down);
	a = h2_stream_arena_take(down);
	h2_stream_answer(down,
	    kit_answer(a, http_msg_new(a, true), "HTTP/1.1 413 x\r\n\r\n", 3),
	    false);
	CU_ASSERT(h2_stream_waits(down) == H2_WAIT_ROOM);
	kit_write(down, "no!", 3);
	h2_stream_end(down, NULL);
	CU_ASSERT(kit_pump(&k));
	h2_stream_free(&down);
	arena_free(&a);
	CU_ASSERT(h2_session_given(k.server) == 3);
	CU_ASSERT(h2_session_streams(k.server) == 1);
	h2_session_sweep(k.server, false);
	kit_write(up, "still here", 10); /* is let be */
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(!h2_stream_is_reset(up, NULL));
	h2_session_sweep(k.server, false);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(h2_stream_is_reset(up, &code) && code == H2_NO_ERROR);
	CU_ASSERT(h2_session_streams(k.server) == 0);
	h2_stream_free(&up);
	CU_ASSERT(kit_pump(&k));
	kit_fini(&k);
}

/* A peer that is behind answers many small DATA frames at once. */
static void
test_earned_ahead(void)
{
	struct h2_budget b = { { 0 }, { 0 } };

	h2_budget_earn(&b, H2_SPEND_WINDOW, 6000);
	CU_ASSERT(h2_budget_spend(&b, H2_SPEND_WINDOW, 6000, 1000));
	CU_ASSERT(h2_budget_spend(&b, H2_SPEND_WINDOW, 1000, 1000));
	CU_ASSERT(!h2_budget_spend(&b, H2_SPEND_WINDOW, 1, 1000));
	/* Time gives back what was spent, and no more. */
	CU_ASSERT(h2_budget_spend(&b, H2_SPEND_WINDOW, 1000, 3600000));
	CU_ASSERT(!h2_budget_spend(&b, H2_SPEND_WINDOW, 1, 3600000));
	/* What is ahead is bounded, and of other kinds nothing is. */
	b = (struct h2_budget){ { 0 }, { 0 } };
	h2_budget_earn(&b, H2_SPEND_WINDOW, 4000000);
	CU_ASSERT(!h2_budget_spend(&b, H2_SPEND_WINDOW, 300000, 1000));
	h2_budget_earn(&b, H2_SPEND_PING, 1000);
	CU_ASSERT(!h2_budget_spend(&b, H2_SPEND_PING, 101, 1000));
}

UNIT_TESTS(http_h2_hostile, { "floods", test_floods },
    { "earned ahead", test_earned_ahead },
    { "a head without end", test_endless_head },
    { "answers that nobody reads", test_unread_answers },
    { "the limit of streams", test_stream_limit },
    { "closed streams", test_closed_streams }, { "no HTTP/2", test_no_http2 },
    { "GOAWAY", test_goaway }, { "draining", test_drain },
    { "leaving", test_leave }, { "the connection goes", test_gone },
    { "an early answer", test_early_answer },
    { "cut answers", test_cut_answers }, { "PING", test_ping },
    { "an offer of extended CONNECT", test_connect_offer },
    { "the server's limit", test_client_limit },
    { "extended CONNECT", test_extended_connect },
    { "fields behind CONNECT", test_fields_behind_connect },
    { "priorities", test_priorities }, { "the account", test_account },
    { "an account without room", test_account_is_full },
    { "streams without owner", test_sweep })
