/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leases on HTTP/2: each has a stream, and the connection's task, which reads
 * for all, has news for theirs.
 *
 * Room: proxy/wire.  Thread: its worker's.  Obeys RFC 9113.
 */
#include <assert.h>
#include "proxy/wire/lease_priv.h"

static struct h2_session *
session_of(const struct lease *l)
{
	return (l->origin->h2->session);
}

/* It is one of those that may take others. */
static void
h2_attach(struct lease *l)
{
	struct origin *o = l->origin;

	assert(o->h2 != NULL && o->sign_in == HTTP_SIGN_NONE);
	if (o->state == ORIGIN_LEASED && list_empty(&o->link))
		list_append(&o->place->shared, &o->link);
	if (l->h2.sink.type != NULL)
		l->h2.sink.wake = l->wake;
}

/* It has a stream, or will have none. */
static void
wait_ended(struct lease *l)
{
	if (l->h2.waits) {
		assert(l->origin->h2->waiting > 0);
		l->h2.waits = false;
		l->origin->h2->waiting--;
	}
}

void
lease_h2_probed(struct lease *l)
{
	assert(l->h2.probes && l->origin->h2->probing > 0);
	l->h2.probes = false;
	l->origin->h2->probing--;
	timer_stop(&l->timer);
}

static void
h2_detach(struct lease *l)
{
	wait_ended(l);
	if (l->h2.probes)
		lease_h2_probed(l);
	if (l->h2.stream != NULL && !h2_stream_ended(l->h2.stream) &&
	    !h2_stream_is_reset(l->h2.stream, NULL))
		l->origin->h2->resets++;
	lease_h2_source_gone(l);
	origin_h2_upload_ended(l);
	h2_stream_free(&l->h2.stream);
	lease_h2_recharge(l);
	origin_h2_flush(l->origin);
}

static void
h2_turn(struct lease *l)
{
	assert(l->origin->h2 != NULL); /* its connection wakes who waits */
}

static void
open_stream(struct lease *l)
{
	const struct http_msg *req = l->want.websocket ? lease_h2_connect(l)
						       : l->req;

	wait_ended(l);
	l->h2.stream = h2_session_open(session_of(l), req->arena, req,
	    !l->h2.has_body && !l->want.websocket);
	h2_stream_set_owner(l->h2.stream, l);
	if (l->h2.sink.type != NULL && l->h2.sink.waiting)
		sink_wake(&l->h2.sink);
}

static struct sink *
h2_send(struct lease *l, struct http_msg *req, bool has_body)
{
	struct h2_conn *h = l->origin->h2;
	struct sink *s;

	assert(l->h2.stream == NULL && !l->h2.waits && l->req == req);
	l->h2.has_body = has_body;
	if (has_body || l->want.websocket)
		origin_h2_upload_began(l);
	s = has_body ? lease_h2_sink(l) : NULL;
	l->h2.waits = true;
	h->waiting++;
	if (h->waiting == 1 && h2_session_may_open(h->session))
		open_stream(l);
	origin_h2_flush(l->origin);
	origin_h2_watch(l->origin);
	return (s);
}

void
lease_h2_open_waiting(struct origin *o)
{
	struct h2_conn *h = o->h2;
	struct list *it, *save;
	struct lease *l;

	if (h->waiting == 0 && h->probing == 0)
		return;
	LIST_EACH (it, save, &o->leases) {
		l = CONTAINER_OF(it, struct lease, link);
		if (l->h2.probes && origin_h2_is_probed(o))
			task_wake(l->wake);
		if (!l->h2.waits)
			continue;
		if (h2_session_may_open(h->session))
			open_stream(l);
		else if (!h2_session_can_open(h->session))
			task_wake(l->wake); /* lease_head() says so */
	}
}

/* News. */

static void
tell(struct lease *l, unsigned news)
{
	struct h2_leg *x = &l->h2;

	if ((news & (H2_NEWS_HEAD | H2_NEWS_RESET)) != 0)
		task_wake(l->wake);
	if ((news & (H2_NEWS_DATA | H2_NEWS_RESET)) != 0 && x->in_body) {
		pace_pause(&x->pace, loop_now(l->worker->loop));
		source_wake(&x->src);
	}
	if ((news & (H2_NEWS_ROOM | H2_NEWS_RESET)) != 0 && x->sink.waiting)
		sink_wake(&x->sink);
	if (l->at == LEASE_AT_SWITCHED)
		task_wake(l->wake);
	lease_h2_recharge(l);
}

void
lease_h2_news(struct origin *o)
{
	struct h2_stream *st;
	unsigned news;

	while ((st = h2_session_next(o->h2->session, &news)) != NULL)
		tell(h2_stream_owner(st), news);
}

/* The answer. */

/* RFC 9113 7 */
static const char *
code_name(enum h2_code code)
{
	static const char *const name[] = { "NO_ERROR", "PROTOCOL_ERROR",
		"INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
		"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL",
		"COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
		"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED" };

	assert((size_t)code < sizeof(name) / sizeof(name[0]));
	return (name[code]);
}

/* Its stream has ended without an answer. */
static enum lease_got
lost(struct lease *l, enum h2_code code, struct fault *f)
{
	struct fault why = { 0 };

	(void)h2_stream_fault(l->h2.stream, &why);
	if (why.code != ERR_ORIGIN_CLOSED && why.code != ERR_NONE) {
		fault_copy(f, &why);
		return (LEASE_GOT_BAD);
	}
	if (h2_session_fault(session_of(l), NULL) != ERR_NONE)
		fault_copy(f, &why);
	fault_set(f, ERR_ORIGIN_CLOSED, "the stream was reset: %s",
	    code_name(code));
	/* RFC 9113 8.7; beyond the last one of GOAWAY it is the same. */
	l->unseen = code == H2_REFUSED_STREAM || code == H2_HTTP_1_1_REQUIRED;
	l->origin->h2->refused |= l->unseen;
	if (code == H2_HTTP_1_1_REQUIRED)
		origin_wants_h1(l);
	return (LEASE_GOT_END);
}

static enum lease_got
h2_head(struct lease *l, struct arena *a, const struct h1_limits *limits,
    struct http_msg **msg, struct fault *f)
{
	enum h2_code code = H2_NO_ERROR;

	(void)a;      /* heads go where the request is */
	(void)limits; /* those of the session */
	if (l->h2.stream == NULL) {
		if (h2_session_can_open(session_of(l)))
			return (LEASE_GOT_WAIT);
		wait_ended(l);
		l->unseen = true;
		fault_set(f, ERR_ORIGIN_CLOSED,
		    "the connection ended before the request was sent");
		return (LEASE_GOT_END);
	}
	*msg = h2_stream_head_take(l->h2.stream);
	if (*msg == NULL)
		return (h2_stream_is_reset(l->h2.stream, &code)
			? lost(l, code, f)
			: LEASE_GOT_WAIT);
	/* There is no connection here that could be signed in. */
	if ((*msg)->status == 401 && http_sign_in_of(*msg) != HTTP_SIGN_NONE)
		origin_wants_h1(l);
	if (l->want.websocket && (*msg)->status / 100 == 2)
		lease_h2_granted(l, *msg);
	l->keep = true;
	return (LEASE_GOT_HEAD);
}

static bool
h2_begun(const struct lease *l)
{
	(void)l;
	return (false); /* heads come whole */
}

static bool
h2_whole(const struct origin *o)
{
	return (h2_session_can_open(o->h2->session));
}

const struct speech speech_h2 = { .protocol = TLS_H2,
	.begin = origin_h2_begin,
	.end = origin_h2_end,
	.attach = h2_attach,
	.detach = h2_detach,
	.run = origin_h2_run,
	.turn = h2_turn,
	.send = h2_send,
	.head = h2_head,
	.body = lease_h2_source,
	.switched = lease_h2_switched,
	.begun = h2_begun,
	.silent = lease_h2_silent,
	.slow = lease_h2_slow,
	.due = lease_h2_due,
	.forgive = lease_h2_forgive,
	.whole = h2_whole,
	.bears = origin_h2_bears,
	.stale = origin_h2_stale };
