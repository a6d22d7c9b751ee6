/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a request head leads to: an answer of our own, or the chain. */
#include <string.h>
#include "base/budget.h"
#include "http/h1_emit.h"
#include "http/hop.h"
#include "http/length.h"
#include "http/types.h"
#include "http/uri.h"
#include "proxy/flow.h"
#include "proxy/pages/page.h"
#include "proxy/tunnel.h"
#include "proxy/upgrade.h"

static const struct conf *
conf_of(const struct flow *f)
{
	return (f->gen->gen->conf);
}

/* Asked of the request only if it makes a difference. */
static bool
is_navigation(const struct flow *f)
{
	const struct policy *policy = &conf_of(f)->policy;

	return (policy->browser != policy->other &&
	    page_form_of(f->req) == PAGE_HTML);
}

/* The destination's address: of the connection, or where one was named. */
static const struct sockaddr *
known_dest(struct flow *f)
{
	const struct tunnel *t = f->client->tunnel;

	if (f->lease != NULL && lease_peer(f->lease) != NULL)
		return (lease_peer(f->lease));
	if (t != NULL)
		return (tunnel_dest(t));
	return (
	    f->req->uri.host_is_ip && address_parse(f->req->uri.host, &f->dest)
		? &f->dest.sa
		: NULL);
}

void
flow_facts_type(const struct flow *f, const struct http_fields *fields,
    struct policy_facts *facts)
{
	unsigned n = 0;

	if (conf_of(f)->policy.ask_type)
		n = http_types(fields, facts->types, POLICY_TYPES);

	facts->type = http_fields_value(fields, FIELD_CONTENT_TYPE);
	facts->n_types = n > 1 ? n : 0;
}

struct str
flow_agent(const struct http_msg *req)
{
	struct str s = http_fields_value(&req->fields, FIELD_USER_AGENT);

	return (s.p != NULL ? s : STR(""));
}

void
flow_facts(struct flow *f, struct policy_facts *facts)
{
	const struct http_msg *req = f->req;

	*facts = (struct policy_facts){ .client = &f->client->peer.sa,
		.listener = str_of(f->client->listen->name),
		.host = req->uri.host,
		.host_is_ip = req->uri.host_is_ip,
		.port = req->uri.port,
		.scheme = req->uri.scheme,
		.dest = known_dest(f),
		.method = req->method,
		.agent = flow_agent(req),
		.url = f->url,
		.url_sent = f->url_sent,
		.size = http_length(req),
		.connected = f->lease != NULL,
		.navigation = is_navigation(f) };
	flow_facts_type(f, &req->fields, facts);
	if (f->url_led.p != NULL) {
		facts->led_host = tunnel_unproven(f->client->tunnel)->host;
		facts->led_url = f->url_led;
	}
}

/* Answers of our own. */

static bool
answer_internal(struct flow *f)
{
	struct internal_facts facts = f->gen->gen->internal;
	struct buf body = { 0 };
	bool scan = false, made;

	facts.reference = str_of(f->reference);
	/* A browser pointed at the listener itself. */
	facts.direct = f->client->tunnel == NULL && f->req->target.n > 0 &&
	    f->req->target.p[0] == '/';
	made = internal_answer(f->arena, f->req, &facts, &f->resp, &body,
	    &scan);
	if (made && body.n > 0)
		f->resp_body = body_of_bytes(f->worker->loop,
		    &f->gen->gen->store, body.p, body.n);
	buf_fini(&body);
	if (!made)
		return (false);
	f->internal = true;
	f->keep = f->req->length_is == LENGTH_NONE;
	if (scan)
		flow_response(f);
	else
		flow_go(f, FLOW_STATE_REPLY);
	return (true);
}

/*
 * Nobody has redirected him: he may look at our own pages, by an address or by
 * their name.  Whoever means another host was led astray.
 */
static void
answer_direct(struct flow *f)
{
	if (f->req->method_id != METHOD_CONNECT)
		http_hop_strip(f->req);
	if (f->req->method_id == METHOD_CONNECT || f->req->target.p[0] != '/' ||
	    (!f->req->uri.host_is_ip &&
		!str_eq(f->req->uri.host, str_of(conf_of(f)->pages.host))) ||
	    !answer_internal(f))
		flow_fail_code(f, ERR_NOT_INTERCEPTED, NULL);
}

/* OPTIONS with Max-Forwards: 0 (RFC 9110 7.6.2); TRACE is refused. */
static bool
answer_spent(struct flow *f)
{
	if (!http_forwards_spent(f->req))
		return (false);
	if (f->req->method_id != METHOD_OPTIONS) {
		flow_fail_code(f, ERR_REQ_METHOD, NULL);
		return (true);
	}
	f->resp = http_msg_new(f->arena, false);
	f->resp->status = 200;
	f->resp->reason = STR("OK");
	http_fields_add(f->arena, &f->resp->fields, FIELD_ALLOW,
	    STR("GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, PATCH"));
	http_length_set(f->resp, f->req, false, 0);
	f->keep = f->req->length_is == LENGTH_NONE;
	flow_go(f, FLOW_STATE_REPLY);
	return (true);
}

/* Policy. */

void
flow_block(struct flow *f, const char *rule, const char *detail)
{
	f->blocked = true;
	f->rule = rule;
	f->plan.access = POLICY_BLOCK;
	f->plan.rule[POLICY_BY_ACCESS] = rule;
	flow_fail_code(f, ERR_POLICY_BLOCK, detail);
}

static bool
refused_by_tunnel(struct flow *f)
{
	const struct tunnel *t = f->client->tunnel;
	const struct plan *plan;

	if (t == NULL || tunnel_fault(t)->code == ERR_NONE)
		return (false);
	/* Who decided it, for the record; the tunnel keeps its configuration. */
	plan = tunnel_plan(t);
	memcpy(f->plan.rule, plan->rule, sizeof(f->plan.rule));
	f->plan.log = plan->log;
	f->parent_status = tunnel_parent_status(t);
	if (tunnel_fault(t)->code == ERR_POLICY_BLOCK)
		flow_block(f, plan->rule[POLICY_BY_ACCESS], NULL);
	else
		flow_fail(f, tunnel_fault(t));
	return (true);
}

/* That of the tunnel, and where requests are plain, theirs. */
static bool
port_allowed(const struct flow *f, struct fault *fault)
{
	const struct tunnel *t = f->client->tunnel;
	uint16_t port = f->req->uri.port;

	return (
	    (t == NULL || (tunnel_is_led(t) && tunnel_is_plain(t)) ||
		conf_port_check(conf_of(f), true, port, fault) == ERR_NONE) &&
	    ((t != NULL && !tunnel_is_plain(t)) ||
		conf_port_check(conf_of(f), false, port, fault) == ERR_NONE));
}

/* Asked for each request: a reload may have come since the connection did. */
static bool
refused_by_policy(struct flow *f)
{
	struct client *c = f->client;
	struct fault fault = { 0 };
	struct policy_facts facts;

	if (conf_client_check(conf_of(f), &c->peer.sa, &fault) != ERR_NONE ||
	    !port_allowed(f, &fault)) {
		flow_fail(f, &fault);
		return (true);
	}
	flow_facts(f, &facts);
	if (f->client->tunnel != NULL)
		policy_decide(&conf_of(f)->policy, POLICY_TLS, &facts,
		    &f->plan);
	policy_decide(&conf_of(f)->policy, POLICY_REQUEST, &facts, &f->plan);
	if (f->plan.access != POLICY_BLOCK)
		return (false);
	flow_block(f, f->plan.rule[POLICY_BY_ACCESS],
	    f->plan.overrun ? "the address is too complex to be checked"
			    : NULL);
	return (true);
}

/*
 * On a connection that was led here, where nothing proves its host: it is
 * judged by the address, too.
 */
static struct str
url_led(const struct flow *f)
{
	const struct tunnel *t = f->client->tunnel;
	const struct http_uri *to = t != NULL ? tunnel_unproven(t) : NULL;
	struct buf url = { 0 };
	struct http_uri u;
	struct str s;

	if (to == NULL || str_eq(f->req->uri.host, to->host))
		return (STR_NONE);
	u = *to;
	u.path = f->req->uri.path;
	http_uri_print(&url, &u, true);
	s = arena_str(f->arena, buf_as_str(&url));
	buf_fini(&url);
	return (s);
}

/* That of the request as it is now. */
static struct str
url_of(const struct flow *f)
{
	struct buf url = { 0 };
	struct str s;

	http_uri_print(&url, &f->req->uri, true);
	s = arena_str(f->arena, buf_as_str(&url));
	buf_fini(&url);
	return (s);
}

bool
flow_still_allowed(struct flow *f)
{
	struct policy_facts facts;
	struct plan plan = f->plan;

	f->url_sent = url_of(f);
	flow_facts(f, &facts);
	policy_decide(&conf_of(f)->policy, POLICY_REQUEST, &facts, &plan);
	f->plan.asks_dest |= plan.asks_dest;
	if (plan.access != POLICY_BLOCK)
		return (true);
	f->plan.access = POLICY_BLOCK;
	f->plan.rule[POLICY_BY_ACCESS] = plan.rule[POLICY_BY_ACCESS];
	return (false);
}

/* Of the first request in a tunnel: what services said of it. */
static void
note_tunnel(struct flow *f)
{
	struct tunnel *t = f->client->tunnel;
	const struct tunnel_scans *said = NULL;

	if (t != NULL && f->req != NULL)
		said = tunnel_count(t);
	if (said == NULL)
		return;
	f->scans = said->scans;
	f->n_scans = said->n;
	f->scan_us = said->us;
}

static void
take_body(struct flow *f)
{
	f->req_body = exchange_body(f->x, &f->gen->gen->store);
	if (f->req_body == NULL)
		return;
	body_charge_to(f->req_body, f->client->account);
	body_on_first_pull(f->req_body, &f->task);
}

void
flow_request(struct flow *f)
{
	note_tunnel(f);
	if (f->x->fault.code != ERR_NONE) {
		flow_fail(f, &f->x->fault);
		return;
	}
	/* Inside a tunnel there is no proxy to sign in at: a client's mistake. */
	if (f->client->tunnel != NULL)
		http_fields_remove(&f->req->fields, FIELD_PROXY_AUTHORIZATION);
	if (account_room(f->client->account, BUDGET_MEMORY) == 0) {
		flow_fail_code(f, ERR_MEMORY,
		    "limits.memory has no more for this client");
		return;
	}
	if (client_is_direct(f->client)) {
		answer_direct(f);
		return;
	}
	if (f->req->method_id == METHOD_CONNECT) {
		flow_request_connect(f);
		return;
	}
	f->url = url_of(f);
	f->url_led = url_led(f);
	if (!upgrade_ask(f))
		return;
	http_hop_strip(f->req);
	if (refused_by_tunnel(f))
		return;
	/* The body exists before the decisions, so that they may leave it unread. */
	take_body(f);
	if (!answer_internal(f) && !answer_spent(f) && !flow_name_begin(f))
		flow_request_decide(f);
}

void
flow_request_decide(struct flow *f)
{
	if (!refused_by_policy(f) && !flow_wants_http1(f, f->req) &&
	    upgrade_decide(f)) {
		flow_grpc_begin(f);
		flow_go(f, FLOW_STATE_WHERE);
	}
}
