/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links, plain and with TLS: every byte arrives, however the wire cuts; every
 * way to end is told apart; nobody waits for ever.
 */
#include <gnutls/gnutls.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "t/unit/tls_lab.h"
#include "t/unit/unit.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define LONG_MS 20000 /* for what must come, under a sanitizer */

enum how { PLAIN, TLS12, TLS13 };

static struct loop *loop;
static struct tls_context *context;
static struct tls_client client;
static struct lab_end a, b; /* a is the client */
static unsigned fds_before;
static size_t live_before;

static void
put_tls(enum how how)
{
	gnutls_session_t c, s;

	if (how == PLAIN)
		return;
	client = (struct tls_client){ .host = "lab.test", .port = 443 };
	c = tls_client_new(context, &client, false);
	s = tls_server_new(context, lab_leaf(), "lab.test", TLS_HTTP1);
	CU_ASSERT_FATAL(c != NULL && s != NULL);
	if (how == TLS12)
		CU_ASSERT_EQUAL_FATAL(gnutls_priority_set_direct(s,
					  "NORMAL:-VERS-ALL:+VERS-TLS1.2",
					  NULL),
		    0);
	link_start_tls(a.link, c);
	link_start_tls(b.link, s);
	a.tls = b.tls = true;
}

static void
begin_on(enum how how, int fd[2])
{
	lab_end_init(&a, loop, fd[0], 0);
	lab_end_init(&b, loop, fd[1], 1);
	put_tls(how);
}

static void
begin_loop(void)
{
	struct tls_options o = { .epoch = "one" };

	loop = loop_new();
	loop_free(&loop); /* what libuv keeps for ever */
	context = tls_context_new(&o, NULL);
	(void)lab_leaf();
	fds_before = lab_count_fds();
	live_before = chunk_bytes_live();
	loop = loop_new();
}

static void
begin(enum how how)
{
	int fd[2];

	begin_loop();
	lab_tcp(fd);
	begin_on(how, fd);
}

static void
end(void)
{
	lab_end_fini(&a, LINK_CLOSE);
	lab_end_fini(&b, LINK_CLOSE);
	loop_free(&loop);
	tls_context_free(&context);
	CU_ASSERT_EQUAL(lab_count_fds(), fds_before);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live_before);
	lab_leaf_free();
	link_thread_fini();
}

static bool
both_ended(void *arg)
{
	(void)arg;
	return (a.end != PULL_MORE && b.end != PULL_MORE);
}

static bool
shaken(void *arg)
{
	(void)arg;
	return (!a.tls || (a.shake == PULL_END && b.shake == PULL_END));
}

static bool
b_ended(void *arg)
{
	(void)arg;
	return (b.end != PULL_MORE);
}

static bool
b_has(void *arg)
{
	return (b.got >= *(uint64_t *)arg);
}

/* --- transfers --- */

static void
both_ways(uint64_t there, uint64_t back)
{
	a.to_send = there;
	b.to_send = back;
	a.shut = b.shut = true;
}

static void
check_both_ways(bool in_time)
{
	CU_ASSERT(in_time);
	CU_ASSERT(a.end == PULL_END && b.end == PULL_END);
	CU_ASSERT(a.got == b.to_send && b.got == a.to_send);
	CU_ASSERT_FALSE(link_broken(a.link) || link_broken(b.link));
	CU_ASSERT_STRING_EQUAL(link_error(a.link), "");
	CU_ASSERT_STRING_EQUAL(link_error(b.link), "");
	CU_ASSERT(link_bytes_out(a.link) >= a.to_send);
	CU_ASSERT(link_bytes_in(b.link) == link_bytes_out(a.link));
}

static void
test_transfer(void)
{
	static const unsigned sizes[] = { 1, 100, 5000, 40000 };
	enum how how;
	unsigned i;

	for (how = PLAIN; how <= TLS13; how++)
		for (i = 0; i < COUNT(sizes); i++) {
			begin(how);
			both_ways(sizes[i] * 60, sizes[i] * 50);
			a.want = b.piece = sizes[i];
			check_both_ways(
			    lab_until(loop, both_ended, NULL, LONG_MS));
			end();
		}
}

static void
test_large(void)
{
	enum how how;

	for (how = PLAIN; how <= TLS13; how++) {
		begin(how);
		both_ways(6000000, 5000000);
		check_both_ways(lab_until(loop, both_ended, NULL, LONG_MS));
		end();
	}
}

static void
over_wire(enum how how, unsigned step, uint64_t n)
{
	struct lab_wire w;
	int fd[2];

	begin_loop();
	lab_wire_init(&w, fd);
	w.step = step;
	begin_on(how, fd);
	both_ways(n, n / 2);
	check_both_ways(lab_wire_until(&w, loop, both_ended, NULL, LONG_MS));
	lab_wire_fini(&w);
	end();
}

static void
test_wire(void)
{
	enum how how;

	for (how = PLAIN; how <= TLS13; how++) {
		over_wire(how, 1, 300);
		over_wire(how, 3, 3000);
		over_wire(how, 40, 20000);
		over_wire(how, 3000, 500000);
		over_wire(how, 0, 2000000);
	}
}

/* --- ends --- */

/* One end is said, the other direction goes on. */
static void
test_half_close(void)
{
	uint64_t n;
	enum how how;

	for (how = PLAIN; how <= TLS13; how++) {
		begin(how);
		a.to_send = 1000;
		a.shut = true;
		CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
		CU_ASSERT(b.end == PULL_END && b.got == 1000);
		CU_ASSERT(link_peer_gone(b.link) && !link_peer_gone(a.link));
		b.to_send = n = 100000;
		b.shut = true;
		lab_end_wake(&b);
		CU_ASSERT(lab_until(loop, both_ended, NULL, LONG_MS));
		CU_ASSERT(a.end == PULL_END && a.got == n);
		end();
	}
}

/* FIN alone: the end of a plain link, a cut under TLS. */
static void
test_bare_fin(void)
{
	uint64_t n = 5000;
	enum how how;

	for (how = PLAIN; how <= TLS13; how++) {
		begin(how);
		a.to_send = n;
		CU_ASSERT(lab_until(loop, b_has, &n, LONG_MS));
		shutdown(a.fd, SHUT_WR);
		CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
		CU_ASSERT_EQUAL(b.end, how == PLAIN ? PULL_END : PULL_CUT);
		CU_ASSERT_EQUAL(b.got, n);
		end();
	}
}

/* FIN at every place of a stream of records. */
static void
cut_at(enum how how, uint64_t from_shake, uint64_t *total)
{
	struct lab_wire w;
	int fd[2];
	bool whole;

	begin_loop();
	lab_wire_init(&w, fd);
	begin_on(how, fd);
	CU_ASSERT(lab_wire_until(&w, loop, shaken, NULL, LONG_MS));
	while (lab_wire_until(&w, loop, b_has, &(uint64_t){ 1 }, 2))
		break;
	if (from_shake != UINT64_MAX)
		w.cut[0] = w.passed[0] + from_shake;
	*total = w.passed[0];
	a.to_send = 30;
	a.piece = 10;
	a.shut = true;
	lab_end_wake(&a);
	CU_ASSERT(lab_wire_until(&w, loop, b_ended, NULL, LONG_MS));
	*total = w.passed[0] - *total;
	whole = b.got == 30 && b.end == PULL_END;
	CU_ASSERT(whole || b.end == PULL_CUT);
	CU_ASSERT_EQUAL(whole, from_shake == UINT64_MAX);
	lab_wire_fini(&w);
	end();
}

static void
test_cuts(void)
{
	uint64_t total, i, ignored;
	enum how how;

	for (how = TLS12; how <= TLS13; how++) {
		cut_at(how, UINT64_MAX, &total);
		for (i = 0; i < total; i++)
			cut_at(how, i, &ignored);
	}
}

static bool
shake_failed(void *arg)
{
	const struct lab_end *e = arg;

	return (e->shake == PULL_FAIL);
}

/* The client's or the server's flight breaks off: the handshake fails. */
static void
shake_cut(enum how how, int side, uint64_t at)
{
	struct lab_wire w;
	struct lab_end *e = side == 0 ? &b : &a;
	int fd[2];

	begin_loop();
	lab_wire_init(&w, fd);
	w.cut[side] = at;
	begin_on(how, fd);
	CU_ASSERT(lab_wire_until(&w, loop, shake_failed, e, 20000));
	CU_ASSERT_EQUAL(e->shake, PULL_FAIL);
	CU_ASSERT_EQUAL(e->fault.code, ERR_CLIENT_TLS);
	CU_ASSERT(e->fault.detail[0] != '\0');
	lab_wire_fini(&w);
	end();
}

static void
test_shake_cut(void)
{
	unsigned i;
	enum how how;

	for (how = TLS12; how <= TLS13; how++)
		for (i = 0; i < 12; i++) {
			shake_cut(how, 0, i < 6 ? i : unit_random(230));
			shake_cut(how, 1, i < 6 ? i : unit_random(400));
		}
}

/* Junk instead of a handshake. */
static void
test_junk(void)
{
	static const char *const junk[] = { "GET / HTTP/1.1\r\n\r\n",
		"\x16\x03\x01\xff\xff", "\x80\x80\x01\x03\x01",
		"\x16\x03\x01\x00\x01\x02\x16\x03\x01\x00\x01\x02",
		"\x15\x03\x01\x00\x02\x02\x28", "\x17\x03\x03\x00\x01x" };
	unsigned i;

	for (i = 0; i < COUNT(junk); i++) {
		begin(PLAIN);
		task_fini(&a.task);
		link_write(a.link, junk[i],
		    i == 3       ? 12
			: i == 4 ? 7
			: i == 5 ? 6
				 : strlen(junk[i]));
		link_shutdown(a.link);
		link_start_tls(b.link,
		    tls_server_new(context, lab_leaf(), "x", TLS_HTTP1));
		b.tls = true;
		CU_ASSERT(lab_until(loop, shake_failed, &b, LONG_MS));
		CU_ASSERT_EQUAL(b.fault.code, ERR_CLIENT_TLS);
		CU_ASSERT_EQUAL(strstr(link_error(b.link),
				    "alert from the peer: Handshake") != NULL,
		    i == 4);
		end();
	}
}

static void
test_reset(void)
{
	uint64_t n = 5000;
	enum how how;
	bool idle;

	for (how = PLAIN; how <= TLS13; how++)
		for (idle = false;; idle = true) {
			begin(how);
			a.to_send = n;
			CU_ASSERT(lab_until(loop, b_has, &n, LONG_MS));
			b.paused = idle;
			link_close(&a.link, LINK_ABORT);
			CU_ASSERT_PTR_NULL(a.link);
			lab_run(loop, 20);
			CU_ASSERT(idle || b.end == PULL_FAIL);
			CU_ASSERT(link_peer_gone(b.link));
			b.paused = false;
			lab_end_wake(&b);
			CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
			CU_ASSERT_EQUAL(b.end, PULL_FAIL);
			CU_ASSERT(link_error(b.link)[0] != '\0');
			end();
			if (idle)
				break;
		}
}

/* Bytes and a reset arrive at once: first the bytes, then the failure. */
static void
test_bytes_and_reset(void)
{
	enum how how;
	unsigned i;

	for (how = PLAIN; how <= TLS13; how++)
		for (i = 0; i < 10; i++) {
			begin(how);
			CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
			lab_run(loop, 2);
			b.want = i % 2 == 0 ? 100 : 50000;
			a.to_send = 1 + unit_random(20000);
			a.task.run(&a.task);
			link_flush(a.link);
			link_close(&a.link, LINK_ABORT);
			CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
			CU_ASSERT_EQUAL(b.end, PULL_FAIL);
			end();
		}
}

/* A fatal alert of the peer has its name. */
static void
test_alert(void)
{
	enum how how;

	for (how = TLS12; how <= TLS13; how++) {
		begin(how);
		CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
		CU_ASSERT_EQUAL(gnutls_alert_send(link_tls(a.link),
				    GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR),
		    0);
		link_flush(a.link);
		CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
		CU_ASSERT_EQUAL(b.end, PULL_FAIL);
		CU_ASSERT_STRING_EQUAL(link_error(b.link),
		    "TLS alert from the peer: Internal error");
		CU_ASSERT_STRING_EQUAL(link_error(a.link), "");
		end();
	}
}

/* --- idle connections --- */

static void
test_stale(void)
{
	enum how how;
	unsigned i;

	for (how = PLAIN; how <= TLS13; how++)
		for (i = 0; i < 4; i++) {
			begin(how);
			a.paused = true; /* it does not ask for bytes */
			CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
			lab_run(loop, 10); /* tickets lie there now */
			CU_ASSERT(i == 3 || !link_is_stale(a.link));
			CU_ASSERT_FALSE(link_peer_gone(a.link));
			lab_run(loop, 2);
			CU_ASSERT(i == 3 || !link_is_stale(a.link));
			if (i == 0)
				b.to_send = 1;
			else if (i == 1)
				b.shut = true;
			else
				shutdown(b.fd, SHUT_WR);
			lab_end_wake(&b);
			lab_run(loop, 10);
			CU_ASSERT(link_is_stale(a.link));
			CU_ASSERT(i == 0 || link_peer_gone(a.link));
			end();
		}
}

/* The owner hears of the end of a peer from whom nobody reads. */
static void
test_gone_while_idle(void)
{
	enum how how;
	unsigned i;

	for (how = PLAIN; how <= TLS13; how++)
		for (i = 0; i < 2; i++) {
			begin(how);
			CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
			lab_run(loop, 5);
			b.paused = true;
			a.to_send = 300; /* read ahead, then its end */
			lab_end_wake(&a);
			lab_run(loop, 5);
			if (i == 0)
				link_shutdown(a.link);
			else
				link_close(&a.link, LINK_ABORT);
			lab_run(loop, 10);
			CU_ASSERT(link_peer_gone(b.link));
			b.paused = false;
			lab_end_wake(&b);
			CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
			CU_ASSERT_EQUAL(b.end, i == 0 ? PULL_END : PULL_FAIL);
			CU_ASSERT_EQUAL(b.got, 300);
			end();
		}
}

/* --- back-pressure --- */

static void
test_back_pressure(void)
{
	uint64_t had = 0;
	enum how how;
	unsigned i;

	for (how = PLAIN; how <= TLS13; how++) {
		begin(how);
		CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
		b.paused = true;
		a.to_send = 30000000;
		a.shut = true;
		lab_end_wake(&a);
		/* Until the kernel takes no more, however slow it is. */
		for (i = 0; i < 200 && (i == 0 || had < a.sent || !a.starved);
		     i++) {
			had = a.sent;
			lab_run(loop, 150);
		}
		CU_ASSERT(a.starved && a.sent < a.to_send);
		CU_ASSERT_EQUAL(link_room(a.link), 0);
		CU_ASSERT_FALSE(link_drained(a.link));
		CU_ASSERT(chunk_bytes_live() - live_before < 400000);
		b.paused = false;
		lab_end_wake(&b);
		CU_ASSERT(lab_until(loop, b_ended, NULL, 3 * LONG_MS));
		CU_ASSERT(b.got == a.to_send && b.end == PULL_END);
		CU_ASSERT(link_drained(a.link));
		end();
	}
}

/* Bytes that come one by one, all kept, do not hold a chunk each. */
static void
test_drip(void)
{
	struct chq q = { 0 };
	enum how how;
	unsigned i, tries;

	for (how = PLAIN; how <= TLS13; how++) {
		begin(how);
		CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
		b.paused = true;
		for (i = 0; i < 200; i++) {
			CU_ASSERT_EQUAL(link_read(b.link, &q, 65536),
			    PULL_WAIT);
			link_write(a.link, "x", 1);
			for (tries = 0; chq_len(&q) == i && tries < LONG_MS;
			     tries++) {
				lab_run(loop, 1);
				(void)link_read(b.link, &q, 65536);
			}
		}
		CU_ASSERT_EQUAL(chq_len(&q), 200);
		CU_ASSERT(
		    chunk_bytes_live() - live_before <= 200 + 2 * CHUNK_BYTES);
		chq_fini(&q);
		end();
	}
}

/* ... nor a block each while nobody reads them at all. */
static void
test_ahead_drip(void)
{
	enum { BYTES = 8000 };
	struct chq q = { 0 };
	size_t before;
	unsigned i;
	int fd[2];

	begin_loop();
	lab_tcp(fd);
	lab_end_init(&b, loop, fd[1], 1);
	b.paused = true;
	CU_ASSERT_EQUAL(setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 },
			    sizeof(int)),
	    0);
	CU_ASSERT_EQUAL(link_read(b.link, &q, 1), PULL_WAIT);
	before = mallinfo2().uordblks;
	for (i = 0; i < BYTES; i++) {
		CU_ASSERT_EQUAL(write(fd[0], "y", 1), 1);
		while (link_bytes_in(b.link) <= i)
			lab_run(loop, 1);
	}
	CU_ASSERT(mallinfo2().uordblks - before < 100000);
	CU_ASSERT_EQUAL(link_read(b.link, &q, 65536), PULL_MORE);
	CU_ASSERT_EQUAL(chq_len(&q), BYTES);
	chq_fini(&q);
	close(fd[0]);
	lab_end_fini(&b, LINK_ABORT);
	loop_free(&loop);
	tls_context_free(&context);
	CU_ASSERT_EQUAL(lab_count_fds(), fds_before);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live_before);
	lab_leaf_free();
	link_thread_fini();
}

/* A few octets to be sent do not take the room of many. */
static void
test_few(void)
{
	size_t before;

	begin(TLS13);
	CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
	before = mallinfo2().uordblks;
	link_write(a.link, "x", 1);
	link_write(b.link, "x", 1);
	CU_ASSERT(mallinfo2().uordblks - before < 20000);
	end();
}

/* What a peer does not take is its client's memory; without it, little fits. */
static void
test_charged(void)
{
	struct budget *budget = budget_new();
	struct account *account = account_open(budget, 1);
	enum how how;

	for (how = PLAIN; how <= TLS13; how++) {
		begin(how);
		CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
		link_charge_to(a.link, account);
		CU_ASSERT_EQUAL(account_used(account, BUDGET_DESCRIPTORS), 1);
		b.paused = true;
		a.to_send = 30000000;
		a.shut = true;
		lab_end_wake(&a);
		lab_run(loop, 150);
		CU_ASSERT_EQUAL(link_room(a.link), 0);
		CU_ASSERT(account_used(account, BUDGET_MEMORY) > 60000);
		CU_ASSERT(account_used(account, BUDGET_MEMORY) < 500000);
		/* No memory: it goes on, by little and little. */
		budget_set_limit(budget, BUDGET_MEMORY, 0);
		b.paused = false;
		lab_end_wake(&b);
		CU_ASSERT(lab_until(loop, b_ended, NULL, 6 * LONG_MS));
		CU_ASSERT(b.got == a.to_send && b.end == PULL_END);
		CU_ASSERT_EQUAL(account_used(account, BUDGET_MEMORY), 0);
		budget_set_limit(budget, BUDGET_MEMORY, UINT64_MAX);
		end();
		CU_ASSERT_EQUAL(account_used(account, BUDGET_DESCRIPTORS), 0);
	}
	account_unref(&account);
	budget_free(&budget);
}

/* A client may have so many connections that only end; the next ends at once. */
static void
test_linger_share(void)
{
	struct budget *budget = budget_new();
	struct account *account = account_open(budget, 1);
	unsigned n, k;

	budget_set_limit(budget, BUDGET_LINGER, 2); /* one each */
	for (k = 0; k < 2; k++) {
		begin(PLAIN);
		n = lab_count_fds();
		if (k == 1)
			account_add(account, BUDGET_LINGER, 1);
		link_charge_to(a.link, account);
		link_close(&a.link, LINK_CLOSE);
		CU_ASSERT_EQUAL(account_used(account, BUDGET_LINGER), 1);
		CU_ASSERT_EQUAL(account_used(account, BUDGET_MEMORY) > 0,
		    k == 0);
		CU_ASSERT_EQUAL(lab_count_fds(), n - k);
		if (k == 1)
			account_give(account, BUDGET_LINGER, 1);
		end();
		CU_ASSERT_EQUAL(account_used(account, BUDGET_LINGER), 0);
	}
	account_unref(&account);
	budget_free(&budget);
}

/* The peer dies while we wait for room. */
static void
test_broken(void)
{
	enum how how;

	for (how = PLAIN; how <= TLS13; how++) {
		begin(how);
		CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
		a.paused = b.paused = true;
		a.to_send = 30000000;
		lab_end_wake(&a);
		lab_run(loop, 100);
		CU_ASSERT(a.starved);
		link_close(&b.link, LINK_ABORT);
		lab_run(loop, 20);
		CU_ASSERT(link_broken(a.link));
		CU_ASSERT(link_error(a.link)[0] != '\0');
		CU_ASSERT(link_drained(a.link) && link_room(a.link) > 0);
		link_write(a.link, "x", 1);
		link_shutdown(a.link);
		end();
	}
}

/* --- closing --- */

static bool
fds_are(void *arg)
{
	return (lab_count_fds() == *(unsigned *)arg);
}

/* All that was written arrives, though the peer reads late. */
static void
test_close_delivers(void)
{
	uint64_t sent;
	enum how how;
	bool late;

	for (how = PLAIN; how <= TLS13; how++)
		for (late = false;; late = true) {
			begin(how);
			CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
			b.paused = late;
			a.to_send = late ? 30000000 : 90000;
			lab_end_wake(&a);
			lab_run(loop, late ? 150 : 1);
			sent = a.sent;
			link_close(&a.link, LINK_CLOSE);
			lab_run(loop, 20);
			b.paused = false;
			b.shut = true;
			lab_end_wake(&b);
			CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
			CU_ASSERT_EQUAL(b.end, PULL_END);
			CU_ASSERT_EQUAL(b.got, sent);
			/* b has said its end as well: a's socket goes. */
			CU_ASSERT(
			    lab_until(loop, fds_are,
				&(unsigned){ lab_count_fds() - 1 }, 1000) ||
			    lab_count_fds() <= fds_before + 10);
			end();
			if (late)
				break;
		}
}

/* A peer that never closes is waited for two seconds, not longer. */
static void
test_linger_bound(void)
{
	unsigned n;

	begin(PLAIN);
	n = lab_count_fds();
	link_close(&a.link, LINK_CLOSE);
	lab_run(loop, 500);
	CU_ASSERT_EQUAL(lab_count_fds(), n);
	b.to_send = 10000; /* what comes is thrown away */
	lab_end_wake(&b);
	CU_ASSERT(lab_until(loop, fds_are, &(unsigned){ n - 1 }, 4000));
	end();
}

/* The loop ends while a link lingers. */
static void
test_linger_at_the_end(void)
{
	begin(TLS13);
	CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
	link_close(&a.link, LINK_CLOSE);
	end();
}

/* --- special things --- */

/* The ClientHello was read as plain bytes, all of it or a part. */
static void
test_unread(void)
{
	struct chq q = { 0 };
	unsigned i;
	size_t n;

	for (i = 0; i < 20; i++) {
		begin(PLAIN);
		task_fini(&b.task);
		client = (struct tls_client){ .host = "lab.test" };
		link_start_tls(a.link, tls_client_new(context, &client, false));
		a.tls = true;
		lab_run(loop, 3);
		n = i == 0 ? 10000 : 1 + unit_random(300);
		CU_ASSERT_EQUAL(link_read(b.link, &q, n), PULL_MORE);
		if (unit_random(2) == 0)
			(void)link_read(b.link, &q, n);
		link_unread(b.link, &q);
		CU_ASSERT_EQUAL(chq_len(&q), 0);
		link_start_tls(b.link,
		    tls_server_new(context, lab_leaf(), "lab.test", TLS_HTTP1));
		b.tls = true;
		both_ways(20000, 10000);
		lab_end_wake(&a);
		lab_end_wake(&b);
		check_both_ways(lab_until(loop, both_ended, NULL, LONG_MS));
		chq_fini(&q);
		end();
	}
}

/* What was written plain and not sent goes out before the first record. */
static void
test_plain_first(void)
{
	static char text[40000] = "HTTP/1.1 200 Connection established";
	struct chq q = { 0 };
	size_t n;

	for (n = 39; n <= sizeof(text); n += sizeof(text) - 39) {
		begin(PLAIN);
		task_fini(&a.task);
		task_fini(&b.task);
		link_write(b.link, text, n);
		link_start_tls(b.link,
		    tls_server_new(context, lab_leaf(), "lab.test", TLS_HTTP1));
		b.tls = true;
		lab_end_wake(&b);
		while (chq_len(&q) < n) {
			lab_run(loop, 2);
			(void)link_read(a.link, &q, n - chq_len(&q));
		}
		chq_fini(&q);
		client = (struct tls_client){ .host = "lab.test" };
		link_start_tls(a.link, tls_client_new(context, &client, false));
		a.tls = true;
		both_ways(20000, 10000);
		lab_end_wake(&a);
		lab_end_wake(&b);
		check_both_ways(lab_until(loop, both_ended, NULL, LONG_MS));
		end();
	}
}

static void
test_take_fd(void)
{
	struct chq left = { 0 }, unsent = { 0 };
	char text[64];
	int fd;

	begin(PLAIN);
	task_fini(&a.task);
	b.paused = true;
	lab_run(loop, 2);
	CU_ASSERT_EQUAL(link_read(b.link, &left, 10), PULL_WAIT);
	link_write(a.link, "first", 5);
	lab_run(loop, 5); /* wakes b, which does not read */
	lab_run(loop, 5);
	link_write(a.link, "second", 6);
	lab_run(loop, 5);
	task_fini(&b.task);
	link_write(b.link, "last", 4);
	fd = link_take_fd(&b.link, &left, &unsent);
	CU_ASSERT(b.link == NULL && fd >= 0);
	CU_ASSERT_EQUAL(chq_len(&unsent), 4);
	chq_fini(&unsent);
	lab_run(loop, 2);
	chq_read(&left, 0, text, chq_len(&left));
	fd = fd >= 0 ? fd : 0;
	CU_ASSERT_EQUAL(chq_len(&left) +
		(size_t)recv(fd, text + chq_len(&left), 64 - chq_len(&left),
		    MSG_DONTWAIT) -
		(chq_len(&left) == 11 ? (size_t)-1 : 0),
	    11);
	CU_ASSERT(memcmp(text, "firstsecond", 11) == 0);
	CU_ASSERT_EQUAL(write(fd, "z", 1), 1);
	close(fd);
	chq_fini(&left);
	end();
}

/* A client that shakes hands again is thrown out (CVE-2009-3555). */
static void
test_renegotiation(void)
{
	uint64_t n = 10;

	begin(TLS12);
	a.to_send = n;
	CU_ASSERT(lab_until(loop, b_has, &n, LONG_MS));
	a.shake = PULL_WAIT;
	lab_end_wake(&a);
	CU_ASSERT(lab_until(loop, b_ended, NULL, LONG_MS));
	CU_ASSERT_EQUAL(b.end, PULL_FAIL);
	end();

	begin(TLS12); /* and a server that asks for it */
	CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
	(void)gnutls_rehandshake(link_tls(b.link));
	link_flush(b.link);
	lab_run(loop, 20);
	CU_ASSERT_EQUAL(a.end, PULL_FAIL);
	end();
}

/* New keys in the middle of a stream (RFC 8446 4.6.3). */
static void
test_key_update(void)
{
	uint64_t n;
	unsigned i;

	begin(TLS13);
	CU_ASSERT(lab_until(loop, shaken, NULL, LONG_MS));
	for (i = 1; i < 8; i++) {
		a.to_send = n = i * 40000;
		b.to_send = n;
		lab_end_wake(&a);
		lab_end_wake(&b);
		CU_ASSERT(lab_until(loop, b_has, &n, LONG_MS));
		CU_ASSERT_EQUAL(gnutls_session_key_update(link_tls(a.link),
				    GNUTLS_KU_PEER),
		    0);
		lab_run(loop, 200); /* GnuTLS lets a few a second pass */
	}
	a.shut = b.shut = true;
	lab_end_wake(&a);
	lab_end_wake(&b);
	check_both_ways(lab_until(loop, both_ended, NULL, LONG_MS));
	end();
}

UNIT_TESTS(tls_link, { "transfers", test_transfer },
    { "large transfers both ways", test_large },
    { "a wire that cuts at will", test_wire },
    { "half-closed", test_half_close }, { "FIN alone", test_bare_fin },
    { "FIN at every place", test_cuts },
    { "handshakes cut off", test_shake_cut },
    { "junk for a handshake", test_junk }, { "reset", test_reset },
    { "bytes and a reset at once", test_bytes_and_reset },
    { "alerts", test_alert }, { "stale or not", test_stale },
    { "the peer ends while nobody reads", test_gone_while_idle },
    { "back-pressure", test_back_pressure }, { "bytes one by one", test_drip },
    { "bytes one by one, read ahead", test_ahead_drip },
    { "output is counted for its client", test_charged },
    { "a few octets of output", test_few },
    { "shares of lingering", test_linger_share },
    { "the peer dies under back-pressure", test_broken },
    { "close delivers everything", test_close_delivers },
    { "lingering is bounded", test_linger_bound },
    { "lingering when the loop ends", test_linger_at_the_end },
    { "a peeked ClientHello", test_unread },
    { "plain output before TLS", test_plain_first },
    { "taking the socket out", test_take_fd },
    { "renegotiation", test_renegotiation }, { "key updates", test_key_update })
