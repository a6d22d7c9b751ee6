/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is offered and accepted on each leg: versions, suites, groups and
 * signatures, as GnuTLS priorities.
 *
 * Towards clients: TLS 1.2 and 1.3, ECDHE with AEAD.  Towards servers the same
 * first, then AES-CBC with ECDHE, which browsers offer as well.  Whatever an
 * administrator or a distribution wishes instead stays above a floor: TLS 1.2
 * (or the configured minimum), forward secrecy, no SHA-1 signatures, no NULL,
 * RC4 or 3DES (RFC 9325).
 *
 * Servers that are excepted by name get what browsers dropped of late: TLS 1.0
 * and 1.1, RSA key transport, DHE of 2048 bits, SHA-1 signatures in the key
 * exchange, and no indication of safe renegotiation.  Certificates are judged
 * as ever.
 *
 * Room: tls.  Any thread.
 */
#ifndef TLS_PRIORITY_H
#define TLS_PRIORITY_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include "base/fault.h"

enum tls_leg { TLS_TO_CLIENT, TLS_TO_SERVER, TLS_TO_OLD_SERVER };

/*
 * wish: NULL or "default": what this was built with; "@SYSTEM": the policy of
 * that name in GnuTLS's configuration file; else a priority string.  It does
 * not count for TLS_TO_OLD_SERVER.  min_13: no TLS 1.2.
 * True: *out is for gnutls_priority_deinit().  False: ERR_CONFIG in f, *out is
 * NULL.
 */
bool tls_priority_new(gnutls_priority_t *out, enum tls_leg, const char *wish,
    bool min_13, struct fault *f);
/* Would it be taken?  False: ERR_CONFIG in f. */
bool tls_priority_check(enum tls_leg, const char *wish, bool min_13,
    struct fault *f);
/* Is that version among them? */
bool tls_priority_has(gnutls_priority_t, gnutls_protocol_t);

#endif
