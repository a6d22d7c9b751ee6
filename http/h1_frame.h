/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What HTTP/1 says of a message beside the model, and only its engine needs:
 * where the body ends on the wire, and whether the connection goes on.  The
 * fields about that become a struct h1_frame, the model's length (length.h) and
 * expect_continue.  What can be read in two ways is refused.
 *
 * Room: http.  Any thread.  Obeys RFC 9112 6.1..6.3, 9.3; RFC 9110 8.6, 10.1.1.
 */
#ifndef HTTP_H1_FRAME_H
#define HTTP_H1_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "http/msg.h"

/* How a body is delimited on the wire (RFC 9112 6.3). */
enum h1_framing {
	FRAMING_NONE,   /* no body */
	FRAMING_LENGTH, /* http_msg.length octets (0 possible) */
	FRAMING_CHUNKED,
	FRAMING_CLOSE /* responses only: until the connection ends */
};

/* Of one message; beside it in the engine. */
struct h1_frame {
	enum h1_framing framing;
	bool keep_alive; /* may the connection serve another message? */
};

/*
 * A request off the wire.  ERR_NONE, ERR_REQ_FRAMING (two readings, bad
 * number, coding in HTTP/1.0), ERR_REQ_CODING (a coding other than chunked),
 * ERR_REQ_EXPECT; cause in *f (may be NULL).  framing is NONE, LENGTH or
 * CHUNKED.  CONNECT with a body is ERR_REQ_FRAMING (a length of 0 is let be).
 * After an error *frame says nothing.
 */
enum err h1_frame_request(struct http_msg *, struct h1_frame *,
    struct fault *f);

/*
 * A response off the wire to req (its method counts).  ERR_NONE or
 * ERR_ORIGIN_FRAMING.  keep_alive false: the origin's connection serves
 * nothing after this body.
 */
enum err h1_frame_response(struct http_msg *resp, const struct http_msg *req,
    struct h1_frame *, struct fault *f);

/*
 * How the body of a message goes out.  to_http10: who reads it knows no chunks,
 * a body of unknown length ends with the connection.
 */
enum h1_framing h1_frame_out(const struct http_msg *, bool to_http10);

#endif
