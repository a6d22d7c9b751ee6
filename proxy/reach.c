/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a client may be led: the rules, asked with the destination's address.
 * That comes late, so they are asked three times: for each address before a
 * packet is sent to it, for each connection before it is used (flow.c), and
 * before the bytes of a spliced tunnel flow (tunnel.c).
 * Room: proxy.  Thread: its worker's.
 */
#include "proxy/client.h"
#include "proxy/flow.h"

static void
tunnel_facts(const struct client *c, const struct http_uri *uri,
    const struct sockaddr *dest, struct policy_facts *facts)
{
	*facts = (struct policy_facts){ .client = &c->peer.sa,
	    .listener = str_of(c->listen->name), .host = uri->host,
	    .host_is_ip = uri->host_is_ip, .port = uri->port,
	    .scheme = STR("https"), .dest = dest,
	    .method = STR("CONNECT"), .size = POLICY_SIZE_UNKNOWN };
}

/*
 * By what CONNECT named.  A name that only TLS has given is the client's
 * claim: it may close the tunnel, not exempt it.
 */
static void
decide_by(const struct client *c, const struct conf *conf,
    const struct sockaddr *dest, struct plan *plan)
{
	const struct tunnel *t = c->tunnel;
	struct policy_facts facts;
	struct plan claimed;

	tunnel_facts(c, &t->connect->uri, dest, &facts);
	policy_decide(conf, POLICY_TLS, &facts, plan);
	if (plan->access == POLICY_BLOCK ||
	    str_eq(t->uri.host, t->connect->uri.host))
		return;
	claimed = *plan;
	tunnel_facts(c, &t->uri, dest, &facts);
	policy_decide(conf, POLICY_TLS, &facts, &claimed);
	if (claimed.access == POLICY_BLOCK)
		*plan = claimed;
	plan->asks_dest |= claimed.asks_dest;
	plan->dest_open |= claimed.dest_open & ~(1u << POLICY_BY_TLS);
}

bool
tunnel_decide(struct client *c, const struct sockaddr *dest)
{
	struct tunnel *t = c->tunnel;

	decide_by(c, t->gen->gen->conf, dest, &t->plan);
	if (t->plan.access != POLICY_BLOCK)
		return (true);
	tunnel_block(t, t->plan.rule[POLICY_BY_ACCESS]);
	return (false);
}

void
tunnel_block(struct tunnel *t, const char *rule)
{
	t->plan.access = POLICY_BLOCK;
	t->plan.tls = POLICY_INSPECT;		/* to show the page */
	t->plan.rule[POLICY_BY_ACCESS] = rule;
	fault_set(&t->fault, ERR_POLICY_BLOCK, NULL);
}

bool
client_may_reach(void *arg, const struct sockaddr *dest)
{
	struct client *c = arg;
	struct flow *f = c->flow;
	struct policy_facts facts;
	struct plan plan;
	const char **by;

	if (f != NULL && f->req != NULL) {
		plan = f->plan;
		flow_facts(f, &facts);
		facts.dest = dest;
		policy_decide(f->gen->gen->conf, POLICY_REQUEST, &facts,
		    &plan);
		by = &f->refused_by;
	} else {
		plan = c->tunnel->plan;
		decide_by(c, c->tunnel->gen->gen->conf, dest, &plan);
		by = &c->tunnel->refused_by;
	}
	if (plan.access != POLICY_BLOCK)
		return (true);
	*by = plan.rule[POLICY_BY_ACCESS];
	return (false);
}

/* Does a configuration that the tunnel does not hold deny what it does? */
static bool
denied_since(struct client *c, const struct conf *conf, struct plan *plan)
{
	struct tunnel *t = c->tunnel;

	*plan = t->plan;
	decide_by(c, conf, &t->dial.peer.sa, plan);
	if (plan->access != POLICY_BLOCK &&
	    conf_client_check(conf, &c->peer.sa, NULL) == ERR_NONE &&
	    conf_port_check(conf, true, t->uri.port, NULL) == ERR_NONE &&
	    conf_dest_check(conf, &t->dial.peer.sa, NULL) == ERR_NONE)
		return (false);
	fault_set(&t->fault, ERR_POLICY_BLOCK, "denied since a reload");
	tunnel_block(t, plan->access == POLICY_BLOCK ?
	    arena_cstr(t->arena, plan->rule[POLICY_BY_ACCESS]) : NULL);
	return (true);
}

bool
tunnel_may_splice(struct client *c)
{
	struct tunnel *t = c->tunnel;
	struct worker_gen *now = c->worker->current;
	struct plan plan;

	if (!tunnel_decide(c, &t->dial.peer.sa) ||
	    t->plan.tls != POLICY_SPLICE)
		return (false);
	if (t->gen == now)
		return (true);
	/* A reload came behind CONNECT; it did not find the tunnel spliced. */
	return (!denied_since(c, now->gen->conf, &plan) &&
	    plan.tls == POLICY_SPLICE);
}

void
tunnel_reload(struct client *c, const struct conf *conf)
{
	struct plan plan;

	if (c->state == CLIENT_SPLICE && denied_since(c, conf, &plan))
		client_abort(c);
}

/* The rule that let no address of the origin be connected to. */
static const char *
refused_by(const struct flow *f)
{
	const struct tunnel *t = f->client->tunnel;

	return (f->refused_by != NULL || t == NULL ? f->refused_by :
	    t->refused_by);
}

bool
flow_reach_origin(struct flow *f, enum flow_step *step)
{
	struct policy_facts facts;

	*step = FLOW_NEXT;
	if (f->origin == NULL)
		flow_take_origin(f);
	if (origin_settle(&f->origin) == ORIGIN_FAILED) {
		if (f->origin->fault.code == ERR_POLICY_BLOCK)
			flow_block(f, refused_by(f), NULL);
		else
			flow_fail(f, &f->origin->fault);
		return (false);
	}
	*step = FLOW_WAITS;
	if (f->origin->state != ORIGIN_READY)
		return (false);
	flow_note_origin(f);
	if (!f->plan.asks_dest)
		return (true);
	/* A pooled one may have been made for others: the rules are asked again. */
	flow_facts(f, &facts);
	policy_decide(f->gen->gen->conf, POLICY_REQUEST, &facts, &f->plan);
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
