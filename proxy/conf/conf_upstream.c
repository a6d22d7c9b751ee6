/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parent proxies: their addresses, which rules send flows to them, and what of
 * that cannot be meant.
 * Room: proxy.  Thread: the one that loads.
 */
#include <stdio.h>
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
	struct conf_guess guess = { .text = n->text.p };
	unsigned *route = member, i;

	(void)o;
	if (!conf_scalar(r, n, "direct or the name of an upstream"))
		return;
	*route = POLICY_DIRECT;
	if (strcmp(n->text.p, "direct") == 0)
		return;
	for (i = 0; i < u->n; i++) {
		if (strcmp(u->v[i].name, n->text.p) == 0) {
			u->v[i].used = true;
			*route = CONF_ROUTE_UPSTREAM(i);
			return;
		}
		conf_guess_offer(&guess, u->v[i].name);
	}
	if (guess.best != NULL)
		conf_problem(r, n,
		    "no upstream has the name %s; did you mean '%s'?",
		    conf_node_name(r, n), guess.best);
	else
		conf_problem(r, n,
		    "no upstream has the name %s; write direct, or give it "
		    "one under 'upstreams'",
		    conf_node_name(r, n));
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
	unsigned i, k;

	for (i = 0; i < u->n; i++)
		for (k = 0; k < u->v[i].url.n; k++)
			if (is_own(r->conf, &u->v[i].url.v[k]))
				conf_problem(r, place(r->upstream_at[i], "url"),
				    "'%s' is where assay listens itself",
				    u->v[i].url.v[k].text);
	if (r->problems->errors > 0)
		return;
	for (i = 0; i < u->n; i++)
		if (!u->v[i].used)
			conf_warn(r, r->upstream_at[i]->key,
			    "no rule routes to the upstream '%s'",
			    u->v[i].name);
		else
			warn_unjudged(r, &u->v[i], r->upstream_at[i]->key);
}
