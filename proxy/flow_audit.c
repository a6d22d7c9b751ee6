/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One access record per flow. */
#include <arpa/inet.h>
#include <string.h>
#include "proxy/audit/audit.h"
#include "proxy/audit/log.h"
#include "proxy/flow.h"
#include "proxy/record.h"
#include "proxy/tunnel.h"
#include "proxy/upgrade.h"

void
flow_note_origin(struct flow *f)
{
	const struct sockaddr *peer;

	if (f->lease == NULL)
		return;
	lease_times(f->lease, &f->times);
	f->parent = lease_parent(f->lease);
	f->around = lease_is_around(f->lease);
	if (f->parent != NULL)
		memcpy(f->parent_ip, lease_parent_ip(f->lease),
		    sizeof(f->parent_ip));
	if ((peer = lease_peer(f->lease)) != NULL) {
		f->server_port = address_port(peer);
		memcpy(f->server_ip, lease_peer_ip(f->lease),
		    sizeof(f->server_ip));
		f->who.server_ip = str_of(f->server_ip);
	}
	lease_tls(f->lease, &f->origin_version, &f->origin_cipher,
	    &f->origin_protocol);
	snprintf(f->origin_ct, sizeof(f->origin_ct), "%s",
	    lease_lacks_ct(f->lease));
}

/* What the chain said, for the record and the page. */
static void
note_scans(struct flow *f, const struct chain_record *r, unsigned n)
{
	struct audit_scan *v;
	unsigned i;

	v = arena_alloc(f->arena, (f->n_scans + n) * sizeof(*v));
	if (f->n_scans > 0)
		memcpy(v, f->scans, f->n_scans * sizeof(*v));
	for (i = 0; i < n; i++)
		v[f->n_scans + i] = (struct audit_scan){
			.service = r[i].service,
			.endpoint = r[i].endpoint,
			.mode = r[i].mode,
			.threat = r[i].threat,
			.outcome = str_of(chain_outcome_name(r[i].outcome)),
			.gap = str_of(scan_gap_name(r[i].gap)),
			.reason = r[i].reason,
			.us = (int64_t)r[i].us,
			.bytes = r[i].bytes
		};
	f->scans = v;
	f->n_scans += n;
}

static void
add_scan_us(struct flow *f, uint64_t us)
{
	f->scan_us = (f->scan_us > 0 ? f->scan_us : 0) + (int64_t)us;
}

void
flow_chain_note(struct flow *f, const struct chain_result *r)
{
	const struct chain_record *records;
	unsigned n;

	records = chain_records(f->chain, &n);
	note_scans(f, records, n);
	f->has_verdict = true;
	if (r->verdict > f->verdict)
		f->verdict = r->verdict;
	add_scan_us(f, r->us);
	if (r->action == CHAIN_BLOCK ||
	    (r->action == CHAIN_ANSWER && r->fault.code != ERR_NONE))
		f->blocked = true;
	if (r->action != CHAIN_PASS) {
		f->service = r->by;
		f->threat = r->threat;
		f->reason = r->reason;
		fault_copy(&f->fault, &r->fault);
	}
}

/* Where the sum of such scans is; made if need be. */
static struct audit_scan *
sum_of(struct flow *f, const struct chain_record *r)
{
	struct str outcome = str_of(chain_outcome_name(r->outcome));
	struct audit_scan *v;
	unsigned i;

	for (i = 0; i < f->n_scans; i++)
		if (f->scans[i].messages > 0 && f->scans[i].mode == r->mode &&
		    str_eq(f->scans[i].service, r->service) &&
		    str_eq(f->scans[i].outcome, outcome))
			return (&f->sums[i]);
	v = arena_zalloc(f->arena, (f->n_scans + 1) * sizeof(*v));
	if (f->n_scans > 0)
		memcpy(v, f->scans, f->n_scans * sizeof(*v));
	f->scans = f->sums = v;
	v += f->n_scans++;
	*v = (struct audit_scan){ .service = r->service,
		.mode = r->mode,
		.outcome = outcome,
		.gap = str_of(scan_gap_name(r->gap)),
		.endpoint = arena_str(f->arena, r->endpoint),
		.threat = arena_str(f->arena, r->threat),
		.reason = arena_str(f->arena, r->reason) };
	return (v);
}

static void
sum_scan(struct flow *f, const struct chain_record *r)
{
	struct audit_scan *s = sum_of(f, r);

	s->messages++;
	s->us += (int64_t)r->us;
	s->bytes += r->bytes;
}

static void
sum_scans(struct flow *f, const struct chain_run *run)
{
	const struct chain_record *records;
	unsigned i, n;

	records = chain_records(run, &n);
	for (i = 0; i < n; i++)
		sum_scan(f, &records[i]);
}

void
flow_chain_give_up(struct flow *f, struct chain_run **runp)
{
	const struct chain_run *run = *runp;

	chain_cancel(runp); /* its records are final now */
	add_scan_us(f, chain_us(run));
	sum_scans(f, run);
}

void
flow_unseen(struct flow *f)
{
	if (f->has_verdict && f->verdict < VERDICT_UNSCANNED)
		f->verdict = VERDICT_UNSCANNED;
}

void
flow_chain_sum(struct flow *f, const struct chain_run *run,
    const struct chain_result *r)
{
	sum_scans(f, run);
	f->has_verdict = true;
	if (r->verdict > f->verdict)
		f->verdict = r->verdict;
	add_scan_us(f, r->us);
	if (r->action == CHAIN_PASS)
		return;
	f->blocked |= r->action != CHAIN_FAIL;
	f->service = arena_str(f->arena, r->by);
	f->threat = arena_str(f->arena, r->threat);
	f->reason = arena_str(f->arena, r->reason);
	fault_copy(&f->fault, &r->fault);
	if (r->action != CHAIN_FAIL) /* a service's own answer goes nowhere */
		fault_set(&f->fault, ERR_SERVICE_BLOCK, "%.*s", STR_ARG(r->by));
}

void
flow_chain_stop(struct flow *f)
{
	const struct chain_record *records;
	const struct chain_run *run;
	unsigned n;

	upgrade_settle(f);
	if (f->chain == NULL || chain_result(f->chain) != NULL)
		return;
	records = chain_records(f->chain, &n);
	run = f->chain;
	chain_cancel(&f->chain); /* they are final now */
	add_scan_us(f, chain_us(run));
	note_scans(f, records, n);
}

static enum audit_action
action_of(const struct flow *f)
{
	if (f->blocked)
		return (AUDIT_BLOCK);
	return (f->fault.code != ERR_NONE ? AUDIT_ERROR : AUDIT_ALLOW);
}

static void
record_request(struct audit_record *r, const struct flow *f)
{
	const struct http_msg *q = f->req;

	r->http2 = f->x->type->http2;
	if (q == NULL)
		return;
	r->method = q->method;
	r->http_minor = q->version == HTTP_1_0 ? 0 : 1;
	r->url = f->url.n > 0 ? f->url : q->target;
	r->host = q->uri.host;
	r->port = q->uri.port;
	r->agent = http_fields_value(&q->fields, FIELD_USER_AGENT);
}

static void
record_bytes(struct audit_record *r, const struct flow *f)
{
	exchange_count(f->x, &r->request_bytes, &r->response_bytes);
	r->request_body_bytes = f->req_body != NULL ? body_received(f->req_body)
						    : f->request_body_bytes;
	r->response_body_bytes = f->down.sent;
	if (upgrade_count(f, &r->request_body_bytes, &r->response_body_bytes))
		return;
	if (r->response_bytes < f->down.sent)
		r->response_bytes = f->down.sent;
}

static void
record_websocket(struct audit_record *r, const struct flow *f)
{
	const struct ws_inspect *i = f->upgrade != NULL ? f->upgrade->inspect
							: NULL;
	struct ws_count up, down;

	if (i == NULL)
		return;
	ws_inspect_count(i, WS_CLIENT, &up);
	ws_inspect_count(i, WS_SERVER, &down);
	r->websocket = (struct audit_websocket){ .is = true,
		.messages_up = up.messages,
		.messages_down = down.messages,
		.bytes_up = up.content,
		.bytes_down = down.content,
		.code = ws_inspect_code(i) };
}

/* How much of the flow is recorded. */
static enum policy_log
log_of(const struct flow *f)
{
	return (f->blocked || record_is_refusal(f->fault.code) ? POLICY_LOG_FULL
							       : f->plan.log);
}

/* What an administrator has to mend is not left to the access records. */
static void
complain(const struct fault *f)
{
	static struct log_limit limit;

	if (f->code == ERR_TEMP_FULL)
		(void)log_limited(&limit, LEVEL_ERROR, "temp", "%s: %s",
		    err_info(f->code)->text, f->detail);
}

/* What is refused because nobody could look at it was not found clean. */
static void
record_verdict(struct audit_record *r, const struct flow *f)
{
	bool unseen = f->fault.code == ERR_UNSCANNED &&
	    f->verdict < VERDICT_UNSCANNED;

	r->has_verdict = f->has_verdict || unseen;
	r->verdict = unseen ? VERDICT_UNSCANNED : f->verdict;
}

void
flow_record(struct flow *f)
{
	uint64_t now = loop_now(f->worker->loop);
	struct tunnel *t = f->client->tunnel;
	enum policy_log log = log_of(f);
	struct audit_record r;

	atomic_fetch_add_explicit(&f->worker->shared->flows, 1,
	    memory_order_relaxed);
	complain(&f->fault);
	if (log == POLICY_LOG_NONE)
		return;
	audit_record_init(&r);
	r.reference = str_of(f->reference);
	r.started_ms = f->started_wall;
	r.ms = (struct audit_ms){ .dns = f->times.dns_ms,
		.connect = f->times.connect_ms,
		.tls = f->times.tls_ms,
		.scan_us = f->scan_us,
		.first_byte = f->first_byte_at > 0
		    ? record_since(f->started_at, f->first_byte_at)
		    : -1,
		.total = record_since(f->started_at, now) };
	r.action = action_of(f);
	r.mode = f->internal                   ? AUDIT_INTERNAL
	    : t != NULL && !tunnel_is_plain(t) ? AUDIT_INTERCEPTED
					       : AUDIT_PLAIN;
	r.at_response = f->resp_from_origin;
	r.name_unproven = f->unproven || (t != NULL && tunnel_is_in_doubt(t));
	record_client(&r, f->client);
	record_request(&r, f);
	record_bytes(&r, f);
	record_rules(&r, &f->plan);
	r.server_ip = f->server_ip[0] != '\0' ? str_of(f->server_ip) : STR_NONE;
	r.server_port = f->server_port;
	record_parent(&r, f->gen->gen->conf, f->plan.route, f->parent,
	    f->parent_ip, f->around);
	r.status = f->head_out && f->resp != NULL && !f->x->mute
	    ? f->resp->status
	    : 0;
	if (f->resp != NULL)
		r.mime = http_fields_value(&f->resp->fields,
		    FIELD_CONTENT_TYPE);
	r.origin_tls.version = f->origin_version;
	r.origin_tls.cipher = f->origin_cipher;
	r.origin_tls.alpn = f->origin_protocol;
	r.origin_ct = f->origin_ct[0] != '\0' ? str_of(f->origin_ct) : STR_NONE;
	record_verdict(&r, f);
	r.scans = f->scans;
	r.n_scans = f->n_scans;
	record_websocket(&r, f);
	r.fault = f->fault.code != ERR_NONE ? &f->fault : NULL;
	if (log == POLICY_LOG_MINIMAL) {
		r.url = t != NULL ? r.host : STR_NONE;
		r.agent = r.mime = STR_NONE;
	}
	audit_write(f->gen->gen->audit, &r);
}

/* The flight record. */

void
flow_flight_begin(struct flow *f)
{
	struct client *c = f->client;
	const struct http_uri *to = f->req != NULL ? &f->req->uri
	    : c->tunnel != NULL                    ? tunnel_authority(c->tunnel)
						   : NULL;
	struct flight_facts facts = { .reference = f->reference,
		.client = c->ip,
		.client_port = c->port,
		.mode = c->tunnel != NULL && !tunnel_is_plain(c->tunnel)
		    ? FLIGHT_OPENED
		    : FLIGHT_PLAIN,
		.started = f->started_wall };

	if (to != NULL) {
		facts.host = to->host;
		facts.host_port = to->port;
	}
	f->slot = flight_begin(&f->worker->flight, &facts);
}

void
flow_flight_note(struct flow *f)
{
	struct flight_part *p = &f->worker->flight;

	flight_record_as(p, f->slot, record_flight_log(f->plan.log));
	flight_count(p, f->slot,
	    f->req_body != NULL ? body_received(f->req_body)
				: f->request_body_bytes,
	    f->down.sent);
}
