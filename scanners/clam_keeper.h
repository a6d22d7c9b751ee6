/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who owns the scan masters of one database: starts one, and starts another
 * beside it when the database has changed, when too many scanners have
 * crashed, when it has died or does not answer.  The old one serves until the
 * new one is ready, and ends once no server uses it any more.
 *
 * A keeper never waits.  Servers get sockets of the master of this moment, or
 * of the next one, if there is none: that says READY to them.
 *
 * Room: scanners.  Thread: one at a time.  Units: monotonic ms.
 */
#ifndef SCANNERS_CLAM_KEEPER_H
#define SCANNERS_CLAM_KEEPER_H

#include "base/spawn.h"
#include "scanners/clam_wire.h"

#define CLAM_MASTERS 4    /* of one keeper at the same time */
#define CLAM_TICK_MS 1000 /* clam_keeper_look() is due so often */
#define CLAM_TENANTS 8    /* servers that wait for the next master */

struct clam_keeper;
struct clam_options;

/* A process of a keeper's that has crashed. */
struct clam_crash {
	const char *process; /* "clam", "scanner" */
	pid_t pid;
	int how;    /* as waitpid(2) says */
	int report; /* crash_report_is(), borrowed; -1: none */
};

struct clam_keeper_news {
	/* A master serves, the first or another: servers get sockets of it. */
	void (*ready)(void *arg);
	/* The first one does not, and no other is started; why. */
	void (*failed)(void *arg, const char *why);
	/* Something for the log. */
	void (*say)(void *arg, const char *what, const char *detail);
	/* NULL: nobody wants to know. */
	void (*crashed)(void *arg, const struct clam_crash *);
	void *arg;
	/* Standard error of masters and scanners, borrowed; 0: ours. */
	int errors;
};

/*
 * What a master is told, of options as for an engine; user: whom it becomes,
 * NULL: nobody else.  Equal ones are equal in all octets.
 */
void clam_open_fill(struct clam_open *, const struct clam_options *,
    const struct sandbox_user *user);

/*
 * Start a master; env: of its process, borrowed, NULL: ours.  NULL: ERR_SYSTEM
 * in f.
 */
struct clam_keeper *clam_keeper_new(const struct clam_open *open,
    char *const *env, const struct clam_keeper_news *, struct fault *f);
/* Ends all masters, and their scanners. */
void clam_keeper_free(struct clam_keeper **);
/* Readable when clam_keeper_look() has something to do; the keeper's. */
int clam_keeper_fd(const struct clam_keeper *);
void clam_keeper_look(struct clam_keeper *);
/*
 * A socket for the server who, which is the caller's; what that had before of
 * this master ends.  -1 with errno.
 */
int clam_keeper_client(struct clam_keeper *, uint32_t who);
/* Has it a socket that the next master will answer? */
bool clam_keeper_awaits(const struct clam_keeper *, uint32_t who);
/* No new servers will come: the masters end with those that there are. */
void clam_keeper_leave(struct clam_keeper *);
/* Have they? */
bool clam_keeper_is_over(const struct clam_keeper *);
/*
 * Load the database as clam_keeper_new() does, and wait for that: for a check.
 * False: why is in f.
 */
bool clam_keeper_check(const struct clam_open *, struct fault *f);

/* To a later program in the same process: masters, the first in charge. */

struct clam_kept {
	int32_t pid, pidfd, socket, report; /* pid 0: none */
	uint64_t started, leaves_by;
};

/* One that loads still is ended, and another one wanted. */
void clam_keeper_put(struct clam_keeper *, struct clam_kept[CLAM_MASTERS]);
struct clam_keeper *clam_keeper_adopt(const struct clam_open *,
    char *const *env, const struct clam_keeper_news *,
    const struct clam_kept[CLAM_MASTERS], bool leaves);

/* clam_spawn.c: one master. */

struct clam_master {
	struct child proc;
	int socket; /* of its owner; -1: there is none */
	int report; /* owned; of its crash; -1: none */
	uint64_t started;
	uint64_t asked, heard; /* whether it lives; asked 0: not since */
	uint64_t leaves_by;    /* of one that leaves */
	unsigned crashes;      /* of its scanners */
	bool killed;           /* by us */
};

#define CLAM_MASTER_NONE \
	((struct clam_master){ .proc = CHILD_NONE, .socket = -1, .report = -1 })

/*
 * Start the process and tell it what to open; it loads then, and will say
 * READY or FAILED.  errors: 0, or its standard error.  False: f says why.
 */
bool clam_master_start(struct clam_master *, const struct clam_open *,
    char *const *env, int errors, struct fault *f);
/* End it, if it has not ended: by itself, for which it has wait_ms. */
void clam_master_end(struct clam_master *, int wait_ms);

#endif
