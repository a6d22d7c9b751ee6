/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Readers of conditions: what stands under "if".
 * Room: proxy.  Thread: the one that loads.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "http/chars.h"
#include "proxy/conf/conf_priv.h"

/* The items of a condition, of which there has to be one. */
static unsigned
items_of(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, const struct node ***item)
{
	unsigned count = conf_node_items(r, n, item);

	if (count == 0)
		conf_problem(r, n,
		    "'%s' is empty and would never match; "
		    "leave it out to match always",
		    o->key);
	return (count);
}

void
conf_read_hosts(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	char why[POLICY_WHY];
	const struct node **item;
	unsigned i, count = items_of(r, o, n, &item);

	for (i = 0; i < count; i++)
		if (conf_scalar(r, item[i], "a host name") &&
		    !policy_hosts_add(member, r->keep, item[i]->text.p, why))
			conf_problem(r, item[i], "%s is %s",
			    conf_node_name(r, item[i]), why);
}

void
conf_read_times(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	char why[POLICY_WHY];
	const struct node **item;
	unsigned i, count = items_of(r, o, n, &item);

	for (i = 0; i < count; i++)
		if (conf_scalar(r, item[i], "a time of the week") &&
		    !policy_times_add(member, r->keep, item[i]->text.p, why))
			conf_problem(r, item[i], "%s is %s",
			    conf_node_name(r, item[i]), why);
}

static bool
is_method(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (!((s.p[i] >= 'A' && s.p[i] <= 'Z') || s.p[i] == '-' ||
			(s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_'))
			return (false);
	return (s.n > 0 && s.n <= 32);
}

void
conf_read_methods(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_strings *out = member;
	const struct node **item;
	unsigned i, count = items_of(r, o, n, &item);

	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "a method"))
			continue;
		if (!is_method(item[i]->text))
			conf_problem(r, item[i],
			    "%s is no method; write it "
			    "in capitals, such as POST",
			    conf_node_name(r, item[i]));
		else
			out->v[out->n++] = arena_str(r->keep, item[i]->text).p;
	}
}

/* RFC 9110 7.8: protocol-name ["/" protocol-version]. */
static bool
is_protocol(struct str s)
{
	size_t slash = str_index(s, '/');
	struct str name = { s.p, slash };
	struct str version = { s.p + slash + 1, s.n - slash - 1 };

	return (
	    http_is_token(name) && (slash == s.n || http_is_token(version)));
}

/* Protocols whose octets are requests again, or have a decision of their own. */
static const char *
refused_protocol(struct str s)
{
	s.n = str_index(s, '/');
	if (str_ieq(s, STR("websocket")))
		return ("has a decision of its own; write 'websocket: tunnel'");
	if (str_ieq(s, STR("h2c")) || str_ieq(s, STR("http")) ||
	    str_ieq(s, STR("tls")))
		return ("would hide requests from the rules; it is never "
			"switched to");
	return (NULL);
}

void
conf_read_protocols(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_strings *out = member;
	const struct node **item;
	const char *why;
	unsigned i, count = conf_node_items(r, n, &item);

	(void)o;
	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "a protocol"))
			continue;
		why = refused_protocol(item[i]->text);
		if (why != NULL)
			conf_problem(r, item[i], "%s %s",
			    conf_node_name(r, item[i]), why);
		else if (!is_protocol(item[i]->text))
			conf_problem(r, item[i],
			    "%s is no protocol; write "
			    "it as in the field Upgrade, such as "
			    "example/1.0",
			    conf_node_name(r, item[i]));
		else
			out->v[out->n++] = arena_str(r->keep, item[i]->text).p;
	}
}

/* "text/html", "video/ *" or "* / *"; the star is cut off. */
static bool
parse_type(struct conf_reader *r, struct str s, struct str *out)
{
	struct str copy = arena_str(r->keep, s);
	const char *slash = memchr(copy.p, '/', copy.n);
	size_t i, main_n;

	for (i = 0; i < copy.n; i++) {
		if (copy.p[i] <= ' ' || strchr(";,\"()<>@", copy.p[i]) != NULL)
			return (false);
		if (copy.p[i] == '*' && i + 1 != copy.n && i != 0)
			return (false);
	}
	if (slash == NULL)
		return (false);
	main_n = (size_t)(slash - copy.p);
	if (main_n == 0 || main_n + 1 == copy.n ||
	    memchr(slash + 1, '/', copy.n - main_n - 1) != NULL)
		return (false);
	if (strcmp(copy.p, "*/*") == 0)
		copy.n = 0;
	else if (strcmp(slash, "/*") == 0)
		copy.n = main_n + 1;
	else if (memchr(copy.p, '*', copy.n) != NULL)
		return (false);
	*out = copy;
	return (true);
}

void
conf_read_types(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_types *out = member;
	const struct node **item;
	unsigned i, count = items_of(r, o, n, &item);

	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "a media type"))
			continue;
		if (parse_type(r, item[i]->text, &out->v[out->n]))
			out->n++;
		else
			conf_problem(r, item[i],
			    "%s is no media type; write "
			    "'text/html' or 'video/*'",
			    conf_node_name(r, item[i]));
	}
}

/* ">10M", ">=10M", "<1K", "<=1K", "1K-10M" */
static bool
parse_sizes(const char *text, struct policy_span *out)
{
	bool above = text[0] == '>', below = text[0] == '<';
	bool equal = (above || below) && text[1] == '=';
	const char *p = text + (above || below) + equal, *dash;
	char low[32];
	uint64_t v;

	while ((above || below) && *p == ' ')
		p++;
	dash = strchr(p, '-');
	*out = (struct policy_span){ 0, POLICY_SIZE_UNKNOWN - 1 };
	if (above || below) {
		if (!conf_value_size(p, &v) || (below && !equal && v == 0))
			return (false);
		if (above)
			out->lo = equal ? v : v + 1;
		else
			out->hi = equal ? v : v - 1;
		return (true);
	}
	if (dash == NULL || (size_t)(dash - p) >= sizeof(low))
		return (false);
	memcpy(low, p, (size_t)(dash - p));
	low[dash - p] = '\0';
	return (conf_value_size(low, &out->lo) &&
	    conf_value_size(dash + 1, &out->hi) && out->lo <= out->hi);
}

void
conf_read_sizes(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_spans *out = member;
	const struct node **item;
	unsigned i, count = items_of(r, o, n, &item);

	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "a range of sizes"))
			continue;
		if (parse_sizes(item[i]->text.p, &out->v[out->n]))
			out->n++;
		else
			conf_problem(r, item[i],
			    "%s is no range of sizes; "
			    "write '>10M', '<=64K' or '1K-10M'",
			    conf_node_name(r, item[i]));
	}
}

/* Where in the file a fault inside a pattern is: exact on one line. */
static struct conf_at
at_inside(const struct node *n, unsigned offset)
{
	return ((struct conf_at){ n->line, n->col + offset + !n->plain });
}

void
conf_read_urls(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_urls *out = member;
	struct policy_pattern *pattern;
	char why[POLICY_WHY];
	const struct node **item;
	unsigned at, i, count = items_of(r, o, n, &item);

	out->v = arena_zalloc(r->keep,
	    (count + 1) * sizeof(struct policy_pattern *));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "a regular expression"))
			continue;
		pattern = policy_pattern_new(item[i]->text.p, why, &at);
		if (pattern != NULL)
			out->v[out->n++] = pattern;
		else
			conf_problem_at(r, at_inside(item[i], at),
			    "%s is no "
			    "regular expression: %s",
			    conf_node_name(r, item[i]), why);
	}
}

static bool
is_listener(const struct conf *conf, const char *name, struct conf_guess *g)
{
	unsigned i;

	for (i = 0; i < conf->listen.n; i++) {
		if (strcmp(conf->listen.v[i].name, name) == 0)
			return (true);
		conf_guess_offer(g, conf->listen.v[i].name);
	}
	return (false);
}

void
conf_read_listeners(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_strings *out = member;
	struct conf_guess guess;
	const struct node **item;
	unsigned i, count = items_of(r, o, n, &item);

	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "the name of a listener"))
			continue;
		guess = (struct conf_guess){ .text = item[i]->text.p };
		out->v[out->n++] = arena_str(r->keep, item[i]->text).p;
		if (is_listener(r->conf, item[i]->text.p, &guess))
			continue;
		if (guess.best != NULL)
			conf_problem(r, item[i],
			    "no listener has the name "
			    "%s; did you mean '%s'?",
			    conf_node_name(r, item[i]), guess.best);
		else
			conf_problem(r, item[i],
			    "no listener has the name "
			    "%s; give it one under 'listen'",
			    conf_node_name(r, item[i]));
	}
}

void
conf_read_match(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, const struct policy_match **out)
{
	struct policy_match *m;

	if (n->kind != NODE_MAP) {
		conf_problem(r, n, "'%s' is a map of conditions, not %s",
		    o->key, conf_node_name(r, n));
		return;
	}
	if (n->n == 0 && o->section == SECTION_RULE)
		return; /* no condition: always */
	m = arena_zalloc(r->keep, sizeof(*m));
	*out = m; /* freed with the conf from now on */
	conf_read_section(r, o->inside, n, m);
	if (n->n == 0)
		conf_problem(r, n,
		    "'%s' is empty, so that the rule would "
		    "never match; write a condition",
		    o->key);
}

void
conf_match_fini(const struct policy_match *m)
{
	unsigned i;

	for (; m != NULL; m = m->not ) {
		for (i = 0; i < m->url.n; i++)
			policy_pattern_free(&m->url.v[i]);
		for (i = 0; i < m->agent.n; i++)
			policy_pattern_free(&m->agent.v[i]);
	}
}

/* What senders choose, where a condition asks for it. */
struct claims {
	const struct node *agent, *type;
	bool alone; /* the condition asks for nothing else */
};

/* What "not" excepts narrows nothing that the rest leaves open. */
static void
find_claims(const struct node *when, bool within_not, struct claims *c)
{
	static const struct str others[] = { STR("method"), STR("time") };
	const struct node *it;

	NODE_EACH(it, when)
	if (str_eq(it->key->text, STR("not")) && it->kind == NODE_MAP)
		find_claims(it, true, c);
	else if (str_eq(it->key->text, STR("agent")))
		c->agent = it;
	else if (str_eq(it->key->text, STR("type")))
		c->type = it;
	else if (!within_not && !str_ione_of(it->key->text, others, 2))
		c->alone = false;
}

/*
 * User-Agent says what its sender likes, and so does the Content-Type of an
 * upload: nothing is opened by them alone.
 */
static void
check_claims(struct conf_reader *r, const struct node *when,
    const struct policy_rule *rule)
{
	static const char advice
	    [] = ", which its sender chooses; add host, in, dest or client";
	const bool scans = (rule->decides & 1u << POLICY_BY_SCAN) != 0;
	const struct policy *p = &r->conf->policy;
	bool opens_up = scans && rule->scan_req.n == 0 && p->used_req.n > 0;
	bool opens_down = scans && rule->scan_resp.n == 0 && p->used_resp.n > 0;
	struct claims c = { .alone = true };

	if (when == NULL || when->kind != NODE_MAP)
		return;
	find_claims(when, false, &c);
	if (!c.alone)
		return;
	if (c.agent != NULL && rule->tls == POLICY_SPLICE)
		conf_problem(r, c.agent->key,
		    "'tls: splice' cannot rest on 'agent' alone%s", advice);
	if (c.agent != NULL && scans && rule->scan_req.n == 0 &&
	    rule->scan_resp.n == 0)
		conf_problem(r, c.agent->key,
		    "'scan: none' cannot rest on 'agent' alone%s", advice);
	else if (c.agent != NULL && (opens_up || opens_down))
		conf_problem(r, c.agent->key,
		    "that %s are not scanned cannot rest on 'agent' alone%s",
		    opens_up ? "uploads" : "downloads", advice);
	else if (c.type != NULL && opens_up) /* a download's is the origin's */
		conf_problem(r, c.type->key,
		    "that uploads are not scanned cannot rest on 'type' "
		    "alone%s, or name a chain for uploads in 'scan'",
		    advice);
}

void
conf_claims_finish(struct conf_reader *r)
{
	const struct policy_rules *rules = &r->conf->policy.rules;
	unsigned i;

	for (i = 0; i < rules->n; i++)
		check_claims(r, conf_node_get(r->rule_at[i], "if"),
		    &rules->v[i]);
}
