/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * WebSocket frames: heads read and written, masking, Close frames.
 *
 * A head has one reading or is refused: masked from clients and from nobody
 * else, the shortest length, no reserved bit but the one of permessage-deflate
 * on the first frame of a message, no reserved opcode, control frames whole
 * and short, fragments in their order.
 *
 * Room: http.  Units: octets.  Any thread.  Obeys RFC 6455 5; RFC 7692 6.
 */
#ifndef HTTP_WS_FRAME_H
#define HTTP_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/chunk.h"
#include "base/fault.h"
#include "base/str.h"
#include "http/ws_open.h"

#define WS_HEAD_MAX 14
#define WS_CONTROL_MAX 125 /* payload of a control frame */
#define WS_REASON_MAX 123  /* of a Close frame */

enum ws_op {
	WS_OP_CONTINUATION = 0,
	WS_OP_TEXT = 1,
	WS_OP_BINARY = 2,
	WS_OP_CLOSE = 8,
	WS_OP_PING = 9,
	WS_OP_PONG = 10
};

/* Codes of Close frames that are used here (RFC 6455 7.4.1). */
enum ws_code {
	WS_CODE_NORMAL = 1000,
	WS_CODE_AWAY = 1001,
	WS_CODE_PROTOCOL = 1002,
	WS_CODE_NONE = 1005, /* never on the wire: there was none */
	WS_CODE_DATA = 1007,
	WS_CODE_POLICY = 1008,
	WS_CODE_LARGE = 1009,
	WS_CODE_INTERNAL = 1011,
	WS_CODE_LATER = 1013
};

enum ws_frame_step {
	WS_FRAME_MORE, /* all was taken; the head goes on */
	WS_FRAME_HEAD, /* the head is complete; its payload follows */
	WS_FRAME_BAD   /* cause in the fault; final */
};

/* The heads of one direction.  Embedded; nothing to free. */
struct ws_frame {
	/* of the frame, after WS_FRAME_HEAD */
	enum ws_op op;
	bool fin, compressed;  /* compressed: RSV1 */
	uint64_t length;       /* of the payload, < 2^63 */
	unsigned char mask[4]; /* zero from servers */
	unsigned head_n;       /* octets of the head */
	/* the rest is private */
	enum ws_side from;
	bool deflate, open, bad;
	unsigned char n, need, head[WS_HEAD_MAX];
};

/* deflate: permessage-deflate was agreed upon. */
void ws_frame_init(struct ws_frame *, enum ws_side from, bool deflate);
/*
 * Octets of a head, n of them, of which *used were taken.  The caller passes
 * over the payload before the next head.  f may be NULL.
 */
enum ws_frame_step ws_frame_feed(struct ws_frame *, const unsigned char *p,
    size_t n, size_t *used, struct fault *f);
static inline bool
ws_op_is_control(enum ws_op op)
{
	return (op >= WS_OP_CLOSE);
}

/* What a violation of that side's is called. */
static inline enum err
ws_frame_err(enum ws_side from)
{
	return (from == WS_CLIENT ? ERR_REQ_WEBSOCKET : ERR_ORIGIN_WEBSOCKET);
}

/*
 * Mask, or unmask, n octets that stand at offset `at` of the payload; to and
 * p may be the same (RFC 6455 5.3).
 */
void ws_frame_mask(unsigned char *to, const unsigned char *p, size_t n,
    const unsigned char mask[4], uint64_t at);

/*
 * Write a head; mask: as a client has to, else NULL.  Returns its length.
 */
size_t ws_frame_head(unsigned char out[static WS_HEAD_MAX], enum ws_op op,
    bool fin, uint64_t length, const unsigned char *mask);
/*
 * Append a whole frame as `from` sends it: masked with a new random key if that
 * is the client.  Control frames: n <= WS_CONTROL_MAX.
 */
void ws_frame_put(struct chq *to, enum ws_side from, enum ws_op op,
    const void *payload, size_t n);
/*
 * Append a Close frame; the reason is cut to what fits, at the end of a
 * character.  WS_CODE_NONE: without a payload.
 */
void ws_frame_put_close(struct chq *to, enum ws_side from, unsigned code,
    struct str reason);
/* May it stand in a Close frame (RFC 6455 7.4; the codes of IANA)? */
bool ws_code_is_valid(unsigned code);

#endif
