/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Database, limits and temporary space of looks, see clam_core.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "scanners/clam_priv.h"

#define PROVE_MS 60000

void
clam_core_init(struct clam_core *c, const char *db,
    const struct clam_limits *limits)
{
	*c = (struct clam_core){ .temp_lock = -1, .limits = *limits };
	c->db = strdup(db);
	if (c->db == NULL)
		abort();
	c->temp.held = &c->alone;
	c->temp.n = 1;
	pthread_mutex_init(&c->lock, NULL);
	clam_canary_make(&c->canary);
}

/*
 * How much of it: no more than half of the file system's, of which half is
 * for all, and half in equal parts for whoever scans at the same time.
 */
static void
temp_measure(struct clam_core *c, uint64_t most, unsigned looks)
{
	struct statvfs fs;
	uint64_t half;

	if (statvfs(c->temp_dir, &fs) == 0) {
		half = (uint64_t)fs.f_blocks * fs.f_frsize / 2;
		most = half > 0 && half < most ? half : most;
	}
	c->temp.most = most / 2;
	c->temp.sure = most / 2 / (looks + 1);
}

bool
clam_core_temp(struct clam_core *c, const char *dir, uint64_t temp,
    unsigned looks, struct fault *f)
{
	c->temp_dir = clam_temp_make(dir, &c->temp_lock);
	if (c->temp_dir == NULL) {
		fault_set(f, ERR_CONFIG, "%.100s: %s", dir, strerror(errno));
		return (false);
	}
	temp_measure(c, temp, looks);
	return (true);
}

/* Somebody has removed it. */
static bool
temp_remake(struct clam_core *c)
{
	bool ok = false;
	int fd;

	pthread_mutex_lock(&c->lock);
	if (mkdir(c->temp_dir, 0700) == 0) {
		fd = open(c->temp_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ok = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
		close(c->temp_lock);
		c->temp_lock = fd;
	}
	pthread_mutex_unlock(&c->lock);
	return (ok);
}

bool
clam_core_temp_stands(struct clam_core *c)
{
	struct stat st;

	if (lstat(c->temp_dir, &st) == 0)
		return (S_ISDIR(st.st_mode) && st.st_uid == geteuid());
	if (errno != ENOENT || c->temp_lock < 0)
		return (false);
	return (temp_remake(c) ||
	    (lstat(c->temp_dir, &st) == 0 && st.st_uid == geteuid()));
}

/* The canary's signature is a file beside it, which may not be writable. */
bool
clam_core_load(struct clam_core *c, struct clam_info *info, struct fault *f)
{
	struct cl_engine *new, *old;
	char path[4096];
	bool canary;

	snprintf(path, sizeof(path), "%s/canary.ndb", c->temp_dir);
	canary = clam_canary_write(&c->canary, path);
	new = clam_lib_load(c->db, canary ? path : NULL, c->temp_dir,
	    &c->limits, info, f);
	if (canary)
		unlink(path);
	if (new == NULL)
		return (false);
	pthread_mutex_lock(&c->lock);
	old = c->cl;
	c->cl = new;
	c->canary_loaded = canary;
	pthread_mutex_unlock(&c->lock);
	clam_lib_unref(&old);
	return (true);
}

struct cl_engine *
clam_core_take(struct clam_core *c)
{
	struct cl_engine *cl;

	pthread_mutex_lock(&c->lock);
	cl = clam_lib_ref(c->cl);
	pthread_mutex_unlock(&c->lock);
	return (cl);
}

/*
 * Does it find the canary in this file, or say that its limits (files: 1) do
 * not let it?  What matters is that it is not called clean.  The file is
 * freed.
 */
static bool
finds(struct clam_core *c, struct cl_engine *cl, struct clam_sample s)
{
	struct clam_map map = { .p = s.p, .n = s.n };
	struct clam_look look = { .core = c,
		.blocks = ~0U,
		.deadline = clam_now_ms() + PROVE_MS };

	clam_look_map(&look, cl, &map);
	free(s.p);
	if (look.verdict == VERDICT_UNSCANNED && look.gap == GAP_LIMIT)
		return (str_starts(str_of(look.reason), STR("limit exceeded")));
	return (look.verdict == VERDICT_BLOCKED &&
	    str_starts(str_of(look.threat), STR(CANARY_NAME)));
}

bool
clam_core_finds_canary(struct clam_core *c)
{
	struct cl_engine *cl = clam_core_take(c);
	bool fit = clam_core_temp_stands(c) &&
	    finds(c, cl, clam_canary_zip(&c->canary)) &&
	    finds(c, cl, clam_canary_html(&c->canary));

	clam_lib_unref(&cl);
	return (fit);
}

void
clam_core_fini(struct clam_core *c)
{
	clam_lib_unref(&c->cl);
	if (c->temp_dir != NULL)
		clam_temp_remove(c->temp_dir);
	if (c->temp_lock >= 0)
		close(c->temp_lock);
	pthread_mutex_destroy(&c->lock);
	free(c->temp_dir);
	free(c->db);
}
