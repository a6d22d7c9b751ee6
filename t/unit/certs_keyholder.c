/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key holder and the CA on top of it: files and their modes, creation,
 * the intermediate of an RSA CA, death and replacement of the process.
 */
#include <dirent.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "certs/ca.h"
#include "certs/leaf.h"
#include "t/unit/certs_make.h"

#define SIGN_CERTS (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
#define M(...) &(const struct make){ __VA_ARGS__ }
#define CA_EC M(.cn = "test CA", .ca = 1, .usage = SIGN_CERTS)
#define CA_RSA M(.cn = "test CA", .ca = 1, .usage = SIGN_CERTS, .key = KEY_RSA)

static bool
said(const struct fault *f, const char *want)
{
	if (strstr(f->detail, want) != NULL)
		return (true);
	printf("# \"%s\", not \"%s\"\n", f->detail, want);
	return (false);
}

static struct ca *
open_ca(const char *cert, const char *key, bool create, struct fault *f)
{
	memset(f, 0, sizeof(*f));
	return (ca_open(&(struct ca_options){ cert, key, create, 14 }, f));
}

static void
refused(const char *cert, const char *key, const char *want)
{
	struct fault f;
	struct ca *ca = open_ca(cert, key, false, &f);

	CU_ASSERT_PTR_NULL(ca);
	CU_ASSERT_EQUAL(f.code, ERR_CONFIG);
	CU_ASSERT(said(&f, want));
	ca_unref(&ca);
}

static void
test_create(void)
{
	const char *cert = make_path("state/deep/ca.pem");
	const char *key = make_path("state/deep/ca.key");
	char first[65];
	struct stat st;
	struct fault f;
	struct ca *ca;

	refused(cert, key, "No such file");
	ca = open_ca(cert, key, true, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	CU_ASSERT_TRUE(ca_was_created(ca));
	CU_ASSERT(strncmp(ca_name(ca), "assay CA ", 9) == 0);
	CU_ASSERT(strlen(ca_name(ca)) <= 64);
	CU_ASSERT_EQUAL(strlen(ca_fingerprint(ca)), 64);
	CU_ASSERT(ca_pem(ca).n > 100);
	CU_ASSERT(ca_not_after(ca) > time(NULL) + 3640 * 86400L);
	strcpy(first, ca_fingerprint(ca));
	ca_unref(&ca);
	CU_ASSERT(stat(key, &st) == 0 && (st.st_mode & 07777) == 0600);
	CU_ASSERT(stat(cert, &st) == 0 && (st.st_mode & 07777) == 0644);
	CU_ASSERT(stat(make_path("state"), &st) == 0 &&
	    (st.st_mode & 07777) == 0700);
	ca = open_ca(cert, key, true, &f);	/* the same one again */
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	CU_ASSERT_FALSE(ca_was_created(ca));
	CU_ASSERT_STRING_EQUAL(ca_fingerprint(ca), first);
	ca_unref(&ca);
	/* Cut off between key and certificate: the key stays. */
	CU_ASSERT_EQUAL(unlink(cert), 0);
	ca = open_ca(cert, key, true, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	ca_unref(&ca);
	CU_ASSERT_EQUAL(unlink(key), 0);
	CU_ASSERT_PTR_NULL(open_ca(cert, key, true, &f));
	CU_ASSERT(said(&f, "no such file, but its certificate"));
}

static void
test_files(void)
{
	struct made ca = make_cert(CA_EC, NULL), other = make_cert(CA_EC, NULL);
	const char *cert = make_cert_file("ca.pem", &ca);
	const char *key = make_key_file("ca.key", &ca);
	struct fault f;
	struct ca *good;
	unsigned mode;

	for (mode = 0; mode < 3; mode++) {
		chmod(key, mode == 0 ? 0640 : mode == 1 ? 0604 : 0610);
		refused(cert, key, "open to group or others");
	}
	chmod(key, 0400);
	good = open_ca(cert, key, false, &f);
	CU_ASSERT_PTR_NOT_NULL(good);
	ca_unref(&good);
	if (geteuid() == 0) {
		CU_ASSERT_EQUAL(chown(key, 1, 1), 0);
		refused(cert, key, "another user");
	}
	refused(cert, make_folder(), "not a regular file");
	refused(cert, "/dev/null", "not a regular file");
	refused(cert, make_path("absent"), "no such file");
	refused(make_path("absent"), key, "No such file");
	refused(cert, make_file("junk.key", "junk", 4, 0600), "private key");
	refused(make_file("junk.pem", "junk", 4, 0644), key, "junk.pem");
	refused(cert, make_key_file("other.key", &other), "does not belong");
	refused(cert, make_file("enc.key",
	    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"
	    "-----END ENCRYPTED PRIVATE KEY-----\n", 79, 0600), "encrypted");
	made_free(&ca);
	made_free(&other);
}

static void
test_certificates(void)
{
	const struct {
		const struct make *make;
		const char *want;
	} rows[] = {
		{ M(.cn = "x", .ca = 0), "not a CA" },
		{ M(.cn = "x", .ca = -1), "not a CA" },
		{ M(.cn = "x", .v1 = true), "not a CA" },
		{ M(.cn = "x", .ca = 1, .usage = GNUTLS_KEY_CRL_SIGN),
		    "keyCertSign" },
		{ M(.cn = "x", .ca = 1, .eku = { GNUTLS_KP_CODE_SIGNING }),
		    "TLS servers" },
		{ M(.cn = "x", .ca = 1, .key = KEY_RSA_1024), "2048" },
		{ M(.cn = "x", .ca = 1, .key = KEY_EC_192), "256" },
		{ M(.cn = "x", .ca = 1, .from = -9, .to = -1), "expired on" },
		{ M(.cn = "x", .ca = 1, .from = 2, .to = 9),
		    "not valid before" },
		{ M(.cn = NULL, .ca = 1), "empty" },
	};
	struct made ca;
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ca = make_cert(rows[i].make, NULL);
		refused(make_cert_file("bad.pem", &ca),
		    make_key_file("bad.key", &ca), rows[i].want);
		made_free(&ca);
	}
}

/* How a process is confined, as the kernel sees it. */
static void
status_line(pid_t pid, const char *field, char out[static 128])
{
	char path[64], line[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	out[0] = '\0';
	f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, field, strlen(field)) == 0)
			(void)snprintf(out, 128, "%.100s",
			    line + strlen(field));
	if (f != NULL)
		(void)fclose(f);
}

static unsigned
descriptors(pid_t pid)
{
	char path[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	if (d != NULL)
		closedir(d);
	return (n);
}

static void
test_confined(void)
{
	struct made made = make_cert(CA_EC, NULL);
	int leak = open(".", O_RDONLY);	/* not close-on-exec */
	char line[128];
	struct fault f;
	struct ca *ca;
	pid_t pid;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	pid = keyholder_pid(ca_keyholder(ca));
	CU_ASSERT(pid > 0);
	status_line(pid, "NoNewPrivs:", line);
	CU_ASSERT_STRING_EQUAL(line, "\t1\n");
	if (geteuid() == 0) {
		CU_ASSERT(descriptors(pid) <= 4);
		status_line(pid, "Uid:", line);
		CU_ASSERT_STRING_EQUAL(line, "\t65534\t65534\t65534\t65534\n");
		status_line(pid, "Groups:", line);
		CU_ASSERT_STRING_EQUAL(line, "\t \n");
		status_line(pid, "CapPrm:", line);
		CU_ASSERT_STRING_EQUAL(line, "\t0000000000000000\n");
	}
	kill(pid, SIGTERM);
	kill(pid, SIGINT);
	kill(pid, SIGHUP);
	usleep(20000);
	CU_ASSERT_EQUAL(kill(pid, 0), 0);
	ca_unref(&ca);
	CU_ASSERT_NOT_EQUAL(kill(pid, 0), 0);
	close(leak);
	made_free(&made);
}

static bool
mints(struct leaf_cache *c, struct fault *f)
{
	struct leaf *l;

	memset(f, 0, sizeof(*f));
	l = leaf_mint(c, "a.example", false, f);
	if (l == NULL)
		printf("# %s\n", f->detail);
	leaf_unref(&l);
	return (l != NULL || f->code == ERR_NONE);
}

/* Killed, stopped, killed again: the next leaf is there all the same. */
static void
death(const struct make *make)
{
	struct made made = make_cert(make, NULL);
	struct leaf_cache *c;
	struct fault f;
	struct ca *ca;
	pid_t pid, next;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	c = leaf_cache_new(ca, 10, NULL);
	CU_ASSERT_TRUE(mints(c, &f));
	pid = keyholder_pid(ca_keyholder(ca));
	kill(pid, SIGKILL);
	usleep(50000);
	CU_ASSERT_TRUE(mints(c, &f));
	next = keyholder_pid(ca_keyholder(ca));
	CU_ASSERT(next > 0 && next != pid);
	CU_ASSERT_NOT_EQUAL(kill(pid, 0), 0);	/* reaped */
	kill(next, SIGSTOP);			/* hangs: the deadline ends it */
	CU_ASSERT_TRUE(mints(c, &f));
	CU_ASSERT_NOT_EQUAL(keyholder_pid(ca_keyholder(ca)), next);
	leaf_cache_free(&c);
	ca_unref(&ca);
	made_free(&made);
}

static void
test_death(void)
{
	death(CA_EC);
}

static void
test_death_rsa(void)
{
	death(CA_RSA);
}

/* The key is gone from disk: a clear refusal, and an end to trying. */
static void
test_cannot_restart(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct leaf_cache *c;
	struct leaf *l;
	struct fault f;
	struct ca *ca;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	c = leaf_cache_new(ca, 10, NULL);
	unlink(make_path("ca.key"));
	kill(keyholder_pid(ca_keyholder(ca)), SIGKILL);
	usleep(20000);
	l = leaf_mint(c, "a.example", false, &f);
	CU_ASSERT_PTR_NULL(l);
	CU_ASSERT_EQUAL(f.code, ERR_MINT);
	CU_ASSERT(said(&f, "ca.key: No such file"));
	memset(&f, 0, sizeof(f));
	(void)leaf_mint(c, "a.example", false, &f);
	memset(&f, 0, sizeof(f));
	CU_ASSERT_PTR_NULL(leaf_mint(c, "a.example", false, &f));
	CU_ASSERT(said(&f, "keeps dying"));
	make_key_file("ca.key", &made);
	sleep(2);
	CU_ASSERT_TRUE(mints(c, &f));
	leaf_cache_free(&c);
	ca_unref(&ca);
	made_free(&made);
}

/* An RSA CA signs an intermediate once; leaves are EC signatures. */
static void
rsa_chain(const struct make *make, unsigned want_chain)
{
	struct made made = make_cert(make, NULL);
	gnutls_x509_crt_t crt[2];
	gnutls_x509_trust_list_t list;
	struct leaf_cache *c;
	struct leaf *l;
	struct fault f;
	struct ca *ca;
	unsigned i, status = 1;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	c = leaf_cache_new(ca, 10, NULL);
	l = leaf_mint(c, "a.example", false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	CU_ASSERT_EQUAL_FATAL(l->n, want_chain);
	for (i = 0; i < l->n; i++) {
		gnutls_x509_crt_init(&crt[i]);
		gnutls_x509_crt_import(crt[i], &l->chain[i].cert,
		    GNUTLS_X509_FMT_DER);
	}
	CU_ASSERT_EQUAL(gnutls_x509_crt_get_signature_algorithm(crt[0]),
	    want_chain == 2 ? GNUTLS_SIGN_ECDSA_SHA256 :
	    GNUTLS_SIGN_RSA_SHA256);
	CU_ASSERT_EQUAL(ca_owns(ca, &l->chain[0].cert), false);
	CU_ASSERT(want_chain == 1 || ca_owns(ca, &l->chain[1].cert));
	gnutls_x509_trust_list_init(&list, 0);
	gnutls_x509_trust_list_add_cas(list, &made.crt, 1, 0);
	gnutls_x509_trust_list_verify_crt2(list, crt, l->n, NULL, 0, 0,
	    &status, NULL);
	CU_ASSERT_EQUAL(status, 0);
	gnutls_x509_trust_list_deinit(list, 0);
	for (i = 0; i < l->n; i++)
		gnutls_x509_crt_deinit(crt[i]);
	leaf_unref(&l);
	leaf_cache_free(&c);
	ca_unref(&ca);
	made_free(&made);
}

static void
test_rsa(void)
{
	rsa_chain(CA_RSA, 2);
	rsa_chain(M(.cn = "test CA", .ca = 1, .usage = SIGN_CERTS,
	    .key = KEY_RSA, .path_len = 1), 1);
}

/* A CA that is not self-signed is sent along. */
static void
test_subordinate(void)
{
	struct made root = make_cert(CA_EC, NULL);
	struct made sub = make_cert(M(.cn = "sub", .ca = 1, .path_len = 1),
	    &root);
	struct leaf_cache *c;
	struct leaf *l;
	struct fault f;
	struct ca *ca = open_ca(make_cert_file("ca.pem", &sub),
	    make_key_file("ca.key", &sub), false, &f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	c = leaf_cache_new(ca, 10, NULL);
	l = leaf_mint(c, "a.example", false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	CU_ASSERT_EQUAL(l->n, 2);
	CU_ASSERT(l->chain[1].cert.size == sub.der.size);
	leaf_unref(&l);
	leaf_cache_free(&c);
	ca_unref(&ca);
	made_free(&sub);
	made_free(&root);
}

/* sig is one of what, by the CA's key. */
static bool
verifies(const struct made *made, const unsigned char digest[32],
    const gnutls_datum_t *sig)
{
	gnutls_datum_t hash = { (unsigned char *)(uintptr_t)digest, 32 };
	gnutls_pubkey_t pub;
	int r;

	gnutls_pubkey_init(&pub);
	gnutls_pubkey_import_x509(pub, made->crt, 0);
	r = gnutls_pubkey_verify_hash2(pub, GNUTLS_SIGN_ECDSA_SHA256, 0, &hash,
	    sig);
	gnutls_pubkey_deinit(pub);
	return (r >= 0);
}

enum { PATIENT_US = 4000000 };	/* longer than a busy machine stalls */

static bool
tries(struct keyholder *k, const struct made *made, unsigned char first)
{
	const unsigned char digest[32] = { first, 2 };
	gnutls_datum_t sig = { NULL, 0 };
	bool ok = keyholder_try_sign(k, KEYHOLDER_CA, 0, digest, &sig);

	CU_ASSERT(!ok || verifies(made, digest, &sig));
	gnutls_free(sig.data);
	return (ok);
}

static void
signs(struct keyholder *k, const struct made *made, unsigned char first)
{
	const unsigned char digest[32] = { first, 2 };
	gnutls_datum_t sig = { NULL, 0 };
	struct fault f = { ERR_NONE, "" };

	CU_ASSERT_TRUE(keyholder_sign(k, KEYHOLDER_CA, 0, digest, &sig, &f));
	CU_ASSERT_TRUE(verifies(made, digest, &sig));
	gnutls_free(sig.data);
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static void
wait_state(pid_t pid, char want)
{
	char line[128];
	unsigned i;

	for (i = 0; i < 30000; i++) {
		status_line(pid, "State:", line);
		if (line[0] == '\0' || strchr(line, want) != NULL)
			return;
		usleep(1000);
	}
	CU_FAIL("the key holder does not stop");
}

/* Stopped, it is asked, and given up soon. */
static void
owes(struct keyholder *k, const struct made *made, unsigned char first)
{
	kill(keyholder_pid(k), SIGSTOP);
	wait_state(keyholder_pid(k), 'T');
	keyholder_set_patience(k, KEYHOLDER_TRY_US);
	CU_ASSERT_FALSE(tries(k, made, first));
	keyholder_set_patience(k, PATIENT_US);
}

/* What a loop asks: idle and quick, or left alone; never another's answer. */
static void
test_try(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct keyholder *k;
	struct fault f;
	int64_t late;
	struct ca *ca;
	pid_t pid;
	bool ok;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	k = ca_keyholder(ca);
	keyholder_set_patience(k, PATIENT_US);
	CU_ASSERT_TRUE(tries(k, &made, 1));
	pid = keyholder_pid(k);
	late = now_ms();
	owes(k, &made, 2);
	CU_ASSERT_FALSE(tries(k, &made, 3));
	kill(pid, SIGCONT);
	CU_ASSERT_FALSE(tries(k, &made, 4));	/* still owed, whatever it did */
	signs(k, &made, 5);
	CU_ASSERT_EQUAL(keyholder_pid(k), pid);
	ok = tries(k, &made, 6);		/* it was late just now */
	CU_ASSERT(!ok || now_ms() - late >= KEYHOLDER_REST_MS);
	usleep((KEYHOLDER_REST_MS + 1) * 1000);
	CU_ASSERT_TRUE(tries(k, &made, 7));
	CU_ASSERT_EQUAL(keyholder_pid(k), pid);
	kill(pid, SIGKILL);
	wait_state(pid, 'Z');
	CU_ASSERT_FALSE(tries(k, &made, 8));
	signs(k, &made, 9);
	CU_ASSERT_NOT_EQUAL(keyholder_pid(k), pid);
	pid = keyholder_pid(k);
	owes(k, &made, 10);			/* it never gives what it owes */
	signs(k, &made, 11);
	CU_ASSERT_NOT_EQUAL(keyholder_pid(k), pid);
	ca_unref(&ca);
	made_free(&made);
}

/* Several signers at once, and the holder dying under them. */
static struct leaf_cache *shared;

static void *
signer(void *arg)
{
	struct fault f;
	struct leaf *l;
	unsigned i, *ok = arg;

	for (i = 0; i < 300; i++) {
		memset(&f, 0, sizeof(f));
		l = leaf_mint(shared, "a.example", false, &f);
		*ok += l != NULL;
		leaf_unref(&l);
	}
	return (NULL);
}

static void
test_threads(void)
{
	struct made made = make_cert(CA_RSA, NULL);
	unsigned ok[4] = { 0 }, i;
	pthread_t t[4];
	struct fault f;
	struct ca *ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	shared = leaf_cache_new(ca, 10, NULL);
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, signer, &ok[i]);
	usleep(10000);
	kill(keyholder_pid(ca_keyholder(ca)), SIGKILL);
	for (i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		CU_ASSERT_EQUAL(ok[i], 300);
	}
	leaf_cache_free(&shared);
	ca_unref(&ca);
	made_free(&made);
}

CERTS_MAIN(certs_keyholder, { "a CA is created", test_create },
    { "files that are refused", test_files },
    { "certificates that are refused", test_certificates },
    { "confinement", test_confined }, { "death", test_death },
    { "death under an RSA CA", test_death_rsa },
    { "key gone", test_cannot_restart }, { "RSA CA", test_rsa },
    { "subordinate CA", test_subordinate }, { "tried", test_try },
    { "threads", test_threads })
