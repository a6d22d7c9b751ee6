/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests on connections that may be dying.  An origin closes a kept one when
 * it likes, also while a request is on its way there; nobody can tell then
 * whether the request was served.  One that may be repeated is (RFC 9110
 * 9.2.2), with its body, which is held until an answer comes.  Any other does
 * not ride a connection that has been idle for long.
 *
 * HTTP/2 can tell: what an origin says it has not looked at goes out again
 * whatever it is (RFC 9113 8.7).
 */
#include "proxy/flow.h"

#define TRIES_MAX 2
#define TRIES_UNSEEN 5 /* of what origins have not looked at */

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

static bool
has_body_still(const struct flow *f)
{
	const struct body *b = f->up.reader.body;

	return (b == NULL || f->body_again.body != NULL ||
	    (!f->up.started && is_held(f, b)));
}

bool
flow_is_repeatable(const struct flow *f)
{
	return (
	    http_method_is_idempotent(f->req->method_id) && has_body_still(f));
}

void
flow_keep_body(struct flow *f)
{
	/* A call's head leaves before its messages come: their begin is kept. */
	if (lease_may_be_lost(f->lease) && f->up.reader.body != NULL &&
	    (has_body_still(f) ||
		(f->grpc != NULL && body_kept_from(f->up.reader.body) == 0)))
		reader_open(&f->body_again, f->up.reader.body, 0, NULL);
}

static bool
may_again(const struct flow *f)
{
	if (lease_is_unseen(f->lease))
		return (f->tries < TRIES_UNSEEN && has_body_still(f));
	return (f->tries < TRIES_MAX && lease_may_repeat(f->lease) &&
	    flow_is_repeatable(f));
}

/* The connection died under the request before any answer. */
bool
flow_again(struct flow *f)
{
	bool trims = f->up.trim != NULL;
	struct body *b = f->body_again.body;

	if (!may_again(f))
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
