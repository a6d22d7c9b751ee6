/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A look at each frame's head before nghttp2 sees it (RFC 9113 4.1): nghttp2
 * tells nothing of frames that it discards, which cost as much, and lets
 * frames on streams pass that are long closed.
 */
#include <assert.h>
#include <string.h>
#include "http/h2_priv.h"

struct frame {
	uint32_t length;
	uint8_t type, flags;
	int32_t id;
};

static struct frame
unpack(const uint8_t *p)
{
	return ((struct frame){ .length = (uint32_t)p[0] << 16 |
		(uint32_t)p[1] << 8 | p[2],
	    .type = p[3],
	    .flags = p[4],
	    .id = (int32_t)((uint32_t)(p[5] & 0x7f) << 24 |
		(uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) });
}

void
h2_remember_reset(struct h2_session *s, int32_t id)
{
	s->resets[s->resets_n++ % H2_RESETS] = id;
}

static bool
reset_by_us(const struct h2_session *s, int32_t id)
{
	unsigned i;

	for (i = 0; i < H2_RESETS; i++)
		if (s->resets[i] == id)
			return (true);
	return (false);
}

/*
 * HEADERS or DATA: on a stream that is open, or was until we reset it, or a
 * new one?  nghttp2 refuses what is neither, but for closed ones (RFC 9113
 * 5.1: a connection error).
 */
static void
check_id(struct h2_session *s, const struct frame *f)
{
	if (f->id % 2 == 0)
		return; /* 0, or the server's: nghttp2 */
	if (f->id > s->last_id) {
		if (s->cfg.server && f->type == NGHTTP2_HEADERS)
			s->last_id = s->frames.opening = f->id;
		return;
	}
	if (nghttp2_session_get_stream_user_data(s->ng, f->id) == NULL &&
	    !reset_by_us(s, f->id))
		h2_fail(s, H2_STREAM_CLOSED, h2_syntax(s),
		    "a frame on a stream that is closed");
}

static void
begin_head(struct h2_session *s, const struct frame *f)
{
	if (f->type == NGHTTP2_HEADERS)
		s->frames.block = s->frames.continued = 0;
	else
		s->frames.continued++;
	s->frames.block += f->length;
	s->frames.in_block = (f->flags & NGHTTP2_FLAG_END_HEADERS) == 0;
	if (!h2_spend(s, H2_SPEND_HEAD_OCTETS, f->length))
		return;
	/* Huffman coding makes the rarest octets 30 bits long. */
	if (s->frames.block > 4 * s->cfg.limits->section)
		h2_fail(s, H2_ENHANCE_YOUR_CALM,
		    s->cfg.server ? ERR_REQ_HEAD_LARGE : ERR_ORIGIN_HEAD_LARGE,
		    "a head without end");
}

/* RFC 9113 4.3: 16 KiB fit in each but the last one. */
void
h2_frames_earn(struct h2_session *s)
{
	struct h2_frames *w = &s->frames;
	uint32_t fair = w->block / 16384;

	h2_budget_earn(&s->budget, H2_SPEND_HEAD_OCTETS, w->block);
	h2_budget_earn(&s->budget, H2_SPEND_CONTINUATION,
	    w->continued < fair ? w->continued : fair);
	h2_budget_earn(&s->budget, H2_SPEND_WINDOW, 1);
}

static void
begin_data(struct h2_session *s, const struct frame *f)
{
	s->frames.end_stream = (f->flags & NGHTTP2_FLAG_END_STREAM) != 0;
	s->frames.pad = (f->flags & NGHTTP2_FLAG_PADDED) != 0;
	s->frames.body = f->length;
	if (f->length == 0 && !s->frames.end_stream)
		(void)h2_spend(s, H2_SPEND_EMPTY, 1);
}

/* The first octet of a padded DATA frame: is the rest all padding? */
static void
see_pad(struct h2_session *s, uint8_t pad)
{
	s->frames.pad = false;
	if (s->frames.body <= 1u + pad && !s->frames.end_stream)
		(void)h2_spend(s, H2_SPEND_EMPTY, 1);
}

/* What the rows of this table count is one a frame. */
static enum h2_kind
kind_of(const struct frame *f)
{
	switch (f->type) {
	case NGHTTP2_CONTINUATION:
		return (H2_SPEND_CONTINUATION);
	case NGHTTP2_PRIORITY:
	case NGHTTP2_PRIORITY_UPDATE:
		return (H2_SPEND_PRIORITY);
	case NGHTTP2_RST_STREAM:
		return (H2_SPEND_RESET);
	case NGHTTP2_SETTINGS:
		return (H2_SPEND_SETTINGS);
	case NGHTTP2_PING:
		return (H2_SPEND_PING);
	case NGHTTP2_WINDOW_UPDATE:
		return (H2_SPEND_WINDOW);
	default:
		return (H2_SPEND_OTHER);
	}
}

static void
begin(struct h2_session *s, const uint8_t *hd)
{
	struct frame f = unpack(hd);

	if (s->frames.opening != 0) { /* nghttp2 did not open it */
		h2_remember_reset(s, s->frames.opening);
		s->frames.opening = 0;
	}
	s->frames.left = f.length;
	s->frames.pad = false;
	if (f.type == NGHTTP2_DATA || f.type == NGHTTP2_HEADERS)
		check_id(s, &f);
	else if (!((f.type == NGHTTP2_SETTINGS || f.type == NGHTTP2_PING) &&
		     (f.flags & NGHTTP2_FLAG_ACK) != 0) &&
	    !h2_spend(s, kind_of(&f), 1))
		return;
	if (f.type == NGHTTP2_DATA)
		begin_data(s, &f);
	else if (f.type == NGHTTP2_HEADERS || f.type == NGHTTP2_CONTINUATION)
		begin_head(s, &f);
	else if (f.type == NGHTTP2_PUSH_PROMISE) /* RFC 9113 8.4 */
		h2_fail(s, H2_PROTOCOL_ERROR, h2_syntax(s), "PUSH_PROMISE");
	else if (f.type == NGHTTP2_PRIORITY && f.id == 0) /* 6.3 */
		h2_fail(s, H2_PROTOCOL_ERROR, h2_syntax(s), "PRIORITY of 0");
}

static void
feed(struct h2_session *s, const uint8_t *p, size_t n)
{
	ssize_t r;

	if (s->failed)
		return;
	r = nghttp2_session_mem_recv(s->ng, p, n);
	if (r >= 0 || s->failed) {
		assert(r < 0 || (size_t)r == n);
		return;
	}
	switch ((int)r) {
	case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
		h2_fail(s, H2_PROTOCOL_ERROR, h2_syntax(s),
		    "not the preface of HTTP/2");
		break;
	case NGHTTP2_ERR_FLOODED:
		h2_fail(s, H2_ENHANCE_YOUR_CALM,
		    s->cfg.server ? ERR_CLIENT_FLOOD : ERR_ORIGIN_SYNTAX,
		    "answers that nobody reads");
		break;
	default:
		h2_fail(s,
		    r == NGHTTP2_ERR_NOMEM ? H2_INTERNAL_ERROR
					   : H2_ENHANCE_YOUR_CALM,
		    h2_syntax(s), nghttp2_strerror((int)r));
		break;
	}
}

void
h2_frames_take(struct h2_session *s, const uint8_t *p, size_t n)
{
	struct h2_frames *w = &s->frames;
	size_t part, head;

	while (n > 0 && !s->failed) {
		head = 0;
		if (w->left == 0 && w->hd_n == 0 && n >= H2_FRAME_HEAD) {
			begin(s, p);
			head = H2_FRAME_HEAD;
		} else if (w->left == 0) {
			part = H2_FRAME_HEAD - w->hd_n;
			part = n < part ? n : part;
			memcpy(w->hd + w->hd_n, p, part);
			w->hd_n += (unsigned)part;
			p += part;
			n -= part;
			if (w->hd_n < H2_FRAME_HEAD)
				return;
			w->hd_n = 0;
			begin(s, w->hd);
			feed(s, w->hd, H2_FRAME_HEAD);
			continue;
		}
		part = n - head < w->left ? n - head : w->left;
		if (w->pad && part > 0)
			see_pad(s, p[head]);
		w->left -= (uint32_t)part;
		feed(s, p, head + part);
		p += head + part;
		n -= head + part;
	}
}
