/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bodies of a lease on HTTP/2: the answer's is pulled from its stream,
 * whose window is given back by that alone; the request's goes into it.
 *
 * Room: proxy/wire.  Thread: its worker's.  Units: octets, ms.
 * Obeys RFC 9113 5.2, 8.1.
 */
#include <assert.h>
#include "proxy/wire/lease_priv.h"

#define SWALLOWED 65536 /* room of a stream that takes no more */

static uint64_t
now_of(const struct lease *l)
{
	return (loop_now(l->worker->loop));
}

void
lease_h2_recharge(struct lease *l)
{
	const struct h2_stream *st = l->h2.stream;

	charge_set(&l->h2.charge, l->want.account,
	    st == NULL ? 0 : h2_stream_held(st) + h2_stream_unsent(st),
	    CHARGE_GRAIN);
}

/* The answer's. */

static struct lease *
of_source(struct source *s)
{
	return (CONTAINER_OF(s, struct lease, h2.src));
}

/* The body may outlive the stream. */
static void
keep_trailer(const struct lease *l, struct body *b)
{
	const struct http_fields *t = h2_stream_trailer(l->h2.stream);
	struct http_fields *kept;

	if (t->n == 0)
		return;
	kept = arena_alloc(l->req->arena, sizeof(*kept));
	*kept = *t;
	body_set_trailer(b, kept);
}

/* Inside a body an end of the connection is a cut. */
static void
say_why(const struct fault *why, struct fault *f)
{
	if (why->code == ERR_ORIGIN_CLOSED)
		fault_set(f, ERR_ORIGIN_CUT, "%s", why->detail);
	else
		fault_copy(f, why);
	fault_set(f, ERR_ORIGIN_CUT, "the stream was reset");
}

static enum pull
src_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct lease *l = of_source(s);
	struct h2_leg *x = &l->h2;
	size_t had = chq_len(out);
	struct fault why = { 0 };
	struct body *b = s->body;
	enum pull p;

	assert(x->in_body && x->stream != NULL);
	p = h2_stream_pull(x->stream, out, want, &why);
	switch (p) {
	case PULL_MORE:
		x->silent_since = 0;
		pace_pause(&x->pace, now_of(l));
		pace_got(&x->pace, chq_len(out) - had);
		break;
	case PULL_WAIT:
		if (x->silent_since == 0)
			x->silent_since = now_of(l);
		pace_wait(&x->pace, now_of(l));
		break;
	case PULL_END:
		keep_trailer(l, b);
		break;
	case PULL_CUT:
	case PULL_FAIL:
		say_why(&why, f);
		break;
	}
	lease_h2_recharge(l);
	origin_h2_flush(l->origin); /* its window */
	return (p);
}

static void
src_drop(struct source *s, enum pull last)
{
	struct lease *l = of_source(s);

	(void)last; /* what is left is reset with the stream */
	l->h2.in_body = false;
	l->h2.silent_since = 0;
	task_wake(l->wake);
}

static const struct source_type src_type = { "http2", src_pull, src_drop };

struct body *
lease_h2_source(struct lease *l, struct body_store *store,
    const struct http_msg *msg)
{
	assert(l->h2.stream != NULL && !l->h2.in_body);
	if (!http_has_body(msg))
		return (NULL);
	source_init(&l->h2.src, &src_type);
	l->h2.in_body = true;
	return (body_new(l->worker->loop, store, &l->h2.src, http_length(msg)));
}

void
lease_h2_source_gone(struct lease *l)
{
	struct fault f = { .code = ERR_ORIGIN_CUT };

	if (!l->h2.in_body)
		return;
	l->h2.in_body = false;
	source_gone(&l->h2.src, PULL_CUT, &f);
}

/* Its clocks: octets that are here are nobody's silence. */

static bool
is_awaited(const struct lease *l)
{
	return (l->h2.in_body && l->h2.silent_since != 0 &&
	    h2_stream_held(l->h2.stream) == 0);
}

bool
lease_h2_silent(const struct lease *l, uint64_t now, uint64_t ms)
{
	return (is_awaited(l) && now - l->h2.silent_since >= ms);
}

bool
lease_h2_slow(struct lease *l, uint64_t now, uint64_t rate)
{
	return (l->h2.in_body && pace_is_slow(&l->h2.pace, now, rate, 1));
}

uint64_t
lease_h2_due(const struct lease *l, uint64_t now, uint64_t ms, uint64_t rate)
{
	uint64_t silent, slow;

	if (!l->h2.in_body)
		return (UINT64_MAX);
	silent = (is_awaited(l) ? l->h2.silent_since : now) + ms;
	slow = rate > 0 ? pace_due(&l->h2.pace, now) : UINT64_MAX;
	return (silent < slow ? silent : slow);
}

void
lease_h2_forgive(struct lease *l, uint64_t now)
{
	bool waits = l->h2.pace.since != 0;

	l->h2.pace = (struct pace){ .since = waits ? now : 0 };
	if (l->h2.silent_since != 0)
		l->h2.silent_since = now;
}

/* The request's. */

static struct lease *
of_sink(struct sink *s)
{
	return (CONTAINER_OF(s, struct lease, h2.sink));
}

/*
 * The origin has answered, or failed, and wants no more of it (RFC 9113 8.1):
 * what the client still sends goes nowhere.
 */
static bool
is_deaf(const struct lease *l)
{
	return (l->h2.stream != NULL ? h2_stream_is_reset(l->h2.stream, NULL)
				     : !l->h2.waits);
}

static bool
has_length(const struct lease *l)
{
	return (l->req->length_is == LENGTH_KNOWN);
}

static size_t
snk_room(struct sink *s)
{
	struct lease *l = of_sink(s);

	if (is_deaf(l))
		return (SWALLOWED);
	if (l->h2.stream == NULL)
		return (0);
	/* Where all has been written its end needs no window. */
	return (has_length(l) && l->h2.left == 0
		? 1
		: h2_stream_room(l->h2.stream));
}

static bool
snk_write(struct sink *s, struct chq *q, size_t n)
{
	struct lease *l = of_sink(s);

	if (has_length(l)) {
		if (n > l->h2.left)
			return (false);
		l->h2.left -= n;
	}
	l->h2.put += n;
	if (is_deaf(l)) {
		chq_drop(q, n);
		return (true);
	}
	h2_stream_write(l->h2.stream, q, n);
	lease_h2_recharge(l);
	origin_h2_flush(l->origin);
	return (true);
}

static enum pull
snk_end(struct sink *s, const void *trailer)
{
	struct lease *l = of_sink(s);

	if (has_length(l) && l->h2.left > 0)
		return (PULL_CUT); /* RFC 9113 8.1.1 */
	if (!is_deaf(l)) {
		h2_stream_end(l->h2.stream, trailer);
		origin_h2_flush(l->origin);
	}
	return (PULL_END);
}

static void
snk_abort(struct sink *s)
{
	struct lease *l = of_sink(s);

	if (is_deaf(l) || l->h2.stream == NULL)
		return;
	h2_stream_reset(l->h2.stream, H2_CANCEL);
	lease_h2_recharge(l);
	origin_h2_flush(l->origin);
}

/* What its connection has taken: the stream's window is its word for it. */
static uint64_t
snk_taken(struct sink *s)
{
	const struct lease *l = of_sink(s);

	return (l->h2.stream == NULL
		? 0
		: l->h2.put - h2_stream_unsent(l->h2.stream));
}

static const struct sink_type snk_type = { .name = "http2",
	.room = snk_room,
	.write = snk_write,
	.end = snk_end,
	.abort = snk_abort,
	.taken = snk_taken };

struct sink *
lease_h2_sink(struct lease *l)
{
	assert(l->h2.sink.type == NULL && l->h2.has_body);
	sink_init(&l->h2.sink, &snk_type, l->wake);
	l->h2.left = l->req->length;
	return (&l->h2.sink);
}
