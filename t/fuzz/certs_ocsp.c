/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the judge of OCSP responses (GnuTLS reads them): what is believed has an
 * end that is not over, what is not has a reason.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "certs/staple_priv.h"
#include "t/fuzz/certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static gnutls_x509_crt_t
crt_of(const unsigned char *der, size_t n)
{
	const gnutls_datum_t d = { (unsigned char *)(uintptr_t)der,
		(unsigned)n };
	gnutls_x509_crt_t crt;

	if (gnutls_x509_crt_init(&crt) < 0 ||
	    gnutls_x509_crt_import(crt, &d, GNUTLS_X509_FMT_DER) < 0)
		abort();
	return (crt);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static gnutls_x509_crt_t root, leaf;
	const gnutls_datum_t der = { (unsigned char *)(uintptr_t)p,
		(unsigned)n };
	const time_t now = 1800000000;
	time_t until = now + 100, at = 0;
	const char *why = NULL;
	enum staple s;

	if (root == NULL) {
		root = crt_of(fuzz_root, sizeof(fuzz_root));
		leaf = crt_of(fuzz_leaf, sizeof(fuzz_leaf));
	}
	s = staple_check(&der, leaf, root, now, &until, &at, &why);
	assert((s == STAPLE_NONE) == (why != NULL));
	assert(until <= now + 100 && (s != STAPLE_GOOD || until > now));
	return (0);
}
