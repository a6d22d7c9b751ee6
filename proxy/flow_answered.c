/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service has answered the request itself (RFC 3507 4.8.2).  The services
 * of the download chain that want to (scan_answers) look at what it says,
 * held until their verdict: they may let it pass, change it or block it.  What
 * passes gets the flow's reference then, and stays for the record what it was.
 */
#include "http/length.h"
#include "http/part.h"
#include "proxy/flow.h"
#include "proxy/kept_page.h"

static bool
sees_answers(const struct scanner *s)
{
	return (s->scans_answers);
}

/* What the rules choose for such a response. */
static struct worker_chain
services_of(struct flow *f)
{
	const struct http_msg *r = f->resp;
	struct policy_facts facts;
	struct plan plan = f->plan;

	flow_facts(f, &facts);
	facts.type = http_fields_value(&r->fields, FIELD_CONTENT_TYPE);
	facts.size = http_length(r);
	policy_decide(&f->gen->gen->conf->policy, POLICY_RESPONSE, &facts,
	    &plan);
	f->who.rule = str_of(plan.rule[POLICY_BY_SCAN]);
	return (flow_pick(f, plan.scan_resp, sees_answers));
}

static void
frame(struct flow *f)
{
	http_length_set(f->resp, f->req, f->resp_body != NULL,
	    f->resp_body != NULL ? body_length(f->resp_body) : 0);
}

static void
scan_start_answer(struct flow *f, const struct worker_chain *chain)
{
	flow_trim(f, &f->down);
	f->plan.download = POLICY_HOLD;
	f->scanned = (struct scan_message){ .mode = SCAN_RESP,
		.req = f->req,
		.resp = f->resp,
		.body = f->resp_body,
		.who = &f->who,
		.shared = &f->shared,
		.arena = f->arena };
	f->is_part = f->resp_body != NULL &&
	    http_part_of(f->resp) == HTTP_PART_SOME;
	flow_gap(f, &f->scanned);
	f->chain = chain_start(f->worker->loop, chain->steps, chain->n,
	    &f->scanned, &f->task);
}

void
flow_answered(struct flow *f, struct chain_result *r)
{
	struct worker_chain chain = { .n = 0 };

	f->resp = r->resp;
	f->resp_body = r->body;
	r->body = NULL;
	f->keep = !f->last;
	frame(f);
	if (f->req->method_id != METHOD_CONNECT)
		chain = services_of(f);
	if (chain.n == 0) {
		f->resp_body = kept_page(f, f->resp, r->by, f->resp_body);
		chain_cancel(&f->chain);
		frame(f);
		flow_go(f, FLOW_STATE_REPLY);
		return;
	}
	fault_set(&f->fault, ERR_SERVICE_BLOCK, "%.*s", STR_ARG(r->by));
	f->answered = f->fault; /* what they find comes before that */
	f->answered_by = r->by;
	f->fault = (struct fault){ .code = ERR_NONE };
	f->blocked = true;
	if (f->resp_body != NULL)
		pump_hold(&f->down, f->resp_body, &f->task);
	chain_cancel(&f->chain); /* it held the begin until here */
	scan_start_answer(f, &chain);
	flow_go(f, FLOW_STATE_SCAN_RESP);
}

void
flow_answer_passes(struct flow *f)
{
	struct body *was = f->resp_body;

	f->fault = f->answered;
	f->resp_body = kept_page(f, f->resp, f->answered_by, was);
	if (f->resp_body != was) /* the new one reads it */
		pump_stop(&f->down);
	frame(f);
}
