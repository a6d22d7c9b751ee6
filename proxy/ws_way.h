/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One direction of an inspected WebSocket connection, see ws_inspect.h.  Its
 * states are in ws_way.def.
 *
 * Room: proxy, ws_*.c only.  Units: octets, ms.  Thread: its worker's.
 */
#ifndef PROXY_WS_WAY_H
#define PROXY_WS_WAY_H

#include "base/budget.h"
#include "http/ws.h"
#include "proxy/wire/duplex.h"
#include "proxy/worker.h"
#include "proxy/ws_item.h"

enum ws_way_state {
#define S(name, next) WS_WAY_##name,
#include "proxy/ws_way.def"
#undef S
	WS_WAY_STATES
};

enum ws_way_got {
	WS_WAY_WAITS,   /* the task will be woken */
	WS_WAY_MORE,    /* it has had its share of the turn */
	WS_WAY_BLOCKED, /* a message may not pass; the flow knows why */
	WS_WAY_FAILED,  /* no verdict of one; the same */
	WS_WAY_BROKEN,  /* its sender breaks the protocol: fault, code */
	WS_WAY_FLOOD,   /* ... or makes work without a purpose: fault */
	WS_WAY_FULL,    /* its client has no more memory: fault */
	WS_WAY_LOST     /* one of its sides is lost */
};

/* Embedded. */
struct ws_way {
	enum ws_way_state state;
	struct flow *flow;                /* borrowed */
	enum ws_side side;                /* who sends */
	struct duplex *from, *to;         /* borrowed */
	const struct worker_chain *chain; /* borrowed; NULL: nobody looks */
	struct ws *engine;                /* owned */
	struct chq in;                    /* read, not fed */
	struct chq control;               /* frames that go out next */
	struct ws_item *item; /* owned; NULL: BETWEEN, or at an end */
	struct charge charge;
	struct fault fault;
	uint64_t octets;      /* passed on */
	uint64_t received;    /* from its sender */
	uint64_t controls_at; /* the flood budget: used up at, in us */
	bool fed;             /* the engine has taken all, it wants more */
	bool begun;           /* a message waits for its turn */
	bool close_due;       /* control ends in its sender's Close */
	bool source_ended;
	bool stopped;  /* only what has begun to go out still does */
	bool stuck;    /* its receiver has no room */
	bool gone;     /* its sender has ended, but is not read from */
	unsigned code; /* of its sender's Close */
};

void ws_way_init(struct ws_way *, struct flow *, enum ws_side,
    struct duplex *from, struct duplex *to, const struct worker_chain *,
    const struct ws_terms *);
void ws_way_fini(struct ws_way *);
enum ws_way_got ws_way_run(struct ws_way *);
/*
 * Nothing more is read.  What is half out goes on; then a Close frame goes out,
 * unless the sender's did, and the receiver's side ends.
 */
void ws_way_stop(struct ws_way *, unsigned code, struct str reason);
/* The receiver's side has had its end. */
bool ws_way_is_over(const struct ws_way *);
/* A message has not come to its end for too long; UINT64_MAX: none is under way. */
uint64_t ws_way_due(const struct ws_way *);

#endif
