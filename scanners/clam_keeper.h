/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who owns the scan master: starts it, and starts another one beside it when
 * the database has changed, when too many scanners have crashed, or when it
 * has died.  The old one serves until the new one is ready, and ends once
 * nobody uses it any more.
 *
 * A keeper is asked about its descriptors by the one thread that has it, and
 * hands out sockets of the master of this moment.
 *
 * Room: scanners.  Thread: one at a time.  Units: monotonic ms.
 */
#ifndef SCANNERS_CLAM_KEEPER_H
#define SCANNERS_CLAM_KEEPER_H

#include <poll.h>
#include "base/spawn.h"
#include "scanners/clam_wire.h"

#define CLAM_KEEPER_FDS 4

struct clam_keeper;

struct clam_keeper_news {
	/* A master is ready; again: another socket of the one that was. */
	void (
	    *socket)(void *arg, int fd, const struct clam_ready *, bool again);
	/* Something for the log. */
	void (*say)(void *arg, const char *what, const char *detail);
	void *arg;
};

/*
 * Start a master and wait for it; open->temp_dir: where its private folder is
 * made.  news->socket() is called with its first socket, which is the
 * callee's.  NULL: f says why.
 */
struct clam_keeper *clam_keeper_new(const struct clam_open *open,
    const struct clam_keeper_news *, struct fault *f);
/* Ends all masters, and their scanners, and removes the folders. */
void clam_keeper_free(struct clam_keeper **);
/* What to poll; how many. */
unsigned clam_keeper_fds(const struct clam_keeper *,
    struct pollfd polls[CLAM_KEEPER_FDS]);
/* Some of them are readable, or a while has gone by. */
void clam_keeper_look(struct clam_keeper *);
/* Another socket of the master of this moment; news->socket() gets it. */
void clam_keeper_again(struct clam_keeper *);
/* It does not answer: kill it, and start another. */
void clam_keeper_replace(struct clam_keeper *);

/* clam_spawn.c: one master. */

struct clam_master {
	struct child proc;
	int socket;   /* of its owner; -1: there is none */
	char *folder; /* owned: its temporary files */
	int lock;     /* on that */
};

/*
 * Start the process and tell it what to open; it loads then, and will say
 * READY or FAILED.  False: f says why.
 */
bool clam_master_start(struct clam_master *, const struct clam_open *,
    struct fault *f);
/* End it, if it has not ended, and sweep up. */
void clam_master_end(struct clam_master *);

#endif
