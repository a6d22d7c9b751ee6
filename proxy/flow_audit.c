/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One access record per flow, and per tunnel that no request came through. */
#include <arpa/inet.h>
#include <string.h>
#include "http/uri.h"
#include "proxy/audit/audit.h"
#include "proxy/flow.h"
#include "proxy/audit/log.h"

void
flow_note_origin(struct flow *f)
{
	const struct origin *o = f->origin;
	union address peer;
	const struct sockaddr *sa;

	if (o == NULL)
		return;
	f->dns_ms = o->dns_ms;
	f->connect_ms = o->connect_ms;
	f->tls_ms = o->tls_ms;
	if ((sa = origin_peer(o)) == NULL)
		return;
	peer = o->dial.peer;
	f->server_port = address_port(&peer.sa);
	address_set_port(&peer, 0);
	address_text(&peer.sa, f->server_ip);
	f->who.server_ip = str_of(f->server_ip);
	if (o->is_tls && o->state == ORIGIN_READY) {
		f->origin_version = tls_version_text(link_tls(o->transport));
		f->origin_cipher = tls_cipher_text(link_tls(o->transport));
	}
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
		    .service = r[i].service, .endpoint = r[i].endpoint,
		    .mode = r[i].mode, .threat = r[i].threat,
		    .outcome = str_of(chain_outcome_name(r[i].outcome)),
		    .gap = str_of(scan_gap_name(r[i].gap)),
		    .reason = r[i].reason, .us = (int64_t)r[i].us,
		    .bytes = r[i].bytes };
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
	if (r->action == CHAIN_BLOCK || (r->action == CHAIN_ANSWER &&
	    r->fault.code != ERR_NONE))
		f->blocked = true;
	if (r->action != CHAIN_PASS) {
		f->service = r->by;
		f->threat = r->threat;
		f->reason = r->reason;
		fault_copy(&f->fault, &r->fault);
	}
}

void
flow_chain_stop(struct flow *f)
{
	const struct chain_record *records;
	const struct chain_run *run;
	unsigned n;

	if (f->chain == NULL || chain_result(f->chain) != NULL)
		return;
	records = chain_records(f->chain, &n);
	run = f->chain;
	chain_cancel(&f->chain);	/* they are final now */
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

static int64_t
since(uint64_t then, uint64_t now)
{
	return (then > 0 ? (int64_t)(now - then) : -1);
}

static void
record_client(struct audit_record *r, struct client *c)
{
	r->client_ip = str_of(c->ip);
	r->client_port = c->port;
	r->listener = str_of(c->listen->name);
	if (c->tunnel == NULL || !c->tunnel->opened || c->transport == NULL)
		return;
	r->client_tls.version = tls_version_text(link_tls(c->transport));
	r->client_tls.cipher = tls_cipher_text(link_tls(c->transport));
	r->client_tls.sni = str_of(c->tunnel->hello.sni);
}

static void
record_rules(struct audit_record *r, const struct plan *p)
{
	r->rules = (struct audit_rules){
	    .tls = str_of(p->rule[POLICY_BY_TLS]),
	    .access = str_of(p->rule[POLICY_BY_ACCESS]),
	    .scan = str_of(p->rule[POLICY_BY_SCAN]),
	    .download = str_of(p->rule[POLICY_BY_DOWNLOAD]) };
}

static void
record_request(struct audit_record *r, const struct flow *f)
{
	const struct http_msg *q = f->req;

	if (q == NULL)
		return;
	r->method = q->method;
	r->http_minor = q->version_minor;
	r->url = f->url.n > 0 ? f->url : q->target;
	r->host = q->uri.host;
	r->port = q->uri.port;
	r->agent = http_fields_value(&q->fields, FIELD_USER_AGENT);
}

static void
record_bytes(struct audit_record *r, const struct flow *f)
{
	struct link *l = f->client->transport;

	if (l != NULL) {
		r->request_bytes = link_bytes_in(l) - f->in_before;
		r->response_bytes = link_bytes_out(l) - f->out_before;
	}
	r->request_body_bytes = f->req_body != NULL ?
	    body_received(f->req_body) : f->request_body_bytes;
	r->response_body_bytes = f->down.sent;
	if (r->response_bytes < f->down.sent)
		r->response_bytes = f->down.sent;
}

/*
 * Did assay keep from the client what it could have delivered?  That is
 * recorded in full whatever a rule says about logs: somebody has read a
 * reference and asks about it.
 */
static bool
is_refusal(enum err code)
{
	static const enum err refusals[] = { ERR_CLIENT_NOT_TLS,
		ERR_REQ_MISDIRECTED, ERR_POLICY_BLOCK, ERR_DEST_DENIED,
		ERR_PORT_DENIED, ERR_THREAT, ERR_SERVICE_BLOCK, ERR_UNSCANNED,
		ERR_ORIGIN_CERT, ERR_MEMORY, ERR_TEMP_LIMIT, ERR_TEMP_FULL,
		ERR_DESCRIPTORS };
	unsigned i;

	for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (code == refusals[i])
			return (true);
	return (code >= ERR_SCAN_DOWN && code <= ERR_SCAN_MESSAGE);
}

/* How much of the flow is recorded. */
static enum policy_log
log_of(const struct flow *f)
{
	return (f->blocked || is_refusal(f->fault.code) ?
	    POLICY_LOG_FULL : f->plan.log);
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
	/* Counters are of the wire: what is queued belongs to this flow. */
	if (f->client->transport != NULL)
		link_flush(f->client->transport);
	audit_record_init(&r);
	r.reference = str_of(f->reference);
	r.started_ms = f->started_wall;
	r.ms = (struct audit_ms){ .dns = f->dns_ms, .connect = f->connect_ms,
	    .tls = f->tls_ms, .scan_us = f->scan_us,
	    .first_byte = f->first_byte_at > 0 ?
		since(f->started_at, f->first_byte_at) : -1,
	    .total = since(f->started_at, now) };
	r.action = action_of(f);
	r.mode = f->internal ? AUDIT_INTERNAL : t != NULL ?
	    AUDIT_INTERCEPTED : AUDIT_PLAIN;
	r.at_response = f->resp_from_origin;
	record_client(&r, f->client);
	record_request(&r, f);
	record_bytes(&r, f);
	record_rules(&r, &f->plan);
	r.server_ip = f->server_ip[0] != '\0' ? str_of(f->server_ip) :
	    STR_NONE;
	r.server_port = f->server_port;
	r.status = f->head_out && f->resp != NULL ? f->resp->status : 0;
	if (f->resp != NULL)
		r.mime = http_fields_value(&f->resp->fields,
		    FIELD_CONTENT_TYPE);
	r.origin_tls.version = f->origin_version;
	r.origin_tls.cipher = f->origin_cipher;
	r.verdict = f->verdict;
	r.has_verdict = f->has_verdict;
	r.scans = f->scans;
	r.n_scans = f->n_scans;
	r.fault = f->fault.code != ERR_NONE ? &f->fault : NULL;
	if (log == POLICY_LOG_MINIMAL) {
		r.url = t != NULL ? r.host : STR_NONE;
		r.agent = r.mime = STR_NONE;
	}
	audit_write(f->gen->gen->audit, &r);
}

static void
record_splice(struct audit_record *r, const struct tunnel *t, char ip[64])
{
	union address peer = t->dial.peer;

	r->request_bytes = r->request_body_bytes =
	    splice_bytes_to_origin(t->splice);
	r->response_bytes = r->response_body_bytes =
	    splice_bytes_to_client(t->splice);
	r->server_port = address_port(&peer.sa);
	address_set_port(&peer, 0);
	address_text(&peer.sa, ip);
	r->server_ip = str_of(ip);
	r->ms.dns = t->dial.dns_ms;
	r->ms.connect = t->dial.connect_ms;
}

/* A tunnel through which no request came: spliced, refused, or TLS failed. */
void
tunnel_record(struct client *c, const struct tunnel *t)
{
	uint64_t now = loop_now(c->worker->loop);
	struct buf url = { 0 };
	struct audit_record r;
	char ip[64];

	if (t->flows > 0 || (t->plan.log == POLICY_LOG_NONE &&
	    !is_refusal(t->fault.code)))
		return;
	audit_record_init(&r);
	r.reference = str_of(t->reference);
	r.started_ms = t->started_wall;
	r.ms.total = since(t->started_at, now);
	r.mode = t->splice != NULL ? AUDIT_TUNNEL : AUDIT_CONNECT;
	r.action = t->fault.code == ERR_POLICY_BLOCK ? AUDIT_BLOCK :
	    t->splice != NULL ? AUDIT_SPLICE :
	    t->fault.code != ERR_NONE ? AUDIT_ERROR : AUDIT_ALLOW;
	record_client(&r, c);
	record_rules(&r, &t->plan);
	r.client_tls.sni = str_of(t->hello.sni);
	r.method = STR("CONNECT");
	r.http_minor = t->connect->version_minor;
	http_authority_print(&url, &t->connect->uri);
	r.url = buf_as_str(&url);
	r.host = t->connect->uri.host;
	r.port = t->connect->uri.port;
	r.status = 200;
	r.scans = t->scans;
	r.n_scans = t->n_scans;
	r.ms.scan_us = t->scan_us;
	if (t->splice != NULL)
		record_splice(&r, t, ip);
	r.fault = t->fault.code != ERR_NONE ? &t->fault : NULL;
	audit_write(t->gen->gen->audit, &r);
	buf_fini(&url);
}
