/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the chain share: chain.c drives it, chain_settle.c says
 * what the end of one scan means for all.
 * Room: scanners, chain*.c only.
 */
#ifndef SCANNERS_CHAIN_PRIV_H
#define SCANNERS_CHAIN_PRIV_H

#include "scanners/chain.h"
#include "scanners/known.h"

/* Of one scan. */
enum chain_scan {
	CHAIN_RUNS,
	CHAIN_WAITS,  /* not started: its answer may be known */
	CHAIN_SETTLED /* its end is joined, or it was stopped */
};

struct chain_run {
	struct loop *loop;
	struct task task;  /* woken by the scans */
	struct task *wake; /* of whoever started the chain */
	const struct chain_step *steps;
	unsigned step_count;
	unsigned step;                  /* the running one; step_count: none */
	const struct scan_message *msg; /* what the running step looks at */
	struct body *body;              /* of the current message, counted */
	struct reader keeper;           /* keeps all of it, reads nothing */
	struct scan *scans; /* all that were started, step after step */
	struct chain_record *records; /* one for each of them */
	enum chain_scan *states;      /* one for each of them */
	struct known known;           /* of the message as it came */
	struct scan_meter meter;
	unsigned first; /* of the running step */
	unsigned used;
	unsigned running; /* of the running step, not settled */
	bool unscanned;   /* blocks once nothing stronger can come */
	bool ending;      /* result says how */
	bool done;
	struct chain_result result;
};

/* chain.c */

/* Decide how the chain ends; a block may still replace a failure. */
struct fault *chain_end_as(struct chain_run *, enum chain_action);
/* From now on body (given, may be NULL) is that of the current message. */
void chain_body_give(struct chain_run *, struct body *body);

/* chain_settle.c */

/* What the record of scan i says. */
void chain_record_end(struct chain_run *, unsigned i, enum chain_outcome,
    enum err code, struct str reason);
/* Scan i is done: join its result. */
void chain_settle(struct chain_run *, unsigned i);
/* Scan i need not begin: it is known that its answer is clean. */
void chain_settle_known(struct chain_run *, unsigned i);

#endif
