/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The opening of a WebSocket connection in HTTP/2, an extended CONNECT and a
 * 2xx, against that in HTTP/1, a GET and a 101 (ws_open.h).  Rules and
 * scanners know the form of HTTP/1 alone.  A key and what is made of it are
 * not sent over HTTP/2.
 *
 * Room: http.  Any thread.  Obeys RFC 8441 4, 5.
 */
#ifndef HTTP_WS_H2_H
#define HTTP_WS_H2_H

#include "http/msg.h"

/* An extended CONNECT for "websocket" becomes a GET, with a key of ours. */
void ws_h2_request_to_h1(struct http_msg *);
/* A GET that asks for the switch becomes an extended CONNECT. */
void ws_h2_request_to_h2(struct http_msg *);
/* A 2xx becomes a 101, which agrees to key. */
void ws_h2_answer_to_h1(struct http_msg *, struct str key);
/* A 101 becomes a 200, with octets behind it. */
void ws_h2_answer_to_h2(struct http_msg *);

#endif
