/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the scan master (clam_master.c, clam_brood.c) and its scanners
 * (clam_child.c), which are forked from it.
 *
 * Room: scanners.  One thread.  Units: bytes, monotonic ms.
 */
#ifndef SCANNERS_CLAM_MASTER_PRIV_H
#define SCANNERS_CLAM_MASTER_PRIV_H

#include <sys/types.h>
#include "scanners/clam_priv.h"

/*
 * What each scanner says of itself, in memory that all of them share: a word
 * of the bytes in its files, and one of since when it scans (0: it does not).
 * Neither decides about a verdict.
 */
struct clam_words {
	_Atomic uint64_t *held;  /* [n] */
	_Atomic uint64_t *since; /* [n] */
	unsigned n;
};

/* What a scanner begins with. */
struct clam_birth {
	struct clam_core *core; /* its own copy, from now on */
	struct clam_words *words;
	unsigned me; /* whose words are its */
	char temp_dir[CLAM_PATH];
	int socket, slot;
	int report;   /* of its crash; -1: none */
	pid_t master; /* its parent */
	enum sandbox_mode sandbox;
	uint64_t space; /* addresses that the master uses; 0: not known */
};

/* The scanner's whole life, in the process that was forked for it. */
_Noreturn void clam_child_run(const struct clam_birth *);

/* clam_brood.c: the scanners as the master has them. */

struct clam_brood;

/*
 * most: of one server; of all together twice as many.  owner: his socket, who is
 * told of crashes.  space: see struct clam_birth.
 */
struct clam_brood *clam_brood_new(struct clam_core *, unsigned most,
    enum sandbox_mode, uint64_t space, int owner);
/*
 * Fork one for that server (its socket, which is told of its death).  The
 * descriptors are the brood's, whatever happens.
 */
void clam_brood_add(struct clam_brood *, int server, uint32_t id, int socket,
    int slot);
void clam_brood_kill(struct clam_brood *, int server, uint32_t id);
/* The server is gone: so are its scanners. */
void clam_brood_forget(struct clam_brood *, int server);
/* Its owner is gone. */
void clam_brood_orphan(struct clam_brood *);
/* All of them are killed, waited for, and swept up. */
void clam_brood_end(struct clam_brood *);
/* How many there are at most. */
unsigned clam_brood_most(const struct clam_brood *);
/* Descriptors that are readable when one has died; how many. */
unsigned clam_brood_fds(const struct clam_brood *, int *fds, unsigned most);
/* Look who has died, and who scans for too long. */
void clam_brood_look(struct clam_brood *);
/* Have so many crashed that another master is to take over? */
bool clam_brood_is_tired(const struct clam_brood *);

#endif
