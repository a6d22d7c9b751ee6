/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * permessage-deflate: RFC 7692 7.2.3, streams made by zlib with and without
 * context takeover, what is refused, limits and bombs.
 */
#include <zlib.h>
#include "t/unit/http_ws_help.h"

#define LIMIT 100000

/* in: as servers send it; says: with takeover; alone: without. */
static const struct {
	const char *p;
	size_t n;
	const char *says, *alone;
} rows[] = {
#define ROW(in, says)                          \
	{                                      \
		in, sizeof(in) - 1, says, says \
	}
#define ROWS(in, says, alone)                   \
	{                                       \
		in, sizeof(in) - 1, says, alone \
	}
	/* RFC 7692 7.2.3.1 */
	ROW("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", "Tz(Hello)"),
	ROW("\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", "Tz(Hello)"),
	ROW("\x41\x03\xf2\x48\xcd\x89\x02hi\x80\x04\xc9\xc9\x07\x00",
	    "Tz(<9:2>Hello)"),
	ROW("\x42\x00\x00\x03\xf2\x48\xcd\x00\x00\x00\x04\xc9\xc9\x07\x00"
	    "\x80\x00",
	    "Bz(Hello)"),
	/* 7.2.3.2: from the window of the message before */
	ROWS("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"
	     "\xc1\x05\xf2\x00\x11\x00\x00",
	    "Tz(Hello)Tz(Hello)", "Tz(Hello)Tz(!1007"),
	ROWS("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x81\x01x"
	     "\xc1\x05\xf2\x00\x11\x00\x00",
	    "Tz(Hello)T(x)Tz(Hello)", "Tz(Hello)T(x)Tz(!1007"),
	/* 7.2.3.3: a block that is not compressed */
	ROW("\xc1\x0b\x00\x05\x00\xfa\xffHello\x00", "Tz(Hello)"),
	/* 7.2.3.4: a final block */
	ROW("\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Tz(Hello)"),
	ROW("\xc1\x07\xf3\x48\xcd\xc9\xc9\x07\x00", "Tz(Hello)"),
	/* 7.2.3.5: two blocks */
	ROW("\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
	    "Tz(Hello)"),
	/* 7.2.3.6: an empty message; others need no compression */
	ROW("\xc1\x01\x00\x81\x00\xc2\x01\x00", "Tz()T()Bz()"),
	/* a final block: messages go on, but not from its history */
	ROW("\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
	    "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
	    "Tz(Hello)Tz(Hello)"),
	ROW("\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
	    "\xc1\x05\xf2\x00\x11\x00\x00",
	    "Tz(Hello)Tz(!1007"),
	/* behind a final block receivers read unlike things */
	ROW("\xc1\x0f\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07"
	    "\x00\x00",
	    "Tz(!1007"),
	ROW("\xc1\x09\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x00", "Tz(!1007"),
	ROW("\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x01", "Tz(!1007"),
	/* no end of a block, no begin, nothing at all */
	ROW("\xc1\x06\xf2\x48\xcd\xc9\xc9\x07", "Tz(!1007"),
	ROW("\xc1\x05\x00\x05\x00\xfa\xff", "Tz(!1007"),
	ROW("\xc1\x00", "Tz(!1007"),
	ROW("\xc1\x01\x00\xc1\x00", "Tz()Tz(!1007"),
	ROW("\xc1\x01\x06", "Tz(!1007"),
	ROW("\xc1\x01\xff", "Tz(!1007"),
	ROW("\xc1\x05\xf2\x00\x11\x00\x00", "Tz(!1007"),
	/* a stored block that takes the tail for its content, as in RFC 1951 */
	ROW("\xc2\x06\x00\x04\x00\xfb\xff\x00", "Bz(!1007"),
	/* what is no UTF-8 inside: "\xff" stored */
	ROW("\xc1\x07\x00\x01\x00\xfe\xff\xff\x00", "Tz(!1007"),
	ROW("\xc2\x07\x00\x01\x00\xfe\xff\xff\x00", "Bz(\xff)"),
	ROW("\xc1\x07\x00\x01\x00\xfe\xff\xc3\x00", "Tz(!1007"),
	/* RSV1 where it is not of a message's first frame */
	ROW("\x41\x03\xf2\x48\xcd\xc0\x04\xc9\xc9\x07\x00", "Tz(!1002"),
	ROW("\x01\x01"
	    "a\xc0\x01"
	    "b",
	    "T(!1002"),
	ROW("\xc9\x00", "!1002"),
	ROW("\xc8\x02\x03\xe8", "!1002"),
};

static void
check(unsigned i, enum ws_side from, bool alone, const void *p, size_t n,
    size_t step)
{
	const char *says = alone ? rows[i].alone : rows[i].says;
	struct ws_help h;

	ws_help_open(&h, from, true, alone, LIMIT);
	ws_help_feed(&h, p, n, step, 1 + unit_random(7));
	CHECK_ROW(i, says,
	    h.f.code == ERR_NONE || h.f.code == ws_frame_err(from));
	CHECK_ROW(i, says, strchr(says, '!') != NULL || h.passed == n);
	CHECK_ROW(i, says, ws_help_said(&h, says));
}

static void
examples(void)
{
	struct buf b = { 0 };
	size_t step;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		b.n = 0;
		ws_help_mask(&b, (const unsigned char *)rows[i].p, rows[i].n);
		for (step = 0; step <= rows[i].n; step++) {
			check(i, WS_SERVER, false, rows[i].p, rows[i].n, step);
			check(i, WS_SERVER, true, rows[i].p, rows[i].n, step);
			if (strchr(rows[i].says, '2') != NULL)
				continue; /* a broken head */
			check(i, WS_CLIENT, false, b.p, b.n, step);
			check(i, WS_CLIENT, true, b.p, b.n, step);
		}
	}
	buf_fini(&b);
}

/* Not agreed upon: the bit is reserved. */
static void
not_agreed(void)
{
	struct ws_help h;

	ws_help_open(&h, WS_SERVER, false, false, LIMIT);
	ws_help_feed(&h, rows[0].p, rows[0].n, 1, 9);
	CU_ASSERT(ws_help_said(&h, "!1002"));
}

/* ---- streams made by zlib ---- */

struct sender {
	z_stream z;
	bool takeover;
	struct buf out; /* frames, as a server's */
};

static void
sender_open(struct sender *s, bool takeover, int level, int bits)
{
	memset(s, 0, sizeof(*s));
	s->takeover = takeover;
	CU_ASSERT_EQUAL_FATAL(deflateInit2(&s->z, level, Z_DEFLATED, -bits, 8,
				  Z_DEFAULT_STRATEGY),
	    Z_OK);
}

static void
sender_close(struct sender *s)
{
	deflateEnd(&s->z);
	buf_fini(&s->out);
}

static void
deflate_to(struct sender *s, struct buf *to, const void *p, size_t n, int flush)
{
	size_t room = n + n / 100 + 1000;

	s->z.next_in = (unsigned char *)(uintptr_t)p;
	s->z.avail_in = (uInt)n;
	s->z.next_out = (unsigned char *)buf_room(to, room);
	s->z.avail_out = (uInt)room;
	deflate(&s->z, flush);
	CU_ASSERT_EQUAL(s->z.avail_in, 0);
	to->n += room - s->z.avail_out;
}

static void
frame(struct buf *to, unsigned first, const char *p, size_t n)
{
	unsigned char head[WS_HEAD_MAX];
	size_t k = ws_frame_head(head, WS_OP_CONTINUATION, false, n, NULL);

	head[0] = (unsigned char)first;
	buf_add(to, head, k);
	buf_add(to, p, n);
}

/* One message: flushed in between now and then, in up to frames frames. */
static void
send_one(struct sender *s, const char *p, size_t n, unsigned flushes,
    unsigned frames)
{
	struct buf b = { 0 };
	size_t part, at = 0;
	unsigned i;

	for (i = 0; i < flushes; i++, at += part) {
		part = (n - at) / 2;
		deflate_to(s, &b, p + at, part,
		    i & 1 ? Z_FULL_FLUSH : Z_SYNC_FLUSH);
	}
	deflate_to(s, &b, p + at, n - at, Z_SYNC_FLUSH);
	if (b.n >= 4 && memcmp(b.p + b.n - 4, "\0\0\xff\xff", 4) == 0)
		b.n -= 4;
	if (b.n == 0)
		buf_add(&b, "", 1);
	if (!s->takeover)
		deflateReset(&s->z);
	for (i = 0, at = 0; i < frames; i++, at += part) {
		part = i + 1 == frames ? b.n - at
				       : unit_random((unsigned)(b.n - at) + 1);
		frame(&s->out,
		    (i + 1 == frames ? 0x80 : 0) | (i == 0 ? 0x42 : 0),
		    b.p + at, part);
	}
	buf_fini(&b);
}

/* Words that come again, so that windows are used. */
static void
words(struct buf *b, size_t n)
{
	static const char *const word[] = { "alpha ", "beta ", "gamma ",
		"{\"id\":", "0123456789", "\n" };
	size_t from = b->n;

	buf_room(b, n + 100); /* it is copied from while it grows */
	while (b->n < from + n) {
		if (b->n > 64 && unit_random(3) > 0)
			buf_add(b, b->p + unit_random((unsigned)b->n - 40), 30);
		buf_cstr(b, word[unit_random(COUNT(word))]);
	}
	b->n = from + n;
}

static void
stream(bool takeover, int level, int bits)
{
	struct buf text = { 0 }, says = { 0 }, masked = { 0 };
	struct sender s;
	struct ws_help h;
	size_t n;
	unsigned i;

	sender_open(&s, takeover, level, bits);
	for (i = 0; i < 40; i++) {
		n = i % 9 == 0 ? i : unit_random(i * 200 + 1);
		text.n = 0;
		buf_cstr(&text, "");
		words(&text, n);
		buf_printf(&says, "Bz(");
		buf_add(&says, text.p, n);
		buf_cstr(&says, ")");
		/* zlib gives nothing for a second flush: not for small ones */
		send_one(&s, text.p, n, n > 100 ? unit_random(3) : 0,
		    1 + unit_random(4));
	}
	ws_help_mask(&masked, (const unsigned char *)s.out.p, s.out.n);
	for (i = 0; i < 4; i++) {
		ws_help_open(&h, i & 1 ? WS_CLIENT : WS_SERVER, true, !takeover,
		    LIMIT);
		n = i & 1 ? masked.n : s.out.n;
		CU_ASSERT(ws_help_feed(&h, i & 1 ? masked.p : s.out.p, n,
		    i & 2 ? 0 : 5000, 1 + unit_random(5000)));
		CU_ASSERT_EQUAL(h.passed, n);
		CU_ASSERT(h.most < 64000);
		CU_ASSERT((ws_bytes(h.w) > 40000) == takeover);
		CU_ASSERT_EQUAL(h.said.n, says.n);
		CU_ASSERT(memcmp(h.said.p, says.p, says.n) == 0);
		ws_help_close(&h);
	}
	buf_fini(&text);
	buf_fini(&says);
	buf_fini(&masked);
	sender_close(&s);
}

static void
streams(void)
{
	static const int levels[] = { 0, 1, 6, 9 };
	unsigned i;

	for (i = 0; i < COUNT(levels); i++) {
		stream(true, levels[i], 15);
		stream(false, levels[i], 15);
		stream(true, levels[i], 9);
	}
}

/* ---- limits and bombs ---- */

/* Beyond the limit: the next message is read, whatever it refers to. */
static void
limit(bool takeover, size_t step)
{
	struct buf text = { 0 };
	struct sender s;
	struct ws_help h;

	sender_open(&s, takeover, 6, 15);
	words(&text, 20000);
	send_one(&s, text.p, 10000, 0, 1);
	send_one(&s, text.p, 10001, 0, 3);
	send_one(&s, text.p, 50, 0, 1);
	ws_help_open(&h, WS_SERVER, true, !takeover, 10000);
	CU_ASSERT(ws_help_feed(&h, s.out.p, s.out.n, step, 3000));
	CU_ASSERT_EQUAL(h.passed, s.out.n);
	CU_ASSERT_EQUAL_FATAL(h.said.n, 10000 + 50 + 3 * 4 + 1);
	CU_ASSERT(memcmp(h.said.p + 10003, ")Bz(~)Bz(", 9) == 0);
	CU_ASSERT(memcmp(h.said.p + 10012, text.p, 50) == 0);
	CU_ASSERT_EQUAL(ws_facts(h.w)->messages, 3);
	CU_ASSERT_EQUAL(h.at_gap, 10000);
	ws_help_close(&h);
	sender_close(&s);
	buf_fini(&text);
}

/*
 * More on the wire than the limit: what came before that is read.  One that
 * is compressed to nothing (empty blocks without an end) has a limit, too.
 */
static void
limit_of_payload(size_t step)
{
	static const unsigned char empty[] = { 0, 0, 0, 0xff, 0xff };
	struct buf out = { 0 }, blocks = { 0 };
	struct ws_help h;
	unsigned i;

	buf_add(&blocks,
	    "\x00\x05\x00\xfa\xff"
	    "hello",
	    10);
	for (i = 0; i < 400; i++)
		buf_add(&blocks, empty, sizeof(empty));
	buf_add(&blocks, empty, 1); /* RFC 7692 7.2.1: the tail is cut off */
	frame(&out, 0xc2, blocks.p, blocks.n);
	ws_help_open(&h, WS_SERVER, true, false, 1000);
	CU_ASSERT(ws_help_feed(&h, out.p, out.n, step, 3000));
	CU_ASSERT_EQUAL(h.at_gap, 5);
	CU_ASSERT_EQUAL(h.passed, out.n);
	CU_ASSERT(ws_help_said(&h, "Bz(~)"));
	buf_fini(&out);
	buf_fini(&blocks);
}

static void
limits(void)
{
	static const size_t steps[] = { 1, 100, 100000 };
	unsigned i;

	for (i = 0; i < COUNT(steps); i++) {
		limit(true, steps[i]);
		limit(false, steps[i]);
		limit_of_payload(steps[i]);
	}
}

/* A bomb costs what its ratio allows, and afterwards nothing is believed. */
static void
bomb(bool takeover, uint64_t max, const char *says)
{
	struct buf zeros = { 0 };
	struct sender s;
	struct ws_help h;
	size_t n = 8 << 20;

	memset(buf_room(&zeros, n), 0, n);
	sender_open(&s, takeover, 6, 15);
	send_one(&s, zeros.p, n, 0, 2);
	frame(&s.out, 0x81, "plain", 5);
	send_one(&s, "again", 5, 0, 1);
	ws_help_open(&h, WS_SERVER, true, !takeover, max);
	/* whatever it holds of the content is not the test's memory */
	CU_ASSERT(ws_help_feed(&h, s.out.p, s.out.n, 500, 20000));
	CU_ASSERT_EQUAL(h.passed, s.out.n);
	CU_ASSERT(h.most < 64000);
	CU_ASSERT(ws_help_said(&h, says));
	sender_close(&s);
	buf_fini(&zeros);
}

static void
bombs(void)
{
	bomb(true, 16 << 20, "Bz(~)T(plain)Bz(~)");
	bomb(true, 1000, "Bz(~)T(plain)Bz(~)");
	bomb(false, 16 << 20, "Bz(~)T(plain)Bz(again)");
	bomb(false, 1000, "Bz(~)T(plain)Bz(again)");
}

/* How much is inflated of it, in all. */
static void
bomb_cost(void)
{
	struct buf zeros = { 0 };
	const struct ws_facts *m;
	struct sender s;
	struct ws_help h;
	size_t n = 8 << 20;

	memset(buf_room(&zeros, n), 0, n);
	sender_open(&s, true, 6, 15);
	send_one(&s, zeros.p, n, 0, 1);
	ws_help_open(&h, WS_SERVER, true, false, 1000);
	ws_help_feed(&h, s.out.p, s.out.n, s.out.n, 20000);
	m = ws_facts(h.w);
	CU_ASSERT(m->content > WS_RATIO_FREE &&
	    m->content < WS_RATIO_FREE + WS_RATIO * m->payload + 20000);
	ws_help_close(&h);
	sender_close(&s);
	buf_fini(&zeros);
}

/* The limit falls on the very last octets, which only the tail brings out. */
static void
limit_in_tail(void)
{
	struct buf text = { 0 };
	struct sender s;
	struct ws_help h;
	unsigned i;

	for (i = 0; i < 2; i++) {
		text.n = 0;
		sender_open(&s, true, 6, 15);
		words(&text, 5000);
		send_one(&s, text.p, 5000, 0, 1);
		send_one(&s, "x", 1, 0, 1);
		ws_help_open(&h, WS_SERVER, true, false, 4999 + i);
		CU_ASSERT(ws_help_feed(&h, s.out.p, s.out.n, s.out.n, 4999));
		if (i == 0) {
			CU_ASSERT(ws_help_said(&h, "Bz(~)Bz(x)"));
		} else {
			CU_ASSERT_EQUAL(h.said.n, 5000 + 9);
			ws_help_close(&h);
		}
		sender_close(&s);
	}
	buf_fini(&text);
}

/* The octets of the tail are content, the last of them beyond the limit. */
static void
tail_as_content(void)
{
	struct buf text = { 0 }, b = { 0 };
	struct sender s;
	struct ws_help h;
	unsigned i;

	memset(buf_room(&text, 300), 'a', 300);
	sender_open(&s, true, 6, 15);
	deflate_to(&s, &b, text.p, 300, Z_SYNC_FLUSH);
	buf_add(&b, "\x00\x05\x00\xfa\xff\x00", 6);
	frame(&s.out, 0xc2, b.p, b.n);
	frame(&s.out, 0x81, "x", 1);
	for (i = 0; i < 2; i++) {
		ws_help_open(&h, WS_SERVER, true, false, 305 - i);
		CU_ASSERT(ws_help_feed(&h, s.out.p, s.out.n, 1000, 1000));
		if (i == 0) {
			CU_ASSERT_EQUAL_FATAL(h.said.n, 305 + 8);
			CU_ASSERT(memcmp(h.said.p + 303, "\0\0\0\xff\xff)T(x)",
				      10) == 0);
			ws_help_close(&h);
		} else {
			CU_ASSERT(ws_help_said(&h, "Bz(~)T(x)"));
		}
	}
	sender_close(&s);
	buf_fini(&text);
	buf_fini(&b);
}

/* A text is not read on inside a character: that says nothing of the next. */
static void
gap_in_character(void)
{
	struct buf text = { 0 };
	struct sender s;
	struct ws_help h;
	unsigned i;

	for (i = 0; i < 300; i++)
		buf_cstr(&text, "\xe2\x82\xac");
	sender_open(&s, false, 6, 15);
	send_one(&s, text.p, text.n, 0, 1);
	s.out.p[0] = (char)0xc1;
	frame(&s.out, 0x81, "x", 1);
	for (i = 600; i < 603; i++) {
		ws_help_open(&h, WS_SERVER, true, true, i);
		CU_ASSERT(ws_help_feed(&h, s.out.p, s.out.n, 1000, 1000));
		CU_ASSERT(ws_help_said(&h, "Tz(~)T(x)"));
	}
	sender_close(&s);
	buf_fini(&text);
}

/*
 * What a frame comes to is read before the next frame is looked at, however
 * much that is and however the octets come: text that begins with other letters
 * and ends, an octet beyond the room, in what is none; cut octets short; then
 * an opcode that is none.
 */
static unsigned
first_fault(unsigned letters, unsigned cut, size_t step)
{
	size_t i, n = CHUNK_BYTES + 1;
	struct buf text = { 0 };
	struct sender s;
	struct ws_help h;
	unsigned code;

	memset(buf_room(&text, n), 'a', n);
	for (i = 0; i < letters; i++)
		text.p[i] = (char)('a' + i % 26);
	text.p[n - 1] = (char)0xff;
	sender_open(&s, true, 9, 15);
	send_one(&s, text.p, n, 0, 1);
	CU_ASSERT_FATAL(s.out.n < 120);
	s.out.p[0] = 0x41;
	s.out.p[1] = (char)(s.out.p[1] - (int)cut);
	s.out.n -= cut;
	buf_add(&s.out, "\x83", 1);
	ws_help_open(&h, WS_SERVER, true, false, LIMIT);
	CU_ASSERT(!ws_help_feed(&h, s.out.p, s.out.n, step, LIMIT));
	code = ws_facts(h.w)->code;
	ws_help_close(&h);
	sender_close(&s);
	buf_fini(&text);
	return (code);
}

static void
order(void)
{
	unsigned i, code, seen = 0;

	for (i = 0; i < 200; i++) {
		code = first_fault(i / 4, i % 4, 1);
		seen |= code == WS_CODE_DATA ? 1 : 2;
		CHECK_ROW(i, "order", first_fault(i / 4, i % 4, 1000) == code);
	}
	CU_ASSERT_EQUAL(seen, 3); /* cut before that octet, and behind it */
}

UNIT_TESTS(http_ws_deflate, { "examples", examples },
    { "not agreed upon", not_agreed }, { "streams", streams },
    { "limits", limits }, { "bombs", bombs },
    { "what a bomb costs", bomb_cost },
    { "a limit in the tail", limit_in_tail },
    { "the tail as content", tail_as_content },
    { "a gap in a character", gap_in_character }, { "order", order })
