/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CA of one configuration generation: its certificate, its key holder,
 * and the issuer that signs leaves.  An RSA CA signs in 1.1 ms, so when its
 * path length allows, leaves are signed (35 us) by an EC P-256 intermediate
 * of a year whose key lives in the key holder only; an EC CA, and an RSA CA
 * with path length 0, sign leaves themselves.
 *
 * Room: certs.  Counted, frozen after ca_open() but for the issuer, which is
 * replaced when the key holder was; any thread.
 */
#ifndef CERTS_CA_H
#define CERTS_CA_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <time.h>
#include "base/fault.h"
#include "base/str.h"

struct ca;
struct keyholder;

struct ca_options {
	/* PEM file: the CA, then what signed it, if anything */
	const char *cert;
	const char *key;    /* PEM file or "pkcs11:" URL */
	bool create;        /* no such files: make a CA */
	unsigned leaf_days; /* life of leaves; at most 398 are given */
	/*
	 * Taken over, also when it fails: another process has started it and
	 * made it read these files.  NULL: one is started for this CA.
	 */
	struct keyholder *holder;
	bool created; /* of that one: it has just made the CA */
};

/*
 * Starts a key holder unless there is one, loads (or creates) the CA and proves
 * that key and certificate belong together.  Refused: not a CA, no keyCertSign, outside
 * its dates, RSA below 2048 bits, anything but RSA and EC, MD5 or SHA-1
 * (unless self-signed).  Blocks for some 10-30 ms.  One reference.
 * NULL: ERR_CONFIG or ERR_SYSTEM in f, with the file's name.
 */
struct ca *ca_open(const struct ca_options *, struct fault *f);
struct ca *ca_ref(struct ca *);
/* The last one ends the key holder. */
void ca_unref(struct ca **);

/* ca_open() made it just now. */
bool ca_was_created(const struct ca *);
/* The CA's certificate as PEM, for people to download. */
struct str ca_pem(const struct ca *);
/* SHA-256 of the DER: 64 hexadecimal digits. */
const char *ca_fingerprint(const struct ca *);
/* The CN of the subject, or "CA". */
const char *ca_name(const struct ca *);
time_t ca_not_after(const struct ca *);
unsigned ca_leaf_days(const struct ca *);
/*
 * Does this certificate carry the CA's key or an issuer's?  Such a one is
 * never an anchor nor part of an origin's chain.  Looks for the bytes of the
 * public keys, wherever they are: parsing would cost more than the chain's
 * other checks.
 */
bool ca_owns(struct ca *, const gnutls_datum_t *der);
struct gnutls_x509_crt_int;
bool ca_owns_crt(struct ca *, struct gnutls_x509_crt_int *crt);
struct keyholder *ca_keyholder(const struct ca *); /* borrowed */

#endif
