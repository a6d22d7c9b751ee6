/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chain, see chain.h.  One task serves it: it settles the scans that are
 * done, joins their verdicts, and either ends the chain or starts the next
 * step once nothing of this one runs.
 * Room: scanners.  Thread: its loop's.
 */
#include <assert.h>
#include "scanners/chain.h"
#include "scanners/known.h"

struct chain_run {
	struct loop *loop;
	struct task task;	/* woken by the scans */
	struct task *wake;	/* of whoever started the chain */
	const struct chain_step *steps;
	unsigned step_count;
	unsigned step;		/* the running one; step_count: none */
	const struct scan_message *msg;	/* what the running step looks at */
	struct body *body;	/* of the current message, counted */
	struct reader keeper;	/* keeps all of it, reads nothing */
	struct scan *scans;	/* all that were started, step after step */
	struct chain_record *records;	/* one for each of them */
	bool *settled;
	bool *waits;		/* not started: its answer may be known */
	struct known known;	/* of the message as it came */
	struct scan_meter meter;
	unsigned first;		/* of the running step */
	unsigned used;
	unsigned running;	/* of the running step, not settled */
	bool unscanned;		/* blocks once nothing stronger can come */
	bool ending;		/* result says how */
	bool done;
	struct chain_result result;
};

/* Ends of the message itself, whoever notices them. */
static const enum err message_faults[] = {
	ERR_REQ_CHUNK, ERR_REQ_BODY_CUT, ERR_CLIENT_GONE, ERR_ORIGIN_CHUNK,
	ERR_ORIGIN_CUT, ERR_ORIGIN_STALL, ERR_MEMORY, ERR_TEMP_LIMIT,
	ERR_TEMP_FULL, ERR_BODY_LIMIT, ERR_SHUTDOWN, ERR_THREAT,
};

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

/* "text: detail", in the arena; the table's text alone where that is all. */
static struct str
fault_text(struct arena *a, const struct fault *f)
{
	const char *text = err_info(f->code)->text;

	if (f->detail[0] == '\0')
		return (str_of(text));
	return (arena_printf(a, "%s: %s", text, f->detail));
}

/* The verdict only ever gets stronger; the first of equals is named. */
static void
verdict_join(struct chain_result *to, enum verdict v, struct str by,
    struct str threat, struct str reason)
{
	if (v <= to->verdict)
		return;
	to->verdict = v;
	to->by = by;
	to->threat = threat;
	to->reason = reason;
}

static void
body_drop(struct chain_run *run)
{
	reader_close(&run->keeper);
	if (run->body != NULL)
		body_unref(&run->body);
}

/* From now on body (given, may be NULL) is that of the current message. */
static void
body_give(struct chain_run *run, struct body *body)
{
	body_drop(run);
	run->body = body;
	if (body != NULL)
		reader_open(&run->keeper, body, 0, NULL);
}

static struct body *
body_take(struct scan *scan)
{
	struct body *body = scan->result.body;

	scan->result.body = NULL;
	return (body);
}

static void
record_end(struct chain_run *run, unsigned i, enum chain_outcome outcome,
    enum err code, struct str reason)
{
	const struct scan_result *r = &run->scans[i].result;
	struct chain_record *rec = &run->records[i];

	rec->outcome = outcome;
	rec->code = code;
	rec->reason = reason;
	rec->endpoint = r->endpoint;
	rec->us = r->us;
	rec->bytes = r->bytes;
	rec->threat = r->threat;
	rec->note = r->note;
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
		if (run->settled[i])
			continue;
		run->settled[i] = true;
		run->running--;
		if (run->waits[i])		/* it never began */
			run->scans[i].scanner = NULL;
		run->waits[i] = false;
		scan_waits(&run->scans[i]);
		record_end(run, i, has_found(&run->scans[i]) ?
		    CHAIN_BLOCKED : CHAIN_CANCELLED, ERR_NONE, STR_NONE);
		scan_cancel(&run->scans[i]);
	}
}

/* Decide how the chain ends; a block may still replace a failure. */
static struct fault *
end_as(struct chain_run *run, enum chain_action action)
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

/* A fault of the message itself?  *f becomes its cause then. */
static bool
fault_is_of_message(const struct chain_run *run, struct fault *f)
{
	enum pull end = run->body != NULL ? body_end(run->body) : PULL_END;
	unsigned i;

	if (end == PULL_CUT || end == PULL_FAIL) {
		if (body_fault(run->body)->code != ERR_NONE)
			*f = *body_fault(run->body);
		return (true);
	}
	for (i = 0; i < sizeof(message_faults) / sizeof(message_faults[0]); i++)
		if (f->code == message_faults[i])
			return (true);
	return (false);
}

/* No verdict: the scanner's policy decides. */
static void
settle_failed(struct chain_run *run, unsigned i, const struct fault *f)
{
	const struct scanner *scanner = run->scans[i].scanner;
	struct str text = fault_text(run->msg->arena, f);
	enum scan_policy policy = f->code == ERR_SCAN_BUSY ?
	    scanner->on_busy : scanner->on_error;

	verdict_join(&run->result, VERDICT_UNSCANNED, str_of(scanner->name),
	    STR_NONE, text);
	if (policy == SCAN_POLICY_BYPASS) {
		record_end(run, i, CHAIN_BYPASSED, f->code, text);
	} else {
		record_end(run, i, CHAIN_ERROR, f->code, text);
		if (!run->ending)
			fault_copy(end_as(run, CHAIN_FAIL), f);
	}
	scan_cancel(&run->scans[i]);
}

/* Nobody could have scanned it: no policy applies. */
static void
settle_cut(struct chain_run *run, unsigned i, const struct fault *f)
{
	struct str text = fault_text(run->msg->arena, f);
	bool found = f->code == ERR_THREAT;	/* by who adapted the message */

	verdict_join(&run->result, found ? VERDICT_BLOCKED :
	    VERDICT_UNSCANNED, STR_NONE, found ? arena_str(run->msg->arena,
	    str_of(f->detail)) : STR_NONE, text);
	record_end(run, i, CHAIN_CANCELLED, f->code, text);
	if (!run->ending || (found && run->result.action == CHAIN_FAIL))
		fault_copy(end_as(run, found ? CHAIN_BLOCK : CHAIN_FAIL), f);
	scan_cancel(&run->scans[i]);
}

static void
settle_fault(struct chain_run *run, unsigned i)
{
	struct fault f = run->scans[i].result.fault;

	if (fault_is_of_message(run, &f))
		settle_cut(run, i, &f);
	else
		settle_failed(run, i, &f);
}

/*
 * Something was not looked at; true: policy goes on nevertheless.  gap
 * GAP_NONE: only what is known of the message beforehand.
 */
static bool
settle_unscanned(struct chain_run *run, unsigned i, enum scan_gap gap,
    struct str reason)
{
	const struct scanner *scanner = run->scans[i].scanner;
	enum scan_gap known = run->msg->gap;
	enum scan_policy policy = scanner->on_unscanned[gap];

	if (run->scans[i].result.too_large && (gap == GAP_LIMIT ||
	    scanner->over_max == SCAN_POLICY_BLOCK))
		policy = scanner->over_max;
	if (run->scans[i].result.unwanted)
		policy = SCAN_POLICY_BYPASS;

	if (known != GAP_NONE && (gap == GAP_NONE ||
	    (policy == SCAN_POLICY_BYPASS &&
	    scanner->on_unscanned[known] == SCAN_POLICY_BLOCK))) {
		gap = known;
		reason = run->msg->gap_text;
		policy = scanner->on_unscanned[known];
	}
	run->records[i].gap = gap;
	verdict_join(&run->result, VERDICT_UNSCANNED, str_of(scanner->name),
	    STR_NONE, reason);
	if (policy == SCAN_POLICY_BYPASS) {
		record_end(run, i, CHAIN_BYPASSED, ERR_UNSCANNED, reason);
		return (true);
	}
	record_end(run, i, CHAIN_UNSCANNED, ERR_UNSCANNED, reason);
	if (run->unscanned || run->result.verdict == VERDICT_BLOCKED)
		return (false);
	run->unscanned = true;		/* the others may find a threat yet */
	run->result.by = str_of(scanner->name);
	run->result.reason = reason;
	return (false);
}

/* Nothing was found, in what there was to see. */
static void
settle_clean(struct chain_run *run, unsigned i)
{
	const struct scan *scan = &run->scans[i];

	if (run->msg->gap != GAP_NONE) {
		(void)settle_unscanned(run, i, GAP_NONE, STR_NONE);
		return;
	}
	record_end(run, i, CHAIN_CLEAN, ERR_NONE, STR_NONE);
	if (scan->result.reusable && !run->result.modified)
		known_learn(&run->known, scan->scanner, run->msg);
}

static void
settle_blocked(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];
	struct scan_result *r = &scan->result;
	bool page = r->has_message && r->resp != NULL &&
	    !scan->scanner->replace_page;
	struct fault *f;

	record_end(run, i, CHAIN_BLOCKED, ERR_NONE, STR_NONE);
	if (run->result.verdict == VERDICT_BLOCKED)
		return;			/* the other one came first */
	verdict_join(&run->result, VERDICT_BLOCKED, str_of(scan->scanner->name),
	    r->threat, STR_NONE);
	f = end_as(run, page ? CHAIN_ANSWER : CHAIN_BLOCK);
	if (r->threat.n > 0)
		fault_set(f, ERR_THREAT, "%.*s", STR_ARG(r->threat));
	else
		fault_set(f, ERR_SERVICE_BLOCK, "%s", scan->scanner->name);
	if (page) {
		run->result.resp = r->resp;
		run->result.modified = true;
		body_give(run, body_take(scan));
	}
}

/* The next step, or whoever goes on, sees the adapted message. */
static void
message_replace(struct chain_run *run, struct scan_result *r)
{
	struct scan_message *m = arena_alloc(run->msg->arena, sizeof(*m));

	*m = *run->msg;
	if (m->mode == SCAN_REQ && r->req != NULL)
		m->req = run->result.req = r->req;
	if (m->mode == SCAN_RESP && r->resp != NULL)
		m->resp = run->result.resp = r->resp;
	m->body = run->body;
	run->msg = m;
}

/*
 * In a group the others have not seen what this one made of the message, and
 * the message as it was is one that it does not let through: no policy for
 * failures may give that to anybody.
 */
static void
settle_replaced(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];
	const char *name = scan->scanner->name;
	struct str threat = scan->result.threat;
	struct fault f = { .code = ERR_NONE };

	fault_set(&f, ERR_SCAN_MISUSE, "%s adapted a message", name);
	run->records[i].misconfigured = true;
	record_end(run, i, CHAIN_BLOCKED, ERR_SCAN_MISUSE,
	    fault_text(run->msg->arena, &f));
	if (run->result.verdict != VERDICT_BLOCKED) {
		verdict_join(&run->result, VERDICT_BLOCKED, str_of(name),
		    threat, STR_NONE);
		if (threat.n > 0)
			fault_set(end_as(run, CHAIN_BLOCK), ERR_THREAT,
			    "%.*s", STR_ARG(threat));
		else
			fault_set(end_as(run, CHAIN_BLOCK),
			    ERR_SERVICE_BLOCK, "%s, in a group", f.detail);
	}
	scan_cancel(&run->scans[i]);
}

static void
settle_modified(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];
	struct scan_result *r = &scan->result;

	if (run->steps[run->step].n > 1) {
		settle_replaced(run, i);
		return;
	}
	if (run->msg->gap != GAP_NONE && !settle_unscanned(run, i, GAP_NONE,
	    STR_NONE))
		return;
	record_end(run, i, CHAIN_MODIFIED, ERR_NONE, STR_NONE);
	verdict_join(&run->result, VERDICT_MODIFIED,
	    str_of(scan->scanner->name), STR_NONE, STR_NONE);
	run->result.modified = true;
	body_give(run, body_take(scan));
	if (run->msg->mode == SCAN_REQ && r->resp != NULL) {
		run->result.resp = r->resp;	/* RFC 3507 4.8.2: satisfied */
		end_as(run, CHAIN_ANSWER);
	} else {
		message_replace(run, r);
	}
}

static void
settle_one(struct chain_run *run, unsigned i)
{
	const struct scan_result *r = &run->scans[i].result;

	run->settled[i] = true;
	run->running--;
	if (r->fault.code != ERR_NONE) {
		settle_fault(run, i);
		return;
	}
	switch (r->verdict) {
	case VERDICT_CLEAN:
		settle_clean(run, i);
		break;
	case VERDICT_MODIFIED:
		settle_modified(run, i);
		break;
	case VERDICT_UNSCANNED:
		(void)settle_unscanned(run, i, r->gap, r->reason);
		break;
	case VERDICT_BLOCKED:
		settle_blocked(run, i);
		break;
	}
}

static void
scan_go(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];

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
	run->waits[i] = !run->result.modified &&
	    known_applies(&run->known, scanner, run->msg);
	if (run->waits[i])
		known_begin(&run->known, run->body);
	else
		scan_go(run, i);
}

/* The answer is known: no scan is needed. */
static void
settle_known(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];

	scan->scanner = NULL;			/* it never began */
	scan->result.bytes = body_received(run->body);
	run->settled[i] = true;
	run->running--;
	record_end(run, i, CHAIN_CACHED, ERR_NONE, STR_NONE);
}

/* Those that wait for the digest: is it there, or have they waited enough? */
static void
step_ask(struct chain_run *run)
{
	bool wait = false;
	unsigned i;

	for (i = run->first; i < run->used; i++) {
		if (!run->waits[i])
			continue;
		run->waits[i] = false;
		switch (known_ask(&run->known, run->scans[i].scanner,
		    run->msg)) {
		case KNOWN_CLEAN:
			settle_known(run, i);
			break;
		case KNOWN_UNKNOWN:
			scan_go(run, i);
			break;
		case KNOWN_WAIT:
			wait = run->waits[i] = true;
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

	for (; run->step < run->step_count; run->step++) {
		step = &run->steps[run->step];
		run->first = run->used;
		for (i = 0; i < step->n; i++)
			if (scanner_serves(step->scanners[i], run->msg->mode))
				scan_begin(run, step->scanners[i]);
		if (run->running > 0)
			return;
	}
	end_as(run, CHAIN_PASS);
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

	if (run->unscanned) {
		fault_set(end_as(run, CHAIN_BLOCK), ERR_UNSCANNED, "%.*s",
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
		if (run->scans[i].done && !run->settled[i])
			settle_one(run, i);
	if (run->unscanned && run->result.action == CHAIN_FAIL)
		run->ending = false;	/* that it blocks is known already */
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
	run->settled = arena_zalloc(msg->arena, total * sizeof(*run->settled));
	run->waits = arena_zalloc(msg->arena, total * sizeof(*run->waits));
	known_init(&run->known, loop, &run->task);
	if (msg->body != NULL)
		body_give(run, body_ref(msg->body));
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
