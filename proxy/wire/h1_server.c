/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The HTTP/1 server, see h1_server.h. */
#include <assert.h>
#include <string.h>
#include "base/budget.h"
#include "base/list.h"
#include "http/h1_emit.h"
#include "http/h1_frame.h"
#include "proxy/wire/h1_server.h"

#define FIRST_READ 16384
#define LAST_CALL_MS 1000
#define GONE_MS 500 /* a client that only ended its side may still read */

static const struct {
	enum { NONE, REQUEST_MS, IDLE_MS } deadline;
	unsigned follows;
} states[H1_SERVER_STATES] = {
#define ON(name) (1u << H1_SERVER_##name)
#define S(name, deadline, next) [H1_SERVER_##name] = { deadline, (next) },
#include "proxy/wire/h1_server.def"
#undef S
#undef ON
};

static struct h1_server *
of_server(struct server *s)
{
	return (CONTAINER_OF(s, struct h1_server, server));
}

static struct h1_server *
of_exchange(struct exchange *x)
{
	return (CONTAINER_OF(x, struct h1_server, x));
}

static struct link *
link_of(const struct h1_server *s)
{
	return (s->server.of.link);
}

static uint64_t
now_of(const struct h1_server *s)
{
	return (loop_now(s->server.of.task->loop));
}

/* Into the state: its deadline begins. */
static void
enter(struct h1_server *s, enum h1_server_state to)
{
	const struct server_options *of = &s->server.of;
	uint64_t ms = 0;

	s->state = to;
	if (states[to].deadline != NONE) {
		of->type->limits(of->host, &s->limits);
		ms = states[to].deadline == IDLE_MS ? s->limits.idle_ms
						    : s->limits.request_ms;
	}
	s->deadline_at = ms != 0 ? now_of(s) + ms : 0;
}

static void
go(struct h1_server *s, enum h1_server_state to)
{
	assert((states[s->state].follows & (1u << to)) != 0);
	enter(s, to);
}

static void
over(struct h1_server *s, enum server_step how)
{
	go(s, H1_SERVER_OVER);
	s->over = how;
	s->in.head = NULL; /* in the arena */
	arena_free(&s->arena);
}

static void
expired(struct timer *t)
{
	task_wake(CONTAINER_OF(t, struct h1_server, timer)->server.of.task);
}

static bool
is_late(const struct h1_server *s)
{
	return (s->deadline_at != 0 && now_of(s) >= s->deadline_at);
}

/* Between requests. */

static bool
goes_on(const struct h1_server *s)
{
	return (s->server.of.type->goes_on(s->server.of.host));
}

/*
 * The connection takes no further request, but a client that has just come may
 * have sent its first: that one is waited for a moment.
 */
static void
last_call(struct h1_server *s)
{
	uint64_t by = now_of(s) + LAST_CALL_MS;

	assert(s->state == H1_SERVER_FIRST);
	if (s->deadline_at > by)
		s->deadline_at = by;
}

/* The first octet makes a request, not the wait for it. */
static void
run_idle(struct h1_server *s)
{
	struct link *l = link_of(s);
	uint64_t before = link_bytes_in(l);
	bool ends = !goes_on(s), is_first = s->state == H1_SERVER_FIRST;
	enum pull p = PULL_MORE;

	if (ends && is_first)
		last_call(s);
	/* Answers without a body wait for nobody: the next request does. */
	if (link_room(l) > 0) {
		if (chq_len(&s->in.bytes) == 0)
			p = link_read(l, &s->in.bytes, FIRST_READ);
	} else
		p = PULL_WAIT;
	if (p == PULL_MORE) {
		s->in_before = before; /* what was just read is its own */
		s->out_before = link_bytes_out(l);
		s->arena = arena_new();
		arena_charge_to(s->arena, s->server.of.account);
		go(s, H1_SERVER_HEAD);
		s->x.began_at = now_of(s);
	} else if (p != PULL_WAIT || is_late(s) || (ends && !is_first))
		over(s, SERVER_CLOSE);
}

/* Heads. */

/* There is a request, or what is wrong with it. */
static void
begin(struct h1_server *s, struct http_msg *req)
{
	struct exchange *x = &s->x;

	x->req = req;
	x->arena = s->arena;
	s->arena = NULL;
	s->in.head = NULL;
	s->http10 = req != NULL && req->version == HTTP_1_0;
	s->persists = req != NULL && s->in.frame.keep_alive;
	s->expects = req != NULL && req->expect_continue;
	/* One that nobody takes would be read as the next request. */
	s->body_due = req != NULL && http_has_body(req);
	go(s, H1_SERVER_EXCHANGE);
	s->server.of.type->begin(s->server.of.host, x);
	assert(x->wake != NULL && x->arena == NULL);
}

static void
refuse(struct h1_server *s, enum err code, const char *detail)
{
	s->in.poisoned = true;
	fault_set(&s->x.fault, code, "%s", detail);
	begin(s, NULL);
}

static bool
is_too_dear(const struct h1_server *s)
{
	return (arena_bytes(s->arena) > ARENA_FREE &&
	    account_room(s->server.of.account, BUDGET_MEMORY) == 0);
}

static void
unfinished(struct h1_server *s)
{
	if (is_too_dear(s))
		refuse(s, ERR_MEMORY,
		    "limits.memory has no more for this client");
	else if (is_late(s) && !h1_in_begun(&s->in) && s->served > 0)
		over(s, SERVER_CLOSE); /* empty lines are no request */
	else if (is_late(s))
		refuse(s, ERR_REQ_TIMEOUT, "");
}

static enum err
target_of(struct h1_server *s, struct http_msg *m)
{
	const struct http_uri *in_tunnel = s->server.of.authority;

	if (s->server.of.any_host)
		return (http_target_parse_led(m, in_tunnel, &s->x.fault));
	return (
	    http_target_parse(m, in_tunnel, in_tunnel == NULL, &s->x.fault));
}

static void
run_head(struct h1_server *s)
{
	struct http_msg *m = NULL;

	switch (h1_in_head(&s->in, s->arena, H1_REQUEST, &s->limits.head, &m,
	    &s->x.fault)) {
	case H1_GOT_HEAD:
		if (h1_frame_request(m, &s->in.frame, &s->x.fault) !=
			ERR_NONE ||
		    target_of(s, m) != ERR_NONE)
			s->in.poisoned = true;
		begin(s, m);
		break;
	case H1_GOT_WAIT:
		unfinished(s);
		break;
	case H1_GOT_END:
	case H1_GOT_CUT:
		over(s, SERVER_CLOSE);
		break;
	case H1_GOT_BAD:
		s->in.poisoned = true;
		begin(s, NULL);
		break;
	}
}

/* News of the link, for the exchange. */

static void
note_gone(struct h1_server *s)
{
	uint64_t at = 0;

	if (link_broken(link_of(s)))
		at = now_of(s);
	else if (link_peer_gone(link_of(s)) ||
	    (link_peer_left(link_of(s)) && !s->in.in_body && !s->body_due))
		at = now_of(s) + GONE_MS;
	if (at == 0 || (s->x.gone_at != 0 && s->x.gone_at <= at))
		return;
	s->x.gone_at = at;
	task_wake(s->x.wake);
}

static void
run_exchange(struct h1_server *s)
{
	h1_in_wake(&s->in);
	h1_sink_wake(&s->out);
	if (s->wants_room && link_room(link_of(s)) > 0) {
		s->wants_room = false;
		task_wake(s->x.wake);
	}
	note_gone(s);
	link_look(link_of(s)); /* it may go away meanwhile */
}

static enum server_step
h1_server_run(struct server *server)
{
	struct h1_server *s = of_server(server);

	if (s->state == H1_SERVER_FIRST || s->state == H1_SERVER_IDLE)
		run_idle(s);
	if (s->state == H1_SERVER_HEAD)
		run_head(s);
	if (s->state == H1_SERVER_EXCHANGE)
		run_exchange(s);
	if (s->deadline_at != 0)
		timer_set_at(&s->timer, s->deadline_at);
	else
		timer_pause(&s->timer);
	return (s->state == H1_SERVER_OVER ? s->over : SERVER_WAITS);
}

static void
h1_server_fini(struct server *server)
{
	struct h1_server *s = of_server(server);

	assert(s->state != H1_SERVER_EXCHANGE);
	assert(s->state != H1_SERVER_SWITCHED);
	timer_stop(&s->timer);
	h1_in_fini(&s->in, NULL);
	arena_free(&s->arena);
}

static const struct server_type server_type = {
	.run = h1_server_run,
	.fini = h1_server_fini,
};

/* The exchange. */

static struct body *
x_body(struct exchange *x, struct body_store *store)
{
	struct h1_server *s = of_exchange(x);

	assert(s->state == H1_SERVER_EXCHANGE && !s->answered);
	s->body_due = false;
	return (h1_in_body(&s->in, s->server.of.task->loop, store, x->req,
	    ERR_REQ_CHUNK, ERR_REQ_BODY_CUT));
}

static void
write_head(struct h1_server *s, const struct http_msg *m, bool goes_on)
{
	const struct h1_frame frame = { h1_frame_out(m, s->http10), goes_on };
	struct buf head = { 0 };

	h1_emit_response(&head, m, &frame, s->http10);
	link_write(link_of(s), head.p, head.n);
	buf_fini(&head);
}

static void
x_interim(struct exchange *x, const struct http_msg *m)
{
	struct h1_server *s = of_exchange(x);

	assert(s->state == H1_SERVER_EXCHANGE && !s->answered);
	if (!s->http10) /* RFC 9110 15.2 */
		write_head(s, m, true);
}

static bool
x_takes_interim(struct exchange *x)
{
	struct h1_server *s = of_exchange(x);

	s->wants_room = link_room(link_of(s)) == 0;
	return (!s->wants_room);
}

static void
x_continue(struct exchange *x)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct h1_server *s = of_exchange(x);

	assert(s->state == H1_SERVER_EXCHANGE && !s->answered);
	if (s->expects && !s->http10)
		link_write(link_of(s), text, sizeof(text) - 1);
	s->expects = false;
}

static struct sink *
x_respond(struct exchange *x, struct http_msg *m, bool body, bool keep)
{
	struct h1_server *s = of_exchange(x);
	enum h1_framing framing = h1_frame_out(m, s->http10);

	assert(s->state == H1_SERVER_EXCHANGE && !s->answered);
	s->answered = true;
	/* A request body still on its way: its rest would be the next request. */
	s->keep = keep && s->persists && !s->body_due && !s->in.in_body &&
	    !s->in.poisoned && goes_on(s) && framing != FRAMING_CLOSE;
	write_head(s, m, s->keep);
	return (body ? h1_sink_begin(&s->out, link_of(s), m, framing, x->wake)
		     : NULL);
}

static struct duplex *
x_switch(struct exchange *x, struct http_msg *m)
{
	struct h1_server *s = of_exchange(x);

	assert(s->state == H1_SERVER_EXCHANGE && !s->answered);
	assert(!s->http10 && !s->body_due && !s->in.poisoned);
	s->answered = true;
	s->keep = false;
	write_head(s, m, true);
	go(s, H1_SERVER_SWITCHED);
	return (h1_duplex_begin(&s->raw, &s->in, x->wake));
}

static void
x_end(struct exchange *x, enum exchange_end how)
{
	static const char
	    granted[] = "HTTP/1.1 200 Connection established\r\n\r\n";
	struct h1_server *s = of_exchange(x);
	bool whole = !h1_sink_is_open(&s->out);

	assert(
	    s->state == H1_SERVER_EXCHANGE || s->state == H1_SERVER_SWITCHED);
	assert(how != EXCHANGE_DONE || (s->answered && whole));
	assert(how != EXCHANGE_HTTP1);
	assert(how != EXCHANGE_TUNNEL || (!s->answered && !s->in.in_body));
	if (s->state == H1_SERVER_SWITCHED)
		link_set_owner(link_of(s), s->server.of.task);
	h1_in_abandon(&s->in, NULL);
	s->out = (struct h1_sink){ .sink = { .type = NULL } };
	s->served++;
	if (how == EXCHANGE_TUNNEL) {
		link_write(link_of(s), granted, sizeof(granted) - 1);
		link_unread(link_of(s), &s->in.bytes);
		over(s, SERVER_WAITS);
	} else if (how == EXCHANGE_ABORT)
		over(s, SERVER_ABORT);
	else if (!s->keep)
		over(s, SERVER_CLOSE);
	else {
		s->answered = s->wants_room = false;
		s->x = (struct exchange){ .type = x->type };
		go(s, H1_SERVER_IDLE);
	}
	task_wake(s->server.of.task);
}

static enum pace_says
x_pace(struct exchange *x, uint64_t now, uint64_t silence, uint64_t rate)
{
	struct h1_server *s = of_exchange(x);

	if (h1_in_stalled(&s->in, now, silence))
		return (PACE_SILENT);
	return (h1_in_is_slow(&s->in, now, rate) ? PACE_SLOW : PACE_WELL);
}

static uint64_t
x_pace_due(const struct exchange *x, uint64_t now, uint64_t silence,
    uint64_t rate)
{
	const struct h1_server *s = CONTAINER_OF(x, struct h1_server, x);

	return (h1_in_due(&s->in, now, silence, rate));
}

/* Counters are of the wire: what is queued belongs to this exchange. */
static void
x_count(struct exchange *x, uint64_t *in, uint64_t *out)
{
	struct h1_server *s = of_exchange(x);

	link_flush(link_of(s));
	*in = link_bytes_in(link_of(s)) - s->in_before;
	*out = link_bytes_out(link_of(s)) - s->out_before;
}

static const struct exchange_type exchange_type = {
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

struct server *
h1_server_start(struct h1_server *s, const struct server_options *of)
{
	memset(s, 0, sizeof(*s));
	s->server = (struct server){ .type = &server_type, .of = *of };
	s->x.type = &exchange_type;
	timer_init(&s->timer, of->task->loop, expired);
	h1_in_init(&s->in, of->link, of->task);
	enter(s, H1_SERVER_FIRST);
	return (&s->server);
}
