/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The to-be-signed certificate of a leaf (RFC 5280 4.1): one writer for the
 * proxy, which asks for a signature, and for the key holder, which writes the
 * same bytes anew from what it has checked and signs nothing else.  So the
 * holder reads no DER that the proxy wrote.
 * Room: certs.
 */
#ifndef CERTS_TBS_PRIV_H
#define CERTS_TBS_PRIV_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "certs/der.h"

#define TBS_DAY 86400
#define TBS_MAX_DAYS 398  /* browsers' bound of a leaf's life */
#define TBS_MAX_NAME 2048 /* DER of the issuer's name: it is in every leaf */
#define TBS_MAX_ID 256    /* an issuer's key identifier */
#define TBS_P256_SPKI 91  /* bytes of an EC key, which none of RSA has */
#define TBS_MAX_SPKI 600  /* RSA-4096: 550 */
#define TBS_MAX 8192      /* name, id, host twice, key, and what is fixed */

/* What leaves say of their issuer. */
struct tbs_issuer {
	bool rsa;                     /* the algorithm of its signatures */
	gnutls_datum_t name;          /* owned: subject, DER */
	unsigned char id[TBS_MAX_ID]; /* subject key identifier */
	unsigned id_n;
	time_t not_before, not_after;
	/* owned: RFC 5280 4.2.1.10; NULL: it may sign for every name */
	gnutls_x509_name_constraints_t only;
};

/* Of a certificate; 0, or a GnuTLS error and nothing is owned. */
int tbs_issuer_init(struct tbs_issuer *, gnutls_x509_crt_t);
void tbs_issuer_fini(struct tbs_issuer *);
/* Do its name constraints let it sign for that name or address? */
bool tbs_permits(const struct tbs_issuer *, const char *host);
/* Those of a certificate, NULL: none.  0, or a GnuTLS error. */
int tbs_constraints(gnutls_x509_crt_t, gnutls_x509_name_constraints_t *out);

/* All that differs between two leaves of one issuer; fixed size: a message. */
struct tbs_leaf {
	int64_t from, to;         /* notBefore, notAfter */
	unsigned char serial[16]; /* positive and no shorter */
	unsigned char key_id[20]; /* SHA-1 of its key: SKI */
	char host[256];           /* leaf_host_ok(), filled up with zeros */
	uint32_t spki_n;
	unsigned char spki[TBS_MAX_SPKI]; /* its key, DER, then zeros */
};

/* Write it in front of what d has: TBS_MAX bytes suffice. */
void tbs_write(struct der *d, const struct tbs_issuer *,
    const struct tbs_leaf *);
/* The signature's AlgorithmIdentifier. */
void tbs_write_algorithm(struct der *d, bool rsa);
/* A Name of one CN. */
void tbs_write_cn(struct der *d, const char *text);

#endif
