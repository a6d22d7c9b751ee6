/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One leaf: its to-be-signed part written here and signed by the key holder,
 * which writes it too and signs nothing else (tbs_priv.h).
 */
#include <assert.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/ca_priv.h"

#define HOUR 3600
#define RSA_BITS 2048
#define SIGNATURE_MAX 2112 /* RSA-16384, and what is around it */

/* A key of leaves. */
struct own_key {
	gnutls_privkey_t key;
	gnutls_pubkey_t pub;
	gnutls_datum_t spki;
	unsigned char id[20];
};

/* The keys of all leaves of this process, and the one nobody trusts. */
static struct {
	pthread_once_t once, rsa_once;
	struct own_key ec, rsa;
	atomic_bool has_rsa;
	struct issuer *untrusted;
} own = { .once = PTHREAD_ONCE_INIT, .rsa_once = PTHREAD_ONCE_INIT };

static void
ok_or_abort(int r)
{
	if (r < 0)
		abort(); /* no memory or no random numbers: nothing works */
}

static void
own_key_make(struct own_key *k, gnutls_pk_algorithm_t kind, unsigned bits)
{
	size_t n = sizeof(k->id);

	assert(k->key == NULL); /* made once */
	ok_or_abort(gnutls_privkey_init(&k->key));
	ok_or_abort(gnutls_privkey_generate(k->key, kind, bits, 0));
	ok_or_abort(gnutls_pubkey_init(&k->pub));
	/* GnuTLS's server looks at the usage here, not in the certificate. */
	ok_or_abort(gnutls_pubkey_import_privkey(k->pub, k->key,
	    GNUTLS_KEY_DIGITAL_SIGNATURE, 0));
	ok_or_abort(
	    gnutls_pubkey_export2(k->pub, GNUTLS_X509_FMT_DER, &k->spki));
	ok_or_abort(gnutls_pubkey_get_key_id(k->pub, 0, k->id, &n));
	ok_or_abort(k->spki.size <= TBS_MAX_SPKI ? 0 : -1);
}

static void
own_untrusted(void)
{
	struct issuer *i = calloc(1, sizeof(*i));
	unsigned char buf[128];
	struct der d = der_begin(buf, sizeof(buf));

	assert(own.untrusted == NULL);
	if (i == NULL)
		abort();
	tbs_write_cn(&d, "assay: origin certificate is not trusted");
	atomic_init(&i->refs, 1);
	ok_or_abort(gnutls_privkey_init(&i->local));
	ok_or_abort(gnutls_privkey_generate(i->local, GNUTLS_PK_EC,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	i->is.id_n = 20;
	ok_or_abort(gnutls_rnd(GNUTLS_RND_NONCE, i->is.id, i->is.id_n));
	i->is.name.size = (unsigned)(buf + sizeof(buf) - d.at);
	i->is.name.data = gnutls_malloc(i->is.name.size);
	if (i->is.name.data == NULL)
		abort();
	memcpy(i->is.name.data, d.at, i->is.name.size);
	i->is.not_before = time(NULL) - TBS_DAY;
	i->is.not_after = time(NULL) + TBS_MAX_DAYS * 10 * (time_t)TBS_DAY;
	own.untrusted = i;
}

static void
own_make(void)
{
	own_key_make(&own.ec, GNUTLS_PK_EC,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
	own_untrusted();
}

static void
own_rsa_make(void)
{
	own_key_make(&own.rsa, GNUTLS_PK_RSA, RSA_BITS);
	atomic_store_explicit(&own.has_rsa, true, memory_order_release);
}

static void
own_need(void)
{
	pthread_once(&own.once, own_make);
}

struct issuer *
mint_untrusted(void)
{
	own_need();
	assert(own.untrusted != NULL && own.untrusted->local != NULL);
	return (issuer_ref(own.untrusted));
}

static bool
life_set(const struct tbs_issuer *i, unsigned days, struct tbs_leaf *l,
    struct fault *f)
{
	time_t now = time(NULL);

	if (days == 0 || days > TBS_MAX_DAYS)
		days = TBS_MAX_DAYS;
	l->from = now - HOUR > i->not_before ? now - HOUR : i->not_before;
	l->to = l->from + days * (time_t)TBS_DAY;
	if (l->to > i->not_after)
		l->to = i->not_after;
	if (l->from <= now && now < l->to)
		return (true);
	fault_set(f, ERR_MINT, "the CA certificate is outside its dates");
	return (false);
}

/* Everything but its life. */
static void
describe(struct tbs_leaf *l, const struct own_key *key, const char *host)
{
	assert(strlen(host) < sizeof(l->host)); /* leaf_host_ok() */
	assert(key->spki.size > 0 && key->spki.size <= sizeof(l->spki));
	memset(l, 0, sizeof(*l));
	ok_or_abort(gnutls_rnd(GNUTLS_RND_NONCE, l->serial, sizeof(l->serial)));
	/* positive, 16 bytes always */
	l->serial[0] = (l->serial[0] & 0x3f) | 0x40;
	memcpy(l->key_id, key->id, sizeof(l->key_id));
	memcpy(l->host, host, strnlen(host, sizeof(l->host) - 1));
	l->spki_n = key->spki.size;
	memcpy(l->spki, key->spki.data, key->spki.size);
}

/* f NULL: at once or not at all. */
static bool
sign(struct issuer *i, struct keyholder *k, const struct tbs_leaf *l,
    const gnutls_datum_t *tbs, gnutls_datum_t *sig, struct fault *f)
{
	assert(i->local != NULL || k != NULL);
	if (i->local == NULL && f == NULL)
		return (keyholder_try_sign(k, i->epoch, l, tbs, sig));
	if (i->local == NULL)
		return (keyholder_sign(k, i->epoch, l, tbs, sig, f));
	ok_or_abort(gnutls_privkey_sign_data2(i->local,
	    GNUTLS_SIGN_ECDSA_SHA256, 0, tbs, sig));
	return (true);
}

static void
leaf_free(struct memo_value *v)
{
	struct leaf *l = CONTAINER_OF(v, struct leaf, value);

	issuer_unref(&l->issuer);
	free(l);
}

/* Of what is known about it; the chain behind it is the issuer's. */
static struct leaf *
leaf_new(struct issuer *i, const struct own_key *key, const unsigned char *der,
    size_t n, const struct tbs_leaf *tbs)
{
	struct leaf *l = calloc(1, sizeof(*l) + n);
	time_t third = (tbs->to - tbs->from) / 3;
	unsigned c;

	assert(n > 0 && tbs->to > tbs->from);
	assert(i->n < LEAF_MAX_CHAIN);
	if (l == NULL)
		abort();
	atomic_init(&l->value.refs, 1);
	l->value.fresh_until = tbs->to - (third < TBS_DAY ? third : TBS_DAY);
	l->value.bytes = sizeof(*l) + n;
	l->value.free = leaf_free;
	memcpy(l->der, der, n);
	l->chain[0].pubkey = key->pub;
	l->chain[0].cert = (gnutls_datum_t){ l->der, (unsigned)n };
	l->chain[0].type = GNUTLS_CRT_X509;
	for (c = 0; c < i->n; c++)
		l->chain[1 + c] = i->chain[c];
	l->n = 1 + i->n;
	l->key = key->key;
	l->expiry = tbs->to;
	l->issuer = issuer_ref(i);
	return (l);
}

/* Certificate ::= { tbs, algorithm, signature }, into d. */
static void
put_certificate(struct der *d, bool rsa, const gnutls_datum_t *tbs,
    const gnutls_datum_t *sig)
{
	const unsigned char *end = d->at;

	der_raw(d, sig->data, sig->size);
	der_raw(d, "", 1); /* no unused bits */
	der_wrap(d, DER_BIT_STRING, end);
	tbs_write_algorithm(d, rsa);
	der_raw(d, tbs->data, tbs->size);
	der_wrap(d, DER_SEQUENCE, end);
}

/* As sign() takes f. */
static struct leaf *
mint(struct issuer *i, struct keyholder *k, const char *host,
    const struct own_key *key, unsigned days, struct fault *f)
{
	unsigned char buf[TBS_MAX], whole[TBS_MAX + SIGNATURE_MAX];
	struct der at = der_begin(buf, sizeof(buf));
	struct der d = der_begin(whole, sizeof(whole));
	gnutls_datum_t tbs, sig = { NULL, 0 };
	struct tbs_leaf l;

	describe(&l, key, host);
	if (!life_set(&i->is, days, &l, f))
		return (NULL);
	if (!tbs_permits(&i->is, host)) {
		fault_set(f, ERR_MINT, "the CA's name constraints");
		return (NULL);
	}
	tbs_write(&at, &i->is, &l);
	tbs = (gnutls_datum_t){ at.at, (unsigned)(buf + sizeof(buf) - at.at) };
	assert(tbs.size > 0);
	if (!sign(i, k, &l, &tbs, &sig, f))
		return (NULL);
	put_certificate(&d, i->is.rsa, &tbs, &sig);
	gnutls_free(sig.data);
	return (
	    leaf_new(i, key, d.at, (size_t)(whole + sizeof(whole) - d.at), &l));
}

struct leaf *
mint_leaf(struct issuer *i, struct keyholder *k, const char *host, bool rsa,
    unsigned days, struct fault *f)
{
	own_need();
	if (rsa)
		pthread_once(&own.rsa_once, own_rsa_make);
	return (mint(i, k, host, rsa ? &own.rsa : &own.ec, days, f));
}

struct leaf *
mint_leaf_now(struct issuer *i, struct keyholder *k, const char *host, bool rsa,
    unsigned days)
{
	own_need();
	if (rsa && !atomic_load_explicit(&own.has_rsa, memory_order_acquire))
		return (NULL);
	return (mint(i, k, host, rsa ? &own.rsa : &own.ec, days, NULL));
}
