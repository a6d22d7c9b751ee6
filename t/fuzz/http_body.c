/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz bodies.  The first two octets choose the framing, how the rest is cut
 * and how much is pulled at a time: one result whatever they are.  What is
 * good in a request is the same body in a response, never the other way.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "http/h1_body.h"
#include "http/h1_emit.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
run(uint8_t how, enum err code, struct str s, size_t part, size_t want,
    struct buf *b)
{
	struct arena *a = arena_new();
	struct chq in = { 0 }, out = { 0 };
	struct fault f = { 0 };
	struct h1_body body;
	enum pull r = PULL_WAIT;
	size_t now;

	h1_body_init(&body, a, how % 4 == 0 ? FRAMING_LENGTH : FRAMING_CHUNKED,
	    how, code);
	while (!pull_is_last(r) && (r == PULL_MORE || s.n > 0)) {
		if (r == PULL_WAIT) {
			now = s.n < part ? s.n : part;
			chq_copy(&in, s.p, now);
			s.p += now;
			s.n -= now;
		}
		r = h1_body_pull(&body, &in, &out, want, &f);
	}
	assert(body.content == chq_len(&out));
	buf_printf(b, "%d %d %d %.*s ", (int)r, (int)f.code,
	    (int)h1_body_eof(&body, true), STR_ARG(body.last_ext));
	if (r == PULL_END) {
		buf_printf(b, "%zu ", s.n + chq_len(&in));
		h1_emit_trailer(b, &body.trailer);
	}
	chq_read(&out, 0, buf_room(b, chq_len(&out)), chq_len(&out));
	b->n += chq_len(&out);
	chq_fini(&in);
	chq_fini(&out);
	arena_free(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const char fail[2] = { '0' + PULL_FAIL, ' ' };
	struct buf x = { 0 }, y = { 0 };
	struct str s;

	if (n < 2)
		return (0);
	s = (struct str){ (const char *)p + 2, n - 2 };
	run(p[0], ERR_ORIGIN_CHUNK, s, n, n, &x);
	run(p[0], ERR_ORIGIN_CHUNK, s, 1u + (p[0] >> 2), 1u + p[1], &y);
	assert(x.n == y.n && memcmp(x.p, y.p, x.n) == 0);
	y.n = 0;
	run(p[0], ERR_REQ_CHUNK, s, 1u + (p[0] >> 2), 1u + p[1], &y);
	if (memcmp(y.p, fail, 2) != 0)
		assert(x.n == y.n && memcmp(x.p, y.p, x.n) == 0);
	buf_fini(&x);
	buf_fini(&y);
	return (0);
}
