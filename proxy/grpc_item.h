/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One message of a call of gRPC, which a chain looks at as the body of a message
 * of HTTP: what is in its frame, its encoding undone.
 *
 *   from the client   REQMOD, the head of the call
 *   from the origin   RESPMOD, 200 to that
 *
 * Content-Type is application/octet-stream, or application/json where the call
 * is application/grpc+json.
 *
 * Room: proxy.  Units: octets.  Thread: its worker's.
 */
#ifndef PROXY_GRPC_ITEM_H
#define PROXY_GRPC_ITEM_H

#include "base/arena.h"
#include "scanners/chain.h"
#include "scanners/decode_body.h"
#include "stream/body.h"

struct flow;

/* Lives in its own arena. */
struct grpc_item {
	struct arena *arena;  /* owned; holds this too */
	struct flow *flow;    /* borrowed */
	struct body *content; /* counted */
	struct reader along;  /* of content: decodes it */
	struct reader first;  /* of content: keeps its begin */
	struct reader now;    /* of what a service sent back */
	struct chq again;     /* read from there, not yet compared */
	struct decode_how how;
	const char *unknown; /* its encoding; NULL: it is undone */
	struct scan_message message;
	struct scan_shared shared;
	struct chain_run *chain; /* owned */
};

/*
 * The n octets from offset from of a call's body, which have come and are held.
 * coding: of these; NULL: none.  Never NULL.
 */
struct grpc_item *grpc_item_new(struct flow *, struct body *, uint64_t from,
    uint64_t n, const struct decode_list *coding);
void grpc_item_free(struct grpc_item **);
/* Decode it.  True: its content is complete. */
bool grpc_item_gather(struct grpc_item *);
/* Let the chain look at it. */
void grpc_item_scan(struct grpc_item *, const struct chain_step *, unsigned n,
    enum scan_mode);
/*
 * A service has sent a message back.  PULL_END: it is the one that it was
 * given; PULL_WAIT: later; else it is another one.
 */
enum pull grpc_item_match(struct grpc_item *);

#endif
