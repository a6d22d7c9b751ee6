/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing DER (X.690) from its end to its start, so that each length is known
 * when its tag is written.  The buffer is the caller's and large enough: what
 * is written is bounded by him, and asserted.
 * Room: certs.
 */
#ifndef CERTS_DER_H
#define CERTS_DER_H

#include <stddef.h>
#include <time.h>

enum der_tag {
	DER_BOOLEAN = 0x01,
	DER_INTEGER = 0x02,
	DER_BIT_STRING = 0x03,
	DER_OCTET_STRING = 0x04,
	DER_OID = 0x06,
	DER_UTF8 = 0x0c,
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30,
	DER_SET = 0x31
};

struct der {
	unsigned char *start; /* of the buffer, borrowed */
	unsigned char *at;    /* what is written goes from here to the end */
};

static inline struct der
der_begin(unsigned char *buf, size_t n)
{
	return ((struct der){ buf, buf + n });
}

/* Put n bytes in front of what is there. */
void der_raw(struct der *, const void *p, size_t n);
/* Wrap everything written since ->at was `end` into an element. */
void der_wrap(struct der *, unsigned tag, const unsigned char *end);
/* An element of the bytes. */
void der_put(struct der *, unsigned tag, const void *p, size_t n);
/* UTCTime up to 2049, GeneralizedTime from then on (RFC 5280 4.1.2.5). */
void der_time(struct der *, time_t t);

#endif
