/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flows: the driver, the request's head and scan, failures. See flow.h. */
#include <assert.h>
#include <string.h>
#include <time.h>
#include "base/budget.h"
#include "base/list.h"
#include "http/auth.h"
#include "http/length.h"
#include "http/uri.h"
#include "proxy/flow.h"
#include "proxy/pages/page.h"
#include "proxy/peers.h"
#include "proxy/audit/reference.h"
#include "proxy/tunnel.h"
#include "proxy/upgrade.h"

#define HINTS_MAX 16384 /* octets of Link in all 1xx of one answer */

static const unsigned follows[FLOW_STATES] = {
#define ON(name) (1u << FLOW_STATE_##name)
#define S(name, due, next) [FLOW_STATE_##name] = (next),
#include "proxy/flow.def"
#undef S
#undef ON
};

void
flow_go(struct flow *f, enum flow_state s)
{
	assert((follows[f->state] & (1u << s)) != 0);
	f->state = s;
	flight_state(&f->worker->flight, f->slot, (uint8_t)s);
}

static uint64_t
wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

static void flow_run(struct task *);

static void
flow_due(struct timer *t)
{
	task_wake(&CONTAINER_OF(t, struct flow, timer)->task);
}

static void
start_clocks(struct flow *f)
{
	uint64_t now = loop_now(f->worker->loop);

	task_init(&f->task, f->worker->loop, flow_run);
	timer_init(&f->timer, f->worker->loop, flow_due);
	f->started_at = f->x->began_at;
	f->started_wall = wall_ms() - (now - f->started_at);
	f->scan_us = -1;
	f->times = (struct lease_times){ -1, -1, -1 };
}

static struct flow *
flow_alloc(struct exchange *x)
{
	struct flow *f = arena_zalloc(x->arena, sizeof(*f));

	f->x = x;
	f->req = x->req;
	f->arena = exchange_take(x, &f->task);
	return (f);
}

void
flow_new(struct client *c, struct exchange *x)
{
	struct flow *f = flow_alloc(x);

	f->client = c;
	f->worker = c->worker;
	f->gen = worker_gen_ref(c->worker->current);
	start_clocks(f);
	reference_make(f->reference);
	f->who = (struct scan_who){ .client_ip = str_of(c->ip),
		.client_key = peers_key(&c->peer.sa),
		.reference = str_of(f->reference),
		.listener = str_of(c->listen->name),
		.account = c->account };
	if (c->tunnel != NULL)
		f->who.sni = tunnel_sni(c->tunnel);
	f->hints = HINTS_MAX;
	policy_plan_init(&f->gen->gen->conf->policy, &f->plan);
	list_append(&c->flows, &f->link);
	flow_flight_begin(f);
	task_wake(&f->task);
}

/* What the client sent is no longer needed (scanners hold what they read). */
static void
flow_drop_request_body(struct flow *f)
{
	if (f->req_body != NULL) {
		f->request_body_bytes = body_received(f->req_body);
		body_on_first_pull(f->req_body, NULL);
	}
	body_unref(&f->req_body);
}

/* Let go of everything that works for the flow. */
static void
flow_stop(struct flow *f)
{
	if (f->name != NULL)
		resolve_cancel(f->name);
	chain_cancel(&f->chain);
	upgrade_stop(f);
	pump_stop(&f->up);
	pump_stop(&f->down);
	flow_stream_stop(f);
	flow_grpc_stop(f);
	reader_close(&f->body_again);
	reader_close(&f->was);
	reader_close(&f->now);
	chq_fini(&f->again);
	body_unref(&f->resumed);
	body_unref(&f->resp_body);
	flow_drop_request_body(f);
	lease_release(&f->lease);
}

/* All is said and recorded. */
static void
flow_end(struct flow *f, enum exchange_end how)
{
	struct arena *a = f->arena;

	assert(f->grant == NULL);
	flow_stop(f);
	exchange_end(&f->x, how);
	timer_stop(&f->timer);
	task_fini(&f->task);
	list_remove(&f->link);
	flight_end(&f->worker->flight, f->slot);
	arena_free(&f->heads);
	worker_gen_unref(&f->gen);
	arena_free(&a);
}

void
flow_free(struct flow *f)
{
	if (f->state != FLOW_STATE_DONE && f->req != NULL) {
		fault_set(&f->fault, ERR_CLIENT_GONE, NULL);
		flow_note_origin(f);
		flow_chain_stop(f);
		flow_record(f);
	}
	flow_end(f, EXCHANGE_ABORT);
}

/* Failures. */

void
flow_page_facts(const struct flow *f, struct page_facts *facts)
{
	const struct gen *g = f->gen->gen;

	*facts = (struct page_facts){ .fault = &f->fault,
		.req = f->req,
		.rule = str_of(f->rule),
		.service = f->service,
		.threat = f->threat,
		.reason = f->reason,
		.received_status = f->parent_status,
		.reference = str_of(f->reference),
		.org = str_of(g->conf->pages.org),
		.help = str_of(g->conf->pages.help),
		.host = str_of(g->conf->pages.host) };
}

static void
make_page(struct flow *f)
{
	struct gen *g = f->gen->gen;
	struct page_facts facts;
	struct buf body = { 0 };

	flow_page_facts(f, &facts);
	page_make(f->arena, &facts, &f->resp, &body);
	if (body.n > 0)
		f->resp_body = body_of_bytes(f->worker->loop, &g->store, body.p,
		    body.n);
	buf_fini(&body);
}

void
flow_fail(struct flow *f, const struct fault *cause)
{
	bool unread = f->req_body != NULL && body_end(f->req_body) != PULL_END;

	fault_copy(&f->fault, cause);
	flow_note_origin(f);
	flow_chain_stop(f);
	f->told = f->head_out && flow_grpc_tell(f);
	flow_stop(f);
	f->resp = NULL;
	f->resp_from_origin = false;
	if (f->head_out) {
		f->keep = false;
		flow_go(f, FLOW_STATE_DONE);
		return;
	}
	make_page(f);
	f->keep = !unread && f->req != NULL && !f->last &&
	    err_info(f->fault.code)->scope == ERR_SCOPE_FLOW;
	if (f->state != FLOW_STATE_REPLY)
		flow_go(f, FLOW_STATE_REPLY);
}

void
flow_fail_code(struct flow *f, enum err code, const char *detail)
{
	struct fault fault = { 0 };

	fault_set(&fault, code, "%s", detail != NULL ? detail : "");
	flow_fail(f, &fault);
}

void
flow_give_up(struct flow *f, enum err code)
{
	f->gives_up = code;
	task_wake(&f->task);
}

static void
give_up(struct flow *f)
{
	if (f->gives_up != ERR_NONE && f->state != FLOW_STATE_DONE)
		flow_fail_code(f, f->gives_up,
		    "it was the largest body of the client who holds most");
	f->gives_up = ERR_NONE;
}

bool
flow_wants_http1(struct flow *f, const struct http_msg *m)
{
	if (!f->x->type->http2 || (!m->is_request && m->status != 401) ||
	    http_sign_in_of(m) == HTTP_SIGN_NONE)
		return (false);
	fault_set(&f->fault, ERR_REQ_HTTP1, NULL);
	flow_note_origin(f);
	flow_stop(f);
	f->resp = NULL;
	f->for_http1 = true;
	flow_go(f, FLOW_STATE_DONE);
	return (true);
}

bool
flow_head_too_dear(struct flow *f, const struct arena *head)
{
	if (arena_bytes(head) <= ARENA_FREE ||
	    account_room(f->client->account, BUDGET_MEMORY) > 0)
		return (false);
	flow_fail_code(f, ERR_MEMORY,
	    "limits.memory has no more for this client");
	return (true);
}

/* SCAN_REQ */

/* The client holds its body back, and it is wanted now (RFC 9110 10.1.1). */
static void
send_100(struct flow *f)
{
	if (f->owes_100 && body_was_pulled(f->req_body)) {
		f->owes_100 = false;
		exchange_continue(f->x);
	}
}

/* Take over a request that a scanner has changed. */
static bool
adopt_request(struct flow *f, struct http_msg *req)
{
	struct http_uri was = f->req->uri;
	const struct tunnel *t = f->client->tunnel;
	bool led = t != NULL && tunnel_is_led(t) && tunnel_is_plain(t);
	struct fault fault = { 0 };

	req->version = f->req->version;
	if (req->target.n > 0 && req->target.p[0] == '/') {
		/* Origin-form: the authority stays what it was. */
		if (http_target_parse(req,
			t != NULL && !led ? tunnel_authority(t) : &was, false,
			&fault) == ERR_NONE)
			req->uri.scheme = was.scheme;
	} else
		(void)http_target_parse(req, NULL, false, &fault);
	if (fault.code != ERR_NONE || req->method_id == METHOD_CONNECT ||
	    (!http_same_authority(&req->uri, &was) &&
		(t != NULL ||
		    conf_port_check(f->gen->gen->conf, false, req->uri.port,
			&fault) != ERR_NONE))) {
		/* In an opened tunnel a new host has no verified connection. */
		flow_fail_code(f, ERR_SCAN_MESSAGE,
		    "the adapted request names another host");
		return (false);
	}
	if ((req->method_id == METHOD_HEAD) !=
	    (f->req->method_id == METHOD_HEAD)) {
		/* The client reads what its own method lets it expect. */
		flow_fail_code(f, ERR_SCAN_MESSAGE,
		    "the adapted request is HEAD, or is not any more");
		return (false);
	}
	if (!http_same_authority(&req->uri, &was)) {
		lease_release(&f->lease);
		f->tries = 0;
	}
	f->req = req;
	f->scanned_by = NULL;
	if (flow_still_allowed(f))
		return (true);
	flow_block(f, f->plan.rule[POLICY_BY_ACCESS], NULL);
	return (false);
}

/* Of a call of gRPC: its head, without a message. */
static void
after_call_scan(struct flow *f, struct chain_result *r, struct body *body)
{
	const struct http_msg *was = f->req;
	bool has_body = body != NULL;

	body_unref(&body);
	if (r->action == CHAIN_ANSWER) { /* no page for its client */
		f->blocked = true;
		fault_set(&f->fault, ERR_SERVICE_BLOCK, "%.*s", STR_ARG(r->by));
	}
	if (r->action != CHAIN_PASS) {
		flow_fail(f, r->action == CHAIN_ANSWER ? &f->fault : &r->fault);
		return;
	}
	if (r->req != NULL) { /* of one hop only, services lose it */
		http_fields_set(f->arena, &r->req->fields, FIELD_TE,
		    STR("trailers"));
		if (!adopt_request(f, r->req))
			return;
	}
	if (r->modified && has_body) {
		flow_fail_code(f, ERR_SCAN_MESSAGE,
		    "a service added a message to a call");
		return;
	}
	chain_cancel(&f->chain);
	f->req->length_is = was->length_is;
	f->req->length = was->length;
	flow_grpc_request(f);
}

static void
after_request_scan(struct flow *f, struct chain_result *r)
{
	struct body *body = r->body;

	r->body = NULL;
	flow_chain_note(f, r);
	if (f->grpc != NULL && f->req_body != NULL) {
		after_call_scan(f, r, body);
		return;
	}
	if (r->action == CHAIN_ANSWER) {
		r->body = body;
		flow_drop_request_body(f);
		flow_answered(f, r);
		return;
	}
	if (r->action != CHAIN_PASS) {
		body_unref(&body);
		flow_fail(f, &r->fault);
		return;
	}
	if (r->req != NULL && !adopt_request(f, r->req)) {
		body_unref(&body);
		return;
	}
	if (body != NULL) { /* held from its first octet on */
		pump_hold(&f->up, body, &f->task);
		flow_trim(f, &f->up);
	}
	chain_cancel(&f->chain);
	if (r->modified) {
		http_length_set(f->req, NULL, body != NULL,
		    body != NULL ? body_length(body) : 0);
		flow_drop_request_body(f);
	}
	body_unref(&body);
	if (r->modified && !upgrade_adapted(f))
		return;
	flow_go(f, FLOW_STATE_ORIGIN);
}

static enum flow_step
run_scan_req(struct flow *f)
{
	const struct worker_chain *chain;
	struct chain_result *r;

	if (f->chain == NULL) {
		f->scanned_by = f->plan.scan_req;
		chain = worker_gen_chain(f->gen, f->plan.scan_req);
		if (chain == NULL || chain->n == 0) {
			if (f->req_body != NULL)
				pump_hold(&f->up, f->req_body, &f->task);
			flow_go(f, FLOW_STATE_ORIGIN);
			return (FLOW_NEXT);
		}
		f->owes_100 = f->req->expect_continue;
		f->req->expect_continue = false;
		http_fields_remove(&f->req->fields, FIELD_EXPECT);
		f->scanned = (struct scan_message){ .mode = SCAN_REQ,
			.req = f->req,
			.body = f->req_body,
			.who = &f->who,
			.shared = &f->shared,
			.arena = f->arena };
		f->who.rule = str_of(f->plan.rule[POLICY_BY_SCAN]);
		flow_gap(f, &f->scanned);
		if (!flow_grpc_asks(f, &f->scanned))
			return (FLOW_NEXT);
		f->chain = chain_start(f->worker->loop, chain->steps, chain->n,
		    &f->scanned, &f->task);
	}
	if (f->req_body != NULL)
		send_100(f);
	r = chain_result(f->chain);
	if (r == NULL)
		return (FLOW_WAITS);
	after_request_scan(f, r);
	return (FLOW_NEXT);
}

/* The driver. */

static bool
client_is_gone(const struct flow *f)
{
	return (!flow_outlives_client(f) && f->x->gone_at != 0 &&
	    loop_now(f->worker->loop) >= f->x->gone_at);
}

/* A CONNECT ends without a record: what comes of it has one of its own. */
static void
become_tunnel(struct flow *f)
{
	struct client *c = f->client;
	struct tunnel *t = f->grant;

	f->grant = NULL;
	flow_end(f, EXCHANGE_TUNNEL);
	client_tunnel(c, t);
}

static void
run_done(struct flow *f)
{
	/* Cut in the middle: let it be seen. */
	bool cut = f->fault.code != ERR_NONE && f->head_out && !f->keep &&
	    f->resp == NULL && !f->told;

	cut |= f->upgrade != NULL && f->upgrade->cut;

	if (f->grant != NULL) {
		become_tunnel(f);
		return;
	}
	flow_record(f);
	flow_end(f,
	    f->for_http1 ? EXCHANGE_HTTP1
		: cut    ? EXCHANGE_ABORT
			 : EXCHANGE_DONE);
}

/* In whatever state it is. */
static enum flow_step
run_state(struct flow *f)
{
	switch (f->state) {
	case FLOW_STATE_POLICY:
		flow_request(f);
		return (FLOW_NEXT);
	case FLOW_STATE_CONNECT:
		return (flow_connect(f));
	case FLOW_STATE_NAME:
		return (flow_name(f));
	case FLOW_STATE_WHERE:
		return (flow_where(f));
	case FLOW_STATE_SCAN_REQ:
		return (run_scan_req(f));
	case FLOW_STATE_ORIGIN:
		return (flow_origin(f));
	case FLOW_STATE_ANSWER:
		return (flow_answer(f));
	case FLOW_STATE_SCAN_RESP:
		flow_scan_response(f);
		return (
		    f->state == FLOW_STATE_SCAN_RESP ? FLOW_WAITS : FLOW_NEXT);
	case FLOW_STATE_RESUME:
		return (flow_resume(f));
	case FLOW_STATE_REPLY:
		return (flow_reply(f));
	case FLOW_STATE_UPGRADED:
		if (!upgrade_run(f))
			return (FLOW_WAITS);
		flow_go(f, FLOW_STATE_DONE);
		return (FLOW_NEXT);
	case FLOW_STATE_DONE:
	case FLOW_STATES:
		break;
	}
	return (FLOW_WAITS);
}

static void
run(struct flow *f)
{
	lease_turn(f->lease);
	if (client_is_gone(f)) {
		flow_free(f);
		return;
	}
	if (f->state != FLOW_STATE_POLICY)
		flow_check_clocks(f);
	give_up(f);
	flow_grpc_run(f);
	flow_finish_upload(f);
	while (run_state(f) == FLOW_NEXT)
		;
	if (f->state == FLOW_STATE_DONE)
		run_done(f);
	else {
		flow_grpc_turn_ends(f);
		flow_set_timer(f);
		flow_flight_note(f);
	}
}

static void
flow_run(struct task *t)
{
	struct flow *f = CONTAINER_OF(t, struct flow, task);
	struct worker *w = f->worker;

	flight_at(&w->flight, f->slot);
	run(f);
	flight_at(&w->flight, 0);
}
