/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A flow and its origin: the request goes out, the head of the answer comes. */
#include "http/auth.h"
#include "http/h1_emit.h"
#include "http/hop.h"
#include "proxy/flow.h"
#include "proxy/tunnel.h"
#include "proxy/upgrade.h"

#define DROPS_MAX 4 /* an origin that ends each connection at once */

static bool
is_websocket(const struct flow *f)
{
	return (f->upgrade != NULL && f->upgrade->websocket);
}

/*
 * What its connection may speak, over TLS.  A sign-in that is the connection's
 * (http/auth.h) and a switch to something unknown want one of their own.
 */
static unsigned
protocols_of(const struct flow *f)
{
	return ((f->upgrade != NULL && !is_websocket(f)) ||
		    http_sign_in_of(f->req) != HTTP_SIGN_NONE
		? TLS_HTTP1
		: TLS_HTTP1 | TLS_H2);
}

/* Of the client's, or what a service made of it. */
static bool
has_upload(const struct flow *f)
{
	return (f->req_body != NULL || f->up.reader.body != NULL);
}

static void
want_of(struct flow *f, struct lease_want *want)
{
	const struct tunnel *t = f->client->tunnel;

	if (t != NULL)
		tunnel_want(t, f->gen, want);
	else
		*want = (struct lease_want){ .host = f->req->uri.host,
			.tls = str_eq(f->req->uri.scheme, STR("https")),
			.host_is_ip = f->req->uri.host_is_ip,
			.port = f->req->uri.port,
			.absolute = str_eq(f->req->uri.scheme, STR("http")) &&
			    conf_route(f->gen->gen->conf, f->plan.route) !=
				NULL };
	want->route = f->plan.route;
	want->slot = conf_out_slot(f->gen->gen->conf, f->plan.route,
	    &f->client->peer.sa);
	want->protocols = want->tls ? protocols_of(f) : TLS_HTTP1;
	want->fresh = f->tries > 0;
	want->recent = !flow_is_repeatable(f);
	want->uploads = has_upload(f);
	want->websocket = is_websocket(f);
	want->own = &f->client->own;
	want->account = f->client->account;
	want->may_reach = f->plan.asks_dest ? flow_may_reach : NULL;
	want->arg = f;
}

/* What was made while the client shook hands, if the request may use it. */
static struct lease *
take_ahead(struct flow *f, const struct lease_want *want)
{
	struct tunnel *t = f->client->tunnel;
	struct lease *l;

	if (t == NULL || f->tries > 0 || (l = tunnel_take_ahead(t)) == NULL)
		return (NULL);
	if (lease_is_good(l, f->gen, want))
		lease_adopt(l, want, &f->task);
	else
		lease_release(&l);
	return (l);
}

void
flow_get_lease(struct flow *f)
{
	struct lease_want want;

	want_of(f, &want);
	f->lease = take_ahead(f, &want);
	f->tries++;
	if (f->lease == NULL)
		f->lease = lease_get(f->worker, f->gen, &want, &f->task);
}

/* It was got before the request was scanned: is it still good? */
static bool
is_lease_good(struct flow *f)
{
	struct lease_want want;

	want_of(f, &want);
	return (lease_is_good(f->lease, f->gen, &want));
}

/* Of whom it comes from, what the configuration says. */
static void
tell_of_client(struct flow *f)
{
	const struct conf_forwarded *c = &f->gen->gen->conf->forwarded;
	char text[ADDRESS_TEXT];

	address_ip_text(&f->client->peer.sa, text);
	http_forward_client(f->req, c->xff, c->forwarded, text);
}

static void
send_request(struct flow *f)
{
	bool has_body = f->up.reader.body != NULL;
	struct fault fault = { 0 };
	struct sink *sink;

	if (f->tries == 1) {
		if (!upgrade_decide(f))
			return;
		flow_ask(f);
		if (http_forward_request(f->req, str_of(f->gen->gen->pseudonym),
			&fault) != ERR_NONE) {
			flow_fail(f, &fault);
			return;
		}
		tell_of_client(f);
	}
	sink = lease_send(f->lease, f->req, has_body);
	if (has_body) {
		flow_keep_body(f);
		reader_release(&f->up.reader, flow_grpc_mark(f, &f->up));
		pump_begin(&f->up, sink);
	}
	flow_go(f, FLOW_STATE_ANSWER);
}

enum flow_step
flow_origin(struct flow *f)
{
	enum flow_step step;

	if (f->lease != NULL && f->drops < DROPS_MAX && !is_lease_good(f)) {
		lease_release(&f->lease);
		f->tries--;
		f->drops++;
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

/* Move the request's body on. */
static enum pull
pump_upload(struct flow *f)
{
	enum pull p = pump_run(&f->up, loop_now(f->worker->loop));

	if (p == PULL_END)
		flow_upload_ended(f);
	return (p);
}

/* False: the flow has failed by it. */
static bool
run_upload(struct flow *f)
{
	enum pull p;

	if (!f->up.started || f->up.end == PULL_END)
		return (true);
	p = pump_upload(f);
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
		(void)pump_upload(f);
}

/*
 * 1xx but 101: passed on to the client (RFC 9110 15.2), those that browsers
 * do something with, and of them no field that could carry content.
 */
static void
interim(struct flow *f, struct http_msg *msg)
{
	if (++f->interim > f->gen->gen->conf->limits.interim) {
		flow_fail_code(f, ERR_ORIGIN_INTERIM, NULL);
		return;
	}
	if ((msg->status != 100 || f->req->expect_continue) &&
	    http_interim_strip(msg, &f->hints))
		exchange_interim(f->x, msg);
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
	return (f->interim > 0 && !exchange_takes_interim(f->x));
}

enum flow_step
flow_answer(struct flow *f)
{
	struct fault fault = { 0 };
	struct http_msg *msg = NULL;

	if (!run_upload(f))
		return (FLOW_NEXT);
	if (interim_blocked(f))
		return (FLOW_WAITS);
	switch (lease_head(f->lease, head_arena(f), &f->gen->gen->origin_limits,
	    &msg, &fault)) {
	case LEASE_GOT_HEAD:
		reader_close(&f->body_again);
		if (msg->status == 101) {
			if (upgrade_answer(f, msg))
				flow_switching(f, msg);
		} else if (msg->status < 200) {
			interim(f, msg);
			arena_free(&f->heads);
		} else {
			f->resp = msg;
			flow_response(f);
		}
		break;
	case LEASE_GOT_WAIT:
		return (flow_head_too_dear(f, head_arena(f)) ? FLOW_NEXT
							     : FLOW_WAITS);
	case LEASE_GOT_END:
		if (!flow_again(f))
			flow_fail(f, &fault);
		break;
	case LEASE_GOT_BAD:
		flow_fail(f, &fault);
		break;
	}
	return (FLOW_NEXT);
}
