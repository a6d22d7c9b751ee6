/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRLs as tables, see crl_priv.h. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/handed.h"
#include "certs/crl_priv.h"

#define SERIAL_MAX 20 /* RFC 5280 4.1.2.2 */
#define OID_DELTA "2.5.29.27"
#define OID_SCOPE "2.5.29.28" /* issuingDistributionPoint */

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
	gnutls_x509_crl_t crl;
	gnutls_datum_t issuer;    /* name, DER */
	unsigned char key_id[64]; /* AKI; n 0: none */
	size_t key_id_n;
	time_t from, to;       /* to 0: no nextUpdate */
	bool partial;          /* of limited scope: absence proves nothing */
	struct entry *entries; /* sorted */
	unsigned n;
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

static bool
bad(const char *path, const char *why, struct fault *f)
{
	fault_set(f, ERR_CONFIG, "%s: %s", path, why);
	return (false);
}

/* Entries. */

static int
read_entries(struct crl *c)
{
	gnutls_x509_crl_iter_t it = NULL;
	unsigned char raw[128];
	int count = gnutls_x509_crl_get_crt_count(c->crl), r = 0;
	time_t at;
	size_t n;

	if (count < 0)
		return (count);
	c->entries = calloc((size_t)count + 1, sizeof(c->entries[0]));
	if (c->entries == NULL)
		abort();
	while (c->n < (unsigned)count) {
		n = sizeof(raw);
		r = gnutls_x509_crl_iter_crt_serial(c->crl, &it, raw, &n, &at);
		if (r < 0)
			break;
		c->entries[c->n++] = (struct entry){ serial_of(raw, n), at };
	}
	gnutls_x509_crl_iter_deinit(it);
	qsort(c->entries, c->n, sizeof(c->entries[0]), entry_compare);
	return (r);
}

/* Extensions. */

/* The next element: *p at its value, *n what is left from there; false: none. */
static bool
element(const unsigned char **p, size_t *n, unsigned *tag, size_t *len)
{
	unsigned more, i;

	if (*n < 2)
		return (false);
	*tag = (*p)[0];
	*len = (*p)[1];
	more = *len < 128 ? 0 : (unsigned)*len & 127;
	if (more > 3 || *n < 2 + more)
		return (false);
	if (more > 0)
		for (*len = 0, i = 0; i < more; i++)
			*len = *len << 8 | (*p)[2 + i];
	*p += 2 + more;
	*n -= 2 + more;
	return (*len <= *n);
}

/*
 * IssuingDistributionPoint ::= SEQUENCE of context tags; [4] is indirectCRL:
 * entries are of other issuers than the CRL's own (RFC 5280 5.2.5).
 */
static bool
scope_is_indirect(const unsigned char *p, size_t n)
{
	unsigned tag;
	size_t len;

	if (!element(&p, &n, &tag, &len))
		return (true);
	while (n > 0 && element(&p, &n, &tag, &len)) {
		if (tag == 0x84)
			return (true);
		p += len;
		n -= len;
	}
	return (n > 0); /* what we cannot read may be that */
}

/* Every critical extension must be understood (RFC 5280 5.2). */
static bool
read_extension(struct crl *c, const char *path, unsigned i, struct fault *f)
{
	unsigned char data[1024];
	char oid[128];
	size_t oid_n = sizeof(oid), n = sizeof(data);
	unsigned critical = 0;

	if (gnutls_x509_crl_get_extension_info(c->crl, i, oid, &oid_n,
		&critical) < 0)
		return (bad(path, "unreadable CRL extension", f));
	if (strcmp(oid, OID_DELTA) == 0)
		return (bad(path, "delta CRLs are not supported", f));
	if (strcmp(oid, OID_SCOPE) == 0 &&
	    (gnutls_x509_crl_get_extension_data(c->crl, i, data, &n) < 0 ||
		scope_is_indirect(data, n)))
		return (bad(path, "indirect CRLs are not supported", f));
	if (critical)
		c->partial = true;
	return (true);
}

static bool
read_extensions(struct crl *c, const char *path, struct fault *f)
{
	char oid[128];
	size_t n;
	unsigned i, critical;

	for (i = 0;; i++) {
		n = sizeof(oid);
		if (gnutls_x509_crl_get_extension_info(c->crl, i, oid, &n,
			&critical) == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return (true);
		if (!read_extension(c, path, i, f))
			return (false);
	}
}

/* Loading. */

/* Takes x. */
static struct crl *
crl_new(gnutls_x509_crl_t x, const char *path, struct fault *f)
{
	struct crl *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	pthread_mutex_init(&c->lock, NULL);
	c->crl = x;
	c->from = gnutls_x509_crl_get_this_update(x);
	c->to = gnutls_x509_crl_get_next_update(x);
	if (c->to == (time_t)-1)
		c->to = 0;
	c->key_id_n = sizeof(c->key_id);
	if (gnutls_x509_crl_get_authority_key_id(x, c->key_id, &c->key_id_n,
		NULL) < 0)
		c->key_id_n = 0;
	if (c->from == (time_t)-1 ||
	    gnutls_x509_crl_get_raw_issuer_dn(x, &c->issuer) < 0 ||
	    read_entries(c) < 0)
		(void)bad(path, "unreadable CRL", f);
	else if (read_extensions(c, path, f))
		return (c);
	crl_free(&c);
	return (NULL);
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
		c = crl_new(x[i], path, f);
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
	gnutls_x509_crl_deinit(c->crl);
	gnutls_free(c->issuer.data);
	pthread_mutex_destroy(&c->lock);
	free(c->entries);
	free(c);
}

/* Questions. */

bool
crl_is_by(const struct crl *c, gnutls_x509_crt_t issuer)
{
	gnutls_datum_t name = { NULL, 0 };
	unsigned char id[64];
	size_t n = sizeof(id);
	bool same = gnutls_x509_crt_get_raw_dn(issuer, &name) >= 0 &&
	    name.size == c->issuer.size &&
	    memcmp(name.data, c->issuer.data, name.size) == 0;

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

/* Dates are crl_is_current()'s; nothing else may be wrong. */
static bool
signature_ok(const struct crl *c, gnutls_x509_crt_t issuer)
{
	const unsigned dates = GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED |
	    GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
	unsigned status = 0;

	if (gnutls_x509_crl_verify(c->crl, &issuer, 1,
		GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) < 0)
		return (false);
	if ((status & dates) != 0)
		status &= ~(dates | GNUTLS_CERT_INVALID);
	return (status == 0);
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
	return (e != NULL    ? TRUST_CRL_REVOKED
		: c->partial ? TRUST_CRL_UNKNOWN
			     : TRUST_CRL_GOOD);
}
