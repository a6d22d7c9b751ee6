/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Codecs of content codings, see codec.h. */
#define ZLIB_CONST
#include <brotli/decode.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "http/chars.h"
#include "scanners/codec.h"

#define WINDOW_LOG 23 /* RFC 9659 3: 8 MB; a larger one eats memory */

/* zlib, three ways. */

static z_stream *
zlib_open(int window_bits)
{
	z_stream *z = calloc(1, sizeof(*z));

	if (z != NULL && inflateInit2(z, window_bits) != Z_OK) {
		free(z);
		return (NULL);
	}
	return (z);
}

static void *
gzip_open(const unsigned char *head, size_t n)
{
	(void)head;
	(void)n;
	return (zlib_open(MAX_WBITS + 16));
}

/* RFC 1950 2.2: does it begin with CMF and FLG? */
static bool
has_zlib_head(const unsigned char *p, size_t n)
{
	return (n >= 2 && (p[0] & 15) == 8 && p[0] >> 4 <= 7 &&
	    (p[0] << 8 | p[1]) % 31 == 0);
}

static void *
deflate_open(const unsigned char *head, size_t n)
{
	return (zlib_open(has_zlib_head(head, n) ? MAX_WBITS : -MAX_WBITS));
}

static void *
raw_open(const unsigned char *head, size_t n)
{
	(void)head;
	(void)n;
	return (zlib_open(-MAX_WBITS));
}

static enum step
zlib_step(void *state, struct io *io)
{
	z_stream *z = state;
	int r;

	z->next_in = io->in;
	z->avail_in = (uInt)io->in_n;
	z->next_out = io->out;
	z->avail_out = (uInt)io->out_n;
	r = inflate(z, Z_NO_FLUSH);
	io->in = z->next_in;
	io->in_n = z->avail_in;
	io->out = z->next_out;
	io->out_n = z->avail_out;
	if (r == Z_STREAM_END)
		return (STEP_END);
	return (r == Z_OK || r == Z_BUF_ERROR ? STEP_GO : STEP_BAD);
}

/* RFC 1952 2.2: members may follow each other. */
static bool
gzip_again(void *state, const struct io *io)
{
	return (io->in[0] == 0x1f && inflateReset(state) == Z_OK);
}

/* zlib(3): a window of 32 KB and about 10 KB beside it. */
static size_t
zlib_bytes(void *state)
{
	(void)state;
	return (44 << 10);
}

static void
zlib_close(void *state)
{
	inflateEnd(state);
	free(state);
}

/* brotli; it says what memory it has only where that is asked of it. */

#define BR_HEAD 16 /* in front of each piece: its size */

struct br {
	BrotliDecoderState *d;
	size_t bytes;
};

static void *
br_alloc(void *opaque, size_t n)
{
	struct br *b = opaque;
	size_t *p = malloc(n + BR_HEAD);

	if (p == NULL)
		return (NULL);
	*p = n + BR_HEAD;
	b->bytes += *p;
	return ((char *)p + BR_HEAD);
}

static void
br_free(void *opaque, void *at)
{
	struct br *b = opaque;
	size_t *p;

	if (at == NULL)
		return;
	p = (size_t *)(void *)((char *)at - BR_HEAD);
	b->bytes -= *p;
	free(p);
}

static void *
br_open(const unsigned char *head, size_t n)
{
	struct br *b = calloc(1, sizeof(*b));

	(void)head;
	(void)n;
	if (b != NULL)
		b->d = BrotliDecoderCreateInstance(br_alloc, br_free, b);
	if (b != NULL && b->d == NULL) {
		free(b);
		return (NULL);
	}
	return (b);
}

static enum step
br_step(void *state, struct io *io)
{
	struct br *b = state;

	switch (BrotliDecoderDecompressStream(b->d, &io->in_n, &io->in,
	    &io->out_n, &io->out, NULL)) {
	case BROTLI_DECODER_RESULT_SUCCESS:
		return (STEP_END);
	case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
	case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
		return (STEP_GO);
	case BROTLI_DECODER_RESULT_ERROR:
		break;
	}
	return (STEP_BAD);
}

static size_t
br_bytes(void *state)
{
	return (((struct br *)state)->bytes);
}

static void
br_close(void *state)
{
	struct br *b = state;

	BrotliDecoderDestroyInstance(b->d);
	free(b);
}

/* zstd */

static void *
zstd_open(const unsigned char *head, size_t n)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();

	(void)head;
	(void)n;
	if (d != NULL)
		ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, WINDOW_LOG);
	return (d);
}

static enum step
zstd_step(void *state, struct io *io)
{
	ZSTD_inBuffer in = { io->in, io->in_n, 0 };
	ZSTD_outBuffer out = { io->out, io->out_n, 0 };
	size_t r = ZSTD_decompressStream(state, &out, &in);

	io->in += in.pos;
	io->in_n -= in.pos;
	io->out += out.pos;
	io->out_n -= out.pos;
	if (ZSTD_isError(r))
		return (STEP_BAD);
	return (r == 0 ? STEP_END : STEP_GO);
}

/* RFC 8878 3.1: frames may follow each other. */
static bool
zstd_again(void *state, const struct io *io)
{
	(void)state;
	return (io->in_n > 0);
}

static size_t
zstd_bytes(void *state)
{
	return (ZSTD_sizeof_DCtx(state));
}

static void
zstd_close(void *state)
{
	ZSTD_freeDCtx(state);
}

/*
 * aws-chunked: "SIZE[;chunk-signature=...]CRLF data CRLF" again and again, a
 * size of zero, trailers.  The signatures are the store's business, but they
 * are signatures: who knows nothing of chunks takes these lines for content.
 */

static const struct str aws_sign = STR(";chunk-signature=");

struct aws {
	enum { AWS_SIZE, AWS_EXT, AWS_LF, AWS_DATA, AWS_AFTER } at;
	unsigned digits; /* of the size */
	size_t signs;    /* bytes of aws_sign so far */
	uint64_t left;   /* AWS_SIZE: the size so far; AWS_DATA: to come */
};

static void *
aws_open(const unsigned char *head, size_t n)
{
	(void)head;
	(void)n;
	return (calloc(1, sizeof(struct aws)));
}

/* Behind the size: nothing, or a signature (in version 4A padded with stars). */
static enum step
aws_ext(struct aws *a, unsigned char c)
{
	if (c == '\r') {
		a->at = AWS_LF;
		return (a->signs == 0 || a->signs == aws_sign.n ? STEP_GO
								: STEP_BAD);
	}
	if (a->signs < aws_sign.n)
		return (c == (unsigned char)aws_sign.p[a->signs++] ? STEP_GO
								   : STEP_BAD);
	return (http_hex((char)c) >= 0 || c == '*' ? STEP_GO : STEP_BAD);
}

/* One byte that is no data. */
static enum step
aws_byte(struct aws *a, unsigned char c)
{
	int v = http_hex((char)c);

	if (a->at == AWS_AFTER) {
		if (c == '\n')
			a->at = AWS_SIZE;
		return (c == '\n' || c == '\r' ? STEP_GO : STEP_BAD);
	}
	if (a->at == AWS_SIZE && v >= 0 && ++a->digits <= 15) {
		a->left = a->left << 4 | (unsigned)v;
		return (STEP_GO);
	}
	if (a->at == AWS_SIZE && a->digits == 0)
		return (STEP_BAD);
	if (a->at != AWS_LF) {
		a->at = AWS_EXT;
		return (aws_ext(a, c));
	}
	a->at = AWS_DATA;
	a->digits = 0;
	a->signs = 0;
	return (c != '\n' ? STEP_BAD : a->left == 0 ? STEP_END : STEP_GO);
}

static void
aws_data(struct aws *a, struct io *io)
{
	size_t n = io->in_n < io->out_n ? io->in_n : io->out_n;

	if (n > a->left)
		n = (size_t)a->left;
	memcpy(io->out, io->in, n);
	io->in += n;
	io->in_n -= n;
	io->out += n;
	io->out_n -= n;
	a->left -= n;
	if (a->left == 0)
		a->at = AWS_AFTER;
}

static enum step
aws_step(void *state, struct io *io)
{
	struct aws *a = state;
	enum step s = STEP_GO;

	while (s == STEP_GO && io->in_n > 0 && io->out_n > 0) {
		if (a->at == AWS_DATA) {
			aws_data(a, io);
			continue;
		}
		s = aws_byte(a, *io->in++);
		io->in_n--;
	}
	return (s);
}

static size_t
aws_bytes(void *state)
{
	(void)state;
	return (sizeof(struct aws));
}

const struct codec codecs[DECODE_CODINGS] = {
	[DECODE_GZIP] = { STR("gzip"), STR("x-gzip"), gzip_open, zlib_step,
	    gzip_again, zlib_bytes, zlib_close },
	[DECODE_DEFLATE] = { STR("deflate"), STR_NONE, deflate_open, zlib_step,
	    NULL, zlib_bytes, zlib_close },
	[DECODE_BR] = { STR("br"), STR_NONE, br_open, br_step, NULL, br_bytes,
	    br_close },
	[DECODE_ZSTD] = { STR("zstd"), STR_NONE, zstd_open, zstd_step,
	    zstd_again, zstd_bytes, zstd_close },
	[DECODE_AWS] = { STR("aws-chunked"), STR_NONE, aws_open, aws_step, NULL,
	    aws_bytes, free },
	[DECODE_RAW] = { STR("deflate"), STR_NONE, raw_open, zlib_step, NULL,
	    zlib_bytes, zlib_close },
};
