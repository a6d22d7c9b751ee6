/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What settings mean together: after each section, and after the whole file.
 * Room: proxy.  Thread: the one that loads.
 */
#include "config.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include "http/uri.h"
#include "proxy/conf/conf_priv.h"
#include "tls/priority.h"

#define TEMP_LEAST (1 << 20) /* for libclamav's own test files, and a little */
#define STATE_PATH 900       /* bytes, so that files in it have room */
#define SOCKET_PATH sizeof(((struct sockaddr_un *)0)->sun_path)

/* Where a setting of a section stands, or the section itself. */
static const struct node *
place(const struct node *map, const char *key)
{
	const struct node *n = conf_node_get(map, key);

	return (n != NULL                         ? n->key
		: map != NULL && map->key != NULL ? map->key
						  : map);
}

static bool
given(const struct node *map, const char *key)
{
	const struct node *n = conf_node_get(map, key);

	return (n != NULL && !conf_node_is_void(n));
}

/* ---- one section; map is NULL when there is none, or something else ---- */

/* A certificate and its key come together. */
static void
check_pair(struct conf_reader *r, const struct node *map)
{
	bool cert = given(map, "cert"), key = given(map, "key");

	if (cert != key)
		conf_problem(r, place(map, cert ? "cert" : "key"),
		    "'%s' "
		    "without '%s'; write both or neither",
		    cert ? "cert" : "key", cert ? "key" : "cert");
}

static bool
is_loopback(const struct sockaddr *sa)
{
	union address a;

	memcpy(&a, sa, address_size(sa));
	return (sa->sa_family == AF_INET
		? ntohl(a.v4.sin_addr.s_addr) >> 24 == 127
		: IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr));
}

static void
check_listen(struct conf_reader *r, const struct node *map, void *section)
{
	struct conf_listen *l = section;

	if (l->proxy_protocol.self)
		conf_problem(r, place(map, "proxy_protocol"),
		    "'self' is no balancer; write its address or network");
	if (l->kind == CONF_EXPLICIT && l->names != CONF_NAMES_RELAXED)
		conf_problem(r, place(map, "names"),
		    "'names: strict' is for 'kind: redirect' and 'tproxy'; "
		    "explicit clients ask for names, leave it out");
	if (l->kind != CONF_EXPLICIT && l->naddr == 1 &&
	    is_loopback(&l->addr[0].sa))
		conf_warn(r, place(map, "on"),
		    "packets are led to an address of the interface that they "
		    "come in by, which this is not; write ':%u'",
		    address_port(&l->addr[0].sa));
	if (l->on == NULL)
		l->on = "";
	if (l->name == NULL)
		l->name = l->on;
}

static void
check_ca(struct conf_reader *r, const struct node *map, void *section)
{
	(void)section;
	check_pair(r, map);
}

static void
check_priority(struct conf_reader *r, const struct node *map, enum tls_leg leg,
    const char *wish, enum conf_tls_min min)
{
	struct fault f = { 0 };

	if (given(map, "priority") &&
	    !tls_priority_check(leg, wish, min == CONF_TLS_1_3, &f))
		conf_problem(r, place(map, "priority"), "%s", f.detail);
}

static void
check_tls_client(struct conf_reader *r, const struct node *map, void *section)
{
	const __typeof__(((struct conf_tls *)0)->client) *c = section;

	check_priority(r, map, TLS_TO_CLIENT, c->priority, c->min);
}

static void
check_origin(struct conf_reader *r, const struct node *map, void *section)
{
	const __typeof__(((struct conf_tls *)0)->origin) *o = section;

	if (o->revocation == REVOCATION_OFF && o->crl.n > 0)
		conf_problem(r, place(map, "crl"),
		    "'crl' has no effect with "
		    "'revocation: off'; take one of them out");
	if (o->ct != CT_OFF && o->ct_logs == NULL)
		conf_problem(r, place(map, "ct"),
		    "'ct' needs 'ct_logs', the file of the logs");
	check_priority(r, map, TLS_TO_SERVER, o->priority, o->min);
}

/* A host by the reader of hosts (http/uri.h), in its one spelling. */
static void
check_host(struct conf_reader *r, const struct node *map, const char *key,
    const char **host)
{
	struct http_uri u = { 0 };

	if (*host == NULL)
		return;
	if (http_host_parse(r->keep, str_of(*host), &u))
		*host = u.host.p;
	else
		conf_problem(r, conf_node_get(map, key),
		    "'%s' is no host "
		    "name; write letters, digits, '-' and dots, IPv6 in "
		    "brackets",
		    key);
}

static void
check_service_tls(struct conf_reader *r, const struct node *map, void *section)
{
	__typeof__(((struct conf_service *)0)->tls) *t = section;

	check_pair(r, map);
	check_host(r, map, "name", &t->name);
}

static void
check_pages(struct conf_reader *r, const struct node *map, void *section)
{
	struct conf_pages *p = section;

	check_host(r, map, "host", &p->host);
}

static bool
any_icaps(const struct conf_service *s)
{
	unsigned i;

	for (i = 0; i < s->url.n; i++)
		if (s->url.v[i].tls)
			return (true);
	return (false);
}

static void
check_service(struct conf_reader *r, const struct node *map, void *section)
{
	const struct conf_service *s = section;

	if (map == NULL)
		return;
	if (strcmp(s->name, "none") == 0 || s->name[0] == '\0')
		conf_problem(r, map->key,
		    "%s is no name for a service; take "
		    "another",
		    conf_node_name(r, map->key));
	if (s->scan_answers == CONF_TRUE && s->mode == CONF_REQ)
		conf_problem(r, place(map, "scan_answers"),
		    "'scan_answers' is "
		    "for services of responses; write mode: resp or leave it "
		    "out");
	if (s->connect == CONF_TRUE && s->mode != CONF_REQ)
		conf_problem(r, place(map, "connect"),
		    "'connect' is for "
		    "services of requests; write mode: req or leave it out");
	if (given(map, "tls") && s->url.n > 0 && !any_icaps(s))
		conf_problem(r, place(map, "tls"),
		    "'tls' has no effect on "
		    "icap: addresses; write icaps: or leave it out");
	if (given(map, "tls") && s->tls.name != NULL && s->url.n > 1)
		conf_problem(r, place(conf_node_get(map, "tls"), "name"),
		    "one 'name' for several addresses; leave it out, so that "
		    "each is verified by its own host");
}

static void
check_download(struct conf_reader *r, const struct node *map, void *section)
{
	struct conf_download *d = section;

	(void)r;
	if (!given(map, "browser"))
		d->browser = d->other;
}

/* Whether it can be written is asked later (gen.c). */
static void
check_log_to(struct conf_reader *r, const struct node *map, void *section)
{
	struct conf_log_to *to = section;
	const struct node *at = place(map, "to");

	(void)r;
	if (at != NULL) {
		to->line = at->line;
		to->col = at->col;
	}
}

static void
check_admin(struct conf_reader *r, const struct node *map, void *section)
{
	struct conf_admin *a = section;

	if (!given(map, "socket") && r->conf->state != NULL)
		a->socket = arena_printf(r->keep, "%s/admin.sock",
		    r->conf->state)
				.p;
	if (a->socket != NULL && strlen(a->socket) >= SOCKET_PATH)
		conf_problem(r, place(map, "socket"),
		    "the socket's path "
		    "'%s' is too long; write a shorter one under 'admin: "
		    "socket:', or none",
		    a->socket);
}

static void
check_limits(struct conf_reader *r, const struct node *map, void *section)
{
	const struct conf_limits *l = section;

	if (l->per_client != CONF_AUTO && l->per_client > l->clients)
		conf_problem(r,
		    place(map,
			given(map, "per_client") ? "per_client" : "clients"),
		    "'per_client' (%" PRIu64 ") "
		    "is more than 'clients' (%" PRIu64 "); one of them has no "
		    "effect",
		    l->per_client, l->clients);
	if (l->field > l->header)
		conf_problem(r,
		    place(map, given(map, "field") ? "field" : "header"),
		    "'field' is more than 'header', of which it "
		    "is a part; lower 'field' or raise 'header'");
	if (l->body_memory > l->memory)
		conf_problem(r,
		    place(map, given(map, "memory") ? "memory" : "body_memory"),
		    "'body_memory' of one body is more than "
		    "'memory' of all");
}

/* ---- rules ---- */

static const struct {
	const char *key;
	enum policy_decision decision;
} decision_keys[] = {
	{ "tls", POLICY_BY_TLS },
	{ "access", POLICY_BY_ACCESS },
	{ "scan", POLICY_BY_SCAN },
	{ "download", POLICY_BY_DOWNLOAD },
	{ "range", POLICY_BY_RANGE },
	{ "stream", POLICY_BY_STREAM },
	{ "websocket", POLICY_BY_WEBSOCKET },
	{ "upgrade", POLICY_BY_UPGRADE },
	{ "log", POLICY_BY_LOG },
	{ "route", POLICY_BY_ROUTE },
};

#define DECISION_KEYS (sizeof(decision_keys) / sizeof(decision_keys[0]))

/* Conditions that are not known at the ClientHello. */
static const char *const late[] = { "url", "method", "type", "size" };

static void
check_late(struct conf_reader *r, const struct node *when)
{
	const struct node *n, *not ;
	unsigned i;

	for (i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
		n = conf_node_get(when, late[i]);
		if (n != NULL)
			conf_problem(r, n->key,
			    "'tls' cannot be decided by "
			    "'%s', which is known only inside the "
			    "connection; decide by host, port, client or "
			    "listener",
			    late[i]);
	}
	if ((not = conf_node_get(when, "not")) != NULL)
		check_late(r, not );
}

/* What the origin is asked for is decided before there is a response. */
static void
check_before(struct conf_reader *r, const struct node *when, const char *what)
{
	static const char *const type[] = { "type", "size" };
	const struct node *n, *not ;
	unsigned i;

	for (i = 0; i < 2; i++)
		if ((n = conf_node_get(when, type[i])) != NULL)
			conf_problem(r, n->key,
			    "'%s' cannot be decided by "
			    "'%s', which is known only when the response is "
			    "there; decide by url, host or client",
			    what, type[i]);
	if ((not = conf_node_get(when, "not")) != NULL)
		check_before(r, not, what);
}

static void
check_rule(struct conf_reader *r, const struct node *map, void *section)
{
	static const char *const before[] = { "range", "websocket", "upgrade" };
	struct policy_rule *rule = section;
	unsigned i;

	if (map == NULL)
		return;
	for (i = 0; i < DECISION_KEYS; i++)
		if (given(map, decision_keys[i].key))
			rule->decides |= 1u << decision_keys[i].decision;
	if (rule->decides == 0)
		conf_problem(r, map,
		    "this rule decides nothing; add tls, "
		    "access, scan, download, range, stream, websocket, "
		    "upgrade, log or route");
	if (given(map, "page") && rule->access != POLICY_BLOCK)
		conf_problem(r, place(map, "page"),
		    "'page' without 'access: "
		    "block'; no page would be shown");
	if ((rule->decides & 1u << POLICY_BY_TLS) != 0 && given(map, "if"))
		check_late(r, conf_node_get(map, "if"));
	if (given(map, "route"))
		conf_route_check(r, conf_node_get(map, "if"));
	for (i = 0; i < sizeof(before) / sizeof(before[0]); i++)
		if (given(map, before[i]) && given(map, "if"))
			check_before(r, conf_node_get(map, "if"), before[i]);
}

/* ---- the whole file ---- */

/* Rules without a name are called by their number. */
static void
name_rules(struct conf_reader *r)
{
	unsigned i;

	for (i = 0; i < r->conf->policy.rules.n; i++)
		if (r->conf->policy.rules.v[i].name == NULL)
			r->conf->policy.rules.v[i]
			    .name = arena_printf(r->keep, "rule %u", i + 1).p;
}

static void
check_rule_names(struct conf_reader *r)
{
	const struct policy_rules *rules = &r->conf->policy.rules;
	unsigned i, j;

	for (i = 0; i < rules->n; i++)
		for (j = 0; j < i; j++)
			if (strcmp(rules->v[i].name, rules->v[j].name) == 0) {
				conf_problem(r, place(r->rule_at[i], "name"),
				    "two rules have the name '%s'; the first "
				    "is in line %u",
				    rules->v[i].name, r->rule_at[j]->line);
				break;
			}
}

/* A decision that an unconditional rule before has made for every flow. */
static void
check_shadows(struct conf_reader *r)
{
	const struct policy_rules *rules = &r->conf->policy.rules;
	const struct policy_rule *always[POLICY_DECISIONS] = { NULL };
	unsigned i, j, bit;

	for (i = 0; i < rules->n; i++)
		for (j = 0; j < DECISION_KEYS; j++) {
			bit = decision_keys[j].decision;
			if ((rules->v[i].decides & 1u << bit) == 0)
				continue;
			if (always[bit] != NULL)
				conf_problem(r,
				    place(r->rule_at[i], decision_keys[j].key),
				    "'%s' never "
				    "applies: the rule '%s' before it has no "
				    "condition and decides it; move this rule "
				    "up",
				    decision_keys[j].key, always[bit]->name);
			else if (rules->v[i].when == NULL)
				always[bit] = &rules->v[i];
		}
}

/* Does one of the blocks contain all of n, or with part set any of it? */
static bool
is_in(const struct nets *s, const struct net *n, bool part)
{
	const struct net *b;
	uint64_t m[2];
	unsigned i;

	for (i = 0; i < s->n; i++) {
		b = &s->v[i];
		m[0] = part ? b->mask[0] & n->mask[0] : b->mask[0];
		m[1] = part ? b->mask[1] & n->mask[1] : b->mask[1];
		if ((part ||
			((b->mask[0] & ~n->mask[0]) == 0 &&
			    (b->mask[1] & ~n->mask[1]) == 0)) &&
		    ((b->addr[0] ^ n->addr[0]) & m[0]) == 0 &&
		    ((b->addr[1] ^ n->addr[1]) & m[1]) == 0)
			return (true);
	}
	return (false);
}

/* Addresses that no connection is made to, whatever the rule says. */
static void
check_dests(struct conf_reader *r)
{
	const struct conf_dest *d = &r->conf->destinations;
	const struct policy_match *m;
	unsigned i, k;

	for (i = 0; i < r->conf->policy.rules.n; i++) {
		m = r->conf->policy.rules.v[i].when;
		if (m == NULL || m->dest.n == 0 || m->dest.self)
			continue;
		for (k = 0; k < m->dest.n; k++)
			if (!is_in(&d->deny, &m->dest.v[k], false) ||
			    is_in(&d->allow, &m->dest.v[k], true))
				break;
		if (k == m->dest.n)
			conf_problem(r,
			    place(conf_node_get(r->rule_at[i], "if"), "dest"),
			    "'dest' never applies: "
			    "'destinations.deny' has these addresses already; "
			    "put them under 'destinations.allow' or take this "
			    "rule out");
	}
}

static bool
same_addr(const union address *a, const union address *b)
{
	uint16_t port = address_port(&a->sa);

	return (port != 0 && port == address_port(&b->sa) &&
	    address_eq(&a->sa, &b->sa));
}

static bool
same_listen(const struct conf_listen *a, const struct conf_listen *b)
{
	unsigned i, j;

	for (i = 0; i < a->naddr; i++)
		for (j = 0; j < b->naddr; j++)
			if (same_addr(&a->addr[i], &b->addr[j]))
				return (true);
	return (false);
}

static void
check_listeners(struct conf_reader *r)
{
	const struct conf_listens *l = &r->conf->listen;
	unsigned i, j;

	for (i = 0; i < l->n; i++)
		for (j = 0; j < i; j++) {
			if (same_listen(&l->v[i], &l->v[j]))
				conf_problem(r, place(r->listen_at[i], "on"),
				    "'%s' is listened on already by line %u",
				    l->v[i].on, r->listen_at[j]->line);
			else if (strcmp(l->v[i].name, l->v[j].name) == 0 &&
			    l->v[i].name[0] != '\0' &&
			    strcmp(l->v[i].name, l->v[i].on) != 0)
				conf_problem(r, place(r->listen_at[i], "name"),
				    "two listeners have the name "
				    "'%s'; rules could not tell them apart",
				    l->v[i].name);
		}
	if (l->n == 0 && r->listen_at != NULL)
		conf_problem(r, NULL,
		    "'listen' is empty; nobody could "
		    "connect");
}

/* Things that are there and do nothing: said, but no reason to refuse. */
static void
warn_unused(struct conf_reader *r)
{
	const struct conf *conf = r->conf;
	unsigned i;

	for (i = 0; i < conf->scan.n; i++)
		if (!conf->scan.v[i].used)
			conf_warn(r, r->chain_at[i],
			    "no rule scans with the "
			    "chain '%s'",
			    conf->scan.v[i].name);
	for (i = 0; i < conf->services.n; i++)
		if (!conf->services.v[i].used && r->service_at[i]->line > 0)
			conf_warn(r, r->service_at[i]->key,
			    "no rule scans "
			    "with the service '%s'",
			    conf->services.v[i].name);
	if (conf->clients.n == 0 && !conf->clients.self)
		conf_warn(r, NULL, "'clients' is empty; nobody may connect");
}

/* Everything that is built lies in it. */
static void
check_state(struct conf_reader *r, const struct node *map)
{
	if (r->conf->state == NULL)
		conf_problem(r, place(map, "state"),
		    "there is no state "
		    "folder; write 'state: /var/lib/assay' or the like");
	else if (strlen(r->conf->state) > STATE_PATH)
		conf_problem(r, place(map, "state"),
		    "the path of the state "
		    "folder has %zu bytes; at most %d are possible",
		    strlen(r->conf->state), STATE_PATH);
}

/* libclamav unpacks into files: without any it finds nothing. */
static void
check_temp(struct conf_reader *r, const struct node *map)
{
	const struct node *limits = conf_node_get(map, "limits");
	unsigned i;

	if (r->conf->limits.temp >= TEMP_LEAST)
		return;
	for (i = 0; i < r->conf->services.n; i++)
		if (r->conf->services.v[i].type == CONF_CLAMAV) {
			conf_problem(r, place(limits, "temp"),
			    "'temp' is "
			    "too small for the service '%s', which unpacks "
			    "what it scans into files; write 1M or more",
			    r->conf->services.v[i].name);
			return;
		}
}

/* What no rule asks for is not worked out for any flow. */
static void
note_conditions(struct conf *conf)
{
	const struct policy_match *m;
	unsigned i;

	for (i = 0; i < conf->policy.rules.n; i++)
		for (m = conf->policy.rules.v[i].when; m != NULL; m = m->not ) {
			conf->policy.ask_url |= m->url.n > 0;
			conf->policy.ask_type |= m->type.n > 0;
		}
}

static void
check_upstream(struct conf_reader *r, const struct node *map, void *section)
{
	conf_upstream_check(r, map, section);
}

static void
check_upstream_tls(struct conf_reader *r, const struct node *map, void *section)
{
	__typeof__(((struct conf_upstream *)0)->tls) *t = section;

	check_pair(r, map);
	check_host(r, map, "name", &t->name);
}

static void
check_out(struct conf_reader *r, const struct node *map, void *section)
{
	conf_out_check(r, map, section);
}

static void
check_list(struct conf_reader *r, const struct node *map, void *section)
{
	conf_list_check(r, map, section);
}

static void
check_root(struct conf_reader *r, const struct node *map, void *section)
{
	(void)section;
	check_state(r, map);
	check_temp(r, map);
	name_rules(r);
	check_listeners(r);
	check_rule_names(r);
	check_shadows(r);
	check_dests(r);
	conf_scan_finish(r);
	conf_claims_finish(r);
	conf_lists_finish(r);
	conf_upstreams_finish(r);
	note_conditions(r->conf);
	if (r->problems->errors == 0) /* else it may be used once corrected */
		warn_unused(r);
}

/* ---- which check belongs to which section ---- */

typedef void check_fn(struct conf_reader *, const struct node *map, void *);

static check_fn *const checks[SECTION_COUNT] = {
	[SECTION_ROOT] = check_root,
	[SECTION_LISTEN] = check_listen,
	[SECTION_CA] = check_ca,
	[SECTION_TLS_CLIENT] = check_tls_client,
	[SECTION_TLS_ORIGIN] = check_origin,
	[SECTION_SERVICE] = check_service,
	[SECTION_SERVICE_TLS] = check_service_tls,
	[SECTION_RULE] = check_rule,
	[SECTION_LISTS] = check_list,
	[SECTION_UPSTREAM] = check_upstream,
	[SECTION_UPSTREAM_TLS] = check_upstream_tls,
	[SECTION_OUT] = check_out,
	[SECTION_DOWNLOAD] = check_download,
	[SECTION_PAGES] = check_pages,
	[SECTION_LOG_ACCESS] = check_log_to,
	[SECTION_LOG_ISSUED] = check_log_to,
	[SECTION_ADMIN] = check_admin,
	[SECTION_LIMITS] = check_limits,
};

void
conf_check_section(struct conf_reader *r, enum conf_section s,
    const struct node *map, void *section)
{
	if (checks[s] != NULL)
		checks[s](r, map, section);
}
