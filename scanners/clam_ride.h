/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A body's way through a scanner process, embedded in its job.
 * Room: scanners.  Thread: the body's loop, and who holds the pool's lock.
 */
#ifndef SCANNERS_CLAM_RIDE_H
#define SCANNERS_CLAM_RIDE_H

#include "base/job.h"
#include "base/turns.h"
#include "scanners/clam_deaths.h"

struct clam_proc;
struct clam_pool;

enum clam_ride_state {
#define STATE(name, next) RIDE_##name,
#include "scanners/clam_ride.def"
	RIDE_STATES
};

/* Small bodies never wait behind large ones. */
enum clam_class { CLASS_SMALL, CLASS_LARGE, CLASSES };

/* {0} before clam_pool_start(). */
struct clam_ride {
	enum clam_ride_state state;
	enum clam_class class;
	struct clam_pool *pool; /* borrowed */
	struct turn turn;
	uint64_t owner;
	struct clam_proc *child; /* GIVEN to ENDS */
	struct watch *watch;     /* on its socket: RUNS, KILLED */
	struct timer timer;
	uint64_t granted; /* of its account's temporary space */
	uint64_t copied;  /* of its account's memory */
	bool stopped;     /* nobody wants to know */
	bool killed;      /* the scanner, by us */
	bool unread;      /* it had not read what it was to do */
	bool again;       /* this is the second scanner */
	bool blamed;      /* it died of the body */
	bool told;        /* what it died of is on the way */
	/* While it is hashed: */
	struct clam_body_print print;
	bool hashed;
	void (*done)(struct job *); /* whose turn comes then */
};

#endif
