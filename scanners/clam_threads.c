/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scans in threads of this process, and one more that watches the database.
 *
 * A new database is built beside the old one and swapped under a lock; scans
 * hold a reference on the one they began with, and never wait.
 *
 * Room: scanners.  Thread: any; watch() runs in one of its own.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include "base/thread.h"
#include "scanners/clam_engine_priv.h"

#define SMALL (1 << 20)  /* bytes; larger bodies have threads of their own */
#define PROVE_EVERY 1000 /* looks between two canaries */

struct clam_threads {
	struct clam_engine *engine; /* borrowed */
	struct clam_core core;
	atomic_uint looks;
	struct job_pool *small, *large;
	pthread_mutex_t lock; /* of closing */
	pthread_cond_t wake;
	bool closing;
	bool watched;
	pthread_t watcher;
	uint64_t seen;    /* the watcher's: print that is loaded */
	uint64_t pending; /* a change that may go on */
};

static void
prove(struct clam_threads *t)
{
	bool fit = clam_core_finds_canary(&t->core);

	clam_engine_set_health(t->engine, fit ? CLAM_FIT : CLAM_NO_CANARY,
	    fit ? "" : t->core.temp_dir);
}

void
clam_threads_count(struct clam_threads *t)
{
	if (atomic_fetch_add(&t->looks, 1) % PROVE_EVERY == PROVE_EVERY - 1)
		prove(t);
}

static void
job_run(struct job *j)
{
	struct clam_job *job = CONTAINER_OF(j, struct clam_job, job);
	struct clam_threads *t = CONTAINER_OF(job->look.core,
	    struct clam_threads, core);

	clam_threads_count(t);
	clam_look_run(&job->look);
}

static ssize_t
view_read(void *arg, void *p, size_t n, uint64_t at)
{
	return (body_view_read(arg, p, n, at));
}

static void
reload(struct clam_threads *t)
{
	struct fault f = { .code = ERR_NONE };
	struct clam_info info = { .signatures = 0 };

	if (!clam_core_load(&t->core, &info, &f)) {
		clam_engine_say(t->engine,
		    "new database not loaded, the old one stays: ", f.detail);
		return;
	}
	clam_engine_set_info(t->engine, &info);
	prove(t);
}

/* Load what has changed, once it has been the same for a whole interval. */
static void
watch_once(struct clam_threads *t)
{
	uint64_t print = clam_files_print(t->core.db);

	if (print == t->seen) {
		t->pending = 0;
	} else if (print != t->pending) {
		t->pending = print;
	} else {
		t->seen = print;
		t->pending = 0;
		reload(t);
	}
	if (clam_engine_fit(t->engine))
		return;
	if (!t->core.canary_loaded && clam_core_temp_stands(&t->core))
		reload(t);
	else
		prove(t);
}

static struct timespec
after_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return (t);
}

static void *
watch(void *arg)
{
	struct clam_threads *t = arg;
	struct timespec until;

	pthread_mutex_lock(&t->lock);
	while (!t->closing) {
		until = after_ms(t->engine->watch_ms);
		while (!t->closing &&
		    pthread_cond_timedwait(&t->wake, &t->lock, &until) !=
			ETIMEDOUT)
			;
		if (t->closing)
			break;
		pthread_mutex_unlock(&t->lock);
		watch_once(t);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return (NULL);
}

static bool
watch_start(struct clam_threads *t)
{
	t->watched = thread_start(&t->watcher, "clam-watch", watch, t) == 0;
	return (t->watched);
}

static void
watch_stop(struct clam_threads *t)
{
	pthread_mutex_lock(&t->lock);
	t->closing = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	if (t->watched)
		pthread_join(t->watcher, NULL);
}

static void
locks_init(struct clam_threads *t)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, &attr);
	pthread_condattr_destroy(&attr);
}

static bool
load(struct clam_threads *t, const struct clam_options *o, struct fault *f)
{
	unsigned looks = 2 * (t->engine->for_one + 1);
	struct clam_info info = { .signatures = 0 };

	if (!clam_core_temp(&t->core, o->temp_dir,
		o->temp > 0 ? o->temp : 20ULL << 30, looks, f))
		return (false);
	t->seen = clam_files_print(t->core.db);
	if (!clam_core_load(&t->core, &info, f))
		return (false);
	clam_engine_set_info(t->engine, &info);
	prove(t);
	return (true);
}

struct clam_threads *
clam_threads_new(struct clam_engine *e, const struct clam_options *o,
    struct fault *f)
{
	struct clam_threads *t = calloc(1, sizeof(*t));

	if (t == NULL)
		abort();
	t->engine = e;
	atomic_init(&t->looks, 0);
	locks_init(t);
	clam_core_init(&t->core, o->db_dir, &e->limits);
	if (load(t, o, f)) {
		t->small = job_pool_new_fair("clam-small", e->for_one);
		t->large = job_pool_new_fair("clam-large", e->for_one);
		if (t->small != NULL && t->large != NULL && watch_start(t))
			return (t);
		fault_set(f, ERR_SYSTEM, "no thread for scanning");
	}
	clam_threads_free(&t);
	return (NULL);
}

void
clam_threads_free(struct clam_threads **pp)
{
	struct clam_threads *t = *pp;

	*pp = NULL;
	if (t == NULL)
		return;
	watch_stop(t);
	job_pool_free(&t->small);
	job_pool_free(&t->large);
	clam_core_fini(&t->core);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

struct clam_core *
clam_threads_core(struct clam_threads *t)
{
	return (&t->core);
}

bool
clam_threads_start(struct clam_threads *t, struct clam_job *j,
    struct loop *loop, uint64_t owner)
{
	uint64_t bytes = body_view_length(j->view);
	struct job_pool *pool = bytes <= SMALL ? t->small : t->large;

	if (job_pool_waiting_of(pool, owner) >= t->engine->queue)
		return (false);
	j->look.core = &t->core;
	j->look.source = (struct clam_source){
		.in = { view_read, j->view, bytes },
		.memory = body_view_memory(j->view),
	};
	j->look.source.fd = body_view_file(j->view, &j->look.source.fd_bytes);
	j->job.run = job_run;
	job_start_for(pool, &j->job, loop, owner);
	return (true);
}
