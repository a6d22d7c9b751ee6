/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Services: OPTIONS shared and renewed, servers down and back, kept
 * connections and their races, limits, several servers.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "t/unit/icap_peer.h"
#include "t/unit/unit.h"

#define GET "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define POST "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define ICAP204 "ICAP/1.0 204 No Content\r\n\r\n"
#define OPTIONS(fields)                                   \
	"ICAP/1.0 200 OK\r\nMethods: REQMOD, RESPMOD\r\n" \
	"ISTag: \"tag-1\"\r\n" fields "Encapsulated: null-body=0\r\n\r\n"
#define TRIES 6

static struct rig rig;
static struct peer *peer, *peer2;
static struct try tries[TRIES];
static struct icap_stats stats;

static bool
drain(struct peer_conn *c)
{
	return (strstr(c->head, "null-body") != NULL || peer_read_body(c));
}

static bool
serve_204(struct peer_conn *c)
{
	return (drain(c) && peer_write(c, ICAP204));
}

static bool
serve_slowly(struct peer_conn *c)
{
	peer_pause(100);
	return (serve_204(c));
}

static void
end(void)
{
	rig_end(&rig, &peer, &peer2);
}

/* Let the loop run until cond(), for five seconds at most. */
static bool
wait_for(bool (*cond)(void))
{
	unsigned i;

	for (i = 0; i < 1000 && !cond(); i++)
		rig_wait(&rig, 5);
	rig.late = 0;
	return (cond());
}

/* A try without body, run to its end; its result. */
static struct scan_result
run_one(void)
{
	struct scan_result r;

	try_init(&tries[0], &rig, GET, NULL, NULL);
	try_run(&tries[0]);
	r = tries[0].scan.result;
	try_fini(&tries[0]);
	return (r);
}

static void
start_all(void)
{
	unsigned i;

	for (i = 0; i < TRIES; i++) {
		try_init(&tries[i], &rig, GET, NULL, NULL);
		try_start(&tries[i]);
	}
}

static unsigned
end_all(enum err err)
{
	unsigned i, n = 0;

	for (i = 0; i < TRIES; i++)
		try_wait(&tries[i]);
	for (i = 0; i < TRIES; i++) {
		n += tries[i].scan.result.fault.code == err;
		try_fini(&tries[i]);
	}
	return (n);
}

/* Many first flows, one OPTIONS. */
static void
test_shared(void)
{
	peer = peer_new(NULL, serve_204);
	rig_init(&rig);
	rig_start(&rig, peer_port(peer), 0);
	CU_ASSERT(icap_get_stats(rig.scanner, 0, &stats));
	CU_ASSERT_EQUAL(stats.state, ICAP_UNKNOWN);
	start_all();
	CU_ASSERT_EQUAL(end_all(ERR_NONE), TRIES);
	CU_ASSERT_EQUAL(peer_asked(peer), 1);
	CU_ASSERT(icap_get_stats(rig.scanner, 0, &stats));
	CU_ASSERT_EQUAL(stats.state, ICAP_UP);
	CU_ASSERT_STRING_EQUAL(stats.istag, "tag-1");
	CU_ASSERT_STRING_EQUAL(stats.service, "test");
	CU_ASSERT_EQUAL(stats.preview, 1024);
	CU_ASSERT_EQUAL(stats.transactions, TRIES);
	CU_ASSERT(rig.up && rig.notices == 1);
	CU_ASSERT_FALSE(icap_get_stats(rig.scanner, 1, &stats));
	end();
}

/* Sequential transactions share a connection. */
static void
test_kept(void)
{
	unsigned i;

	peer = peer_new(NULL, serve_204);
	rig_init(&rig);
	rig_start(&rig, peer_port(peer), 0);
	for (i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(peer_conns(peer), 1);
	icap_get_stats(rig.scanner, 0, &stats);
	CU_ASSERT(stats.idle == 1 && stats.busy == 0);
	end();
}

/* How a server may end a kept connection. */

static bool
serve_and_close(struct peer_conn *c)
{
	return (serve_204(c) && false);
}

static bool
serve_say_close(struct peer_conn *c)
{
	return (drain(c) &&
	    peer_write(c,
		"ICAP/1.0 204 No Content\r\n"
		"Connection: x, Close\r\n\r\n"));
}

static bool
serve_stray(struct peer_conn *c)
{
	return (drain(c) && peer_write(c, ICAP204 "ICAP/1.0 204 X\r\n\r\n"));
}

static bool
serve_late_stray(struct peer_conn *c)
{
	if (!serve_204(c))
		return (false);
	peer_pause(20);
	return (peer_write(c, "ICAP/1.0 408 Timeout\r\n\r\n"));
}

static const peer_fn enders[] = {
	serve_and_close,
	serve_say_close,
	serve_stray,
	serve_late_stray,
};

static void
test_never_reused(void)
{
	unsigned i, k;

	for (k = 0; k < sizeof(enders) / sizeof(enders[0]); k++) {
		peer = peer_new(NULL, enders[k]);
		rig_init(&rig);
		rig_start(&rig, peer_port(peer), 0);
		for (i = 0; i < 5; i++) {
			CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
			rig_wait(&rig, 40);
			rig.late = 0;
		}
		/* on a slow machine it may come after the next request */
		icap_get_stats(rig.scanner, 0, &stats);
		CU_ASSERT_EQUAL(peer_served(peer), stats.transactions);
		CU_ASSERT_EQUAL(stats.transactions, 5 + stats.retries);
		CU_ASSERT(stats.retries == 0 || k != 1);
		CU_ASSERT_EQUAL(peer_conns(peer), 5);
		end();
	}
}

/* The race: it dies when the next request is on its way. */

static bool
serve_once(struct peer_conn *c)
{
	return (c->request == 0 ? serve_204(c) : drain(c) && false);
}

static bool
serve_once_408(struct peer_conn *c)
{
	if (c->request == 0)
		return (serve_204(c));
	return (
	    drain(c) && peer_write(c, "ICAP/1.0 408 Late\r\n\r\n") && false);
}

static bool
serve_once_half(struct peer_conn *c)
{
	if (c->request == 0)
		return (serve_204(c));
	return (drain(c) && peer_write(c, "ICAP/1.0 2") && false);
}

static bool
serve_reset(struct peer_conn *c)
{
	if (c->request == 0)
		return (serve_204(c));
	peer_reset(c);
	return (false);
}

static const struct {
	peer_fn serve;
	enum err err; /* of the second transaction */
} races[] = {
	{ serve_once, ERR_NONE },
	{ serve_once_408, ERR_NONE },
	{ serve_once_half, ERR_SCAN_CUT },
	{ serve_reset, ERR_NONE },
};

static void
test_races(void)
{
	static const struct try_body body = { .size = 400000 };
	unsigned i;

	for (i = 0; i < sizeof(races) / sizeof(races[0]); i++) {
		/* its only connection so far has served OPTIONS and one */
		peer = peer_new(OPTIONS(), races[i].serve);
		rig_init(&rig);
		rig_start(&rig, peer_port(peer), 0);
		CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
		try_init(&tries[1], &rig, POST, NULL, &body);
		try_run(&tries[1]);
		CU_ASSERT_EQUAL(tries[1].scan.result.fault.code, races[i].err);
		if (races[i].err == ERR_NONE)
			CU_ASSERT_EQUAL(tries[1].scan.result.bytes, 400000);
		try_fini(&tries[1]);
		icap_get_stats(rig.scanner, 0, &stats);
		CU_ASSERT_EQUAL(stats.retries, races[i].err == ERR_NONE);
		end();
	}
}

static bool
serve_nothing(struct peer_conn *c)
{
	return (drain(c) && false);
}

static bool
asked_twice(void)
{
	return (peer_asked(peer) == 2);
}

/* A fresh connection that fails the same way is a failure, no loops. */
static void
test_no_loops(void)
{
	peer = peer_new(NULL, serve_nothing);
	rig_init(&rig);
	rig_start(&rig, peer_port(peer), 0);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_SCAN_CUT);
	CU_ASSERT_EQUAL(peer_served(peer), 2); /* OPTIONS' one, a fresh one */
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_SCAN_CUT);
	CU_ASSERT_EQUAL(peer_served(peer), 3);
	run_one();
	run_one();
	run_one(); /* is it still there?  It answers OPTIONS */
	CU_ASSERT(wait_for(asked_twice));
	icap_get_stats(rig.scanner, 0, &stats);
	CU_ASSERT_EQUAL(stats.state, ICAP_UP);
	end();
}

/* Bad OPTIONS: down. */
static const char *const bad_options[] = {
	"",
	"ICAP/1.0 404 Not found\r\n\r\n",
	"ICAP/1.0 501\r\n\r\n",
	"HTTP/1.1 200 OK\r\n\r\n",
	"garbage\r\n\r\n",
	"ICAP/1.0 200 OK\r\nEncapsulated: x=1\r\n\r\n",
	"ICAP/1.0 200 OK\r\nEncapsulated: opt-body=0\r\n\r\nxyz\r\n",
};

static void
test_bad_options(void)
{
	struct scan_result r;
	unsigned i;

	for (i = 0; i < sizeof(bad_options) / sizeof(bad_options[0]); i++) {
		peer = peer_new(bad_options[i], serve_204);
		rig_init(&rig);
		rig_start(&rig, peer_port(peer), 0);
		r = run_one();
		CU_ASSERT_EQUAL(r.fault.code, ERR_SCAN_DOWN);
		CU_ASSERT_EQUAL(r.verdict, VERDICT_UNSCANNED);
		CU_ASSERT_PTR_NOT_NULL(strstr(r.fault.detail, "OPTIONS"));
		CU_ASSERT(!rig.up && rig.notices == 1);
		CU_ASSERT_EQUAL(peer_served(peer), 0);
		end();
	}
}

/* A body behind OPTIONS does not poison the connection. */
static void
test_opt_body(void)
{
	peer = peer_new("ICAP/1.0 200 OK\r\nMethods: REQMOD\r\n"
			"Opt-body-type: x\r\nEncapsulated: opt-body=0\r\n\r\n"
			"5\r\nhello\r\n0\r\n\r\n",
	    serve_204);
	rig_init(&rig);
	rig_start(&rig, peer_port(peer), 0);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(peer_conns(peer), 1);
	CU_ASSERT_EQUAL(rig.notices, 2); /* RESPMOD is missing there */
	end();
}

static void
test_refused(void)
{
	struct scan_result r;
	uint16_t port;

	peer = peer_new(NULL, serve_204);
	port = peer_port(peer);
	peer_free(&peer);
	rig_init(&rig);
	rig_start(&rig, port, 0);
	r = run_one();
	CU_ASSERT_EQUAL(r.fault.code, ERR_SCAN_DOWN);
	r = run_one(); /* at once, without another attempt */
	CU_ASSERT_EQUAL(r.fault.code, ERR_SCAN_DOWN);
	icap_get_stats(rig.scanner, 0, &stats);
	CU_ASSERT_EQUAL(stats.connects, 1);
	CU_ASSERT(stats.down[0] != '\0');
	end();
}

/* It dies under its kept connections and comes back. */
static _Atomic bool ill;

static bool
serve_if_well(struct peer_conn *c)
{
	return (!ill && serve_204(c));
}

static bool
asked_again(void)
{
	return (peer_asked(peer) >= 3);
}

static void
test_recovery(void)
{
	unsigned i;

	ill = true;
	peer = peer_new("", serve_if_well);
	peer2 = peer_new(NULL, serve_if_well);
	rig_init(&rig);
	rig.options.probe_ms = 50;
	rig_start(&rig, peer_port(peer), 0);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_SCAN_DOWN);
	CU_ASSERT(wait_for(asked_again)); /* without traffic */
	end();
	ill = false;
	peer = peer_new(OPTIONS("Options-TTL: 1\r\n"), serve_if_well);
	rig_init(&rig);
	rig_start(&rig, peer_port(peer), 0);
	for (i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
		rig_wait(&rig, 120);
		rig.late = 0;
	}
	CU_ASSERT(peer_asked(peer) >= 2); /* renewed behind the scenes */
	end();
}

/* A new ISTag makes the options old, once in a while. */
static bool
serve_new_tag(struct peer_conn *c)
{
	return (drain(c) &&
	    peer_write(c,
		"ICAP/1.0 204 No\r\n"
		"ISTag: \"tag-2\"\r\n\r\n"));
}

static void
test_istag(void)
{
	peer = peer_new(NULL, serve_new_tag);
	rig_init(&rig);
	rig_start(&rig, peer_port(peer), 0);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	icap_get_stats(rig.scanner, 0, &stats);
	CU_ASSERT_STRING_EQUAL(stats.istag, "tag-2");
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(peer_asked(peer), 1);
	end();
}

/* Max-Connections, and what happens at it. */
static const struct {
	enum icap_on_busy how;
	unsigned good, busy;
} limits[] = {
	{ ICAP_BUSY_WAIT, TRIES, 0 },
	{ ICAP_BUSY_BLOCK, 2, TRIES - 2 },
	{ ICAP_BUSY_BYPASS, 2, TRIES - 2 },
};

static bool
others_failed(void)
{
	unsigned i, n = 0;

	for (i = 0; i < TRIES; i++)
		n += tries[i].scan.result.fault.code == ERR_SCAN_BUSY;
	return (n == TRIES - 2);
}

static void
test_limits(void)
{
	unsigned i;

	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		peer = peer_new(OPTIONS("Max-Connections: 2\r\n"),
		    serve_slowly);
		rig_init(&rig);
		rig.options.on_busy = limits[i].how;
		rig_start(&rig, peer_port(peer), 0);
		CU_ASSERT_EQUAL(rig.scanner->on_busy,
		    limits[i].how == ICAP_BUSY_BYPASS ? SCAN_POLICY_BYPASS
						      : SCAN_POLICY_BLOCK);
		run_one();
		start_all();
		CU_ASSERT(limits[i].busy == 0 || wait_for(others_failed));
		CU_ASSERT(rig.shared.open[0] <= 2);
		CU_ASSERT_EQUAL(end_all(ERR_NONE), limits[i].good);
		CU_ASSERT_EQUAL(peer_conns(peer), 2);
		end();
	}
}

static void
test_queue_deadline(void)
{
	unsigned good;

	peer = peer_new(NULL, serve_slowly);
	rig_init(&rig);
	rig.options.max_connections = 1;
	rig.options.timeout_ms = 250;
	rig_start(&rig, peer_port(peer), 0);
	run_one();
	start_all();
	good = end_all(ERR_NONE);
	CU_ASSERT(good <= 3);
	end();
}

/* Idle connections of one worker make room for another's. */
static void
test_other_worker(void)
{
	struct fault f = { .code = ERR_NONE };
	char url[64];
	const char *urls[1] = { url };
	struct scanner *other, *mine;

	peer = peer_new(NULL, serve_204);
	rig_init(&rig);
	rig.options.max_connections = 1;
	rig_start(&rig, peer_port(peer), 0);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	snprintf(url, sizeof(url), "icap://127.0.0.1:%u/", peer_port(peer));
	rig.options.urls = urls;
	other = icap_new(rig.loop, &rig.options, &rig.shared, rig.dialer, &f);
	mine = rig.scanner;
	rig.scanner = other;
	CU_ASSERT_EQUAL(rig.shared.open[0], 1);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(rig.shared.open[0], 1);
	icap_free(&other);
	rig.scanner = mine;
	end();
}

/* 503: wait a little and try again, or say so. */
static _Atomic unsigned overload;

static bool
serve_503(struct peer_conn *c)
{
	if (overload == 0)
		return (serve_204(c));
	overload--;
	return (drain(c) &&
	    peer_write(c,
		"ICAP/1.0 503 Busy\r\n"
		"Encapsulated: null-body=0\r\n\r\n"));
}

static void
test_overload(void)
{
	enum icap_on_busy how;

	for (how = ICAP_BUSY_WAIT; how <= ICAP_BUSY_BYPASS; how++) {
		overload = 1;
		peer = peer_new(NULL, serve_503);
		rig_init(&rig);
		rig.options.on_busy = how;
		rig_start(&rig, peer_port(peer), 0);
		CU_ASSERT_EQUAL(run_one().fault.code,
		    how == ICAP_BUSY_WAIT ? ERR_NONE : ERR_SCAN_BUSY);
		CU_ASSERT_EQUAL(peer_served(peer),
		    how == ICAP_BUSY_WAIT ? 2 : 1);
		end();
	}
	overload = 1000;
	peer = peer_new(NULL, serve_503);
	rig_init(&rig);
	rig.options.timeout_ms = 400;
	rig_start(&rig, peer_port(peer), 0);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_SCAN_BUSY);
	CU_ASSERT(peer_served(peer) <= 4); /* no hammering */
	end();
}

/* Several servers. */
static bool
both_up(void)
{
	struct icap_stats other;

	return (icap_get_stats(rig.scanner, 0, &stats) &&
	    icap_get_stats(rig.scanner, 1, &other) && stats.state == ICAP_UP &&
	    other.state == ICAP_UP);
}

static void
test_balance(void)
{
	enum icap_balance b;
	unsigned i, first, second;

	for (b = ICAP_FAILOVER; b <= ICAP_LEAST_BUSY; b++) {
		peer = peer_new(NULL, serve_slowly);
		peer2 = peer_new(NULL, serve_slowly);
		rig_init(&rig);
		rig.options.balance = b;
		rig_start(&rig, peer_port(peer), peer_port(peer2));
		start_all(); /* whoever is in use has been asked */
		CU_ASSERT_EQUAL(end_all(ERR_NONE), TRIES);
		CU_ASSERT(b == ICAP_FAILOVER || wait_for(both_up));
		first = peer_served(peer);
		second = peer_served(peer2);
		for (i = 0; i < 3; i++) {
			start_all();
			CU_ASSERT_EQUAL(end_all(ERR_NONE), TRIES);
		}
		CU_ASSERT_EQUAL(peer_served(peer) - first,
		    b == ICAP_FAILOVER ? 3 * TRIES : 3 * TRIES / 2);
		CU_ASSERT_EQUAL(peer_served(peer2) - second,
		    b == ICAP_FAILOVER ? 0 : 3 * TRIES / 2);
		CU_ASSERT_EQUAL(rig.shared.busy[1], 0);
		end();
	}
}

static bool
is_down(void)
{
	icap_get_stats(rig.scanner, 0, &stats);
	return (stats.state == ICAP_DOWN);
}

static void
test_failover(void)
{
	peer = peer_new(NULL, serve_204);
	peer2 = peer_new(NULL, serve_204);
	rig_init(&rig);
	rig_start(&rig, peer_port(peer), peer_port(peer2));
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	CU_ASSERT(peer_served(peer) == 1 && peer_served(peer2) == 0);
	peer_free(&peer);
	rig_wait(&rig, 20);
	rig.late = 0;
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(run_one().fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(peer_served(peer2), 2);
	CU_ASSERT(wait_for(is_down));
	end();
}

static void
test_bad_settings(void)
{
	static const char *const urls[] = { "http://x/" };
	static const char *const good[] = { "icap://x/" };
	static const struct icap_header bad[] = { { "A", "b\r\nC: d" } };
	struct fault f = { .code = ERR_NONE };

	rig_init(&rig);
	rig.options.urls = urls;
	rig.options.n_urls = 1;
	CU_ASSERT_PTR_NULL(
	    icap_new(rig.loop, &rig.options, &rig.shared, rig.dialer, &f));
	CU_ASSERT_EQUAL(f.code, ERR_CONFIG);
	rig.options.urls = good;
	rig.options.headers = bad;
	rig.options.n_headers = 1;
	CU_ASSERT_PTR_NULL(
	    icap_new(rig.loop, &rig.options, &rig.shared, rig.dialer, &f));
	rig_fini(&rig);
}

UNIT_TESTS(icap_service, { "OPTIONS shared", test_shared },
    { "connection kept", test_kept },
    { "connection not reused", test_never_reused },
    { "races on reuse", test_races }, { "no loops", test_no_loops },
    { "bad OPTIONS", test_bad_options }, { "opt-body", test_opt_body },
    { "refused", test_refused }, { "recovery and TTL", test_recovery },
    { "ISTag", test_istag }, { "limits", test_limits },
    { "queue deadline", test_queue_deadline },
    { "room for other workers", test_other_worker },
    { "overload", test_overload }, { "balance", test_balance },
    { "failover", test_failover }, { "bad settings", test_bad_settings })
