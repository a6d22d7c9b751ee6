/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HTTP/2 exchanges between our client and our server, cut in every way. */
#include <stdlib.h>
#include "http/h1_emit.h"
#include "http/h1_frame.h"
#include "t/unit/http_h2_kit.h"

static const enum kit_cut cuts[] = { CUT_WHOLE, CUT_OCTETS, CUT_RANDOM };

/* A request and its answer, as text. */
static const struct {
	const char *request, *body, *seen; /* seen: by the server */
	const char *answer, *back, *got;   /* got: by the client */
	bool known;                        /* lengths are said */
} exchanges[] = {
	{ "GET /a?b HTTP/1.1\r\nHost: a.example:444\r\nX-Own: 1\r\n"
	  "Accept: */*\r\nPriority: u=1, i\r\n\r\n",
	    "",
	    "GET /a?b|x-own=1|Accept=*/*|Priority=u=1, i|Host=a.example:444",
	    "HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=1\r\n"
	    "Set-Cookie: b=2\r\n\r\n",
	    "hello", "200|Server=x|Set-Cookie=a=1|Set-Cookie=b=2", true },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n", "abcd",
	    "POST /|Host=a", "HTTP/1.1 404 x\r\n\r\n", "gone", "404", false },
	{ "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
	  "TE: trailers\r\nAuthorization: Basic x\r\nCookie: k=v\r\n\r\n",
	    "abcdefgh",
	    "PUT /|TE=trailers|Authorization=Basic x|Cookie=k=v|"
	    "Host=a",
	    "HTTP/1.1 204 x\r\n\r\n", "", "204", true },
	{ "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "", "HEAD /|Host=a",
	    "HTTP/1.1 200 x\r\nContent-Length: 12\r\n\r\n", "",
	    "200|Content-Length=12", true },
	{ "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "", "OPTIONS *|Host=a",
	    "HTTP/1.1 200 x\r\n\r\n", "", "200", true },
	{ "GET / HTTP/1.1\r\nHost: [2001:DB8::1]:8443\r\n"
	  "Connection: x, Upgrade\r\nUpgrade: h2c\r\nKeep-Alive: 1\r\n\r\n",
	    "", "GET /|Host=[2001:db8::1]:8443",
	    "HTTP/1.1 304 x\r\nContent-Length: 3\r\nETag: \"a\"\r\n"
	    "Connection: close\r\n\r\n",
	    "", "304|ETag=\"a\"|Content-Length=3", true },
};

static void
dump(struct buf *b, const struct http_msg *m)
{
	unsigned i;

	b->n = 0;
	if (m->is_request)
		buf_printf(b, "%.*s %.*s", STR_ARG(m->method),
		    STR_ARG(m->target));
	else
		buf_printf(b, "%u", m->status);
	for (i = 0; i < m->fields.n; i++)
		buf_printf(b, "|%.*s=%.*s", STR_ARG(m->fields.v[i].name),
		    STR_ARG(m->fields.v[i].value));
}

static bool
is_text(const struct buf *b, const char *text)
{
	bool same = str_eq(buf_as_str(b), str_of(text));

	if (!same)
		printf("# %.*s\n# instead of %s\n", (int)b->n, b->p, text);
	return (same);
}

static void
one_exchange(unsigned row, enum kit_cut cut)
{
	const struct http_msg *req, *seen;
	struct h2_stream *up, *down;
	struct http_msg *m, *answer;
	enum http_length length_is;
	struct buf b = { 0 };
	struct arena *a;
	enum pull end;
	struct kit k;
	size_t n = strlen(exchanges[row].body),
	       back = strlen(exchanges[row].back);

	kit_init(&k, NULL, NULL, cut);
	req = kit_request(k.a, exchanges[row].request);
	CHECK_ROW(row, "open", h2_session_may_open(k.client));
	up = h2_session_open(k.client, k.a, req, n == 0);
	CU_ASSERT(kit_pump(&k));
	if (n > 0) {
		kit_write(up, exchanges[row].body, n);
		h2_stream_end(up, NULL);
	}
	CU_ASSERT(kit_pump(&k));

	down = kit_next(k.server, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(down != NULL);
	seen = h2_stream_head_take(down);
	a = h2_stream_arena_take(down);
	CU_ASSERT_FATAL(seen != NULL && h2_stream_head_take(down) == NULL);
	dump(&b, seen);
	CHECK_ROW(row, "request", is_text(&b, exchanges[row].seen));
	CHECK_ROW(row, "framing", seen->length_is == req->length_is);
	CHECK_ROW(row, "body",
	    str_eq(kit_pull(k.a, down, &end), str_of(exchanges[row].body)) &&
		end == PULL_END);

	answer = kit_answer(a, seen, exchanges[row].answer,
	    back == 0                  ? 0
		: exchanges[row].known ? back
				       : HTTP_LENGTH_UNKNOWN);
	length_is = answer->length_is;
	h2_stream_answer(down, answer, back == 0);
	if (back > 0) {
		kit_write(down, exchanges[row].back, back);
		h2_stream_end(down, NULL);
	}
	h2_stream_free(&down); /* what was written goes out */
	arena_free(&a);
	CU_ASSERT(kit_pump(&k));
	CHECK_ROW(row, "server done", h2_session_streams(k.server) == 0);

	up = kit_next(k.client, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(up != NULL);
	m = h2_stream_head_take(up);
	dump(&b, m);
	CHECK_ROW(row, "answer", is_text(&b, exchanges[row].got));
	CHECK_ROW(row, "length",
	    m->length_is ==
		(back == 0                     ? length_is
			: exchanges[row].known ? LENGTH_KNOWN
					       : LENGTH_UNKNOWN));
	CHECK_ROW(row, "back",
	    str_eq(kit_pull(k.a, up, &end), str_of(exchanges[row].back)) &&
		end == PULL_END);
	CHECK_ROW(row, "whole",
	    !h2_stream_is_reset(up, NULL) &&
		h2_stream_fault(up, NULL) == ERR_NONE);
	h2_stream_free(&up);
	CHECK_ROW(row, "client done", h2_session_streams(k.client) == 0);
	CHECK_ROW(row, "alive", h2_session_fault(k.client, NULL) == ERR_NONE);
	buf_fini(&b);
	kit_fini(&k);
}

static void
test_exchanges(void)
{
	unsigned i, c;

	for (i = 0; i < COUNT(exchanges); i++)
		for (c = 0; c < COUNT(cuts); c++)
			one_exchange(i, cuts[c]);
	CU_ASSERT(chunk_bytes_live() == 0);
}

/* A large body in each direction, at the pace of who reads. */
static void
move_body(enum kit_cut cut, bool up_way, size_t total)
{
	struct h2_stream *up, *down, *from, *to;
	struct chq q = { 0 }, got = { 0 };
	struct arena *a;
	struct kit k;
	enum pull r = PULL_WAIT;
	size_t n, put = 0;
	char *text = malloc(total), *back = malloc(total);
	unsigned i;

	for (i = 0; i < total; i++)
		text[i] = (char)unit_random(256);
	kit_init(&k, NULL, NULL, cut);
	up = h2_session_open(k.client, k.a,
	    kit_request(k.a,
		up_way ? "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
			 "chunked\r\n\r\n"
		       : "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
	    !up_way);
	CU_ASSERT(kit_pump(&k));
	down = kit_next(k.server, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(down != NULL);
	(void)h2_stream_head_take(down);
	a = h2_stream_arena_take(down);
	if (!up_way)
		h2_stream_answer(down,
		    kit_answer(a, http_msg_new(a, true),
			"HTTP/1.1 200 x\r\n\r\n", total),
		    false);
	from = up_way ? up : down;
	to = up_way ? down : up;
	while (!pull_is_last(r)) {
		while (put < total && (n = h2_stream_room(from)) > 0) {
			n = n < total - put ? n : total - put;
			n = 1 + unit_random((unsigned)n);
			chq_copy(&q, text + put, n);
			h2_stream_write(from, &q, n);
			put += n;
			if (put == total)
				h2_stream_end(from, NULL);
		}
		CU_ASSERT_FATAL(kit_pump(&k));
		r = h2_stream_pull(to, &got, 1 + unit_random(40000), NULL);
		CU_ASSERT(h2_stream_held(to) <= 262144);
	}
	CU_ASSERT(r == PULL_END && chq_len(&got) == total);
	chq_read(&got, 0, back, total);
	CU_ASSERT(memcmp(text, back, total) == 0);
	chq_fini(&q);
	chq_fini(&got);
	h2_stream_free(&up);
	h2_stream_free(&down);
	arena_free(&a);
	kit_fini(&k);
	free(text);
	free(back);
}

static void
test_large_bodies(void)
{
	move_body(CUT_WHOLE, true, 3000000);
	move_body(CUT_WHOLE, false, 3000000);
	move_body(CUT_RANDOM, true, 700000);
	move_body(CUT_RANDOM, false, 700000);
	move_body(CUT_OCTETS, true, 100000);
	CU_ASSERT(chunk_bytes_live() == 0);
}

/* Interim answers, and trailers both ways. */
static void
interims_and_trailers(enum kit_cut cut)
{
	struct http_fields trailer = { 0 };
	struct h2_stream *up, *down;
	struct http_msg *m;
	struct arena *a;
	enum pull end;
	struct kit k;

	kit_init(&k, NULL, NULL, cut);
	http_fields_add_named(k.a, &trailer, STR("Grpc-Status"), STR("0"));
	http_fields_add_named(k.a, &trailer, STR("Content-Length"), STR("7"));
	up = h2_session_open(k.client, k.a,
	    kit_request(k.a,
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
		"Transfer-Encoding: chunked\r\n\r\n"),
	    false);
	CU_ASSERT(kit_pump(&k));
	down = kit_next(k.server, H2_NEWS_HEAD);
	CU_ASSERT_FATAL(down != NULL);
	m = h2_stream_head_take(down);
	CU_ASSERT(m->expect_continue);
	a = h2_stream_arena_take(down);
	h2_stream_interim(down, kit_answer(a, m, "HTTP/1.1 100 x\r\n\r\n", 0));
	h2_stream_interim(down,
	    kit_answer(a, m, "HTTP/1.1 103 x\r\nLink: </a>\r\n\r\n", 0));
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(kit_next(k.client, H2_NEWS_HEAD) == up);
	CU_ASSERT(h2_stream_head_take(up)->status == 100);
	CU_ASSERT(h2_stream_head_take(up)->status == 103);
	CU_ASSERT(h2_stream_head_take(up) == NULL);
	kit_write(up, "x", 1);
	h2_stream_end(up, &trailer);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(str_eq(kit_pull(a, down, &end), STR("x")));
	CU_ASSERT(end == PULL_END && h2_stream_trailer(down)->n == 1);
	CU_ASSERT(
	    str_eq(h2_stream_trailer(down)->v[0].name, STR("grpc-status")));
	/* an answer of trailers only */
	h2_stream_answer(down,
	    kit_answer(a, m, "HTTP/1.1 200 x\r\n\r\n", HTTP_LENGTH_UNKNOWN),
	    false);
	h2_stream_end(down, &trailer);
	h2_stream_free(&down);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(kit_next(k.client, H2_NEWS_HEAD) == up);
	CU_ASSERT(kit_pull(a, up, &end).n == 0 && end == PULL_END);
	CU_ASSERT(h2_stream_trailer(up)->n == 1);
	h2_stream_free(&up);
	arena_free(&a);
	kit_fini(&k);
}

static void
test_interims_and_trailers(void)
{
	unsigned c;

	for (c = 0; c < COUNT(cuts); c++)
		interims_and_trailers(cuts[c]);
}

/* n requests are open at the server. */
static void
open_many(struct kit *k, struct h2_stream **up, struct h2_stream **down,
    struct arena **a, unsigned n, bool post)
{
	unsigned i;

	for (i = 0; i < n; i++)
		up[i] = h2_session_open(k->client, k->a,
		    kit_request(k->a,
			post ? "POST / HTTP/1.1\r\nHost: a\r\n"
			       "Transfer-Encoding: chunked\r\n\r\n"
			     : "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		    !post);
	CU_ASSERT(kit_pump(k));
	for (i = 0; i < n; i++) {
		down[i] = kit_next(k->server, H2_NEWS_HEAD);
		CU_ASSERT_FATAL(down[i] != NULL);
		(void)h2_stream_head_take(down[i]);
		a[i] = h2_stream_arena_take(down[i]);
	}
}

static void
free_many(struct kit *k, struct h2_stream **up, struct h2_stream **down,
    struct arena **a, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		h2_stream_free(&up[i]);
		h2_stream_free(&down[i]);
		arena_free(&a[i]);
	}
	CU_ASSERT(kit_pump(k));
	CU_ASSERT(h2_session_streams(k->client) == 0);
	CU_ASSERT(h2_session_streams(k->server) == 0);
}

static size_t
fill(struct h2_stream *st)
{
	static char zeros[65536];
	struct chq q = { 0 };
	size_t n, all = 0;

	while ((n = h2_stream_room(st)) > 0) {
		n = n < sizeof(zeros) ? n : sizeof(zeros);
		chq_copy(&q, zeros, n);
		h2_stream_write(st, &q, n);
		all += n;
	}
	chq_fini(&q);
	return (all);
}

/* 99 uploads that nobody reads do not stop the hundredth. */
static void
test_held_streams(void)
{
	struct h2_stream *up[100], *down[100];
	struct h2_config server = { .server = true, .window = 65535 };
	struct chq q = { 0 };
	struct arena *a[100];
	struct kit k;
	size_t moved = 0;
	unsigned i;

	kit_init(&k, NULL, &server, CUT_WHOLE);
	open_many(&k, up, down, a, 100, true);
	for (i = 0; i < 99; i++) {
		while (fill(up[i]) > 0)
			CU_ASSERT(kit_pump(&k));
		CU_ASSERT(h2_stream_held(down[i]) == 65535);
	}
	for (i = 0; moved < 1000000 && i < 1000; i++) {
		(void)fill(up[99]);
		CU_ASSERT(kit_pump(&k));
		(void)h2_stream_pull(down[99], &q, 100000, NULL);
		moved += chq_len(&q);
		chq_drop(&q, chq_len(&q));
	}
	CU_ASSERT(moved >= 1000000);
	CU_ASSERT(h2_session_bytes(k.server) < 99 * 65535 + 65535 + 300000);
	/* a held one goes on when it is read */
	CU_ASSERT(h2_stream_room(up[0]) == 0);
	CU_ASSERT(h2_stream_pull(down[0], &q, 65535, NULL) == PULL_MORE);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(kit_next(k.client, H2_NEWS_ROOM) != NULL);
	CU_ASSERT(h2_stream_room(up[0]) > 0);
	chq_fini(&q);
	free_many(&k, up, down, a, 100);
	kit_fini(&k);
	CU_ASSERT(chunk_bytes_live() == 0);
}

/* What a connection may hold in all is a limit that it comes back from. */
static void
test_held_limit(void)
{
	struct h2_config server = { .server = true,
		.window = 1048576,
		.held = 200000 };
	struct h2_stream *up[8], *down[8];
	struct arena *a[8];
	struct chq q = { 0 };
	struct kit k;
	size_t sum = 0, n;
	unsigned i;

	kit_init(&k, NULL, &server, CUT_WHOLE);
	open_many(&k, up, down, a, 8, true);
	for (i = 0; i < 8; i++)
		while (fill(up[i]) > 0)
			CU_ASSERT(kit_pump(&k));
	for (i = 0; i < 8; i++)
		sum += h2_stream_held(down[i]);
	/* what it may hold, and the window that was given before */
	CU_ASSERT(sum <= 200000 + 4 * 1048576 && sum > 200000);
	for (i = 0, n = 0; n < 20000000 && i < 10000; i++) {
		while (
		    h2_stream_pull(down[i % 8], &q, 100000, NULL) == PULL_MORE)
			;
		n += chq_len(&q);
		chq_drop(&q, chq_len(&q));
		CU_ASSERT(kit_pump(&k));
		(void)fill(up[i % 8]);
		CU_ASSERT(kit_pump(&k));
	}
	CU_ASSERT(n >= 20000000);
	chq_fini(&q);
	free_many(&k, up, down, a, 8);
	kit_fini(&k);
}

/* A peer that does not read is not written to without end. */
static void
test_unread_output(void)
{
	struct h2_stream *up[100], *down[100];
	struct arena *a[100];
	struct chq q = { 0 };
	struct kit k;
	size_t sum = 0;
	unsigned i;

	kit_init(&k, NULL, NULL, CUT_WHOLE);
	open_many(&k, up, down, a, 100, false);
	for (i = 0; i < 100; i++) {
		h2_stream_answer(down[i],
		    kit_answer(a[i], http_msg_new(a[i], true),
			"HTTP/1.1 200 x\r\n\r\n", HTTP_LENGTH_UNKNOWN),
		    false);
		sum += fill(down[i]);
	}
	CU_ASSERT(sum <= 262144 + 65536 + 100 * 16384);
	/* room that the caller has is kept to */
	CU_ASSERT(h2_session_give(k.server, &q, 5000) < 5000 + 16384);
	while (h2_session_give(k.server, &q, 1) > 0)
		;
	chq_fini(&q);
	for (i = 0; i < 100; i++) {
		h2_stream_free(&up[i]);
		h2_stream_free(&down[i]);
		arena_free(&a[i]);
	}
	kit_fini(&k);
	CU_ASSERT(chunk_bytes_live() == 0);
}

/* A wider window is more room for the sender. */
static void
test_widen(void)
{
	struct h2_config server = { .server = true, .window = 65535 };
	struct h2_stream *up, *down;
	struct arena *a;
	struct kit k;

	kit_init(&k, NULL, &server, CUT_RANDOM);
	open_many(&k, &up, &down, &a, 1, true);
	while (fill(up) > 0)
		CU_ASSERT(kit_pump(&k));
	CU_ASSERT(h2_stream_held(down) == 65535);
	h2_stream_widen(down, 1000000);
	h2_stream_widen(down, 5);
	CU_ASSERT(kit_pump(&k));
	while (fill(up) > 0)
		CU_ASSERT(kit_pump(&k));
	CU_ASSERT(h2_stream_held(down) == 1000000);
	free_many(&k, &up, &down, &a, 1);
	kit_fini(&k);
}

/* A window grows with its reader, and not beyond what it may. */
static void
test_growing_window(void)
{
	struct h2_config server = { .server = true, .window = 500000 };
	struct h2_stream *up, *down;
	struct chq q = { 0 };
	struct arena *a;
	struct kit k;
	size_t held = 0;
	unsigned i;

	kit_init(&k, NULL, &server, CUT_WHOLE);
	open_many(&k, &up, &down, &a, 1, true);
	for (i = 0; i < 200; i++) {
		while (fill(up) > 0)
			CU_ASSERT(kit_pump(&k));
		CU_ASSERT(i > 0 || h2_stream_held(down) == 65535);
		if (h2_stream_held(down) > held)
			held = h2_stream_held(down);
		while (h2_stream_pull(down, &q, 40000, NULL) == PULL_MORE)
			chq_drop(&q, chq_len(&q));
		CU_ASSERT(kit_pump(&k));
	}
	CU_ASSERT(held > 250000 && held <= 500000);
	chq_fini(&q);
	free_many(&k, &up, &down, &a, 1);
	kit_fini(&k);
}

/* An answer whose head is too large to be sent is a visible cut. */
static void
test_large_answer(void)
{
	struct h2_stream *up[2], *down[2];
	struct http_msg *m;
	struct arena *a[2];
	enum h2_code code;
	struct kit k;
	char *big;

	kit_init(&k, NULL, NULL, CUT_WHOLE);
	open_many(&k, up, down, a, 2, false);
	big = arena_alloc(a[0], 400000);
	memset(big, '~', 400000);
	m = kit_answer(a[0], http_msg_new(a[0], true), "HTTP/1.1 200 x\r\n\r\n",
	    0);
	http_fields_add_named(a[0], &m->fields, STR("x"),
	    (struct str){ big, 400000 });
	h2_stream_answer(down[0], m, true);
	h2_stream_answer(down[1],
	    kit_answer(a[1], http_msg_new(a[1], true), "HTTP/1.1 200 x\r\n\r\n",
		0),
	    true);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(
	    h2_stream_is_reset(up[0], &code) && code == H2_INTERNAL_ERROR);
	CU_ASSERT(h2_stream_is_reset(down[0], NULL));
	CU_ASSERT(h2_stream_head_take(up[1]) != NULL);
	free_many(&k, up, down, a, 2);
	kit_fini(&k);
}

/* --- any order of what owners do --- */

#define PLAYERS 12

struct player {
	struct h2_stream *up, *down;
	struct arena *up_arena, *down_arena;
	bool answered;
};

static void
sometimes_write(struct h2_stream *st)
{
	static char zeros[20000];
	struct chq q = { 0 };
	size_t n = h2_stream_room(st);

	if (n > 0) {
		n = 1 +
		    unit_random(
			n < sizeof(zeros) ? (unsigned)n : sizeof(zeros));
		chq_copy(&q, zeros, n);
		h2_stream_write(st, &q, n);
	}
	chq_fini(&q);
	if (unit_random(4) == 0)
		h2_stream_end(st, NULL);
}

static void
sometimes_read(struct h2_stream *st)
{
	struct chq q = { 0 };

	while (
	    h2_stream_pull(st, &q, 1 + unit_random(30000), NULL) == PULL_MORE &&
	    unit_random(3) > 0)
		;
	chq_fini(&q);
}

static void
client_step(struct kit *k, struct player *p)
{
	bool post = unit_random(2) == 0;

	if (p->up == NULL) {
		if (p->down != NULL || !h2_session_may_open(k->client))
			return;
		p->up_arena = arena_new();
		p->up = h2_session_open(k->client, p->up_arena,
		    kit_request(p->up_arena,
			post ? "POST / HTTP/1.1\r\nHost: a\r\n"
			       "Transfer-Encoding: chunked\r\n\r\n"
			     : "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		    !post);
		return;
	}
	switch (unit_random(8)) {
	case 0:
		h2_stream_free(&p->up);
		arena_free(&p->up_arena);
		break;
	case 1:
		h2_stream_reset(p->up, H2_CANCEL);
		break;
	case 2:
	case 3:
		sometimes_write(p->up);
		break;
	default:
		(void)h2_stream_head_take(p->up);
		sometimes_read(p->up);
		break;
	}
}

static void
server_step(struct player *p)
{
	if (p->down == NULL)
		return;
	switch (unit_random(8)) {
	case 0:
		h2_stream_free(&p->down);
		arena_free(&p->down_arena);
		p->answered = false;
		break;
	case 1:
		h2_stream_reset(p->down, H2_INTERNAL_ERROR);
		break;
	case 2:
	case 3:
	case 4:
		if (p->answered)
			sometimes_write(p->down);
		else if (!h2_stream_is_reset(p->down, NULL))
			h2_stream_answer(p->down,
			    kit_answer(p->down_arena,
				http_msg_new(p->down_arena, true),
				"HTTP/1.1 200 x\r\n\r\n", HTTP_LENGTH_UNKNOWN),
			    unit_random(3) == 0);
		p->answered = true;
		break;
	default:
		sometimes_read(p->down);
		break;
	}
}

/* New requests go to players without one. */
static void
deal(struct kit *k, struct player *players)
{
	struct h2_stream *st;
	struct arena *a;
	unsigned i, news;

	while (h2_session_next(k->client, &news) != NULL)
		;
	while ((st = h2_session_next(k->server, &news)) != NULL) {
		if ((news & H2_NEWS_HEAD) == 0)
			continue;
		(void)h2_stream_head_take(st);
		a = h2_stream_arena_take(st);
		for (i = 0; i < PLAYERS && players[i].down != NULL; i++)
			;
		if (i < PLAYERS) {
			players[i].down = st;
			players[i].down_arena = a;
			continue;
		}
		h2_stream_free(&st);
		arena_free(&a);
	}
}

static void
test_any_order(void)
{
	struct h2_config server = { .server = true,
		.window = 70000,
		.streams = PLAYERS };
	struct player players[PLAYERS] = { 0 };
	struct kit k;
	unsigned i, step;

	kit_init(&k, NULL, &server, CUT_RANDOM);
	for (step = 0; step < 20000; step++) {
		i = unit_random(PLAYERS);
		if (unit_random(2) == 0)
			client_step(&k, &players[i]);
		else
			server_step(&players[i]);
		k.now_ms += 100;
		if (unit_random(3) == 0)
			CU_ASSERT_FATAL(kit_pump(&k));
		deal(&k, players);
	}
	for (i = 0; i < PLAYERS; i++) {
		h2_stream_free(&players[i].up);
		h2_stream_free(&players[i].down);
		arena_free(&players[i].up_arena);
		arena_free(&players[i].down_arena);
	}
	CU_ASSERT(kit_pump(&k));
	raw_free_streams(k.server);
	CU_ASSERT(kit_pump(&k));
	CU_ASSERT(h2_session_streams(k.client) == 0);
	CU_ASSERT(h2_session_streams(k.server) == 0);
	CU_ASSERT(h2_session_fault(k.client, NULL) == ERR_NONE);
	CU_ASSERT(h2_session_fault(k.server, NULL) == ERR_NONE);
	kit_fini(&k);
	CU_ASSERT(chunk_bytes_live() == 0);
}

UNIT_TESTS(http_h2, { "any order", test_any_order },
    { "wider windows", test_widen }, { "growing windows", test_growing_window },
    { "an answer too large", test_large_answer },
    { "exchanges", test_exchanges }, { "large bodies", test_large_bodies },
    { "interim answers and trailers", test_interims_and_trailers },
    { "held streams starve nobody", test_held_streams },
    { "a connection's held octets", test_held_limit },
    { "output that nobody reads", test_unread_output })
