/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which certificates of a chain count: any number of needless ones, and the
 * same verdict whichever way the path is chosen.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "certs/verify.h"
#include "t/unit/certs_make.h"

#define SIGN_CERTS (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
#define ROOT_BASE .cn = "test root", .ca = 1, .usage = SIGN_CERTS
#define INTER_BASE .cn = "test inter", .ca = 1, .usage = SIGN_CERTS
#define LEAF_BASE                                  \
	.cn = "a.example", .dns = { "a.example" }, \
	.usage = GNUTLS_KEY_DIGITAL_SIGNATURE
#define LEAF_EKU .eku = { GNUTLS_KP_TLS_WWW_SERVER }
#define M(...)               \
	&(const struct make) \
	{                    \
		__VA_ARGS__  \
	}

#define GOOD_ROOT M(ROOT_BASE)
#define GOOD_INTER M(INTER_BASE)
#define GOOD_LEAF M(LEAF_BASE, LEAF_EKU)
#define NAMED_ROOT(name) M(.cn = name, .ca = 1, .usage = SIGN_CERTS)
#define ROOT(...) M(ROOT_BASE, __VA_ARGS__)
#define INTER(...) M(INTER_BASE, __VA_ARGS__)
#define LEAF(...) M(LEAF_BASE, LEAF_EKU, __VA_ARGS__)

static struct trust *
open_trust(const char *first, const char *second)
{
	const char *files[] = { first, second, NULL };
	struct fault f = { ERR_NONE, "" };
	struct trust *t = trust_open(files, NULL, NULL, &f);

	if (t == NULL) {
		printf("Bail out! %s\n", f.detail);
		exit(99);
	}
	return (t);
}

/* Needless certificates, before and behind and between, twice and in any order. */
static void
test_needless(void)
{
	struct made root = make_cert(GOOD_ROOT, NULL);
	struct made inter = make_cert(GOOD_INTER, &root);
	struct made leaf = make_cert(GOOD_LEAF, &inter), other[40];
	struct verifier *v;
	struct trust *t;
	gnutls_datum_t d[64];
	struct verify_chain c = { .certs = d };
	struct fault f;
	unsigned i, at;
	char cn[32];

	make_cert_file("root.pem", &root);
	t = open_trust(make_path("root.pem"), NULL);
	v = verifier_new(&(struct verify_options){ .trust = t,
	    .revocation = REVOCATION_SOFT,
	    .max_entries = 9 });
	for (i = 0; i < 40; i++) {
		(void)snprintf(cn, sizeof(cn), "needless %u", i / 2);
		other[i] = make_cert(NAMED_ROOT(cn),
		    i % 2 == 0 ? NULL : &other[i - 1]);
	}
	for (at = 1; at <= 42; at += 1 + unit_random(6)) {
		c.n = 0;
		d[c.n++] = leaf.der;
		for (i = 0; i < 40; i++) {
			if (c.n == at)
				d[c.n++] = inter.der;
			if (c.n == at + 3)
				d[c.n++] = root.der;
			d[c.n++] = other[i].der;
		}
		d[c.n++] = inter.der;
		f = (struct fault){ 0 };
		CU_ASSERT_TRUE(verify_now(v, "a.example", &c, &f));
		CU_ASSERT_FALSE(verify_now(v, "b.example", &c, &f));
		CU_ASSERT_TRUE(
		    make_both_ways(t, "a.example", &c, "needless ones"));
	}
	for (i = 0, c.n = 1; i < 40; i++) /* and none that is needed */
		d[c.n++] = other[i].der;
	f = (struct fault){ 0 };
	CU_ASSERT_FALSE(verify_now(v, "a.example", &c, &f));
	CU_ASSERT(strstr(f.detail, "did not send its certificate") != NULL);
	for (i = 0; i < 40; i++)
		made_free(&other[i]);
	verifier_free(&v);
	trust_unref(&t);
	made_free(&leaf);
	made_free(&inter);
	made_free(&root);
}

/*
 * Chains put together at random from a heap of good and bad certificates with
 * the same few names: whatever the one way says, the other says as well.
 */
static void
test_both_ways(void)
{
	const struct make *const roots[] = { GOOD_ROOT,
		ROOT(.from = -9, .to = -1), ROOT(.key = KEY_RSA),
		ROOT(.path_len = 1), NAMED_ROOT("another root") };
	const struct make *const inters[] = { GOOD_INTER,
		INTER(.from = -9, .to = -1), M(.cn = "test inter", .ca = 0),
		INTER(.eku = { GNUTLS_KP_CODE_SIGNING }), INTER(.key = KEY_RSA),
		INTER(.permitted = "other.example"), INTER(.spoilt = true),
		INTER(.hash = GNUTLS_DIG_SHA1), INTER(.path_len = 1) };
	const struct make *const leaves[] = { GOOD_LEAF, GOOD_LEAF,
		LEAF(.from = -9, .to = -1), LEAF(.key = KEY_RSA),
		M(LEAF_BASE, .eku = { GNUTLS_KP_CODE_SIGNING }) };
	enum { ROOTS = 5, INTERS = 24, LEAVES = 12, ROUNDS = 600 };
	struct made root[ROOTS], inter[INTERS], leaf[LEAVES];
	const char *file;
	struct trust *t = NULL;
	gnutls_datum_t d[13];
	struct verify_chain c = { .certs = d };
	unsigned i, k, n, good = 0;

	for (i = 0; i < ROOTS; i++)
		root[i] = make_cert(roots[i], NULL);
	for (i = 0; i < INTERS; i++)
		inter[i] = make_cert(inters[i % 9],
		    i == 0 ? &root[0]
			: i > 12 && unit_random(3) == 0
			? &inter[unit_random(12)]
			: &root[unit_random(ROOTS)]);
	for (i = 0; i < LEAVES; i++)
		leaf[i] = make_cert(leaves[i % 5],
		    i == 0      ? &inter[0]
			: i < 9 ? &inter[unit_random(INTERS)]
				: &root[unit_random(ROOTS)]);
	for (k = 0; k < ROUNDS; k++) {
		if (k % 50 == 0) {
			file = make_cert_file("r0.pem",
			    k % 100 == 0 ? &root[0]
					 : &root[unit_random(ROOTS)]);
			t = open_trust(file,
			    unit_random(2) == 0
				? NULL
				: make_cert_file("r1.pem",
				      &root[unit_random(ROOTS)]));
		}
		d[0] = leaf[k % 10 == 0 ? 0 : unit_random(LEAVES)].der;
		n = k % 20 == 0 ? 1 : 1 + unit_random(11);
		for (c.n = 1; c.n < n; c.n++)
			d[c.n] = unit_random(4) == 0
			    ? root[unit_random(ROOTS)].der
			    : inter[unit_random(INTERS)].der;
		if (k % 10 == 0)
			d[c.n++] = inter[0].der; /* a good one among them */
		good += make_both_ways(t, "a.example", &c, "at random");
		if (k % 50 == 49)
			trust_unref(&t);
	}
	CU_ASSERT(good >= 18 && good < ROUNDS);
	for (i = 0; i < ROOTS; i++)
		made_free(&root[i]);
	for (i = 0; i < INTERS; i++)
		made_free(&inter[i]);
	for (i = 0; i < LEAVES; i++)
		made_free(&leaf[i]);
}

CERTS_MAIN(certs_paths, { "needless certificates", test_needless },
    { "paths chosen both ways", test_both_ways })
