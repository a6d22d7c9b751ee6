/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the admin socket tells, see admin.h: names only ever get more. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "config.h"
#include "base/budget.h"
#include "fetch/fetch.h"
#include "proxy/admin.h"
#include "proxy/figures.h"
#include "proxy/numbers.h"
#include "proxy/policy/list.h"
#include "proxy/wire/upstream.h"

/* Empty if there is nothing in it. */
static json_t *
text_of(const char *s)
{
	json_t *j = json_string(s);

	return (j != NULL ? j : json_string("(not UTF-8)"));
}

static json_t *
count(uint64_t n)
{
	return (json_integer((json_int_t)(n < INT64_MAX ? n : INT64_MAX)));
}

static void
put(json_t *to, const char *name, uint64_t n)
{
	(void)json_object_set_new(to, name, count(n));
}

/* Services. */

static json_t *
endpoint(const struct numbers_endpoint *e)
{
	json_t *j = json_object();

	(void)json_object_set_new(j, "endpoint", text_of(e->name));
	(void)json_object_set_new(j, "state",
	    json_string(e->up > 0        ? "up"
		    : e->down[0] != '\0' ? "down"
					 : "unknown"));
	if (e->down[0] != '\0')
		(void)json_object_set_new(j, "why", text_of(e->down));
	put(j, "max_connections", e->max_connections);
	put(j, "idle", e->idle);
	put(j, "busy", e->busy);
	put(j, "connects", e->connects);
	put(j, "options", e->options);
	put(j, "transactions", e->transactions);
	put(j, "retries", e->retries);
	put(j, "failures", e->failures);
	return (j);
}

static void
put_database(json_t *to, struct clam_engine *engine)
{
	struct clam_info info;

	if (engine == NULL)
		return;
	clam_engine_info(engine, &info);
	put(to, "signatures", info.signatures);
	put(to, "database_version", info.version);
	put(to, "database_built_at", (uint64_t)info.built_at);
	put(to, "database_reloads", info.reloads);
}

static json_t *
services(const struct gen *g, const struct numbers *n)
{
	json_t *list = json_array(), *j, *of;
	const struct conf_service *s;
	unsigned i, k;

	for (i = 0; i < g->conf->services.n; i++) {
		s = &g->conf->services.v[i];
		j = json_pack("{s:s, s:s, s:b}", "name", s->name, "type",
		    s->type == CONF_CLAMAV ? "clamav" : "icap", "used",
		    (int)s->used);
		if (s->type == CONF_CLAMAV)
			put_database(j, g->services[i].clam);
		of = s->type == CONF_ICAP && s->used ? json_array() : NULL;
		for (k = 0; of != NULL && k < n->services[i].n; k++)
			json_array_append_new(of,
			    endpoint(&n->services[i].v[k]));
		if (of != NULL)
			(void)json_object_set_new(j, "endpoints", of);
		json_array_append_new(list, j);
	}
	return (list);
}

/* Lists. */

static json_t *
lists(const struct gen *g)
{
	const struct policy_lists *p = &g->conf->policy.lists;
	json_t *all = json_array(), *j;
	const struct list *l;
	unsigned i;

	for (i = 0; i < g->conf->lists.n; i++) {
		j = json_pack("{s:o, s:b}", "name",
		    text_of(g->conf->lists.v[i].name), "used",
		    (int)g->conf->lists.v[i].used);
		l = i < p->n ? p->v[i] : NULL;
		(void)json_object_set_new(j, "in_force",
		    json_boolean(l != NULL));
		if (l != NULL) {
			put(j, "entries", list_count(l));
			put(j, "bad_lines", list_bad(l));
			put(j, "unsupported_lines", list_skipped(l));
			put(j, "bytes", list_bytes(l));
			(void)json_object_set_new(j, "format",
			    json_string(list_format_name(list_format(l))));
			(void)json_object_set_new(j, "sha256",
			    json_string(list_digest(l)));
		}
		json_array_append_new(all, j);
	}
	return (all);
}

/* Processes. */

static json_t *
counted(const struct figures *f, const char *const *names,
    const enum figure *which, unsigned n)
{
	json_t *j = json_object();
	unsigned i;

	for (i = 0; i < n; i++)
		put(j, names[i], figure_get(f, which[i]));
	return (j);
}

#define COUNTED(f, names, ...)                                  \
	counted(f, names, (const enum figure[]){ __VA_ARGS__ }, \
	    sizeof((const enum figure[]){ __VA_ARGS__ }) /      \
		sizeof(enum figure))

static json_t *
processes(const struct admin_of *of)
{
	static const char *const serve[] = { "started", "crashed", "ending" },
				 *const others[] = { "started", "died" };
	const struct figures *f = of->figures;
	json_t *s = COUNTED(f, serve, FIGURE_SERVE_STARTED,
	    FIGURE_SERVE_CRASHED, FIGURE_SERVE_ENDING);

	put(s, "pid", (uint64_t)getpid());
	return (json_pack("{s:o, s:o, s:o}", "serve", s, "keys",
	    COUNTED(f, others, FIGURE_KEYS_STARTED, FIGURE_KEYS_DIED), "fetch",
	    COUNTED(f, others, FIGURE_FETCH_STARTED, FIGURE_FETCH_DIED)));
}

/* What this process keeps. */

static json_t *
leaves(const struct gen *g)
{
	struct leaf_stats s;

	leaf_cache_stats(g->leaves, &s);
	return (json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "hits",
	    (json_int_t)s.hits, "misses", (json_int_t)s.misses, "joined",
	    (json_int_t)s.joined, "minted", (json_int_t)s.minted, "failed",
	    (json_int_t)s.failed, "kept", (json_int_t)s.entries));
}

static json_t *
verification(const struct gen *g)
{
	struct verify_stats s;

	verifier_stats(g->verifier, &s);
	return (json_pack("{s:I, s:I, s:I, s:I, s:I}", "hits",
	    (json_int_t)s.hits, "misses", (json_int_t)s.misses, "joined",
	    (json_int_t)s.joined, "kept", (json_int_t)s.entries, "anchors",
	    (json_int_t)trust_anchors(g->trust)));
}

static json_t *
names(const struct gen *g, const struct numbers *n)
{
	json_t *j = json_object();

	put(j, "queries", n->names.queries);
	put(j, "hits", n->names.hits);
	put(j, "joined", n->names.joined);
	put(j, "failed", n->names.failed);
	put(j, "kept", n->names.cached);
	put(j, "hosts", hosts_count(g->hosts));
	return (j);
}

static json_t *
fetches(struct fetch *f)
{
	struct fetch_stats s;

	fetch_stats(f, &s);
	return (json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "attached",
	    (int)s.attached, "asked", (json_int_t)s.asked, "done",
	    (json_int_t)s.done, "same", (json_int_t)s.same, "failed",
	    (json_int_t)s.failed, "pending", (json_int_t)s.pending));
}

static json_t *
upstreams(const struct gen *g)
{
	static const char *const states[] = { [UPSTREAM_UP] = "up",
		[UPSTREAM_DOWN] = "down",
		[UPSTREAM_HALF] = "probed",
		[UPSTREAM_TRIAL] = "probed" };
	json_t *list = json_array(), *j, *of;
	const struct upstream *u;
	unsigned i, k;

	for (i = 0; i < g->conf->upstreams.n; i++) {
		u = g->upstreams[i];
		j = json_pack("{s:s}", "name", u->conf->name);
		put(j, "direct", u->direct);
		of = json_array();
		for (k = 0; k < u->conf->url.n; k++)
			json_array_append_new(of,
			    json_pack("{s:s, s:s, s:I}", "endpoint",
				u->end[k].conf->text, "state",
				states[u->end[k].state], "busy",
				(json_int_t)u->end[k].busy));
		(void)json_object_set_new(j, "endpoints", of);
		json_array_append_new(list, j);
	}
	return (list);
}

static json_t *
budget(const struct budget *b, enum budget_kind kind)
{
	json_t *j = json_object();

	put(j, "limit_bytes", budget_limit(b, kind));
	put(j, "used_bytes", budget_used(b, kind));
	return (j);
}

static json_t *
memory(const struct admin_of *of, const struct gen *g, const struct numbers *n)
{
	json_t *j = budget(of->shared->budget, BUDGET_MEMORY);

	put(j, "chunk_bytes", n->chunk_bytes);
	put(j, "ticket_bytes", n->ticket_bytes);
	if (g->verdicts != NULL)
		put(j, "verdict_bytes", verdict_cache_bytes(g->verdicts));
	return (j);
}

char *
admin_status(const struct admin_of *of, const struct gen *g,
    const struct numbers *n)
{
	static const char *const signs[] = { "signed", "refused" },
				 *const takes[] = { "in_force", "begun",
					 "taken", "refused" };
	json_t *j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:o}",
	    "version", PACKAGE_VERSION, "pid", (json_int_t)of->pid,
	    "generation", (json_int_t)g->number, "clients",
	    (json_int_t)atomic_load(&of->shared->clients), "flows",
	    (json_int_t)atomic_load(&of->shared->flows), "audit_lost",
	    (json_int_t)audit_lost(g->audit), "ca_sha256", g->fingerprint,
	    "services", services(g, n));
	char *text;

	(void)json_object_set_new(j, "processes", processes(of));
	(void)json_object_set_new(j, "keys",
	    COUNTED(of->figures, signs, FIGURE_LEAVES_SIGNED,
		FIGURE_LEAVES_REFUSED));
	(void)json_object_set_new(j, "reloads",
	    COUNTED(of->figures, takes, FIGURE_GENERATION, FIGURE_RELOADS_BEGUN,
		FIGURE_RELOADS_TAKEN, FIGURE_RELOADS_REFUSED));
	(void)json_object_set_new(json_object_get(j, "reloads"), "last_refused",
	    json_boolean(
		figure_get(of->figures, FIGURE_RELOAD_LAST_REFUSED) != 0));
	(void)json_object_set_new(j, "workers",
	    json_pack("{s:I, s:I}", "number", (json_int_t)n->workers,
		"answered", (json_int_t)n->answered));
	(void)json_object_set_new(j, "leaves", leaves(g));
	(void)json_object_set_new(j, "verification", verification(g));
	(void)json_object_set_new(j, "resolver", names(g, n));
	(void)json_object_set_new(j, "lists", lists(g));
	(void)json_object_set_new(j, "upstreams", upstreams(g));
	(void)json_object_set_new(j, "fetch", fetches(of->fetch));
	(void)json_object_set_new(j, "memory", memory(of, g, n));
	(void)json_object_set_new(j, "temp",
	    budget(of->shared->budget, BUDGET_TEMP));
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	if (text == NULL || (text = realloc(text, strlen(text) + 2)) == NULL)
		abort();
	strcat(text, "\n");
	return (text);
}
