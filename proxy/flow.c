/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flows: the driver, the request's head and scan, failures. See flow.h. */
#include <assert.h>
#include <string.h>
#include <time.h>
#include "base/budget.h"
#include "http/h1_frame.h"
#include "http/uri.h"
#include "proxy/flow.h"
#include "proxy/pages/page.h"
#include "proxy/peers.h"
#include "proxy/audit/reference.h"
#include "proxy/tunnel.h"

#define GONE_MS 500		/* a client that only ended its side may still read */
#define HINTS_MAX 16384		/* octets of Link in all 1xx of one answer */

static const unsigned follows[FLOW_STATES] = {
#define ON(name) (1u << FLOW_STATE_##name)
#define S(name, next) [FLOW_STATE_##name] = (next),
#include "proxy/flow.def"
#undef S
#undef ON
};

void
flow_go(struct flow *f, enum flow_state s)
{
	assert((follows[f->state] & (1u << s)) != 0);
	f->state = s;
}

static uint64_t
wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

struct flow *
flow_new(struct client *c)
{
	struct arena *a = arena_new();
	struct flow *f = arena_zalloc(a, sizeof(*f));

	f->arena = a;
	arena_charge_to(a, c->account);
	f->client = c;
	f->worker = c->worker;
	f->gen = worker_gen_ref(c->worker->current);
	f->started_at = loop_now(c->worker->loop);
	f->started_wall = wall_ms();
	f->scan_us = -1;
	f->times = (struct lease_times){ -1, -1, -1 };
	f->in_before = link_bytes_in(c->transport);
	f->out_before = link_bytes_out(c->transport);
	reference_make(f->reference);
	f->who = (struct scan_who){ .client_ip = str_of(c->ip),
	    .client_key = peers_key(&c->peer.sa),
	    .reference = str_of(f->reference),
	    .listener = str_of(c->listen->name), .account = c->account };
	if (c->tunnel != NULL)
		f->who.sni = tunnel_sni(c->tunnel);
	f->hints = HINTS_MAX;
	policy_plan_init(&f->gen->gen->conf->policy, &f->plan);
	return (f);
}

/* What the client sent is no longer needed (scanners hold what they read). */
static void
flow_drop_request_body(struct flow *f)
{
	if (f->req_body != NULL)
		f->request_body_bytes = body_received(f->req_body);
	body_unref(&f->req_body);
}

/* Let go of everything that works for the flow. */
static void
flow_stop(struct flow *f)
{
	chain_cancel(&f->chain);
	pump_stop(&f->up);
	pump_stop(&f->down);
	flow_stream_stop(f);
	reader_close(&f->body_again);
	reader_close(&f->was);
	reader_close(&f->now);
	chq_fini(&f->again);
	body_unref(&f->resumed);
	body_unref(&f->resp_body);
	flow_drop_request_body(f);
	lease_release(&f->lease);
}

void
flow_free(struct flow **fp)
{
	struct flow *f = *fp;
	struct arena *a;

	if (f == NULL)
		return;
	*fp = NULL;
	if (f->state != FLOW_STATE_DONE && f->req != NULL) {
		/* The connection ended under it. */
		fault_set(&f->fault, ERR_CLIENT_GONE, NULL);
		flow_note_origin(f);
		flow_chain_stop(f);
		flow_record(f);
	}
	flow_stop(f);
	arena_free(&f->heads);
	worker_gen_unref(&f->gen);
	a = f->arena;
	arena_free(&a);
}

/* Failures. */

static void
make_page(struct flow *f)
{
	struct gen *g = f->gen->gen;
	struct page_facts facts = { .fault = &f->fault, .req = f->req,
	    .rule = str_of(f->rule), .service = f->service,
	    .threat = f->threat, .reason = f->reason,
	    .reference = str_of(f->reference),
	    .org = str_of(g->conf->pages.org),
	    .help = str_of(g->conf->pages.help),
	    .host = str_of(g->conf->pages.host) };
	struct buf body = { 0 };

	page_make(f->arena, &facts, &f->resp, &body);
	if (body.n > 0)
		f->resp_body = body_of_bytes(f->worker->loop, &g->store,
		    body.p, body.n);
	buf_fini(&body);
}

void
flow_fail(struct flow *f, const struct fault *cause)
{
	bool unread = f->req_body != NULL && body_end(f->req_body) !=
	    PULL_END;

	fault_copy(&f->fault, cause);
	flow_note_origin(f);
	flow_chain_stop(f);
	flow_stop(f);
	f->resp = NULL;
	f->resp_from_origin = false;
	if (f->head_out) {
		f->keep = false;
		flow_go(f, FLOW_STATE_DONE);
		return;
	}
	make_page(f);
	f->keep = !unread && f->req != NULL && f->req->keep_alive &&
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

/* HEAD */

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

static enum flow_step
run_head(struct flow *f)
{
	struct client *c = f->client;
	struct fault fault = { 0 };
	struct http_msg *msg = NULL;
	enum h1_got got = h1_in_head(&c->in, f->arena,
	    H1_REQUEST, &f->gen->gen->client_limits, &msg, &fault);

	switch (got) {
	case H1_GOT_HEAD:
		f->req = msg;
		return (flow_request(f) ? FLOW_NEXT : FLOW_TUNNEL);
	case H1_GOT_WAIT:
		if (flow_head_too_dear(f, f->arena)) {
			c->in.poisoned = true;
			return (FLOW_NEXT);
		}
		if (loop_now(f->worker->loop) < c->deadline_at)
			return (FLOW_WAITS);
		if (!h1_in_begun(&c->in) && c->served > 0)
			return (FLOW_CLOSE);
		flow_fail_code(f, ERR_REQ_TIMEOUT, NULL);
		return (FLOW_NEXT);
	case H1_GOT_END:
	case H1_GOT_CUT:
		return (FLOW_CLOSE);
	case H1_GOT_BAD:
		break;
	}
	c->in.poisoned = true;
	flow_fail(f, &fault);
	return (FLOW_NEXT);
}

/* SCAN_REQ */

/* The client holds its body back, and it is wanted now (RFC 9110 10.1.1). */
static void
send_100(struct flow *f)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (f->owes_100 && body_was_pulled(f->req_body)) {
		f->owes_100 = false;
		link_write(f->client->transport, text, sizeof(text) - 1);
	}
}

/* Take over a request that a scanner has changed. */
static bool
adopt_request(struct flow *f, struct http_msg *req)
{
	struct http_uri was = f->req->uri;
	const struct tunnel *t = f->client->tunnel;
	struct fault fault = { 0 };

	req->keep_alive = f->req->keep_alive;
	req->version_minor = f->req->version_minor;
	if (req->target.n > 0 && req->target.p[0] == '/') {
		/* Origin-form: the authority stays what it was. */
		if (http_target_parse(req, t != NULL ? tunnel_authority(t) :
		    &was, false, &fault) == ERR_NONE)
			req->uri.scheme = was.scheme;
	} else
		(void)http_target_parse(req, NULL, false, &fault);
	if (fault.code != ERR_NONE || req->method_id == METHOD_CONNECT ||
	    (!http_same_authority(&req->uri, &was) && (t != NULL ||
	    conf_port_check(f->gen->gen->conf, false, req->uri.port,
	    &fault) != ERR_NONE))) {
		/* In an opened tunnel a new host has no verified connection. */
		flow_fail_code(f, ERR_SCAN_MESSAGE,
		    "the adapted request names another host");
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

static void
after_request_scan(struct flow *f, struct chain_result *r)
{
	struct body *body = r->body;

	r->body = NULL;
	flow_chain_note(f, r);
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
	if (body != NULL) {	/* held from its first octet on */
		pump_hold(&f->up, body, &f->client->task);
		flow_trim(f, &f->up);
	}
	chain_cancel(&f->chain);
	if (r->modified) {
		h1_frame_set(f->req, NULL, body != NULL, body != NULL ?
		    body_length(body) : 0);
		flow_drop_request_body(f);
	}
	body_unref(&body);
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
				pump_hold(&f->up, f->req_body,
				    &f->client->task);
			flow_go(f, FLOW_STATE_ORIGIN);
			return (FLOW_NEXT);
		}
		f->owes_100 = f->req->expect_continue;
		f->req->expect_continue = false;
		http_fields_remove(&f->req->fields, FIELD_EXPECT);
		f->scanned = (struct scan_message){ .mode = SCAN_REQ,
		    .req = f->req, .body = f->req_body, .who = &f->who,
		    .shared = &f->shared, .arena = f->arena };
		f->who.rule = str_of(f->plan.rule[POLICY_BY_SCAN]);
		flow_gap(f, &f->scanned);
		f->chain = chain_start(f->worker->loop, chain->steps,
		    chain->n, &f->scanned, &f->client->task);
	}
	if (f->req_body != NULL)
		send_100(f);
	r = chain_result(f->chain);
	if (r == NULL)
		return (FLOW_WAITS);
	after_request_scan(f, r);
	return (FLOW_NEXT);
}

/* Clocks. */

static bool
client_is_gone(struct flow *f)
{
	struct client *c = f->client;
	uint64_t now = loop_now(f->worker->loop);

	if (f->state == FLOW_STATE_HEAD)
		return (false);
	if (link_broken(c->transport))
		return (true);
	if (!link_peer_gone(c->transport))
		return (false);
	if (c->gone_since == 0)
		c->gone_since = now;
	return (now - c->gone_since >= GONE_MS);
}

static enum flow_step
run_done(struct flow *f)
{
	flow_record(f);
	flow_stop(f);
	if (f->fault.code != ERR_NONE && f->head_out && !f->keep &&
	    f->resp == NULL)
		return (FLOW_ABORT);	/* cut in the middle: let it be seen */
	return (f->keep && !f->worker->draining ? FLOW_NEXT : FLOW_CLOSE);
}

enum flow_step
flow_run(struct flow *f)
{
	enum flow_step step = FLOW_NEXT;

	h1_in_wake(&f->client->in);
	lease_turn(f->lease);
	if (client_is_gone(f)) {
		fault_set(&f->fault, ERR_CLIENT_GONE, NULL);
		return (FLOW_ABORT);
	}
	if (f->state != FLOW_STATE_DONE && f->state != FLOW_STATE_HEAD)
		flow_check_clocks(f);
	flow_finish_upload(f);
	while (step == FLOW_NEXT) {
		switch (f->state) {
		case FLOW_STATE_HEAD:
			step = run_head(f);
			break;
		case FLOW_STATE_CONNECT:
			step = flow_connect(f);
			break;
		case FLOW_STATE_WHERE:
			step = flow_where(f);
			break;
		case FLOW_STATE_SCAN_REQ:
			step = run_scan_req(f);
			break;
		case FLOW_STATE_ORIGIN:
			step = flow_origin(f);
			break;
		case FLOW_STATE_ANSWER:
			step = flow_answer(f);
			break;
		case FLOW_STATE_SCAN_RESP:
			flow_scan_response(f);
			step = f->state == FLOW_STATE_SCAN_RESP ?
			    FLOW_WAITS : FLOW_NEXT;
			break;
		case FLOW_STATE_RESUME:
			step = flow_resume(f);
			break;
		case FLOW_STATE_REPLY:
			step = flow_reply(f);
			break;
		case FLOW_STATE_DONE:
			return (run_done(f));
		case FLOW_STATES:
			break;
		}
	}
	return (step);
}
