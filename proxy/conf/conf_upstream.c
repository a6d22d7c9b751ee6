/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parent proxies and ways out: their addresses, which rules send flows to them,
 * and what of that cannot be meant.
 * Room: proxy.  Thread: the one that loads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "http/uri.h"
#include "proxy/conf/conf_priv.h"

static const struct {
	struct str begin;
	enum conf_proxy_type type;
} schemes[] = {
	{ STR("http://"), CONF_PROXY_HTTP },
	{ STR("https://"), CONF_PROXY_HTTPS },
	{ STR("socks5://"), CONF_PROXY_SOCKS5 },
};

/* "http://host:port", the port given; NULL, or what is wrong. */
static const char *
proxy_fault(struct arena *a, struct str text, struct conf_proxy *out)
{
	struct http_uri u = { 0 };
	struct str rest = STR_NONE;
	unsigned i;

	for (i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (str_starts(text, schemes[i].begin)) {
			rest = (struct str){ text.p + schemes[i].begin.n,
				text.n - schemes[i].begin.n };
			out->type = schemes[i].type;
		}
	if (rest.p == NULL)
		return ("no address of a proxy; write 'http://host:port', "
			"'https://host:port' or 'socks5://host:port'");
	if (str_index(rest, '@') < rest.n)
		return ("written with a user; write 'user: file:...' beside "
			"the url");
	if (rest.n > 0 && rest.p[rest.n - 1] == '/')
		rest.n--;
	if (!http_authority_parse(a, rest, 0, &u))
		return ("no address of a proxy; write host and port, IPv6 in "
			"brackets, and nothing behind");
	out->text = arena_str(a, text).p;
	out->host = u.host.p;
	out->port = u.port;
	return (NULL);
}

void
conf_read_proxies(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_proxies *out = member;
	const struct node **item;
	const char *fault;
	unsigned i, count = conf_node_items(r, n, &item);

	if (count == 0)
		conf_problem(r, n, "'%s' is empty; write at least one address",
		    o->key);
	if (count > CONF_PROXIES_MAX) {
		conf_problem(r, n,
		    "'%s' has %u addresses; at most %u are possible", o->key,
		    count, CONF_PROXIES_MAX);
		count = CONF_PROXIES_MAX;
	}
	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "the address of a proxy"))
			continue;
		fault = proxy_fault(r->keep, item[i]->text, &out->v[out->n]);
		if (fault == NULL)
			out->n++;
		else
			conf_problem(r, item[i], "%s is %s",
			    conf_node_name(r, item[i]), fault);
	}
}

void
conf_read_route(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_upstreams *u = &r->conf->upstreams;
	struct conf_outs *out = &r->conf->out;
	struct conf_guess guess = { .text = n->text.p };
	unsigned *route = member, i;

	(void)o;
	if (!conf_scalar(r, n, "direct or a name under 'upstreams' or 'out'"))
		return;
	*route = POLICY_DIRECT;
	if (strcmp(n->text.p, "direct") == 0)
		return;
	for (i = 0; i < u->n; i++) {
		if (strcmp(u->v[i].name, n->text.p) == 0) {
			u->v[i].used = true;
			*route = 1 + i;
			return;
		}
		conf_guess_offer(&guess, u->v[i].name);
	}
	for (i = 0; i < out->n; i++) {
		if (strcmp(out->v[i].name, n->text.p) == 0) {
			out->v[i].used = true;
			*route = 1 + u->n + i;
			return;
		}
		conf_guess_offer(&guess, out->v[i].name);
	}
	if (guess.best != NULL)
		conf_problem(r, n,
		    "no upstream or way out has the name %s; did you mean "
		    "'%s'?",
		    conf_node_name(r, n), guess.best);
	else
		conf_problem(r, n,
		    "no upstream or way out has the name %s; write direct, or "
		    "give it one under 'upstreams' or 'out'",
		    conf_node_name(r, n));
}

/* ---- ways out ---- */

void
conf_read_blocks(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);
	struct nets_addr a;
	struct nets *out = member;
	char why[NETS_WHY];
	union address one;
	struct str text;

	if (count == 0)
		conf_problem(r, n,
		    "'%s' is empty; leave it out, or write at "
		    "least one address",
		    o->key);
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "an address or a block"))
			continue;
		text = item[i]->text;
		text.n = str_index(text, '/');
		if (!address_parse(text, &one) || text.p[0] == '[' ||
		    !nets_add(out, r->keep, item[i]->text.p, why))
			conf_problem(r, item[i],
			    "%s is no address of this machine; write "
			    "'198.51.100.7' or a block such as "
			    "'198.51.100.128/28' or '2001:db8:9::/64'",
			    conf_node_name(r, item[i]));
		else if (!nets_addr_of(&one.sa, &a) || nets_special(&a) != NULL)
			conf_problem(r, item[i], "%s can be no host's address",
			    conf_node_name(r, item[i]));
	}
}

void
conf_read_mark(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	uint32_t *mark = member;
	unsigned long long v;
	char *end;

	if (!conf_scalar(r, n, "a number"))
		return;
	v = strtoull(n->text.p, &end,
	    strncmp(n->text.p, "0x", 2) == 0 ? 16 : 10);
	if (n->text.p[0] < '0' || n->text.p[0] > '9' || *end != '\0' || v < 1 ||
	    v > UINT32_MAX)
		conf_problem(r, n,
		    "%s is no '%s'; write a number from 1 to 4294967295, or "
		    "0x1 to 0xffffffff",
		    conf_node_name(r, n), o->key);
	else
		*mark = (uint32_t)v;
}

/* RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622 */
static const struct {
	const char *name;
	unsigned value;
} code_points[] = {
	{ "cs0", 0 },
	{ "cs1", 8 },
	{ "cs2", 16 },
	{ "cs3", 24 },
	{ "cs4", 32 },
	{ "cs5", 40 },
	{ "cs6", 48 },
	{ "cs7", 56 },
	{ "af11", 10 },
	{ "af12", 12 },
	{ "af13", 14 },
	{ "af21", 18 },
	{ "af22", 20 },
	{ "af23", 22 },
	{ "af31", 26 },
	{ "af32", 28 },
	{ "af33", 30 },
	{ "af41", 34 },
	{ "af42", 36 },
	{ "af43", 38 },
	{ "ef", 46 },
	{ "va", 44 },
	{ "le", 1 },
};

void
conf_read_dscp(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	unsigned *dscp = member, i;
	uint64_t v;

	if (!conf_scalar(r, n, "a code point"))
		return;
	for (i = 0; i < sizeof(code_points) / sizeof(code_points[0]); i++)
		if (strcmp(code_points[i].name, n->text.p) == 0) {
			*dscp = code_points[i].value;
			return;
		}
	if (str_to_u64(n->text, 63, &v))
		*dscp = (unsigned)v;
	else
		conf_problem(r, n,
		    "%s is no '%s'; write a name such as af21, cs1, ef or le, "
		    "or a number from 0 to 63",
		    conf_node_name(r, n), o->key);
}

/* ---- what settings mean together ---- */

static bool
given(const struct node *map, const char *key)
{
	const struct node *n = conf_node_get(map, key);

	return (n != NULL && !conf_node_is_void(n));
}

static const struct node *
place(const struct node *map, const char *key)
{
	const struct node *n = conf_node_get(map, key);

	return (n != NULL ? n->key : map->key != NULL ? map->key : map);
}

static bool
any_tls(const struct conf_upstream *u)
{
	unsigned i;

	for (i = 0; i < u->url.n; i++)
		if (u->url.v[i].type == CONF_PROXY_HTTPS)
			return (true);
	return (false);
}

void
conf_upstream_check(struct conf_reader *r, const struct node *map,
    const struct conf_upstream *u)
{
	const struct node *tls;

	if (map == NULL)
		return;
	if (strcmp(u->name, "direct") == 0 || u->name[0] == '\0')
		conf_problem(r, map->key,
		    "%s is no name for an upstream; take another",
		    conf_node_name(r, map->key));
	if (u->user != NULL && strncmp(u->user, "pkcs11:", 7) == 0)
		conf_problem(r, place(map, "user"),
		    "a user and a password are in no token; write a file with "
		    "'name:password'");
	if (!given(map, "tls"))
		return;
	tls = conf_node_get(map, "tls");
	if (u->url.n > 0 && !any_tls(u))
		conf_problem(r, tls->key,
		    "'tls' has no effect on http: and socks5: addresses; write "
		    "https: or leave it out");
	if (u->tls.name != NULL && u->url.n > 1)
		conf_problem(r, place(tls, "name"),
		    "one 'name' for several addresses; leave it out, so that "
		    "each is verified by its own host");
}

void
conf_out_check(struct conf_reader *r, const struct node *map,
    const struct conf_out *out)
{
	const struct conf_upstreams *u = &r->conf->upstreams;
	const char *device = out->from.device;
	unsigned i;

	if (map == NULL)
		return;
	if (strcmp(out->name, "direct") == 0 || out->name[0] == '\0')
		conf_problem(r, map->key,
		    "%s is no name for a way out; take another",
		    conf_node_name(r, map->key));
	for (i = 0; i < u->n; i++)
		if (strcmp(u->v[i].name, out->name) == 0)
			conf_problem(r, map->key,
			    "'%s' is the name of an upstream already; 'route' "
			    "could mean either",
			    out->name);
	if (device != NULL && strpbrk(device, "/ \t\n") != NULL)
		conf_problem(r, place(map, "device"),
		    "'device' is no name of an interface; write one such as "
		    "wan0");
	if (!given(map, "addresses") && !given(map, "mark") &&
	    !given(map, "dscp") && !given(map, "device"))
		conf_problem(r, map->key,
		    "'%s' says nothing; add addresses, mark, dscp or device",
		    out->name);
}

/* Conditions that are not known when a connection is made. */
void
conf_route_check(struct conf_reader *r, const struct node *when)
{
	static const char *const late[] = { "url", "method", "type", "size" };
	const struct node *n, *not ;
	unsigned i;

	if (when == NULL || when->kind != NODE_MAP)
		return;
	for (i = 0; i < sizeof(late) / sizeof(late[0]); i++)
		if ((n = conf_node_get(when, late[i])) != NULL)
			conf_problem(r, n->key,
			    "'route' cannot be decided by '%s', which is known "
			    "only when the connection is there; decide by "
			    "host, port, client or listener",
			    late[i]);
	if ((not = conf_node_get(when, "not")) != NULL)
		conf_route_check(r, not );
}

static bool
is_loopback(const union address *a)
{
	return (a->sa.sa_family == AF_INET
		? ntohl(a->v4.sin_addr.s_addr) >> 24 == 127
		: IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr));
}

/* Does the address with that port, or localhost (NULL), lead to a listener? */
static bool
leads_to(const struct conf_listen *l, const union address *a, uint16_t port)
{
	const union address *here;
	unsigned i;

	for (i = 0; i < l->naddr; i++) {
		here = &l->addr[i];
		if (address_port(&here->sa) != port)
			continue;
		if (a == NULL ? is_loopback(here)
			      : address_eq(&here->sa, &a->sa))
			return (true);
		if ((a == NULL || is_loopback(a)) &&
		    !address_is_host(&here->sa)) /* a wildcard */
			return (true);
	}
	return (false);
}

/* As far as that is known before anything is looked up. */
static bool
is_own(const struct conf *conf, const struct conf_proxy *p)
{
	bool local = strcmp(p->host, "localhost") == 0;
	union address a;
	unsigned i;

	if (!local && !address_parse(str_of(p->host), &a))
		return (false);
	for (i = 0; i < conf->listen.n; i++)
		if (leads_to(&conf->listen.v[i], local ? NULL : &a, p->port))
			return (true);
	return (false);
}

static bool
asks_dest(const struct policy_match *m)
{
	for (; m != NULL; m = m->not )
		if (m->dest.n > 0 || m->dest.self)
			return (true);
	return (false);
}

/* What rules about addresses, and 'destinations', do not see. */
static void
warn_unjudged(struct conf_reader *r, const struct conf_upstream *u,
    const struct node *at)
{
	const struct policy_rules *rules = &r->conf->policy.rules;
	unsigned i;

	if (u->resolve == CONF_RESOLVE_HERE)
		return;
	for (i = 0; i < rules->n; i++)
		if (asks_dest(rules->v[i].when)) {
			conf_warn(r, at,
			    "the upstream '%s' looks names up itself, so that "
			    "'dest' of the rule '%s' and 'destinations' know "
			    "addresses only where one was asked for; 'resolve: "
			    "here' sends it addresses",
			    u->name, rules->v[i].name);
			return;
		}
	conf_warn(r, at,
	    "the upstream '%s' looks names up itself, so that 'destinations' "
	    "judges addresses only where one was asked for; 'resolve: here' "
	    "sends it addresses",
	    u->name);
}

void
conf_upstreams_finish(struct conf_reader *r)
{
	const struct conf_upstreams *u = &r->conf->upstreams;
	const struct conf_outs *out = &r->conf->out;
	unsigned i, k;

	for (i = 0; i < u->n; i++)
		for (k = 0; k < u->v[i].url.n; k++)
			if (is_own(r->conf, &u->v[i].url.v[k]))
				conf_problem(r, place(r->upstream_at[i], "url"),
				    "'%s' is where assay listens itself",
				    u->v[i].url.v[k].text);
	if (r->problems->errors > 0)
		return;
	for (i = 0; i < out->n; i++)
		if (!out->v[i].used)
			conf_warn(r, r->out_at[i]->key,
			    "no rule routes to the way out '%s'",
			    out->v[i].name);
	for (i = 0; i < u->n; i++)
		if (!u->v[i].used)
			conf_warn(r, r->upstream_at[i]->key,
			    "no rule routes to the upstream '%s'",
			    u->v[i].name);
		else
			warn_unjudged(r, &u->v[i], r->upstream_at[i]->key);
}
