/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the records of flows and of tunnels have in common, see record.h. */
#include "proxy/client.h"
#include "proxy/policy/policy.h"
#include "proxy/record.h"
#include "proxy/tunnel.h"
#include "proxy/wire/upstream.h"

int64_t
record_since(uint64_t then, uint64_t now)
{
	return (then > 0 ? (int64_t)(now - then) : -1);
}

void
record_client(struct audit_record *r, struct client *c)
{
	r->client_ip = str_of(c->ip);
	r->client_port = c->port;
	r->listener = str_of(c->listen->name);
	r->destination = str_of(c->dest_text);
	if (c->via != NULL) {
		r->balancer_ip = str_of(c->via->balancer);
		r->balancer_id = str_of(c->via->id);
		r->balancer_authority = str_of(c->via->authority);
		r->balancer_alpn = str_of(c->via->alpn);
	}
	if (c->tunnel == NULL || !tunnel_is_open(c->tunnel) ||
	    tunnel_is_plain(c->tunnel) || c->transport == NULL)
		return;
	r->client_tls.version = tls_version_text(link_tls(c->transport));
	r->client_tls.cipher = tls_cipher_text(link_tls(c->transport));
	r->client_tls.sni = tunnel_sni(c->tunnel);
}

void
record_rules(struct audit_record *r, const struct plan *p)
{
	r->rules = (struct audit_rules){ .tls = str_of(p->rule[POLICY_BY_TLS]),
		.access = str_of(p->rule[POLICY_BY_ACCESS]),
		.scan = str_of(p->rule[POLICY_BY_SCAN]),
		.download = str_of(p->rule[POLICY_BY_DOWNLOAD]),
		.route = str_of(p->rule[POLICY_BY_ROUTE]) };
}

void
record_parent(struct audit_record *r, const struct conf *conf, unsigned route,
    const struct upstream_end *e, const char *ip, bool around)
{
	const struct conf_upstream *u = conf_route(conf, route);
	const struct conf_out *out = conf_out(conf, route);

	if (out != NULL)
		r->out = str_of(out->name);
	if (u == NULL)
		return;
	r->parent = (struct audit_parent){ .upstream = str_of(u->name),
		.by_turn = u->balance == CONF_BALANCE_ROUND_ROBIN,
		.around = around };
	if (e == NULL)
		return;
	r->parent.endpoint = str_of(e->conf->text);
	r->parent.ip = str_of(ip);
}

enum flight_log
record_flight_log(enum policy_log log)
{
	return (log == POLICY_LOG_FULL      ? FLIGHT_LOG_FULL
		: log == POLICY_LOG_MINIMAL ? FLIGHT_LOG_MINIMAL
					    : FLIGHT_LOG_NONE);
}

bool
record_is_refusal(enum err code)
{
	static const enum err refusals[] = { ERR_CLIENT_NOT_TLS,
		ERR_PROTOCOL_UNKNOWN, ERR_NAME_UNPROVEN, ERR_SERVER_FIRST,
		ERR_REQ_MISDIRECTED, ERR_POLICY_BLOCK, ERR_DEST_DENIED,
		ERR_PORT_DENIED, ERR_THREAT, ERR_SERVICE_BLOCK, ERR_UNSCANNED,
		ERR_ORIGIN_CERT, ERR_MEMORY, ERR_TEMP_LIMIT, ERR_TEMP_FULL,
		ERR_DESCRIPTORS, ERR_PARENT_DENIED };
	unsigned i;

	for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (code == refusals[i])
			return (true);
	return (code >= ERR_SCAN_DOWN && code <= ERR_SCAN_MESSAGE);
}
