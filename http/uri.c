/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hosts, authorities and how addresses are written, see uri.h. */
#include <arpa/inet.h>
#include <string.h>
#include "http/chars.h"
#include "http/uri.h"

#define NAME_MAX_OCTETS 253 /* RFC 1035 2.3.4 without the root's dot */
#define LABEL_MAX_OCTETS 63

/* One decimal octet at the front of s: no sign, no leading zero. */
static bool
take_octet(struct str *s)
{
	unsigned v = 0;
	size_t i = 0;

	while (i < s->n && i < 3 && http_char_is(s->p[i], CHAR_DIGIT))
		v = v * 10 + (unsigned)(s->p[i++] - '0');
	if (i == 0 || v > 255 || (i > 1 && s->p[0] == '0'))
		return (false);
	s->p += i;
	s->n -= i;
	return (true);
}

/* RFC 3986 3.2.2 IPv4address and nothing that inet_aton() knows besides. */
static bool
is_ipv4(struct str s)
{
	unsigned i;

	for (i = 0; i < 4; i++) {
		if (i > 0) {
			if (s.n == 0 || s.p[0] != '.')
				return (false);
			s.p++;
			s.n--;
		}
		if (!take_octet(&s))
			return (false);
	}
	return (s.n == 0);
}

/* Would some resolver read a name with this last label as a number? */
static bool
label_is_numeric(struct str label)
{
	if (http_span(label, CHAR_DIGIT) == label.n)
		return (true);
	if (label.n < 2 || label.p[0] != '0' || label.p[1] != 'x')
		return (false);
	label.p += 2;
	label.n -= 2;
	return (http_span(label, CHAR_HEX) == label.n);
}

/* Labels of 1..63 octets; the last one goes into *last. */
static bool
split_labels(struct str name, struct str *last)
{
	size_t n;

	for (;;) {
		n = str_index(name, '.');
		if (n == 0 || n > LABEL_MAX_OCTETS)
			return (false);
		*last = (struct str){ name.p, n };
		if (n == name.n)
			return (true);
		name.p += n + 1;
		name.n -= n + 1;
	}
}

static bool
parse_name(struct arena *a, struct str text, struct http_uri *out)
{
	struct str last;
	char *p;
	size_t i;
	bool rooted = text.p[text.n - 1] == '.';

	if (rooted)
		text.n--; /* the root: the same name */
	if (text.n == 0 || text.n > NAME_MAX_OCTETS ||
	    http_span(text, CHAR_HOST) != text.n)
		return (false);
	p = arena_alloc(a, text.n + 1);
	for (i = 0; i < text.n; i++)
		p[i] = (char)http_lower[(unsigned char)text.p[i]];
	p[i] = '\0';
	text.p = p;
	if (!split_labels(text, &last))
		return (false);
	out->host_is_ip = label_is_numeric(last);
	if (out->host_is_ip && (rooted || !is_ipv4(text)))
		return (false); /* an address has no root */
	out->host_is_v6 = false;
	out->host = text;
	return (true);
}

static bool
parse_v6(struct arena *a, struct str text, struct http_uri *out)
{
	char literal[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (text.n < 4 || text.n - 2 >= sizeof(literal) ||
	    text.p[text.n - 1] != ']')
		return (false);
	memcpy(literal, text.p + 1, text.n - 2);
	literal[text.n - 2] = '\0';
	if (strlen(literal) != text.n - 2 ||
	    inet_pton(AF_INET6, literal, &addr) != 1 ||
	    inet_ntop(AF_INET6, &addr, literal, sizeof(literal)) == NULL)
		return (false);
	out->host = str_of(arena_cstr(a, literal));
	out->host_is_v6 = out->host_is_ip = true;
	return (true);
}

bool
http_host_parse(struct arena *a, struct str text, struct http_uri *out)
{
	if (text.n == 0)
		return (false);
	return (text.p[0] == '[' ? parse_v6(a, text, out)
				 : parse_name(a, text, out));
}

/* RFC 3986 3.2.3, within what TCP has. */
static bool
parse_port(struct str text, uint16_t *port)
{
	uint64_t v;

	if (text.n > 5 || !str_to_u64(text, UINT16_MAX, &v) || v == 0)
		return (false);
	*port = (uint16_t)v;
	return (true);
}

bool
http_authority_parse(struct arena *a, struct str text, uint16_t default_port,
    struct http_uri *out)
{
	struct str host = text, port = STR_NONE;
	size_t from = 0;

	if (text.n == 0)
		return (false);
	if (text.p[0] == '[')
		from = str_index(text, ']');
	host.n = from +
	    str_index((struct str){ text.p + from, text.n - from }, ':');
	if (host.n < text.n)
		port = (struct str){ text.p + host.n + 1, text.n - host.n - 1 };
	out->port_given = port.n > 0;
	out->port = default_port;
	if (out->port_given ? !parse_port(port, &out->port) : default_port == 0)
		return (false);
	return (http_host_parse(a, host, out));
}

uint16_t
http_default_port(struct str scheme)
{
	if (str_eq(scheme, STR("https")))
		return (443);
	return (str_eq(scheme, STR("http")) ? 80 : 0);
}

bool
http_same_authority(const struct http_uri *a, const struct http_uri *b)
{
	return (a->port == b->port && str_eq(a->host, b->host));
}

static void
print_host(struct buf *b, const struct http_uri *u, bool with_port)
{
	char *p = buf_room(b, u->host.n + sizeof("[]:65535")), *start = p;
	char digits[5];
	unsigned n = 0, port = u->port;

	if (u->host_is_v6)
		*p++ = '[';
	memcpy(p, u->host.p, u->host.n);
	p += u->host.n;
	if (u->host_is_v6)
		*p++ = ']';
	if (with_port) {
		*p++ = ':';
		do
			digits[n++] = (char)('0' + port % 10);
		while ((port /= 10) > 0);
		while (n > 0)
			*p++ = digits[--n];
	}
	*p = '\0';
	b->n += (size_t)(p - start);
}

void
http_host_print(struct buf *b, const struct http_uri *u)
{
	print_host(b, u,
	    u->port_given || u->port != http_default_port(u->scheme));
}

void
http_authority_print(struct buf *b, const struct http_uri *u)
{
	print_host(b, u, true);
}

void
http_uri_print(struct buf *b, const struct http_uri *u, bool query)
{
	struct str path = u->path;

	if (u->scheme.n > 0) {
		buf_str(b, u->scheme);
		buf_add(b, "://", 3);
	}
	print_host(b, u, u->port != http_default_port(u->scheme));
	if (str_eq(path, STR("*")))
		return; /* RFC 9112 3.2.4 */
	if (!query)
		path.n = str_index(path, '?');
	buf_str(b, path);
}
