/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transactions against a scripted server: heads, previews, 100 and 204,
 * limits, silence, cancelling.
 */
#include <string.h>
#include <sys/socket.h>
#include "t/unit/icap_talk.h"

/* The head by the letter: RFC 3507 4.4.1. */
static void
test_heads(void)
{
	static const char http[] = "GET https://a.example/f.bin HTTP/1.1\r\n"
				   "Host: a.example\r\n\r\n";
	char want[256];

	one(serve_204);
	IS_CLEAN(0);
	CU_ASSERT(str_eq(t.scan.result.note, STR("204")));
	finish();
	CU_ASSERT_STRING_EQUAL(saw.http, http);
	snprintf(want, sizeof(want),
	    "Encapsulated: req-hdr=0, null-body=%zu"
	    "\r\n\r\n",
	    strlen(http));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, want));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "REQMOD icap://127.0.0.1:"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head,
	    "/scan?x=1 ICAP/1.0\r\nHost: "
	    "127.0.0.1:"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "\r\nAllow: 204\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "X-Client-IP: 10.1.2.3\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "X-Client-Username: joe\r\n"));
	CU_ASSERT_PTR_NULL(strstr(saw.head, "Preview"));
	CU_ASSERT_PTR_NULL(strstr(saw.head, "Content-Length"));
}

static void
adjust_rfc(struct rig *r)
{
	static const struct icap_header more[] = { { "X-More", "1" } };

	r->options.identity = ICAP_IDENTITY_RFC;
	r->options.headers = more;
	r->options.n_headers = 1;
}

static void
test_heads_resp(void)
{
	static const struct try_body body = { .size = 7, .known = true };
	const char *resp;
	char want[256];

	with_body = &body;
	as_resp = true;
	adjust = adjust_rfc;
	one(serve_204);
	IS_CLEAN(7);
	finish();
	resp = strstr(saw.http, "HTTP/1.1 200 OK\r\n");
	CU_ASSERT_PTR_NOT_NULL_FATAL(resp);
	CU_ASSERT_STRING_EQUAL(resp,
	    "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\n"
	    "Set-Cookie: b\r\nContent-Length: 7\r\n\r\n");
	snprintf(want, sizeof(want),
	    "Encapsulated: req-hdr=0, res-hdr=%zu, "
	    "res-body=%zu\r\n\r\n",
	    (size_t)(resp - saw.http), strlen(saw.http));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, want));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "RESPMOD icap://127.0.0.1:"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "Preview: 1024\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "Allow: 204, 206\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "X-More: 1\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, /* Local://joe */
	    "X-Authenticated-User: TG9jYWw6Ly9qb2U=\r\n"));
	CU_ASSERT(saw.ieof && saw.good && saw.body_n == 7);
}

/* Previews: what is announced, what is sent, how it ends. */
static const struct {
	size_t size;
	bool known;
	size_t preview; /* sent in it */
	bool ieof;
} previews[] = {
	{ 1, true, 1, true },
	{ 1023, true, 1023, true },
	{ 1024, true, 1024, true },
	{ 1025, true, 1024, false },
	{ 1, false, 1, true },
	{ 1023, false, 1023, true },
	{ 1024, false, 1024, false }, /* nobody waits for its end */
	{ 1025, false, 1024, false },
	{ 300000, false, 1024, false },
	{ 300000, true, 1024, false },
};

static void
test_previews(void)
{
	struct try_body body = { 0 };
	size_t i;

	for (i = 0; i < 2 * sizeof(previews) / sizeof(previews[0]); i++) {
		body.size = previews[i / 2].size;
		body.known = previews[i / 2].known;
		with_body = &body;
		as_resp = i % 2 == 0;
		one(serve_204_whole);
		IS_CLEAN(body.size);
		finish();
		CU_ASSERT_EQUAL(saw.preview_n, previews[i / 2].preview);
		CU_ASSERT_EQUAL(saw.ieof, previews[i / 2].ieof);
		CU_ASSERT(saw.good && saw.body_n == body.size);
	}
}

static void
test_preview_204(void)
{
	static const struct try_body body = { .size = 5000000 };

	with_body = &body;
	one(serve_204);
	IS_CLEAN(1024);
	CU_ASSERT(body_kept_from(t.msg.body) == 0);
	try_fini(&t);
	message();
	try_run(&t); /* on the same connection */
	IS_CLEAN(1024);
	CU_ASSERT_EQUAL(peer_conns(peer), 1);
	CU_ASSERT_EQUAL(peer_asked(peer), 1);
	finish();
	CU_ASSERT(saw.preview_n == 1024 && !saw.ieof);
}

static void
preview_10(struct rig *r)
{
	r->options.preview = 10;
}

static void
test_preview_configured(void)
{
	static const struct try_body body = { .size = 100000 };

	with_body = &body;
	adjust = preview_off;
	one(serve_204_whole);
	IS_CLEAN(100000);
	finish();
	CU_ASSERT_PTR_NULL(strstr(saw.head, "Preview"));
	with_body = &body;
	adjust = preview_10;
	one(serve_204_whole);
	IS_CLEAN(100000);
	finish();
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "Preview: 10\r\n"));
	CU_ASSERT_EQUAL(saw.preview_n, 10);
}

static void
test_preview_clamped(void)
{
	static const struct try_body body = { .size = 200000 };

	with_body = &body;
	with_options = OPTIONS("Preview: 10485760\r\n");
	one(serve_204_whole);
	IS_CLEAN(200000);
	finish();
	CU_ASSERT_PTR_NOT_NULL(strstr(saw.head, "Preview: 65536\r\n"));
	CU_ASSERT_EQUAL(saw.preview_n, 65536);
	with_body = &body;
	with_options = OPTIONS("Preview: 0\r\n");
	one(serve_204_whole);
	IS_CLEAN(200000);
	finish();
	CU_ASSERT_EQUAL(saw.preview_n, 0);
}

static void
test_transfer(void)
{
	static const struct try_body body = { .size = 200000 };

	with_body = &body;
	with_options = OPTIONS("Preview: 5\r\nTransfer-Complete: bin\r\n");
	one(serve_204_whole);
	IS_CLEAN(200000);
	finish();
	CU_ASSERT_PTR_NULL(strstr(saw.head, "Preview"));
}

/* 100 before the preview is out is remembered; after ieof it is ignored. */
static bool
serve_early_100(struct peer_conn *c)
{
	if (!peer_write(c, "ICAP/1.0 100 Continue\r\n\r\n") || !see(c))
		return (false);
	if (!saw.whole && !peer_read_body(c))
		return (false);
	note_body(c);
	return (peer_write(c, ICAP204));
}

static bool
serve_late_100(struct peer_conn *c)
{
	return (see(c) && peer_write(c, "ICAP/1.0 100 Continue\r\n\r\n") &&
	    peer_write(c, ICAP204));
}

static void
test_continue(void)
{
	static const struct try_body body = { .size = 3000,
		.piece = 500,
		.every_ms = 5 };
	static const struct try_body small = { .size = 300, .known = true };

	with_body = &body;
	one(serve_early_100);
	IS_CLEAN(3000);
	finish();
	CU_ASSERT(saw.good && saw.body_n == 3000);
	with_body = &small;
	begin(serve_late_100);
	message();
	try_run(&t);
	IS_CLEAN(300);
	try_fini(&t);
	message();
	try_run(&t);
	IS_CLEAN(300);
	CU_ASSERT_EQUAL(peer_conns(peer), 1);
	finish();
}

static bool
serve_endless_100(struct peer_conn *c)
{
	while (peer_write(c, "ICAP/1.0 100 Continue\r\n\r\n"))
		peer_pause(1);
	return (false);
}

static void
test_endless(void)
{
	one(serve_endless_100);
	FAILED(ERR_SCAN_PROTOCOL);
	finish();
}

static bool
serve_hang(struct peer_conn *c)
{
	char b;

	(void)recv(c->fd, &b, 1, MSG_PEEK | MSG_WAITALL);
	while (recv(c->fd, c->raw, sizeof(c->raw), 0) > 0)
		;
	return (false);
}

static void
impatient(struct rig *r)
{
	r->options.timeout_ms = 150;
}

static bool
serve_stall(struct peer_conn *c)
{
	(void)(see(c) && write_adapted(c, ICAP200, "res", RESP, true) &&
	    peer_write_chunk(c, "begun", 5));
	return (serve_hang(c));
}

static void
test_timeouts(void)
{
	static const struct try_body body = { .size = 20 << 20 };
	static const struct try_body slow = { .size = 500,
		.piece = 100,
		.every_ms = 200 };

	adjust = impatient;
	with_body = &body;
	as_resp = true;
	one(serve_stall);
	CU_ASSERT_EQUAL(t.end, PULL_CUT);
	CU_ASSERT_EQUAL(body_fault(t.body)->code, ERR_SCAN_TIMEOUT);
	finish();
	adjust = impatient;
	one(serve_hang);
	FAILED(ERR_SCAN_TIMEOUT);
	finish();
	adjust = impatient; /* a slow origin is not the service's silence */
	with_body = &slow;
	as_resp = true;
	one(serve_204_whole);
	IS_CLEAN(500);
	finish();
}

static void
small_limit(struct rig *r)
{
	r->options.max_body = 3000;
}

static void
test_max_body(void)
{
	static const struct try_body known = { .size = 3001, .known = true };
	static const struct try_body open = { .size = 3001 };
	static const struct try_body fits = { .size = 3000 };
	const struct try_body *bodies[] = { &known, &open, &fits };
	unsigned i;

	for (i = 0; i < 3; i++) {
		adjust = small_limit;
		with_body = bodies[i];
		as_resp = true;
		one(serve_204_whole);
		CU_ASSERT_EQUAL(t.scan.result.fault.code, ERR_NONE);
		CU_ASSERT_EQUAL(t.scan.result.verdict,
		    i < 2 ? VERDICT_UNSCANNED : VERDICT_CLEAN);
		if (i < 2)
			CU_ASSERT(str_eq(t.scan.result.reason,
			    STR("larger than max_body")));
		if (i == 0)
			CU_ASSERT_EQUAL(peer_conns(peer), 0);
		finish();
	}
}

/* Cancelled at every moment; what is left over must be nothing. */
static void
test_cancel(void)
{
	static const struct try_body body = { .size = 2 << 20 };
	unsigned i;

	for (i = 0; i < 40; i++) {
		with_body = &body;
		adjust = preview_off;
		begin(serve_pipe);
		message();
		t.hold = i % 2 == 0;
		try_start(&t);
		rig_wait(&rig, i / 4);
		finish();
	}
}

/* What OPTIONS ask for (X-Include), as far as identity permits. */

#define NAMED "X-Client-Username: joe\r\n"
#define CODED "X-Authenticated-User: TG9jYWw6Ly9qb2U=\r\n"
#define ADDRESS "X-Client-IP: 10.1.2.3\r\n"
#define ASKS(names) OPTIONS("X-Include: " names "\r\n")

static enum icap_identity asked_identity;

static void
with_identity(struct rig *r)
{
	r->options.identity = asked_identity;
}

static const struct {
	enum icap_identity identity;
	const char *options;
	bool address, named, coded;
} includes[] = {
	{ ICAP_IDENTITY_SQUID, OPTIONS(""), true, true, false },
	{ ICAP_IDENTITY_SQUID, ASKS("X-Client-IP"), true, true, false },
	{ ICAP_IDENTITY_SQUID,
	    ASKS("X-Server-IP, x-authenticated-user, "
		 "X-Authenticated-Groups, X-Subscriber-ID"),
	    true, true, true },
	{ ICAP_IDENTITY_SQUID,
	    ASKS("X-Other\r\nX-Include: "
		 "X-Authenticated-User"),
	    true, true, true },
	{ ICAP_IDENTITY_RFC, OPTIONS(""), true, false, true },
	{ ICAP_IDENTITY_RFC, ASKS("X-Client-Username"), true, true, true },
	{ ICAP_IDENTITY_NONE,
	    ASKS("X-Client-IP, X-Client-Username, "
		 "X-Authenticated-User"),
	    false, false, false },
};

static void
test_include(void)
{
	size_t i;

	for (i = 0; i < sizeof(includes) / sizeof(includes[0]); i++) {
		asked_identity = includes[i].identity;
		with_options = includes[i].options;
		as_resp = true;
		adjust = with_identity;
		one(serve_204);
		IS_CLEAN(0);
		finish();
		CU_ASSERT_EQUAL(strstr(saw.head, ADDRESS) != NULL,
		    includes[i].address);
		CU_ASSERT_EQUAL(strstr(saw.head, NAMED) != NULL,
		    includes[i].named);
		CU_ASSERT_EQUAL(strstr(saw.head, CODED) != NULL,
		    includes[i].coded);
	}
}

UNIT_TESTS(icap_transaction, { "heads of REQMOD", test_heads },
    { "heads of RESPMOD", test_heads_resp }, { "previews", test_previews },
    { "204 to a preview", test_preview_204 },
    { "configured previews", test_preview_configured },
    { "clamped previews", test_preview_clamped },
    { "Transfer-*", test_transfer }, { "100 early and late", test_continue },
    { "endless 100", test_endless }, { "timeouts", test_timeouts },
    { "max_body", test_max_body }, { "cancelled", test_cancel },
    { "X-Include is obeyed as far as identity permits", test_include })
