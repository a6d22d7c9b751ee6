/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a client may be led: the rules, asked with the destination's address.
 * That comes late, so they are asked three times: for each address before a
 * packet is sent to it, for each connection before it is used, and before the
 * bytes of a spliced tunnel flow (tunnel_rules.c).
 * Room: proxy.  Thread: its worker's.
 */
#include "proxy/flow.h"
#include "proxy/tunnel.h"

bool
flow_may_reach(void *arg, const struct sockaddr *dest)
{
	struct flow *f = arg;
	struct policy_facts facts;
	struct plan plan = f->plan;

	flow_facts(f, &facts);
	facts.dest = dest;
	policy_decide(&f->gen->gen->conf->policy, POLICY_REQUEST, &facts,
	    &plan);
	if (plan.access != POLICY_BLOCK)
		return (true);
	f->refused_by = plan.rule[POLICY_BY_ACCESS];
	return (false);
}

/* The rule that let no address of the origin be connected to. */
static const char *
refused_by(const struct flow *f)
{
	const struct tunnel *t = f->client->tunnel;

	return (f->refused_by != NULL || t == NULL ? f->refused_by
						   : tunnel_refused_by(t));
}

bool
flow_reach_origin(struct flow *f, enum flow_step *step)
{
	struct policy_facts facts;

	*step = FLOW_NEXT;
	if (f->lease == NULL)
		flow_get_lease(f);
	switch (lease_state(f->lease)) {
	case LEASE_READY:
		break;
	case LEASE_WAITING:
		*step = FLOW_WAITS;
		return (false);
	case LEASE_FAILED:
		f->parent_status = lease_parent_status(f->lease);
		if (lease_fault(f->lease)->code == ERR_POLICY_BLOCK)
			flow_block(f, refused_by(f), NULL);
		else
			flow_fail(f, lease_fault(f->lease));
		return (false);
	}
	flow_note_origin(f);
	if (!f->plan.asks_dest)
		return (true);
	/* A pooled one may have been made for others: the rules are asked again. */
	flow_facts(f, &facts);
	policy_decide(&f->gen->gen->conf->policy, POLICY_REQUEST, &facts,
	    &f->plan);
	if (f->plan.access != POLICY_BLOCK)
		return (true);
	*step = FLOW_NEXT;
	flow_block(f, f->plan.rule[POLICY_BY_ACCESS], NULL);
	return (false);
}

/* Most rules need no address to choose who scans the request. */
enum flow_step
flow_where(struct flow *f)
{
	enum flow_step step;

	if ((f->plan.dest_open & 1u << POLICY_BY_SCAN) != 0 &&
	    !flow_reach_origin(f, &step))
		return (step);
	flow_go(f, FLOW_STATE_SCAN_REQ);
	return (FLOW_NEXT);
}
