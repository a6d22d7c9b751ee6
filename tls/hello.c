/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ClientHello, see hello.h.  Two floors: the record layer takes fragments
 * out of the queue as they arrive (RFC 8446 5.1) and puts the message
 * together; the message is read in one go when it is complete.
 */
#include <assert.h>
#include <string.h>
#include "tls/hello.h"

#define RECORD_HANDSHAKE 22
#define RECORD_MAX 16384 /* RFC 8446 5.1 */
#define TYPE_CLIENT_HELLO 1
#define MESSAGE_HEADER 4

#define NAME_HOST 0 /* RFC 6066 3 */
#define GROUP_SECP256R1 23
#define ECDSA_SECP256R1_SHA256 0x0403

/* A part of the message still to be read. */
struct span {
	const unsigned char *p;
	size_t n;
};

static enum hello_step
bad(struct hello *h, const char *reason)
{
	assert(h->step == HELLO_MORE && reason != NULL);
	h->reason = reason;
	return (h->step = HELLO_BAD);
}

static bool
take_u8(struct span *s, unsigned *v)
{
	if (s->n < 1)
		return (false);
	*v = s->p[0];
	s->p++;
	s->n--;
	return (true);
}

static bool
take_u16(struct span *s, unsigned *v)
{
	if (s->n < 2)
		return (false);
	*v = (unsigned)s->p[0] << 8 | s->p[1];
	s->p += 2;
	s->n -= 2;
	return (true);
}

static bool
take_bytes(struct span *s, size_t n, struct span *out)
{
	if (s->n < n)
		return (false);
	*out = (struct span){ s->p, n };
	s->p += n;
	s->n -= n;
	return (true);
}

/* A vector with a length of one or two bytes in front (RFC 8446 3.4). */
static bool
take_vec8(struct span *s, struct span *out)
{
	unsigned n;

	return (take_u8(s, &n) && take_bytes(s, n, out));
}

static bool
take_vec16(struct span *s, struct span *out)
{
	unsigned n;

	return (take_u16(s, &n) && take_bytes(s, n, out));
}

/* A list of 16-bit values that fills the whole span: 1*. */
static bool
take_list16(struct span *s, struct span *out)
{
	return (
	    take_vec16(s, out) && s->n == 0 && out->n >= 2 && out->n % 2 == 0);
}

static bool
list_has(struct span list, unsigned wanted)
{
	unsigned v;

	while (take_u16(&list, &v))
		if (v == wanted)
			return (true);
	return (false);
}

/* Extensions.  False: malformed. */

/* RFC 6066 3 */
static bool
ext_server_name(struct hello *h, struct span s)
{
	struct span list, name;
	unsigned type;

	if (!take_vec16(&s, &list) || s.n != 0 || list.n == 0)
		return (false);
	while (list.n > 0) {
		if (!take_u8(&list, &type) || !take_vec16(&list, &name) ||
		    name.n == 0)
			return (false);
		if (type != NAME_HOST)
			continue;
		if (h->sni_state != HELLO_SNI_ABSENT)
			return (false); /* RFC 6066 3: one of a type */
		h->sni_state = hostname_normalise((struct str){ (const char *)
								    name.p,
						      name.n },
				   h->sni)
		    ? HELLO_SNI_NAME
		    : HELLO_SNI_INVALID;
	}
	return (true);
}

static bool
ext_groups(struct hello *h, struct span s)
{
	struct span list;

	if (!take_list16(&s, &list))
		return (false);
	h->has_group_p256 = list_has(list, GROUP_SECP256R1);
	return (true);
}

static bool
list_has_any(struct span list, const uint16_t *v, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (list_has(list, v[i]))
			return (true);
	return (false);
}

#define HAS_ANY(list, ...)                                    \
	list_has_any(list, (const uint16_t[]){ __VA_ARGS__ }, \
	    sizeof((const uint16_t[]){ __VA_ARGS__ }) / sizeof(uint16_t))

/* RFC 8446 4.2.3: SHA-256, -384, -512. */
static bool
ext_signatures(struct hello *h, struct span s)
{
	struct span list;

	if (!take_list16(&s, &list))
		return (false);
	h->has_ecdsa_p256 = list_has(list, ECDSA_SECP256R1_SHA256);
	h->has_rsa_pss = HAS_ANY(list, 0x0804, 0x0805, 0x0806);
	h->has_rsa_pkcs1 = HAS_ANY(list, 0x0401, 0x0501, 0x0601);
	return (true);
}

/* RFC 5289, 7905: AES-128-GCM, AES-256-GCM, ChaCha20. */
static void
read_suites(struct hello *h, struct span list)
{
	h->has_ecdhe_ecdsa = HAS_ANY(list, 0xc02b, 0xc02c, 0xcca9);
	h->has_ecdhe_rsa = HAS_ANY(list, 0xc02f, 0xc030, 0xcca8);
}

/* RFC 7301 3.1 */
static bool
ext_alpn(struct hello *h, struct span s)
{
	struct span list, name;

	if (!take_vec16(&s, &list) || s.n != 0 || list.n == 0)
		return (false);
	h->has_alpn = true;
	while (list.n > 0) {
		if (!take_vec8(&list, &name) || name.n == 0)
			return (false);
		if (name.n == 2 && memcmp(name.p, "h2", 2) == 0)
			h->has_h2 = true;
		if (name.n == 8 && memcmp(name.p, "http/1.1", 8) == 0)
			h->has_http11 = true;
	}
	return (true);
}

static void
version_offered(struct hello *h, unsigned v)
{
	if (v < 0x0300 || v > TLS_1_3)
		return; /* GREASE (RFC 8701), drafts */
	if (v > h->max_version)
		h->max_version = (uint16_t)v;
	h->has_tls12 = h->has_tls12 || v == TLS_1_2;
	h->has_tls13 = h->has_tls13 || v == TLS_1_3;
}

/* RFC 8446 4.2.1 */
static bool
ext_versions(struct hello *h, struct span s)
{
	struct span list;
	unsigned v;

	if (!take_vec8(&s, &list) || s.n != 0 || list.n < 2 || list.n % 2 != 0)
		return (false);
	while (take_u16(&list, &v))
		version_offered(h, v);
	return (true);
}

static bool
ext_ech(struct hello *h, struct span s)
{
	(void)s; /* GREASE or real: not ours to open */
	h->has_ech = true;
	return (true);
}

#define EXT_SUPPORTED_VERSIONS 43
#define EXT_PRE_SHARED_KEY 41

static const struct {
	unsigned type;
	bool (*read)(struct hello *, struct span);
	const char *reason;
} extensions[] = {
	{ 0, ext_server_name, "malformed server_name" },
	{ 10, ext_groups, "malformed supported_groups" },
	{ 13, ext_signatures, "malformed signature_algorithms" },
	{ 16, ext_alpn, "malformed application_layer_protocol_negotiation" },
	{ EXT_SUPPORTED_VERSIONS, ext_versions,
	    "malformed supported_versions" },
	{ 0xfe0d, ext_ech, "malformed encrypted_client_hello" },
};

static bool
read_extension(struct hello *h, unsigned type, struct span body)
{
	unsigned i;

	for (i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++)
		if (extensions[i].type == type &&
		    !extensions[i].read(h, body)) {
			bad(h, extensions[i].reason);
			return (false);
		}
	return (true);
}

/* RFC 8446 4.2 */
static enum hello_step
read_extensions(struct hello *h, struct span s)
{
	uint64_t seen[65536 / 64] = { 0 }; /* one bit a type */
	struct span all = { NULL, 0 }, body;
	unsigned type;
	bool versions = false, last = false;

	/* TLS 1.2 and older may have none at all (RFC 5246 7.4.1.2). */
	if (s.n > 0 && (!take_vec16(&s, &all) || s.n != 0))
		return (bad(h, "wrong length of extensions"));
	while (all.n > 0) {
		if (!take_u16(&all, &type) || !take_vec16(&all, &body))
			return (bad(h, "wrong length of an extension"));
		if (last) /* RFC 8446 4.2.11 */
			return (bad(h, "pre_shared_key is not the last"));
		if ((seen[type / 64] >> (type % 64) & 1) != 0)
			return (bad(h, "an extension is repeated"));
		seen[type / 64] |= (uint64_t)1 << (type % 64);
		if (!read_extension(h, type, body))
			return (HELLO_BAD);
		versions = versions || type == EXT_SUPPORTED_VERSIONS;
		last = type == EXT_PRE_SHARED_KEY;
	}
	if (!versions)
		version_offered(h,
		    h->legacy_version < TLS_1_2 ? h->legacy_version : TLS_1_2);
	assert(h->step == HELLO_MORE);
	return (h->step = HELLO_DONE);
}

/* RFC 8446 4.1.2; the message is complete and without its header. */
static enum hello_step
read_message(struct hello *h, struct span s)
{
	struct span random, session, ciphers, compressions;
	unsigned version;

	if (!take_u16(&s, &version) || version < 0x0300 || version > 0x03ff)
		return (bad(h, "no TLS version"));
	h->legacy_version = (uint16_t)version;
	if (!take_bytes(&s, 32, &random) || !take_vec8(&s, &session) ||
	    session.n > 32)
		return (bad(h, "wrong length of the session id"));
	if (!take_vec16(&s, &ciphers) || ciphers.n < 2 || ciphers.n % 2 != 0)
		return (bad(h, "wrong length of the cipher suites"));
	read_suites(h, ciphers);
	if (!take_vec8(&s, &compressions) || compressions.n == 0 ||
	    memchr(compressions.p, 0, compressions.n) == NULL)
		return (bad(h, "no null compression"));
	return (read_extensions(h, s));
}

/* The record layer. */

static uint32_t
message_length(const struct hello *h)
{
	const unsigned char *p = (const unsigned char *)h->message.p;

	assert(h->message.n >= MESSAGE_HEADER);
	return ((uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
}

/* The header's bytes are judged one by one: NOT_TLS as early as can be. */
static enum hello_step
header_byte(struct hello *h, unsigned char c)
{
	bool first = h->message.n == 0;

	assert(h->header_n < sizeof(h->header) && h->record_left == 0);
	h->header[h->header_n++] = c;
	switch (h->header_n) {
	case 1:
		if (c == RECORD_HANDSHAKE)
			return (HELLO_MORE);
		return (first
			? h->step = HELLO_NOT_TLS
			: bad(h, "another record inside the ClientHello"));
	case 2:
		if (c == 3)
			return (HELLO_MORE);
		return (first ? h->step = HELLO_NOT_TLS
			      : bad(h, "wrong record version"));
	case 5:
		h->header_n = 0;
		h->record_left = (uint32_t)h->header[3] << 8 | c;
		if (h->record_left > RECORD_MAX)
			return (bad(h, "record too long"));
		if (h->record_left == 0) /* RFC 8446 5.1 */
			return (bad(h, "empty record"));
		return (HELLO_MORE);
	default:
		return (HELLO_MORE); /* 8446 5.1: the minor is ignored */
	}
}

/* n bytes of a record's fragment. */
static enum hello_step
fragment(struct hello *h, const unsigned char *p, size_t n)
{
	struct span s;

	assert(n > 0 && n <= h->record_left);
	buf_add(&h->message, p, n);
	h->record_left -= (uint32_t)n;
	if (h->message.p[0] != TYPE_CLIENT_HELLO)
		return (bad(h, "another handshake message"));
	if (h->message.n < MESSAGE_HEADER)
		return (HELLO_MORE);
	s.n = message_length(h);
	if (s.n > HELLO_MAX_BYTES - MESSAGE_HEADER)
		return (bad(h, "ClientHello too long"));
	if (h->message.n - MESSAGE_HEADER < s.n)
		return (HELLO_MORE);
	if (h->message.n - MESSAGE_HEADER > s.n || h->record_left > 0)
		return (bad(h, "bytes behind the ClientHello in its record"));
	s.p = (const unsigned char *)h->message.p + MESSAGE_HEADER;
	return (read_message(h, s));
}

/* Look at up to n bytes at p; returns how many were used (> 0). */
static size_t
feed(struct hello *h, const unsigned char *p, size_t n)
{
	assert(n > 0 && h->step == HELLO_MORE);
	if (h->record_left == 0) {
		(void)header_byte(h, *p);
		return (1);
	}
	if (n > h->record_left)
		n = h->record_left;
	(void)fragment(h, p, n);
	return (n);
}

enum hello_step
hello_parse(struct hello *h, const struct chq *q)
{
	const struct slice *s;
	size_t n;

	while (h->step == HELLO_MORE && h->slice < q->count) {
		s = &q->ring[(q->first + h->slice) % q->cap];
		assert(h->slice_off <= s->len);
		if (h->slice_off < s->len) {
			n = feed(h, s->at + h->slice_off,
			    s->len - h->slice_off);
			h->slice_off += n;
			h->wire_bytes += n;
		} else if (h->slice + 1 < q->count) {
			h->slice++;
			h->slice_off = 0;
		} else
			break; /* the last slice may still grow */
	}
	return (h->step);
}

bool
hello_wants_rsa(const struct hello *h, bool tls13)
{
	if (tls13 && h->has_tls13)
		return (!h->has_ecdsa_p256 && h->has_rsa_pss);
	return (
	    (!h->has_ecdhe_ecdsa || !h->has_ecdsa_p256 || !h->has_group_p256) &&
	    h->has_ecdhe_rsa && (h->has_rsa_pss || h->has_rsa_pkcs1));
}

void
hello_fini(struct hello *h)
{
	buf_fini(&h->message);
}
