/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SCTs in certificates, see ct.h. */
#include <assert.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/handed.h"
#include "certs/ct_priv.h"
#include "certs/der.h"
#include "certs/der_read.h"

#define SKEW_MS 300000
#define LONG_LIFE (180 * 86400) /* s */
#define PARTS_MOST 64           /* of a certificate, and extensions */
#define SCTS_MOST 16
#define TAG_EXTENSIONS 0xa3

/* 1.3.6.1.4.1.11129.2.4.2 */
static const unsigned char oid_scts[] = { 0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6,
	0x79, 0x02, 0x04, 0x02 };

struct ct *
ct_open(const char *file, struct fault *f)
{
	struct ct *ct = calloc(1, sizeof(*ct));
	const char *why;
	unsigned char *text;
	size_t n;

	if (ct == NULL)
		abort();
	if ((text = handed_read(file, &n)) == NULL)
		why = strerror(errno);
	else
		why = ct_list_read(ct, text, n);
	free(text);
	if (why != NULL) {
		fault_set(f, ERR_CONFIG, "%s: %s", file, why);
		ct_free(&ct);
	}
	return (ct);
}

void
ct_free(struct ct **ctp)
{
	struct ct *ct = *ctp;

	*ctp = NULL;
	if (ct == NULL)
		return;
	while (ct->n > 0)
		gnutls_pubkey_deinit(ct->v[--ct->n].key);
	free(ct->v);
	free(ct);
}

unsigned
ct_logs(const struct ct *ct)
{
	return (ct->n);
}

/* What was promised: the certificate without its SCTs (RFC 6962 3.2). */

/* Its elements, whole; false: it is none, or has too many. */
static bool
split(struct der_in in, struct der_in *v, unsigned *n)
{
	const unsigned char *from;
	struct der_in content;
	unsigned tag;

	for (*n = 0; in.n > 0; ++*n) {
		from = in.p;
		if (*n == PARTS_MOST || !der_next(&in, &tag, &content))
			return (false);
		v[*n] = (struct der_in){ from, (size_t)(in.p - from) };
	}
	return (true);
}

/* Is this extension the SCTs?  *list: they, then. */
static bool
is_scts(struct der_in extension, struct der_in *list)
{
	struct der_in one, oid, value;

	if (!der_take(&extension, DER_SEQUENCE, &one) ||
	    !der_take(&one, DER_OID, &oid) ||
	    !der_same(oid, (struct der_in){ oid_scts, sizeof(oid_scts) }))
		return (false);
	(void)der_take(&one, DER_BOOLEAN, NULL);
	if (!der_take(&one, DER_OCTET_STRING, &value) ||
	    !der_take(&value, DER_OCTET_STRING, list))
		*list = (struct der_in){ NULL, 0 };
	return (true);
}

/* The extensions but for the SCTs, in front of what was written. */
static bool
put_extensions(struct der *d, struct der_in whole, struct der_in *scts)
{
	struct der_in v[PARTS_MOST], list, in;
	const unsigned char *end = d->at;
	unsigned n;

	if (!der_take(&whole, TAG_EXTENSIONS, &in) ||
	    !der_take(&in, DER_SEQUENCE, &list) || !split(list, v, &n))
		return (false);
	while (n-- > 0)
		if (!is_scts(v[n], scts))
			der_raw(d, v[n].p, v[n].n);
	der_wrap(d, DER_SEQUENCE, end);
	der_wrap(d, TAG_EXTENSIONS, end);
	return (true);
}

/* d: of at least as many octets as the certificate. */
static bool
put_promised(struct der *d, struct der_in cert, struct der_in *scts)
{
	struct der_in v[PARTS_MOST], frame, list;
	const unsigned char *end = d->at;
	unsigned n;

	*scts = (struct der_in){ NULL, 0 };
	if (!der_take(&cert, DER_SEQUENCE, &frame) ||
	    !der_take(&frame, DER_SEQUENCE, &list) || !split(list, v, &n))
		return (false);
	while (n-- > 0)
		if (v[n].p[0] != TAG_EXTENSIONS)
			der_raw(d, v[n].p, v[n].n);
		else if (!put_extensions(d, v[n], scts))
			return (false);
	der_wrap(d, DER_SEQUENCE, end);
	return (true);
}

/* Promises (RFC 6962 3.2, 3.3; TLS presentation, RFC 8446 3). */

static bool
take_bytes(struct der_in *in, size_t n, const unsigned char **p)
{
	if (in->n < n)
		return (false);
	*p = in->p;
	in->p += n;
	in->n -= n;
	return (true);
}

/* A vector whose length has two octets. */
static bool
take_vector(struct der_in *in, struct der_in *v)
{
	const unsigned char *head, *p = NULL;
	size_t n;

	if (!take_bytes(in, 2, &head))
		return (false);
	n = (size_t)head[0] << 8 | head[1];
	if (!take_bytes(in, n, &p))
		return (false);
	*v = (struct der_in){ p, n };
	return (true);
}

struct sct {
	const unsigned char *id, *moment; /* 32 and 8 octets */
	struct der_in extensions, signature;
	const unsigned char *algorithm; /* hash, signature */
};

static bool
sct_read(struct der_in in, struct sct *s)
{
	const unsigned char *version;

	return (take_bytes(&in, 1, &version) && *version == 0 &&
	    take_bytes(&in, 32, &s->id) && take_bytes(&in, 8, &s->moment) &&
	    take_vector(&in, &s->extensions) &&
	    take_bytes(&in, 2, &s->algorithm) &&
	    take_vector(&in, &s->signature) && in.n == 0);
}

static const struct ct_log *
log_of(const struct ct *ct, const struct sct *s)
{
	unsigned i;

	for (i = 0; i < ct->n; i++)
		if (memcmp(ct->v[i].id, s->id, sizeof(ct->v[i].id)) == 0)
			return (&ct->v[i]);
	return (NULL);
}

/* What a log has signed: a promise of this certificate by that issuer. */
struct promised {
	unsigned char issuer[32]; /* SHA-256 of its key */
	struct der_in cert;       /* without SCTs */
	int64_t now;              /* ms */
};

static bool
signature_ok(const struct ct_log *log, const struct sct *s,
    const struct promised *p)
{
	const size_t n = 1 + 1 + 8 + 2 + 32 + 3 + p->cert.n + 2 +
	    s->extensions.n;
	unsigned char *text = malloc(n), *end = text + n;
	struct der d = { text, end };
	gnutls_datum_t data = { text, (unsigned)n };
	gnutls_datum_t sig = { (unsigned char *)(uintptr_t)s->signature.p,
		(unsigned)s->signature.n };
	const unsigned char lengths[] = { (unsigned char)(p->cert.n >> 16),
		(unsigned char)(p->cert.n >> 8), (unsigned char)p->cert.n,
		(unsigned char)(s->extensions.n >> 8),
		(unsigned char)s->extensions.n };
	bool ok;

	if (text == NULL)
		abort();
	der_raw(&d, s->extensions.p, s->extensions.n);
	der_raw(&d, lengths + 3, 2);
	der_raw(&d, p->cert.p, p->cert.n);
	der_raw(&d, lengths, 3);
	der_raw(&d, p->issuer, 32);
	der_raw(&d, "\0\1", 2); /* precert_entry */
	der_raw(&d, s->moment, 8);
	der_raw(&d, "\0\0", 2); /* v1, certificate_timestamp */
	assert(d.at == text);
	ok = s->algorithm[0] == 4 && /* SHA-256, with RSA or ECDSA */
	    (s->algorithm[1] == 1 || s->algorithm[1] == 3) &&
	    gnutls_pubkey_verify_data2(log->key,
		s->algorithm[1] == 1 ? GNUTLS_SIGN_RSA_SHA256
				     : GNUTLS_SIGN_ECDSA_SHA256,
		0, &data, &sig) >= 0;
	free(text);
	return (ok);
}

static bool
sct_good(const struct ct_log *log, const struct sct *s,
    const struct promised *p)
{
	int64_t at = 0;
	unsigned i;

	for (i = 0; i < 8; i++)
		at = (int64_t)((uint64_t)at << 8 | s->moment[i]);
	return (at >= 0 && at <= p->now + SKEW_MS &&
	    (log->until == 0 || at < log->until) && signature_ok(log, s, p));
}

/* Good ones of different logs; *by_many: of more than one operator. */
static unsigned
count_good(const struct ct *ct, struct der_in list, const struct promised *p,
    bool *by_many)
{
	const struct ct_log *logs[SCTS_MOST], *log;
	struct der_in all, one;
	unsigned n = 0, seen, i;
	struct sct s;

	*by_many = false;
	if (!take_vector(&list, &all))
		return (0);
	for (seen = 0; seen < SCTS_MOST && take_vector(&all, &one); seen++) {
		if (!sct_read(one, &s) || (log = log_of(ct, &s)) == NULL)
			continue;
		for (i = 0; i < n && logs[i] != log;)
			i++;
		if (i < n || !sct_good(log, &s, p))
			continue;
		*by_many = *by_many || (n > 0 && log->by != logs[0]->by);
		logs[n++] = log;
	}
	return (n);
}

bool
ct_enough(const struct ct *ct, const gnutls_datum_t *der,
    gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer, time_t now,
    char why[static CT_WHY])
{
	unsigned char *buf = malloc(der->size + 16);
	struct der d = der_begin(buf, der->size + 16);
	struct promised p = { .now = (int64_t)now * 1000 };
	size_t id_n = sizeof(p.issuer);
	unsigned need, n = 0;
	struct der_in scts;
	bool by_many = false;

	if (buf == NULL)
		abort();
	need = gnutls_x509_crt_get_expiration_time(cert) -
		    gnutls_x509_crt_get_activation_time(cert) >
		LONG_LIFE
	    ? 3
	    : 2;
	if (put_promised(&d, (struct der_in){ der->data, der->size }, &scts) &&
	    gnutls_x509_crt_get_key_id(issuer, GNUTLS_KEYID_USE_SHA256,
		p.issuer, &id_n) >= 0) {
		p.cert = (struct der_in){ d.at,
			(size_t)(buf + der->size + 16 - d.at) };
		n = count_good(ct, scts, &p, &by_many);
	}
	free(buf);
	(void)snprintf(why, CT_WHY, "%u of %u SCTs%s", n, need,
	    n >= need && !by_many ? ", all of one operator" : "");
	return (n >= need && by_many);
}
