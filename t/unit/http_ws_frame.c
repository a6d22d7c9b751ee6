/* SPDX-License-Identifier: GPL-2.0-or-later */
/* WebSocket frames written, masks, and UTF-8 in pieces. */
#include <unistr.h>
#include "http/ws_frame.h"
#include "http/ws_utf8.h"
#include "t/unit/http_help.h"

static void
heads(void)
{
	static const uint64_t lengths[] = { 0, 1, 125, 126, 65535, 65536,
		INT64_MAX };
	static const unsigned octets[] = { 2, 2, 2, 4, 4, 10, 10 };
	static const unsigned char mask[4] = { 1, 2, 3, 4 };
	unsigned char head[WS_HEAD_MAX];
	struct ws_frame w;
	size_t n, used;
	unsigned i;

	for (i = 0; i < COUNT(lengths) * 2; i++) {
		n = ws_frame_head(head, WS_OP_BINARY, (i & 2) == 0,
		    lengths[i / 2], i & 1 ? mask : NULL);
		CHECK_ROW(i, "length", n == octets[i / 2] + (i & 1) * 4);
		ws_frame_init(&w, i & 1 ? WS_CLIENT : WS_SERVER, false);
		CHECK_ROW(i, "read",
		    ws_frame_feed(&w, head, n, &used, NULL) == WS_FRAME_HEAD &&
			used == n && w.length == lengths[i / 2] &&
			w.op == WS_OP_BINARY && w.fin == ((i & 2) == 0) &&
			w.head_n == n);
		CHECK_ROW(i, "mask", !(i & 1) || memcmp(w.mask, mask, 4) == 0);
	}
}

/* At every offset, whatever the length. */
static void
masks(void)
{
	static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
	unsigned char p[64], to[64];
	unsigned at, n, i;

	for (i = 0; i < sizeof(p); i++)
		p[i] = (unsigned char)unit_random(256);
	for (at = 0; at < 8; at++)
		for (n = 0; n <= sizeof(p); n++) {
			ws_frame_mask(to, p, n, mask, at);
			for (i = 0; i < n; i++)
				if (to[i] != (p[i] ^ mask[(at + i) % 4]))
					break;
			CU_ASSERT_EQUAL(i, n);
		}
}

/* Written, and read back unmasked. */
static struct str
put_close(struct arena *a, enum ws_side from, unsigned code, struct str reason)
{
	unsigned char p[WS_HEAD_MAX + WS_CONTROL_MAX];
	struct chq q = { 0 };
	struct ws_frame w;
	size_t n, used = 0;

	ws_frame_put_close(&q, from, code, reason);
	n = chq_len(&q);
	chq_read(&q, 0, p, n);
	chq_fini(&q);
	ws_frame_init(&w, from, false);
	CU_ASSERT_EQUAL(ws_frame_feed(&w, p, n, &used, NULL), WS_FRAME_HEAD);
	CU_ASSERT(w.op == WS_OP_CLOSE && w.length == n - used);
	ws_frame_mask(p + used, p + used, n - used, w.mask, 0);
	return (arena_str(a, (struct str){ (char *)p + used, n - used }));
}

static void
closes(void)
{
	struct arena *a = arena_new();
	struct str s, euros, reason = STR("blocked: \xe2\x82\xac");
	struct buf b = { 0 };
	unsigned i, n;

	for (i = 0; i < 2; i++) {
		s = put_close(a, (enum ws_side)i, 1008, reason);
		CU_ASSERT(s.n == reason.n + 2 &&
		    memcmp(s.p, "\x03\xf0", 2) == 0 &&
		    memcmp(s.p + 2, reason.p, reason.n) == 0);
		s = put_close(a, (enum ws_side)i, WS_CODE_NONE, STR_NONE);
		CU_ASSERT_EQUAL(s.n, 0);
		s = put_close(a, (enum ws_side)i, 1000, STR_NONE);
		CU_ASSERT_EQUAL(s.n, 2);
	}
	/* a long reason is cut between characters */
	for (n = 0; n < 4; n++) {
		b.n = 0;
		for (i = 0; i < n; i++)
			buf_cstr(&b, "x");
		for (i = 0; i < 60; i++)
			buf_cstr(&b, "\xe2\x82\xac");
		euros = put_close(a, WS_CLIENT, 1008, buf_as_str(&b));
		CU_ASSERT(euros.n > 120 && euros.n <= WS_CONTROL_MAX);
		CU_ASSERT_PTR_NULL(
		    u8_check((const uint8_t *)euros.p + 2, euros.n - 2));
	}
	buf_fini(&b);
	arena_free(&a);
}

/* Two frames of ours have two masks. */
static void
random_masks(void)
{
	struct chq q = { 0 };
	unsigned char p[12];

	ws_frame_put(&q, WS_CLIENT, WS_OP_PONG, NULL, 0);
	ws_frame_put(&q, WS_CLIENT, WS_OP_PONG, NULL, 0);
	CU_ASSERT_EQUAL_FATAL(chq_len(&q), sizeof(p));
	chq_read(&q, 0, p, sizeof(p));
	CU_ASSERT(memcmp(p + 2, p + 8, 4) != 0);
	chq_fini(&q);
}

/*
 * Each begin of one to four octets, in pieces: refused at once if nothing
 * makes it a character, as u8_check() has it.
 */
static bool
can_be_text(const unsigned char *p, size_t n)
{
	static const unsigned char more[] = { 0x80, 0x8f, 0x90, 0x9f, 0xa0,
		0xbf };
	unsigned char q[8];
	unsigned i, k;

	memcpy(q, p, n);
	if (u8_check(q, n) == NULL)
		return (true);
	for (k = 1; k <= 3; k++)
		for (i = 0; i < COUNT(more); i++) {
			memset(q + n, 0x80, k);
			q[n] = more[i];
			if (u8_check(q, n + k) == NULL)
				return (true);
		}
	return (false);
}

static void
utf8(void)
{
	static const unsigned char octets[] = { 'a', 0x7f, 0x80, 0x8f, 0x90,
		0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec,
		0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
	unsigned char p[4];
	struct ws_utf8 u;
	unsigned i, j, n, cut;
	bool good;

	for (i = 0; i < 24 * 24 * 24 * 24; i++) {
		for (j = i, n = 0; n < 4; n++, j /= 24)
			p[n] = octets[j % 24];
		n = 1 + i % 4;
		good = can_be_text(p, n);
		for (cut = 0; cut <= n; cut++) {
			u = (struct ws_utf8){ .n = 0 };
			if ((ws_utf8_feed(&u, p, cut) &&
				ws_utf8_feed(&u, p + cut, n - cut)) != good)
				break;
			if (good &&
			    ws_utf8_is_whole(&u) != (u8_check(p, n) == NULL))
				break;
		}
		if (cut <= n) {
			printf("# %02x %02x %02x %02x of %u at %u\n", p[0],
			    p[1], p[2], p[3], n, cut);
			CU_FAIL("UTF-8");
			return;
		}
	}
	CU_PASS("UTF-8");
}

UNIT_TESTS(http_ws_frame, { "heads", heads }, { "masks", masks },
    { "Close", closes }, { "random masks", random_masks },
    { "UTF-8 in pieces", utf8 })
