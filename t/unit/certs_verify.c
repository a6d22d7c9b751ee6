/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Origin chains, one fault each: the certificate set of the interception
 * studies (NDSS 2016, arXiv 1809.08729) and what RFC 5280 and 9525 add.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/verify.h"
#include "t/unit/certs_make.h"

#define SIGN_CERTS (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
#define ROOT_BASE .cn = "test root", .ca = 1, .usage = SIGN_CERTS
#define INTER_BASE .cn = "test inter", .ca = 1
#define INTER_USAGE .usage = SIGN_CERTS
#define LEAF_BASE .cn = "a.example"
#define LEAF_NAME .dns = { "a.example" }
#define LEAF_USAGE .usage = GNUTLS_KEY_DIGITAL_SIGNATURE
#define LEAF_EKU .eku = { GNUTLS_KP_TLS_WWW_SERVER }
#define M(...)               \
	&(const struct make) \
	{                    \
		__VA_ARGS__  \
	}

#define GOOD_ROOT M(ROOT_BASE)
#define GOOD_INTER M(INTER_BASE, INTER_USAGE)
#define GOOD_LEAF M(LEAF_BASE, LEAF_NAME, LEAF_USAGE, LEAF_EKU)
#define NAMED_ROOT(name) M(.cn = name, .ca = 1, .usage = SIGN_CERTS)
#define ROOT(...) M(ROOT_BASE, __VA_ARGS__)
#define INTER(...) M(INTER_BASE, INTER_USAGE, __VA_ARGS__)
#define LEAF(...) M(LEAF_BASE, LEAF_NAME, LEAF_USAGE, LEAF_EKU, __VA_ARGS__)

enum sent {
	SENT_ALL,      /* leaf, intermediate */
	SENT_ROOT,     /* and the root */
	SENT_REVERSED, /* leaf last but first: root and intermediate swapped */
	SENT_LEAF      /* the intermediate is missing */
};

struct row {
	const char *name;
	const struct make *root, *inter; /* NULL: none */
	const struct make *leaf;
	const char *host;
	const char *want; /* part of the refusal; NULL: accepted */
	enum sent sent;
	bool untrusted;    /* another root of the usual name is in the store */
	bool leaf_trusted; /* the leaf itself is */
};

static const struct row rows[] = {
	{ .name = "good",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example" },
	{ .name = "root sent too",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .sent = SENT_ROOT },
	{ .name = "unordered",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .sent = SENT_REVERSED },
	{ .name = "no intermediate needed",
	    .root = GOOD_ROOT,
	    .leaf = GOOD_LEAF,
	    .host = "a.example" },
	{ .name = "RSA all through",
	    .root = ROOT(.key = KEY_RSA),
	    .leaf = LEAF(.key = KEY_RSA),
	    .host = "a.example" },
	{ .name = "no usages said",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = M(LEAF_BASE, LEAF_NAME),
	    .host = "a.example" },
	{ .name = "purpose any",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = M(LEAF_BASE, LEAF_NAME, .eku = { GNUTLS_KP_ANY }),
	    .host = "a.example" },
	/* names */
	{ .name = "wildcard",
	    .root = GOOD_ROOT,
	    .host = "b.a.example",
	    .leaf = M(.cn = "x", .dns = { "z.example", "*.a.example" }) },
	{ .name = "no subject",
	    .root = GOOD_ROOT,
	    .host = "a.example",
	    .leaf = M(.cn = NULL, LEAF_NAME, LEAF_USAGE) },
	{ .name = "IPv4",
	    .root = GOOD_ROOT,
	    .host = "127.0.0.1",
	    .leaf = M(LEAF_BASE, .ip = "127.0.0.1") },
	{ .name = "IPv6",
	    .root = GOOD_ROOT,
	    .host = "2001:db8:0::1",
	    .leaf = M(LEAF_BASE, .ip = "2001:db8::1") },
	{ .name = "wrong name",
	    .root = GOOD_ROOT,
	    .leaf = GOOD_LEAF,
	    .host = "b.example",
	    .want = "name does not match: certificate is for a.example" },
	{ .name = "wrong address",
	    .root = GOOD_ROOT,
	    .host = "127.0.0.2",
	    .leaf = M(LEAF_BASE, .ip = "127.0.0.1"),
	    .want = "certificate is for 127.0.0.1" },
	{ .name = "address as name",
	    .root = GOOD_ROOT,
	    .host = "127.0.0.1",
	    .leaf = M(LEAF_BASE, .dns = { "127.0.0.1" }),
	    .want = "name does not match" },
	{ .name = "address in the common name",
	    .root = GOOD_ROOT,
	    .host = "127.0.0.1",
	    .leaf = M(.cn = "127.0.0.1", LEAF_NAME),
	    .want = "name does not match" },
	{ .name = "common name only",
	    .root = GOOD_ROOT,
	    .host = "a.example",
	    .leaf = M(LEAF_BASE, LEAF_USAGE),
	    .want = "common name" },
	{ .name = "wildcard too wide",
	    .root = GOOD_ROOT,
	    .host = "a.example",
	    .leaf = M(LEAF_BASE, .dns = { "*.example" }),
	    .want = "name does not match: certificate is for *.example" },
	{ .name = "partial wildcard",
	    .root = GOOD_ROOT,
	    .host = "ab.c.example",
	    .leaf = M(LEAF_BASE, .dns = { "a*.c.example" }),
	    .want = "name does not match" },
	{ .name = "wildcard two labels deep",
	    .root = GOOD_ROOT,
	    .host = "x.y.a.example",
	    .leaf = M(LEAF_BASE, .dns = { "*.a.example" }),
	    .want = "name does not match" },
	{ .name = "host is no name",
	    .root = GOOD_ROOT,
	    .leaf = GOOD_LEAF,
	    .host = "a..example",
	    .want = "host name is not valid" },
	/* trust */
	{ .name = "self-signed",
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "self-signed" },
	{ .name = "self-signed but pinned",
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .leaf_trusted = true },
	{ .name = "unknown issuer",
	    .root = NAMED_ROOT("unknown"),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .untrusted = true,
	    .want = "not trusted" },
	{ .name = "unknown issuer, root sent",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .sent = SENT_ROOT,
	    .untrusted = true,
	    .want = "\"test root\" is not trusted" },
	{ .name = "issuer carries only the name",
	    .root = GOOD_ROOT,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .untrusted = true,
	    .want = "not trusted" },
	{ .name = "intermediate missing",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .sent = SENT_LEAF,
	    .want = "\"CN=test inter\" is not trusted" },
	{ .name = "leaf altered",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = LEAF(.spoilt = true),
	    .host = "a.example",
	    .want = "signature" },
	{ .name = "intermediate altered",
	    .root = GOOD_ROOT,
	    .inter = INTER(.spoilt = true),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "signature" },
	/* issuers */
	{ .name = "intermediate is no CA",
	    .root = GOOD_ROOT,
	    .inter = M(.cn = "test inter", .ca = 0, LEAF_USAGE),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "no CA" },
	{ .name = "intermediate without constraints",
	    .root = GOOD_ROOT,
	    .inter = M(.cn = "test inter", .ca = -1, INTER_USAGE),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "no CA" },
	{ .name = "v1 intermediate",
	    .root = GOOD_ROOT,
	    .inter = M(.cn = "test inter", .v1 = true),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "no CA" },
	{ .name = "intermediate without keyCertSign",
	    .root = GOOD_ROOT,
	    .inter = M(INTER_BASE, .usage = GNUTLS_KEY_CRL_SIGN),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "constraint" },
	{ .name = "path length",
	    .root = ROOT(.path_len = 1),
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "constraint" },
	{ .name = "path length suffices",
	    .root = ROOT(.path_len = 2),
	    .inter = INTER(.path_len = 1),
	    .leaf = GOOD_LEAF,
	    .host = "a.example" },
	{ .name = "name constraint",
	    .root = GOOD_ROOT,
	    .inter = INTER(.permitted = "other.example"),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "constraint" },
	{ .name = "name constraint obeyed",
	    .root = GOOD_ROOT,
	    .inter = INTER(.permitted = "example"),
	    .leaf = GOOD_LEAF,
	    .host = "a.example" },
	{ .name = "intermediate for servers",
	    .root = GOOD_ROOT,
	    .inter = INTER(.eku = { GNUTLS_KP_EMAIL_PROTECTION,
			       GNUTLS_KP_TLS_WWW_SERVER }),
	    .leaf = GOOD_LEAF,
	    .host = "a.example" },
	{ .name = "intermediate for anything",
	    .root = GOOD_ROOT,
	    .inter = INTER(.eku = { GNUTLS_KP_ANY }),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "TLS servers" },
	{ .name = "intermediate for clients",
	    .root = GOOD_ROOT,
	    .inter = INTER(.eku = { GNUTLS_KP_TLS_WWW_CLIENT }),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "TLS servers" },
	{ .name = "unknown critical extension in issuer",
	    .root = GOOD_ROOT,
	    .inter = INTER(.critical = true),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "critical extension" },
	/* the leaf */
	{ .name = "unknown critical extension",
	    .root = GOOD_ROOT,
	    .leaf = LEAF(.critical = true),
	    .host = "a.example",
	    .want = "critical extension" },
	{ .name = "leaf for clients",
	    .root = GOOD_ROOT,
	    .leaf = M(LEAF_BASE, LEAF_NAME,
		.eku = { GNUTLS_KP_TLS_WWW_CLIENT,
		    GNUTLS_KP_EMAIL_PROTECTION }),
	    .host = "a.example",
	    .want = "not meant for TLS servers" },
	{ .name = "leaf may not sign",
	    .root = GOOD_ROOT,
	    .leaf = M(LEAF_BASE, LEAF_NAME,
		.usage = GNUTLS_KEY_KEY_ENCIPHERMENT),
	    .host = "a.example",
	    .want = "key usage" },
	{ .name = "v1 leaf",
	    .root = GOOD_ROOT,
	    .leaf = M(.cn = "a.example", .v1 = true),
	    .host = "a.example",
	    .want = "name does not match" },
	/* dates */
	{ .name = "leaf expired",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = LEAF(.from = -30, .to = -1),
	    .host = "a.example",
	    .want = "certificate expired on 20" },
	{ .name = "leaf not yet valid",
	    .root = GOOD_ROOT,
	    .inter = GOOD_INTER,
	    .leaf = LEAF(.from = 2, .to = 9),
	    .host = "a.example",
	    .want = "certificate is not valid before" },
	{ .name = "intermediate expired",
	    .root = GOOD_ROOT,
	    .inter = INTER(.from = -30, .to = -1),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "\"test inter\" expired on" },
	{ .name = "intermediate not yet valid",
	    .root = GOOD_ROOT,
	    .inter = INTER(.from = 2, .to = 9),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "\"test inter\" is not valid before" },
	{ .name = "root expired",
	    .root = ROOT(.from = -30, .to = -1),
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "\"test root\" expired on" },
	{ .name = "root not yet valid",
	    .root = ROOT(.from = 2, .to = 9),
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "\"test root\" is not valid before" },
	/* strength */
	{ .name = "RSA 1024",
	    .root = GOOD_ROOT,
	    .host = "a.example",
	    .leaf = LEAF(.key = KEY_RSA_1024),
	    .want = "too weak: RSA" },
	{ .name = "RSA 1024 intermediate",
	    .root = GOOD_ROOT,
	    .inter = INTER(.key = KEY_RSA_1024),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "\"test inter\" is too weak: RSA" },
	{ .name = "RSA 1024 root",
	    .root = ROOT(.key = KEY_RSA_1024),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "too weak" },
	{ .name = "P-192",
	    .root = GOOD_ROOT,
	    .host = "a.example",
	    .leaf = LEAF(.key = KEY_EC_192),
	    .want = "too weak" },
	{ .name = "SHA-1",
	    .root = GOOD_ROOT,
	    .host = "a.example",
	    .leaf = LEAF(.hash = GNUTLS_DIG_SHA1),
	    .want = "SHA-1" },
	{ .name = "SHA-1 intermediate",
	    .root = GOOD_ROOT,
	    .inter = INTER(.hash = GNUTLS_DIG_SHA1),
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .want = "SHA-1" },
	{ .name = "SHA-1 root's own signature",
	    .root = ROOT(.hash = GNUTLS_DIG_SHA1),
	    .inter = GOOD_INTER,
	    .leaf = GOOD_LEAF,
	    .host = "a.example",
	    .sent = SENT_ROOT },
	{ .name = "MD5",
	    .root = ROOT(.key = KEY_RSA),
	    .host = "a.example",
	    .leaf = LEAF(.hash = GNUTLS_DIG_MD5),
	    .want = "MD5" },
};

static struct trust *
open_trust(const char *anchors, const char *crl, struct ca *own)
{
	const char *files[] = { anchors, NULL }, *crls[] = { crl, NULL };
	struct fault f = { ERR_NONE, "" };
	struct trust *t = trust_open(files, crls, own, &f);

	if (t == NULL) {
		printf("Bail out! %s\n", f.detail);
		exit(99);
	}
	return (t);
}

static struct verifier *
verifier(struct trust *t, struct ca *own, enum revocation r,
    struct job_pool *pool)
{
	return (verifier_new(&(struct verify_options){ .trust = t,
	    .own = own,
	    .revocation = r,
	    .pool = pool,
	    .max_entries = 100 }));
}

static unsigned
fill(gnutls_datum_t d[3], const struct row *r, const struct made m[3])
{
	unsigned n = 0;

	d[n++] = m[2].der;
	if (r->inter != NULL && r->sent != SENT_LEAF)
		d[n++] = m[1].der;
	if (r->sent == SENT_ROOT || r->sent == SENT_REVERSED)
		d[n++] = m[0].der;
	if (r->sent == SENT_REVERSED) {
		d[1] = m[0].der;
		d[2] = m[1].der;
	}
	return (n);
}

/* The verdict on what r sends, with these anchors. */
static void
check_verdict(const struct row *r, const struct made m[3],
    const char *const *anchors, const char *want, const char *how)
{
	struct fault f = { ERR_NONE, "" };
	gnutls_datum_t d[3];
	struct verify_chain c = { .certs = d };
	struct trust *t = trust_open(anchors, NULL, NULL, &f);
	struct verifier *v;
	bool ok;

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	v = verifier(t, NULL, REVOCATION_SOFT, NULL);
	c.n = fill(d, r, m);
	(void)make_both_ways(t, r->host, &c, r->name);
	trust_unref(&t);
	ok = verify_now(v, r->host, &c, &f);
	CU_ASSERT_EQUAL(ok, r->want == NULL);
	CU_ASSERT_EQUAL(f.code, r->want == NULL ? ERR_NONE : ERR_ORIGIN_CERT);
	CU_ASSERT(want == NULL || strstr(f.detail, want) != NULL);
	if (ok != (r->want == NULL) ||
	    (want != NULL && strstr(f.detail, want) == NULL) ||
	    getenv("UNIT_VERBOSE") != NULL)
		printf("# %s%s: %s\n", r->name, how,
		    ok ? "accepted" : f.detail);
	verifier_free(&v);
}

/*
 * With the anchor alone, and with another of the same name beside it: then
 * GnuTLS looks for the path, and must come to the same verdict.
 */
static void
check_row(const struct row *r)
{
	const struct make *anchor = r->leaf_trusted ? r->leaf
	    : r->root == NULL || r->untrusted       ? GOOD_ROOT
						    : r->root;
	struct made m[3] = { 0 }, other = make_cert(GOOD_ROOT, NULL);
	struct made twin = make_cert(anchor, NULL);
	const char *files[3] = { NULL };

	if (r->root != NULL)
		m[0] = make_cert(r->root, NULL);
	if (r->inter != NULL)
		m[1] = make_cert(r->inter, &m[0]);
	m[2] = make_cert(r->leaf,
	    r->inter != NULL      ? &m[1]
		: r->root != NULL ? &m[0]
				  : NULL);
	files[0] = make_cert_file("anchors.pem",
	    r->leaf_trusted                       ? &m[2]
		: r->root == NULL || r->untrusted ? &other
						  : &m[0]);
	check_verdict(r, m, files, r->want, "");
	files[1] = make_cert_file("twin.pem", &twin);
	/* Version 1 does not say which of them issued it. */
	check_verdict(r, m, files,
	    r->leaf->v1 || (r->inter != NULL && r->inter->v1) ? NULL : r->want,
	    ", two anchors of a name");
	made_free(&m[0]);
	made_free(&m[1]);
	made_free(&m[2]);
	made_free(&other);
	made_free(&twin);
}

static void
test_rows(void)
{
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i]);
}

/* Revocation. */

struct pki {
	struct made root, inter, leaf;
	gnutls_datum_t chain[2];
	struct verify_chain sent;
};

static void
pki_make(struct pki *p, const struct make *leaf)
{
	memset(p, 0, sizeof(*p));
	p->root = make_cert(GOOD_ROOT, NULL);
	p->inter = make_cert(GOOD_INTER, &p->root);
	p->leaf = make_cert(leaf, &p->inter);
	p->chain[0] = p->leaf.der;
	p->chain[1] = p->inter.der;
	p->sent.certs = p->chain;
	p->sent.n = 2;
	make_cert_file("root.pem", &p->root);
}

static void
pki_free(struct pki *p)
{
	made_free(&p->root);
	made_free(&p->inter);
	made_free(&p->leaf);
	gnutls_free(p->sent.staple.data);
}

/* Verify under mode with these CRLs (PEM, taken); want as in a row. */
static void
revocation(struct pki *p, enum revocation mode, gnutls_datum_t leaf_crl,
    gnutls_datum_t inter_crl, const char *want, int line)
{
	struct fault f = { ERR_NONE, "" };
	char both[16384];
	const char *path = NULL;
	struct verifier *v;
	struct trust *t;
	int n;
	bool ok;

	n = snprintf(both, sizeof(both), "%.*s%.*s", (int)leaf_crl.size,
	    (char *)leaf_crl.data, (int)inter_crl.size, (char *)inter_crl.data);
	make_cert_file("root.pem", &p->root);
	if (n > 0)
		path = make_file("crl.pem", both, (size_t)n, 0644);
	t = open_trust(make_path("root.pem"), path, NULL);
	v = verifier(t, NULL, mode, NULL);
	ok = verify_now(v, "a.example", &p->sent, &f);
	if (ok != (want == NULL) ||
	    (want != NULL && strstr(f.detail, want) == NULL)) {
		CU_FAIL("verdict");
		printf("# line %d: %s\n", line, ok ? "accepted" : f.detail);
	}
	verifier_free(&v);
	trust_unref(&t);
	gnutls_free(leaf_crl.data);
	gnutls_free(inter_crl.data);
}
#define REVOCATION(mode, leaf_crl, inter_crl, want) \
	revocation(&p, mode, leaf_crl, inter_crl, want, __LINE__)
#define NO_CRL ((gnutls_datum_t){ NULL, 0 })

static void
test_crl(void)
{
	struct pki p;

	pki_make(&p, GOOD_LEAF);
#define LEAF_CRL(n, from, to) make_crl(&p.inter, &p.leaf, n, from, to)
#define INTER_CRL(n, from, to) make_crl(&p.root, &p.inter, n, from, to)
	REVOCATION(REVOCATION_SOFT, NO_CRL, NO_CRL, NULL);
	REVOCATION(REVOCATION_SOFT, LEAF_CRL(0, -1, 5), NO_CRL, NULL);
	REVOCATION(REVOCATION_SOFT, LEAF_CRL(1, -1, 5), NO_CRL,
	    "certificate was revoked on");
	REVOCATION(REVOCATION_SOFT, NO_CRL, INTER_CRL(1, -1, 5),
	    "\"test inter\" was revoked on");
	/* An old list that names it is still a definite no. */
	REVOCATION(REVOCATION_SOFT, LEAF_CRL(1, -9, -2), NO_CRL, "revoked");
	REVOCATION(REVOCATION_SOFT, LEAF_CRL(0, -9, -2), NO_CRL, NULL);
	/* Somebody else's list says nothing: wrong name, wrong key. */
	REVOCATION(REVOCATION_SOFT, make_crl(&p.root, &p.leaf, 1, -1, 5),
	    NO_CRL, NULL);
	REVOCATION(REVOCATION_OFF, LEAF_CRL(1, -1, 5), NO_CRL, NULL);
	REVOCATION(REVOCATION_HARD, NO_CRL, NO_CRL, "unknown revocation");
	REVOCATION(REVOCATION_HARD, LEAF_CRL(0, -1, 5), NO_CRL,
	    "\"test inter\" has unknown revocation");
	REVOCATION(REVOCATION_HARD, LEAF_CRL(0, -1, 5), INTER_CRL(0, -1, 5),
	    NULL);
	REVOCATION(REVOCATION_HARD, LEAF_CRL(0, -9, -2), INTER_CRL(0, -1, 5),
	    "certificate has unknown revocation");
	pki_free(&p);
}

static void
test_forged_crl(void)
{
	struct pki p;
	struct made forger, half;

	pki_make(&p, GOOD_LEAF);
	forger = make_cert(GOOD_INTER, &p.root); /* the name, not the key */
	half = p.inter; /* name and key identifier, not the key */
	half.key = forger.key;
	REVOCATION(REVOCATION_SOFT, make_crl(&forger, &p.leaf, 1, -1, 5),
	    NO_CRL, NULL);
	REVOCATION(REVOCATION_SOFT, make_crl(&half, &p.leaf, 1, -1, 5), NO_CRL,
	    NULL);
	REVOCATION(REVOCATION_SOFT, make_crl(&half, &p.leaf, 1, -9, -2), NO_CRL,
	    NULL);
	REVOCATION(REVOCATION_HARD, make_crl(&half, &p.leaf, 0, -1, 5),
	    INTER_CRL(0, -1, 5), "certificate has unknown revocation");
	made_free(&forger);
	pki_free(&p);
}

static void
test_staple(void)
{
	struct pki p, other;

	pki_make(&p, GOOD_LEAF);
	p.sent.staple = make_staple(&p.leaf, &p.inter, false);
	if (p.sent.staple.size == 0) {
		printf("# skipped: no openssl\n");
		pki_free(&p);
		return;
	}
	REVOCATION(REVOCATION_SOFT, NO_CRL, NO_CRL, NULL);
	REVOCATION(REVOCATION_HARD, NO_CRL, INTER_CRL(0, -1, 5), NULL);
	/* or its certificate */
	p.sent.staple.data[p.sent.staple.size - 5] ^= 1;
	p.sent.staple.data[40] ^= 1;
	REVOCATION(REVOCATION_HARD, NO_CRL, INTER_CRL(0, -1, 5), "unknown");
	gnutls_free(p.sent.staple.data);
	p.sent.staple = make_staple(&p.leaf, &p.inter, true);
	REVOCATION(REVOCATION_SOFT, NO_CRL, NO_CRL, "revoked on 2026-01-01");
	REVOCATION(REVOCATION_OFF, NO_CRL, NO_CRL, NULL);
	gnutls_free(p.sent.staple.data);
	pki_make(&other, GOOD_LEAF); /* same names, other serial and keys */
	p.sent.staple = make_staple(&other.leaf, &other.inter, true);
	REVOCATION(REVOCATION_SOFT, NO_CRL, NO_CRL, NULL);
	pki_free(&other);
	pki_free(&p);
}

static void
test_must_staple(void)
{
	static unsigned char junk[] = "no OCSP response";
	struct pki p;

	pki_make(&p, LEAF(.must_staple = true));
	REVOCATION(REVOCATION_SOFT, NO_CRL, NO_CRL, "came without one");
	REVOCATION(REVOCATION_OFF, NO_CRL, NO_CRL, NULL);
	p.sent.staple = (gnutls_datum_t){ junk, sizeof(junk) };
	REVOCATION(REVOCATION_SOFT, NO_CRL, NO_CRL, "unreadable");
	p.sent.staple = make_staple(&p.leaf, &p.inter, false);
	if (p.sent.staple.size > 0)
		REVOCATION(REVOCATION_SOFT, NO_CRL, NO_CRL, NULL);
	pki_free(&p);
}

/* Bounds and junk: no certificate, too many, too large, not DER, cut. */
static void
test_bounds(void)
{
	gnutls_datum_t many[200], one;
	struct verify_chain c = { .certs = many };
	struct fault f = { ERR_NONE, "" };
	struct pki p;
	struct verifier *v;
	struct trust *t;
	unsigned i;

	pki_make(&p, GOOD_LEAF);
	t = open_trust(make_path("root.pem"), NULL, NULL);
	v = verifier(t, NULL, REVOCATION_SOFT, NULL);
	CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
	CU_ASSERT(strstr(f.detail, "no certificate") != NULL);
	for (i = 0; i < 200; i++)
		many[i] = i == 0 ? p.leaf.der : p.inter.der;
	for (c.n = 1; c.n <= 200; c.n++) { /* bytes count, not how many */
		f.code = ERR_NONE;
		CU_ASSERT_EQUAL(verify_now(v, "a.example", &c, &f),
		    c.n > 1 &&
			p.leaf.der.size + (c.n - 1) * p.inter.der.size <=
			    VERIFY_MAX_BYTES);
	}
	CU_ASSERT(strstr(f.detail, "too long") != NULL);
	many[0].size = VERIFY_MAX_BYTES + 1;
	f.code = ERR_NONE;
	c.n = 1;
	CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
	CU_ASSERT(strstr(f.detail, "too long") != NULL);
	for (i = 0; i < p.leaf.der.size; i += 1 + unit_random(20)) {
		one = (gnutls_datum_t){ p.leaf.der.data, i };
		c.certs = &one;
		f.code = ERR_NONE;
		CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
		CU_ASSERT_EQUAL(f.code, ERR_ORIGIN_CERT);
	}
	one = (gnutls_datum_t){ malloc(p.leaf.der.size + 1),
		p.leaf.der.size + 1 };
	memcpy(one.data, p.leaf.der.data, p.leaf.der.size);
	one.data[p.leaf.der.size] = 0;
	f.code = ERR_NONE;
	/* a byte behind it */
	CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
	free(one.data);
	verifier_free(&v);
	trust_unref(&t);
	pki_free(&p);
}

/* Every byte of a good leaf changed once: never accepted, never a crash. */
static void
test_flips(void)
{
	struct pki p;
	struct fault f;
	struct verifier *v;
	struct trust *t;
	gnutls_datum_t d[2];
	struct verify_chain c = { .certs = d, .n = 2 };
	unsigned i;

	pki_make(&p, GOOD_LEAF);
	t = open_trust(make_path("root.pem"), NULL, NULL);
	v = verifier(t, NULL, REVOCATION_SOFT, NULL);
	d[0] = p.leaf.der;
	d[1] = p.inter.der;
	for (i = 0; i < d[0].size; i++) {
		d[0].data[i] ^= (unsigned char)(1u << unit_random(8));
		f.code = ERR_NONE;
		CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
		d[0].data[i] = p.leaf.der.data[i];
		gnutls_free(d[0].data);
		gnutls_x509_crt_export2(p.leaf.crt, GNUTLS_X509_FMT_DER, &d[0]);
		p.leaf.der = d[0];
	}
	verifier_free(&v);
	trust_unref(&t);
	pki_free(&p);
}

/* Our own CA is no anchor, and no part of an origin's chain. */
static void
test_own_ca(void)
{
	struct fault f = { ERR_NONE, "" };
	gnutls_datum_t d[2];
	struct verify_chain c = { .certs = d, .n = 1 };
	struct pki p;
	struct made leaf, ca;
	struct verifier *v;
	struct trust *t;
	struct ca *own;

	pki_make(&p, GOOD_LEAF);
	ca = make_cert(NAMED_ROOT("own"), NULL);
	own = ca_open(&(struct ca_options){ .cert = make_cert_file("own.pem",
						&ca),
			  .key = make_key_file("own.key", &ca),
			  .leaf_days = 14 },
	    &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(own);
	CU_ASSERT_TRUE(ca_owns(own, &ca.der));
	CU_ASSERT_FALSE(ca_owns(own, &p.root.der));
	leaf = make_cert(GOOD_LEAF, &ca);
	t = open_trust(make_path("own.pem"), NULL, own);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_EQUAL(trust_anchors(t), 0);
	v = verifier(t, own, REVOCATION_SOFT, NULL);
	d[0] = leaf.der;
	CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
	d[1] = ca.der;
	c.n = 2;
	f.code = ERR_NONE;
	CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
	CU_ASSERT(strstr(f.detail, "own CA") != NULL);
	verifier_free(&v);
	trust_unref(&t);
	/* The same for a store that was opened without knowing our CA. */
	t = open_trust(make_path("own.pem"), NULL, NULL);
	v = verifier(t, own, REVOCATION_SOFT, NULL);
	c.n = 1;
	f.code = ERR_NONE;
	CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
	CU_ASSERT(strstr(f.detail, "own CA") != NULL);
	verifier_free(&v);
	trust_unref(&t);
	ca_unref(&own);
	made_free(&leaf);
	made_free(&ca);
	pki_free(&p);
}

/* On a loop: one verification for many names, cached, cancelled. */
struct wait_test {
	struct task task;
	struct verify_wait w[3];
	unsigned wakes;
};

static void
on_wake(struct task *task)
{
	struct wait_test *t = CONTAINER_OF(task, struct wait_test, task);

	t->wakes++;
	if (t->w[0].done && t->w[1].done)
		loop_stop(task->loop);
}

static void
tick_stop(struct timer *t)
{
	loop_stop(t->loop);
}

static void
run_for(struct loop *l, unsigned ms)
{
	struct timer t;

	timer_init(&t, l, tick_stop);
	timer_set(&t, ms);
	loop_run(l);
	timer_stop(&t);
}

static void
test_waits(void)
{
	struct job_pool *pool = job_pool_new("verify", 2);
	struct loop *l = loop_new();
	struct wait_test t = { 0 };
	struct verify_stats s;
	struct verifier *v;
	struct trust *trust;
	struct pki p;
	unsigned i;

	pki_make(&p, M(LEAF_BASE, .dns = { "*.a.example" }));
	trust = open_trust(make_path("root.pem"), NULL, NULL);
	v = verifier(trust, NULL, REVOCATION_SOFT, pool);
	task_init(&t.task, l, on_wake);
	for (i = 0; i < 3; i++)
		t.w[i].wake = &t.task;
	/* What is not short goes to the pool: here by its staple, which says nothing. */
	p.sent.staple = (gnutls_datum_t){ gnutls_malloc(9000), 9000 };
	memset(p.sent.staple.data, 0, 9000);
	/* The first may be done before the others begin: then they are hits. */
	CU_ASSERT_FALSE(verify_start(v, l, "x.a.example", &p.sent, &t.w[0]));
	(void)verify_start(v, l, "b.example", &p.sent, &t.w[1]);
	(void)verify_start(v, l, "y.a.example", &p.sent, &t.w[2]);
	verify_cancel(&t.w[2]);
	loop_run(l);
	CU_ASSERT(t.w[0].done && t.w[0].ok);
	CU_ASSERT(t.w[1].done && !t.w[1].ok);
	CU_ASSERT_EQUAL(t.w[1].fault.code, ERR_ORIGIN_CERT);
	CU_ASSERT_TRUE(verify_start(v, l, "z.a.example", &p.sent, &t.w[2]));
	CU_ASSERT(t.w[2].done && t.w[2].ok);
	verifier_stats(v, &s);
	CU_ASSERT_EQUAL(s.misses, 1);
	CU_ASSERT_EQUAL(s.joined + s.hits, 3);
	/* Another staple makes it another chain; this one is short: at once. */
	p.sent.staple.size = 4;
	for (i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(
		    verify_start(v, l, "z.a.example", &p.sent, &t.w[2]));
		CU_ASSERT(t.w[2].done && t.w[2].ok);
		verifier_stats(v, &s);
		CU_ASSERT_EQUAL(s.misses, 2);
	}
	/* One that nobody waits for any more. */
	p.sent.staple.size = 8999;
	CU_ASSERT_FALSE(verify_start(v, l, "z.a.example", &p.sent, &t.w[2]));
	verify_cancel(&t.w[2]);
	verifier_free(&v);
	trust_unref(&trust);
	run_for(l, 50);
	job_pool_free(&pool);
	loop_free(&l);
	pki_free(&p);
}

CERTS_MAIN(certs_verify, { "chains", test_rows }, { "CRLs", test_crl },
    { "forged CRL", test_forged_crl }, { "stapled answers", test_staple },
    { "must-staple", test_must_staple }, { "bounds", test_bounds },
    { "altered bytes", test_flips }, { "own CA", test_own_ca },
    { "waits", test_waits })
