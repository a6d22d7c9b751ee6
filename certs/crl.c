/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRLs as tables, see crl_priv.h. */
#include <assert.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/handed.h"
#include "base/str.h"
#include "certs/crl_priv.h"
#include "certs/der.h"
#include "certs/der_read.h"

#define SERIAL_MAX 20   /* RFC 5280 4.1.2.2 */
#define POINTS_MOST 8   /* of a certificate, that are looked at */
#define SCOPE_MOST 8192 /* octets */

/* What tags of the context mean. */
#define CONTEXT(n) (0x80 | (n))
#define CONTEXT_OF(n) (0xa0 | (n)) /* constructed */

/* Leading zeros are stripped; of a longer one the last bytes count. */
struct serial {
	unsigned char n;
	unsigned char byte[SERIAL_MAX];
};

struct entry {
	struct serial serial;
	time_t at;
};

struct crl {
	unsigned char *der;      /* owned; NULL: forgotten */
	struct der_in tbs, bits; /* in der: what is signed, and by what */
	struct der_in revoked;   /* in der: entries */
	gnutls_sign_algorithm_t signs;
	unsigned char digest[32];
	unsigned char *kept;      /* owned: of the two below */
	struct der_in issuer;     /* name, whole */
	struct der_in scope;      /* issuingDistributionPoint; n 0: none */
	unsigned char key_id[64]; /* AKI; n 0: none */
	size_t key_id_n;
	time_t from, to;       /* to 0: no nextUpdate */
	bool partial;          /* of a scope that is not understood */
	struct entry *entries; /* sorted */
	size_t n;
	pthread_mutex_t lock; /* of the two below */
	bool verified;
	unsigned char by[32]; /* SHA-256 of the key it was verified with */
};

static struct serial
serial_of(const unsigned char *p, size_t n)
{
	struct serial s = { 0, "" };

	for (; n > 0 && (*p == 0 || n > SERIAL_MAX); p++)
		n--;
	assert(n <= sizeof(s.byte));
	s.n = (unsigned char)n;
	memcpy(s.byte, p, n);
	return (s);
}

static int
entry_compare(const void *a, const void *b)
{
	return (memcmp(a, b, sizeof(struct serial)));
}

/* Entries. */

/* RevokedCertificate (RFC 5280 5.1.2.6), without its extensions. */
static bool
entry_take(struct der_in *in, struct entry *e)
{
	struct der_in one, serial;

	if (!der_take(in, DER_SEQUENCE, &one) ||
	    !der_take(&one, DER_INTEGER, &serial) || serial.n == 0 ||
	    !der_take_time(&one, &e->at))
		return (false);
	e->serial = serial_of(serial.p, serial.n);
	return (true);
}

bool
crl_read_entries(struct crl *c, const char **why)
{
	struct der_in in = c->revoked;
	size_t n = 0;

	assert(c->entries == NULL && c->der != NULL);
	while (der_take(&in, DER_SEQUENCE, NULL))
		n++;
	*why = in.n > 0 ? "unreadable CRL" : NULL;
	c->entries = calloc(n + 1, sizeof(c->entries[0]));
	if (c->entries == NULL)
		abort();
	for (in = c->revoked; *why == NULL && c->n < n; c->n++)
		if (!entry_take(&in, &c->entries[c->n]))
			*why = "unreadable CRL";
	qsort(c->entries, c->n, sizeof(c->entries[0]), entry_compare);
	return (*why == NULL);
}

/* Extensions. */

static const unsigned char oid_key_id[] = { 0x55, 0x1d, 0x23 },
			   oid_number[] = { 0x55, 0x1d, 0x14 },
			   oid_delta[] = { 0x55, 0x1d, 0x1b },
			   oid_scope[] = { 0x55, 0x1d, 0x1c };

#define IS_OID(d, oid) der_same(d, (struct der_in){ oid, sizeof(oid) })

/*
 * IssuingDistributionPoint ::= SEQUENCE of context tags; [4] is indirectCRL:
 * entries are of other issuers than the CRL's own (RFC 5280 5.2.5).
 */
static bool
scope_is_indirect(struct der_in in)
{
	struct der_in list, v;
	unsigned tag;

	if (!der_take(&in, DER_SEQUENCE, &list) || in.n > 0)
		return (true);
	while (der_next(&list, &tag, &v))
		if (tag == CONTEXT(4) ||
		    (tag < 0xa0 && v.n != 1 && tag != CONTEXT(3)))
			return (true);
	return (list.n > 0); /* what we cannot read may be that */
}

/* AuthorityKeyIdentifier: [0] keyIdentifier, if it is there. */
static void
read_key_id(struct crl *c, struct der_in in)
{
	struct der_in list, id;

	if (!der_take(&in, DER_SEQUENCE, &list) ||
	    !der_take(&list, CONTEXT(0), &id) || id.n > sizeof(c->key_id))
		return;
	memcpy(c->key_id, id.p, id.n);
	c->key_id_n = id.n;
}

/* Every critical extension must be understood (RFC 5280 5.2). */
static const char *
read_extension(struct crl *c, struct der_in in)
{
	struct der_in oid, critical = { NULL, 0 }, v;

	if (!der_take(&in, DER_OID, &oid))
		return ("unreadable CRL extension");
	(void)der_take(&in, DER_BOOLEAN, &critical);
	if (!der_take(&in, DER_OCTET_STRING, &v) || in.n > 0)
		return ("unreadable CRL extension");
	if (IS_OID(oid, oid_delta))
		return ("delta CRLs are not supported");
	if (IS_OID(oid, oid_scope)) {
		if (scope_is_indirect(v) || v.n > SCOPE_MOST || c->scope.n > 0)
			return ("indirect CRLs are not supported");
		c->scope = v;
	} else if (IS_OID(oid, oid_key_id))
		read_key_id(c, v);
	else if (!IS_OID(oid, oid_number) && critical.n > 0 &&
	    critical.p[0] != 0)
		c->partial = true;
	return (NULL);
}

static const char *
read_extensions(struct crl *c, struct der_in in)
{
	struct der_in list, one;
	const char *why = NULL;

	if (!der_take(&in, DER_SEQUENCE, &list) || in.n > 0)
		return ("unreadable CRL extension");
	while (why == NULL && der_take(&list, DER_SEQUENCE, &one))
		why = read_extension(c, one);
	return (why == NULL && list.n > 0 ? "unreadable CRL extension" : why);
}

/* Loading. */

/* TBSCertList (RFC 5280 5.1) but for its entries; same: the algorithm again. */
static const char *
read_list(struct crl *c, struct der_in in, struct der_in same)
{
	struct der_in algorithm, more;

	(void)der_take(&in, DER_INTEGER, NULL); /* version */
	if (!der_take_whole(&in, DER_SEQUENCE, &algorithm) ||
	    !der_same(algorithm, same) ||
	    !der_take_whole(&in, DER_SEQUENCE, &c->issuer) ||
	    !der_take_time(&in, &c->from))
		return ("unreadable CRL");
	(void)der_take_time(&in, &c->to);
	(void)der_take(&in, DER_SEQUENCE, &c->revoked);
	if (der_take(&in, CONTEXT_OF(0), &more))
		return (in.n > 0 ? "unreadable CRL" : read_extensions(c, more));
	return (in.n > 0 ? "unreadable CRL" : NULL);
}

/* CertificateList; the algorithm is one that GnuTLS knows, or none will do. */
static const char *
read_frame(struct crl *c, struct der_in in)
{
	struct der_in frame, list, algorithm, oid, bits;
	char text[128];

	if (!der_take(&in, DER_SEQUENCE, &frame) || in.n > 0 ||
	    !der_take_whole(&frame, DER_SEQUENCE, &c->tbs) ||
	    !der_take_whole(&frame, DER_SEQUENCE, &algorithm) ||
	    !der_take(&frame, DER_BIT_STRING, &bits) || frame.n > 0 ||
	    bits.n < 2 || bits.p[0] != 0)
		return ("unreadable CRL");
	c->bits = (struct der_in){ bits.p + 1, bits.n - 1 };
	in = algorithm;
	if (!der_take(&in, DER_SEQUENCE, &list) ||
	    !der_take(&list, DER_OID, &oid))
		return ("unreadable CRL");
	c->signs = der_oid_text(oid, text, sizeof(text))
	    ? gnutls_oid_to_sign(text)
	    : GNUTLS_SIGN_UNKNOWN;
	in = c->tbs;
	(void)der_take(&in, DER_SEQUENCE, &list);
	return (read_list(c, list, algorithm));
}

/* What outlives the octets. */
static void
keep_names(struct crl *c)
{
	c->kept = malloc(c->issuer.n + c->scope.n + 1);
	if (c->kept == NULL)
		abort();
	memcpy(c->kept, c->issuer.p, c->issuer.n);
	c->issuer.p = c->kept;
	if (c->scope.n > 0)
		memcpy(c->kept + c->issuer.n, c->scope.p, c->scope.n);
	c->scope.p = c->kept + c->issuer.n;
}

struct crl *
crl_read(unsigned char *der, size_t n, const char **why)
{
	struct crl *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	pthread_mutex_init(&c->lock, NULL);
	c->der = der;
	*why = read_frame(c, (struct der_in){ der, n });
	if (*why == NULL &&
	    gnutls_hash_fast(GNUTLS_DIG_SHA256, der, n, c->digest) < 0)
		abort();
	if (*why == NULL)
		keep_names(c);
	else
		crl_free(&c);
	return (c);
}

static bool
bad(const char *path, const char *why, struct fault *f)
{
	fault_set(f, ERR_CONFIG, "%s: %s", path, why);
	return (false);
}

/* By our reader; NULL: f says why. */
static struct crl *
crl_of(gnutls_x509_crl_t x, const char *path, struct fault *f)
{
	gnutls_datum_t out = { NULL, 0 };
	const char *why = "unreadable CRL";
	unsigned char *der;
	struct crl *c = NULL;

	if (gnutls_x509_crl_export2(x, GNUTLS_X509_FMT_DER, &out) >= 0) {
		if ((der = malloc(out.size)) == NULL)
			abort();
		memcpy(der, out.data, out.size);
		c = crl_read(der, out.size, &why);
		gnutls_free(out.data);
	}
	if (c != NULL && !crl_read_entries(c, &why))
		crl_free(&c);
	if (c == NULL)
		(void)bad(path, why, f);
	return (c);
}

static bool
take_all(const char *path, gnutls_x509_crl_t *x, unsigned count,
    struct crl ***list, unsigned *n, struct fault *f)
{
	bool ok = true;
	struct crl *c;
	unsigned i;

	assert(count > 0 && (*n == 0) == (*list == NULL));
	*list = realloc(*list, (*n + count) * sizeof(**list));
	if (*list == NULL)
		abort();
	for (i = 0; i < count; i++) {
		c = ok ? crl_of(x[i], path, f) : NULL;
		gnutls_x509_crl_deinit(x[i]);
		ok = ok && c != NULL;
		if (c != NULL)
			(*list)[(*n)++] = c;
	}
	return (ok);
}

bool
crl_load(const char *path, struct crl ***list, unsigned *n, struct fault *f)
{
	gnutls_datum_t file;
	size_t size;
	gnutls_x509_crl_t *x = NULL;
	unsigned count = 0;
	bool ok;
	int r;

	if ((file.data = handed_read(path, &size)) == NULL)
		return (bad(path, "cannot be read", f));
	file.size = (unsigned)size;
	r = gnutls_x509_crl_list_import2(&x, &count, &file, GNUTLS_X509_FMT_PEM,
	    0);
	free(file.data);
	if (r < 0 || count == 0)
		ok = bad(path, r < 0 ? gnutls_strerror(r) : "no CRL", f);
	else
		ok = take_all(path, x, count, list, n, f);
	gnutls_free(x);
	return (ok);
}

void
crl_free(struct crl **cp)
{
	struct crl *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->der);
	free(c->kept);
	free(c->entries);
	free(c);
}

void
crl_forget_octets(struct crl *c)
{
	free(c->der);
	c->der = NULL;
	c->tbs = c->bits = c->revoked = (struct der_in){ NULL, 0 };
}

size_t
crl_bytes(const struct crl *c)
{
	return (sizeof(*c) + c->issuer.n + c->scope.n +
	    (c->der != NULL ? c->tbs.n + c->bits.n : 0) +
	    (c->n + 1) * sizeof(c->entries[0]));
}

const unsigned char *
crl_digest(const struct crl *c)
{
	return (c->digest);
}

/* Questions. */

bool
crl_is_by(const struct crl *c, gnutls_x509_crt_t issuer)
{
	gnutls_datum_t name = { NULL, 0 };
	unsigned char id[64];
	size_t n = sizeof(id);
	bool same = gnutls_x509_crt_get_raw_dn(issuer, &name) >= 0 &&
	    der_same((struct der_in){ name.data, name.size }, c->issuer);

	gnutls_free(name.data);
	if (same && c->key_id_n > 0 &&
	    gnutls_x509_crt_get_subject_key_id(issuer, id, &n, NULL) >= 0)
		same = n == c->key_id_n && memcmp(id, c->key_id, n) == 0;
	return (same);
}

bool
crl_is_current(const struct crl *c, time_t now)
{
	return (c->from <= now && (c->to == 0 || now < c->to));
}

time_t
crl_next(const struct crl *c)
{
	return (c->to);
}

/* RFC 5280 6.3.3 f, g. */
static bool
signature_ok(const struct crl *c, gnutls_x509_crt_t issuer)
{
	const gnutls_datum_t tbs = { (unsigned char *)(uintptr_t)c->tbs.p,
		(unsigned)c->tbs.n };
	const gnutls_datum_t bits = { (unsigned char *)(uintptr_t)c->bits.p,
		(unsigned)c->bits.n };
	unsigned usage = 0;
	gnutls_pubkey_t key;
	bool ok;

	if (c->der == NULL || c->signs == GNUTLS_SIGN_UNKNOWN ||
	    !gnutls_sign_is_secure2(c->signs,
		GNUTLS_SIGN_FLAG_SECURE_FOR_CERTS) ||
	    (gnutls_x509_crt_get_key_usage(issuer, &usage, NULL) >= 0 &&
		(usage & GNUTLS_KEY_CRL_SIGN) == 0))
		return (false);
	if (gnutls_pubkey_init(&key) < 0)
		abort();
	ok = gnutls_pubkey_import_x509(key, issuer, 0) >= 0 &&
	    gnutls_pubkey_verify_data2(key, c->signs, 0, &tbs, &bits) >= 0;
	gnutls_pubkey_deinit(key);
	return (ok);
}

bool
crl_signed_by(struct crl *c, gnutls_x509_crt_t issuer)
{
	unsigned char key[32];
	size_t n = sizeof(key);
	bool yes;

	if (gnutls_x509_crt_get_key_id(issuer, GNUTLS_KEYID_USE_SHA256, key,
		&n) < 0)
		return (false);
	pthread_mutex_lock(&c->lock);
	yes = c->verified && memcmp(key, c->by, n) == 0;
	pthread_mutex_unlock(&c->lock);
	/* Not under the lock: hashing a large CRL takes milliseconds. */
	if (yes || !signature_ok(c, issuer))
		return (yes);
	assert(n == sizeof(c->by));
	pthread_mutex_lock(&c->lock);
	c->verified = true;
	memcpy(c->by, key, n);
	pthread_mutex_unlock(&c->lock);
	return (true);
}

/* Does cert say that it is listed at a point of this name? */
static bool
has_point(gnutls_x509_crt_t cert, struct der_in uri)
{
	unsigned char name[2048];
	unsigned i, reasons;
	size_t n;
	int r;

	for (i = 0; i < POINTS_MOST; i++) {
		n = sizeof(name);
		r = gnutls_x509_crt_get_crl_dist_points(cert, i, name, &n,
		    &reasons, NULL);
		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		if (r == GNUTLS_SAN_URI &&
		    der_same((struct der_in){ name, n }, uri))
			return (true);
	}
	return (false);
}

/* DistributionPointName: one of its URIs is a point of cert (6.3.3 b 2 i). */
static bool
points_fit(struct der_in in, gnutls_x509_crt_t cert)
{
	struct der_in names, name;
	unsigned tag;

	if (!der_take(&in, CONTEXT_OF(0), &names) || in.n > 0)
		return (false);
	while (der_next(&names, &tag, &name))
		if (tag == CONTEXT(6) && has_point(cert, name))
			return (true);
	return (false);
}

static bool
is_ca(gnutls_x509_crt_t cert)
{
	return (gnutls_x509_crt_get_ca_status(cert, NULL) > 0);
}

/* Would cert be listed if it was revoked? */
static bool
scope_has(const struct crl *c, gnutls_x509_crt_t cert)
{
	struct der_in in = c->scope, list, v;
	bool ok = true;
	unsigned tag;

	if (c->partial || c->scope.n == 0)
		return (!c->partial);
	(void)der_take(&in, DER_SEQUENCE, &list);
	while (ok && der_next(&list, &tag, &v))
		switch (tag) {
		case CONTEXT_OF(0):
			ok = points_fit(v, cert);
			break;
		case CONTEXT(1): /* onlyContainsUserCerts */
			ok = v.p[0] == 0 || !is_ca(cert);
			break;
		case CONTEXT(2): /* onlyContainsCACerts */
			ok = v.p[0] == 0 || is_ca(cert);
			break;
		default: /* some reasons, or what is not a certificate */
			ok = false;
		}
	return (ok);
}

enum trust_crl
crl_find(const struct crl *c, gnutls_x509_crt_t cert, time_t *at)
{
	unsigned char raw[128];
	size_t n = sizeof(raw);
	struct serial key;
	struct entry *e;

	if (gnutls_x509_crt_get_serial(cert, raw, &n) < 0)
		return (TRUST_CRL_UNKNOWN);
	key = serial_of(raw, n);
	e = bsearch(&key, c->entries, c->n, sizeof(c->entries[0]),
	    entry_compare);
	assert(e == NULL || e->serial.n == key.n);
	if (e != NULL)
		*at = e->at;
	return (e != NULL            ? TRUST_CRL_REVOKED
		: scope_has(c, cert) ? TRUST_CRL_GOOD
				     : TRUST_CRL_UNKNOWN);
}

bool
crl_consult(struct crl *c, gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer,
    time_t now, enum trust_crl *said, time_t *until, time_t *at)
{
	enum trust_crl says;
	bool current;
	time_t when = 0;

	if (!crl_is_by(c, issuer) || !crl_signed_by(c, issuer))
		return (true);
	current = crl_is_current(c, now);
	says = crl_find(c, cert, &when);
	if (says == TRUST_CRL_UNKNOWN || (says == TRUST_CRL_GOOD && !current))
		return (true);
	/* An old list counts only where no current one speaks. */
	if (current || *said == TRUST_CRL_UNKNOWN)
		*said = says;
	if (says == TRUST_CRL_REVOKED)
		*at = when;
	if (current && crl_next(c) != 0 && crl_next(c) < *until)
		*until = crl_next(c);
	return (!current || says != TRUST_CRL_REVOKED);
}
