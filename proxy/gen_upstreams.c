/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A generation's parent proxies, see gen_priv.h. */
#include <stdlib.h>
#include "proxy/audit/log.h"
#include "proxy/gen_priv.h"
#include "proxy/problem.h"
#include "proxy/wire/upstream.h"

void
gen_upstreams(struct gen *g, struct conf_problems *list)
{
	const struct conf_upstreams *u = &g->conf->upstreams;
	struct fault f;
	unsigned i;

	g->upstreams = calloc(u->n + 1, sizeof(struct upstream *));
	if (g->upstreams == NULL)
		abort();
	for (i = 0; i < u->n; i++) {
		f = (struct fault){ 0 };
		g->upstreams[i] = upstream_new(&u->v[i], &f);
		if (g->upstreams[i] == NULL)
			problem_add(list, false, "upstream %s: %s",
			    u->v[i].name, f.detail);
	}
}

void
gen_upstreams_free(struct gen *g)
{
	unsigned i;

	for (i = 0; g->upstreams != NULL && i < g->conf->upstreams.n; i++)
		upstream_free(&g->upstreams[i]);
	free(g->upstreams);
}

void
gen_upstreams_report(const struct gen *g)
{
	const struct conf_upstream *u = g->conf->upstreams.v;
	unsigned i;

	for (i = 0; i < g->conf->upstreams.n; i++)
		log_line(LEVEL_NOTICE, "upstream", "%s: %s%s%s", u[i].name,
		    u[i].url.v[0].text, u[i].url.n > 1 ? " and more" : "",
		    u[i].on_error == CONF_FALLBACK_DIRECT
			? ", else direct (on_error)"
			: "");
}
