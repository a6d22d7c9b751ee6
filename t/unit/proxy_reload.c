/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A reload: all workers take a generation or none does.  What a worker builds
 * is played here, so that each of them can fail.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/client.h"
#include "net/dns.h"
#include "proxy/wire/lease.h"
#include "proxy/reload.h"
#include "t/unit/unit.h"

#define WORKERS 3

enum trouble { NO_TROUBLE, NO_SCANNER, NO_RESOLVER };

static struct worker workers[WORKERS];
static struct worker *const list[WORKERS] = { &workers[0], &workers[1],
	&workers[2] };
static struct loop *home;
static struct gen old_gen, new_gen;
static enum trouble trouble;
static unsigned in_trouble;      /* the worker that cannot */
static unsigned wgens, channels; /* that exist */
static unsigned switched, dones;
static bool taken;

/* In place of those of assayd. */

struct worker_gen *
worker_gen_new(struct worker *w, struct gen *g, struct fault *f)
{
	struct worker_gen *wg;

	if (trouble == NO_SCANNER && w->index == in_trouble) {
		fault_set(f, ERR_CONFIG, "a scanner");
		return (NULL);
	}
	wg = calloc(1, sizeof(*wg));
	wg->gen = gen_ref(g);
	wgens++;
	return (wg);
}

void
worker_gen_unref(struct worker_gen **wg)
{
	if (*wg == NULL)
		return;
	gen_unref(&(*wg)->gen);
	free(*wg);
	*wg = NULL;
	wgens--;
}

struct gen *
gen_ref(struct gen *g)
{
	atomic_fetch_add(&g->refs, 1);
	return (g);
}

void
gen_unref(struct gen **g)
{
	if (*g != NULL)
		atomic_fetch_sub(&(*g)->refs, 1);
	*g = NULL;
}

void
worker_resolver(const struct gen *g, struct resolver_options *o)
{
	(void)g;
	memset(o, 0, sizeof(*o));
}

struct dns *
resolver_prepare(struct resolver *r, const struct resolver_options *o,
    struct fault *f)
{
	unsigned *index = (void *)r;

	(void)o;
	if (trouble == NO_RESOLVER && *index == in_trouble) {
		fault_set(f, ERR_CONFIG, "a resolver");
		return (NULL);
	}
	channels++;
	return ((void *)index);
}

void
resolver_switch(struct resolver *r, const struct resolver_options *o,
    struct dns *d)
{
	(void)r;
	(void)o;
	CU_ASSERT_PTR_NOT_NULL(d);
	channels--;
	switched++;
}

void
dns_free(struct dns **d)
{
	if (*d != NULL)
		channels--;
	*d = NULL;
}

void
origin_pool_purge(struct origin_pool *pool, const struct worker_gen *keep)
{
	(void)pool;
	(void)keep;
}

void
client_reload(struct client *c, const struct conf *conf)
{
	(void)c;
	CU_ASSERT_PTR_EQUAL(conf, new_gen.conf);
}

/* The rig. */

static void
done(struct reload *r, struct gen *g, const struct fault *f)
{
	(void)r;
	dones++;
	taken = f->code == ERR_NONE;
	gen_unref(&g);
}

static void
begin(struct reload *r)
{
	struct fault f = { 0 };
	unsigned i;

	home = loop_new();
	trouble = NO_TROUBLE;
	atomic_init(&old_gen.refs, 0);
	atomic_init(&new_gen.refs, 0);
	memset(workers, 0, sizeof(workers));
	for (i = 0; i < WORKERS; i++) {
		workers[i].index = i;
		workers[i].loop = loop_new();
		list_init(&workers[i].clients);
		workers[i].resolver = (void *)&workers[i].index;
		workers[i].current = worker_gen_new(&workers[i], &old_gen, &f);
	}
	switched = dones = 0;
	taken = false;
	*r = (struct reload){ .home = home,
		.workers = list,
		.n = WORKERS,
		.done = done };
}

/* Everybody's turn, in a random order, until nothing is left. */
static void
run_all(void)
{
	unsigned i;

	for (i = 0; i < 40; i++)
		loop_settle(unit_random(4) == 0
			? home
			: workers[unit_random(WORKERS)].loop);
	for (i = 0; i < 4 * WORKERS; i++) {
		loop_settle(workers[i % WORKERS].loop);
		loop_settle(home);
	}
}

static void
end(void)
{
	unsigned i;

	for (i = 0; i < WORKERS; i++) {
		worker_gen_unref(&workers[i].next);
		dns_free(&workers[i].next_dns);
		worker_gen_unref(&workers[i].current);
		loop_free(&workers[i].loop);
	}
	loop_free(&home);
	CU_ASSERT(wgens == 0 && channels == 0);
	CU_ASSERT(atomic_load(&old_gen.refs) == 0);
	CU_ASSERT(atomic_load(&new_gen.refs) == 0);
}

static unsigned using(const struct gen *g)
{
	unsigned i, n = 0;

	for (i = 0; i < WORKERS; i++)
		n += workers[i].current->gen == g;
	return (n);
}

static void
test_all(void)
{
	struct reload r;
	unsigned i;

	for (i = 0; i < 20; i++) {
		begin(&r);
		reload_start(&r, gen_ref(&new_gen));
		run_all();
		CU_ASSERT(dones == 1 && taken && switched == WORKERS);
		CU_ASSERT(using(&new_gen) == WORKERS);
		end();
	}
}

static void
test_one_cannot(void)
{
	struct reload r;
	unsigned i;

	for (i = 0; i < 40; i++) {
		begin(&r);
		in_trouble = i % WORKERS;
		trouble = i % 2 == 0 ? NO_SCANNER : NO_RESOLVER;
		reload_start(&r, gen_ref(&new_gen));
		run_all();
		CU_ASSERT(dones == 1 && !taken && switched == 0);
		CU_ASSERT(r.fault.code == ERR_CONFIG);
		CU_ASSERT(using(&old_gen) == WORKERS);
		CU_ASSERT(wgens == WORKERS && channels == 0);
		CU_ASSERT(atomic_load(&new_gen.refs) == 0);
		trouble = NO_TROUBLE; /* and the next one is taken */
		reload_start(&r, gen_ref(&new_gen));
		run_all();
		CU_ASSERT(dones == 2 && taken && using(&new_gen) == WORKERS);
		end();
	}
}

/* assayd ends while it reloads, at any moment. */
static void
test_ending(void)
{
	struct reload r;
	unsigned i, k;

	for (i = 0; i < 60; i++) {
		begin(&r);
		reload_start(&r, gen_ref(&new_gen));
		for (k = unit_random(8); k > 0; k--)
			loop_settle(unit_random(3) == 0
				? home
				: workers[unit_random(WORKERS)].loop);
		reload_cancel(&r);
		for (k = 0; k < WORKERS; k++)
			workers[k].draining = true;
		run_all();
		CU_ASSERT(dones == 1);
		CU_ASSERT(switched == (taken ? WORKERS : 0));
		end();
	}
}

UNIT_TESTS(proxy_reload, { "all workers take it", test_all },
    { "one cannot, so none does", test_one_cannot },
    { "the end in the middle of it", test_ending })
