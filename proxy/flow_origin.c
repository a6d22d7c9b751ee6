/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A flow and its origin: the request goes out, the head of the answer comes. */
#include <stdio.h>
#include "http/h1_emit.h"
#include "http/hop.h"
#include "proxy/flow.h"
#include "proxy/tunnel.h"

void
flow_take_origin(struct flow *f)
{
	struct tunnel *t = f->client->tunnel;
	struct origin_want want;
	struct origin *o;

	if (t != NULL)
		tunnel_want(t, f->gen, &want);
	else
		want = (struct origin_want){ .host = f->req->uri.host,
		    .tls = str_eq(f->req->uri.scheme, STR("https")),
		    .protocols = TLS_HTTP1,
		    .host_is_ip = f->req->uri.host_is_ip,
		    .port = f->req->uri.port };
	want.fresh = f->tries > 0;
	want.recent = !flow_is_repeatable(f);
	want.holder = &f->client->own;
	want.account = f->client->account;
	want.may_reach = f->plan.asks_dest ? client_may_reach : NULL;
	want.arg = f->client;
	f->tries++;
	o = t != NULL && f->tries == 1 ? tunnel_take_ahead(t) : NULL;
	if (o != NULL) {
		if (o->gen != f->gen || (o->state == ORIGIN_READY &&
		    (link_is_stale(o->transport) ||
		    (want.recent && !origin_is_recent(o)))))
			origin_release(&o, false);
		else
			origin_set_owner(o, &f->client->task);
	}
	if (o == NULL)
		o = origin_get(f->worker, f->gen, &want, &f->client->task);
	f->origin = o;
}

static void
send_request(struct flow *f)
{
	struct link *l = f->origin->transport;
	struct fault fault = { 0 };
	struct buf head = { 0 };
	bool keep;

	if (f->tries == 1) {
		flow_ask(f);
		if (http_forward_request(f->req,
		    str_of(f->gen->gen->pseudonym), &fault) != ERR_NONE) {
			flow_fail(f, &fault);
			return;
		}
	}
	/* Whether the client's connection goes on is not the origin's business. */
	keep = f->req->keep_alive;
	f->req->keep_alive = true;
	origin_note_head(f->origin, f->req);
	h1_emit_request(&head, f->req, H1_TARGET_ORIGIN);
	f->req->keep_alive = keep;
	link_charge_to(l, f->client->account);
	link_write(l, head.p, head.n);
	buf_fini(&head);
	if (f->up.reader.body != NULL) {
		flow_keep_body(f);
		reader_release(&f->up.reader, BODY_ALL);
		pump_begin(&f->up, h1_sink_begin(&f->origin->out, l, f->req,
		    false, &f->client->task));
	}
	f->asked_at = loop_now(f->worker->loop);
	flow_go(f, FLOW_STATE_ANSWER);
}

enum flow_step
flow_origin(struct flow *f)
{
	enum flow_step step;

	/* It was made before the request was scanned. */
	if (f->origin != NULL && flow_wants_other(f)) {
		origin_release(&f->origin, false);
		f->tries = 0;
	}
	if (!flow_reach_origin(f, &step))
		return (step);
	if (f->scanned_by != NULL && f->plan.scan_req != f->scanned_by)
		flow_fail_code(f, ERR_CONNECT_FAIL,
		    "its address has changed while the request was scanned");
	else
		send_request(f);
	return (FLOW_NEXT);
}

/* Move the request's body on; false: the flow has failed by it. */
static bool
run_upload(struct flow *f)
{
	enum pull p;

	if (!f->up.started)
		return (true);
	p = pump_run(&f->up, loop_now(f->worker->loop));
	if (p != PULL_CUT && p != PULL_FAIL)
		return (true);
	if (body_fault(f->up.reader.body)->code != ERR_NONE)
		flow_fail(f, body_fault(f->up.reader.body));
	else
		flow_fail_code(f, ERR_SCAN_MESSAGE,
		    "body and Content-Length of the request disagree");
	return (false);
}

void
flow_finish_upload(struct flow *f)
{
	if (f->state > FLOW_STATE_ANSWER && f->up.started &&
	    !pull_is_last(f->up.end))
		(void)pump_run(&f->up, loop_now(f->worker->loop));
}

static void
origin_ended(struct flow *f, enum err code)
{
	char detail[120];

	if (flow_again(f))
		return;
	snprintf(detail, sizeof(detail), "%s",
	    link_error(f->origin->transport));
	flow_fail_code(f, code, detail);
}

/*
 * 1xx: passed on to clients that know them (RFC 9110 15.2), those that browsers
 * do something with, and of them no field that could carry content.
 */
static void
interim(struct flow *f, struct http_msg *msg)
{
	struct buf head = { 0 };

	if (msg->status == 101) {
		flow_fail_code(f, ERR_ORIGIN_UPGRADE, NULL);
		return;
	}
	if (++f->interim > f->gen->gen->conf->limits.interim) {
		flow_fail_code(f, ERR_ORIGIN_INTERIM, NULL);
		return;
	}
	if (f->req->version_minor == 0 || (msg->status == 100 &&
	    !f->req->expect_continue) || !http_interim_strip(msg, &f->hints))
		return;
	h1_emit_response(&head, msg, false);
	link_write(f->client->transport, head.p, head.n);
	buf_fini(&head);
}

/* A head behind an interim one is not kept together with all before it. */
static struct arena *
head_arena(struct flow *f)
{
	if (f->interim == 0)
		return (f->arena);
	if (f->heads == NULL) {
		f->heads = arena_new();
		arena_charge_to(f->heads, f->client->account);
	}
	return (f->heads);
}

/* Interim heads wait, unread, for a client that does not take them. */
static bool
interim_blocked(const struct flow *f)
{
	return (f->interim > 0 && link_room(f->client->transport) == 0);
}

enum flow_step
flow_answer(struct flow *f)
{
	struct fault fault = { 0 };
	struct http_msg *msg = NULL;
	enum h1_got got;
	bool begun;

	if (!run_upload(f))
		return (FLOW_NEXT);
	if (interim_blocked(f))
		return (FLOW_WAITS);
	begun = h1_in_begun(&f->origin->in);
	got = h1_in_head(&f->origin->in, head_arena(f),
	    H1_RESPONSE, &f->gen->gen->origin_limits, &msg, &fault);
	switch (got) {
	case H1_GOT_HEAD:
		reader_close(&f->body_again);
		f->asked_at = loop_now(f->worker->loop);
		origin_note_head(f->origin, msg);
		if (msg->status < 200) {
			interim(f, msg);
			arena_free(&f->heads);
		} else {
			f->resp = msg;
			flow_response(f);
		}
		break;
	case H1_GOT_WAIT:
		if (!begun && h1_in_begun(&f->origin->in))
			f->asked_at = loop_now(f->worker->loop);
		return (flow_head_too_dear(f, head_arena(f)) ? FLOW_NEXT :
		    FLOW_WAITS);
	case H1_GOT_END:
		origin_ended(f, ERR_ORIGIN_CLOSED);
		break;
	case H1_GOT_CUT:
		origin_ended(f, ERR_ORIGIN_CLOSED);
		break;
	case H1_GOT_BAD:
		f->origin->in.poisoned = true;
		flow_fail(f, &fault);
		break;
	}
	return (FLOW_NEXT);
}

bool
flow_origin_reusable(const struct flow *f)
{
	return (f->origin != NULL && f->resp_from_origin && f->origin_keep &&
	    !f->origin->in.in_body &&
	    (!f->up.started || f->up.end == PULL_END));
}
