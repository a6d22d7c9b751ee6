/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the reader of CRLs: entries are read whether or not the signature is
 * good, and nobody is revoked by a list that is not signed.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "certs/crl_priv.h"
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

static void
ask(struct crl *c, gnutls_x509_crt_t leaf, gnutls_x509_crt_t root)
{
	time_t from = 1800000000, until = from, at = 0;
	enum trust_crl said = TRUST_CRL_UNKNOWN;
	bool by_root = crl_is_by(c, root) && crl_signed_by(c, root);

	(void)crl_find(c, leaf, &at);
	(void)crl_find(c, root, &at);
	(void)crl_consult(c, leaf, root, from, &said, &until, &at);
	assert(by_root || said == TRUST_CRL_UNKNOWN);
	assert(until <= from);
	crl_forget_octets(c);
	assert(by_root == (crl_is_by(c, root) && crl_signed_by(c, root)));
	(void)crl_find(c, leaf, &at);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static gnutls_x509_crt_t root, leaf;
	const char *why;
	unsigned char *der = malloc(n + 1);
	struct crl *c;

	if (root == NULL) {
		root = crt_of(fuzz_root, sizeof(fuzz_root));
		leaf = crt_of(fuzz_leaf, sizeof(fuzz_leaf));
	}
	if (der == NULL)
		abort();
	if (n > 0)
		memcpy(der, p, n);
	c = crl_read(der, n, &why);
	assert((c == NULL) == (why != NULL));
	if (c != NULL && crl_read_entries(c, &why))
		ask(c, leaf, root);
	crl_free(&c);
	return (0);
}
