/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a reader to a sink, see pump.h. */
#include <assert.h>
#include "stream/pump.h"

#define PUMP_STEP 65536   /* octets moved at once */
#define LOOK_MS 1000      /* at what the peer has taken */
#define PUMP_SHARE 524288 /* octets moved in one turn, then others */

void
pump_hold(struct pump *p, struct body *b, struct task *wake)
{
	*p = (struct pump){ .end = PULL_MORE };
	reader_open(&p->reader, b, 0, wake);
	p->reader.mark = 0;
}

void
pump_begin(struct pump *p, struct sink *s)
{
	assert(!p->started && p->reader.body != NULL);
	p->sink = s;
	p->started = true;
}

static enum pull
pump_end(struct pump *p)
{
	const void *trailer = body_trailer(p->reader.body);

	if (trailer != NULL && p->trim != NULL)
		trailer = p->trim(p->trim_arg, trailer);
	return (sink_end(p->sink, trailer));
}

/* One step; PULL_MORE: something was written. */
static enum pull
pump_step(struct pump *p, struct chq *q, size_t room)
{
	size_t n, want = room < PUMP_STEP ? room : PUMP_STEP;
	enum pull r = reader_pull(&p->reader, q, want);

	if (r == PULL_END)
		return (pump_end(p));
	if (r != PULL_MORE)
		return (r);
	if (p->check != NULL && !p->check(p->check_arg, q))
		return (PULL_FAIL);
	n = chq_len(q);
	if (!sink_write(p->sink, q, n))
		return (PULL_CUT); /* longer than announced */
	p->sent += n;
	return (PULL_MORE);
}

/* Has the peer taken something since the last look? */
static bool
pump_taken(struct pump *p)
{
	uint64_t taken = sink_taken(p->sink), had = p->taken;

	p->taken = taken;
	if (taken > had)
		pace_got(&p->pace, taken - had);
	return (taken > had);
}

static void
pump_blocked(struct pump *p, uint64_t now)
{
	if (p->blocked_since == 0) {
		p->blocked_since = now;
		p->taken = sink_taken(p->sink);
	}
	pace_wait(&p->pace, now);
}

static void
pump_unblocked(struct pump *p, uint64_t now)
{
	if (p->blocked_since == 0)
		return;
	(void)pump_taken(p);
	p->blocked_since = 0;
	pace_pause(&p->pace, now);
}

enum pull
pump_run(struct pump *p, uint64_t now)
{
	struct chq q = { 0 };
	uint64_t until = p->sent + PUMP_SHARE;
	enum pull r = PULL_MORE;
	size_t room;

	assert(p->started);
	if (pull_is_last(p->end))
		return (p->end);
	while (r == PULL_MORE && p->sent < until) {
		room = sink_room(p->sink);
		if (room == 0) {
			pump_blocked(p, now);
			r = PULL_WAIT;
			break;
		}
		pump_unblocked(p, now);
		r = pump_step(p, &q, room);
	}
	chq_fini(&q);
	if (r == PULL_MORE)
		task_wake(p->reader.wake);
	if (pull_is_last(r)) {
		p->end = r;
		if (r != PULL_END)
			sink_abort(p->sink);
	}
	return (r);
}

bool
pump_flush(struct pump *p, uint64_t to)
{
	struct chq q = { 0 };
	enum pull r = PULL_MORE;
	size_t room;

	assert(p->started && !pull_is_last(p->end));
	while (
	    r == PULL_MORE && p->sent < to && (room = sink_room(p->sink)) > 0)
		r = pump_step(p, &q,
		    room < to - p->sent ? room : (size_t)(to - p->sent));
	chq_fini(&q);
	assert(r != PULL_END);
	if (pull_is_last(r)) {
		p->end = r;
		sink_abort(p->sink);
	}
	return (p->sent == to);
}

uint64_t
pump_pace_due(const struct pump *p, uint64_t now, uint64_t silence)
{
	if (!p->started || p->blocked_since == 0 || pull_is_last(p->end))
		return (UINT64_MAX);
	return (now + (silence / 4 < LOOK_MS ? silence / 4 : LOOK_MS));
}

enum pace_says
pump_pace(struct pump *p, uint64_t now, uint64_t silence, uint64_t rate)
{
	if (!p->started || p->blocked_since == 0 || pull_is_last(p->end))
		return (PACE_WELL);
	if (pump_taken(p))
		p->blocked_since = now;
	if (now - p->blocked_since >= silence)
		return (PACE_SILENT);
	return (pace_is_slow(&p->pace, now, rate, 2) ? PACE_SLOW : PACE_WELL);
}

void
pump_stop(struct pump *p)
{
	reader_close(&p->reader);
	*p = (struct pump){ 0 };
}
