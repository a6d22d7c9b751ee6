/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content codings that an origin is offered: RFC 9110 12.5.3. */
#include "http/offer.h"
#include "t/unit/http_help.h"

static const struct {
	const char *in, *out; /* fields */
} offers[] = {
	{ "A: b\r\n", "A: b\r\n" },
	{ "Accept-Encoding: gzip, deflate, br, zstd\r\n",
	    "Accept-Encoding: gzip, deflate, br, zstd\r\n" },
	{ "Accept-Encoding: gzip;q=1.0, dcb, dcz;q=0.5, BR; q=0.2\r\n"
	  "Available-Dictionary: :AAAA:\r\n",
	    "Accept-Encoding: gzip;q=1.0, BR; q=0.2\r\n" },
	{ "accept-encoding: snappy\r\nAccept-Encoding: x-gzip\r\n",
	    "Accept-Encoding: x-gzip\r\n" },
	{ "Accept-Encoding: compress, exi\r\n",
	    "Accept-Encoding: identity\r\n" },
	{ "Accept-Encoding:\r\n", "Accept-Encoding: identity\r\n" },
	{ "Accept-Encoding: *\r\n",
	    "Accept-Encoding: gzip, deflate, br, zstd\r\n" },
	{ "Accept-Encoding: lzma, *;q=0.1\r\n",
	    "Accept-Encoding: gzip, deflate, br, zstd\r\n" },
	{ "Accept-Encoding: gzip, *\r\n", "Accept-Encoding: gzip\r\n" },
	{ "Accept-Encoding: identity, *;q=0\r\n",
	    "Accept-Encoding: identity, *;q=0\r\n" },
	{ "Accept-Encoding: zstd;q=0.1, *;q=0.000, lzma\r\n",
	    "Accept-Encoding: zstd;q=0.1, *;q=0.000\r\n" },
	{ "Accept-Encoding: , ,identity;q=0,\r\n",
	    "Accept-Encoding: identity;q=0\r\n" },
};

static void
offer(void)
{
	struct arena *a = arena_new();
	struct buf b = { 0 };
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(offers); i++) {
		m = http_help_head(a, H1_FIELDS,
		    arena_printf(a, "%s\r\n", offers[i].in).p);
		http_offer_known(m);
		b.n = 0;
		buf_cstr(&b, "");
		head_fields(&b, &m->fields);
		CHECK_ROW(i, offers[i].in, http_help_is(&b, offers[i].out));
	}
	arena_free(&a);
}

static void
none(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;

	m = http_help_head(a, H1_REQUEST,
	    "GET / HTTP/1.1\r\n"
	    "Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n\r\n");
	http_offer_none(m);
	CU_ASSERT(m->fields.n == 1 &&
	    str_eq(http_fields_value(&m->fields, FIELD_ACCEPT_ENCODING),
		STR("identity")));
	m = http_help_head(a, H1_REQUEST, "GET / HTTP/1.1\r\n\r\n");
	http_offer_none(m);
	CU_ASSERT(m->fields.n == 0);
	arena_free(&a);
}

UNIT_TESTS(http_offer, { "codings", offer }, { "none of them", none })
