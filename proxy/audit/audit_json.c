/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access records as JSON lines with the names of the Elastic Common Schema
 * (ECS 8.11), spelt with dots at the top level: {"client.ip":"192.0.2.1"}.
 * Elastic and Logstash take such keys as nested objects; grep and jq find
 * them as they stand in the manual.  Keys without a value are left out.
 */
#include "proxy/audit/audit_priv.h"
#include "base/text.h"

#define URL_MAX_BYTES 8192
#define VALUE_MAX_BYTES 1024

/* A key with its punctuation: ,"client.ip": */
#define KEY(name) STR(",\"" name "\":")

static void
put_string(struct buf *b, struct str key, struct str v, size_t max)
{
	if (v.n == 0)
		return;
	buf_str(b, key);
	buf_add(b, "\"", 1);
	text_add_json(b, audit_cut(v, max));
	buf_add(b, "\"", 1);
}

static void
put_str(struct buf *b, struct str key, struct str v)
{
	put_string(b, key, v, VALUE_MAX_BYTES);
}

/* 0 is left out. */
static void
put_count(struct buf *b, struct str key, uint64_t v)
{
	if (v == 0)
		return;
	buf_str(b, key);
	text_add_u64(b, v);
}

/* Negative is left out. */
static void
put_ms(struct buf *b, struct str key, int64_t ms)
{
	if (ms < 0)
		return;
	buf_str(b, key);
	text_add_u64(b, (uint64_t)ms);
}

static void
put_two(char *at, unsigned v)
{
	at[0] = (char)('0' + v / 10 % 10);
	at[1] = (char)('0' + v % 10);
}

/* Days since 1970 to a date of the Gregorian calendar (Hinnant 2013). */
static void
put_date(char *at, uint64_t days)
{
	uint64_t z = days + 719468, era = z / 146097, doe = z % 146097;
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153;
	uint64_t month = mp < 10 ? mp + 3 : mp - 9;
	uint64_t year = yoe + era * 400 + (month <= 2);

	put_two(at, (unsigned)(year / 100));
	put_two(at + 2, (unsigned)(year % 100));
	put_two(at + 5, (unsigned)month);
	put_two(at + 8, (unsigned)(doy - (153 * mp + 2) / 5 + 1));
}

/* "2026-11-23T18:00:00.123Z" (RFC 3339) */
static void
put_time(struct buf *b, struct str key, uint64_t wall_ms)
{
	char t[] = "\"0000-00-00T00:00:00.000Z\"";
	char *at = t + 1;
	uint64_t s = wall_ms / 1000;

	put_date(at, s / 86400);
	put_two(at + 11, (unsigned)(s / 3600 % 24));
	put_two(at + 14, (unsigned)(s / 60 % 60));
	put_two(at + 17, (unsigned)(s % 60));
	put_two(at + 20, (unsigned)(wall_ms % 1000 / 10));
	at[22] = (char)('0' + wall_ms % 10);
	buf_str(b, key);
	buf_add(b, t, sizeof(t) - 1);
}

/* What every record begins with. */
static void
put_start(struct buf *b, uint64_t wall_ms)
{
	put_time(b, STR("{\"@timestamp\":"), wall_ms);
}

/* Microseconds as milliseconds with one decimal. */
static void
put_us(struct buf *b, struct str key, int64_t us)
{
	int64_t tenths = us / 100 + (us % 100 >= 50);

	if (us < 0)
		return;
	buf_str(b, key);
	buf_printf(b, "%lld.%lld", (long long)(tenths / 10),
	    (long long)(tenths % 10));
}

static void
put_event(struct buf *b, const struct audit_record *r)
{
	bool good = r->action == AUDIT_ALLOW || r->action == AUDIT_SPLICE;

	buf_str(b, STR(",\"ecs.version\":\"8.11.0\",\"event.kind\":\"event\""));
	put_str(b, KEY("event.id"), r->reference);
	put_str(b, KEY("event.action"), str_of(audit_action_name(r->action)));
	put_str(b, KEY("event.outcome"),
	    good ? STR("success") : STR("failure"));
	if (r->ms.total >= 0)
		put_ms(b, KEY("event.duration"), r->ms.total * 1000000);
}

static void
put_client(struct buf *b, const struct audit_record *r,
    const struct logging_privacy *p)
{

	put_str(b, KEY("client.ip"), audit_private(r->client_ip, p->client));
	if (p->client == LOGGING_KEEP)
		put_count(b, KEY("client.port"), r->client_port);
	put_str(b, KEY("user.name"), audit_private(r->user, p->user));
	put_str(b, KEY("user_agent.original"), r->agent);
	put_str(b, KEY("assay.listener"), r->listener);
	put_str(b, KEY("assay.destination"), r->destination);
	if (r->name_unproven)
		buf_str(b, STR(",\"assay.name\":\"unproven\""));
	put_str(b, KEY("assay.balancer_ip"), r->balancer_ip);
	put_str(b, KEY("assay.balancer_id"), r->balancer_id);
	put_str(b, KEY("assay.balancer_authority"), r->balancer_authority);
	put_str(b, KEY("assay.balancer_alpn"), r->balancer_alpn);
	put_str(b, KEY("assay.mode"), str_of(audit_mode_name(r->mode)));
}

static void
put_url(struct buf *b, const struct audit_record *r,
    const struct logging_privacy *p)
{
	struct text_url u;
	struct str query;

	if (r->url.n > 0) {
		text_split_url(r->url, &u);
		query = audit_private(u.query, p->query);
		buf_str(b, STR(",\"url.full\":\""));
		text_add_json(b, u.scheme);
		text_add_json(b, audit_cut(u.rest, URL_MAX_BYTES));
		if (query.n > 0) {
			buf_add(b, "?", 1);
			text_add_json(b, audit_cut(query, URL_MAX_BYTES));
		}
		buf_add(b, "\"", 1);
		u.scheme.n -= u.scheme.n > 3 ? 3 : u.scheme.n;
		put_str(b, KEY("url.scheme"), u.scheme);
	}
	put_str(b, KEY("url.domain"), r->host);
	put_count(b, KEY("url.port"), r->port);
}

static void
put_http(struct buf *b, const struct audit_record *r)
{
	if (r->http2)
		buf_str(b, STR(",\"http.version\":\"2\""));
	else if (r->method.n > 0)
		buf_str(b,
		    r->http_minor == 0 ? STR(",\"http.version\":\"1.0\"")
				       : STR(",\"http.version\":\"1.1\""));
	put_str(b, KEY("http.request.method"), r->method);
	put_count(b, KEY("http.request.bytes"), r->request_bytes);
	put_count(b, KEY("http.request.body.bytes"), r->request_body_bytes);
	put_count(b, KEY("http.response.status_code"), r->status);
	put_count(b, KEY("http.response.bytes"), r->response_bytes);
	put_count(b, KEY("http.response.body.bytes"), r->response_body_bytes);
	put_str(b, KEY("http.response.mime_type"), audit_mime(r->mime));
	put_str(b, KEY("server.ip"), r->server_ip);
	put_count(b, KEY("server.port"), r->server_port);
}

static void
put_parent(struct buf *b, const struct audit_parent *p)
{
	put_str(b, KEY("assay.upstream.name"), p->upstream);
	put_str(b, KEY("assay.upstream.endpoint"), p->endpoint);
	put_str(b, KEY("assay.upstream.ip"), p->ip);
	if (p->around)
		buf_str(b, STR(",\"assay.upstream.direct\":true"));
}

static void
put_websocket(struct buf *b, const struct audit_websocket *w)
{
	if (!w->is)
		return;
	buf_str(b, KEY("assay.websocket.request.messages"));
	text_add_u64(b, w->messages_up);
	buf_str(b, KEY("assay.websocket.request.bytes"));
	text_add_u64(b, w->bytes_up);
	buf_str(b, KEY("assay.websocket.response.messages"));
	text_add_u64(b, w->messages_down);
	buf_str(b, KEY("assay.websocket.response.bytes"));
	text_add_u64(b, w->bytes_down);
	if (w->code != 1005) /* RFC 6455 7.1.5: none was there */
		put_count(b, KEY("assay.websocket.close.code"), w->code);
}

/* tls.* is the client's side, as ECS has one; the origin's is ours. */
static void
put_tls(struct buf *b, const struct audit_tls *c, const struct audit_tls *o)
{
	put_str(b, KEY("tls.version"), c->version);
	put_str(b, KEY("tls.cipher"), c->cipher);
	put_str(b, KEY("tls.next_protocol"), c->alpn);
	put_str(b, KEY("tls.client.server_name"), c->sni);
	put_str(b, KEY("assay.origin.tls.version"), o->version);
	put_str(b, KEY("assay.origin.tls.cipher"), o->cipher);
	put_str(b, KEY("assay.origin.tls.next_protocol"), o->alpn);
	put_str(b, KEY("assay.origin.tls.server_name"), o->sni);
}

static void
put_rules(struct buf *b, const struct audit_rules *r)
{
	put_str(b, KEY("assay.rule.tls"), r->tls);
	put_str(b, KEY("assay.rule.access"), r->access);
	put_str(b, KEY("assay.rule.scan"), r->scan);
	put_str(b, KEY("assay.rule.download"), r->download);
	put_str(b, KEY("assay.rule.route"), r->route);
}

static void
put_scan(struct buf *b, const struct audit_scan *s)
{
	buf_str(b, STR("{\"service\":\""));
	text_add_json(b, audit_cut(s->service, VALUE_MAX_BYTES));
	buf_add(b, "\"", 1);
	put_str(b, KEY("endpoint"), s->endpoint);
	put_str(b, KEY("mode"), s->mode == SCAN_REQ ? STR("req") : STR("resp"));
	put_str(b, KEY("outcome"), s->outcome);
	put_us(b, KEY("ms"), s->us);
	put_ms(b, KEY("bytes"), (int64_t)(s->bytes & INT64_MAX));
	put_count(b, KEY("messages"), s->messages);
	put_str(b, KEY("threat"), s->threat);
	put_str(b, KEY("gap"), s->gap);
	put_str(b, KEY("reason"), s->reason);
	buf_add(b, "}", 1);
}

static void
put_scans(struct buf *b, const struct audit_record *r)
{
	unsigned i;

	if (r->has_verdict)
		put_str(b, KEY("assay.verdict"),
		    str_of(verdict_name(r->verdict)));
	if (r->n_scans == 0)
		return;
	buf_str(b, KEY("assay.scan"));
	for (i = 0; i < r->n_scans; i++) {
		buf_add(b, i == 0 ? "[" : ",", 1);
		put_scan(b, &r->scans[i]);
	}
	buf_add(b, "]", 1);
}

static void
put_times(struct buf *b, const struct audit_ms *ms)
{
	put_ms(b, KEY("assay.ms.dns"), ms->dns);
	put_ms(b, KEY("assay.ms.connect"), ms->connect);
	put_ms(b, KEY("assay.ms.tls"), ms->tls);
	put_us(b, KEY("assay.ms.scan"), ms->scan_us);
	put_ms(b, KEY("assay.ms.first_byte"), ms->first_byte);
	put_ms(b, KEY("assay.ms.total"), ms->total);
}

static void
put_error(struct buf *b, const struct fault *f)
{
	const struct err_info *e;

	if (f == NULL || f->code == ERR_NONE)
		return;
	e = err_info(f->code);
	put_str(b, KEY("error.code"), str_of(e->name));
	put_str(b, KEY("error.type"), str_of(e->token));
	buf_str(b, STR(",\"error.message\":\""));
	text_add_json(b, str_of(e->text));
	if (f->detail[0] != '\0') {
		buf_add(b, ": ", 2);
		text_add_json(b, str_of(f->detail));
	}
	buf_add(b, "\"", 1);
}

void
audit_format_json(struct buf *b, const struct audit_record *r,
    const struct logging_privacy *p)
{
	put_start(b, r->started_ms);
	put_event(b, r);
	put_client(b, r, p);
	put_url(b, r, p);
	put_http(b, r);
	put_parent(b, &r->parent);
	put_str(b, KEY("assay.out.name"), r->out);
	put_websocket(b, &r->websocket);
	put_tls(b, &r->client_tls, &r->origin_tls);
	put_str(b, KEY("assay.origin.ct"), r->origin_ct);
	put_rules(b, &r->rules);
	put_scans(b, r);
	put_times(b, &r->ms);
	put_error(b, r->fault);
	buf_add(b, "}\n", 2);
}

/* log.issued */

static void
put_leaf(struct buf *b, const struct audit_issued *r)
{
	static const char hex[] = "0123456789ABCDEF";
	char serial[2 * sizeof(r->serial) + 1] = "";
	unsigned i;

	for (i = 0; i < sizeof(r->serial); i++) {
		serial[2 * i] = hex[r->serial[i] >> 4];
		serial[2 * i + 1] = hex[r->serial[i] & 15];
	}
	buf_str(b, STR(",\"tls.server.x509.alternative_names\":[\""));
	text_add_json(b, audit_cut(r->host, VALUE_MAX_BYTES));
	buf_str(b, STR("\"]"));
	put_str(b, KEY("tls.server.x509.serial_number"), str_of(serial));
	put_time(b, KEY("tls.server.x509.not_before"),
	    (uint64_t)r->from * 1000);
	put_time(b, KEY("tls.server.x509.not_after"), (uint64_t)r->to * 1000);
}

void
audit_format_issued(struct buf *b, const struct audit_issued *r)
{
	bool issued = r->host.n > 0;

	put_start(b, r->at_ms);
	buf_str(b, STR(",\"ecs.version\":\"8.11.0\""));
	put_str(b, KEY("event.kind"), issued ? STR("event") : STR("alert"));
	put_str(b, KEY("event.action"),
	    issued ? STR("issued") : STR("refused"));
	put_str(b, KEY("event.outcome"),
	    issued ? STR("success") : STR("failure"));
	put_str(b, KEY("event.reason"), r->why);
	put_count(b, KEY("event.sequence"), r->n);
	put_count(b, KEY("process.pid"), (uint64_t)r->holder);
	put_count(b, KEY("assay.untold"), r->untold);
	if (issued)
		put_leaf(b, r);
	buf_add(b, "}\n", 2);
}
