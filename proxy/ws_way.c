/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One direction of an inspected WebSocket connection, see ws_way.h. */
#include <assert.h>
#include "proxy/flow.h"
#include "proxy/ws_way.h"

#define READ_BYTES 16384
#define SEND_BYTES 65536
#define CONTENT_BYTES 65536 /* of content in one step */
#define CONTROL_BYTES 4096  /* of control frames that wait for room */
#define BYTES_FREE 16384    /* of memory that are not counted */
#define STEPS 256           /* in one turn */
/* Control frames: so many at once, then one each so many microseconds. */
#define CONTROLS_BURST 1000
#define CONTROL_US 10000

static const unsigned follows[WS_WAY_STATES] = {
#define ON(name) (1u << WS_WAY_##name)
#define S(name, next) [WS_WAY_##name] = (next),
#include "proxy/ws_way.def"
#undef S
#undef ON
};

static void
go(struct ws_way *w, enum ws_way_state s)
{
	assert((follows[w->state] & (1u << s)) != 0);
	w->state = s;
	assert((w->item != NULL) ==
	    (s == WS_WAY_GATHERS || s == WS_WAY_SCANS || s == WS_WAY_MATCHES ||
		s == WS_WAY_PASSES));
}

static uint64_t
now_of(const struct ws_way *w)
{
	return (loop_now(w->flow->worker->loop));
}

static const struct conf *
conf_of(const struct ws_way *w)
{
	return (w->flow->gen->gen->conf);
}

void
ws_way_init(struct ws_way *w, struct flow *f, enum ws_side side,
    struct duplex *from, struct duplex *to, const struct worker_chain *chain,
    const struct ws_terms *terms)
{
	struct ws_limits limits = { .ratio = WS_RATIO };

	*w = (struct ws_way){ .flow = f,
		.side = side,
		.from = from,
		.to = to,
		.chain = chain,
		.code = WS_CODE_NONE,
		.fed = true };
	if (chain != NULL)
		limits.message = conf_of(w)->websocket.message;
	w->engine = ws_new(side, terms, &limits);
}

void
ws_way_fini(struct ws_way *w)
{
	ws_item_free(&w->item);
	ws_free(&w->engine);
	chq_fini(&w->in);
	chq_fini(&w->control);
	charge_set(&w->charge, NULL, 0, 0);
}

bool
ws_way_is_over(const struct ws_way *w)
{
	return (w->state == WS_WAY_ENDED);
}

uint64_t
ws_way_due(const struct ws_way *w)
{
	const struct conf_limits *l = &conf_of(w)->limits;
	uint64_t silent, slow;

	if (w->state != WS_WAY_GATHERS || w->item->gap)
		return (UINT64_MAX);
	silent = w->item->news_at + l->read_ms;
	slow = w->item->began_at + l->first_byte_ms;
	return (silent < slow ? silent : slow);
}

/* ---- out ---- */

static void
write_all(struct ws_way *w, struct chq *q)
{
	w->octets += chq_len(q);
	duplex_write(w->to, q, chq_len(q));
}

/* The message under way goes no further. */
static void
drop_item(struct ws_way *w)
{
	ws_item_settle(w->item);
	ws_item_free(&w->item);
	go(w, WS_WAY_BETWEEN);
}

/* Nothing of the message is out, or all that came of it, which ends with a frame. */
static bool
is_at_frame(const struct ws_way *w)
{
	return (w->state != WS_WAY_PASSES || w->item->hold.offset == 0 ||
	    (!w->item->whole && reader_behind(&w->item->hold) == 0 &&
		ws_message_bytes(&w->item->source) == 0));
}

/* True: something went out.  Where a control frame came, the frame before it ends. */
static bool
send_control(struct ws_way *w)
{
	if (chq_len(&w->control) == 0 || !is_at_frame(w))
		return (false);
	if (w->close_due && w->item != NULL) {
		if (w->item->whole)
			return (false); /* it comes before */
		drop_item(w);
	}
	if (duplex_room(w->to) == 0) {
		w->stuck = true;
		return (false);
	}
	write_all(w, &w->control);
	if (w->close_due)
		go(w, WS_WAY_CLOSED);
	return (true);
}

static enum ws_way_got
send_frames(struct ws_way *w)
{
	size_t room = duplex_room(w->to);
	struct chq q = { 0 };
	enum pull p;

	if (room == 0) {
		w->stuck = true;
		return (WS_WAY_WAITS);
	}
	p = ws_item_pull(w->item, &q, room < SEND_BYTES ? room : SEND_BYTES);
	if (p == PULL_MORE)
		write_all(w, &q);
	chq_fini(&q);
	if (p == PULL_WAIT)
		return (WS_WAY_WAITS);
	if (p == PULL_CUT || p == PULL_FAIL) { /* no room in memory or file */
		fault_copy(&w->fault, body_fault(w->item->frames));
		return (WS_WAY_FULL);
	}
	if (p == PULL_END)
		drop_item(w);
	return (WS_WAY_MORE);
}

/* ---- the message ---- */

static enum ws_way_got
judge(struct ws_way *w)
{
	struct chain_result *r = chain_result(w->item->chain);

	if (r == NULL)
		return (WS_WAY_WAITS);
	if (w->state == WS_WAY_SCANS && r->action == CHAIN_PASS && r->modified)
		go(w, WS_WAY_MATCHES);
	if (w->state == WS_WAY_MATCHES) {
		switch (ws_item_match(w->item)) {
		case PULL_WAIT:
			return (WS_WAY_WAITS);
		case PULL_END:
			break;
		case PULL_MORE:
		case PULL_CUT:
		case PULL_FAIL:
			r->action = CHAIN_BLOCK;
			fault_set(&r->fault, ERR_SERVICE_BLOCK,
			    "%.*s changed a WebSocket message", STR_ARG(r->by));
			break;
		}
	}
	flow_chain_sum(w->flow, w->item->chain, r);
	if (r->action == CHAIN_FAIL)
		return (WS_WAY_FAILED);
	if (r->action != CHAIN_PASS)
		return (WS_WAY_BLOCKED);
	ws_item_release(w->item);
	go(w, WS_WAY_PASSES);
	return (WS_WAY_MORE);
}

/* WS_WAY_MORE: its content is complete, and something came of that. */
static enum ws_way_got
gather(struct ws_way *w)
{
	if (!w->item->gap && now_of(w) >= ws_way_due(w))
		ws_item_cut(w->item);
	switch (ws_item_gather(w->item, &w->fault)) {
	case PULL_MORE:
	case PULL_WAIT:
		return (WS_WAY_WAITS);
	case PULL_CUT:
	case PULL_FAIL:
		return (WS_WAY_FULL);
	case PULL_END:
		break;
	}
	if (ws_item_is_empty(w->item)) {
		ws_item_release(w->item);
		go(w, WS_WAY_PASSES);
		return (WS_WAY_MORE);
	}
	w->flow->who.rule = str_of(w->flow->plan.rule[POLICY_BY_SCAN]);
	ws_item_scan(w->item, w->chain->steps, w->chain->n, w->side,
	    ws_facts(w->engine)->text);
	go(w, WS_WAY_SCANS);
	return (WS_WAY_MORE);
}

static void
begin(struct ws_way *w)
{
	assert(w->begun && w->item == NULL);
	w->begun = false;
	w->item = ws_item_new(w->flow, w->side, w->chain != NULL, now_of(w));
	go(w, w->chain != NULL ? WS_WAY_GATHERS : WS_WAY_PASSES);
}

/* ---- in ---- */

static bool
may_feed(const struct ws_way *w)
{
	if (w->stopped || w->close_due || w->begun ||
	    w->state >= WS_WAY_CLOSED || w->fault.code != ERR_NONE)
		return (false);
	if (chq_len(&w->control) > 0 &&
	    (w->state == WS_WAY_PASSES ||
		chq_len(&w->control) >= CONTROL_BYTES))
		return (false);
	if (w->item == NULL || w->item->whole)
		return (true);
	/* A begin is being looked at: the rest of it need not be here. */
	return (!ws_item_is_full(w->item) &&
	    (w->state == WS_WAY_GATHERS || w->state == WS_WAY_PASSES));
}

/* A leaky bucket, of which controls_at is when it is empty again. */
static bool
is_flood(struct ws_way *w)
{
	uint64_t now = now_of(w) * 1000;

	if (w->controls_at < now)
		w->controls_at = now;
	w->controls_at += CONTROL_US;
	return (w->controls_at > now + CONTROLS_BURST * CONTROL_US);
}

static enum ws_way_got
fed(struct ws_way *w, enum ws_got got, const struct fault *f)
{
	struct ws_item *it = w->item;

	if (it != NULL && !it->whole && got != WS_CLOSE && got != WS_BAD)
		ws_item_fed(it, got == WS_GAP && it->gap ? WS_MORE : got, f);
	switch (got) {
	case WS_BEGIN:
		w->begun = true;
		break;
	case WS_CONTROL:
		if (!is_flood(w))
			break;
		fault_set(&w->fault,
		    w->side == WS_CLIENT ? ERR_CLIENT_FLOOD
					 : ERR_ORIGIN_WEBSOCKET,
		    "WebSocket control frames");
		return (WS_WAY_FLOOD);
	case WS_CLOSE:
		w->close_due = true;
		w->code = ws_facts(w->engine)->code;
		break;
	case WS_BAD:
		fault_copy(&w->fault, f);
		return (WS_WAY_BROKEN);
	case WS_MORE:
	case WS_FULL:
	case WS_GAP:
	case WS_END:
	case WS_STEP:
		break;
	}
	return (WS_WAY_MORE);
}

/* True: more has come; else why not. */
static bool
read_more(struct ws_way *w, enum ws_way_got *why)
{
	enum pull p = duplex_read(w->from, &w->in, READ_BYTES);

	*why = p == PULL_FAIL ? WS_WAY_LOST : WS_WAY_WAITS;
	if (p == PULL_MORE) {
		w->received += chq_len(&w->in);
		if (w->item != NULL)
			w->item->news_at = now_of(w);
	}
	if (p == PULL_END || p == PULL_CUT)
		w->source_ended = true;
	return (p == PULL_MORE);
}

static enum ws_way_got
feed(struct ws_way *w)
{
	struct chq frames = { 0 }, content = { 0 };
	struct ws_out out = { .frames = &frames,
		.content = &content,
		.control = &w->control,
		.want = CONTENT_BYTES };
	struct fault f = { 0 };
	enum ws_way_got why;
	enum ws_got got;

	if (w->fed && chq_len(&w->in) == 0 && !read_more(w, &why))
		return (why);
	if (w->item != NULL && !w->item->whole)
		ws_message_out(&w->item->source, &out);
	got = ws_feed(w->engine, &w->in, &out, &f);
	w->fed = got == WS_MORE;
	assert(chq_len(&frames) == 0 && chq_len(&content) == 0);
	return (fed(w, got, &f));
}

/* ---- both ---- */

static bool
is_too_dear(struct ws_way *w)
{
	struct account *a = w->flow->client->account;

	charge_set(&w->charge, a,
	    chq_len(&w->in) + chq_len(&w->control) + ws_bytes(w->engine) +
		(w->item != NULL ? ws_message_bytes(&w->item->source) : 0),
	    BYTES_FREE);
	return (w->charge.held > 0 && account_room(a, BUDGET_MEMORY) == 0);
}

/* Behind a Close frame nothing counts but the end. */
static void
discard(struct ws_way *w)
{
	enum ws_way_got why;

	chq_drop(&w->in, chq_len(&w->in));
	while (!w->source_ended && read_more(w, &why))
		chq_drop(&w->in, chq_len(&w->in));
}

/* Of a message that has not ended: has all that came of it gone out? */
static bool
is_flushed(const struct ws_way *w)
{
	return (w->state != WS_WAY_PASSES ||
	    (reader_behind(&w->item->hold) == 0 &&
		ws_message_bytes(&w->item->source) == 0));
}

/* Its sender has ended, and all that it sent has gone out. */
static bool
is_at_end(const struct ws_way *w)
{
	if (!w->source_ended || w->state == WS_WAY_ENDED)
		return (false);
	return (w->state == WS_WAY_CLOSED ||
	    (w->fed && !w->begun && chq_len(&w->in) == 0 &&
		chq_len(&w->control) == 0 &&
		(w->item == NULL || (!w->item->whole && is_flushed(w)))));
}

static void
end(struct ws_way *w)
{
	if (w->item != NULL)
		drop_item(w);
	go(w, WS_WAY_ENDED);
	duplex_end(w->to);
}

/* The message under way goes on.  WS_WAY_WAITS: more of it has to come. */
static enum ws_way_got
step_item(struct ws_way *w)
{
	switch (w->state) {
	case WS_WAY_PASSES:
		return (send_frames(w));
	case WS_WAY_SCANS:
	case WS_WAY_MATCHES:
		return (judge(w));
	case WS_WAY_GATHERS:
		return (gather(w));
	case WS_WAY_BETWEEN:
		if (w->begun)
			begin(w);
		return (w->item != NULL ? WS_WAY_MORE : WS_WAY_WAITS);
	case WS_WAY_CLOSED:
		discard(w);
		break;
	case WS_WAY_ENDED:
	case WS_WAY_STATES:
		break;
	}
	return (WS_WAY_WAITS);
}

/* One step further.  WS_WAY_MORE: and there may be another one. */
static enum ws_way_got
step(struct ws_way *w)
{
	enum ws_way_got got;

	if (send_control(w))
		return (WS_WAY_MORE);
	if ((got = step_item(w)) != WS_WAY_WAITS)
		return (got);
	if (may_feed(w) && (got = feed(w)) != WS_WAY_WAITS)
		return (got);
	if (is_at_end(w))
		end(w);
	return (WS_WAY_WAITS);
}

/* What has begun to go out does; then what is in control. */
static enum ws_way_got
step_out(struct ws_way *w)
{
	enum ws_way_got got;

	if (w->state == WS_WAY_ENDED)
		return (WS_WAY_WAITS);
	if (w->state == WS_WAY_PASSES && (got = send_frames(w)) != WS_WAY_FULL)
		return (got);
	if (w->item == NULL && chq_len(&w->control) > 0)
		write_all(w, &w->control);
	end(w);
	return (WS_WAY_MORE);
}

enum ws_way_got
ws_way_run(struct ws_way *w)
{
	enum ws_way_got got = WS_WAY_MORE;
	unsigned i;

	w->stuck = false;
	for (i = 0; i < STEPS && got == WS_WAY_MORE; i++)
		got = w->stopped ? step_out(w) : step(w);
	if (w->stuck || (got == WS_WAY_WAITS && !w->stopped && !may_feed(w)))
		w->gone = duplex_is_gone(w->from);
	if (got == WS_WAY_WAITS || got == WS_WAY_MORE) {
		if (duplex_is_lost(w->to))
			return (WS_WAY_LOST);
		if (!w->stopped && is_too_dear(w)) {
			fault_set(&w->fault, ERR_MEMORY,
			    "limits.memory has no more for this client");
			return (WS_WAY_FULL);
		}
	}
	return (got);
}

/* Is a message half out, all of which is here? */
static bool
is_half_out(const struct ws_way *w)
{
	return (w->state == WS_WAY_PASSES && w->item->hold.offset > 0 &&
	    w->item->whole);
}

/* Behind a frame that is cut nothing can be said any more. */
static bool
may_say_close(const struct ws_way *w)
{
	return (w->state != WS_WAY_CLOSED &&
	    (w->state != WS_WAY_PASSES || w->item->hold.offset == 0 ||
		w->item->whole));
}

void
ws_way_stop(struct ws_way *w, unsigned code, struct str reason)
{
	assert(!w->stopped);
	w->stopped = true;
	if (w->state == WS_WAY_ENDED)
		return;
	chq_drop(&w->control, chq_len(&w->control));
	if (may_say_close(w))
		ws_frame_put_close(&w->control, w->side, code, reason);
	if (w->item != NULL && !is_half_out(w))
		drop_item(w);
}
