/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * permessage-deflate undone: the compressed messages of one direction, one
 * after another.  Private to the WebSocket engine.
 *
 * The history of 32 KB is kept from message to message, whatever window was
 * agreed upon: which distances are refused would depend on how the input was
 * cut otherwise.  A receiver with a smaller window refuses more, and reads
 * nothing else.
 *
 * A message may end in a final block (RFC 7692 7.2.3.4), alone or with the
 * octet 00 behind it (7.2.3.5).  Receivers differ in what they make of more
 * behind it, and in whether the history lives on: more is refused, and so is
 * a message that needs that history.
 *
 * Room: http.  Units: octets.  Any thread.  Obeys RFC 7692 7.2.2.
 */
#ifndef HTTP_WS_INFLATE_H
#define HTTP_WS_INFLATE_H

#include <stddef.h>

struct ws_inflate;

enum ws_inflate_got {
	WS_INFLATE_GO,  /* all input was taken, or there is no room */
	WS_INFLATE_END, /* ws_inflate_end(): the message has ended */
	WS_INFLATE_BAD,
	WS_INFLATE_MEMORY /* there is none; as bad */
};

/* Moved by each call. */
struct ws_inflate_io {
	const unsigned char *in;
	size_t in_n;
	unsigned char *out;
	size_t out_n; /* > 0 */
};

/* NULL: there is no memory. */
struct ws_inflate *ws_inflate_new(void);
void ws_inflate_free(struct ws_inflate **);
/* The next octets of a message. */
enum ws_inflate_got ws_inflate_feed(struct ws_inflate *,
    struct ws_inflate_io *);
/*
 * It has no more octets; io is for output alone.  GO: call again with room.
 * END: what comes next is another message.
 */
enum ws_inflate_got ws_inflate_end(struct ws_inflate *, struct ws_inflate_io *);
/* Of memory at most; it may be NULL: 0. */
size_t ws_inflate_bytes(const struct ws_inflate *);

#endif
