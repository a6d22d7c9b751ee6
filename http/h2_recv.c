/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nghttp2 tells of what came, see h2_priv.h. */
#include <assert.h>
#include <string.h>
#include "http/h2_priv.h"

/* less of DATA is copied, so that it does not hold what it came in */
#define PIECE_COPIED 2048u
#define PIECE_FIRST 512u
#define INTERIMS_MAX 100u

static struct h2_stream *
find(struct h2_session *s, int32_t id)
{
	return (nghttp2_session_get_stream_user_data(s->ng, id));
}

/* --- heads --- */

/* A new request.  Beyond the limit: refused, it was not looked at. */
static int
open_stream(struct h2_session *s, int32_t id)
{
	struct arena *a;
	struct h2_stream *st;

	s->frames.opening = 0;
	if (s->n >= s->cfg.streams || s->goaway_sent) {
		h2_remember_reset(s, id);
		(void)h2_spend(s, H2_SPEND_PROVOKED, 1);
		(void)nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id,
		    H2_REFUSED_STREAM);
		return (NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
	}
	a = arena_new();
	arena_charge_to(a, s->cfg.account);
	st = h2_stream_new(s, a);
	st->arena_owned = true;
	st->id = id;
	(void)nghttp2_session_set_stream_user_data(s->ng, id, st);
	h2_head_begin(st, false);
	return (0);
}

static int
on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct h2_session *s = arg;
	struct h2_stream *st;

	(void)ng;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return (NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		return (open_stream(s, frame->hd.stream_id));
	st = find(s, frame->hd.stream_id);
	if (st == NULL || st->reset)
		return (NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
	h2_head_begin(st, st->final);
	return (0);
}

static int
refuse(struct h2_stream *st, struct h2_verdict v)
{
	if (v.err == ERR_NONE)
		return (0);
	h2_refuse(st, H2_PROTOCOL_ERROR, v.err, v.why);
	return (NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
}

static int
on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
    void *arg)
{
	struct h2_stream *st = find(arg, frame->hd.stream_id);

	(void)ng;
	(void)flags;
	if (st == NULL || st->reset)
		return (NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
	return (refuse(st,
	    h2_head_field(st, (struct str){ (const char *)name, name_n },
		(struct str){ (const char *)value, value_n })));
}

static bool
was_early(struct h2_session *s, int32_t id)
{
	unsigned i;

	for (i = 0; i < H2_EARLY; i++)
		if (s->early[i] == id)
			return (true);
	return (false);
}

/*
 * RFC 9218: what the request says, unless an update of it came before.  Who
 * says nothing gets his share of the time.
 */
static void
prioritise(struct h2_stream *st, const struct http_msg *req)
{
	const struct http_field *f = http_fields_get(&req->fields,
	    FIELD_PRIORITY);
	nghttp2_extpri p = { .urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY,
		.inc = f == NULL };

	if (was_early(st->s, st->id))
		return;
	if (f == NULL || h2_priority_parse(f->value, &p))
		(void)nghttp2_session_change_extpri_stream_priority(st->s->ng,
		    st->id, &p, 0);
}

static bool
has_no_body(const struct h2_stream *st, const struct http_msg *m)
{
	return (!m->is_request && !st->octets &&
	    (http_status_is_bodyless(m->status) ||
		st->req->method_id == METHOD_HEAD));
}

static void
end_in(struct h2_stream *st)
{
	if (st->owned && !st->final) {
		h2_refuse(st, H2_PROTOCOL_ERROR,
		    st->s->cfg.server ? ERR_REQ_FRAMING : ERR_ORIGIN_FRAMING,
		    "an end before the head");
		return;
	}
	if (st->owned && st->expect != HTTP_LENGTH_UNKNOWN &&
	    st->got != st->expect) {
		h2_refuse(st, H2_PROTOCOL_ERROR,
		    st->s->cfg.server ? ERR_REQ_FRAMING : ERR_ORIGIN_FRAMING,
		    "less body than Content-Length says");
		return;
	}
	st->in_end = true;
	h2_news(st, H2_NEWS_DATA);
}

/* A head that is whole and sound. */
static void
take_head(struct h2_stream *st, struct http_msg *m, bool end)
{
	if (!m->is_request && m->status < 200) {
		st->interim_octets += st->head.section;
		if (++st->interims > INTERIMS_MAX ||
		    st->interim_octets > st->s->cfg.limits->section) {
			h2_refuse(st, H2_ENHANCE_YOUR_CALM, ERR_ORIGIN_INTERIM,
			    "too many or too large interim answers");
			return;
		}
	} else {
		st->final = true;
		st->bodyless = has_no_body(st, m);
	}
	if (m->is_request)
		prioritise(st, m);
	h2_queue_head(st, m);
	if (end)
		end_in(st);
}

static void
on_head(struct h2_session *s, const nghttp2_frame *frame)
{
	struct h2_stream *st = find(s, frame->hd.stream_id);
	bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	struct http_msg *m;
	struct h2_verdict v;

	if (st == NULL || st->reset)
		return;
	if (!st->owned) { /* nobody reads it */
		st->in_end |= end;
		return;
	}
	m = st->head.msg;
	v = h2_head_end(st, end);
	st->head.msg = NULL;
	if (v.err != ERR_NONE)
		(void)refuse(st, v);
	else if (st->head.is_trailer)
		end_in(st);
	else {
		h2_frames_earn(s);
		take_head(st, m, end);
	}
}

/* --- bodies --- */

/* A small piece, behind others of its stream. */
static void
copy_piece(struct h2_stream *st, const uint8_t *p, size_t n)
{
	size_t cap = st->tail != NULL ? CHUNK_BYTES
	    : n > PIECE_FIRST         ? n
				      : PIECE_FIRST;
	unsigned char *at;

	if (st->tail == NULL || st->tail->cap - st->tail->used < n) {
		chunk_unref(&st->tail);
		st->tail = chunk_new_size(cap);
	}
	assert(st->tail->cap - st->tail->used >= n);
	at = st->tail->data + st->tail->used;
	memcpy(at, p, n);
	st->tail->used += (uint32_t)n;
	chq_add(&st->in, st->tail, at, n);
}

static void
keep(struct h2_stream *st, const uint8_t *p, size_t n)
{
	struct h2_session *s = st->s;

	if (n < PIECE_COPIED)
		copy_piece(st, p, n);
	else {
		assert(p >= s->in_at && p + n <= s->in_at + s->in_n);
		chq_share(&st->in, s->in, (size_t)(p - s->in_at), n);
	}
	s->held += n;
	if (s->held <= s->cfg.held &&
	    (s->cfg.account == NULL ||
		account_room(s->cfg.account, BUDGET_MEMORY) > 0))
		(void)nghttp2_session_consume_connection(s->ng, n);
	else
		s->owed += n;
	h2_news(st, H2_NEWS_DATA);
}

static int
on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p,
    size_t n, void *arg)
{
	struct h2_session *s = arg;
	struct h2_stream *st = find(s, id);

	(void)flags;
	if (st == NULL || st->reset || !st->owned) {
		(void)nghttp2_session_consume_connection(ng, n);
		return (0);
	}
	st->got += n;
	if (st->final && !st->bodyless &&
	    (st->expect == HTTP_LENGTH_UNKNOWN || st->got <= st->expect)) {
		keep(st, p, n);
		return (0);
	}
	(void)nghttp2_session_consume_connection(ng, n);
	h2_refuse(st, H2_PROTOCOL_ERROR,
	    s->cfg.server ? ERR_REQ_FRAMING : ERR_ORIGIN_FRAMING,
	    !st->final ? "a body before its head"
		       : "more body than the head allows");
	return (0);
}

/* --- other frames, and ends --- */

static void
on_priority_update(struct h2_session *s, const nghttp2_frame *frame)
{
	const nghttp2_ext_priority_update *p = frame->ext.payload;

	if (p->stream_id > s->last_id && !was_early(s, p->stream_id))
		s->early[s->early_n++ % H2_EARLY] = p->stream_id;
}

static int
on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct h2_session *s = arg;
	struct h2_stream *st;

	(void)ng;
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		on_head(s, frame);
		break;
	case NGHTTP2_DATA:
		st = find(s, frame->hd.stream_id);
		if (st != NULL && !st->reset &&
		    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
			end_in(st);
		break;
	case NGHTTP2_SETTINGS:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
			break;
		s->settings_came = s->windows_moved = true;
		break;
	case NGHTTP2_WINDOW_UPDATE:
		s->windows_moved = true;
		break;
	case NGHTTP2_PING:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
			s->pings = 0;
		break;
	case NGHTTP2_GOAWAY:
		s->goaway_came = true;
		break;
	case NGHTTP2_PRIORITY_UPDATE:
		on_priority_update(s, frame);
		break;
	default:
		break;
	}
	return (0);
}

/*
 * Frames that nghttp2 resets a stream for, or the connection.  It does not
 * tell of all that break flow control: those are counted in h2_send.c.
 */
static int
on_invalid(nghttp2_session *ng, const nghttp2_frame *frame, int error,
    void *arg)
{
	struct h2_session *s = arg;

	(void)ng;
	(void)frame;
	if (error != NGHTTP2_ERR_FLOW_CONTROL)
		(void)h2_spend(s, H2_SPEND_PROVOKED, 1);
	return (0);
}

/* How a reset in the middle of it is called. */
static enum err
cut_err(const struct h2_stream *st)
{
	if (st->s->cfg.server)
		return (st->final && !st->in_end ? ERR_REQ_BODY_CUT
						 : ERR_CLIENT_GONE);
	return (st->final ? ERR_ORIGIN_CUT : ERR_ORIGIN_CLOSED);
}

static int
on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
	struct h2_session *s = arg;
	struct h2_stream *st = find(s, id);

	(void)ng;
	if (st == NULL)
		return (0);
	st->closed = true;
	if (st->in_end && st->out_sent)
		h2_budget_earn(&s->budget, H2_SPEND_RESET, 1);
	else
		h2_stream_over(st,
		    code <= H2_HTTP_1_1_REQUIRED ? (enum h2_code)code
						 : H2_INTERNAL_ERROR,
		    false, cut_err(st), "the stream was reset");
	h2_stream_settle(st);
	return (0);
}

void
h2_recv_callbacks(nghttp2_session_callbacks *c)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(c,
	    on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c,
	    on_invalid);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
}
