/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scanner processes from inside the server: clam_pool.c has the processes and
 * who waits for one, clam_pool_run.c the thread that looks after both, and
 * clam_ride.c takes a body to a scanner and brings back its verdict, on the
 * loop of the body.
 *
 * Room: scanners.  Units: bytes, monotonic ms.
 */
#ifndef SCANNERS_CLAM_POOL_PRIV_H
#define SCANNERS_CLAM_POOL_PRIV_H

#include <pthread.h>
#include "base/turns.h"
#include "scanners/clam_engine_priv.h"
#include "scanners/clam_wire.h"

#define CLAM_LINKS 4
#define CLAM_READY_MS 2000 /* for a master's first word */

enum clam_proc_state {
#define STATE(name, next) PROC_##name,
#include "scanners/clam_proc.def"
	PROC_STATES
};

/* A master that this server has a socket of. */
struct clam_link {
	int fd;            /* owned; -1: none */
	unsigned children; /* that it has forked for us, not dead yet */
	bool old;          /* another has taken over: nothing new of it */
};

/*
 * A scanner process.  BUSY: fd is watched, and all of it but what DIED says is
 * written, by its job's loop; else by who holds the lock.
 */
struct clam_proc {
	enum clam_proc_state state;
	enum clam_class class;
	uint32_t id;
	struct clam_link *link;
	int fd;               /* owned; -1: closed */
	unsigned char *slot;  /* owned, CLAM_SLOT */
	struct clam_job *job; /* BUSY, or LOST with a body in it */
	bool died;            /* as how and of say */
	enum clam_death how;
	int of;
	uint64_t since; /* of its state */
	unsigned scans;
	uint64_t busy_ms; /* in all */
};

struct clam_queue {
	struct turns turns; /* of struct clam_job */
	unsigned children;  /* not NONE and not LOST */
	bool used;          /* there was a body of this class */
};

struct clam_pool {
	struct clam_engine *engine; /* borrowed */
	struct clam_pool *next;     /* of all, see clam_deliver() */
	struct clam_door door;      /* without its fd */
	char *temp_dir; /* owned; where masters have their folders */
	int wake;       /* owned, eventfd: the thread shall look */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* of what follows */
	bool closing;
	int coming;        /* owned: a master's that is not ready; -1: none */
	uint64_t asked_at; /* for another socket; 0: never */
	uint64_t life;     /* of the last master, as it says; 0: none yet */
	struct clam_link links[CLAM_LINKS];
	struct clam_link *link; /* of the master of this moment; NULL: none */
	uint64_t lost_at;       /* since when it is NULL; 0: it is not */
	struct clam_queue queue[CLASSES];
	struct clam_job *starting; /* its loop is in clam_pool_start() */
	uint64_t make_after;       /* no new ones before */
	unsigned failed;           /* births in a row */
	struct sandbox_report master_box;
	bool boxes_said;
	struct clam_deaths deaths;
	struct job_pool *digests; /* owned; a thread that hashes bodies */
	uint32_t last_id;
	unsigned n_children;
	struct clam_proc child[];
};

/* ---- clam_pool.c; with the lock held ---- */

void clam_pool_lock(struct clam_pool *);
void clam_pool_unlock(struct clam_pool *);
/* Check the transition, note the time. */
void clam_proc_set(struct clam_pool *, struct clam_proc *,
    enum clam_proc_state);
/*
 * Whoever waits gets a scanner, where there is one; more are made, where that
 * may be.  Jobs that got one are told by mail.
 */
void clam_pool_share(struct clam_pool *);
/* It is not trusted with another body, or has none to get. */
void clam_proc_retire(struct clam_pool *, struct clam_proc *);
/* It is dead, or its master is: let go of what is here of it. */
void clam_proc_free(struct clam_pool *, struct clam_proc *);
/* Its job has done with it. */
void clam_proc_back(struct clam_pool *, struct clam_proc *, bool retires);
/* The thread is to look at once. */
void clam_pool_wake(struct clam_pool *);

/* ---- clam_pool_run.c ---- */

/* The thread; arg: the pool. */
void *clam_pool_run(void *arg);
/* The master whose socket is coming has something to say. */
void clam_pool_come(struct clam_pool *);

/* ---- clam_ride.c ---- */

/* With the lock held: it has a child, and its loop is told. */
void clam_ride_given(struct clam_job *, struct clam_proc *);
/* "crashed: SEGV", "was killed" */
void clam_death_text(enum clam_death how, int of, char *text, size_t n);
/* With the lock held: the LOST child of the job has died, as it says itself. */
void clam_ride_died(struct clam_job *);
/* With the lock held: it got no scanner, and none will come; why: a constant. */
void clam_ride_down(struct clam_job *, const char *why);

#endif
