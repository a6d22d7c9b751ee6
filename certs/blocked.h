/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys that no certificate of a chain may have, from files: one key a line, the
 * SHA-256 of its SubjectPublicKeyInfo (RFC 5280 4.1.2.7) in hexadecimal digits
 * or in base64, with "sha256/" before it or without.  What stands behind a "#"
 * or a space is a remark.
 * Room: certs.  Frozen after loading; any thread then.
 */
#ifndef CERTS_BLOCKED_H
#define CERTS_BLOCKED_H

#include <gnutls/x509.h>
#include <stdbool.h>
#include "base/fault.h"

#define BLOCKED_BYTES 32 /* SHA-256 */

struct blocked;

/* Empty; never NULL. */
struct blocked *blocked_new(void);
void blocked_free(struct blocked **); /* NULL: nothing to do; becomes NULL */

/*
 * Add what file has.  False: ERR_CONFIG in f, with its name and line; a line
 * that is no key is one, for a key that was meant would not be blocked.
 */
bool blocked_load(struct blocked *, const char *file, struct fault *f);

bool blocked_has(const struct blocked *, gnutls_x509_crt_t);

#endif
