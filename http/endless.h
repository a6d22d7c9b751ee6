/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers without an end: events, live pictures and sound.  Which answers may
 * be one, and a check that what comes is what its type says, octet by octet
 * for text.  The check is what makes it useless to call a program a stream:
 * a file that begins with another type's octets is none of these.
 *
 * Room: http.  Any thread.  Obeys HTML 9.2 (event streams), gRPC-Web.
 */
#ifndef HTTP_ENDLESS_H
#define HTTP_ENDLESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "http/msg.h"
#include "http/multipart.h"

enum http_endless {
	ENDLESS_NOT,
	ENDLESS_EVENTS,    /* text/event-stream */
	ENDLESS_LINES,     /* application/x-ndjson and its other names */
	ENDLESS_GRPC,      /* application/grpc-web, +proto, +json ... */
	ENDLESS_GRPC_TEXT, /* application/grpc-web-text */
	ENDLESS_CONNECT,   /* application/connect+proto, +json */
	ENDLESS_AWS,       /* application/vnd.amazon.eventstream */
	ENDLESS_PICTURES,  /* multipart/x-mixed-replace */
	ENDLESS_MEDIA      /* audio and video */
};

/*
 * May this answer be endless?  It is a 200 of unknown length, not meant to be
 * saved (Content-Disposition), of one type for all receivers, and, but for
 * media, not shown as a page of its own.  length_is must be set.  Content
 * codings are the caller's.
 */
enum http_endless http_endless_of(const struct http_msg *resp,
    const struct http_msg *req);

/* Does it accept answers that only make sense as they come (not media)? */
bool http_endless_is_asked(const struct http_msg *req);

#define ENDLESS_BEGIN 1024 /* octets that the check of a begin keeps */

/* Embedded; private. */
struct http_endless_check {
	enum http_endless kind;
	bool bad;
	uint8_t at;    /* of the kind's machine */
	uint32_t n;    /* octets of the line, of the begin, of a frame's head */
	uint32_t left; /* of a frame */
	struct str boundary; /* in room; it stays where it began */
	char room[MULTIPART_BOUNDARY_MAX + 1];
	unsigned char begin[ENDLESS_BEGIN];
};

void http_endless_begin(struct http_endless_check *, enum http_endless,
    const struct http_msg *resp);
/* The next octets; false, also from then on: they are something else. */
bool http_endless_feed(struct http_endless_check *, const void *p, size_t n);

#endif
