/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certificates for tests, see certs_make.h. */
#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509-ext.h>
#include <stdarg.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "certs/verify.h"
#include "certs/keys.h"
#include "t/unit/certs_make.h"

#define DAY 86400

static void
must(int r, const char *what)
{
	if (r < 0) {
		printf("Bail out! %s: %s\n", what, gnutls_strerror(r));
		exit(99);
	}
}
#define MUST(call) must((call), #call)

gnutls_x509_privkey_t
make_new_key(enum make_key kind)
{
	static const struct {
		gnutls_pk_algorithm_t pk;
		unsigned bits;
	} kinds[] = {
		[KEY_EC] = { GNUTLS_PK_EC,
		    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1) },
		[KEY_RSA] = { GNUTLS_PK_RSA, 2048 },
		[KEY_RSA_1024] = { GNUTLS_PK_RSA, 1024 },
		[KEY_EC_192] = { GNUTLS_PK_EC,
		    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP192R1) },
	};
	gnutls_x509_privkey_t k;

	MUST(gnutls_x509_privkey_init(&k));
	MUST(gnutls_x509_privkey_generate(k, kinds[kind].pk, kinds[kind].bits,
	    0));
	return (k);
}

static void
set_names(gnutls_x509_crt_t c, const struct make *m)
{
	unsigned char ip[16];
	unsigned i, n;

	if (m->cn != NULL)
		MUST(gnutls_x509_crt_set_dn_by_oid(c,
		    GNUTLS_OID_X520_COMMON_NAME, 0, m->cn,
		    (unsigned)strlen(m->cn)));
	for (i = 0; i < 3 && m->dns[i] != NULL; i++)
		MUST(gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_DNSNAME,
		    m->dns[i], (unsigned)strlen(m->dns[i]),
		    GNUTLS_FSAN_APPEND));
	if (m->ip != NULL) {
		n = inet_pton(AF_INET, m->ip, ip) == 1 ? 4 : 16;
		if (n == 16)
			(void)inet_pton(AF_INET6, m->ip, ip);
		MUST(gnutls_x509_crt_set_subject_alt_name(c,
		    GNUTLS_SAN_IPADDRESS, ip, n, GNUTLS_FSAN_APPEND));
	}
}

static void
set_constraints(gnutls_x509_crt_t c, const char *permitted)
{
	gnutls_x509_name_constraints_t nc;
	gnutls_datum_t name = { (unsigned char *)(uintptr_t)permitted,
		(unsigned)strlen(permitted) };

	MUST(gnutls_x509_name_constraints_init(&nc));
	MUST(gnutls_x509_name_constraints_add_permitted(nc, GNUTLS_SAN_DNSNAME,
	    &name));
	MUST(gnutls_x509_crt_set_name_constraints(c, nc, 1));
	gnutls_x509_name_constraints_deinit(nc);
}

static void
set_extensions(gnutls_x509_crt_t c, const struct make *m)
{
	gnutls_x509_tlsfeatures_t features;
	unsigned i;

	if (m->ca >= 0)
		MUST(gnutls_x509_crt_set_basic_constraints(c, m->ca > 0,
		    m->path_len - 1));
	if (m->usage != 0)
		MUST(gnutls_x509_crt_set_key_usage(c, m->usage));
	for (i = 0; i < 2 && m->eku[i] != NULL; i++)
		MUST(gnutls_x509_crt_set_key_purpose_oid(c, m->eku[i], 0));
	if (m->critical)
		MUST(gnutls_x509_crt_set_extension_by_oid(c, "1.2.3.4.5",
		    "\005", 2, 1));
	if (m->permitted != NULL)
		set_constraints(c, m->permitted);
	if (m->aia != NULL)
		MUST(gnutls_x509_crt_set_authority_info_access(c,
		    GNUTLS_IA_CAISSUERS_URI,
		    &(gnutls_datum_t){ (unsigned char *)(uintptr_t)m->aia,
			(unsigned)strlen(m->aia) }));
	if (m->ocsp != NULL)
		MUST(gnutls_x509_crt_set_authority_info_access(c,
		    GNUTLS_IA_OCSP_URI,
		    &(gnutls_datum_t){ (unsigned char *)(uintptr_t)m->ocsp,
			(unsigned)strlen(m->ocsp) }));
	if (m->list != NULL)
		MUST(gnutls_x509_crt_set_crl_dist_points2(c, GNUTLS_SAN_URI,
		    m->list, (unsigned)strlen(m->list), 0));
	if (m->must_staple) {
		MUST(gnutls_x509_tlsfeatures_init(&features));
		MUST(gnutls_x509_tlsfeatures_add(features, 5));
		MUST(gnutls_x509_crt_set_tlsfeatures(c, features));
		gnutls_x509_tlsfeatures_deinit(features);
	}
}

static void
set_ids(gnutls_x509_crt_t c, gnutls_x509_privkey_t key,
    const struct made *issuer)
{
	unsigned char id[20];
	size_t n = sizeof(id);

	MUST(gnutls_x509_privkey_get_key_id(key, 0, id, &n));
	MUST(gnutls_x509_crt_set_subject_key_id(c, id, n));
	if (issuer == NULL)
		return;
	n = sizeof(id);
	MUST(gnutls_x509_privkey_get_key_id(issuer->key, 0, id, &n));
	MUST(gnutls_x509_crt_set_authority_key_id(c, id, n));
}

static void
set_life(gnutls_x509_crt_t c, const struct make *m)
{
	time_t now = time(NULL);
	bool usual = m->from == 0 && m->to == 0;
	unsigned char serial[16];

	MUST(gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial)));
	serial[0] = 0x55;
	MUST(gnutls_x509_crt_set_serial(c, serial, sizeof(serial)));
	MUST(gnutls_x509_crt_set_activation_time(c,
	    now + (usual ? -1 : m->from) * (time_t)DAY));
	MUST(gnutls_x509_crt_set_expiration_time(c,
	    now + (usual ? 90 : m->to) * (time_t)DAY));
}

struct made
make_cert(const struct make *m, const struct made *issuer)
{
	struct made out = { .key = make_new_key(m->key) };
	gnutls_x509_crt_t c;

	MUST(gnutls_x509_crt_init(&c));
	MUST(gnutls_x509_crt_set_version(c, m->v1 ? 1 : 3));
	MUST(gnutls_x509_crt_set_key(c, out.key));
	set_life(c, m);
	if (m->v1)
		MUST(gnutls_x509_crt_set_dn_by_oid(c,
		    GNUTLS_OID_X520_COMMON_NAME, 0, m->cn,
		    (unsigned)strlen(m->cn)));
	else {
		set_names(c, m);
		set_extensions(c, m);
		set_ids(c, out.key, issuer);
	}
	MUST(gnutls_x509_crt_sign2(c, issuer != NULL ? issuer->crt : c,
	    issuer != NULL ? issuer->key : out.key,
	    m->hash != 0 ? m->hash : GNUTLS_DIG_SHA256, 0));
	MUST(gnutls_x509_crt_export2(c, GNUTLS_X509_FMT_DER, &out.der));
	gnutls_x509_crt_deinit(c);
	if (m->spoilt)
		out.der.data[out.der.size - 5] ^= 1;
	/* One just built does not verify: import it as a peer would. */
	MUST(gnutls_x509_crt_init(&out.crt));
	MUST(gnutls_x509_crt_import(out.crt, &out.der, GNUTLS_X509_FMT_DER));
	return (out);
}

void
made_free(struct made *m)
{
	if (m->crt != NULL)
		gnutls_x509_crt_deinit(m->crt);
	if (m->key != NULL)
		gnutls_x509_privkey_deinit(m->key);
	gnutls_free(m->der.data);
	memset(m, 0, sizeof(*m));
}

gnutls_datum_t
make_crl(const struct made *issuer, const struct made *revoked, unsigned n,
    int from, int to)
{
	gnutls_datum_t out = { NULL, 0 };
	time_t now = time(NULL);
	gnutls_x509_crl_t c;
	unsigned char id[20];
	size_t idn = sizeof(id);
	unsigned i;

	MUST(gnutls_x509_crl_init(&c));
	MUST(gnutls_x509_crl_set_version(c, 2));
	MUST(gnutls_x509_crl_set_this_update(c, now + from * (time_t)DAY));
	MUST(gnutls_x509_crl_set_next_update(c, now + to * (time_t)DAY));
	for (i = 0; i < n; i++)
		MUST(gnutls_x509_crl_set_crt(c, revoked[i].crt, now - DAY));
	MUST(gnutls_x509_crt_get_subject_key_id(issuer->crt, id, &idn, NULL));
	MUST(gnutls_x509_crl_set_authority_key_id(c, id, idn));
	MUST(gnutls_x509_crl_set_number(c, "\001", 1));
	MUST(gnutls_x509_crl_sign2(c, issuer->crt, issuer->key,
	    GNUTLS_DIG_SHA256, 0));
	MUST(gnutls_x509_crl_export2(c, GNUTLS_X509_FMT_PEM, &out));
	gnutls_x509_crl_deinit(c);
	return (out);
}

/* Files. */

static char folder[64];

static void
remove_folder(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		printf("# %s is left behind\n", folder);
}

const char *
make_folder(void)
{
	if (folder[0] == '\0') {
		(void)snprintf(folder, sizeof(folder), "certs-test.%u",
		    (unsigned)getpid());
		if (mkdir(folder, 0700) != 0)
			must(-1, folder);
		atexit(remove_folder);
	}
	return (folder);
}

const char *
make_path(const char *name)
{
	static char paths[8][192];
	static unsigned turn;
	char *p = paths[turn++ % 8];

	(void)snprintf(p, sizeof(paths[0]), "%s/%s", make_folder(), name);
	return (p);
}

const char *
make_file(const char *name, const void *p, size_t n, unsigned mode)
{
	const char *path = make_path(name);
	FILE *f;

	(void)unlink(path);
	f = fopen(path, "w");
	if (f == NULL || fwrite(p, 1, n, f) != n || fclose(f) != 0 ||
	    chmod(path, mode) != 0)
		must(-1, path);
	return (path);
}

const char *
make_cert_file(const char *name, const struct made *m)
{
	gnutls_datum_t pem;
	const char *path;

	MUST(gnutls_x509_crt_export2(m->crt, GNUTLS_X509_FMT_PEM, &pem));
	path = make_file(name, pem.data, pem.size, 0644);
	gnutls_free(pem.data);
	return (path);
}

const char *
make_key_file(const char *name, const struct made *m)
{
	gnutls_datum_t pem;
	const char *path;

	MUST(gnutls_x509_privkey_export2(m->key, GNUTLS_X509_FMT_PEM, &pem));
	path = make_file(name, pem.data, pem.size, 0600);
	gnutls_free(pem.data);
	return (path);
}

/*
 * GnuTLS makes no OCSP responses; openssl does.  index.txt says what is
 * revoked: status, expiry, revocation, serial, file, subject.
 */
static void
write_index(const struct made *cert, bool revoked)
{
	unsigned char serial[32];
	size_t n = sizeof(serial), i;
	char line[256], hex[65] = "";
	const char *state = revoked ? "R" : "V";

	MUST(gnutls_x509_crt_get_serial(cert->crt, serial, &n));
	for (i = 0; i < n; i++)
		(void)snprintf(hex + 2 * i, 3, "%02X", serial[i]);
	(void)snprintf(line, sizeof(line),
	    "%s\t491231235959Z\t%s\t%s\t"
	    "unknown\t/CN=x\n",
	    state, revoked ? "260101000000Z" : "", hex);
	make_file("index.txt", line, strlen(line), 0600);
}

gnutls_datum_t
make_staple(const struct made *cert, const struct made *issuer, bool revoked)
{
	gnutls_datum_t out = { NULL, 0 };
	const char *at = make_folder();
	char command[1024];

	write_index(cert, revoked);
	make_cert_file("ocsp-leaf.pem", cert);
	make_cert_file("ocsp-ca.pem", issuer);
	make_key_file("ocsp-ca.key", issuer);
	(void)snprintf(command, sizeof(command),
	    "cd %s && "
	    "openssl ocsp -issuer ocsp-ca.pem -cert ocsp-leaf.pem -no_nonce "
	    "-reqout ocsp.req >ocsp.log 2>&1 && "
	    "openssl ocsp -index index.txt -CA ocsp-ca.pem "
	    "-rsigner ocsp-ca.pem -rkey ocsp-ca.key -ndays 3 "
	    "-reqin ocsp.req -respout ocsp.der >>ocsp.log 2>&1",
	    at);
	if (system(command) == 0)
		MUST(gnutls_load_file(make_path("ocsp.der"), &out));
	return (out);
}

bool
make_both_ways(struct trust *t, const char *host, const struct verify_chain *c,
    const char *name)
{
	struct verify_options o = { .trust = t,
		.max_entries = 1,
		.revocation = REVOCATION_SOFT };
	struct fault f[2] = { 0 };
	struct verifier *v;
	bool ok[2];
	unsigned i;

	for (i = 0; i < 2; i++) {
		o.any_order = i == 1;
		v = verifier_new(&o);
		ok[i] = verify_now(v, host, c, &f[i]);
		verifier_free(&v);
	}
	CU_ASSERT_EQUAL(ok[0], ok[1]);
	CU_ASSERT_STRING_EQUAL(f[0].detail, f[1].detail);
	if (ok[0] != ok[1] || strcmp(f[0].detail, f[1].detail) != 0)
		printf("# %s: \"%s\" or \"%s\"\n", name, f[0].detail,
		    f[1].detail);
	return (ok[0]);
}

bool
make_box(const char *cert, const char *key, struct sandbox_report *out)
{
	struct fault f = { ERR_NONE, "" };
	struct keys_answer a;
	struct keys keys;
	struct pollfd p = { .events = POLLIN };
	bool ok;
	int how;

	if (!keys_start(&keys, &f))
		return (false);
	p.fd = keys.fd;
	ok = keys_open(&keys, cert, key, false) && poll(&p, 1, 60000) == 1 &&
	    keys_answered(&keys, &a) == 1 && a.ok;
	if (ok) {
		*out = a.box;
		gnutls_free(a.ca.data);
	}
	keys_leave(&keys);
	while (!child_reap(&keys.child, &how, -1))
		;
	return (ok);
}
