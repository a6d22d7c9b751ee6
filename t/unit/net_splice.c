/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tunnels over loopback TCP: bytes, half-closes, resets, idleness, pipes. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "base/loop.h"
#include "net/splice.h"
#include "t/unit/unit.h"

static struct loop *loop;
static struct splicer *splicer;
static struct splice *tunnel;
static struct task woken;
static struct timer limit;
static struct budget *everybody;
static struct account *account; /* of the tunnels */
static unsigned wakes;
static unsigned ends_before; /* of pipes: the loop's and the driver's own */
static int client, origin;   /* the peers' ends */
static int tunnel_client, tunnel_origin;

static void
on_wake(struct task *t)
{
	(void)t;
	wakes++;
	loop_stop(loop);
}

static void
on_limit(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

static void
run_ms(unsigned ms)
{
	timer_set(&limit, ms);
	loop_run(loop);
}

static void
tcp_pair(int *a, int *b)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(to);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	CU_ASSERT_FATAL(bind(l, (struct sockaddr *)&to, n) == 0);
	CU_ASSERT_FATAL(listen(l, 1) == 0);
	getsockname(l, (struct sockaddr *)&to, &n);
	*a = socket(AF_INET, SOCK_STREAM, 0);
	CU_ASSERT_FATAL(connect(*a, (struct sockaddr *)&to, n) == 0);
	*b = accept(l, NULL, NULL);
	close(l);
	fcntl(*a, F_SETFL, O_NONBLOCK);
	fcntl(*b, F_SETFL, O_NONBLOCK);
}

/* Ends of pipes that the process has, by the kernel. */
static unsigned
pipe_ends(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	char to[32];
	unsigned ends = 0;

	while ((e = readdir(dir)) != NULL)
		if (readlinkat(dirfd(dir), e->d_name, to, sizeof(to)) > 5 &&
		    memcmp(to, "pipe:", 5) == 0)
			ends++;
	closedir(dir);
	return (ends);
}

/* Pipes that tunnels use now: a pair of sockets counts 1, a pipe 2. */
static unsigned
pipes(unsigned tunnels)
{
	return (
	    (unsigned)(account_used(account, BUDGET_DESCRIPTORS) - tunnels) /
	    2);
}

static void
set_up(const char *first_up, const char *first_down,
    const struct splice_options *o)
{
	struct splice_options all = { 0 };
	struct chq up = { 0 }, down = { 0 };

	if (o != NULL)
		all = *o;
	everybody = budget_new();
	if (all.account == NULL)
		all.account = account_open(everybody, 1);
	account = account_ref(all.account);
	if (o == NULL || o->account == NULL)
		account_unref(&all.account);
	all.account = account;
	signal(SIGPIPE, SIG_IGN);
	wakes = 0;
	loop = loop_new();
	ends_before = pipe_ends();
	splicer = splicer_new(loop, NULL);
	task_init(&woken, loop, on_wake);
	timer_init(&limit, loop, on_limit);
	tcp_pair(&client, &tunnel_client);
	tcp_pair(&tunnel_origin, &origin);
	chq_copy(&up, first_up, strlen(first_up));
	chq_copy(&down, first_down, strlen(first_down));
	tunnel = splice_start(splicer, tunnel_client, tunnel_origin, &up, &down,
	    &all, &woken);
	CU_ASSERT(chq_len(&up) == 0 && chq_len(&down) == 0);
	chq_fini(&up);
	chq_fini(&down);
}

static void
tear_down(void)
{
	splice_free(&tunnel);
	CU_ASSERT(tunnel == NULL);
	timer_stop(&limit);
	task_fini(&woken);
	splicer_free(&splicer);
	CU_ASSERT_EQUAL(pipe_ends(), ends_before); /* none stays behind */
	account_unref(&account);
	budget_free(&everybody);
	loop_free(&loop);
	close(client);
	close(origin);
}

static bool
reads(int fd, const char *what)
{
	char got[100] = "";
	ssize_t n = read(fd, got, sizeof(got) - 1);

	return (n == (ssize_t)strlen(what) && strcmp(got, what) == 0);
}

static void
test_small(void)
{
	char c;

	set_up("hello", "banner", NULL);
	run_ms(20);
	CU_ASSERT(reads(origin, "hello"));
	CU_ASSERT(reads(client, "banner"));
	CU_ASSERT(write(client, "one", 3) == 3);
	CU_ASSERT(write(origin, "two!", 4) == 4);
	run_ms(20);
	CU_ASSERT(reads(origin, "one"));
	CU_ASSERT(reads(client, "two!"));
	CU_ASSERT_EQUAL(pipes(1), 0);
	CU_ASSERT(splice_bytes_to_origin(tunnel) == 8);
	CU_ASSERT(splice_bytes_to_client(tunnel) == 10);
	CU_ASSERT(splice_ended(tunnel) == SPLICE_RUNNING && wakes == 0);

	shutdown(client, SHUT_WR); /* half-close */
	run_ms(20);
	CU_ASSERT(read(origin, &c, 1) == 0);
	CU_ASSERT(write(origin, "late", 4) == 4);
	run_ms(20);
	CU_ASSERT(reads(client, "late"));
	CU_ASSERT(splice_ended(tunnel) == SPLICE_RUNNING);
	close(origin);
	origin = -1;
	run_ms(1000);
	CU_ASSERT(splice_ended(tunnel) == SPLICE_DONE && wakes == 1);
	CU_ASSERT(read(client, &c, 1) == 0);
	tear_down();
}

/* Pump pseudo-random bytes both ways with slow readers; compare. */
static unsigned char
byte_at(uint64_t i)
{
	return ((unsigned char)(i * 2654435761u >> 13));
}

struct pump {
	uint64_t sent, got, size;
	bool wrong, ended;
};

static void
pump_out(struct pump *p, int fd)
{
	unsigned char b[60000];
	size_t i, n = 1 + unit_random(sizeof(b));
	ssize_t r;

	if (p->sent == p->size)
		return;
	if (n > p->size - p->sent)
		n = (size_t)(p->size - p->sent);
	for (i = 0; i < n; i++)
		b[i] = byte_at(p->sent + i);
	r = write(fd, b, n);
	if (r > 0)
		p->sent += (uint64_t)r;
	if (p->sent == p->size)
		shutdown(fd, SHUT_WR);
}

static void
pump_in(struct pump *p, int fd)
{
	unsigned char b[60000];
	ssize_t i, n = read(fd, b, 1 + unit_random(sizeof(b)));

	for (i = 0; i < n; i++)
		p->wrong = p->wrong || b[i] != byte_at(p->got + (uint64_t)i);
	if (n > 0)
		p->got += (uint64_t)n;
	p->ended = p->ended || n == 0;
}

static void
both_ways(const struct splice_options *o)
{
	struct pump up = { .size = 9000001 }, down = { .size = 14000003 };
	unsigned round;

	set_up("", "", o);
	for (round = 0; round < 100000 && !(up.ended && down.ended); round++) {
		pump_out(&up, client);
		pump_out(&down, origin);
		if (round % 3 == 0)
			pump_in(&up, origin);
		if (round > 400 || round % 7 == 0) /* it jams first */
			pump_in(&down, client);
		run_ms(round % 5 == 0 ? 1 : 0);
	}
	CU_ASSERT(up.got == up.size && !up.wrong && up.ended);
	CU_ASSERT(down.got == down.size && !down.wrong && down.ended);
	run_ms(20);
	CU_ASSERT(splice_ended(tunnel) == SPLICE_DONE && wakes == 1);
	CU_ASSERT(splice_bytes_to_origin(tunnel) == up.size);
	CU_ASSERT(splice_bytes_to_client(tunnel) == down.size);
	tear_down();
}

static void
test_bulk(void)
{
	both_ways(NULL);
}

static void
test_copy(void)
{
	both_ways(&(struct splice_options){ .no_splice = true });
}

/* No descriptor left for a pipe: it copies. */
static void
test_no_pipe(void)
{
	struct rlimit old, now;

	set_up("", "", NULL);
	getrlimit(RLIMIT_NOFILE, &old);
	now = old;
	now.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &now);
	CU_ASSERT(write(client, "bytes", 5) == 5);
	run_ms(20);
	CU_ASSERT(reads(origin, "bytes"));
	CU_ASSERT(splice_ended(tunnel) == SPLICE_RUNNING);
	setrlimit(RLIMIT_NOFILE, &old);
	tear_down();
}

/* After a burst the last bytes must not wait for a low-water mark. */
static void
test_tail(void)
{
	static char block[16384];
	char *sink = malloc(1 << 20);
	uint64_t sent = 0, got = 0;
	unsigned i;
	ssize_t n;

	set_up("", "", NULL);
	for (i = 0; i < 2000; i++) {
		if ((n = write(origin, block, sizeof(block))) > 0)
			sent += (uint64_t)n;
		run_ms(0);
		while ((n = read(client, sink, 1 << 20)) > 0)
			got += (uint64_t)n;
	}
	CU_ASSERT(write(origin, "tail", 4) == 4);
	sent += 4;
	for (i = 0; i < 10 && got < sent; i++) {
		run_ms(5);
		while ((n = read(client, sink, 1 << 20)) > 0)
			got += (uint64_t)n;
	}
	CU_ASSERT(got == sent);
	/* And then it is a conversation again. */
	for (i = 0; i < 5; i++) {
		CU_ASSERT(write(origin, "x", 1) == 1);
		run_ms(10);
		CU_ASSERT(read(client, sink, 10) == 1);
	}
	free(sink);
	tear_down();
}

static void
reset(int *fd)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(*fd);
	*fd = -1;
}

static void
test_reset(void)
{
	char c;
	int i, *dies, *lives;

	for (i = 0; i < 2; i++) {
		set_up("", "", NULL);
		run_ms(5);
		dies = i == 0 ? &client : &origin;
		lives = i == 0 ? &origin : &client;
		reset(dies);
		run_ms(1000);
		CU_ASSERT(wakes == 1);
		CU_ASSERT(splice_ended(tunnel) ==
		    (i == 0 ? SPLICE_CLIENT_LOST : SPLICE_ORIGIN_LOST));
		CU_ASSERT(read(*lives, &c, 1) == -1 && errno == ECONNRESET);
		tear_down();
	}
}

/* The origin's socket ends like any other; what is below it was cut. */
static void
test_cut(void)
{
	bool cut = false;
	struct splice_options o = { .cut = &cut };
	char c;
	int i;

	for (i = 0; i < 4; i++) {
		o.no_splice = i >= 2;
		cut = false;
		set_up("", "", &o);
		run_ms(5);
		CU_ASSERT(write(origin, "last", 4) == 4);
		cut = i % 2 == 1;
		close(origin);
		origin = -1;
		run_ms(cut ? 1000 : 20);
		CU_ASSERT(reads(client, "last"));
		CU_ASSERT_EQUAL(read(client, &c, 1), cut ? -1 : 0);
		CU_ASSERT(splice_ended(tunnel) ==
		    (cut ? SPLICE_ORIGIN_LOST : SPLICE_RUNNING));
		/* What the client ends is no matter of what is below. */
		cut = true;
		if (i % 2 == 0) {
			shutdown(client, SHUT_WR);
			run_ms(1000);
			CU_ASSERT(splice_ended(tunnel) == SPLICE_DONE);
		}
		CU_ASSERT(wakes == 1);
		tear_down();
	}
}

/* The client is gone while its download is stuck in the pipe. */
static void
test_reset_when_full(void)
{
	static char block[65536];
	unsigned i;

	set_up("", "", NULL);
	for (i = 0; i < 500; i++) {
		(void)!write(origin, block, sizeof(block));
		run_ms(0);
	}
	CU_ASSERT_EQUAL(pipes(1), 1);
	reset(&client);
	run_ms(1000);
	CU_ASSERT(splice_ended(tunnel) == SPLICE_CLIENT_LOST && wakes == 1);
	CU_ASSERT_EQUAL(account_used(account, BUDGET_DESCRIPTORS), 0);
	tear_down();
}

/* What is stuck is its client's memory; without it little gets stuck. */
static void
test_stuck_is_counted(void)
{
	static char block[65536];
	struct budget *budget = budget_new();
	struct splice_options o = { .account = account_open(budget, 1) };
	unsigned i, k;

	for (k = 0; k < 4; k++) {
		o.no_splice = k % 2 == 1;
		budget_set_limit(budget, BUDGET_MEMORY, k < 2 ? UINT64_MAX : 0);
		set_up("", "", &o);
		for (i = 0; i < 500; i++) {
			(void)!write(origin, block, sizeof(block));
			run_ms(0);
		}
		CU_ASSERT(account_used(o.account, BUDGET_MEMORY) > 0);
		CU_ASSERT(k < 2 ||
		    account_used(o.account, BUDGET_MEMORY) <= CHARGE_GRAIN);
		reset(&client);
		run_ms(1000);
		CU_ASSERT(splice_ended(tunnel) == SPLICE_CLIENT_LOST);
		CU_ASSERT_EQUAL(account_used(o.account, BUDGET_MEMORY), 0);
		tear_down();
	}
	account_unref(&o.account);
	budget_free(&budget);
}

/* Two sockets and the pipes are its client's; without a pipe it is copied. */
static void
test_descriptors(void)
{
	static char block[65536];
	struct budget *budget = budget_new();
	struct splice_options o = { .account = account_open(budget, 1) };
	unsigned i, k;

	for (k = 0; k < 2; k++) {
		budget_set_limit(budget, BUDGET_DESCRIPTORS,
		    k == 0 ? UINT64_MAX : 7);
		set_up("", "", &o);
		CU_ASSERT_EQUAL(account_used(o.account, BUDGET_CLIENTS), 1);
		CU_ASSERT_EQUAL(account_used(o.account, BUDGET_DESCRIPTORS), 1);
		for (i = 0; i < 500; i++) {
			(void)!write(origin, block, sizeof(block));
			run_ms(0);
		}
		CU_ASSERT_EQUAL(pipes(1), k == 0);
		CU_ASSERT_EQUAL(account_used(o.account, BUDGET_DESCRIPTORS),
		    k == 0 ? 3 : 1);
		CU_ASSERT(splice_bytes_to_client(tunnel) > 100000);
		reset(&client);
		run_ms(1000);
		CU_ASSERT_EQUAL(account_used(o.account, BUDGET_CLIENTS), 0);
		CU_ASSERT_EQUAL(account_used(o.account, BUDGET_DESCRIPTORS), 0);
		tear_down();
	}
	account_unref(&o.account);
	budget_free(&budget);
}

static void
test_idle(void)
{
	struct splice_options o = { .idle_ms = 300 };
	unsigned i;
	char c;

	set_up("", "", &o);
	for (i = 0; i < 6; i++) {
		run_ms(100);
		CU_ASSERT(splice_ended(tunnel) == SPLICE_RUNNING);
		CU_ASSERT(write(i % 2 == 0 ? client : origin, "x", 1) == 1);
	}
	run_ms(1000);
	CU_ASSERT(splice_ended(tunnel) == SPLICE_IDLE && wakes == 1);
	while (read(client, &c, 1) == 1)
		;
	CU_ASSERT(errno == ECONNRESET);
	tear_down();
}

/* Given up by its owner, at any moment. */
static void
test_free(void)
{
	static char block[65536];
	unsigned i, k;
	char c;

	for (i = 0; i < 20; i++) {
		set_up("a", "b", NULL);
		for (k = 0; k < i; k++) {
			(void)!write(origin, block, sizeof(block));
			run_ms(0);
		}
		splice_free(&tunnel);
		while (read(client, block, sizeof(block)) > 0)
			;
		CU_ASSERT(read(client, &c, 1) <= 0);
		run_ms(1);
		CU_ASSERT(wakes == 0);
		tear_down();
	}
}

/* One loop, many tunnels: nobody starves, no pipe stays behind. */
static void
test_many(void)
{
	enum { N = 60 };
	struct splice *t[N];
	struct splice_options o = { 0 };
	int a[N], b[N], x, y;
	static char block[65536];
	uint64_t fast = 0;
	unsigned i, k, answered = 0;
	ssize_t n;

	set_up("", "", NULL);
	o.account = account;
	for (i = 0; i < N; i++) {
		tcp_pair(&a[i], &x);
		tcp_pair(&y, &b[i]);
		t[i] = splice_start(splicer, x, y, NULL, NULL, &o, NULL);
	}
	for (k = 0; k < 200; k++) {
		while ((n = write(origin, block, sizeof(block))) > 0)
			;
		i = k % N;
		CU_ASSERT(write(a[i], "?", 1) == 1);
		run_ms(0);
		while ((n = read(client, block, sizeof(block))) > 0)
			fast += (uint64_t)n;
		for (i = 0; i < N; i++)
			if (read(b[i], block, 10) > 0)
				answered++;
	}
	CU_ASSERT(answered > 150 && fast > 1000000);
	for (k = 0; k < 10000 && pipes(N + 1) != 1; k++)
		run_ms(1); /* the last question may be under way */
	CU_ASSERT_EQUAL(pipes(N + 1), 1); /* of the jammed one */
	for (i = 0; i < N; i++) {
		splice_free(&t[i]);
		close(a[i]);
		close(b[i]);
	}
	tear_down();
}

UNIT_TESTS(proxy_splice, { "first bytes, both ways, half-close", test_small },
    { "bulk both ways with slow readers", test_bulk },
    { "the same by copying", test_copy },
    { "no descriptor for a pipe", test_no_pipe },
    { "the tail of a burst", test_tail }, { "reset is passed on", test_reset },
    { "a cut below is passed on", test_cut },
    { "reset with a full pipe", test_reset_when_full },
    { "what is stuck is counted", test_stuck_is_counted },
    { "descriptors are counted", test_descriptors },
    { "idle timeout, either direction counts", test_idle },
    { "freed at any moment", test_free }, { "many tunnels", test_many })
