/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who signs leaves, between ca.c and mint.c.
 * Room: certs.
 */
#ifndef CERTS_CA_PRIV_H
#define CERTS_CA_PRIV_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <time.h>
#include "certs/ca.h"
#include "certs/keyholder.h"
#include "certs/leaf.h"
#include "certs/tbs_priv.h"

#define KEY_TAIL 64 /* P-256: the whole point; RSA: end of modulus, exponent */

/* Counted, frozen. */
struct issuer {
	_Atomic unsigned refs;
	unsigned epoch; /* of the holder's key; 0: the CA's own */
	/* signs instead of the key holder; NULL: not so */
	gnutls_privkey_t local;
	struct tbs_issuer is;        /* what its leaves say of it */
	unsigned char key[KEY_TAIL]; /* of its public key, to know it again */
	gnutls_pcert_st chain[LEAF_MAX_CHAIN - 1]; /* sent behind a leaf */
	unsigned n;
};

/*
 * What ca_open() takes of a CA's file, and checks: der is the caller's
 * (gnutls_free() its data), which is what its leaves are signed by.
 */
bool ca_read_file(const char *cert, gnutls_datum_t *der,
    enum keyholder_key *which, struct fault *f);
/* A certificate whose key file is missing is not replaced, nor used. */
bool ca_files_ok(const char *cert, const char *key, struct fault *f);
/* The issuer now, counted; made anew when its key was lost.  May block. */
struct issuer *ca_issuer(struct ca *, struct fault *f);
/* The same without waiting; NULL: it has to be made first. */
struct issuer *ca_issuer_now(struct ca *);
/* Name, identifiers and dates of crt; one reference. NULL: ERR_CONFIG in f. */
struct issuer *issuer_new(gnutls_x509_crt_t crt, struct fault *f);
struct issuer *issuer_ref(struct issuer *);
void issuer_unref(struct issuer **);

/*
 * A leaf by this issuer; k signs unless the issuer has a key itself.  rsa: with
 * the RSA key, which the first one makes (50 ms).
 */
struct leaf *mint_leaf(struct issuer *, struct keyholder *k, const char *host,
    bool rsa, unsigned days, struct fault *f);
/* The same for a loop, by keyholder_try_sign(); NULL: not now. */
struct leaf *mint_leaf_now(struct issuer *, struct keyholder *k,
    const char *host, bool rsa, unsigned days);
/* The issuer that nobody trusts, of this process; counted. */
struct issuer *mint_untrusted(void);

#endif
