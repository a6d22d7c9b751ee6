/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the end of one scan means for the chain: verdicts are joined, policies
 * asked, the message replaced.  See chain.h.
 * Room: scanners.  Thread: its loop's.
 */
#include "scanners/chain_priv.h"

/* Ends of the message itself, whoever notices them. */
static const enum err message_faults[] = {
	ERR_REQ_CHUNK,
	ERR_REQ_BODY_CUT,
	ERR_CLIENT_GONE,
	ERR_ORIGIN_CHUNK,
	ERR_ORIGIN_CUT,
	ERR_ORIGIN_STALL,
	ERR_MEMORY,
	ERR_TEMP_LIMIT,
	ERR_TEMP_FULL,
	ERR_DESCRIPTORS,
	ERR_BODY_LIMIT,
	ERR_SHUTDOWN,
	ERR_THREAT,
};

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

static struct body *
body_take(struct scan *scan)
{
	struct body *body = scan->result.body;

	scan->result.body = NULL;
	return (body);
}

void
chain_record_end(struct chain_run *run, unsigned i, enum chain_outcome outcome,
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
	enum scan_policy policy = f->code == ERR_SCAN_BUSY ? scanner->on_busy
							   : scanner->on_error;

	verdict_join(&run->result, VERDICT_UNSCANNED, str_of(scanner->name),
	    STR_NONE, text);
	if (policy == SCAN_POLICY_BYPASS) {
		chain_record_end(run, i, CHAIN_BYPASSED, f->code, text);
	} else {
		chain_record_end(run, i, CHAIN_ERROR, f->code, text);
		if (!run->ending)
			fault_copy(chain_end_as(run, CHAIN_FAIL), f);
	}
	scan_cancel(&run->scans[i]);
}

/* Nobody could have scanned it: no policy applies. */
static void
settle_cut(struct chain_run *run, unsigned i, const struct fault *f)
{
	struct str text = fault_text(run->msg->arena, f);
	bool found = f->code == ERR_THREAT; /* by who adapted the message */

	verdict_join(&run->result, found ? VERDICT_BLOCKED : VERDICT_UNSCANNED,
	    STR_NONE,
	    found ? arena_str(run->msg->arena, str_of(f->detail)) : STR_NONE,
	    text);
	chain_record_end(run, i, CHAIN_CANCELLED, f->code, text);
	if (!run->ending || (found && run->result.action == CHAIN_FAIL))
		fault_copy(chain_end_as(run, found ? CHAIN_BLOCK : CHAIN_FAIL),
		    f);
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

	if (run->scans[i].result.too_large &&
	    (gap == GAP_LIMIT || scanner->over_max == SCAN_POLICY_BLOCK))
		policy = scanner->over_max;
	if (run->scans[i].result.unwanted)
		policy = SCAN_POLICY_BYPASS;

	if (known != GAP_NONE &&
	    (gap == GAP_NONE ||
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
		chain_record_end(run, i, CHAIN_BYPASSED, ERR_UNSCANNED, reason);
		return (true);
	}
	chain_record_end(run, i, CHAIN_UNSCANNED, ERR_UNSCANNED, reason);
	if (run->unscanned || run->result.verdict == VERDICT_BLOCKED)
		return (false);
	run->unscanned = true; /* the others may find a threat yet */
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
	chain_record_end(run, i, CHAIN_CLEAN, ERR_NONE, STR_NONE);
	if (!run->result.modified)
		known_learn(&run->known, scan, run->msg);
}

static void
settle_blocked(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];
	struct scan_result *r = &scan->result;
	bool page = r->has_message && r->resp != NULL &&
	    !scan->scanner->replace_page;
	struct fault *f;

	chain_record_end(run, i, CHAIN_BLOCKED, ERR_NONE, STR_NONE);
	if (run->result.verdict == VERDICT_BLOCKED)
		return; /* the other one came first */
	verdict_join(&run->result, VERDICT_BLOCKED, str_of(scan->scanner->name),
	    r->threat, STR_NONE);
	f = chain_end_as(run, page ? CHAIN_ANSWER : CHAIN_BLOCK);
	if (r->threat.n > 0)
		fault_set(f, ERR_THREAT, "%.*s", STR_ARG(r->threat));
	else
		fault_set(f, ERR_SERVICE_BLOCK, "%s", scan->scanner->name);
	if (page) {
		run->result.resp = r->resp;
		run->result.modified = true;
		chain_body_give(run, body_take(scan));
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
	chain_record_end(run, i, CHAIN_BLOCKED, ERR_SCAN_MISUSE,
	    fault_text(run->msg->arena, &f));
	if (run->result.verdict != VERDICT_BLOCKED) {
		verdict_join(&run->result, VERDICT_BLOCKED, str_of(name),
		    threat, STR_NONE);
		if (threat.n > 0)
			fault_set(chain_end_as(run, CHAIN_BLOCK), ERR_THREAT,
			    "%.*s", STR_ARG(threat));
		else
			fault_set(chain_end_as(run, CHAIN_BLOCK),
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
	if (run->msg->gap != GAP_NONE &&
	    !settle_unscanned(run, i, GAP_NONE, STR_NONE))
		return;
	chain_record_end(run, i, CHAIN_MODIFIED, ERR_NONE, STR_NONE);
	verdict_join(&run->result, VERDICT_MODIFIED,
	    str_of(scan->scanner->name), STR_NONE, STR_NONE);
	run->result.modified = true;
	chain_body_give(run, body_take(scan));
	if (run->msg->mode == SCAN_REQ && r->resp != NULL) {
		run->result.resp = r->resp; /* RFC 3507 4.8.2: satisfied */
		chain_end_as(run, CHAIN_ANSWER);
	} else {
		message_replace(run, r);
	}
}

void
chain_settle(struct chain_run *run, unsigned i)
{
	const struct scan_result *r = &run->scans[i].result;

	run->states[i] = CHAIN_SETTLED;
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

void
chain_settle_known(struct chain_run *run, unsigned i)
{
	struct scan *scan = &run->scans[i];

	scan->scanner = NULL; /* it never began */
	scan->result.bytes = body_received(run->body);
	run->states[i] = CHAIN_SETTLED;
	run->running--;
	chain_record_end(run, i, CHAIN_CACHED, ERR_NONE, STR_NONE);
}
