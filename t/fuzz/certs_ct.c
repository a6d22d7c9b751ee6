/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the readers of SCTs in certificates, and of lists of logs: nothing that
 * no log has signed is enough.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "certs/ct_priv.h"
#include "t/fuzz/certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static gnutls_x509_crt_t root, leaf;
static struct ct_log logs[2];
static struct ct ct = { logs, 2 };

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

/* Logs whose identifiers inputs can say. */
static void
set_up(void)
{
	unsigned i;

	root = crt_of(fuzz_root, sizeof(fuzz_root));
	leaf = crt_of(fuzz_leaf, sizeof(fuzz_leaf));
	for (i = 0; i < ct.n; i++) {
		memset(logs[i].id, 'A' + (int)i, sizeof(logs[i].id));
		logs[i].by = i + 1;
		if (gnutls_pubkey_init(&logs[i].key) < 0 ||
		    gnutls_pubkey_import_x509(logs[i].key, root, 0) < 0)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const gnutls_datum_t der = { (unsigned char *)(uintptr_t)p,
		(unsigned)n };
	struct ct read = { NULL, 0 };
	char why[CT_WHY];

	if (root == NULL)
		set_up();
	assert(!ct_enough(&ct, &der, leaf, root, 1800000000, why));
	(void)ct_list_read(&read, p, n);
	while (read.n > 0)
		gnutls_pubkey_deinit(read.v[--read.n].key);
	free(read.v);
	return (0);
}
