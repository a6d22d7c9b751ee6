/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz one direction of a WebSocket connection.  The first octet says whose it
 * is and what was agreed upon; what the engine says of the rest does not
 * depend on how that was cut, and no octet of a frame is lost.
 */
#include <assert.h>
#include <string.h>
#include "base/str.h"
#include "http/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define LIMIT 3000

struct run {
	struct ws *w;
	struct chq in, frames, content, control;
	struct buf said;
	bool gap;  /* in the message */
	bool owed; /* it was not written down yet */
	bool bomb; /* when one is seen depends on the cut */
};

static void
note(struct run *r, enum ws_got got)
{
	size_t n = chq_len(&r->content);

	r->bomb |= ws_facts(r->w)->content > WS_RATIO_FREE;
	if (got == WS_MORE || got == WS_FULL)
		return;
	/* Of a message that breaks, more or less was read before. */
	if (r->owed && got != WS_BAD)
		buf_printf(&r->said, "%d ", WS_GAP);
	r->owed = got == WS_GAP;
	if (got != WS_GAP)
		buf_printf(&r->said, "%d ", got);
	if (got == WS_BEGIN)
		r->gap = false;
	if (got == WS_GAP)
		r->gap = true;
	if (got == WS_BAD || got == WS_CLOSE)
		buf_printf(&r->said, "%u ", ws_facts(r->w)->code);
	if (got != WS_END)
		return;
	assert(r->gap || n == ws_facts(r->w)->content);
	assert(r->gap || n <= LIMIT);
	if (!r->gap) {
		chq_read(&r->content, 0, buf_room(&r->said, n), n);
		r->said.n += n;
	}
	chq_drop(&r->content, n);
}

static struct buf
run(uint8_t kind, const uint8_t *p, size_t n, size_t step, size_t want,
    bool *bomb)
{
	struct ws_terms t = { .deflate = (kind & 2) != 0,
		.no_takeover = { (kind & 4) != 0, (kind & 4) != 0 } };
	struct ws_limits l = { LIMIT, WS_RATIO };
	struct run r = { .w = NULL };
	struct ws_out out = { &r.frames, &r.content, &r.control, want };
	struct fault f = { .code = ERR_NONE };
	enum ws_got got = WS_MORE;
	size_t at, part;

	r.w = ws_new(kind & 1 ? WS_SERVER : WS_CLIENT, &t, &l);
	for (at = 0; at < n && got != WS_BAD; at += part) {
		part = n - at < step ? n - at : step;
		chq_copy(&r.in, p + at, part);
		do {
			got = ws_feed(r.w, &r.in, &out, &f);
			note(&r, got);
			assert(ws_bytes(r.w) < 70000);
		} while (got != WS_MORE && got != WS_BAD);
		assert(got == WS_BAD || chq_len(&r.in) == 0);
	}
	assert((got == WS_BAD) == (f.code != ERR_NONE));
	if (got != WS_BAD && ws_facts(r.w)->code == 0) {
		at = chq_len(&r.frames) + chq_len(&r.control);
		assert(at <= n && n - at < WS_HEAD_MAX + WS_CONTROL_MAX);
	}
	*bomb |= r.bomb;
	ws_free(&r.w);
	chq_fini(&r.in);
	chq_fini(&r.frames);
	chq_fini(&r.content);
	chq_fini(&r.control);
	return (r.said);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buf whole, bytes;
	bool bomb = false;

	if (n == 0)
		return (0);
	whole = run(p[0], p + 1, n - 1, n, 100000, &bomb);
	bytes = run(p[0], p + 1, n - 1, 1 + (p[0] >> 5), 33 + (p[0] >> 3) * 40,
	    &bomb);
	assert(bomb || whole.n == bytes.n);
	assert(bomb || whole.n == 0 || memcmp(whole.p, bytes.p, whole.n) == 0);
	buf_fini(&whole);
	buf_fini(&bytes);
	assert(chunk_bytes_live() == 0);
	return (0);
}
