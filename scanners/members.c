/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several compressed streams in one file, see members.h. */
#define ZLIB_CONST
#include <bzlib.h>
#include <limits.h>
#include <string.h>
#include <zlib.h>
#include "scanners/members.h"

#define BLOCK 65536
#define GZIP_MIN 20    /* bytes of a member: head, an empty block, tail */
#define BZIP2_MIN 14   /* of a stream without a block */
#define FLAG_HCRC 0x02 /* RFC 1952 2.3.1 */
#define FLAG_EXTRA 0x04
#define FLAG_NAME 0x08
#define FLAG_COMMENT 0x10
#define FLAG_RESERVED 0xe0

/* A file that is being taken apart. */
struct walk {
	const unsigned char *p;
	size_t n, at;
	struct decode_store *out;
	const struct decode_limits *limits;
	unsigned char to[BLOCK];
};

static bool
is_gzip(const unsigned char *p, size_t n)
{
	return (n >= 10 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8);
}

/* "BZh", a level, and how the first block or the end begins. */
static bool
is_bzip2(const unsigned char *p, size_t n)
{
	return (n >= 10 && memcmp(p, "BZh", 3) == 0 && p[3] >= '1' &&
	    p[3] <= '9' &&
	    (memcmp(p + 4, "\x31\x41\x59\x26\x53\x59", 6) == 0 ||
		memcmp(p + 4, "\x17\x72\x45\x38\x50\x90", 6) == 0));
}

/* Does another one begin somewhere behind the first from bytes? */
static bool
has_more(const unsigned char *p, size_t n, size_t from,
    bool (*is)(const unsigned char *, size_t), size_t magic)
{
	const unsigned char *q;

	while (n > from && (q = memmem(p + from, n - from, p, magic)) != NULL) {
		from = (size_t)(q - p);
		if (is(q, n - from))
			return (true);
		from++;
	}
	return (false);
}

enum members
members_of(const unsigned char *p, size_t n)
{
	if (is_gzip(p, n) &&
	    ((p[3] & (FLAG_HCRC | FLAG_RESERVED)) != 0 ||
		has_more(p, n, GZIP_MIN, is_gzip, 3)))
		return (MEMBERS_GZIP);
	return (is_bzip2(p, n) && has_more(p, n, BZIP2_MIN, is_bzip2, 3)
		? MEMBERS_BZIP2
		: MEMBERS_NONE);
}

/* Take m bytes of output; DECODE_DONE: go on. */
static enum decode_end
took(struct walk *w, size_t m)
{
	const struct decode_limits *l = w->limits;

	if (l->stop != NULL && l->stop(l->stop_arg))
		return (DECODE_STOPPED);
	if (!decode_store_add(w->out, w->to, m))
		return (DECODE_IO);
	return (w->out->length > l->max_bytes ? DECODE_LARGE : DECODE_DONE);
}

static size_t
left_of(const struct walk *w)
{
	return (w->n - w->at);
}

/* --- gzip --- */

static void
skip_text(struct walk *w)
{
	const unsigned char *nul = memchr(w->p + w->at, 0, left_of(w));

	w->at = nul != NULL ? (size_t)(nul - w->p) + 1 : w->n;
}

/* Over a head, whatever it says; true: zlib may refuse it. */
static bool
gzip_head(struct walk *w)
{
	unsigned flags = w->p[w->at + 3];
	size_t n;

	w->at += 10;
	if ((flags & FLAG_EXTRA) != 0 && left_of(w) >= 2) {
		n = 2 + (size_t)w->p[w->at] + ((size_t)w->p[w->at + 1] << 8);
		w->at += n < left_of(w) ? n : left_of(w);
	}
	if ((flags & FLAG_NAME) != 0)
		skip_text(w);
	if ((flags & FLAG_COMMENT) != 0)
		skip_text(w);
	if ((flags & FLAG_HCRC) != 0)
		w->at += left_of(w) < 2 ? left_of(w) : 2;
	return ((flags & (FLAG_HCRC | FLAG_RESERVED)) != 0);
}

/* The deflated bytes; *crc is of what is in them. */
static enum decode_end
gzip_data(struct walk *w, z_stream *z, unsigned long *crc)
{
	enum decode_end end = DECODE_DONE;
	int r = Z_OK;
	size_t m, in;

	*crc = crc32(0, NULL, 0);
	while (r == Z_OK && end == DECODE_DONE) {
		in = left_of(w) < UINT_MAX ? left_of(w) : UINT_MAX;
		z->next_in = w->p + w->at;
		z->avail_in = (uInt)in;
		z->next_out = w->to;
		z->avail_out = BLOCK;
		r = inflate(z, Z_NO_FLUSH);
		w->at += in - z->avail_in;
		m = BLOCK - z->avail_out;
		*crc = crc32(*crc, w->to, (uInt)m);
		end = took(w, m);
	}
	return (end == DECODE_DONE && r != Z_STREAM_END ? DECODE_CUT : end);
}

/* Over the checksum and the length: is the first right? */
static bool
gzip_tail(struct walk *w, unsigned long crc)
{
	const unsigned char *p = w->p + w->at;
	size_t n = left_of(w) < 8 ? left_of(w) : 8;

	w->at += n;
	return (n == 8 &&
	    (p[0] | (unsigned long)p[1] << 8 | (unsigned long)p[2] << 16 |
		(unsigned long)p[3] << 24) == crc);
}

static enum decode_end
gzip_walk(struct walk *w, z_stream *z, bool *more)
{
	enum decode_end end = DECODE_DONE;
	unsigned long crc;
	bool hidden = false;

	while (end == DECODE_DONE && is_gzip(w->p + w->at, left_of(w))) {
		hidden = gzip_head(w) || hidden;
		*more = *more || hidden;
		end = gzip_data(w, z, &crc);
		if (end != DECODE_DONE || inflateReset(z) != Z_OK)
			break;
		hidden = !gzip_tail(w, crc) || hidden;
		for (; left_of(w) > 0 && w->p[w->at] == 0; w->at++)
			hidden = true;
	}
	return (end);
}

static enum decode_end
gzip_open(struct walk *w, bool *more)
{
	z_stream z = { .zalloc = NULL };
	enum decode_end end;

	if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
		return (DECODE_IO);
	end = gzip_walk(w, &z, more);
	inflateEnd(&z);
	return (end);
}

/* --- bzip2 --- */

static enum decode_end
bzip2_stream(struct walk *w)
{
	bz_stream z = { .bzalloc = NULL };
	enum decode_end end = DECODE_DONE;
	int r = BZ_OK;
	size_t in;

	if (BZ2_bzDecompressInit(&z, 0, 0) != BZ_OK)
		return (DECODE_IO);
	while (r == BZ_OK && end == DECODE_DONE) {
		in = left_of(w) < BLOCK ? left_of(w) : BLOCK;
		/* it only reads */
		z.next_in = (char *)(uintptr_t)(w->p + w->at);
		z.avail_in = (unsigned)in;
		z.next_out = (char *)w->to;
		z.avail_out = BLOCK;
		r = BZ2_bzDecompress(&z);
		w->at += in - z.avail_in;
		if (r == BZ_OK && in == z.avail_in && z.avail_out == BLOCK)
			r = BZ_UNEXPECTED_EOF;
		end = took(w, BLOCK - z.avail_out);
	}
	BZ2_bzDecompressEnd(&z);
	return (end == DECODE_DONE && r != BZ_STREAM_END ? DECODE_CUT : end);
}

static enum decode_end
bzip2_open(struct walk *w, bool *more)
{
	enum decode_end end = DECODE_DONE;

	while (end == DECODE_DONE && is_bzip2(w->p + w->at, left_of(w))) {
		*more = w->at > 0;
		end = bzip2_stream(w);
	}
	return (end);
}

enum decode_end
members_open(enum members what, const unsigned char *p, size_t n,
    struct decode_store *out, const struct decode_limits *limits, bool *more)
{
	struct walk w = { .p = p, .n = n, .out = out, .limits = limits };

	*more = false;
	return (
	    what == MEMBERS_GZIP ? gzip_open(&w, more) : bzip2_open(&w, more));
}
