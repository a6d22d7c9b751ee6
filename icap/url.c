/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses of ICAP services.
 * Room: icap.  Obeys RFC 3507 4.2, RFC 3986.
 */
#include <arpa/inet.h>
#include <string.h>
#include "icap/icap.h"
#include "icap/url.h"

static bool
refuse(struct fault *f, const char *text, const char *why)
{
	fault_set(f, ERR_CONFIG, "%.100s: %s", text, why);
	return (false);
}

/* No blanks, controls, bytes above ASCII, no fragment. */
static bool
all_legal(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '#' ||
		    s.p[i] == '"' || s.p[i] == '<' || s.p[i] == '>' ||
		    s.p[i] == '\\')
			return (false);
	return (true);
}

static struct str
from(struct str s, size_t at)
{
	return ((struct str){ s.p + at, s.n - at });
}

static bool
is_v6(struct str s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;

	if (s.n >= sizeof(text))
		return (false);
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return (inet_pton(AF_INET6, text, &a) == 1);
}

/* A registered name or an IPv4 address (RFC 3986 3.2.2), as DNS has them. */
static bool
is_name(struct str s)
{
	static const char more[] = "-._";
	size_t i;

	for (i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') ||
		    ((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z') ||
		    strchr(more, s.p[i]) != NULL))
			return (false);
	return (s.n > 0 && s.n <= 253);
}

/* host[:port]; what follows the host is in *rest. */
static bool
parse_host(struct icap_url *u, struct str *rest)
{
	struct str a = u->authority;
	size_t end;

	if (a.n > 0 && a.p[0] == '[') {			/* RFC 3986 3.2.2 */
		end = str_index(a, ']');
		if (end == a.n)
			return (false);
		u->host = (struct str){ a.p + 1, end - 1 };
		*rest = from(a, end + 1);
		return (is_v6(u->host));
	}
	end = str_index(a, ':');
	u->host = (struct str){ a.p, end };
	*rest = from(a, end);
	return (is_name(u->host));
}

bool
icap_url_parse(const char *text, struct icap_url *u, struct fault *f)
{
	struct str s = str_of(text), rest;
	uint64_t port;
	size_t end;

	*u = (struct icap_url){ .text = s };
	if (s.n > 8 && str_ieq((struct str){ s.p, 8 }, STR("icaps://")))
		u->tls = true;
	else if (s.n <= 7 || !str_ieq((struct str){ s.p, 7 }, STR("icap://")))
		return (refuse(f, text, "not an icap:// or icaps:// address"));
	if (s.n > 1024 || !all_legal(s))
		return (refuse(f, text, "too long, or has illegal characters"));
	s = from(s, u->tls ? 8 : 7);
	for (end = 0; end < s.n && s.p[end] != '/' && s.p[end] != '?'; end++)
		;
	u->authority = (struct str){ s.p, end };
	if (!parse_host(u, &rest))
		return (refuse(f, text, "invalid host"));
	u->port = u->tls ? ICAPS_PORT : ICAP_PORT;
	if (rest.n == 0)
		return (true);
	if (rest.p[0] != ':' || !str_to_u64(from(rest, 1), 65535, &port) ||
	    port == 0)
		return (refuse(f, text, "invalid port"));
	u->port = (uint16_t)port;
	return (true);
}

bool
icap_check_url(const char *url, struct fault *f)
{
	struct icap_url u;

	return (icap_url_parse(url, &u, f));
}
