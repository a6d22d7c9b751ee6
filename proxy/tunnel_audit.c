/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The access record of a tunnel that no request came through. */
#include <assert.h>
#include "http/uri.h"
#include "proxy/audit/audit.h"
#include "proxy/record.h"
#include "proxy/tunnel_priv.h"

static void
record_splice(struct audit_record *r, const struct tunnel *t)
{
	const struct sockaddr *dest = way_dest(&t->way);

	assert(t->way.dial.done && t->way.dial.fault.code == ERR_NONE);
	r->request_bytes = r->request_body_bytes = splice_bytes_to_origin(
	    t->splice);
	r->response_bytes = r->response_body_bytes = splice_bytes_to_client(
	    t->splice);
	if (dest != NULL) {
		r->server_port = address_port(dest);
		r->server_ip = str_of(way_dest_ip(&t->way));
	}
	r->ms.dns = t->way.dial.dns_ms;
	r->ms.connect = t->way.dial.connect_ms;
}

static enum audit_action
action_of(const struct tunnel *t)
{
	if (t->fault.code == ERR_POLICY_BLOCK)
		return (AUDIT_BLOCK);
	if (t->splice != NULL)
		return (AUDIT_SPLICE);
	return (t->fault.code != ERR_NONE ? AUDIT_ERROR : AUDIT_ALLOW);
}

void
tunnel_record(const struct tunnel *t)
{
	const struct tunnel_record *of = &t->record;
	uint64_t now = loop_now(t->client->worker->loop);
	struct buf url = { 0 };
	struct audit_record r;

	if (of->flows > 0 ||
	    (t->plan.log == POLICY_LOG_NONE &&
		!record_is_refusal(t->fault.code)))
		return;
	audit_record_init(&r);
	r.reference = str_of(of->reference);
	r.started_ms = of->started_wall;
	r.ms.total = record_since(of->started_at, now);
	r.mode = t->splice != NULL ? AUDIT_TUNNEL
	    : t->led               ? AUDIT_LED
				   : AUDIT_CONNECT;
	r.action = action_of(t);
	record_client(&r, t->client);
	r.name_unproven = t->in_doubt;
	record_rules(&r, &t->plan);
	r.client_tls.sni = tunnel_sni(t);
	r.method = of->method;
	r.http_minor = of->http_minor;
	http_authority_print(&url, &t->named);
	r.url = buf_as_str(&url);
	r.host = t->named.host;
	r.port = t->named.port;
	r.status = t->led ? 0 : 200;
	r.scans = of->said.scans;
	r.n_scans = of->said.n;
	r.ms.scan_us = of->said.us;
	record_parent(&r, t->gen->gen->conf, t->plan.route, t->way.end,
	    t->way.end != NULL ? t->way.dial.peer_ip : "", t->way.around);
	if (t->splice != NULL)
		record_splice(&r, t);
	r.fault = t->fault.code != ERR_NONE ? &t->fault : NULL;
	audit_write(t->gen->gen->audit, &r);
	buf_fini(&url);
}

/* The flight record. */

void
tunnel_flight_begin(struct tunnel *t)
{
	struct client *c = t->client;

	t->slot = flight_begin(&c->worker->flight,
	    &(struct flight_facts){ .reference = t->record.reference,
		.client = c->ip,
		.client_port = c->port,
		.host = t->named.host,
		.host_port = t->named.port,
		.mode = FLIGHT_TUNNEL,
		.started = t->record.started_wall });
}

void
tunnel_flight_note(struct tunnel *t)
{
	struct flight_part *p = &t->client->worker->flight;

	flight_state(p, t->slot, (uint8_t)t->state);
	flight_record_as(p, t->slot, record_flight_log(t->plan.log));
}

void
tunnel_flight_end(struct tunnel *t)
{
	flight_end(&t->client->worker->flight, t->slot);
	t->slot = 0;
}
