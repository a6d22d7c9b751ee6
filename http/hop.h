/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a proxy takes out of a message and puts in on its way through.
 * Order: target (uri.h), framing (h1_frame.h, length.h), http_hop_strip(), then
 * http_forward_*() once the message really goes on.
 * Room: http.  Any thread.  Obeys RFC 9110 7.6, 6.6.1, 11.7; RFC 7838.
 */
#ifndef HTTP_HOP_H
#define HTTP_HOP_H

#include <stdbool.h>
#include <time.h>
#include "base/fault.h"
#include "http/msg.h"

/*
 * Remove Connection, what it names, Keep-Alive, Proxy-Connection,
 * Proxy-Support, TE (kept as "trailers" where it says so), Upgrade,
 * HTTP2-Settings, Trailer, and the framing fields, which the model has by now (but for the Content-Length of a
 * response with LENGTH_NONE).  What framing, routing or scanning need stays
 * even if Connection names it: Host, Via, Max-Forwards, Expect, Content-Type,
 * -Encoding, -Range, -Disposition, Cache-Control, Sec-WebSocket-*.
 */
void http_hop_strip(struct http_msg *);

/*
 * Does an Upgrade field offer protocol, and Connection name Upgrade?  Ask
 * before http_hop_strip().
 */
bool http_wants_upgrade(const struct http_msg *, struct str protocol);

/* OPTIONS, TRACE with Max-Forwards: 0: answer them here (RFC 9110 7.6.2). */
bool http_forwards_spent(const struct http_msg *req);

/*
 * A request about to go on: Via, Max-Forwards counted down, Proxy-Authorization
 * removed.  ERR_NONE; ERR_REQ_LOOP when Via names pseudonym already;
 * ERR_REQ_METHOD when http_forwards_spent(); ERR_REQ_SYNTAX for a
 * Max-Forwards that is no number.
 */
enum err http_forward_request(struct http_msg *, struct str pseudonym,
    struct fault *f);

/* What becomes of a field that says whom a request comes from. */
enum http_said { HTTP_SAID_DROP, HTTP_SAID_ADD, HTTP_SAID_KEEP };

/*
 * X-Forwarded-For and Forwarded (RFC 7239) of a request about to go on, from a
 * client at that address.
 */
void http_forward_client(struct http_msg *, enum http_said xff,
    enum http_said forwarded, const char *address);
/*
 * All Via fields of a request as one value, in its arena; STR_NONE: there is
 * none.  *looped: pseudonym is among them.
 */
struct str http_via(struct http_msg *req, struct str pseudonym, bool *looped);
/*
 * A response about to go to the client: Via, Date if missing (now; not in
 * 1xx), without Alt-Svc, Proxy-Authenticate, Proxy-Authentication-Info.
 */
void http_forward_response(struct http_msg *, struct str pseudonym, time_t now);

/*
 * What of a 1xx goes on to the client: 100 and 102 without fields, 103 with its
 * Link fields alone, with our own phrase.  False: nothing of it.  *room is
 * what Link fields may still come to; those of this one are taken off.
 */
bool http_interim_strip(struct http_msg *, size_t *room);

#define HTTP_TRAILER_SMALL 256 /* octets of one value */

/*
 * Trailers behind a body that was scanned: no scanner has seen them, so that
 * only a few names pass, each once and with a small value: Grpc-Status,
 * Grpc-Message, Grpc-Status-Details-Bin (the outcome of a call, without which
 * it has failed) and Server-Timing (which browsers show to developers).
 */
void http_trailer_small(struct arena *, const struct http_fields *from,
    struct http_fields *to);

/* "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL (RFC 9110 5.6.7). */
void http_date_print(char out[static 30], time_t);

#endif
