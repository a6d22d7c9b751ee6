/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bodies larger than max_body with over_max: bypass.  A declared length skips
 * nothing: the service scans the first bytes as if they were all, and the
 * bypass is given when so many have come and it found nothing.
 */
#include <string.h>
#include "t/unit/icap_talk.h"

#define LIMIT 3000

static void
bypass(struct rig *r)
{
	r->options.max_body = LIMIT;
	r->options.over_max = SCAN_POLICY_BYPASS;
}

static bool
serve_found(struct peer_conn *c)
{
	return (see(c) && see_rest(c) &&
	    peer_write(c,
		"ICAP/1.0 204 No\r\n"
		"X-Virus-ID: Worm\r\n\r\n"));
}

/* The whole message as it got it, when it has all of it. */
static bool
serve_back(struct peer_conn *c)
{
	return (see(c) && see_rest(c) &&
	    write_adapted(c, ICAP200, "res", strstr(c->http, "HTTP/1.1 200"),
		true) &&
	    peer_write_chunk(c, c->body, c->body_n) &&
	    peer_write(c, "0\r\n\r\n"));
}

static const struct {
	struct try_body body;
	const char *options;
	peer_fn serve;
	enum verdict verdict;
	size_t seen;
	bool ieof;
} rows[] = {
	/* larger, and said so or not; slow or not */
	{ { .size = 9000, .known = true }, NULL, serve_204_whole,
	    VERDICT_UNSCANNED, LIMIT, false },
	{ { .size = 9000 }, NULL, serve_204_whole, VERDICT_UNSCANNED, LIMIT,
	    false },
	{ { .size = LIMIT + 1, .known = true }, NULL, serve_204_whole,
	    VERDICT_UNSCANNED, LIMIT, false },
	{ { .size = 9000, .known = true, .piece = 700, .every_ms = 1 }, NULL,
	    serve_204_whole, VERDICT_UNSCANNED, LIMIT, false },
	{ { .size = 9000, .piece = 1000, .every_ms = 1 }, NULL, serve_204_whole,
	    VERDICT_UNSCANNED, LIMIT, false },
	/* the preview reaches behind it */
	{ { .size = 9000, .known = true }, OPTIONS("Preview: 4096\r\n"),
	    serve_204_whole, VERDICT_UNSCANNED, LIMIT, true },
	{ { .size = 9000 }, OPTIONS("Preview: 3000\r\n"), serve_204_whole,
	    VERDICT_UNSCANNED, LIMIT, true },
	{ { .size = 9000 }, OPTIONS(""), serve_204_whole, VERDICT_UNSCANNED,
	    LIMIT, false },
	/* something is found in it, or changed */
	{ { .size = 9000, .known = true }, NULL, serve_found, VERDICT_BLOCKED,
	    LIMIT, false },
	{ { .size = 9000, .known = true }, NULL, serve_back, VERDICT_BLOCKED,
	    LIMIT, false },
	/* it fits */
	{ { .size = LIMIT, .known = true }, NULL, serve_204_whole,
	    VERDICT_CLEAN, LIMIT, false },
	{ { .size = LIMIT }, NULL, serve_204_whole, VERDICT_CLEAN, LIMIT,
	    false },
	{ { .size = LIMIT, .piece = 1000, .every_ms = 1 }, OPTIONS(""),
	    serve_204_whole, VERDICT_CLEAN, LIMIT, false },
	{ { .size = LIMIT }, NULL, serve_back, VERDICT_MODIFIED, LIMIT, false },
	/* the service has decided at the preview */
	{ { .size = 9000, .known = true }, NULL, serve_204, VERDICT_CLEAN, 1024,
	    false },
};

static void
check(size_t i)
{
	const struct scan_result *r = &t.scan.result;
	bool over = rows[i].verdict == VERDICT_UNSCANNED;

	CU_ASSERT_EQUAL(r->fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(r->verdict, rows[i].verdict);
	CU_ASSERT_EQUAL(r->too_large, over);
	CU_ASSERT_EQUAL(r->gap, over ? GAP_LIMIT : GAP_NONE);
	CU_ASSERT_EQUAL(r->bytes, rows[i].seen);
	CU_ASSERT(!over || strstr(r->reason.p, "first 3000 bytes") != NULL);
	if (r->verdict != rows[i].verdict)
		printf("# row %zu\n", i);
}

static void
test_over_max(void)
{
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		with_body = &rows[i].body;
		with_options = rows[i].options;
		as_resp = true;
		adjust = bypass;
		one(rows[i].serve);
		check(i);
		finish();
		CU_ASSERT_EQUAL(saw.body_n, rows[i].seen);
		CU_ASSERT_EQUAL(saw.ieof, rows[i].ieof);
		CU_ASSERT(saw.good);
		CU_ASSERT_EQUAL(strstr(saw.http, "Content-Length: 3000\r\n") !=
			NULL,
		    rows[i].body.known);
		CU_ASSERT_PTR_NULL(strstr(saw.http, "9000"));
	}
}

/* Declared, and never sent: no bypass of any kind. */
static void
test_declared_only(void)
{
	static const struct try_body cut = { .size = 9000,
		.known = true,
		.cut_at = 100 };
	static const struct try_body late = { .size = 9000,
		.known = true,
		.cut_at = LIMIT };

	with_body = &cut;
	as_resp = true;
	adjust = bypass;
	one(serve_204_whole);
	FAILED(ERR_ORIGIN_CUT);
	finish();
	with_body = &late;
	as_resp = true;
	adjust = bypass;
	one(serve_204_whole);
	FAILED(ERR_ORIGIN_CUT);
	finish();
}

/* It echoes while it reads: what it never saw is not made up. */
static void
bypass_whole(struct rig *r)
{
	bypass(r);
	r->options.max_body = 30000;
	preview_off(r);
}

static void
test_echo(void)
{
	static const struct try_body body = { .size = 90000,
		.piece = 1000,
		.every_ms = 5 };

	with_body = &body;
	adjust = bypass_whole;
	one(serve_pipe);
	if (t.scan.result.verdict == VERDICT_BLOCKED) {
		CU_ASSERT_PTR_NULL(t.body); /* it began too late */
	} else {
		CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
		CU_ASSERT_EQUAL(t.end, PULL_CUT);
		CU_ASSERT_PTR_NOT_NULL_FATAL(t.body);
		CU_ASSERT_EQUAL(body_fault(t.body)->code, ERR_BODY_LIMIT);
	}
	finish();
}

UNIT_TESTS(icap_limit,
    { "over_max: bypass scans the first bytes", test_over_max },
    { "a declared length is no bypass", test_declared_only },
    { "an echo of more than max_body is cut", test_echo })
