/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UTF-8 in pieces, see ws_utf8.h. */
#include <string.h>
#include <unistr.h>
#include "http/ws_utf8.h"

#define INCOMPLETE (-2) /* what u8_mbtoucr() says of a begin */
#define FIRST_MAX 0xf4  /* RFC 3629 3 */

/*
 * u8_mbtoucr(), which would wait for more behind an octet that no character
 * begins with.
 */
static int
character(const unsigned char *p, size_t n)
{
	ucs4_t c;

	return (p[0] <= FIRST_MAX ? u8_mbtoucr(&c, p, n) : -1);
}

bool
ws_utf8_feed(struct ws_utf8 *u, const unsigned char *p, size_t n)
{
	const unsigned char *rest;
	int r;

	for (; u->n > 0 && n > 0; n--) {
		u->part[u->n++] = *p++;
		r = character(u->part, u->n);
		if (r == INCOMPLETE)
			continue;
		if (r < 0)
			return (false);
		u->n = 0;
	}
	rest = n > 0 ? u8_check(p, n) : NULL;
	if (rest == NULL)
		return (true);
	n -= (size_t)(rest - p);
	if (n >= sizeof(u->part) || character(rest, n) != INCOMPLETE)
		return (false);
	memcpy(u->part, rest, n);
	u->n = (unsigned char)n;
	return (true);
}

bool
ws_utf8_is_whole(const struct ws_utf8 *u)
{
	return (u->n == 0);
}
