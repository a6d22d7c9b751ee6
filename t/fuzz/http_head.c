/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz heads.  The first octet chooses kind, limits and how the rest is cut:
 * whole and in pieces give one result.  A good head is framed, stripped and
 * written, and what is written must be read back as the same message.
 */
#include <assert.h>
#include <string.h>
#include "base/chunk.h"
#include "http/h1_emit.h"
#include "http/h1_frame.h"
#include "http/hop.h"
#include "http/uri.h"
#include "t/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct h1_limits tight = { 60, 200, 80, 6 };

/* Parse pieces of `part` octets, print what came of it. */
static struct http_msg *
parse(struct arena *a, enum h1_kind kind, const struct h1_limits *limits,
    struct str s, size_t part, struct buf *b)
{
	struct h1_head *h = h1_head_new(a, kind, limits);
	enum h1_step step = H1_MORE;
	struct http_msg *m = NULL;
	struct fault f = { 0 };
	struct chq q = { 0 };
	size_t at, now;

	for (at = 0; at < s.n && step == H1_MORE; at += now) {
		now = s.n - at < part ? s.n - at : part;
		chq_copy(&q, s.p + at, now);
		step = h1_head_feed(h, &q, &m, &f);
	}
	buf_printf(b, "%d ", (int)step);
	if (limits != &tight) /* else several may be true */
		buf_printf(b, "%d ", (int)f.code);
	if (m != NULL) {
		buf_printf(b, "%zu ", at - chq_len(&q));
		head_fields(b, &m->fields);
	}
	chq_fini(&q);
	return (m);
}

/* Give it the way through the proxy; false: refused. */
static bool
pass(struct arena *a, struct http_msg *m, enum h1_kind kind, struct buf *b)
{
	struct http_msg *req = http_msg_new(a, true);
	struct h1_frame frame;

	if (kind == H1_REQUEST
		? http_target_parse(m, NULL, true, NULL) != ERR_NONE ||
		    h1_frame_request(m, &frame, NULL) != ERR_NONE
		: h1_frame_response(m, req, &frame, NULL) != ERR_NONE)
		return (false);
	http_hop_strip(m);
	if (kind == H1_REQUEST)
		h1_emit_request(b, m, H1_TARGET_ORIGIN);
	else {
		frame.framing = h1_frame_out(m, false);
		h1_emit_response(b, m, &frame, false);
	}
	return (true);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buf x = { 0 }, y = { 0 }, once = { 0 }, twice = { 0 };
	struct arena *a = arena_new();
	const struct h1_limits *limits;
	enum h1_kind kind;
	struct http_msg *m;
	struct str s;

	if (n > 0) {
		limits = p[0] & 4 ? &tight : &h1_limits_client;
		kind = (enum h1_kind)(p[0] & 3);
		s = (struct str){ (const char *)p + 1, n - 1 };
		m = parse(a, kind, limits, s, n, &x);
		(void)parse(a, kind, limits, s, 1u + (p[0] >> 3), &y);
		assert(x.n == y.n && (x.n == 0 || memcmp(x.p, y.p, x.n) == 0));
		if (m != NULL && kind <= H1_RESPONSE &&
		    pass(a, m, kind, &once)) {
			m = head_read(a, kind, buf_as_str(&once),
			    &h1_limits_origin, NULL);
			assert(m != NULL);
			assert(pass(a, m, kind, &twice));
			assert(once.n == twice.n &&
			    memcmp(once.p, twice.p, once.n) == 0);
		}
	}
	buf_fini(&x);
	buf_fini(&y);
	buf_fini(&once);
	buf_fini(&twice);
	arena_free(&a);
	return (0);
}
