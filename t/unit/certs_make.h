/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certificates for tests, good ones and bad ones, made by GnuTLS; and a main()
 * for programs that are their own key holder.
 */
#ifndef CERTS_MAKE_H
#define CERTS_MAKE_H

#include <gnutls/x509.h>
#include <stdbool.h>
#include <string.h>
#include "base/sandbox.h"
#include "certs/keyholder.h"
#include "certs/keyholder_priv.h"
#include "t/unit/unit.h"

enum make_key { KEY_EC, KEY_RSA, KEY_RSA_1024, KEY_EC_192 };

struct make {
	const char *cn; /* NULL: no subject */
	const char *dns[3];
	const char *ip;
	int ca;         /* 1 CA:TRUE, 0 CA:FALSE, -1 no basic constraints */
	int path_len;   /* + 1; 0: none */
	unsigned usage; /* 0: no extension */
	const char *eku[2];
	int from, to; /* days from now; both 0: yesterday to in 90 days */
	enum make_key key;
	gnutls_digest_algorithm_t hash; /* 0: SHA-256 */
	bool v1;
	bool critical; /* an unknown critical extension */
	bool must_staple;
	bool spoilt;           /* the signature is wrong */
	const char *permitted; /* DNS name constraint */
	const char *aia;       /* URL of its issuer */
	const char *ocsp;      /* URL of its responder */
	const char *list;      /* URL of the CRL that it is on */
};

struct made {
	gnutls_x509_crt_t crt;
	gnutls_x509_privkey_t key; /* shared by kind, never freed */
	gnutls_datum_t der;
};

/* Signed by issuer, by itself when NULL. */
struct made make_cert(const struct make *, const struct made *issuer);
void made_free(struct made *);
/* A key of its own. */
gnutls_x509_privkey_t make_new_key(enum make_key);

/* A CRL of issuer that names the serials of revoked[0..n). */
gnutls_datum_t make_crl(const struct made *issuer, const struct made *revoked,
    unsigned n, int from, int to);
/* An OCSP response (DER, built by openssl) for cert; status good or revoked. */
gnutls_datum_t make_staple(const struct made *cert, const struct made *issuer,
    bool revoked);

/* A folder of this process's own below the build folder; removed at exit. */
const char *make_folder(void);
/* Write into a file of that folder; returns its path (static, eight at a time). */
const char *make_file(const char *name, const void *p, size_t n, unsigned mode);
const char *make_path(const char *name);
/* PEM into such a file. */
const char *make_cert_file(const char *name, const struct made *);
const char *make_key_file(const char *name, const struct made *);

struct trust;
struct verify_chain;
/*
 * check.c chooses the path itself where it is plain, else GnuTLS does: asserts
 * that the verdicts are the same, word by word.  name: for people.
 * True: accepted.
 */
bool make_both_ways(struct trust *, const char *host,
    const struct verify_chain *, const char *name);

#define CERTS_MAIN(suite, ...)                                                \
	int main(int argc, char **argv)                                       \
	{                                                                     \
		static const struct unit_test unit_tests[] = { __VA_ARGS__ }; \
		if (strcmp(argv[0], KEYHOLDER_ROLE) == 0)                     \
			return (keyholder_main(argc, argv));                  \
		return (unit_main(#suite, unit_tests,                         \
		    sizeof(unit_tests) / sizeof(unit_tests[0])));             \
	}

/* Of a holder: its process now, 0: none; its socket; how long it is waited for. */
static inline pid_t
holder_pid(const struct keyholder *k)
{
	return (k->pid);
}

static inline void
holder_patience(struct keyholder *k, unsigned us)
{
	pthread_mutex_lock(&k->lock);
	k->patience_us = us;
	pthread_mutex_unlock(&k->lock);
}

/* What confines a key holder that opens these files; false: it does not. */
bool make_box(const char *cert, const char *key, struct sandbox_report *);

#endif
