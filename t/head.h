/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What unit tests and fuzzers share about heads: from text, and to text. */
#ifndef T_HEAD_H
#define T_HEAD_H

#include "base/chunk.h"
#include "http/h1_head.h"

/*
 * The message whose head is text, exactly and to its empty line, read in one
 * piece; else NULL, and a cause in *f (may be NULL) if it was refused.
 */
static inline struct http_msg *
head_read(struct arena *a, enum h1_kind kind, struct str text,
    const struct h1_limits *limits, struct fault *f)
{
	struct h1_head *h = h1_head_new(a, kind, limits);
	struct http_msg *m = NULL;
	struct chq q = { 0 };

	chq_copy(&q, text.p, text.n);
	if (h1_head_feed(h, &q, &m, f) != H1_DONE || chq_len(&q) > 0)
		m = NULL;
	chq_fini(&q);
	return (m);
}

/* The fields as lines, also those that no message is sent with. */
static inline void
head_fields(struct buf *b, const struct http_fields *l)
{
	unsigned i;

	for (i = 0; i < l->n; i++) {
		buf_str(b, l->v[i].name);
		buf_str(b, STR(": "));
		buf_str(b, l->v[i].value);
		buf_str(b, STR("\r\n"));
	}
}

#endif
