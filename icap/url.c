/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses of ICAP services.
 * Room: icap.  Obeys RFC 3507 4.2, RFC 3986.
 */
#include <string.h>
#include "http/uri.h"
#include "icap/icap.h"
#include "icap/url.h"

static bool
refuse(struct fault *f, const char *text, const char *why)
{
	fault_set(f, ERR_CONFIG, "%.100s: %s", text, why);
	return (false);
}

/* RFC 3986 2: no blanks, controls, bytes above ASCII; and no fragment. */
static bool
all_legal(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f ||
		    strchr("#\"<>\\^`{|}", s.p[i]) != NULL)
			return (false);
	return (true);
}

static struct str
from(struct str s, size_t at)
{
	return ((struct str){ s.p + at, s.n - at });
}

/*
 * host[:port], by the one reader of authorities (http/uri.h): what it refuses
 * no resolver is asked for.
 */
static bool
parse_authority(struct icap_url *u)
{
	struct str a = u->authority;
	struct http_uri parsed = { 0 };
	struct arena *arena = arena_new();
	bool v6 = a.n > 0 && a.p[0] == '[', ok;

	ok = http_authority_parse(arena, a, u->tls ? ICAPS_PORT : ICAP_PORT,
		 &parsed) &&
	    a.p[a.n - 1] != ':';
	arena_free(&arena);
	if (!ok)
		return (false);
	u->host = from(a, v6);
	u->host.n = str_index(u->host, v6 ? ']' : ':');
	u->port = parsed.port;
	return (true);
}

/* The length of its scheme: 8 (icaps) or 7; 0: it is none of ours. */
static size_t
scheme_of(struct str s)
{
	if (str_istarts(s, STR("icaps://")))
		return (8);
	return (str_istarts(s, STR("icap://")) ? 7 : 0);
}

bool
icap_url_is_one(const char *text)
{
	return (scheme_of(str_of(text)) > 0);
}

bool
icap_url_parse(const char *text, struct icap_url *u, struct fault *f)
{
	struct str s = str_of(text);
	size_t end, scheme = scheme_of(s);

	*u = (struct icap_url){ .text = s, .tls = scheme == 8 };
	if (scheme == 0)
		return (refuse(f, text, "not an icap:// or icaps:// address"));
	if (s.n > 1024 || !all_legal(s))
		return (refuse(f, text, "too long, or has illegal characters"));
	s = from(s, scheme);
	for (end = 0; end < s.n && s.p[end] != '/' && s.p[end] != '?'; end++)
		;
	u->authority = (struct str){ s.p, end };
	if (!parse_authority(u))
		return (refuse(f, text, "invalid host or port"));
	return (true);
}
