/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules a chain must obey: GnuTLS's verification of the path, then what
 * it leaves out.  The path is what GnuTLS used, not what was sent: an origin
 * may send certificates in any order, and more than are needed.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/check_priv.h"
#include "certs/crl_priv.h"
#include "certs/crt_priv.h"
#include "certs/staple_priv.h"
#include "fetch/fetch.h"

#define MAX_LINKS 32   /* GnuTLS may try a path twice */
#define LISTS_OF_ONE 2 /* that are got for a certificate */
#define MAX_PATH (VERIFY_MAX_CERTS + 2)

struct link_seen {
	gnutls_x509_crt_t cert, issuer;
};

struct check {
	const struct verify_options *o;
	const struct verify_chain *chain;
	gnutls_x509_crt_t sent[VERIFY_MAX_CERTS];
	unsigned sent_n;
	struct link_seen seen[MAX_LINKS];
	unsigned seen_n;
	gnutls_x509_crt_t path[MAX_PATH]; /* leaf .. anchor, borrowed */
	unsigned path_n;
	time_t now, until;
	struct fault *f;
	struct verdict *v;
};

/* GnuTLS's callback has no argument of ours. */
static _Thread_local struct check *current;

static bool
refuse(struct check *c, const char *why)
{
	fault_set(c->f, ERR_ORIGIN_CERT, "%s", why);
	return (false);
}

/* "why" about a certificate of the chain; the leaf is "the certificate". */
static bool
refuse_crt(struct check *c, gnutls_x509_crt_t crt, const char *why)
{
	char text[CRT_TEXT];

	if (crt == c->sent[0])
		fault_set(c->f, ERR_ORIGIN_CERT, "certificate %s", why);
	else {
		crt_text(crt, text);
		fault_set(c->f, ERR_ORIGIN_CERT, "issuer \"%s\" %s", text, why);
	}
	return (false);
}

/* What came. */

static bool
import_one(struct check *c, const gnutls_datum_t *der, gnutls_x509_crt_t *out)
{
	char why[128];
	int r;

	if (gnutls_x509_crt_init(out) < 0)
		abort();
	r = gnutls_x509_crt_import(*out, der, GNUTLS_X509_FMT_DER);
	if (r >= 0)
		return (true);
	gnutls_x509_crt_deinit(*out);
	*out = NULL;
	(void)snprintf(why, sizeof(why), "certificate is malformed (%s)",
	    gnutls_strerror(r));
	return (refuse(c, why));
}

static bool
is_repeated(const struct verify_chain *c, unsigned i)
{
	unsigned j;

	for (j = 0; j < i; j++)
		if (c->certs[j].size == c->certs[i].size &&
		    memcmp(c->certs[j].data, c->certs[i].data,
			c->certs[i].size) == 0)
			return (true);
	return (false);
}

static bool
import_all(struct check *c, gnutls_x509_crt_t *all)
{
	unsigned i;

	for (i = 0; i < c->chain->n; i++)
		if (!is_repeated(c->chain, i) &&
		    !import_one(c, &c->chain->certs[i], &all[i]))
			return (false);
	return (true);
}

/* Those of all[] that may be the issuer of cert are sent[] too. */
static void
add_issuers(struct check *c, gnutls_x509_crt_t cert, gnutls_x509_crt_t *all)
{
	unsigned i;

	assert(c->sent_n > 0); /* cert is one of them */
	for (i = 0; i < c->chain->n && c->sent_n < VERIFY_MAX_CERTS; i++)
		if (all[i] != NULL &&
		    gnutls_x509_crt_check_issuer(cert, all[i])) {
			c->sent[c->sent_n++] = all[i];
			all[i] = NULL;
		}
}

/*
 * The leaf and what leads upwards from it, by names.  Servers send roots,
 * chains of other certificates, the same twice: nothing of that is a reason to
 * refuse, or to spend a signature on.
 */
static bool
import(struct check *c)
{
	gnutls_x509_crt_t *all = calloc(c->chain->n, sizeof(*all));
	unsigned i;
	bool ok;

	assert(c->chain->n > 0 && c->sent_n == 0);
	if (all == NULL)
		abort();
	ok = import_all(c, all);
	if (all[0] != NULL) {
		c->sent[c->sent_n++] = all[0];
		all[0] = NULL;
	}
	for (i = 0; ok && i < c->sent_n; i++)
		add_issuers(c, c->sent[i], all);
	for (i = 0; i < c->chain->n; i++)
		if (all[i] != NULL)
			gnutls_x509_crt_deinit(all[i]);
	free(all);
	return (ok);
}

static bool
not_ours(struct check *c)
{
	unsigned i;

	for (i = 0; c->o->own != NULL && i < c->chain->n; i++)
		if (ca_owns(c->o->own, &c->chain->certs[i]))
			return (
			    refuse(c, "chain contains this proxy's own CA"));
	return (true);
}

/* What GnuTLS says. */

static int
on_link(gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer, gnutls_x509_crl_t crl,
    unsigned status)
{
	struct check *c = current;

	(void)crl;
	(void)status;
	assert(c != NULL); /* called inside a verification */
	if (c->seen_n < MAX_LINKS)
		c->seen[c->seen_n++] = (struct link_seen){ cert, issuer };
	return (0);
}

static gnutls_x509_crt_t
issuer_seen(const struct check *c, gnutls_x509_crt_t cert)
{
	unsigned i;

	for (i = c->seen_n; i > 0; i--)
		if (c->seen[i - 1].cert == cert)
			return (c->seen[i - 1].issuer);
	return (NULL);
}

static void
follow_path(struct check *c)
{
	gnutls_x509_crt_t at;

	assert(c->sent_n > 0 && c->path_n == 0);
	for (at = c->sent[0]; at != NULL && c->path_n < MAX_PATH;
	     at = issuer_seen(c, at))
		c->path[c->path_n++] = at;
}

/* Refused: GnuTLS does not tell all links then; names do, for the message. */
static gnutls_x509_crt_t
issuer_by_name(const struct check *c, gnutls_x509_crt_t cert)
{
	gnutls_x509_crt_t found = NULL;
	unsigned i;

	for (i = 1; i < c->sent_n; i++)
		if (c->sent[i] != cert &&
		    gnutls_x509_crt_check_issuer(cert, c->sent[i]))
			return (c->sent[i]);
	if (crt_is_self_issued(cert) ||
	    gnutls_x509_trust_list_get_issuer(trust_list(c->o->trust), cert,
		&found, 0) < 0)
		return (NULL);
	return (found);
}

static void
guess_path(struct check *c)
{
	gnutls_x509_crt_t at = c->sent[0];

	assert(c->sent_n > 0);
	for (c->path_n = 0; at != NULL && c->path_n < MAX_PATH;
	     at = issuer_by_name(c, at))
		c->path[c->path_n++] = at;
}

/* Expired or not yet valid: which one, and when. */
static bool
refuse_date(struct check *c)
{
	gnutls_x509_crt_t crt;
	time_t from, to;
	char day[16], why[64];
	unsigned i;

	for (i = 0; i < c->path_n; i++) {
		crt = c->path[i];
		from = gnutls_x509_crt_get_activation_time(crt);
		to = gnutls_x509_crt_get_expiration_time(crt);
		if (from <= c->now && c->now <= to)
			continue;
		crt_day(from > c->now ? from : to, day);
		(void)snprintf(why, sizeof(why),
		    from > c->now ? "is not valid before %s" : "expired on %s",
		    day);
		return (refuse_crt(c, crt, why));
	}
	return (refuse(c, "a certificate of the chain is outside its dates"));
}

/* Every key and signature of the path, but for the anchor's own. */
static bool
strength_ok(struct check *c)
{
	const char *why;
	char text[96];
	unsigned i;

	for (i = 0; i < c->path_n; i++) {
		why = crt_weakness(c->path[i],
		    i + 1 == c->path_n &&
			(i > 0 || crt_is_self_issued(c->path[i])));
		if (why != NULL) {
			(void)snprintf(text, sizeof(text), "is too weak: %s",
			    why);
			return (refuse_crt(c, c->path[i], text));
		}
	}
	return (true);
}

static bool
refuse_weak(struct check *c)
{
	return (strength_ok(c) &&
	    refuse(c, "chain uses an algorithm or key that is too weak"));
}

static bool
refuse_issuer(struct check *c)
{
	gnutls_x509_crt_t top;
	gnutls_datum_t dn = { NULL, 0 };
	char *p;

	assert(c->path_n > 0 && c->path_n <= MAX_PATH);
	top = c->path[c->path_n - 1];
	if (crt_is_self_issued(c->sent[0]))
		return (refuse(c, "certificate is self-signed"));
	if (crt_is_self_issued(top) && c->path_n > 1)
		return (refuse_crt(c, top, "is not trusted"));
	if (gnutls_x509_crt_get_issuer_dn3(top, &dn, 0) < 0 || dn.size == 0)
		return (refuse(c, "issuer is not trusted"));
	for (p = (char *)dn.data; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	fault_set(c->f, ERR_ORIGIN_CERT,
	    "issuer \"%.90s\" is not trusted, or "
	    "the origin did not send its certificate",
	    (char *)dn.data);
	gnutls_free(dn.data);
	return (false);
}

/* The most telling cause first: several are often set. */
static const struct {
	unsigned status;
	bool (*refuse)(struct check *);
	const char *text;
} causes[] = { { GNUTLS_CERT_REVOKED, NULL,
		   "certificate is on the list of distrusted ones" },
	{ GNUTLS_CERT_SIGNER_NOT_FOUND, refuse_issuer, NULL },
	{ GNUTLS_CERT_SIGNATURE_FAILURE, NULL,
	    "a signature in the certificate chain is wrong" },
	{ GNUTLS_CERT_SIGNER_NOT_CA, NULL,
	    "certificate is signed by one that is no CA" },
	{ GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, NULL,
	    "certificate breaks a constraint of its issuer" },
	{ GNUTLS_CERT_INSECURE_ALGORITHM, refuse_weak, NULL },
	{ GNUTLS_CERT_NOT_ACTIVATED, refuse_date, NULL },
	{ GNUTLS_CERT_EXPIRED, refuse_date, NULL },
	{ GNUTLS_CERT_PURPOSE_MISMATCH, NULL,
	    "certificate is not meant for TLS servers" },
	{ GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS, NULL,
	    "certificate has an unknown critical extension" },
	{ ~0u, NULL, "certificate chain is not valid" } };

/* Nothing else is wrong, and the certificate at the end says where to ask. */
static void
note_missing(struct check *c, unsigned status)
{
	gnutls_x509_crt_t top = c->path[c->path_n - 1];
	char url[FETCH_URL_MAX];

	if ((status & ~(unsigned)GNUTLS_CERT_INVALID) !=
		GNUTLS_CERT_SIGNER_NOT_FOUND ||
	    crt_is_self_issued(top) || !crt_issuer_url(top, url, sizeof(url)))
		return;
	if ((c->v->missing = strdup(url)) == NULL)
		abort();
}

static bool
refuse_status(struct check *c, unsigned status)
{
	unsigned i = 0;

	assert(status != 0); /* the last cause is any */
	note_missing(c, status);
	while ((status & causes[i].status) == 0)
		i++;
	return (causes[i].refuse != NULL ? causes[i].refuse(c)
					 : refuse(c, causes[i].text));
}

/*
 * Nearly every chain: in order, and one anchor has the name that its last
 * certificate says.  GnuTLS verifies just these; to have it look for the path
 * costs it more than a signature does.  False: not so, or not good, and then
 * the whole list may still know another path, or what is wrong.
 */
static bool
verify_in_order(struct check *c)
{
	gnutls_x509_crt_t anchor = NULL;
	unsigned n, i, status = 0;

	for (n = 0; anchor == NULL && n < c->sent_n; n++)
		anchor = trust_issuer(c->o->trust, c->sent[n]);
	if (anchor == NULL)
		return (false);
	for (i = 0; i < n; i++)
		if (!crt_serves_tls(c->sent[i], i == 0))
			return (false);
	if (gnutls_x509_crt_list_verify(c->sent, n, &anchor, 1, NULL, 0,
		GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM) |
		    GNUTLS_VERIFY_DO_NOT_ALLOW_SAME,
		&status) < 0 ||
	    status != 0)
		return (false);
	assert(c->path_n == 0 && n < MAX_PATH);
	for (i = 0; i < n; i++)
		c->path[c->path_n++] = c->sent[i];
	c->path[c->path_n++] = anchor;
	return (true);
}

static bool
verify_any_order(struct check *c)
{
	gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_SERVER };
	unsigned status = 0;
	int r;

	assert(current == NULL);
	current = c;
	r = gnutls_x509_trust_list_verify_crt2(trust_list(c->o->trust), c->sent,
	    c->sent_n, &purpose, 1,
	    GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM), &status, on_link);
	current = NULL;
	if (r < 0)
		return (refuse(c, gnutls_strerror(r)));
	if (status == 0)
		follow_path(c);
	else
		guess_path(c);
	return (status == 0 || refuse_status(c, status));
}

static bool
verify_path(struct check *c)
{
	return (
	    (!c->o->any_order && verify_in_order(c)) || verify_any_order(c));
}

/* What we add. */

/* GnuTLS asks the leaf for its purpose; we its issuers as well. */
static bool
usage_ok(struct check *c)
{
	unsigned i, usage = 0;

	for (i = 1; i < c->path_n; i++)
		if (!crt_serves_tls(c->path[i], true))
			return (refuse_crt(c, c->path[i],
			    "may not issue for TLS servers"));
	/* Our suites all sign: RFC 8446 4.4.2.2, RFC 5246 7.4.2. */
	if (gnutls_x509_crt_get_key_usage(c->sent[0], &usage, NULL) >= 0 &&
	    (usage & GNUTLS_KEY_DIGITAL_SIGNATURE) == 0)
		return (refuse(c,
		    "certificate's key is not meant for "
		    "signing (key usage)"));
	return (true);
}

static bool
own_not_in_path(struct check *c)
{
	gnutls_x509_crt_t anchor;

	assert(c->path_n > 0 && c->path_n <= MAX_PATH);
	anchor = c->path[c->path_n - 1];
	if (c->o->own != NULL && ca_owns_crt(c->o->own, anchor))
		return (refuse(c, "chain leads to this proxy's own CA"));
	return (true);
}

/* Whatever vouches for it, and whatever revocation is looked at. */
static bool
keys_not_blocked(struct check *c)
{
	unsigned i;

	for (i = 0; i < c->path_n; i++)
		if (trust_blocks(c->o->trust, c->path[i])) {
			c->v->is_final = true;
			return (refuse_crt(c, c->path[i],
			    "has a key that the configuration blocks"));
		}
	return (true);
}

/* No path is good; does what was sent show a blocked key? */
static bool
note_final(struct check *c)
{
	unsigned i;

	for (i = 0; i < c->sent_n; i++)
		if (trust_blocks(c->o->trust, c->sent[i]))
			c->v->is_final = true;
	return (false);
}

/* What browsers do about roots that they no longer rely on. */
static bool
issued_in_time(struct check *c)
{
	time_t issued = gnutls_x509_crt_get_activation_time(c->path[0]);
	char day[16], why[96];
	unsigned i;

	for (i = 1; i < c->path_n; i++)
		if (!trust_vouches(c->o->trust, c->path[i], issued)) {
			crt_day(issued, day);
			(void)snprintf(why, sizeof(why),
			    "is not trusted for what was issued so late (%s)",
			    day);
			return (refuse_crt(c, c->path[i], why));
		}
	return (true);
}

/* Browsers ask this of public roots; behind us they cannot. */
static bool
ct_ok(struct check *c)
{
	const struct ct *ct;
	char lacks[CT_WHY], why[CT_WHY + 64];

	if (c->o->ct == CT_OFF ||
	    (ct = trust_ct(c->o->trust, c->path[c->path_n - 1])) == NULL ||
	    ct_enough(ct, &c->chain->certs[0], c->path[0],
		c->path[c->path_n > 1 ? 1 : 0], c->now, lacks))
		return (true);
	memcpy(c->v->lacks_ct, lacks, sizeof(lacks));
	if (c->o->ct == CT_REPORT)
		return (true);
	(void)snprintf(why, sizeof(why), "is not in enough public logs (%s)",
	    lacks);
	return (refuse_crt(c, c->path[0], why));
}

static void
lower_until(struct check *c, time_t t)
{
	if (t < c->until)
		c->until = t;
}

static bool
refuse_revoked(struct check *c, gnutls_x509_crt_t crt, time_t at)
{
	char why[64], day[16];

	c->v->is_final = true;
	crt_day(at, day);
	(void)snprintf(why, sizeof(why), "was revoked on %s", day);
	return (refuse_crt(c, crt, why));
}

/* What is at hand does not tell; does path[i] say whom to ask? */
static void
note_ask(struct check *c, unsigned i)
{
	struct verdict *v = c->v;
	struct status_ask *a;
	unsigned nth;

	if (c->o->statuses == NULL || v->asks_n == VERIFY_MAX_ASKED)
		return;
	if ((a = status_ask_new(c->path[i], c->path[i + 1])) != NULL)
		v->asks[v->asks_n++] = a;
	for (nth = 0; nth < LISTS_OF_ONE && v->asks_n < VERIFY_MAX_ASKED &&
	     (a = status_ask_list(c->path[i], c->path[i + 1], nth)) != NULL;
	     nth++)
		v->asks[v->asks_n++] = a;
}

/* What lists say: files, then those that were got. */
static enum trust_crl
lists_say(struct check *c, unsigned i, time_t *at)
{
	enum trust_crl said = trust_check_crl(c->o->trust, c->path[i],
	    c->path[i + 1], c->now, &c->until, at);
	unsigned l;

	for (l = 0; said != TRUST_CRL_REVOKED && l < c->chain->lists_n; l++)
		(void)crl_consult(c->chain->lists[l]->list, c->path[i],
		    c->path[i + 1], c->now, &said, &c->until, at);
	return (said);
}

/* Revocation of path[i] (i = 0: the leaf, which may have a staple). */
static bool
not_revoked(struct check *c, unsigned i)
{
	enum staple s = STAPLE_NONE;
	enum trust_crl l;
	const char *why = NULL;
	time_t at = 0;
	char text[128];
	unsigned a;

	if (i == 0)
		s = staple_check(&c->chain->staple, c->path[0], c->path[1],
		    c->now, &c->until, &at, &why);
	if (i == 0 && s == STAPLE_NONE && crt_must_staple(c->path[0])) {
		(void)snprintf(text, sizeof(text),
		    "requires a valid OCSP "
		    "response, but %s",
		    why);
		return (refuse_crt(c, c->path[0], text));
	}
	for (a = 0; s == STAPLE_NONE && a < c->chain->answers_n; a++)
		s = staple_check(&c->chain->answers[a], c->path[i],
		    c->path[i + 1], c->now, &c->until, &at, &why);
	if (s == STAPLE_REVOKED)
		return (refuse_revoked(c, c->path[i], at));
	l = lists_say(c, i, &at);
	if (l == TRUST_CRL_REVOKED)
		return (refuse_revoked(c, c->path[i], at));
	if (l != TRUST_CRL_UNKNOWN || s == STAPLE_GOOD)
		return (true);
	note_ask(c, i);
	if (c->o->revocation == REVOCATION_HARD)
		return (refuse_crt(c, c->path[i],
		    "has unknown revocation "
		    "status, and the configuration demands one"));
	return (true);
}

static bool
revocation_ok(struct check *c)
{
	unsigned i;

	if (c->o->revocation == REVOCATION_OFF)
		return (true);
	for (i = 0; i + 1 < c->path_n; i++)
		if (!not_revoked(c, i))
			return (false);
	return (true);
}

static void
bound_by_dates(struct check *c)
{
	unsigned i;

	for (i = 0; i < c->path_n; i++)
		lower_until(c, gnutls_x509_crt_get_expiration_time(c->path[i]));
}

/* The whole. */

static void
verdict_free(struct memo_value *value)
{
	struct verdict *v = CONTAINER_OF(value, struct verdict, value);

	buf_fini(&v->names);
	free(v->missing);
	while (v->asks_n > 0)
		status_ask_free(&v->asks[--v->asks_n]);
	free(v);
}

static bool
check_all(struct check *c, struct verdict *v)
{
	if (!import(c))
		return (false);
	assert(c->sent_n > 0 && c->sent_n <= VERIFY_MAX_CERTS);
	verdict_take_names(v, c->sent[0]);
	return (not_ours(c) && (verify_path(c) || note_final(c)) &&
	    own_not_in_path(c) && keys_not_blocked(c) && issued_in_time(c) &&
	    strength_ok(c) && usage_ok(c) && ct_ok(c) && revocation_ok(c));
}

struct verdict *
check_chain(const struct verify_options *o, const struct verify_chain *chain)
{
	struct verdict *v = calloc(1, sizeof(*v));
	struct check c = { .o = o, .chain = chain };
	unsigned i;

	if (v == NULL)
		abort();
	atomic_init(&v->value.refs, 1);
	v->value.free = verdict_free;
	c.f = &v->fault;
	c.v = v;
	c.now = time(NULL);
	c.until = c.now + 2 * VERIFY_MAX_AGE;
	if (check_all(&c, v)) {
		assert(c.path_n > 0 && v->fault.code == ERR_NONE);
		bound_by_dates(&c);
	} else
		c.until = c.now + VERIFY_MAX_BAD_AGE;
	for (i = 0; i < c.sent_n; i++)
		gnutls_x509_crt_deinit(c.sent[i]);
	v->ends = c.until;
	lower_until(&c, c.now + VERIFY_MAX_AGE);
	v->value.fresh_until = c.until;
	for (i = 0; i < v->asks_n; i++)
		v->value.bytes += v->asks[i]->bytes;
	v->value.bytes += sizeof(*v) + v->names.cap +
	    (v->missing != NULL ? strlen(v->missing) : 0);
	return (v);
}
