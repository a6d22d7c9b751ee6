/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One direction of an inspected WebSocket connection (proxy/ws_way.h) alone:
 * its two sides, its service and the flow around it are here.  The service
 * finds "EVIL" in a message, or octets in it say what else it does.  For the
 * unit test and the fuzzer: what is wrong is an assertion.
 */
#ifndef T_UNIT_WS_RIG_H
#define T_UNIT_WS_RIG_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include "proxy/client.h"
#include "proxy/flow.h"
#include "proxy/ws_way.h"
#include "t/unit/unit.h"

#define WS_RIG_LIMIT 3072 /* websocket.message */

/* What is sent, and how it goes on then; or what was received. */
struct ws_rig_side {
	struct duplex duplex;
	const char *says;
	size_t n, at, piece;
	enum pull how;
	struct buf heard;
	size_t room;
	bool heard_end, lost, gone;
};

struct ws_rig_service {
	struct scanner scanner; /* first */
	struct scan *scan;      /* it has yet to be answered; NULL: none */
	struct reader reader;
	unsigned scans;
};

struct ws_rig {
	struct loop *loop;
	struct budget *budget;
	struct account *account;
	struct conf *conf;
	struct gen gen;
	struct worker_gen wgen;
	struct worker worker;
	struct client client;
	struct flow flow;
	struct arena *arena;
	struct ws_rig_service service;
	struct scanner *step[1];
	struct chain_step steps[1];
	struct worker_chain chain;
	struct ws_rig_side from, to;
	struct ws_way way;
	enum ws_way_got got; /* of the last run that was no wait */
	unsigned sums, given_up;
};

static struct ws_rig *ws_rig;

/* In place of those of flow_audit.c. */

void
flow_chain_sum(struct flow *f, const struct chain_run *run,
    const struct chain_result *r)
{
	assert(f == &ws_rig->flow && run != NULL && r != NULL);
	ws_rig->sums++;
}

void
flow_chain_give_up(struct flow *f, struct chain_run **run)
{
	assert(f == &ws_rig->flow);
	ws_rig->given_up++;
	chain_cancel(run);
}

/* --- the sides --- */

static inline struct ws_rig_side *
ws_rig_side_of(const struct duplex *d)
{
	return (CONTAINER_OF(d, struct ws_rig_side, duplex));
}

static inline enum pull
ws_rig_read(struct duplex *d, struct chq *out, size_t want)
{
	struct ws_rig_side *s = ws_rig_side_of(d);
	size_t n = s->n - s->at;

	if (n == 0)
		return (s->how);
	n = n < s->piece ? n : s->piece;
	n = n < want ? n : want;
	chq_copy(out, s->says + s->at, n);
	s->at += n;
	return (PULL_MORE);
}

static inline size_t
ws_rig_room(struct duplex *d)
{
	return (ws_rig_side_of(d)->room);
}

/* Control frames may be a little more than there is room for. */
static inline void
ws_rig_write(struct duplex *d, struct chq *q, size_t n)
{
	struct ws_rig_side *s = ws_rig_side_of(d);

	assert(n > 0 && n <= chq_len(q) && !s->heard_end);
	chq_read(q, 0, buf_room(&s->heard, n), n);
	s->heard.n += n;
	chq_drop(q, n);
	s->room -= n < s->room ? n : s->room;
}

static inline void
ws_rig_end(struct duplex *d)
{
	ws_rig_side_of(d)->heard_end = true;
}

static inline bool
ws_rig_lost(const struct duplex *d)
{
	return (ws_rig_side_of(d)->lost);
}

static inline bool
ws_rig_gone(struct duplex *d)
{
	return (ws_rig_side_of(d)->gone);
}

static const struct duplex_type ws_rig_side_type = { ws_rig_read, ws_rig_room,
	ws_rig_write, ws_rig_end, ws_rig_lost, ws_rig_gone };

/* --- the service --- */

static inline void
ws_rig_scan(struct scan *scan)
{
	struct ws_rig_service *s = (struct ws_rig_service *)(void *)
				       scan->scanner;

	assert(s->scan == NULL && scan->msg->body != NULL);
	s->scan = scan;
	s->scans++;
	reader_open(&s->reader, scan->msg->body, 0, NULL);
}

static inline void
ws_rig_cancel(struct scan *scan)
{
	struct ws_rig_service *s = (struct ws_rig_service *)(void *)
				       scan->scanner;

	reader_close(&s->reader);
	s->scan = NULL;
}

static const struct scanner_type ws_rig_service_type = { .name = "rig",
	.start = ws_rig_scan,
	.cancel = ws_rig_cancel };

static inline bool
ws_rig_has(const struct buf *b, const char *what)
{
	return (memmem(b->p, b->n, what, strlen(what)) != NULL);
}

/* It has read the message, and says what it thinks of it. */
static inline void
ws_rig_say(struct ws_rig *r)
{
	struct scan *scan = r->service.scan;
	struct scan_result *out = &scan->result;
	struct chq q = { 0 };
	struct buf b = { 0 };
	size_t n;

	while (reader_pull(&r->service.reader, &q, 4096) == PULL_MORE)
		;
	n = chq_len(&q);
	chq_read(&q, 0, buf_room(&b, n + 1), n);
	b.n = n;
	chq_fini(&q);
	reader_close(&r->service.reader);
	r->service.scan = NULL;
	if (ws_rig_has(&b, "EVIL"))
		out->verdict = VERDICT_BLOCKED;
	else if (ws_rig_has(&b, "DOWN"))
		fault_set(&out->fault, ERR_SCAN_DOWN, "refused");
	else if (ws_rig_has(&b, "SAME") || ws_rig_has(&b, "OTHER")) {
		out->verdict = VERDICT_MODIFIED;
		out->has_message = true;
		if (ws_rig_has(&b, "OTHER"))
			b.p[0] ^= 1;
		out->body = body_of_bytes(r->loop, &r->gen.store, b.p, b.n);
	}
	buf_fini(&b);
	scan_done(scan);
}

/* --- all of it --- */

static inline void
ws_rig_nothing(struct task *t)
{
	(void)t;
}

/* One for all; it is counted. */
static inline struct conf *
ws_rig_conf(void)
{
	static const char text[] = "websocket: {message: 3K}\n";
	static struct conf *conf;
	struct conf_problems p = { 0 };

	if (conf != NULL)
		return (conf_ref(conf));
	conf = conf_parse("c", text, sizeof(text) - 1, &p);
	assert(conf != NULL && conf->websocket.message == WS_RIG_LIMIT);
	conf_problems_fini(&p);
	return (conf_ref(conf));
}

static inline void
ws_rig_handshake(struct ws_rig *r)
{
	struct http_msg *m = http_msg_new(r->arena, true);

	m->method = STR("GET");
	m->method_id = METHOD_GET;
	m->uri = (struct http_uri){ .scheme = STR("https"),
		.host = STR("a.test"),
		.port = 443,
		.path = STR("/") };
	m->target = STR("/");
	r->flow.req = m;
}

/* side says n octets, piece at a time, and its receiver has so much room. */
static inline void
ws_rig_open(struct ws_rig *r, enum ws_side side, const struct ws_terms *terms,
    bool scanned, const void *says, size_t n)
{
	memset(r, 0, sizeof(*r));
	ws_rig = r;
	r->conf = ws_rig_conf();
	r->loop = loop_new();
	r->budget = budget_new();
	r->account = account_open(r->budget, 1);
	r->arena = arena_new();
	r->gen.conf = r->conf;
	r->gen.store = (struct body_store){ .temp_dir = "/tmp",
		.window = 1 << 20 };
	r->worker.loop = r->loop;
	r->wgen = (struct worker_gen){ .worker = &r->worker, .gen = &r->gen };
	r->client.account = r->account;
	r->flow.client = &r->client;
	r->flow.worker = &r->worker;
	r->flow.gen = &r->wgen;
	r->flow.arena = r->arena;
	r->flow.plan.rule[POLICY_BY_SCAN] = "rig";
	task_init(&r->flow.task, r->loop, ws_rig_nothing);
	ws_rig_handshake(r);
	r->service.scanner = (struct scanner){ .type = &ws_rig_service_type,
		.loop = r->loop,
		.name = "rig",
		.scans_req = true,
		.scans_resp = true };
	/* What is larger passes; what is not looked at for other reasons not. */
	r->service.scanner.on_unscanned[GAP_LIMIT] = SCAN_POLICY_BYPASS;
	r->step[0] = &r->service.scanner;
	r->steps[0] = (struct chain_step){ r->step, 1 };
	r->chain = (struct worker_chain){ .steps = r->steps, .n = 1 };
	r->from = r->to = (struct ws_rig_side){ .piece = SIZE_MAX,
		.room = SIZE_MAX,
		.how = PULL_WAIT };
	r->from.duplex = r->to.duplex = (struct duplex){
		.type = &ws_rig_side_type,
		.last = PULL_MORE
	};
	r->from.says = says;
	r->from.n = n;
	ws_way_init(&r->way, &r->flow, side, &r->from.duplex, &r->to.duplex,
	    scanned ? &r->chain : NULL, terms);
}

/* What its flow does about it, see ws_inspect.c. */
static inline void
ws_rig_heed(struct ws_rig *r, enum ws_way_got got)
{
	if (got == WS_WAY_WAITS || got == WS_WAY_MORE)
		return;
	r->got = got;
	if (got != WS_WAY_LOST && !r->way.stopped)
		ws_way_stop(&r->way, WS_CODE_POLICY, STR("rig"));
}

static inline enum ws_way_got
ws_rig_run(struct ws_rig *r)
{
	enum ws_way_got got = ws_way_run(&r->way);

	ws_rig_heed(r, got);
	assert(r->way.octets == r->to.heard.n);
	assert(r->way.received == r->from.at);
	uv_run(loop_uv(r->loop), UV_RUN_NOWAIT);
	return (got);
}

static inline void
ws_rig_close(struct ws_rig *r)
{
	if (r->way.item != NULL)
		ws_item_settle(r->way.item);
	ws_way_fini(&r->way);
	assert(r->service.scan == NULL);
	buf_fini(&r->to.heard);
	task_fini(&r->flow.task);
	arena_free(&r->arena);
	loop_settle(r->loop);
	assert(account_used(r->account, BUDGET_MEMORY) == 0);
	account_unref(&r->account);
	budget_free(&r->budget);
	loop_free(&r->loop);
	conf_unref(&r->conf);
}

/* --- what happens in which order --- */

/* One move: the receiver takes some, the service speaks, or all is stopped. */
static inline void
ws_rig_move(struct ws_rig *r, uint8_t how)
{
	static const size_t rooms[] = { 0, 1, 7, 100, 4096, 70000 };

	r->to.room += rooms[how % 6];
	r->from.piece = (how & 8) != 0 ? 1 + how % 5 : 70000;
	if ((how & 16) != 0 && r->service.scan != NULL)
		ws_rig_say(r);
	if (how == 255 && !r->way.stopped)
		ws_way_stop(&r->way, WS_CODE_AWAY, STR("rig"));
	(void)ws_rig_run(r);
}

/* Is there something that would move if everybody goes on? */
static inline bool
ws_rig_goes_on(const struct ws_rig *r)
{
	return (r->service.scan != NULL || r->way.state == WS_WAY_SCANS ||
	    r->way.state == WS_WAY_MATCHES ||
	    (r->way.stopped && r->way.state != WS_WAY_ENDED));
}

/* Moves as they are given; then everybody does his part, to the end. */
static inline void
ws_rig_play(struct ws_rig *r, const uint8_t *moves, size_t n)
{
	enum ws_way_got got = WS_WAY_MORE;
	unsigned turns = 0;
	size_t i;

	r->to.room = 0;
	for (i = 0; i < n; i++)
		ws_rig_move(r, moves[i]);
	r->to.room = SIZE_MAX / 2;
	r->from.piece = SIZE_MAX;
	while (
	    got != WS_WAY_LOST && (got != WS_WAY_WAITS || ws_rig_goes_on(r))) {
		assert(turns++ < 10000);
		if (r->service.scan != NULL)
			ws_rig_say(r);
		got = ws_rig_run(r);
	}
}

/* --- frames --- */

/* A frame as side sends it, of less than 64 KiB. */
static inline void
ws_rig_frame(struct buf *b, enum ws_side side, enum ws_op op, bool fin,
    const char *text, size_t n)
{
	static const unsigned char mask[4] = { 1, 2, 3, 4 };
	unsigned char head[WS_HEAD_MAX];
	const unsigned char *key = side == WS_CLIENT ? mask : NULL;
	size_t at = b->n;

	buf_add(b, head, ws_frame_head(head, op, fin, n, key));
	at = b->n;
	buf_add(b, text, n);
	if (key != NULL)
		ws_frame_mask((unsigned char *)b->p + at,
		    (const unsigned char *)text, n, key, 0);
}

#endif
