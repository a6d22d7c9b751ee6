/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A codec for each content coding, by which decode.c, decode_live.c and
 * decode_body.c take them off.  Private to these.
 * Room: scanners.  Thread: any; a state has one user at a time.
 */
#ifndef SCANNERS_CODEC_H
#define SCANNERS_CODEC_H

#include <stddef.h>
#include "scanners/decode.h"

enum step {
	STEP_GO,  /* took input or gave output, or wants more of them */
	STEP_END, /* the coded stream ends here */
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
	size_t (*bytes)(void *state); /* of memory */
	void (*close)(void *state);
};

extern const struct codec codecs[DECODE_CODINGS];

/* May zero bytes stand between two of its streams?  Some programs pass over them. */
static inline bool
codec_is_padded(enum decode_coding c)
{
	return (c == DECODE_GZIP);
}

/* How many bytes of padding p begins with. */
static inline size_t
codec_padding(const unsigned char *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] == 0)
		i++;
	return (i);
}

#endif
