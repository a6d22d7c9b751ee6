/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exponents of RSA keys, see rsa.h. */
#include <libtasn1.h>
#include <limits.h>
#include <string.h>
#include "certs/rsa.h"

struct span {
	const unsigned char *p;
	size_t n;
};

/* The element at the front of s, if it has this tag: its content, and s behind it. */
static bool
take(struct span *s, unsigned long want, struct span *content)
{
	int tag_n = 0, length_n = 0;
	unsigned char class;
	unsigned long tag;
	size_t head;
	long n;

	if (s->n == 0 || s->n > INT_MAX ||
	    asn1_get_tag_der(s->p, (int)s->n, &class, &tag_n, &tag) !=
		ASN1_SUCCESS ||
	    (class & ~ASN1_CLASS_STRUCTURED) != ASN1_CLASS_UNIVERSAL ||
	    tag != want)
		return (false);
	n = asn1_get_length_der(s->p + tag_n, (int)s->n - tag_n, &length_n);
	head = (size_t)tag_n + (size_t)length_n;
	if (n < 0 || head > s->n || (size_t)n > s->n - head)
		return (false); /* indefinite, cut, or too long */
	*content = (struct span){ s->p + head, (size_t)n };
	*s = (struct span){ s->p + head + n, s->n - head - (size_t)n };
	return (true);
}

/* Behind the algorithm's name: [parameters], BIT STRING { RSAPublicKey }. */
static bool
is_large(struct span s)
{
	struct span skipped, bits, key, modulus, exponent;

	if (!take(&s, ASN1_TAG_NULL, &skipped))
		(void)take(&s, ASN1_TAG_SEQUENCE, &skipped);
	if (!take(&s, ASN1_TAG_BIT_STRING, &bits) || bits.n < 1)
		return (false);
	bits = (struct span){ bits.p + 1, bits.n - 1 };
	if (!take(&bits, ASN1_TAG_SEQUENCE, &key) ||
	    !take(&key, ASN1_TAG_INTEGER, &modulus) ||
	    !take(&key, ASN1_TAG_INTEGER, &exponent))
		return (false);
	while (exponent.n > 0 && exponent.p[0] == 0)
		exponent = (struct span){ exponent.p + 1, exponent.n - 1 };
	return (exponent.n > RSA_EXPONENT_MAX);
}

bool
rsa_exponents_ok(const unsigned char *p, size_t n)
{
	/* rsaEncryption and RSASSA-PSS begin so; and signatures', which have no key behind. */
	static const unsigned char pkcs1[] = { 6, 9, 0x2a, 0x86, 0x48, 0x86,
		0xf7, 0x0d, 1, 1 };
	const unsigned char *end = p + n, *at = p;

	while ((at = memmem(at, (size_t)(end - at), pkcs1, sizeof(pkcs1))) !=
	    NULL) {
		at += sizeof(pkcs1);
		if (at < end &&
		    is_large((struct span){ at + 1, (size_t)(end - at) - 1 }))
			return (false);
	}
	return (true);
}
