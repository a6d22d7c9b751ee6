/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A leaf's to-be-signed part, see tbs_priv.h: DER written by hand (two
 * microseconds; GnuTLS's own way takes fifty and a copy of each field).
 * RFC 5280 4.1 and 4.2; what is in it: leaf.h.
 */
#include <assert.h>
#include <string.h>
#include "certs/name.h"
#include "certs/tbs_priv.h"

#define CN_MAX 64 /* RFC 5280 A.1, ub-common-name */

static const unsigned char version_3[] = { 0xa0, 3, 2, 1, 2 };
static const unsigned char ecdsa_sha256[] = { 0x30, 10, 6, 8, 0x2a, 0x86, 0x48,
	0xce, 0x3d, 4, 3, 2 };
static const unsigned char rsa_sha256[] = { 0x30, 13, 6, 9, 0x2a, 0x86, 0x48,
	0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0 };
static const unsigned char oid_cn[] = { 6, 3, 0x55, 4, 3 };
static const unsigned char oid_o[] = { 6, 3, 0x55, 4, 10 };
static const unsigned char oid_san[] = { 6, 3, 0x55, 0x1d, 17 };
static const unsigned char oid_ski[] = { 6, 3, 0x55, 0x1d, 14 };
static const unsigned char oid_aki[] = { 6, 3, 0x55, 0x1d, 35 };
/* CA:FALSE critical. */
static const unsigned char no_ca[] = { 0x30, 12, 6, 3, 0x55, 0x1d, 19, 1, 1,
	0xff, 4, 2, 0x30, 0 };
/* digitalSignature critical; for RSA NSS demands keyEncipherment as well. */
static const unsigned char usage_ec[] = { 0x30, 14, 6, 3, 0x55, 0x1d, 15, 1, 1,
	0xff, 4, 4, 3, 2, 7, 0x80 };
static const unsigned char usage_rsa[] = { 0x30, 14, 6, 3, 0x55, 0x1d, 15, 1, 1,
	0xff, 4, 4, 3, 2, 5, 0xa0 };
static const unsigned char server_auth[] = { 0x30, 19, 6, 3, 0x55, 0x1d, 37, 4,
	12, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1 };

/* The identifier that AKI must repeat; without SKI the usual SHA-1. */
static int
subject_id(gnutls_x509_crt_t crt, struct tbs_issuer *i)
{
	size_t n = sizeof(i->id);
	int r = gnutls_x509_crt_get_subject_key_id(crt, i->id, &n, NULL);

	if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
		n = sizeof(i->id);
		r = gnutls_x509_crt_get_key_id(crt, 0, i->id, &n);
	}
	assert(r < 0 || n <= sizeof(i->id));
	i->id_n = (unsigned)n;
	return (r);
}

int
tbs_constraints(gnutls_x509_crt_t crt, gnutls_x509_name_constraints_t *out)
{
	int r = gnutls_x509_name_constraints_init(out);

	if (r < 0)
		return (r);
	r = gnutls_x509_crt_get_name_constraints(crt, *out, 0, NULL);
	if (r >= 0)
		return (0);
	gnutls_x509_name_constraints_deinit(*out);
	*out = NULL;
	return (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE ? 0 : r);
}

bool
tbs_permits(const struct tbs_issuer *i, const char *host)
{
	unsigned char ip[16];
	unsigned n = name_ip(host, ip);
	gnutls_datum_t name = { n > 0 ? ip : (unsigned char *)(uintptr_t)host,
		n > 0 ? n : (unsigned)strlen(host) };

	return (i->only == NULL ||
	    gnutls_x509_name_constraints_check(i->only,
		n > 0 ? GNUTLS_SAN_IPADDRESS : GNUTLS_SAN_DNSNAME, &name) != 0);
}

int
tbs_issuer_init(struct tbs_issuer *i, gnutls_x509_crt_t crt)
{
	int r;

	*i = (struct tbs_issuer){ .rsa = gnutls_x509_crt_get_pk_algorithm(crt,
					     NULL) == GNUTLS_PK_RSA };
	i->not_before = gnutls_x509_crt_get_activation_time(crt);
	i->not_after = gnutls_x509_crt_get_expiration_time(crt);
	r = gnutls_x509_crt_get_raw_dn(crt, &i->name);
	if (r >= 0 && i->name.size > TBS_MAX_NAME)
		r = GNUTLS_E_SHORT_MEMORY_BUFFER;
	if (r < 0 || (r = subject_id(crt, i)) < 0 ||
	    (r = tbs_constraints(crt, &i->only)) < 0)
		tbs_issuer_fini(i);
	return (r);
}

void
tbs_issuer_fini(struct tbs_issuer *i)
{
	gnutls_free(i->name.data);
	i->name = (gnutls_datum_t){ NULL, 0 };
	if (i->only != NULL)
		gnutls_x509_name_constraints_deinit(i->only);
	i->only = NULL;
}

static void
put_name(struct der *d, const unsigned char oid[5], const char *text)
{
	const unsigned char *end = d->at;

	assert(strlen(text) <= CN_MAX);
	der_put(d, DER_UTF8, text, strlen(text));
	der_raw(d, oid, 5);
	der_wrap(d, DER_SEQUENCE, end);
	der_wrap(d, DER_SET, end);
	der_wrap(d, DER_SEQUENCE, end);
}

void
tbs_write_cn(struct der *d, const char *text)
{
	put_name(d, oid_cn, text);
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

	assert(n == 0 || n == 4 || n == 16);
	if (n > 0)
		der_put(d, 0x87, ip, n); /* iPAddress */
	else
		der_put(d, 0x82, host, strlen(host)); /* dNSName */
	der_wrap(d, DER_SEQUENCE, end);
	end_extension(d, oid_san, end);
}

static void
put_extensions(struct der *d, const struct tbs_issuer *i,
    const struct tbs_leaf *l)
{
	const unsigned char *all = d->at, *end = d->at;

	der_put(d, 0x80, i->id, i->id_n); /* keyIdentifier */
	der_wrap(d, DER_SEQUENCE, end);
	end_extension(d, oid_aki, end);
	end = d->at;
	der_put(d, DER_OCTET_STRING, l->key_id, sizeof(l->key_id));
	end_extension(d, oid_ski, end);
	put_san(d, l->host);
	der_raw(d, server_auth, sizeof(server_auth));
	if (l->spki_n == TBS_P256_SPKI)
		der_raw(d, usage_ec, sizeof(usage_ec));
	else
		der_raw(d, usage_rsa, sizeof(usage_rsa));
	der_raw(d, no_ca, sizeof(no_ca));
	der_wrap(d, DER_SEQUENCE, all);
	der_wrap(d, 0xa3, all);
}

void
tbs_write_algorithm(struct der *d, bool rsa)
{
	if (rsa)
		der_raw(d, rsa_sha256, sizeof(rsa_sha256));
	else
		der_raw(d, ecdsa_sha256, sizeof(ecdsa_sha256));
}

/* TBSCertificate, from its last field to its first. */
void
tbs_write(struct der *d, const struct tbs_issuer *i, const struct tbs_leaf *l)
{
	const unsigned char *all = d->at, *end;

	assert(l->spki_n > 0 && l->spki_n <= sizeof(l->spki));
	assert(l->host[sizeof(l->host) - 1] == '\0');
	assert(i->name.size > 0 && i->name.size <= TBS_MAX_NAME);
	assert(i->id_n <= sizeof(i->id));
	put_extensions(d, i, l);
	der_raw(d, l->spki, l->spki_n);
	if (strlen(l->host) <= CN_MAX)
		put_name(d, oid_cn, l->host);
	else
		put_name(d, oid_o, "assay"); /* not empty: no critical SAN */
	end = d->at;
	der_time(d, l->to);
	der_time(d, l->from);
	der_wrap(d, DER_SEQUENCE, end);
	der_raw(d, i->name.data, i->name.size);
	tbs_write_algorithm(d, i->rsa);
	der_put(d, DER_INTEGER, l->serial, sizeof(l->serial));
	der_raw(d, version_3, sizeof(version_3));
	der_wrap(d, DER_SEQUENCE, all);
}
