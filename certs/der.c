/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing DER backwards, see der.h. */
#include <assert.h>
#include <libtasn1.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "certs/der.h"

void
der_raw(struct der *d, const void *p, size_t n)
{
	assert((size_t)(d->at - d->start) >= n);
	d->at -= n;
	memcpy(d->at, p, n);
}

static void
der_byte(struct der *d, size_t b)
{
	unsigned char c = (unsigned char)b;

	der_raw(d, &c, 1);
}

static void
der_length(struct der *d, size_t n)
{
	unsigned char octets[ASN1_MAX_LENGTH_SIZE];
	int k = 0;

	asn1_length_der((unsigned long)n, octets, &k);
	assert(k > 0 && (size_t)k <= sizeof(octets));
	der_raw(d, octets, (size_t)k);
}

void
der_wrap(struct der *d, unsigned tag, const unsigned char *end)
{
	assert(end >= d->at && tag <= 0xff);
	der_length(d, (size_t)(end - d->at));
	der_byte(d, tag);
}

void
der_put(struct der *d, unsigned tag, const void *p, size_t n)
{
	const unsigned char *end = d->at;

	der_raw(d, p, n);
	der_wrap(d, tag, end);
}

void
der_time(struct der *d, time_t t)
{
	char text[80];
	struct tm tm;
	int year, n;
	bool utc;

	gmtime_r(&t, &tm);
	year = tm.tm_year + 1900;
	utc = year < 2050;
	n = snprintf(text, sizeof(text), "%0*d%02d%02d%02d%02d%02dZ",
	    utc ? 2 : 4, utc ? year % 100 : year, tm.tm_mon + 1, tm.tm_mday,
	    tm.tm_hour, tm.tm_min, tm.tm_sec);
	assert(n > 0 && (size_t)n < sizeof(text));
	der_put(d, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME, text, (size_t)n);
}
