/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One direction of an open WebSocket connection: octets in, messages out.
 * Of each message there are the frames as they came, for sending on, and its
 * content as the receiver will see it (unmasked, inflated), for scanners.
 *
 * What the engine does not do: it sends nothing and waits for nobody.  The
 * caller holds the frames of a message until its verdict and stops feeding
 * while he has enough.  An error, or a block, is the end of the connection:
 * ws_frame_put_close() to each side, each as the other one sends it.
 *
 * Too much to read.  A message is read up to ws_limits.message octets, of
 * content or of payload, and as long as compression is not a bomb and the
 * heads of frames do not outweigh what they carry.  Beyond that, when the
 * octet behind the limit has come (what a head declares is nothing yet),
 * WS_GAP is said once: no more content of this message comes, its frames
 * still do, and whether they may pass is the caller's policy of what is
 * unscanned (limit).
 * Where the sender keeps its compression context the rest is inflated into
 * nothing, for the next messages need it.  A bomb is not: from then on every
 * compressed message of the direction has a gap from its begin.
 *
 * A Close frame ends the direction: what follows it is dropped, as receivers
 * do (RFC 6455 5.5.1).  A message that it comes into is never complete; its
 * frames are not worth sending.
 *
 * Dropping a message and going on is for connections without takeover only:
 * later messages may refer to what the receiver did not get.
 *
 * Room: http.  Units: octets.  Thread: its owner's.
 * Obeys RFC 6455 5 to 8; RFC 7692 6, 7.
 */
#ifndef HTTP_WS_H
#define HTTP_WS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/chunk.h"
#include "base/fault.h"
#include "http/ws_frame.h"
#include "http/ws_open.h"

struct ws;

struct ws_limits {
	uint64_t message; /* octets that are read of one */
	/*
	 * Content for each octet on the wire, asked beyond WS_RATIO_FREE
	 * octets: deflate reaches 1032, text 5 to 30.
	 */
	unsigned ratio;
};
#define WS_RATIO 64 /* the usual one */
#define WS_RATIO_FREE (1u << 20)
#define WS_HEADS_FREE 16384 /* of heads: no flood of empty frames */

enum ws_got {
	WS_MORE,    /* all of the input was taken */
	WS_FULL,    /* `want` octets of content came; call again */
	WS_BEGIN,   /* a message begins; nothing of it was given yet */
	WS_GAP,     /* the rest of the message is not read */
	WS_END,     /* the message is complete */
	WS_CONTROL, /* Ping or Pong, anywhere, whole in out->control */
	WS_CLOSE,   /* the same for Close; code and reason in the facts */
	WS_BAD,     /* broken: cause in *f, code in the facts; final */
	WS_STEP     /* private: never returned */
};

/* Where things go: at the ends of the caller's queues. */
struct ws_out {
	struct chq *frames;  /* of the message, moved from the input */
	struct chq *content; /* of the message */
	struct chq *control; /* a frame, when it is complete */
	size_t want;         /* > 0: octets of content a call, at most */
};

/* To read, at any time. */
struct ws_facts {
	/* of the message, from its WS_BEGIN until the next one */
	bool text, compressed;
	uint64_t payload; /* octets of frames so far, without heads */
	uint64_t content; /* octets read so far */
	/* of the connection */
	uint64_t messages; /* complete */
	uint64_t controls; /* frames: the caller's budget for floods */
	uint64_t octets;   /* payloads of messages */
	/* WS_CLOSE: the peer's, or WS_CODE_NONE.  WS_BAD: what to say */
	unsigned code;
	struct str reason; /* WS_CLOSE: UTF-8, lives with the engine */
};

/* Never NULL.  terms->unknown must be false. */
struct ws *ws_new(enum ws_side from, const struct ws_terms *terms,
    const struct ws_limits *limits);
void ws_free(struct ws **);

/*
 * Go on with what is in `in`; one event a call.  Octets of a frame's head are
 * kept until it is complete, all others move or go at once.  Linear in what
 * it is fed, however it is cut.  WS_BAD: ERR_REQ_WEBSOCKET or
 * ERR_ORIGIN_WEBSOCKET by who sent it, ERR_MEMORY; frames and content that
 * came before are as they were.
 */
enum ws_got ws_feed(struct ws *, struct chq *in, const struct ws_out *,
    struct fault *f);
const struct ws_facts *ws_facts(const struct ws *);
/* Octets of memory that it holds, for the client's account. */
size_t ws_bytes(const struct ws *);

#endif
