/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes out on streams, and how nghttp2 fetches it; see h2.h. */
#include <assert.h>
#include <string.h>
#include "http/h2_priv.h"

#define OUT_MAX 65536u    /* of one stream, written ahead */
#define OUT_ALL 262144u   /* of all; beyond it a stream has */
#define OUT_MIN 16384u    /* ... no more than this */
#define SEND_COPIED 1024u /* less of DATA is copied behind its head */
#define ROOM_WORTH 4096u  /* less room is no news */
#define FRAME_MIN 256u    /* no smaller frames for want of room */

/* --- what the owner says --- */

void
h2_stream_interim(struct h2_stream *st, const struct http_msg *m)
{
	struct h2_session *s = st->s;

	if (st->reset || st->closed)
		return;
	assert(s->cfg.server && !st->answered && m->status < 200 &&
	    m->status != 101);
	h2_emit_answer(s, m);
	if (nghttp2_submit_headers(s->ng, NGHTTP2_FLAG_NONE, st->id, NULL,
		s->nv, s->nv_n, NULL) < 0)
		h2_stream_reset(st, H2_INTERNAL_ERROR);
}

void
h2_stream_answer(struct h2_stream *st, const struct http_msg *m, bool end)
{
	struct h2_session *s = st->s;
	nghttp2_data_provider from = h2_provider(st);

	if (st->reset || st->closed)
		return;
	assert(s->cfg.server && !st->answered && m->status >= 200);
	st->answered = true;
	st->out_end = end;
	if (m->length_is == LENGTH_KNOWN)
		st->promise = m->length;
	h2_emit_answer(s, m);
	if (nghttp2_submit_response(s->ng, st->id, s->nv, s->nv_n,
		end ? NULL : &from) != 0)
		h2_stream_reset(st, H2_INTERNAL_ERROR);
}

static size_t
windows(const struct h2_stream *st)
{
	nghttp2_session *ng = st->s->ng;
	int32_t own = nghttp2_session_get_stream_remote_window_size(ng, st->id),
		all = nghttp2_session_get_remote_window_size(ng);

	if (own < 0 && !st->s->cfg.server) /* its HEADERS are not out */
		own = (int32_t)nghttp2_session_get_remote_settings(ng,
		    NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
	if (own <= 0 || all <= 0)
		return (0);
	return ((size_t)(own < all ? own : all));
}

enum h2_wait
h2_stream_waits(const struct h2_stream *st)
{
	nghttp2_session *ng = st->s->ng;

	if (!st->closed &&
	    nghttp2_session_get_stream_remote_window_size(ng, st->id) <= 0)
		return (H2_WAIT_WINDOW);
	return (nghttp2_session_get_remote_window_size(ng) <= 0
		? H2_WAIT_WINDOWS
		: H2_WAIT_ROOM);
}

uint64_t
h2_session_given(const struct h2_session *s)
{
	return (s->given);
}

static void
sweep_shut(struct h2_stream *st)
{
	size_t left = chq_len(&st->out);

	if (left > 0 && left == st->swept && windows(st) == 0)
		h2_stream_reset(st, H2_CANCEL);
	st->swept = left;
}

void
h2_session_sweep(struct h2_session *s, bool shut)
{
	struct list *it, *save;
	struct h2_stream *st;

	LIST_EACH (it, save, &s->streams) {
		st = CONTAINER_OF(it, struct h2_stream, all);
		if (st->owned || st->closed || st->reset)
			continue;
		if (st->lingers)
			h2_stream_reset(st, H2_NO_ERROR);
		else if (st->out_sent)
			st->lingers = true;
		else if (shut)
			sweep_shut(st);
	}
}

static size_t
room(const struct h2_stream *st)
{
	size_t n = windows(st), has = chq_len(&st->out),
	       max = st->s->unsent < OUT_ALL ? OUT_MAX : OUT_MIN;

	if (n > max)
		n = max;
	return (n > has ? n - has : 0);
}

size_t
h2_stream_room(struct h2_stream *st)
{
	size_t n;

	if (st->reset || st->closed || st->out_end)
		return (0);
	n = room(st);
	if (n == 0 && list_empty(&st->roomless))
		list_append(&st->s->roomless, &st->roomless);
	return (n);
}

void
h2_room_news(struct h2_session *s)
{
	struct list *it, *save;
	struct h2_stream *st;
	size_t n;

	s->windows_moved = false;
	LIST_EACH (it, save, &s->roomless) {
		st = CONTAINER_OF(it, struct h2_stream, roomless);
		n = room(st);
		if (n >= ROOM_WORTH || (n > 0 && chq_len(&st->out) == 0)) {
			list_remove(&st->roomless);
			h2_news(st, H2_NEWS_ROOM);
		}
	}
}

static void
go_on(struct h2_stream *st)
{
	if (st->deferred) {
		st->deferred = false;
		(void)nghttp2_session_resume_data(st->s->ng, st->id);
	}
}

void
h2_stream_write(struct h2_stream *st, struct chq *q, size_t n)
{
	if (st->reset || st->closed || st->out_end) {
		chq_drop(q, n);
		return;
	}
	assert(st->answered);
	st->put += n;
	if (st->promise != HTTP_LENGTH_UNKNOWN && st->put > st->promise) {
		chq_drop(q, n);
		h2_stream_reset(st, H2_INTERNAL_ERROR);
		return;
	}
	chq_move(&st->out, q, n);
	st->s->unsent += n;
	go_on(st);
}

size_t
h2_stream_unsent(const struct h2_stream *st)
{
	return (chq_len(&st->out));
}

static void
keep_trailer(struct h2_stream *st, const struct http_fields *from)
{
	struct arena *a;
	unsigned i;

	assert(st->out_arena == NULL);
	a = st->out_arena = arena_new();
	for (i = 0; i < from->n; i++)
		http_fields_add_named(a, &st->out_trailer,
		    arena_str(a, from->v[i].name),
		    arena_str(a, from->v[i].value));
}

void
h2_stream_end(struct h2_stream *st, const struct http_fields *trailer)
{
	if (st->reset || st->closed || st->out_end)
		return;
	assert(st->answered);
	if (st->promise != HTTP_LENGTH_UNKNOWN && st->put < st->promise) {
		h2_stream_reset(st, H2_INTERNAL_ERROR);
		return;
	}
	st->out_end = true;
	if (trailer != NULL && trailer->n > 0)
		keep_trailer(st, trailer);
	list_remove(&st->roomless);
	go_on(st);
}

/* --- what nghttp2 fetches --- */

/* The trailer goes out as HEADERS with END_STREAM behind the last DATA. */
static void
submit_trailer(struct h2_stream *st)
{
	assert(st->out_end && st->out_trailer.n > 0);
	h2_emit_trailer(st->s, &st->out_trailer);
	(void)nghttp2_submit_trailer(st->s->ng, st->id, st->s->nv, st->s->nv_n);
}

static ssize_t
read_out(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t max,
    uint32_t *flags, nghttp2_data_source *from, void *arg)
{
	struct h2_stream *st = from->ptr;
	struct h2_session *s = arg;
	size_t n = chq_len(&st->out), left;

	assert(s->to != NULL);
	(void)ng;
	(void)id;
	(void)buf;
	if (n == 0 && !st->out_end) {
		st->deferred = true;
		return (NGHTTP2_ERR_DEFERRED);
	}
	if (chq_len(s->to) >= s->to_room)
		return (NGHTTP2_ERR_PAUSE);
	left = s->to_room - chq_len(s->to);
	left = left > FRAME_MIN ? left - H2_FRAME_HEAD : FRAME_MIN;
	max = max < left ? max : left;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n > max)
		return ((ssize_t)max);
	if (st->out_end) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (st->out_trailer.n > 0) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			submit_trailer(st);
		}
	}
	return ((ssize_t)n);
}

nghttp2_data_provider
h2_provider(struct h2_stream *st)
{
	return ((nghttp2_data_provider){ .source = { .ptr = st },
	    .read_callback = read_out });
}

/* The head of a DATA frame and n octets behind it. */
static int
send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *hd,
    size_t n, nghttp2_data_source *from, void *arg)
{
	struct h2_stream *st = from->ptr;
	struct h2_session *s = arg;
	uint8_t small[H2_FRAME_HEAD + SEND_COPIED];

	assert(s->unsent >= n);
	(void)ng;
	assert(frame->data.padlen == 0 && n <= chq_len(&st->out));
	if (n <= SEND_COPIED) {
		memcpy(small, hd, H2_FRAME_HEAD);
		chq_read(&st->out, 0, small + H2_FRAME_HEAD, n);
		chq_drop(&st->out, n);
		h2_put(s, small, H2_FRAME_HEAD + n);
	} else {
		h2_put(s, hd, H2_FRAME_HEAD);
		chq_move(s->to, &st->out, n);
	}
	s->unsent -= n;
	s->given += n;
	h2_budget_earn(&s->budget, H2_SPEND_WINDOW, 2);
	h2_budget_earn(&s->budget, H2_SPEND_PING, 1);
	return (0);
}

/*
 * An answer is out whose request is not, and nobody waits for the rest of it
 * (RFC 9113 8.1).
 */
static void
stop_request(struct h2_stream *st)
{
	if (st->s->cfg.server && !st->s->cfg.patient && !st->owned &&
	    !st->in_end && !st->reset) {
		st->reset = st->ours = true;
		(void)nghttp2_submit_rst_stream(st->s->ng, NGHTTP2_FLAG_NONE,
		    st->id, H2_NO_ERROR);
	}
}

static int
on_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct h2_session *s = arg;
	struct h2_stream *st;

	switch (frame->hd.type) {
	case NGHTTP2_DATA:
	case NGHTTP2_HEADERS:
		if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
			break;
		st = nghttp2_session_get_stream_user_data(ng,
		    frame->hd.stream_id);
		if (st != NULL) {
			st->out_sent = true;
			stop_request(st);
		}
		break;
	case NGHTTP2_RST_STREAM:
		h2_remember_reset(s, frame->hd.stream_id);
		if (frame->rst_stream.error_code == H2_FLOW_CONTROL_ERROR)
			(void)h2_spend(s, H2_SPEND_PROVOKED, 1);
		break;
	case NGHTTP2_GOAWAY:
		if (s->leaving && !s->leave_sent &&
		    frame->goaway.error_code == H2_NO_ERROR &&
		    !s->goaway_sent) {
			s->leave_sent = true;
			h2_session_ping(s); /* nghttp2 would send it first */
			break;
		}
		s->goaway_sent = true;
		if (frame->goaway.error_code == H2_NO_ERROR)
			break;
		/* nghttp2 found something. */
		(void)fault_set(&s->fault, h2_syntax(s), "%.*s",
		    (int)frame->goaway.opaque_data_len,
		    (const char *)frame->goaway.opaque_data);
		s->failed = true;
		break;
	default:
		break;
	}
	return (0);
}

/* What became of a request that did not leave. */
static void
request_not_sent(struct h2_stream *st, int error)
{
	if (error == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED ||
	    error == NGHTTP2_ERR_SESSION_CLOSING) /* GOAWAY was quicker */
		h2_stream_over(st, H2_REFUSED_STREAM, false, ERR_ORIGIN_CLOSED,
		    "the connection takes no more");
	else
		h2_stream_over(st, H2_INTERNAL_ERROR, true, ERR_REQ_HEAD_LARGE,
		    "a head that is too large to be sent");
}

/* A head that is too large for nghttp2 is none: the stream ends. */
static int
on_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int error,
    void *arg)
{
	struct h2_stream *st;

	(void)arg;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return (0);
	st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
	if (st == NULL || st->reset || st->closed)
		return (0);
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		request_not_sent(st, error);
	else
		h2_refuse(st, H2_INTERNAL_ERROR, ERR_ORIGIN_HEAD_LARGE,
		    "a head that is too large to be sent");
	return (0);
}

void
h2_send_callbacks(nghttp2_session_callbacks *c)
{
	nghttp2_session_callbacks_set_send_data_callback(c, send_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(c,
	    on_not_sent);
}
