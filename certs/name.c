/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names in certificates, see name.h. */
#include <arpa/inet.h>
#include <assert.h>
#include <string.h>
#include "certs/name.h"

#define NAME_MAX_BYTES 253 /* RFC 1035 2.3.4, as text without the last dot */
#define LABEL_MAX_BYTES 63

unsigned
name_ip(const char *host, unsigned char out[16])
{
	if (inet_pton(AF_INET, host, out) == 1)
		return (4);
	return (inet_pton(AF_INET6, host, out) == 1 ? 16 : 0);
}

static bool
is_digit(char c)
{
	return (c >= '0' && c <= '9');
}

static bool
label_ok(struct str l)
{
	size_t i;

	/* '_' and '-' at any place, as in net/hostname.c. */
	if (l.n == 0 || l.n > LABEL_MAX_BYTES)
		return (false);
	for (i = 0; i < l.n; i++)
		if (!(l.p[i] >= 'a' && l.p[i] <= 'z') && !is_digit(l.p[i]) &&
		    l.p[i] != '-' && l.p[i] != '_')
			return (false);
	return (true);
}

/* WHATWG URL, "ends in a number": parsers take such a host for an address. */
static bool
label_is_number(struct str l)
{
	size_t i;

	if (l.n >= 2 && l.p[0] == '0' && l.p[1] == 'x') {
		for (i = 2; i < l.n; i++)
			if (!is_digit(l.p[i]) &&
			    !(l.p[i] >= 'a' && l.p[i] <= 'f'))
				return (false);
		return (true);
	}
	for (i = 0; i < l.n; i++)
		if (!is_digit(l.p[i]))
			return (false);
	return (true);
}

bool
name_dns_ok(const char *host)
{
	struct str rest = str_of(host), label;

	if (rest.n == 0 || rest.n > NAME_MAX_BYTES)
		return (false);
	for (;;) {
		label = (struct str){ rest.p, str_index(rest, '.') };
		if (!label_ok(label))
			return (false);
		if (label.n == rest.n)
			return (!label_is_number(label));
		assert(rest.p[label.n] == '.');
		rest.p += label.n + 1;
		rest.n -= label.n + 1;
	}
}

bool
name_matches(struct str pattern, const char *host)
{
	struct str name = str_of(host);
	size_t first;

	if (pattern.n == 0 || !str_starts(pattern, STR("*.")))
		return (pattern.n > 0 && str_ieq(pattern, name));
	first = str_index(name, '.');
	assert(pattern.n >= 2);
	pattern.p++; /* ".a.example" against the rest */
	pattern.n--;
	if (memchr(pattern.p, '*', pattern.n) != NULL ||
	    memchr(pattern.p + 1, '.', pattern.n - 1) == NULL)
		return (false); /* "*.*.example", "*.tld" */
	name.p += first;
	name.n -= first;
	return (str_ieq(pattern, name));
}
