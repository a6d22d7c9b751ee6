/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening handshakes: RFC 6455 1.3, 4; RFC 7692 7.1; RFC 8441 5. */
#include "http/h1_frame.h"
#include "http/hop.h"
#include "http/ws_h2.h"
#include "http/ws_open.h"
#include "t/unit/http_help.h"

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define UP "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define EXT "Sec-WebSocket-Extensions: "
#define PMD "permessage-deflate"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"

static const struct {
	const char *head; /* without the empty line */
	enum ws_asks asks;
} requests[] = {
	{ GET UP KEY VERSION, WS_ASKS },
	{ GET UP KEY VERSION "Content-Length: 0\r\n", WS_ASKS },
	{ GET
	    "UPGRADE: h2c, WebSocket\r\nConnection: keep-alive, upgrade\r\n" KEY
		VERSION "Sec-WebSocket-Protocol: a, b\r\n",
	    WS_ASKS },
	/* an ordinary request */
	{ GET KEY VERSION, WS_ASKS_NOT },
	{ GET "Upgrade: websocket\r\n" KEY VERSION, WS_ASKS_NOT },
	{ GET "Connection: Upgrade\r\n" KEY VERSION, WS_ASKS_NOT },
	{ GET "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEY VERSION,
	    WS_ASKS_NOT },
	{ "POST / HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION, WS_ASKS_NOT },
	{ "GET / HTTP/1.0\r\nHost: a\r\n" UP KEY VERSION, WS_ASKS_NOT },
	/* one that is not as it must be */
	{ GET UP KEY VERSION "Content-Length: 1\r\n", WS_ASKS_WRONG },
	{ GET UP KEY VERSION "Transfer-Encoding: chunked\r\n", WS_ASKS_WRONG },
	{ GET UP VERSION, WS_ASKS_WRONG },
	{ GET UP KEY KEY VERSION, WS_ASKS_WRONG },
	{ GET UP KEY, WS_ASKS_WRONG },
	{ GET UP KEY VERSION VERSION, WS_ASKS_WRONG },
	{ GET UP KEY "Sec-WebSocket-Version: 8\r\n", WS_ASKS_WRONG },
	{ GET UP KEY "Sec-WebSocket-Version: 13, 8\r\n", WS_ASKS_WRONG },
	{ GET UP VERSION "Sec-WebSocket-Key:\r\n", WS_ASKS_WRONG },
	{ GET UP VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n",
	    WS_ASKS_WRONG },
	{ GET UP VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=\r\n",
	    WS_ASKS_WRONG },
	{ GET UP VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEy\r\n",
	    WS_ASKS_WRONG },
	{ GET UP VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-Q==\r\n",
	    WS_ASKS_WRONG },
	{ GET UP VERSION "Sec-WebSocket-Key: dGhl IHNhbXBsZSBub25jZQ=\r\n",
	    WS_ASKS_WRONG },
	{ GET UP KEY VERSION "Sec-WebSocket-Protocol: a b\r\n", WS_ASKS_WRONG },
};

static struct http_msg *
request(struct arena *a, const char *head)
{
	struct http_msg *m = http_help_head(a, H1_REQUEST,
	    arena_printf(a, "%s\r\n", head).p);
	struct h1_frame frame;
	struct fault f = { 0 };

	CU_ASSERT_EQUAL_FATAL(h1_frame_request(m, &frame, &f), ERR_NONE);
	return (m);
}

static void
asks(void)
{
	struct arena *a = arena_new();
	struct fault f;
	unsigned i;

	for (i = 0; i < COUNT(requests); i++) {
		f = (struct fault){ ERR_NONE, "" };
		CHECK_ROW(i, requests[i].head,
		    ws_open_asks(request(a, requests[i].head), &f) ==
			requests[i].asks);
		CHECK_ROW(i, "the fault",
		    (f.code == ERR_REQ_WEBSOCKET) ==
			(requests[i].asks == WS_ASKS_WRONG));
	}
	arena_free(&a);
}

static const struct {
	const char *in, *out; /* of the field; NULL: it is gone */
} offers[] = {
	{ PMD, PMD },
	{ PMD "; client_max_window_bits", PMD "; client_max_window_bits" },
	{ "x-webkit-deflate-frame, " PMD ";server_max_window_bits=10;"
	  "client_no_context_takeover , bbf-usp-protocol, " PMD,
	    PMD ";server_max_window_bits=10;client_no_context_takeover, " PMD },
	{ PMD "; client_max_window_bits=\"8\"; server_no_context_takeover",
	    PMD "; client_max_window_bits=\"8\"; server_no_context_takeover" },
	{ "mux; max-channels=4; flow-control", NULL },
	{ PMD "; server_max_window_bits", NULL },
	{ PMD "; server_max_window_bits=7", NULL },
	{ PMD "; server_max_window_bits=16", NULL },
	{ PMD "; server_max_window_bits=08", NULL },
	{ PMD "; server_no_context_takeover=1", NULL },
	{ PMD "; server_no_context_takeover; server_no_context_takeover",
	    NULL },
	{ PMD "; other", NULL },
	{ PMD "; ", NULL },
	{ PMD "; x=\", " PMD "\"", NULL },
	{ "", NULL },
};

static void
reduce(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	struct str v;
	unsigned i;

	for (i = 0; i < COUNT(offers); i++) {
		m = request(a,
		    arena_printf(a, GET EXT "%s\r\n", offers[i].in).p);
		ws_open_reduce(m);
		v = http_fields_value(&m->fields,
		    FIELD_SEC_WEBSOCKET_EXTENSIONS);
		CHECK_ROW(i, offers[i].in,
		    str_eq(v, str_of(offers[i].out)) &&
			(v.p == NULL) == (offers[i].out == NULL));
	}
	arena_free(&a);
}

#define SWITCH "HTTP/1.1 101 x\r\n"
#define OFFERS                                                   \
	"Sec-WebSocket-Protocol: chat, mqtt\r\n" EXT "mux, " PMD \
	"; client_max_window_bits\r\n"

/* out: d: deflate, c and s: that side keeps no context, u: unknown. */
static const struct {
	const char *head, *out; /* NULL: refused */
} answers[] = {
	{ SWITCH UP ACCEPT, "" },
	{ SWITCH "upgrade: WebSocket\r\nconnection: foo, UPGRADE\r\n" ACCEPT,
	    "" },
	{ SWITCH UP ACCEPT "Sec-WebSocket-Protocol: mqtt\r\n", "mqtt" },
	{ SWITCH UP ACCEPT EXT PMD "\r\n", "d" },
	{ SWITCH UP ACCEPT EXT PMD "; server_no_context_takeover\r\n", "ds" },
	{ SWITCH UP ACCEPT EXT PMD
	    "; client_no_context_takeover; "
	    "client_max_window_bits=9; server_max_window_bits=\"15\"\r\n",
	    "dc" },
	{ SWITCH UP ACCEPT EXT "mux;a=b\r\n", "u" },
	{ SWITCH UP ACCEPT EXT "mux\r\n" EXT PMD "\r\n", "du" },
	{ "HTTP/1.1 200 OK\r\n" UP ACCEPT, NULL },
	{ "HTTP/1.0 101 x\r\n" UP ACCEPT, NULL },
	{ SWITCH UP, NULL },
	{ SWITCH UP ACCEPT ACCEPT, NULL },
	{ SWITCH UP "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
	    NULL },
	{ SWITCH "Upgrade: websocket\r\n" ACCEPT, NULL },
	{ SWITCH "Connection: Upgrade\r\n" ACCEPT, NULL },
	{ SWITCH "Upgrade: h2c\r\nConnection: Upgrade\r\n" ACCEPT, NULL },
	{ SWITCH "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n" ACCEPT,
	    NULL },
	{ SWITCH UP ACCEPT "Sec-WebSocket-Protocol: MQTT\r\n", NULL },
	{ SWITCH UP ACCEPT "Sec-WebSocket-Protocol: chat, mqtt\r\n", NULL },
	{ SWITCH UP ACCEPT "Sec-WebSocket-Protocol: chat\r\n"
			   "Sec-WebSocket-Protocol: chat\r\n",
	    NULL },
	{ SWITCH UP ACCEPT "Sec-WebSocket-Protocol:\r\n", NULL },
	{ SWITCH UP ACCEPT EXT "other\r\n", NULL },
	{ SWITCH UP ACCEPT EXT PMD ", " PMD "\r\n", NULL },
	{ SWITCH UP ACCEPT EXT PMD "; client_max_window_bits\r\n", NULL },
	{ SWITCH UP ACCEPT EXT PMD "; server_max_window_bits=20\r\n", NULL },
	{ SWITCH UP ACCEPT EXT PMD "; x\r\n", NULL },
	{ SWITCH UP ACCEPT EXT "mux, mux, mux, mux, mux, mux, mux, mux\r\n",
	    "u" },
	{ SWITCH UP ACCEPT EXT "mux, mux, mux, mux, mux, mux, mux, mux, mux"
			       "\r\n",
	    NULL },
};

static struct str
describe(struct arena *a, const struct ws_terms *t)
{
	return (arena_printf(a, "%s%s%s%s%.*s", t->deflate ? "d" : "",
	    t->no_takeover[WS_CLIENT] ? "c" : "",
	    t->no_takeover[WS_SERVER] ? "s" : "", t->unknown ? "u" : "",
	    (int)t->subprotocol.n,
	    t->subprotocol.p != NULL ? t->subprotocol.p : ""));
}

static void
answer(void)
{
	struct arena *a = arena_new();
	struct http_msg *req = request(a, GET UP KEY VERSION OFFERS), *resp;
	struct fault f;
	struct ws_terms t;
	unsigned i;
	enum err e;

	for (i = 0; i < COUNT(answers); i++) {
		f = (struct fault){ ERR_NONE, "" };
		resp = http_help_head(a, H1_RESPONSE,
		    arena_printf(a, "%s\r\n", answers[i].head).p);
		e = ws_open_answer(req, resp, &t, &f);
		CHECK_ROW(i, answers[i].head,
		    e == f.code &&
			e ==
			    (answers[i].out != NULL ? ERR_NONE
						    : ERR_ORIGIN_WEBSOCKET));
		if (e == ERR_NONE && answers[i].out != NULL)
			CHECK_ROW(i, answers[i].head,
			    str_eq(describe(a, &t), str_of(answers[i].out)));
	}
	arena_free(&a);
}

/* Nothing was offered: nothing is taken. */
static void
answer_unasked(void)
{
	struct arena *a = arena_new();
	struct http_msg *req = request(a, GET UP KEY VERSION EXT PMD "\r\n");
	struct ws_terms t;

	CU_ASSERT_EQUAL(ws_open_answer(req,
			    http_help_head(a, H1_RESPONSE,
				SWITCH UP ACCEPT EXT PMD "\r\n\r\n"),
			    &t, NULL),
	    ERR_NONE);
	CU_ASSERT_EQUAL(ws_open_answer(req,
			    http_help_head(a, H1_RESPONSE,
				SWITCH UP ACCEPT EXT PMD
				"; client_max_window_bits=9\r\n\r\n"),
			    &t, NULL),
	    ERR_ORIGIN_WEBSOCKET);
	CU_ASSERT_EQUAL(ws_open_answer(req,
			    http_help_head(a, H1_RESPONSE,
				SWITCH UP ACCEPT
				"Sec-WebSocket-Protocol: chat\r\n\r\n"),
			    &t, NULL),
	    ERR_ORIGIN_WEBSOCKET);
	ws_open_reduce(req);
	http_fields_remove(&req->fields, FIELD_SEC_WEBSOCKET_EXTENSIONS);
	CU_ASSERT_EQUAL(ws_open_answer(req,
			    http_help_head(a, H1_RESPONSE,
				SWITCH UP ACCEPT EXT PMD "\r\n\r\n"),
			    &t, NULL),
	    ERR_ORIGIN_WEBSOCKET);
	http_fields_remove(&req->fields, FIELD_SEC_WEBSOCKET_KEY);
	/* without a key there is none that would do, not that of "" */
	CU_ASSERT_EQUAL(ws_open_answer(req,
			    http_help_head(a, H1_RESPONSE,
				SWITCH UP
				"Sec-WebSocket-Accept: "
				"Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=\r\n\r\n"),
			    &t, NULL),
	    ERR_ORIGIN_WEBSOCKET);
	arena_free(&a);
}

static bool
is_head(const struct http_msg *m, const char *fields)
{
	struct buf b = { 0 };
	bool is;

	head_fields(&b, &m->fields);
	is = str_eq(buf_as_str(&b), str_of(fields));
	if (!is)
		printf("# %.*s\n", STR_ARG(buf_as_str(&b)));
	buf_fini(&b);
	return (is);
}

/* RFC 8441 5: HTTP/2 has neither key nor switch; all else stays. */
static void
h2_request(void)
{
	struct arena *a = arena_new();
	struct http_msg *m = request(a,
	    GET "X-A: 1\r\n" UP KEY VERSION EXT PMD "\r\n");

	ws_h2_request_to_h2(m);
	CU_ASSERT(m->method_id == METHOD_CONNECT &&
	    str_eq(m->method, STR("CONNECT")) &&
	    str_eq(m->protocol, STR("websocket")) &&
	    m->length_is == LENGTH_UNKNOWN);
	CU_ASSERT(is_head(m, "Host: a\r\nX-A: 1\r\n" VERSION EXT PMD "\r\n"));
	ws_h2_request_to_h1(m);
	CU_ASSERT(m->method_id == METHOD_GET && m->protocol.n == 0 &&
	    m->length_is == LENGTH_NONE);
	CU_ASSERT_EQUAL(ws_open_asks(m, NULL), WS_ASKS);
	http_fields_remove(&m->fields, FIELD_SEC_WEBSOCKET_VERSION);
	CU_ASSERT_EQUAL(ws_open_asks(m, NULL), WS_ASKS_WRONG);
	arena_free(&a);
}

static void
h2_answer(void)
{
	struct arena *a = arena_new();
	struct http_msg *req = request(a, GET UP KEY VERSION EXT PMD "\r\n");
	struct http_msg *m = http_help_head(a, H1_RESPONSE,
	    "HTTP/1.1 204 No\r\nSec-WebSocket-Accept: no\r\nX-A: 1\r\n" EXT PMD
	    "\r\n\r\n");
	struct ws_terms t;

	ws_h2_answer_to_h1(m,
	    http_fields_value(&req->fields, FIELD_SEC_WEBSOCKET_KEY));
	CU_ASSERT(m->status == 101 && m->length_is == LENGTH_NONE);
	CU_ASSERT_EQUAL(ws_open_answer(req, m, &t, NULL), ERR_NONE);
	CU_ASSERT(t.deflate && !t.unknown);
	ws_h2_answer_to_h2(m);
	CU_ASSERT(m->status == 200 && m->length_is == LENGTH_UNKNOWN);
	CU_ASSERT(is_head(m, "X-A: 1\r\n" EXT PMD "\r\n"));
	arena_free(&a);
}

/* A key of our own is one, and another each time. */
static void
keys(void)
{
	struct arena *a = arena_new();
	char one[WS_KEY_LEN + 1], two[WS_KEY_LEN + 1];

	ws_open_key(one);
	ws_open_key(two);
	CU_ASSERT_STRING_NOT_EQUAL(one, two);
	CU_ASSERT_EQUAL(ws_open_asks(request(a,
					 arena_printf(a,
					     GET UP VERSION
					     "Sec-WebSocket-Key: %s\r\n",
					     one)
					     .p),
			    NULL),
	    WS_ASKS);
	arena_free(&a);
}

/* Connection does not remove what the handshake is made of. */
static void
hop(void)
{
	struct arena *a = arena_new();
	struct http_msg *m = request(a,
	    GET "Upgrade: websocket\r\n"
		"Connection: upgrade, sec-websocket-key, other, "
		"sec-websocket-extensions\r\nOther: x\r\n" EXT PMD
		"\r\n" KEY VERSION);
	struct buf b = { 0 };

	http_hop_strip(m);
	head_fields(&b, &m->fields);
	CU_ASSERT(http_help_is(&b, "Host: a\r\n" EXT PMD "\r\n" KEY VERSION));
	arena_free(&a);
}

UNIT_TESTS(http_ws_open, { "asks", asks }, { "offers", reduce },
    { "answers", answer }, { "answers to what was not asked", answer_unasked },
    { "requests of HTTP/2", h2_request }, { "answers of HTTP/2", h2_answer },
    { "keys", keys }, { "Connection", hop })
