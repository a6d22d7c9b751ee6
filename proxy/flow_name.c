/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NAME: a request in plain HTTP on a connection that was led here names a host.
 * Nothing but its client says so, and its address may be anybody's: what the
 * rules would give for the name is given if the name leads to that address.
 * That is only asked where it makes a difference, or names are strict.
 */
#include <string.h>
#include "net/resolve.h"
#include "proxy/flow.h"
#include "proxy/tunnel.h"

static const struct policy *
policy_of(const struct flow *f)
{
	return (&f->gen->gen->conf->policy);
}

bool
flow_name_leads_to(const struct resolve_query *q, const struct sockaddr *to)
{
	unsigned i;

	for (i = 0; i < q->n_v4; i++)
		if (address_eq(&q->v4[i].sa, to))
			return (true);
	for (i = 0; i < q->n_v6; i++)
		if (address_eq(&q->v6[i].sa, to))
			return (true);
	return (false);
}

static void
decide(struct flow *f, bool proven, struct plan *plan)
{
	struct policy_facts facts;

	policy_plan_init(policy_of(f), plan);
	flow_facts(f, &facts);
	if (proven)
		facts.led_host = facts.led_url = STR_NONE;
	policy_decide(policy_of(f), POLICY_TLS, &facts, plan);
	policy_decide(policy_of(f), POLICY_REQUEST, &facts, plan);
}

/* Would the rules give more to the name than to who only says it? */
static bool
makes_a_difference(struct flow *f)
{
	struct plan said, proven;

	decide(f, false, &said);
	decide(f, true, &proven);
	return (said.access != proven.access || said.log != proven.log ||
	    said.scan_req != proven.scan_req ||
	    said.scan_resp != proven.scan_resp ||
	    said.download != proven.download || said.range != proven.range ||
	    said.stream != proven.stream ||
	    said.websocket != proven.websocket ||
	    said.upgrade != proven.upgrade);
}

bool
flow_name_begin(struct flow *f)
{
	struct client *c = f->client;

	if (f->url_led.p == NULL ||
	    (c->listen->names != CONF_NAMES_STRICT && !makes_a_difference(f)))
		return (false);
	f->name = arena_zalloc(f->arena, sizeof(*f->name));
	flow_go(f, FLOW_STATE_NAME);
	resolve_start(f->worker->resolver, f->name, f->req->uri.host,
	    c->account, &f->task);
	return (true);
}

enum flow_step
flow_name(struct flow *f)
{
	bool proven = flow_name_leads_to(f->name, &f->client->dest.sa);

	if (!proven && !f->name->done)
		return (FLOW_WAITS);
	resolve_cancel(f->name);
	f->unproven = !proven;
	if (proven)
		f->url_led = STR_NONE;
	if (!proven && f->client->listen->names == CONF_NAMES_STRICT)
		flow_fail_code(f, ERR_NAME_UNPROVEN, NULL);
	else
		flow_request_decide(f);
	return (FLOW_NEXT);
}
