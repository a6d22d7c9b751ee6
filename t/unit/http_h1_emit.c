/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages on their way through: parsed, framed, stripped, written again. */
#include "http/h1_emit.h"
#include "http/h1_frame.h"
#include "http/hop.h"
#include "http/uri.h"
#include "t/unit/http_help.h"

static const struct {
	enum h1_target form;
	const char *in, *out;
} requests[] = {
	{ H1_TARGET_ORIGIN,
	    "GET http://A.example:8080?q HTTP/1.1\r\n"
	    "Accept: */*\r\nHost: other\r\nProxy-Connection: keep-alive\r\n"
	    "x-Empty:\r\n\r\n",
	    "GET /?q HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\n"
	    "x-Empty: \r\n\r\n" },
	{ H1_TARGET_ABSOLUTE, "GET http://A.example:80/p HTTP/1.0\r\n\r\n",
	    "GET http://a.example/p HTTP/1.1\r\nHost: a.example:80\r\n"
	    "\r\n" },
	{ H1_TARGET_AS_IS,
	    "GET http://A.example/p HTTP/1.1\r\nHost: b\r\n"
	    "Connection: close\r\n\r\n",
	    "GET http://A.example/p HTTP/1.1\r\nHost: a.example\r\n"
	    "\r\n" },
	{ H1_TARGET_ORIGIN,
	    "OPTIONS http://[::1] HTTP/1.1\r\nHost: b\r\n"
	    "TE: gzip, trailers\r\n\r\n",
	    "OPTIONS * HTTP/1.1\r\nHost: [::1]\r\nTE: trailers\r\n"
	    "Connection: TE\r\n\r\n" },
	{ H1_TARGET_ABSOLUTE,
	    "OPTIONS http://[::1] HTTP/1.1\r\nHost: b\r\n"
	    "\r\n",
	    "OPTIONS http://[::1] HTTP/1.1\r\nHost: [::1]\r\n\r\n" },
	{ H1_TARGET_ORIGIN,
	    "POST http://a/ HTTP/1.1\r\nHost: a\r\n"
	    "content-LENGTH: 0018446744\r\nX: y\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n"
	    "Content-Length: 18446744\r\n\r\n" },
	{ H1_TARGET_ORIGIN,
	    "POST http://a/ HTTP/1.1\r\nHost: a\r\n"
	    "transfer-encoding: , Chunked\r\nTrailer: X\r\n"
	    "Expect: 100-continue\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n" },
	{ H1_TARGET_ORIGIN,
	    "POST http://a/ HTTP/1.1\r\nHost: a\r\n"
	    "Content-Length: 0\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" },
	{ H1_TARGET_ORIGIN, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
	    "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n" },
};

static void
request(void)
{
	struct arena *a = arena_new();
	struct buf b = { 0 };
	struct http_msg *m;
	struct h1_frame frame;
	unsigned i;

	for (i = 0; i < COUNT(requests); i++) {
		m = http_help_head(a, H1_REQUEST, requests[i].in);
		CHECK_ROW(i, "target",
		    http_target_parse(m, NULL, false, NULL) == ERR_NONE);
		CHECK_ROW(i, "frame",
		    h1_frame_request(m, &frame, NULL) == ERR_NONE);
		http_hop_strip(m);
		h1_emit_request(&b, m, requests[i].form);
		CHECK_ROW(i, requests[i].out,
		    http_help_is(&b, requests[i].out));
	}
	arena_free(&a);
}

static const struct {
	const char *method;
	bool to_http10;
	const char *in, *out;
} responses[] = {
	{ "GET", false,
	    "HTTP/1.0 200 Fine\r\nSet-Cookie: a\r\nX: y\r\n"
	    "set-cookie: b\r\nContent-Length: 5, 5\r\n"
	    "Connection: keep-alive\r\n\r\n",
	    "HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nX: y\r\nset-cookie: b\r\n"
	    "Content-Length: 5\r\n\r\n" },
	{ "GET", true, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
	    "Connection: keep-alive\r\n\r\n" },
	{ "GET", false, "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
	    "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ "GET", true,
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	    "\r\n",
	    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" },
	{ "GET", false, "HTTP/1.1 200 OK\r\nX: y\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n"
	    "Connection: close\r\n\r\n" },
	{ "GET", true, "HTTP/1.1 200 OK\r\nX: y\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n" },
	{ "HEAD", false, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" },
	{ "GET", false, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
	    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n" },
	{ "GET", false,
	    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n"
	    "\r\n",
	    "HTTP/1.1 204 No Content\r\n\r\n" },
	{ "GET", false,
	    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n"
	    "Content-Length: 5\r\nConnection: close\r\n\r\n",
	    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" },
	{ "GET", false,
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	    "Content-Length: 99\r\nUpgrade: h2c\r\nKeep-Alive: timeout=5\r\n"
	    "\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	    "Connection: close\r\n\r\n" },
	{ "GET", false,
	    "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nY : c\r\n"
	    "Content-Length: 1\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nX: a b\r\nY: c\r\nContent-Length: 1\r\n"
	    "\r\n" },
};

static void
response(void)
{
	struct arena *a = arena_new();
	struct buf b = { 0 };
	struct http_msg *m, *req = http_msg_new(a, true);
	struct h1_frame frame;
	unsigned i;

	for (i = 0; i < COUNT(responses); i++) {
		m = http_help_head(a, H1_RESPONSE, responses[i].in);
		req->method_id = http_method_of(str_of(responses[i].method));
		CHECK_ROW(i, "frame",
		    h1_frame_response(m, req, &frame, NULL) == ERR_NONE);
		http_hop_strip(m);
		frame.framing = h1_frame_out(m, responses[i].to_http10);
		frame.keep_alive &= frame.framing != FRAMING_CLOSE;
		h1_emit_response(&b, m, &frame, responses[i].to_http10);
		CHECK_ROW(i, responses[i].out,
		    http_help_is(&b, responses[i].out));
	}
	arena_free(&a);
}

static void
upgrade(void)
{
	static const struct h1_frame ends = { FRAMING_NONE, false };
	struct arena *a = arena_new();
	struct buf b = { 0 };
	struct http_msg *m = http_help_head(a, H1_REQUEST,
	    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
	    "Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n");

	CU_ASSERT(http_target_parse(m, NULL, true, NULL) == ERR_NONE);
	CU_ASSERT(http_wants_upgrade(m, STR("WebSocket")));
	CU_ASSERT(!http_wants_upgrade(m, STR("h2c")));
	http_hop_strip(m);
	CU_ASSERT(!http_wants_upgrade(m, STR("websocket")));
	http_fields_add(a, &m->fields, FIELD_UPGRADE, STR("websocket"));
	h1_emit_request(&b, m, H1_TARGET_ORIGIN);
	CU_ASSERT(http_help_is(&b,
	    "GET /chat HTTP/1.1\r\nHost: a\r\n"
	    "Sec-WebSocket-Key: k\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\n\r\n"));
	m = http_help_head(a, H1_RESPONSE,
	    "HTTP/1.1 101 Switching Protocols"
	    "\r\nUpgrade: websocket\r\n\r\n");
	h1_emit_response(&b, m, &ends, false);
	CU_ASSERT(http_help_is(&b,
	    "HTTP/1.1 101 Switching Protocols\r\n"
	    "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"));
	arena_free(&a);
}

static void
encapsulated(void)
{
	static const struct http_uri tunnel = { .scheme = LIT("https"),
		.host = LIT("a"),
		.port = 8443 };
	struct arena *a = arena_new();
	struct buf b = { 0 };
	struct h1_frame frame;
	struct http_msg *m = http_help_head(a, H1_REQUEST,
	    "POST /p?q HTTP/1.0\r\nHost: a:8443\r\nContent-Length: 5\r\n"
	    "Proxy-Authorization: Basic x\r\nAuthorization: y\r\n\r\n");

	CU_ASSERT(http_target_parse(m, &tunnel, false, NULL) == ERR_NONE);
	CU_ASSERT(h1_frame_request(m, &frame, NULL) == ERR_NONE);
	h1_emit_encapsulated(&b, m);
	CU_ASSERT(http_help_is(&b,
	    "POST https://a:8443/p?q HTTP/1.1\r\n"
	    "Host: a:8443\r\nAuthorization: y\r\nContent-Length: 5\r\n"
	    "\r\n"));
	m->length_is = LENGTH_UNKNOWN;
	m->length = 0;
	h1_emit_encapsulated(&b, m);
	CU_ASSERT(http_help_is(&b,
	    "POST https://a:8443/p?q HTTP/1.1\r\n"
	    "Host: a:8443\r\nAuthorization: y\r\n\r\n"));
	m = http_help_head(a, H1_RESPONSE,
	    "HTTP/1.1 200 OK\r\n"
	    "Connection: close\r\nTransfer-Encoding: chunked\r\n"
	    "Proxy-Authenticate: Basic\r\nX: y\r\n\r\n");
	m->length_is = LENGTH_UNKNOWN;
	h1_emit_encapsulated(&b, m);
	CU_ASSERT(http_help_is(&b, "HTTP/1.1 200 OK\r\nX: y\r\n\r\n"));
	arena_free(&a);
}

static void
trailers(void)
{
	struct arena *a = arena_new();
	struct buf b = { 0 };
	struct http_msg *m = http_help_head(a, H1_FIELDS,
	    "Digest: x\r\nContent-Length: 5\r\nX: y\r\n\r\n");

	head_fields(&b, &m->fields);
	CU_ASSERT(
	    http_help_is(&b, "Digest: x\r\nContent-Length: 5\r\nX: y\r\n"));
	h1_emit_trailer(&b, &m->fields);
	CU_ASSERT(http_help_is(&b, "0\r\nDigest: x\r\nX: y\r\n\r\n"));
	h1_emit_trailer(&b, NULL);
	CU_ASSERT(http_help_is(&b, "0\r\n\r\n"));
	arena_free(&a);
}

UNIT_TESTS(http_h1_emit, { "requests", request }, { "responses", response },
    { "upgrade", upgrade }, { "encapsulated heads", encapsulated },
    { "trailers", trailers })
