/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks and chunk queues, see chunk.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include "base/asan.h"
#include "base/chunk.h"

#define SPARE_MAX 32    /* 512 KiB kept per thread */
#define PACK_BELOW 1024 /* slices shorter than this are copied together */

static _Thread_local struct chunk *spare[SPARE_MAX];
static _Thread_local unsigned spare_n;
static _Thread_local size_t live; /* bytes */

static struct chunk *
chunk_alloc(size_t cap)
{
	struct chunk *c;

	if (cap == CHUNK_BYTES && spare_n > 0)
		c = spare[--spare_n];
	else if ((c = malloc(sizeof(*c) + cap)) == NULL)
		abort();
	live += cap;
	c->refs = 1;
	c->cap = (uint32_t)cap;
	c->used = 0;
	return (c);
}

struct chunk *
chunk_new(void)
{
	return (chunk_alloc(CHUNK_BYTES));
}

struct chunk *
chunk_new_size(size_t cap)
{
	return (chunk_alloc(cap));
}

struct chunk *
chunk_ref(struct chunk *c)
{
	assert(c->refs > 0);
	c->refs++;
	return (c);
}

void
chunk_unref(struct chunk **cp)
{
	struct chunk *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	assert(c->refs > 0);
	if (--c->refs > 0)
		return;
	live -= c->cap;
	if (!ASAN_ON && c->cap == CHUNK_BYTES && spare_n < SPARE_MAX)
		spare[spare_n++] = c;
	else
		free(c);
}

size_t
chunk_bytes_live(void)
{
	return (live);
}

static inline struct slice *
slice_at(const struct chq *q, unsigned i)
{
	return (&q->ring[(q->first + i) & (q->cap - 1)]);
}

static void
chq_grow(struct chq *q)
{
	unsigned i, cap = q->cap > 0 ? q->cap * 2 : 4;
	struct slice *ring = malloc(cap * sizeof(*ring));

	if (ring == NULL)
		abort();
	for (i = 0; i < q->count; i++)
		ring[i] = *slice_at(q, i);
	free(q->ring);
	q->ring = ring;
	q->first = 0;
	q->cap = cap;
}

/* Append a slice whose reference is given. */
static void
chq_put(struct chq *q, struct chunk *c, unsigned char *p, size_t len)
{
	struct slice *last;

	q->bytes += len;
	if (q->count > 0) {
		last = slice_at(q, q->count - 1);
		if (last->chunk == c && last->at + last->len == p) {
			last->len += len;
			chunk_unref(&c); /* it has one already */
			return;
		}
	}
	if (q->count == q->cap)
		chq_grow(q);
	*slice_at(q, q->count++) = (struct slice){ c, p, len };
}

void
chq_add(struct chq *q, struct chunk *c, const unsigned char *p, size_t len)
{
	assert(p >= c->data && p + len <= c->data + c->cap);
	if (len > 0)
		chq_put(q, chunk_ref(c), c->data + (p - c->data), len);
}

void
chq_copy(struct chq *q, const void *p, size_t len)
{
	const unsigned char *from = p;
	struct chunk *c;
	size_t n;

	while (len > 0) {
		n = len < CHUNK_BYTES ? len : CHUNK_BYTES;
		c = n > CHUNK_BYTES / 4 ? chunk_new() : chunk_new_size(n);
		memcpy(c->data, from, n);
		c->used = (uint32_t)n;
		chq_put(q, c, c->data, n);
		from += n;
		len -= n;
	}
}

/* Forget the first slice, whose reference has gone elsewhere. */
static inline void
chq_shift(struct chq *q)
{
	q->first = (q->first + 1) & (q->cap - 1);
	q->count--;
}

void
chq_move(struct chq *dst, struct chq *src, size_t n)
{
	struct slice *s;

	assert(n <= src->bytes);
	while (n > 0) {
		s = slice_at(src, 0);
		if (s->len <= n) {
			n -= s->len;
			src->bytes -= s->len;
			chq_put(dst, s->chunk, s->at, s->len);
			chq_shift(src);
		} else {
			chq_put(dst, chunk_ref(s->chunk), s->at, n);
			s->at += n;
			s->len -= n;
			src->bytes -= n;
			n = 0;
		}
	}
}

void
chq_share(struct chq *dst, const struct chq *src, size_t off, size_t n)
{
	struct slice *s;
	size_t part;
	unsigned i;

	assert(off + n <= src->bytes);
	for (i = 0; n > 0; i++) {
		s = slice_at(src, i);
		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		part = s->len - off < n ? s->len - off : n;
		chq_put(dst, chunk_ref(s->chunk), s->at + off, part);
		n -= part;
		off = 0;
	}
}

/* The slice's bytes at the end of the tail; its reference is given up. */
static void
pack(struct chq *q, struct slice *s, struct chunk **tail)
{
	struct chunk *c = *tail;
	unsigned char *to;

	if (c == NULL || c->cap - c->used < s->len) {
		chunk_unref(tail);
		c = *tail = chunk_new();
	}
	to = c->data + c->used;
	memcpy(to, s->at, s->len);
	c->used += (uint32_t)s->len;
	chq_put(q, chunk_ref(c), to, s->len);
	chunk_unref(&s->chunk);
}

void
chq_pack(struct chq *q, unsigned first, struct chunk **tail)
{
	unsigned i, n = q->count;
	struct slice s;

	/* What is put back takes no more room than was taken out. */
	for (q->count = first, i = first; i < n; i++) {
		s = *slice_at(q, i);
		q->bytes -= s.len;
		if (s.len < PACK_BELOW)
			pack(q, &s, tail);
		else
			chq_put(q, s.chunk, s.at, s.len);
	}
}

void
chq_drop(struct chq *q, size_t n)
{
	struct slice *s;

	assert(n <= q->bytes);
	q->bytes -= n;
	while (n > 0) {
		s = slice_at(q, 0);
		if (s->len > n) {
			s->at += n;
			s->len -= n;
			return;
		}
		n -= s->len;
		chunk_unref(&s->chunk);
		chq_shift(q);
	}
}

const unsigned char *
chq_peek(const struct chq *q, size_t *n)
{
	*n = q->count > 0 ? slice_at(q, 0)->len : 0;
	return (q->count > 0 ? slice_at(q, 0)->at : NULL);
}

void
chq_read(const struct chq *q, size_t off, void *p, size_t n)
{
	unsigned char *to = p;
	struct slice *s;
	size_t part;
	unsigned i;

	assert(off + n <= q->bytes);
	for (i = 0; n > 0; i++) {
		s = slice_at(q, i);
		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		part = s->len - off < n ? s->len - off : n;
		memcpy(to, s->at + off, part);
		to += part;
		n -= part;
		off = 0;
	}
}

unsigned
chq_iov(const struct chq *q, struct iovec *iov, unsigned max)
{
	unsigned i;

	for (i = 0; i < q->count && i < max; i++) {
		iov[i].iov_base = slice_at(q, i)->at;
		iov[i].iov_len = slice_at(q, i)->len;
	}
	return (i);
}

void
chq_fini(struct chq *q)
{
	unsigned i;

	for (i = 0; i < q->count; i++)
		chunk_unref(&slice_at(q, i)->chunk);
	free(q->ring);
	*q = (struct chq){ 0 };
}
