/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The HTTP/2 server, see h2_server.h. */
#include <assert.h>
#include <string.h>
#include "base/budget.h"
#include "proxy/audit/log.h"
#include "proxy/wire/h2_exchange.h"

#define READ 65536       /* at once */
#define READ_TURN 262144 /* octets read in one turn, then others */
#define GIVE_MAX 131072  /* given to the link at once */
#define GONE_MS 500      /* a client that only ended its side may still read */
#define HELD_ALL (16u << 20) /* octets of bodies that nobody reads, then */
/* all of the connection waits */
#define SWEEP_MS 1000
#define LEAVE_MS \
	1000 /* a round trip at most, from GOAWAY to its last request */

static const unsigned follows[H2_SERVER_STATES] = {
#define ON(name) (1u << H2_SERVER_##name)
#define S(name, next) [H2_SERVER_##name] = (next),
#include "proxy/wire/h2_server.def"
#undef S
#undef ON
};

static struct h2_server *
of_server(struct server *s)
{
	return (CONTAINER_OF(s, struct h2_server, server));
}

static struct link *
link_of(const struct h2_server *s)
{
	return (s->server.of.link);
}

static uint64_t
now_of(const struct h2_server *s)
{
	return (loop_now(s->server.of.task->loop));
}

static void
go(struct h2_server *s, enum h2_server_state to)
{
	assert((follows[s->state] & (1u << to)) != 0);
	s->state = to;
}

static void
over(struct h2_server *s, enum server_step how)
{
	go(s, H2_SERVER_OVER);
	s->over = how;
}

static void
expired(struct timer *t)
{
	task_wake(CONTAINER_OF(t, struct h2_server, timer)->server.of.task);
}

/* Take no more requests. */
static void
end_requests(struct h2_server *s)
{
	h2_session_drain(s->session);
	if (s->state == H2_SERVER_OPEN || s->state == H2_SERVER_LEAVING)
		go(s, H2_SERVER_LAST);
}

/* ... soon. */
static void
leave(struct h2_server *s)
{
	const struct server_options *of = &s->server.of;

	if (s->state == H2_SERVER_OPEN && !of->type->goes_on(of->host)) {
		h2_session_leave(s->session);
		go(s, H2_SERVER_LEAVING);
		s->leave_by = now_of(s) + LEAVE_MS;
	}
	if (s->state == H2_SERVER_LEAVING &&
	    (h2_session_has_left(s->session) || now_of(s) >= s->leave_by))
		end_requests(s);
}

/* --- in --- */

/* The client has ended its side: what it asked for may still be wanted. */
static void
end_input(struct h2_server *s, uint64_t gone_at)
{
	struct list *it, *save;

	if (s->gone_at != 0 && s->gone_at <= gone_at)
		return;
	s->gone_at = gone_at;
	end_requests(s);
	LIST_EACH (it, save, &s->exchanges)
		h2_exchange_gone(h2_exchange_of(it), gone_at);
}

static void
note_head(struct h2_server *s, unsigned streams)
{
	if (!h2_session_in_head(s->session))
		s->head_since = 0;
	else if (s->head_since == 0 ||
	    streams != h2_session_streams(s->session))
		s->head_since = now_of(s);
}

static void
read_link(struct h2_server *s)
{
	unsigned streams = h2_session_streams(s->session);
	enum pull p = PULL_MORE;
	size_t n = 0;

	while (p == PULL_MORE && n < READ_TURN && s->gone_at == 0 &&
	    h2_session_wants_read(s->session)) {
		p = link_read(link_of(s), &s->in, READ);
		n += chq_len(&s->in);
		if (p == PULL_MORE)
			(void)h2_session_take(s->session, &s->in, now_of(s));
	}
	if (n > 0)
		note_head(s, streams);
	if (n >= READ_TURN)
		task_wake(s->server.of.task);
	else if (p == PULL_MORE)
		link_look(link_of(s)); /* it may go away meanwhile */
	if (link_broken(link_of(s)) || p == PULL_FAIL)
		end_input(s, now_of(s));
	else if (p == PULL_END || p == PULL_CUT || link_peer_gone(link_of(s)))
		end_input(s, now_of(s) + GONE_MS);
}

static void
tell(struct h2_server *s)
{
	struct h2_stream *st;
	struct h2_exchange *e;
	unsigned news;

	while ((st = h2_session_next(s->session, &news)) != NULL) {
		e = h2_stream_owner(st);
		if (e != NULL)
			h2_exchange_news(e, news);
		else
			h2_exchange_begin(s, st, news);
	}
}

/* --- out --- */

static void
write_link(struct h2_server *s)
{
	bool choked = !h2_session_wants_read(s->session);
	struct list *it, *save;
	size_t room;

	while ((room = link_room(link_of(s))) > 0) {
		if (h2_session_give(s->session, &s->out,
			room < GIVE_MAX ? room : GIVE_MAX) == 0)
			break;
		link_write_chq(link_of(s), &s->out, chq_len(&s->out));
	}
	/* It was not read while it did not take our answers. */
	if (choked && h2_session_wants_read(s->session))
		task_wake(s->server.of.task);
	if (!s->interims)
		return;
	s->interims = false;
	LIST_EACH (it, save, &s->exchanges)
		h2_exchange_sent(h2_exchange_of(it));
}

/* --- clocks --- */

static uint64_t
later(uint64_t from, uint64_t ms)
{
	return (ms != 0 ? from + ms : UINT64_MAX);
}

/* Nothing is asked for, and what was is fetched no more. */
static uint64_t
idle_due(const struct h2_server *s)
{
	if (!list_empty(&s->exchanges))
		return (UINT64_MAX);
	return (later(s->quiet_since,
	    h2_session_is_ready(s->session) ? s->limits.idle_ms
					    : s->limits.request_ms));
}

static uint64_t
head_due(const struct h2_server *s)
{
	return (s->head_since != 0 ? later(s->head_since, s->limits.request_ms)
				   : UINT64_MAX);
}

/*
 * Streams that no exchange has any more: the rest of an answer waits to be
 * fetched, or the rest of a request comes still.
 */
static uint64_t
sweep_due(const struct h2_server *s)
{
	return (h2_session_streams(s->session) > s->n ? s->swept_at + SWEEP_MS
						      : UINT64_MAX);
}

static void
sweep(struct h2_server *s)
{
	uint64_t now = now_of(s);
	bool shut = now >= later(s->shut_at, s->limits.idle_ms);

	h2_session_sweep(s->session, shut);
	s->swept_at = now;
	if (shut)
		s->shut_at = now;
}

uint64_t
h2_server_taken(struct h2_server *s)
{
	uint64_t now = now_of(s);

	if (s->looked_at != now)
		s->link_taken = link_taken(link_of(s));
	s->looked_at = now;
	return (s->link_taken);
}

static void
note_taken(struct h2_server *s)
{
	uint64_t taken = h2_server_taken(s);

	if (taken == s->taken)
		return;
	s->taken = taken;
	if (h2_session_streams(s->session) > 0)
		s->quiet_since = now_of(s);
}

static void
check_clocks(struct h2_server *s)
{
	uint64_t now = now_of(s);

	if (now >= head_due(s))
		h2_session_end(s->session, H2_ENHANCE_YOUR_CALM, NULL);
	if (now >= idle_due(s))
		note_taken(s);
	if (now >= idle_due(s)) {
		end_requests(s);
		s->gone_at = now; /* and wait for nothing more */
	}
	if (now >= sweep_due(s))
		sweep(s);
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return (a < b ? a : b);
}

static void
arm(struct h2_server *s)
{
	uint64_t at = earlier(idle_due(s), earlier(head_due(s), sweep_due(s)));

	if (s->state == H2_SERVER_LEAVING)
		at = earlier(at, s->leave_by);
	if (s->state == H2_SERVER_OVER || at == UINT64_MAX)
		timer_pause(&s->timer);
	else
		timer_set_at(&s->timer, at > now_of(s) ? at : now_of(s) + 1);
}

/* --- the server --- */

static void
complain(const struct h2_server *s)
{
	static struct log_limit limit;
	struct fault f = { 0 };

	if (h2_session_fault(s->session, &f) == ERR_CLIENT_FLOOD)
		(void)log_limited(&limit, LEVEL_WARNING, "listen",
		    "HTTP/2: %s: %s", err_info(f.code)->text, f.detail);
}

/* Is all said? */
static void
end_server(struct h2_server *s)
{
	if (link_broken(link_of(s)))
		over(s, SERVER_ABORT);
	else if (h2_session_fault(s->session, NULL) != ERR_NONE) {
		complain(s);
		over(s, SERVER_CLOSE);
	} else if (list_empty(&s->exchanges) &&
	    (s->gone_at != 0 || h2_session_is_over(s->session)))
		over(s, SERVER_CLOSE);
}

static enum server_step
h2_server_run(struct server *server)
{
	struct h2_server *s = of_server(server);
	const struct server_options *of = &s->server.of;

	if (s->state == H2_SERVER_OVER)
		return (s->over);
	of->type->limits(of->host, &s->limits);
	read_link(s);
	tell(s);
	leave(s);
	check_clocks(s);
	write_link(s);
	tell(s);
	end_server(s);
	arm(s);
	return (s->state == H2_SERVER_OVER ? s->over : SERVER_WAITS);
}

static void
h2_server_fini(struct server *server)
{
	struct h2_server *s = of_server(server);
	struct fault gone = { 0 };
	struct h2_stream *st;
	unsigned news;

	assert(list_empty(&s->exchanges));
	timer_stop(&s->timer);
	fault_set(&gone, ERR_CLIENT_GONE, NULL);
	h2_session_gone(s->session, &gone); /* heads that are not whole */
	while ((st = h2_session_next(s->session, &news)) != NULL)
		h2_stream_free(&st);
	h2_session_free(&s->session);
	chq_fini(&s->in);
	chq_fini(&s->out);
}

static const struct server_type server_type = {
	.run = h2_server_run,
	.fini = h2_server_fini,
};

struct server *
h2_server_start(struct h2_server *s, const struct server_options *of)
{
	struct h2_config cfg = { .server = true,
		.patient = true,
		.connect = true,
		.held = HELD_ALL,
		.limits = &s->limits.head,
		.account = of->account };

	assert(of->authority != NULL);
	memset(s, 0, sizeof(*s));
	s->server = (struct server){ .type = &server_type, .of = *of };
	cfg.scheme = of->authority->scheme;
	list_init(&s->exchanges);
	timer_init(&s->timer, of->task->loop, expired);
	of->type->limits(of->host, &s->limits);
	s->session = h2_session_new(&cfg);
	s->quiet_since = s->swept_at = s->shut_at = now_of(s);
	return (&s->server);
}
