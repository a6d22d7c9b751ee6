/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Priority field (RFC 9218 4): a dictionary of RFC 8941 3.2, of which u
 * and i are known.
 */
#include <string.h>
#include "http/chars.h"
#include "http/h2_priv.h"

/* A key: (lcalpha / "*") *(lcalpha / DIGIT / "_" / "-" / "." / "*"). */
static size_t
key_span(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && s.p[i] != '*' &&
		    (i == 0 ||
			(!http_char_is(s.p[i], CHAR_DIGIT) &&
			    memchr("_-.", s.p[i], 3) == NULL)))
			break;
	return (i);
}

/* One member: key, or key "=" value; parameters behind ";" do not count. */
static bool
member(struct str s, nghttp2_extpri *p)
{
	struct str key, value;
	size_t n;

	s.n = str_index(s, ';');
	s = str_trim(s);
	n = key_span(s);
	key = (struct str){ s.p, n };
	if (n == 0 || (n < s.n && s.p[n] != '='))
		return (false);
	value = n < s.n ? (struct str){ s.p + n + 1, s.n - n - 1 } : STR("?1");
	if (value.n == 0)
		return (false);
	if (str_eq(key, STR("u")) && value.n == 1 && value.p[0] >= '0' &&
	    value.p[0] <= '7')
		p->urgency = (uint32_t)(value.p[0] - '0');
	else if (str_eq(key, STR("i")) && str_eq(value, STR("?1")))
		p->inc = 1;
	else if (str_eq(key, STR("i")) && str_eq(value, STR("?0")))
		p->inc = 0;
	return (true); /* RFC 9218 4: others are ignored */
}

bool
h2_priority_parse(struct str value, nghttp2_extpri *p)
{
	nghttp2_extpri to = *p;
	struct str rest = value, element;

	while (str_next_element(&rest, &element))
		if (!member(element, &to))
			return (false);
	*p = to;
	return (true);
}
