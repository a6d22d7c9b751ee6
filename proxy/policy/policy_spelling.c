/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How else a URL may be read: an origin resolves "/x/../admin", "//admin" and
 * "/%61dmin" to what a rule means by "/admin", and each origin a little
 * differently.
 * Room: proxy.  Any thread.  Obeys RFC 3986 6.2.2, 6.2.3.
 */
#include <string.h>
#include "http/chars.h"
#include "proxy/policy/match.h"

#define MERGE 1 /* doubled slashes are one, as most servers have it */
#define LOOSE 2 /* "%2F", "\" and "..;" as some servers have them */

/* RFC 3986 2.3 */
static bool
is_unreserved(int c)
{
	return ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	    c == '~');
}

/* The octet that s.p[i] encodes; -1: it is no "%XX". */
static int
encoded_at(struct str s, size_t i)
{
	if (s.p[i] != '%' || s.n - i < 3 || http_hex(s.p[i + 1]) < 0 ||
	    http_hex(s.p[i + 2]) < 0)
		return (-1);
	return (http_hex(s.p[i + 1]) * 16 + http_hex(s.p[i + 2]));
}

/* RFC 3986 6.2.2.1, 6.2.2.2: what is the same when decoded, "%2f" as "%2F". */
static size_t
decode(struct str s, unsigned how, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t i, n = 0;
	int c;

	for (i = 0; i < s.n; i++) {
		if ((c = encoded_at(s, i)) < 0) {
			out[n++] = (how & LOOSE) != 0 && s.p[i] == '\\'
			    ? '/'
			    : s.p[i];
			continue;
		}
		i += 2;
		if ((how & LOOSE) != 0 && (c == '/' || c == '\\')) {
			out[n++] = '/';
		} else if (is_unreserved(c)) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = digits[c / 16];
			out[n++] = digits[c % 16];
		}
	}
	return (n);
}

/* 1: ".", 2: "..", 0: a name. */
static unsigned
dots_of(struct str segment, unsigned how)
{
	if ((how & LOOSE) != 0)
		segment.n = str_index(segment, ';');
	if (str_eq(segment, STR(".")))
		return (1);
	return (str_eq(segment, STR("..")) ? 2 : 0);
}

/* RFC 3986 5.2.4, in place; *removed: it was not as short as it can be. */
static size_t
remove_dots(char *p, size_t n, unsigned how, bool *removed)
{
	size_t i, k, w = 0;
	struct str segment;
	unsigned dots;

	*removed = false;
	if (n == 0 || p[0] != '/')
		return (n);
	for (i = 0; i < n; i = k) {
		segment = (struct str){ p + i + 1, n - i - 1 };
		segment.n = str_index(segment, '/');
		k = i + 1 + segment.n;
		dots = dots_of(segment, how);
		if (dots == 0 &&
		    (segment.n > 0 || k == n || (how & MERGE) == 0)) {
			p[w++] = '/';
			memmove(p + w, segment.p, segment.n);
			w += segment.n;
			continue;
		}
		*removed = true;
		if (dots == 2)
			while (w > 0 && p[--w] != '/')
				;
		if (dots > 0 && k == n)
			p[w++] = '/';
	}
	return (w);
}

/* "[::ffff:192.0.2.1]:81" as "192.0.2.1:81"; 0: it is no such address. */
static size_t
unmapped(struct str s, char *out)
{
	size_t end = str_index(s, ']');
	struct str ip;

	if (s.n == 0 || s.p[0] != '[' || end == s.n)
		return (0);
	ip = policy_unmapped((struct str){ s.p + 1, end - 1 });
	if (ip.n == end - 1)
		return (0);
	memcpy(out, ip.p, ip.n);
	memcpy(out + ip.n, s.p + end + 1, s.n - end - 1);
	return (ip.n + s.n - end - 1);
}

/* RFC 3986 6.2.2.1, 6.2.3: lower case, no root's dot, no default port. */
static size_t
authority(struct str s, struct str scheme, char *out)
{
	struct str port = str_ieq(scheme, STR("https")) ? STR(":443")
							: STR(":80");
	size_t i, n;

	if (str_iends(s, port))
		s.n -= port.n;
	else if (s.n > 0 && s.p[s.n - 1] == ':')
		s.n--;
	n = unmapped(s, out);
	if (n > 0)
		return (n);
	for (i = 0; i < s.n; i++)
		out[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20)
							: s.p[i];
	if (i > 1 && out[i - 1] == '.')
		i--;
	return (i);
}

/* The parts of a URL: "http", "host:port", "/path", "?query". */
struct parts {
	struct str scheme, authority, path, query;
};

static bool
split(struct str url, struct parts *p)
{
	size_t n = str_index(url, ':');

	if (url.n - n < 3 || url.p[n + 1] != '/' || url.p[n + 2] != '/')
		return (false);
	p->scheme = (struct str){ url.p, n };
	url.p += n + 3;
	url.n -= n + 3;
	p->authority = (struct str){ url.p, str_index(url, '/') };
	p->authority.n = str_index(p->authority, '?');
	url.p += p->authority.n;
	url.n -= p->authority.n;
	p->path = (struct str){ url.p, str_index(url, '?') };
	p->query = (struct str){ url.p + p->path.n, url.n - p->path.n };
	return (true);
}

/* One spelling into out; STR_NONE: nothing was removed, where that counts. */
static struct str
spell(const struct parts *p, unsigned how, char *out)
{
	size_t n = 0, path;
	bool removed;

	for (; n < p->scheme.n; n++)
		out[n] = (char)(p->scheme.p[n] | 0x20);
	memcpy(out + n, "://", 3);
	n += 3;
	n += authority(p->authority, p->scheme, out + n);
	path = decode(p->path, how, out + n);
	n += remove_dots(out + n, path, how, &removed);
	if ((how & LOOSE) != 0 && !removed)
		return (STR_NONE);
	n += decode(p->query, 0, out + n);
	return ((struct str){ out, n });
}

/* Nearly no URL needs more than a look. */
static bool
is_plain(struct str url, const struct parts *p)
{
	size_t i;

	if (memchr(url.p, '%', url.n) != NULL ||
	    memchr(p->path.p, '\\', p->path.n) != NULL)
		return (false);
	for (i = 0; i + 1 < p->path.n; i++)
		if (p->path.p[i] == '/' &&
		    (p->path.p[i + 1] == '/' || p->path.p[i + 1] == '.'))
			return (false);
	for (i = 0; i < p->authority.n; i++)
		if (p->authority.p[i] == ':' ||
		    (p->authority.p[i] >= 'A' && p->authority.p[i] <= 'Z'))
			return (false);
	return (i == 0 || p->authority.p[i - 1] != '.');
}

unsigned
policy_url_spellings(struct str url, struct str out[POLICY_SPELLINGS],
    char *room)
{
	static const unsigned ways[POLICY_SPELLINGS] = { MERGE, 0,
		MERGE | LOOSE };
	struct parts p = { 0 };
	unsigned i, k, n = 0;
	struct str s;

	if (!split(url, &p) || is_plain(url, &p))
		return (0);
	for (i = 0; i < POLICY_SPELLINGS; i++) {
		s = spell(&p, ways[i], room + n * url.n);
		for (k = 0; k < n && !str_eq(out[k], s); k++)
			;
		if (s.p != NULL && k == n && !str_eq(s, url))
			out[n++] = s;
	}
	return (n);
}
