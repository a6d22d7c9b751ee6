/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ClientHello parser: every legal shape, every lie, every split. */
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/chunk.h"
#include "t/unit/unit.h"
#include "tls/hello.h"

/* Building hellos. */

struct blob {
	unsigned char p[420000];
	size_t n;
};

static struct blob ext, message, wire;

static void
put(struct blob *b, const void *p, size_t n)
{
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void
put_n(struct blob *b, unsigned bytes, size_t v)
{
	unsigned char c;

	while (bytes-- > 0) {
		c = (unsigned char)(v >> (8 * bytes));
		put(b, &c, 1);
	}
}

static void
put_ext(unsigned type, const void *p, size_t n)
{
	put_n(&ext, 2, type);
	put_n(&ext, 2, n);
	put(&ext, p, n);
}

static void
put_sni(const char *name)
{
	struct blob *b = calloc(1, sizeof(*b));

	put_n(b, 2, strlen(name) + 3);
	put_n(b, 1, 0);
	put_n(b, 2, strlen(name));
	put(b, name, strlen(name));
	put_ext(0, b->p, b->n);
	free(b);
}

/* The message from ext; compression and ciphers as given. */
static void
make_message(unsigned version)
{
	unsigned char random[32] = { 1, 2, 3 };

	message.n = 0;
	put_n(&message, 1, 1);
	put_n(&message, 3, 2 + 32 + 1 + 2 + 4 + 2 + 2 + ext.n);
	put_n(&message, 2, version);
	put(&message, random, 32);
	put_n(&message, 1, 0);
	put_n(&message, 2, 4);
	put_n(&message, 2, 0x1301);
	put_n(&message, 2, 0x0a0a);
	put_n(&message, 1, 1);
	put_n(&message, 1, 0);
	put_n(&message, 2, ext.n);
	put(&message, ext.p, ext.n);
}

static void
make_records(size_t size)
{
	size_t at, n;

	wire.n = 0;
	for (at = 0; at < message.n; at += n) {
		n = message.n - at < size ? message.n - at : size;
		put_n(&wire, 1, 22);
		put_n(&wire, 2, 0x0301);
		put_n(&wire, 2, n);
		put(&wire, message.p + at, n);
	}
}

static void
make_usual(void)
{
	ext.n = 0;
	put_ext(0x1a1a, "", 0);
	put_sni("WWW.Example.COM.");
	put_ext(10, "\0\10\x2a\x2a\x11\xec\0\x1d\0\x17", 10);
	put_ext(13, "\0\6\x08\x04\x04\x03\x04\x01", 8);
	put_ext(16, "\0\x0f\2\x3a\x3a\2h2\x08http/1.1", 17);
	put_ext(43, "\6\x4a\x4a\3\4\3\3", 7);
	put_ext(0xfe0d, "\0\1\2", 3);
	put_ext(0xfafa, "x", 1);
	make_message(0x0303);
	make_records(16384);
}

/* Parsing them. */

enum feed { WHOLE, BYTES, RANDOM };

static enum hello_step
parse(struct hello *h, const unsigned char *p, size_t n, enum feed how)
{
	struct chq q = { 0 };
	enum hello_step step = HELLO_MORE;
	size_t part;

	*h = (struct hello){ 0 };
	while (n > 0 && step == HELLO_MORE) {
		part = how == WHOLE ? n
		    : how == BYTES
		    ? 1
		    : 1 + unit_random((unsigned)(n < 700 ? n : 700));
		chq_copy(&q, p, part);
		p += part;
		n -= part;
		step = hello_parse(h, &q);
	}
	CU_ASSERT(hello_parse(h, &q) == step);
	CU_ASSERT(h->wire_bytes <= q.bytes);
	chq_fini(&q);
	return (step);
}

static enum hello_step
parse_all_ways(const unsigned char *p, size_t n)
{
	struct hello h;
	enum hello_step step = parse(&h, p, n, WHOLE);

	hello_fini(&h);
	CU_ASSERT(parse(&h, p, n, BYTES) == step);
	hello_fini(&h);
	CU_ASSERT(parse(&h, p, n, RANDOM) == step);
	hello_fini(&h);
	return (step);
}

static void
check_usual(const struct hello *h)
{
	CU_ASSERT(h->step == HELLO_DONE);
	CU_ASSERT(h->sni_state == HELLO_SNI_NAME);
	CU_ASSERT_STRING_EQUAL(h->sni, "www.example.com");
	CU_ASSERT(h->legacy_version == 0x0303 && h->max_version == TLS_1_3);
	CU_ASSERT(h->has_tls12 && h->has_tls13);
	CU_ASSERT(h->has_alpn && h->has_h2 && h->has_http11);
	CU_ASSERT(h->has_ech && h->has_ecdsa_p256 && h->has_group_p256);
	CU_ASSERT(!hello_wants_rsa(h, true));
	CU_ASSERT(h->wire_bytes == wire.n);
}

static void
test_fields(void)
{
	static const enum feed ways[] = { WHOLE, BYTES, RANDOM, RANDOM };
	static const size_t records[] = { 16384, 1, 2, 3, 5, 100 };
	struct hello h;
	unsigned i, r;

	make_usual();
	for (r = 0; r < 6; r++) {
		make_records(records[r]);
		for (i = 0; i < 4; i++) {
			parse(&h, wire.p, wire.n, ways[i]);
			check_usual(&h);
			hello_fini(&h);
		}
	}
}

/* What is behind the hello is not looked at; a cut one is never done. */
static void
test_cut_and_more(void)
{
	struct hello h;
	size_t n;

	make_usual();
	for (n = 0; n < wire.n; n++) {
		CU_ASSERT(parse(&h, wire.p, n, RANDOM) == HELLO_MORE);
		hello_fini(&h);
	}
	n = wire.n;
	put(&wire, "\x14\x03\x03junk", 7);
	CU_ASSERT(parse(&h, wire.p, wire.n, WHOLE) == HELLO_DONE);
	CU_ASSERT(h.wire_bytes == n);
	hello_fini(&h);
}

static void
test_old_shapes(void)
{
	struct hello h;

	ext.n = 0; /* TLS 1.2 without a single extension */
	make_message(0x0303);
	message.n -= 2;
	message.p[3] = (unsigned char)(message.p[3] - 2);
	make_records(16384);
	CU_ASSERT(parse(&h, wire.p, wire.n, BYTES) == HELLO_DONE);
	CU_ASSERT(h.sni_state == HELLO_SNI_ABSENT && !h.has_alpn);
	CU_ASSERT(h.max_version == TLS_1_2 && h.has_tls12 && !h.has_tls13);
	CU_ASSERT(!h.has_ech && !h.has_ecdsa_p256);
	hello_fini(&h);

	make_message(0x0301); /* TLS 1.0, empty extensions */
	make_records(7);
	CU_ASSERT(parse(&h, wire.p, wire.n, BYTES) == HELLO_DONE);
	CU_ASSERT(h.max_version == 0x0301 && !h.has_tls12);
	hello_fini(&h);
}

static void
test_large(void)
{
	static unsigned char pad[65000];
	struct hello h;
	clock_t t;

	ext.n = 0;
	put_sni("big.example");
	put_ext(21, pad, 17000);
	make_message(0x0303);
	make_records(16384);
	CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_DONE);

	ext.n = 0;
	put_ext(21, pad, 65000);
	make_message(0x0303);
	make_records(1); /* 390 KB of one-byte records, byte by byte */
	t = clock();
	CU_ASSERT(parse(&h, wire.p, wire.n, BYTES) == HELLO_DONE);
	hello_fini(&h);
	CU_ASSERT((clock() - t) / (CLOCKS_PER_SEC / 1000) < 1000);

	message.n = 4; /* claims more than we take */
	memcpy(message.p, "\1\1\0\0", 4);
	make_records(16384);
	CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_BAD);
}

static void
test_sni(void)
{
	static const struct {
		const char *name, *sni;
		enum hello_sni state;
	} cases[] = {
		{ "a", "a", HELLO_SNI_NAME },
		{ "Ex-1_.Example", "ex-1_.example", HELLO_SNI_NAME },
		{ "xn--bcher-kva.example", "xn--bcher-kva.example",
		    HELLO_SNI_NAME },
		{ "127.0.0.1", "", HELLO_SNI_INVALID },
		{ "127.1", "", HELLO_SNI_INVALID },
		{ "a.0x7f", "", HELLO_SNI_INVALID },
		{ "a.7f", "a.7f", HELLO_SNI_NAME },
		{ "0x", "", HELLO_SNI_INVALID },
		{ "::1", "", HELLO_SNI_INVALID },
		{ "[::1]", "", HELLO_SNI_INVALID },
		{ ".", "", HELLO_SNI_INVALID },
		{ ".a", "", HELLO_SNI_INVALID },
		{ "a..", "", HELLO_SNI_INVALID },
		{ "a..b", "", HELLO_SNI_INVALID },
		{ "a b", "", HELLO_SNI_INVALID },
		{ "*.example", "", HELLO_SNI_INVALID },
		{ "b\xc3\xbc.example", "", HELLO_SNI_INVALID },
		{ "a.example:443", "", HELLO_SNI_INVALID },
		{ "<script>", "", HELLO_SNI_INVALID },
	};
	struct hello h;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ext.n = 0;
		put_sni(cases[i].name);
		make_message(0x0303);
		make_records(9);
		CU_ASSERT(parse(&h, wire.p, wire.n, RANDOM) == HELLO_DONE);
		CU_ASSERT(h.sni_state == cases[i].state);
		CU_ASSERT_STRING_EQUAL(h.sni, cases[i].sni);
		hello_fini(&h);
	}
}

static void
test_hostname_lengths(void)
{
	char name[300], out[HOSTNAME_BYTES];
	unsigned i;

	memset(name, 'a', sizeof(name));
	CU_ASSERT(hostname_normalise((struct str){ name, 63 }, out));
	CU_ASSERT(!hostname_normalise((struct str){ name, 64 }, out));
	for (i = 50; i < 300; i += 50)
		name[i] = '.';
	CU_ASSERT(hostname_normalise((struct str){ name, 253 }, out));
	CU_ASSERT(strlen(out) == 253);
	CU_ASSERT(!hostname_normalise((struct str){ name, 254 }, out));
	name[253] = '.';
	CU_ASSERT(hostname_normalise((struct str){ name, 254 }, out));
	CU_ASSERT(!hostname_normalise((struct str){ name, 0 }, out));
	CU_ASSERT(!hostname_normalise((struct str){ "a\0b", 3 }, out));
	CU_ASSERT_STRING_EQUAL(out, "");
}

static void
test_bad_extensions(void)
{
	static const struct {
		unsigned type;
		const char *p;
		size_t n;
	} cases[] = {
		{ 0, "", 0 },
		{ 0, "\0\0", 2 },
		{ 0, "\0\4\0\0\1a!", 7 },
		{ 0, "\0\3\0\0\0", 5 },
		{ 0, "\0\4\0\0\2a", 6 },
		{ 0, "\0\10\0\0\1a\0\0\1b", 10 },
		{ 0, "\0\1\0", 3 },
		{ 10, "", 0 },
		{ 10, "\0\0", 2 },
		{ 10, "\0\3\0\x17\0", 5 },
		{ 10, "\0\2\0\x17\0", 5 },
		{ 10, "\0\4\0\x17", 4 },
		{ 13, "\0\0", 2 },
		{ 13, "\0\1\4", 3 },
		{ 16, "\0\0", 2 },
		{ 16, "\0\1\0", 3 },
		{ 16, "\0\3\3h2", 5 },
		{ 16, "\0\3\2h2\0", 6 },
		{ 43, "", 0 },
		{ 43, "\0", 1 },
		{ 43, "\1\3", 2 },
		{ 43, "\2\3\4\0", 4 },
		{ 43, "\3\3\4\3", 4 },
	};
	struct hello h;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ext.n = 0;
		put_ext(cases[i].type, cases[i].p, cases[i].n);
		make_message(0x0303);
		make_records(16384);
		CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_BAD);
		parse(&h, wire.p, wire.n, WHOLE);
		CU_ASSERT(h.reason != NULL);
		hello_fini(&h);
	}
}

static void
test_bad_structure(void)
{
	size_t at, n;

	ext.n = 0; /* repeated, known or not */
	put_ext(0x7777, "", 0);
	put_ext(0x7777, "", 0);
	make_message(0x0303);
	make_records(16384);
	CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_BAD);

	ext.n = 0; /* RFC 8446 4.2.11 */
	put_ext(41, "x", 1);
	put_ext(0x7777, "", 0);
	make_message(0x0303);
	make_records(16384);
	CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_BAD);

	make_usual(); /* a byte too many in the record */
	n = wire.n;
	put(&wire, "x", 1);
	wire.p[4]++;
	CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_BAD);
	CU_ASSERT(parse_all_ways(wire.p, n) == HELLO_BAD);

	/* Each length, one off in either direction. */
	make_usual();
	static const size_t lengths[] = { 8, 43, 45, 50, 53 };
	for (at = 0; at < 5; at++) {
		wire.p[lengths[at]]++;
		CU_ASSERT(parse_all_ways(wire.p, wire.n) != HELLO_DONE);
		wire.p[lengths[at]] = (unsigned char)(wire.p[lengths[at]] - 2);
		CU_ASSERT(parse_all_ways(wire.p, wire.n) != HELLO_DONE);
		wire.p[lengths[at]]++;
	}
	CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_DONE);
	wire.p[51] = 1; /* no null compression */
	CU_ASSERT(parse_all_ways(wire.p, wire.n) == HELLO_BAD);
}

static void
test_records(void)
{
	static const struct {
		const char *p;
		size_t n;
		enum hello_step step;
	} cases[] = {
		{ "G", 1, HELLO_NOT_TLS },
		{ "SSH-2.0-x", 9, HELLO_NOT_TLS },
		{ "\x80\x2e\1\3\1", 5, HELLO_NOT_TLS }, /* SSLv2 */
		{ "\x15\3\1\0\2\2\x28", 7, HELLO_NOT_TLS },
		{ "\x16", 1, HELLO_MORE },
		{ "\x16\2", 2, HELLO_NOT_TLS },
		{ "\x16\3\1", 3, HELLO_MORE },
		{ "\x16\3\1\0\0", 5, HELLO_BAD },
		{ "\x16\3\1\x40\1", 5, HELLO_BAD },
		{ "\x16\3\1\0\1\2", 6, HELLO_BAD }, /* ServerHello */
		{ "\x16\3\1\0\1\1\x15", 7, HELLO_BAD },
		{ "\x16\3\1\0\1\1\x16\2", 8, HELLO_BAD },
		{ "\x16\3\1\0\1\1\x16\3\3\0\0", 11, HELLO_BAD },
		{ "\x16\3\1\0\4\1\0\0\0", 9, HELLO_BAD },
		{ "", 0, HELLO_MORE },
	};
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT(parse_all_ways((const unsigned char *)cases[i].p,
			      cases[i].n) == cases[i].step);
}

/* Any damage: a result, and the same one however the bytes come. */
static void
test_damage(void)
{
	unsigned i, k;

	for (i = 0; i < 3000; i++) {
		make_usual();
		for (k = 0; k <= i % 4; k++)
			wire.p[unit_random((unsigned)wire.n)] = (unsigned char)
			    unit_random(256);
		(void)parse_all_ways(wire.p, wire.n);
	}
}

/* What a real library says. */
static ssize_t
capture(gnutls_transport_ptr_t p, const void *data, size_t n)
{
	put(p, data, n);
	return ((ssize_t)n);
}

static ssize_t
nothing(gnutls_transport_ptr_t p, void *data, size_t n)
{
	gnutls_session_t *s = p;

	(void)data;
	(void)n;
	gnutls_transport_set_errno(*s, EAGAIN);
	return (-1);
}

static void
test_gnutls(void)
{
	gnutls_datum_t alpn = { (unsigned char *)(uintptr_t) "h2", 2 };
	gnutls_certificate_credentials_t cred;
	gnutls_session_t s;
	struct hello h;

	wire.n = 0;
	gnutls_certificate_allocate_credentials(&cred);
	gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
	gnutls_set_default_priority(s);
	gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, cred);
	gnutls_server_name_set(s, GNUTLS_NAME_DNS, "real.example", 12);
	gnutls_alpn_set_protocols(s, &alpn, 1, 0);
	gnutls_transport_set_ptr2(s, &s, &wire);
	gnutls_transport_set_push_function(s, capture);
	gnutls_transport_set_pull_function(s, nothing);
	CU_ASSERT(gnutls_handshake(s) == GNUTLS_E_AGAIN);
	CU_ASSERT(parse(&h, wire.p, wire.n, RANDOM) == HELLO_DONE);
	CU_ASSERT_STRING_EQUAL(h.sni, "real.example");
	CU_ASSERT(h.has_h2 && !h.has_http11 && h.has_tls13 && !h.has_ech);
	CU_ASSERT(h.has_ecdsa_p256 && h.has_group_p256);
	hello_fini(&h);
	gnutls_deinit(s);
	gnutls_certificate_free_credentials(cred);
}

/* A client is served with RSA only where EC does not do. */
static void
test_wants_rsa(void)
{
	enum {
		EC = 1,
		RSA = 2,
		SIG_EC = 4,
		PSS = 8,
		PKCS1 = 16,
		V13 = 32,
		P256 = 64
	};
	static const struct {
		unsigned has;
		bool rsa_13, rsa_12; /* we speak TLS 1.3, or not */
	} rows[] = { { EC | RSA | SIG_EC | PSS | PKCS1 | V13 | P256, false,
			 false },
		{ EC | RSA | SIG_EC | PSS | PKCS1 | P256, false, false },
		{ RSA | SIG_EC | PSS | PKCS1 | P256, true, true },
		{ RSA | SIG_EC | PKCS1 | P256, true, true },
		{ RSA | SIG_EC | PKCS1 | P256 | V13, false, true },
		{ EC | RSA | PKCS1 | P256, true, true },
		{ EC | RSA | SIG_EC | PKCS1, true, true },
		{ PSS | V13 | P256, true, false },
		{ RSA | PSS | PKCS1 | V13 | P256, true, true },
		{ RSA | SIG_EC | P256, false, false }, /* neither does */
		{ EC | SIG_EC | P256, false, false }, { 0, false, false } };
	struct hello h;
	unsigned i, b;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		b = rows[i].has;
		h = (struct hello){ .has_ecdhe_ecdsa = (b & EC) != 0,
			.has_ecdhe_rsa = (b & RSA) != 0,
			.has_ecdsa_p256 = (b & SIG_EC) != 0,
			.has_rsa_pss = (b & PSS) != 0,
			.has_rsa_pkcs1 = (b & PKCS1) != 0,
			.has_tls13 = (b & V13) != 0,
			.has_group_p256 = (b & P256) != 0 };
		CU_ASSERT_EQUAL(hello_wants_rsa(&h, true), rows[i].rsa_13);
		CU_ASSERT_EQUAL(hello_wants_rsa(&h, false), rows[i].rsa_12);
	}
}

UNIT_TESTS(tls_hello, { "fields, in any records and splits", test_fields },
    { "cut anywhere; bytes behind it", test_cut_and_more },
    { "no extensions, TLS 1.0", test_old_shapes },
    { "17 KB, 64 KB, too much", test_large }, { "server names", test_sni },
    { "lengths of host names", test_hostname_lengths },
    { "malformed extensions", test_bad_extensions },
    { "repeated, trailing, wrong lengths", test_bad_structure },
    { "records, and what is not TLS", test_records },
    { "random damage", test_damage }, { "a hello made by GnuTLS", test_gnutls },
    { "wants RSA", test_wants_rsa })
