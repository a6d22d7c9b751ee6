/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Readers of chains and of the scans of rules.  What a rule says is laid out
 * here once, by the modes of the services, so that a flow only points to it.
 * Room: proxy.  Thread: the one that loads.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "proxy/conf/conf_priv.h"

bool
conf_service_scans(const struct conf_service *s, bool response)
{
	return (s->mode == CONF_BOTH ||
	    s->mode == (response ? CONF_RESP : CONF_REQ));
}

static int
find_service(const struct conf *conf, const char *name, struct conf_guess *g)
{
	unsigned i;

	for (i = 0; i < conf->services.n; i++) {
		if (strcmp(conf->services.v[i].name, name) == 0)
			return ((int)i);
		conf_guess_offer(g, conf->services.v[i].name);
	}
	return (-1);
}

static struct conf_chain *
find_chain(const struct conf *conf, const char *name, struct conf_guess *g)
{
	unsigned i;

	for (i = 0; i < conf->scan.n; i++) {
		if (strcmp(conf->scan.v[i].name, name) == 0)
			return (&conf->scan.v[i]);
		conf_guess_offer(g, conf->scan.v[i].name);
	}
	return (NULL);
}

static void
unknown_name(struct conf_reader *r, const struct node *n, const char *what,
    const struct conf_guess *g)
{
	if (g->best != NULL)
		conf_problem(r, n,
		    "no %s has the name %s; did you mean "
		    "'%s'?",
		    what, conf_node_name(r, n), g->best);
	else
		conf_problem(r, n, "no %s has the name %s", what,
		    conf_node_name(r, n));
}

/* ---- what the reasons of unscanned get ---- */

static bool
fail_read(struct conf_reader *r, const struct node *n, enum scan_policy *out)
{
	int word;

	if (!conf_scalar(r, n, "block or bypass"))
		return (false);
	if ((word = conf_value_word("block bypass", n->text.p)) < 0) {
		conf_problem(r, n, "%s is none of block, bypass",
		    conf_node_name(r, n));
		return (false);
	}
	*out = (enum scan_policy)word;
	return (true);
}

static void
gaps_set_all(struct conf_gaps *gaps, enum scan_policy fail)
{
	unsigned g;

	for (g = 0; g < GAP_COUNT; g++)
		gaps->of[g] = fail;
}

/* One reason and what it gets. */
static void
gap_read(struct conf_reader *r, const struct node *n, struct conf_gaps *gaps)
{
	struct conf_guess guess = { .text = n->key->text.p };
	enum scan_policy fail;
	unsigned g;

	if (!fail_read(r, n, &fail) || strcmp(guess.text, "default") == 0)
		return; /* another "default" was read first */
	for (g = GAP_NONE + 1; g < GAP_COUNT; g++) {
		if (strcmp(scan_gap_name(g), n->key->text.p) == 0) {
			gaps->of[g] = fail;
			return;
		}
		conf_guess_offer(&guess, scan_gap_name(g));
	}
	conf_guess_offer(&guess, "default");
	if (guess.best != NULL)
		conf_problem(r, n->key,
		    "unknown reason '%s'; did you mean "
		    "'%s'?",
		    n->key->text.p, guess.best);
	else
		conf_problem(r, n->key,
		    "unknown reason '%s'; reasons are "
		    "encrypted, coding, limit, part, stream, time, damaged, "
		    "error and default",
		    n->key->text.p);
}

void
conf_read_gaps(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_gaps *gaps = member;
	const struct node *it, *rest;
	enum scan_policy fail = SCAN_POLICY_BLOCK;

	if (n->kind != NODE_MAP) {
		if (fail_read(r, n, &fail))
			gaps_set_all(gaps, fail);
		return;
	}
	conf_check_duplicates(r, n);
	rest = conf_node_get(n, "default");
	if (rest != NULL && !conf_node_is_void(rest)) {
		(void)fail_read(r, rest, &fail);
		gaps_set_all(gaps, fail);
	} else { /* as without the setting */
		gaps_set_all(gaps, SCAN_POLICY_BLOCK);
		gaps->of[GAP_STREAM] = SCAN_POLICY_BYPASS;
	}
	NODE_EACH(it, n)
	if (it != rest && !conf_node_is_void(it))
		gap_read(r, it, gaps);
	(void)o;
}

/* ---- chains ---- */

/* One name in a step. */
static void
chain_add(struct conf_reader *r, const struct node *n, struct policy_scan *scan,
    struct policy_step *step)
{
	struct conf_guess guess = { .text = n->text.p };
	int service;

	if (!conf_scalar(r, n, "the name of a service"))
		return;
	if ((service = find_service(r->conf, n->text.p, &guess)) < 0) {
		unknown_name(r, n, "service", &guess);
		return;
	}
	if (policy_scan_has(scan, (unsigned)service)) {
		conf_problem(r, n,
		    "%s is in this chain already; name a "
		    "service once",
		    conf_node_name(r, n));
		return;
	}
	step->service[step->n++] = (unsigned)service;
}

static void
chain_read(struct conf_reader *r, const struct node *n,
    struct policy_scan *scan)
{
	const struct node **item, **inner;
	unsigned i, j, steps = conf_node_items(r, n, &item), count;
	struct policy_step *step;

	if (steps == 0)
		conf_problem(r, n,
		    "the chain '%s' is empty; a rule that "
		    "scans nothing says 'scan: none'",
		    n->key->text.p);
	scan->v = arena_zalloc(r->keep, (steps + 1) * sizeof(*scan->v));
	for (i = 0; i < steps; i++) {
		count = conf_node_items(r, item[i], &inner);
		step = &scan->v[scan->n++]; /* seen by chain_add() */
		step->service = arena_zalloc(r->keep,
		    (count + 1) * sizeof(*step->service));
		for (j = 0; j < count; j++)
			chain_add(r, inner[j], scan, step);
		if (step->n == 0)
			scan->n--;
	}
}

void
conf_read_chains(struct conf_reader *r, const struct node *n,
    struct conf_chains *out)
{
	struct conf_guess guess = { .text = "" };
	const struct node *it;
	struct conf_chain *c;

	if (n->kind != NODE_MAP) {
		conf_problem(r, n,
		    "'scan' is a map from name to chain, not "
		    "%s",
		    conf_node_name(r, n));
		return;
	}
	out->v = arena_zalloc(r->keep, (n->n + 1) * sizeof(*out->v));
	r->chain_at = arena_zalloc(r->nodes,
	    (n->n + 1) * sizeof(struct node *));
	NODE_EACH(it, n)
	{
		if (find_service(r->conf, it->key->text.p, &guess) >= 0)
			conf_problem(r, it->key,
			    "'%s' is the name of a "
			    "service; give the chain another",
			    it->key->text.p);
		else if (strcmp(it->key->text.p, "none") == 0)
			conf_problem(r, it->key,
			    "'none' means no scan; give "
			    "the chain another name");
		r->chain_at[out->n] = it->key;
		c = &out->v[out->n++];
		c->name = arena_str(r->keep, it->key->text).p;
		chain_read(r, it, &c->steps);
	}
}

/* ---- scans of rules ---- */

/* Append the services of a step that fit and are not there yet. */
static void
scan_add(struct conf_reader *r, struct policy_scan *scan, unsigned room,
    const struct policy_step *from, bool response)
{
	struct policy_step step = { NULL, 0 };
	unsigned i;

	step.service = arena_alloc(r->keep, from->n * sizeof(*step.service));
	for (i = 0; i < from->n; i++)
		if (conf_service_scans(&r->conf->services.v[from->service[i]],
			response) &&
		    !policy_scan_has(scan, from->service[i]))
			step.service[step.n++] = from->service[i];
	if (step.n == 0)
		return;
	assert(scan->n < room);
	scan->v[scan->n++] = step;
}

static void
scan_add_all(struct conf_reader *r, struct policy_rule *rule, unsigned room,
    const struct policy_scan *from)
{
	unsigned i;

	for (i = 0; i < from->n; i++) {
		scan_add(r, &rule->scan_req, room, &from->v[i], false);
		scan_add(r, &rule->scan_resp, room, &from->v[i], true);
	}
}

/* One name under "scan:" of a rule. */
static void
scan_name(struct conf_reader *r, const struct node *n, struct policy_rule *rule,
    unsigned room)
{
	struct conf_guess guess = { .text = n->text.p };
	struct conf_chain *chain;
	struct policy_step alone;
	struct policy_scan single = { &alone, 1 };
	unsigned index;
	int service;

	if (!conf_scalar(r, n, "the name of a chain or service"))
		return;
	if ((chain = find_chain(r->conf, n->text.p, &guess)) != NULL) {
		chain->used = true;
		scan_add_all(r, rule, room, &chain->steps);
	} else if ((service = find_service(r->conf, n->text.p, &guess)) >= 0) {
		index = (unsigned)service;
		alone = (struct policy_step){ &index, 1 };
		scan_add_all(r, rule, room, &single);
	} else {
		unknown_name(r, n, "chain or service", &guess);
	}
}

static void
scan_reserve(struct conf_reader *r, struct policy_scan *scan, unsigned room)
{
	scan->v = arena_zalloc(r->keep, (room + 1) * sizeof(*scan->v));
	scan->n = 0;
}

void
conf_read_scan(struct conf_reader *r, const struct node *n,
    struct policy_rule *rule)
{
	unsigned i, count, room = r->conf->services.n;
	const struct node **item;

	scan_reserve(r, &rule->scan_req, room); /* each service once */
	scan_reserve(r, &rule->scan_resp, room);
	if (n->kind == NODE_SCALAR && strcmp(n->text.p, "none") == 0)
		return;
	count = conf_node_items(r, n, &item);
	if (count == 0)
		conf_problem(r, n,
		    "'scan' is empty; write none to scan "
		    "nothing");
	for (i = 0; i < count; i++)
		scan_name(r, item[i], rule, room);
}

/* ---- after everything ---- */

static void
mark_used(struct conf *conf, const struct policy_scan *scan)
{
	unsigned i, j;

	for (i = 0; i < scan->n; i++)
		for (j = 0; j < scan->v[i].n; j++)
			conf->services.v[scan->v[i].service[j]].used = true;
}

/* Does some rule decide about the scan of every flow? */
static bool
scan_is_decided(const struct conf *conf)
{
	unsigned i;

	for (i = 0; i < conf->policy.rules.n; i++)
		if (conf->policy.rules.v[i].when == NULL &&
		    (conf->policy.rules.v[i].decides & 1u << POLICY_BY_SCAN) !=
			0)
			return (true);
	return (false);
}

void
conf_scan_finish(struct conf_reader *r)
{
	struct conf *conf = r->conf;
	struct policy_rule all = { 0 }, used = { 0 };
	unsigned i, room = conf->services.n;
	struct policy_step step = { &i, 1 };
	struct policy_scan single = { &step, 1 };

	scan_reserve(r, &all.scan_req, room);
	scan_reserve(r, &all.scan_resp, room);
	for (i = 0; i < room; i++)
		scan_add_all(r, &all, room, &single);
	conf->policy.browser = conf->download.browser;
	conf->policy.other = conf->download.other;
	conf->policy.all_req = all.scan_req;
	conf->policy.all_resp = all.scan_resp;
	if (!scan_is_decided(conf)) {
		mark_used(conf, &conf->policy.all_req);
		mark_used(conf, &conf->policy.all_resp);
	}
	for (i = 0; i < conf->policy.rules.n; i++) {
		mark_used(conf, &conf->policy.rules.v[i].scan_req);
		mark_used(conf, &conf->policy.rules.v[i].scan_resp);
	}
	scan_reserve(r, &used.scan_req, room);
	scan_reserve(r, &used.scan_resp, room);
	for (i = 0; i < room; i++)
		if (conf->services.v[i].used)
			scan_add_all(r, &used, room, &single);
	conf->policy.used_req = used.scan_req;
	conf->policy.used_resp = used.scan_resp;
}
