/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * WebSocket messages out of octets: RFC 6455 5.7 and 8.1, fed whole, byte by
 * byte, split at every offset and at random, by servers and by clients.
 */
#include "t/unit/http_ws_help.h"

#define HELLO "\x05Hello"
#define LIMIT 1000

struct row {
	const char *p;
	size_t n;
	const char *says;
};
#define ROW(in, says)                    \
	{                                \
		in, sizeof(in) - 1, says \
	}

/* As servers send them; clients the same with masks. */
static const struct row both[] = {
	/* RFC 6455 5.7 */
	ROW("\x81" HELLO, "T(Hello)"),
	ROW("\x01\x03Hel\x80\x02lo", "T(Hello)"),
	ROW("\x89" HELLO, "<9:5>"),
	ROW("\x8a" HELLO, "<10:5>"),
	/* messages and fragments */
	ROW("\x81\x00", "T()"),
	ROW("\x02\x00\x00\x00\x80\x00", "B()"),
	ROW("\x82\x01\xff\x81\x01z", "B(\xff)T(z)"),
	ROW("\x01\x01"
	    "a\x89\x00\x00\x01"
	    "b\x8a\x01x\x80\x01"
	    "c",
	    "T(<9:0><10:1>abc)"),
	ROW("\x01\x01"
	    "a\x81\x01"
	    "b",
	    "T(!1002"),
	ROW("\x01\x01"
	    "a\x02\x01"
	    "b",
	    "T(!1002"),
	ROW("\x80\x01"
	    "a",
	    "!1002"),
	ROW("\x00\x01"
	    "a",
	    "!1002"),
	ROW("\x81\x01"
	    "a\x80\x01"
	    "b",
	    "T(a)!1002"),
	/* reserved: opcodes, bits */
	ROW("\x83\x00", "!1002"),
	ROW("\x87\x00", "!1002"),
	ROW("\x8b\x00", "!1002"),
	ROW("\x8f\x00", "!1002"),
	ROW("\xc1\x00", "!1002"),
	ROW("\xa1\x00", "!1002"),
	ROW("\x91\x00", "!1002"),
	ROW("\xc9\x00", "!1002"),
	/* control frames */
	ROW("\x09\x00", "!1002"),
	ROW("\x08\x00", "!1002"),
	ROW("\x89\x7e\x00\x7e", "!1002"),
	ROW("\x88\x7f", "!1002"),
	/* Close */
	ROW("\x88\x00", "{1005}"),
	ROW("\x88\x02\x03\xe8", "{1000}"),
	ROW("\x88\x05\x0f\xa0"
	    "bye",
	    "{4000 bye}"),
	ROW("\x88\x05\x03\xf6\xe2\x82\xac", "{1014 \xe2\x82\xac}"),
	ROW("\x88\x01\x03", "!1002"),
	ROW("\x88\x02\x03\xe7", "!1002"),
	ROW("\x88\x02\x03\xec", "!1002"),
	ROW("\x88\x02\x03\xed", "!1002"),
	ROW("\x88\x02\x03\xee", "!1002"),
	ROW("\x88\x02\x03\xf7", "!1002"),
	ROW("\x88\x02\x07\xd0", "!1002"),
	ROW("\x88\x02\x13\x88", "!1002"),
	ROW("\x88\x02\xff\xff", "!1002"),
	ROW("\x88\x04\x03\xe8\xe2\x82", "!1007"),
	ROW("\x88\x03\x03\xe8\xff", "!1007"),
	/* what follows a Close is nothing, what it cuts never ends */
	ROW("\x88\x00\x81\x01"
	    "a\xff\xff",
	    "{1005}"),
	ROW("\x01\x01"
	    "a\x88\x02\x03\xe8\x80\x01"
	    "b",
	    "T({1000}"),
	/* UTF-8, also across frames */
	ROW("\x81\x02\xc3\xa9", "T(\xc3\xa9)"),
	ROW("\x01\x01\xf0\x00\x02\x9f\x98\x80\x01\x80", "T(\xf0\x9f\x98\x80)"),
	ROW("\x01\x03\xf4\x8f\xbf\x89\x00\x80\x01\xbf",
	    "T(<9:0>\xf4\x8f\xbf\xbf)"),
	ROW("\x82\x02\xc3\x28", "B(\xc3\x28)"),
	ROW("\x81\x02\xc3\x28", "T(!1007"),
	ROW("\x81\x01\xc3", "T(!1007"),
	ROW("\x01\x01\xc3\x80\x00", "T(!1007"),
	ROW("\x81\x02\xc0\x80", "T(!1007"),
	ROW("\x81\x03\xed\xa0\x80", "T(!1007"),
	ROW("\x01\x02\xf4\x90", "T(!1007"),
	ROW("\x01\x01\xf5", "T(!1007"),
	ROW("\x01\x03\xe2\x82\xac\x00\x01\x80", "T(!1007"),
	ROW("\x81\x02\xff\xfe\x81\x01"
	    "a",
	    "T(!1007"),
};

/* What only that side sends. */
static const struct row client[] = {
	ROW("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "T(Hello)"),
	ROW("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "<10:5>"),
	ROW("\x81" HELLO, "!1002"),
	ROW("\x89\x00", "!1002"),
	ROW("\x81\x80"
	    "abcd\x81\x00",
	    "T()!1002"),
	ROW("\x82\xfe\x00\x7d"
	    "abcd",
	    "!1002"),
};

static const struct row server[] = {
	ROW("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "!1002"),
	ROW("\x8a\x80"
	    "abcd",
	    "!1002"),
	/* RFC 6455 5.2: the minimal number of octets */
	ROW("\x81\x7e\x00\x05Hello", "!1002"),
	ROW("\x82\x7e\x00\x7d", "!1002"),
	ROW("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x7e", "!1002"),
	ROW("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "!1002"),
	ROW("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "!1002"),
	/* a long one is known by what comes of it */
	ROW("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", "B("),
	ROW("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"
	    "a",
	    "B("),
	ROW("\x82\x7e\x03\xe8"
	    "a",
	    "B("),
	ROW("\x82\x7e\x03\xe9", "B("),
};

static void
check_once(unsigned i, const char *says, enum ws_side from, const void *p,
    size_t n, size_t step)
{
	struct ws_help h;
	bool good;

	ws_help_open(&h, from, false, false, LIMIT);
	good = ws_help_feed(&h, p, n, step, 1 + unit_random(9));
	CHECK_ROW(i, says, good == (h.f.code == ERR_NONE));
	CHECK_ROW(i, says, good || h.f.code == ws_frame_err(from));
	CHECK_ROW(i, "frames",
	    !good || strchr(says, '{') != NULL ||
		n - (chq_len(&h.frames) + h.passed) < WS_HEAD_MAX);
	CHECK_ROW(i, says, ws_help_said(&h, says));
}

static void
check(unsigned i, const char *says, enum ws_side from, const void *p, size_t n)
{
	size_t step;

	check_once(i, says, from, p, n, n);
	for (step = 1; step < n && step < 40; step++)
		check_once(i, says, from, p, n, step);
	check_once(i, says, from, p, n, 0);
}

static void
rows(void)
{
	struct buf b = { 0 };
	unsigned i;

	for (i = 0; i < COUNT(both); i++) {
		check(i, both[i].says, WS_SERVER, both[i].p, both[i].n);
		b.n = 0;
		ws_help_mask(&b, (const unsigned char *)both[i].p, both[i].n);
		if (strchr(both[i].says, '!') == NULL &&
		    strchr(both[i].says, '{') == NULL)
			check(i, both[i].says, WS_CLIENT, b.p, b.n);
	}
	buf_fini(&b);
}

static void
client_rows(void)
{
	unsigned i;

	for (i = 0; i < COUNT(client); i++)
		check(i, client[i].says, WS_CLIENT, client[i].p, client[i].n);
}

/* The refusals of the first table, with the bit and a key of zeros. */
static void
client_refusals(void)
{
	unsigned char head[WS_HEAD_MAX + 64];
	unsigned i, n;

	for (i = 0; i < COUNT(both); i++) {
		n = (unsigned char)both[i].p[1];
		if (both[i].n < 2 || n > 125 || both[i].n != n + 2 ||
		    both[i].n > 64)
			continue;
		head[0] = (unsigned char)both[i].p[0];
		head[1] = (unsigned char)(n | 0x80);
		memset(head + 2, 0, 4);
		memcpy(head + 6, both[i].p + 2, n);
		check(i, both[i].says, WS_CLIENT, head, n + 6);
	}
}

static void
server_rows(void)
{
	unsigned i;

	for (i = 0; i < COUNT(server); i++)
		check(i, server[i].says, WS_SERVER, server[i].p, server[i].n);
}

/* Long messages, of both sides: RFC 6455 5.7, the last two examples. */
static void
long_one(enum ws_side from, bool text, size_t n, size_t step)
{
	unsigned char mask[4] = { 1, 0x80, 0xff, 7 }, head[WS_HEAD_MAX];
	struct buf in = { 0 }, got = { 0 };
	unsigned char *p;
	struct ws_help h;
	size_t i, head_n;

	head_n = ws_frame_head(head, text ? WS_OP_TEXT : WS_OP_BINARY, true, n,
	    from == WS_CLIENT ? mask : NULL);
	buf_add(&in, head, head_n);
	p = (unsigned char *)buf_room(&in, n);
	for (i = 0; i < n; i++)
		p[i] = (unsigned char)('a' + unit_random(26));
	in.n += n;
	if (from == WS_CLIENT)
		ws_frame_mask(p, p, n, mask, 0);
	ws_help_open(&h, from, false, false, n);
	CU_ASSERT(ws_help_feed(&h, in.p, in.n, step, CHUNK_BYTES));
	CU_ASSERT_EQUAL(h.passed, in.n);
	CU_ASSERT(h.most < 40000);
	CU_ASSERT_EQUAL(h.said.n, n + 3);
	buf_add(&got, h.said.p + 2, n);
	if (from == WS_CLIENT)
		ws_frame_mask(p, p, n, mask, 0);
	CU_ASSERT(memcmp(got.p, p, n) == 0);
	buf_fini(&in);
	buf_fini(&got);
	ws_help_close(&h);
}

static void
long_ones(void)
{
	static const size_t sizes[] = { 125, 126, 256, 65535, 65536, 200000 };
	unsigned i;

	for (i = 0; i < COUNT(sizes); i++) {
		long_one(WS_SERVER, false, sizes[i], sizes[i] + 20);
		long_one(WS_SERVER, true, sizes[i], 5000);
		long_one(WS_CLIENT, false, sizes[i], 3001);
		long_one(WS_CLIENT, true, sizes[i], 0);
	}
}

/* The content of a message stops at the limit, its frames do not. */
static void
limit(void)
{
	static const char *const says[] = { "B(12345)T(z)", "B(~)T(z)" };
	static const unsigned char in[][12] = {
		"\x02\x03"
		"123\x80\x02"
		"45\x81\x01z",
		"\x02\x03"
		"123\x80\x02"
		"45\x81\x01z",
	};
	struct ws_help h;
	size_t step;
	unsigned i;

	for (i = 0; i < COUNT(says); i++)
		for (step = 1; step < sizeof(in[i]); step++) {
			ws_help_open(&h, WS_SERVER, false, false, 5 - i);
			CU_ASSERT(
			    ws_help_feed(&h, in[i], sizeof(in[i]), step, 100));
			CU_ASSERT_EQUAL(h.passed, sizeof(in[i]));
			CU_ASSERT(ws_help_said(&h, says[i]));
		}
}

/* What a head declares is nothing yet: all is read that fits, then the gap. */
static void
limit_declared(void)
{
	static const size_t steps[] = { 1, 700, 100000 };
	static const unsigned char heads[][4] = { { 0x82, 126, 0x27, 0x10 },
		{ 0x81, 126, 0x27, 0x10 } };
	struct buf in = { 0 };
	struct ws_help h;
	unsigned i, k;

	for (k = 0; k < COUNT(heads); k++)
		for (i = 0; i < COUNT(steps); i++) {
			in.n = 0;
			buf_add(&in, heads[k], sizeof(heads[k]));
			memset(buf_room(&in, 10000), 'a', 10000);
			in.n += 10000;
			ws_help_open(&h, WS_SERVER, false, false, 9000);
			CU_ASSERT(
			    ws_help_feed(&h, in.p, in.n, steps[i], 100000));
			CU_ASSERT_EQUAL(h.at_gap, 9000);
			CU_ASSERT_EQUAL(h.passed, in.n);
			CU_ASSERT(ws_help_said(&h, k == 0 ? "B(~)" : "T(~)"));
			/* half of it is no more than half */
			ws_help_open(&h, WS_SERVER, false, false, 9000);
			CU_ASSERT(
			    ws_help_feed(&h, in.p, 5000, steps[i], 100000));
			CU_ASSERT_EQUAL(chq_len(&h.content), 4996);
			CU_ASSERT(ws_help_said(&h, k == 0 ? "B(" : "T("));
		}
	buf_fini(&in);
}

/* A text beyond the limit is still text, or refused. */
static void
limit_text(void)
{
	struct ws_help h;

	ws_help_open(&h, WS_SERVER, false, false, 2);
	CU_ASSERT(!ws_help_feed(&h,
	    "\x01\x03"
	    "abc\x80\x02"
	    "a\xff",
	    9, 9, 9));
	CU_ASSERT(ws_help_said(&h, "T(~!1007"));
	ws_help_open(&h, WS_SERVER, false, false, 2);
	CU_ASSERT(ws_help_feed(&h,
	    "\x01\x03"
	    "abc\x80\x02"
	    "ab",
	    9, 1, 1));
	CU_ASSERT(ws_help_said(&h, "T(~)"));
}

/* Heads of empty frames count against what they carry. */
static void
empty_frames(void)
{
	struct ws_help h;
	unsigned i;

	ws_help_open(&h, WS_SERVER, false, false, LIMIT);
	ws_help_feed(&h, "\x02\x00", 2, 2, 9);
	for (i = 0; i < WS_HEADS_FREE / 2 - 1; i++)
		ws_help_feed(&h, "\x00\x00", 2, 2, 9);
	CU_ASSERT_EQUAL(h.said.n, 2);
	ws_help_feed(&h,
	    "\x00\x00\x00\x01"
	    "a\x80\x00",
	    7, 2, 9);
	CU_ASSERT_EQUAL(chq_len(&h.frames), 0);
	CU_ASSERT(h.most < 2000);
	CU_ASSERT(ws_help_said(&h, "B(~)"));
}

/* Each is counted with its last octet. */
static void
counts(void)
{
	static const char in[] = "\x01\x01"
				 "a\x89\x00\x80\x00\x89\x00";
	struct ws_help h;
	unsigned i;

	ws_help_open(&h, WS_SERVER, false, false, LIMIT);
	for (i = 0; i < sizeof(in); i++) {
		CHECK_ROW(i, "message", ws_facts(h.w)->messages == (i >= 7));
		CHECK_ROW(i, "controls",
		    ws_facts(h.w)->controls == (i >= 9 ? 2 : i >= 5));
		if (i + 1 < sizeof(in))
			ws_help_feed(&h, in + i, 1, 1, 9);
	}
	CU_ASSERT_EQUAL(ws_facts(h.w)->octets, 1);
	ws_help_close(&h);
}

/* The engine keeps none of the input's chunks for the head of a frame. */
static void
holds_little(void)
{
	static const char in[] = "\x89\x85"
				 "abcdefgh";
	size_t i, had = chunk_bytes_live();
	struct ws_out out;
	struct ws_help h;
	struct chunk *c;

	ws_help_open(&h, WS_CLIENT, false, false, LIMIT);
	out = (struct ws_out){ &h.frames, &h.content, &h.control, 9 };
	for (i = 0; i + 1 < sizeof(in); i++) {
		c = chunk_new();
		c->data[0] = (unsigned char)in[i];
		chq_add(&h.in, c, c->data, 1);
		chunk_unref(&c);
		CU_ASSERT_EQUAL(ws_feed(h.w, &h.in, &out, &h.f), WS_MORE);
		CU_ASSERT(ws_bytes(h.w) < 1024);
		CU_ASSERT(chunk_bytes_live() - had < 64);
	}
	ws_help_close(&h);
	CU_ASSERT_EQUAL(chunk_bytes_live(), had);
}

/* Random messages in random frames, with pings in between. */
static void
random_ones(void)
{
	struct buf in = { 0 }, masked = { 0 }, says = { 0 };
	unsigned char head[WS_HEAD_MAX];
	unsigned i, j, frames, n, k;
	struct ws_help h;
	char c;

	for (i = 0; i < 50; i++) {
		frames = 1 + unit_random(4);
		buf_cstr(&says, "T(");
		for (j = 0; j < frames; j++) {
			n = unit_random(300);
			buf_add(&in, head,
			    ws_frame_head(head,
				j == 0 ? WS_OP_TEXT : WS_OP_CONTINUATION,
				j + 1 == frames, n, NULL));
			for (k = 0; k < n; k++) {
				c = (char)('a' + unit_random(26));
				buf_add(&in, &c, 1);
				buf_add(&says, &c, 1);
			}
		}
		buf_cstr(&says, ")");
	}
	ws_help_mask(&masked, (const unsigned char *)in.p, in.n);
	for (i = 0; i < 10; i++) {
		ws_help_open(&h, WS_CLIENT, false, false, LIMIT * 10);
		CU_ASSERT(ws_help_feed(&h, masked.p, masked.n, i * i * i,
		    1 + unit_random(500)));
		CU_ASSERT_EQUAL(h.passed, masked.n);
		CU_ASSERT(ws_help_said(&h, says.p));
	}
	buf_fini(&in);
	buf_fini(&masked);
	buf_fini(&says);
}

UNIT_TESTS(http_ws, { "messages", rows }, { "of clients", client_rows },
    { "refusals of clients' frames", client_refusals },
    { "of servers", server_rows }, { "long messages", long_ones },
    { "limit", limit }, { "a limit and what is declared", limit_declared },
    { "texts beyond the limit", limit_text }, { "empty frames", empty_frames },
    { "counts", counts }, { "holds little", holds_little },
    { "random messages", random_ones })
