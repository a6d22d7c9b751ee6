/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists, and conditions that ask for them.
 * Room: proxy.  Thread: the one that loads.
 */
#include <assert.h>
#include <string.h>
#include "proxy/conf/conf_priv.h"

#define STRICT(decision) (1u << (decision))

void
conf_list_check(struct conf_reader *r, const struct node *map,
    struct conf_list *l)
{
	const struct node *at = map != NULL ? map->key : NULL;
	size_t i;

	if (map == NULL)
		return; /* it is no map, and that was said */
	if (strchr(l->name, '/') != NULL || l->name[0] == '\0')
		conf_problem(r, at,
		    "'%s' is no name of a list; a '/' is in front of a "
		    "category",
		    l->name);
	if ((l->file == NULL) == (l->dir == NULL))
		conf_problem(r, at,
		    "a list is read from a 'file' or from a 'dir'; write one "
		    "of "
		    "them");
	if (l->dir != NULL && l->format == LIST_AUTO)
		l->format = LIST_UT1;
	if ((l->dir != NULL) != (l->format == LIST_UT1))
		conf_problem(r, at,
		    "'format: ut1' is a folder's, and a folder has no other");
	for (i = 0; l->sha256 != NULL && i < strlen(l->sha256); i++)
		if (strchr("0123456789abcdefABCDEF", l->sha256[i]) == NULL) {
			conf_problem(r, conf_node_get(map, "sha256"),
			    "'sha256' is 64 hexadecimal digits");
			break;
		}
}

static bool
find_list(const struct conf *conf, struct str name, unsigned *out,
    struct conf_guess *g)
{
	unsigned i;

	for (i = 0; i < conf->lists.n; i++) {
		if (str_eq(str_of(conf->lists.v[i].name), name)) {
			*out = i;
			return (true);
		}
		conf_guess_offer(g, conf->lists.v[i].name);
	}
	return (false);
}

void
conf_read_in(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_ins *out = member;
	const struct node **item;
	struct conf_guess guess;
	struct policy_in *in;
	struct str name;
	size_t slash;
	unsigned i, count = conf_node_items(r, n, &item);

	if (count == 0)
		conf_problem(r, n,
		    "'%s' is empty and would never match; leave it out to "
		    "match always",
		    o->key);
	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "the name of a list"))
			continue;
		name = item[i]->text;
		slash = str_index(name, '/');
		in = &out->v[out->n];
		if (slash < name.n)
			in->category = arena_str(r->keep,
			    (struct str){ name.p + slash + 1,
				name.n - slash - 1 })
					   .p;
		name.n = slash;
		guess = (struct conf_guess){ .text = item[i]->text.p };
		if (find_list(r->conf, name, &in->list, &guess))
			out->n++;
		else if (guess.best != NULL)
			conf_problem(r, item[i],
			    "no list has the name %s; did you mean '%s'?",
			    conf_node_name(r, item[i]), guess.best);
		else
			conf_problem(r, item[i],
			    "no list has the name %s; it is missing under "
			    "'lists'",
			    conf_node_name(r, item[i]));
	}
}

/* Of each decision that it makes, is it the strictest? */
static bool
only_closes(const struct policy_rule *u)
{
	const unsigned known = STRICT(POLICY_BY_ACCESS) |
	    STRICT(POLICY_BY_TLS) | STRICT(POLICY_BY_DOWNLOAD) |
	    STRICT(POLICY_BY_WEBSOCKET) | STRICT(POLICY_BY_STREAM) |
	    STRICT(POLICY_BY_LOG);

#define MAKES(d) ((u->decides & STRICT(d)) != 0)
	return ((u->decides & ~known) == 0 &&
	    (!MAKES(POLICY_BY_ACCESS) || u->access == POLICY_BLOCK) &&
	    (!MAKES(POLICY_BY_TLS) || u->tls == POLICY_INSPECT) &&
	    (!MAKES(POLICY_BY_DOWNLOAD) || u->download == POLICY_HOLD) &&
	    (!MAKES(POLICY_BY_WEBSOCKET) ||
		u->websocket == POLICY_WEBSOCKET_BLOCK) &&
	    (!MAKES(POLICY_BY_STREAM) || u->stream == POLICY_STREAM_BLOCK) &&
	    (!MAKES(POLICY_BY_LOG) || u->log == POLICY_LOG_FULL));
#undef MAKES
}

/* Under "not" who is in the list escapes what the rule says. */
static void
note_use(struct conf *conf, const struct policy_rule *rule)
{
	const struct policy_match *m;
	bool opens = !only_closes(rule);
	struct conf_list *l;
	unsigned i;

	for (m = rule->when; m != NULL; m = m->not, opens = true)
		for (i = 0; i < m->in.n; i++) {
			l = &conf->lists.v[m->in.v[i].list];
			l->used = true;
			l->opens |= opens;
		}
}

void
conf_lists_finish(struct conf_reader *r)
{
	struct conf *conf = r->conf;
	unsigned i;

	for (i = 0; i < conf->policy.rules.n; i++)
		note_use(conf, &conf->policy.rules.v[i]);
	for (i = 0; i < conf->lists.n; i++)
		if (!conf->lists.v[i].used && r->problems->errors == 0)
			conf_warn(r, r->list_at[i]->key,
			    "no rule asks for the list '%s'",
			    conf->lists.v[i].name);
}
