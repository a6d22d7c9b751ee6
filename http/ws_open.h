/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The opening of a WebSocket connection: what a request asks for, what an
 * answer agrees to.
 *
 * Order for a request: ws_open_asks() before http_hop_strip(), which removes
 * Upgrade; then ws_open_reduce() where its messages will be looked at.  Order
 * for an answer: ws_open_answer() before http_hop_strip().
 *
 * Room: http.  Any thread.
 * Obeys RFC 6455 4, 9, 11.3; RFC 7692 5, 7.1.
 */
#ifndef HTTP_WS_OPEN_H
#define HTTP_WS_OPEN_H

#include "http/msg.h"

/* Who sends: every direction has its rules. */
enum ws_side { WS_CLIENT, WS_SERVER };

enum ws_asks {
	WS_ASKS_NOT,  /* some other request */
	WS_ASKS,      /* an opening handshake that may go on */
	WS_ASKS_WRONG /* it means to be one: ERR_REQ_WEBSOCKET */
};

/*
 * Does the request open a WebSocket connection?  In the form of HTTP/1, which
 * one of HTTP/2 has been given (ws_h2.h).  length_is must be set.  f may be
 * NULL.
 */
enum ws_asks ws_open_asks(const struct http_msg *req, struct fault *f);

/*
 * Leave in Sec-WebSocket-Extensions only what can be read: the offers of
 * permessage-deflate whose parameters are known.  The field goes where none
 * is left.
 */
void ws_open_reduce(struct http_msg *req);

/* What both ends have agreed to. */
struct ws_terms {
	bool deflate;        /* permessage-deflate */
	bool no_takeover[2]; /* by the sender: each message begins anew */
	/*
	 * An extension that was offered and taken and is none of ours: what
	 * the frames carry cannot be known.  Never behind ws_open_reduce().
	 */
	bool unknown;
	struct str subprotocol; /* borrowed from the answer; STR_NONE: none */
};

/*
 * Is resp, to the request as it was sent to the origin, an answer that opens
 * the connection: 101 with the right fields and the Accept for the key?  It
 * takes only what was offered.  ERR_NONE, and *terms is filled; else
 * ERR_ORIGIN_WEBSOCKET with the cause in *f (may be NULL).
 */
enum err ws_open_answer(const struct http_msg *req, const struct http_msg *resp,
    struct ws_terms *terms, struct fault *f);

#define WS_KEY_LEN 24
#define WS_ACCEPT_LEN 28

/* A new key, for a request of our own, and a NUL. */
void ws_open_key(char out[static WS_KEY_LEN + 1]);
/* Sec-WebSocket-Accept for a key, and a NUL (RFC 6455 4.2.2). */
void ws_open_accept(struct str key, char out[static WS_ACCEPT_LEN + 1]);

#endif
