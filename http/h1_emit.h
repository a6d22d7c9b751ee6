/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages written out of the model in one canonical form; no octet of a
 * received start line, framing or Connection field goes through.
 *
 * Connection is made from what the engine says (h1_frame.h): "close" if not
 * keep_alive, "keep-alive" towards an HTTP/1.0 client otherwise, "TE" beside a
 * TE field (RFC 9110 10.1.4), "Upgrade" beside an Upgrade field.  So an Upgrade
 * that is not meant must have been removed (hop.h), and one that is meant is put
 * back into the list.
 *
 * A body's length is shown as h1_frame_out() says: FRAMING_NONE and
 * FRAMING_CLOSE give no field, except that a response with FRAMING_NONE shows
 * its Content-Length field (HEAD, 304; length.h left it there).
 *
 * Room: http.  Any thread.  Obeys RFC 9112 3, 4, 5, 7.1.
 */
#ifndef HTTP_H1_EMIT_H
#define HTTP_H1_EMIT_H

#include <stdbool.h>
#include "base/str.h"
#include "http/h1_frame.h"
#include "http/msg.h"

enum h1_target {
	H1_TARGET_ORIGIN,   /* uri.path: to origins */
	H1_TARGET_ABSOLUTE, /* uri: to proxies and scanners */
	H1_TARGET_AS_IS     /* target: as it was received */
};

/*
 * A whole request head with its empty line.  Host comes first, from uri where
 * it is set, else the Host field.  Always HTTP/1.1, and the connection goes on.
 */
void h1_emit_request(struct buf *, const struct http_msg *, enum h1_target);
/*
 * A whole response head.  Always HTTP/1.1 (RFC 9110 6.2: our own version).
 * The frame's framing is that of h1_frame_out(); keep_alive counts in a final
 * one, and is false where the end of the connection delimits the body.  1xx must
 * not be sent to_http10 at all.
 */
void h1_emit_response(struct buf *, const struct http_msg *,
    const struct h1_frame *, bool to_http10);
/*
 * A head for an ICAP Encapsulated section (RFC 3507 4.4.1): absolute target,
 * no Connection, no Transfer-Encoding, no Proxy-Authorization or
 * Proxy-Authenticate; Content-Length if that is known.
 */
void h1_emit_encapsulated(struct buf *, const struct http_msg *);
/*
 * The end of a chunked body: last chunk, trailer fields (NULL: none) but for
 * those that http_trailer_forbids(), empty line.
 */
void h1_emit_trailer(struct buf *, const struct http_fields *trailer);

#endif
