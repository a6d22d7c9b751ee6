/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens when memory runs short although everybody has his share: an
 * order, each step only when those before it were not enough.
 *
 *   NEW    clients that have no connection here get 503
 *   IDLE   connections on which nothing is under way close, of clients and of
 *          origins
 *   BODY   the largest held body of the client who holds most fails, one after
 *          another
 *
 * Never does somebody lose what he has because of what others have: who holds
 * most gives first.  Short is memory when limits.memory, or the limit of our
 * control group, is nearly used up.  The steps begin at 90, 93 and 96 percent
 * and end below 85; one that has not helped for five seconds is followed by the
 * next.  A body that is less than a thousandth of what is short would be no help
 * and is left alone.  Of limits.temp, from 96 percent on, the largest body gives
 * as well.
 *
 * Room: proxy.  Thread: the main one; what is done is done by the workers'.
 */
#ifndef PROXY_PRESSURE_H
#define PROXY_PRESSURE_H

#include "base/budget.h"
#include "base/cgroup.h"
#include "base/loop.h"

struct proxy_shared;
struct worker;

enum pressure_step {
	PRESSURE_NONE,
	PRESSURE_NEW,
	PRESSURE_IDLE,
	PRESSURE_BODY
};

/* Which step is due; for a test of its own. */
struct pressure_meter {
	enum pressure_step step;
	uint64_t since; /* monotonic ms: when it began */
};

void pressure_meter(struct pressure_meter *, unsigned percent, uint64_t now);

/* On its way through the workers, one after another; private. */
struct pressure_round {
	struct mail mail;
	enum pressure_step step; /* IDLE, BODY; NONE: none is under way */
	enum budget_kind kind;
	struct account *account; /* counted: who holds most */
	unsigned n;              /* workers that it goes through */
	unsigned at;             /* the one that has it */
	unsigned best;           /* the one that has the largest body */
	uint64_t least;          /* octets of a body that would be a help */
	uint64_t bytes;          /* of that body; 0: none was found */
	uint64_t used;           /* by the account when it gave */
	bool giving;             /* it has come back to that worker */
};

struct pressure {
	struct timer timer;
	struct proxy_shared *shared;   /* borrowed */
	struct worker *const *workers; /* borrowed; n of them */
	unsigned n;
	struct cgroup_memory group; /* owned */
	struct pressure_meter meter;
	struct pressure_round round;
	/*
	 * The last one gives no more than once: until what it had is gone from
	 * its client's account, or does not go, and what we hold was measured
	 * anew.
	 */
	struct account *gave; /* counted; NULL: nobody is waited for */
	enum budget_kind gave_kind;
	uint64_t gave_below; /* octets in the account then */
	uint64_t gave_by;    /* when it is waited for no longer */
	uint64_t body_at;    /* the next one not before */
};

/* First: opens the group's counters, which a sandbox may forbid later. */
void pressure_init(struct pressure *);
/* Look from now on. */
void pressure_start(struct pressure *, struct loop *, struct proxy_shared *,
    struct worker *const *workers, unsigned n);
/* Nothing is begun any more; workers are about to end. */
void pressure_stop(struct pressure *);
/* After the workers have ended. */
void pressure_fini(struct pressure *);

#endif
