/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of a tunnel: asked when its name and its address are known, for
 * each address before a packet is sent to it, before the bytes of a spliced
 * tunnel flow, and again after a reload.
 */
#include <assert.h>
#include "proxy/tunnel_priv.h"

static void
facts_of(const struct tunnel *t, const struct http_uri *uri,
    const struct sockaddr *dest, struct policy_facts *facts)
{
	const struct client *c = t->client;

	*facts = (struct policy_facts){ .client = &c->peer.sa,
		.listener = str_of(c->listen->name),
		.host = uri->host,
		.host_is_ip = uri->host_is_ip,
		.port = uri->port,
		.scheme = STR("https"),
		.dest = dest,
		.agent = t->agent,
		.method = t->led ? STR_NONE : STR("CONNECT"),
		.size = POLICY_SIZE_UNKNOWN,
		.connected = t->state == TUNNEL_DIAL ||
		    t->state == TUNNEL_SPLICE };
}

/*
 * Led here: by the name in TLS, for it is the one that the origin will prove,
 * if it is opened.  What is spliced proves nothing: that takes the rules about
 * its address, and the name may only close it.
 */
static void
decide_led(const struct tunnel *t, const struct conf *conf,
    const struct sockaddr *dest, struct plan *plan)
{
	struct plan named = *plan;
	struct policy_facts facts;

	facts_of(t, &t->uri, dest, &facts);
	policy_decide(&conf->policy, POLICY_TLS, &facts, &named);
	if (t->proven) {
		*plan = named;
		return;
	}
	facts_of(t, &t->named, dest, &facts);
	policy_decide(&conf->policy, POLICY_TLS, &facts, plan);
	if (named.access == POLICY_BLOCK ||
	    (plan->tls != POLICY_SPLICE && named.tls != POLICY_SPLICE)) {
		*plan = named;
		return;
	}
	if (plan->tls == POLICY_SPLICE) {
		plan->asks_dest |= named.asks_dest;
		return;
	}
	named.tls = POLICY_INSPECT; /* the word of the client opens nothing */
	named.rule[POLICY_BY_TLS] = plan->rule[POLICY_BY_TLS];
	*plan = named;
}

bool
tunnel_asks_proof(const struct tunnel *t)
{
	struct policy_facts facts;
	struct plan named = t->plan;

	assert(t->led);
	if (t->proven || t->uri.host_is_ip || t->fault.code != ERR_NONE ||
	    t->plan.tls == POLICY_SPLICE)
		return (false);
	facts_of(t, &t->uri, tunnel_dest(t), &facts);
	policy_decide(&t->gen->gen->conf->policy, POLICY_TLS, &facts, &named);
	return (named.access != POLICY_BLOCK && named.tls == POLICY_SPLICE);
}

/*
 * By what was asked for.  A name that only TLS has given is the client's
 * claim: it may close the tunnel, not exempt it.
 */
static void
decide_by(const struct tunnel *t, const struct conf *conf,
    const struct sockaddr *dest, struct plan *plan)
{
	struct policy_facts facts;
	struct plan claimed;

	if (t->led) {
		decide_led(t, conf, dest, plan);
		return;
	}
	facts_of(t, &t->named, dest, &facts);
	policy_decide(&conf->policy, POLICY_TLS, &facts, plan);
	if (plan->access == POLICY_BLOCK || str_eq(t->uri.host, t->named.host))
		return;
	claimed = *plan;
	facts_of(t, &t->uri, dest, &facts);
	policy_decide(&conf->policy, POLICY_TLS, &facts, &claimed);
	if (claimed.access == POLICY_BLOCK)
		*plan = claimed;
	plan->asks_dest |= claimed.asks_dest;
	plan->dest_open |= claimed.dest_open & ~(1u << POLICY_BY_TLS);
}

bool
tunnel_decide(struct tunnel *t, const struct sockaddr *dest)
{
	decide_by(t, t->gen->gen->conf, dest, &t->plan);
	if (t->plan.access != POLICY_BLOCK)
		return (true);
	tunnel_block(t, t->plan.rule[POLICY_BY_ACCESS]);
	return (false);
}

void
tunnel_block(struct tunnel *t, const char *rule)
{
	assert(t->state != TUNNEL_OPEN); /* a leaf was shown already */
	t->plan.access = POLICY_BLOCK;
	t->plan.tls = POLICY_INSPECT; /* to show the page */
	t->plan.rule[POLICY_BY_ACCESS] = rule;
	fault_set(&t->fault, ERR_POLICY_BLOCK, NULL);
}

bool
tunnel_may_reach(struct tunnel *t, const struct sockaddr *dest)
{
	struct plan plan = t->plan;

	decide_by(t, t->gen->gen->conf, dest, &plan);
	if (plan.access != POLICY_BLOCK)
		return (true);
	t->refused_by = plan.rule[POLICY_BY_ACCESS];
	return (false);
}

const char *
tunnel_refused_by(const struct tunnel *t)
{
	return (t->refused_by);
}

/* Does a configuration that the tunnel does not hold deny what it does? */
static bool
denied_since(struct tunnel *t, const struct conf *conf, struct plan *plan)
{
	const struct sockaddr *dest = way_dest(&t->way);
	const struct client *c = t->client;

	assert(t->way.dial.done && t->way.dial.fault.code == ERR_NONE);
	*plan = t->plan;
	decide_by(t, conf, dest, plan);
	if (plan->access != POLICY_BLOCK &&
	    conf_client_check(conf, &c->peer.sa, NULL) == ERR_NONE &&
	    conf_port_check(conf, true, t->uri.port, NULL) == ERR_NONE &&
	    (dest == NULL || conf_dest_check(conf, dest, NULL) == ERR_NONE))
		return (false);
	fault_set(&t->fault, ERR_POLICY_BLOCK, "denied since a reload");
	tunnel_block(t,
	    plan->access == POLICY_BLOCK
		? arena_cstr(t->arena, plan->rule[POLICY_BY_ACCESS])
		: NULL);
	return (true);
}

bool
tunnel_may_splice(struct tunnel *t)
{
	const struct worker_gen *now = t->client->worker->current;
	struct plan plan;

	assert(
	    t->state == TUNNEL_DIAL && t->way.dial.done && t->way.dial.fd >= 0);
	if (!tunnel_decide(t, way_dest(&t->way)) ||
	    t->plan.tls != POLICY_SPLICE)
		return (false);
	if (t->gen == now)
		return (true);
	/* A reload came meanwhile; it did not find the tunnel spliced. */
	return (!denied_since(t, now->gen->conf, &plan) &&
	    plan.tls == POLICY_SPLICE);
}

bool
tunnel_reload(struct tunnel *t, const struct conf *conf)
{
	struct plan plan;

	return (t->state != TUNNEL_SPLICE || !denied_since(t, conf, &plan));
}
