/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gRPC over HTTP/2: which messages are a call, the frames in which its messages
 * come, and the codes that end it.
 *
 * Room: http.  Units: octets.  Any thread.  Obeys the gRPC specification of
 * its protocol over HTTP/2.
 */
#ifndef HTTP_GRPC_H
#define HTTP_GRPC_H

#include <stdbool.h>
#include <stdint.h>
#include "http/msg.h"

/*
 * Is this request a call?  A POST of application/grpc (+proto, +json ...) that
 * takes trailers.  Not one of a browser, which cannot read them, and might take
 * what comes for something else.
 */
bool http_grpc_is_call(const struct http_msg *req);
/* Is this answer one to a call: a 200 of one such type, not to be saved? */
bool http_grpc_is_answer(const struct http_msg *resp);
/* Is the text of its messages JSON (application/grpc+json)? */
bool http_grpc_is_json(const struct http_msg *);

/* Of a code, grpc-status. */
enum http_grpc_code {
	GRPC_UNKNOWN = 2,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16
};
/* What a call ends with where another request would get that status. */
enum http_grpc_code http_grpc_code_of(unsigned status);
/* Text as it stands in grpc-message: what is not printable ASCII as %XX. */
struct str http_grpc_text(struct arena *, struct str);

/*
 * Message encodings that are not known here are taken out of
 * grpc-accept-encoding (of either side), so that they are not used.
 */
void http_grpc_offer_known(struct http_msg *);

/* In what form messages stand in a body of that Content-Type. */
enum http_grpc_form {
	GRPC_FORM_NONE,   /* another type */
	GRPC_FORM_FRAMES, /* application/grpc, -web */
	GRPC_FORM_TEXT    /* application/grpc-web-text: frames in base64 */
};
enum http_grpc_form http_grpc_form(struct str type);

#define HTTP_GRPC_HEAD 5 /* octets in front of a message */

/* The head of a frame; false: it is none. */
bool http_grpc_head(const unsigned char p[static HTTP_GRPC_HEAD],
    bool *compressed, uint32_t *length);

#endif
