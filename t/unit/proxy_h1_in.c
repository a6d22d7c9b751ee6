/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HTTP/1 on a link: pipelined messages come apart and bodies go out, however
 * the wire cuts them, and what breaks off is a visible cut.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/list.h"
#include "http/h1_frame.h"
#include "proxy/wire/h1_in.h"
#include "proxy/wire/h1_sink.h"
#include "stream/pump.h"
#include "t/unit/http_help.h"
#include "t/unit/tls_lab.h"

#define LONG_MS 10000

static struct loop *loop;
static struct body_store store = { .temp_dir = "/tmp", .window = 100000 };
static size_t live_before;

/* A connection that writes down what it reads. */
static struct conn {
	struct task task, net; /* net: the link's owner */
	struct link *link;
	struct h1_in in;
	struct arena *arena;
	struct body *body;
	struct reader reader;
	enum h1_kind kind;
	struct buf heard;
	unsigned give_up; /* let go of bodies after so many octets */
	bool over;
	int peer;
} c;

static const char *const got_names[] = { "head", "wait", "end", "cut", "bad" };
static const char *const pull_names[] = { "more", "wait", "end", "cut",
	"fail" };

static void
let_go(void)
{
	reader_close(&c.reader);
	body_unref(&c.body);
}

static void
hear_trailer(void)
{
	const struct http_fields *t = body_trailer(c.body);
	unsigned i;

	for (i = 0; t != NULL && i < t->n; i++)
		buf_printf(&c.heard, "[%.*s=%.*s]", STR_ARG(t->v[i].name),
		    STR_ARG(t->v[i].value));
}

/* False: it waits. */
static bool
hear_body(void)
{
	struct chq q = { 0 };
	enum pull p = reader_pull(&c.reader, &q, 1 + unit_random(100));
	size_t n = chq_len(&q);

	chq_read(&q, 0, buf_room(&c.heard, n), n);
	c.heard.n += n;
	chq_fini(&q);
	if (p == PULL_WAIT)
		return (false);
	if (p == PULL_MORE && (c.give_up == 0 || c.reader.offset < c.give_up))
		return (true);
	if (p == PULL_END)
		hear_trailer();
	buf_printf(&c.heard, "|%s%s%s\n", pull_names[p],
	    p > PULL_END ? " " : "",
	    p > PULL_END ? err_info(body_fault(c.body)->code)->name : "");
	let_go();
	c.over = c.in.poisoned;
	return (!c.over);
}

static bool
hear_head(void)
{
	struct fault f = { 0 };
	struct http_msg *m = NULL;
	enum h1_got got = h1_in_head(&c.in, c.arena, c.kind, &h1_limits_client,
	    &m, &f);

	if (got == H1_GOT_WAIT)
		return (false);
	if (got != H1_GOT_HEAD) {
		buf_printf(&c.heard, "%s\n", got_names[got]);
		c.over = true;
		return (false);
	}
	if (m->is_request)
		(void)h1_frame_request(m, &c.in.frame, &f);
	else
		(void)h1_frame_response(m, http_msg_new(c.arena, true),
		    &c.in.frame, &f);
	buf_printf(&c.heard,
	    "%.*s:", STR_ARG(m->is_request ? m->target : m->reason));
	c.body = h1_in_body(&c.in, loop, &store, m, ERR_REQ_CHUNK,
	    ERR_REQ_BODY_CUT);
	if (c.body == NULL)
		buf_cstr(&c.heard, "-\n");
	else
		reader_open(&c.reader, c.body, 0, &c.task);
	return (true);
}

static void
hear(struct task *t)
{
	(void)t;
	while (!c.over && (c.body != NULL ? hear_body() : hear_head()))
		;
}

static void
on_news(struct task *t)
{
	(void)t;
	h1_in_wake(&c.in);
	if (c.body == NULL)
		task_wake(&c.task);
}

static void
begin(enum h1_kind kind)
{
	int fd[2];

	live_before = chunk_bytes_live();
	loop = loop_new();
	memset(&c, 0, sizeof(c));
	lab_tcp(fd);
	c.kind = kind;
	c.arena = arena_new();
	c.peer = fd[1];
	task_init(&c.task, loop, hear);
	task_init(&c.net, loop, on_news);
	c.link = link_new(loop, fd[0], &c.net);
	h1_in_init(&c.in, c.link, &c.task);
	task_wake(&c.task);
}

static void
end(void)
{
	let_go();
	h1_in_fini(&c.in, NULL);
	task_fini(&c.task);
	task_fini(&c.net);
	link_close(&c.link, LINK_ABORT);
	if (c.peer >= 0)
		close(c.peer);
	arena_free(&c.arena);
	buf_fini(&c.heard);
	loop_free(&loop);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live_before);
	link_thread_fini();
}

static bool
is_over(void *arg)
{
	(void)arg;
	return (c.over);
}

/* Send it in pieces of up to step octets, then FIN; what was heard? */
static void
tell(enum h1_kind kind, const char *text, size_t n, unsigned step,
    unsigned give_up, const char *heard)
{
	size_t at, part;

	begin(kind);
	c.give_up = give_up;
	for (at = 0; at < n; at += part) {
		part = 1 + unit_random(step);
		part = part > n - at ? n - at : part;
		if (write(c.peer, text + at, part) != (ssize_t)part)
			break;
		lab_run(loop, 0);
		if (step < n)
			loop_settle(loop);
	}
	shutdown(c.peer, SHUT_WR);
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	if (heard != NULL &&
	    (c.heard.p == NULL || strcmp(c.heard.p, heard) != 0)) {
		printf("# heard: %s# wanted: %s", c.heard.p, heard);
		CU_FAIL("heard something else");
	}
	end();
}

static const struct talk {
	enum h1_kind kind;
	const char *text, *heard;
} talks[] = {
	{ H1_REQUEST, "", "end\n" },
	{ H1_REQUEST, "\r\n\r\n", "end\n" },
	{ H1_REQUEST, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "/a:-\nend\n" },
	{ H1_REQUEST, "GET /a HTTP/1.1\r\nHost: h\r\n", "cut\n" },
	{ H1_REQUEST, "GET /a HTTP/1.1\r\nHost : h\r\n\r\n", "bad\n" },
	{ H1_REQUEST,
	    "POST /a HTTP/1.1\r\nHost: h\r\n"
	    "Content-Length: 5\r\n\r\nhello\r\n"
	    "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
	    "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
	    "PUT /d HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
	    "POST /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "1\r\nx\r\n0\r\nT: v\r\n\r\n"
	    "POST /f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "0\r\n\r\n"
	    "GET /g HTTP/1.1\r\nHost: h\r\n\r\n",
	    "/a:hello|end\n/b:-\n/c:abc0123456789|end\n/d:-\n"
	    "/e:x[T=v]|end\n/f:|end\n/g:-\nend\n" },
	{ H1_REQUEST,
	    "POST /a HTTP/1.1\r\nHost: h\r\n"
	    "Content-Length: 5\r\n\r\nhell",
	    "/a:hell|cut REQ_BODY_CUT\n" },
	{ H1_REQUEST,
	    "POST /a HTTP/1.1\r\nHost: h\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
	    "/a:hello|cut REQ_BODY_CUT\n" },
	{ H1_REQUEST,
	    "POST /a HTTP/1.1\r\nHost: h\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n",
	    "/a:hello|fail REQ_CHUNK\n" },
	{ H1_RESPONSE,
	    "HTTP/1.1 200 One\r\nContent-Length: 3\r\n\r\nabc"
	    "HTTP/1.1 200 Two\r\n\r\nto the very end",
	    "One:abc|end\nTwo:to the very end|end\n" },
	{ H1_RESPONSE, "HTTP/1.1 200 One\r\nContent-Length: 3\r\n\r\nab",
	    "One:ab|cut REQ_BODY_CUT\n" },
};

static void
test_talks(void)
{
	unsigned i, k;
	size_t n;

	for (i = 0; i < COUNT(talks); i++) {
		n = strlen(talks[i].text);
		tell(talks[i].kind, talks[i].text, n, 65536, 0, talks[i].heard);
		tell(talks[i].kind, talks[i].text, n, 1, 0, talks[i].heard);
		for (k = 0; k < 6; k++)
			tell(talks[i].kind, talks[i].text, n, 40, 0,
			    talks[i].heard);
	}
}

/* Cut anywhere: it always ends, and never says more than was there. */
static void
test_talks_cut(void)
{
	size_t n, at;

	n = strlen(talks[5].text);
	for (at = 0; at < n; at += 1 + unit_random(3))
		tell(talks[5].kind, talks[5].text, at, 65536, 0, NULL);
}

/*
 * Bodies let go half-way: the rest is passed over where it is here already,
 * else the connection is of no more use.
 */
static void
test_let_go(void)
{
	char text[1000];
	int n = snprintf(text, sizeof(text),
	    "POST /a HTTP/1.1\r\nHost: h\r\n"
	    "Content-Length: 300\r\n\r\n%0300d"
	    "GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
	    0);

	begin(H1_REQUEST);
	c.give_up = 1;
	CU_ASSERT_EQUAL(write(c.peer, text, (size_t)n), n);
	shutdown(c.peer, SHUT_WR);
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	CU_ASSERT(strstr(c.heard.p, "|more\n/b:-\nend\n") != NULL);
	end();

	begin(H1_REQUEST);
	c.give_up = 1;
	CU_ASSERT_EQUAL(write(c.peer, text, 200), 200);
	CU_ASSERT(lab_until(loop, is_over, NULL, LONG_MS));
	CU_ASSERT(c.in.poisoned && !c.in.in_body);
	end();
}

/* The connection dies under a body that others still read. */
static void
test_fini(void)
{
	const char *text = "POST /a HTTP/1.1\r\nHost: h\r\n"
			   "Content-Length: 9\r\n\r\nabc";
	struct fault why = { ERR_CLIENT_GONE, "" };
	unsigned i;

	for (i = 0; i < 2; i++) {
		begin(H1_REQUEST);
		CU_ASSERT_EQUAL(write(c.peer, text, strlen(text)),
		    (ssize_t)strlen(text));
		lab_run(loop, 5);
		CU_ASSERT(c.body != NULL && c.in.in_body);
		CU_ASSERT_FALSE(h1_in_stalled(&c.in, loop_now(loop), 1000));
		CU_ASSERT(h1_in_stalled(&c.in, loop_now(loop) + 1000, 900));
		h1_in_fini(&c.in, i == 0 ? &why : NULL);
		lab_run(loop, 5);
		CU_ASSERT(strcmp(c.heard.p,
			      i == 0 ? "/a:abc|cut CLIENT_GONE\n"
				     : "/a:abc|cut REQ_BODY_CUT\n") == 0);
		end();
	}
}

/* How fast a peer is counts only while it is the one that is waited for. */
static void
test_pace(void)
{
	static const struct {
		unsigned octets, paused, rate, windows;
		bool slow;
	} rows[] = {
		{ 1499, 0, 50, 1, true }, { 1500, 0, 50, 1, false },
		{ 0, 0, 50, 2, false }, /* one window is not two */
		{ 0, 0, 0, 1, false },
		{ 0, 1, 50, 1, false }, /* 1 ms of 30 s was not its */
	};
	struct pace p;
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p = (struct pace){ 0 };
		pace_wait(&p, 1000);
		pace_got(&p, rows[i].octets);
		pace_wait(&p, 2000); /* it is waited for already */
		pace_pause(&p, 11000);
		CU_ASSERT_FALSE(
		    pace_is_slow(&p, 500000, rows[i].rate, rows[i].windows));
		pace_wait(&p, 600000 + rows[i].paused);
		CU_ASSERT_EQUAL(pace_is_slow(&p, 620000, rows[i].rate,
				    rows[i].windows),
		    rows[i].slow);
	}
	/* The windows are judged one by one. */
	p = (struct pace){ 0 };
	pace_wait(&p, 1);
	pace_got(&p, 1 << 30);
	CU_ASSERT_FALSE(pace_is_slow(&p, 30001, 50, 1));
	CU_ASSERT_FALSE(pace_is_slow(&p, 60000, 50, 1));
	CU_ASSERT(pace_is_slow(&p, 60001, 50, 1));
	CU_ASSERT(pace_is_slow(&p, 90001, 50, 2));
	pace_got(&p, 1500);
	CU_ASSERT_FALSE(pace_is_slow(&p, 120001, 50, 1));
}

/* Nothing is held. */
static void
pump_all(struct pump *p, struct sink *to, struct body *b, struct task *wake)
{
	pump_hold(p, b, wake);
	pump_begin(p, to);
	reader_release(&p->reader, BODY_ALL);
}

/* Of a body that comes in drips, and of who takes one. */
static void
test_slow(void)
{
	const char *text = "POST /a HTTP/1.1\r\nHost: h\r\n"
			   "Content-Length: 9\r\n\r\nabc";
	struct http_msg msg = { .length_is = LENGTH_KNOWN };
	struct h1_sink sink = { 0 };
	struct pump pump = { 0 };
	struct body *large;
	uint64_t now;
	char *many;

	begin(H1_REQUEST);
	CU_ASSERT_EQUAL(write(c.peer, text, strlen(text)),
	    (ssize_t)strlen(text));
	lab_run(loop, 5);
	now = loop_now(loop);
	CU_ASSERT_FALSE(h1_in_is_slow(&c.in, now, 50));
	CU_ASSERT(h1_in_is_slow(&c.in, now + PACE_MS, 50));
	h1_in_forgive(&c.in, now);
	CU_ASSERT_FALSE(h1_in_is_slow(&c.in, now + PACE_MS - 1, 50));
	CU_ASSERT(h1_in_is_slow(&c.in, now + PACE_MS, 50));
	h1_in_forgive(&c.in, now);
	CU_ASSERT_FALSE(h1_in_is_slow(&c.in, now + PACE_MS, 0));

	many = calloc(1, 32 << 20);
	large = body_of_bytes(loop, &store, many, 32 << 20);
	free(many);
	msg.length = 32 << 20;
	pump_all(&pump,
	    h1_sink_begin(&sink, c.link, &msg, FRAMING_LENGTH, &c.task), large,
	    &c.task);
	while (pump_run(&pump, loop_now(loop)) != PULL_WAIT ||
	    pump.blocked_since == 0)
		lab_run(loop, 2);
	lab_run(loop, 50);
	(void)pump_run(&pump, now = loop_now(loop));
	CU_ASSERT_EQUAL(pump_pace(&pump, now, 60000, 50), PACE_WELL);
	CU_ASSERT_EQUAL(pump_pace(&pump, now + PACE_MS, 60000, 50), PACE_WELL);
	(void)pump_pace(&pump, now + 2 * PACE_MS + 1000, 900000, 50);
	CU_ASSERT_EQUAL(pump_pace(&pump, now + 3 * PACE_MS + 2000, 900000, 50),
	    PACE_SLOW);
	CU_ASSERT_EQUAL(pump_pace(&pump, now + 3 * PACE_MS + 2000, 60000, 50),
	    PACE_SILENT);
	CU_ASSERT_EQUAL(pump_pace(&pump, now + 4 * PACE_MS + 3000, 900000, 0),
	    PACE_WELL);
	pump_stop(&pump);
	body_unref(&large);
	h1_in_fini(&c.in, NULL);
	lab_run(loop, 5);
	end();
}

/* A trailer stays what it was when the connection has gone on. */
static void
test_trailer_stays(void)
{
	const char *text =
	    "POST /a HTTP/1.1\r\nHost: h\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: v\r\n\r\n"
	    "POST /b HTTP/1.1\r\nHost: h\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n0\r\nU: w\r\n\r\n";
	struct body *first = NULL;
	const struct http_fields *t;

	begin(H1_REQUEST);
	task_fini(&c.task);
	CU_ASSERT_EQUAL(write(c.peer, text, strlen(text)),
	    (ssize_t)strlen(text));
	lab_run(loop, 2);
	CU_ASSERT(hear_head());
	first = body_ref(c.body);
	while (c.body != NULL)
		(void)hear_body();
	CU_ASSERT(hear_head());
	while (c.body != NULL)
		(void)hear_body();
	t = body_trailer(first);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT(t->n == 1 && str_eq(t->v[0].name, STR("T")));
	body_unref(&first);
	end();
}

/* --- the pump --- */

/* A body that comes in pieces, whenever pump_go() says so. */
struct drip {
	struct source src;
	uint64_t len, at;
	enum pull last;
	bool dry;
	bool steady; /* never dry */
};

static enum pull
drip_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct drip *d = (struct drip *)s;
	unsigned char p[3000];
	size_t n = 1 + unit_random(sizeof(p)), i;

	d->dry = !d->dry && !d->steady && unit_random(3) == 0;
	if (d->dry)
		return (PULL_WAIT);
	if (d->at == d->len) {
		fault_set(f, ERR_ORIGIN_CUT, NULL);
		return (d->last);
	}
	n = n > want ? want : n;
	n = n > d->len - d->at ? (size_t)(d->len - d->at) : n;
	for (i = 0; i < n; i++)
		p[i] = lab_byte(0, d->at + i);
	chq_copy(out, p, n);
	d->at += n;
	return (PULL_MORE);
}

static void
drip_drop(struct source *s, enum pull last)
{
	(void)s;
	(void)last;
}

static const struct source_type drip_type = { "drip", drip_pull, drip_drop };

static struct sender {
	struct task task;
	struct link *link;
	struct h1_sink sink;
	struct pump pump;
	struct drip drip;
	struct body *body;
	enum pull end;
	int peer;
	struct buf heard;
} s;

static void
send_on(struct task *t)
{
	(void)t;
	if (s.pump.started && s.end == PULL_MORE) {
		s.end = pump_run(&s.pump, loop_now(loop));
		if (!pull_is_last(s.end))
			s.end = PULL_MORE;
		else if (s.end == PULL_END)
			link_shutdown(s.link);
	}
}

static bool
is_sent(void *arg)
{
	(void)arg;
	if (s.drip.dry)
		source_wake(&s.drip.src);
	return (s.end != PULL_MORE);
}

/* All is heard: the peer has read to the end. */
static bool
is_heard(void *arg)
{
	ssize_t n = recv(s.peer, buf_room(&s.heard, 60000), 60000, 0);

	s.heard.n += n > 0 ? (size_t)n : 0;
	(void)is_sent(arg);
	return (n == 0 || (n < 0 && errno != EAGAIN));
}

static struct sink *
sink_for(const struct http_msg *m, enum h1_framing framing)
{
	return (h1_sink_begin(&s.sink, s.link, m, framing, &s.task));
}

static void
send_begin(uint64_t len, enum pull last)
{
	int fd[2];

	live_before = chunk_bytes_live();
	loop = loop_new();
	memset(&s, 0, sizeof(s));
	s.end = PULL_MORE;
	lab_tcp(fd);
	s.peer = fd[1];
	task_init(&s.task, loop, send_on);
	s.link = link_new(loop, fd[0], &s.task);
	s.drip = (struct drip){ .len = len, .last = last };
	source_init(&s.drip.src, &drip_type);
	s.body = body_new(loop, &store, &s.drip.src, BODY_UNKNOWN);
}

static void
send_end(void)
{
	pump_stop(&s.pump);
	pump_stop(&s.pump);
	body_unref(&s.body);
	task_fini(&s.task);
	link_close(&s.link, LINK_ABORT);
	close(s.peer);
	buf_fini(&s.heard);
	loop_free(&loop);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live_before);
	link_thread_fini();
}

/* Take the chunks of what was heard apart again, in place. */
static bool
unchunk(void)
{
	struct h1_body d;
	struct arena *a = arena_new();
	struct chq in = { 0 }, out = { 0 };
	struct fault f = { 0 };
	enum pull p;

	chq_copy(&in, s.heard.p, s.heard.n);
	h1_body_init(&d, a, FRAMING_CHUNKED, 0, ERR_REQ_CHUNK);
	do
		p = h1_body_pull(&d, &in, &out, 65536, &f);
	while (p == PULL_MORE);
	s.heard.n = chq_len(&out);
	chq_read(&out, 0, s.heard.p, s.heard.n);
	p = p == PULL_END && chq_len(&in) == 0 ? PULL_END : PULL_FAIL;
	chq_fini(&in);
	chq_fini(&out);
	arena_free(&a);
	return (p == PULL_END);
}

static bool
heard_right(uint64_t len)
{
	uint64_t i;

	if (s.heard.n != len)
		return (false);
	for (i = 0; i < len; i++)
		if ((unsigned char)s.heard.p[i] != lab_byte(0, i))
			return (false);
	return (true);
}

static void
pump_whole(enum h1_framing framing, uint64_t len, bool hold)
{
	struct http_msg m = { .length = len };

	send_begin(len, PULL_END);
	if (hold) {
		pump_hold(&s.pump, s.body, &s.task);
		task_wake(&s.task);
		lab_run(loop, 2);
		CU_ASSERT_FALSE(body_was_pulled(s.body));
		pump_begin(&s.pump, sink_for(&m, framing));
		reader_release(&s.pump.reader, len / 3);
		task_wake(&s.task);
		lab_run(loop, 3);
		CU_ASSERT(s.pump.sent <= len / 3);
		reader_release(&s.pump.reader, BODY_ALL);
	} else
		pump_all(&s.pump, sink_for(&m, framing), s.body, &s.task);
	task_wake(&s.task);
	CU_ASSERT(lab_until(loop, is_heard, NULL, LONG_MS));
	CU_ASSERT_EQUAL(s.end, PULL_END);
	CU_ASSERT_EQUAL(s.pump.sent, len);
	if (framing == FRAMING_CHUNKED)
		CU_ASSERT(unchunk());
	CU_ASSERT(heard_right(len));
	send_end();
}

static void
test_pump(void)
{
	static const uint64_t lengths[] = { 0, 1, 100, 70000, 2500000 };
	static const enum h1_framing framings[] = { FRAMING_LENGTH,
		FRAMING_CHUNKED, FRAMING_CLOSE };
	unsigned i, k;

	for (i = 0; i < COUNT(lengths); i++)
		for (k = 0; k < COUNT(framings); k++) {
			pump_whole(framings[k], lengths[i], false);
			pump_whole(framings[k], lengths[i], true);
		}
}

/* Shorter or longer than announced, cut, failed: never an end. */
static void
test_pump_breaks(void)
{
	static const struct {
		enum h1_framing framing;
		uint64_t announced, len;
		enum pull last, end;
	} rows[] = {
		{ FRAMING_LENGTH, 10, 9, PULL_END, PULL_CUT },
		{ FRAMING_LENGTH, 10, 0, PULL_END, PULL_CUT },
		{ FRAMING_LENGTH, 10, 11, PULL_END, PULL_CUT },
		{ FRAMING_LENGTH, 0, 1, PULL_END, PULL_CUT },
		{ FRAMING_LENGTH, 100000, 99999, PULL_END, PULL_CUT },
		{ FRAMING_LENGTH, 100000, 200000, PULL_END, PULL_CUT },
		{ FRAMING_LENGTH, 10, 10, PULL_CUT, PULL_CUT },
		{ FRAMING_LENGTH, 10, 5, PULL_FAIL, PULL_FAIL },
		{ FRAMING_CHUNKED, 0, 10, PULL_CUT, PULL_CUT },
		{ FRAMING_CHUNKED, 0, 100000, PULL_FAIL, PULL_FAIL },
		{ FRAMING_CLOSE, 0, 100, PULL_CUT, PULL_CUT },
		/* what was said to have no body has none */
		{ FRAMING_NONE, 0, 1, PULL_END, PULL_CUT },
		{ FRAMING_NONE, 0, 0, PULL_END, PULL_END },
	};
	struct http_msg m = { 0 };
	unsigned i, k;

	for (i = 0; i < COUNT(rows); i++)
		for (k = 0; k < 5; k++) {
			send_begin(rows[i].len, rows[i].last);
			m.length = rows[i].announced;
			pump_all(&s.pump, sink_for(&m, rows[i].framing), s.body,
			    &s.task);
			task_wake(&s.task);
			CU_ASSERT(lab_until(loop, is_sent, NULL, LONG_MS));
			CU_ASSERT_EQUAL(s.end, rows[i].end);
			CU_ASSERT_EQUAL(pump_run(&s.pump, 1), rows[i].end);
			CU_ASSERT_EQUAL(s.sink.sink.end,
			    rows[i].end == PULL_END ? PULL_END : PULL_CUT);
			CU_ASSERT_EQUAL(h1_sink_is_open(&s.sink),
			    rows[i].end != PULL_END);
			CU_ASSERT(rows[i].framing != FRAMING_LENGTH ||
			    s.pump.sent <= rows[i].announced);
			link_close(&s.link, LINK_ABORT);
			CU_ASSERT(lab_until(loop, is_heard, NULL, LONG_MS));
			if (rows[i].framing == FRAMING_CHUNKED)
				CU_ASSERT_FALSE(unchunk());
			send_end();
		}
}

/* Lets 1000 octets pass. */
static bool
check_first(void *arg, const struct chq *q)
{
	uint64_t *seen = arg;

	*seen += chq_len(q);
	return (*seen <= 1000);
}

static void
test_pump_check(void)
{
	struct http_msg m = { .length_is = LENGTH_UNKNOWN };
	uint64_t seen;
	unsigned i;

	for (i = 0; i < 2; i++) {
		seen = 0;
		send_begin(i == 0 ? 1000 : 100000, PULL_END);
		pump_all(&s.pump, sink_for(&m, FRAMING_CHUNKED), s.body,
		    &s.task);
		s.pump.check = check_first;
		s.pump.check_arg = &seen;
		task_wake(&s.task);
		CU_ASSERT(lab_until(loop, is_sent, NULL, LONG_MS));
		CU_ASSERT_EQUAL(s.end, i == 0 ? PULL_END : PULL_FAIL);
		link_close(&s.link, LINK_ABORT);
		CU_ASSERT(lab_until(loop, is_heard, NULL, LONG_MS));
		CU_ASSERT_EQUAL(unchunk(), i == 0);
		CU_ASSERT(s.heard.n <= 1000);
		send_end();
	}
}

/* A peer that does not read stops the pump, and nothing grows. */
static void
test_pump_blocked(void)
{
	struct http_msg m = { .length_is = LENGTH_UNKNOWN };

	send_begin(20000000, PULL_END);
	s.drip.steady = true;
	pump_all(&s.pump, sink_for(&m, FRAMING_CHUNKED), s.body, &s.task);
	task_wake(&s.task);
	CU_ASSERT_FALSE(lab_until(loop, is_sent, NULL, 700));
	CU_ASSERT(s.pump.blocked_since != 0);
	CU_ASSERT(chunk_bytes_live() - live_before < 1000000);
	CU_ASSERT(lab_until(loop, is_heard, NULL, 3 * LONG_MS));
	CU_ASSERT(s.end == PULL_END && s.pump.blocked_since == 0);
	CU_ASSERT(unchunk());
	CU_ASSERT(heard_right(20000000));
	send_end();
}

UNIT_TESTS(proxy_h1_in, { "pipelined messages", test_talks },
    { "cut anywhere", test_talks_cut }, { "bodies let go", test_let_go },
    { "the connection dies", test_fini }, { "pace", test_pace },
    { "drips", test_slow }, { "trailers stay", test_trailer_stays },
    { "pump, all framings", test_pump },
    { "pump, what breaks off", test_pump_breaks },
    { "pump, what is checked", test_pump_check },
    { "pump, blocked", test_pump_blocked })
