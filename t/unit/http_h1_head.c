/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Heads: good and bad ones, fed whole, octet by octet, at random, cut. */
#include "http/h1_head.h"
#include "t/unit/http_help.h"

/* A head and what it is; dump() shows a message as "start|name=value|...". */
static const struct {
	enum h1_kind kind;
	struct str text;
	enum err err; /* ERR_NONE: good */
	const char *dump;
} heads[] = {
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\n\r\n"), ERR_NONE, "GET / 1" },
	{ H1_REQUEST, LIT("\r\n\r\nGET / HTTP/1.0\r\n\r\n"), ERR_NONE,
	    "GET / 0" },
	{ H1_REQUEST,
	    LIT("x!#$%&'*+-.^_`|~9 http://a/?%&[] HTTP/1.9\r\n"
		"A:b\r\n\r\n"),
	    ERR_NONE, "x!#$%&'*+-.^_`|~9 http://a/?%&[] 1|A=b" },
	{ H1_REQUEST,
	    LIT("GET / HTTP/1.1\r\nHost: a\r\naccept:\t x\ty \t\r\n"
		"X:\r\nX: \xff\xc3\xa4\r\nX::;\r\n\r\n"),
	    ERR_NONE, "GET / 1|Host=a|accept=x\ty|X=|X=\xff\xc3\xa4|X=:;" },
	/* start lines of requests */
	{ H1_REQUEST, LIT("GET / HTTP/2.0\r\n\r\n"), ERR_REQ_VERSION, "" },
	{ H1_REQUEST, LIT("PRI * HTTP/2.0\r\n\r\n"), ERR_REQ_VERSION, "" },
	{ H1_REQUEST, LIT("GET / HTTP/0.9\r\n\r\n"), ERR_REQ_VERSION, "" },
	{ H1_REQUEST, LIT("GET /\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.10\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/11\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1,1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/a.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / http/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / ICAP/1.0\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET  / HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET /  HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1 \r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT(" GET / HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET\t/ HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET /\tHTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET /a b HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET /\x01 HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET /\x7f HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET /\0 HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("G@T / HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("G\xc3T / HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT(": / HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
	    ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("\nGET / HTTP/1.1\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("\x16\x03\x01\x02"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("\x05\x01"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\n\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	/* fields of requests */
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA : b\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA\t: b\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\n: b\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA(b): c\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA b: c\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST,
	    LIT("GET / HTTP/1.1\r\n\x0b"
		"A: c\r\n\r\n"),
	    ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\n\xc3: c\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\n A: b\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\n \r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
	    ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n"),
	    ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA\0: b\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\r\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA:\r b\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n"),
	    ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\r\n\n"), ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: b\r\n\r\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST,
	    LIT("GET / HTTP/1.1\r\nA: \x0b"
		"5\r\n\r\n"),
	    ERR_REQ_SYNTAX, "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: 5\x0c\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	{ H1_REQUEST, LIT("GET / HTTP/1.1\r\nA: 5\x7f\r\n\r\n"), ERR_REQ_SYNTAX,
	    "" },
	/* responses */
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\n\r\n"), ERR_NONE, "200 OK 1" },
	{ H1_RESPONSE, LIT("HTTP/1.0 599 \r\nA: b\r\n\r\n"), ERR_NONE,
	    "599  0|A=b" },
	{ H1_RESPONSE, LIT("HTTP/1.1 404\r\n\r\n"), ERR_NONE, "404  1" },
	{ H1_RESPONSE, LIT("HTTP/1.7 200 \xe4 b \r\n\r\n"), ERR_NONE,
	    "200 \xe4 b  1" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n \t\r\n\td \r\n"
		"E \t:\r\n f\r\n\r\n"),
	    ERR_NONE, "200 OK 1|A=b c  d|E=f" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nA: b\x01\x0b"
		"c\r\n\r\n"),
	    ERR_NONE,
	    "200 OK 1|A=b\x01\x0b"
	    "c" },
	{ H1_RESPONSE, LIT("HTTP/2.0 200 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1  200 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1\t200 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 099 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 600 OK\r\n\r\n"), ERR_NONE, "600 OK 1" },
	{ H1_RESPONSE, LIT("HTTP/1.1 999\r\n\r\n"), ERR_NONE, "999  1" },
	{ H1_RESPONSE, LIT("HTTP/1.1 1000 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 20 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 2000 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 +20 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 \r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("ICY 200 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("<html>\r\n\r\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("\r\nHTTP/1.1 200 OK\r\n\r\n"), ERR_ORIGIN_SYNTAX,
	    "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 O\x01K\r\n\r\n"), ERR_ORIGIN_SYNTAX,
	    "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\nA: b\r\n c\rd\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	/* bare LF, away from framing */
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\nA: b\n\n"), ERR_NONE,
	    "200 OK 1|A=b" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\nA: b\r\nC: d\n e\n\r\n"), ERR_NONE,
	    "200 OK 1|A=b|C=d e" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\nA: b\nC: d\r\n"
		"Content-Length: 5\r\nE: f\nG: h\r\n\r\n"),
	    ERR_NONE, "200 OK 1|A=b|C=d|Content-Length=5|E=f|G=h" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nA: b\n"
		"transfer-encoding : chunked\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nTransfer-Encoding:\n"
		" chunked\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n"
		" chunked\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
		"A: b\r\n\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("\nHTTP/1.1 200 OK\n\n"), ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\nA: b\rc\n\n"), ERR_ORIGIN_SYNTAX,
	    "" },
	{ H1_ICAP_RESPONSE, LIT("ICAP/1.0 204 OK\nA: b\n\n"), ERR_SCAN_PROTOCOL,
	    "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\n A: b\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	/* no field: left out with its folds, unless it speaks of framing */
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nnonsense\r\n folded\r\n"
		"A: b\r\nX Y: z\r\n\tfolded\r\nC: d\r\n e\r\n\r\n"),
	    ERR_NONE, "200 OK 1|A=b|C=d e" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nTransfer Encoding: chunked"
		"\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE,
	    LIT("HTTP/1.1 200 OK\r\nx\r\n Content-Length: 5"
		"\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\nx\ry\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\n: b\r\n\r\n"), ERR_ORIGIN_SYNTAX,
	    "" },
	{ H1_RESPONSE, LIT("HTTP/1.1 200 OK\r\n : b\r\n\r\n"),
	    ERR_ORIGIN_SYNTAX, "" },
	/* ICAP */
	{ H1_ICAP_RESPONSE,
	    LIT("ICAP/1.0 204 No Content\r\nISTag: \"x\"\r\n"
		"encapsulated : null-body=0\r\n\r\n"),
	    ERR_NONE, "204 No Content 0|ISTag=\"x\"|encapsulated=null-body=0" },
	{ H1_ICAP_RESPONSE, LIT("ICAP/1.0 404\r\n\r\n"), ERR_NONE, "404  0" },
	{ H1_ICAP_RESPONSE, LIT("ICAP/1.1   200  fine  \r\n\r\n"), ERR_NONE,
	    "200 fine 1" },
	{ H1_ICAP_RESPONSE,
	    LIT("ICAP/1.0 201 Created\r\nX-Violations-Found:"
		" 1\r\n\tfile.exe\r\n\tEICAR\r\n\t0\r\n\t2\r\n\r\n"),
	    ERR_NONE, "201 Created 0|X-Violations-Found=1 file.exe EICAR 0 2" },
	{ H1_ICAP_RESPONSE, LIT("ICAP/1.0 600 x\r\n\r\n"), ERR_NONE,
	    "600 x 0" },
	{ H1_ICAP_RESPONSE, LIT("ICAP/2.0 200 OK\r\n\r\n"), ERR_SCAN_PROTOCOL,
	    "" },
	{ H1_ICAP_RESPONSE, LIT("HTTP/1.1 200 OK\r\n\r\n"), ERR_SCAN_PROTOCOL,
	    "" },
	{ H1_ICAP_RESPONSE, LIT("ICAP/1.0 20\r\n\r\n"), ERR_SCAN_PROTOCOL, "" },
	{ H1_ICAP_RESPONSE, LIT("ICAP/1.0\r\n\r\n"), ERR_SCAN_PROTOCOL, "" },
	{ H1_ICAP_RESPONSE, LIT("\r\n"), ERR_SCAN_PROTOCOL, "" },
	/* trailers */
	{ H1_FIELDS, LIT("\r\n"), ERR_NONE, "" },
	{ H1_FIELDS, LIT("A: b\r\nC: d\r\n\r\n"), ERR_NONE, "|A=b|C=d" },
	{ H1_FIELDS, LIT("A: b\r\n c\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_FIELDS, LIT(" A: b\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_FIELDS, LIT("A : b\r\n\r\n"), ERR_REQ_SYNTAX, "" },
	{ H1_FIELDS, LIT("\n"), ERR_REQ_SYNTAX, "" },
};

static struct str
dump(enum h1_kind kind, const struct http_msg *m)
{
	struct str s = STR("");
	unsigned i;

	if (kind == H1_REQUEST)
		s = arena_printf(m->arena, "%.*s %.*s %u", STR_ARG(m->method),
		    STR_ARG(m->target), m->version == HTTP_1_0 ? 0u : 1u);
	else if (kind != H1_FIELDS)
		s = arena_printf(m->arena, "%u %.*s %u", m->status,
		    STR_ARG(m->reason), m->version == HTTP_1_0 ? 0u : 1u);
	for (i = 0; i < m->fields.n; i++)
		s = arena_printf(m->arena, "%.*s|%.*s=%.*s", STR_ARG(s),
		    STR_ARG(m->fields.v[i].name),
		    STR_ARG(m->fields.v[i].value));
	return (s);
}

/* Sizes of the pieces that a text is fed in. */
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
	size_t n = 1 + unit_random(9);

	return (n < left ? n : left);
}

/* Feed text in pieces, each as soon as the one before is used up. */
static enum h1_step
feed(struct h1_head *h, struct str text, size_t (*piece)(size_t), struct chq *q,
    struct http_msg **m, struct fault *f)
{
	enum h1_step step = H1_MORE;
	size_t n;

	while (text.n > 0 && step == H1_MORE) {
		CU_ASSERT(chq_len(q) == 0);
		n = piece(text.n);
		chq_copy(q, text.p, n);
		text.p += n;
		text.n -= n;
		step = h1_head_feed(h, q, m, f);
	}
	chq_copy(q, text.p, text.n);
	return (step);
}

static void
check_head(unsigned i, size_t (*piece)(size_t), const char *behind)
{
	struct arena *a = arena_new();
	struct h1_head *h = h1_head_new(a, heads[i].kind, &h1_limits_client);
	struct str text = arena_printf(a, "%*s",
	    (int)(heads[i].text.n + strlen(behind)), behind);
	struct chq q = { 0 };
	struct http_msg *m = NULL;
	struct fault f = { 0 };
	enum h1_step step;

	memcpy((char *)(uintptr_t)text.p, heads[i].text.p, heads[i].text.n);
	step = feed(h, text, piece, &q, &m, &f);
	CHECK_ROW(i, heads[i].text.p,
	    step == (heads[i].err == ERR_NONE ? H1_DONE : H1_BAD));
	CHECK_ROW(i, err_info(f.code)->name, f.code == heads[i].err);
	if (step == H1_DONE) {
		CHECK_ROW(i, dump(heads[i].kind, m).p,
		    str_eq(dump(heads[i].kind, m), str_of(heads[i].dump)));
		CHECK_ROW(i, "what follows stays",
		    chq_len(&q) == strlen(behind));
		CU_ASSERT(h1_head_begun(h));
	} else
		CU_ASSERT(h1_head_feed(h, &q, &m, &f) == H1_BAD);
	chq_fini(&q);
	arena_free(&a);
}

static void
table(void)
{
	unsigned i, again;

	for (i = 0; i < COUNT(heads); i++) {
		check_head(i, whole, "");
		check_head(i, whole, "GET / HTTP/1.1\r\n\r\n");
		check_head(i, single, "");
		check_head(i, single, "\r\n\r\nx");
		for (again = 0; again < 20; again++)
			check_head(i, random_piece, "0\r\n\r\n");
	}
}

/* Cut anywhere, a good head is neither done nor bad. */
static void
cut(void)
{
	struct arena *a;
	struct chq q = { 0 };
	struct http_msg *m;
	struct h1_head *h;
	unsigned i;
	size_t n;

	for (i = 0; i < COUNT(heads); i++)
		for (n = 0; heads[i].err == ERR_NONE && n < heads[i].text.n;
		     n++) {
			a = arena_new();
			h = h1_head_new(a, heads[i].kind, &h1_limits_client);
			CHECK_ROW(i, "cut",
			    feed(h, (struct str){ heads[i].text.p, n },
				random_piece, &q, &m, NULL) == H1_MORE &&
				chq_len(&q) == 0);
			chq_fini(&q);
			arena_free(&a);
		}
}

static void
begun(void)
{
	struct arena *a = arena_new();
	struct h1_head *h = h1_head_new(a, H1_REQUEST, &h1_limits_client);
	struct chq q = { 0 };
	struct http_msg *m;
	struct str parts[] = { LIT(""), LIT("\r"), LIT("\n"), LIT("\r\n\r"),
		LIT("\n"), LIT("G") };
	unsigned i;

	for (i = 0; i < COUNT(parts); i++) {
		chq_copy(&q, parts[i].p, parts[i].n);
		CU_ASSERT(h1_head_feed(h, &q, &m, NULL) == H1_MORE);
		CHECK_ROW(i, "begun",
		    h1_head_begun(h) == (i == COUNT(parts) - 1));
	}
	chq_fini(&q);
	arena_free(&a);
}

/* What comes for start + unit * n + end, in pieces. */
static enum err
flood(const char *start, const char *unit, size_t n, const char *end,
    enum h1_kind kind, size_t (*piece)(size_t), size_t *bytes)
{
	static const struct h1_limits limits = { 1000, 4000, 2000, 50 };
	struct arena *a = arena_new();
	struct buf b = { 0 };
	struct chq q = { 0 };
	struct http_msg *m;
	struct fault f = { 0 };

	buf_cstr(&b, start);
	while (n-- > 0)
		buf_cstr(&b, unit);
	buf_cstr(&b, end);
	(void)feed(h1_head_new(a, kind, &limits), buf_as_str(&b), piece, &q, &m,
	    &f);
	*bytes = arena_bytes(a);
	buf_fini(&b);
	chq_fini(&q);
	arena_free(&a);
	return (f.code);
}

static void
limits(void)
{
	static const struct {
		enum h1_kind kind;
		const char *start, *unit;
		size_t fits, tight; /* so many units, and one too many */
		const char *end;
		enum err err;
	} rows[] = {
		{ H1_REQUEST, "GET /", "x", 986, 987, " HTTP/1.1\r\n\r\n",
		    ERR_REQ_LINE_LONG },
		{ H1_REQUEST, "", "x", 0, 1002, "", ERR_REQ_LINE_LONG },
		{ H1_REQUEST, "GET / HTTP/1.1\r\nA:", "x", 1998, 1999,
		    "\r\n\r\n", ERR_REQ_HEAD_LARGE },
		{ H1_REQUEST, "GET / HTTP/1.1\r\n", "Abcd:\r\n", 50, 51, "\r\n",
		    ERR_REQ_HEAD_LARGE },
		{ H1_REQUEST, "GET / HTTP/1.1\r\nA: b\r\n",
		    "Abcdefghi: 0123456789012345678901234567890123456789"
		    "0123456789012345678901234567890123456789012345678\r\n",
		    39, 40, "\r\n", ERR_REQ_HEAD_LARGE },
		{ H1_RESPONSE, "HTTP/1.1 200 ", "x", 987, 988, "\r\n\r\n",
		    ERR_ORIGIN_HEAD_LARGE },
		{ H1_RESPONSE, "HTTP/1.1 200 OK\r\nA: b\r\n", " c\r\n", 998,
		    999, "\r\n", ERR_ORIGIN_HEAD_LARGE },
		{ H1_RESPONSE, "HTTP/1.1 200 OK\r\nA: b\r\n", " \r\n", 1331,
		    1332, "\r\n", ERR_ORIGIN_HEAD_LARGE },
		{ H1_RESPONSE, "HTTP/1.1 200 OK\r\nA: b\r\n",
		    " 0123456789012345678901234567890123456789\r\n", 48, 49,
		    "\r\n", ERR_ORIGIN_HEAD_LARGE },
		{ H1_ICAP_RESPONSE, "ICAP/1.0 200 ", "x", 987, 988, "\r\n\r\n",
		    ERR_SCAN_PROTOCOL },
	};
	size_t (*const pieces[])(size_t) = { whole, single, random_piece };
	size_t bytes;
	unsigned i, p;
	enum err e;

	for (i = 0; i < COUNT(rows); i++)
		for (p = 0; p < COUNT(pieces); p++) {
			e = flood(rows[i].start, rows[i].unit, rows[i].fits,
			    rows[i].end, rows[i].kind, pieces[p], &bytes);
			CHECK_ROW(i, err_info(e)->name,
			    e == ERR_NONE || rows[i].fits == 0);
			CHECK_ROW(i, "memory", bytes < 40000);
			e = flood(rows[i].start, rows[i].unit, rows[i].tight,
			    rows[i].end, rows[i].kind, pieces[p], &bytes);
			CHECK_ROW(i, err_info(e)->name, e == rows[i].err);
			CHECK_ROW(i, "memory", bytes < 40000);
			/* endless ones end as well */
			e = flood(rows[i].start, rows[i].unit, 30000, "",
			    rows[i].kind, pieces[p], &bytes);
			CHECK_ROW(i, err_info(e)->name, e == rows[i].err);
		}
}

UNIT_TESTS(http_h1_head, { "good and bad heads in all pieces", table },
    { "heads cut anywhere", cut }, { "begun", begun }, { "limits", limits })
