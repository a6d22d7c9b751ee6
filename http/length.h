/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The length of a message's body in the model: length_is and length of struct
 * http_msg, whatever protocol the message came in or goes out by.
 *
 * Once they are set they alone count: Content-Length and Transfer-Encoding are
 * gone from the list, but for the one Content-Length that describes the body
 * which a HEAD or a 304 did not send.
 *
 * Room: http.  Units: octets.  Any thread.  Obeys RFC 9110 6.4.1, 8.6, 10.1.1.
 */
#ifndef HTTP_LENGTH_H
#define HTTP_LENGTH_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "http/msg.h"

/*
 * The number in all Content-Length fields.  True: *length is it, or
 * HTTP_LENGTH_UNKNOWN where there is no such field.  False: not a number below
 * 2^63, or several; merge lets equal ones pass as one.
 */
bool http_content_length(const struct http_fields *, bool merge,
    uint64_t *length);

/*
 * Set the length of a message whose body we know (adapted by a scanner, made
 * here, decoded from HTTP/2): the fields in the list are forgotten.
 * has_body false, or length 0: no octet follows; length: of the body,
 * HTTP_LENGTH_UNKNOWN where that is open.  req NULL for requests.  A response
 * to HEAD, 1xx, 204 and 304 gets LENGTH_NONE whatever is said, other responses
 * without body a length of 0, requests without body LENGTH_NONE (a length of 0
 * for POST, PUT, PATCH: RFC 9110 8.6).
 */
void http_length_set(struct http_msg *, const struct http_msg *req,
    bool has_body, uint64_t length);

/*
 * A response to req that has no body, whatever its fields say.  length: what
 * its Content-Length fields say, HTTP_LENGTH_UNKNOWN if that is to be
 * forgotten.  Where http_has_no_body() alone.
 */
void http_length_describe(struct http_msg *resp, const struct http_msg *req,
    uint64_t length);
/* Has a response to req no body, whatever its fields say (RFC 9112 6.3, 1. and 2.)? */
bool http_has_no_body(const struct http_msg *resp, const struct http_msg *req);
/* Take Content-Length and Transfer-Encoding out of the list. */
void http_length_forget(struct http_msg *);

/*
 * Expect of a request whose length is known: ERR_NONE, and expect_continue is
 * set where it asks for that, has a body and is not of HTTP/1.0; else the field
 * goes.  ERR_REQ_EXPECT: something else is expected; cause in *f (may be NULL).
 */
enum err http_expect_read(struct http_msg *, struct fault *f);

#endif
