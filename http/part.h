/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of a representation: is a message all of it, and what must not be
 * asked of an origin by one who wants to see all of it.
 * Room: http.  Any thread.  Obeys RFC 9110 14, 15.3.7; RFC 3229.
 */
#ifndef HTTP_PART_H
#define HTTP_PART_H

#include <stdbool.h>
#include "http/msg.h"

enum http_part {
	HTTP_PART_NONE,  /* not said to be a part */
	HTTP_PART_WHOLE, /* a part that is all there is */
	HTTP_PART_SOME   /* a part of more, or of who knows what */
};

/*
 * What a head says about its body: a response by its status 206 (or 226, a
 * difference to something else), a request by Content-Range (RFC 9110 14.5) or
 * as one piece of an upload (upload.h).
 * Whole is one range from 0 to the last octet of a length that is said, and
 * does not disagree with the length, which must be set.
 */
enum http_part http_part_of(const struct http_msg *);

/*
 * Another body has come under this head, of a length that may be
 * HTTP_LENGTH_UNKNOWN; 0 where there is none.  What was a whole stays one,
 * without Content-Range, a response with status 200.  False: a part of
 * another length than its Content-Range says.
 */
bool http_part_fit(struct http_msg *, uint64_t length);

/* Does the request ask for a part, or for a difference? */
bool http_asks_part(const struct http_msg *req);
/* Ask for the whole: without Range, If-Range, Request-Range and A-IM. */
void http_ask_whole(struct http_msg *req);

#endif
