/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A WebSocket message as two bodies: frames held, content read. */
#include "base/loop.h"
#include "http/ws_message.h"
#include "stream/body.h"
#include "t/unit/http_help.h"

static const unsigned char hello[] = "\x01\x03Hel\x89\x00\x80\x02lo";

static struct {
	struct loop *loop;
	struct task feed;
	struct body_store store;
	struct ws *w;
	struct ws_message m;
	struct body *frames, *content;
	struct reader sink, scan;
	struct chq in, control;
	size_t live;
	unsigned fed;
} lab;

static void
on_feed(struct task *t)
{
	(void)t;
	lab.fed++;
}

static void
begin(uint64_t limit)
{
	struct ws_limits l = { limit, WS_RATIO };
	struct ws_terms t = { .deflate = false };

	memset(&lab, 0, sizeof(lab));
	lab.live = chunk_bytes_live();
	lab.loop = loop_new();
	task_init(&lab.feed, lab.loop, on_feed);
	lab.store = (struct body_store){ .temp_dir = "/tmp", .window = 65536 };
	lab.w = ws_new(WS_SERVER, &t, &l);
	ws_message_init(&lab.m, WS_SERVER, &lab.feed);
	lab.frames = body_new(lab.loop, &lab.store, &lab.m.frames,
	    BODY_UNKNOWN);
	lab.content = body_new(lab.loop, &lab.store, &lab.m.content,
	    BODY_UNKNOWN);
	reader_open(&lab.sink, lab.frames, 0, NULL);
	reader_open(&lab.scan, lab.content, 0, NULL);
}

static void
finish(void)
{
	reader_close(&lab.sink);
	reader_close(&lab.scan);
	body_unref(&lab.frames);
	body_unref(&lab.content);
	ws_message_fini(&lab.m);
	ws_free(&lab.w);
	chq_fini(&lab.in);
	chq_fini(&lab.control);
	task_fini(&lab.feed);
	loop_free(&lab.loop);
	CU_ASSERT_EQUAL(chunk_bytes_live(), lab.live);
}

static enum ws_got
feed(const void *p, size_t n)
{
	struct ws_out out = { .control = &lab.control, .want = 1000 };
	struct fault f = { .code = ERR_NONE };
	enum ws_got got;

	chq_copy(&lab.in, p, n);
	ws_message_out(&lab.m, &out);
	do {
		got = ws_feed(lab.w, &lab.in, &out, &f);
		ws_message_fed(&lab.m, got, f.code != ERR_NONE ? &f : NULL);
	} while (got != WS_MORE && got != WS_BAD);
	return (got);
}

/* What the reader gets, and how it ends. */
static enum pull
reads(struct reader *r, struct buf *b)
{
	struct chq q = { 0 };
	enum pull p;
	size_t n;

	while ((p = reader_pull(r, &q, 2)) == PULL_MORE)
		;
	n = chq_len(&q);
	chq_read(&q, 0, buf_room(b, n + 1), n);
	b->n += n;
	b->p[b->n] = '\0';
	chq_fini(&q);
	return (p);
}

static bool
got(struct reader *r, enum pull how, const char *what)
{
	struct buf b = { 0 };
	enum pull p = reads(r, &b);

	return (http_help_is(&b, what) && p == how);
}

/* Frames wait for the verdict, the content does not; Ping is of neither. */
static void
whole(void)
{
	size_t i;

	begin(100);
	CU_ASSERT(got(&lab.scan, PULL_WAIT, ""));
	CU_ASSERT_PTR_NOT_NULL(lab.feed.queue);
	for (i = 0; i + 1 < sizeof(hello); i++)
		feed(&hello[i], 1);
	CU_ASSERT(ws_message_bytes(&lab.m) > 0);
	CU_ASSERT(got(&lab.scan, PULL_END, "Hello"));
	CU_ASSERT(got(&lab.sink, PULL_END, "\x01\x03Hel\x80\x02lo"));
	CU_ASSERT_EQUAL(chq_len(&lab.control), 2);
	CU_ASSERT_EQUAL(ws_message_bytes(&lab.m), 0);
	finish();
}

static void
gap(void)
{
	begin(4);
	feed(hello, sizeof(hello) - 1);
	CU_ASSERT(got(&lab.scan, PULL_END, "Hell"));
	CU_ASSERT(got(&lab.sink, PULL_END, "\x01\x03Hel\x80\x02lo"));
	finish();
}

static void
cut(void)
{
	struct buf b = { 0 };

	begin(100);
	feed(hello, 4);
	CU_ASSERT_EQUAL(feed("\xff", 1), WS_BAD);
	CU_ASSERT_EQUAL(body_end(lab.content), PULL_MORE);
	CU_ASSERT_EQUAL(reads(&lab.scan, &b), PULL_CUT);
	CU_ASSERT_EQUAL(body_fault(lab.content)->code, ERR_ORIGIN_WEBSOCKET);
	buf_fini(&b);
	finish();
}

/* Nobody reads: nothing stays; the owner dies first: the bodies end. */
static void
dropped(void)
{
	begin(100);
	feed(hello, 4);
	reader_close(&lab.scan);
	body_unref(&lab.content);
	feed(hello + 4, sizeof(hello) - 5);
	CU_ASSERT_EQUAL(ws_message_bytes(&lab.m), 9);
	ws_message_fini(&lab.m);
	CU_ASSERT(got(&lab.sink, PULL_CUT, ""));
	CU_ASSERT_EQUAL(body_fault(lab.frames)->code, ERR_ORIGIN_CUT);
	finish();
}

UNIT_TESTS(http_ws_message, { "whole", whole }, { "gap", gap }, { "cut", cut },
    { "dropped", dropped })
