/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hop-by-hop fields, Via, Max-Forwards, Date. */
#include <time.h>
#include "http/hop.h"
#include "t/unit/http_help.h"

static bool
fields_are(const struct http_msg *m, const char *text)
{
	struct buf b = { 0 };

	buf_cstr(&b, "");
	head_fields(&b, &m->fields);
	return (http_help_is(&b, text));
}

static const struct {
	const char *in, *out; /* fields */
} strips[] = {
	{ "", "" },
	{ "Connection: keep-alive\r\nKeep-Alive: 5\r\nA: b\r\n", "A: b\r\n" },
	{ "A: 1\r\nB: 2\r\nConnection: b, close\r\nb: 3\r\nC: 4\r\n",
	    "A: 1\r\nC: 4\r\n" },
	{ "X-B: 1\r\nX-A: 2\r\nx-b: 3\r\nConnection: x-b, X-B, x-C\r\n"
	  "Connection: x-a,,\r\nX-D: 5\r\n",
	    "X-D: 5\r\n" },
	{ "Connection: Cookie, X-Forwarded-For\r\nCookie: a\r\n"
	  "X-Forwarded-For: b\r\n",
	    "" },
	{ "Proxy-Connection: A\r\nA: b\r\nTrailer: x\r\nUpgrade: h2c\r\n"
	  "HTTP2-Settings: AA\r\nTransfer-Encoding: chunked\r\n"
	  "Content-Length: 5\r\n",
	    "A: b\r\n" },
	{ "TE: gzip;q=1, Trailers\r\nA: b\r\n", "A: b\r\nTE: trailers\r\n" },
	{ "TE: gzip\r\nA: b\r\n", "A: b\r\n" },
	{ "Proxy-Support: Session-Based-Authentication\r\nA: b\r\n",
	    "A: b\r\n" },
	{ "Connection: host, via, max-forwards, expect, content-type,"
	  " content-encoding, content-range, content-disposition,"
	  " cache-control, content-length, transfer-encoding\r\n"
	  "Host: a\r\nVia: b\r\nMax-Forwards: 1\r\n"
	  "Expect: 100-continue\r\nContent-Type: c\r\n"
	  "Content-Encoding: d\r\nContent-Range: e\r\n"
	  "Content-Disposition: f\r\nCache-Control: g\r\n",
	    "Host: a\r\nVia: b\r\nMax-Forwards: 1\r\n"
	    "Expect: 100-continue\r\nContent-Type: c\r\n"
	    "Content-Encoding: d\r\nContent-Range: e\r\n"
	    "Content-Disposition: f\r\nCache-Control: g\r\n" },
};

static void
strip(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(strips); i++) {
		m = http_help_head(a, H1_FIELDS,
		    arena_printf(a, "%s\r\n", strips[i].in).p);
		http_hop_strip(m);
		CHECK_ROW(i, strips[i].in, fields_are(m, strips[i].out));
	}
	/* the length that describes what HEAD did not send stays */
	m = http_help_head(a, H1_RESPONSE,
	    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
	http_hop_strip(m);
	CU_ASSERT(fields_are(m, "Content-Length: 5\r\n"));
	m->length_is = LENGTH_KNOWN;
	http_hop_strip(m);
	CU_ASSERT(fields_are(m, ""));
	arena_free(&a);
}

/* A list of 60 KB against as many fields as are let in. */
static void
strip_much(void)
{
	static const char *const units[] = { "x,", "x-aaaa,", ",",
		"connection,", "x-0001,", "\"," };
	struct arena *a;
	struct http_msg *m;
	struct buf b;
	clock_t began = clock();
	unsigned i, k;

	for (i = 0; i < COUNT(units); i++) {
		a = arena_new();
		b = (struct buf){ 0 };
		for (k = 0; k < 390; k++)
			buf_printf(&b, "X-%04u: y\r\n", k % 195);
		buf_cstr(&b, "Connection: ");
		while (b.n < 60000)
			buf_cstr(&b, units[i]);
		buf_cstr(&b, "\r\n\r\n");
		m = http_help_head(a, H1_FIELDS, b.p);
		http_hop_strip(m);
		CU_ASSERT(m->fields.n == (i == 4 ? 388 : 390));
		CU_ASSERT(arena_bytes(a) < 300000);
		buf_fini(&b);
		arena_free(&a);
	}
	CU_ASSERT(clock() - began < CLOCKS_PER_SEC);
}

static const struct {
	const char *in, *out; /* start line and fields; fields */
	enum err err;
} forwards[] = {
	{ "GET / HTTP/1.1\r\nHost: a\r\n", "Host: a\r\nVia: 1.1 me\r\n",
	    ERR_NONE },
	{ "GET / HTTP/1.0\r\nVia: 1.1 a, 1.1 b (c)\r\n",
	    "Via: 1.1 a, 1.1 b (c)\r\nVia: 1.0 me\r\n", ERR_NONE },
	{ "GET / HTTP/1.1\r\nProxy-Authorization: x\r\nAuthorization: y\r\n",
	    "Authorization: y\r\nVia: 1.1 me\r\n", ERR_NONE },
	{ "GET / HTTP/1.1\r\nVia: 1.1 you\r\nVia: 1.0 b,1.1\tME\r\n", NULL,
	    ERR_REQ_LOOP },
	{ "GET / HTTP/1.1\r\nVia: HTTP/2.0 me(x)\r\n", NULL, ERR_REQ_LOOP },
	{ "GET / HTTP/1.1\r\nVia: 1.1 mean, 1.1 a.me, me 1.1, me\r\n",
	    "Via: 1.1 mean, 1.1 a.me, me 1.1, me\r\nVia: 1.1 me\r\n",
	    ERR_NONE },
	{ "OPTIONS / HTTP/1.1\r\nMax-Forwards: 0\r\n", NULL, ERR_REQ_METHOD },
	{ "TRACE / HTTP/1.1\r\nMax-Forwards: 000\r\n", NULL, ERR_REQ_METHOD },
	{ "TRACE / HTTP/1.1\r\nMax-Forwards: -1\r\n", NULL, ERR_REQ_SYNTAX },
	{ "TRACE / HTTP/1.1\r\nMax-Forwards: 10\r\n",
	    "Max-Forwards: 9\r\nVia: 1.1 me\r\n", ERR_NONE },
	{ "GET / HTTP/1.1\r\nMax-Forwards: 0\r\n",
	    "Max-Forwards: 0\r\nVia: 1.1 me\r\n", ERR_NONE },
};

static void
forward_request(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	struct fault f;
	unsigned i;
	enum err e;

	for (i = 0; i < COUNT(forwards); i++) {
		f = (struct fault){ 0 };
		m = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "%s\r\n", forwards[i].in).p);
		CHECK_ROW(i, "spent",
		    http_forwards_spent(m) ==
			(forwards[i].err == ERR_REQ_METHOD));
		e = http_forward_request(m, STR("me"), &f);
		CHECK_ROW(i, forwards[i].in,
		    e == forwards[i].err && f.code == e);
		if (e == ERR_NONE)
			CHECK_ROW(i, forwards[i].in,
			    fields_are(m, forwards[i].out));
	}
	arena_free(&a);
}

static void
forward_client(void)
{
	static const char sent[] = "GET / HTTP/1.1\r\n"
				   "x-forwarded-for: a\r\nA: b\r\n"
				   "Forwarded: for=x\r\n"
				   "X-Forwarded-For: \r\n"
				   "X-Forwarded-For: c, d\r\n\r\n";
	static const struct {
		enum http_said xff, forwarded;
		const char *address, *out;
	} t[] = {
		{ HTTP_SAID_DROP, HTTP_SAID_DROP, "192.0.2.1", "A: b\r\n" },
		{ HTTP_SAID_KEEP, HTTP_SAID_DROP, "192.0.2.1",
		    "x-forwarded-for: a\r\nA: b\r\nX-Forwarded-For: \r\n"
		    "X-Forwarded-For: c, d\r\n" },
		{ HTTP_SAID_ADD, HTTP_SAID_DROP, "192.0.2.1",
		    "A: b\r\nX-Forwarded-For: a, c, d, 192.0.2.1\r\n" },
		{ HTTP_SAID_DROP, HTTP_SAID_ADD, "192.0.2.1",
		    "A: b\r\nForwarded: for=x, for=192.0.2.1\r\n" },
		{ HTTP_SAID_ADD, HTTP_SAID_ADD, "2001:db8::1",
		    "A: b\r\nX-Forwarded-For: a, c, d, 2001:db8::1\r\n"
		    "Forwarded: for=x, for=\"[2001:db8::1]\"\r\n" },
	};
	struct arena *a = arena_new();
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(t); i++) {
		m = http_help_head(a, H1_REQUEST, sent);
		http_forward_client(m, t[i].xff, t[i].forwarded, t[i].address);
		CHECK_ROW(i, t[i].out, fields_are(m, t[i].out));
	}
	m = http_help_head(a, H1_REQUEST, "GET / HTTP/1.1\r\n\r\n");
	http_forward_client(m, HTTP_SAID_ADD, HTTP_SAID_KEEP, "192.0.2.1");
	CU_ASSERT(fields_are(m, "X-Forwarded-For: 192.0.2.1\r\n"));
	arena_free(&a);
}

static void
forward_response(void)
{
	struct arena *a = arena_new();
	struct http_msg *m = http_help_head(a, H1_RESPONSE,
	    "HTTP/1.1 200 OK"
	    "\r\nAlt-Svc: h3=\":443\"\r\nProxy-Authenticate: Basic\r\n"
	    "Proxy-Authentication-Info: x\r\nWWW-Authenticate: y\r\n\r\n");

	http_forward_response(m, STR("me"), 784111777);
	CU_ASSERT(fields_are(m,
	    "WWW-Authenticate: y\r\n"
	    "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nVia: 1.1 me\r\n"));
	m = http_help_head(a, H1_RESPONSE,
	    "HTTP/1.0 200 OK\r\ndate: x\r\n\r\n");
	http_forward_response(m, STR("me"), 0);
	CU_ASSERT(fields_are(m, "date: x\r\nVia: 1.0 me\r\n"));
	m = http_help_head(a, H1_RESPONSE, "HTTP/1.1 103 x\r\n\r\n");
	http_forward_response(m, STR("me"), 0);
	CU_ASSERT(fields_are(m, "Via: 1.1 me\r\n"));
	arena_free(&a);
}

static void
date(void)
{
	time_t t;
	char is[30], should[64];
	struct tm tm;
	unsigned i;

	for (i = 0; i < 2000; i++) {
		t = (time_t)unit_random(UINT32_MAX);
		http_date_print(is, t);
		strftime(should, sizeof(should), "%a, %d %b %Y %H:%M:%S GMT",
		    gmtime_r(&t, &tm));
		CHECK_ROW(i, is, strcmp(is, should) == 0);
	}
}

#define X16 "xxxxxxxxxxxxxxxx"
#define X256 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16

static const struct {
	const char *in, *out; /* fields */
} trailers[] = {
	{ "", "" },
	{ "X-Sum: 1\r\nDigest: a\r\nGrpc-Status-Details: AAAA\r\n", "" },
	{ "Grpc-Status-Details-Bin: +zA9/A==\r\n",
	    "Grpc-Status-Details-Bin: +zA9/A==\r\n" },
	{ "Grpc-Status-Details-Bin: AA AA\r\n", "" },
	{ "Grpc-Status-Details-Bin: x" X256 "\r\n", "" },
	{ "X: y\r\ngrpc-message: no such%20thing\r\ngrpc-status: 5\r\n"
	  "Server-Timing: db;dur=53\r\n",
	    "grpc-status: 5\r\n"
	    "grpc-message: no such%20thing\r\nServer-Timing: db;dur=53\r\n" },
	{ "grpc-status: 1234\r\nGrpc-Message: " X256 "\r\n",
	    "Grpc-Message: " X256 "\r\n" },
	{ "grpc-status: 1x\r\nGrpc-Message: x" X256 "\r\n", "" },
	{ "grpc-status:\r\nServer-Timing: a\r\nServer-Timing: b\r\n",
	    "Server-Timing: a\r\n" },
};

static void
small_trailers(void)
{
	struct arena *a = arena_new();
	struct http_msg *m, *to;
	unsigned i;

	for (i = 0; i < COUNT(trailers); i++) {
		m = http_help_head(a, H1_FIELDS,
		    arena_printf(a, "%s\r\n", trailers[i].in).p);
		to = http_msg_new(a, true);
		http_trailer_small(a, &m->fields, &to->fields);
		CHECK_ROW(i, trailers[i].in, fields_are(to, trailers[i].out));
	}
	arena_free(&a);
}

static const struct {
	const char *head, *out; /* NULL: dropped */
} interims[] = {
	{ "HTTP/1.1 100 anything\r\nX: y\r\nLink: <a>\r\n\r\n", "" },
	{ "HTTP/1.1 102 anything\r\nX: y\r\n\r\n", "" },
	{ "HTTP/1.1 103 anything\r\nX: y\r\nlink: <a>\r\nSet-Cookie: z\r\n"
	  "Link: <b>\r\n\r\n",
	    "link: <a>\r\nLink: <b>\r\n" },
	{ "HTTP/1.1 103 anything\r\nX: y\r\n\r\n", NULL },
	{ "HTTP/1.1 104 anything\r\n\r\n", NULL },
	{ "HTTP/1.1 199 anything\r\nLink: <a>\r\n\r\n", NULL },
	{ "HTTP/1.1 103 x\r\nLink: <0123456789>\r\n\r\n", NULL },
};

static void
interim(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	size_t room = 10;
	unsigned i;
	bool goes;

	for (i = 0; i < COUNT(interims); i++) {
		m = http_help_head(a, H1_RESPONSE, interims[i].head);
		goes = http_interim_strip(m, &room);
		CHECK_ROW(i, interims[i].head,
		    goes == (interims[i].out != NULL) &&
			(!goes ||
			    (fields_are(m, interims[i].out) &&
				str_eq(m->reason,
				    str_of(http_reason(m->status))))));
	}
	CU_ASSERT(room == 4);
	arena_free(&a);
}

UNIT_TESTS(http_hop, { "strips", strip }, { "strips long lists", strip_much },
    { "forwards requests", forward_request },
    { "says for whom", forward_client },
    { "forwards responses", forward_response },
    { "trailers behind a scanned body", small_trailers },
    { "interim responses", interim }, { "dates", date })
