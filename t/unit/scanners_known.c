/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages known to be clean: what is believed again and what is not, which
 * scans wait for the digest and how long; the table; the clock of a scan.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>
#include "scanners/chain.h"
#include "scanners/known.h"
#include "t/unit/unit.h"

#define COUNT(t) (sizeof(t) / sizeof((t)[0]))

/* A scanner that reads the body and says what the test wants. */
struct fake {
	struct scanner scanner; /* first */
	const char *state;      /* of its signatures; NULL: unknown */
	enum verdict says;
	bool reusable;
	const char *next_state; /* once it has said so; NULL: the same */
	unsigned starts;
};

struct work {
	struct scan *scan;
	struct task task;
	struct reader reader;
};

/* A body that arrives as the test says. */
struct drip {
	struct source source; /* first */
	struct chq q;
	bool ended, cut;
};

static struct loop *loop;
static struct body_store store;
static struct arena *arena;
static struct verdict_cache *cache;
static struct fake fake[2];
static struct scanner *list[2];
static struct http_msg *req, *resp;
static struct body *body;
static struct scan_message msg;
static struct drip drip;
static const char *text;

static void
spin(unsigned ms)
{
	uint64_t until = uv_hrtime() + (uint64_t)ms * 1000000;
	unsigned i;

	do
		for (i = 0; i < 6; i++)
			uv_run(loop_uv(loop), UV_RUN_NOWAIT);
	while (uv_hrtime() < until);
}

static void
work_run(struct task *t)
{
	struct work *w = CONTAINER_OF(t, struct work, task);
	struct fake *f = (struct fake *)(void *)w->scan->scanner;
	struct scan_result *r = &w->scan->result;
	enum pull p = PULL_MORE;

	while (p == PULL_MORE)
		p = reader_skip(&w->reader, w->reader.offset + 4096);
	if (p == PULL_WAIT)
		return;
	if (p != PULL_END)
		fault_set(&r->fault, ERR_ORIGIN_CUT, NULL);
	r->verdict = f->says;
	r->gap = f->says == VERDICT_UNSCANNED ? GAP_DAMAGED : GAP_NONE;
	if (f->reusable)
		r->depends = w->scan->scanner->type->depends(w->scan->scanner,
		    w->scan->msg);
	if (f->next_state != NULL)
		f->state = f->next_state;
	reader_close(&w->reader);
	scan_done(w->scan);
}

static void
fake_start(struct scan *scan)
{
	struct work *w = arena_zalloc(arena, sizeof(*w));

	((struct fake *)(void *)scan->scanner)->starts++;
	scan->priv = w;
	w->scan = scan;
	task_init(&w->task, loop, work_run);
	reader_open(&w->reader, scan->msg->body, 0, &w->task);
	task_wake(&w->task);
}

static void
fake_cancel(struct scan *scan)
{
	struct work *w = scan->priv;

	scan->priv = NULL;
	if (w == NULL)
		return;
	reader_close(&w->reader);
	task_fini(&w->task);
}

static struct str
fake_depends(const struct scanner *s, const struct scan_message *m)
{
	(void)m;
	return (str_of(((const struct fake *)(const void *)s)->state));
}

static const struct scanner_type whole_type = { .name = "whole",
	.start = fake_start,
	.cancel = fake_cancel,
	.depends = fake_depends,
	.needs_end = true };
static const struct scanner_type early_type = { .name = "early",
	.start = fake_start,
	.cancel = fake_cancel,
	.depends = fake_depends };

static enum pull
drip_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct drip *d = (struct drip *)(void *)s;
	size_t n = chq_len(&d->q) < want ? chq_len(&d->q) : want;

	if (n > 0) {
		chq_move(out, &d->q, n);
		return (PULL_MORE);
	}
	if (d->cut)
		fault_set(f, ERR_ORIGIN_CUT, NULL);
	return (d->cut ? PULL_CUT : d->ended ? PULL_END : PULL_WAIT);
}

static void
drip_drop(struct source *s, enum pull last)
{
	struct drip *d = (struct drip *)(void *)s;

	(void)last;
	chq_fini(&d->q);
}

static const struct source_type drip_type = { "drip", drip_pull, drip_drop };

static void
drip_say(const char *s, bool ended, bool cut)
{
	chq_copy(&drip.q, s, strlen(s));
	drip.ended = ended;
	drip.cut = cut;
	source_wake(&drip.source);
}

static void
use_body(struct body *b)
{
	if (body != NULL)
		body_unref(&body);
	body = msg.body = b;
}

static void
use_text(const char *s)
{
	text = s;
	use_body(body_of_bytes(loop, &store, s, strlen(s)));
}

static void
use_drip(uint64_t length)
{
	memset(&drip, 0, sizeof(drip));
	source_init(&drip.source, &drip_type);
	use_body(body_new(loop, &store, &drip.source, length));
}

static void
set_up(void)
{
	unsigned i;

	loop = loop_new();
	store = (struct body_store){ .temp_dir = "/tmp", .window = 1 << 20 };
	arena = arena_new();
	cache = verdict_cache_new(1 << 16);
	memset(fake, 0, sizeof(fake));
	for (i = 0; i < 2; i++) {
		fake[i] = (struct fake){ .state = "1",
			.reusable = true,
			.says = VERDICT_CLEAN };
		fake[i].scanner = (struct scanner){ .type = i == 0
			    ? &whole_type
			    : &early_type,
			.loop = loop,
			.name = "s",
			.scans_req = true,
			.scans_resp = true,
			.cache = cache,
			.cache_max = 1 << 20,
			.cache_s = 1000 };
		list[i] = &fake[i].scanner;
	}
	req = http_msg_new(arena, true);
	resp = http_msg_new(arena, false);
	resp->status = 200;
	msg = (struct scan_message){ .mode = SCAN_RESP,
		.req = req,
		.resp = resp,
		.arena = arena };
	use_text("original");
}

static void
tear_down(void)
{
	body_unref(&body); /* asserts that no reader is left */
	verdict_cache_unref(&cache);
	arena_free(&arena);
	loop_free(&loop);
}

static struct chain_run *
begin(unsigned i)
{
	struct chain_step *step = arena_zalloc(arena, sizeof(*step));

	step->scanners = &list[i];
	step->n = 1;
	return (chain_start(loop, step, 1, &msg, NULL));
}

/* How a chain of that scanner ends now. */
static enum chain_outcome
outcome(unsigned i)
{
	struct chain_run *run;
	enum chain_outcome out;
	unsigned n;

	use_text(text);
	run = begin(i);
	spin(0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
	out = chain_records(run, &n)[0].outcome;
	if (out == CHAIN_CACHED) {
		CU_ASSERT_EQUAL(chain_result(run)->verdict, VERDICT_CLEAN);
		CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_PASS);
		CU_ASSERT_PTR_EQUAL(chain_result(run)->body, body);
		CU_ASSERT_EQUAL(chain_records(run, &n)[0].bytes,
		    body_received(body));
	}
	chain_cancel(&run);
	return (out);
}

static void
test_known(void)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		set_up();
		CU_ASSERT_EQUAL(outcome(i), CHAIN_CLEAN);
		CU_ASSERT_EQUAL(outcome(i), CHAIN_CACHED);
		CU_ASSERT_EQUAL(outcome(i), CHAIN_CACHED);
		CU_ASSERT_EQUAL(fake[i].starts, 1);
		/* another scanner has its own answers */
		CU_ASSERT_EQUAL(outcome(!i), CHAIN_CLEAN);
		tear_down();
	}
}

static void
change(unsigned what)
{
	switch (what) {
	case 0:
		use_text("Original");
		break;
	case 1:
		use_text("original ");
		break;
	case 2:
		fake[0].state = "2";
		break;
	case 3:
		resp->status = 404;
		break;
	case 4:
		http_fields_add(arena, &resp->fields, FIELD_CONTENT_TYPE,
		    STR("text/html"));
		break;
	case 5:
		http_fields_add_named(arena, &resp->fields,
		    STR("x-amz-content-sha256"), STR("x"));
		break;
	case 6:
		msg.mode = SCAN_REQ;
		break;
	case 7:
		fake[0].scanner.cache = NULL;
		break;
	case 8:
		fake[0].state = NULL;
		break;
	}
}

/* Whatever an answer may depend on: another one is asked for. */
static void
test_each_part_of_the_key(void)
{
	unsigned what;

	for (what = 0; what <= 8; what++) {
		set_up();
		CU_ASSERT_EQUAL(outcome(0), CHAIN_CLEAN);
		change(what);
		if (outcome(0) != CHAIN_CLEAN)
			printf("# change %u\n", what);
		CU_ASSERT_EQUAL(fake[0].starts, 2);
		tear_down();
	}
	set_up(); /* the control */
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CLEAN);
	http_fields_add(arena, &resp->fields, FIELD_DATE, STR("today"));
	use_text("original");
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CACHED);
	tear_down();
}

/* Findings and doubts are never remembered. */
static void
test_only_clean(void)
{
	static const enum verdict says[] = { VERDICT_BLOCKED,
		VERDICT_UNSCANNED };
	unsigned i;

	for (i = 0; i < COUNT(says); i++) {
		set_up();
		fake[0].says = says[i];
		(void)outcome(0);
		CU_ASSERT_NOT_EQUAL(outcome(0), CHAIN_CACHED);
		CU_ASSERT_EQUAL(fake[0].starts, 2);
		tear_down();
	}
	set_up();
	fake[0].reusable = false;
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CLEAN);
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CLEAN);
	tear_down();
}

/* New signatures behind an answer that nobody has taken yet. */
static void
test_a_change_behind_the_answer(void)
{
	set_up();
	fake[0].next_state = "2";
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CLEAN);
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CLEAN);
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CACHED);
	CU_ASSERT_EQUAL(fake[0].starts, 2);
	tear_down();
}

/* A part, a stream: neither learnt nor believed. */
static void
test_no_gap(void)
{
	set_up();
	msg.gap = GAP_PART;
	CU_ASSERT_EQUAL(outcome(0), CHAIN_UNSCANNED);
	msg.gap = GAP_NONE;
	CU_ASSERT_EQUAL(outcome(0), CHAIN_CLEAN);
	msg.gap = GAP_PART;
	CU_ASSERT_EQUAL(outcome(0), CHAIN_UNSCANNED);
	tear_down();
}

static void
test_a_body_that_breaks_off(void)
{
	struct chain_run *run;
	unsigned i;

	for (i = 0; i < 2; i++) {
		set_up();
		use_drip(BODY_UNKNOWN);
		run = begin(i);
		drip_say("orig", false, false);
		spin(0);
		drip_say("inal", false, true);
		spin(0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
		CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_FAIL);
		CU_ASSERT_EQUAL(chain_result(run)->fault.code, ERR_ORIGIN_CUT);
		chain_cancel(&run);
		use_text("original");
		CU_ASSERT_EQUAL(outcome(i), CHAIN_CLEAN);
		tear_down();
	}
}

/* Who needs the end waits for the digest; others begin when it takes long. */
static void
test_waiting(void)
{
	struct chain_run *run;
	unsigned i, n;

	for (i = 0; i < 2; i++) {
		set_up();
		(void)outcome(i);
		use_drip(BODY_UNKNOWN);
		run = begin(i);
		drip_say("orig", false, false);
		spin(0);
		CU_ASSERT(i == 1 || fake[i].starts == 1);
		spin(150);
		CU_ASSERT_EQUAL(fake[i].starts, 1 + i);
		drip_say("inal", true, false);
		spin(0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
		CU_ASSERT_EQUAL(chain_records(run, &n)[0].outcome,
		    i == 0 ? CHAIN_CACHED : CHAIN_CLEAN);
		chain_cancel(&run);
		tear_down();
	}
}

/* What is declared large is scanned as it comes. */
static void
test_large(void)
{
	struct chain_run *run;
	unsigned i;

	for (i = 0; i < 2; i++) {
		set_up();
		use_drip(1 << 30);
		run = begin(i);
		CU_ASSERT_EQUAL(fake[i].starts, 1);
		chain_cancel(&run);
		tear_down();
	}
}

/* What only turns out to be larger than the scanner takes is scanned then. */
static void
test_turns_out_large(void)
{
	struct chain_run *run;

	set_up();
	fake[0].scanner.cache_max = 10;
	use_drip(BODY_UNKNOWN);
	run = begin(0);
	drip_say("0123456789", false, false);
	spin(0);
	CU_ASSERT_EQUAL(fake[0].starts, 0);
	drip_say(".", false, false);
	drip_say("", true, false);
	spin(0);
	CU_ASSERT_EQUAL(fake[0].starts, 1);
	chain_cancel(&run);
	tear_down();
}

static void
test_cancel_while_waiting(void)
{
	struct chain_run *run;

	set_up();
	use_drip(BODY_UNKNOWN);
	run = begin(0);
	drip_say("orig", false, false);
	spin(0);
	chain_cancel(&run);
	CU_ASSERT_EQUAL(fake[0].starts, 0);
	spin(0);
	tear_down();
}

/* A group and a further step: one digest for all of them. */
static void
test_steps(void)
{
	struct chain_step steps[2] = { { list, 2 }, { list, 1 } };
	struct chain_run *run;
	const struct chain_record *r;
	unsigned i, n;

	set_up();
	for (i = 0; i < 2; i++) {
		use_text(text);
		run = chain_start(loop, steps, 2, &msg, NULL);
		spin(0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(chain_result(run));
		r = chain_records(run, &n);
		CU_ASSERT_EQUAL(n, 3);
		CU_ASSERT_EQUAL(r[0].outcome,
		    i == 0 ? CHAIN_CLEAN : CHAIN_CACHED);
		CU_ASSERT_EQUAL(r[1].outcome,
		    i == 0 ? CHAIN_CLEAN : CHAIN_CACHED);
		CU_ASSERT_EQUAL(r[2].outcome, CHAIN_CACHED);
		chain_cancel(&run);
	}
	CU_ASSERT_EQUAL(fake[0].starts, 1);
	CU_ASSERT_EQUAL(fake[1].starts, 1);
	tear_down();
}

/* The clock stands while the message's own sender is waited for. */
static void
test_clock(void)
{
	struct scan_meter m = { 0 };
	struct scan scan;

	set_up();
	fake[0].scanner.cache = NULL;
	use_drip(BODY_UNKNOWN);
	scan_start(&scan, list[0], &msg, NULL);
	scan_metered(&scan, &m);
	scan_waits(&scan);
	scan_waits(&scan);
	spin(60);
	CU_ASSERT(scan.result.us < 50000 && m.us < 50000);
	scan_works(&scan);
	scan_works(&scan);
	spin(20);
	CU_ASSERT(m.working == 1 && m.us < 50000);
	scan_cancel(&scan);
	CU_ASSERT(m.working == 0 && m.us >= 20000);
	CU_ASSERT(scan.result.us >= 20000);
	tear_down();
}

/* The table. */

static void
key_of(unsigned n, unsigned char key[DIGEST_BYTES])
{
	struct digest *d = digest_new();

	digest_add(d, &n, sizeof(n));
	digest_end(&d, key);
}

static void
test_table(void)
{
	struct verdict_cache *c = verdict_cache_new(100 << 10);
	unsigned char key[DIGEST_BYTES];
	unsigned i, has = 0;

	CU_ASSERT_PTR_NULL(verdict_cache_new(0));
	for (i = 0; i < 100000; i++) {
		key_of(i, key);
		CU_ASSERT(!verdict_cache_has(c, key, i));
		verdict_cache_add(c, key, i, i + 1000);
		CU_ASSERT(verdict_cache_has(c, key, i));
		CU_ASSERT(verdict_cache_has(c, key, i + 999));
		CU_ASSERT(!verdict_cache_has(c, key, i + 1000));
	}
	for (i = 90000; i < 100000; i++) {
		key_of(i, key);
		has += verdict_cache_has(c, key, 90000);
	}
	/* as many as there is room for, the newest of all */
	CU_ASSERT(has <= 3200 && has > 2500);
	verdict_cache_unref(&c);
}

static void *
hammer(void *arg)
{
	unsigned char key[DIGEST_BYTES];
	unsigned i;

	for (i = 0; i < 20000; i++) {
		key_of(i % 5000, key);
		if (!verdict_cache_has(arg, key, 1))
			verdict_cache_add(arg, key, 1, 100);
	}
	return (NULL);
}

static void
test_threads(void)
{
	struct verdict_cache *c = verdict_cache_new(64 << 10);
	pthread_t t[4];
	unsigned i;

	for (i = 0; i < 4; i++)
		CU_ASSERT_FATAL(pthread_create(&t[i], NULL, hammer, c) == 0);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	verdict_cache_unref(&c);
}

UNIT_TESTS(scanners_known, { "clean is known", test_known },
    { "each part of the key", test_each_part_of_the_key },
    { "only clean is", test_only_clean },
    { "a change behind the answer", test_a_change_behind_the_answer },
    { "no part, no stream", test_no_gap },
    { "a body that breaks off", test_a_body_that_breaks_off },
    { "who waits, and how long", test_waiting },
    { "large ones do not wait", test_large },
    { "nor those that turn out to be", test_turns_out_large },
    { "cancelled while it waits", test_cancel_while_waiting },
    { "groups and steps", test_steps }, { "the clock of a scan", test_clock },
    { "the table is bounded", test_table },
    { "threads share it", test_threads })
