/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which octets may stand where in a message, as one table of classes.
 * Room: http.  Any thread.  Obeys RFC 9110 5.5, 5.6.2; RFC 9112 7.1.
 */
#ifndef HTTP_CHARS_H
#define HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

#define CHAR_TOKEN 0x01 /* tchar */
#define CHAR_HOST 0x02  /* letters, digits, "-", "_", "." */
#define CHAR_DIGIT 0x04
#define CHAR_HEX 0x08
#define CHAR_TARGET 0x10 /* VCHAR but "#": no fragment is ever sent */
#define CHAR_VALUE 0x20  /* HTAB, SP, VCHAR, obs-text */

extern const uint8_t http_chars[256];
/* ASCII lower case; every other octet is itself. */
extern const uint8_t http_lower[256];

static inline bool
http_char_is(char c, unsigned mask)
{
	return ((http_chars[(unsigned char)c] & mask) != 0);
}

/* How many octets from the start of s are of one of the classes. */
size_t http_span(struct str s, unsigned mask);
/* 1*tchar: a method, a field name, a coding. */
bool http_is_token(struct str s);
/*
 * May s be the value of a field?  Strict: no control but HTAB.  lax: only
 * NUL, CR and LF are refused (RFC 9110 5.5 lets a recipient keep the others).
 */
bool http_is_value(struct str s, bool lax);
/* Value of a hexadecimal digit, -1 for anything else. */
int http_hex(char c);

#endif
