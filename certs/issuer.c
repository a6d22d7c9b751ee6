/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who signs leaves, as a counted object: see ca_priv.h. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "certs/ca_priv.h"

struct issuer *
issuer_ref(struct issuer *i)
{
	unsigned had = atomic_fetch_add_explicit(&i->refs, 1,
	    memory_order_relaxed);

	assert(had > 0);
	return (i);
}

void
issuer_unref(struct issuer **ip)
{
	struct issuer *i = *ip;
	unsigned n, had;

	*ip = NULL;
	if (i == NULL)
		return;
	had = atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel);
	assert(had > 0);
	if (had != 1)
		return;
	assert(i->n < LEAF_MAX_CHAIN);
	for (n = 0; n < i->n; n++)
		gnutls_pcert_deinit(&i->chain[n]);
	if (i->local != NULL)
		gnutls_privkey_deinit(i->local);
	tbs_issuer_fini(&i->is);
	free(i);
}

/* The last bytes of its SubjectPublicKeyInfo: of the key itself. */
static int
key_tail(gnutls_x509_crt_t crt, unsigned char out[static KEY_TAIL])
{
	gnutls_datum_t spki = { NULL, 0 };
	gnutls_pubkey_t key;
	int r;

	if ((r = gnutls_pubkey_init(&key)) < 0)
		return (r);
	if ((r = gnutls_pubkey_import_x509(key, crt, 0)) >= 0 &&
	    (r = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &spki)) >= 0) {
		if (spki.size < KEY_TAIL)
			r = GNUTLS_E_UNSUPPORTED_CERTIFICATE_TYPE;
		else
			memcpy(out, spki.data + spki.size - KEY_TAIL, KEY_TAIL);
	}
	gnutls_free(spki.data);
	gnutls_pubkey_deinit(key);
	return (r);
}

struct issuer *
issuer_new(gnutls_x509_crt_t crt, struct fault *f)
{
	struct issuer *i = calloc(1, sizeof(*i));
	int r;

	if (i == NULL)
		abort();
	atomic_init(&i->refs, 1);
	if ((r = tbs_issuer_init(&i->is, crt)) < 0 ||
	    (r = key_tail(crt, i->key)) < 0) {
		fault_set(f, ERR_CONFIG, "CA certificate: %s",
		    gnutls_strerror(r));
		issuer_unref(&i);
	}
	return (i);
}
