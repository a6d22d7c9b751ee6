/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stream as an exchange, see h2_exchange.h. */
#include <assert.h>
#include <string.h>
#include "http/uri.h"
#include "http/ws_h2.h"
#include "proxy/wire/h2_exchange_priv.h"

#define GONE_MS 500        /* we have reset it: its flow may find out why */
#define ROOM_NOWHERE 65536 /* a page that nobody gets */
#define FRAME_HEAD 9       /* octets (RFC 9113 4.1) */

static struct h2_exchange *
of_exchange(struct exchange *x)
{
	return (CONTAINER_OF(x, struct h2_exchange, x));
}

static struct task *
server_task(const struct h2_exchange *e)
{
	return (e->server->server.of.task);
}

static struct link *
link_of(const struct h2_exchange *e)
{
	return (e->server->server.of.link);
}

static uint64_t
now_of(const struct h2_exchange *e)
{
	return (loop_now(server_task(e)->loop));
}

struct h2_exchange *
h2_exchange_of(struct list *l)
{
	return (CONTAINER_OF(l, struct h2_exchange, link));
}

void
h2_exchange_to_send(const struct h2_exchange *e)
{
	task_wake(server_task(e));
}

/* Octets of a head: as it is without its compression. */
static uint64_t
head_octets(const struct http_msg *m)
{
	uint64_t n = FRAME_HEAD + m->method.n + m->target.n;
	unsigned i;

	for (i = 0; i < m->fields.n; i++)
		n += m->fields.v[i].name.n + m->fields.v[i].value.n;
	return (n);
}

/* --- the body of the request --- */

/* It lies where the request does; the list itself is the stream's. */
static void
keep_trailer(struct h2_exchange *e)
{
	const struct http_fields *from = h2_stream_trailer(e->st);
	struct http_fields *trailer;

	if (from->n == 0)
		return;
	trailer = arena_alloc(e->x.req->arena, sizeof(*trailer));
	*trailer = *from;
	body_set_trailer(e->src.body, trailer);
}

static enum pull
in_pull(struct source *src, struct chq *out, size_t want, struct fault *f)
{
	struct h2_exchange *e = CONTAINER_OF(src, struct h2_exchange, src);
	size_t had = chq_len(out);
	uint64_t now = now_of(e);
	enum pull p = h2_stream_pull(e->st, out, want, f);

	if (p == PULL_WAIT) {
		e->starved = true;
		if (e->silent_since == 0)
			e->silent_since = now;
		pace_wait(&e->pace, now);
		return (p);
	}
	e->silent_since = 0;
	pace_pause(&e->pace, now);
	pace_got(&e->pace, chq_len(out) - had);
	e->in += chq_len(out) - had;
	if (p == PULL_END)
		keep_trailer(e);
	if (h2_session_wants_write(e->server->session))
		h2_exchange_to_send(e); /* windows */
	return (p);
}

static void
in_drop(struct source *src, enum pull last)
{
	struct h2_exchange *e = CONTAINER_OF(src, struct h2_exchange, src);

	(void)last;
	e->in_body = false;
	e->silent_since = 0;
}

static const struct source_type in_type = { "http2", in_pull, in_drop };

static struct body *
x_body(struct exchange *x, struct body_store *store)
{
	struct h2_exchange *e = of_exchange(x);
	const struct http_msg *m = x->req;

	assert(!e->answered && !e->in_body);
	if (!http_has_body(m))
		return (NULL);
	e->in_body = true;
	return (body_new(server_task(e)->loop, store, &e->src, http_length(m)));
}

/* Nobody is there for the rest. */
static void
in_abandon(struct h2_exchange *e)
{
	struct fault f = { 0 };

	if (!e->in_body)
		return;
	e->in_body = false;
	fault_set(&f, ERR_REQ_BODY_CUT, NULL);
	source_gone(&e->src, PULL_CUT, &f);
}

static enum pace_says
x_pace(struct exchange *x, uint64_t now, uint64_t silence, uint64_t rate)
{
	struct h2_exchange *e = of_exchange(x);

	if (!e->in_body)
		return (PACE_WELL);
	if (e->silent_since != 0 && h2_stream_held(e->st) == 0 &&
	    now - e->silent_since >= silence)
		return (PACE_SILENT);
	return (pace_is_slow(&e->pace, now, rate, 1) ? PACE_SLOW : PACE_WELL);
}

static uint64_t
x_pace_due(const struct exchange *x, uint64_t now, uint64_t silence,
    uint64_t rate)
{
	const struct h2_exchange *e = CONTAINER_OF(x, struct h2_exchange, x);
	uint64_t silent, slow;

	if (!e->in_body)
		return (UINT64_MAX);
	silent = (e->silent_since != 0 ? e->silent_since : now) + silence;
	slow = rate > 0 ? pace_due(&e->pace, now) : UINT64_MAX;
	return (silent < slow ? silent : slow);
}

/* --- the body of the answer --- */

static struct h2_exchange *
of_sink(struct sink *s)
{
	return (CONTAINER_OF(s, struct h2_exchange, sink));
}

static size_t
out_room(struct sink *s)
{
	struct h2_exchange *e = of_sink(s);

	if (e->x.mute)
		return (ROOM_NOWHERE);
	/* Where all has been written its end needs no window. */
	return (e->length_is == LENGTH_KNOWN && e->left == 0
		? 1
		: h2_stream_room(e->st));
}

static bool
out_write(struct sink *s, struct chq *q, size_t n)
{
	struct h2_exchange *e = of_sink(s);

	if (e->length_is == LENGTH_NONE || /* there was to be none */
	    (e->length_is == LENGTH_KNOWN && n > e->left))
		return (false);
	e->left -= e->length_is == LENGTH_KNOWN ? n : 0;
	e->written += n;
	e->out += n;
	h2_stream_write(e->st, q, n);
	h2_exchange_to_send(e);
	return (true);
}

static enum pull
out_end(struct sink *s, const void *trailer)
{
	struct h2_exchange *e = of_sink(s);

	if (e->length_is == LENGTH_KNOWN && e->left > 0)
		return (PULL_CUT);
	h2_stream_end(e->st, trailer);
	h2_exchange_to_send(e);
	return (PULL_END);
}

/* Three ways to look at what the client takes, each never falls. */
static void
look_at_taken(struct h2_exchange *e, uint64_t by[3])
{
	by[H2_WAIT_ROOM] = h2_server_taken(e->server);
	by[H2_WAIT_WINDOW] = e->written - h2_stream_unsent(e->st);
	by[H2_WAIT_WINDOWS] = h2_session_given(e->server->session);
}

/*
 * Who keeps a window shut takes only what it opens it for.  What waits for
 * the link, or behind others, moves as the connection does.
 */
static uint64_t
out_taken(struct sink *s)
{
	struct h2_exchange *e = of_sink(s);
	enum h2_wait waits = h2_stream_waits(e->st);
	uint64_t by[3];

	look_at_taken(e, by);
	if (e->looked)
		e->taken += by[waits] - e->taken_by[waits];
	e->looked = true;
	memcpy(e->taken_by, by, sizeof(by));
	return (e->taken);
}

static const struct sink_type out_type = { .name = "http2",
	.room = out_room,
	.write = out_write,
	.end = out_end,
	.taken = out_taken };

/* --- heads of the answer --- */

static void
x_interim(struct exchange *x, const struct http_msg *m)
{
	struct h2_exchange *e = of_exchange(x);

	assert(!e->answered);
	h2_stream_interim(e->st, m);
	e->expects = e->expects && m->status != 100;
	e->interim = e->server->interims = true;
	e->out += head_octets(m);
	h2_exchange_to_send(e);
}

static bool
x_takes_interim(struct exchange *x)
{
	struct h2_exchange *e = of_exchange(x);

	e->wants_interim = e->interim || link_room(link_of(e)) == 0;
	e->server->interims |= e->wants_interim;
	return (!e->wants_interim);
}

static void
x_continue(struct exchange *x)
{
	static const struct http_msg go_on = { .status = 100 };
	struct h2_exchange *e = of_exchange(x);

	if (e->expects)
		x_interim(x, &go_on);
	e->expects = false;
}

static struct sink *
x_respond(struct exchange *x, struct http_msg *m, bool body, bool keep)
{
	struct h2_exchange *e = of_exchange(x);

	(void)keep; /* it is the connection's, not ours */
	assert(!e->answered);
	e->answered = true;
	if (e->extended && m->status / 100 == 2) { /* that would grant it */
		m->status = 502;
		m->reason = str_of(http_reason(502));
	}
	h2_stream_answer(e->st, m, !body);
	e->out += head_octets(m);
	h2_exchange_to_send(e);
	if (!body)
		return (NULL);
	sink_init(&e->sink, &out_type, x->wake);
	e->length_is = m->length_is;
	e->left = m->length;
	return (&e->sink);
}

/* --- an extended CONNECT that is granted --- */

/* RFC 8441 5: a 200 without what HTTP/1 says of a switch. */
static struct duplex *
x_switch(struct exchange *x, struct http_msg *m)
{
	struct h2_exchange *e = of_exchange(x);

	assert(!e->answered && e->extended && !e->in_body);
	e->answered = e->switched = true;
	ws_h2_answer_to_h2(m);
	h2_stream_answer(e->st, m, false);
	e->out += head_octets(m);
	h2_exchange_to_send(e);
	return (h2_duplex_begin(e));
}

static void
x_end(struct exchange *x, enum exchange_end how)
{
	struct h2_exchange *e = of_exchange(x);
	struct h2_server *s = e->server;

	assert(how != EXCHANGE_TUNNEL);
	assert(how != EXCHANGE_DONE ||
	    (e->answered && (e->sink.type == NULL || e->sink.end == PULL_END)));
	in_abandon(e);
	if (e->switched && how == EXCHANGE_DONE)
		duplex_end(&e->raw);
	if (how == EXCHANGE_ABORT)
		h2_stream_reset(e->st, H2_INTERNAL_ERROR);
	else if (how == EXCHANGE_HTTP1)
		h2_stream_reset(e->st, H2_HTTP_1_1_REQUIRED);
	h2_stream_free(&e->st);
	list_remove(&e->link);
	if (--s->n == 0)
		s->quiet_since = now_of(e);
	h2_exchange_to_send(e);
}

static void
x_count(struct exchange *x, uint64_t *in, uint64_t *out)
{
	const struct h2_exchange *e = of_exchange(x);

	*in = e->in;
	*out = e->out;
}

static const struct exchange_type exchange_type = {
	.http2 = true,
	.body = x_body,
	.interim = x_interim,
	.takes_interim = x_takes_interim,
	.go_on = x_continue,
	.respond = x_respond,
	.switched = x_switch,
	.end = x_end,
	.pace = x_pace,
	.pace_due = x_pace_due,
	.count = x_count,
};

/* --- news --- */

/*
 * An extended CONNECT becomes what asks for the same over HTTP/1: every rule
 * and service sees one form of it.  It has no key (RFC 8441 5), and gets ours.
 */
static void
take_connect(struct h2_exchange *e, struct http_msg *m)
{
	if (!str_ieq(m->protocol, STR("websocket"))) {
		fault_set(&e->x.fault, ERR_REQ_METHOD,
		    "CONNECT for another protocol than WebSocket");
		return;
	}
	e->extended = true;
	ws_h2_request_to_h1(m);
}

/*
 * A request as its flow finds it.  What was cut off is none that can be
 * looked at, as over HTTP/1.
 */
static void
take_request(struct h2_exchange *e, struct http_msg *m)
{
	const struct http_uri *in_tunnel = e->server->server.of.authority;
	struct exchange *x = &e->x;

	e->in = head_octets(m);
	if (!h2_stream_is_reset(e->st, NULL))
		(void)h2_stream_fault(e->st, &x->fault);
	if (x->fault.code == ERR_REQ_HEAD_LARGE ||
	    x->fault.code == ERR_REQ_LINE_LONG)
		return;
	if (m->protocol.n > 0)
		take_connect(e, m);
	(void)http_target_parse(m, in_tunnel, in_tunnel == NULL, &x->fault);
	x->req = m;
	e->expects = m->expect_continue;
}

void
h2_exchange_begin(struct h2_server *s, struct h2_stream *st, unsigned news)
{
	const struct server_options *of = &s->server.of;
	struct http_msg *m = h2_stream_head_take(st);
	struct fault refused = { 0 };
	struct h2_exchange *e;
	struct arena *a;

	/* Nothing of ours was wrong with what the client took back. */
	if (m == NULL &&
	    (!h2_stream_is_reset(st, NULL) ||
		h2_stream_fault(st, &refused) == ERR_NONE ||
		!h2_stream_is_ours(st))) {
		if (h2_stream_is_reset(st, NULL))
			h2_stream_free(&st);
		return;
	}
	a = h2_stream_arena_take(st);
	e = arena_zalloc(a, sizeof(*e));
	e->server = s;
	e->st = st;
	e->x = (struct exchange){ .type = &exchange_type,
		.arena = a,
		.fault = refused,
		.began_at = loop_now(of->task->loop),
		.mute = m == NULL,
		.gone_at = s->gone_at };
	source_init(&e->src, &in_type);
	h2_stream_set_owner(st, e);
	list_append(&s->exchanges, &e->link);
	s->n++;
	if (m != NULL)
		take_request(e, m);
	of->type->begin(of->host, &e->x);
	assert(e->x.wake != NULL && e->x.arena == NULL);
	if (m != NULL)
		h2_exchange_news(e, news);
}

void
h2_exchange_gone(struct h2_exchange *e, uint64_t at)
{
	if (e->x.gone_at != 0 && e->x.gone_at <= at)
		return;
	e->x.gone_at = at;
	task_wake(e->x.wake);
}

void
h2_exchange_sent(struct h2_exchange *e)
{
	e->interim = false;
	if (!e->wants_interim)
		return;
	if (link_room(link_of(e)) == 0) {
		e->server->interims = true; /* the next time */
		return;
	}
	e->wants_interim = false;
	task_wake(e->x.wake);
}

void
h2_exchange_news(struct h2_exchange *e, unsigned news)
{
	if ((news & H2_NEWS_DATA) != 0 && e->in_body && e->starved) {
		e->starved = false;
		pace_pause(&e->pace, now_of(e));
		source_wake(&e->src);
	}
	if (e->switched)
		task_wake(e->x.wake);
	else if ((news & H2_NEWS_ROOM) != 0)
		sink_wake(&e->sink);
	if ((news & H2_NEWS_RESET) != 0)
		h2_exchange_gone(e,
		    now_of(e) + (h2_stream_is_ours(e->st) ? GONE_MS : 0));
}
