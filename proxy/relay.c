/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Octets between two sides, see relay.h. */
#include "proxy/relay.h"

#define TURN_BYTES (512 << 10) /* a direction's share of a turn */
#define READ_BYTES 65536
#define CLOSING_MS 1000 /* the other side has ended: it goes on no longer */
#define GONE_MS 5000    /* the sender is gone, its octets are not taken */

void
relay_begin(struct relay *r, struct duplex *client, struct duplex *origin,
    uint64_t idle_ms, struct task *wake)
{
	assert(idle_ms > 0 && wake != NULL);
	*r = (struct relay){ .up = { .from = client, .to = origin },
		.down = { .from = origin, .to = client },
		.wake = wake,
		.idle_ms = idle_ms,
		.moved_at = loop_now(wake->loop) };
}

/* Move what there is.  PULL_MORE: there is more; PULL_WAIT: a side is waited for. */
static enum pull
move(struct relay_way *w)
{
	size_t room, moved = 0;
	struct chq q = { 0 };
	enum pull p = PULL_MORE;

	while (moved < TURN_BYTES && (room = duplex_room(w->to)) > 0 &&
	    (p = duplex_read(w->from, &q,
		 room < READ_BYTES ? room : READ_BYTES)) == PULL_MORE) {
		moved += chq_len(&q);
		duplex_write(w->to, &q, chq_len(&q));
	}
	chq_fini(&q);
	w->octets += moved;
	if (p != PULL_MORE || moved >= TURN_BYTES)
		return (p);
	w->gone = duplex_is_gone(w->from); /* full: it may go meanwhile */
	return (PULL_WAIT);
}

/* False: one of its sides is lost. */
static bool
run(struct relay *r, struct relay_way *w)
{
	enum pull p;

	if (w->ended)
		return (!duplex_is_lost(w->to));
	p = move(w);
	if (p == PULL_FAIL || duplex_is_lost(w->to))
		return (false);
	if (p == PULL_MORE)
		task_wake(r->wake);
	else if (p != PULL_WAIT) {
		duplex_end(w->to);
		w->ended = true;
	}
	return (true);
}

static bool
is_lost(const struct duplex *d)
{
	return (d->last == PULL_FAIL || duplex_is_lost(d));
}

/* How long nothing may move. */
static uint64_t
limit_of(const struct relay *r)
{
	uint64_t ms = r->idle_ms;

	if (r->up.ended || r->down.ended)
		ms = CLOSING_MS;
	else if (r->up.gone || r->down.gone)
		ms = GONE_MS;
	return (ms < r->idle_ms ? ms : r->idle_ms);
}

enum relay_end
relay_run(struct relay *r, uint64_t now)
{
	uint64_t before = r->up.octets + r->down.octets;
	uint64_t limit = limit_of(r);
	bool ok = run(r, &r->up);

	ok = run(r, &r->down) && ok;
	if (!ok && is_lost(r->up.from)) /* who has ended may go */
		return (r->up.ended ? RELAY_DONE : RELAY_CLIENT_LOST);
	if (!ok)
		return (r->down.ended ? RELAY_DONE : RELAY_ORIGIN_LOST);
	if (r->up.octets + r->down.octets > before || limit_of(r) < limit)
		r->moved_at = now;
	if (r->up.ended && r->down.ended)
		return (RELAY_DONE);
	if (now < relay_due(r))
		return (RELAY_ON);
	return (limit_of(r) < r->idle_ms ? RELAY_DONE : RELAY_IDLE);
}

uint64_t
relay_due(const struct relay *r)
{
	return (r->moved_at + limit_of(r));
}
