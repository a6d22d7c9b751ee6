/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A flow's clocks: who is waited for, and for how long that may be.  They are
 * looked at whenever the flow runs, and it runs at the latest when the first
 * of them may be due.
 */
#include "proxy/flow.h"
#include "proxy/upgrade.h"

#define TOO_SLOW "slower than limits.min_rate"
#define RELEASE_MS 250 /* how often more of a held body is let go */
#define NEVER UINT64_MAX

static uint64_t
now_of(const struct flow *f)
{
	return (loop_now(f->worker->loop));
}

static const struct conf_limits *
limits_of(const struct flow *f)
{
	return (&f->gen->gen->conf->limits);
}

/* An origin that still wants the rest of the request waits for us. */
static bool
is_uploading(const struct flow *f)
{
	return (f->up.started && !pull_is_last(f->up.end));
}

/*
 * Its silence is none then, nor is what it sends meanwhile its pace; they
 * begin when all has left.
 */
void
flow_upload_ended(struct flow *f)
{
	lease_forgive(f->lease, now_of(f));
}

/* Each word of an endless answer may take as long as the first of another. */
static uint64_t
body_silence(const struct flow *f)
{
	const struct conf_limits *l = limits_of(f);

	return (l->first_byte_ms > l->read_ms && flow_stream_may_drip(f)
		? l->first_byte_ms
		: l->read_ms);
}

/* The origin: before its answer, inside the head, inside the body. */
static enum err
origin_stalled(struct flow *f, uint64_t now, const char **why)
{
	const struct conf_limits *l = limits_of(f);
	struct lease *lease = f->lease;

	if (is_uploading(f)) {
		lease_forgive(lease, now);
		return (ERR_NONE);
	}
	if (f->state == FLOW_STATE_ANSWER)
		return (lease_is_late(lease, now, l->first_byte_ms, l->read_ms)
			? ERR_ORIGIN_TIMEOUT
			: ERR_NONE);
	if (lease_is_silent(lease, now, l->read_ms) &&
	    lease_is_silent(lease, now, body_silence(f)))
		return (ERR_ORIGIN_STALL);
	*why = TOO_SLOW;
	return (
	    lease_is_slow(lease, now, l->min_rate) && !flow_stream_may_drip(f)
		? ERR_ORIGIN_STALL
		: ERR_NONE);
}

/* When that may come true; in ANSWER it is the state's. */
static uint64_t
origin_due(const struct flow *f, uint64_t now)
{
	const struct conf_limits *l = limits_of(f);
	uint64_t at;

	if (f->state == FLOW_STATE_ANSWER || is_uploading(f))
		return (NEVER);
	at = lease_body_due(f->lease, now, l->read_ms, l->min_rate);
	return (at > now
		? at
		: lease_body_due(f->lease, now, body_silence(f), l->min_rate));
}

static enum err
late(enum pace_says says, enum err code, const char **why)
{
	*why = says == PACE_SLOW ? TOO_SLOW : NULL;
	return (says == PACE_WELL ? ERR_NONE : code);
}

bool
flow_outlives_client(const struct flow *f)
{
	return (f->state == FLOW_STATE_UPGRADED && !f->x->type->http2);
}

/* Of a call only the head of the answer is due by itself. */
static bool
is_origin_due(const struct flow *f)
{
	return (f->lease != NULL && f->state >= FLOW_STATE_ANSWER &&
	    (f->grpc == NULL || f->state == FLOW_STATE_ANSWER));
}

/* Nothing has come of a call for too long, either way. */
static enum err
call_late(const struct flow *f)
{
	return (f->state <= FLOW_STATE_ANSWER && f->req_body != NULL &&
		    body_end(f->req_body) == PULL_MORE
		? ERR_REQ_TIMEOUT
		: ERR_ORIGIN_STALL);
}

/* The first that is found to be late. */
static enum err
stalled(struct flow *f, const char **why)
{
	const struct conf_limits *l = limits_of(f);
	uint64_t now = now_of(f);
	enum err code;

	if (f->grpc != NULL)
		code = now >= flow_grpc_due(f) ? call_late(f) : ERR_NONE;
	else
		code = late(exchange_pace(f->x, now, l->read_ms, l->min_rate),
		    ERR_REQ_TIMEOUT, why);
	if (code == ERR_NONE && is_origin_due(f))
		code = origin_stalled(f, now, why);
	if (code == ERR_NONE)
		code = late(pump_pace(&f->up, now, l->read_ms, l->min_rate),
		    ERR_ORIGIN_TIMEOUT, why);
	if (code == ERR_NONE)
		code = late(pump_pace(&f->down, now, l->read_ms, l->min_rate),
		    ERR_CLIENT_GONE, why);
	return (code);
}

void
flow_check_clocks(struct flow *f)
{
	struct fault fault = { 0 };
	const char *why = NULL;
	enum err code = stalled(f, &why);

	if (code == ERR_NONE)
		return;
	/* A body that is being scanned ends for its readers, too. */
	fault_set(&fault, code, "%s", why != NULL ? why : "");
	if (code == ERR_ORIGIN_STALL && f->resp_body != NULL)
		body_fail(f->resp_body, &fault);
	flow_fail(f, &fault);
}

/* What falls due in a state. */

static uint64_t
answer_due(const struct flow *f)
{
	return (is_uploading(f)
		? NEVER
		: lease_head_due(f->lease, limits_of(f)->first_byte_ms,
		      limits_of(f)->read_ms));
}

/* Time alone moves the mark of a held body, and that of a paced stream. */
static uint64_t
release_due(const struct flow *f, uint64_t now)
{
	if (flow_stream_is_paced(f))
		return (now + RELEASE_MS);
	if (f->state != FLOW_STATE_SCAN_RESP || flow_stream_is_on(f) ||
	    f->resp_body == NULL || f->plan.download == POLICY_HOLD)
		return (NEVER);
	return (f->plan.download != POLICY_STREAM && now < f->hold_until
		? f->hold_until
		: now + RELEASE_MS);
}

static uint64_t
state_due(const struct flow *f, uint64_t now)
{
	static const enum due {
		NONE,
		ANSWER,
		RELEASE,
		SILENCE
	} due[FLOW_STATES] = {
#define S(name, due, next) [FLOW_STATE_##name] = due,
#include "proxy/flow.def"
#undef S
	};

	switch (due[f->state]) {
	case ANSWER:
		return (answer_due(f));
	case RELEASE:
		return (release_due(f, now));
	case SILENCE:
		return (upgrade_due(f));
	case NONE:
		break;
	}
	return (NEVER);
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return (a < b ? a : b);
}

void
flow_set_timer(struct flow *f)
{
	const struct conf_limits *l = limits_of(f);
	uint64_t now = now_of(f), at = state_due(f, now);

	if (f->x->gone_at != 0 && !flow_outlives_client(f))
		at = earlier(at, f->x->gone_at);
	at = earlier(at,
	    f->grpc != NULL
		? flow_grpc_due(f)
		: exchange_pace_due(f->x, now, l->read_ms, l->min_rate));
	if (is_origin_due(f))
		at = earlier(at, origin_due(f, now));
	at = earlier(at, pump_pace_due(&f->up, now, l->read_ms));
	at = earlier(at, pump_pace_due(&f->down, now, l->read_ms));
	if (at == NEVER)
		timer_pause(&f->timer);
	else
		timer_set_at(&f->timer, at > now ? at : now + 1);
}
