/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A WebSocket connection whose messages are looked at, see ws_inspect.h. */
#include <assert.h>
#include <stdlib.h>
#include "proxy/flow.h"
#include "proxy/ws_inspect.h"
#include "proxy/ws_way.h"

#define CLOSING_MS 1000 /* a side has ended, or was told to */
#define CLOSE_MS 10000  /* from a Close frame to its answer */
#define GONE_MS 5000    /* a sender is gone, its octets are held or not taken */

struct ws_inspect {
	struct flow *flow;      /* borrowed */
	struct ws_way up, down; /* to the origin, to the client */
	uint64_t moved_at;      /* ms: when octets last came or went */
	unsigned code;          /* WS_CODE_NONE: it was not stopped */
	bool stopped;
};

static uint64_t
now_of(const struct ws_inspect *i)
{
	return (loop_now(i->flow->worker->loop));
}

static const struct worker_chain *
chain_of(const struct flow *f, const struct policy_scan *of)
{
	const struct worker_chain *chain = worker_gen_chain(f->gen, of);

	return (chain != NULL && chain->n > 0 ? chain : NULL);
}

struct ws_inspect *
ws_inspect_new(struct flow *f, struct duplex *client, struct duplex *origin,
    const struct ws_terms *terms)
{
	struct ws_inspect *i = calloc(1, sizeof(*i));

	if (i == NULL)
		abort();
	i->flow = f;
	i->code = WS_CODE_NONE;
	i->moved_at = now_of(i);
	ws_way_init(&i->up, f, WS_CLIENT, client, origin,
	    chain_of(f, f->plan.scan_req), terms);
	ws_way_init(&i->down, f, WS_SERVER, origin, client,
	    chain_of(f, f->plan.scan_resp), terms);
	return (i);
}

void
ws_inspect_free(struct ws_inspect **ip)
{
	struct ws_inspect *i = *ip;

	*ip = NULL;
	if (i == NULL)
		return;
	ws_way_fini(&i->up);
	ws_way_fini(&i->down);
	free(i);
}

void
ws_inspect_settle(struct ws_inspect *i)
{
	if (i->up.item != NULL)
		ws_item_settle(i->up.item);
	if (i->down.item != NULL)
		ws_item_settle(i->down.item);
}

/* What both ends are told, and may show to somebody who asks for it. */
static void
stop(struct ws_inspect *i, unsigned code, const char *why)
{
	struct str reason = arena_printf(i->flow->arena, "%s, reference %s",
	    why, i->flow->reference);

	if (i->stopped)
		return;
	i->stopped = true;
	i->code = code;
	i->moved_at = now_of(i);
	ws_way_stop(&i->up, code, reason);
	ws_way_stop(&i->down, code, reason);
}

void
ws_inspect_stop(struct ws_inspect *i, enum ws_code code, const char *reason)
{
	stop(i, code, reason);
	task_wake(&i->flow->task);
}

/* What a direction says of itself.  False: a side is lost. */
static bool
heed(struct ws_inspect *i, struct ws_way *w, enum ws_way_got got)
{
	switch (got) {
	case WS_WAY_WAITS:
		break;
	case WS_WAY_MORE:
		task_wake(&i->flow->task);
		break;
	case WS_WAY_BLOCKED:
		stop(i, WS_CODE_POLICY, "blocked");
		break;
	case WS_WAY_FAILED:
		stop(i, WS_CODE_INTERNAL, "not scanned");
		break;
	case WS_WAY_BROKEN:
		stop(i, ws_facts(w->engine)->code, "broken frame");
		break;
	case WS_WAY_FLOOD:
		stop(i, WS_CODE_POLICY, "too many control frames");
		break;
	case WS_WAY_FULL:
		stop(i, WS_CODE_LATER, "no memory");
		break;
	case WS_WAY_LOST:
		return (false);
	}
	if (w->fault.code != ERR_NONE)
		fault_copy(&i->flow->fault, &w->fault);
	return (true);
}

static bool
run(struct ws_inspect *i)
{
	bool was = i->stopped;
	bool ok = heed(i, &i->up, ws_way_run(&i->up)) &&
	    heed(i, &i->down, ws_way_run(&i->down));

	/* The first to run has yet to say what came of the second. */
	if (ok && i->stopped && !was)
		ok = heed(i, &i->up, ws_way_run(&i->up)) &&
		    heed(i, &i->down, ws_way_run(&i->down));
	return (ok);
}

static bool
is_scanning(const struct ws_way *w)
{
	return (w->state == WS_WAY_SCANS || w->state == WS_WAY_MATCHES);
}

static bool
has_left(const struct ws_way *w)
{
	return (w->gone || w->source_ended);
}

/* How long nothing may move. */
static uint64_t
limit_of(const struct ws_inspect *i)
{
	const struct ws_way *up = &i->up, *down = &i->down;
	uint64_t idle = i->flow->gen->gen->conf->limits.tunnel_ms;
	uint64_t ms = idle;

	if (is_scanning(up) || is_scanning(down)) /* a chain has clocks */
		ms = has_left(up) || has_left(down) ? GONE_MS : idle;
	else if (i->stopped || ws_way_is_over(up) || ws_way_is_over(down))
		ms = CLOSING_MS;
	else if (up->state == WS_WAY_CLOSED || down->state == WS_WAY_CLOSED)
		ms = CLOSE_MS;
	else if (has_left(up) || has_left(down))
		ms = GONE_MS;
	return (ms < idle ? ms : idle);
}

static uint64_t
moved(const struct ws_inspect *i)
{
	return (
	    i->up.octets + i->up.received + i->down.octets + i->down.received);
}

static bool
is_lost(const struct duplex *d)
{
	return (d->last == PULL_FAIL || duplex_is_lost(d));
}

/* Who has ended, or said Close, may go. */
static bool
has_said_end(const struct ws_way *w)
{
	return (w->source_ended || w->state >= WS_WAY_CLOSED);
}

enum relay_end
ws_inspect_run(struct ws_inspect *i)
{
	uint64_t before = moved(i), limit = limit_of(i), now = now_of(i);

	if (!run(i)) {
		if (is_lost(i->up.from))
			return (has_said_end(&i->up) ? RELAY_DONE
						     : RELAY_CLIENT_LOST);
		return (
		    has_said_end(&i->down) ? RELAY_DONE : RELAY_ORIGIN_LOST);
	}
	if (moved(i) > before || limit_of(i) != limit)
		i->moved_at = now;
	if (ws_way_is_over(&i->up) && ws_way_is_over(&i->down))
		return (RELAY_DONE);
	if (now < i->moved_at + limit_of(i))
		return (RELAY_ON);
	return (limit_of(i) < i->flow->gen->gen->conf->limits.tunnel_ms
		? RELAY_DONE
		: RELAY_IDLE);
}

uint64_t
ws_inspect_due(const struct ws_inspect *i)
{
	uint64_t at = i->moved_at + limit_of(i);

	if (ws_way_due(&i->up) < at)
		at = ws_way_due(&i->up);
	return (ws_way_due(&i->down) < at ? ws_way_due(&i->down) : at);
}

void
ws_inspect_count(const struct ws_inspect *i, enum ws_side from,
    struct ws_count *c)
{
	const struct ws_way *w = from == WS_CLIENT ? &i->up : &i->down;
	const struct ws_facts *f = ws_facts(w->engine);

	*c = (struct ws_count){ .messages = f->messages,
		.content = f->octets,
		.octets = w->octets };
}

unsigned
ws_inspect_code(const struct ws_inspect *i)
{
	if (i->code != WS_CODE_NONE)
		return (i->code);
	return (i->up.code != WS_CODE_NONE ? i->up.code : i->down.code);
}
