/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One direction of a call of gRPC, whose messages are looked at as they end:
 * each, its encoding undone, goes through the chain as a message of HTTP
 * (grpc_item.h), and its octets are held until the verdict.  It reads the body
 * beside the pump that sends it, and says how far that may go.  A direction
 * without a chain only has its frames read.
 *
 * Room: proxy.  Units: octets.  Thread: its worker's.
 */
#ifndef PROXY_GRPC_WAY_H
#define PROXY_GRPC_WAY_H

#include "http/grpc.h"
#include "proxy/grpc_item.h"
#include "stream/pump.h"

struct worker_chain;

enum grpc_way_state {
#define S(name, next) GRPC_WAY_##name,
#include "proxy/grpc_way.def"
#undef S
	GRPC_WAY_STATES
};

enum grpc_way_got {
	GRPC_WAY_WAITS,   /* the flow's task will be woken, or it is_behind */
	GRPC_WAY_MORE,    /* it has had its share of the turn */
	GRPC_WAY_STOPPED, /* a message may not pass; the flow knows why */
	GRPC_WAY_BROKEN,  /* what comes is not gRPC */
	GRPC_WAY_CUT      /* the body is cut, which knows why */
};

/* Embedded; {0}: there is none. */
struct grpc_way {
	enum grpc_way_state state;
	struct flow *flow; /* borrowed; NULL: there is none */
	enum scan_mode mode;
	const struct worker_chain *chain; /* borrowed; NULL: nobody looks */
	const struct pump *pump;   /* borrowed: what it sends the body with */
	struct decode_list coding; /* of compressed messages */
	struct reader look;
	unsigned char head[HTTP_GRPC_HEAD];
	unsigned n; /* octets of head */
	bool compressed;
	uint64_t begin, end;    /* of the content of the message under way */
	uint64_t edge;          /* up to here messages have passed */
	struct grpc_item *item; /* owned */
	bool is_behind;         /* it waits for the pump */
};

/* The body of head, which pump holds at its begin. */
void grpc_way_init(struct grpc_way *, struct flow *, enum scan_mode,
    const struct http_msg *head, struct body *, const struct pump *,
    const struct worker_chain *);
/* None: nothing. */
void grpc_way_fini(struct grpc_way *);
enum grpc_way_got grpc_way_run(struct grpc_way *);
/* How much of the body may have left by now. */
uint64_t grpc_way_mark(const struct grpc_way *);
/* It was waiting for the pump, which has moved on. */
bool grpc_way_goes_on(const struct grpc_way *);
/* Do services work on a message of it? */
bool grpc_way_is_scanning(const struct grpc_way *);

#endif
