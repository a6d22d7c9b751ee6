/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One message of an inspected WebSocket connection: its frames, which are held,
 * and its content, which a chain looks at as the body of a message of HTTP.
 *
 *   from the client   REQMOD, POST to the URL of the handshake
 *   from the origin   RESPMOD, 200 to a GET of it
 *
 * Content-Type is text/plain; charset=utf-8 or application/octet-stream.
 *
 * Room: proxy.  Units: octets.  Thread: its worker's.
 */
#ifndef PROXY_WS_ITEM_H
#define PROXY_WS_ITEM_H

#include "base/arena.h"
#include "http/ws_message.h"
#include "scanners/chain.h"
#include "stream/body.h"

struct flow;

/* Lives in its own arena. */
struct ws_item {
	struct arena *arena; /* owned; holds this too */
	struct flow *flow;   /* borrowed */
	struct ws_message source;
	struct body *frames;        /* counted */
	struct body *content;       /* counted; NULL: nobody looks */
	struct reader hold;         /* of frames: they go out from here */
	struct reader along;        /* of frames: pulls them in, to be held */
	struct reader look;         /* of content: the same */
	struct reader first;        /* of content: keeps its begin */
	struct reader now;          /* of what a service sent back */
	struct chq again;           /* read from there, not yet compared */
	bool whole;                 /* WS_END: all of it is here */
	bool gap;                   /* its content is only a begin */
	uint64_t began_at, news_at; /* ms: it, and when octets last came */
	struct scan_message message;
	struct scan_shared shared;
	struct chain_run *chain; /* owned */
};

/* scanned: its content is wanted.  Never NULL. */
struct ws_item *ws_item_new(struct flow *, enum ws_side from, bool scanned,
    uint64_t now);
void ws_item_free(struct ws_item **);
/* Its chain, if one still runs, stops and is noted; there will be no verdict. */
void ws_item_settle(struct ws_item *);
/* ws_feed() has said so, with its frames and content where ws_item_out() says. */
void ws_item_fed(struct ws_item *, enum ws_got, const struct fault *);
/* No more of its content is waited for: it is larger, or takes too long. */
void ws_item_cut(struct ws_item *);
/* Has it so much that nobody has taken yet that it waits? */
bool ws_item_is_full(const struct ws_item *);
/*
 * Pull what there is in, to be held.  PULL_END: the content is complete;
 * PULL_WAIT: it is not; PULL_FAIL: there is no room for it, cause in *f.
 */
enum pull ws_item_gather(struct ws_item *, struct fault *f);
bool ws_item_is_empty(const struct ws_item *);
/*
 * Let the chain look at the content.  handshake: as it went to the origin, a
 * head of which the item's are made.
 */
void ws_item_scan(struct ws_item *, const struct chain_step *, unsigned n,
    enum ws_side from, bool text);
/*
 * A service has sent a message back.  PULL_END: it is the one that it was
 * given; PULL_WAIT: later; else it is another one.
 */
enum pull ws_item_match(struct ws_item *);
/* Nothing holds the content any more. */
void ws_item_release(struct ws_item *);
/* The next octets of the frames, without waking the flow in vain. */
enum pull ws_item_pull(struct ws_item *, struct chq *out, size_t want);

#endif
