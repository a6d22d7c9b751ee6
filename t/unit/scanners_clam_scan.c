/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clamav scanner on a loop: answers, cancel, queue, abandoned scans. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include "scanners/chain.h"
#include "scanners/clam_priv.h"
#include "t/unit/clam_kit.h"

static struct loop *loop;
static struct body_store store;
static struct arena *arena;
static struct http_msg *head;
static struct scan_message msg;
static struct scan scan;
static struct scanner *scanner;
static struct task wake;
static unsigned wakes;

static void
on_wake(struct task *t)
{
	(void)t;
	wakes++;
}

static enum scan_policy over_max; /* of the next service */

static void
set_up(struct clam_engine *e, const struct sample *s, uint64_t max_body)
{
	struct clam_service service = { .name = "clam",
		.scans_req = true,
		.scans_resp = true,
		.max_body = max_body,
		.over_max = over_max };

	loop = loop_new();
	store = (struct body_store){ .temp_dir = "/tmp", .window = 65536 };
	arena = arena_new();
	head = http_msg_new(arena, false);
	head->status = 200;
	msg = (struct scan_message){ .mode = SCAN_RESP,
		.req = head,
		.resp = head,
		.arena = arena };
	if (s != NULL)
		msg.body = body_of_bytes(loop, &store, s->p, s->n);
	scanner = clam_new(loop, e, &service);
	task_init(&wake, loop, on_wake);
	memset(&scan, 0, sizeof(scan));
	wakes = 0;
}

static void
spin_until_done(void)
{
	unsigned i;

	for (i = 0; i < 20000 && wakes == 0; i++) {
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		if (i > 10)
			usleep(1000);
	}
	CU_ASSERT_EQUAL_FATAL(wakes, 1);
}

static void
tear_down(void)
{
	scan_cancel(&scan);
	scan_cancel(&scan);
	while (clam_busy(scanner) > 0)
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
	clam_free(&scanner);
	task_fini(&wake);
	body_unref(&msg.body);
	arena_free(&arena);
	loop_free(&loop);
}

/* Only a field of the store says that the body has chunks of its own. */
static void
aws_stream(struct clam_engine *e)
{
	static const char
	    text[] = "15;chunk-signature=00\r\n"
		     "assay-test-hash-2c91\n\r\n0;chunk-signature=00\r\n\r\n";
	struct sample s = { (unsigned char *)strdup(text), sizeof(text) - 1,
		sizeof(text) };
	unsigned said;

	for (said = 0; said < 2; said++) {
		set_up(e, &s, 0);
		if (said)
			http_fields_add_named(arena, &head->fields,
			    STR("X-Amz-Content-Sha256"),
			    STR("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"));
		scan_start(&scan, scanner, &msg, &wake);
		spin_until_done();
		CU_ASSERT_EQUAL(scan.result.verdict,
		    said ? VERDICT_BLOCKED : VERDICT_CLEAN);
		tear_down();
	}
	free(s.p);
}

static void
test_scanner(void)
{
	static const struct {
		struct sample (*make)(void);
		const char *coding;
		unsigned status;
		enum verdict verdict;
		const char *text;
		uint64_t max_body;
	} t[] = {
		{ sample_eicar, NULL, 200, VERDICT_BLOCKED, FOUND, 0 },
		{ sample_middle, NULL, 200, VERDICT_BLOCKED, FOUND, 0 },
		{ sample_eicar_deflate, "deflate", 200, VERDICT_BLOCKED, FOUND,
		    0 },
		{ sample_text, NULL, 200, VERDICT_CLEAN, "", 0 },
		{ sample_text, "br", 200, VERDICT_UNSCANNED, SHUT("br"), 0 },
		{ sample_text, "br", 206, VERDICT_UNSCANNED, SHUT("br"), 0 },
		{ sample_empty, "br", 200, VERDICT_CLEAN, "", 0 },
		{ sample_text, NULL, 200, VERDICT_UNSCANNED,
		    "larger than max_body", 100 },
	};
	struct clam_options o = { .threads = 2 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s;
	struct str got;
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		s = t[i].make();
		set_up(e, &s, t[i].max_body);
		head->status = t[i].status;
		if (t[i].coding != NULL)
			http_fields_add(arena, &head->fields,
			    FIELD_CONTENT_ENCODING, str_of(t[i].coding));
		scan_start(&scan, scanner, &msg, &wake);
		CU_ASSERT_FALSE(scan.done);
		spin_until_done();
		CU_ASSERT_TRUE(scan.done);
		CU_ASSERT_EQUAL(scan.result.verdict, t[i].verdict);
		CU_ASSERT_EQUAL(scan.result.fault.code, ERR_NONE);
		CU_ASSERT(str_eq(scan.result.endpoint, STR("inside")));
		got = t[i].verdict == VERDICT_BLOCKED ? scan.result.threat
						      : scan.result.reason;
		CU_ASSERT(str_eq(got, str_of(t[i].text)));
		tear_down();
		free(s.p);
	}
	aws_stream(e);
	set_up(e, NULL, 0); /* no body at all */
	scan_start(&scan, scanner, &msg, &wake);
	spin_until_done();
	CU_ASSERT_EQUAL(scan.result.verdict, VERDICT_CLEAN);
	tear_down();
	kit_engine_end(&e);
}

/* over_max: bypass: the first max_body bytes are looked at all the same. */
static void
test_over_max(void)
{
	static const struct {
		uint64_t max_body;
		enum verdict verdict;
		const char *text;
	} t[] = {
		{ 350000, VERDICT_BLOCKED, FOUND }, /* it stands at 300000 */
		{ 100000, VERDICT_UNSCANNED,
		    "larger than max_body: the first 100000 bytes were "
		    "scanned" },
		{ 500000, VERDICT_BLOCKED, FOUND },
	};
	struct clam_options o = { .threads = 1 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s = sample_middle();
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		over_max = SCAN_POLICY_BYPASS;
		set_up(e, &s, t[i].max_body);
		scan_start(&scan, scanner, &msg, &wake);
		spin_until_done();
		CU_ASSERT_EQUAL(scan.result.verdict, t[i].verdict);
		CU_ASSERT(
		    str_eq(t[i].verdict == VERDICT_BLOCKED ? scan.result.threat
							   : scan.result.reason,
			str_of(t[i].text)));
		CU_ASSERT_EQUAL(scan.result.too_large, i == 1);
		CU_ASSERT(i != 1 || scan.result.bytes == 100000);
		tear_down();
	}
	over_max = SCAN_POLICY_BLOCK;
	free(s.p);
	kit_engine_end(&e);
}

static void
test_scanner_cut(void)
{
	struct fault f = { .code = ERR_NONE };
	struct clam_options o = { .threads = 1 };
	struct clam_engine *e = kit_engine(&o);
	struct source src;
	static const struct source_type type = { .name = "none" };

	set_up(e, NULL, 0);
	source_init(&src, &type);
	fault_set(&f, ERR_ORIGIN_CUT, "gone");
	msg.body = body_new(loop, &store, &src, 1000);
	source_gone(&src, PULL_CUT, &f);
	scan_start(&scan, scanner, &msg, &wake);
	spin_until_done();
	CU_ASSERT_EQUAL(scan.result.fault.code, ERR_ORIGIN_CUT);
	tear_down();
	kit_engine_end(&e);
}

/* Gone before, while and after a thread looks. */
static void
test_scanner_cancel(void)
{
	struct clam_options o = { .threads = 1 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s = sample_middle();
	unsigned turns, i;

	for (turns = 0; turns < 12; turns++) {
		set_up(e, &s, 0);
		scan_start(&scan, scanner, &msg, &wake);
		for (i = 0; i < turns; i++)
			uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		usleep(turns * 300);
		scan_cancel(&scan);
		wakes = 0;
		for (i = 0; i < 5; i++)
			uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		CU_ASSERT_EQUAL(wakes, 0);
		tear_down();
	}
	set_up(e, &s, 0); /* the scanner goes before its job */
	scan_start(&scan, scanner, &msg, &wake);
	while (clam_busy(scanner) == 0 && !scan.done)
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
	scan_cancel(&scan);
	clam_free(&scanner);
	for (i = 0; i < 100; i++) {
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		usleep(2000);
	}
	task_fini(&wake);
	body_unref(&msg.body);
	arena_free(&arena);
	loop_free(&loop);
	free(s.p);
	kit_engine_end(&e);
}

/* A body in many pieces, as from a connection. */
struct pieces {
	struct source source; /* first */
	size_t left;
};

static enum pull
pieces_pull(struct source *src, struct chq *out, size_t want, struct fault *f)
{
	struct pieces *p = (struct pieces *)(void *)src;
	struct chunk *c;
	size_t i, n = want < CHUNK_BYTES ? want : CHUNK_BYTES;

	(void)f;
	if (p->left == 0)
		return (PULL_END);
	if (n > p->left)
		n = p->left;
	c = chunk_new();
	for (i = 0; i < n; i++)
		c->data[i] = (unsigned char)unit_random(256);
	c->used = (uint32_t)n;
	chq_add(out, c, c->data, n);
	chunk_unref(&c);
	p->left -= n;
	return (PULL_MORE);
}

static void
pieces_drop(struct source *src, enum pull last)
{
	(void)src;
	(void)last;
}

static const struct source_type pieces_type = { .name = "pieces",
	.pull = pieces_pull,
	.drop = pieces_drop };

/* Until the thread is idle again, in ms. */
static uint64_t
time_of_look(struct clam_engine *e, bool cancel)
{
	struct pieces p = { .left = 2 * KIT_BIG };
	uint64_t from;

	set_up(e, NULL, 0);
	source_init(&p.source, &pieces_type);
	msg.body = body_new(loop, &store, &p.source, BODY_UNKNOWN);
	scan_start(&scan, scanner, &msg, &wake);
	while (clam_busy(scanner) == 0 && !scan.done)
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
	from = clam_now_ms();
	usleep(5000);
	if (cancel)
		scan_cancel(&scan);
	while (clam_busy(scanner) > 0)
		uv_run(loop_uv(loop), UV_RUN_ONCE);
	from = clam_now_ms() - from;
	uv_run(loop_uv(loop), UV_RUN_NOWAIT);
	if (!cancel)
		CU_ASSERT_EQUAL(scan.result.verdict, VERDICT_CLEAN);
	tear_down();
	return (from);
}

/* A scan that nobody waits for ends at its next read. */
static void
test_abandoned(void)
{
	struct clam_options o = { .threads = 1 };
	struct clam_engine *e = kit_engine(&o);
	uint64_t whole = time_of_look(e, false);

	CU_ASSERT(time_of_look(e, true) < whole / 2);
	kit_engine_end(&e);
}

/* Nobody scans: too many wait, and one waits too long. */
static void
test_scanner_busy(void)
{
	struct clam_options o = { .threads = 1, .queue = 1, .time_ms = 200 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s = sample_zeros(64 << 20);
	struct scan more[3];
	unsigned i, busy = 0, late = 0;

	for (i = 0; i < s.n; i++)
		s.p[i] = (unsigned char)unit_random(256);
	set_up(e, &s, 0);
	for (i = 0; i < 3; i++)
		scan_start(&more[i], scanner, &msg, NULL);
	for (i = 0; i < 3000 && !(more[0].done && more[1].done && more[2].done);
	     i++) {
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		usleep(1000);
	}
	for (i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(more[i].done);
		CU_ASSERT_EQUAL(more[i].result.verdict, VERDICT_UNSCANNED);
		busy += more[i].result.fault.code == ERR_SCAN_BUSY;
		late += more[i].result.fault.code == ERR_NONE;
		scan_cancel(&more[i]);
	}
	CU_ASSERT(busy >= 1);
	CU_ASSERT_EQUAL(busy + late, 3); /* who waits in vain finds it busy */
	tear_down();
	free(s.p);
	kit_engine_end(&e);
}

/* One client's large bodies do not stand before another's. */
static void
test_clients(void)
{
	static const struct scan_who who[2] = {
		{ .client_ip = { "192.0.2.1", 9 } },
		{ .client_ip = { "192.0.2.2", 9 } },
	};
	struct clam_options o = { .threads = 1 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s = sample_zeros(16 << 20);
	struct scan_message other;
	struct scan many[8], one;
	unsigned i, before = 0;

	for (i = 0; i < s.n; i++)
		s.p[i] = (unsigned char)unit_random(256);
	set_up(e, &s, 0);
	CU_ASSERT_EQUAL(scanner->on_busy, SCAN_POLICY_BLOCK);
	other = msg;
	msg.who = &who[0];
	other.who = &who[1];
	other.body = body_of_bytes(loop, &store, s.p, s.n);
	for (i = 0; i < 8; i++)
		scan_start(&many[i], scanner, &msg, NULL);
	while (clam_busy(scanner) < 8)
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
	scan_start(&one, scanner, &other, &wake);
	while (!one.done)
		uv_run(loop_uv(loop), UV_RUN_ONCE);
	CU_ASSERT_EQUAL(one.result.verdict, VERDICT_CLEAN);
	for (i = 0; i < 8; i++) {
		before += many[i].done;
		scan_cancel(&many[i]);
	}
	CU_ASSERT(before < 7); /* else it was the last, as in a queue */
	scan_cancel(&one);
	body_unref(&other.body);
	tear_down();
	free(s.p);
	kit_engine_end(&e);
}

static void
test_in_a_chain(void)
{
	struct clam_options o = { .threads = 1 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s = sample_eicar_zip();
	struct chain_step step;
	struct chain_run *run;
	const struct chain_record *rec;
	unsigned n;

	set_up(e, &s, 0);
	step = (struct chain_step){ &scanner, 1 };
	run = chain_start(loop, &step, 1, &msg, &wake);
	spin_until_done();
	CU_ASSERT_EQUAL(chain_result(run)->action, CHAIN_BLOCK);
	CU_ASSERT_EQUAL(chain_result(run)->fault.code, ERR_THREAT);
	CU_ASSERT(str_eq(chain_result(run)->threat, STR(FOUND)));
	rec = chain_records(run, &n);
	CU_ASSERT_EQUAL_FATAL(n, 1);
	CU_ASSERT_EQUAL(rec->bytes, s.n);
	CU_ASSERT_EQUAL(rec->outcome, CHAIN_BLOCKED);
	chain_cancel(&run);
	tear_down();
	free(s.p);
	kit_engine_end(&e);
}

/* All of it in threads, and in processes. */
#define BOTH(test)                         \
	static void test##_threads(void)   \
	{                                  \
		kit_in_threads = true;     \
		test();                    \
	}                                  \
	static void test##_processes(void) \
	{                                  \
		kit_in_threads = false;    \
		test();                    \
	}
BOTH(test_scanner)
BOTH(test_over_max)
BOTH(test_scanner_cut)
BOTH(test_scanner_cancel)
BOTH(test_abandoned)
BOTH(test_scanner_busy)
BOTH(test_clients)
BOTH(test_in_a_chain)

#define TWICE(name, test)                             \
	{ name " (threads)", test##_threads },        \
	{                                             \
		name " (processes)", test##_processes \
	}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		TWICE("answers", test_scanner),
		TWICE("over_max: bypass scans the first bytes", test_over_max),
		TWICE("a cut body", test_scanner_cut),
		TWICE("cancel", test_scanner_cancel),
		TWICE("an abandoned scan ends", test_abandoned),
		TWICE("busy and late", test_scanner_busy),
		TWICE("clients take turns", test_clients),
		TWICE("in a chain", test_in_a_chain),
	};

	(void)argc;
	return (kit_main(argv, "scanners_clam_scan", tests,
	    sizeof(tests) / sizeof(tests[0])));
}
