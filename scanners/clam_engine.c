/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: what is known of the database and of libclamav's health, for
 * whoever scans.
 *
 * Room: scanners.  Thread: any.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "scanners/clam_engine_priv.h"
#include "scanners/clam_keeper.h"

#define QUEUE_PER_THREAD 64

void
clam_engine_say(struct clam_engine *e, const char *what, const char *detail)
{
	char line[700];

	if (e->report == NULL)
		return;
	snprintf(line, sizeof(line), "clamav: %s%s", what, detail);
	e->report(e->report_arg, line);
}

static uint64_t
next_state(void)
{
	static _Atomic uint64_t last;

	return (atomic_fetch_add(&last, 1) + 1);
}

static const struct {
	const char *why, *line;
} healths[CLAM_HEALTHS] = {
	[CLAM_FIT] = { "", "libclamav finds its test files again" },
	[CLAM_NO_CANARY] = { "libclamav does not find its test files",
	    "libclamav does not find its test files: nothing is scanned until "
	    "it does; is there temporary space in " },
	[CLAM_NO_SCANNER] = { "no scanner can be made",
	    "no scanner can be made, nothing is scanned until one lives: " },
};

void
clam_engine_set_health(struct clam_engine *e, enum clam_health h,
    const char *detail)
{
	enum clam_health was = atomic_exchange(&e->health, h);

	if (was == h)
		return;
	/* What was said of late is void. */
	atomic_store(&e->state, next_state());
	clam_engine_say(e, healths[h].line, detail);
}

void
clam_engine_set_info(struct clam_engine *e, const struct clam_info *info)
{
	char detail[64];
	bool first;

	pthread_mutex_lock(&e->lock);
	first = e->info.library == NULL;
	atomic_store(&e->state, next_state());
	e->info = (struct clam_info){
		.signatures = info->signatures,
		.version = info->version,
		.built_at = info->built_at,
		.library = info->library,
		.reloads = first ? 0 : e->info.reloads + 1,
	};
	pthread_mutex_unlock(&e->lock);
	if (first)
		return;
	snprintf(detail, sizeof(detail), "%u signatures", info->signatures);
	clam_engine_say(e, "database reloaded, ", detail);
}

void
clam_engine_set_ready(struct clam_engine *e, const struct clam_ready *r)
{
	struct clam_info info = { .signatures = r->signatures,
		.version = r->version,
		.built_at = (time_t)r->built_at };

	snprintf(e->library, sizeof(e->library), "%s", r->library);
	info.library = e->library;
	clam_engine_set_info(e, &info);
}

static struct clam_limits
limits_of(const struct clam_options *o)
{
	return ((struct clam_limits){
	    .scan_size = o->scan_size > 0 ? o->scan_size : 400 << 20,
	    .files = o->files > 0 ? o->files : 10000,
	    .recursion = o->recursion > 0 ? o->recursion : 17,
	    .time_ms = o->time_ms > 0 ? o->time_ms : 120000,
	});
}

static unsigned
for_one_of(const struct clam_options *o)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (o->threads > 0)
		return (o->threads);
	return (cores > 0 ? (unsigned)cores : 1);
}

static unsigned
watch_ms_of(const struct clam_options *o)
{
	return (o->watch_ms > 0 ? o->watch_ms : 5000);
}

/* Those that are dying count until their master has said so. */
unsigned
clam_scanners(unsigned for_one)
{
	return (4 * (for_one + 1));
}

void
clam_open_fill(struct clam_open *m, const struct clam_options *o,
    const struct sandbox_user *user)
{
	const struct clam_limits l = limits_of(o);
	unsigned n = clam_scanners(for_one_of(o));

	memset(m, 0, sizeof(*m));
	m->kind = CLAM_OPEN;
	m->watch_ms = watch_ms_of(o);
	m->scanners = n < CLAM_SCANNERS ? n : CLAM_SCANNERS;
	m->sandbox = o->sandbox;
	m->temp = o->temp > 0 ? o->temp : 20ULL << 30;
	m->limits.scan_size = l.scan_size;
	m->limits.files = l.files;
	m->limits.recursion = l.recursion;
	m->limits.time_ms = l.time_ms;
	if (user != NULL) {
		m->user.uid = user->uid;
		m->user.gid = user->gid;
		snprintf(m->user.name, sizeof(m->user.name), "%s", user->name);
	}
	snprintf(m->db, sizeof(m->db), "%s", o->db_dir);
	snprintf(m->temp_dir, sizeof(m->temp_dir), "%s", o->temp_dir);
}

static struct clam_engine *
engine_new(const struct clam_options *o)
{
	struct clam_engine *e = calloc(1, sizeof(*e));

	assert(o->db_dir != NULL && o->temp_dir != NULL);
	assert(o->in_threads || o->door != NULL);
	if (e == NULL)
		abort();
	atomic_init(&e->refs, 1);
	e->limits = limits_of(o);
	e->for_one = for_one_of(o);
	e->queue = o->queue > 0 ? o->queue : QUEUE_PER_THREAD * e->for_one;
	e->watch_ms = watch_ms_of(o);
	e->report = o->report;
	e->report_arg = o->report_arg;
	atomic_init(&e->health, CLAM_FIT);
	pthread_mutex_init(&e->lock, NULL);
	return (e);
}

void
clam_prepare(void)
{
	clam_lib_init();
}

struct clam_engine *
clam_engine_open(const struct clam_options *o, struct fault *f)
{
	struct clam_engine *e = engine_new(o);

	if (o->in_threads)
		e->threads = clam_threads_new(e, o, f);
	else
		e->pool = clam_pool_new(e, o, f);
	if (e->threads == NULL && e->pool == NULL)
		clam_engine_unref(&e);
	return (e);
}

uint32_t
clam_engine_number(const struct clam_engine *e)
{
	return (e->pool != NULL ? clam_pool_number(e->pool) : 0);
}

struct clam_engine *
clam_engine_ref(struct clam_engine *e)
{
	atomic_fetch_add(&e->refs, 1);
	return (e);
}

void
clam_engine_unref(struct clam_engine **pp)
{
	struct clam_engine *e = *pp;

	*pp = NULL;
	if (e == NULL || atomic_fetch_sub(&e->refs, 1) > 1)
		return;
	clam_pool_free(&e->pool);
	clam_threads_free(&e->threads);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

void
clam_engine_info(struct clam_engine *e, struct clam_info *info)
{
	pthread_mutex_lock(&e->lock);
	*info = e->info;
	pthread_mutex_unlock(&e->lock);
}

unsigned
clam_engine_signatures(struct clam_engine *e)
{
	struct clam_info info;

	clam_engine_info(e, &info);
	return (info.signatures);
}

uint64_t
clam_engine_state(struct clam_engine *e)
{
	return (atomic_load(&e->state));
}

bool
clam_engine_fit(const struct clam_engine *e)
{
	return (atomic_load(&e->health) == CLAM_FIT);
}

const char *
clam_engine_unfit(const struct clam_engine *e)
{
	return (healths[atomic_load(&e->health)].why);
}

const struct clam_limits *
clam_engine_limits(const struct clam_engine *e)
{
	return (&e->limits);
}

struct clam_core *
clam_engine_core(struct clam_engine *e)
{
	return (e->threads != NULL ? clam_threads_core(e->threads) : NULL);
}

bool
clam_engine_start(struct clam_engine *e, struct clam_job *job,
    struct loop *loop, uint64_t owner)
{
	return (e->pool != NULL
		? clam_pool_start(e->pool, job, loop, owner)
		: clam_threads_start(e->threads, job, loop, owner));
}

void
clam_engine_stop(struct clam_engine *e, struct clam_job *job)
{
	if (e->pool != NULL)
		clam_pool_stop(job);
	else /* its thread finds out */
		atomic_store(&job->look.stop, true);
}
