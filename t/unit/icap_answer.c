/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers of a scripted server: adapted messages, partial content, garbage,
 * cuts on either side.
 */
#include <string.h>
#include "t/unit/icap_talk.h"

/* Adapted messages. */

#define BLOCK_HEAD                                         \
	"HTTP/1.1 403 Forbidden\r\nContent-Length: 99\r\n" \
	"Transfer-Encoding: chunked\r\nConnection: X\r\nX: y\r\nA: b\r\n\r\n"

static bool
serve_block(struct peer_conn *c)
{
	return (see(c) &&
	    write_adapted(c,
		ICAP200 "X-Infection-Found: "
			"Type=0; Resolution=2; Threat=Eicar;\r\n",
		"res", BLOCK_HEAD, true) &&
	    peer_write_chunk(c, "Stop!", 5) && peer_write(c, "0\r\n\r\n"));
}

static bool
serve_block_slowly(struct peer_conn *c)
{
	c->slow = true;
	return (serve_block(c));
}

static void
check_block(void)
{
	const struct scan_result *r = &t.scan.result;

	CU_ASSERT_EQUAL(r->fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(r->verdict, VERDICT_BLOCKED);
	CU_ASSERT(str_eq(r->threat, STR("Eicar")));
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->resp);
	CU_ASSERT_EQUAL(r->resp->status, 403);
	CU_ASSERT_PTR_NULL(
	    http_fields_get(&r->resp->fields, FIELD_CONTENT_LENGTH));
	CU_ASSERT_PTR_NULL(
	    http_fields_get(&r->resp->fields, FIELD_TRANSFER_ENCODING));
	CU_ASSERT_PTR_NULL(http_fields_find(&r->resp->fields, STR("X")));
	CU_ASSERT_PTR_NOT_NULL(http_fields_find(&r->resp->fields, STR("A")));
	CU_ASSERT_EQUAL(t.end, PULL_END);
	CU_ASSERT(t.got_n == 5 && memcmp(t.got, "Stop!", 5) == 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(r->note.p, "200 X-Infection-Found="));
}

static void
test_block(void)
{
	static const struct try_body body = { .size = 50000 };
	unsigned i;

	for (i = 0; i < 4; i++) {
		with_body = &body;
		as_resp = i % 2 == 0;
		begin(i < 2 ? serve_block : serve_block_slowly);
		message();
		try_run(&t);
		check_block();
		try_fini(&t);
		message();
		try_run(&t);
		check_block();
		CU_ASSERT_EQUAL(peer_conns(peer), 1);
		finish();
	}
}

/* The whole message in one write: its length is known then. */
static bool
serve_block_at_once(struct peer_conn *c)
{
	return (see(c) &&
	    peer_write(c,
		"ICAP/1.0 201 Created\r\n"
		"Encapsulated: res-hdr=0, res-body=28\r\n\r\n"
		"HTTP/1.1 403 No\r\nA: bbbb\r\n\r\n"
		"2;x=\"y\"\r\nab\r\n1\r\nc\r\n0\r\n\r\n"));
}

static void
test_block_at_once(void)
{
	as_resp = true;
	one(serve_block_at_once);
	CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_BLOCKED);
	CU_ASSERT_EQUAL(t.scan.result.resp->length_is, LENGTH_KNOWN);
	CU_ASSERT_EQUAL(t.scan.result.resp->length, 3);
	CU_ASSERT(t.got_n == 3 && memcmp(t.got, "abc", 3) == 0);
	finish();
}

/* A scanner that reads everything before its first byte. */
static bool
serve_echo(struct peer_conn *c)
{
	const char *resp = strstr(c->http, "HTTP/1.1 200");
	size_t at, n;

	if (!see(c) || !see_rest(c) ||
	    !write_adapted(c, ICAP200, resp != NULL ? "res" : "req",
		resp != NULL ? resp : c->http, true))
		return (false);
	for (at = 0; at < c->body_n; at += n) {
		n = c->body_n - at < 65536 ? c->body_n - at : 65536;
		if (!peer_write_chunk(c, c->body + at, n))
			return (false);
	}
	return (peer_write(c, "0\r\n\r\n"));
}

/* That, and one that echoes while reading: 20 MB must not deadlock. */
static void
test_echo(void)
{
	struct try_body body = { .size = 20 << 20 };
	unsigned i;

	for (i = 0; i < 3; i++) {
		with_body = &body;
		as_resp = i == 1;
		if (i == 2) {
			adjust = preview_off;
			one(serve_pipe);
		} else
			one(serve_echo);
		CU_ASSERT_EQUAL(t.scan.result.fault.code, ERR_NONE);
		CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
		CU_ASSERT_EQUAL(t.end, PULL_END);
		CU_ASSERT_EQUAL(t.got_n, body.size);
		CU_ASSERT(try_is_body(t.got, t.got_n, 0));
		if (!as_resp) {
			CU_ASSERT_PTR_NOT_NULL_FATAL(t.scan.result.req);
			CU_ASSERT(str_eq(t.scan.result.req->uri.host,
			    STR("a.example")));
			CU_ASSERT(str_eq(t.scan.result.req->uri.path,
			    STR("/f.bin?q")));
		}
		finish();
	}
}

/* Nobody reads the adapted body: the service is not read either. */
static void
test_back_pressure(void)
{
	/* The kernel's buffers grow to 10 MB a direction. */
	struct try_body body = { .size = 64 << 20 };
	unsigned i;

	with_body = &body;
	adjust = preview_off;
	begin(serve_pipe);
	message();
	t.hold = true;
	try_start(&t);
	/* The machine may be slow: its answer first, then time to go too far. */
	for (i = 0; i < 6000 && t.body == NULL && !t.ended; i++)
		rig_wait(&rig, 10);
	CU_ASSERT_FATAL(t.scan.done && t.body != NULL);
	rig_wait(&rig, 300);
	CU_ASSERT(body_received(t.msg.body) < 40 << 20);
	CU_ASSERT(body_received(t.body) == 0);
	rig.late = 0;
	t.hold = false;
	task_wake(&t.task);
	try_wait(&t);
	CU_ASSERT(t.got_n == body.size && try_is_body(t.got, t.got_n, 0));
	finish();
}

/* Answers to requests, and adapted ones. */

static bool
serve_redirect(struct peer_conn *c)
{
	return (see(c) &&
	    write_adapted(c, ICAP200, "res",
		"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", false));
}

static bool
serve_origin_form(struct peer_conn *c)
{
	return (see(c) &&
	    write_adapted(c, ICAP200, "req",
		"GET /other HTTP/1.1\r\nhost: b.example:81\r\n"
		"Proxy-Connection: close\r\n\r\n",
		false));
}

static void
test_requests(void)
{
	const struct scan_result *r = &t.scan.result;

	one(serve_redirect);
	CU_ASSERT_EQUAL(r->verdict, VERDICT_BLOCKED);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->resp);
	CU_ASSERT_EQUAL(r->resp->status, 302);
	CU_ASSERT(r->resp->length_is == LENGTH_KNOWN && r->resp->length == 0);
	CU_ASSERT_PTR_NULL(t.body);
	finish();
	one(serve_origin_form);
	CU_ASSERT_EQUAL(r->verdict, VERDICT_MODIFIED);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->req);
	CU_ASSERT(str_eq(r->req->uri.scheme, STR("https")));
	CU_ASSERT(str_eq(r->req->uri.host, STR("b.example")));
	CU_ASSERT_EQUAL(r->req->uri.port, 81);
	CU_ASSERT(str_eq(r->req->uri.path, STR("/other")));
	CU_ASSERT_EQUAL(r->req->length_is, LENGTH_NONE);
	finish();
}

/* A null-body answer for a message that had one. */
static bool
serve_lost(struct peer_conn *c)
{
	return (see(c) && write_adapted(c, ICAP200, "res", RESP, false));
}

static bool
serve_emptied(struct peer_conn *c)
{
	return (see(c) &&
	    write_adapted(c, ICAP200, "res",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false));
}

static bool
serve_zero(struct peer_conn *c)
{
	return (see(c) && see_rest(c) &&
	    peer_write(c,
		ICAP200 "Encapsulated: res-hdr=0, null-body=0\r\n\r\n"));
}

static bool
serve_new_body(struct peer_conn *c)
{
	return (see(c) &&
	    peer_write(c, ICAP200 "Encapsulated: res-body=0\r\n\r\n") &&
	    peer_write_chunk(c, "new", 3) &&
	    peer_write(c, "0\r\nX-Sum: 1\r\nContent-Length: 5\r\n\r\n"));
}

static void
test_null_bodies(void)
{
	static const struct try_body body = { .size = 5000 };

	with_body = &body;
	as_resp = true;
	one(serve_lost);
	FAILED(ERR_SCAN_MESSAGE);
	finish();
	with_body = &body;
	as_resp = true;
	one(serve_emptied);
	CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
	CU_ASSERT_PTR_NULL(t.body);
	finish();
	with_body = &body;
	as_resp = true;
	one(serve_zero); /* nobody said that it is unchanged */
	FAILED(ERR_SCAN_PROTOCOL);
	finish();
	with_body = &body;
	as_resp = true;
	one(serve_new_body);
	CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.scan.result.resp);
	CU_ASSERT_EQUAL(t.scan.result.resp->status, 200);
	CU_ASSERT_PTR_NOT_NULL(
	    http_fields_get(&t.scan.result.resp->fields, FIELD_SET_COOKIE));
	CU_ASSERT(t.got_n == 3 && memcmp(t.got, "new", 3) == 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(body_trailer(t.body));
	CU_ASSERT_EQUAL(((const struct http_fields *)body_trailer(t.body))->n,
	    1);
	finish();
}

/* 206: adapted bytes, then the original from an offset. */
static char last_chunk[80];

static bool
serve_206(struct peer_conn *c)
{
	return (see(c) &&
	    write_adapted(c, "ICAP/1.0 206 Partial Content\r\n", "res", RESP,
		true) &&
	    peer_write_chunk(c, "<new>", 5) && peer_write(c, last_chunk));
}

static const struct {
	const char *last;
	bool good;
	size_t from; /* of the original; SIZE_MAX: nothing of it */
} partials[] = {
	{ "0; use-original-body=0\r\n\r\n", true, 0 },
	{ "0;use-original-body=1000\r\n\r\n", true, 1000 },
	{ "0;use-original-body=200000\r\n\r\n", true, 200000 },
	{ "0;use-original-body=300000\r\n\r\n", true, 300000 },
	{ "0\r\n\r\n", true, SIZE_MAX },
	{ "0;use-original-body=300001\r\n\r\n", false, 0 },
	{ "0;use-original-body=-1\r\n\r\n", false, 0 },
	{ "0;use-original-body=x\r\n\r\n", false, 0 },
	{ "0;use-original-body\r\n\r\n", false, 0 },
	{ "0;use-original-body=18446744073709551616\r\n\r\n", false, 0 },
};

static void
test_partial(void)
{
	static const struct try_body body = { .size = 300000,
		.piece = 50000,
		.every_ms = 1 };
	size_t i, rest;

	for (i = 0; i < sizeof(partials) / sizeof(partials[0]); i++) {
		snprintf(last_chunk, sizeof(last_chunk), "%s",
		    partials[i].last);
		with_body = &body;
		as_resp = true;
		one(serve_206);
		CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
		CU_ASSERT_EQUAL(t.end, partials[i].good ? PULL_END : PULL_CUT);
		if (partials[i].good) {
			rest = partials[i].from == SIZE_MAX
			    ? 0
			    : body.size - partials[i].from;
			CU_ASSERT_EQUAL_FATAL(t.got_n, 5 + rest);
			CU_ASSERT(memcmp(t.got, "<new>", 5) == 0);
			CU_ASSERT(
			    try_is_body(t.got + 5, rest, partials[i].from));
		}
		finish();
	}
}

/* The same outside previews: behind the whole body, or before it is read. */
static bool
serve_206_early(struct peer_conn *c)
{
	memcpy(saw.head, c->head, sizeof(saw.head));
	return (write_adapted(c, "ICAP/1.0 206 Partial Content\r\n", "res",
		    RESP, true) &&
	    peer_write_chunk(c, "<new>", 5) && peer_write(c, last_chunk) &&
	    peer_read_body(c));
}

static void
test_partial_whole(void)
{
	static const struct try_body body = { .size = 300000,
		.piece = 50000,
		.every_ms = 1 };
	unsigned i;

	for (i = 0; i < 4; i++) {
		snprintf(last_chunk, sizeof(last_chunk),
		    "0; use-original-body=%u\r\n\r\n", i < 2 ? 0 : 200000);
		with_body = &body;
		as_resp = true;
		adjust = preview_off;
		one(i % 2 == 0 ? serve_206 : serve_206_early);
		CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
		CU_ASSERT_EQUAL(t.end, PULL_END);
		CU_ASSERT_EQUAL_FATAL(t.got_n, i < 2 ? 300005 : 100005);
		CU_ASSERT(memcmp(t.got, "<new>", 5) == 0);
		CU_ASSERT(
		    try_is_body(t.got + 5, t.got_n - 5, i < 2 ? 0 : 200000));
		finish();
		CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "Allow: 204, 206\r\n"));
		CU_ASSERT_PTR_NULL(strstr(saw.head, "Preview"));
	}
}

/* Whatever breaks ICAP. */

static const char *garbage;

static bool
serve_garbage(struct peer_conn *c)
{
	return (see(c) && peer_write(c, garbage) && false);
}

static const struct {
	const char *text;
	enum err err;
} broken[] = {
	{ "", ERR_SCAN_CUT },
	{ "ICAP/1.0 2", ERR_SCAN_CUT },
	{ "ICAP/1.0 200 OK\r\nISTag: x\r\n", ERR_SCAN_CUT },
	{ "HTTP/1.1 200 OK\r\n\r\n", ERR_SCAN_PROTOCOL },
	{ "ICAP/2.0 200 OK\r\n\r\n", ERR_SCAN_PROTOCOL },
	{ "SMTP\r\n\r\n", ERR_SCAN_PROTOCOL },
	{ "ICAP/1.0 200 OK\nA: b\n\n", ERR_SCAN_PROTOCOL },
	{ "ICAP/1.0 200 OK\r\n\r\n", ERR_SCAN_PROTOCOL },
	{ "ICAP/1.0 200 OK\r\nEncapsulated: x\r\n\r\n", ERR_SCAN_PROTOCOL },
	{ "ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=9\r\n\r\n",
	    ERR_SCAN_CUT },
	{ "ICAP/1.0 200 OK\r\nEncapsulated: opt-body=0\r\n\r\n",
	    ERR_SCAN_PROTOCOL },
	{ "ICAP/1.0 206 OK\r\nEncapsulated: null-body=0\r\n\r\n",
	    ERR_SCAN_PROTOCOL },
	{ "ICAP/1.0 302 Found\r\n\r\n", ERR_SCAN_STATUS },
	{ "ICAP/1.0 299 Odd\r\n\r\n", ERR_SCAN_STATUS },
	{ "ICAP/1.0 404 Service not found\r\n\r\n", ERR_SCAN_STATUS },
	{ "ICAP/1.0 500 \r\n\r\n", ERR_SCAN_STATUS },
	{ "ICAP/1.0 551\r\n\r\n", ERR_SCAN_STATUS },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=99\r\n\r\n"
		  "HTTP/1.1 200 OK\r\n\r\n0\r\n\r\n",
	    ERR_SCAN_PROTOCOL },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=19\r\n\r\n"
		  "HTTP/1.1 2oo OK\r\n\r\n0\r\n\r\n",
	    ERR_SCAN_MESSAGE },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=19\r\n\r\n"
		  "GET / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
	    ERR_SCAN_MESSAGE },
	{ ICAP200
	    "Encapsulated: res-hdr=0, res-body=58\r\n\r\n"
	    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
	    "0\r\n\r\n",
	    ERR_SCAN_MESSAGE },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=39\r\n\r\n"
		  "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n0\r\n\r\n",
	    ERR_SCAN_MESSAGE },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=25\r\n\r\n"
		  "HTTP/1.1 101 Switching\r\n\r\n0\r\n\r\n",
	    ERR_SCAN_MESSAGE },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=19\r\n\r\n"
		  "HTTP/1.1 200 OK\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n",
	    ERR_SCAN_PROTOCOL },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=19\r\n\r\n"
		  "HTTP/1.1 200 OK\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n",
	    ERR_SCAN_PROTOCOL },
	{ ICAP200 "Encapsulated: res-hdr=0, res-body=19\r\n\r\n"
		  "HTTP/1.1 200 OK\r\n\r\nfffffffffffffffff\r\nabc",
	    ERR_SCAN_PROTOCOL },
};

static void
test_garbage(void)
{
	static const struct try_body body = { .size = 5000 };
	size_t i;

	for (i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		garbage = broken[i].text;
		with_body = &body;
		as_resp = true;
		one(serve_garbage);
		FAILED(broken[i].err);
		if (t.scan.result.fault.code != broken[i].err)
			printf("# case %zu\n", i);
		CU_ASSERT_PTR_NOT_NULL(
		    strstr(t.scan.result.fault.detail, "svc (127.0.0.1:"));
		finish();
	}
}

/* Offsets that are a little off, and blank lines between. */
static const char *const sloppy[] = {
	"res-hdr=0, res-body=24",
	"res-hdr=0, res-body=21",
	"res-hdr=0, res-body=30",
	"res-body=24",
	"res-hdr=0,res-body=24",
};

static const char *sloppy_now;

static bool
serve_sloppy(struct peer_conn *c)
{
	char text[256];

	snprintf(text, sizeof(text),
	    "ICAP/1.0 200\r\nEncapsulated: %s\r\n\r\n"
	    "HTTP/1.1 403 \r\nA: b\r\n\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	    sloppy_now);
	return (see(c) && peer_write(c, text));
}

static void
test_sloppy(void)
{
	size_t i;

	for (i = 0; i < sizeof(sloppy) / sizeof(sloppy[0]); i++) {
		sloppy_now = sloppy[i];
		as_resp = true;
		one(serve_sloppy);
		if (i == 2) { /* the blank line is inside */
			CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_BLOCKED);
			CU_ASSERT(t.got_n == 3);
		}
		finish();
	}
}

/* Cuts on either side. */

static bool
serve_cut_body(struct peer_conn *c)
{
	(void)(see(c) && write_adapted(c, ICAP200, "res", RESP, true) &&
	    peer_write_chunk(c, "begun", 5) && peer_write(c, "a\r\nhalf"));
	return (false);
}

static void
test_cuts(void)
{
	static const struct try_body body = { .size = 5000 };
	static const struct try_body cut = { .size = 500000,
		.known = true,
		.cut_at = 100000 };
	static const struct try_body early = { .size = 5000, .cut_at = 7 };
	static const struct try_body late = { .size = 500000,
		.cut_at = 100000,
		.piece = 20000,
		.every_ms = 20 };

	with_body = &body;
	as_resp = true;
	one(serve_cut_body);
	CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
	CU_ASSERT_EQUAL(t.end, PULL_CUT);
	CU_ASSERT_EQUAL(body_fault(t.body)->code, ERR_SCAN_CUT);
	CU_ASSERT(t.got_n >= 5 && memcmp(t.got, "begun", 5) == 0);
	finish();
	with_body = &cut;
	as_resp = true;
	one(serve_204_whole);
	FAILED(ERR_ORIGIN_CUT);
	finish();
	CU_ASSERT_FALSE(saw.whole);
	with_body = &early;
	as_resp = true;
	one(serve_204_whole);
	FAILED(ERR_ORIGIN_CUT);
	finish();
	with_body = &late;
	adjust = preview_off;
	one(serve_pipe);
	CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
	CU_ASSERT_EQUAL(t.end, PULL_CUT);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.body);
	CU_ASSERT_EQUAL(body_fault(t.body)->code, ERR_ORIGIN_CUT);
	finish();
}

UNIT_TESTS(icap_answer, { "block pages", test_block },
    { "block page at once", test_block_at_once },
    { "echo of 20 MB", test_echo }, { "back-pressure", test_back_pressure },
    { "answered and adapted requests", test_requests },
    { "null-body", test_null_bodies }, { "206", test_partial },
    { "206 outside previews", test_partial_whole }, { "garbage", test_garbage },
    { "sloppy offsets", test_sloppy }, { "cuts", test_cuts })
