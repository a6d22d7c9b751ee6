/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content codings, see decode.h: lists and one loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "http/chars.h"
#include "scanners/codec.h"

#define BLOCK 65536          /* bytes read or written at once */
#define MAX_RATIO 2000       /* over deflate's 1032: only bombs get there */
#define FREE_BYTES (1 << 20) /* no ratio asked below that */

/* Registered content codings that nobody opens here (IANA, RFC 9110 16.6.1). */
static const struct str closed[] = {
	STR("aes128gcm"),
	STR("compress"),
	STR("x-compress"),
	STR("dcb"),
	STR("dcz"),
	STR("exi"),
	STR("pack200-gzip"),
};

const char *
decode_name(enum decode_coding c)
{
	return (codecs[c].name.p);
}

static bool
is_closed(struct str name)
{
	return (str_ione_of(name, closed, sizeof(closed) / sizeof(closed[0])));
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

	for (c = 0; c < DECODE_RAW && name.n > 0; c++)
		if (str_ieq(name, codecs[c].name) ||
		    str_ieq(name, codecs[c].alias))
			return (c);
	return (DECODE_CODINGS);
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

bool
decode_list_is_clear(const struct decode_list *list)
{
	return (list->unknown[0] == '\0' &&
	    (list->n == 0 || list->ignored[0] == '\0'));
}

/* The loop. */

struct run {
	const struct codec *codec;
	enum decode_coding coding;
	void *state;
	const struct decode_input *in;
	uint64_t at; /* next byte to read */
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
	return (length > l->max_bytes ||
	    (length > FREE_BYTES && length / MAX_RATIO > l->coded_bytes));
}

/* A stream has ended: over its padding; false: a read failed. */
static bool
run_skip(struct run *r)
{
	size_t n;

	do {
		if (!run_fill(r))
			return (false);
		n = codec_is_padded(r->coding)
		    ? codec_padding(r->io.in, r->io.in_n)
		    : 0;
		r->io.in += n;
		r->io.in_n -= n;
	} while (n > 0 && r->io.in_n == 0);
	return (true);
}

/* Another one behind it? */
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
		if (s == STEP_END && !run_skip(r))
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
	r->coding = c;
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
