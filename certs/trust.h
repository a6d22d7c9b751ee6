/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What origins are verified against: the anchors and the CRLs of one
 * configuration generation.  Loaded once, then frozen: GnuTLS allows
 * read-only sharing of a trust list between threads (manual, Thread safety).
 * CRLs are in tables of our own: in GnuTLS's list each verification scans all
 * their entries, and those of intermediates are refused.
 *
 * Room: certs.  Counted; any thread.
 */
#ifndef CERTS_TRUST_H
#define CERTS_TRUST_H

#include <gnutls/x509.h>
#include <stdbool.h>
#include <time.h>
#include "base/fault.h"
#include "certs/ca.h"

struct trust;

/*
 * files: "system" or PEM files, ended by NULL.  crl_files: PEM files, ended
 * by NULL; NULL for none.  own: its certificates are removed from the anchors
 * wherever they are; NULL for none.  A file that cannot be read or holds
 * nothing usable is an error.  Costs some 15 ms for a system's bundle.
 * NULL: ERR_CONFIG in f, with the file's name.
 */
struct trust *trust_open(const char *const *files, const char *const *crl_files,
    struct ca *own, struct fault *f);
/*
 * Keys that file lists may be in no chain (certs/blocked.h).  Before others
 * have it.  False: ERR_CONFIG in f.
 */
bool trust_block_keys(struct trust *, const char *file, struct fault *f);
/*
 * Logs of certificate transparency (certs/ct.h), for chains that lead to the
 * system's roots or to those of public files.  As above.
 */
bool trust_ask_ct(struct trust *, const char *logs,
    const char *const *public_files, bool system, struct fault *f);
/*
 * The roots of that PEM file vouch for nothing that was issued after `last`,
 * wherever else they are trusted.  As above.
 */
bool trust_until(struct trust *, const char *file, time_t last,
    struct fault *f);
struct trust *trust_ref(struct trust *);
void trust_unref(struct trust **);

unsigned trust_anchors(const struct trust *);
/* The list; read only. */
gnutls_x509_trust_list_t trust_list(const struct trust *);
/*
 * The anchor of the name that cert has as its issuer's; the list's, read only.
 * NULL: none, or only the list can tell (several of that name, one that is not
 * self-signed, a PKCS #11 token).  Nothing is verified.
 */
gnutls_x509_crt_t trust_issuer(const struct trust *, gnutls_x509_crt_t cert);

/* Is its key one of those that were blocked? */
bool trust_blocks(const struct trust *, gnutls_x509_crt_t cert);

/* Does it vouch for what was issued then? */
bool trust_vouches(const struct trust *, gnutls_x509_crt_t issuer,
    time_t issued);

struct ct;
/* The logs that leaves below anchor must be in; NULL: it need not be. */
const struct ct *trust_ct(const struct trust *, gnutls_x509_crt_t anchor);

enum trust_crl {
	/* no CRL of this issuer that is current and complete */
	TRUST_CRL_UNKNOWN,
	TRUST_CRL_GOOD,
	TRUST_CRL_REVOKED /* a valid CRL names it, current or not */
};

/*
 * Do our CRLs say that issuer revoked cert?  The CRL's signature is checked
 * with issuer's key (remembered per CRL).  until: lowered to the end of the
 * CRL that was used.  at: when it was revoked.
 */
enum trust_crl trust_check_crl(struct trust *, gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer, time_t now, time_t *until, time_t *at);

#endif
