/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Anchors and CRLs as files: what is refused, what is found. */
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "certs/trust.h"
#include "t/unit/certs_make.h"

#define M(...)               \
	&(const struct make) \
	{                    \
		__VA_ARGS__  \
	}
#define CA_EC M(.cn = "test CA", .ca = 1)

static bool
said(const struct fault *f, const char *want)
{
	if (strstr(f->detail, want) != NULL)
		return (true);
	printf("# \"%s\", not \"%s\"\n", f->detail, want);
	return (false);
}

static struct trust *
open_trust(const char *anchors, const char *crl, struct fault *f)
{
	const char *files[] = { anchors, NULL }, *crls[] = { crl, NULL };

	memset(f, 0, sizeof(*f));
	return (trust_open(files, crls, NULL, f));
}

static void
test_files(void)
{
	struct made ca = make_cert(CA_EC, NULL);
	const char *good = make_cert_file("ca.pem", &ca);
	const struct {
		const char *anchors, *crl, *want;
	} rows[] = {
		{ make_path("absent"), NULL, "absent: No such file" },
		{ make_file("junk", "junk", 4, 0644), NULL, "junk" },
		{ make_file("empty", "", 0, 0644), NULL, "empty" },
		{ good, make_path("absent"), "absent: cannot be read" },
		{ good, make_path("junk"), "junk" },
		{ good, good, "ca.pem" },
	};
	struct fault f;
	struct trust *t;
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		t = open_trust(rows[i].anchors, rows[i].crl, &f);
		CU_ASSERT_PTR_NULL(t);
		CU_ASSERT_EQUAL(f.code, ERR_CONFIG);
		CU_ASSERT(said(&f, rows[i].want));
	}
	t = open_trust(good, NULL, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_EQUAL(trust_anchors(t), 1);
	trust_unref(&t);
	made_free(&ca);
}

static void
test_system(void)
{
	struct fault f;
	struct trust *t = open_trust("system", NULL, &f);

	if (t == NULL) {
		CU_ASSERT(said(&f, "system trust store"));
		return;
	}
	CU_ASSERT(trust_anchors(t) > 0);
	trust_unref(&t);
}

/* Our own CA among others is taken out, and only it. */
static void
test_own(void)
{
	struct made own = make_cert(M(.cn = "own", .ca = 1), NULL);
	struct made other = make_cert(CA_EC, NULL);
	const char *files[] = { make_cert_file("own.pem", &own),
		make_cert_file("other.pem", &other), NULL };
	struct fault f = { ERR_NONE, "" };
	struct ca *ca = ca_open(&(struct ca_options){ .cert = files[0],
				    .key = make_key_file("own.key", &own),
				    .leaf_days = 14 },
	    &f);
	struct trust *t;

	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	t = trust_open(files, NULL, NULL, &f);
	CU_ASSERT_EQUAL(trust_anchors(t), 2);
	trust_unref(&t);
	t = trust_open(files, NULL, ca, &f);
	CU_ASSERT_EQUAL(trust_anchors(t), 1);
	trust_unref(&t);
	ca_unref(&ca);
	made_free(&own);
	made_free(&other);
}

/* Anchors by name: the only one, or nobody's word for it. */
static void
test_issuer(void)
{
	struct made one = make_cert(CA_EC, NULL), two = make_cert(CA_EC, NULL);
	struct made other = make_cert(M(.cn = "other", .ca = 1), NULL);
	struct made sub = make_cert(M(.cn = "sub", .ca = 1), &other);
	struct made by_one = make_cert(M(.cn = "x"), &one);
	struct made by_other = make_cert(M(.cn = "x"), &other);
	struct made by_sub = make_cert(M(.cn = "x"), &sub);
	const char *files[] = { make_cert_file("1.pem", &one),
		make_cert_file("other.pem", &other),
		make_cert_file("sub.pem", &sub), NULL, NULL };
	struct fault f = { ERR_NONE, "" };
	struct trust *t = trust_open(files, NULL, NULL, &f);
	gnutls_x509_crt_t crt;

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	crt = trust_issuer(t, by_one.crt);
	CU_ASSERT(crt != NULL && gnutls_x509_crt_equals(crt, one.crt));
	crt = trust_issuer(t, by_other.crt);
	CU_ASSERT(crt != NULL && gnutls_x509_crt_equals(crt, other.crt));
	CU_ASSERT_PTR_NULL(trust_issuer(t, by_sub.crt));
	trust_unref(&t);
	files[3] = make_cert_file("2.pem", &two);
	t = trust_open(files, NULL, NULL, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_PTR_NULL(trust_issuer(t, by_one.crt));
	CU_ASSERT_PTR_NOT_NULL(trust_issuer(t, by_other.crt));
	trust_unref(&t);
	files[0] = NULL;
	t = trust_open(files + 1, NULL, NULL, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_PTR_NOT_NULL(trust_issuer(t, by_one.crt)); /* by name */
	trust_unref(&t);
	made_free(&one);
	made_free(&two);
	made_free(&other);
	made_free(&sub);
	made_free(&by_one);
	made_free(&by_other);
	made_free(&by_sub);
}

/* Serial numbers of all shapes, found among many. */
static gnutls_x509_crt_t
with_serial(const char *serial, size_t n)
{
	gnutls_x509_crt_t c;

	gnutls_x509_crt_init(&c);
	CU_ASSERT(gnutls_x509_crt_set_serial(c, serial, n) >= 0);
	return (c);
}

static const struct {
	const char *bytes;
	size_t n;
} serials[] = {
	{ "\1", 1 },
	{ "\0\x80", 2 },
	{ "\x7f\xff", 2 },
	{ "\1\0\0\0", 4 },
	{ "0123456789abcdefghij", 20 },
};

static gnutls_datum_t
crl_of_many(const struct made *ca, unsigned many)
{
	gnutls_datum_t out = { NULL, 0 };
	time_t now = time(NULL);
	unsigned char s[8];
	gnutls_x509_crl_t c;
	unsigned i;

	gnutls_x509_crl_init(&c);
	gnutls_x509_crl_set_version(c, 2);
	gnutls_x509_crl_set_this_update(c, now - 100);
	gnutls_x509_crl_set_next_update(c, now + 1000);
	for (i = 0; i < many; i++) {
		gnutls_rnd(GNUTLS_RND_NONCE, s, sizeof(s));
		s[0] = 0x22;
		gnutls_x509_crl_set_crt_serial(c, s, sizeof(s), now);
	}
	for (i = 0; i < sizeof(serials) / sizeof(serials[0]); i++)
		gnutls_x509_crl_set_crt_serial(c, serials[i].bytes,
		    serials[i].n, 1000000 + i);
	gnutls_x509_crl_sign2(c, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0);
	gnutls_x509_crl_export2(c, GNUTLS_X509_FMT_PEM, &out);
	gnutls_x509_crl_deinit(c);
	return (out);
}

static void
test_serials(void)
{
	struct made ca = make_cert(CA_EC, NULL);
	gnutls_datum_t pem = crl_of_many(&ca, 300);
	const char *anchor = make_cert_file("ca.pem", &ca);
	time_t now = time(NULL), until = now + 5000, at = 0;
	gnutls_x509_crt_t c;
	struct fault f;
	struct trust *t = open_trust(anchor,
	    make_file("crl.pem", pem.data, pem.size, 0644), &f);
	unsigned i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	for (i = 0; i < sizeof(serials) / sizeof(serials[0]); i++) {
		c = with_serial(serials[i].bytes, serials[i].n);
		CU_ASSERT_EQUAL(trust_check_crl(t, c, ca.crt, now, &until, &at),
		    TRUST_CRL_REVOKED);
		CU_ASSERT_EQUAL(at, 1000000 + i);
		gnutls_x509_crt_deinit(c);
	}
	CU_ASSERT(until <= now + 1000);
	c = with_serial("\1\0", 2);
	CU_ASSERT_EQUAL(trust_check_crl(t, c, ca.crt, now, &until, &at),
	    TRUST_CRL_GOOD);
	CU_ASSERT_EQUAL(trust_check_crl(t, c, ca.crt, now + 2000, &until, &at),
	    TRUST_CRL_UNKNOWN);
	CU_ASSERT_EQUAL(trust_check_crl(t, c, ca.crt, now - 2000, &until, &at),
	    TRUST_CRL_UNKNOWN);
	gnutls_x509_crt_deinit(c);
	trust_unref(&t);
	gnutls_free(pem.data);
	made_free(&ca);
}

/* CRLs with extensions, which only openssl makes; false: it is not there. */
static bool
openssl_crl(const char *extension)
{
	char config[512], command[512];

	(void)snprintf(config, sizeof(config),
	    "[ca]\ndefault_ca=d\n[d]\n"
	    "database=index.txt\ncrlnumber=number\ndefault_md=sha256\n"
	    "default_crl_days=3\ncrl_extensions=e\n[e]\n%s\n",
	    extension);
	make_file("ca.cnf", config, strlen(config), 0644);
	make_file("index.txt", "", 0, 0644);
	make_file("number", "01\n", 3, 0644);
	(void)snprintf(command, sizeof(command),
	    "cd %s && openssl ca "
	    "-config ca.cnf -gencrl -keyfile ca.key -cert ca.pem -out crl.pem "
	    ">crl.log 2>&1",
	    make_folder());
	return (system(command) == 0);
}

static void
test_scopes(void)
{
	static const struct {
		const char *extension, *want;
		enum trust_crl says;
	} rows[] = {
		{ "2.5.29.20=DER:020101", NULL, TRUST_CRL_GOOD },
		{ "2.5.29.27=critical,DER:020101", "delta CRLs", 0 },
		{ "2.5.29.28=critical,DER:3003840101ff", "indirect CRLs", 0 },
		{ "2.5.29.28=critical,DER:30068101ff8401ff", "indirect CRLs",
		    0 },
		{ "2.5.29.28=critical,DER:3003810500", "indirect CRLs", 0 },
		/* The certificate is a server's, without points. */
		{ "2.5.29.28=critical,DER:30038101ff", NULL, TRUST_CRL_GOOD },
		{ "2.5.29.28=critical,DER:3003820100", NULL, TRUST_CRL_GOOD },
		{ "2.5.29.28=critical,DER:30038201ff", NULL,
		    TRUST_CRL_UNKNOWN },
		{ "2.5.29.28=critical,DER:300483020102", NULL,
		    TRUST_CRL_UNKNOWN },
		{ "2.5.29.28=critical,DER:30038501ff", NULL,
		    TRUST_CRL_UNKNOWN },
		{ "2.5.29.28=critical,DER:3007a005a003860175", NULL,
		    TRUST_CRL_UNKNOWN },
		{ "2.5.29.28=critical,DER:300a8101ffa005a003860175", NULL,
		    TRUST_CRL_UNKNOWN },
		{ "2.5.29.28=critical,DER:300481020000", "indirect CRLs", 0 },
		{ "1.2.3.4=critical,DER:0500", NULL, TRUST_CRL_UNKNOWN },
		{ "1.2.3.4=DER:0500", NULL, TRUST_CRL_GOOD },
	};
	struct made ca = make_cert(CA_EC, NULL);
	gnutls_x509_crt_t c = with_serial("\1", 1);
	time_t now, until, at;
	struct fault f;
	struct trust *t;
	unsigned i;

	make_cert_file("ca.pem", &ca);
	make_key_file("ca.key", &ca);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!openssl_crl(rows[i].extension)) {
			printf("# skipped: no openssl\n");
			break;
		}
		now = time(NULL) + 1; /* no list is from later */
		until = now + 5000;
		t = open_trust(make_path("ca.pem"), make_path("crl.pem"), &f);
		CU_ASSERT_EQUAL(t == NULL, rows[i].want != NULL);
		CU_ASSERT(t != NULL ||
		    (rows[i].want != NULL && said(&f, rows[i].want)));
		if (t != NULL)
			CU_ASSERT_EQUAL(trust_check_crl(t, c, ca.crt, now,
					    &until, &at),
			    rows[i].says);
		trust_unref(&t);
	}
	gnutls_x509_crt_deinit(c);
	made_free(&ca);
}

/* O, H and B are keys; "$" takes an octet back. */
static void
expand(const char *form, const char *hex, const char *base64, char *out)
{
	static const char other[] = "00112233445566778899aabbccddeeff"
				    "00112233445566778899AABBCCDDEEFF";
	const char *part;

	for (; *form != '\0'; form++) {
		part = *form == 'O' ? other
		    : *form == 'H'  ? hex
		    : *form == 'B'  ? base64
				    : "";
		if (*form == '$')
			out--;
		else if (*part == '\0')
			*out++ = *form;
		else
			out = stpcpy(out, part);
	}
	*out = '\0';
}

/* A file of keys: what it may say, and whose it is then. */
static void
test_blocked(void)
{
	struct made one = make_cert(CA_EC, NULL);
	struct made two = make_cert(M(.cn = "2", .key = KEY_RSA), NULL);
	char hex[80] = "", text[400];
	static const struct {
		const char *form, *want; /* of the fault; NULL: none */
		bool blocks;
	} rows[] = {
		{ "H", NULL, true },
		{ "B\n", NULL, true },
		{ "sha256/B # old\r\n", NULL, true },
		{ "# H\n\n \t\r\n", NULL, false },
		{ "\n \tH somebody's\n", NULL, true },
		{ "O", NULL, false },
		{ "O\nO\nH\n", NULL, true },
		{ "", NULL, false },
		{ "O\nH0\n", "keys:2: ", false },
		{ "H$", "keys:1: ", false },
		{ "H$g", "keys:1: ", false },
		{ "B$", "keys:1: ", false },
		{ "sha1/B", "keys:1: ", false },
		{ "sha256/", "keys:1: ", false },
	};
	unsigned char id[32];
	gnutls_datum_t d = { id, sizeof(id) }, base64;
	size_t n = sizeof(id), hex_n = sizeof(hex);
	struct fault f;
	struct trust *t;
	unsigned i;
	bool ok;

	CU_ASSERT(gnutls_x509_crt_get_key_id(one.crt, GNUTLS_KEYID_USE_SHA256,
		      id, &n) == 0);
	CU_ASSERT(gnutls_hex_encode(&d, hex, &hex_n) == 0);
	CU_ASSERT_FATAL(gnutls_base64_encode2(&d, &base64) == 0);
	make_cert_file("ca.pem", &one);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		expand(rows[i].form, hex, (char *)base64.data, text);
		t = open_trust(make_path("ca.pem"), NULL, &f);
		CU_ASSERT_PTR_NOT_NULL_FATAL(t);
		ok = trust_block_keys(t,
		    make_file("keys", text, strlen(text), 0644), &f);
		CU_ASSERT_EQUAL(ok, rows[i].want == NULL);
		CU_ASSERT(ok || said(&f, rows[i].want));
		CU_ASSERT(!ok || trust_blocks(t, one.crt) == rows[i].blocks);
		CU_ASSERT(!ok || !trust_blocks(t, two.crt));
		trust_unref(&t);
	}
	gnutls_free(base64.data);
	made_free(&one);
	made_free(&two);
}

CERTS_MAIN(certs_trust, { "files", test_files }, { "system", test_system },
    { "own CA", test_own }, { "issuer", test_issuer },
    { "serial numbers", test_serials }, { "scopes", test_scopes },
    { "blocked keys", test_blocked })
