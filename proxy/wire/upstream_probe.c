/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probes of parent proxies, see upstream_probe.h. */
#include <stdlib.h>
#include "proxy/wire/upstream.h"
#include "proxy/wire/upstream_probe.h"
#include "proxy/wire/way.h"
#include "proxy/worker.h"

struct probe {
	struct upstream_end *end; /* borrowed */
	struct task task;
	struct way way;
	bool runs;
};

struct upstream_probes {
	struct worker *worker;  /* borrowed */
	struct worker_gen *gen; /* borrowed: its owner */
	struct timer timer;
	struct probe *v; /* owned: one for each address */
	unsigned n;
};

static void
probe_done(struct task *t)
{
	struct probe *p = CONTAINER_OF(t, struct probe, task);

	if (!p->runs || !p->way.dial.done)
		return;
	upstream_probed(p->end, p->way.dial.fault.code == ERR_NONE);
	p->runs = false;
	way_end(&p->way);
}

/* The shortest 'probe' of those that have one down; 0: none is. */
static uint64_t
interval(const struct upstream_probes *all)
{
	const struct gen *g = all->gen->gen;
	uint64_t ms = 0;
	unsigned i;

	for (i = 0; i < g->conf->upstreams.n; i++)
		if (upstream_has_down(g->upstreams[i]) &&
		    (ms == 0 || g->upstreams[i]->conf->probe_ms < ms))
			ms = g->upstreams[i]->conf->probe_ms;
	return (ms);
}

void
upstream_probes_wake(struct upstream_probes *all)
{
	uint64_t ms = interval(all);

	if (ms > 0 && all->timer.at == 0)
		timer_set(&all->timer, ms);
}

static void
look(struct timer *t)
{
	struct upstream_probes *all = CONTAINER_OF(t, struct upstream_probes,
	    timer);
	uint64_t now = loop_now(all->worker->loop);
	struct probe *p;

	for (p = all->v; p < all->v + all->n; p++)
		if (!p->runs && upstream_probe_due(p->end, now)) {
			p->runs = true;
			way_probe(all->worker, all->gen, &p->way, p->end,
			    &p->task);
		}
	upstream_probes_wake(all);
}

struct upstream_probes *
upstream_probes_new(struct worker *w, struct worker_gen *wg)
{
	const struct gen *g = wg->gen;
	const struct conf_upstreams *u = &g->conf->upstreams;
	struct upstream_probes *all;
	unsigned i, k, n = 0;

	for (i = 0; i < u->n; i++)
		n += u->v[i].url.n;
	if (n == 0)
		return (NULL);
	if ((all = calloc(1, sizeof(*all))) == NULL ||
	    (all->v = calloc(n, sizeof(*all->v))) == NULL)
		abort();
	all->worker = w;
	all->gen = wg;
	timer_init(&all->timer, w->loop, look);
	for (i = 0; i < u->n; i++)
		for (k = 0; k < u->v[i].url.n; k++, all->n++) {
			all->v[all->n].end = &g->upstreams[i]->end[k];
			all->v[all->n].way.dial.fd = -1;
			task_init(&all->v[all->n].task, w->loop, probe_done);
		}
	return (all);
}

void
upstream_probes_free(struct upstream_probes **pp)
{
	struct upstream_probes *all = *pp;
	unsigned i;

	*pp = NULL;
	if (all == NULL)
		return;
	timer_stop(&all->timer);
	for (i = 0; i < all->n; i++) {
		way_end(&all->v[i].way);
		task_fini(&all->v[i].task);
	}
	free(all->v);
	free(all);
}
