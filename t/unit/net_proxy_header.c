/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PROXY protocol's header: each form, each way to break it, any split. */
#include <stdio.h>
#include <string.h>
#include "net/proxy_header.h"
#include "t/unit/unit.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define V4_ADDRS "\xc0\x00\x02\x07\xcb\x00\x71\x50\x1f\x90\x01\xbb"
#define V6_ADDRS                                     \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07" \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x50" \
	"\x1f\x90\x01\xbb"
#define MAPPED_ADDRS                                   \
	"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x07" \
	"\0\0\0\0\0\0\0\0\0\0\xff\xff\xcb\x00\x71\x50" \
	"\x1f\x90\x01\xbb"
#define T(name, text, want, source, dest)                                  \
	{                                                                  \
		name, text, sizeof(text) - 1, PROXY_HEADER_##want, source, \
		    dest                                                   \
	}

static const struct {
	const char *name;
	const char *p;
	size_t n;
	enum proxy_header_step want;
	const char *source, *dest; /* NULL: the connection's own */
} rows[] = {
	T("v1 4", "PROXY TCP4 192.0.2.7 203.0.113.80 8080 443\r\n", DONE,
	    "192.0.2.7:8080", "203.0.113.80:443"),
	T("v1 6", "PROXY TCP6 2001:db8::7 2001:DB8:0:0::50 8080 443\r\n", DONE,
	    "[2001:db8::7]:8080", "[2001:db8::50]:443"),
	T("v1 mapped", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::50 8080 443\r\n",
	    DONE, "192.0.2.7:8080", "[2001:db8::50]:443"),
	T("v1 port 0", "PROXY TCP4 192.0.2.7 203.0.113.80 0 65535\r\n", DONE,
	    "192.0.2.7", "203.0.113.80:65535"),
	T("v1 unknown", "PROXY UNKNOWN\r\n", DONE, NULL, NULL),
	T("v1 unknown, more", "PROXY UNKNOWN ffff::1 % \"x\" 1\r\n", DONE, NULL,
	    NULL),
	T("v1 lower case", "proxy TCP4 1.2.3.4 1.2.3.5 1 2\r\n", BAD, NULL,
	    NULL),
	T("v1 no family", "PROXY 192.0.2.7 203.0.113.80 1 2\r\n", BAD, NULL,
	    NULL),
	T("v1 UDP4", "PROXY UDP4 192.0.2.7 203.0.113.80 1 2\r\n", BAD, NULL,
	    NULL),
	T("v1 other family", "PROXY TCP4 2001:db8::7 2001:db8::50 1 2\r\n", BAD,
	    NULL, NULL),
	T("v1 two blanks", "PROXY TCP4  192.0.2.7 203.0.113.80 1 2\r\n", BAD,
	    NULL, NULL),
	T("v1 tab", "PROXY TCP4\t192.0.2.7 203.0.113.80 1 2\r\n", BAD, NULL,
	    NULL),
	T("v1 blank at end", "PROXY TCP4 192.0.2.7 203.0.113.80 1 2 \r\n", BAD,
	    NULL, NULL),
	T("v1 leading zero", "PROXY TCP4 192.0.02.7 203.0.113.80 1 2\r\n", BAD,
	    NULL, NULL),
	T("v1 zero in port", "PROXY TCP4 192.0.2.7 203.0.113.80 01 2\r\n", BAD,
	    NULL, NULL),
	T("v1 port", "PROXY TCP4 192.0.2.7 203.0.113.80 1 65536\r\n", BAD, NULL,
	    NULL),
	T("v1 sign", "PROXY TCP4 192.0.2.7 203.0.113.80 +1 2\r\n", BAD, NULL,
	    NULL),
	T("v1 one port", "PROXY TCP4 192.0.2.7 203.0.113.80 1\r\n", BAD, NULL,
	    NULL),
	T("v1 zone", "PROXY TCP6 fe80::1%lo 2001:db8::1 1 2\r\n", BAD, NULL,
	    NULL),
	T("v1 from nowhere", "PROXY TCP4 0.0.0.0 203.0.113.80 1 2\r\n", BAD,
	    NULL, NULL),
	T("v1 from many", "PROXY TCP4 224.0.0.1 203.0.113.80 1 2\r\n", BAD,
	    NULL, NULL),
	T("v1 lone LF", "PROXY TCP4 192.0.2.7 203.0.113.80 1 2\n", BAD, NULL,
	    NULL),
	T("v1 lone CR", "PROXY TCP4 192.0.2.7 203.0.113.80 1 2\rx", BAD, NULL,
	    NULL),
	T("v1 NUL", "PROXY TCP4 192.0.2.7\0 203.0.113.80 1 2\r\n", BAD, NULL,
	    NULL),
	T("v1 cut", "PROXY TCP4 192.0.2.7 203.0.113.80 1 2\r", MORE, NULL,
	    NULL),
	T("nothing", "", MORE, NULL, NULL),
	T("HTTP", "GET / HTTP/1.1\r\n", BAD, NULL, NULL),
	T("HTTP's P", "POST / HTTP/1.1\r\n", BAD, NULL, NULL),
	T("TLS", "\x16\x03\x01\x02", BAD, NULL, NULL),
	T("v2 4", V2 "\x21\x11\0\x0c" V4_ADDRS, DONE, "192.0.2.7:8080",
	    "203.0.113.80:443"),
	T("v2 6", V2 "\x21\x21\0\x24" V6_ADDRS, DONE, "[2001:db8::7]:8080",
	    "[2001:db8::50]:443"),
	T("v2 mapped", V2 "\x21\x21\0\x24" MAPPED_ADDRS, DONE, "192.0.2.7:8080",
	    "203.0.113.80:443"),
	T("v2 local", V2 "\x20\x00\0\x00", DONE, NULL, NULL),
	T("v2 local with addresses", V2 "\x20\x11\0\x0c" V4_ADDRS, DONE, NULL,
	    NULL),
	T("v2 local, odd family", V2 "\x20\x77\0\x03xyz", DONE, NULL, NULL),
	T("v2 unspec", V2 "\x21\x00\0\x05hello", DONE, NULL, NULL),
	T("v2 UDP", V2 "\x21\x12\0\x0c" V4_ADDRS, DONE, NULL, NULL),
	T("v2 UNIX", V2 "\x21\x31\0\x02xx", DONE, NULL, NULL),
	T("v2 family", V2 "\x21\x41\0\x0c" V4_ADDRS, BAD, NULL, NULL),
	T("v2 transport", V2 "\x21\x13\0\x0c" V4_ADDRS, BAD, NULL, NULL),
	T("v2 command", V2 "\x22\x11\0\x0c" V4_ADDRS, BAD, NULL, NULL),
	T("v2 version 1", V2 "\x11\x11\0\x0c" V4_ADDRS, BAD, NULL, NULL),
	T("v2 version 3", V2 "\x31\x11\0\x0c" V4_ADDRS, BAD, NULL, NULL),
	T("v2 short 4", V2 "\x21\x11\0\x0b" V4_ADDRS, BAD, NULL, NULL),
	T("v2 short 6", V2 "\x21\x21\0\x0c" V4_ADDRS, BAD, NULL, NULL),
	T("v2 from nowhere", V2 "\x21\x11\0\x0c\0\0\0\0\1\1\1\1\0\1\0\1", BAD,
	    NULL, NULL),
	T("v2 length", V2 "\x21\x11\x10\x01", BAD, NULL, NULL),
	T("v2 signature", "\r\n\r\n\0\r\nQUIZ", BAD, NULL, NULL),
	T("v2 cut", V2 "\x21\x11\0\x0c\xc0\x00\x02", MORE, NULL, NULL),
	T("v2 TLVs",
	    V2 "\x21\x11\0\x1b" V4_ADDRS "\x04\0\x03xyz\xe0\0\0\xe0\0\x00"
	       "\x30\0\0",
	    DONE, "192.0.2.7:8080", "203.0.113.80:443"),
	T("v2 TLV beyond", V2 "\x21\x11\0\x0f" V4_ADDRS "\xe0\0\x01", BAD, NULL,
	    NULL),
	T("v2 half a TLV", V2 "\x21\x11\0\x0e" V4_ADDRS "\xe0\0", BAD, NULL,
	    NULL),
	T("v2 sum", V2 "\x21\x11\0\x13" V4_ADDRS "\x03\0\x04\x12\x34\x56\x78",
	    BAD, NULL, NULL),
	T("v2 sum of two octets",
	    V2 "\x21\x11\0\x11" V4_ADDRS "\x03\0\x02\x12\x34", BAD, NULL, NULL),
};

static void
check_address(bool named, const union address *a, const char *want)
{
	char text[ADDRESS_TEXT] = "";

	CU_ASSERT(named == (want != NULL));
	if (want == NULL || !named)
		return;
	address_text(&a->sa, text);
	CU_ASSERT_STRING_EQUAL(text, want);
}

static void
test_rows(void)
{
	struct proxy_header h;
	size_t i, k;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum proxy_header_step
		    got = proxy_header_parse((const void *)rows[i].p, rows[i].n,
			&h);

		if (got != rows[i].want)
			printf("# %s: %u\n", rows[i].name, (unsigned)got);
		CU_ASSERT(got == rows[i].want);
		if (got != PROXY_HEADER_DONE)
			continue;
		CU_ASSERT(h.size == rows[i].n);
		check_address(h.named, &h.source, rows[i].source);
		check_address(h.named, &h.dest, rows[i].dest);
		for (k = 0; k < rows[i].n; k++)
			CU_ASSERT(proxy_header_parse((const void *)rows[i].p, k,
				      &h) == PROXY_HEADER_MORE);
	}
}

/* What follows is the client's, whatever it is. */
static void
test_behind(void)
{
	static const char line[] = "PROXY TCP4 192.0.2.7 203.0.113.80 1 2\r\n";
	unsigned char room[300];
	struct proxy_header h;
	size_t n = sizeof(line) - 1, i;

	memset(room, 'x', sizeof(room));
	memcpy(room, line, n);
	for (i = n; i <= sizeof(room); i++) {
		CU_ASSERT(proxy_header_parse(room, i, &h) == PROXY_HEADER_DONE);
		CU_ASSERT(h.size == n);
	}
}

/* As HAProxy 2.6 sends it: send-proxy-v2 proxy-v2-options crc32c,unique-id. */
static void
test_tlvs(void)
{
	static const char with[] = V2 "\x21\x11\0\x29" V4_ADDRS "\x03\0\x04"
				      "\x81\x48\xf4\x1d"
				      "\x05\0\x04"
				      "A\xff"
				      "1\n"
				      "\x02\0\x03"
				      "a.b"
				      "\x01\0\x02h2"
				      "\x05\0\x01"
				      "B";
	unsigned char p[sizeof(with) - 1];
	struct proxy_header h;
	size_t i;

	memcpy(p, with, sizeof(p));
	CU_ASSERT_FATAL(
	    proxy_header_parse(p, sizeof(p), &h) == PROXY_HEADER_DONE);
	CU_ASSERT(str_eq(h.unique_id, STR("B")));
	CU_ASSERT(str_eq(h.authority, STR("a.b")));
	CU_ASSERT(str_eq(h.alpn, STR("h2")));
	for (i = 16; i < sizeof(p); i++) { /* the sum holds for no other */
		p[i] ^= 1;
		CU_ASSERT(
		    proxy_header_parse(p, sizeof(p), &h) == PROXY_HEADER_BAD ||
		    i == 28);
		p[i] ^= 1;
	}
}

/* A line has 107 octets at most. */
static void
test_line(void)
{
	char p[120];
	struct proxy_header h;
	int n;

	for (n = 60; n < 100; n++) {
		int size = snprintf(p, sizeof(p), "PROXY UNKNOWN %*s\r\n", n,
		    "x");

		CU_ASSERT(proxy_header_parse((void *)p, (size_t)size, &h) ==
		    (size <= 107 ? PROXY_HEADER_DONE : PROXY_HEADER_BAD));
		CU_ASSERT(proxy_header_parse((void *)p, (size_t)size - 2, &h) ==
		    (size <= 107 ? PROXY_HEADER_MORE : PROXY_HEADER_BAD));
	}
}

/* The largest, and an identifier as long as one may be. */
static void
test_limits(void)
{
	static unsigned char p[PROXY_HEADER_MAX];
	struct proxy_header h;

	memcpy(p, V2 "\x21\x11\x10\0" V4_ADDRS, 28);
	p[28] = 0xe0;
	p[29] = (4084 - 3) >> 8;
	p[30] = (4084 - 3) & 255;
	CU_ASSERT(
	    proxy_header_parse(p, sizeof(p) - 1, &h) == PROXY_HEADER_MORE);
	CU_ASSERT(proxy_header_parse(p, sizeof(p), &h) == PROXY_HEADER_DONE);
	memcpy(p, V2 "\x21\x11\0\x8f" V4_ADDRS "\x05\0\x80", 31);
	CU_ASSERT(proxy_header_parse(p, sizeof(p), &h) == PROXY_HEADER_DONE);
	CU_ASSERT(h.unique_id.n == PROXY_HEADER_ID_MAX);
	memcpy(p, V2 "\x21\x11\0\x90" V4_ADDRS "\x05\0\x81", 31);
	CU_ASSERT(proxy_header_parse(p, sizeof(p), &h) == PROXY_HEADER_BAD);
}

UNIT_TESTS(net_proxy_header, { "forms", test_rows },
    { "what follows", test_behind }, { "a line", test_line },
    { "TLVs", test_tlvs }, { "limits", test_limits })
