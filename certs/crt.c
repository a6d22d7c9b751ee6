/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Questions about one certificate, see crt_priv.h. */
#include <stdio.h>
#include <string.h>
#include "base/str.h"
#include "certs/crt_priv.h"

#define FEATURE_STATUS_REQUEST 5 /* RFC 6066 1.1 */
#define ACCESS_MOST 8            /* descriptions of access that are looked at */

bool
crt_serves_tls(gnutls_x509_crt_t crt, bool any_counts)
{
	char oid[128];
	unsigned i;
	size_t n;
	int r;

	for (i = 0;; i++) {
		n = sizeof(oid);
		r = gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &n, NULL);
		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return (i == 0);
		if (r == GNUTLS_E_SHORT_MEMORY_BUFFER)
			continue; /* longer than any that counts */
		if (r < 0)
			return (false);
		if (strcmp(oid, GNUTLS_KP_TLS_WWW_SERVER) == 0 ||
		    (any_counts && strcmp(oid, GNUTLS_KP_ANY) == 0))
			return (true);
	}
}

bool
crt_is_self_issued(gnutls_x509_crt_t crt)
{
	return (gnutls_x509_crt_check_issuer(crt, crt) != 0);
}

static const char *
weak_signature(gnutls_x509_crt_t crt)
{
	int sign = gnutls_x509_crt_get_signature_algorithm(crt);

	if (sign == GNUTLS_SIGN_EDDSA_ED25519 ||
	    sign == GNUTLS_SIGN_EDDSA_ED448)
		return (NULL);
	switch ((int)gnutls_sign_get_hash_algorithm(
	    (gnutls_sign_algorithm_t)sign)) {
	case GNUTLS_DIG_SHA256:
	case GNUTLS_DIG_SHA384:
	case GNUTLS_DIG_SHA512:
	case GNUTLS_DIG_SHA3_256:
	case GNUTLS_DIG_SHA3_384:
	case GNUTLS_DIG_SHA3_512:
		return (NULL);
	case GNUTLS_DIG_SHA1:
		return ("signed with SHA-1");
	case GNUTLS_DIG_MD5:
		return ("signed with MD5");
	default:
		return ("signed with a weak or unknown algorithm");
	}
}

static const char *
weak_key(gnutls_x509_crt_t crt)
{
	unsigned bits = 0;

	switch (gnutls_x509_crt_get_pk_algorithm(crt, &bits)) {
	case GNUTLS_PK_RSA:
	case GNUTLS_PK_RSA_PSS:
		return (bits < 2048 ? "RSA key of less than 2048 bits" : NULL);
	case GNUTLS_PK_ECDSA:
		return (bits < 256 ? "EC key of less than 256 bits" : NULL);
	case GNUTLS_PK_EDDSA_ED25519:
	case GNUTLS_PK_EDDSA_ED448:
		return (NULL);
	default:
		return ("key of an unsupported kind");
	}
}

const char *
crt_weakness(gnutls_x509_crt_t crt, bool is_anchor)
{
	const char *why = weak_key(crt);

	return (why == NULL && !is_anchor ? weak_signature(crt) : why);
}

void
crt_text(gnutls_x509_crt_t crt, char out[static CRT_TEXT])
{
	gnutls_datum_t dn = { NULL, 0 };
	size_t n = CRT_TEXT;
	char *p;

	if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
		0, out, &n) < 0) {
		if (gnutls_x509_crt_get_dn3(crt, &dn, 0) < 0 || dn.size == 0)
			(void)snprintf(out, CRT_TEXT, "(no name)");
		else
			(void)snprintf(out, CRT_TEXT, "%.*s", (int)dn.size,
			    (char *)dn.data);
		gnutls_free(dn.data);
	}
	for (p = out; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

bool
crt_must_staple(gnutls_x509_crt_t crt)
{
	gnutls_x509_tlsfeatures_t features;
	bool must = false;
	unsigned i, feature;

	if (gnutls_x509_tlsfeatures_init(&features) < 0)
		return (true);
	if (gnutls_x509_crt_get_tlsfeatures(crt, features, 0, NULL) >= 0)
		for (i = 0;
		     gnutls_x509_tlsfeatures_get(features, i, &feature) >= 0;
		     i++)
			must = must || feature == FEATURE_STATUS_REQUEST;
	gnutls_x509_tlsfeatures_deinit(features);
	return (must);
}

/* Printable, and what is fetched at all: the rest is the fetcher's to refuse. */
static bool
is_url(const gnutls_datum_t *d, size_t room)
{
	const struct str url = { (const char *)d->data, d->size };
	size_t i;

	for (i = 0; i < url.n; i++)
		if (url.p[i] <= ' ' || url.p[i] > '~')
			return (false);
	return (url.n < room &&
	    (str_istarts(url, STR("http://")) ||
		str_istarts(url, STR("https://"))));
}

/* The first of the kind that is a URL (RFC 5280 4.2.2.1). */
static bool
access_url(gnutls_x509_crt_t crt, int what, char *out, size_t room)
{
	gnutls_datum_t d = { NULL, 0 };
	bool found = false;
	unsigned i;
	int r;

	for (i = 0; !found && i < ACCESS_MOST; i++) {
		r = gnutls_x509_crt_get_authority_info_access(crt, (int)i, what,
		    &d, NULL);
		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		if (r < 0)
			continue; /* another method, or another form */
		found = is_url(&d, room);
		if (found) {
			memcpy(out, d.data, d.size);
			out[d.size] = '\0';
		}
		gnutls_free(d.data);
	}
	return (found);
}

bool
crt_issuer_url(gnutls_x509_crt_t crt, char *out, size_t room)
{
	return (access_url(crt, GNUTLS_IA_CAISSUERS_URI, out, room));
}

bool
crt_ocsp_url(gnutls_x509_crt_t crt, char *out, size_t room)
{
	return (access_url(crt, GNUTLS_IA_OCSP_URI, out, room));
}

bool
crt_list_url(gnutls_x509_crt_t crt, unsigned nth, char *out, size_t room)
{
	unsigned char name[2048];
	gnutls_datum_t d = { name, 0 };
	unsigned i, reasons;
	size_t n;
	int r;

	for (i = 0; i < ACCESS_MOST; i++) {
		n = sizeof(name);
		reasons = 0;
		r = gnutls_x509_crt_get_crl_dist_points(crt, i, name, &n,
		    &reasons, NULL);
		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		d.size = (unsigned)n;
		if (r != GNUTLS_SAN_URI || reasons != 0 || !is_url(&d, room) ||
		    nth-- > 0)
			continue;
		memcpy(out, d.data, d.size);
		out[d.size] = '\0';
		return (true);
	}
	return (false);
}

void
crt_day(time_t t, char out[static 16])
{
	struct tm tm;

	(void)strftime(out, 16, "%Y-%m-%d", gmtime_r(&t, &tm));
}
