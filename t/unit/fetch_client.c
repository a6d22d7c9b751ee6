/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The asking side: the test is the process at the other end of its socket. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "base/channel.h"
#include "base/sealed.h"
#include "base/str.h"
#include "base/thread.h"
#include "fetch/wire_priv.h"
#include "t/unit/unit.h"

static struct loop *loop;
static struct fetch *client;
static struct {
	unsigned works, lost;
	char why[64];
} heard;

static void
on_works(void *arg, const struct sandbox_report *r)
{
	(void)arg;
	CU_ASSERT_EQUAL(r->landlock, 2);
	heard.works++;
}

static void
on_lost(void *arg, const char *why)
{
	(void)arg;
	heard.lost++;
	snprintf(heard.why, sizeof(heard.why), "%s", why != NULL ? why : "");
}

/* A wait that stops its loop. */
struct want {
	struct fetch_wait wait;
	struct loop *loop;
	struct fetch_answer got;
	struct buf content;
	bool ready;
};

static void
on_ready(struct fetch_wait *w, struct fetch_answer *a)
{
	struct want *x = (struct want *)w;

	CU_ASSERT_FALSE(x->ready);
	x->ready = true;
	x->got = *a;
	if (a->fd >= 0)
		CU_ASSERT_TRUE(sealed_read(a->fd, &x->content, 1000));
	loop_stop(x->loop);
}

static void
ask(struct want *x, const char *url)
{
	const struct fetch_request r = { .kind = FETCH_ISSUER,
		.url = url,
		.max_bytes = 100,
		.deadline_ms = 500,
		.etag = "\"e\"",
		.since = 5 };

	*x = (struct want){ .wait.ready = on_ready, .loop = loop };
	fetch_start(client, loop, &x->wait, &r);
	CU_ASSERT_FALSE(x->ready); /* never at once */
}

static void
wait_ready(struct want *x)
{
	while (!x->ready)
		loop_run(loop);
	buf_fini(&x->content);
}

static void
stop(struct timer *t)
{
	loop_stop(t->loop);
}

static void
turn(void)
{
	struct timer t;

	timer_init(&t, loop, stop);
	timer_set(&t, 20);
	loop_run(loop);
	timer_stop(&t);
}

static int
begin(void)
{
	const struct fetch_events e = { on_works, on_lost, NULL };
	int pair[2];

	memset(&heard, 0, sizeof(heard));
	loop = loop_new();
	client = fetch_new(loop, &e);
	CU_ASSERT_TRUE(channel_pair(pair));
	fetch_attach(client, pair[0]);
	return (pair[1]);
}

static void
finish(int fd)
{
	fetch_free(&client);
	CU_ASSERT_PTR_NULL(client);
	loop_settle(loop);
	loop_free(&loop);
	if (fd >= 0)
		close(fd);
}

static struct wire_ask
asked(int fd)
{
	int fds[CHANNEL_FDS];
	struct wire_ask a;
	unsigned n;

	CU_ASSERT_EQUAL(channel_recv(fd, &a, sizeof(a), fds, &n, 20000),
	    CHANNEL_DONE);
	CU_ASSERT_TRUE(n == 0 && wire_ask_ok(&a));
	return (a);
}

static struct wire_say
result(uint32_t id, size_t size)
{
	return ((struct wire_say){ .op = WIRE_RESULT,
	    .id = id,
	    .outcome = FETCH_DONE,
	    .status = 200,
	    .size = size,
	    .fresh_s = 60,
	    .modified = 9,
	    .etag = "\"f\"" });
}

static void
say(int fd, const struct wire_say *s, const int *fds, unsigned n)
{
	CU_ASSERT_EQUAL(channel_send(fd, s, sizeof(*s), fds, n, 1000),
	    CHANNEL_DONE);
}

static void
answer(int fd, uint32_t id, const char *text)
{
	struct wire_say s = result(id, strlen(text));
	int memory = sealed_new("answer", text, strlen(text));

	say(fd, &s, &memory, 1);
	close(memory);
}

static void
test_answered(void)
{
	struct wire_say s = { .op = WIRE_WORKS, .report.landlock = 2 };
	struct fetch_stats stats;
	struct wire_ask a, b;
	struct want x, y;
	int fd = begin();

	say(fd, &s, NULL, 0);
	ask(&x, "http://a.test/1");
	ask(&y, "http://a.test/2");
	a = asked(fd);
	b = asked(fd);
	CU_ASSERT_STRING_EQUAL(a.url, "http://a.test/1");
	CU_ASSERT_STRING_EQUAL(a.etag, "\"e\"");
	CU_ASSERT(a.max_bytes == 100 && a.deadline_ms == 500 && a.since == 5);
	CU_ASSERT_NOT_EQUAL(a.id, b.id);
	answer(fd, b.id, "two");
	s = result(a.id, 0);
	s.outcome = FETCH_STATUS;
	s.status = 404;
	strcpy(s.why, "status 404");
	say(fd, &s, NULL, 0);
	wait_ready(&x);
	wait_ready(&y);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_STATUS);
	CU_ASSERT_EQUAL(x.got.status, 404);
	CU_ASSERT_STRING_EQUAL(x.got.why, "status 404");
	CU_ASSERT_EQUAL(x.got.fd, -1);
	CU_ASSERT_EQUAL(y.got.outcome, FETCH_DONE);
	CU_ASSERT_STRING_EQUAL(y.got.etag, "\"f\"");
	CU_ASSERT(
	    y.got.size == 3 && y.got.fresh_s == 60 && y.got.modified == 9);
	CU_ASSERT_EQUAL(close(y.got.fd), -1); /* it was closed */
	fetch_stats(client, &stats);
	CU_ASSERT(stats.asked == 2 && stats.done == 1 && stats.failed == 1 &&
	    stats.pending == 0 && stats.attached);
	CU_ASSERT(heard.works == 1 && heard.lost == 0);
	finish(fd);
}

/* What it does not believe: the process is given up, the question fails. */
static void
nonsense(int fd, const void *p, size_t n, const int *fds, unsigned n_fds)
{
	struct want x;

	ask(&x, "http://a.test/");
	(void)asked(fd);
	CU_ASSERT_EQUAL(channel_send(fd, p, n, fds, n_fds, 1000), CHANNEL_DONE);
	wait_ready(&x);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_LOST);
	CU_ASSERT_EQUAL(heard.lost, 1);
	CU_ASSERT_STRING_EQUAL(heard.why, "it broke its protocol");
	finish(fd);
}

static void
test_nonsense(void)
{
	struct wire_say s = result(1, 3);
	int memory = sealed_new("m", "abc", 3), open_memory = sealed_begin("o"),
	    more = sealed_new("m", "abcdefghij", 10), two[2] = { memory, more };
	char large[101] = { 0 };
	int huge = sealed_new("m", large, sizeof(large));

	CU_ASSERT_EQUAL(write(open_memory, "abc", 3), 3);
	nonsense(begin(), "x", 1, NULL, 0);
	nonsense(begin(), &s, sizeof(s) - 1, &memory, 1);
	nonsense(begin(), &s, sizeof(s), NULL, 0);         /* no octets */
	nonsense(begin(), &s, sizeof(s), two, 2);          /* too many */
	nonsense(begin(), &s, sizeof(s), &more, 1);        /* another size */
	nonsense(begin(), &s, sizeof(s), &open_memory, 1); /* that can change */
	nonsense(begin(), &s, sizeof(s), (int[]){ 0 }, 1); /* no memory */
	s.id = 99;
	nonsense(begin(), &s, sizeof(s), &memory, 1); /* not asked */
	s.id = 1;
	s.size = sizeof(large);
	nonsense(begin(), &s, sizeof(s), &huge, 1); /* more than wanted */
	s.size = 0;
	s.outcome = FETCH_CUT;
	nonsense(begin(), &s, sizeof(s), &memory, 1); /* with octets */
	s.outcome = FETCH_OUTCOMES;
	nonsense(begin(), &s, sizeof(s), NULL, 0);
	s = (struct wire_say){ .op = WIRE_WORKS, .report.off = 2 };
	nonsense(begin(), &s, sizeof(s), NULL, 0);
	close(memory);
	close(more);
	close(open_memory);
	close(huge);
}

/* It dies, and another takes over. */
static void
test_another(void)
{
	struct want x, y, z;
	int fd = begin(), pair[2];

	ask(&x, "http://a.test/x");
	(void)asked(fd);
	close(fd);
	wait_ready(&x);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_LOST);
	CU_ASSERT_STRING_EQUAL(x.got.why, "it has died");
	CU_ASSERT_EQUAL(heard.lost, 1);
	ask(&y, "http://a.test/y");
	wait_ready(&y);
	CU_ASSERT_EQUAL(y.got.outcome, FETCH_LOST);
	CU_ASSERT_STRING_EQUAL(y.got.why, "there is none");
	CU_ASSERT_TRUE(channel_pair(pair));
	fetch_attach(client, pair[0]);
	ask(&z, "http://a.test/z");
	answer(pair[1], asked(pair[1]).id, "z");
	wait_ready(&z);
	CU_ASSERT_EQUAL(z.got.outcome, FETCH_DONE);
	CU_ASSERT_EQUAL(heard.lost, 1);
	finish(pair[1]);
}

/* One that is replaced while it lives answers what it was asked, and ends. */
static void
test_replaced(void)
{
	int old = begin(), pair[2], fds[CHANNEL_FDS];
	struct want x, y;
	struct wire_ask a;
	unsigned n;

	ask(&x, "http://a.test/x");
	a = asked(old);
	CU_ASSERT_TRUE(channel_pair(pair));
	fetch_attach(client, pair[0]);
	ask(&y, "http://a.test/y");
	answer(pair[1], asked(pair[1]).id, "new");
	wait_ready(&y);
	CU_ASSERT_FALSE(x.ready);
	answer(old, a.id, "old");
	wait_ready(&x);
	CU_ASSERT(x.got.outcome == FETCH_DONE && y.got.outcome == FETCH_DONE);
	turn();
	CU_ASSERT_EQUAL(channel_recv(old, &a, sizeof(a), fds, &n, 20000),
	    CHANNEL_CLOSED);
	CU_ASSERT_EQUAL(heard.lost, 0);
	close(old);
	finish(pair[1]);
}

static void
test_cancelled(void)
{
	struct fetch_stats stats;
	int fd = begin();
	struct wire_ask a, b;
	struct wire_say s;
	struct want x;

	ask(&x, "http://a.test/");
	fetch_cancel(&x.wait);
	fetch_cancel(&x.wait);
	a = asked(fd);
	b = asked(fd);
	CU_ASSERT(b.op == WIRE_CANCEL && b.id == a.id);
	fetch_stats(client, &stats);
	CU_ASSERT_EQUAL(stats.pending, 1);
	s = result(a.id, 0);
	s.outcome = FETCH_CANCELLED;
	say(fd, &s, NULL, 0);
	turn();
	CU_ASSERT_FALSE(x.ready);
	fetch_stats(client, &stats);
	CU_ASSERT(stats.pending == 0 && heard.lost == 0);
	/* One that nobody waits for when the client goes. */
	ask(&x, "http://a.test/");
	fetch_cancel(&x.wait);
	finish(fd);
}

static void
test_silent(void)
{
	int fd = begin();
	struct want x;

	ask(&x, "http://a.test/");
	(void)asked(fd);
	wait_ready(&x);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_LOST);
	CU_ASSERT_STRING_EQUAL(heard.why, "it does not answer");
	finish(fd);
}

static void
test_refused(void)
{
	char url[FETCH_URL_MAX + 1];
	struct want x[FETCH_MOST + 1];
	int fd = begin();
	unsigned i, busy = 0;

	memset(url, 'a', sizeof(url));
	url[sizeof(url) - 1] = '\0';
	ask(&x[0], url);
	wait_ready(&x[0]);
	CU_ASSERT_EQUAL(x[0].got.outcome, FETCH_URL);
	ask(&x[0], "http://a test/");
	wait_ready(&x[0]);
	CU_ASSERT_EQUAL(x[0].got.outcome, FETCH_URL);
	ask(&x[0], "");
	wait_ready(&x[0]);
	CU_ASSERT_EQUAL(x[0].got.outcome, FETCH_URL);
	for (i = 0; i < FETCH_MOST + 1; i++)
		ask(&x[i], "http://a.test/");
	turn();
	for (i = 0; i < FETCH_MOST + 1; i++) {
		busy += x[i].ready;
		CU_ASSERT(!x[i].ready || x[i].got.outcome == FETCH_BUSY);
	}
	CU_ASSERT_TRUE(busy >= 1); /* the socket may be full before */
	fetch_free(&client);
	loop_settle(loop);
	for (i = 0; i < FETCH_MOST + 1; i++)
		CU_ASSERT(x[i].ready &&
		    (x[i].got.outcome == FETCH_BUSY ||
			x[i].got.outcome == FETCH_LOST));
	loop_free(&loop);
	close(fd);
}

/* Issuers, which origins name, leave room for what tells of revocation. */
static void
test_share(void)
{
	const struct fetch_request status = { .kind = FETCH_OCSP,
		.url = "http://ocsp.test/" };
	struct want x[FETCH_MOST / 4 + 1], y;
	int fd = begin();
	uint32_t first = 0;
	unsigned i;

	for (i = 0; i < FETCH_MOST / 4; i++) {
		ask(&x[i], "http://a.test/");
		first = i == 0 ? asked(fd).id : (asked(fd), first);
	}
	ask(&x[i], "http://a.test/");
	wait_ready(&x[i]);
	CU_ASSERT_EQUAL(x[i].got.outcome, FETCH_BUSY);
	y = (struct want){ .wait.ready = on_ready, .loop = loop };
	fetch_start(client, loop, &y.wait, &status);
	CU_ASSERT_EQUAL(asked(fd).kind, FETCH_OCSP);
	/* One that is answered leaves its room to another. */
	answer(fd, first, "one");
	wait_ready(&x[0]);
	ask(&x[i], "http://a.test/");
	CU_ASSERT_EQUAL(asked(fd).kind, FETCH_ISSUER);
	finish(fd);
	CU_ASSERT_TRUE(y.ready);
}

/* From other threads' loops; these only count (CUnit is one thread's). */
struct elsewhere {
	struct fetch_wait wait;
	struct loop *loop;
	unsigned done;
	bool ready;
};

static void
on_ready_elsewhere(struct fetch_wait *w, struct fetch_answer *a)
{
	struct elsewhere *x = (struct elsewhere *)w;

	x->done += a->outcome == FETCH_DONE;
	x->ready = true;
	loop_stop(x->loop);
}

static void *
elsewhere(void *arg)
{
	const struct fetch_request r = { .kind = FETCH_LIST,
		.url = "http://a.test/" };
	struct elsewhere *x = arg;
	unsigned i;

	for (i = 0; i < 100; i++) {
		x->ready = false;
		x->wait = (struct fetch_wait){ .ready = on_ready_elsewhere };
		fetch_start(client, x->loop, &x->wait, &r);
		if (i % 4 == 0)
			fetch_cancel(&x->wait);
		else
			while (!x->ready)
				loop_run(x->loop);
	}
	return (NULL);
}

struct peer {
	int fd;
	_Atomic unsigned answered;
};

static void *
process(void *arg)
{
	int fds[CHANNEL_FDS], memory = sealed_new("answer", "abc", 3);
	struct peer *p = arg;
	struct wire_say s;
	struct wire_ask a;
	unsigned n;

	while (channel_recv(p->fd, &a, sizeof(a), fds, &n, 20000) ==
	    CHANNEL_DONE) {
		if (a.op != WIRE_START)
			continue;
		s = result(a.id, 3);
		if (channel_send(p->fd, &s, sizeof(s), &memory, 1, 20000) ==
		    CHANNEL_DONE)
			p->answered++;
	}
	close(memory);
	return (NULL);
}

static void
test_threads(void)
{
	struct peer peer = { .fd = begin() };
	struct elsewhere x[3] = { 0 };
	struct fetch_stats stats;
	pthread_t t[3], p;
	unsigned i;

	CU_ASSERT_EQUAL(thread_start(&p, "process", process, &peer), 0);
	for (i = 0; i < 3; i++) {
		x[i].loop = loop_new();
		CU_ASSERT_EQUAL(thread_start(&t[i], "elsewhere", elsewhere,
				    &x[i]),
		    0);
	}
	do {
		turn();
		fetch_stats(client, &stats);
	} while (stats.done < 300);
	for (i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		CU_ASSERT_EQUAL(x[i].done, 75);
	}
	CU_ASSERT(peer.answered == 300 && heard.lost == 0);
	fetch_free(&client);
	for (i = 0; i < 3; i++) {
		loop_settle(x[i].loop);
		loop_free(&x[i].loop);
	}
	pthread_join(p, NULL);
	finish(peer.fd);
}

UNIT_TESTS(fetch_client, { "answered", test_answered },
    { "nonsense", test_nonsense }, { "another process", test_another },
    { "replaced", test_replaced }, { "cancelled", test_cancelled },
    { "silent", test_silent }, { "refused", test_refused },
    { "share", test_share }, { "threads", test_threads })
