/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests on connections that may be dying.  An origin closes a kept one when
 * it likes, also while a request is on its way there; nobody can tell then
 * whether the request was served.  One that may be repeated is (RFC 9110
 * 9.2.2), with its body, which is held until an answer comes.  Any other does
 * not ride a connection that has been idle for long.
 */
#include "proxy/flow.h"

#define TRIES_MAX 2

/* Is all of its body here, and still there, or small enough to be kept? */
static bool
is_held(const struct flow *f, const struct body *b)
{
	uint64_t n = body_length(b);

	if (body_kept_from(b) > 0)
		return (false);
	return (body_end(b) == PULL_END ||
	    (n != BODY_UNKNOWN && n <= f->gen->gen->conf->limits.body_memory));
}

bool
flow_is_repeatable(const struct flow *f)
{
	const struct body *b = f->up.reader.body;

	return (http_method_is_idempotent(f->req->method_id) &&
	    (b == NULL || f->body_again.body != NULL ||
	    (!f->up.started && is_held(f, b))));
}

void
flow_keep_body(struct flow *f)
{
	if (lease_is_reused(f->lease) && f->up.reader.body != NULL &&
	    flow_is_repeatable(f))
		reader_open(&f->body_again, f->up.reader.body, 0, NULL);
}

/* A kept connection that died under the request before any answer. */
bool
flow_again(struct flow *f)
{
	bool trims = f->up.trim != NULL;
	struct body *b = f->body_again.body;

	if (f->tries >= TRIES_MAX || !lease_may_repeat(f->lease) ||
	    !flow_is_repeatable(f))
		return (false);
	if (b != NULL) {
		pump_stop(&f->up);
		pump_hold(&f->up, b, &f->task);
		if (trims)
			flow_trim(f, &f->up);
		reader_close(&f->body_again);
	}
	lease_release(&f->lease);
	flow_go(f, FLOW_STATE_ORIGIN);
	return (true);
}
