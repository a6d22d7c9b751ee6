/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A session of HTTP/2: its life, its output, the connection; see h2.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "http/h2_priv.h"

#define STREAMS_USUAL 100u
#define WINDOW_USUAL 262144u
#define WINDOW_ALL_MIN 1048576u /* the connection's */
#define HEAD_SENT_MAX 262144u   /* octets of a head of ours */
#define ACKS_MAX 200u           /* answers that nobody reads */
#define CONTROL_MAX 64u         /* beyond it we do not read */
/* What nghttp2 takes, about: a session (measured), a stream. */
#define SESSION_BYTES 16000u
#define STREAM_BYTES 700u
#define SESSION_FREE 16384u /* of that are not counted */

/* nghttp2 fails for want of memory alone, or through a bug of ours. */
static void
must(int r)
{
	if (r != 0)
		abort();
}

/* --- life --- */

static nghttp2_option *
options(bool server)
{
	nghttp2_option *o;

	must(nghttp2_option_new(&o));
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1); /* h2_fields.c */
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_max_send_header_block_length(o, HEAD_SENT_MAX);
	nghttp2_option_set_max_outbound_ack(o, ACKS_MAX);
	if (server)
		nghttp2_option_set_builtin_recv_extension_type(o,
		    NGHTTP2_PRIORITY_UPDATE);
	return (o);
}

static nghttp2_session *
engine(struct h2_session *s)
{
	nghttp2_session_callbacks *calls;
	nghttp2_option *o = options(s->cfg.server);
	nghttp2_session *ng;

	must(nghttp2_session_callbacks_new(&calls));
	h2_recv_callbacks(calls);
	h2_send_callbacks(calls);
	must(s->cfg.server
		? nghttp2_session_server_new3(&ng, calls, s, o, &h2_mem)
		: nghttp2_session_client_new3(&ng, calls, s, o, &h2_mem));
	nghttp2_session_callbacks_del(calls);
	nghttp2_option_del(o);
	return (ng);
}

uint32_t
h2_first_window(const struct h2_session *s)
{
	return (
	    s->cfg.window < H2_WINDOW_FIRST ? s->cfg.window : H2_WINDOW_FIRST);
}

/* RFC 9113 6.5.2, RFC 8441 3, RFC 9218 2.1 */
static void
settings(struct h2_session *s)
{
	const nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->cfg.streams },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
		    h2_first_window(s) },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		    (uint32_t)s->cfg.limits->section },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
	}, client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
		    h2_first_window(s) },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		    (uint32_t)s->cfg.limits->section },
	};

	if (s->cfg.server)
		must(nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, server,
		    s->cfg.connect ? 5 : 4));
	else
		must(nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, client,
		    3));
}

/* What all may send before any of it is given back. */
static void
connection_window(struct h2_session *s)
{
	uint64_t window = 4 * (uint64_t)s->cfg.window;

	if (window < WINDOW_ALL_MIN)
		window = WINDOW_ALL_MIN;
	if (window > INT32_MAX)
		window = INT32_MAX;
	must(nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0,
	    (int32_t)window));
}

struct h2_session *
h2_session_new(const struct h2_config *cfg)
{
	struct h2_session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	s->cfg = *cfg;
	if (s->cfg.streams == 0)
		s->cfg.streams = STREAMS_USUAL;
	if (s->cfg.window == 0)
		s->cfg.window = WINDOW_USUAL;
	if (s->cfg.window > INT32_MAX)
		s->cfg.window = INT32_MAX;
	if (s->cfg.held == 0)
		s->cfg.held = (uint64_t)s->cfg.window * s->cfg.streams;
	if (s->cfg.limits == NULL)
		s->cfg.limits = s->cfg.server ? &h1_limits_client
					      : &h1_limits_origin;
	list_init(&s->streams);
	list_init(&s->newsy);
	list_init(&s->roomless);
	s->ng = engine(s);
	s->frames.left = s->cfg.server ? H2_PREFACE : 0;
	settings(s);
	connection_window(s);
	charge_set(&s->charge, s->cfg.account, h2_session_bytes(s),
	    SESSION_FREE);
	return (s);
}

/* Streams of which only nghttp2 knows end with it. */
void
h2_session_free(struct h2_session **sp)
{
	struct h2_session *s = *sp;
	struct list *it, *save;
	struct h2_stream *st;

	*sp = NULL;
	if (s == NULL)
		return;
	LIST_EACH (it, save, &s->streams) {
		st = CONTAINER_OF(it, struct h2_stream, all);
		assert(!st->owned);
		st->closed = true;
		h2_stream_settle(st);
	}
	assert(s->n == 0 && s->held == 0 && s->unsent == 0);
	nghttp2_session_del(s->ng);
	free(s->nv);
	buf_fini(&s->text);
	charge_set(&s->charge, NULL, 0, 0);
	free(s);
}

enum err
h2_syntax(const struct h2_session *s)
{
	return (s->cfg.server ? ERR_REQ_SYNTAX : ERR_ORIGIN_SYNTAX);
}

/* It failed: every stream gets its end, once. */
static void
streams_gone(struct h2_session *s, enum h2_code code)
{
	struct list *it, *save;
	struct h2_stream *st;

	if (!s->failed || s->told)
		return;
	s->told = true;
	LIST_EACH (it, save, &s->streams) {
		st = CONTAINER_OF(it, struct h2_stream, all);
		if (!st->closed)
			h2_stream_over(st, code, false,
			    s->fault.code != ERR_NONE ? s->fault.code
						      : ERR_SHUTDOWN,
			    NULL);
		st->closed = true;
		(void)nghttp2_session_set_stream_user_data(s->ng, st->id, NULL);
		h2_stream_settle(st);
	}
}

void
h2_fail(struct h2_session *s, enum h2_code code, enum err err, const char *why)
{
	if (s->failed)
		return;
	(void)fault_set(&s->fault, err, "%s", why);
	s->failed = true;
	must(nghttp2_session_terminate_session(s->ng, code));
}

void
h2_session_end(struct h2_session *s, enum h2_code code, const struct fault *f)
{
	if (s->failed)
		return;
	if (f != NULL)
		(void)fault_copy(&s->fault, f);
	s->failed = true;
	must(nghttp2_session_terminate_session(s->ng, code));
	streams_gone(s, code);
}

void
h2_session_gone(struct h2_session *s, const struct fault *f)
{
	(void)fault_copy(&s->fault, f);
	s->failed = true;
	must(nghttp2_session_terminate_session(s->ng, H2_NO_ERROR));
	streams_gone(s, H2_CANCEL);
}

bool
h2_spend(struct h2_session *s, enum h2_kind k, uint32_t n)
{
	if (h2_budget_spend(&s->budget, k, n, s->now_ms))
		return (true);
	h2_fail(s, H2_ENHANCE_YOUR_CALM,
	    s->cfg.server ? ERR_CLIENT_FLOOD : ERR_ORIGIN_SYNTAX,
	    h2_budget_text(k));
	return (false);
}

/* --- octets --- */

static void
recharge(struct h2_session *s)
{
	charge_set(&s->charge, s->cfg.account, h2_session_bytes(s),
	    SESSION_FREE);
}

bool
h2_session_take(struct h2_session *s, struct chq *in, uint64_t now_ms)
{
	assert(s->in == NULL && s->to == NULL);
	s->now_ms = now_ms;
	s->in = in;
	while (!s->failed && chq_len(in) > 0) {
		s->in_at = chq_peek(in, &s->in_n);
		h2_frames_take(s, s->in_at, s->in_n);
		chq_drop(in, s->in_n);
	}
	s->in = NULL;
	chq_drop(in, chq_len(in));
	streams_gone(s, H2_PROTOCOL_ERROR);
	if (s->windows_moved)
		h2_room_news(s);
	recharge(s);
	return (!s->failed);
}

void
h2_put(struct h2_session *s, const void *p, size_t n)
{
	unsigned char *at;

	assert(s->to != NULL);
	if (n > CHUNK_BYTES) {
		chq_copy(s->to, p, n);
		return;
	}
	if (s->tail == NULL || s->tail->cap - s->tail->used < n) {
		chunk_unref(&s->tail);
		s->tail = chunk_new();
	}
	at = s->tail->data + s->tail->used;
	memcpy(at, p, n);
	s->tail->used += (uint32_t)n;
	chq_add(s->to, s->tail, at, n);
}

size_t
h2_session_give(struct h2_session *s, struct chq *out, size_t room)
{
	size_t had = chq_len(out);
	const uint8_t *p;
	ssize_t n;

	assert(s->in == NULL && s->to == NULL);
	s->to = out;
	s->to_room = had + room;
	while (chq_len(out) < s->to_room) {
		n = nghttp2_session_mem_send(s->ng, &p);
		if (n < 0)
			abort(); /* for want of memory */
		if (n == 0)
			break;
		h2_put(s, p, (size_t)n);
	}
	chunk_unref(&s->tail);
	s->to = NULL;
	streams_gone(s, H2_PROTOCOL_ERROR);
	h2_room_news(s);
	recharge(s);
	return (chq_len(out) - had);
}

bool
h2_session_wants_read(const struct h2_session *s)
{
	return (!s->failed && nghttp2_session_want_read(s->ng) != 0 &&
	    nghttp2_session_get_outbound_queue_size(s->ng) <
		CONTROL_MAX + 2 * s->n);
}

bool
h2_session_wants_write(const struct h2_session *s)
{
	return (nghttp2_session_want_write(s->ng) != 0);
}

bool
h2_session_is_over(const struct h2_session *s)
{
	return (nghttp2_session_want_write(s->ng) == 0 &&
	    (s->failed || nghttp2_session_want_read(s->ng) == 0));
}

enum err
h2_session_fault(const struct h2_session *s, struct fault *f)
{
	if (f != NULL && s->fault.code != ERR_NONE)
		(void)fault_copy(f, &s->fault);
	return (s->fault.code);
}

size_t
h2_session_bytes(const struct h2_session *s)
{
	return (sizeof(*s) + SESSION_BYTES + s->nv_cap * sizeof(*s->nv) +
	    s->text.cap + s->n * (sizeof(struct h2_stream) + STREAM_BYTES) +
	    s->held + s->unsent);
}

/* --- the connection --- */

unsigned
h2_session_streams(const struct h2_session *s)
{
	return (s->n);
}

bool
h2_session_in_head(const struct h2_session *s)
{
	return (s->frames.in_block);
}

void
h2_session_leave(struct h2_session *s)
{
	assert(s->cfg.server);
	if (s->leaving || s->goaway_sent || s->failed)
		return;
	s->leaving = true;
	must(nghttp2_submit_shutdown_notice(s->ng));
}

bool
h2_session_has_left(const struct h2_session *s)
{
	return (s->leave_sent && s->pings == 0);
}

void
h2_session_drain(struct h2_session *s)
{
	if (s->goaway_sent || s->failed)
		return;
	s->goaway_sent = true;
	must(nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE,
	    nghttp2_session_get_last_proc_stream_id(s->ng), H2_NO_ERROR, NULL,
	    0));
}

void
h2_session_ping(struct h2_session *s)
{
	if (s->pings > 0 || s->failed)
		return;
	s->pings++;
	must(nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, NULL));
}

bool
h2_session_ping_unanswered(const struct h2_session *s)
{
	return (s->pings > 0);
}

bool
h2_session_is_ready(const struct h2_session *s)
{
	return (s->settings_came);
}

bool
h2_session_may_connect(const struct h2_session *s)
{
	return (nghttp2_session_get_remote_settings(s->ng,
		    NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1);
}

bool
h2_session_can_open(const struct h2_session *s)
{
	return (!s->failed && !s->goaway_came && !s->goaway_sent &&
	    nghttp2_session_check_request_allowed(s->ng) != 0);
}

unsigned
h2_session_limit(const struct h2_session *s)
{
	uint32_t limit = s->cfg.streams, peers;

	peers = nghttp2_session_get_remote_settings(s->ng,
	    NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return (s->settings_came && peers < limit ? peers : limit);
}

bool
h2_session_may_open(const struct h2_session *s)
{
	return (h2_session_can_open(s) && s->n < h2_session_limit(s));
}

struct h2_stream *
h2_session_open(struct h2_session *s, struct arena *a,
    const struct http_msg *req, bool end)
{
	struct h2_stream *st;
	nghttp2_data_provider from;
	int32_t id;

	assert(!s->cfg.server && h2_session_can_open(s));
	st = h2_stream_new(s, a);
	st->req = req;
	st->answered = true;
	st->out_end = end;
	if (req->length_is == LENGTH_KNOWN)
		st->promise = req->length;
	h2_emit_request(s, req);
	from = h2_provider(st);
	id = nghttp2_submit_request(s->ng, NULL, s->nv, s->nv_n,
	    end ? NULL : &from, st);
	if (id < 0)
		abort();
	st->id = s->last_id = id;
	return (st);
}
