/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CONNECT: what policy says, then the services that look at it ("connect:
 * true"), before anything is opened, spliced or even answered.  Then the flow
 * becomes a tunnel, once the client has its 200.  What the client sends behind the head waits meanwhile.
 */
#include "http/hop.h"
#include "proxy/flow.h"
#include "proxy/tunnel.h"

static const struct conf *
conf_of(const struct flow *f)
{
	return (f->gen->gen->conf);
}

/* What is known: no request, and not how long what comes will be. */
static void
connect_facts(struct flow *f, struct policy_facts *facts)
{
	flow_facts(f, facts);
	facts->url = facts->type = STR_NONE;
	facts->scheme = STR("https");
	facts->size = POLICY_SIZE_UNKNOWN;
}

#define VIA_MAX 8192 /* octets of those before us, for parents of ours */

/* It came through us already, or so many that it may have (RFC 9110 7.6.3). */
static bool
is_loop(struct flow *f)
{
	struct str self = str_of(f->gen->gen->pseudonym);
	bool looped;

	f->via = http_via(f->req, self, &looped);
	if (looped)
		flow_fail_code(f, ERR_REQ_LOOP, "Via names us already");
	else if (f->via.n > VIA_MAX)
		flow_fail_code(f, ERR_REQ_LOOP, "Via names too many");
	return (looped || f->via.n > VIA_MAX);
}

/* The flow ends, and its client's connection becomes that tunnel. */
static void
grant(struct flow *f)
{
	const struct tunnel_facts facts = { .reference = f->reference,
		.started_at = f->started_at,
		.started_wall = f->started_wall,
		.method = f->req->method,
		.agent = flow_agent(f->req),
		.http_minor = f->req->version == HTTP_1_0 ? 0 : 1,
		.via = f->via,
		.said = { f->scans, f->n_scans, f->scan_us } };

	f->grant = tunnel_new(f->client, f->gen, &f->req->uri, f->req->uri.host,
	    &f->plan, &facts);
	flow_go(f, FLOW_STATE_DONE);
}

static bool
sees_connect(const struct scanner *s)
{
	return (s->scans_connect);
}

/*
 * The services of the chain that a rule would choose for what comes: those
 * that are told of CONNECT.  The tunnel's plan keeps none of that, but which
 * rule it was.
 */
static struct worker_chain
services_of(struct flow *f)
{
	struct policy_facts facts;
	struct plan plan = f->plan;

	if (str_eq(f->req->uri.host, str_of(conf_of(f)->pages.host)))
		return ((struct worker_chain){ .n = 0 });
	connect_facts(f, &facts);
	policy_decide(&conf_of(f)->policy, POLICY_REQUEST, &facts, &plan);
	f->who.rule = str_of(plan.rule[POLICY_BY_SCAN]);
	return (flow_pick(f, plan.scan_req, sees_connect));
}

struct worker_chain
flow_pick(struct flow *f, const struct policy_scan *scan,
    bool (*wants)(const struct scanner *))
{
	const struct worker_chain *all = worker_gen_chain(f->gen, scan);
	struct worker_chain some = { .of = scan };
	struct scanner **list;
	unsigned i, k, n;

	if (all == NULL)
		return (some);
	some.steps = arena_alloc(f->arena, (all->n + 1) * sizeof(*some.steps));
	for (i = 0; i < all->n; i++) {
		list = arena_alloc(f->arena, all->steps[i].n * sizeof(*list));
		for (k = n = 0; k < all->steps[i].n; k++)
			if (wants(all->steps[i].scanners[k]))
				list[n++] = all->steps[i].scanners[k];
		if (n > 0)
			some.steps[some.n++] = (struct chain_step){ list, n };
	}
	return (some);
}

void
flow_request_connect(struct flow *f)
{
	struct client *c = f->client;
	struct fault fault = { 0 };
	struct policy_facts facts;
	struct worker_chain chain = { .n = 0 };

	if (f->req->length_is != LENGTH_NONE) { /* RFC 9110 9.3.6 */
		flow_fail_code(f, ERR_REQ_FRAMING, "CONNECT with a body");
		return;
	}
	if (conf_client_check(conf_of(f), &c->peer.sa, &fault) != ERR_NONE ||
	    conf_port_check(conf_of(f), true, f->req->uri.port, &fault) !=
		ERR_NONE) {
		flow_fail(f, &fault);
		return;
	}
	if (is_loop(f))
		return;
	connect_facts(f, &facts);
	policy_decide(&conf_of(f)->policy, POLICY_TLS, &facts, &f->plan);
	if (f->plan.access != POLICY_BLOCK)
		chain = services_of(f);
	if (chain.n == 0) {
		grant(f);
		return;
	}
	http_hop_strip(f->req);
	f->last = true; /* what follows is no HTTP of ours */
	f->scanned = (struct scan_message){ .mode = SCAN_REQ,
		.req = f->req,
		.who = &f->who,
		.shared = &f->shared,
		.arena = f->arena };
	f->plan.rule[POLICY_BY_SCAN] = f->who.rule.p;
	flow_go(f, FLOW_STATE_CONNECT);
	f->chain = chain_start(f->worker->loop, chain.steps, chain.n,
	    &f->scanned, &f->task);
}

enum flow_step
flow_connect(struct flow *f)
{
	struct chain_result *r = chain_result(f->chain);

	if (r == NULL)
		return (FLOW_WAITS);
	flow_chain_note(f, r);
	if (r->action == CHAIN_ANSWER) {
		flow_answered(f, r);
		return (FLOW_NEXT);
	}
	if (r->action != CHAIN_PASS) {
		flow_fail(f, &r->fault);
		return (FLOW_NEXT);
	}
	chain_cancel(&f->chain); /* an adapted head goes nowhere */
	grant(f);
	return (FLOW_NEXT);
}
