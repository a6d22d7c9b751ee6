/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rules applied to a flow, see policy.h.
 * Room: proxy.  Any thread.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/policy/match.h"

/* The longest URL: limits.request_line and scheme and host (option.def). */
#define URL_BYTES (64 * 1024 + 512)

#define BIT(decision) (1u << (decision))

static const unsigned stage_decides[] = {
	[POLICY_TLS] = BIT(POLICY_BY_TLS) | BIT(POLICY_BY_ACCESS) |
	    BIT(POLICY_BY_LOG) | BIT(POLICY_BY_ROUTE),
	[POLICY_REQUEST] = BIT(POLICY_BY_ACCESS) | BIT(POLICY_BY_SCAN) |
	    BIT(POLICY_BY_DOWNLOAD) | BIT(POLICY_BY_RANGE) |
	    BIT(POLICY_BY_STREAM) | BIT(POLICY_BY_WEBSOCKET) |
	    BIT(POLICY_BY_UPGRADE) | BIT(POLICY_BY_LOG) | BIT(POLICY_BY_ROUTE),
	[POLICY_RESPONSE] = BIT(POLICY_BY_ACCESS) | BIT(POLICY_BY_SCAN) |
	    BIT(POLICY_BY_DOWNLOAD) | BIT(POLICY_BY_STREAM) |
	    BIT(POLICY_BY_LOG),
};

/* One call of policy_decide(): what several rules need is made once. */
struct query {
	enum policy_stage stage;
	const struct policy_facts *facts;
	bool may_scan_resp;
	bool asks_dest;
	bool lacks_dest; /* ... of this rule, and it was not known */
	bool overrun;
	bool has_key;
	struct policy_host_key key;
	struct policy_in_query in;
};

static enum policy_answer
yes_if(bool is)
{
	return (is ? POLICY_YES : POLICY_NO);
}

static bool
has_string(const struct policy_strings *list, struct str s)
{
	unsigned i;

	for (i = 0; i < list->n; i++)
		if (str_eq(str_of(list->v[i]), s))
			return (true);
	return (false);
}

static bool
in_ranges(const struct policy_spans *list, uint64_t v)
{
	unsigned i;

	for (i = 0; i < list->n; i++)
		if (v >= list->v[i].lo && v <= list->v[i].hi)
			return (true);
	return (false);
}

static bool
asks_nets(const struct nets *s)
{
	return (s->n > 0 || s->self);
}

static enum policy_answer
ask_client(const struct policy_match *m, struct query *q)
{
	struct nets_addr a;

	if (q->facts->client == NULL)
		return (POLICY_UNKNOWN);
	return (yes_if(nets_addr_of(q->facts->client, &a) &&
	    nets_find(&m->client, &a, NETS_PLAIN) != NULL));
}

static enum policy_answer
ask_host(const struct policy_match *m, struct query *q)
{
	if (q->facts->host.n == 0)
		return (POLICY_UNKNOWN);
	if (!q->has_key) {
		policy_host_key(&q->key, q->facts->host, q->facts->host_is_ip);
		q->has_key = true;
	}
	return (yes_if(policy_hosts_match(&m->host, &q->key)));
}

static enum policy_answer
ask_dest(const struct policy_match *m, struct query *q)
{
	q->asks_dest = true;
	if (q->facts->dest == NULL) {
		q->lacks_dest = true;
		return (POLICY_UNKNOWN);
	}
	return (yes_if(nets_match(&m->dest, q->facts->dest)));
}

/* In a CONNECT the methods that will come inside are not known yet. */
static enum policy_answer
ask_method(const struct policy_match *m, struct query *q)
{
	bool is = has_string(&m->method, q->facts->method);

	if (q->stage == POLICY_TLS)
		return (is ? POLICY_YES : POLICY_UNKNOWN);
	return (yes_if(is));
}

static bool
type_matches(struct str want, struct str type)
{
	if (want.n == 0)
		return (true); /* any */
	if (want.p[want.n - 1] == '/')
		return (type.n > want.n &&
		    str_ieq(want, (struct str){ type.p, want.n }));
	return (str_ieq(want, type));
}

static enum policy_answer
ask_type(const struct policy_match *m, struct query *q)
{
	struct str type = q->facts->type;
	unsigned i;

	if (type.p == NULL)
		return (
		    q->stage == POLICY_RESPONSE ? POLICY_NO : POLICY_UNKNOWN);
	type.n = str_index(type, ';'); /* RFC 9110 8.3.1 */
	type = str_trim(type);
	for (i = 0; i < m->type.n; i++)
		if (type_matches(m->type.v[i], type))
			return (POLICY_YES);
	return (POLICY_NO);
}

static enum policy_answer
ask_size(const struct policy_match *m, struct query *q)
{
	if (q->facts->size == POLICY_SIZE_UNKNOWN)
		return (POLICY_UNKNOWN);
	return (yes_if(in_ranges(&m->size, q->facts->size)));
}

/* Some pattern matches; one that ran into its limits blocks the flow. */
static enum policy_answer
ask_patterns(const struct policy_urls *patterns, struct str text,
    enum policy_answer best, struct query *q)
{
	enum policy_answer a;
	unsigned i;

	for (i = 0; i < patterns->n && best != POLICY_YES; i++) {
		a = policy_pattern_match(patterns->v[i], text);
		if (a > best)
			best = a;
	}
	if (best == POLICY_UNKNOWN)
		q->overrun = true;
	return (best);
}

static enum policy_answer
ask_url(const struct policy_match *m, struct query *q)
{
	if (q->facts->url.p == NULL)
		return (POLICY_UNKNOWN);
	/* Of a longer one the spellings are not known. */
	return (ask_patterns(&m->url, q->facts->url,
	    q->facts->url.n > URL_BYTES ? POLICY_UNKNOWN : POLICY_NO, q));
}

static enum policy_answer
ask_agent(const struct policy_match *m, struct query *q)
{
	if (q->facts->agent.p == NULL)
		return (POLICY_UNKNOWN);
	return (ask_patterns(&m->agent, q->facts->agent, POLICY_NO, q));
}

static enum policy_answer
ask_time(const struct policy_match *m, const struct query *q)
{
	time_t at = q->facts->at != 0 ? q->facts->at : time(NULL);

	return (yes_if(in_ranges(&m->time, policy_minute(at))));
}

static enum policy_answer
ask_in(const struct policy_match *m, struct query *q)
{
	enum policy_answer a;

	q->in.lacks_dest = false;
	a = policy_in_ask(&m->in, &q->in);
	q->asks_dest |= q->in.asks_dest;
	q->lacks_dest |= q->in.lacks_dest;
	return (a);
}

/* Cheap conditions first; one no ends it. */
static enum policy_answer
ask_all(const struct policy_match *m, struct query *q)
{
	enum policy_answer a, all = POLICY_YES;

#define ASK(asked, answer)                  \
	if (asked) {                        \
		a = (answer);               \
		if (a == POLICY_NO)         \
			return (POLICY_NO); \
		if (a < all)                \
			all = a;            \
	}
	ASK(m->port.n > 0, yes_if(in_ranges(&m->port, q->facts->port)))
	ASK(m->host.n > 0, ask_host(m, q))
	ASK(m->method.n > 0, ask_method(m, q))
	ASK(m->listener.n > 0,
	    yes_if(has_string(&m->listener, q->facts->listener)))
	ASK(asks_nets(&m->client), ask_client(m, q))
	ASK(m->time.n > 0, ask_time(m, q))
	ASK(m->in.n > 0, ask_in(m, q))
	ASK(m->type.n > 0, ask_type(m, q))
	ASK(m->size.n > 0, ask_size(m, q))
	ASK(m->agent.n > 0, ask_agent(m, q))
	ASK(m->url.n > 0, ask_url(m, q))
	ASK(asks_nets(&m->dest), ask_dest(m, q))
	/* NO becomes YES, YES becomes NO */
	ASK(m->not != NULL, POLICY_YES - ask_all(m->not, q))
#undef ASK
	return (all);
}

/* Who made these decisions. */
static void
set_rules(struct plan *plan, unsigned decisions, const char *name)
{
	unsigned i;

	for (i = 0; decisions != 0; i++, decisions >>= 1)
		if ((decisions & 1) != 0)
			plan->rule[i] = name;
}

/* What is decided now. */
static unsigned
decisions_of(enum policy_stage stage, const struct policy_facts *facts)
{
	return (stage_decides[stage] &
	    ~(facts->connected ? BIT(POLICY_BY_ROUTE) : 0));
}

/* The part of a plan that a stage decides, as without rules. */
static void
set_defaults(const struct policy *policy, enum policy_stage stage,
    const struct policy_facts *facts, struct plan *plan)
{
	unsigned all = decisions_of(stage, facts);

	set_rules(plan, all, NULL);
	if ((all & BIT(POLICY_BY_ROUTE)) != 0)
		plan->route = POLICY_DIRECT;
	plan->access = POLICY_ALLOW;
	plan->log = POLICY_LOG_FULL;
	plan->asks_dest = plan->overrun = false;
	plan->dest_open = 0;
	if (stage == POLICY_TLS) {
		plan->tls = POLICY_INSPECT;
		return;
	}
	if (stage == POLICY_REQUEST) {
		plan->scan_req = &policy->all_req;
		plan->range = POLICY_RANGE_STRIP;
		plan->websocket = POLICY_WEBSOCKET_INSPECT;
		plan->upgrade = NULL;
	}
	plan->scan_resp = &policy->all_resp;
	plan->stream = POLICY_STREAM_DEFER;
	plan->download = facts->navigation ? policy->browser : policy->other;
}

static void
apply(const struct policy_rule *rule, unsigned decisions,
    enum policy_stage stage, struct plan *plan)
{
	set_rules(plan, decisions, rule->name);
	if ((decisions & BIT(POLICY_BY_TLS)) != 0)
		plan->tls = rule->tls;
	if ((decisions & BIT(POLICY_BY_ACCESS)) != 0)
		plan->access = rule->access;
	if ((decisions & BIT(POLICY_BY_DOWNLOAD)) != 0)
		plan->download = rule->download;
	if ((decisions & BIT(POLICY_BY_RANGE)) != 0)
		plan->range = rule->range;
	if ((decisions & BIT(POLICY_BY_STREAM)) != 0)
		plan->stream = rule->stream;
	if ((decisions & BIT(POLICY_BY_WEBSOCKET)) != 0)
		plan->websocket = rule->websocket;
	if ((decisions & BIT(POLICY_BY_UPGRADE)) != 0)
		plan->upgrade = &rule->upgrade;
	if ((decisions & BIT(POLICY_BY_LOG)) != 0)
		plan->log = rule->log;
	if ((decisions & BIT(POLICY_BY_ROUTE)) != 0)
		plan->route = rule->route;
	if ((decisions & BIT(POLICY_BY_SCAN)) != 0) {
		if (stage == POLICY_REQUEST)
			plan->scan_req = &rule->scan_req;
		plan->scan_resp = &rule->scan_resp;
	}
}

/* Block, because a pattern of this rule could not be answered. */
static void
block_overrun(const struct policy_rule *rule, struct plan *plan)
{
	plan->overrun = true;
	plan->access = POLICY_BLOCK;
	plan->rule[POLICY_BY_ACCESS] = rule->name;
}

/*
 * The walk over the rules.  Returns the block that was put off, because a
 * rule before it that allows is not known yet, or NULL.
 */
static const struct policy_rule *
walk(const struct policy *policy, struct query *q, struct plan *plan)
{
	unsigned open = decisions_of(q->stage, q->facts), may, i;
	const struct policy_rule *rule, *put_off = NULL;
	bool allow_pending = false;
	enum policy_answer a;

	for (i = 0; i < policy->rules.n && open != 0; i++) {
		rule = &policy->rules.v[i];
		if ((may = rule->decides & open) == 0)
			continue;
		q->lacks_dest = q->in.lacks_list = false;
		a = rule->when == NULL ? POLICY_YES : ask_all(rule->when, q);
		if (q->overrun) {
			block_overrun(rule, plan);
			return (NULL);
		}
		/* What a list that is not there allows will not be known later. */
		if (a == POLICY_UNKNOWN && !q->in.lacks_list &&
		    rule->access == POLICY_ALLOW &&
		    (may & BIT(POLICY_BY_ACCESS)) != 0)
			allow_pending = true;
		if (a == POLICY_UNKNOWN && rule->scan_resp.n > 0 &&
		    (may & BIT(POLICY_BY_SCAN)) != 0)
			q->may_scan_resp = true;
		if (a == POLICY_UNKNOWN && q->lacks_dest)
			plan->dest_open |= may;
		if (a != POLICY_YES)
			continue;
		open &= ~may;
		if ((may & BIT(POLICY_BY_ACCESS)) != 0 && allow_pending &&
		    rule->access == POLICY_BLOCK) {
			put_off = rule;
			may &= ~BIT(POLICY_BY_ACCESS);
		}
		apply(rule, may, q->stage, plan);
	}
	return (put_off);
}

void
policy_plan_init(const struct policy *policy, struct plan *plan)
{
	memset(plan, 0, sizeof(*plan));
	plan->scan_req = &policy->all_req;
	plan->scan_resp = &policy->all_resp;
	plan->download = policy->other;
}

/* By one spelling of the URL. */
static void
decide(const struct policy *policy, enum policy_stage stage,
    const struct policy_facts *facts, struct plan *plan)
{
	const struct policy_rule *put_off;
	struct query q;

	set_defaults(policy, stage, facts, plan);
	q.stage = stage;
	q.facts = facts;
	q.asks_dest = q.may_scan_resp = q.overrun = false;
	q.has_key = false;
	q.in.lists = &policy->lists;
	q.in.facts = facts;
	q.in.has_key = q.in.asks_dest = q.in.lacks_list = false;
	put_off = walk(policy, &q, plan);
	plan->asks_dest = q.asks_dest;
	plan->may_scan_resp = q.may_scan_resp;
	/* no further stage will come: what is not known now stays so */
	if (put_off != NULL &&
	    (stage == POLICY_RESPONSE ||
		(stage == POLICY_TLS && plan->tls == POLICY_SPLICE &&
		    (plan->dest_open & BIT(POLICY_BY_ACCESS)) == 0)))
		apply(put_off, BIT(POLICY_BY_ACCESS), stage, plan);
}

/* Does scan look with everything that other looks with? */
bool
policy_scan_has(const struct policy_scan *scan, unsigned service)
{
	unsigned i, j;

	for (i = 0; i < scan->n; i++)
		for (j = 0; j < scan->v[i].n; j++)
			if (scan->v[i].service[j] == service)
				return (true);
	return (false);
}

static bool
scans_all_of(const struct policy_scan *scan, const struct policy_scan *other)
{
	unsigned i, k;

	for (i = 0; i < other->n; i++)
		for (k = 0; k < other->v[i].n; k++)
			if (!policy_scan_has(scan, other->v[i].service[k]))
				return (false);
	return (true);
}

/* What looks with the services of both; everything, if neither does. */
static const struct policy_scan *
join_scan(const struct policy_scan *a, const struct policy_scan *b,
    const struct policy_scan *everything)
{
	if (scans_all_of(a, b))
		return (a);
	return (scans_all_of(b, a) ? b : everything);
}

/* Does the list have everything that the other one has?  NULL: nothing. */
static bool
allows_all(const struct policy_strings *list,
    const struct policy_strings *other)
{
	unsigned i;

	for (i = 0; other != NULL && list != other && i < other->n; i++)
		if (list == NULL || !has_string(list, str_of(other->v[i])))
			return (false);
	return (true);
}

/*
 * The stricter of both, for each decision: whatever the origin takes the URL
 * for, no odd spelling gets more than the plain one.
 */
static void
join(const struct policy *policy, struct plan *plan, const struct plan *other)
{
	const struct policy_scan *req, *resp;

#define JOIN(member, decision, stricter)                      \
	if (stricter) {                                       \
		plan->member = other->member;                 \
		plan->rule[decision] = other->rule[decision]; \
	}
	JOIN(access, POLICY_BY_ACCESS, other->access > plan->access)
	JOIN(tls, POLICY_BY_TLS, other->tls < plan->tls)
	JOIN(download, POLICY_BY_DOWNLOAD, other->download < plan->download)
	JOIN(range, POLICY_BY_RANGE, other->range < plan->range)
	JOIN(stream, POLICY_BY_STREAM, other->stream > plan->stream)
	JOIN(websocket, POLICY_BY_WEBSOCKET, other->websocket > plan->websocket)
	JOIN(upgrade, POLICY_BY_UPGRADE,
	    !allows_all(other->upgrade, plan->upgrade))
	JOIN(log, POLICY_BY_LOG, other->log < plan->log)
	/* By URLs it is the same; what an unproven name says has no weight. */
	JOIN(route, POLICY_BY_ROUTE, other->route != plan->route)
#undef JOIN
	req = join_scan(plan->scan_req, other->scan_req, &policy->used_req);
	resp = join_scan(plan->scan_resp, other->scan_resp, &policy->used_resp);
	if (req != plan->scan_req || resp != plan->scan_resp)
		plan->rule[POLICY_BY_SCAN] = other->rule[POLICY_BY_SCAN];
	plan->scan_req = req;
	plan->scan_resp = resp;
	plan->asks_dest |= other->asks_dest;
	plan->dest_open |= other->dest_open;
	plan->may_scan_resp |= other->may_scan_resp;
	plan->overrun |= other->overrun;
}

/* As if the facts were these, and before what was before. */
static void
decide_as(const struct policy *policy, enum policy_stage stage,
    const struct policy_facts *as, const struct plan *before, struct plan *plan)
{
	struct plan other = *before;

	decide(policy, stage, as, &other);
	join(policy, plan, &other);
}

/* As *plan is by the facts: by each spelling of this URL and each type. */
static void
decide_url(const struct policy *policy, enum policy_stage stage,
    const struct policy_facts *facts, struct str asked,
    const struct plan *before, struct plan *plan)
{
	char room[POLICY_SPELLINGS * URL_BYTES];
	struct str url[POLICY_SPELLINGS];
	struct policy_facts as = *facts;
	unsigned i, t, n = 0;

	if (policy->ask_url && asked.p != NULL && asked.n <= URL_BYTES)
		n = policy_url_spellings(asked, url, room);
	for (t = 0; t <= facts->n_types; t++) {
		as.url = asked;
		if (t > 0)
			as.type = facts->types[t - 1];
		if (t > 0 || asked.p != facts->url.p) /* else it is plan */
			decide_as(policy, stage, &as, before, plan);
		for (i = 0; i < n; i++) {
			as.url = url[i];
			decide_as(policy, stage, &as, before, plan);
		}
	}
}

/*
 * By all that origin and receiver may take URL and type for, and by the URL
 * that was asked for as well as the one that is sent.
 */
static void
decide_all(const struct policy *policy, enum policy_stage stage,
    const struct policy_facts *facts, struct plan *plan)
{
	struct plan before;

	if (!policy->ask_url && (!policy->ask_type || facts->n_types == 0)) {
		decide(policy, stage, facts, plan);
		return; /* all would come to the same */
	}
	before = *plan;
	decide(policy, stage, facts, plan);
	decide_url(policy, stage, facts, facts->url, &before, plan);
	if (facts->url_sent.p != NULL)
		decide_url(policy, stage, facts, facts->url_sent, &before,
		    plan);
}

void
policy_decide(const struct policy *policy, enum policy_stage stage,
    const struct policy_facts *facts, struct plan *plan)
{
	struct policy_facts as;
	struct plan other;

	if (facts->led_host.p == NULL) {
		decide_all(policy, stage, facts, plan);
		return;
	}
	other = *plan;
	decide_all(policy, stage, facts, plan);
	as = *facts;
	as.host = facts->led_host;
	as.host_is_ip = true;
	as.url = facts->led_url;
	as.url_sent = STR_NONE;
	decide_all(policy, stage, &as, &other);
	join(policy, plan, &other);
}
