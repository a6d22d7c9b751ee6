/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exponents of RSA keys, see rsa.h. */
#include <string.h>
#include "certs/rsa.h"

#define DER_INTEGER 0x02
#define DER_BIT_STRING 0x03
#define DER_NULL 0x05
#define DER_SEQUENCE 0x30

struct span {
	const unsigned char *p;
	size_t n;
};

/* The element at the front of s, if it has this tag: its content, and s behind it. */
static bool
take(struct span *s, unsigned char tag, struct span *content)
{
	size_t n, head = 2;
	unsigned k;

	if (s->n < 2 || s->p[0] != tag)
		return (false);
	n = s->p[1];
	if (n >= 0x80) {
		k = (unsigned)n & 0x7f;
		if (k == 0 || k > 3 || s->n < 2 + k)
			return (false);
		for (n = 0, head = 2; head < 2 + k; head++)
			n = n << 8 | s->p[head];
	}
	if (n > s->n - head)
		return (false);
	*content = (struct span){ s->p + head, n };
	*s = (struct span){ s->p + head + n, s->n - head - n };
	return (true);
}

/* Behind the algorithm's name: [parameters], BIT STRING { RSAPublicKey }. */
static bool
is_large(struct span s)
{
	struct span skipped, bits, key, modulus, exponent;

	if (!take(&s, DER_NULL, &skipped))
		(void)take(&s, DER_SEQUENCE, &skipped);
	if (!take(&s, DER_BIT_STRING, &bits) || bits.n < 1)
		return (false);
	bits = (struct span){ bits.p + 1, bits.n - 1 };
	if (!take(&bits, DER_SEQUENCE, &key) ||
	    !take(&key, DER_INTEGER, &modulus) ||
	    !take(&key, DER_INTEGER, &exponent))
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

	while ((at = memmem(at, (size_t)(end - at), pkcs1,
	    sizeof(pkcs1))) != NULL) {
		at += sizeof(pkcs1);
		if (at < end && is_large((struct span){ at + 1,
		    (size_t)(end - at) - 1 }))
			return (false);
	}
	return (true);
}
