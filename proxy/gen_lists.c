/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lists of a generation, see gen.h. */
#include <stdlib.h>
#include <string.h>
#include "proxy/audit/log.h"
#include "proxy/gen_priv.h"
#include "proxy/policy/list.h"
#include "proxy/problem.h"

#define OPENS_MANY 10000 /* names of a list that opens something: said */

static bool
is_same_source(const struct conf_list *a, const struct conf_list *b)
{
	return (a->format == b->format &&
	    (a->file == NULL) == (b->file == NULL) &&
	    strcmp(a->file != NULL ? a->file : a->dir,
		b->file != NULL ? b->file : b->dir) == 0);
}

/* The same one of the generation before; NULL: it had none. */
static struct list *
list_before(const struct gen *old, const struct conf_list *c)
{
	const struct conf *conf = old != NULL ? old->conf : NULL;
	unsigned i;

	for (i = 0; conf != NULL && i < conf->policy.lists.n; i++)
		if (strcmp(conf->lists.v[i].name, c->name) == 0 &&
		    is_same_source(&conf->lists.v[i], c))
			return (conf->policy.lists.v[i]);
	return (NULL);
}

/* What was wrong in which lines; the list may be in force all the same. */
static void
tell_lines(const struct list_report *r, struct conf_problems *list)
{
	const char *line = r->text, *end;

	for (; line != NULL && (end = strchr(line, '\n')) != NULL;
	     line = end + 1)
		problem_add(list, true, "%.*s", (int)(end - line), line);
	if (r->bad > r->shown)
		problem_add(list, true, "and %llu more lines like these",
		    (unsigned long long)(r->bad - r->shown));
}

/* Not this time. */
static struct list *
do_without(const struct conf_list *c, struct list *old, const struct fault *f,
    struct conf_problems *list)
{
	if (old == NULL || c->required == CONF_TRUE) {
		problem_add(list, c->required != CONF_TRUE, "list %s: %s%s",
		    c->name, f->detail,
		    c->required == CONF_TRUE
			? ""
			: "; no rule that asks for it matches");
		return (NULL);
	}
	problem_add(list, true, "list %s: %s; the one before stays", c->name,
	    f->detail);
	return (list_ref(old));
}

static struct list *
load(const struct conf_list *c, const struct gen *old,
    struct conf_problems *list)
{
	const struct list_options o = { .name = c->name,
		.path = c->file != NULL ? c->file : c->dir,
		.format = c->format,
		.opens = c->opens,
		.max_bad = (unsigned)c->max_bad,
		.max_shrink = (unsigned)c->max_shrink,
		.max_growth = (unsigned)c->max_growth,
		.max_size = c->max_size,
		.sha256 = c->sha256 };
	struct list *before = list_before(old, c), *l;
	struct list_report report;
	struct fault f = { 0 };

	l = list_load(&o, before, &report, &f);
	tell_lines(&report, list);
	if (l != NULL && c->opens && list_count(l) > OPENS_MANY)
		problem_add(list, true,
		    "list %s: rules open something by it, and it has %llu "
		    "entries",
		    c->name, (unsigned long long)list_count(l));
	if (l == NULL)
		l = do_without(c, before, &f, list);
	list_report_fini(&report);
	return (l);
}

void
gen_lists(struct gen *g, const struct gen *old, struct conf_problems *list)
{
	const struct conf_lists *c = &g->conf->lists;
	struct list **v = calloc(c->n + 1, sizeof(struct list *));
	const char *missing;
	unsigned i = 0;

	if (v == NULL)
		abort();
	for (i = 0; i < c->n; i++)
		if (c->v[i].used)
			v[i] = load(&c->v[i], old, list);
	missing = policy_lists_set(&g->conf->policy, v, c->n, &i);
	if (missing != NULL)
		problem_add(list, c->v[i].required != CONF_TRUE,
		    "list %s: it has no category '%s'%s", c->v[i].name, missing,
		    c->v[i].required == CONF_TRUE
			? ""
			: "; no rule that asks for it matches");
}

void
gen_lists_report(const struct gen *g)
{
	const struct policy_lists *p = &g->conf->policy.lists;
	const struct list *l;
	unsigned i;

	for (i = 0; i < p->n; i++)
		if ((l = p->v[i]) != NULL)
			log_line(LEVEL_NOTICE, "list",
			    "%s: %llu entries as %s, %llu lines bad, %llu not "
			    "supported, SHA-256 %.16s",
			    g->conf->lists.v[i].name,
			    (unsigned long long)list_count(l),
			    list_format_name(list_format(l)),
			    (unsigned long long)list_bad(l),
			    (unsigned long long)list_skipped(l),
			    list_digest(l));
}
