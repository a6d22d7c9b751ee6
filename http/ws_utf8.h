/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a text that comes in pieces UTF-8?  Pieces end anywhere, also inside a
 * character.  Private to the WebSocket engine.
 * Room: http.  Any thread.  Obeys RFC 3629; RFC 6455 8.1.
 */
#ifndef HTTP_WS_UTF8_H
#define HTTP_WS_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Embedded; {0} before a text. */
struct ws_utf8 {
	unsigned char part[4]; /* of a character that goes on */
	unsigned char n;
};

/* The next octets; false as soon as no text begins so. */
bool ws_utf8_feed(struct ws_utf8 *, const unsigned char *p, size_t n);
/* No character is cut. */
bool ws_utf8_is_whole(const struct ws_utf8 *);

#endif
