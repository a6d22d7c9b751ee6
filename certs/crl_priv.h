/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One CRL as a sorted table of serial numbers (RFC 5280 5).  It is read where
 * it lies, first all but the entries: of a list that came from outside nothing
 * more is read before its signature was checked.
 * Room: certs.  Frozen after loading but for the memory of whose signature
 * was checked; any thread.
 */
#ifndef CERTS_CRL_PRIV_H
#define CERTS_CRL_PRIV_H

#include <gnutls/x509.h>
#include <stdbool.h>
#include <time.h>
#include "base/fault.h"
#include "certs/trust.h"

struct crl;

/*
 * All CRLs of a PEM file, appended to list[*n], which grows.  Delta and
 * indirect CRLs are refused.  False: ERR_CONFIG in f.
 */
bool crl_load(const char *path, struct crl ***list, unsigned *n,
    struct fault *f);
void crl_free(struct crl **); /* NULL: nothing to do; becomes NULL */

/*
 * All but its entries.  der is taken over, of malloc().  NULL: why says what is
 * wrong, in words.
 */
struct crl *crl_read(unsigned char *der, size_t n, const char **why);
/* The entries, once.  False: why says what is wrong with them. */
bool crl_read_entries(struct crl *, const char **why);
/*
 * Forget the octets that it was read from: what was verified stays so, by the
 * same key, and by no other.
 */
void crl_forget_octets(struct crl *);
/* What it takes up. */
size_t crl_bytes(const struct crl *);
/* Of all its octets (SHA-256). */
const unsigned char *crl_digest(const struct crl *);

/* The issuer's name fits, its key identifier too where both have one. */
bool crl_is_by(const struct crl *, gnutls_x509_crt_t issuer);
/* Between thisUpdate and nextUpdate. */
bool crl_is_current(const struct crl *, time_t now);
/* nextUpdate; 0: it has none. */
time_t crl_next(const struct crl *);
/*
 * Is it signed with issuer's key, and may that sign lists (RFC 5280 6.3.3 f)?
 * Remembers a yes.
 */
bool crl_signed_by(struct crl *, gnutls_x509_crt_t issuer);
/*
 * REVOKED with *at, GOOD, or UNKNOWN: not listed in one that need not list it
 * (of other distribution points, kinds of certificates or reasons).
 */
enum trust_crl crl_find(const struct crl *, gnutls_x509_crt_t cert, time_t *at);
/*
 * All of that, *said joined with what other lists said before.  False: nobody
 * has to be asked any more.
 */
bool crl_consult(struct crl *, gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer,
    time_t now, enum trust_crl *said, time_t *until, time_t *at);

#endif
