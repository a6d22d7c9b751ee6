/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz one direction of an inspected WebSocket connection with its service.
 * The first octet says whose it is and what was agreed upon, the second how
 * many follow that say what happens in which order; the rest is sent.  What
 * the receiver hears is well formed, nothing of it was found bad, and where
 * nothing was wrong it is all that was sent.
 */
#include <assert.h>
#include "t/unit/ws_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define MOVES 64

static struct ws_rig rig;

/* What one end understood. */
struct ear {
	size_t frames; /* octets, with control frames */
	bool bad, between, closed, evil, bomb;
	bool large; /* the rest of a message was not read */
};

static bool
is_evil(struct chq *q)
{
	size_t n = chq_len(q);
	struct buf b = { 0 };
	bool evil;

	chq_read(q, 0, buf_room(&b, n + 1), n);
	b.n = n;
	chq_drop(q, n);
	evil = ws_rig_has(&b, "EVIL") || ws_rig_has(&b, "DOWN");
	buf_fini(&b);
	return (evil);
}

static struct ear
hear(enum ws_side side, const struct ws_terms *terms, const void *p, size_t n)
{
	struct ws_limits l = { WS_RIG_LIMIT, WS_RATIO };
	struct ws *w = ws_new(side, terms, &l);
	struct chq in = { 0 }, frames = { 0 }, content = { 0 }, control = { 0 };
	struct ws_out out = { &frames, &content, &control, 1 << 20 };
	struct ear e = { .bad = false };
	struct fault f = { .code = ERR_NONE };
	enum ws_got got;
	bool gap = false, open = false;

	chq_copy(&in, p, n);
	do {
		got = ws_feed(w, &in, &out, &f);
		open = (open && got != WS_END) || got == WS_BEGIN;
		gap = (gap && got != WS_BEGIN) || got == WS_GAP;
		e.closed |= got == WS_CLOSE;
		e.large |= got == WS_GAP;
		e.bomb |= ws_facts(w)->content > WS_RATIO_FREE;
		if (got == WS_END && !gap)
			e.evil |= is_evil(&content);
		if (got == WS_END || got == WS_GAP)
			chq_drop(&content, chq_len(&content));
	} while (got != WS_MORE && got != WS_BAD);
	e.bad = got == WS_BAD;
	e.frames = chq_len(&frames) + chq_len(&control);
	/* No frame and no message is cut here. */
	e.between = !e.bad && (e.closed || (!open && e.frames == n));
	ws_free(&w);
	chq_fini(&in);
	chq_fini(&frames);
	chq_fini(&content);
	chq_fini(&control);
	return (e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum ws_side side;
	struct ws_terms t;
	struct ear said, heard;
	bool scanned;
	size_t moves;

	if (n < 2)
		return (0);
	side = (p[0] & 1) != 0 ? WS_SERVER : WS_CLIENT;
	scanned = (p[0] & 2) != 0;
	t = (struct ws_terms){ .deflate = (p[0] & 4) != 0,
		.no_takeover = { (p[0] & 8) != 0, (p[0] & 8) != 0 } };
	moves = p[1] % MOVES < n - 2 ? p[1] % MOVES : n - 2;
	ws_rig_open(&rig, side, &t, scanned, p + 2 + moves, n - 2 - moves);
	rig.got = WS_WAY_WAITS;
	rig.from.how = (p[0] & 16) != 0 ? PULL_END : PULL_WAIT;
	ws_rig_play(&rig, p + 2, moves);
	said = hear(side, &t, p + 2 + moves, n - 2 - moves);
	heard = hear(side, &t, rig.to.heard.p, rig.to.heard.n);
	/*
	 * What is wrong may be out before that is known: where nobody looks,
	 * and behind the limit of what is read.
	 */
	assert(!heard.bad || (said.bad && (!scanned || heard.large)));
	assert(!scanned || !heard.evil || heard.bomb);
	if (!said.bad && !said.closed && said.between && !rig.way.stopped)
		assert(rig.to.heard.n == n - 2 - moves);
	if (rig.way.stopped && !heard.bad && heard.between &&
	    rig.from.how == PULL_WAIT)
		assert(heard.closed || said.closed);
	ws_rig_close(&rig);
	assert(chunk_bytes_live() == 0);
	return (0);
}
