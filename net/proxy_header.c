/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PROXY protocol, see proxy_header.h.  Sections are those of its text. */
#include <arpa/inet.h>
#include <assert.h>
#include <string.h>
#include "net/proxy_header.h"

#define V1_MAX 107 /* 2.1: the longest line, with its CRLF */
#define V2_FIXED 16
#define V2_REST_MAX (PROXY_HEADER_MAX - V2_FIXED)

static const char v1_begin[] = "PROXY ";
/* 2.2 */
static const char v2_begin[] = "\r\n\r\n\0\r\nQUIT\n";
#define V1_BEGIN (sizeof(v1_begin) - 1)
#define V2_BEGIN (sizeof(v2_begin) - 1)

/* Do the octets begin so, as far as there are any? */
static bool
begins(const unsigned char *p, size_t n, const char *with, size_t size)
{
	return (memcmp(p, with, n < size ? n : size) == 0);
}

/*
 * An address that a client can have, in its one spelling.  False: nobody has
 * that one.
 */
static bool
set_address(union address *a, int family, const void *bytes, uint16_t port)
{
	const unsigned char *b = bytes;
	struct in6_addr v6 = IN6ADDR_ANY_INIT;

	memset(a, 0, sizeof(*a));
	if (family == AF_INET6) {
		memcpy(&v6, b, sizeof(v6));
		if (IN6_IS_ADDR_V4MAPPED(&v6)) {
			family = AF_INET;
			b += 12;
		}
	}
	a->sa.sa_family = (sa_family_t)family;
	if (family == AF_INET)
		memcpy(&a->v4.sin_addr, b, sizeof(a->v4.sin_addr));
	else
		a->v6.sin6_addr = v6;
	address_set_port(a, port);
	return (address_is_host(&a->sa));
}

/* ---- version 1: a line (2.1) ---- */

/* What stands before the next blank, or to the end; it is cut off. */
static struct str
next_word(struct str *rest)
{
	size_t at = str_index(*rest, ' ');
	struct str word = { rest->p, at };

	if (at == rest->n)
		*rest = STR_NONE;
	else
		*rest = (struct str){ rest->p + at + 1, rest->n - at - 1 };
	return (word);
}

static bool
read_ip(struct str s, int family, unsigned char out[16])
{
	char text[INET6_ADDRSTRLEN];

	if (s.n == 0 || s.n >= sizeof(text))
		return (false);
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return (inet_pton(family, text, out) == 1);
}

static bool
read_port(struct str s, uint16_t *port)
{
	unsigned v = 0;
	size_t i;

	if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0'))
		return (false);
	for (i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return (false);
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	*port = (uint16_t)v;
	return (v <= 65535);
}

static enum proxy_header_step
v1_line(struct str line, struct proxy_header *h)
{
	unsigned char source[16], dest[16];
	struct str word = next_word(&line);
	uint16_t from, to;
	int family;

	if (str_eq(word, STR("UNKNOWN")))
		return (PROXY_HEADER_DONE); /* the rest is to be ignored */
	if (str_eq(word, STR("TCP4")))
		family = AF_INET;
	else if (str_eq(word, STR("TCP6")))
		family = AF_INET6;
	else
		return (PROXY_HEADER_BAD);
	if (!read_ip(next_word(&line), family, source) ||
	    !read_ip(next_word(&line), family, dest) ||
	    !read_port(next_word(&line), &from) || line.p == NULL ||
	    !read_port(line, &to) ||
	    !set_address(&h->source, family, source, from))
		return (PROXY_HEADER_BAD);
	(void)set_address(&h->dest, family, dest, to);
	h->named = true;
	return (PROXY_HEADER_DONE);
}

static enum proxy_header_step
v1_parse(const unsigned char *p, size_t n, struct proxy_header *h)
{
	size_t i, most = n < V1_MAX ? n : V1_MAX;

	for (i = V1_BEGIN; i < most && p[i] >= ' ' && p[i] < 127; i++)
		;
	if (i == V1_MAX || (i < n && p[i] != '\r') || i > V1_MAX - 2 ||
	    (i + 1 < n && p[i + 1] != '\n'))
		return (PROXY_HEADER_BAD);
	if (i + 1 >= n)
		return (PROXY_HEADER_MORE);
	h->size = i + 2;
	return (
	    v1_line((struct str){ (const char *)p + V1_BEGIN, i - V1_BEGIN },
		h));
}

/* ---- version 2: octets (2.2) ---- */

enum tlv {
	TLV_ALPN = 0x01,
	TLV_AUTHORITY = 0x02,
	TLV_CRC32C = 0x03,
	TLV_UNIQUE_ID = 0x05
};

static unsigned
u16_of(const unsigned char *p)
{
	return ((unsigned)p[0] << 8 | p[1]);
}

/* RFC 4960 appendix B; reflected, an octet at a time, both halves. */
static uint32_t
crc32c_add(uint32_t crc, unsigned char octet)
{
	unsigned bit;

	crc ^= octet;
	for (bit = 0; bit < 8; bit++)
		crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
	return (crc);
}

/* 2.2.3: over the whole header, with the four octets of the sum as zero. */
static bool
crc_holds(const unsigned char *p, size_t n, size_t sum_at)
{
	uint32_t crc = UINT32_MAX;
	uint32_t said = (uint32_t)u16_of(p + sum_at) << 16 |
	    u16_of(p + sum_at + 2);
	size_t i;

	for (i = 0; i < n; i++)
		crc = crc32c_add(crc, i >= sum_at && i < sum_at + 4 ? 0 : p[i]);
	return (~crc == said);
}

/* Types that are not known are skipped, a later one of a kind counts. */
static bool
v2_tlv(const unsigned char *p, size_t at, size_t n, struct proxy_header *h)
{
	struct str value = { (const char *)p + at + 3, n };

	switch (p[at]) {
	case TLV_CRC32C:
		return (n == 4 && crc_holds(p, h->size, at + 3));
	case TLV_UNIQUE_ID:
		h->unique_id = value;
		return (n <= PROXY_HEADER_ID_MAX);
	case TLV_AUTHORITY:
		h->authority = value;
		break;
	case TLV_ALPN:
		h->alpn = value;
		break;
	default:
		break;
	}
	return (true);
}

static bool
v2_tlvs(const unsigned char *p, size_t at, struct proxy_header *h)
{
	bool summed = false;
	size_t n;

	while (at < h->size) {
		if (h->size - at < 3 ||
		    (n = u16_of(p + at + 1)) > h->size - at - 3)
			return (false);
		/* Each sum costs a pass over all: one is enough. */
		if (p[at] == TLV_CRC32C && summed)
			return (false);
		summed |= p[at] == TLV_CRC32C;
		if (!v2_tlv(p, at, n, h))
			return (false);
		at += 3 + n;
	}
	return (true);
}

/* The addresses, then what more there is. */
static bool
v2_named(const unsigned char *p, int family, struct proxy_header *h)
{
	size_t ip = family == AF_INET ? 4 : 16;
	const unsigned char *a = p + V2_FIXED;

	if (h->size < V2_FIXED + 2 * ip + 4 ||
	    !set_address(&h->source, family, a, (uint16_t)u16_of(a + 2 * ip)))
		return (false);
	(void)set_address(&h->dest, family, a + ip,
	    (uint16_t)u16_of(a + 2 * ip + 2));
	h->named = true;
	return (v2_tlvs(p, V2_FIXED + 2 * ip + 4, h));
}

/* Version and command, family and transport: as soon as they are there. */
static bool
v2_is_known(const unsigned char *p, size_t n)
{
	static const unsigned char known[] = { 0x00, 0x11, 0x12, 0x21, 0x22,
		0x31, 0x32 };

	if (n > V2_BEGIN && p[V2_BEGIN] != 0x20 && p[V2_BEGIN] != 0x21)
		return (false);
	return (n <= V2_BEGIN + 1 || p[V2_BEGIN] == 0x20 ||
	    memchr(known, p[V2_BEGIN + 1], sizeof(known)) != NULL);
}

static enum proxy_header_step
v2_parse(const unsigned char *p, size_t n, struct proxy_header *h)
{
	size_t rest;
	bool ok = true;

	if (!v2_is_known(p, n))
		return (PROXY_HEADER_BAD);
	if (n < V2_FIXED)
		return (PROXY_HEADER_MORE);
	if ((rest = u16_of(p + 14)) > V2_REST_MAX)
		return (PROXY_HEADER_BAD);
	if (n < V2_FIXED + rest)
		return (PROXY_HEADER_MORE);
	h->size = V2_FIXED + rest;
	h->local = p[V2_BEGIN] == 0x20;
	if (!h->local && p[V2_BEGIN + 1] == 0x11)
		ok = v2_named(p, AF_INET, h);
	else if (!h->local && p[V2_BEGIN + 1] == 0x21)
		ok = v2_named(p, AF_INET6, h);
	return (ok ? PROXY_HEADER_DONE : PROXY_HEADER_BAD);
}

enum proxy_header_step
proxy_header_parse(const unsigned char *p, size_t n, struct proxy_header *h)
{
	memset(h, 0, sizeof(*h));
	if (begins(p, n, v1_begin, V1_BEGIN))
		return (n < V1_BEGIN ? PROXY_HEADER_MORE : v1_parse(p, n, h));
	if (begins(p, n, v2_begin, V2_BEGIN))
		return (n < V2_BEGIN ? PROXY_HEADER_MORE : v2_parse(p, n, h));
	return (PROXY_HEADER_BAD);
}
