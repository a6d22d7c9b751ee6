/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chain, see chain.h.  One task serves it: it settles the scans that are
 * done, joins their verdicts, and either ends the chain or starts the next
 * step once nothing of this one runs.
 * Room: scanners.  Thread: its loop's.
 */
#include <assert.h>
#include "scanners/chain_priv.h"

const char *
chain_outcome_name(enum chain_outcome o)
{
	static const char *const name[CHAIN_OUTCOMES] = {
		[CHAIN_CLEAN] = "clean",
		[CHAIN_CACHED] = "cached",
		[CHAIN_MODIFIED] = "modified",
		[CHAIN_UNSCANNED] = "unscanned",
		[CHAIN_BLOCKED] = "blocked",
		[CHAIN_ERROR] = "error",
		[CHAIN_CANCELLED] = "cancelled",
		[CHAIN_BYPASSED] = "bypassed",
	};

	assert(o < CHAIN_OUTCOMES);
	return (name[o]);
}

static void
body_drop(struct chain_run *run)
{
	reader_close(&run->keeper);
	if (run->body != NULL)
		body_unref(&run->body);
}

void
chain_body_give(struct chain_run *run, struct body *body)
{
	body_drop(run);
	run->body = body;
	if (body != NULL)
		reader_open(&run->keeper, body, 0, NULL);
}

/* It has an answer nobody looked at yet: a finding is recorded all the same. */
static bool
has_found(const struct scan *scan)
{
	return (scan->done && scan->result.fault.code == ERR_NONE &&
	    scan->result.verdict == VERDICT_BLOCKED);
}

/* Stop what still runs in this step. */
static void
step_cancel(struct chain_run *run)
{
	unsigned i;

	for (i = run->first; i < run->used; i++) {
		if (run->states[i] == CHAIN_SETTLED)
			continue;
		assert(run->running > 0);
		run->running--;
		if (run->states[i] == CHAIN_WAITS) /* it never began */
			run->scans[i].scanner = NULL;
		run->states[i] = CHAIN_SETTLED;
		scan_waits(&run->scans[i]);
		chain_record_end(run, i,
		    has_found(&run->scans[i]) ? CHAIN_BLOCKED : CHAIN_CANCELLED,
		    ERR_NONE, STR_NONE);
		scan_cancel(&run->scans[i]);
	}
}

struct fault *
chain_end_as(struct chain_run *run, enum chain_action action)
{
	run->ending = true;
	run->result.action = action;
	run->result.fault = (struct fault){ .code = ERR_NONE };
	return (&run->result.fault);
}

static void
chain_end(struct chain_run *run)
{
	struct chain_result *r = &run->result;

	assert(!run->done);
	step_cancel(run);
	known_fini(&run->known);
	r->us = run->meter.us;
	if (r->action == CHAIN_BLOCK || r->action == CHAIN_FAIL) {
		body_drop(run);
		r->modified = false;
		r->req = r->resp = NULL;
	}
	if (run->body != NULL)
		r->body = body_ref(run->body);
	run->step = run->step_count;
	run->done = true;
	task_wake(run->wake);
}

static void
scan_go(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];

	run->states[i] = CHAIN_RUNS;
	scan_start(scan, scan->scanner, run->msg, &run->task);
	scan_metered(scan, &run->meter);
}

static void
scan_begin(struct chain_run *run, struct scanner *scanner)
{
	unsigned i = run->used++;
	struct chain_record *rec = &run->records[i];

	rec->service = str_of(scanner->name);
	rec->mode = run->msg->mode;
	rec->outcome = CHAIN_CANCELLED;
	run->running++;
	run->scans[i].scanner = scanner;
	if (!run->result.modified &&
	    known_applies(&run->known, scanner, run->msg)) {
		run->states[i] = CHAIN_WAITS;
		known_begin(&run->known, run->body);
	} else
		scan_go(run, i);
}

/* Those that wait for the digest: is it there, or have they waited enough? */
static void
step_ask(struct chain_run *run)
{
	bool wait = false;
	unsigned i;

	for (i = run->first; i < run->used; i++) {
		if (run->states[i] != CHAIN_WAITS)
			continue;
		switch (
		    known_ask(&run->known, run->scans[i].scanner, run->msg)) {
		case KNOWN_CLEAN:
			chain_settle_known(run, i);
			break;
		case KNOWN_UNKNOWN:
			scan_go(run, i);
			break;
		case KNOWN_WAIT:
			wait = true;
			break;
		}
	}
	if (!wait)
		known_stop(&run->known);
}

static bool
scanner_serves(const struct scanner *scanner, enum scan_mode mode)
{
	return (mode == SCAN_REQ ? scanner->scans_req : scanner->scans_resp);
}

/* Start the first step from here on that has something to do. */
static void
step_begin(struct chain_run *run)
{
	const struct chain_step *step;
	unsigned i;

	assert(run->running == 0);
	for (; run->step < run->step_count; run->step++) {
		step = &run->steps[run->step];
		run->first = run->used;
		for (i = 0; i < step->n; i++)
			if (scanner_serves(step->scanners[i], run->msg->mode))
				scan_begin(run, step->scanners[i]);
		if (run->running > 0)
			return;
	}
	chain_end_as(run, CHAIN_PASS);
	chain_end(run);
}

bool
chain_message_stands(const struct chain_run *run)
{
	return (!run->result.modified);
}

static void
step_end(struct chain_run *run)
{
	const struct chain_result *r = &run->result;

	assert(run->running == 0 && !run->ending);
	if (run->unscanned) {
		fault_set(chain_end_as(run, CHAIN_BLOCK), ERR_UNSCANNED, "%.*s",
		    STR_ARG(r->reason));
		chain_end(run);
		return;
	}
	run->step++;
	step_begin(run);
}

static void
chain_work(struct task *t)
{
	struct chain_run *run = CONTAINER_OF(t, struct chain_run, task);
	unsigned i;

	if (run->done)
		return;
	step_ask(run);
	for (i = run->first; i < run->used; i++)
		if (run->scans[i].done && run->states[i] != CHAIN_SETTLED)
			chain_settle(run, i);
	if (run->unscanned && run->result.action == CHAIN_FAIL)
		run->ending = false; /* that it blocks is known already */
	if (run->ending)
		chain_end(run);
	else if (run->running == 0)
		step_end(run);
}

struct chain_run *
chain_start(struct loop *loop, const struct chain_step *steps, unsigned n,
    const struct scan_message *msg, struct task *wake)
{
	struct chain_run *run = arena_zalloc(msg->arena, sizeof(*run));
	unsigned i, total = 0;

	for (i = 0; i < n; i++)
		total += steps[i].n;
	run->loop = loop;
	run->wake = wake;
	run->steps = steps;
	run->step_count = n;
	run->msg = msg;
	task_init(&run->task, loop, chain_work);
	run->scans = arena_zalloc(msg->arena, total * sizeof(*run->scans));
	run->records = arena_zalloc(msg->arena, total * sizeof(*run->records));
	run->states = arena_zalloc(msg->arena, total * sizeof(*run->states));
	known_init(&run->known, loop, &run->task);
	if (msg->body != NULL)
		chain_body_give(run, body_ref(msg->body));
	step_begin(run);
	return (run);
}

struct chain_result *
chain_result(struct chain_run *run)
{
	return (run->done ? &run->result : NULL);
}

const struct chain_record *
chain_records(const struct chain_run *run, unsigned *n)
{
	*n = run->used;
	return (run->records);
}

uint64_t
chain_us(const struct chain_run *run)
{
	return (run->meter.us);
}

void
chain_cancel(struct chain_run **pp)
{
	struct chain_run *run = *pp;
	unsigned i;

	if (run == NULL)
		return;
	*pp = NULL;
	step_cancel(run);
	for (i = 0; i < run->used; i++)
		scan_cancel(&run->scans[i]);
	known_fini(&run->known);
	task_fini(&run->task);
	body_drop(run);
	if (run->result.body != NULL)
		body_unref(&run->result.body);
}
