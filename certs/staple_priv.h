/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stapled OCSP response (RFC 6960, RFC 6066 8).
 * Room: certs.  Any thread.
 */
#ifndef CERTS_STAPLE_PRIV_H
#define CERTS_STAPLE_PRIV_H

#include <gnutls/x509.h>
#include <time.h>

enum staple {
	STAPLE_NONE,   /* none, or nothing that can be believed */
	STAPLE_GOOD,   /* signed for the issuer and current */
	STAPLE_REVOKED /* signed for the issuer, current or not */
};

/*
 * What der (size 0: none) says of cert.  until: lowered to its nextUpdate.
 * at: when it was revoked.  why: what is wrong with it, NULL: nothing.
 */
enum staple staple_check(const gnutls_datum_t *der, gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer, time_t now, time_t *until, time_t *at,
    const char **why);

#endif
