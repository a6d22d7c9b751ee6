/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one message provokes is not the service's health: errors, garbage,
 * silence and hang-ups are that message's alone.  A server is down when it
 * cannot be reached and does not answer OPTIONS either.
 */
#include <string.h>
#include "t/unit/icap_talk.h"

#define ROUNDS 12

static const char *poison; /* the answer to a POST; NULL: silence */
static struct try good;
static struct icap_stats stats;

static bool
serve_poison(struct peer_conn *c)
{
	if (strncmp(c->http, "POST", 4) != 0)
		return (peer_write(c, ICAP204));
	if (!peer_read_body(c))
		return (false);
	if (poison == NULL)
		peer_pause(400);
	else
		peer_write(c, poison);
	return (false);
}

static void
send_poison(enum err code)
{
	static const struct try_body body = { .size = 500 };

	with_body = &body;
	message();
	try_run(&t);
	CU_ASSERT_EQUAL(t.scan.result.fault.code, code);
	try_fini(&t);
}

static void
send_good(enum err code)
{
	try_init(&good, &rig, GET, NULL, NULL);
	try_run(&good);
	CU_ASSERT_EQUAL(good.scan.result.fault.code, code);
	try_fini(&good);
}

static enum icap_state
state(void)
{
	CU_ASSERT(icap_get_stats(rig.scanner, 0, &stats));
	return (stats.state);
}

static bool
wait_for_state(enum icap_state s)
{
	unsigned i;

	for (i = 0; i < 2000 && state() != s; i++)
		rig_wait(&rig, 5);
	rig.late = 0;
	return (state() == s);
}

static void
end(void)
{
	rig_end(&rig, &peer, NULL);
	with_body = NULL;
	with_options = NULL;
	adjust = NULL;
}

static void
impatient(struct rig *r)
{
	r->options.timeout_ms = 100;
}

static const struct {
	const char *answer;
	enum err code;
	bool asks; /* OPTIONS whether it is up */
} rows[] = {
	{ "ICAP/1.0 500 Locked archive\r\n\r\n", ERR_SCAN_STATUS, false },
	{ "ICAP/1.0 404 No\r\n\r\n", ERR_SCAN_STATUS, false },
	{ "\001\002 what?\r\n\r\n", ERR_SCAN_PROTOCOL, false },
	{ "ICAP/1.0 200 OK\r\n\r\n", ERR_SCAN_PROTOCOL, false },
	{ "ICAP/1.0 200", ERR_SCAN_CUT, false },
	{ "", ERR_SCAN_CUT, true },
	{ NULL, ERR_SCAN_TIMEOUT, false },
};

static void
test_messages(void)
{
	size_t i, k;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		poison = rows[i].answer;
		adjust = poison == NULL ? impatient : NULL;
		begin(serve_poison);
		for (k = 0; k < ROUNDS; k++) {
			send_poison(rows[i].code);
			CU_ASSERT_EQUAL(state(), ICAP_UP);
		}
		send_good(ERR_NONE);
		CU_ASSERT_EQUAL(state(), ICAP_UP);
		CU_ASSERT_EQUAL(rig.notices, 1);
		CU_ASSERT_EQUAL(peer_asked(peer) > 1, rows[i].asks);
		CU_ASSERT(stats.failures >= ROUNDS);
		end();
	}
}

/* 503 to a message of a kind: the others go on, block or bypass. */
static void
block_busy(struct rig *r)
{
	r->options.on_busy = ICAP_BUSY_BLOCK;
}

static void
test_overloaded_by_one(void)
{
	unsigned k;

	poison = "ICAP/1.0 503 Too deep\r\n\r\n";
	adjust = block_busy;
	begin(serve_poison);
	for (k = 0; k < ROUNDS; k++) {
		send_poison(ERR_SCAN_BUSY);
		send_good(ERR_NONE);
	}
	end();
}

/* Hang-ups, and nobody who answers OPTIONS. */
static void
test_gone(void)
{
	unsigned k;

	poison = "";
	begin(serve_poison);
	send_good(ERR_NONE);
	peer_free(&peer);
	for (k = 0; k < 3; k++)
		send_good(ERR_SCAN_DOWN);
	CU_ASSERT(wait_for_state(ICAP_DOWN));
	CU_ASSERT(rig.notices == 2 && !rig.up);
	send_good(ERR_SCAN_DOWN);
	end();
}

UNIT_TESTS(icap_health, { "a message's errors are its own", test_messages },
    { "503 to one message", test_overloaded_by_one },
    { "nobody there is down", test_gone })
