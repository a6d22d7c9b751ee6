/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The answer's way back: policy, the chain, the release mark, the client. */
#include <assert.h>
#include <time.h>
#include "http/auth.h"
#include "http/h1_emit.h"
#include "http/hop.h"
#include "http/length.h"
#include "proxy/flow.h"
#include "proxy/kept_page.h"
#include "proxy/upgrade.h"
#include "proxy/audit/log.h"

#define STREAM_HOLD_BACK 4096 /* of a streamed body, until the verdict */

static const struct conf *
conf_of(const struct flow *f)
{
	return (f->gen->gen->conf);
}

/* An answer of our own (RFC 9110 6.6.1). */
static void
add_date(const struct flow *f, struct http_msg *r)
{
	char date[30];

	if (http_fields_get(&r->fields, FIELD_DATE) != NULL)
		return;
	http_date_print(date, time(NULL));
	http_fields_add(f->arena, &r->fields, FIELD_DATE,
	    arena_str(f->arena, str_of(date)));
}

/* RFC 4559 6: the client may sign in over its connection to a proxy. */
static void
add_proxy_support(const struct flow *f, struct http_msg *r)
{
	if (f->client->tunnel != NULL || r->status != 401 ||
	    http_sign_in_of(r) == HTTP_SIGN_NONE)
		return;
	http_fields_set(f->arena, &r->fields, FIELD_PROXY_SUPPORT,
	    STR("Session-Based-Authentication"));
}

static void
send_head(struct flow *f)
{
	struct http_msg *r = f->resp;
	bool has_body = f->resp_body != NULL;
	struct sink *s;

	assert(!has_body || f->down.reader.body != NULL);
	if (f->resp_from_origin) {
		http_forward_response(r, str_of(f->gen->gen->pseudonym),
		    time(NULL));
		add_proxy_support(f, r);
	} else
		add_date(f, r);
	s = exchange_respond(f->x, r, has_body, f->keep);
	f->head_out = true;
	f->first_byte_at = loop_now(f->worker->loop);
	if (has_body)
		pump_begin(&f->down, s);
}

/* The response head, from the origin or from ourselves. */

static bool
blocked_by_policy(struct flow *f)
{
	struct policy_facts facts;

	flow_facts(f, &facts);
	flow_facts_type(f, &f->resp->fields, &facts);
	facts.size = http_length(f->resp);
	if (f->lease != NULL)
		facts.dest = lease_peer(f->lease);
	policy_decide(&conf_of(f)->policy, POLICY_RESPONSE, &facts, &f->plan);
	if (f->plan.access != POLICY_BLOCK)
		return (false);
	flow_block(f, f->plan.rule[POLICY_BY_ACCESS], NULL);
	return (true);
}

static void
take_origin_body(struct flow *f)
{
	f->resp_from_origin = true;
	http_hop_strip(f->resp);
	f->resp_body = lease_body(f->lease, &f->gen->gen->store, f->resp);
	if (f->resp_body != NULL)
		body_charge_to(f->resp_body, f->client->account);
	/* A sign-in whose connection ends here has to begin anew. */
	f->keep = !lease_breaks_sign_in(f->lease);
}

void
flow_response(struct flow *f)
{
	if (!f->internal)
		take_origin_body(f);
	if (blocked_by_policy(f) || flow_wants_http1(f, f->resp) ||
	    !flow_part(f))
		return;
	if (f->resp_body == NULL)
		http_length_set(f->resp, f->req, false, 0);
	if (f->resp_body != NULL)
		pump_hold(&f->down, f->resp_body, &f->task);
	if (f->plan.scan_resp->n > 0)
		flow_trim(f, &f->down);
	f->hold_until = loop_now(f->worker->loop) +
	    conf_of(f)->download.hold_ms;
	flow_go(f, FLOW_STATE_SCAN_RESP);
}

void
flow_switching(struct flow *f, struct http_msg *msg)
{
	assert(f->lease != NULL && f->up.reader.body == NULL);
	f->resp = msg;
	f->resp_from_origin = true;
	if (!blocked_by_policy(f))
		flow_go(f, FLOW_STATE_SCAN_RESP);
}

void
flow_head_early(struct flow *f)
{
	/* To compare with, should a service send a message of its own. */
	reader_open(&f->was, f->resp_body, 0, &f->task);
	f->was.mark = 0;
	send_head(f);
}

/* While the chain looks at it: how much of the original may go out already. */
static void
trickle(struct flow *f)
{
	uint64_t now = loop_now(f->worker->loop), there, mark = 0;

	if (f->plan.download == POLICY_HOLD || f->resp_body == NULL ||
	    !chain_message_stands(f->chain))
		return;
	there = body_received(f->resp_body);
	if (f->plan.download == POLICY_STREAM)
		mark = there > STREAM_HOLD_BACK ? there - STREAM_HOLD_BACK : 0;
	else if (now >= f->hold_until && there > STREAM_HOLD_BACK) {
		mark = 1 +
		    (now - f->hold_until) * conf_of(f)->download.rate / 1000;
		if (mark > there - STREAM_HOLD_BACK)
			mark = there - STREAM_HOLD_BACK;
	}
	if (mark == 0)
		return;
	if (!f->head_out)
		flow_head_early(f);
	reader_release(&f->down.reader, mark);
	(void)pump_run(&f->down, now);
}

/* The chain's message takes the place of the original. */
static void
adopt_response(struct flow *f, struct chain_result *r)
{
	struct body *body = r->body;

	r->body = NULL;
	if (r->action == CHAIN_ANSWER)
		body = kept_page(f, r->resp, r->by, body);
	if (r->resp != NULL && r->resp != f->resp)
		f->resp = r->resp;
	pump_stop(&f->down);
	if (body != NULL)
		pump_hold(&f->down, body, &f->task);
	flow_trim(f, &f->down);
	chain_cancel(&f->chain); /* it held the body's begin until here */
	body_unref(&f->resp_body);
	f->resp_body = body;
	http_length_set(f->resp, f->req, body != NULL,
	    body != NULL ? body_length(body) : 0);
}

/*
 * A part of the original is out (trickled, streamed) and a service answers
 * with a message of its own.  Many send back just what they were given: if
 * it begins with what is out, the client gets the rest of it, else a cut.
 */
#define CHANGED "changed after its delivery had begun"

static bool
same_field(const struct http_msg *a, const struct http_msg *b,
    enum http_field_id id)
{
	return (str_ieq(http_fields_value(&a->fields, id),
	    http_fields_value(&b->fields, id)));
}

static bool
may_resume(const struct flow *f, const struct chain_result *r)
{
	return (r->action == CHAIN_PASS && r->body != NULL &&
	    f->resp_body != NULL &&
	    (r->resp == NULL ||
		(r->resp->status == f->resp->status &&
		    same_field(r->resp, f->resp, FIELD_CONTENT_TYPE) &&
		    same_field(r->resp, f->resp, FIELD_CONTENT_ENCODING))));
}

static void
begin_resume(struct flow *f, struct chain_result *r)
{
	struct task *wake = &f->task;

	f->resumed = r->body;
	r->body = NULL;
	reader_release(&f->was, BODY_ALL);
	reader_open(&f->now, f->resumed, 0, wake);
	chain_cancel(&f->chain); /* it held the begin until here */
	flow_go(f, FLOW_STATE_RESUME);
}

enum flow_step
flow_resume(struct flow *f)
{
	enum pull p = PULL_MORE;

	while (p == PULL_MORE &&
	    (chq_len(&f->again) > 0 || f->now.offset < f->down.sent)) {
		if (chq_len(&f->again) == 0)
			p = reader_pull(&f->now, &f->again,
			    (size_t)(f->down.sent - f->now.offset));
		if (p == PULL_MORE)
			p = reader_match(&f->was, &f->again);
	}
	if (p == PULL_WAIT)
		return (FLOW_WAITS);
	if (p != PULL_MORE) {
		flow_fail_code(f, ERR_SCAN_MESSAGE, CHANGED);
		return (FLOW_NEXT);
	}
	reader_close(&f->down.reader);
	reader_open(&f->down.reader, f->resumed, f->down.sent, &f->task);
	reader_close(&f->now);
	reader_close(&f->was);
	body_unref(&f->resp_body);
	f->resp_body = f->resumed;
	f->resumed = NULL;
	flow_go(f, FLOW_STATE_REPLY);
	return (FLOW_NEXT);
}

static void
after_response_scan(struct flow *f, struct chain_result *r)
{
	flow_chain_note(f, r);
	if (f->answered.code == ERR_NONE &&
	    (f->blocked || (r->modified && f->head_out)))
		remember_add(&f->worker->shared->blocked, f->url);
	if (r->action == CHAIN_BLOCK || r->action == CHAIN_FAIL) {
		flow_fail(f, &r->fault);
		return;
	}
	if (r->action == CHAIN_ANSWER || r->modified) {
		if (f->head_out) {
			if (may_resume(f, r))
				begin_resume(f, r);
			else
				flow_fail_code(f,
				    r->fault.code != ERR_NONE
					? r->fault.code
					: ERR_SCAN_MESSAGE,
				    CHANGED);
			return;
		}
		adopt_response(f, r);
	} else {
		reader_close(&f->was);
		chain_cancel(&f->chain);
	}
	if (f->answered.code != ERR_NONE && r->action == CHAIN_PASS)
		flow_answer_passes(f);
	flow_go(f, FLOW_STATE_REPLY);
}

/* The chain has looked at the begin of an endless answer. */
static void
after_stream_scan(struct flow *f, struct chain_result *r)
{
	if (r->action == CHAIN_PASS && !flow_stream_pass(f, r))
		return;
	if (r->action != CHAIN_PASS) {
		after_response_scan(f, r);
		return;
	}
	flow_chain_note(f, r);
	reader_close(&f->was);
	chain_cancel(&f->chain);
	flow_go(f, FLOW_STATE_REPLY);
}

void
flow_scan_response(struct flow *f)
{
	const struct worker_chain *chain;
	struct chain_result *r;

	if (f->chain == NULL) {
		chain = worker_gen_chain(f->gen, f->plan.scan_resp);
		if (chain == NULL || chain->n == 0) {
			if (!flow_grpc_takes_response(f))
				flow_go(f, FLOW_STATE_REPLY);
			return;
		}
		if (flow_grpc_takes_response(f))
			return;
		f->scanned = (struct scan_message){ .mode = SCAN_RESP,
			.req = f->req,
			.resp = f->resp,
			.body = f->resp_body,
			.who = &f->who,
			.shared = &f->shared,
			.arena = f->arena };
		f->who.rule = str_of(f->plan.rule[POLICY_BY_SCAN]);
		flow_gap(f, &f->scanned);
		if (!flow_stream_begin(f, &f->scanned))
			return;
		f->chain = chain_start(f->worker->loop, chain->steps, chain->n,
		    &f->scanned, &f->task);
	}
	r = chain_result(f->chain);
	if (r != NULL && flow_stream_is_on(f))
		after_stream_scan(f, r);
	else if (r != NULL)
		after_response_scan(f, r);
	else if (!flow_stream_is_on(f))
		trickle(f);
}

/* REPLY */

static void
end_of_reply(struct flow *f, enum pull p)
{
	if (p == PULL_END) {
		flow_go(f, FLOW_STATE_DONE);
		return;
	}
	if (body_fault(f->down.reader.body)->code != ERR_NONE)
		fault_copy(&f->fault, body_fault(f->down.reader.body));
	else
		fault_set(&f->fault, ERR_SCAN_MESSAGE,
		    "body and Content-Length of the answer disagree");
	f->keep = false;
	f->resp = NULL;
	flow_go(f, FLOW_STATE_DONE);
}

enum flow_step
flow_reply(struct flow *f)
{
	enum pull p = PULL_END;

	if (f->resp->status == 101) {
		if (upgrade_begin(f))
			flow_go(f, FLOW_STATE_UPGRADED);
		return (FLOW_NEXT);
	}
	if (!f->head_out) {
		if (f->resp_body != NULL && f->down.reader.body == NULL) {
			pump_hold(&f->down, f->resp_body, &f->task);
			flow_trim(f, &f->down);
		}
		send_head(f);
	}
	if (f->resp_body != NULL) {
		reader_release(&f->down.reader,
		    flow_stream_is_on(f) ? flow_stream_mark(f)
					 : flow_grpc_mark(f, &f->down));
		p = pump_run(&f->down, loop_now(f->worker->loop));
	}
	if (p == PULL_WAIT || p == PULL_MORE)
		return (FLOW_WAITS);
	end_of_reply(f, p);
	return (FLOW_NEXT);
}
