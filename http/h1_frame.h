/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a body ends: Content-Length, Transfer-Encoding, Connection and Expect
 * become framing, length, keep_alive and expect_continue of the model.  What
 * can be read in two ways is refused.
 *
 * Afterwards the model alone counts: both framing fields are gone from the
 * list, but for the one Content-Length that describes the body a HEAD or a
 * 304 did not send.
 *
 * Room: http.  Any thread.  Obeys RFC 9112 6.1..6.3, 9.3; RFC 9110 8.6, 10.1.1.
 */
#ifndef HTTP_H1_FRAME_H
#define HTTP_H1_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "http/msg.h"

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

/*
 * A request off the wire.  ERR_NONE, ERR_REQ_FRAMING (two readings, bad
 * number, coding in HTTP/1.0), ERR_REQ_CODING (a coding other than chunked),
 * ERR_REQ_EXPECT; cause in *f (may be NULL).  framing is NONE, LENGTH or
 * CHUNKED.  CONNECT with a body is ERR_REQ_FRAMING (a length of 0 is let be).
 * The Expect field stays only where expect_continue is set.
 */
enum err h1_frame_request(struct http_msg *, struct fault *f);

/*
 * Expect of a request whose framing is known, alone (h1_frame_request() has
 * seen to it): ERR_NONE or ERR_REQ_EXPECT.
 */
enum err h1_frame_expect(struct http_msg *, struct fault *f);

/*
 * A response off the wire to req (its method counts).  ERR_NONE or
 * ERR_ORIGIN_FRAMING.  keep_alive false: the origin's connection serves
 * nothing after this body.
 */
enum err h1_frame_response(struct http_msg *resp, const struct http_msg *req,
    struct fault *f);

/*
 * Frame a message whose body we know (adapted by a scanner, made here,
 * decoded from HTTP/2): framing fields in the list are forgotten.
 * has_body false, or length 0: no octet follows; length: of the body,
 * HTTP_LENGTH_UNKNOWN makes it chunked.  req NULL for requests.  A response to HEAD, 1xx, 204 and
 * 304 become FRAMING_NONE whatever is said, other responses without body get
 * length 0, requests without body FRAMING_NONE (length 0 for POST, PUT, PATCH:
 * RFC 9110 8.6).
 */
void h1_frame_set(struct http_msg *, const struct http_msg *req, bool has_body,
    uint64_t length);

/*
 * The number in all Content-Length fields.  True: *length is it, or
 * HTTP_LENGTH_UNKNOWN where there is no such field.  False: not a number below
 * 2^63, or several; merge lets equal ones pass as one.
 */
bool http_content_length(const struct http_fields *, bool merge,
    uint64_t *length);

#endif
