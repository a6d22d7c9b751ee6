/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CONNECT as a client of another proxy speaks it over HTTP/1.1: the request,
 * and the reader of what is answered.  No I/O.
 *
 * Room: http.  Thread: its owner's.  Obeys RFC 9110 9.3.6.
 */
#ifndef HTTP_CONNECT_H
#define HTTP_CONNECT_H

#include "base/chunk.h"
#include "http/h1_head.h"

struct http_connect_want {
	struct http_uri to;       /* host and port */
	struct str via;           /* the whole field value; absent: none */
	struct str authorization; /* Proxy-Authorization; absent: none */
};

void http_connect_print(struct buf *, const struct http_connect_want *);

enum http_connect_step {
	HTTP_CONNECT_MORE, /* all of the input was taken */
	HTTP_CONNECT_OPEN, /* 2xx: what is left of the input is the tunnel's */
	HTTP_CONNECT_REFUSED, /* another status */
	HTTP_CONNECT_BAD      /* cause in the fault (ERR_PARENT_PROTOCOL) */
};

/* Embedded; {.arena, .limits} set, the rest 0.  Nothing to free. */
struct http_connect {
	struct arena *arena;            /* borrowed */
	const struct h1_limits *limits; /* borrowed: of one head */
	struct h1_head *head;           /* in the arena */
	unsigned interim;               /* heads with 1xx that have come */
	unsigned status;                /* of the last head */
};

/*
 * Go on with what has come.  Length and coding that a 2xx speaks of mean
 * nothing; a few 1xx are passed over.
 */
enum http_connect_step http_connect_feed(struct http_connect *, struct chq *in,
    struct fault *f);

#endif
