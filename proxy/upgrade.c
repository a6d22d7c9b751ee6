/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Switches of protocols, see upgrade.h. */
#include <assert.h>
#include <time.h>
#include "http/hop.h"
#include "proxy/flow.h"
#include "proxy/tunnel.h"
#include "proxy/upgrade.h"

static const struct str websocket = STR("websocket");

/* ---- the request ---- */

/* Its body would have to be gone before anything is switched. */
static bool
may_switch(const struct http_msg *m)
{
	return (m->version != HTTP_1_0 && !http_has_body(m));
}

/* All fields Upgrade as one list. */
static struct str
asked_list(struct arena *a, const struct http_msg *m)
{
	const struct http_field *f = http_fields_get(&m->fields, FIELD_UPGRADE);
	struct str list = f->value;

	while ((f = http_fields_next(&m->fields, f)) != NULL)
		list = arena_printf(a, "%.*s, %.*s", STR_ARG(list),
		    STR_ARG(f->value));
	return (list);
}

static bool
wants_other(const struct http_msg *m)
{
	return (http_fields_get(&m->fields, FIELD_UPGRADE) != NULL &&
	    http_fields_has_token(&m->fields, FIELD_CONNECTION,
		STR("upgrade")) &&
	    may_switch(m));
}

bool
upgrade_ask(struct flow *f)
{
	struct fault fault = { 0 };
	enum ws_asks asks = ws_open_asks(f->req, &fault);

	if (asks == WS_ASKS_WRONG) {
		flow_fail(f, &fault);
		return (false);
	}
	if (asks == WS_ASKS_NOT && !wants_other(f->req))
		return (true);
	f->upgrade = arena_zalloc(f->arena, sizeof(*f->upgrade));
	f->upgrade->websocket = asks == WS_ASKS;
	f->upgrade->asked = asked_list(f->arena, f->req);
	return (true);
}

/* ---- the rules ---- */

static bool
is_scanned(const struct flow *f, const struct policy_scan *of)
{
	const struct worker_chain *chain = worker_gen_chain(f->gen, of);

	return (chain != NULL && chain->n > 0);
}

static bool
is_inspected(const struct flow *f)
{
	return (f->plan.websocket == POLICY_WEBSOCKET_INSPECT &&
	    (is_scanned(f, f->plan.scan_req) ||
		is_scanned(f, f->plan.scan_resp)));
}

/* The first that was asked for and is allowed. */
static struct str
allowed_of(const struct flow *f)
{
	const struct policy_strings *list = f->plan.upgrade;
	struct str rest = f->upgrade->asked, one;
	unsigned i;

	while (list != NULL && str_next_element(&rest, &one))
		for (i = 0; i < list->n; i++)
			if (str_ieq(one, str_of(list->v[i])))
				return (one);
	return (STR_NONE);
}

/* It goes on in the head of the request, or of the answer. */
static void
put_field(struct flow *f, struct http_msg *m)
{
	if (f->upgrade->protocol.n > 0)
		http_fields_set(f->arena, &m->fields, FIELD_UPGRADE,
		    f->upgrade->protocol);
	else
		http_fields_remove(&m->fields, FIELD_UPGRADE);
}

/* What nobody here can read is not offered where it has to be read. */
static void
reduce(struct flow *f)
{
	if (is_inspected(f) ||
	    (f->plan.may_scan_resp &&
		f->plan.websocket == POLICY_WEBSOCKET_INSPECT))
		ws_open_reduce(f->req);
}

bool
upgrade_decide(struct flow *f)
{
	struct upgrade *u = f->upgrade;

	if (u == NULL)
		return (true);
	if (!u->websocket)
		u->protocol = allowed_of(f);
	else if (f->plan.websocket == POLICY_WEBSOCKET_BLOCK) {
		flow_block(f, f->plan.rule[POLICY_BY_WEBSOCKET],
		    "a WebSocket connection");
		return (false);
	} else {
		u->protocol = websocket;
		reduce(f);
	}
	put_field(f, f->req);
	return (true);
}

/* ---- scanners of the heads ---- */

/* What the wire will say, for those who check heads as they come. */
static void
put_connection(struct flow *f, struct http_msg *m)
{
	http_fields_set(f->arena, &m->fields, FIELD_CONNECTION, STR("Upgrade"));
}

bool
upgrade_adapted(struct flow *f)
{
	struct upgrade *u = f->upgrade;

	if (u == NULL || u->protocol.n == 0)
		return (true);
	put_field(f, f->req);
	put_connection(f, f->req);
	if (u->websocket)
		reduce(f);
	if (u->websocket ? ws_open_asks(f->req, NULL) == WS_ASKS
			 : may_switch(f->req))
		return (true);
	flow_fail_code(f, ERR_SCAN_MESSAGE,
	    "the adapted request cannot switch protocols any more");
	return (false);
}

/* ---- the answer ---- */

/* RFC 9110 15.2.2: to that which was asked for, and nothing else. */
static enum err
check_other(const struct upgrade *u, const struct http_msg *m,
    struct fault *fault)
{
	const struct http_field *f = http_fields_get(&m->fields, FIELD_UPGRADE);

	if (f != NULL && http_fields_next(&m->fields, f) == NULL &&
	    str_ieq(f->value, u->protocol) && m->version != HTTP_1_0 &&
	    http_fields_has_token(&m->fields, FIELD_CONNECTION, STR("upgrade")))
		return (ERR_NONE);
	return (fault_set(fault, ERR_ORIGIN_UPGRADE,
	    "to something else than %.*s", STR_ARG(u->protocol)));
}

static enum err
check_answer(struct flow *f, const struct http_msg *m, struct fault *fault)
{
	struct upgrade *u = f->upgrade;

	if (u == NULL || u->protocol.n == 0)
		return (fault_set(fault, ERR_ORIGIN_UPGRADE, "%s", ""));
	if (u->websocket)
		return (ws_open_answer(f->req, m, &u->terms, fault));
	return (check_other(u, m, fault));
}

bool
upgrade_answer(struct flow *f, struct http_msg *m)
{
	struct fault fault = { 0 };

	assert(m->status == 101);
	if (check_answer(f, m, &fault) != ERR_NONE) {
		flow_fail(f, &fault);
		return (false);
	}
	http_hop_strip(m);
	m->length_is = LENGTH_NONE;
	put_field(f, m);
	return (true);
}

/* ---- both sides ---- */

/* As the origin's was checked; a scanner may have sent another one. */
static bool
still_switches(struct flow *f)
{
	struct http_msg *m = f->resp;

	put_field(f, m);
	put_connection(f, m);
	return (f->resp_body == NULL && check_answer(f, m, NULL) == ERR_NONE);
}

bool
upgrade_begin(struct flow *f)
{
	struct upgrade *u = f->upgrade;
	struct duplex *client, *origin;

	if (u == NULL || !f->resp_from_origin || !still_switches(f)) {
		flow_fail_code(f, ERR_SCAN_MESSAGE,
		    "the adapted answer is no switch of protocols any more");
		return (false);
	}
	u->inspects = u->websocket && is_inspected(f);
	if (u->inspects && u->terms.unknown) {
		flow_fail_code(f, ERR_ORIGIN_WEBSOCKET,
		    "an extension whose messages cannot be scanned");
		return (false);
	}
	http_forward_response(f->resp, str_of(f->gen->gen->pseudonym),
	    time(NULL));
	client = exchange_switch(f->x, f->resp);
	origin = lease_switch(f->lease);
	f->head_out = true;
	f->keep = false;
	f->first_byte_at = loop_now(f->worker->loop);
	u->switched = true;
	if (u->inspects) {
		u->inspect = ws_inspect_new(f, client, origin, &u->terms);
	} else {
		flow_unseen(f);
		relay_begin(&u->relay, client, origin,
		    f->gen->gen->conf->limits.tunnel_ms, &f->task);
	}
	return (true);
}

static void
lost(struct flow *f, enum err code)
{
	f->upgrade->cut = true;
	fault_set(&f->fault, code, "%.*s", STR_ARG(f->upgrade->protocol));
}

bool
upgrade_run(struct flow *f)
{
	struct upgrade *u = f->upgrade;

	assert(u != NULL && u->switched);
	switch (u->inspect != NULL
		? ws_inspect_run(u->inspect)
		: relay_run(&u->relay, loop_now(f->worker->loop))) {
	case RELAY_ON:
		return (false);
	case RELAY_DONE:
	case RELAY_IDLE:
		break;
	case RELAY_CLIENT_LOST:
		lost(f, ERR_CLIENT_GONE);
		break;
	case RELAY_ORIGIN_LOST:
		lost(f, ERR_ORIGIN_CUT);
		break;
	}
	upgrade_settle(f);
	return (true);
}

uint64_t
upgrade_due(const struct flow *f)
{
	const struct upgrade *u = f->upgrade;

	return (u->inspect != NULL ? ws_inspect_due(u->inspect)
				   : relay_due(&u->relay));
}

/* What a configuration that the flow does not hold says of it. */
static bool
denies(struct flow *f, const struct conf *conf, struct plan *plan)
{
	const struct client *c = f->client;
	const struct sockaddr *dest = lease_peer(f->lease);
	struct policy_facts facts;

	policy_plan_init(&conf->policy, plan);
	flow_facts(f, &facts);
	if (c->tunnel != NULL)
		policy_decide(&conf->policy, POLICY_TLS, &facts, plan);
	policy_decide(&conf->policy, POLICY_REQUEST, &facts, plan);
	return (plan->access == POLICY_BLOCK ||
	    (f->upgrade->websocket &&
		plan->websocket == POLICY_WEBSOCKET_BLOCK) ||
	    conf_client_check(conf, &c->peer.sa, NULL) != ERR_NONE ||
	    (dest != NULL && conf_dest_check(conf, dest, NULL) != ERR_NONE));
}

static void
note_rule(struct flow *f, const struct plan *plan)
{
	const char *rule = plan->rule[plan->access == POLICY_BLOCK
		? POLICY_BY_ACCESS
		: POLICY_BY_WEBSOCKET];

	f->rule = rule != NULL ? arena_cstr(f->arena, rule) : NULL;
	f->plan.rule[POLICY_BY_ACCESS] = f->rule;
}

bool
upgrade_reload(struct flow *f, const struct conf *conf)
{
	struct plan plan;

	if (f->state != FLOW_STATE_UPGRADED || !denies(f, conf, &plan))
		return (true);
	note_rule(f, &plan);
	f->blocked = true;
	fault_set(&f->fault, ERR_POLICY_BLOCK, "denied since a reload");
	if (f->upgrade->inspect == NULL)
		return (false);
	ws_inspect_stop(f->upgrade->inspect, WS_CODE_POLICY, "blocked");
	return (true);
}

void
upgrade_drain(struct flow *f)
{
	if (f->state == FLOW_STATE_UPGRADED && f->upgrade->inspect != NULL)
		ws_inspect_stop(f->upgrade->inspect, WS_CODE_AWAY,
		    "the proxy ends");
}

void
upgrade_settle(struct flow *f)
{
	if (f->upgrade != NULL && f->upgrade->inspect != NULL)
		ws_inspect_settle(f->upgrade->inspect);
}

void
upgrade_stop(struct flow *f)
{
	if (f->upgrade != NULL)
		ws_inspect_free(&f->upgrade->inspect);
}

bool
upgrade_count(const struct flow *f, uint64_t *up, uint64_t *down)
{
	const struct upgrade *u = f->upgrade;

	struct ws_count c;

	if (u == NULL || !u->switched)
		return (false);
	*up = u->relay.up.octets;
	*down = u->relay.down.octets;
	if (u->inspect == NULL)
		return (true);
	ws_inspect_count(u->inspect, WS_CLIENT, &c);
	*up = c.octets;
	ws_inspect_count(u->inspect, WS_SERVER, &c);
	*down = c.octets;
	return (true);
}
