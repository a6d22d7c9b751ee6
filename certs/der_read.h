/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading DER (X.690) where it lies: elements one after another, nothing is
 * copied.  For what is too large to be made a tree of (GnuTLS needs a hundred
 * times the octets for a CRL).
 * Room: certs.  Any thread.
 */
#ifndef CERTS_DER_READ_H
#define CERTS_DER_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* Octets that are left to read; borrowed. */
struct der_in {
	const unsigned char *p;
	size_t n;
};

/*
 * Take the next element: its tag and its content.  False: there is none, or
 * it is no DER (a length longer than it has to be, or than what is left, or of
 * 4 GiB; a tag of several octets); in is as it was.
 */
bool der_next(struct der_in *in, unsigned *tag, struct der_in *content);
/* The same if it has that tag; content may be NULL. */
bool der_take(struct der_in *in, unsigned tag, struct der_in *content);
/* The same with its tag and length, as it lies there. */
bool der_take_whole(struct der_in *in, unsigned tag, struct der_in *element);
/* Take a UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 writes them. */
bool der_take_time(struct der_in *in, time_t *t);
/* An object identifier's content as "1.2.840"; false: it is none, or too long. */
bool der_oid_text(struct der_in oid, char *out, size_t room);
bool der_same(struct der_in a, struct der_in b);

#endif
