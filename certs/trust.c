/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Anchors and CRLs of a generation, see trust.h. */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/handed.h"
#include "certs/blocked.h"
#include "certs/crl_priv.h"
#include "certs/ct.h"
#include "certs/trust.h"

/* Several of one name, or crt NULL: the list must be asked. */
struct anchor {
	gnutls_datum_t name;   /* raw subject */
	gnutls_x509_crt_t crt; /* the list's */
};

/* A key that vouches for nothing issued later. */
struct dated {
	unsigned char key[32]; /* SHA-256 */
	time_t last;
};

struct trust {
	_Atomic unsigned refs;
	gnutls_x509_trust_list_t list;
	unsigned anchors;
	struct anchor *index; /* by name; NULL: none */
	unsigned index_n;
	struct crl **crls;
	unsigned crls_n;
	struct blocked *blocked; /* owned */
	struct dated *dated;     /* owned */
	unsigned dated_n;
	struct ct *ct; /* owned; NULL: nothing is asked of logs */
	unsigned char (*publics)[32]; /* owned: keys of roots that are public */
	unsigned publics_n;
};

static bool
add_anchors(struct trust *t, const char *file, struct fault *f)
{
	bool system = strcmp(file, "system") == 0;
	gnutls_datum_t pem = { NULL, 0 };
	size_t size;
	int r;

	if (!system) {
		if ((pem.data = handed_read(file, &size)) == NULL) {
			fault_set(f, ERR_CONFIG, "%s: %s", file,
			    strerror(errno));
			return (false);
		}
		pem.size = (unsigned)size;
	}
	r = system ? gnutls_x509_trust_list_add_system_trust(t->list,
			 GNUTLS_TL_NO_DUPLICATES, 0)
		   : gnutls_x509_trust_list_add_trust_mem(t->list, &pem, NULL,
			 GNUTLS_X509_FMT_PEM, GNUTLS_TL_NO_DUPLICATES, 0);
	free(pem.data);
	if (r > 0)
		return (true);
	fault_set(f, ERR_CONFIG, "%s: %s", system ? "system trust store" : file,
	    r < 0 ? gnutls_strerror(r) : "no certificate");
	return (false);
}

/* Count the anchors; *mine: one of them with a key of own's, the caller's. */
static unsigned
count_anchors(struct trust *t, struct ca *own, gnutls_x509_crt_t *mine)
{
	gnutls_x509_trust_list_iter_t it = NULL;
	gnutls_x509_crt_t crt;
	unsigned n = 0;

	*mine = NULL;
	while (gnutls_x509_trust_list_iter_get_ca(t->list, &it, &crt) >= 0) {
		n++;
		if (*mine == NULL && own != NULL && ca_owns_crt(own, crt))
			*mine = crt; /* iter_get_ca made a copy */
		else
			gnutls_x509_crt_deinit(crt);
	}
	gnutls_x509_trust_list_iter_deinit(it);
	return (n);
}

/*
 * Who holds our own CA's key could otherwise be any origin.  What is removed
 * GnuTLS refuses in chains too.
 */
static void
remove_own(struct trust *t, struct ca *own)
{
	unsigned before;
	gnutls_x509_crt_t mine;

	do {
		before = t->anchors;
		t->anchors = count_anchors(t, own, &mine);
		if (mine != NULL) {
			(void)gnutls_x509_trust_list_remove_cas(t->list, &mine,
			    1);
			gnutls_x509_crt_deinit(mine);
		}
	} while (mine != NULL && t->anchors != before);
}

static int
by_name(const void *left, const void *right)
{
	const gnutls_datum_t *a = left, *b = right; /* first in an anchor */

	if (a->size != b->size)
		return (a->size < b->size ? -1 : 1);
	return (a->size == 0 ? 0 : memcmp(a->data, b->data, a->size));
}

/*
 * The list's own object of copy, NULL: not found by name.  False: the list
 * makes a new one each time it is asked (PKCS #11; its token also knows what
 * is distrusted), so that nothing may be kept beside it.
 */
static bool
find_held(struct trust *t, gnutls_x509_crt_t copy, gnutls_x509_crt_t *held)
{
	gnutls_x509_crt_t again = NULL;

	*held = NULL;
	if (gnutls_x509_trust_list_get_issuer(t->list, copy, held, 0) < 0)
		return (true);
	if (gnutls_x509_trust_list_get_issuer(t->list, copy, &again, 0) < 0 ||
	    again != *held)
		return (false);
	if (!gnutls_x509_crt_equals(*held, copy))
		*held = NULL;
	return (true);
}

static void
index_free(struct trust *t)
{
	unsigned i;

	for (i = 0; i < t->index_n; i++)
		gnutls_free(t->index[i].name.data);
	free(t->index);
	t->index = NULL;
	t->index_n = 0;
}

static void
index_anchors(struct trust *t)
{
	gnutls_x509_trust_list_iter_t it = NULL;
	gnutls_x509_crt_t copy;
	struct anchor *a;
	bool ok = true;

	assert(t->index == NULL && t->index_n == 0);
	t->index = calloc(t->anchors + 1, sizeof(*t->index));
	if (t->index == NULL)
		abort();
	while (gnutls_x509_trust_list_iter_get_ca(t->list, &it, &copy) >= 0) {
		if (ok && t->index_n < t->anchors) {
			a = &t->index[t->index_n++];
			ok = gnutls_x509_crt_get_raw_dn(copy, &a->name) >= 0 &&
			    find_held(t, copy, &a->crt);
		}
		gnutls_x509_crt_deinit(copy);
	}
	gnutls_x509_trust_list_iter_deinit(it);
	if (!ok)
		index_free(t);
	else
		qsort(t->index, t->index_n, sizeof(*t->index), by_name);
}

struct trust *
trust_open(const char *const *files, const char *const *crl_files,
    struct ca *own, struct fault *f)
{
	struct trust *t = calloc(1, sizeof(*t));
	bool ok = true;

	if (t == NULL || gnutls_x509_trust_list_init(&t->list, 0) < 0)
		abort();
	atomic_init(&t->refs, 1);
	t->blocked = blocked_new();
	for (; ok && *files != NULL; files++)
		ok = add_anchors(t, *files, f);
	for (; ok && crl_files != NULL && *crl_files != NULL; crl_files++)
		ok = crl_load(*crl_files, &t->crls, &t->crls_n, f);
	if (ok) {
		remove_own(t, own);
		index_anchors(t);
	} else
		trust_unref(&t);
	return (t);
}

bool
trust_block_keys(struct trust *t, const char *file, struct fault *f)
{
	return (blocked_load(t->blocked, file, f));
}

bool
trust_blocks(const struct trust *t, gnutls_x509_crt_t cert)
{
	return (blocked_has(t->blocked, cert));
}

static bool
key_of(gnutls_x509_crt_t crt, unsigned char key[static 32])
{
	size_t n = 32;

	return (gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, key,
		    &n) >= 0);
}

static bool
add_dated(struct trust *t, gnutls_x509_crt_t crt, time_t last)
{
	struct dated *d;

	t->dated = realloc(t->dated, (t->dated_n + 1) * sizeof(*t->dated));
	if (t->dated == NULL)
		abort();
	d = &t->dated[t->dated_n];
	d->last = last;
	if (!key_of(crt, d->key))
		return (false);
	t->dated_n++;
	return (true);
}

bool
trust_until(struct trust *t, const char *file, time_t last, struct fault *f)
{
	gnutls_datum_t pem;
	gnutls_x509_crt_t *crts = NULL;
	unsigned n = 0, i;
	size_t size;
	bool ok;
	int r;

	if ((pem.data = handed_read(file, &size)) == NULL) {
		fault_set(f, ERR_CONFIG, "%s: %s", file, strerror(errno));
		return (false);
	}
	pem.size = (unsigned)size;
	r = gnutls_x509_crt_list_import2(&crts, &n, &pem, GNUTLS_X509_FMT_PEM,
	    0);
	free(pem.data);
	ok = r >= 0;
	for (i = 0; r >= 0 && i < n; i++) {
		ok = add_dated(t, crts[i], last) && ok;
		gnutls_x509_crt_deinit(crts[i]);
	}
	gnutls_free(crts);
	if (!ok)
		fault_set(f, ERR_CONFIG, "%s: %s", file,
		    r < 0 ? gnutls_strerror(r) : "a key cannot be read");
	return (ok);
}

bool
trust_vouches(const struct trust *t, gnutls_x509_crt_t issuer, time_t issued)
{
	unsigned char key[32];
	unsigned i;

	if (t->dated_n == 0)
		return (true);
	if (!key_of(issuer, key))
		return (false);
	for (i = 0; i < t->dated_n; i++)
		if (memcmp(key, t->dated[i].key, sizeof(key)) == 0 &&
		    issued > t->dated[i].last)
			return (false);
	return (true);
}

static void
add_public(struct trust *t, gnutls_x509_crt_t crt)
{
	t->publics = realloc(t->publics,
	    (t->publics_n + 1) * sizeof(*t->publics));
	if (t->publics == NULL)
		abort();
	if (key_of(crt, t->publics[t->publics_n]))
		t->publics_n++;
}

/* Those of a file ("system": the bundle), by a list of its own. */
static bool
add_publics(struct trust *t, const char *file, struct fault *f)
{
	struct trust *of = trust_open((const char *const[]){ file, NULL }, NULL,
	    NULL, f);
	gnutls_x509_trust_list_iter_t it = NULL;
	gnutls_x509_crt_t crt;

	if (of == NULL)
		return (false);
	while (gnutls_x509_trust_list_iter_get_ca(of->list, &it, &crt) >= 0) {
		add_public(t, crt);
		gnutls_x509_crt_deinit(crt);
	}
	gnutls_x509_trust_list_iter_deinit(it);
	trust_unref(&of);
	return (true);
}

bool
trust_ask_ct(struct trust *t, const char *logs, const char *const *public_files,
    bool system, struct fault *f)
{
	bool ok = (t->ct = ct_open(logs, f)) != NULL &&
	    (!system || add_publics(t, "system", f));

	for (; ok && *public_files != NULL; public_files++)
		ok = add_publics(t, *public_files, f);
	return (ok);
}

const struct ct *
trust_ct(const struct trust *t, gnutls_x509_crt_t anchor)
{
	unsigned char key[32];
	unsigned i;

	if (t->ct == NULL || !key_of(anchor, key))
		return (t->ct);
	for (i = 0; i < t->publics_n; i++)
		if (memcmp(key, t->publics[i], sizeof(key)) == 0)
			return (t->ct);
	return (NULL);
}

struct trust *
trust_ref(struct trust *t)
{
	unsigned had = atomic_fetch_add_explicit(&t->refs, 1,
	    memory_order_relaxed);

	assert(had > 0);
	return (t);
}

void
trust_unref(struct trust **tp)
{
	struct trust *t = *tp;
	unsigned i, had;

	*tp = NULL;
	if (t == NULL)
		return;
	had = atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel);
	assert(had > 0);
	if (had != 1)
		return;
	for (i = 0; i < t->crls_n; i++)
		crl_free(&t->crls[i]);
	free(t->crls);
	blocked_free(&t->blocked);
	free(t->dated);
	ct_free(&t->ct);
	free(t->publics);
	index_free(t);
	gnutls_x509_trust_list_deinit(t->list, 1);
	free(t);
}

unsigned
trust_anchors(const struct trust *t)
{
	return (t->anchors);
}

gnutls_x509_trust_list_t
trust_list(const struct trust *t)
{
	return (t->list);
}

gnutls_x509_crt_t
trust_issuer(const struct trust *t, gnutls_x509_crt_t cert)
{
	gnutls_datum_t name = { NULL, 0 };
	const struct anchor *a, *end = t->index + t->index_n;
	gnutls_x509_crt_t found = NULL;

	assert(t->index_n <= t->anchors);
	if (t->index_n == 0 ||
	    gnutls_x509_crt_get_raw_issuer_dn(cert, &name) < 0)
		return (NULL);
	a = bsearch(&name, t->index, t->index_n, sizeof(*a), by_name);
	if (a != NULL && (a == t->index || by_name(a - 1, a) != 0) &&
	    (a + 1 == end || by_name(a + 1, a) != 0))
		found = a->crt;
	gnutls_free(name.data);
	return (found);
}

enum trust_crl
trust_check_crl(struct trust *t, gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer, time_t now, time_t *until, time_t *at)
{
	enum trust_crl said = TRUST_CRL_UNKNOWN;
	unsigned i;

	for (i = 0; i < t->crls_n; i++)
		if (!crl_consult(t->crls[i], cert, issuer, now, &said, until,
			at))
			break;
	return (said);
}
