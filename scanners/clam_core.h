/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a look needs: the database of this moment, limits, a private folder
 * for temporary files.  The engine has one where scans run in threads, the
 * scan master has one that its scanners inherit.
 *
 * Room: scanners.  Thread: any, but clam_core_open(), _load() and _close()
 * are for one at a time.
 */
#ifndef SCANNERS_CLAM_CORE_H
#define SCANNERS_CLAM_CORE_H

#include <pthread.h>
#include "scanners/clam.h"
#include "scanners/clam_calls.h"
#include "scanners/clam_canary.h"

struct cl_engine;

struct clam_limits {
	uint64_t scan_size;
	uint32_t files;
	uint32_t recursion;
	uint32_t time_ms;
};

struct clam_core {
	char *db;       /* owned: folder or file */
	char *temp_dir; /* owned, the private folder */
	int temp_lock;  /* says that it is in use; -1: somebody else does */
	struct clam_limits limits;
	struct clam_temp temp;
	_Atomic uint64_t alone; /* for temp, where nobody shares it */
	struct clam_canary canary;
	bool canary_loaded;   /* with cl */
	pthread_mutex_t lock; /* of cl */
	struct cl_engine *cl; /* counted; NULL: nothing loaded */
};

/* Strings are copied.  Nothing is made or loaded. */
void clam_core_init(struct clam_core *, const char *db,
    const struct clam_limits *);
/*
 * Make the private folder in dir, and remove what a crash left there.  temp:
 * bytes of all temporary files, of which `looks` at the same time have a part
 * each.  False: f says why.
 */
bool clam_core_temp(struct clam_core *, const char *dir, uint64_t temp,
    unsigned looks, struct fault *f);
/* Load the database, in place of the one that is there.  False: that stays. */
bool clam_core_load(struct clam_core *, struct clam_info *, struct fault *f);
/* The database of this moment; one reference. */
struct cl_engine *clam_core_take(struct clam_core *);
/* Is the temporary folder there?  Where it is ours it is made anew. */
bool clam_core_temp_stands(struct clam_core *);
/* Does libclamav find the canary? */
bool clam_core_finds_canary(struct clam_core *);
/* Close everything, remove the folder. */
void clam_core_fini(struct clam_core *);

/* clam_temp.c */

/* A folder with all that is in it. */
void clam_temp_remove(const char *path);
/* Folders of ours in dir that nobody holds any more. */
void clam_temp_clean(const char *dir);
/* A folder of our own in dir, held by *lock, which is its descriptor; NULL: errno. */
char *clam_temp_make(const char *dir, int *lock);

#endif
