/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certificate transparency (RFC 6962): is a certificate promised to be in
 * public logs?  Logs are those of a file as browsers publish it (a list of
 * version 3: operators, their logs or tiled_logs, each with key and state).
 * Looked at are the SCTs inside the certificate, which is where nearly all are.
 *
 * Enough are two good ones of different logs, three for a certificate that is
 * valid for more than 180 days, and not all of one operator.
 * Room: certs.  Frozen after loading; any thread then.
 */
#ifndef CERTS_CT_H
#define CERTS_CT_H

#include <gnutls/x509.h>
#include <stdbool.h>
#include <time.h>
#include "base/fault.h"

#define CT_WHY 64

struct ct;

/* NULL: ERR_CONFIG in f, with the file's name. */
struct ct *ct_open(const char *file, struct fault *f);
void ct_free(struct ct **); /* NULL: nothing to do; becomes NULL */
unsigned ct_logs(const struct ct *);

/*
 * Has cert (der: the same) enough of them?  issuer: who signed it.  False: why
 * says what there is, in words.
 */
bool ct_enough(const struct ct *, const gnutls_datum_t *der,
    gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer, time_t now,
    char why[static CT_WHY]);

#endif
