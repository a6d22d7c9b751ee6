/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A flow's clocks: who is waited for, and for how long that may be. */
#include "proxy/flow.h"

#define TOO_SLOW "slower than limits.min_rate"

/* Each word of an endless answer may take as long as the first of another. */
static uint64_t
body_silence(const struct flow *f, const struct conf_limits *l)
{
	return (l->first_byte_ms > l->read_ms && flow_stream_may_drip(f) ?
	    l->first_byte_ms : l->read_ms);
}

/* The origin: before its answer, inside the head, inside the body. */
static enum err
origin_stalled(struct flow *f, const struct conf_limits *l, uint64_t now,
    const char **why)
{
	struct lease *lease = f->lease;

	/*
	 * An origin that still wants the rest of the request waits for us: its
	 * silence is none, nor is what it sends meanwhile its pace.
	 */
	if (f->up.started && !pull_is_last(f->up.end)) {
		lease_forgive(lease, now);
		return (ERR_NONE);
	}
	if (f->state == FLOW_STATE_ANSWER)
		return (lease_is_late(lease, now, l->first_byte_ms,
		    l->read_ms) ? ERR_ORIGIN_TIMEOUT : ERR_NONE);
	if (lease_is_silent(lease, now, l->read_ms) &&
	    lease_is_silent(lease, now, body_silence(f, l)))
		return (ERR_ORIGIN_STALL);
	*why = TOO_SLOW;
	return (lease_is_slow(lease, now, l->min_rate) &&
	    !flow_stream_may_drip(f) ? ERR_ORIGIN_STALL : ERR_NONE);
}

/* Who does not take what we have for it. */
static enum err
blocked(struct pump *p, const struct conf_limits *l, uint64_t now,
    enum err code, const char **why)
{
	enum pump_peer peer = pump_peer(p, now, l->read_ms, l->min_rate);

	if (peer == PUMP_PEER_SLOW)
		*why = TOO_SLOW;
	return (peer == PUMP_PEER_WELL ? ERR_NONE : code);
}

/* The first that is found to be late. */
static enum err
stalled(struct flow *f, const char **why)
{
	const struct conf_limits *l = &f->gen->gen->conf->limits;
	uint64_t now = loop_now(f->worker->loop);
	struct h1_in *in = &f->client->in;
	enum err code = ERR_NONE;

	if (h1_in_stalled(in, now, l->read_ms))
		return (ERR_REQ_TIMEOUT);
	if (h1_in_is_slow(in, now, l->min_rate)) {
		*why = TOO_SLOW;
		return (ERR_REQ_TIMEOUT);
	}
	if (f->lease != NULL && f->state >= FLOW_STATE_ANSWER)
		code = origin_stalled(f, l, now, why);
	if (code != ERR_NONE)
		return (code);
	*why = NULL;
	code = blocked(&f->up, l, now, ERR_ORIGIN_TIMEOUT, why);
	return (code != ERR_NONE ? code :
	    blocked(&f->down, l, now, ERR_CLIENT_GONE, why));
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
