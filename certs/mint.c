/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One leaf: its DER written by hand (two microseconds; GnuTLS's own way takes
 * fifty and a copy of each field), its digest signed by the key holder.
 * RFC 5280 4.1 and 4.2; what is in it: leaf.h.
 */
#include <assert.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/ca_priv.h"
#include "certs/der.h"
#include "certs/name.h"

#define HOUR 3600
#define DAY 86400
#define MAX_DAYS 398		/* browsers' bound */
#define CN_MAX 64		/* RFC 5280 A.1, ub-common-name */
#define TBS_MAX 8192		/* issuer name 2 KB, host 253 bytes twice, key, ids */
#define SIGNATURE_MAX 2112	/* RSA-16384, and what is around it */

static const unsigned char version_3[] = { 0xa0, 3, 2, 1, 2 };
static const unsigned char ecdsa_sha256[] = { 0x30, 10, 6, 8,
    0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2 };
static const unsigned char rsa_sha256[] = { 0x30, 13, 6, 9,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0 };
static const unsigned char oid_cn[] = { 6, 3, 0x55, 4, 3 };
static const unsigned char oid_o[] = { 6, 3, 0x55, 4, 10 };
static const unsigned char oid_san[] = { 6, 3, 0x55, 0x1d, 17 };
static const unsigned char oid_ski[] = { 6, 3, 0x55, 0x1d, 14 };
static const unsigned char oid_aki[] = { 6, 3, 0x55, 0x1d, 35 };
/* CA:FALSE critical; digitalSignature critical; serverAuth. */
static const unsigned char fixed_extensions[] = {
	0x30, 12, 6, 3, 0x55, 0x1d, 19, 1, 1, 0xff, 4, 2, 0x30, 0,
	0x30, 14, 6, 3, 0x55, 0x1d, 15, 1, 1, 0xff, 4, 4, 3, 2, 7, 0x80,
	0x30, 19, 6, 3, 0x55, 0x1d, 37, 4, 12, 0x30, 10,
	6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1
};

/* The key of all leaves of this process, and the one nobody trusts. */
static struct {
	pthread_once_t once;
	gnutls_privkey_t key;
	gnutls_pubkey_t pub;
	gnutls_datum_t spki;
	unsigned char id[20];
	struct issuer *untrusted;
} own = { .once = PTHREAD_ONCE_INIT };

static void
ok_or_abort(int r)
{
	if (r < 0)
		abort();	/* no memory or no random numbers: nothing works */
}

static void
own_leaf_key(void)
{
	size_t n = sizeof(own.id);

	ok_or_abort(gnutls_privkey_init(&own.key));
	ok_or_abort(gnutls_privkey_generate(own.key, GNUTLS_PK_EC,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	ok_or_abort(gnutls_pubkey_init(&own.pub));
	/* GnuTLS's server looks at the usage here, not in the certificate. */
	ok_or_abort(gnutls_pubkey_import_privkey(own.pub, own.key,
	    GNUTLS_KEY_DIGITAL_SIGNATURE, 0));
	ok_or_abort(gnutls_pubkey_export2(own.pub, GNUTLS_X509_FMT_DER,
	    &own.spki));
	ok_or_abort(gnutls_pubkey_get_key_id(own.pub, 0, own.id, &n));
}

static void
put_name(struct der *d, const unsigned char oid[5], const char *text)
{
	const unsigned char *end = d->at;

	der_put(d, DER_UTF8, text, strlen(text));
	der_raw(d, oid, 5);
	der_wrap(d, DER_SEQUENCE, end);
	der_wrap(d, DER_SET, end);
	der_wrap(d, DER_SEQUENCE, end);
}

static void
own_untrusted(void)
{
	struct issuer *i = calloc(1, sizeof(*i));
	unsigned char buf[128];
	struct der d = der_begin(buf, sizeof(buf));

	if (i == NULL)
		abort();
	put_name(&d, oid_cn, "assay: origin certificate is not trusted");
	atomic_init(&i->refs, 1);
	ok_or_abort(gnutls_privkey_init(&i->local));
	ok_or_abort(gnutls_privkey_generate(i->local, GNUTLS_PK_EC,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	i->id_n = 20;
	ok_or_abort(gnutls_rnd(GNUTLS_RND_NONCE, i->id, i->id_n));
	i->name.size = (unsigned)(buf + sizeof(buf) - d.at);
	i->name.data = gnutls_malloc(i->name.size);
	if (i->name.data == NULL)
		abort();
	memcpy(i->name.data, d.at, i->name.size);
	i->not_before = time(NULL) - DAY;
	i->not_after = time(NULL) + MAX_DAYS * 10 * (time_t)DAY;
	own.untrusted = i;
}

static void
own_make(void)
{
	own_leaf_key();
	own_untrusted();
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
	return (issuer_ref(own.untrusted));
}

/* Extension ::= { extnID, extnValue OCTET STRING of what is since end }. */
static void
end_extension(struct der *d, const unsigned char oid[5],
    const unsigned char *end)
{
	der_wrap(d, DER_OCTET_STRING, end);
	der_raw(d, oid, 5);
	der_wrap(d, DER_SEQUENCE, end);
}

static void
put_san(struct der *d, const char *host)
{
	const unsigned char *end = d->at;
	unsigned char ip[16];
	unsigned n = name_ip(host, ip);

	if (n > 0)
		der_put(d, 0x87, ip, n);		/* iPAddress */
	else
		der_put(d, 0x82, host, strlen(host));	/* dNSName */
	der_wrap(d, DER_SEQUENCE, end);
	end_extension(d, oid_san, end);
}

static void
put_extensions(struct der *d, const struct issuer *i, const char *host)
{
	const unsigned char *all = d->at, *end = d->at;

	der_put(d, 0x80, i->id, i->id_n);		/* keyIdentifier */
	der_wrap(d, DER_SEQUENCE, end);
	end_extension(d, oid_aki, end);
	end = d->at;
	der_put(d, DER_OCTET_STRING, own.id, sizeof(own.id));
	end_extension(d, oid_ski, end);
	put_san(d, host);
	der_raw(d, fixed_extensions, sizeof(fixed_extensions));
	der_wrap(d, DER_SEQUENCE, all);
	der_wrap(d, 0xa3, all);
}

static void
put_serial(struct der *d)
{
	unsigned char serial[16];

	ok_or_abort(gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial)));
	serial[0] = (serial[0] & 0x3f) | 0x40;	/* positive, 16 bytes always */
	der_put(d, DER_INTEGER, serial, sizeof(serial));
}

static void
put_algorithm(struct der *d, const struct issuer *i)
{
	if (i->rsa)
		der_raw(d, rsa_sha256, sizeof(rsa_sha256));
	else
		der_raw(d, ecdsa_sha256, sizeof(ecdsa_sha256));
}

struct life {
	time_t from, to;
};

/* TBSCertificate, from its last field to its first. */
static void
put_tbs(struct der *d, const struct issuer *i, const char *host,
    const struct life *life)
{
	const unsigned char *all = d->at, *end;

	put_extensions(d, i, host);
	der_raw(d, own.spki.data, own.spki.size);
	if (strlen(host) <= CN_MAX)
		put_name(d, oid_cn, host);
	else
		put_name(d, oid_o, "assay");	/* not empty: no critical SAN */
	end = d->at;
	der_time(d, life->to);
	der_time(d, life->from);
	der_wrap(d, DER_SEQUENCE, end);
	der_raw(d, i->name.data, i->name.size);
	put_algorithm(d, i);
	put_serial(d);
	der_raw(d, version_3, sizeof(version_3));
	der_wrap(d, DER_SEQUENCE, all);
}

static bool
life_set(const struct issuer *i, unsigned days, struct life *l,
    struct fault *f)
{
	time_t now = time(NULL);

	if (days == 0 || days > MAX_DAYS)
		days = MAX_DAYS;
	l->from = now - HOUR > i->not_before ? now - HOUR : i->not_before;
	l->to = l->from + days * (time_t)DAY;
	if (l->to > i->not_after)
		l->to = i->not_after;
	if (l->from <= now && now < l->to)
		return (true);
	fault_set(f, ERR_MINT, "the CA certificate is outside its dates");
	return (false);
}

/* f NULL: at once or not at all. */
static bool
sign(struct issuer *i, struct keyholder *k, const unsigned char *p, size_t n,
    gnutls_datum_t *sig, struct fault *f)
{
	unsigned char digest[32];
	gnutls_datum_t hash = { digest, sizeof(digest) };

	ok_or_abort(gnutls_hash_fast(GNUTLS_DIG_SHA256, p, n, digest));
	if (i->local == NULL && f == NULL)
		return (keyholder_try_sign(k, i->which, i->epoch, digest,
		    sig));
	if (i->local == NULL)
		return (keyholder_sign(k, i->which, i->epoch, digest, sig, f));
	ok_or_abort(gnutls_privkey_sign_hash2(i->local,
	    GNUTLS_SIGN_ECDSA_SHA256, 0, &hash, sig));
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
leaf_new(struct issuer *i, const unsigned char *der, size_t n,
    const struct life *life)
{
	struct leaf *l = calloc(1, sizeof(*l) + n);
	time_t third = (life->to - life->from) / 3;
	unsigned c;

	if (l == NULL)
		abort();
	atomic_init(&l->value.refs, 1);
	l->value.fresh_until = life->to - (third < DAY ? third : DAY);
	l->value.bytes = sizeof(*l) + n;
	l->value.free = leaf_free;
	memcpy(l->der, der, n);
	l->chain[0].pubkey = own.pub;
	l->chain[0].cert = (gnutls_datum_t){ l->der, (unsigned)n };
	l->chain[0].type = GNUTLS_CRT_X509;
	for (c = 0; c < i->n; c++)
		l->chain[1 + c] = i->chain[c];
	l->n = 1 + i->n;
	l->key = own.key;
	l->expiry = life->to;
	l->issuer = issuer_ref(i);
	return (l);
}

/* Certificate ::= { tbs, algorithm, signature }, into d. */
static void
put_certificate(struct der *d, const struct issuer *i, const struct der *tbs,
    size_t n, const gnutls_datum_t *sig)
{
	const unsigned char *end = d->at;

	der_raw(d, sig->data, sig->size);
	der_raw(d, "", 1);			/* no unused bits */
	der_wrap(d, DER_BIT_STRING, end);
	put_algorithm(d, i);
	der_raw(d, tbs->at, n);
	der_wrap(d, DER_SEQUENCE, end);
}

/* As sign() takes f. */
static struct leaf *
mint(struct issuer *i, struct keyholder *k, const char *host, unsigned days,
    struct fault *f)
{
	unsigned char buf[TBS_MAX], whole[TBS_MAX + SIGNATURE_MAX];
	struct der tbs = der_begin(buf, sizeof(buf));
	struct der d = der_begin(whole, sizeof(whole));
	gnutls_datum_t sig = { NULL, 0 };
	struct life life;
	size_t n;

	own_need();
	if (!life_set(i, days, &life, f))
		return (NULL);
	put_tbs(&tbs, i, host, &life);
	n = (size_t)(buf + sizeof(buf) - tbs.at);
	if (!sign(i, k, tbs.at, n, &sig, f))
		return (NULL);
	put_certificate(&d, i, &tbs, n, &sig);
	gnutls_free(sig.data);
	return (leaf_new(i, d.at, (size_t)(whole + sizeof(whole) - d.at),
	    &life));
}

struct leaf *
mint_leaf(struct issuer *i, struct keyholder *k, const char *host,
    unsigned days, struct fault *f)
{
	return (mint(i, k, host, days, f));
}

struct leaf *
mint_leaf_now(struct issuer *i, struct keyholder *k, const char *host,
    unsigned days)
{
	return (mint(i, k, host, days, NULL));
}
