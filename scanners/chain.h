/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A chain: the scans of one message, in steps.  The scanners of one step (a
 * group, if there are several) look at the message at the same time, each
 * with its own reader on the body, so that the bytes pass once.  The strongest
 * verdict wins; a block ends the chain; an adapted message is what the next
 * step sees.
 *
 * A chain runs to one of four ends (enum chain_action).  Until then it keeps
 * the body of the current message from its first byte on, so that going on
 * without a failed scanner (on_error: bypass) still has the unspoilt message.
 *
 * Room: scanners.  Thread: its loop's.  Times: monotonic ms.
 */
#ifndef SCANNERS_CHAIN_H
#define SCANNERS_CHAIN_H

#include <stdbool.h>
#include <stdint.h>
#include "scanners/scanner.h"

/*
 * Scanners that work at the same time.  n > 1: a group, no modifiers: a message
 * that one of them replaced is blocked, whatever the policies say.
 */
struct chain_step {
	struct scanner *const *scanners;
	unsigned n;
};

enum chain_action {
	CHAIN_PASS, /* go on with the message, adapted or not */
	/* give the client resp and body: a scanner's own answer or page */
	CHAIN_ANSWER,
	CHAIN_BLOCK, /* give the client our page for fault */
	/* no verdict: fault, of a scanner or of the message itself */
	CHAIN_FAIL
};

/* How one scan of the chain ended, for the audit log. */
enum chain_outcome {
	CHAIN_CLEAN,
	CHAIN_CACHED,   /* it was found clean before, and not asked again */
	CHAIN_MODIFIED, /* adapted the message, or answered the request */
	CHAIN_UNSCANNED,
	CHAIN_BLOCKED,
	CHAIN_ERROR,
	/* a stronger answer or the end of the flow came first */
	CHAIN_CANCELLED,
	CHAIN_BYPASSED, /* it failed or could not scan, and policy went on */
	CHAIN_OUTCOMES
};
const char *chain_outcome_name(enum chain_outcome); /* "clean" ... */

/* Strings live in the flow's arena or are constants. */
struct chain_record {
	struct str service; /* name in the configuration */
	/* "host:port", "inside"; STR_NONE if it got nowhere */
	struct str endpoint;
	enum scan_mode mode;
	enum chain_outcome outcome;
	bool misconfigured; /* CHAIN_BLOCKED: a modifying service in a group */
	enum err code;  /* ERR_UNSCANNED, or the fault, also when bypassed */
	uint64_t us;    /* without waiting for the message's own sender */
	uint64_t bytes; /* of the body that the service was given */
	struct str threat;
	enum scan_gap gap; /* code is ERR_UNSCANNED: what was not seen */
	struct str reason; /* unscanned, error, bypassed: why */
	struct str note;   /* further facts from the scanner */
};

struct chain_result {
	enum chain_action action;
	/*
	 * CHAIN_BLOCK, and CHAIN_ANSWER with a blocked verdict: ERR_THREAT,
	 * ERR_SERVICE_BLOCK (no threat named) or ERR_UNSCANNED.  CHAIN_FAIL:
	 * the cause.  Else ERR_NONE.
	 */
	struct fault fault;
	/*
	 * CHAIN_PASS: heads that replace the message's own, NULL where that one
	 * stays.  CHAIN_ANSWER: resp is set.
	 */
	struct http_msg *req, *resp;
	/*
	 * CHAIN_PASS, CHAIN_ANSWER: the body to go on with (the original if it
	 * is unchanged), NULL for none.  One reference: take it by setting this
	 * to NULL.  An adapted body may still be arriving, and may yet end in
	 * PULL_CUT or PULL_FAIL.
	 */
	struct body *body;
	bool modified;        /* head or body are not the original's */
	enum verdict verdict; /* the strongest */
	struct str by;        /* service that gave it; STR_NONE while clean */
	struct str threat;    /* VERDICT_BLOCKED, may be empty */
	struct str reason;    /* VERDICT_UNSCANNED */
	uint64_t us;          /* in which at least one scanner worked */
};

struct chain_run;

/*
 * Scan msg by n steps in order.  Scanners that do not scan msg->mode are left
 * out; with none at all the chain passes before this returns.  wake is woken
 * once, when chain_result() is there; NULL for nobody.  Everything lies in
 * msg->arena; msg, what it points to, steps and scanners stay valid until
 * chain_cancel().  msg->body must still have its first byte.
 */
struct chain_run *chain_start(struct loop *, const struct chain_step *steps,
    unsigned n, const struct scan_message *msg, struct task *wake);

/*
 * NULL until the chain is done.  Valid as long as the arena.  The chain keeps
 * result->body from byte 0 until chain_cancel(): first open a reader on it.
 */
struct chain_result *chain_result(struct chain_run *);

/* Is the message still what it was at the start (no step has replaced it)? */
bool chain_message_stands(const struct chain_run *);

/*
 * One for each scan that was started, in order.  Final when the chain is
 * done or cancelled; they stay valid as long as the arena, also after
 * chain_cancel().
 */
const struct chain_record *chain_records(const struct chain_run *, unsigned *n);

/* Time in which at least one scan worked.  Final and valid as the records. */
uint64_t chain_us(const struct chain_run *);

/*
 * End it in any state: running scans stop, nobody is woken any more, a body
 * not taken is given back.  A body that was taken goes on undisturbed.
 * *run may be NULL and becomes NULL.
 */
void chain_cancel(struct chain_run **run);

#endif
