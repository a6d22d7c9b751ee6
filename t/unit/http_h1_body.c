/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies: good and bad chunks, fed whole, octet by octet, at random, cut. */
#include <stdlib.h>
#include <time.h>
#include "http/h1_body.h"
#include "t/unit/http_help.h"

#define F16 "ffffffffffffffff"
#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
	struct str text;
	const char *content; /* NULL: broken coding */
	const char *ext, *trailer;
} chunked[] = {
	{ LIT("0\r\n\r\n"), "", "", "" },
	{ LIT("5\r\nhello\r\n0\r\n\r\n"), "hello", "", "" },
	{ LIT("1\r\na\r\n1\r\nb\r\n00\r\n\r\n"), "ab", "", "" },
	{ LIT("A\r\n0123456789\r\n0\r\n\r\n"), "0123456789", "", "" },
	{ LIT("0000000000000002\r\n\r\n\r\n0\r\n\r\n"), "\r\n", "", "" },
	{ LIT("0000000000000000\r\n\r\n"), "", "", "" },
	{ LIT("3;a\r\nabc\r\n0\r\n\r\n"), "abc", "", "" },
	{ LIT("3;a=b;c=\"d;\\\"\xff\t\" ;e\r\nabc\r\n0\r\n\r\n"), "abc", "",
	    "" },
	{ LIT("3 ; a = b\t; c\r\nabc\r\n0\r\n\r\n"), "abc", "", "" },
	{ LIT("3;a=\"\"\r\nabc\r\n0; ieof\r\n\r\n"), "abc", "; ieof", "" },
	{ LIT("0;use-original-body=5 ;x=\"y;z\"\r\n\r\n"), "",
	    ";use-original-body=5 ;x=\"y;z\"", "" },
	{ LIT("0\r\nA: b\r\nC:\r\n\r\n"), "", "", "A: b\r\nC: \r\n" },
	{ LIT("1\r\nx\r\n0\r\nA: b\r\nContent-Length: 5\r\nHost: x\r\n"
	      "Transfer-Encoding: chunked\r\nauthorization: y\r\nTrailer: z\r\n"
	      "Cookie: a\r\nSet-Cookie: b\r\nConnection: close\r\n"
	      "Content-Encoding: gzip\r\nVia: 1.1 x\r\nDigest: q\r\n\r\n"),
	    "x", "", "A: b\r\nDigest: q\r\n" },
/* sizes that are none */
#define BAD(s)                           \
	{                                \
		LIT(s), NULL, NULL, NULL \
	}
	BAD("\r\n\r\n"),
	BAD(" 5\r\nhello\r\n0\r\n\r\n"),
	BAD("+5\r\nhello\r\n0\r\n\r\n"),
	BAD("-5\r\nhello\r\n0\r\n\r\n"),
	BAD("0x5\r\nhello\r\n0\r\n\r\n"),
	BAD("5_\r\nhello\r\n0\r\n\r\n"),
	BAD("5h\r\nhello\r\n0\r\n\r\n"),
	BAD("g\r\n"),
	BAD(";a\r\n"),
	BAD("5 5\r\nhello\r\n0\r\n\r\n"),
	BAD("8000000000000000\r\n"),
	BAD(F16 "\r\n"),
	BAD(F16 "f\r\n"),
	BAD("00000000000000005\r\nhello"),
	BAD("00000000000000000\r\n\r\n"),
	BAD("5\0\r\nhello\r\n0\r\n\r\n"),
	/* ends of lines and chunks */
	BAD("5\nhello\r\n0\r\n\r\n"),
	BAD("5\r\r\nhello\r\n0\r\n\r\n"),
	BAD("5\rhello\r\n0\r\n\r\n"),
	BAD("5\r\nhello\n0\r\n\r\n"),
	BAD("5\r\nhello0\r\n\r\n"),
	BAD("5\r\nhello!\r\n0\r\n\r\n"),
	BAD("5\r\nhello\r\r\n0\r\n\r\n"),
	BAD("5\r\nhello\rX0\r\n\r\n"),
	BAD("5\r\nhell\r\n0\r\n\r\n"),
	BAD("5\r\nhello\r\n\r\n0\r\n\r\n"),
	BAD("0\r\n\n"),
	BAD("0\n\r\n"),
	BAD("0\r\n\rX"),
	BAD("0\r\n\r\r\n"),
	/* extensions */
	BAD("5;\r\nhello\r\n0\r\n\r\n"),
	BAD("5;;a\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a=\r\nhello\r\n0\r\n\r\n"),
	BAD("5;=b\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a=b c\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a b\r\nhello"),
	BAD("5;a=\"b\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a=\"b\"c\r\nhello"),
	BAD("5;a=\"b\\\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a\nhello\r\n"),
	BAD("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a \r\nhello\r\n"),
	BAD("5;a\0b\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a=\"\0\"\r\nhello\r\n"),
	BAD("5;a\r\r\nhello\r\n"),
	BAD("5;(a)\r\nhello\r\n"),
	BAD("5;a=b==c\r\nhello\r\n"),
	/* trailers */
	BAD("0\r\nA : b\r\n\r\n"),
	BAD("0\r\nA\r\n\r\n"),
	BAD("0\r\n A: b\r\n\r\n"),
	BAD("0\r\nA: b\r\n c\r\n\r\n"),
	BAD("0\r\nA: b\nC: d\r\n\r\n"),
	BAD("0\r\nA: \0\r\n\r\n"),
	BAD("0\r\nGET / HTTP/1.1\r\n\r\n"),
};

/* Blanks behind a size: of origins alone. */
static const struct {
	enum err code;
	struct str text;
	const char *content;
} padded[] = {
	{ ERR_ORIGIN_CHUNK, LIT("5 \r\nhello\r\n0\r\n\r\n"), "hello" },
	{ ERR_ORIGIN_CHUNK, LIT("5\t  \r\nhello\r\n0   \r\n\r\n"), "hello" },
	{ ERR_ORIGIN_CHUNK, LIT("5 \nhello\r\n0\r\n\r\n"), NULL },
	{ ERR_ORIGIN_CHUNK, LIT("5;a \r\nhello\r\n0\r\n\r\n"), NULL },
	{ ERR_REQ_CHUNK, LIT("5 \r\nhello\r\n0\r\n\r\n"), NULL },
	{ ERR_REQ_CHUNK, LIT("5\t\r\nhello\r\n0\r\n\r\n"), NULL },
	{ ERR_SCAN_PROTOCOL, LIT("5 \r\nhello\r\n0\r\n\r\n"), NULL },
	{ ERR_REQ_CHUNK, LIT("5\r\nhello\r\n0\r\n\r\n"), "hello" },
};

static size_t
whole(size_t left)
{
	return (left);
}

static size_t
single(size_t left)
{
	(void)left;
	return (1);
}

static size_t
random_piece(size_t left)
{
	size_t n = 1 + unit_random(7);

	return (n < left ? n : left);
}

/*
 * Feed text in pieces and pull as much as there is, `want` at a time, until a
 * last answer or the text is used up.
 */
static enum pull
feed(struct h1_body *b, struct str text, size_t (*piece)(size_t), size_t want,
    struct chq *in, struct chq *out, struct fault *f)
{
	enum pull r = PULL_WAIT;
	size_t n, had;

	for (;;) {
		if (r == PULL_WAIT) {
			CU_ASSERT(chq_len(in) == 0);
			if (text.n == 0)
				return (r);
			n = piece(text.n);
			chq_copy(in, text.p, n);
			text.p += n;
			text.n -= n;
		}
		had = chq_len(out);
		r = h1_body_pull(b, in, out, want, f);
		had = chq_len(out) - had;
		CU_ASSERT((r == PULL_MORE) == (had > 0) && had <= want);
		if (pull_is_last(r)) {
			chq_copy(in, text.p, text.n);
			return (r);
		}
	}
}

static bool
content_is(struct chq *q, struct str text)
{
	char *p = malloc(text.n + 1);
	bool same = p != NULL && chq_len(q) == text.n;

	if (same) {
		chq_read(q, 0, p, text.n);
		same = memcmp(p, text.p, text.n) == 0;
	}
	free(p);
	chq_fini(q);
	return (same);
}

static void
check_good(unsigned i, struct h1_body *b, struct chq *out)
{
	struct buf t = { 0 };
	unsigned k;

	CHECK_ROW(i, "content", content_is(out, str_of(chunked[i].content)));
	CU_ASSERT(b->content == strlen(chunked[i].content));
	CU_ASSERT(h1_body_eof(b, false) == PULL_END);
	CHECK_ROW(i, b->last_ext.p,
	    str_eq(b->last_ext, str_of(chunked[i].ext)));
	buf_cstr(&t, "");
	for (k = 0; k < b->trailer.n; k++)
		buf_printf(&t, "%.*s: %.*s\r\n", STR_ARG(b->trailer.v[k].name),
		    STR_ARG(b->trailer.v[k].value));
	CHECK_ROW(i, "trailer", http_help_is(&t, chunked[i].trailer));
}

static void
check_chunked(unsigned i, size_t (*piece)(size_t), size_t want,
    const char *behind)
{
	struct arena *a = arena_new();
	struct chq in = { 0 }, out = { 0 };
	struct fault f = { 0 };
	struct h1_body b;
	struct buf text = { 0 };
	enum pull r;

	buf_str(&text, chunked[i].text);
	buf_cstr(&text, behind);
	h1_body_init(&b, a, FRAMING_CHUNKED, 0, ERR_ORIGIN_CHUNK);
	r = feed(&b, buf_as_str(&text), piece, want, &in, &out, &f);
	CHECK_ROW(i, chunked[i].text.p,
	    r == (chunked[i].content != NULL ? PULL_END : PULL_FAIL));
	CHECK_ROW(i, "again", h1_body_pull(&b, &in, &out, want, &f) == r);
	if (r == PULL_END) {
		check_good(i, &b, &out);
		CHECK_ROW(i, "what follows stays",
		    content_is(&in, str_of(behind)));
	} else
		CHECK_ROW(i, f.detail,
		    f.code == ERR_ORIGIN_CHUNK &&
			h1_body_eof(&b, true) == PULL_FAIL);
	chq_fini(&in);
	chq_fini(&out);
	buf_fini(&text);
	arena_free(&a);
}

static void
table(void)
{
	unsigned i, again;

	for (i = 0; i < COUNT(chunked); i++) {
		check_chunked(i, whole, 1000, "");
		check_chunked(i, whole, 1, "HTTP/1.1 200 OK\r\n");
		check_chunked(i, single, 1, "\r\n");
		check_chunked(i, single, 1000, "");
		for (again = 0; again < 20; again++)
			check_chunked(i, random_piece, 1 + unit_random(5),
			    "0\r\n\r\n");
	}
}

static void
padding(void)
{
	struct chq in = { 0 }, out = { 0 };
	struct fault f = { 0 };
	struct arena *a;
	struct h1_body b;
	unsigned i, again;
	enum pull r;

	for (i = 0; i < COUNT(padded); i++)
		for (again = 0; again < 10; again++) {
			a = arena_new();
			f.code = ERR_NONE;
			h1_body_init(&b, a, FRAMING_CHUNKED, 0, padded[i].code);
			r = feed(&b, padded[i].text,
			    again == 0 ? whole : random_piece, 1000, &in, &out,
			    &f);
			CHECK_ROW(i, padded[i].text.p,
			    padded[i].content != NULL
				? r == PULL_END &&
				    content_is(&out, str_of(padded[i].content))
				: r == PULL_FAIL && f.code == padded[i].code);
			chq_fini(&in);
			chq_fini(&out);
			arena_free(&a);
		}
}

/* A good body cut anywhere is a cut, whatever its connection's end. */
static void
cut(void)
{
	struct arena *a;
	struct chq in = { 0 }, out = { 0 };
	struct h1_body b;
	unsigned i;
	size_t n;

	for (i = 0; i < COUNT(chunked); i++)
		for (n = 0; chunked[i].content != NULL && n < chunked[i].text.n;
		     n++) {
			a = arena_new();
			h1_body_init(&b, a, FRAMING_CHUNKED, 0, ERR_REQ_CHUNK);
			CHECK_ROW(i, "waits",
			    feed(&b, (struct str){ chunked[i].text.p, n },
				random_piece, 9, &in, &out, NULL) == PULL_WAIT);
			CHECK_ROW(i, "cut", h1_body_eof(&b, n % 2) == PULL_CUT);
			CU_ASSERT(
			    h1_body_pull(&b, &in, &out, 1, NULL) == PULL_CUT);
			chq_fini(&in);
			chq_fini(&out);
			arena_free(&a);
		}
}

static void
lengths(void)
{
	struct arena *a = arena_new();
	struct chq in = { 0 }, out = { 0 };
	struct h1_body b;

	h1_body_init(&b, a, FRAMING_LENGTH, 5, ERR_REQ_CHUNK);
	CU_ASSERT(
	    feed(&b, STR("hello!"), whole, 2, &in, &out, NULL) == PULL_END);
	CU_ASSERT(content_is(&out, STR("hello")) && chq_len(&in) == 1);
	CU_ASSERT(h1_body_eof(&b, false) == PULL_END && b.content == 5);
	chq_fini(&in);

	h1_body_init(&b, a, FRAMING_LENGTH, 5, ERR_REQ_CHUNK);
	CU_ASSERT(
	    feed(&b, STR("hell"), single, 9, &in, &out, NULL) == PULL_WAIT);
	CU_ASSERT(h1_body_eof(&b, true) == PULL_CUT);
	CU_ASSERT(h1_body_eof(&b, true) == PULL_CUT);
	chq_fini(&out);

	h1_body_init(&b, a, FRAMING_LENGTH, 0, ERR_REQ_CHUNK);
	CU_ASSERT(h1_body_eof(&b, false) == PULL_END);
	CU_ASSERT(h1_body_pull(&b, &in, &out, 1, NULL) == PULL_END);
	h1_body_init(&b, a, FRAMING_NONE, 7, ERR_REQ_CHUNK);
	CU_ASSERT(h1_body_pull(&b, &in, &out, 1, NULL) == PULL_END);
	CU_ASSERT(h1_body_eof(&b, false) == PULL_END);

	h1_body_init(&b, a, FRAMING_CLOSE, 0, ERR_REQ_CHUNK);
	CU_ASSERT(feed(&b, STR("hello"), random_piece, 3, &in, &out, NULL) ==
	    PULL_WAIT);
	CU_ASSERT(content_is(&out, STR("hello")));
	CU_ASSERT(h1_body_eof(&b, true) == PULL_END);
	CU_ASSERT(h1_body_pull(&b, &in, &out, 1, NULL) == PULL_END);
	h1_body_init(&b, a, FRAMING_CLOSE, 0, ERR_REQ_CHUNK);
	CU_ASSERT(h1_body_eof(&b, false) == PULL_CUT);
	CU_ASSERT(h1_body_pull(&b, &in, &out, 1, NULL) == PULL_CUT);
	chq_fini(&in);
	chq_fini(&out);
	arena_free(&a);
}

static void
extensions(void)
{
	struct arena *a = arena_new();
	struct chq in = { 0 }, out = { 0 };
	struct h1_body b;
	struct str value;

	h1_body_init(&b, a, FRAMING_CHUNKED, 0, ERR_SCAN_PROTOCOL);
	CU_ASSERT(feed(&b,
		      STR("3;x=1\r\nabc\r\n0 ; ieof ;q=\"a;ieof2=\" ; "
			  "Use-Original-Body = 12\r\n\r\n"),
		      random_piece, 9, &in, &out, NULL) == PULL_END);
	CU_ASSERT(h1_body_ext(&b, STR("ieof"), &value) && value.n == 0);
	CU_ASSERT(h1_body_ext(&b, STR("use-original-body"), &value) &&
	    str_eq(value, STR("12")));
	CU_ASSERT(h1_body_ext(&b, STR("q"), &value) &&
	    str_eq(value, STR("\"a;ieof2=\"")));
	CU_ASSERT(!h1_body_ext(&b, STR("ieof2"), &value));
	CU_ASSERT(!h1_body_ext(&b, STR("x"), &value));
	chq_fini(&in);
	chq_fini(&out);
	arena_free(&a);
}

/* head, then n times unit, then tail */
static enum pull
flood(const char *head, const char *unit, unsigned n, const char *tail,
    size_t (*piece)(size_t), uint64_t *content)
{
	struct arena *a = arena_new();
	struct chq in = { 0 }, out = { 0 };
	struct fault f = { 0 };
	struct h1_body b;
	struct buf text = { 0 };
	enum pull r;

	buf_cstr(&text, head);
	while (n-- > 0)
		buf_cstr(&text, unit);
	buf_cstr(&text, tail);
	h1_body_init(&b, a, FRAMING_CHUNKED, 0, ERR_REQ_CHUNK);
	r = feed(&b, buf_as_str(&text), piece, 16384, &in, &out, &f);
	*content = b.content;
	CU_ASSERT(arena_bytes(a) < 100000);
	chq_fini(&in);
	chq_fini(&out);
	buf_fini(&text);
	arena_free(&a);
	return (r);
}

static void
limits(void)
{
	static const struct {
		const char *head, *unit, *tail;
		unsigned fits, tight;
	} rows[] = {
		{ "1;", "a", "\r\nx\r\n0\r\n\r\n", 4093, 4094 },
		{ "1;a=\"", "\xff", "\"\r\nx\r\n0\r\n\r\n", 4089, 4090 },
		{ "0;", "a", "\r\n\r\n", 4093, 4094 },
		{ "", "1;" X64 "\r\nx\r\n", "0\r\n\r\n", 255, 257 },
		{ "", "40;" X64 "\r\n" X64 "\r\n", "0\r\n\r\n", 10000, 16500 },
		{ "0\r\n", "A: b\r\n", "\r\n", 100, 101 },
		{ "0\r\nA:", "b", "\r\n\r\n", 16380, 16381 },
	};
	uint64_t content;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		CHECK_ROW(i, "fits",
		    flood(rows[i].head, rows[i].unit, rows[i].fits,
			rows[i].tail, random_piece, &content) == PULL_END);
		CHECK_ROW(i, "tight",
		    flood(rows[i].head, rows[i].unit, rows[i].tight,
			rows[i].tail, random_piece, &content) == PULL_FAIL);
		CHECK_ROW(i, "endless",
		    flood(rows[i].head, rows[i].unit, rows[i].tight + 1000, "",
			whole, &content) == PULL_FAIL);
	}
}

/* A hundred thousand chunks of one octet: linear, however they are fed. */
static void
many_chunks(void)
{
	clock_t began = clock();
	uint64_t content;

	CU_ASSERT(flood("", "1\r\nx\r\n", 100000, "0\r\n\r\n", whole,
		      &content) == PULL_END &&
	    content == 100000);
	CU_ASSERT(flood("", "1\r\nx\r\n", 100000, "0\r\n\r\n", single,
		      &content) == PULL_END &&
	    content == 100000);
	printf("# 200000 chunks: %ld ms\n",
	    (long)((clock() - began) * 1000 / CLOCKS_PER_SEC));
	CU_ASSERT(clock() - began < 5 * CLOCKS_PER_SEC);
}

static void
size_lines(void)
{
	static const struct {
		size_t n;
		const char *line;
	} rows[] = {
		{ 1, "1\r\n" },
		{ 15, "f\r\n" },
		{ 16, "10\r\n" },
		{ 16384, "4000\r\n" },
		{ 0xabcdef, "abcdef\r\n" },
		{ SIZE_MAX, F16 "\r\n" },
		{ 0, "0\r\n" },
	};
	char line[20];
	unsigned i;

	for (i = 0; i < COUNT(rows); i++)
		CHECK_ROW(i, rows[i].line,
		    str_eq((struct str){ line, h1_chunk_line(line, rows[i].n) },
			str_of(rows[i].line)));
}

UNIT_TESTS(http_h1_body, { "blanks behind a size", padding },
    { "good and bad chunks in all pieces", table },
    { "bodies cut anywhere", cut }, { "lengths and ends", lengths },
    { "last chunk's extensions", extensions }, { "limits", limits },
    { "many small chunks", many_chunks }, { "size lines", size_lines })
