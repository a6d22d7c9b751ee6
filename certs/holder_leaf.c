/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the key holder signs: leaves.  It does not read the certificate that
 * the proxy wants signed: it checks what the proxy says of it (a message of
 * fixed size), writes the certificate that follows from that (tbs_priv.h), and
 * compares.  What is not in struct tbs_leaf is thus always ours: version,
 * algorithm, issuer, CA:FALSE, digitalSignature, serverAuth, identifiers.
 */
#include <assert.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>
#include "certs/holder_priv.h"
#include "certs/leaf.h"

#define OLDEST_DAYS 2 /* a leaf does not begin earlier */
#define LEAVES_A_SECOND 2000
#define RSA_LEAST 2048
#define RSA_MOST 4096

static bool
dates_ok(const struct tbs_issuer *i, const struct tbs_leaf *l)
{
	int64_t now = time(NULL);

	return (l->from >= now - OLDEST_DAYS * TBS_DAY &&
	    l->from >= i->not_before && l->from < l->to &&
	    l->to <= i->not_after &&
	    l->to - l->from <= TBS_MAX_DAYS * (int64_t)TBS_DAY);
}

/* A text, zeros behind it, and a name or an address. */
static bool
host_ok(const char host[static 256])
{
	size_t n = strnlen(host, 256);

	for (; n < 256; n++)
		if (host[n] != '\0')
			return (false);
	return (host[255] == '\0' && leaf_host_ok(host));
}

/* EC on P-256 or RSA, in the one encoding that GnuTLS writes. */
static bool
key_kind_ok(gnutls_pubkey_t key, uint32_t spki_n)
{
	gnutls_ecc_curve_t curve = GNUTLS_ECC_CURVE_INVALID;
	unsigned bits = 0;
	int kind = gnutls_pubkey_get_pk_algorithm(key, &bits);

	if (kind == GNUTLS_PK_RSA)
		return (bits >= RSA_LEAST && bits <= RSA_MOST);
	return (kind == GNUTLS_PK_ECDSA && spki_n == TBS_P256_SPKI &&
	    gnutls_pubkey_export_ecc_raw2(key, &curve, NULL, NULL,
		GNUTLS_EXPORT_FLAG_NO_LZ) >= 0 &&
	    curve == GNUTLS_ECC_CURVE_SECP256R1);
}

static bool
key_same(gnutls_pubkey_t key, const struct tbs_leaf *l)
{
	gnutls_datum_t der = { NULL, 0 };
	bool same = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &der) >=
		0 &&
	    der.size == l->spki_n && memcmp(der.data, l->spki, der.size) == 0;

	gnutls_free(der.data);
	return (same);
}

static bool
key_is_new_and_ok(struct holder *h, const struct tbs_leaf *l)
{
	gnutls_datum_t der = { (unsigned char *)(uintptr_t)l->spki, l->spki_n };
	size_t n = sizeof(h->key_id);
	gnutls_pubkey_t key;
	bool ok;

	if (gnutls_pubkey_init(&key) < 0)
		return (false);
	h->spki_n = 0;
	ok = gnutls_pubkey_import(key, &der, GNUTLS_X509_FMT_DER) >= 0 &&
	    key_kind_ok(key, l->spki_n) && key_same(key, l) &&
	    gnutls_pubkey_get_key_id(key, 0, h->key_id, &n) >= 0;
	gnutls_pubkey_deinit(key);
	if (ok) {
		assert(n == sizeof(h->key_id));
		assert(l->spki_n <= sizeof(h->spki));
		memcpy(h->spki, l->spki, l->spki_n);
		h->spki_n = l->spki_n;
	}
	return (ok);
}

/* All leaves have one of two keys: the last one is looked at no more. */
static bool
key_ok(struct holder *h, const struct tbs_leaf *l)
{
	if (l->spki_n == 0 || l->spki_n > sizeof(l->spki))
		return (false);
	if ((l->spki_n != h->spki_n ||
		memcmp(l->spki, h->spki, l->spki_n) != 0) &&
	    !key_is_new_and_ok(h, l))
		return (false);
	assert(h->spki_n == l->spki_n);
	return (memcmp(l->key_id, h->key_id, sizeof(l->key_id)) == 0);
}

static bool
leaf_ok(struct holder *h, const struct tbs_leaf *l)
{
	if (!dates_ok(&h->issuer, l))
		return (holder_fail(h, "not a leaf of ours: dates"));
	if (!host_ok(l->host))
		return (holder_fail(h, "not a leaf of ours: host"));
	if (!tbs_permits(&h->issuer, l->host))
		return (holder_fail(h, "not a leaf of ours: name constraints"));
	if ((l->serial[0] & 0xc0) != 0x40)
		return (holder_fail(h, "not a leaf of ours: serial"));
	return (key_ok(h, l) || holder_fail(h, "not a leaf of ours: key"));
}

static bool
same_bytes(struct holder *h, const struct tbs_leaf *l,
    const gnutls_datum_t *tbs)
{
	unsigned char buf[TBS_MAX];
	struct der d = der_begin(buf, sizeof(buf));

	tbs_write(&d, &h->issuer, l);
	return ((size_t)(buf + sizeof(buf) - d.at) == tbs->size &&
	    memcmp(d.at, tbs->data, tbs->size) == 0);
}

int64_t
holder_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000);
}

/*
 * So many a second, and a burst of one second's.  Who wants more waits: a
 * process that was taken over makes no stock of certificates in a moment, and
 * a busy one loses none.
 */
static void
pace(struct holder *h)
{
	int64_t now = holder_now_us(), wait;

	if (h->next_us < now - 1000000)
		h->next_us = now - 1000000;
	h->next_us += 1000000 / LEAVES_A_SECOND;
	if ((wait = h->next_us - now) > 0)
		nanosleep(&(struct timespec){ .tv_nsec = wait * 1000 }, NULL);
}

void
holder_count(struct holder *h)
{
	h->owes = h->tells;
	if (h->owes &&
	    holder_now_us() - h->counted_us >= HOLDER_COUNT_MS * 1000)
		holder_tell(h, &(struct keys_news){ .kind = KEYS_COUNT });
}

/* At most one a second, for who asks may do so all day. */
bool
holder_refused(struct holder *h)
{
	struct keys_news n = { .kind = KEYS_REFUSED };
	int64_t now = holder_now_us();

	h->refused++;
	if (!h->tells || (h->told_us != 0 && now - h->told_us < 1000000)) {
		holder_count(h);
		return (false);
	}
	h->told_us = now;
	(void)snprintf(n.text, sizeof(n.text), "%.255s", h->text);
	holder_tell(h, &n);
	return (false);
}

static void
signed_one(struct holder *h, const struct tbs_leaf *l)
{
	struct keys_news n = { .kind = KEYS_LEAF,
		.from = l->from,
		.to = l->to };

	h->leaves++;
	if (!h->tells_leaves) {
		holder_count(h);
		return;
	}
	memcpy(n.serial, l->serial, sizeof(n.serial));
	memcpy(n.text, l->host, sizeof(n.text));
	holder_tell(h, &n);
}

static bool
is_leaf(struct holder *h, const struct holder_msg *m, struct tbs_leaf *l)
{
	if (m->field[0].size != sizeof(*l))
		return (holder_fail(h, "not a leaf of ours: size"));
	memcpy(l, m->field[0].data, sizeof(*l));
	return (leaf_ok(h, l) &&
	    (same_bytes(h, l, &m->field[1]) ||
		holder_fail(h, "not a leaf of ours: certificate")));
}

bool
holder_leaf(struct holder *h, const struct holder_msg *m, gnutls_datum_t *sig)
{
	struct tbs_leaf l;
	int r;

	assert(h->key != NULL && sig->data == NULL);
	if (!is_leaf(h, m, &l))
		return (holder_refused(h));
	pace(h);
	r = gnutls_privkey_sign_data2(h->key,
	    h->issuer.rsa ? GNUTLS_SIGN_RSA_SHA256 : GNUTLS_SIGN_ECDSA_SHA256,
	    0, &m->field[1], sig);
	if (r < 0)
		return (holder_fail(h, "signing: %s", gnutls_strerror(r)));
	signed_one(h, &l);
	return (true);
}
