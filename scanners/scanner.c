/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all scanners share, see scanner.h. */
#include <assert.h>
#include "scanners/scanner.h"

const char *
verdict_name(enum verdict v)
{
	static const char *const name[] = {
		[VERDICT_CLEAN] = "clean",
		[VERDICT_MODIFIED] = "modified",
		[VERDICT_UNSCANNED] = "unscanned",
		[VERDICT_BLOCKED] = "blocked",
	};

	assert(v <= VERDICT_BLOCKED);
	return (name[v]);
}

const char *
scan_gap_name(enum scan_gap gap)
{
	static const char *const name[GAP_COUNT] = {
		[GAP_NONE] = "",
		[GAP_ENCRYPTED] = "encrypted",
		[GAP_CODING] = "coding",
		[GAP_LIMIT] = "limit",
		[GAP_PART] = "part",
		[GAP_STREAM] = "stream",
		[GAP_TIME] = "time",
		[GAP_DAMAGED] = "damaged",
		[GAP_ERROR] = "error",
	};

	assert(gap < GAP_COUNT);
	return (name[gap]);
}

void
scan_start(struct scan *scan, struct scanner *scanner,
    const struct scan_message *msg, struct task *wake)
{
	*scan = (struct scan){
		.scanner = scanner,
		.msg = msg,
		.wake = wake,
	};
	scan->result.started_at = loop_now(scanner->loop);
	scanner->type->start(scan);
}

void
scan_done(struct scan *scan)
{
	struct scan_result *r = &scan->result;

	assert(!scan->done);
	scan->done = true;
	r->ended_at = loop_now(scan->scanner->loop);
	if (r->fault.code != ERR_NONE)
		r->verdict = VERDICT_UNSCANNED;
	assert(r->verdict != VERDICT_MODIFIED || r->has_message);
	assert(r->verdict != VERDICT_UNSCANNED || r->fault.code != ERR_NONE ||
	    r->gap != GAP_NONE);
	assert(r->body == NULL || r->has_message);
	task_wake(scan->wake);
}

void
scan_cancel(struct scan *scan)
{
	if (scan->scanner == NULL)
		return;
	scan->scanner->type->cancel(scan);
	if (scan->result.body != NULL)
		body_unref(&scan->result.body);
	scan->scanner = NULL;
	scan->wake = NULL;
}
