/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of WebSocket share: what an engine says, as a line of text. */
#ifndef HTTP_WS_HELP_H
#define HTTP_WS_HELP_H

#include "http/ws.h"
#include "t/unit/http_help.h"

struct ws_help {
	struct ws *w;
	struct chq in, frames, content, control;
	/*
	 * "T(text)", "B(binary)", with "z" where it was compressed, "~" where
	 * it was not read to its end; "<9:4>" a control frame and its size;
	 * "{1000 reason}", "!1002".
	 */
	struct buf said;
	size_t passed; /* octets of frames */
	size_t most;   /* that the engine held */
	size_t at_gap; /* octets of content that came before the last */
	struct fault f;
};

static inline void
ws_help_open(struct ws_help *h, enum ws_side from, bool deflate,
    bool no_takeover, uint64_t limit)
{
	struct ws_terms t = { .deflate = deflate,
		.no_takeover = { no_takeover, no_takeover } };
	struct ws_limits l = { limit, WS_RATIO };

	memset(h, 0, sizeof(*h));
	h->w = ws_new(from, &t, &l);
}

static inline void
ws_help_take(struct buf *to, struct chq *from)
{
	size_t n = chq_len(from);

	chq_read(from, 0, buf_room(to, n), n);
	to->n += n;
	chq_drop(from, n);
}

static inline void
ws_help_note(struct ws_help *h, enum ws_got got)
{
	const struct ws_facts *m = ws_facts(h->w);
	unsigned char head[2];

	switch (got) {
	case WS_BEGIN:
		CU_ASSERT_EQUAL(chq_len(&h->content), 0);
		buf_printf(&h->said, "%s%s(", m->text ? "T" : "B",
		    m->compressed ? "z" : "");
		break;
	case WS_GAP:
		h->at_gap = chq_len(&h->content);
		chq_drop(&h->content, h->at_gap);
		buf_cstr(&h->said, "~");
		break;
	case WS_END:
		h->passed += chq_len(&h->frames);
		chq_drop(&h->frames, chq_len(&h->frames));
		ws_help_take(&h->said, &h->content);
		buf_cstr(&h->said, ")");
		break;
	case WS_CONTROL:
	case WS_CLOSE:
		chq_read(&h->control, 0, head, sizeof(head));
		h->passed += chq_len(&h->control);
		chq_drop(&h->control, chq_len(&h->control));
		if (got == WS_CLOSE)
			buf_printf(&h->said, "{%u%s%.*s}", m->code,
			    m->reason.n > 0 ? " " : "", STR_ARG(m->reason));
		else
			buf_printf(&h->said, "<%u:%u>", head[0] & 15u,
			    head[1] & 127u);
		break;
	case WS_BAD:
		buf_printf(&h->said, "!%u", m->code);
		break;
	case WS_MORE:
	case WS_FULL:
	case WS_STEP:
		break;
	}
}

/* step octets at a time, 0: random; false: it is broken. */
static inline bool
ws_help_feed(struct ws_help *h, const void *bytes, size_t n, size_t step,
    size_t want)
{
	struct ws_out out = { &h->frames, &h->content, &h->control, want };
	const unsigned char *p = bytes;
	enum ws_got got = WS_MORE;
	size_t part, had;

	while (n > 0 && got != WS_BAD) {
		part = step > 0 ? step : 1 + unit_random(7);
		part = part < n ? part : n;
		chq_copy(&h->in, p, part);
		p += part;
		n -= part;
		do {
			had = chq_len(&h->content);
			got = ws_feed(h->w, &h->in, &out, &h->f);
			CU_ASSERT(chq_len(&h->content) - had <= want);
			CU_ASSERT(got != WS_MORE || chq_len(&h->in) == 0);
			if (ws_bytes(h->w) > h->most)
				h->most = ws_bytes(h->w);
			ws_help_note(h, got);
		} while (got != WS_MORE && got != WS_BAD);
	}
	return (got != WS_BAD);
}

static inline void
ws_help_close(struct ws_help *h)
{
	ws_free(&h->w);
	chq_fini(&h->in);
	chq_fini(&h->frames);
	chq_fini(&h->content);
	chq_fini(&h->control);
	buf_fini(&h->said);
}

/* Does it say so?  Then the engine is closed. */
static inline bool
ws_help_said(struct ws_help *h, const char *what)
{
	struct buf said = h->said;

	h->said = (struct buf){ 0 };
	ws_help_close(h);
	buf_cstr(&said, "");
	return (http_help_is(&said, what));
}

/* A stream of a server as a client sends it: each frame masked. */
static inline void
ws_help_mask(struct buf *to, const unsigned char *p, size_t n)
{
	unsigned char mask[4], head[WS_HEAD_MAX];
	struct ws_frame f;
	unsigned i;
	size_t used, len;

	ws_frame_init(&f, WS_SERVER, true);
	for (; n > 0 && ws_frame_feed(&f, p, n, &used, NULL) == WS_FRAME_HEAD;
	     p += used + len, n -= used + len) {
		for (i = 0; i < 4; i++)
			mask[i] = (unsigned char)unit_random(256);
		buf_add(to, head,
		    ws_frame_head(head, f.op, f.fin, f.length, mask));
		if (f.compressed)
			to->p[to->n - (used + 4)] |= 0x40;
		len = f.length < n - used ? (size_t)f.length : n - used;
		ws_frame_mask((unsigned char *)buf_room(to, len), p + used, len,
		    mask, 0);
		to->n += len;
	}
}

#endif
