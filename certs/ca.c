/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CA of a generation, see ca.h. */
#include <assert.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/handed.h"
#include "certs/ca_priv.h"
#include "certs/crt_priv.h"

#define DAY 86400
#define RETRY 3600 /* s: when an intermediate could not be renewed */
#define MAX_FILE (1 << 20)
#define MAX_ABOVE 3 /* certificates behind the CA's in its file */
#define OWN_KEYS 32 /* issuers remembered for ca_owns() */

struct ca {
	_Atomic unsigned refs;
	struct keyholder *holder;
	gnutls_x509_crt_t crt;
	gnutls_datum_t der, pem;
	gnutls_datum_t above[MAX_ABOVE + 1]; /* DER: sent behind issuers */
	unsigned above_n;
	char fingerprint[65];
	char name[256];
	time_t not_after;
	unsigned leaf_days;
	bool created;
	bool by_issuer;         /* leaves are signed by an intermediate */
	pthread_mutex_t making; /* held while the holder makes an issuer */
	pthread_mutex_t lock;   /* of everything below; never held for long */
	struct issuer *issuer;  /* counted */
	time_t renew_at;        /* the intermediate's */
	unsigned char own[OWN_KEYS][KEY_TAIL]; /* public keys, the CA's first */
	unsigned own_n;
};

/* Issuers. */

static bool
chain_add(struct issuer *i, const gnutls_datum_t *der, struct fault *f)
{
	int r;

	assert(i->n < LEAF_MAX_CHAIN - 1); /* MAX_ABOVE and the issuer */
	r = gnutls_pcert_import_x509_raw(&i->chain[i->n], der,
	    GNUTLS_X509_FMT_DER, 0);
	if (r < 0) {
		fault_set(f, ERR_CONFIG, "certificate of the CA's chain: %s",
		    gnutls_strerror(r));
		return (false);
	}
	i->n++;
	return (true);
}

static bool
chain_above(struct ca *ca, struct issuer *i, struct fault *f)
{
	unsigned n;

	for (n = 0; n < ca->above_n; n++)
		if (!chain_add(i, &ca->above[n], f))
			return (false);
	return (true);
}

static struct issuer *
issuer_of_der(const gnutls_datum_t *der, struct fault *f)
{
	struct issuer *i = NULL;
	gnutls_x509_crt_t crt;
	int r;

	if (gnutls_x509_crt_init(&crt) < 0)
		abort();
	if ((r = gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER)) < 0)
		fault_set(f, ERR_MINT, "issuing certificate: %s",
		    gnutls_strerror(r));
	else
		i = issuer_new(crt, f);
	gnutls_x509_crt_deinit(crt);
	return (i);
}

static struct issuer *
issuer_make(struct ca *ca, struct fault *f)
{
	gnutls_datum_t der = { NULL, 0 };
	struct issuer *i = NULL;
	unsigned epoch;

	assert(ca->by_issuer);
	if (keyholder_issuer(ca->holder, &der, &epoch, f) &&
	    (i = issuer_of_der(&der, f)) != NULL) {
		assert(epoch != 0 && i->n == 0);
		i->epoch = epoch;
		if (!chain_add(i, &der, f) || !chain_above(ca, i, f))
			issuer_unref(&i);
	}
	gnutls_free(der.data);
	return (i);
}

static void
issuer_take(struct ca *ca, struct issuer *i)
{
	unsigned slot = ca->own_n < OWN_KEYS ? ca->own_n++
					     : 1 + (i->epoch % (OWN_KEYS - 1));

	assert(slot > 0 && slot < OWN_KEYS); /* the CA's stays the first */
	memcpy(ca->own[slot], i->key, KEY_TAIL);
	ca->renew_at = i->is.not_after == ca->not_after
	    ? i->is.not_after
	    : i->is.not_before + (i->is.not_after - i->is.not_before) / 3 * 2;
	issuer_unref(&ca->issuer);
	ca->issuer = i;
}

/* Its key went with its holder, or two thirds of its life are over. */
static bool
issuer_is_old(struct ca *ca)
{
	return (ca->by_issuer &&
	    (ca->issuer == NULL ||
		ca->issuer->epoch != keyholder_epoch(ca->holder) ||
		time(NULL) >= ca->renew_at));
}

/* Counted; NULL: it is old, or there is none. */
struct issuer *
ca_issuer_now(struct ca *ca)
{
	struct issuer *i;

	pthread_mutex_lock(&ca->lock);
	assert(ca->by_issuer || ca->issuer != NULL);
	i = issuer_is_old(ca) ? NULL : issuer_ref(ca->issuer);
	pthread_mutex_unlock(&ca->lock);
	return (i);
}

/* No new one: the old one is good as long as its holder lives; counted. */
static struct issuer *
issuer_go_on(struct ca *ca)
{
	struct issuer *i = NULL;

	pthread_mutex_lock(&ca->lock);
	if (ca->issuer != NULL && time(NULL) < ca->issuer->is.not_after &&
	    ca->issuer->epoch == keyholder_epoch(ca->holder)) {
		ca->renew_at = time(NULL) + RETRY;
		i = issuer_ref(ca->issuer);
	}
	pthread_mutex_unlock(&ca->lock);
	return (i);
}

static struct issuer *
issuer_renew(struct ca *ca, struct fault *f)
{
	struct fault cause = { ERR_NONE, "" };
	struct issuer *i = issuer_make(ca, &cause);

	if (i == NULL) {
		if ((i = issuer_go_on(ca)) == NULL)
			fault_copy(f, &cause);
		return (i);
	}
	pthread_mutex_lock(&ca->lock);
	issuer_take(ca, issuer_ref(i));
	pthread_mutex_unlock(&ca->lock);
	return (i);
}

struct issuer *
ca_issuer(struct ca *ca, struct fault *f)
{
	struct issuer *i = ca_issuer_now(ca);

	if (i != NULL)
		return (i);
	pthread_mutex_lock(&ca->making);
	i = ca_issuer_now(ca); /* another signer may have made it */
	if (i == NULL)
		i = issuer_renew(ca, f);
	pthread_mutex_unlock(&ca->making);
	return (i);
}

/* Is this a CA to sign with? */

static bool
refuse(const struct ca_options *o, struct fault *f, const char *why)
{
	fault_set(f, ERR_CONFIG, "%s: %s", o->cert, why);
	return (false);
}

static bool
dates_ok(struct ca *ca, const struct ca_options *o, struct fault *f)
{
	time_t now = time(NULL), from;
	char day[16];

	from = gnutls_x509_crt_get_activation_time(ca->crt);
	ca->not_after = gnutls_x509_crt_get_expiration_time(ca->crt);
	if (from <= now && now < ca->not_after)
		return (true);
	crt_day(from > now ? from : ca->not_after, day);
	fault_set(f, ERR_CONFIG, "%s: the CA certificate %s %s", o->cert,
	    from > now ? "is not valid before" : "expired on", day);
	return (false);
}

static bool
strength_ok(struct ca *ca, const struct ca_options *o, struct fault *f)
{
	const char *why = crt_weakness(ca->crt, crt_is_self_issued(ca->crt));
	int pk = gnutls_x509_crt_get_pk_algorithm(ca->crt, NULL);

	if (pk != GNUTLS_PK_RSA && pk != GNUTLS_PK_ECDSA)
		return (refuse(o, f, "the CA's key is neither RSA nor EC"));
	if (why == NULL)
		return (true);
	fault_set(f, ERR_CONFIG, "%s: the CA certificate is too weak: %s",
	    o->cert, why);
	return (false);
}

static bool
usage_ok(struct ca *ca, const struct ca_options *o, struct fault *f)
{
	unsigned is_ca = 0, usage = 0;
	int path_len = -1;
	gnutls_datum_t dn = { NULL, 0 };
	bool small;

	if (gnutls_x509_crt_get_basic_constraints(ca->crt, NULL, &is_ca,
		&path_len) < 0 ||
	    !is_ca)
		return (refuse(o, f, "not a CA certificate (no CA:TRUE)"));
	if (gnutls_x509_crt_get_key_usage(ca->crt, &usage, NULL) >= 0 &&
	    (usage & GNUTLS_KEY_KEY_CERT_SIGN) == 0)
		return (refuse(o, f,
		    "the CA may not sign certificates (no keyCertSign)"));
	/* EKU of a CA limits what is below */
	if (!crt_serves_tls(ca->crt, true))
		return (refuse(o, f,
		    "the CA may not sign for TLS servers "
		    "(extended key usage)"));
	small = gnutls_x509_crt_get_raw_dn(ca->crt, &dn) >= 0 && dn.size > 2 &&
	    dn.size <= TBS_MAX_NAME;
	gnutls_free(dn.data);
	if (!small)
		return (refuse(o, f, "empty or very long subject"));
	ca->by_issuer = path_len != 0 &&
	    gnutls_x509_crt_get_pk_algorithm(ca->crt, NULL) == GNUTLS_PK_RSA;
	return (true);
}

/* Loading. */

static bool
file_absent(const char *path)
{
	return (access(path, F_OK) != 0 && errno == ENOENT);
}

bool
ca_files_ok(const char *cert, const char *key, struct fault *f)
{
	if (strncmp(key, "pkcs11:", 7) == 0 || file_absent(cert) ||
	    !file_absent(key))
		return (true);
	fault_set(f, ERR_CONFIG,
	    "%s: no such file, but its certificate %s exists", key, cert);
	return (false);
}

static bool
read_file(const char *path, unsigned char **out, size_t *n, struct fault *f)
{
	int fd = handed_open(path);
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	unsigned char *p = malloc(MAX_FILE + 1);

	if (p == NULL)
		abort();
	*out = p;
	*n = file != NULL ? fread(p, 1, MAX_FILE + 1, file) : 0;
	if (file == NULL || ferror(file) != 0)
		fault_set(f, ERR_CONFIG, "%s: %s", path, strerror(errno));
	else if (*n > MAX_FILE)
		fault_set(f, ERR_CONFIG, "%s: too large", path);
	if (file != NULL)
		(void)fclose(file);
	return (f->code == ERR_NONE);
}

/* What is sent above an issuer: the CA unless clients have it, and its like. */
static void
take_above(struct ca *ca, gnutls_x509_crt_t *crts, unsigned n)
{
	unsigned i;

	assert(n > 0 && ca->above_n == 0);
	for (i = 0; i < n && ca->above_n <= MAX_ABOVE; i++)
		if (!crt_is_self_issued(crts[i]) &&
		    gnutls_x509_crt_export2(crts[i], GNUTLS_X509_FMT_DER,
			&ca->above[ca->above_n]) >= 0)
			ca->above_n++;
}

static void
fingerprint(struct ca *ca)
{
	unsigned char hash[32];
	unsigned i;

	assert(ca->der.size > 0);
	gnutls_hash_fast(GNUTLS_DIG_SHA256, ca->der.data, ca->der.size, hash);
	for (i = 0; i < sizeof(hash); i++)
		(void)snprintf(ca->fingerprint + 2 * i, 3, "%02x", hash[i]);
}

static bool
take_certificates(struct ca *ca, const struct ca_options *o,
    gnutls_x509_crt_t *crts, unsigned n, struct fault *f)
{
	size_t size = sizeof(ca->name);
	unsigned i;

	take_above(ca, crts, n);
	ca->crt = crts[0];
	for (i = 1; i < n; i++)
		gnutls_x509_crt_deinit(crts[i]);
	if (gnutls_x509_crt_get_dn_by_oid(ca->crt, GNUTLS_OID_X520_COMMON_NAME,
		0, 0, ca->name, &size) < 0)
		strcpy(ca->name, "CA");
	if (gnutls_x509_crt_export2(ca->crt, GNUTLS_X509_FMT_DER, &ca->der) <
		0 ||
	    gnutls_x509_crt_export2(ca->crt, GNUTLS_X509_FMT_PEM, &ca->pem) < 0)
		return (refuse(o, f, "cannot be encoded"));
	fingerprint(ca);
	return (true);
}

static bool
load_certificate(struct ca *ca, const struct ca_options *o, struct fault *f)
{
	gnutls_x509_crt_t *crts = NULL;
	unsigned char *p;
	unsigned n = 0;
	size_t size;
	bool ok = false;
	int r;

	if (read_file(o->cert, &p, &size, f)) {
		r = gnutls_x509_crt_list_import2(&crts, &n,
		    &(gnutls_datum_t){ p, (unsigned)size }, GNUTLS_X509_FMT_PEM,
		    0);
		if (r < 0 || n == 0)
			(void)refuse(o, f,
			    r < 0 ? gnutls_strerror(r) : "no certificate");
		else
			ok = take_certificates(ca, o, crts, n, f);
		gnutls_free(crts);
	}
	free(p);
	return (ok);
}

static bool
first_issuer(struct ca *ca, struct fault *f)
{
	struct issuer *i = issuer_new(ca->crt, f);

	if (i == NULL)
		return (false);
	assert(ca->own_n == 0 && ca->issuer == NULL);
	memcpy(ca->own[ca->own_n++], i->key, KEY_TAIL);
	if (ca->by_issuer) {
		issuer_unref(&i);
		if ((i = issuer_make(ca, f)) != NULL)
			issuer_take(ca, i);
		return (i != NULL);
	}
	ca->issuer = i;
	return (chain_above(ca, i, f));
}

static struct ca *
ca_alloc(void)
{
	struct ca *ca = calloc(1, sizeof(*ca));

	if (ca == NULL)
		abort();
	atomic_init(&ca->refs, 1);
	pthread_mutex_init(&ca->making, NULL);
	pthread_mutex_init(&ca->lock, NULL);
	return (ca);
}

static bool
read_checked(struct ca *ca, const struct ca_options *o, struct fault *f)
{
	return (load_certificate(ca, o, f) && usage_ok(ca, o, f) &&
	    strength_ok(ca, o, f) && dates_ok(ca, o, f));
}

bool
ca_read_file(const char *cert, gnutls_datum_t *der, enum keyholder_key *which,
    struct fault *f)
{
	struct ca_options o = { .cert = cert };
	struct ca *ca = ca_alloc();
	bool ok = read_checked(ca, &o, f);

	if (ok) {
		*der = ca->der;
		ca->der = (gnutls_datum_t){ NULL, 0 };
		*which = ca->by_issuer ? KEYHOLDER_ISSUER : KEYHOLDER_CA;
	}
	ca_unref(&ca);
	return (ok);
}

/* Its key holder has the key: of this certificate? */
static bool
holder_ok(struct ca *ca, const struct ca_options *o, struct fault *f)
{
	const gnutls_datum_t *has;

	ca->created = o->created;
	if (o->holder == NULL) {
		ca->holder = keyholder_start(f);
		if (ca->holder == NULL ||
		    !keyholder_open(ca->holder, o->cert, o->key, o->create,
			&ca->created, f))
			return (false);
	}
	has = keyholder_ca(ca->holder);
	if (!read_checked(ca, o, f))
		return (false);
	return ((has->size == ca->der.size &&
		    memcmp(has->data, ca->der.data, has->size) == 0) ||
	    refuse(o, f, "has changed while it was loaded"));
}

struct ca *
ca_open(const struct ca_options *o, struct fault *f)
{
	struct ca *ca = ca_alloc();
	struct fault cause = { ERR_NONE, "" };

	ca->leaf_days = o->leaf_days;
	ca->holder = o->holder;
	if (!holder_ok(ca, o, &cause) || !first_issuer(ca, &cause)) {
		fault_set(f, cause.code == ERR_SYSTEM ? ERR_SYSTEM : ERR_CONFIG,
		    "%s", cause.detail);
		ca_unref(&ca);
	}
	return (ca);
}

struct ca *
ca_ref(struct ca *ca)
{
	unsigned had = atomic_fetch_add_explicit(&ca->refs, 1,
	    memory_order_relaxed);

	assert(had > 0);
	return (ca);
}

void
ca_unref(struct ca **cap)
{
	struct ca *ca = *cap;
	unsigned i, had;

	*cap = NULL;
	if (ca == NULL)
		return;
	had = atomic_fetch_sub_explicit(&ca->refs, 1, memory_order_acq_rel);
	assert(had > 0);
	if (had != 1)
		return;
	keyholder_stop(&ca->holder);
	issuer_unref(&ca->issuer);
	if (ca->crt != NULL)
		gnutls_x509_crt_deinit(ca->crt);
	for (i = 0; i < ca->above_n; i++)
		gnutls_free(ca->above[i].data);
	gnutls_free(ca->der.data);
	gnutls_free(ca->pem.data);
	pthread_mutex_destroy(&ca->lock);
	pthread_mutex_destroy(&ca->making);
	free(ca);
}

/* Questions. */

bool
ca_was_created(const struct ca *ca)
{
	return (ca->created);
}

struct str
ca_pem(const struct ca *ca)
{
	assert(ca->pem.size > 0);
	return ((struct str){ (const char *)ca->pem.data, ca->pem.size });
}

const char *
ca_fingerprint(const struct ca *ca)
{
	return (ca->fingerprint);
}

const char *
ca_name(const struct ca *ca)
{
	return (ca->name);
}

time_t
ca_not_after(const struct ca *ca)
{
	return (ca->not_after);
}

unsigned
ca_leaf_days(const struct ca *ca)
{
	return (ca->leaf_days);
}

struct keyholder *
ca_keyholder(const struct ca *ca)
{
	return (ca->holder);
}

bool
ca_owns(struct ca *ca, const gnutls_datum_t *der)
{
	bool found = false;
	unsigned i;

	pthread_mutex_lock(&ca->lock);
	assert(ca->own_n > 0 && ca->own_n <= OWN_KEYS);
	for (i = 0; i < ca->own_n && !found; i++)
		found = memmem(der->data, der->size, ca->own[i], KEY_TAIL) !=
		    NULL;
	pthread_mutex_unlock(&ca->lock);
	return (found);
}

bool
ca_owns_crt(struct ca *ca, gnutls_x509_crt_t crt)
{
	gnutls_datum_t der = { NULL, 0 };
	bool found = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der) >=
		0 &&
	    ca_owns(ca, &der);

	gnutls_free(der.data);
	return (found);
}
