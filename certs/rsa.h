/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RSA keys that would keep a thread busy.  GnuTLS 3.7 takes a public exponent
 * of any size: to verify one signature by a key of 16384 bits with an exponent
 * as long takes half a second, and a TLS handshake verifies where it runs.
 * Room: certs.  Any thread.
 */
#ifndef CERTS_RSA_H
#define CERTS_RSA_H

#include <stdbool.h>
#include <stddef.h>

#define RSA_EXPONENT_MAX 8 /* bytes; OpenSSL's bound for long keys, too */

/*
 * Has no RSA key among these bytes (a certificate, or a message with several)
 * a larger exponent?  Looks for SubjectPublicKeyInfo (RFC 3279 2.3.1, RFC 4055
 * 1.2) wherever one is; what is no well-formed one is left to its parser.
 */
bool rsa_exponents_ok(const unsigned char *p, size_t n);

#endif
