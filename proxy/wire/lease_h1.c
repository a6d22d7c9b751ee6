/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leases on HTTP/1: one at a time on a connection, whose link has news for
 * the lease's task directly.
 *
 * Room: proxy/wire.  Thread: its worker's.  Obeys RFC 9112.
 */
#include <assert.h>
#include "http/h1_emit.h"
#include "http/h1_frame.h"
#include "proxy/wire/lease_priv.h"
#include "proxy/wire/upstream.h"

/* NULL: it is idle. */
static struct lease *
lease_of(const struct origin *o)
{
	return (list_empty(&o->leases)
		? NULL
		: CONTAINER_OF(o->leases.next, struct lease, link));
}

static void
h1_attach(struct lease *l)
{
	struct origin *o = l->origin;

	assert(lease_of(o) == l && l->link.next == &o->leases);
	o->in.wake = l->wake;
	o->out.sink.wake = l->wake;
	link_set_owner(o->transport, l->wake);
}

static void
h1_begin(struct origin *o)
{
	h1_in_init(&o->in, o->transport, NULL);
	if (lease_of(o) != NULL)
		h1_attach(lease_of(o));
}

static void
h1_end(struct origin *o)
{
	h1_in_fini(&o->in, NULL);
}

/* What is under way shows in whether the connection is whole. */
static void
h1_detach(struct lease *l)
{
	assert(lease_of(l->origin) == l);
}

/* Its link has news for the lease's task. */
static void
h1_run(struct origin *o)
{
	assert(o->in.link == o->transport);
}

/* One at a time. */
static bool
h1_bears(const struct origin *o)
{
	return (o->n_leases == 0);
}

static void
h1_turn(struct lease *l)
{
	h1_in_wake(&l->origin->in);
}

/*
 * For a parent: the whole URL, and what it is shown of us, which is in no
 * message that anybody else sees.
 */
static void
add_whole(struct buf *head, struct http_msg *req, struct str authorization)
{
	if (authorization.n > 0)
		http_fields_add(req->arena, &req->fields,
		    FIELD_PROXY_AUTHORIZATION, authorization);
	h1_emit_request(head, req, H1_TARGET_ABSOLUTE);
	http_fields_remove(&req->fields, FIELD_PROXY_AUTHORIZATION);
}

static struct sink *
h1_send(struct lease *l, struct http_msg *req, bool has_body)
{
	struct origin *o = l->origin;
	struct buf head = { 0 };

	assert(!h1_sink_is_open(&o->out));
	lease_note_head(l, req);
	if (o->way.absolute)
		add_whole(&head, req, way_authorization(&o->way));
	else
		h1_emit_request(&head, req, H1_TARGET_ORIGIN);
	link_write(o->transport, head.p, head.n);
	buf_fini(&head);
	return (has_body ? h1_sink_begin(&o->out, o->transport, req,
			       h1_frame_out(req, false), l->wake)
			 : NULL);
}

/* A head has come; false: it is bad. */
static bool
take_head(struct lease *l, struct http_msg *m, struct fault *f)
{
	struct h1_in *in = &l->origin->in;

	lease_note_head(l, m);
	if (m->status < 200)
		return (true);
	/* It is we whom the parent asks: RFC 9110 11.7.1. */
	if (l->origin->way.absolute && m->status == 407) {
		fault_set(f, ERR_PARENT_AUTH,
		    "%s: it wants other credentials than 'user' (407)",
		    l->origin->way.end->conf->text);
		return (false);
	}
	if (h1_frame_response(m, l->req, &in->frame, f) != ERR_NONE)
		return (false);
	/* Where a head can be read in two ways nothing may follow it. */
	l->keep = in->frame.keep_alive && !in->odd;
	return (true);
}

static enum lease_got
h1_head(struct lease *l, struct arena *a, const struct h1_limits *limits,
    struct http_msg **msg, struct fault *f)
{
	struct origin *o = l->origin;

	switch (h1_in_head(&o->in, a, H1_RESPONSE, limits, msg, f)) {
	case H1_GOT_HEAD:
		if (take_head(l, *msg, f))
			return (LEASE_GOT_HEAD);
		break;
	case H1_GOT_WAIT:
		return (LEASE_GOT_WAIT);
	case H1_GOT_END:
	case H1_GOT_CUT:
		fault_set(f, ERR_ORIGIN_CLOSED, "%s", link_error(o->transport));
		return (LEASE_GOT_END);
	case H1_GOT_BAD:
		break;
	}
	o->in.poisoned = true;
	return (LEASE_GOT_BAD);
}

static struct body *
h1_body(struct lease *l, struct body_store *store, const struct http_msg *msg)
{
	return (h1_in_body(&l->origin->in, l->worker->loop, store, msg,
	    ERR_ORIGIN_CHUNK, ERR_ORIGIN_CUT));
}

static struct duplex *
h1_switched(struct lease *l)
{
	struct origin *o = l->origin;

	assert(!h1_sink_is_open(&o->out));
	return (h1_duplex_begin(&o->raw, &o->in, l->wake));
}

static bool
h1_begun(const struct lease *l)
{
	return (h1_in_begun(&l->origin->in));
}

static bool
h1_silent(const struct lease *l, uint64_t now, uint64_t ms)
{
	return (h1_in_stalled(&l->origin->in, now, ms));
}

static bool
h1_slow(struct lease *l, uint64_t now, uint64_t rate)
{
	return (h1_in_is_slow(&l->origin->in, now, rate));
}

static uint64_t
h1_due(const struct lease *l, uint64_t now, uint64_t ms, uint64_t rate)
{
	return (h1_in_due(&l->origin->in, now, ms, rate));
}

static void
h1_forgive(struct lease *l, uint64_t now)
{
	h1_in_forgive(&l->origin->in, now);
}

static bool
h1_whole(const struct origin *o)
{
	return (!o->in.poisoned && !o->in.in_body &&
	    chq_len(&o->in.bytes) == 0 && !h1_sink_is_open(&o->out) &&
	    !link_broken(o->transport));
}

/* RFC 9112 9.2: what comes unasked answers nobody's request. */
static bool
h1_stale(struct origin *o)
{
	return (link_is_stale(o->transport));
}

const struct speech speech_h1 = { .protocol = TLS_HTTP1,
	.begin = h1_begin,
	.end = h1_end,
	.attach = h1_attach,
	.detach = h1_detach,
	.run = h1_run,
	.bears = h1_bears,
	.turn = h1_turn,
	.send = h1_send,
	.head = h1_head,
	.body = h1_body,
	.switched = h1_switched,
	.begun = h1_begun,
	.silent = h1_silent,
	.slow = h1_slow,
	.due = h1_due,
	.forgive = h1_forgive,
	.whole = h1_whole,
	.stale = h1_stale };
