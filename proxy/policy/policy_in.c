/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conditions that ask for lists, see match.h.
 * Room: proxy.  Any thread.
 */
#include <assert.h>
#include <stdlib.h>
#include "proxy/policy/match.h"

/* Both answers are of one list: yes to one is enough. */
static enum policy_answer
either(enum policy_answer a, enum policy_answer b)
{
	return (a > b ? a : b);
}

static enum policy_answer
ask_names(const struct list *l, unsigned category, struct policy_in_query *q)
{
	struct policy_host_key plain;

	if (q->facts->host.n == 0)
		return (POLICY_UNKNOWN);
	if (!q->has_key) {
		/* One spelling of a host, as for "host". */
		policy_host_key(&plain, q->facts->host, q->facts->host_is_ip);
		list_key(&q->key,
		    plain.n > 0 ? plain.suffix[plain.n - 1].name : STR_NONE,
		    plain.is_ip);
		q->has_key = true;
	}
	return (list_has_host(l, category, &q->key) ? POLICY_YES : POLICY_NO);
}

static enum policy_answer
ask_urls(const struct list *l, unsigned category,
    const struct policy_in_query *q)
{
	if (q->facts->url.p == NULL)
		return (POLICY_UNKNOWN);
	return (
	    list_has_url(l, category, q->facts->url) ? POLICY_YES : POLICY_NO);
}

static enum policy_answer
ask_address(const struct list *l, unsigned category, struct policy_in_query *q)
{
	struct nets_addr a;

	q->asks_dest = true;
	if (q->facts->dest == NULL) {
		q->lacks_dest = true;
		return (POLICY_UNKNOWN);
	}
	return (nets_addr_of(q->facts->dest, &a) &&
		    list_has_address(l, category, &a)
		? POLICY_YES
		: POLICY_NO);
}

static enum policy_answer
ask_one(const struct policy_in *in, struct policy_in_query *q)
{
	enum policy_answer a = POLICY_NO;
	const struct list *l;

	assert(in->list < q->lists->n || q->lists->n == 0);
	l = q->lists->n > 0 ? q->lists->v[in->list] : NULL;
	if (l == NULL || (in->category != NULL && in->number == 0)) {
		q->lacks_list = true;
		return (POLICY_UNKNOWN);
	}
	if (list_has_names(l))
		a = ask_names(l, in->number, q);
	if (a != POLICY_YES && list_has_urls(l))
		a = either(a, ask_urls(l, in->number, q));
	if (a != POLICY_YES && list_has_ranges(l))
		a = either(a, ask_address(l, in->number, q));
	return (a);
}

enum policy_answer
policy_in_ask(const struct policy_ins *ins, struct policy_in_query *q)
{
	enum policy_answer a = POLICY_NO;
	unsigned i;

	for (i = 0; i < ins->n && a != POLICY_YES; i++)
		a = either(a, ask_one(&ins->v[i], q));
	return (a);
}

const char *
policy_lists_set(struct policy *p, struct list **v, unsigned n, unsigned *list)
{
	const char *missing = NULL;
	const struct policy_match *m;
	struct policy_in *in;
	unsigned i, k;

	policy_lists_fini(p);
	p->lists = (struct policy_lists){ v, n };
	for (i = 0; i < n; i++)
		p->ask_url |= v[i] != NULL && list_has_urls(v[i]);
	for (i = 0; i < p->rules.n; i++)
		for (m = p->rules.v[i].when; m != NULL; m = m->not )
			for (k = 0; k < m->in.n; k++) {
				in = &m->in.v[k];
				if (in->category == NULL || v[in->list] == NULL)
					continue;
				in->number = list_category(v[in->list],
				    in->category);
				if (in->number == 0) {
					missing = in->category;
					*list = in->list;
				}
			}
	return (missing);
}

void
policy_lists_fini(struct policy *p)
{
	unsigned i;

	for (i = 0; i < p->lists.n; i++)
		list_unref(&p->lists.v[i]);
	free(p->lists.v);
	p->lists = (struct policy_lists){ NULL, 0 };
}
