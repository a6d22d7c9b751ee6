/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where bodies end: tables of fields and what they must mean. */
#include "http/h1_frame.h"
#include "http/length.h"
#include "t/unit/http_help.h"

#define NONE FRAMING_NONE, 0
#define LENGTH(n) FRAMING_LENGTH, n
#define CHUNKED FRAMING_CHUNKED, 0
#define CLOSE FRAMING_CLOSE, 0

#define KEEP 1    /* the connection lives on */
#define EXPECTS 2 /* 100-continue */

static const struct {
	const char *start, *fields;
	enum err err;
	enum h1_framing framing;
	uint64_t length;
	unsigned flags;
} requests[] = {
	{ "GET / HTTP/1.1", "", ERR_NONE, NONE, KEEP },
	{ "GET / HTTP/1.0", "", ERR_NONE, NONE, 0 },
	{ "GET / HTTP/1.0", "Connection: keep-alive\r\n", ERR_NONE, NONE,
	    KEEP },
	{ "GET / HTTP/1.0", "Proxy-Connection: Keep-Alive\r\n", ERR_NONE, NONE,
	    KEEP },
	{ "GET / HTTP/1.0", "Connection: keep-alive, close\r\n", ERR_NONE, NONE,
	    0 },
	{ "GET / HTTP/1.1", "Connection: x, Close\r\n", ERR_NONE, NONE, 0 },
	{ "GET / HTTP/1.1", "Proxy-Connection: close\r\n", ERR_NONE, NONE, 0 },
	{ "GET / HTTP/1.1", "Connection: closed\r\n", ERR_NONE, NONE, KEEP },
	{ "POST / HTTP/1.1", "Content-Length: 5\r\n", ERR_NONE, LENGTH(5),
	    KEEP },
	{ "GET / HTTP/1.1", "Content-Length: 5\r\n", ERR_NONE, LENGTH(5),
	    KEEP },
	{ "X / HTTP/1.1", "content-length: 0\r\n", ERR_NONE, LENGTH(0), KEEP },
	{ "POST / HTTP/1.1", "Content-Length: 0010\r\n", ERR_NONE, LENGTH(10),
	    KEEP },
	{ "POST / HTTP/1.1", "Content-Length: 9223372036854775807\r\n",
	    ERR_NONE, LENGTH(INT64_MAX), KEEP },
	{ "POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", ERR_NONE,
	    CHUNKED, KEEP },
	{ "GET / HTTP/1.1", "Transfer-Encoding: , CHUNKED ,,\r\n", ERR_NONE,
	    CHUNKED, KEEP },
	{ "GET / HTTP/1.1",
	    "Transfer-Encoding:\r\n"
	    "Transfer-Encoding: chunked\r\n",
	    ERR_NONE, CHUNKED, KEEP },
/* numbers that are none */
#define BAD_LENGTH(text)                                           \
	{                                                          \
		"POST / HTTP/1.1", "Content-Length: " text "\r\n", \
		    ERR_REQ_FRAMING, NONE, 0                       \
	}
	BAD_LENGTH(""),
	BAD_LENGTH("+5"),
	BAD_LENGTH("-5"),
	BAD_LENGTH("-0"),
	BAD_LENGTH("0x5"),
	BAD_LENGTH("5h"),
	BAD_LENGTH("5_0"),
	BAD_LENGTH("1 0"),
	BAD_LENGTH("5;"),
	BAD_LENGTH("5."),
	BAD_LENGTH("\"5\""),
	BAD_LENGTH("1e3"),
	BAD_LENGTH("\xb5"),
	BAD_LENGTH("9223372036854775808"),
	BAD_LENGTH("18446744073709551616"),
	BAD_LENGTH("99999999999999999999999999999999"),
	BAD_LENGTH("5, 6"),
	BAD_LENGTH("5, 5"),
	BAD_LENGTH("5,"),
	BAD_LENGTH(",5"),
	BAD_LENGTH(","),
	BAD_LENGTH("5\r\nContent-Length: 6"),
	BAD_LENGTH("5\r\nContent-Length: 5"),
	BAD_LENGTH("\r\nContent-Length: 5"),
	BAD_LENGTH("5\r\ncontent-length:"),
/* codings */
#define CODING(text, err)                                                  \
	{                                                                  \
		"POST / HTTP/1.1", "Transfer-Encoding: " text "\r\n", err, \
		    NONE, 0                                                \
	}
	CODING("", ERR_REQ_FRAMING),
	CODING(",", ERR_REQ_FRAMING),
	CODING("chunked, chunked", ERR_REQ_FRAMING),
	CODING("chunked\r\nTransfer-Encoding: chunked", ERR_REQ_FRAMING),
	CODING("chunked;q=1", ERR_REQ_FRAMING),
	CODING("\"chunked\"", ERR_REQ_FRAMING),
	CODING("chunked x", ERR_REQ_FRAMING),
	CODING("\"a, chunked", ERR_REQ_FRAMING),
	CODING("gzip;a=b, chunked", ERR_REQ_FRAMING),
	CODING("identity", ERR_REQ_CODING),
	CODING("gzip", ERR_REQ_CODING),
	CODING("gzip, chunked", ERR_REQ_CODING),
	CODING("chunked, gzip", ERR_REQ_CODING),
	CODING("chunked, identity", ERR_REQ_CODING),
	CODING("xchunked", ERR_REQ_CODING),
	CODING("chunked-", ERR_REQ_CODING),
	CODING("gzip\r\nTransfer-Encoding: chunked", ERR_REQ_CODING),
	CODING("chunked\r\nContent-Length: 5", ERR_REQ_FRAMING),
	CODING("chunked\r\nContent-Length: 0", ERR_REQ_FRAMING),
	CODING("identity\r\nContent-Length: 5", ERR_REQ_FRAMING),
	CODING("chunked\r\nContent-Length: x", ERR_REQ_FRAMING),
	{ "POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n", ERR_REQ_FRAMING,
	    NONE, 0 },
	/* CONNECT */
	{ "CONNECT a:443 HTTP/1.1", "", ERR_NONE, NONE, KEEP },
	{ "CONNECT a:443 HTTP/1.1", "Content-Length: 0\r\n", ERR_NONE, NONE,
	    KEEP },
	{ "CONNECT a:443 HTTP/1.1", "Content-Length: 5\r\n", ERR_REQ_FRAMING,
	    NONE, 0 },
	{ "CONNECT a:443 HTTP/1.1", "Transfer-Encoding: chunked\r\n",
	    ERR_REQ_FRAMING, NONE, 0 },
	/* Expect */
	{ "PUT / HTTP/1.1", "Content-Length: 5\r\nExpect: 100-Continue\r\n",
	    ERR_NONE, LENGTH(5), KEEP | EXPECTS },
	{ "PUT / HTTP/1.1",
	    "Transfer-Encoding: chunked\r\n"
	    "Expect: 100-continue\r\n",
	    ERR_NONE, CHUNKED, KEEP | EXPECTS },
	{ "PUT / HTTP/1.1", "Content-Length: 0\r\nExpect: 100-continue\r\n",
	    ERR_NONE, LENGTH(0), KEEP },
	{ "GET / HTTP/1.1", "Expect: 100-continue\r\n", ERR_NONE, NONE, KEEP },
	{ "PUT / HTTP/1.0", "Content-Length: 5\r\nExpect: 100-continue\r\n",
	    ERR_NONE, LENGTH(5), 0 },
	{ "PUT / HTTP/1.0", "Content-Length: 5\r\nExpect: x\r\n", ERR_NONE,
	    LENGTH(5), 0 },
	{ "PUT / HTTP/1.1", "Content-Length: 5\r\nExpect: 100-continue;x\r\n",
	    ERR_REQ_EXPECT, NONE, 0 },
	{ "PUT / HTTP/1.1", "Content-Length: 5\r\nExpect: y 100-continue\r\n",
	    ERR_REQ_EXPECT, NONE, 0 },
	{ "PUT / HTTP/1.1",
	    "Content-Length: 5\r\nExpect: 100-continue\r\n"
	    "Expect: 100-continue\r\n",
	    ERR_REQ_EXPECT, NONE, 0 },
	{ "GET / HTTP/1.1", "Expect:\r\n", ERR_REQ_EXPECT, NONE, 0 },
};

/* What the model says of the length, and what HTTP/1 does. */
static bool
agrees(const struct http_msg *m, enum h1_framing framing)
{
	return (framing == FRAMING_CLOSE ? m->length_is == LENGTH_UNKNOWN
					 : h1_frame_out(m, false) == framing);
}

static void
request(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	struct h1_frame frame;
	struct fault f;
	unsigned i;
	enum err e;

	for (i = 0; i < COUNT(requests); i++) {
		f = (struct fault){ 0 };
		m = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "%s\r\n%s\r\n", requests[i].start,
			requests[i].fields)
			.p);
		e = h1_frame_request(m, &frame, &f);
		CHECK_ROW(i, requests[i].fields,
		    e == requests[i].err && f.code == e);
		if (e != ERR_NONE)
			continue;
		CHECK_ROW(i, requests[i].fields,
		    frame.framing == requests[i].framing &&
			agrees(m, frame.framing) &&
			m->length == requests[i].length);
		CHECK_ROW(i, "keep_alive",
		    frame.keep_alive == ((requests[i].flags & KEEP) != 0));
		CHECK_ROW(i, "expects",
		    m->expect_continue ==
			    ((requests[i].flags & EXPECTS) != 0) &&
			m->expect_continue ==
			    (http_fields_get(&m->fields, FIELD_EXPECT) !=
				NULL));
		CHECK_ROW(i, "fields are gone",
		    http_fields_get(&m->fields, FIELD_CONTENT_LENGTH) == NULL &&
			http_fields_get(&m->fields, FIELD_TRANSFER_ENCODING) ==
			    NULL);
	}
	arena_free(&a);
}

static const struct {
	const char *method, *start, *fields;
	enum err err;
	enum h1_framing framing;
	uint64_t length;
	unsigned flags;
	const char *described; /* Content-Length that stays */
} responses[] = {
	{ "GET", "1.1 200", "", ERR_NONE, CLOSE, 0, NULL },
	{ "GET", "1.0 200", "Connection: keep-alive\r\n", ERR_NONE, CLOSE, 0,
	    NULL },
	{ "GET", "1.1 200", "Content-Length: 5\r\n", ERR_NONE, LENGTH(5), KEEP,
	    NULL },
	{ "GET", "1.0 200", "Content-Length: 5\r\n", ERR_NONE, LENGTH(5), 0,
	    NULL },
	{ "GET", "1.0 200", "Content-Length: 5\r\nConnection: keep-alive\r\n",
	    ERR_NONE, LENGTH(5), KEEP, NULL },
	{ "GET", "1.0 200",
	    "Content-Length: 5\r\n"
	    "Proxy-Connection: keep-alive\r\n",
	    ERR_NONE, LENGTH(5), 0, NULL },
	{ "GET", "1.1 200", "Content-Length: 5\r\nConnection: close\r\n",
	    ERR_NONE, LENGTH(5), 0, NULL },
	{ "GET", "1.1 200", "Content-Length: 5\r\nContent-Length: 5\r\n",
	    ERR_NONE, LENGTH(5), KEEP, NULL },
	{ "GET", "1.1 200", "Content-Length: 5, 05 ,5\r\n", ERR_NONE, LENGTH(5),
	    KEEP, NULL },
	{ "GET", "1.1 500", "Transfer-Encoding: Chunked\r\n", ERR_NONE, CHUNKED,
	    KEEP, NULL },
	{ "GET", "1.1 200",
	    "Transfer-Encoding: chunked\r\n"
	    "Content-Length: 5\r\n",
	    ERR_NONE, CHUNKED, 0, NULL },
	{ "GET", "1.0 200",
	    "Transfer-Encoding: chunked\r\n"
	    "Connection: keep-alive\r\n",
	    ERR_NONE, CHUNKED, 0, NULL },
	/* said twice, it is still one; nothing follows it */
	{ "GET", "1.1 200", "Transfer-Encoding: chunked, Chunked\r\n", ERR_NONE,
	    CHUNKED, 0, NULL },
	{ "GET", "1.1 200",
	    "Transfer-Encoding: chunked\r\n"
	    "Content-Length: 5\r\n"
	    "Transfer-Encoding: chunked\r\n",
	    ERR_NONE, CHUNKED, 0, NULL },
	/* no body whatever they say */
	{ "HEAD", "1.1 200", "Content-Length: 5\r\n", ERR_NONE, NONE, KEEP,
	    "5" },
	{ "HEAD", "1.1 200", "Content-Length: 5, 5\r\nContent-Length: 5\r\n",
	    ERR_NONE, NONE, KEEP, "5" },
	{ "HEAD", "1.1 200", "", ERR_NONE, NONE, KEEP, NULL },
	{ "HEAD", "1.1 200", "Transfer-Encoding: gzip, chunked\r\n", ERR_NONE,
	    NONE, KEEP, NULL },
	{ "GET", "1.1 304", "Content-Length: 5\r\n", ERR_NONE, NONE, KEEP,
	    "5" },
	{ "GET", "1.1 204",
	    "Content-Length: 5\r\n"
	    "Transfer-Encoding: chunked\r\n",
	    ERR_NONE, NONE, KEEP, NULL },
	{ "GET", "1.1 100", "Content-Length: 5\r\n", ERR_NONE, NONE, KEEP,
	    NULL },
	{ "HEAD", "1.1 204", "Content-Length: 5\r\n", ERR_NONE, NONE, KEEP,
	    NULL },
	{ "GET", "1.1 101", "", ERR_NONE, NONE, KEEP, NULL },
	{ "CONNECT", "1.1 200", "Content-Length: 5\r\n", ERR_NONE, NONE, KEEP,
	    NULL },
	{ "CONNECT", "1.1 403", "Content-Length: 5\r\n", ERR_NONE, LENGTH(5),
	    KEEP, NULL },
	/* two readings */
	{ "GET", "1.1 200", "Content-Length: 5\r\nContent-Length: 6\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200", "Content-Length: 5, 6\r\n", ERR_ORIGIN_FRAMING,
	    NONE, 0, NULL },
	{ "GET", "1.1 200", "Content-Length: 5,\r\n", ERR_ORIGIN_FRAMING, NONE,
	    0, NULL },
	{ "GET", "1.1 200", "Content-Length:\r\nContent-Length: 5\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200", "Content-Length: -1\r\n", ERR_ORIGIN_FRAMING, NONE,
	    0, NULL },
	{ "GET", "1.1 200", "Content-Length: \v5\r\n", ERR_ORIGIN_FRAMING, NONE,
	    0, NULL },
	{ "GET", "1.1 200", "Content-Length: 1\r\n 0\r\n", ERR_ORIGIN_FRAMING,
	    NONE, 0, NULL },
	{ "GET", "1.1 200", "Content-Length: 99999999999999999999\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "HEAD", "1.1 200", "Content-Length: x\r\n", ERR_ORIGIN_FRAMING, NONE,
	    0, NULL },
	{ "GET", "1.1 200", "Transfer-Encoding: identity, identity\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200", "Transfer-Encoding: chunked, identity\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200", "Transfer-Encoding: gzip, chunked\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200", "Transfer-Encoding: chunked, gzip\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200", "Transfer-Encoding: chunked, gzip, chunked\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200",
	    "Transfer-Encoding: \x0c"
	    "chunked\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
	{ "GET", "1.1 200", "Transfer-Encoding:\r\nContent-Length: 5\r\n",
	    ERR_ORIGIN_FRAMING, NONE, 0, NULL },
};

static void
response(void)
{
	struct arena *a = arena_new();
	struct http_msg *m, *req;
	struct h1_frame frame;
	struct fault f;
	struct str described;
	unsigned i;
	enum err e;

	for (i = 0; i < COUNT(responses); i++) {
		f = (struct fault){ 0 };
		req = http_msg_new(a, true);
		req->method = str_of(responses[i].method);
		req->method_id = http_method_of(req->method);
		m = http_help_head(a, H1_RESPONSE,
		    arena_printf(a, "HTTP/%s x\r\n%s\r\n", responses[i].start,
			responses[i].fields)
			.p);
		e = h1_frame_response(m, req, &frame, &f);
		CHECK_ROW(i, responses[i].fields,
		    e == responses[i].err && f.code == e);
		if (e != ERR_NONE)
			continue;
		CHECK_ROW(i, responses[i].fields,
		    frame.framing == responses[i].framing &&
			agrees(m, frame.framing) &&
			m->length == responses[i].length);
		CHECK_ROW(i, "keep_alive",
		    frame.keep_alive == ((responses[i].flags & KEEP) != 0));
		described = http_fields_value(&m->fields, FIELD_CONTENT_LENGTH);
		CHECK_ROW(i, "described",
		    str_eq(described, str_of(responses[i].described)));
		CHECK_ROW(i, "coding is gone",
		    http_fields_get(&m->fields, FIELD_TRANSFER_ENCODING) ==
			NULL);
	}
	arena_free(&a);
}

static const struct {
	const char *method; /* of the request */
	const char *status; /* NULL: frame the request itself */
	const char *fields;
	bool has_body;
	uint64_t length;
	enum h1_framing framing;
	uint64_t to_be;
	const char *described;
} known[] = {
	{ "GET", NULL, "Content-Length: 9\r\n", false, 0, NONE, NULL },
	{ "GET", NULL, "", true, 7, LENGTH(7), NULL },
	{ "GET", NULL, "Content-Length: 9\r\n", true, 0, NONE, NULL },
	{ "GET", "200", "", true, 0, LENGTH(0), NULL },
	{ "GET", NULL, "", true, HTTP_LENGTH_UNKNOWN, CHUNKED, NULL },
	{ "POST", NULL, "", false, 0, LENGTH(0), NULL },
	{ "POST", NULL, "Transfer-Encoding: chunked\r\n", true, 0, LENGTH(0),
	    NULL },
	{ "GET", "200", "Content-Length: 9\r\n", true, 7, LENGTH(7), NULL },
	{ "GET", "200", "Content-Length: 9\r\n", false, 7, LENGTH(0), NULL },
	{ "GET", "200", "Content-Length: 9\r\nTransfer-Encoding: x\r\n", true,
	    HTTP_LENGTH_UNKNOWN, CHUNKED, NULL },
	{ "HEAD", "200", "Content-Length: 9\r\n", true, 7, NONE, "9" },
	{ "HEAD", "200", "Content-Length: 9\r\nContent-Length: 8\r\n", false, 0,
	    NONE, NULL },
	{ "GET", "304", "Content-Length: 9\r\n", true, 7, NONE, "9" },
	{ "GET", "204", "Content-Length: 9\r\n", true, 7, NONE, NULL },
};

static void
set(void)
{
	struct arena *a = arena_new();
	struct http_msg *m, *req;
	unsigned i;

	for (i = 0; i < COUNT(known); i++) {
		req = m = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "%s / HTTP/1.1\r\n%s\r\n", known[i].method,
			known[i].status != NULL ? "" : known[i].fields)
			.p);
		if (known[i].status != NULL)
			m = http_help_head(a, H1_RESPONSE,
			    arena_printf(a, "HTTP/1.1 %s x\r\n%s\r\n",
				known[i].status, known[i].fields)
				.p);
		http_length_set(m, m == req ? NULL : req, known[i].has_body,
		    known[i].length);
		CHECK_ROW(i, known[i].fields,
		    h1_frame_out(m, false) == known[i].framing &&
			m->length == known[i].to_be);
		CHECK_ROW(i, "described",
		    str_eq(http_fields_value(&m->fields, FIELD_CONTENT_LENGTH),
			str_of(known[i].described)));
	}
	arena_free(&a);
}

static void
out(void)
{
	static const struct {
		enum http_length length_is;
		bool to_http10;
		enum h1_framing framing;
	} rows[] = {
		{ LENGTH_NONE, false, FRAMING_NONE },
		{ LENGTH_NONE, true, FRAMING_NONE },
		{ LENGTH_KNOWN, false, FRAMING_LENGTH },
		{ LENGTH_KNOWN, true, FRAMING_LENGTH },
		{ LENGTH_UNKNOWN, false, FRAMING_CHUNKED },
		{ LENGTH_UNKNOWN, true, FRAMING_CLOSE },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++)
		CHECK_ROW(i, "framing",
		    h1_frame_out(
			&(struct http_msg){ .length_is = rows[i].length_is },
			rows[i].to_http10) == rows[i].framing);
}

UNIT_TESTS(http_h1_frame, { "requests", request }, { "responses", response },
    { "known bodies", set }, { "what goes out", out })
