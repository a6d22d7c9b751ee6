/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chain with scripted scanners: every mix of answers of a group in every
 * order, steps, adapted messages, failures, the keeper, cancel at each point.
 */
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include "scanners/chain.h"
#include "t/unit/unit.h"

#define FAKES 4

/* A scanner that answers when the test says so. */
struct fake {
	struct scanner scanner; /* first */
	struct scan *scan;      /* running; NULL: not, or cancelled */
	struct reader reader;
	struct str seen; /* what it had read when it answered */
	unsigned starts, cancels;
	char bytes[64];
};

enum say {
	SAY_CLEAN,
	SAY_MODIFIED,
	SAY_UNSCANNED,
	SAY_BLOCKED,
	SAY_DOWN,
	SAYS
};

/* A body that arrives as the test says. */
struct drip {
	struct source source; /* first */
	struct chq q;
	bool ended;
};

static struct loop *loop;
static struct body_store store;
static struct arena *arena;
static struct fake fakes[FAKES];
static struct scanner *group[FAKES];
static struct http_msg *req, *resp;
static struct body *body;
static struct scan_message msg;
static struct task wake;
static unsigned wakes;

static void
spin(void)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
}

static void
on_wake(struct task *t)
{
	(void)t;
	wakes++;
}

static void
fake_start(struct scan *scan)
{
	struct fake *f = (struct fake *)(void *)scan->scanner;

	CU_ASSERT_PTR_NULL_FATAL(f->scan);
	f->scan = scan;
	f->starts++;
	scan->result.endpoint = STR("fake:1");
	if (scan->msg->body != NULL)
		reader_open(&f->reader, scan->msg->body, 0, NULL);
}

static void
fake_cancel(struct scan *scan)
{
	struct fake *f = (struct fake *)(void *)scan->scanner;

	reader_close(&f->reader);
	f->scan = NULL;
	f->cancels++;
}

static const struct scanner_type fake_type = { .name = "fake",
	.start = fake_start,
	.cancel = fake_cancel };

static ssize_t
drain(struct reader *r, char *p, size_t n)
{
	struct chq q = { 0 };
	size_t got;

	while (reader_pull(r, &q, 4096) == PULL_MORE)
		;
	got = chq_len(&q);
	if (got > n)
		got = n;
	chq_read(&q, 0, p, got);
	chq_fini(&q);
	return ((ssize_t)got);
}

/* Read the body and finish with what result holds already. */
static void
fake_done(struct fake *f)
{
	struct scan *scan = f->scan;

	if (f->reader.body != NULL)
		f->seen = (struct str){ f->bytes,
			(size_t)drain(&f->reader, f->bytes, sizeof(f->bytes)) };
	reader_close(&f->reader);
	scan->result.bytes = f->seen.n;
	scan_done(scan);
}

static void
fake_say(struct fake *f, enum say say)
{
	struct scan_result *r = &f->scan->result;

	switch (say) {
	case SAY_CLEAN:
		break;
	case SAY_MODIFIED:
		r->verdict = VERDICT_MODIFIED;
		r->has_message = true;
		r->body = body_of_bytes(loop, &store, "adapted", 7);
		break;
	case SAY_UNSCANNED:
		r->verdict = VERDICT_UNSCANNED;
		r->gap = GAP_ENCRYPTED;
		r->reason = STR("encrypted");
		break;
	case SAY_BLOCKED:
		r->verdict = VERDICT_BLOCKED;
		r->threat = STR("Worm");
		break;
	case SAY_DOWN:
	case SAYS:
		fault_set(&r->fault, ERR_SCAN_DOWN, "refused");
		break;
	}
	fake_done(f);
}

static void
fake_fault(struct fake *f, enum err code)
{
	fault_set(&f->scan->result.fault, code, NULL);
	fake_done(f);
}

static void
set_up(enum scan_mode mode, struct body *b)
{
	static const char *const name[FAKES] = { "a", "b", "c", "d" };
	unsigned i;

	loop = loop_new();
	store = (struct body_store){ .temp_dir = "/tmp", .window = 1 << 20 };
	arena = arena_new();
	memset(fakes, 0, sizeof(fakes));
	for (i = 0; i < FAKES; i++) {
		fakes[i].scanner = (struct scanner){ .type = &fake_type,
			.loop = loop,
			.name = name[i],
			.scans_req = true,
			.scans_resp = true };
		group[i] = &fakes[i].scanner;
	}
	req = http_msg_new(arena, true);
	resp = http_msg_new(arena, false);
	body = b != NULL ? b : body_of_bytes(loop, &store, "original", 8);
	msg = (struct scan_message){ .mode = mode,
		.req = req,
		.resp = mode == SCAN_RESP ? resp : NULL,
		.body = body,
		.arena = arena };
	wakes = 0;
	task_init(&wake, loop, on_wake);
}

static void
tear_down(void)
{
	task_fini(&wake);
	body_unref(&body); /* asserts that no reader is left */
	arena_free(&arena);
	loop_free(&loop);
}

static struct chain_run *
start(const struct chain_step *steps, unsigned n)
{
	struct chain_run *run = chain_start(loop, steps, n, &msg, &wake);

	spin();
	return (run);
}

static const struct chain_record *
record(struct chain_run *run, unsigned i)
{
	unsigned n;
	const struct chain_record *r = chain_records(run, &n);

	CU_ASSERT_FATAL(i < n);
	return (&r[i]);
}

static bool
body_is(struct body *b, const char *text)
{
	struct reader r;
	char got[64];
	ssize_t n;

	if (b == NULL)
		return (false);
	reader_open(&r, b, 0, NULL);
	n = drain(&r, got, sizeof(got));
	reader_close(&r);
	return ((size_t)n == strlen(text) && memcmp(got, text, (size_t)n) == 0);
}

/* Cases. */

static void
test_names(void)
{
	CU_ASSERT_STRING_EQUAL(verdict_name(VERDICT_CLEAN), "clean");
	CU_ASSERT_STRING_EQUAL(verdict_name(VERDICT_BLOCKED), "blocked");
	CU_ASSERT_STRING_EQUAL(chain_outcome_name(CHAIN_BYPASSED), "bypassed");
	CU_ASSERT_STRING_EQUAL(chain_outcome_name(CHAIN_CANCELLED),
	    "cancelled");
}

static void
test_nothing_to_do(void)
{
	struct chain_step step = { group, 1 };
	struct chain_run *run;
	unsigned i, n;

	for (i = 0; i < 2; i++) {
		set_up(SCAN_RESP, NULL);
		fakes[0].scanner.scans_resp = false;
		run = chain_start(loop, &step, i, &msg, &wake);
		CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
		CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_PASS);
		CU_ASSERT_PTR_EQUAL(chain_result(run)->body, body);
		spin();
		CU_ASSERT_EQUAL(wakes, 1);
		chain_records(run, &n);
		CU_ASSERT_EQUAL(n, 0);
		CU_ASSERT_EQUAL(fakes[0].starts, 0);
		chain_cancel(&run);
		CU_ASSERT_PTR_NULL(run);
		chain_cancel(&run);
		tear_down();
	}
}

static void
test_clean(void)
{
	struct chain_step steps[] = { { group, 1 }, { group + 1, 1 } };
	struct chain_run *run;
	struct chain_result *r;
	struct body *taken;

	set_up(SCAN_RESP, NULL);
	run = start(steps, 2);
	CU_ASSERT_PTR_NULL(chain_result(run));
	CU_ASSERT_EQUAL(fakes[1].starts, 0);
	fake_say(&fakes[0], SAY_CLEAN);
	spin();
	CU_ASSERT_EQUAL(fakes[1].starts, 1);
	CU_ASSERT_EQUAL(wakes, 0);
	fake_say(&fakes[1], SAY_CLEAN);
	spin();
	r = chain_result(run);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(wakes, 1);
	CU_ASSERT_EQUAL(r->action, CHAIN_PASS);
	CU_ASSERT_EQUAL(r->verdict, VERDICT_CLEAN);
	CU_ASSERT_EQUAL(r->fault.code, ERR_NONE);
	CU_ASSERT_FALSE(r->modified);
	CU_ASSERT_PTR_NULL(r->resp);
	CU_ASSERT_EQUAL(fakes[1].seen.n, 8);
	CU_ASSERT_EQUAL(record(run, 1)->bytes, 8);
	CU_ASSERT_EQUAL(record(run, 1)->outcome, CHAIN_CLEAN);
	CU_ASSERT(str_eq(record(run, 0)->service, STR("a")));
	CU_ASSERT(str_eq(record(run, 0)->endpoint, STR("fake:1")));
	CU_ASSERT(body_is(r->body, "original"));
	taken = r->body;
	r->body = NULL;
	chain_cancel(&run);
	body_unref(&taken);
	tear_down();
}

/* on_error, and on_unscanned for every reason. */
static void
fake_policy(struct fake *f, enum scan_policy policy)
{
	unsigned g;

	f->scanner.on_error = policy;
	for (g = 0; g < GAP_COUNT; g++)
		f->scanner.on_unscanned[g] = policy;
}

/* Each reason has a policy of its own. */
static void
test_gaps(void)
{
	struct chain_step step = { group, 1 };
	struct chain_run *run;
	struct scan_result *s;
	unsigned g, open;

	for (g = (GAP_NONE + 1) * 2; g < GAP_COUNT * 2; g++) {
		open = g % 2;
		set_up(SCAN_RESP, NULL);
		fake_policy(&fakes[0],
		    open ? SCAN_POLICY_BLOCK : SCAN_POLICY_BYPASS);
		fakes[0].scanner.on_unscanned[g / 2] = open ? SCAN_POLICY_BYPASS
							    : SCAN_POLICY_BLOCK;
		run = start(&step, 1);
		s = &fakes[0].scan->result;
		s->verdict = VERDICT_UNSCANNED;
		s->gap = (enum scan_gap)(g / 2);
		s->reason = STR("why");
		fake_done(&fakes[0]);
		spin();
		CU_ASSERT_EQUAL(chain_result(run)->action,
		    open ? CHAIN_PASS : CHAIN_BLOCK);
		CU_ASSERT_EQUAL(record(run, 0)->gap, g / 2);
		CU_ASSERT_EQUAL(record(run, 0)->outcome,
		    open ? CHAIN_BYPASSED : CHAIN_UNSCANNED);
		chain_cancel(&run);
		tear_down();
	}
}

/* A message that nobody can see the whole of: its clean is unscanned. */
static void
test_message_gap(void)
{
	static const struct {
		enum say say;
		enum scan_policy policy;
		enum chain_action action;
		enum verdict verdict;
		bool modified;
	} row[] = {
		{ SAY_CLEAN, SCAN_POLICY_BLOCK, CHAIN_BLOCK, VERDICT_UNSCANNED,
		    false },
		{ SAY_CLEAN, SCAN_POLICY_BYPASS, CHAIN_PASS, VERDICT_UNSCANNED,
		    false },
		{ SAY_MODIFIED, SCAN_POLICY_BLOCK, CHAIN_BLOCK,
		    VERDICT_UNSCANNED, false },
		{ SAY_MODIFIED, SCAN_POLICY_BYPASS, CHAIN_PASS,
		    VERDICT_UNSCANNED, true },
		{ SAY_BLOCKED, SCAN_POLICY_BYPASS, CHAIN_BLOCK, VERDICT_BLOCKED,
		    false },
		/* a reason that is let pass hides no other */
		{ SAY_UNSCANNED, SCAN_POLICY_BLOCK, CHAIN_BLOCK,
		    VERDICT_UNSCANNED, false },
	};
	struct chain_step step = { group, 1 };
	struct chain_run *run;
	struct chain_result *r;
	size_t i;

	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		set_up(SCAN_RESP, NULL);
		fake_policy(&fakes[0], SCAN_POLICY_BYPASS);
		msg.gap = GAP_PART;
		msg.gap_text = STR("a part");
		fakes[0].scanner.on_unscanned[GAP_PART] = row[i].policy;
		run = start(&step, 1);
		fake_say(&fakes[0], row[i].say);
		spin();
		r = chain_result(run);
		CU_ASSERT_EQUAL(r->action, row[i].action);
		CU_ASSERT_EQUAL(r->verdict, row[i].verdict);
		CU_ASSERT_EQUAL(r->modified, row[i].modified);
		if (row[i].verdict == VERDICT_UNSCANNED)
			CU_ASSERT(str_eq(r->reason, STR("a part")));
		chain_cancel(&run);
		tear_down();
	}
}

/* What a group must come to, by the words of chain.h. */
struct expect {
	enum chain_action action;
	enum err code;
	unsigned answered; /* how many answers it takes */
};

struct member {
	enum say say;
	enum scan_policy policy; /* on_error and on_unscanned */
};

static struct expect
expect_group(const struct member *m, const unsigned *order, unsigned n)
{
	bool unscanned = false;
	unsigned i;

	for (i = 0; i < n; i++) {
		const struct member *k = &m[order[i]];
		bool hard = k->policy == SCAN_POLICY_BLOCK;

		if (k->say == SAY_BLOCKED)
			return (
			    (struct expect){ CHAIN_BLOCK, ERR_THREAT, i + 1 });
		if (k->say == SAY_UNSCANNED && hard)
			unscanned = true;
		if (k->say == SAY_DOWN && hard && !unscanned)
			return ((
			    struct expect){ CHAIN_FAIL, ERR_SCAN_DOWN, i + 1 });
		if (k->say == SAY_MODIFIED)
			return ((struct expect){ CHAIN_BLOCK, ERR_SERVICE_BLOCK,
			    i + 1 });
	}
	if (unscanned)
		return ((struct expect){ CHAIN_BLOCK, ERR_UNSCANNED, n });
	return ((struct expect){ CHAIN_PASS, ERR_NONE, n });
}

/* answers: one at a time with the loop running between. */
static void
run_group(const struct member *m, const unsigned *order)
{
	struct expect e = expect_group(m, order, 3);
	struct chain_step step = { group, 3 };
	struct chain_run *run;
	struct chain_result *r;
	unsigned i;

	set_up(SCAN_RESP, NULL);
	for (i = 0; i < 3; i++)
		fake_policy(&fakes[i], m[i].policy);
	run = start(&step, 1);
	for (i = 0; i < 3 && chain_result(run) == NULL; i++) {
		fake_say(&fakes[order[i]], m[order[i]].say);
		spin();
	}
	r = chain_result(run);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(i, e.answered);
	CU_ASSERT_EQUAL(r->action, e.action);
	CU_ASSERT_EQUAL(r->fault.code, e.code);
	CU_ASSERT_EQUAL(r->body != NULL, e.action == CHAIN_PASS);
	CU_ASSERT_FALSE(r->modified);
	for (; i < 3; i++) { /* the rest was cancelled at once */
		CU_ASSERT_EQUAL(fakes[order[i]].cancels, 1);
		CU_ASSERT_EQUAL(record(run, order[i])->outcome,
		    CHAIN_CANCELLED);
	}
	CU_ASSERT(r->body == NULL || body_is(r->body, "original"));
	CU_ASSERT_EQUAL(wakes, 1);
	chain_cancel(&run);
	for (i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(fakes[i].cancels, 1);
	tear_down();
}

static void
test_group_orders(void)
{
	static const unsigned orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 },
		{ 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct member m[3];
	unsigned mix, i, o, v;

	for (mix = 0; mix < 10 * 10 * 10; mix++) {
		for (i = 0, v = mix; i < 3; i++, v /= 10)
			m[i] = (struct member){ (enum say)(v % 10 % SAYS),
				v % 10 < SAYS ? SCAN_POLICY_BLOCK
					      : SCAN_POLICY_BYPASS };
		for (o = 0; o < 6; o++)
			run_group(m, orders[o]);
	}
}

/* All in one turn: the strongest counts, whatever the order. */
static void
test_group_at_once(void)
{
	static const struct {
		enum say say[3];
		enum chain_action action;
		enum err code;
	} t[] = {
		{ { SAY_CLEAN, SAY_CLEAN, SAY_CLEAN }, CHAIN_PASS, ERR_NONE },
		{ { SAY_DOWN, SAY_CLEAN, SAY_BLOCKED }, CHAIN_BLOCK,
		    ERR_THREAT },
		{ { SAY_BLOCKED, SAY_DOWN, SAY_UNSCANNED }, CHAIN_BLOCK,
		    ERR_THREAT },
		{ { SAY_UNSCANNED, SAY_CLEAN, SAY_BLOCKED }, CHAIN_BLOCK,
		    ERR_THREAT },
		{ { SAY_DOWN, SAY_UNSCANNED, SAY_CLEAN }, CHAIN_BLOCK,
		    ERR_UNSCANNED },
		{ { SAY_MODIFIED, SAY_CLEAN, SAY_DOWN }, CHAIN_BLOCK,
		    ERR_SERVICE_BLOCK },
		{ { SAY_DOWN, SAY_MODIFIED, SAY_UNSCANNED }, CHAIN_BLOCK,
		    ERR_SERVICE_BLOCK },
	};
	struct chain_step step = { group, 3 };
	struct chain_run *run;
	unsigned i, k;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		set_up(SCAN_REQ, NULL);
		run = start(&step, 1);
		for (k = 0; k < 3; k++)
			fake_say(&fakes[k], t[i].say[k]);
		spin();
		CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
		CU_ASSERT_EQUAL(chain_result(run)->action, t[i].action);
		CU_ASSERT_EQUAL(chain_result(run)->fault.code, t[i].code);
		if (t[i].code == ERR_THREAT)
			CU_ASSERT(
			    str_eq(chain_result(run)->threat, STR("Worm")));
		chain_cancel(&run);
		tear_down();
	}
}

static void
test_misuse_is_recorded(void)
{
	struct chain_step step = { group, 2 };
	struct chain_run *run;

	set_up(SCAN_RESP, NULL);
	fakes[0].scanner.on_error = SCAN_POLICY_BYPASS;
	run = start(&step, 1);
	fake_say(&fakes[0], SAY_MODIFIED);
	fake_say(&fakes[1], SAY_CLEAN);
	spin();
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_BLOCK);
	CU_ASSERT_EQUAL(chain_result(run)->verdict, VERDICT_BLOCKED);
	CU_ASSERT_PTR_NULL(chain_result(run)->body);
	CU_ASSERT_TRUE(record(run, 0)->misconfigured);
	CU_ASSERT_EQUAL(record(run, 0)->outcome, CHAIN_BLOCKED);
	CU_ASSERT_EQUAL(record(run, 0)->code, ERR_SCAN_MISUSE);
	CU_ASSERT(record(run, 0)->reason.n > 0);
	CU_ASSERT_EQUAL(record(run, 1)->outcome, CHAIN_CLEAN);
	chain_cancel(&run);
	tear_down();
}

/* Repaired in a group: the threat's name blocks, whatever on_error says. */
static void
test_repaired_in_a_group(void)
{
	struct chain_step step = { group, 2 };
	struct chain_run *run;

	set_up(SCAN_RESP, NULL);
	fake_policy(&fakes[0], SCAN_POLICY_BYPASS);
	fakes[0].scanner.on_error = SCAN_POLICY_BYPASS;
	run = start(&step, 1);
	fakes[0].scan->result.threat = STR("Worm");
	fake_say(&fakes[0], SAY_MODIFIED);
	spin();
	CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_BLOCK);
	CU_ASSERT_EQUAL(chain_result(run)->fault.code, ERR_THREAT);
	CU_ASSERT(str_eq(chain_result(run)->threat, STR("Worm")));
	chain_cancel(&run);
	tear_down();
}

/* The flow ends just when a scanner has found something: it is recorded. */
static void
test_found_then_cancelled(void)
{
	struct chain_step step = { group, 2 };
	const struct chain_record *r;
	struct chain_run *run;
	unsigned n;

	set_up(SCAN_RESP, NULL);
	run = start(&step, 1);
	fake_say(&fakes[0], SAY_BLOCKED);
	r = chain_records(run, &n);
	chain_cancel(&run);
	CU_ASSERT_EQUAL(r[0].outcome, CHAIN_BLOCKED);
	CU_ASSERT(str_eq(r[0].threat, STR("Worm")));
	CU_ASSERT_EQUAL(r[1].outcome, CHAIN_CANCELLED);
	tear_down();
}

/*
 * A modifier names a threat behind its body: the next step sees a cut, and
 * its bypass changes nothing.
 */
static void
test_found_behind_the_body(void)
{
	struct chain_step step = { group, 1 };
	struct chain_run *run;

	set_up(SCAN_RESP, NULL);
	fake_policy(&fakes[0], SCAN_POLICY_BYPASS);
	fakes[0].scanner.on_error = SCAN_POLICY_BYPASS;
	run = start(&step, 1);
	fault_set(&fakes[0].scan->result.fault, ERR_THREAT, "Worm");
	fake_done(&fakes[0]);
	spin();
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_BLOCK);
	CU_ASSERT_EQUAL(chain_result(run)->verdict, VERDICT_BLOCKED);
	CU_ASSERT_EQUAL(chain_result(run)->fault.code, ERR_THREAT);
	CU_ASSERT(str_eq(chain_result(run)->threat, STR("Worm")));
	chain_cancel(&run);
	tear_down();
}

/* The next step sees what the first one made; if it fails, that goes on. */
static void
test_modified_flows_on(void)
{
	struct chain_step steps[] = { { group, 1 }, { group + 1, 1 } };
	struct http_msg *head;
	struct chain_run *run;
	struct scan_result *s;

	set_up(SCAN_RESP, NULL);
	fakes[1].scanner.on_error = SCAN_POLICY_BYPASS;
	run = start(steps, 2);
	head = http_msg_new(arena, false);
	s = &fakes[0].scan->result;
	s->resp = head;
	fake_say(&fakes[0], SAY_MODIFIED);
	spin();
	CU_ASSERT_PTR_NOT_NULL_FATAL(fakes[1].scan);
	CU_ASSERT_PTR_EQUAL(fakes[1].scan->msg->resp, head);
	CU_ASSERT_PTR_EQUAL(fakes[1].scan->msg->req, req);
	CU_ASSERT_PTR_NOT_EQUAL(fakes[1].scan->msg->body, body);
	CU_ASSERT_PTR_EQUAL(msg.resp, resp);
	fake_say(&fakes[1], SAY_DOWN);
	spin();
	CU_ASSERT(str_eq(fakes[1].seen, STR("adapted")));
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_PASS);
	CU_ASSERT_TRUE(chain_result(run)->modified);
	CU_ASSERT_PTR_EQUAL(chain_result(run)->resp, head);
	CU_ASSERT_EQUAL(chain_result(run)->verdict, VERDICT_UNSCANNED);
	CU_ASSERT(body_is(chain_result(run)->body, "adapted"));
	CU_ASSERT_EQUAL(record(run, 0)->outcome, CHAIN_MODIFIED);
	CU_ASSERT_EQUAL(record(run, 1)->outcome, CHAIN_BYPASSED);
	chain_cancel(&run);
	tear_down();
}

/* A body may be taken away: the adapted message has none. */
static void
test_modified_without_body(void)
{
	struct chain_step steps[] = { { group, 1 }, { group + 1, 1 } };
	struct chain_run *run;
	struct scan_result *s;

	set_up(SCAN_REQ, NULL);
	run = start(steps, 2);
	s = &fakes[0].scan->result;
	s->verdict = VERDICT_MODIFIED;
	s->has_message = true;
	s->req = http_msg_new(arena, true);
	fake_done(&fakes[0]);
	spin();
	CU_ASSERT_PTR_NULL(fakes[1].scan->msg->body);
	fake_say(&fakes[1], SAY_CLEAN);
	spin();
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_PASS);
	CU_ASSERT_PTR_NULL(chain_result(run)->body);
	CU_ASSERT_PTR_NOT_NULL(chain_result(run)->req);
	CU_ASSERT_TRUE(chain_result(run)->modified);
	chain_cancel(&run);
	tear_down();
}

static void
test_request_satisfied(void)
{
	struct chain_step steps[] = { { group, 1 }, { group + 1, 1 } };
	struct chain_run *run;

	set_up(SCAN_REQ, NULL);
	run = start(steps, 2);
	fakes[0].scan->result.resp = http_msg_new(arena, false);
	fake_say(&fakes[0], SAY_MODIFIED);
	spin();
	CU_ASSERT_EQUAL(fakes[1].starts, 0);
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_ANSWER);
	CU_ASSERT_EQUAL(chain_result(run)->verdict, VERDICT_MODIFIED);
	CU_ASSERT_EQUAL(chain_result(run)->fault.code, ERR_NONE);
	CU_ASSERT_PTR_NOT_NULL(chain_result(run)->resp);
	CU_ASSERT(body_is(chain_result(run)->body, "adapted"));
	chain_cancel(&run);
	tear_down();
}

static void
test_block_page(void)
{
	struct chain_step steps[] = { { group, 2 }, { group + 2, 1 } };
	struct chain_run *run;
	struct scan_result *s;
	unsigned replace;

	for (replace = 0; replace < 2; replace++) {
		set_up(SCAN_RESP, NULL);
		fakes[1].scanner.replace_page = replace;
		run = start(steps, 2);
		s = &fakes[1].scan->result;
		s->verdict = VERDICT_BLOCKED;
		s->has_message = true;
		s->resp = http_msg_new(arena, false);
		s->body = body_of_bytes(loop, &store, "page", 4);
		fake_done(&fakes[1]);
		spin();
		CU_ASSERT_EQUAL(fakes[0].cancels, 1);
		CU_ASSERT_EQUAL(fakes[2].starts, 0);
		CU_ASSERT_EQUAL(chain_result(run)->action,
		    replace ? CHAIN_BLOCK : CHAIN_ANSWER);
		CU_ASSERT_EQUAL(chain_result(run)->verdict, VERDICT_BLOCKED);
		CU_ASSERT_EQUAL(chain_result(run)->fault.code,
		    ERR_SERVICE_BLOCK);
		CU_ASSERT(str_eq(chain_result(run)->by, STR("b")));
		CU_ASSERT_EQUAL(body_is(chain_result(run)->body, "page"),
		    !replace);
		CU_ASSERT_EQUAL(record(run, 1)->outcome, CHAIN_BLOCKED);
		chain_cancel(&run);
		tear_down();
	}
}

/* A body over the window, read by a scanner that then fails, is all there. */
static void
test_keeper(void)
{
	static char big[300000], got[300000];
	struct chain_step steps[] = { { group, 1 }, { group + 1, 1 } };
	struct chain_run *run;
	struct chain_result *r;
	struct reader reader;
	struct body *taken;
	size_t i;

	for (i = 0; i < sizeof(big); i++)
		big[i] = (char)unit_random(256);
	set_up(SCAN_RESP, NULL);
	body_unref(&body);
	store.window = 65536;
	msg.body = body = body_of_bytes(loop, &store, big, sizeof(big));
	fakes[0].scanner.on_error = SCAN_POLICY_BYPASS;
	run = start(steps, 2);
	fake_say(&fakes[0], SAY_DOWN);
	spin();
	CU_ASSERT_EQUAL(body_kept_from(body), 0);
	fake_say(&fakes[1], SAY_CLEAN);
	spin();
	r = chain_result(run);
	CU_ASSERT_EQUAL_FATAL(r->action, CHAIN_PASS);
	CU_ASSERT_EQUAL(body_kept_from(r->body), 0);
	taken = r->body;
	r->body = NULL;
	reader_open(&reader, taken, 0, NULL);
	chain_cancel(&run);
	CU_ASSERT_EQUAL(drain(&reader, got, sizeof(got)), sizeof(got));
	CU_ASSERT(memcmp(got, big, sizeof(got)) == 0);
	reader_close(&reader);
	body_unref(&taken);
	tear_down();
}

static enum pull
drip_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct drip *d = (struct drip *)(void *)s;
	size_t n = chq_len(&d->q) < want ? chq_len(&d->q) : want;

	(void)f;
	if (n == 0)
		return (d->ended ? PULL_END : PULL_WAIT);
	chq_move(out, &d->q, n);
	return (PULL_MORE);
}

static void
drip_drop(struct source *s, enum pull last)
{
	(void)last;
	chq_fini(&((struct drip *)(void *)s)->q);
}

static const struct source_type drip_type = { .name = "drip",
	.pull = drip_pull,
	.drop = drip_drop };

static struct body *
drip_body(struct drip *d)
{
	memset(d, 0, sizeof(*d));
	source_init(&d->source, &drip_type);
	chq_copy(&d->q, "first", 5);
	return (body_new(loop, &store, &d->source, BODY_UNKNOWN));
}

/* An adapted body that still arrives breaks under the next scanner. */
static void
test_adapted_body_cut(void)
{
	struct chain_step steps[] = { { group, 1 }, { group + 1, 1 } };
	struct fault f = { .code = ERR_NONE };
	struct chain_run *run;
	struct scan_result *s;
	struct drip d;

	set_up(SCAN_RESP, NULL);
	fakes[1].scanner.on_error = SCAN_POLICY_BYPASS;
	run = start(steps, 2);
	s = &fakes[0].scan->result;
	s->verdict = VERDICT_MODIFIED;
	s->has_message = true;
	s->body = drip_body(&d);
	fake_done(&fakes[0]);
	spin();
	fault_set(&f, ERR_SCAN_CUT, "gone");
	source_gone(&d.source, PULL_CUT, &f);
	chq_fini(&d.q);
	fake_say(&fakes[1], SAY_DOWN);
	spin();
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_FAIL);
	CU_ASSERT_EQUAL(chain_result(run)->fault.code, ERR_SCAN_CUT);
	CU_ASSERT_PTR_NULL(chain_result(run)->body);
	CU_ASSERT_EQUAL(record(run, 1)->outcome, CHAIN_CANCELLED);
	chain_cancel(&run);
	tear_down();
}

/* One that goes on after the chain is the taker's affair. */
static void
test_adapted_body_streams(void)
{
	struct chain_step step = { group, 1 };
	struct chain_run *run;
	struct reader reader;
	struct body *taken;
	struct scan_result *s;
	struct chq q = { 0 };
	struct drip d;

	set_up(SCAN_RESP, NULL);
	run = start(&step, 1);
	s = &fakes[0].scan->result;
	s->verdict = VERDICT_MODIFIED;
	s->has_message = true;
	s->body = drip_body(&d);
	fake_done(&fakes[0]);
	spin();
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_PASS);
	taken = chain_result(run)->body;
	chain_result(run)->body = NULL;
	reader_open(&reader, taken, 0, NULL);
	chain_cancel(&run);
	CU_ASSERT_EQUAL(reader_pull(&reader, &q, 100), PULL_MORE);
	CU_ASSERT_EQUAL(reader_pull(&reader, &q, 100), PULL_WAIT);
	chq_copy(&d.q, "second", 6);
	d.ended = true;
	source_wake(&d.source);
	CU_ASSERT_EQUAL(reader_pull(&reader, &q, 100), PULL_MORE);
	CU_ASSERT_EQUAL(reader_pull(&reader, &q, 100), PULL_END);
	CU_ASSERT_EQUAL(chq_len(&q), 11);
	chq_fini(&q);
	reader_close(&reader);
	body_unref(&taken);
	tear_down();
}

/* Faults of the message end the chain whatever on_error says. */
static void
test_message_faults(void)
{
	static const enum err codes[] = { ERR_REQ_BODY_CUT, ERR_ORIGIN_CUT,
		ERR_ORIGIN_STALL, ERR_CLIENT_GONE, ERR_BODY_LIMIT,
		ERR_TEMP_FULL, ERR_DESCRIPTORS };
	struct chain_step step = { group, 2 };
	struct chain_run *run;
	unsigned i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		set_up(SCAN_RESP, NULL);
		fakes[0].scanner.on_error = SCAN_POLICY_BYPASS;
		run = start(&step, 1);
		fake_fault(&fakes[0], codes[i]);
		spin();
		CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
		CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_FAIL);
		CU_ASSERT_EQUAL(chain_result(run)->fault.code, codes[i]);
		CU_ASSERT_EQUAL(chain_result(run)->verdict, VERDICT_UNSCANNED);
		CU_ASSERT_EQUAL(fakes[1].cancels, 1);
		CU_ASSERT_EQUAL(record(run, 0)->code, codes[i]);
		chain_cancel(&run);
		tear_down();
	}
}

/* Cancel before, between and after the answers of three steps. */
static void
test_cancel_anywhere(void)
{
	struct chain_step steps[] = { { group, 1 }, { group + 1, 2 },
		{ group + 3, 1 } };
	const struct chain_record *rec;
	struct chain_run *run;
	unsigned at, n, i;

	for (at = 0; at <= 9; at++) {
		set_up(SCAN_RESP, NULL);
		run = chain_start(loop, steps, 3, &msg, &wake);
		for (i = 0; i < at; i++) {
			if (i % 2 == 1)
				spin();
			else if (i / 2 < FAKES && fakes[i / 2].scan != NULL)
				fake_say(&fakes[i / 2],
				    i == 0 ? SAY_MODIFIED : SAY_CLEAN);
		}
		rec = chain_records(run, &n);
		chain_cancel(&run);
		spin();
		for (i = 0; i < n; i++)
			CU_ASSERT(rec[i].outcome == CHAIN_CANCELLED ||
			    rec[i].outcome == CHAIN_CLEAN ||
			    rec[i].outcome == CHAIN_MODIFIED);
		for (i = 0; i < FAKES; i++)
			CU_ASSERT_EQUAL(fakes[i].starts, fakes[i].cancels);
		CU_ASSERT_EQUAL(wakes, at >= 8);
		tear_down();
	}
}

static void
test_no_body(void)
{
	struct chain_step step = { group, 2 };
	struct chain_run *run;

	set_up(SCAN_REQ, NULL);
	msg.body = NULL;
	run = start(&step, 1);
	fake_say(&fakes[1], SAY_CLEAN);
	fake_say(&fakes[0], SAY_CLEAN);
	spin();
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_PASS);
	CU_ASSERT_PTR_NULL(chain_result(run)->body);
	chain_cancel(&run);
	tear_down();
}

UNIT_TESTS(scanners_chain, { "names", test_names },
    { "a policy for each reason", test_gaps },
    { "a gap that is known beforehand", test_message_gap },
    { "nothing to do passes at once", test_nothing_to_do },
    { "clean through two steps", test_clean },
    { "every mix of a group in every order", test_group_orders },
    { "answers in one turn", test_group_at_once },
    { "a modifier in a group is misuse", test_misuse_is_recorded },
    { "repaired in a group is a block", test_repaired_in_a_group },
    { "a finding nobody looked at is recorded", test_found_then_cancelled },
    { "a finding behind the body is a block", test_found_behind_the_body },
    { "an adapted message flows on", test_modified_flows_on },
    { "an adapted message without body", test_modified_without_body },
    { "a satisfied request ends the chain", test_request_satisfied },
    { "block pages kept and replaced", test_block_page },
    { "the original is kept", test_keeper },
    { "an adapted body breaks", test_adapted_body_cut },
    { "an adapted body streams on", test_adapted_body_streams },
    { "faults of the message", test_message_faults },
    { "cancel anywhere", test_cancel_anywhere }, { "no body", test_no_body })
