/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: the database of this moment, its watcher, the scanning threads
 * and the private temporary folder.
 *
 * A new database is built beside the old one and swapped under a lock; scans
 * hold a reference on the one they began with, and never wait.
 *
 * Room: scanners.  Thread: any; watch() runs in one of its own.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/thread.h"
#include "scanners/clam_priv.h"

#define SMALL (1 << 20) /* bytes; larger bodies have threads of their own */
#define QUEUE_PER_THREAD 64
#define TEMP_NAME "clam-"
#define PROVE_EVERY 1000 /* looks between two canaries */
#define PROVE_MS 60000
#define TEMP_TRIES 100

struct clam_engine {
	atomic_uint refs;
	char *db_dir;   /* owned */
	char *temp_dir; /* owned, the private folder */
	int temp_lock;  /* says that the folder is in use */
	struct clam_limits limits;
	struct clam_temp temp;
	struct clam_canary canary;
	atomic_bool fit; /* libclamav finds the canary */
	atomic_uint looks;
	unsigned queue, watch_ms;
	void (*report)(void *, const char *);
	void *report_arg;
	struct job_pool *small, *large;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake;
	struct cl_engine *cl; /* counted */
	struct clam_info info;
	_Atomic uint64_t state; /* see clam_engine_state() */
	bool canary_loaded;     /* with cl */
	bool closing;
	bool watched;
	pthread_t watcher;
	uint64_t seen;    /* the watcher's: print that is loaded */
	uint64_t pending; /* a change that may go on */
};

/* The temporary folder. */

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	remove(path);
	return (0);
}

static void
remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A folder that nobody holds is what a crash left. */
static void
remove_stale(const char *dir, const char *name)
{
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	    flock(fd, LOCK_EX | LOCK_NB) == 0)
		remove_tree(path);
	close(fd);
}

static void
temp_clean(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if (strncmp(e->d_name, TEMP_NAME, strlen(TEMP_NAME)) == 0)
			remove_stale(dir, e->d_name);
	closedir(d);
}

/* Is what fd holds still the folder of this name? */
static bool
temp_stands(const char *path, int fd)
{
	struct stat there, held;

	return (lstat(path, &there) == 0 && fstat(fd, &held) == 0 &&
	    there.st_ino == held.st_ino && there.st_dev == held.st_dev);
}

static bool
temp_make(struct clam_engine *e, const char *dir)
{
	if (asprintf(&e->temp_dir, "%s/" TEMP_NAME "XXXXXX", dir) < 0)
		abort();
	if (mkdtemp(e->temp_dir) == NULL) { /* 0700 */
		free(e->temp_dir);
		e->temp_dir = NULL;
		return (false);
	}
	e->temp_lock = open(e->temp_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return (e->temp_lock >= 0 && flock(e->temp_lock, LOCK_EX) == 0 &&
	    temp_stands(e->temp_dir, e->temp_lock));
}

static void
temp_drop(struct clam_engine *e)
{
	if (e->temp_lock >= 0)
		close(e->temp_lock);
	e->temp_lock = -1;
	free(e->temp_dir);
	e->temp_dir = NULL;
}

/*
 * Another assayd that cleans may take the new folder for one that was left,
 * until it is held: then there is another try.  Only folders of our own are
 * locked: the one around them is everybody's, and who holds it holds us up.
 */
static bool
temp_open(struct clam_engine *e, const char *dir, struct fault *f)
{
	unsigned tries;

	temp_clean(dir);
	for (tries = 0; tries < TEMP_TRIES && !temp_make(e, dir); tries++)
		temp_drop(e);
	if (e->temp_dir == NULL)
		fault_set(f, ERR_CONFIG, "%.100s: %s", dir, strerror(errno));
	return (e->temp_dir != NULL);
}

/*
 * How much of it: no more than half of the file system's, of which half is
 * for all, and half in equal parts for whoever scans at the same time.
 */
static void
temp_measure(struct clam_engine *e, uint64_t most, unsigned threads)
{
	struct statvfs fs;
	uint64_t half;

	if (statvfs(e->temp_dir, &fs) == 0) {
		half = (uint64_t)fs.f_blocks * fs.f_frsize / 2;
		most = half > 0 && half < most ? half : most;
	}
	e->temp.most = most / 2;
	e->temp.sure = most / 2 / (2 * (threads + 1) + 1);
}

/* Somebody has removed it. */
static bool
temp_remake(struct clam_engine *e)
{
	bool ok = false;
	int fd;

	pthread_mutex_lock(&e->lock);
	if (mkdir(e->temp_dir, 0700) == 0) {
		fd = open(e->temp_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ok = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
		close(e->temp_lock);
		e->temp_lock = fd;
	}
	pthread_mutex_unlock(&e->lock);
	return (ok);
}

bool
clam_engine_temp_stands(struct clam_engine *e)
{
	struct stat st;

	if (lstat(e->temp_dir, &st) == 0)
		return (S_ISDIR(st.st_mode) && st.st_uid == geteuid());
	return (errno == ENOENT &&
	    (temp_remake(e) ||
		(lstat(e->temp_dir, &st) == 0 && st.st_uid == geteuid())));
}

static void
report(struct clam_engine *e, const char *what, const char *detail)
{
	char line[400];

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

/* The canary. */

/*
 * Does it find the canary in this file, or say that its limits (files: 1) do
 * not let it?  What matters is that it is not called clean.  The file is
 * freed.
 */
static bool
finds(struct clam_engine *e, struct cl_engine *cl, struct clam_sample s)
{
	struct clam_map map = { .p = s.p, .n = s.n };
	struct clam_look look = { .engine = e,
		.blocks = ~0U,
		.deadline = clam_now_ms() + PROVE_MS };

	clam_look_map(&look, cl, &map);
	free(s.p);
	if (look.verdict == VERDICT_UNSCANNED && look.gap == GAP_LIMIT)
		return (str_starts(str_of(look.reason), STR("limit exceeded")));
	return (look.verdict == VERDICT_BLOCKED &&
	    str_starts(str_of(look.threat), STR(CANARY_NAME)));
}

static void
prove(struct clam_engine *e)
{
	struct cl_engine *cl = clam_engine_take(e);
	bool fit = clam_engine_temp_stands(e) &&
	    finds(e, cl, clam_canary_zip(&e->canary)) &&
	    finds(e, cl, clam_canary_html(&e->canary));

	clam_lib_unref(&cl);
	if (atomic_exchange(&e->fit, fit) == fit)
		return;
	/* what was said of late is void */
	atomic_store(&e->state, next_state());
	report(e,
	    fit ? "libclamav finds its test files again"
		: "libclamav does not find its test files: nothing is "
		  "scanned until it does; is there temporary space in ",
	    fit ? "" : e->temp_dir);
}

bool
clam_engine_fit(const struct clam_engine *e)
{
	return (atomic_load(&e->fit));
}

void
clam_engine_count(struct clam_engine *e)
{
	if (atomic_fetch_add(&e->looks, 1) % PROVE_EVERY == PROVE_EVERY - 1)
		prove(e);
}

/* The database and the canary's signature, which may not be writable. */
static struct cl_engine *
load(struct clam_engine *e, struct clam_info *info, bool *canary,
    struct fault *f)
{
	struct cl_engine *cl;
	char path[4096];

	snprintf(path, sizeof(path), "%s/canary.ndb", e->temp_dir);
	*canary = clam_canary_write(&e->canary, path);
	cl = clam_lib_load(e->db_dir, *canary ? path : NULL, e->temp_dir,
	    &e->limits, info, f);
	if (*canary)
		unlink(path);
	return (cl);
}

static void
reload(struct clam_engine *e)
{
	struct fault f = { .code = ERR_NONE };
	struct clam_info info = { .signatures = 0 };
	struct cl_engine *new, *old;
	char detail[64];
	bool canary;

	new = load(e, &info, &canary, &f);
	if (new == NULL) {
		report(e,
		    "new database not loaded, the old one stays: ", f.detail);
		return;
	}
	pthread_mutex_lock(&e->lock);
	old = e->cl;
	e->cl = new;
	e->canary_loaded = canary;
	atomic_store(&e->state, next_state());
	info.reloads = e->info.reloads + 1;
	e->info = info;
	pthread_mutex_unlock(&e->lock);
	clam_lib_unref(&old);
	snprintf(detail, sizeof(detail), "%u signatures", info.signatures);
	report(e, "database reloaded, ", detail);
	prove(e);
}

/* Load what has changed, once it has been the same for a whole interval. */
static void
watch_once(struct clam_engine *e)
{
	uint64_t print = clam_files_print(e->db_dir);

	if (print == e->seen) {
		e->pending = 0;
	} else if (print != e->pending) {
		e->pending = print;
	} else {
		e->seen = print;
		e->pending = 0;
		reload(e);
	}
	if (clam_engine_fit(e))
		return;
	if (!e->canary_loaded && clam_engine_temp_stands(e))
		reload(e);
	else
		prove(e);
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
	struct clam_engine *e = arg;
	struct timespec until;

	pthread_mutex_lock(&e->lock);
	while (!e->closing) {
		until = after_ms(e->watch_ms);
		while (!e->closing &&
		    pthread_cond_timedwait(&e->wake, &e->lock, &until) !=
			ETIMEDOUT)
			;
		if (e->closing)
			break;
		pthread_mutex_unlock(&e->lock);
		watch_once(e);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return (NULL);
}

static bool
watch_start(struct clam_engine *e)
{
	e->watched = thread_start(&e->watcher, "clam-watch", watch, e) == 0;
	return (e->watched);
}

static void
locks_init(struct clam_engine *e)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->wake, &attr);
	pthread_condattr_destroy(&attr);
}

static struct clam_engine *
engine_new(const struct clam_options *o, unsigned threads)
{
	struct clam_engine *e = calloc(1, sizeof(*e));

	assert(o->db_dir != NULL && o->temp_dir != NULL);
	if (e == NULL || (e->db_dir = strdup(o->db_dir)) == NULL)
		abort();
	atomic_init(&e->refs, 1);
	e->temp_lock = -1;
	e->limits.scan_size = o->scan_size > 0 ? o->scan_size : 400 << 20;
	e->limits.files = o->files > 0 ? o->files : 10000;
	e->limits.recursion = o->recursion > 0 ? o->recursion : 17;
	e->limits.time_ms = o->time_ms > 0 ? o->time_ms : 120000;
	e->queue = o->queue > 0 ? o->queue : QUEUE_PER_THREAD * threads;
	e->watch_ms = o->watch_ms > 0 ? o->watch_ms : 5000;
	e->report = o->report;
	e->report_arg = o->report_arg;
	atomic_init(&e->fit, true);
	atomic_init(&e->looks, 0);
	clam_canary_make(&e->canary);
	locks_init(e);
	return (e);
}

struct clam_engine *
clam_engine_open(const struct clam_options *o, struct fault *f)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = o->threads > 0 ? o->threads
	    : cores > 0                   ? (unsigned)cores
					  : 1;
	struct clam_engine *e = engine_new(o, threads);
	bool ok = temp_open(e, o->temp_dir, f);

	if (ok) {
		e->seen = clam_files_print(e->db_dir);
		temp_measure(e, o->temp > 0 ? o->temp : 20ULL << 30, threads);
		e->cl = load(e, &e->info, &e->canary_loaded, f);
		atomic_store(&e->state, next_state());
		ok = e->cl != NULL;
	}
	if (ok) {
		prove(e);
		e->small = job_pool_new_fair("clam-small", threads);
		e->large = job_pool_new_fair("clam-large", threads);
		ok = e->small != NULL && e->large != NULL && watch_start(e);
	}
	if (!ok) {
		fault_set(f, ERR_SYSTEM, "no thread for scanning");
		clam_engine_unref(&e);
	}
	return (e);
}

struct clam_engine *
clam_engine_ref(struct clam_engine *e)
{
	atomic_fetch_add(&e->refs, 1);
	return (e);
}

static void
watch_stop(struct clam_engine *e)
{
	pthread_mutex_lock(&e->lock);
	e->closing = true;
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
	if (e->watched)
		pthread_join(e->watcher, NULL);
}

void
clam_engine_unref(struct clam_engine **pp)
{
	struct clam_engine *e = *pp;

	*pp = NULL;
	if (e == NULL || atomic_fetch_sub(&e->refs, 1) > 1)
		return;
	watch_stop(e);
	job_pool_free(&e->small);
	job_pool_free(&e->large);
	clam_lib_unref(&e->cl);
	if (e->temp_dir != NULL)
		remove_tree(e->temp_dir);
	if (e->temp_lock >= 0)
		close(e->temp_lock);
	pthread_cond_destroy(&e->wake);
	pthread_mutex_destroy(&e->lock);
	free(e->temp_dir);
	free(e->db_dir);
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

struct cl_engine *
clam_engine_take(struct clam_engine *e)
{
	struct cl_engine *cl;

	pthread_mutex_lock(&e->lock);
	cl = clam_lib_ref(e->cl);
	pthread_mutex_unlock(&e->lock);
	return (cl);
}

const char *
clam_engine_temp_dir(const struct clam_engine *e)
{
	return (e->temp_dir);
}

struct clam_temp *
clam_engine_temp(struct clam_engine *e)
{
	return (&e->temp);
}

const struct clam_limits *
clam_engine_limits(const struct clam_engine *e)
{
	return (&e->limits);
}

bool
clam_engine_start(struct clam_engine *e, struct job *job, struct loop *loop,
    uint64_t bytes, uint64_t owner)
{
	struct job_pool *pool = bytes <= SMALL ? e->small : e->large;

	if (job_pool_waiting_of(pool, owner) >= e->queue)
		return (false);
	job_start_for(pool, job, loop, owner);
	return (true);
}
