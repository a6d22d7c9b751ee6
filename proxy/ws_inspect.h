/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A WebSocket connection whose messages are looked at.  Each message, joined
 * and inflated, goes through the chain of its direction as a body of its own
 * (ws_item.h); its frames are held until the verdict and go out as they came,
 * in their order.  Control frames pass at once, but not between the octets of
 * a frame.  A direction without a chain only has its frames read.
 *
 * A block, a broken frame or too much of something ends the connection: a Close
 * frame to each side, behind what has passed.
 *
 * Room: proxy.  Units: octets, ms.  Thread: its worker's.
 */
#ifndef PROXY_WS_INSPECT_H
#define PROXY_WS_INSPECT_H

#include "http/ws.h"
#include "proxy/relay.h"

struct flow;
struct ws_inspect;

/*
 * Both sides wake the flow's task, which runs it.  What chains say goes to the
 * flow's record, and so does the cause of an end.
 */
struct ws_inspect *ws_inspect_new(struct flow *, struct duplex *client,
    struct duplex *origin, const struct ws_terms *);
void ws_inspect_free(struct ws_inspect **);
/* Stop the chains that run, and note what they did. */
void ws_inspect_settle(struct ws_inspect *);
/* As relay_run(). */
enum relay_end ws_inspect_run(struct ws_inspect *);
uint64_t ws_inspect_due(const struct ws_inspect *);
/* End it with a Close frame each way.  Only queues. */
void ws_inspect_stop(struct ws_inspect *, enum ws_code, const char *reason);

/* For the record. */
struct ws_count {
	uint64_t messages; /* complete */
	uint64_t content;  /* octets of their payloads */
	uint64_t octets;   /* passed on */
};
void ws_inspect_count(const struct ws_inspect *, enum ws_side from,
    struct ws_count *);
/* Of the first Close frame that passed, or was sent; WS_CODE_NONE: none. */
unsigned ws_inspect_code(const struct ws_inspect *);

#endif
