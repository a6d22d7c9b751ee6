/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections of a service are few: slow bodies take none before they have
 * something to say, one client never holds all, clients take turns, and a long
 * wait is busy, not a failure.
 */
#include <stdlib.h>
#include <string.h>
#include "icap/icap_priv.h"
#include "t/unit/icap_talk.h"

#define TRIES 1100

static struct try tries[TRIES];
static _Atomic bool opened; /* serve_gate() lets everybody through */
static char order[2048];    /* last digit of each client that was served */
static _Atomic unsigned served;

static const struct try_body drip = { .size = 1 << 20,
	.piece = 8,
	.every_ms = 2 };
static const struct try_body small = { .size = 500 };

/* One message at a time waits here until the test opens. */
static bool
serve_gate(struct peer_conn *c)
{
	const char *ip = strstr(c->head, "X-Client-IP: ");
	bool body = strstr(c->head, "null-body") == NULL;

	if (body && !peer_read_body(c))
		return (false);
	order[served++] = ip != NULL ? ip[20] : '?';
	while (!opened)
		peer_pause(2);
	if (body && !c->ieof && strstr(c->head, "Preview:") != NULL &&
	    (!peer_write(c, "ICAP/1.0 100 Continue\r\n\r\n") ||
		!peer_read_body(c)))
		return (false);
	return (peer_write(c, ICAP204));
}

static unsigned
slot(const char *ip)
{
	return (icap_client_slot(scan_client_key(str_of(ip))));
}

static void
setup(const char *options, enum icap_on_busy busy)
{
	opened = false;
	served = 0;
	memset(order, 0, sizeof(order));
	peer = peer_new(options, serve_gate);
	rig_init(&rig);
	rig.options.on_busy = busy;
	rig.options.on_error = SCAN_POLICY_BYPASS;
	rig_start(&rig, peer_port(peer), 0);
}

static void
add(unsigned i, const char *ip, const struct try_body *body)
{
	try_init(&tries[i], &rig, body != NULL ? REQ : GET, NULL, body);
	tries[i].who.client_ip = str_of(ip);
	try_start(&tries[i]);
}

static bool
wait_for(bool (*cond)(unsigned), unsigned arg)
{
	unsigned i;

	for (i = 0; i < 4000 && !cond(arg); i++)
		rig_wait(&rig, 5);
	rig.late = 0;
	return (cond(arg));
}

static bool
has_served(unsigned n)
{
	return (served >= n);
}

static bool
is_done(unsigned i)
{
	return (tries[i].scan.done);
}

static bool
one_is_done(unsigned n)
{
	unsigned done = 0;

	while (n-- > 0)
		done += tries[n].scan.done;
	return (done == 1);
}

static bool
is_waiting(unsigned n)
{
	return (rig.shared.waiting == n);
}

static bool
has_received(unsigned i)
{
	return (body_received(tries[i].msg.body) > 200);
}

static void
end(unsigned n)
{
	while (n-- > 0)
		try_fini(&tries[n]);
	rig_end(&rig, &peer, NULL);
}

/* One message, so that the service is known to be up. */
static void
first(void)
{
	opened = true;
	add(0, "10.0.0.9", NULL);
	try_wait(&tries[0]);
	CU_ASSERT_EQUAL(tries[0].scan.result.verdict, VERDICT_CLEAN);
	try_fini(&tries[0]);
	opened = false;
	served = 0;
}

/* Bodies that drip below the preview hold no connection. */
static void
test_slow_take_none(void)
{
	unsigned i;

	setup(OPTIONS("Max-Connections: 1\r\nPreview: 1024\r\n"),
	    ICAP_BUSY_WAIT);
	first();
	for (i = 0; i < 5; i++)
		add(i, "10.0.0.1", &drip);
	for (i = 0; i < 5; i++)
		CU_ASSERT(wait_for(has_received, i));
	opened = true;
	add(5, "10.0.0.2", NULL);
	add(6, "10.0.0.2", &small);
	try_wait(&tries[5]);
	try_wait(&tries[6]);
	CU_ASSERT_EQUAL(tries[5].scan.result.verdict, VERDICT_CLEAN);
	CU_ASSERT_EQUAL(tries[6].scan.result.verdict, VERDICT_CLEAN);
	CU_ASSERT(order[0] == '2' && order[1] == '2');
	end(7);
}

/* Without a preview they do take one in the end, but one client not all. */
static void
test_share(void)
{
	unsigned i;

	setup(OPTIONS("Max-Connections: 4\r\n"), ICAP_BUSY_WAIT);
	first();
	for (i = 0; i < 6; i++)
		add(i, "10.0.0.1", &drip);
	CU_ASSERT(wait_for(is_waiting, 3));
	CU_ASSERT_EQUAL(rig.shared.held[slot("10.0.0.1")], 3);
	CU_ASSERT_EQUAL(rig.shared.busy[0], 3);
	opened = true;
	add(6, "10.0.0.1", NULL); /* quick ones of the same client too */
	add(7, "10.0.0.2", &small);
	try_wait(&tries[6]);
	try_wait(&tries[7]);
	CU_ASSERT_EQUAL(tries[6].scan.result.verdict, VERDICT_CLEAN);
	CU_ASSERT_EQUAL(tries[7].scan.result.verdict, VERDICT_CLEAN);
	end(8);
	for (i = 0; i < ICAP_CLIENTS; i++)
		CU_ASSERT_EQUAL(rig.shared.held[i], 0);
}

/* on_busy: block: its own share is what a client gets 503 for. */
static void
test_share_blocks(void)
{
	unsigned i;

	setup(OPTIONS("Max-Connections: 2\r\n"), ICAP_BUSY_BLOCK);
	first();
	for (i = 0; i < 2; i++)
		add(i, "10.0.0.1", &drip);
	CU_ASSERT(wait_for(one_is_done, 2));
	CU_ASSERT_EQUAL(tries[tries[1].scan.done].scan.result.fault.code,
	    ERR_SCAN_BUSY);
	CU_ASSERT_EQUAL(rig.scanner->on_busy, SCAN_POLICY_BLOCK);
	end(2);
}

/* Clients take turns, whoever came first with how many. */
static void
test_turns(void)
{
	unsigned i;

	setup(OPTIONS("Max-Connections: 1\r\n"), ICAP_BUSY_WAIT);
	first();
	add(0, "10.0.0.1", NULL);
	CU_ASSERT(wait_for(has_served, 1));
	for (i = 1; i < 6; i++)
		add(i, "10.0.0.1", NULL);
	CU_ASSERT(wait_for(is_waiting, 5));
	for (; i < 8; i++)
		add(i, "10.0.0.2", NULL);
	add(i++, "10.0.0.3", NULL);
	CU_ASSERT(wait_for(is_waiting, 8));
	opened = true;
	for (i = 0; i < 9; i++)
		try_wait(&tries[i]);
	CU_ASSERT_STRING_EQUAL(order, "112312111");
	end(9);
}

/* A full queue: who has most of it gives way. */
static void
test_full(void)
{
	unsigned i, failed = 0;

	setup(OPTIONS("Max-Connections: 1\r\n"), ICAP_BUSY_WAIT);
	first();
	add(0, "10.0.0.1", NULL);
	CU_ASSERT(wait_for(has_served, 1));
	for (i = 1; i <= 1024; i++)
		add(i, "10.0.0.1", NULL);
	CU_ASSERT(wait_for(is_waiting, 1024));
	add(i, "10.0.0.1", NULL);
	CU_ASSERT(wait_for(is_done, i));
	CU_ASSERT_EQUAL(tries[i].scan.result.fault.code, ERR_SCAN_BUSY);
	add(++i, "10.0.0.2", NULL);
	CU_ASSERT(wait_for(is_done, 1024)); /* the last of the other */
	CU_ASSERT_FALSE(tries[i].scan.done);
	opened = true;
	try_wait(&tries[i]);
	CU_ASSERT_EQUAL(tries[i].scan.result.verdict, VERDICT_CLEAN);
	for (i = 0; i <= 1024; i++) {
		try_wait(&tries[i]);
		failed += tries[i].scan.result.fault.code == ERR_SCAN_BUSY;
	}
	CU_ASSERT_EQUAL(failed, 1);
	CU_ASSERT_EQUAL(order[1], '1');
	CU_ASSERT_EQUAL(order[2], '2');
	end(1027);
}

/* Wherever in the queue the wait ends: busy, and on_error has no say. */
static void
test_wait_is_busy(void)
{
	unsigned i, n;

	setup(OPTIONS("Max-Connections: 1\r\n"), ICAP_BUSY_WAIT);
	CU_ASSERT_EQUAL(rig.scanner->on_busy, SCAN_POLICY_BLOCK);
	CU_ASSERT_EQUAL(rig.scanner->on_error, SCAN_POLICY_BYPASS);
	rig_end(&rig, &peer, NULL);
	peer = peer_new(OPTIONS("Max-Connections: 1\r\n"), serve_gate);
	rig_init(&rig);
	rig.options.timeout_ms = 400;
	rig.options.on_error = SCAN_POLICY_BYPASS;
	rig_start(&rig, peer_port(peer), 0);
	first();
	for (i = 0; i < 6; i++)
		add(i, "10.0.0.1", NULL);
	for (i = n = 0; i < 6; i++) {
		try_wait(&tries[i]);
		n += tries[i].scan.result.fault.code == ERR_SCAN_BUSY;
	}
	/* one or two reach the silent service itself */
	CU_ASSERT(n >= 4);
	opened = true;
	end(6);
}

#define BURST 40

static bool
is_idle(unsigned n)
{
	struct icap_stats stats;

	return (icap_get_stats(rig.scanner, 0, &stats) && stats.idle == n);
}

/* Many at once; are all their connections kept for the next ones? */
static bool
burst(void)
{
	unsigned i;

	opened = false;
	served = 0;
	for (i = 0; i < BURST; i++)
		add(i, "10.0.0.1", NULL);
	CU_ASSERT(wait_for(has_served, BURST));
	opened = true;
	for (i = 0; i < BURST; i++)
		try_wait(&tries[i]);
	for (i = 0; i < BURST; i++)
		try_fini(&tries[i]);
	return (is_idle(BURST));
}

/*
 * What many at once have used is kept for a moment, then fewer are.  Where the
 * test itself stands still for that moment it is repeated.
 */
static void
test_burst(void)
{
	unsigned i;

	setup(NULL, ICAP_BUSY_WAIT);
	for (i = 0; i < 5 && !burst(); i++)
		;
	CU_ASSERT(i < 5);
	CU_ASSERT(wait_for(is_idle, 32));
	end(0);
}

static void
test_slots(void)
{
	CU_ASSERT_EQUAL(slot("2001:db8:1:2::1"), slot("2001:db8:1:2:ffff::9"));
	CU_ASSERT_NOT_EQUAL(slot("2001:db8:1:2::1"), slot("2001:db8:1:3::1"));
	CU_ASSERT_NOT_EQUAL(slot("10.0.0.1"), slot("10.0.0.2"));
	CU_ASSERT_EQUAL(slot(""), 0);
	CU_ASSERT_EQUAL(slot("not an address at all, and far "
			     "longer than any address can ever be"),
	    0);
}

UNIT_TESTS(icap_queue,
    { "slow bodies take no connection", test_slow_take_none },
    { "one client holds a share", test_share },
    { "a share and on_busy: block", test_share_blocks },
    { "clients take turns", test_turns }, { "a full queue", test_full },
    { "a long wait is busy", test_wait_is_busy },
    { "many at once", test_burst }, { "slots", test_slots })
