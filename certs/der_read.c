/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading DER, see der_read.h. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "certs/der.h"
#include "certs/der_read.h"

#define LENGTH_OCTETS 4
#define TAG_LONG 0x1f /* the number follows */

/* *n of *head octets; false: not the shortest form (X.690 10.1). */
static bool
read_length(const struct der_in *in, size_t *head, size_t *n)
{
	size_t more, i, len;

	len = in->p[1];
	more = len < 128 ? 0 : len & 127;
	if (len == 128 || more > LENGTH_OCTETS || in->n < 2 + more)
		return (false);
	if (more > 0)
		for (len = 0, i = 0; i < more; i++)
			len = len << 8 | in->p[2 + i];
	if (more > 0 && (in->p[2] == 0 || len < 128))
		return (false);
	*head = 2 + more;
	*n = len;
	return (len <= in->n - *head);
}

bool
der_next(struct der_in *in, unsigned *tag, struct der_in *content)
{
	size_t head, n;

	if (in->n < 2 || (in->p[0] & TAG_LONG) == TAG_LONG ||
	    !read_length(in, &head, &n))
		return (false);
	*tag = in->p[0];
	*content = (struct der_in){ in->p + head, n };
	in->p += head + n;
	in->n -= head + n;
	return (true);
}

bool
der_take(struct der_in *in, unsigned tag, struct der_in *content)
{
	struct der_in rest = *in, c;
	unsigned t;

	if (!der_next(&rest, &t, &c) || t != tag)
		return (false);
	*in = rest;
	if (content != NULL)
		*content = c;
	return (true);
}

bool
der_take_whole(struct der_in *in, unsigned tag, struct der_in *element)
{
	const unsigned char *from = in->p;

	if (!der_take(in, tag, NULL))
		return (false);
	*element = (struct der_in){ from, (size_t)(in->p - from) };
	return (true);
}

/* Two digits at p, within most. */
static bool
two(const unsigned char *p, int least, int most, int *v)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return (false);
	*v = 10 * (p[0] - '0') + p[1] - '0';
	return (*v >= least && *v <= most);
}

bool
der_take_time(struct der_in *in, time_t *t)
{
	struct der_in rest = *in, c;
	int century = 20, year;
	struct tm tm = { 0 };
	unsigned tag;

	if (!der_next(&rest, &tag, &c))
		return (false);
	if (tag == DER_GENERALIZED_TIME && c.n == 15) {
		if (!two(c.p, 19, 99, &century))
			return (false);
		c.p += 2;
		c.n -= 2;
	} else if (tag != DER_UTC_TIME)
		return (false);
	if (c.n != 13 || c.p[12] != 'Z' || !two(c.p, 0, 99, &year) ||
	    !two(c.p + 2, 1, 12, &tm.tm_mon) ||
	    !two(c.p + 4, 1, 31, &tm.tm_mday) ||
	    !two(c.p + 6, 0, 23, &tm.tm_hour) ||
	    !two(c.p + 8, 0, 59, &tm.tm_min) ||
	    !two(c.p + 10, 0, 60, &tm.tm_sec))
		return (false);
	if (tag == DER_UTC_TIME && year >= 50)
		century = 19;
	tm.tm_year = 100 * century + year - 1900;
	tm.tm_mon--;
	*t = timegm(&tm);
	*in = rest;
	return (true);
}

/* The next number of an object identifier, seven bits an octet. */
static bool
arc_take(struct der_in *oid, uint32_t *v)
{
	unsigned char c;

	if (oid->n == 0 || oid->p[0] == 0x80)
		return (false);
	*v = 0;
	do {
		if (oid->n == 0 || *v > UINT32_MAX >> 7)
			return (false);
		c = *oid->p++;
		oid->n--;
		*v = *v << 7 | (c & 127);
	} while (c >= 128);
	return (true);
}

bool
der_oid_text(struct der_in oid, char *out, size_t room)
{
	uint32_t v, first;
	size_t at;

	if (!arc_take(&oid, &v))
		return (false);
	first = v < 80 ? v / 40 : 2;
	at = (size_t)snprintf(out, room, "%u.%u", first, v - 40 * first);
	while (oid.n > 0 && at < room) {
		if (!arc_take(&oid, &v))
			return (false);
		at += (size_t)snprintf(out + at, room - at, ".%u", v);
	}
	return (at < room);
}

bool
der_same(struct der_in a, struct der_in b)
{
	assert((a.n == 0 || a.p != NULL) && (b.n == 0 || b.p != NULL));
	return (a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0));
}
