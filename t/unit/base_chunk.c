/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks and chunk queues against plain arrays. */
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include "base/chunk.h"
#include "t/unit/unit.h"

#define MODEL 200000

/* A queue and what must be in it. */
struct both {
	struct chq q;
	unsigned char *m;
	size_t n;
	struct chunk *tail;
};

static unsigned char models[3][MODEL];

static bool
agree(const struct both *b)
{
	static unsigned char got[MODEL];
	struct iovec iov[8];
	const unsigned char *p;
	size_t n, at = 0;
	unsigned i, k;

	if (chq_len(&b->q) != b->n)
		return (false);
	chq_read(&b->q, 0, got, b->n);
	if (memcmp(got, b->m, b->n) != 0)
		return (false);
	p = chq_peek(&b->q, &n);
	if ((p == NULL) != (b->n == 0) || n > b->n ||
	    (n > 0 && memcmp(p, b->m, n) != 0) || (n == 0 && b->n > 0))
		return (false);
	k = chq_iov(&b->q, iov, 8);
	for (i = 0; i < k; i++) {
		if (iov[i].iov_len == 0 ||
		    memcmp(iov[i].iov_base, b->m + at, iov[i].iov_len) != 0)
			return (false);
		at += iov[i].iov_len;
	}
	return (k == 8 || at == b->n);
}

static void
put(struct both *b, size_t n)
{
	unsigned char *at = b->m + b->n;
	struct chunk *c;
	size_t i, part;

	if (b->n + n > MODEL)
		return;
	for (i = 0; i < n; i++)
		at[i] = (unsigned char)unit_random(256);
	b->n += n;
	if (unit_random(2) == 0) {
		chq_copy(&b->q, at, n);
		return;
	}
	c = chunk_new_size(n + 1);
	memcpy(c->data, at, n);
	c->used = (uint32_t)n;
	for (i = 0; i < n; i += part) { /* pieces that touch */
		part = 1 + unit_random((unsigned)(n - i));
		chq_add(&b->q, c, c->data + i, part);
	}
	chq_add(&b->q, c, c->data, 0);
	chunk_unref(&c);
}

static void
step(struct both *a, struct both *b)
{
	size_t n = a->n > 0 ? unit_random((unsigned)a->n + 1) : 0, off;

	switch (unit_random(6)) {
	case 0:
		put(a,
		    unit_random(3) == 0 ? unit_random(40000)
					: unit_random(100));
		break;
	case 1:
		chq_drop(&a->q, n);
		a->n -= n;
		memmove(a->m, a->m + n, a->n);
		break;
	case 2:
		if (b->n + n > MODEL)
			break;
		chq_move(&b->q, &a->q, n);
		memcpy(b->m + b->n, a->m, n);
		b->n += n;
		a->n -= n;
		memmove(a->m, a->m + n, a->n);
		break;
	case 3:
		off = unit_random((unsigned)(a->n - n) + 1);
		if (b->n + n > MODEL)
			break;
		chq_share(&b->q, &a->q, off, n);
		memcpy(b->m + b->n, a->m + off, n);
		b->n += n;
		break;
	case 4:
		chq_pack(&a->q, unit_random(a->q.count + 1), &a->tail);
		break;
	default:
		if (unit_random(20) == 0) {
			chq_fini(&a->q);
			a->n = 0;
		}
	}
}

static void
test_model(void)
{
	struct both b[3] = { { .m = models[0] }, { .m = models[1] },
		{ .m = models[2] } };
	size_t live = chunk_bytes_live();
	unsigned i, k;

	for (i = 0; i < 4000; i++) {
		k = unit_random(3);
		step(&b[k], &b[(k + 1 + unit_random(2)) % 3]);
		if (!agree(&b[0]) || !agree(&b[1]) || !agree(&b[2])) {
			CU_FAIL("queue and model differ");
			break;
		}
	}
	for (k = 0; k < 3; k++) {
		chq_fini(&b[k].q);
		chunk_unref(&b[k].tail);
	}
	CU_ASSERT_EQUAL(chunk_bytes_live(), live);
}

static void
test_counts(void)
{
	size_t live = chunk_bytes_live();
	struct chunk *c = chunk_new(), *keep[100];
	struct chq q = { 0 };
	unsigned i;

	CU_ASSERT(c->refs == 1 && c->cap == CHUNK_BYTES && c->used == 0);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live + CHUNK_BYTES);
	chq_add(&q, c, c->data, 10);
	chq_add(&q, c, c->data + 10, 10);
	CU_ASSERT(c->refs == 2 && q.count == 1);
	chq_add(&q, c, c->data, 10);
	CU_ASSERT(c->refs == 3 && q.count == 2);
	chq_drop(&q, 25);
	CU_ASSERT_EQUAL(c->refs, 2);
	chq_fini(&q);
	chq_fini(&q);
	CU_ASSERT_PTR_EQUAL(chunk_ref(c), c);
	chunk_unref(&(struct chunk *){ c });
	chunk_unref(&c);
	CU_ASSERT_PTR_NULL(c);
	chunk_unref(&c);
	for (i = 0; i < 100; i++)
		keep[i] = chunk_new();
	for (i = 0; i < 100; i++)
		chunk_unref(&keep[i]);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live);
	c = chunk_new();
	CU_ASSERT(c->refs == 1 && c->used == 0);
	chunk_unref(&c);
}

/* Small slices become few; large ones are not copied. */
static void
test_pack(void)
{
	size_t live = chunk_bytes_live();
	struct chunk *c, *tail = NULL, *large = chunk_new();
	struct chq q = { 0 };
	unsigned i;

	for (i = 0; i < 40000; i++) {
		c = chunk_new();
		c->data[0] = (unsigned char)i;
		chq_add(&q, c, c->data, 1);
		chunk_unref(&c);
		chq_pack(&q, q.count - 1, &tail);
		if (i == 20000) {
			chq_add(&q, large, large->data, CHUNK_BYTES);
			chq_pack(&q, q.count - 1, &tail);
			CU_ASSERT_EQUAL(large->refs, 2);
		}
	}
	CU_ASSERT(q.count <= 5 && q.bytes == 40000 + CHUNK_BYTES);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live + 4 * CHUNK_BYTES);
	chq_drop(&q, 39999 + CHUNK_BYTES);
	CU_ASSERT_EQUAL(*chq_peek(&q, &(size_t){ 0 }), 39999 & 255);
	chq_fini(&q);
	chunk_unref(&tail);
	chunk_unref(&large);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live);
}

UNIT_TESTS(base_chunk, { "packing", test_pack },
    { "queues against a model", test_model }, { "counting", test_counts })
