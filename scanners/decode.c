/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content codings, see decode.h: a table of codecs and one loop. */
#define ZLIB_CONST
#include <brotli/decode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "http/chars.h"
#include "scanners/decode.h"

#define BLOCK 65536		/* bytes read or written at once */
#define MAX_RATIO 2000		/* over deflate's 1032: only bombs get there */
#define FREE_BYTES (1 << 20)	/* no ratio asked below that */
#define WINDOW_LOG 23		/* RFC 9659 3: 8 MB; a larger one eats memory */

enum step {
	STEP_GO,	/* took input or gave output, or wants more of them */
	STEP_END,	/* the coded stream ends here */
	STEP_BAD
};

/* Moved by each step. */
struct io {
	const unsigned char *in;
	size_t in_n;
	unsigned char *out;
	size_t out_n;
};

struct codec {
	struct str name, alias;
	void *(*open)(const unsigned char *head, size_t n);
	enum step (*step)(void *state, struct io *io);
	/* There is input behind the end: is it another stream?  NULL: never. */
	bool (*again)(void *state, const struct io *io);
	void (*close)(void *state);
};

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

static void
zlib_close(void *state)
{
	inflateEnd(state);
	free(state);
}

/* brotli */

static void *
br_open(const unsigned char *head, size_t n)
{
	(void)head;
	(void)n;
	return (BrotliDecoderCreateInstance(NULL, NULL, NULL));
}

static enum step
br_step(void *state, struct io *io)
{
	switch (BrotliDecoderDecompressStream(state, &io->in_n, &io->in,
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

static void
br_close(void *state)
{
	BrotliDecoderDestroyInstance(state);
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

static void
zstd_close(void *state)
{
	ZSTD_freeDCtx(state);
}

/*
 * aws-chunked: "SIZE[;chunk-signature=...]CRLF data CRLF" again and again, a
 * size of zero, trailers.  The signatures are the store's business.
 */

struct aws {
	enum { AWS_SIZE, AWS_EXT, AWS_DATA, AWS_AFTER } at;
	unsigned digits;	/* of the size */
	uint64_t left;		/* AWS_SIZE: the size so far; AWS_DATA: to come */
};

static void *
aws_open(const unsigned char *head, size_t n)
{
	(void)head;
	(void)n;
	return (calloc(1, sizeof(struct aws)));
}

static int
hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return (c - '0');
	c |= 0x20;
	return (c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1);
}

/* One byte that is no data. */
static enum step
aws_byte(struct aws *a, unsigned char c)
{
	int v = hex_value(c);

	if (a->at == AWS_AFTER) {
		if (c == '\n')
			a->at = AWS_SIZE;
		return (c == '\n' || c == '\r' ? STEP_GO : STEP_BAD);
	}
	if (a->at == AWS_SIZE && v >= 0 && ++a->digits <= 15) {
		a->left = a->left << 4 | (unsigned)v;
		return (STEP_GO);
	}
	if (a->at == AWS_SIZE && (a->digits == 0 || (c != ';' && c != '\r')))
		return (STEP_BAD);
	a->at = AWS_EXT;
	if (c != '\n')
		return (STEP_GO);
	a->at = AWS_DATA;
	a->digits = 0;
	return (a->left == 0 ? STEP_END : STEP_GO);
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

static const struct codec codecs[DECODE_CODINGS] = {
	[DECODE_GZIP] = { STR("gzip"), STR("x-gzip"), gzip_open, zlib_step,
	    gzip_again, zlib_close },
	[DECODE_DEFLATE] = { STR("deflate"), STR_NONE, deflate_open, zlib_step,
	    NULL, zlib_close },
	[DECODE_BR] = { STR("br"), STR_NONE, br_open, br_step, NULL,
	    br_close },
	[DECODE_ZSTD] = { STR("zstd"), STR_NONE, zstd_open, zstd_step,
	    zstd_again, zstd_close },
	[DECODE_AWS] = { STR("aws-chunked"), STR_NONE, aws_open, aws_step,
	    NULL, free },
};

/* Registered content codings that nobody opens here (IANA, RFC 9110 16.6.1). */
static const struct str closed[] = {
	STR("aes128gcm"), STR("compress"), STR("x-compress"), STR("dcb"),
	STR("dcz"), STR("exi"), STR("pack200-gzip"),
};

const char *
decode_name(enum decode_coding c)
{
	return (codecs[c].name.p);
}

static bool
is_closed(struct str name)
{
	size_t i;

	for (i = 0; i < sizeof(closed) / sizeof(closed[0]); i++)
		if (str_ieq(name, closed[i]))
			return (true);
	return (false);
}

static void
keep_name(char to[32], struct str name)
{
	if (to[0] == '\0')
		snprintf(to, 32, "%.*s", (int)(name.n < 31 ? name.n : 31),
		    name.p);
}

/* The object store takes its chunks off first. */
static void
list_append(struct decode_list *list, enum decode_coding c)
{
	unsigned n = list->n++;

	if (n > 0 && list->coding[n - 1] == DECODE_AWS) {
		list->coding[n] = DECODE_AWS;
		n--;
	}
	list->coding[n] = c;
}

/* DECODE_CODINGS: none that is opened here. */
static unsigned
coding_of(struct str name)
{
	unsigned c;

	for (c = 0; c < DECODE_CODINGS; c++)
		if (str_ieq(name, codecs[c].name) ||
		    str_ieq(name, codecs[c].alias))
			break;
	return (c);
}

static void
list_add_one(struct decode_list *list, struct str name)
{
	unsigned c = coding_of(name);

	if (str_ieq(name, STR("identity")))
		return;
	if (c < DECODE_CODINGS && list->n < DECODE_MAX)
		list_append(list, (enum decode_coding)c);
	else if (c < DECODE_CODINGS || is_closed(name))
		keep_name(list->unknown, name);
	else
		keep_name(list->ignored, name);
}

/* "x br", "br;q=1": some browsers take such words one by one, others do not. */
static void
list_add_words(struct decode_list *list, struct str words)
{
	struct str word = words;
	size_t n;

	for (; word.n > 0; word = (struct str){ word.p + n, word.n - n }) {
		n = http_span(word, CHAR_TOKEN);
		if (coding_of((struct str){ word.p, n }) < DECODE_CODINGS ||
		    is_closed((struct str){ word.p, n }))
			keep_name(list->unknown, words);
		n += n < word.n;
	}
	keep_name(list->ignored, words);
}

void
decode_list_add(struct decode_list *list, struct str value)
{
	struct str name;

	while (str_next_element(&value, &name))
		if (http_is_token(name))
			list_add_one(list, name);
		else
			list_add_words(list, name);
}

/* The loop. */

struct run {
	const struct codec *codec;
	void *state;
	const struct decode_input *in;
	uint64_t at;			/* next byte to read */
	struct io io;
	unsigned char from[BLOCK], to[BLOCK];
};

/* Read on when nothing is left over; false: that failed. */
static bool
run_fill(struct run *r)
{
	uint64_t left = r->in->length - r->at;
	size_t want = left < BLOCK ? (size_t)left : BLOCK, n = 0;
	ssize_t got;

	if (r->io.in_n > 0)
		return (true);
	for (; n < want; n += (size_t)got) {
		got = r->in->read(r->in->arg, r->from + n, want - n, r->at + n);
		if (got <= 0)
			return (false);
	}
	r->io.in = r->from;
	r->io.in_n = n;
	r->at += n;
	return (true);
}

static bool
is_large(uint64_t length, const struct decode_limits *l)
{
	return (length > l->max_bytes || (length > FREE_BYTES &&
	    length / MAX_RATIO > l->coded_bytes));
}

/* A stream has ended: another one behind it? */
static bool
run_again(struct run *r)
{
	return (r->codec->again != NULL && r->io.in_n > 0 &&
	    r->codec->again(r->state, &r->io));
}

/* Steps until an end; every turn takes input, gives output or leaves. */
static enum decode_end
run_loop(struct run *r, struct decode_store *out,
    const struct decode_limits *limits)
{
	enum step s;
	size_t had, made;

	for (;;) {
		if (limits->stop != NULL && limits->stop(limits->stop_arg))
			return (DECODE_STOPPED);
		if (!run_fill(r))
			return (DECODE_IO);
		r->io.out = r->to;
		r->io.out_n = BLOCK;
		had = r->io.in_n;
		s = r->codec->step(r->state, &r->io);
		made = BLOCK - r->io.out_n;
		if (!decode_store_add(out, r->to, made))
			return (DECODE_IO);
		if (is_large(out->length, limits))
			return (DECODE_LARGE);
		if (s == STEP_END && !run_fill(r))
			return (DECODE_IO);
		if (s == STEP_END && !run_again(r))
			return (DECODE_DONE);
		if (s == STEP_BAD)
			return (DECODE_BAD);
		if (s == STEP_GO && made == 0 && r->io.in_n == had)
			return (had == 0 ? DECODE_CUT : DECODE_BAD);
	}
}

enum decode_end
decode_run(enum decode_coding c, const struct decode_input *in,
    struct decode_store *out, const struct decode_limits *limits)
{
	struct run *r;
	enum decode_end end = DECODE_IO;

	if (in->length == 0)
		return (DECODE_DONE);
	r = malloc(sizeof(*r));
	if (r == NULL)
		return (DECODE_IO);
	r->codec = &codecs[c];
	r->in = in;
	r->at = 0;
	r->io = (struct io){ .in_n = 0 };
	if (run_fill(r) &&
	    (r->state = r->codec->open(r->io.in, r->io.in_n)) != NULL) {
		end = run_loop(r, out, limits);
		r->codec->close(r->state);
	}
	free(r);
	return (end);
}
