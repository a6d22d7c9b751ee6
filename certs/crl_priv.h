/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One CRL as a sorted table of serial numbers (RFC 5280 5).
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
void crl_free(struct crl **);

/* The issuer's name fits, its key identifier too where both have one. */
bool crl_is_by(const struct crl *, gnutls_x509_crt_t issuer);
/* Between thisUpdate and nextUpdate. */
bool crl_is_current(const struct crl *, time_t now);
/* nextUpdate; 0: it has none. */
time_t crl_next(const struct crl *);
/* Is it signed with issuer's key?  Remembers a yes. */
bool crl_signed_by(struct crl *, gnutls_x509_crt_t issuer);
/* REVOKED with *at, GOOD, or UNKNOWN: not listed in one of limited scope. */
enum trust_crl crl_find(const struct crl *, gnutls_x509_crt_t cert, time_t *at);

#endif
