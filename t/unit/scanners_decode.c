/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content codings: every one whole, cut anywhere, damaged, too large. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "scanners/decode_live.h"
#include "t/unit/unit.h"

#define TEXT 150000 /* several blocks */

struct bytes {
	unsigned char *p;
	size_t n;
	size_t piece;   /* most that one read gives; 0: no limit */
	size_t fail_at; /* reads from here on fail; 0: never */
};

static struct bytes text;

static struct bytes
bytes_new(size_t cap)
{
	return ((struct bytes){ .p = malloc(cap), .n = 0 });
}

/* Compressible, not trivial. */
static void
make_text(void)
{
	size_t i;

	if (text.p != NULL)
		return;
	text = bytes_new(TEXT);
	text.n = TEXT;
	for (i = 0; i < TEXT; i++)
		text.p[i] = (unsigned char)("abcdefgh"[unit_random(8)]);
}

static struct bytes
zlib_of(const struct bytes *in, int window_bits)
{
	struct bytes out = bytes_new(in->n + in->n / 100 + 1000);
	z_stream z = { 0 };

	deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
	z.next_in = in->p;
	z.avail_in = (uInt)in->n;
	z.next_out = out.p;
	z.avail_out = (uInt)(in->n + in->n / 100 + 1000);
	deflate(&z, Z_FINISH);
	out.n = z.total_out;
	deflateEnd(&z);
	return (out);
}

static struct bytes
gzip_of(const struct bytes *in)
{
	return (zlib_of(in, 31));
}

static struct bytes
deflate_of(const struct bytes *in)
{
	return (zlib_of(in, 15));
}

static struct bytes
raw_deflate_of(const struct bytes *in)
{
	return (zlib_of(in, -15));
}

static struct bytes
zstd_of(const struct bytes *in)
{
	struct bytes out = bytes_new(ZSTD_compressBound(in->n));

	out.n = ZSTD_compress(out.p, ZSTD_compressBound(in->n), in->p, in->n,
	    3);
	return (out);
}

/* Uncompressed meta-blocks (RFC 7932 9.2), window 2^16. */
static struct bytes
br_of(const struct bytes *in)
{
	struct bytes out = bytes_new(in->n + in->n / 1000 + 100);
	unsigned long head;
	size_t at, n, bits;

	for (at = 0; at < in->n; at += n) {
		n = in->n - at < 60000 ? in->n - at : 60000;
		/* The stream's first block has WBITS in front: one bit, 0. */
		bits = at == 0 ? 1 : 0;
		head = (unsigned long)(n - 1) << (3 + bits) |
		    1UL << (19 + bits);
		out.p[out.n++] = (unsigned char)head;
		out.p[out.n++] = (unsigned char)(head >> 8);
		out.p[out.n++] = (unsigned char)(head >> 16);
		memcpy(out.p + out.n, in->p + at, n);
		out.n += n;
	}
	out.p[out.n++] = 3; /* last, empty */
	return (out);
}

/* Signed chunks of a kilobyte, as SDKs send them, and a trailer. */
static struct bytes
aws_of(const struct bytes *in)
{
	static const char sign[] = ";chunk-signature="
				   "0123456789abcdef0123456789abcdef0123456789a"
				   "bcdef0123456789abcdef";
	struct bytes out = bytes_new(in->n + (in->n / 1024 + 2) * 120 + 100);
	size_t at, n;

	for (at = 0;; at += n) {
		n = in->n - at < 1024 ? in->n - at : 1024;
		out.n += (size_t)sprintf((char *)out.p + out.n, "%zx%s\r\n", n,
		    sign);
		if (n == 0)
			break;
		memcpy(out.p + out.n, in->p + at, n);
		memcpy(out.p + out.n + n, "\r\n", 2);
		out.n += n + 2;
	}
	return (out);
}

static ssize_t
bytes_read(void *arg, void *p, size_t n, uint64_t at)
{
	struct bytes *b = arg;

	if (b->fail_at > 0 && at >= b->fail_at)
		return (-1);
	if (n > b->n - at)
		n = b->n - (size_t)at;
	if (b->piece > 0 && n > b->piece)
		n = b->piece;
	memcpy(p, b->p + at, n);
	return ((ssize_t)n);
}

static enum decode_end
decode(enum decode_coding c, struct bytes *in, struct decode_store *out,
    uint64_t max)
{
	struct decode_input input = { bytes_read, in, in->n };
	struct decode_limits l = { .max_bytes = max, .coded_bytes = in->n };

	decode_store_init(out, "/tmp");
	return (decode_run(c, &input, out, &l));
}

static bool
store_is(struct decode_store *s, const struct bytes *want, size_t n)
{
	unsigned char *p = malloc(n + 1);
	bool same = s->length == n &&
	    decode_store_read(s, p, n + 1, 0) == (ssize_t)n &&
	    memcmp(p, want->p, n) == 0;

	free(p);
	return (same);
}

static const struct {
	enum decode_coding coding;
	struct bytes (*make)(const struct bytes *);
} kinds[] = {
	{ DECODE_GZIP, gzip_of },
	{ DECODE_DEFLATE, deflate_of },
	{ DECODE_DEFLATE, raw_deflate_of },
	{ DECODE_BR, br_of },
	{ DECODE_ZSTD, zstd_of },
	{ DECODE_AWS, aws_of },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void
test_whole(void)
{
	static const size_t pieces[] = { 0, 1, 7, 4096 };
	struct decode_store out;
	struct bytes in;
	size_t k, i;

	make_text();
	for (k = 0; k < KINDS; k++) {
		in = kinds[k].make(&text);
		for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
			in.piece = pieces[i];
			CU_ASSERT_EQUAL(decode(kinds[k].coding, &in, &out,
					    TEXT),
			    DECODE_DONE);
			CU_ASSERT(store_is(&out, &text, TEXT));
			decode_store_fini(&out);
		}
		free(in.p);
	}
}

/* Cut anywhere: never whole, never corrupt, and what comes out is a true beginning. */
static void
test_cut(void)
{
	struct decode_store out;
	struct bytes in, small;
	enum decode_end end;
	size_t k, n, whole;

	make_text();
	small = (struct bytes){ .p = text.p, .n = 700 };
	for (k = 0; k < KINDS; k++) {
		in = kinds[k].make(&small);
		whole = in.n;
		for (n = 1; n < whole; n++) {
			in.n = n;
			end = decode(kinds[k].coding, &in, &out, TEXT);
			CU_ASSERT_EQUAL(end, DECODE_CUT);
			CU_ASSERT(store_is(&out, &text, (size_t)out.length));
			decode_store_fini(&out);
		}
		free(in.p);
	}
}

/* A flipped byte may go unnoticed by deflate and br, but nothing breaks. */
static void
test_damaged(void)
{
	struct decode_store out;
	struct bytes in, small;
	enum decode_end end;
	size_t k, i, at;

	make_text();
	small = (struct bytes){ .p = text.p, .n = 3000 };
	for (k = 0; k < KINDS; k++) {
		in = kinds[k].make(&small);
		for (i = 0; i < 500; i++) {
			at = unit_random((unsigned)in.n);
			in.p[at] ^= (unsigned char)(1 << unit_random(8));
			end = decode(kinds[k].coding, &in, &out, TEXT);
			CU_ASSERT(end != DECODE_STOPPED && end != DECODE_IO);
			decode_store_fini(&out);
		}
		free(in.p);
	}
}

/* The lines between chunks hide nothing from those who take them for content. */
static void
test_aws_lines(void)
{
	static const struct {
		const char *body;
		enum decode_end end;
	} t[] = {
		{ "1\r\nx\r\n0\r\n\r\n", DECODE_DONE },
		{ "1;chunk-signature=0aF**\r\nx\r\n0\r\n\r\n", DECODE_DONE },
		{ "1;chunk-signature=\r\nx\r\n0\r\n\r\n", DECODE_DONE },
		{ "1;chunk-signature=g\r\nx\r\n0\r\n\r\n", DECODE_BAD },
		{ "1;chunk-signatur\r\nx\r\n0\r\n\r\n", DECODE_BAD },
		{ "1;a=0\r\nx\r\n0\r\n\r\n", DECODE_BAD },
		{ "1;\r\nx\r\n0\r\n\r\n", DECODE_BAD },
		{ "1 \r\nx\r\n0\r\n\r\n", DECODE_BAD },
		{ "1\nx\r\n0\r\n\r\n", DECODE_BAD },
		{ "1\r\r\nx\r\n0\r\n\r\n", DECODE_BAD },
		{ "\r\nx\r\n0\r\n\r\n", DECODE_BAD },
	};
	struct decode_store out;
	struct bytes in;
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		in = (struct bytes){ .n = strlen(t[i].body),
			.p = (unsigned char *)strdup(t[i].body) };
		CU_ASSERT_EQUAL(decode(DECODE_AWS, &in, &out, TEXT), t[i].end);
		decode_store_fini(&out);
		free(in.p);
	}
}

static void
test_limit(void)
{
	struct decode_store out;
	struct bytes in;
	size_t k;

	make_text();
	for (k = 0; k < KINDS; k++) {
		in = kinds[k].make(&text);
		CU_ASSERT_EQUAL(decode(kinds[k].coding, &in, &out, TEXT - 1),
		    DECODE_LARGE);
		decode_store_fini(&out);
		free(in.p);
	}
}

/* 100 MB of zeros in some KB of zstd: the ratio says no long before. */
static void
test_ratio(void)
{
	struct bytes zeros = { .p = calloc(1, 100 << 20), .n = 100 << 20 };
	struct decode_store out;
	struct bytes in = zstd_of(&zeros);

	CU_ASSERT_EQUAL(decode(DECODE_ZSTD, &in, &out, UINT64_MAX),
	    DECODE_LARGE);
	CU_ASSERT(out.length < 100 << 20);
	decode_store_fini(&out);
	free(in.p);
	in = gzip_of(&zeros); /* its own ratio is never a reason */
	CU_ASSERT_EQUAL(decode(DECODE_GZIP, &in, &out, UINT64_MAX),
	    DECODE_DONE);
	CU_ASSERT(out.fd >= 0);
	CU_ASSERT(store_is(&out, &zeros, zeros.n));
	decode_store_fini(&out);
	free(in.p);
	free(zeros.p);
}

/*
 * Members and frames behind each other, at every distance from a block's end;
 * of gzip zero bytes may stand between them, or at the end.
 */
static void
test_concatenated(void)
{
	struct bytes (*const make[])(
	    const struct bytes *) = { gzip_of, zstd_of };
	const enum decode_coding coding[] = { DECODE_GZIP, DECODE_ZSTD };
	const size_t pads[] = { 0, 1, 70000 };
	struct bytes a, b, in, half;
	struct decode_store out;
	unsigned i, k, piece;
	size_t pad;

	make_text();
	half = (struct bytes){ .p = text.p + TEXT / 2, .n = TEXT / 2 };
	for (i = 0; i < 4; i++) {
		k = i == 3;
		pad = k == 0 ? pads[i] : 0;
		half.p = text.p;
		a = make[k](&half);
		half.p = text.p + TEXT / 2;
		b = make[k](&half);
		in = bytes_new(a.n + b.n + 2 * pad);
		memset(in.p, 0, a.n + b.n + 2 * pad);
		memcpy(in.p, a.p, a.n);
		memcpy(in.p + a.n + pad, b.p, b.n);
		in.n = a.n + b.n + 2 * pad;
		for (piece = 0; piece < 3; piece++) {
			in.piece = piece == 2 ? a.n : piece;
			CU_ASSERT_EQUAL(decode(coding[k], &in, &out, TEXT),
			    DECODE_DONE);
			CU_ASSERT(store_is(&out, &text, TEXT));
			decode_store_fini(&out);
		}
		free(a.p);
		free(b.p);
		free(in.p);
	}
}

static void
test_trouble(void)
{
	struct decode_limits l = { .max_bytes = TEXT };
	struct decode_store out;
	struct decode_input none = { bytes_read, NULL, 0 };
	/* A window size that no stream may have (RFC 7932 9.1). */
	unsigned char window[] = { 0x11, 0, 0, 0 };
	struct bytes in, bad = { .p = window, .n = sizeof window };

	make_text();
	in = gzip_of(&text);
	in.piece = 100;
	in.fail_at = 500;
	CU_ASSERT_EQUAL(decode(DECODE_GZIP, &in, &out, TEXT), DECODE_IO);
	decode_store_fini(&out);
	free(in.p);
	decode_store_init(&out, "/nonexistent");
	CU_ASSERT_EQUAL(decode_run(DECODE_BR, &none, &out, &l), DECODE_DONE);
	CU_ASSERT_EQUAL(out.length, 0);
	CU_ASSERT_EQUAL(decode_run(DECODE_BR,
			    &(struct decode_input){ bytes_read, &bad, bad.n },
			    &out, &l),
	    DECODE_BAD);
	decode_store_fini(&out);
}

static void
test_no_file(void)
{
	struct bytes zeros = { .p = calloc(1, 3 << 20), .n = 3 << 20 };
	struct bytes in = deflate_of(&zeros);
	struct decode_input input = { bytes_read, &in, in.n };
	struct decode_limits l = { .max_bytes = 4 << 20, .coded_bytes = in.n };
	struct decode_store out;

	decode_store_init(&out, "/nonexistent");
	CU_ASSERT_EQUAL(decode_run(DECODE_DEFLATE, &input, &out, &l),
	    DECODE_IO);
	decode_store_fini(&out);
	free(in.p);
	free(zeros.p);
}

static bool
stop_now(void *arg)
{
	return (--*(int *)arg < 0);
}

static void
test_stopped(void)
{
	struct bytes in;
	struct decode_store out;
	struct decode_limits l = { .max_bytes = TEXT, .stop = stop_now };
	int turns = 2;

	make_text();
	in = br_of(&text);
	l.coded_bytes = in.n;
	l.stop_arg = &turns;
	decode_store_init(&out, "/tmp");
	CU_ASSERT_EQUAL(decode_run(DECODE_BR,
			    &(struct decode_input){ bytes_read, &in, in.n },
			    &out, &l),
	    DECODE_STOPPED);
	decode_store_fini(&out);
	free(in.p);
}

struct live {
	struct decode_live *d;
	struct bytes out;
	size_t most; /* more is not wanted; 0: no limit */
};

static bool
live_out(void *arg, const unsigned char *p, size_t n)
{
	struct live *l = arg;

	if (l->most != 0 && l->out.n + n > l->most)
		return (false);
	if (l->out.p != NULL)
		memcpy(l->out.p + l->out.n, p, n);
	l->out.n += n;
	return (true);
}

/* in, so many bytes at once; how many went in before it said no. */
static size_t
live_feed(struct live *l, const struct bytes *in, size_t piece)
{
	size_t at, n;

	for (at = 0; at < in->n; at += n) {
		n = in->n - at < piece ? in->n - at : piece;
		if (!decode_live_feed(l->d, in->p + at, n, live_out, l))
			break;
	}
	return (at);
}

static void
test_live(void)
{
	static const struct {
		struct bytes (*make)(const struct bytes *);
		enum decode_coding coding;
		bool again;
	} t[] = {
		{ gzip_of, DECODE_GZIP, true },
		{ deflate_of, DECODE_DEFLATE, false },
		{ raw_deflate_of, DECODE_DEFLATE, false },
		{ br_of, DECODE_BR, false },
		{ zstd_of, DECODE_ZSTD, true },
	};
	struct budget *b = budget_new();
	struct account *a = account_open(b, 1);
	struct live l = { .out = bytes_new(2 * TEXT) };
	struct bytes in;
	size_t i, piece;

	make_text();
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		in = t[i].make(&text);
		for (piece = 1; piece < 100000; piece *= 7) {
			l.d = decode_live_new(t[i].coding, a);
			l.out.n = 0;
			CU_ASSERT_EQUAL(live_feed(&l, &in, piece), in.n);
			CU_ASSERT(l.out.n == TEXT &&
			    memcmp(l.out.p, text.p, TEXT) == 0);
			CU_ASSERT(account_used(a, BUDGET_MEMORY) > 0);
			/* Behind the end: another one, where clients take it. */
			CU_ASSERT(
			    (live_feed(&l, &in, piece) == in.n) == t[i].again);
			CU_ASSERT_EQUAL(l.out.n, (t[i].again ? 2 : 1) * TEXT);
			decode_live_free(&l.d);
			CU_ASSERT_EQUAL(account_used(a, BUDGET_MEMORY), 0);
		}
		free(in.p);
	}
	free(l.out.p);
	account_unref(&a);
	budget_free(&b);
}

/* Deflate that clients read in two ways. */
static void
test_live_ambiguous(void)
{
	static const unsigned char both[] = { 0x78, 0x01, 0, 0xfe, 0xff, 'x' },
				   odd[] = { 0x78, 0x02, 0, 0xfd, 0xff, 'x',
					   'y' };
	struct live l = { .d = decode_live_new(DECODE_DEFLATE, NULL) };

	CU_ASSERT_FALSE(
	    decode_live_feed(l.d, both, sizeof(both), live_out, &l));
	decode_live_free(&l.d);
	l.d = decode_live_new(DECODE_DEFLATE, NULL);
	CU_ASSERT_FALSE(decode_live_feed(l.d, odd, sizeof(odd), live_out, &l));
	CU_ASSERT_EQUAL(l.out.n, 0);
	decode_live_free(&l.d);
}

/* A bomb is little work; who says no is not asked again. */
static void
test_live_limits(void)
{
	struct bytes zeros = { .p = calloc(1, 64 << 20), .n = 64 << 20 };
	struct bytes in = gzip_of(&zeros);
	struct live l = { .d = decode_live_new(DECODE_GZIP, NULL) };

	CU_ASSERT(live_feed(&l, &in, 1000) < in.n);
	CU_ASSERT(l.out.n < 3 << 20);
	CU_ASSERT_FALSE(decode_live_feed(l.d, "x", 1, live_out, &l));
	decode_live_free(&l.d);
	l = (struct live){ .d = decode_live_new(DECODE_GZIP, NULL),
		.most = 1000 };
	CU_ASSERT(live_feed(&l, &in, in.n) == 0 && l.out.n <= 1000);
	decode_live_free(&l.d);
	free(in.p);
	free(zeros.p);
}

static void
test_lists(void)
{
	static const struct {
		const char *value;
		unsigned n;
		const char *unknown, *ignored;
		enum decode_coding last;
	} t[] = {
		{ "", 0, "", "", 0 },
		{ "identity", 0, "", "", 0 },
		{ " , identity,", 0, "", "", 0 },
		{ "GZip", 1, "", "", DECODE_GZIP },
		{ "x-gzip", 1, "", "", DECODE_GZIP },
		{ "gzip, br", 2, "", "", DECODE_BR },
		{ "deflate , identity,zstd", 2, "", "", DECODE_ZSTD },
		{ "compress", 0, "compress", "", 0 },
		{ "br, aws-chunked", 2, "", "", DECODE_AWS },
		{ "AWS-chunked, gzip", 2, "", "", DECODE_AWS },
		{ "none", 0, "", "none", 0 },
		{ "gzip, utf-8, binary", 1, "", "utf-8", DECODE_GZIP },
		{ "aes128gcm, snappy", 0, "aes128gcm", "snappy", 0 },
		{ "br,br,br,br,gzip", 4, "gzip", "", DECODE_BR },
		/* elements that browsers take apart */
		{ "x br", 0, "x br", "x br", 0 },
		{ "gzip;q=1", 0, "gzip;q=1", "gzip;q=1", 0 },
		{ "gzip, none compress", 1, "none compress", "none compress",
		    DECODE_GZIP },
		{ "x y", 0, "", "x y", 0 },
		{ "x  y;", 0, "", "x  y;", 0 },
	};
	struct decode_list list;
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		memset(&list, 0, sizeof(list));
		decode_list_add(&list, str_of(t[i].value));
		CU_ASSERT_EQUAL(list.n, t[i].n);
		CU_ASSERT_STRING_EQUAL(list.unknown, t[i].unknown);
		CU_ASSERT_STRING_EQUAL(list.ignored, t[i].ignored);
		CU_ASSERT_EQUAL(decode_list_is_clear(&list),
		    list.n == 0
			? t[i].unknown[0] == '\0'
			: t[i].unknown[0] == '\0' && t[i].ignored[0] == '\0');
		if (list.n > 0)
			CU_ASSERT_EQUAL(list.coding[list.n - 1], t[i].last);
	}
	CU_ASSERT_STRING_EQUAL(decode_name(DECODE_ZSTD), "zstd");
}

UNIT_TESTS(scanners_decode, { "whole, in pieces", test_whole },
    { "cut anywhere", test_cut }, { "damaged anywhere", test_damaged },
    { "size limit", test_limit }, { "ratio limit", test_ratio },
    { "concatenated streams", test_concatenated },
    { "read errors", test_trouble }, { "no room for a file", test_no_file },
    { "stopped", test_stopped }, { "lines of aws-chunked", test_aws_lines },
    { "as it comes", test_live },
    { "as it comes: read in two ways", test_live_ambiguous },
    { "as it comes: limits", test_live_limits },
    { "lists of codings", test_lists })
