/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One direction of an inspected WebSocket connection: what passes and what is
 * held, in every order; what is found; and its ends, wherever they come.
 */
#include "t/unit/http_ws_help.h"
#include "t/unit/ws_rig.h"

static struct ws_rig rig;
static const struct ws_terms plain;

static void
put(struct buf *b, enum ws_side side, enum ws_op op, bool fin, const char *text)
{
	ws_rig_frame(b, side, op, fin, text, strlen(text));
}

static void
put_long(struct buf *b, enum ws_side side, size_t n, const char *end)
{
	char *text = malloc(n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, 'x', n);
	memcpy(text + n - strlen(end), end, strlen(end));
	ws_rig_frame(b, side, WS_OP_BINARY, true, text, n);
	free(text);
}

/* What the receiver heard, as http_ws_help.h writes it. */
static bool
heard(const struct ws_rig *r, enum ws_side side, const char *what)
{
	struct ws_help h;

	ws_help_open(&h, side, false, false, 1 << 20);
	(void)ws_help_feed(&h, r->to.heard.p, r->to.heard.n, 1000, 100000);
	return (ws_help_said(&h, what));
}

/* Text, a Ping between fragments, nothing at all. */
static struct buf
talk(enum ws_side side)
{
	struct buf b = { 0 };

	put(&b, side, WS_OP_TEXT, true, "hello");
	put(&b, side, WS_OP_BINARY, false, "ab");
	put(&b, side, WS_OP_PING, true, "p");
	put(&b, side, WS_OP_CONTINUATION, true, "cd");
	put(&b, side, WS_OP_TEXT, true, "");
	return (b);
}

static void
test_passes(void)
{
	static const size_t pieces[] = { 1, 7, SIZE_MAX };
	enum ws_side side;
	unsigned i, scanned;
	struct buf b;

	for (i = 0; i < COUNT(pieces) * 4; i++) {
		side = i % 2 == 0 ? WS_CLIENT : WS_SERVER;
		scanned = i / 2 % 2;
		b = talk(side);
		ws_rig_open(&rig, side, &plain, scanned, b.p, b.n);
		rig.from.piece = pieces[i / 4];
		while (rig.to.heard.n < b.n) {
			if (rig.service.scan != NULL)
				ws_rig_say(&rig);
			(void)ws_rig_run(&rig);
		}
		CHECK_ROW(i, "all of it",
		    heard(&rig, side,
			scanned ? "T(hello)<9:1>B(abcd)T()"
				: "T(hello)B(<9:1>abcd)T()"));
		CHECK_ROW(i, "scans", rig.sums == (scanned ? 2 : 0));
		ws_rig_close(&rig);
		buf_fini(&b);
	}
}

static const struct {
	const char *text;
	enum ws_way_got got; /* WAITS: it passes */
} verdicts[] = {
	{ "clean", WS_WAY_WAITS },
	{ "an EVIL one", WS_WAY_BLOCKED },
	{ "it is DOWN", WS_WAY_FAILED },
	{ "the SAME again", WS_WAY_WAITS },
	{ "some OTHER one", WS_WAY_BLOCKED },
};

/* It is held until there is a verdict; control frames are not. */
static void
test_verdicts(void)
{
	enum ws_side side;
	struct buf b = { 0 };
	unsigned i;

	for (i = 0; i < 2 * COUNT(verdicts); i++) {
		side = i % 2 == 0 ? WS_CLIENT : WS_SERVER;
		put(&b, side, WS_OP_TEXT, true, "before");
		put(&b, side, WS_OP_TEXT, false, "");
		put(&b, side, WS_OP_CONTINUATION, true, verdicts[i / 2].text);
		put(&b, side, WS_OP_PONG, true, "now");
		ws_rig_open(&rig, side, &plain, true, b.p, b.n);
		rig.got = WS_WAY_WAITS;
		while (rig.service.scans < 1)
			(void)ws_rig_run(&rig);
		CHECK_ROW(i, "held", rig.to.heard.n == 0);
		ws_rig_say(&rig);
		while (rig.service.scans < 2)
			(void)ws_rig_run(&rig);
		(void)ws_rig_run(&rig);
		CHECK_ROW(i, "before", heard(&rig, side, "T(before)<10:3>"));
		ws_rig_play(&rig, NULL, 0);
		CHECK_ROW(i, verdicts[i / 2].text,
		    rig.got == verdicts[i / 2].got);
		CHECK_ROW(i, "behind it",
		    heard(&rig, side,
			rig.got != WS_WAY_WAITS
			    ? "T(before)<10:3>{1008 rig}"
			    : arena_printf(rig.arena, "T(before)<10:3>T(%s)",
				  verdicts[i / 2].text)
				  .p));
		CHECK_ROW(i, "end",
		    rig.to.heard_end == (rig.got != WS_WAY_WAITS));
		ws_rig_close(&rig);
		buf_fini(&b);
	}
}

/* Of a larger one its begin is looked at. */
static void
test_limit(void)
{
	static const struct {
		size_t n;
		const char *end;
		bool blocked;
	} is[] = { { WS_RIG_LIMIT, "EVIL", true },
		{ WS_RIG_LIMIT, "fine", false },
		{ WS_RIG_LIMIT + 4, "EVIL", false }, { 60000, "EVIL", false },
		{ 3, "end", false } };
	struct buf b = { 0 };
	unsigned i;

	for (i = 0; i < COUNT(is); i++) {
		put_long(&b, WS_SERVER, is[i].n, is[i].end);
		ws_rig_open(&rig, WS_SERVER, &plain, true, b.p, b.n);
		rig.got = WS_WAY_WAITS;
		ws_rig_play(&rig, NULL, 0);
		CHECK_ROW(i, "verdict",
		    (rig.got == WS_WAY_BLOCKED) == is[i].blocked);
		CHECK_ROW(i, "passes",
		    is[i].blocked ||
			(rig.to.heard.n == b.n &&
			    memcmp(rig.to.heard.p, b.p, b.n) == 0));
		CU_ASSERT_EQUAL(rig.service.scans, 1);
		ws_rig_close(&rig);
		buf_fini(&b);
	}
}

/* Who sends what he may not. */
static void
test_wrong(void)
{
	struct buf b = { 0 };
	unsigned i;

	put(&b, WS_CLIENT, WS_OP_TEXT, true, "\xff");
	ws_rig_open(&rig, WS_CLIENT, &plain, true, b.p, b.n);
	ws_rig_play(&rig, NULL, 0);
	CU_ASSERT_EQUAL(rig.got, WS_WAY_BROKEN);
	CU_ASSERT_EQUAL(rig.way.fault.code, ERR_REQ_WEBSOCKET);
	CU_ASSERT(heard(&rig, WS_CLIENT, "{1008 rig}"));
	ws_rig_close(&rig);
	buf_fini(&b);
	for (i = 0; i < 1100; i++)
		put(&b, WS_SERVER, WS_OP_PING, true, "");
	ws_rig_open(&rig, WS_SERVER, &plain, true, b.p, b.n);
	ws_rig_play(&rig, NULL, 0);
	CU_ASSERT_EQUAL(rig.got, WS_WAY_FLOOD);
	CU_ASSERT(rig.to.heard_end);
	ws_rig_close(&rig);
	buf_fini(&b);
}

/* Its sender goes behind each octet; or its receiver does. */
static void
test_ends(void)
{
	static const enum pull hows[] = { PULL_END, PULL_CUT, PULL_FAIL };
	struct buf b = talk(WS_CLIENT);
	unsigned i, n;

	put(&b, WS_CLIENT, WS_OP_CLOSE, true, "\x03\xe8");
	put(&b, WS_CLIENT, WS_OP_TEXT, true, "behind it");
	for (n = 0; n <= b.n; n++)
		for (i = 0; i < 2 * COUNT(hows); i++) {
			ws_rig_open(&rig, WS_CLIENT, &plain, i % 2, b.p, n);
			rig.from.how = hows[i / 2];
			rig.from.piece = 3;
			ws_rig_play(&rig, NULL, 0);
			if (hows[i / 2] != PULL_FAIL)
				CHECK_ROW(n, "end", rig.to.heard_end);
			else if (n < b.n - 20)
				CHECK_ROW(n, "lost", rig.got == WS_WAY_LOST);
			if (n == b.n)
				CHECK_ROW(i, "all of it",
				    heard(&rig, WS_CLIENT,
					i % 2 ? "T(hello)<9:1>B(abcd)T(){1000}"
					      : "T(hello)B(<9:1>abcd)T()"
						"{1000}"));
			ws_rig_close(&rig);
		}
	ws_rig_open(&rig, WS_CLIENT, &plain, true, b.p, b.n);
	rig.to.lost = true;
	CU_ASSERT_EQUAL(ws_rig_run(&rig), WS_WAY_LOST);
	ws_rig_close(&rig);
	buf_fini(&b);
}

/* A connection that is full: its sender's end is noticed. */
static void
test_full(void)
{
	struct buf b = talk(WS_SERVER);

	ws_rig_open(&rig, WS_SERVER, &plain, false, b.p, b.n);
	rig.to.room = 0;
	CU_ASSERT_EQUAL(ws_rig_run(&rig), WS_WAY_WAITS);
	CU_ASSERT_FALSE(rig.way.gone);
	rig.from.gone = true;
	CU_ASSERT_EQUAL(ws_rig_run(&rig), WS_WAY_WAITS);
	CU_ASSERT_TRUE(rig.way.gone);
	CU_ASSERT_EQUAL(rig.to.heard.n, 0);
	ws_rig_play(&rig, NULL, 0);
	CU_ASSERT_EQUAL(rig.to.heard.n, b.n);
	ws_rig_close(&rig);
	buf_fini(&b);
}

/* Stopped at any time, in any order: what is heard is whole, and one Close. */
static void
test_orders(void)
{
	uint8_t moves[40];
	struct ws_help h;
	struct buf b;
	unsigned i, k;

	for (i = 0; i < 1000; i++) {
		b = talk(WS_SERVER);
		put(&b, WS_SERVER, WS_OP_TEXT, true, "EVIL");
		for (k = 0; k < COUNT(moves); k++)
			moves[k] = unit_random(12) == 0
			    ? 255
			    : (uint8_t)unit_random(254);
		ws_rig_open(&rig, WS_SERVER, &plain, true, b.p, b.n);
		ws_rig_play(&rig, moves, unit_random(COUNT(moves)));
		ws_help_open(&h, WS_SERVER, false, false, 100000);
		CU_ASSERT(ws_help_feed(&h, rig.to.heard.p, rig.to.heard.n, 100,
		    100000));
		CU_ASSERT(ws_facts(h.w)->code ==
			(rig.got == WS_WAY_BLOCKED ? WS_CODE_POLICY
						   : WS_CODE_AWAY) &&
		    rig.to.heard_end);
		CU_ASSERT(memmem(h.said.p, h.said.n, "EVIL", 4) == NULL);
		ws_help_close(&h);
		ws_rig_close(&rig);
		buf_fini(&b);
	}
}

UNIT_TESTS(proxy_ws_way, { "passes", test_passes },
    { "verdicts", test_verdicts }, { "the limit", test_limit },
    { "what may not be sent", test_wrong }, { "ends", test_ends },
    { "no room", test_full }, { "any order", test_orders })
