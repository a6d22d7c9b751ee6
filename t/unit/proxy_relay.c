/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Octets between two scripted sides: all of them, in order, not more than is
 * taken; and who ends, or is lost, ends the other one.
 */
#include <stdio.h>
#include <string.h>
#include "base/list.h"
#include "base/str.h"
#include "proxy/relay.h"
#include "t/unit/unit.h"

#define IDLE_MS 100000

/* What it says, a piece a read; then how. */
struct side {
	struct duplex duplex;
	const char *says;
	size_t at, piece;
	enum pull how;
	struct buf heard;
	size_t room;
	bool heard_end, lost, gone;
};

static struct loop *loop;
static struct task task;
static struct side client, origin;
static struct relay relay;

static struct side *
side_of(const struct duplex *d)
{
	return (CONTAINER_OF(d, struct side, duplex));
}

static enum pull
side_read(struct duplex *d, struct chq *out, size_t want)
{
	struct side *s = side_of(d);
	size_t n = strlen(s->says + s->at);

	if (n == 0)
		return (s->how);
	n = n < s->piece ? n : s->piece;
	n = n < want ? n : want;
	chq_copy(out, s->says + s->at, n);
	s->at += n;
	return (PULL_MORE);
}

static size_t
side_room(struct duplex *d)
{
	return (side_of(d)->room);
}

static void
side_write(struct duplex *d, struct chq *q, size_t n)
{
	struct side *s = side_of(d);

	CU_ASSERT_FATAL(n > 0 && n <= s->room && n <= chq_len(q));
	chq_read(q, 0, buf_room(&s->heard, n + 1), n);
	s->heard.n += n;
	chq_drop(q, n);
	s->room -= n;
}

static void
side_end(struct duplex *d)
{
	side_of(d)->heard_end = true;
}

static bool
side_lost(const struct duplex *d)
{
	return (side_of(d)->lost);
}

static bool
side_gone(struct duplex *d)
{
	return (side_of(d)->gone);
}

static const struct duplex_type side_type = { side_read, side_room, side_write,
	side_end, side_lost, side_gone };

static void
nothing(struct task *t)
{
	(void)t;
}

static void
start(const char *up, const char *down)
{
	loop = loop_new();
	task_init(&task, loop, nothing);
	client = (struct side){ .says = up, .piece = 3, .room = SIZE_MAX };
	origin = (struct side){ .says = down, .piece = 2, .room = SIZE_MAX };
	client.duplex = origin.duplex = (struct duplex){ .type = &side_type,
		.last = PULL_MORE };
	client.how = origin.how = PULL_WAIT;
	relay_begin(&relay, &client.duplex, &origin.duplex, IDLE_MS, &task);
}

static void
stop(void)
{
	buf_fini(&client.heard);
	buf_fini(&origin.heard);
	task_fini(&task);
	loop_free(&loop);
}

static bool
heard(struct side *s, const char *what)
{
	buf_add(&s->heard, "", 1);
	s->heard.n--;
	return (strcmp(s->heard.p, what) == 0);
}

static enum relay_end
run(uint64_t ms)
{
	return (relay_run(&relay, relay.moved_at + ms));
}

static void
test_moves(void)
{
	start("from the client", "from the origin");
	origin.room = 4;
	CU_ASSERT_EQUAL(run(1), RELAY_ON);
	CU_ASSERT(heard(&origin, "from") && heard(&client, "from the origin"));
	CU_ASSERT_EQUAL(client.at, 4); /* no octet ahead */
	CU_ASSERT_EQUAL(run(5), RELAY_ON);
	origin.room = 100;
	CU_ASSERT_EQUAL(run(5), RELAY_ON);
	CU_ASSERT(heard(&origin, "from the client"));
	CU_ASSERT_EQUAL(relay.up.octets, 15);
	CU_ASSERT_EQUAL(relay.down.octets, 15);
	CU_ASSERT_EQUAL(relay_due(&relay), relay.moved_at + IDLE_MS);
	CU_ASSERT_EQUAL(run(IDLE_MS - 1), RELAY_ON);
	CU_ASSERT_EQUAL(run(IDLE_MS), RELAY_IDLE);
	stop();
}

static void
test_ends(void)
{
	static const enum pull ways[] = { PULL_END, PULL_CUT };
	unsigned i;

	for (i = 0; i < 2; i++) {
		start("up", "down");
		client.how = ways[i];
		CU_ASSERT_EQUAL(run(1), RELAY_ON);
		CU_ASSERT(origin.heard_end && heard(&origin, "up"));
		CU_ASSERT(!client.heard_end);
		CU_ASSERT_EQUAL(relay_due(&relay), relay.moved_at + 1000);
		origin.says = "down more"; /* still speaks: lives */
		CU_ASSERT_EQUAL(run(900), RELAY_ON);
		CU_ASSERT_EQUAL(run(900), RELAY_ON);
		CU_ASSERT_EQUAL(run(1000), RELAY_DONE);
		CU_ASSERT(heard(&client, "down more"));
		stop();
		start("up", "down");
		client.how = origin.how = ways[i];
		CU_ASSERT_EQUAL(run(1), RELAY_DONE);
		CU_ASSERT(client.heard_end && origin.heard_end);
		stop();
	}
}

static void
test_lost(void)
{
	start("up", "down");
	client.how = PULL_FAIL;
	CU_ASSERT_EQUAL(run(1), RELAY_CLIENT_LOST);
	stop();
	start("up", "down");
	origin.how = PULL_FAIL;
	CU_ASSERT_EQUAL(run(1), RELAY_ORIGIN_LOST);
	stop();
	start("up", "down");
	origin.lost = true;
	CU_ASSERT_EQUAL(run(1), RELAY_ORIGIN_LOST);
	stop();
	start("up", "down"); /* behind octets that nobody takes */
	origin.room = 0;
	client.gone = true;
	CU_ASSERT_EQUAL(run(1), RELAY_ON);
	CU_ASSERT_EQUAL(relay_due(&relay), relay.moved_at + 5000);
	CU_ASSERT_EQUAL(run(5000), RELAY_DONE);
	CU_ASSERT(!origin.heard_end);
	stop();
}

UNIT_TESTS(proxy_relay, { "octets go both ways", test_moves },
    { "one end ends the other", test_ends },
    { "sides that are lost", test_lost })
