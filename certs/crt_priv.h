/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Questions about one certificate that GnuTLS has no single answer to.
 * Room: certs.  Any thread.
 */
#ifndef CERTS_CRT_PRIV_H
#define CERTS_CRT_PRIV_H

#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define CRT_TEXT 96

/*
 * No extended key usage, or one with serverAuth (RFC 5280 4.2.1.12), or with
 * any where that counts.
 */
bool crt_serves_tls(gnutls_x509_crt_t, bool any_counts);
/* Issuer and subject are the same name. */
bool crt_is_self_issued(gnutls_x509_crt_t);
/*
 * What is too weak about it, in words ("signed with SHA-1"), NULL: nothing.
 * The signature of an anchor does not count: nobody verifies it.
 */
const char *crt_weakness(gnutls_x509_crt_t, bool is_anchor);
/* Its CN, else its DN, printable ASCII, cut to fit; for people. */
void crt_text(gnutls_x509_crt_t, char out[static CRT_TEXT]);
/* RFC 7633: the TLS feature status_request. */
bool crt_must_staple(gnutls_x509_crt_t);
/*
 * The first URL of http or https where its issuer's certificate is to be had
 * (RFC 5280 4.2.2.1).  False: none that fits.
 */
bool crt_issuer_url(gnutls_x509_crt_t, char *out, size_t room);
/* The same of its OCSP responder. */
bool crt_ocsp_url(gnutls_x509_crt_t, char *out, size_t room);
/*
 * Where lists with all reasons of its revocation are to be had, by http or
 * https: the nth.  False: there is no such one.
 */
bool crt_list_url(gnutls_x509_crt_t, unsigned nth, char *out, size_t room);
/* "2026-01-31", UTC. */
void crt_day(time_t t, char out[static 16]);

#endif
