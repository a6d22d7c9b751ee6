/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bodies without their codings: whole, a byte at a time, at random splits,
 * with a sender that waits, cut and damaged anywhere, read to the end or left.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "base/list.h"
#include "scanners/decode_body.h"
#include "t/unit/unit.h"

#define TEXT 60000

static unsigned char text[TEXT];
static struct loop *loop;
static struct body_store store = { .temp_dir = "/tmp", .window = 65536 };

/* A sender: p in pieces, waiting between some of them. */
struct sender {
	struct source source;
	struct task task;
	const unsigned char *p;
	size_t n, at, piece;
	bool waits, cut; /* now and then; at its end */
};

static enum pull
sender_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct sender *t = CONTAINER_OF(s, struct sender, source);
	size_t n = t->n - t->at;

	if (n == 0 && t->cut)
		fault_set(f, ERR_ORIGIN_CUT, NULL);
	if (n == 0)
		return (t->cut ? PULL_CUT : PULL_END);
	if (t->waits && unit_random(3) == 0) {
		task_wake(&t->task);
		return (PULL_WAIT);
	}
	if (t->piece > 0 && n > t->piece)
		n = t->piece == 1 ? 1 : 1 + unit_random((unsigned)t->piece);
	if (n > want)
		n = want;
	chq_copy(out, t->p + t->at, n);
	t->at += n;
	return (PULL_MORE);
}

static void
sender_woken(struct task *t)
{
	source_wake(&CONTAINER_OF(t, struct sender, task)->source);
}

static void
sender_drop(struct source *s, enum pull last)
{
	(void)last;
	task_fini(&CONTAINER_OF(s, struct sender, source)->task);
}

static const struct source_type sender_type = { "sender", sender_pull,
	sender_drop };

/* A receiver. */
struct got {
	struct task task;
	struct reader reader;
	unsigned char p[3 * TEXT];
	size_t n, most, stop_at;
	enum pull end;
};

static void
got_more(struct task *t)
{
	struct got *g = CONTAINER_OF(t, struct got, task);
	struct chq q = { 0 };
	size_t n;

	do {
		g->end = reader_pull(&g->reader, &q,
		    g->most > 0 ? g->most : 1 + unit_random(20000));
		n = chq_len(&q);
		if (n > sizeof(g->p) - g->n) /* damaged, it may be long */
			n = sizeof(g->p) - g->n;
		chq_read(&q, 0, g->p + g->n, n);
		chq_drop(&q, chq_len(&q));
		g->n += n;
	} while (g->end == PULL_MORE && g->n < g->stop_at);
	chq_fini(&q);
	if (g->end != PULL_WAIT)
		loop_stop(loop);
}

static struct got got;
static struct decode_how how;

/* Run coded bytes through the codings of a Content-Encoding. */
static void
run(struct sender *s, const char *codings, size_t most, size_t stop_at)
{
	struct decode_list list = { .n = 0 };
	struct body *coded, *b;

	decode_list_add(&list, str_of(codings));
	source_init(&s->source, &sender_type);
	task_init(&s->task, loop, sender_woken);
	coded = body_new(loop, &store, &s->source, BODY_UNKNOWN);
	b = decode_body_new(loop, &store, coded, &list, &how);
	body_unref(&coded);
	got.n = 0;
	got.most = most;
	got.stop_at = stop_at;
	task_init(&got.task, loop, got_more);
	reader_open(&got.reader, b, 0, &got.task);
	body_unref(&b);
	task_wake(&got.task);
	loop_run(loop);
	reader_close(&got.reader);
	task_fini(&got.task);
}

static size_t
deflated(const unsigned char *in, size_t n, unsigned char *out, size_t cap,
    int window_bits)
{
	z_stream z = { 0 };

	deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
	z.next_in = (unsigned char *)(uintptr_t)in;
	z.avail_in = (uInt)n;
	z.next_out = out;
	z.avail_out = (uInt)cap;
	deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return (cap - z.avail_out);
}

struct coded {
	const char *name;
	unsigned char p[2 * TEXT];
	size_t n;
};

static struct coded coded[7];
#define CODED (sizeof(coded) / sizeof(coded[0]))

/* One uncompressed meta-block (RFC 7932 9.2), window 2^16. */
static size_t
br_of(unsigned char *out)
{
	unsigned long head = (unsigned long)(TEXT - 1) << 4 | 1UL << 20;

	out[0] = (unsigned char)head;
	out[1] = (unsigned char)(head >> 8);
	out[2] = (unsigned char)(head >> 16);
	memcpy(out + 3, text, TEXT);
	out[3 + TEXT] = 3; /* last, empty */
	return (TEXT + 4);
}

static void
make_all(void)
{
	unsigned char half[TEXT];
	size_t i, n;

	for (i = 0; i < TEXT; i++)
		text[i] = (unsigned char)("abcdefgh"[unit_random(8)]);
	coded[0].name = "gzip";
	coded[0].n = deflated(text, TEXT, coded[0].p, 2 * TEXT, 31);
	coded[1].name = "deflate";
	coded[1].n = deflated(text, TEXT, coded[1].p, 2 * TEXT, 15);
	coded[2].name = "deflate";
	coded[2].n = deflated(text, TEXT, coded[2].p, 2 * TEXT, -15);
	coded[3].name = "zstd";
	coded[3].n = ZSTD_compress(coded[3].p, 2 * TEXT, text, TEXT, 3);
	coded[4].name = "zstd, gzip";
	n = ZSTD_compress(half, TEXT, text, TEXT, 3);
	coded[4].n = deflated(half, n, coded[4].p, 2 * TEXT, 31);
	coded[6].name = "br";
	coded[6].n = br_of(coded[6].p);
	coded[5].name = "gzip"; /* two members, and padding */
	n = deflated(text, 1000, coded[5].p, 2 * TEXT, 31);
	memset(coded[5].p + n, 0, 300);
	n += 300;
	coded[5].n = n +
	    deflated(text + 1000, TEXT - 1000, coded[5].p + n, 2 * TEXT - n,
		31);
}

static struct sender
sender_of(const struct coded *c, size_t n)
{
	return ((struct sender){ .p = c->p, .n = n });
}

static void
test_splits(void)
{
	static const struct {
		size_t piece, most;
		bool waits;
	} ways[] = { { 0, 65536, false }, { 1, 65536, true }, { 1, 0, false },
		{ 0, 1, false }, { 700, 0, true }, { 5000, 999, true } };
	struct sender s;
	size_t i, k;

	loop = loop_new();
	make_all();
	for (i = 0; i < CODED; i++)
		for (k = 0; k < sizeof(ways) / sizeof(ways[0]); k++) {
			s = sender_of(&coded[i], coded[i].n);
			s.piece = ways[k].piece;
			s.waits = ways[k].waits;
			run(&s, coded[i].name, ways[k].most, SIZE_MAX);
			CU_ASSERT_EQUAL(got.end, PULL_END);
			CU_ASSERT_EQUAL(how.end, DECODE_DONE);
			CU_ASSERT_EQUAL_FATAL(got.n, TEXT);
			CU_ASSERT_EQUAL(memcmp(got.p, text, TEXT), 0);
		}
	loop_free(&loop);
}

/* Ends early: for good, by its sender, by a damage, or nobody reads on. */
static void
test_ends(void)
{
	static struct coded bad;
	struct sender s;
	unsigned i;
	size_t k, n;

	loop = loop_new();
	make_all();
	for (i = 0; i < 300; i++) {
		k = unit_random(CODED);
		n = unit_random((unsigned)coded[k].n);
		s = sender_of(&coded[k], n);
		s.cut = i % 2 == 0;
		s.waits = i % 3 == 0;
		s.piece = i % 4 * 500;
		run(&s, coded[k].name, 0, SIZE_MAX);
		CU_ASSERT_EQUAL(got.end, s.cut ? PULL_CUT : PULL_END);
		CU_ASSERT(how.end == DECODE_DONE && got.n <= TEXT);
		CU_ASSERT_EQUAL(memcmp(got.p, text, got.n), 0);

		s = sender_of(&coded[k], coded[k].n);
		s.waits = i % 3 == 0;
		run(&s, coded[k].name, 0, unit_random(TEXT));
		CU_ASSERT_EQUAL(memcmp(got.p, text, got.n), 0);

		bad = coded[k];
		bad.p[n] ^= 1 + unit_random(255);
		s = sender_of(&bad, bad.n);
		run(&s, bad.name, 0, SIZE_MAX);
		CU_ASSERT_EQUAL(got.end, PULL_END);
		CU_ASSERT_NOT_EQUAL(how.end, DECODE_LARGE);
	}
	loop_free(&loop);
}

/* Behind the end comes what is no stream: it is not hidden. */
static void
test_behind(void)
{
	static struct coded c;
	struct sender s;

	loop = loop_new();
	make_all();
	c = coded[0];
	memcpy(c.p + c.n, "behind", 6);
	s = sender_of(&c, c.n + 6);
	s.piece = 1;
	run(&s, "gzip", 0, SIZE_MAX);
	CU_ASSERT_EQUAL(got.end, PULL_END);
	CU_ASSERT_EQUAL(how.end, DECODE_DONE);
	CU_ASSERT_EQUAL_FATAL(got.n, TEXT + 6);
	CU_ASSERT_EQUAL(memcmp(got.p + TEXT, "behind", 6), 0);
	s = sender_of(&c, 0);
	run(&s, "gzip", 0, SIZE_MAX);
	CU_ASSERT(got.end == PULL_END && got.n == 0);
	loop_free(&loop);
}

static void
test_broken(void)
{
	static struct coded c = { .p = "this is not what it says" };
	static const char *const names[] = { "gzip", "deflate", "br", "zstd",
		"gzip, zstd" };
	struct sender s;
	size_t i;

	loop = loop_new();
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		s = sender_of(&c, 24);
		run(&s, names[i], 0, SIZE_MAX);
		CU_ASSERT_EQUAL(got.end, PULL_END);
		CU_ASSERT_EQUAL(how.end, DECODE_BAD);
	}
	CU_ASSERT_EQUAL(how.coding, DECODE_ZSTD);
	loop_free(&loop);
}

/*
 * deflate that says one thing with a wrapper and another one without: what
 * most clients see is shown, and is not all.
 */
static void
test_ambiguous(void)
{
	static const unsigned char head[] = { 0x78, 0x9c, 0x00, 0x63, 0xff,
		0x9c, 0x00 },
				   tail[] = { 0x01, 0x00, 0x00, 0xff, 0xff };
	static struct coded c;
	uLong sum = adler32(0, NULL, 0);
	struct sender s;
	size_t n = 0xff63;
	unsigned i;

	loop = loop_new();
	memcpy(c.p, head, sizeof(head));
	memcpy(c.p + sizeof(head) + n, tail, sizeof(tail));
	sum = adler32(sum, c.p + sizeof(head), (uInt)n);
	c.n = sizeof(head) + n + sizeof(tail);
	for (i = 0; i < 4; i++)
		c.p[c.n++] = (unsigned char)(sum >> (24 - 8 * i));
	s = sender_of(&c, c.n);
	s.piece = 1;
	run(&s, "deflate", 0, SIZE_MAX);
	CU_ASSERT(got.end == PULL_END && got.n == n);
	CU_ASSERT_EQUAL(how.end, DECODE_BAD);
	c.p[3] ^= 1; /* control: the other reading fails at once */
	c.p[5] ^= 1;
	c.p[sizeof(head) + n - 1] = 0;
	s = sender_of(&c, c.n);
	run(&s, "deflate", 0, 100);
	CU_ASSERT(how.end == DECODE_DONE && got.n >= 100);
	loop_free(&loop);
}

UNIT_TESTS(scanners_decode_body, { "any split, any reader", test_splits },
    { "ends before the end", test_ends },
    { "bytes behind the end", test_behind },
    { "what is no such coding", test_broken },
    { "deflate that can be read in two ways", test_ambiguous })
