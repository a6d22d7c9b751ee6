/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key holder and the CA on top of it: files and their modes, creation,
 * the intermediate of an RSA CA, death and replacement of the process.
 */
#include <dirent.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/sandbox.h"
#include "base/asan.h"
#include "certs/ca.h"
#include "certs/holder_priv.h"
#include "certs/keys.h"
#include "certs/leaf.h"
#include "certs/reap.h"
#include "t/unit/certs_make.h"

#define SIGN_CERTS (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
#define M(...)               \
	&(const struct make) \
	{                    \
		__VA_ARGS__  \
	}
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
	return (ca_open(&(struct ca_options){ .cert = cert,
			    .key = key,
			    .create = create,
			    .leaf_days = 14 },
	    f));
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
	CU_ASSERT(
	    stat(make_path("state"), &st) == 0 && (st.st_mode & 07777) == 0700);
	ca = open_ca(cert, key, true, &f); /* the same one again */
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
	refused(cert,
	    make_file("enc.key",
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"
		"-----END ENCRYPTED PRIVATE KEY-----\n",
		79, 0600),
	    "encrypted");
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

static bool
box_is(const char *cert, const char *key, const char *user)
{
	struct sandbox_report r;
	char text[SANDBOX_TEXT];

	if (!make_box(cert, key, &r))
		return (false);
	sandbox_text(&r, text);
	if (strncmp(text, "seccomp, ", 9) == 0 && strstr(text, user) != NULL &&
	    r.landlock == sandbox_landlock_abi())
		return (true);
	printf("# %s\n", text);
	return (false);
}

static void
test_confined(void)
{
	struct made made = make_cert(CA_EC, NULL);
	int leak = open(".", O_RDONLY); /* not close-on-exec */
	char line[128];
	struct fault f;
	struct ca *ca;
	pid_t pid;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	pid = holder_pid(ca_keyholder(ca));
	CU_ASSERT(pid > 0);
	status_line(pid, "NoNewPrivs:", line);
	CU_ASSERT_STRING_EQUAL(line, "\t1\n");
	status_line(pid, "Seccomp:", line);
	CU_ASSERT_STRING_EQUAL(line, "\t2\n");
	/* Sanitizers make mlock() do nothing. */
#if !ASAN_ON && !defined(__SANITIZE_THREAD__)
	status_line(pid, "VmLck:", line);
	CU_ASSERT(strtoul(line, NULL, 10) > 0);
#endif
	CU_ASSERT(box_is(make_path("ca.pem"), make_path("ca.key"),
	    geteuid() == 0 ? "user nobody" : "user shared"));
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
	pid = holder_pid(ca_keyholder(ca));
	kill(pid, SIGKILL);
	usleep(50000);
	CU_ASSERT_TRUE(mints(c, &f));
	next = holder_pid(ca_keyholder(ca));
	CU_ASSERT(next > 0 && next != pid);
	CU_ASSERT_NOT_EQUAL(kill(pid, 0), 0); /* reaped */
	kill(next, SIGSTOP);                  /* hangs: the deadline ends it */
	CU_ASSERT_TRUE(mints(c, &f));
	CU_ASSERT_NOT_EQUAL(holder_pid(ca_keyholder(ca)), next);
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

static bool
is_zombie(pid_t pid)
{
	char line[200];

	if (kill(pid, 0) != 0)
		return (false);
	status_line(pid, "State:", line);
	return (strchr(line, 'Z') != NULL);
}

/* A process that holds another one back from ending, as a debugger does. */
static pid_t
tracer_of(pid_t pid, int hold)
{
	int ready[2];
	char ok = 0;
	pid_t child;

	if (pipe(ready) != 0)
		return (-1);
	child = fork();
	if (child == 0) {
		ok = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
		(void)!write(ready[1], &ok, 1);
		(void)!read(hold, &ok, 1);
		_exit(0);
	}
	(void)!read(ready[0], &ok, 1);
	close(ready[0]);
	close(ready[1]);
	if (ok)
		return (child);
	(void)waitpid(child, NULL, 0);
	return (-1);
}

/* One that ends long after it was replaced is no zombie then. */
static void
test_no_zombie(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct leaf_cache *c;
	struct fault f;
	struct ca *ca;
	pid_t old, tracer;
	int hold[2];

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	c = leaf_cache_new(ca, 10, NULL);
	old = holder_pid(ca_keyholder(ca));
	CU_ASSERT_EQUAL_FATAL(pipe(hold), 0);
	tracer = tracer_of(old, hold[0]);
	if (tracer > 0) { /* not every sandbox lets us */
		kill(old, SIGKILL);
		usleep(20000);
		CU_ASSERT_TRUE(mints(c, &f)); /* by another one */
		CU_ASSERT_EQUAL(kill(old, 0), 0);
		(void)!write(hold[1], "x", 1);
		(void)waitpid(tracer, NULL, 0);
		while (!is_zombie(old) && kill(old, 0) == 0)
			usleep(1000);
		reap_dead();
		CU_ASSERT_NOT_EQUAL(kill(old, 0), 0);
	}
	close(hold[0]);
	close(hold[1]);
	leaf_cache_free(&c);
	ca_unref(&ca);
	made_free(&made);
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
	kill(holder_pid(ca_keyholder(ca)), SIGKILL);
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
	    want_chain == 2 ? GNUTLS_SIGN_ECDSA_SHA256
			    : GNUTLS_SIGN_RSA_SHA256);
	CU_ASSERT_EQUAL(ca_owns(ca, &l->chain[0].cert), false);
	CU_ASSERT(want_chain == 1 || ca_owns(ca, &l->chain[1].cert));
	gnutls_x509_trust_list_init(&list, 0);
	gnutls_x509_trust_list_add_cas(list, &made.crt, 1, 0);
	gnutls_x509_trust_list_verify_crt2(list, crt, l->n, NULL, 0, 0, &status,
	    NULL);
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
		      .key = KEY_RSA, .path_len = 1),
	    1);
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
verifies(const struct made *made, const gnutls_datum_t *what,
    const gnutls_datum_t *sig)
{
	gnutls_pubkey_t pub;
	int r;

	gnutls_pubkey_init(&pub);
	gnutls_pubkey_import_x509(pub, made->crt, 0);
	r = gnutls_pubkey_verify_data2(pub, GNUTLS_SIGN_ECDSA_SHA256, 0, what,
	    sig);
	gnutls_pubkey_deinit(pub);
	return (r >= 0);
}

/* A leaf to ask for, and what has to be signed for it. */
struct asked {
	struct tbs_leaf leaf;
	struct tbs_issuer issuer;
	unsigned char buf[TBS_MAX + 16];
	gnutls_datum_t tbs;
};

static void
take_key(struct tbs_leaf *l, gnutls_pk_algorithm_t kind, unsigned bits)
{
	size_t n = sizeof(l->key_id);
	gnutls_privkey_t key;
	gnutls_pubkey_t pub;
	gnutls_datum_t spki;

	gnutls_privkey_init(&key);
	gnutls_pubkey_init(&pub);
	CU_ASSERT(gnutls_privkey_generate(key, kind, bits, 0) >= 0);
	gnutls_pubkey_import_privkey(pub, key, 0, 0);
	gnutls_pubkey_export2(pub, GNUTLS_X509_FMT_DER, &spki);
	gnutls_pubkey_get_key_id(pub, 0, l->key_id, &n);
	memset(l->spki, 0, sizeof(l->spki));
	CU_ASSERT_FATAL(spki.size <= sizeof(l->spki));
	memcpy(l->spki, spki.data, spki.size);
	l->spki_n = spki.size;
	gnutls_free(spki.data);
	gnutls_pubkey_deinit(pub);
	gnutls_privkey_deinit(key);
}

static void
write_asked(struct asked *a)
{
	struct der d = der_begin(a->buf, TBS_MAX);

	tbs_write(&d, &a->issuer, &a->leaf);
	a->tbs = (gnutls_datum_t){ d.at, (unsigned)(a->buf + TBS_MAX - d.at) };
}

static void
ask_for(struct asked *a, const struct made *made, unsigned char serial)
{
	memset(a, 0, sizeof(*a));
	CU_ASSERT_FATAL(tbs_issuer_init(&a->issuer, made->crt) >= 0);
	a->leaf.from = time(NULL) - 3600;
	a->leaf.to = a->leaf.from + 14 * TBS_DAY;
	a->leaf.serial[0] = 0x40;
	a->leaf.serial[15] = serial;
	strcpy(a->leaf.host, "a.example");
	take_key(&a->leaf, GNUTLS_PK_EC,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
	write_asked(a);
}

enum { PATIENT_US = 4000000 }; /* longer than a busy machine stalls */

static bool
tries(struct keyholder *k, const struct made *made, unsigned char serial)
{
	gnutls_datum_t sig = { NULL, 0 };
	struct asked a;
	bool ok;

	ask_for(&a, made, serial);
	ok = keyholder_try_sign(k, 0, &a.leaf, &a.tbs, &sig);
	CU_ASSERT(!ok || verifies(made, &a.tbs, &sig));
	gnutls_free(sig.data);
	tbs_issuer_fini(&a.issuer);
	return (ok);
}

static void
signs(struct keyholder *k, const struct made *made, unsigned char serial)
{
	gnutls_datum_t sig = { NULL, 0 };
	struct fault f = { ERR_NONE, "" };
	struct asked a;

	ask_for(&a, made, serial);
	CU_ASSERT_TRUE(keyholder_sign(k, 0, &a.leaf, &a.tbs, &sig, &f));
	CU_ASSERT_TRUE(verifies(made, &a.tbs, &sig));
	gnutls_free(sig.data);
	tbs_issuer_fini(&a.issuer);
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
	kill(holder_pid(k), SIGSTOP);
	wait_state(holder_pid(k), 'T');
	holder_patience(k, KEYHOLDER_TRY_US);
	CU_ASSERT_FALSE(tries(k, made, first));
	holder_patience(k, PATIENT_US);
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
	holder_patience(k, PATIENT_US);
	CU_ASSERT_TRUE(tries(k, &made, 1));
	pid = holder_pid(k);
	late = now_ms();
	owes(k, &made, 2);
	CU_ASSERT_FALSE(tries(k, &made, 3));
	kill(pid, SIGCONT);
	CU_ASSERT_FALSE(tries(k, &made, 4)); /* still owed, whatever it did */
	signs(k, &made, 5);
	CU_ASSERT_EQUAL(holder_pid(k), pid);
	ok = tries(k, &made, 6); /* it was late just now */
	CU_ASSERT(!ok || now_ms() - late >= KEYHOLDER_REST_MS);
	usleep((KEYHOLDER_REST_MS + 1) * 1000);
	CU_ASSERT_TRUE(tries(k, &made, 7));
	CU_ASSERT_EQUAL(holder_pid(k), pid);
	kill(pid, SIGKILL);
	wait_state(pid, 'Z');
	CU_ASSERT_FALSE(tries(k, &made, 8));
	signs(k, &made, 9);
	CU_ASSERT_NOT_EQUAL(holder_pid(k), pid);
	pid = holder_pid(k);
	owes(k, &made, 10); /* it never gives what it owes */
	signs(k, &made, 11);
	CU_ASSERT_NOT_EQUAL(holder_pid(k), pid);
	ca_unref(&ca);
	made_free(&made);
}

/* What a proxy that was taken over might ask for. */

static void
old_leaf(struct tbs_leaf *l)
{
	l->from -= 2 * TBS_DAY;
}

static void
long_leaf(struct tbs_leaf *l)
{
	l->to = l->from + TBS_MAX_DAYS * (int64_t)TBS_DAY + 1;
}

static void
longest_leaf(struct tbs_leaf *l)
{
	l->to = l->from + TBS_MAX_DAYS * (int64_t)TBS_DAY;
}

static void
leaf_after_ca(struct tbs_leaf *l)
{
	l->to = l->from + 380 * (int64_t)TBS_DAY;
}

static void
backward_leaf(struct tbs_leaf *l)
{
	l->to = l->from;
}

static void
far_leaf(struct tbs_leaf *l)
{
	l->from = INT64_MIN;
	l->to = INT64_MAX;
}

static void
no_host(struct tbs_leaf *l)
{
	memset(l->host, 0, sizeof(l->host));
}

static void
wildcard(struct tbs_leaf *l)
{
	strcpy(l->host, "*.example");
}

static void
nul_in_host(struct tbs_leaf *l)
{
	memcpy(l->host, "a.example\0.evil", 15);
}

static void
endless_host(struct tbs_leaf *l)
{
	memset(l->host, 'a', sizeof(l->host));
}

static void
other_host(struct tbs_leaf *l)
{
	strcpy(l->host, "xn--bcher-kva_1.example");
}

static void
address_host(struct tbs_leaf *l)
{
	memset(l->host, 0, sizeof(l->host));
	strcpy(l->host, "2001:db8::1");
}

static void
negative_serial(struct tbs_leaf *l)
{
	l->serial[0] = 0x80;
}

static void
short_serial(struct tbs_leaf *l)
{
	l->serial[0] = 0;
}

static void
key_p384(struct tbs_leaf *l)
{
	take_key(l, GNUTLS_PK_EC,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1));
}

static void
key_rsa(struct tbs_leaf *l)
{
	take_key(l, GNUTLS_PK_RSA, 2048);
}

static void
key_rsa_1024(struct tbs_leaf *l)
{
	take_key(l, GNUTLS_PK_RSA, 1024);
}

static void
key_junk(struct tbs_leaf *l)
{
	memset(l->spki, 0x30, sizeof(l->spki));
}

static void
key_longer(struct tbs_leaf *l)
{
	l->spki_n++;
}

static void
key_too_long(struct tbs_leaf *l)
{
	l->spki_n = TBS_MAX_SPKI;
	memset(l->spki + 91, 1, TBS_MAX_SPKI - 91);
}

static void
other_key_id(struct tbs_leaf *l)
{
	l->key_id[0] ^= 1;
}

static const struct {
	void (*change)(struct tbs_leaf *);
	const char *want; /* NULL: signed */
} odd_leaves[] = { { old_leaf, "dates" }, { long_leaf, "dates" },
	{ leaf_after_ca, "dates" }, { backward_leaf, "dates" },
	{ far_leaf, "dates" }, { no_host, "host" }, { wildcard, "host" },
	{ nul_in_host, "host" }, { endless_host, "host" }, { other_host, NULL },
	{ address_host, NULL }, { negative_serial, "serial" },
	{ short_serial, "serial" }, { key_p384, "key" }, { key_rsa, NULL },
	{ key_rsa_1024, "key" }, { key_junk, "key" }, { key_longer, "key" },
	{ key_too_long, "key" }, { other_key_id, "key" } };

static void
answers(struct keyholder *k, struct asked *a, const char *want)
{
	gnutls_datum_t sig = { NULL, 0 };
	struct fault f = { ERR_NONE, "" };
	bool ok = keyholder_sign(k, 0, &a->leaf, &a->tbs, &sig, &f);

	CU_ASSERT_EQUAL(ok, want == NULL);
	CU_ASSERT(want == NULL || said(&f, "not a leaf of ours"));
	CU_ASSERT(want == NULL || said(&f, want));
	gnutls_free(sig.data);
}

/* Each byte of the certificate in turn, one less, one more: all are ours. */
static void
every_byte(struct keyholder *k, struct asked *a)
{
	unsigned i, n = a->tbs.size;

	for (i = 0; i < n; i++) {
		a->tbs.data[i] ^= 1;
		answers(k, a, "certificate");
		a->tbs.data[i] ^= 1;
	}
	a->tbs.size--;
	answers(k, a, "certificate");
	a->tbs.size += 2;
	answers(k, a, "certificate");
	a->tbs.size = 0;
	answers(k, a, "certificate");
	a->tbs.size = n;
}

/* Names that the CA's own certificate keeps it from. */
static void
constrained(enum make_key key)
{
	struct made made = make_cert(M(.cn = "test CA", .ca = 1,
					 .usage = SIGN_CERTS, .key = key,
					 .permitted = "inside.example"),
	    NULL);
	struct leaf_cache *c;
	struct leaf *l;
	struct fault f;
	struct ca *ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	c = leaf_cache_new(ca, 10, NULL);
	l = leaf_mint(c, "a.inside.example", false, &f);
	CU_ASSERT_PTR_NOT_NULL(l);
	leaf_unref(&l);
	CU_ASSERT_PTR_NULL(leaf_mint(c, "outside.example", false, &f));
	CU_ASSERT(said(&f, "name constraints"));
	leaf_cache_free(&c);
	ca_unref(&ca);
	made_free(&made);
}

static void
test_constraints(void)
{
	struct made made = make_cert(M(.cn = "test CA", .ca = 1,
					 .usage = SIGN_CERTS,
					 .permitted = "inside.example"),
	    NULL);
	struct fault f;
	struct asked a;
	struct ca *ca;

	constrained(KEY_EC);
	constrained(KEY_RSA);
	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	ask_for(&a, &made, 1);
	answers(ca_keyholder(ca), &a, "constraints");
	tbs_issuer_fini(&a.issuer);
	ca_unref(&ca);
	made_free(&made);
}

/* More than a second's worth takes longer than nothing. */
static void
test_pace(void)
{
	struct made made = make_cert(CA_EC, NULL);
	int64_t began;
	struct fault f;
	struct asked a;
	struct ca *ca;
	unsigned i;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	ask_for(&a, &made, 1);
	began = now_ms();
	for (i = 0; i < 2600; i++)
		answers(ca_keyholder(ca), &a, NULL);
	CU_ASSERT(now_ms() - began >= 290); /* (2600 - 2000) / 2000 s */
	tbs_issuer_fini(&a.issuer);
	ca_unref(&ca);
	made_free(&made);
}

static void
test_only_leaves(void)
{
	struct made made = make_cert(M(.cn = "test CA", .ca = 1,
					 .usage = SIGN_CERTS, .from = -1,
					 .to = 370),
	    NULL);
	struct made longer = make_cert(M(.cn = "test CA", .ca = 1,
					   .usage = SIGN_CERTS, .from = -1,
					   .to = 800),
	    NULL);
	struct fault f;
	struct asked a;
	unsigned i;
	struct ca *ca;

	ca = open_ca(make_cert_file("ca.pem", &made),
	    make_key_file("ca.key", &made), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	for (i = 0; i < sizeof(odd_leaves) / sizeof(odd_leaves[0]); i++) {
		ask_for(&a, &made, 1);
		odd_leaves[i].change(&a.leaf);
		if (a.leaf.spki_n <= TBS_MAX_SPKI &&
		    memchr(a.leaf.host, 0, sizeof(a.leaf.host)) != NULL &&
		    a.leaf.to < INT32_MAX * 9LL)
			write_asked(&a);
		answers(ca_keyholder(ca), &a, odd_leaves[i].want);
		tbs_issuer_fini(&a.issuer);
	}
	ask_for(&a, &made, 1);
	answers(ca_keyholder(ca), &a, NULL);
	every_byte(ca_keyholder(ca), &a);
	answers(ca_keyholder(ca), &a, NULL);
	tbs_issuer_fini(&a.issuer);
	ca_unref(&ca);
	ca = open_ca(make_cert_file("ca.pem", &longer),
	    make_key_file("ca.key", &longer), false, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	ask_for(&a, &longer, 1);
	longest_leaf(&a.leaf);
	write_asked(&a);
	answers(ca_keyholder(ca), &a, NULL);
	tbs_issuer_fini(&a.issuer);
	ask_for(&a, &made, 1); /* of another issuer, as it says */
	a.issuer.name.data[a.issuer.name.size - 1] ^= 1;
	write_asked(&a);
	answers(ca_keyholder(ca), &a, "certificate");
	tbs_issuer_fini(&a.issuer);
	ca_unref(&ca);
	made_free(&longer);
	made_free(&made);
}

/* An intermediate that grows old: a new holder makes the next, or none. */
static void
test_renewed(void)
{
	struct made made = make_cert(CA_RSA, NULL);
	const char *key = make_key_file("ca.key", &made);
	gnutls_datum_t der[2] = { { NULL, 0 } };
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = keyholder_start(&f);
	unsigned epoch[3], i;
	struct asked a;
	struct made own = { 0 };
	bool is_new = true;
	pid_t pid[2];

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CU_ASSERT_TRUE(keyholder_open(k, make_cert_file("ca.pem", &made), key,
	    false, &is_new, &f));
	CU_ASSERT_FALSE(is_new);
	for (i = 0; i < 2; i++) {
		CU_ASSERT_TRUE_FATAL(
		    keyholder_issuer(k, &der[i], &epoch[i], &f));
		pid[i] = holder_pid(k);
	}
	CU_ASSERT(pid[0] != pid[1] && epoch[0] != epoch[1]);
	CU_ASSERT_NOT_EQUAL(kill(pid[0], 0), 0); /* ended and reaped */
	CU_ASSERT(der[0].size != der[1].size ||
	    memcmp(der[0].data, der[1].data, der[0].size) != 0);
	unlink(key);
	CU_ASSERT_FALSE(keyholder_issuer(k, &der[0], &epoch[2], &f));
	CU_ASSERT(said(&f, "ca.key: No such file"));
	CU_ASSERT_EQUAL(holder_pid(k), pid[1]);
	CU_ASSERT_EQUAL(keyholder_epoch(k), epoch[1]);
	gnutls_x509_crt_init(&own.crt);
	gnutls_x509_crt_import(own.crt, &der[1], GNUTLS_X509_FMT_DER);
	ask_for(&a, &own, 1);
	answers(k, &a, NULL); /* it signs on */
	tbs_issuer_fini(&a.issuer);
	gnutls_x509_crt_deinit(own.crt);
	gnutls_free(der[0].data);
	gnutls_free(der[1].data);
	keyholder_stop(&k);
	made_free(&made);
}

/* The holder's messages, one by one, without the client that asks properly. */

static bool
says(int fd, enum holder_op op, unsigned which, const gnutls_datum_t *a,
    const gnutls_datum_t *b, char text[static 512])
{
	static unsigned char buf[HOLDER_MAX];
	struct holder_msg q = { .head = { op, 7, which, { a->size, b->size } },
		.field = { *a, *b } },
			  r;

	CU_ASSERT_TRUE(holder_send(fd, &q));
	CU_ASSERT_EQUAL_FATAL(holder_recv(fd, &r, buf, NULL), 1);
	CU_ASSERT_EQUAL(r.head.id, 7);
	(void)snprintf(text, 512, "%.*s", (int)r.field[0].size,
	    (char *)r.field[0].data);
	return (r.head.op == 0);
}

/* After the key is loaded neither files nor CA certificates nor digests. */
static void
test_sealed(void)
{
	struct made made = make_cert(CA_RSA, NULL);
	const char *key = make_key_file("ca.key", &made);
	gnutls_datum_t path = { (unsigned char *)(uintptr_t)key,
		(unsigned)strlen(key) },
		       none = { NULL, 0 };
	gnutls_datum_t digest = {
		(unsigned char *)(uintptr_t) "0123456789abcdef0123456789abcdef",
		32
	};
	struct keyholder *k;
	struct fault f = { ERR_NONE, "" };
	char text[512];
	unsigned op, which;
	int fd;

	k = keyholder_start(&f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	fd = k->fd;
	for (op = HOLDER_WHO; op < 9; op++) {
		if (op == HOLDER_LAST || op == HOLDER_TELL)
			continue; /* is not answered */
		CU_ASSERT_FALSE(says(fd, op, 0, &digest, &none, text));
		CU_ASSERT_STRING_EQUAL(text, "no key is loaded");
	}
	CU_ASSERT_FALSE(says(fd, HOLDER_LOAD, 2, &path, &made.der, text));
	CU_ASSERT_STRING_EQUAL(text, "unknown kind of issuer");
	CU_ASSERT_FALSE(says(fd, HOLDER_LOAD, 0, &path, &digest, text));
	CU_ASSERT_STRING_EQUAL(text, "CA certificate is malformed");
	CU_ASSERT_TRUE(
	    says(fd, HOLDER_LOAD, KEYHOLDER_ISSUER, &path, &made.der, text));
	for (op = 0; op < 9; op++)
		for (which = 0; which < 3; which++) {
			if (op == HOLDER_LAST || op == HOLDER_TELL ||
			    op == HOLDER_WHO)
				continue; /* of its owner; what it is */
			CU_ASSERT_FALSE(says(fd, op, which,
			    op < HOLDER_LEAF ? &path : &digest, &made.der,
			    text));
			CU_ASSERT_STRING_EQUAL(text,
			    op == HOLDER_LEAF ? "not a leaf of ours: size"
					      : "only leaves are signed");
		}
	keyholder_stop(&k);
	made_free(&made);
}

/* A holder that another process has started: here, both are this one. */

static struct keys owner[4]; /* one after the other */
static unsigned n_owners, wants;
static struct keys_answer opened; /* by the first */
static const char *owner_key;

static int
answer_of(const struct keys *k, struct keys_answer *a)
{
	struct pollfd p = { .fd = k->fd, .events = POLLIN };
	int r;

	while ((r = keys_answered(k, a)) == 0)
		(void)poll(&p, 1, 20000);
	return (r);
}

/*
 * The next one; the first opens the files, those behind it load the key and
 * are delivered to who knows that number.
 */
static void
next_owner(const char *cert, uint32_t number)
{
	struct keys *k = &owner[n_owners++];
	struct fault f = { ERR_NONE, "" };
	struct keys_answer a;

	CU_ASSERT_TRUE_FATAL(keys_start(k, &f));
	CU_ASSERT_TRUE(cert != NULL
		? keys_open(k, cert, owner_key, false)
		: keys_load(k, owner_key, &opened.ca, opened.which));
	CU_ASSERT_EQUAL_FATAL(answer_of(k, &a), 1);
	CU_ASSERT_TRUE(a.ok);
	if (cert != NULL)
		opened = a;
	else {
		gnutls_free(a.ca.data);
		if (number != 0)
			CU_ASSERT_TRUE(keyholder_deliver(number, keys_client(k),
			    k->child.pid));
	}
}

static void
on_want(void *arg, uint32_t number, const char *why)
{
	CU_ASSERT_EQUAL(number, 7);
	CU_ASSERT_PTR_NULL(why);
	(*(unsigned *)arg)++;
	next_owner(NULL, number);
}

static struct keyholder *
join(struct made *made, struct fault *f)
{
	const char *cert = make_cert_file("ca.pem", made);

	owner_key = make_key_file("ca.key", made);
	n_owners = wants = 0;
	next_owner(cert, 7);
	return (keyholder_join(&(struct keyholder_door){ .number = 7,
				   .fd = keys_client(&owner[0]),
				   .pid = owner[0].child.pid,
				   .want = on_want,
				   .arg = &wants },
	    f));
}

static void
leave_all(struct keyholder *k)
{
	unsigned i;

	for (i = 0; i < n_owners; i++) {
		keys_leave(&owner[i]);
		child_end(&owner[i].child);
	}
	gnutls_free(opened.ca.data);
	keyholder_stop(&k);
	CU_ASSERT_FALSE(keyholder_deliver(7, 0, 1));
}

static void
test_joined(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = join(&made, &f);
	gnutls_datum_t none = { NULL, 0 };
	struct asked a;
	int how;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CU_ASSERT_EQUAL(opened.which, KEYHOLDER_CA);
	CU_ASSERT_FALSE(opened.made);
	CU_ASSERT_EQUAL(keyholder_ca(k)->size, made.der.size);
	CU_ASSERT_EQUAL(holder_pid(k), owner[0].child.pid);
	ask_for(&a, &made, 1);
	answers(k, &a, NULL);
	child_end(&owner[0].child);
	next_owner(NULL, 7);
	answers(k, &a, NULL); /* at once, by the other */
	CU_ASSERT_EQUAL(holder_pid(k), owner[1].child.pid);
	child_end(&owner[1].child);
	CU_ASSERT_FALSE(keyholder_sign(k, 0, &a.leaf, &a.tbs, &none, &f));
	CU_ASSERT(said(&f, "is not there")); /* so long it is waited for */
	next_owner(NULL, 7);
	answers(k, &a, NULL);
	keys_last(&owner[2]);
	answers(k, &a, NULL);
	CU_ASSERT_FALSE(child_reap(&owner[2].child, &how, 0));
	keyholder_stop(&k);
	CU_ASSERT_TRUE(child_reap(&owner[2].child, &how, 20000));
	CU_ASSERT_EQUAL(how, 0);
	/* ... and at once when it has none any more. */
	next_owner(NULL, 0);
	keys_last(&owner[3]);
	CU_ASSERT_TRUE(child_reap(&owner[3].child, &how, 20000));
	CU_ASSERT_EQUAL(how, 0);
	leave_all(NULL);
	tbs_issuer_fini(&a.issuer);
	made_free(&made);
}

/* An intermediate that grows old is another process's. */
static void
test_joined_rsa(void)
{
	struct made made = make_cert(CA_RSA, NULL);
	gnutls_datum_t der[2];
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = join(&made, &f);
	unsigned epoch[2], i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CU_ASSERT_EQUAL(opened.which, KEYHOLDER_ISSUER);
	for (i = 0; i < 2; i++) {
		CU_ASSERT_TRUE_FATAL(
		    keyholder_issuer(k, &der[i], &epoch[i], &f));
		CU_ASSERT_EQUAL(wants, i);
		CU_ASSERT_EQUAL(holder_pid(k), owner[i].child.pid);
	}
	CU_ASSERT_NOT_EQUAL(epoch[0], epoch[1]);
	CU_ASSERT(der[0].size != der[1].size ||
	    memcmp(der[0].data, der[1].data, der[0].size) != 0);
	gnutls_free(der[0].data);
	gnutls_free(der[1].data);
	leave_all(k);
	made_free(&made);
}

/* Who may ask for leaves may ask for nothing else, and breaks only himself. */
static void
test_client(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = join(&made, &f);
	struct holder_head head = { .id = 1 };
	struct asked a;
	unsigned op;
	char one;
	int fd;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	ask_for(&a, &made, 1);
	for (op = 0; op < 9; op++) {
		if (op == HOLDER_LEAF || op == HOLDER_WHO)
			continue;
		fd = keys_client(&owner[0]);
		head.op = op;
		CU_ASSERT_EQUAL(write(fd, &head, sizeof(head)), sizeof(head));
		CU_ASSERT_EQUAL(read(fd, &one, 1), 0); /* it hangs up */
		close(fd);
	}
	fd = keys_client(&owner[0]);
	CU_ASSERT_EQUAL(write(fd, "x", 1), 1); /* no message */
	CU_ASSERT_EQUAL(read(fd, &one, 1), 0);
	close(fd);
	answers(k, &a, NULL);
	tbs_issuer_fini(&a.issuer);
	leave_all(k);
	made_free(&made);
}

static void
next_news(struct keys_news *n)
{
	struct pollfd p = { .fd = owner[0].fd, .events = POLLIN };
	int r;

	if ((r = keys_news(&owner[0], n)) == 0 && poll(&p, 1, 20000) == 1)
		r = keys_news(&owner[0], n);
	CU_ASSERT_EQUAL_FATAL(r, 1);
}

/* Its owner hears of each leaf, and of what it refused; its clients decide none. */
static void
test_news(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = join(&made, &f);
	struct keys_news n;
	struct asked a;
	unsigned i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	ask_for(&a, &made, 7);
	answers(k, &a, NULL); /* he has not asked yet */
	keys_tell(&owner[0], true);
	for (i = 2; i < 4; i++) {
		answers(k, &a, NULL);
		next_news(&n);
		CU_ASSERT_EQUAL(n.kind, KEYS_LEAF);
		CU_ASSERT_EQUAL(n.leaves, i);
		CU_ASSERT_STRING_EQUAL(n.text, "a.example");
		CU_ASSERT_EQUAL(n.to, a.leaf.to);
		CU_ASSERT_EQUAL(n.serial[15], 7);
		CU_ASSERT_EQUAL(n.untold, 0);
	}
	wildcard(&a.leaf);
	for (i = 0; i < 3; i++)
		answers(k, &a, "host");
	next_news(&n);
	CU_ASSERT_EQUAL(n.kind, KEYS_REFUSED);
	CU_ASSERT_EQUAL(n.refused, 1);
	CU_ASSERT_STRING_EQUAL(n.text, "not a leaf of ours: host");
	CU_ASSERT_EQUAL(keys_news(&owner[0], &n), 0); /* one a second */
	tbs_issuer_fini(&a.issuer);
	leave_all(k);
	made_free(&made);
}

/* Who wants no leaves hears their number, of a hundred in one message or two. */
static void
test_counts(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = join(&made, &f);
	struct holder_head head = { .op = HOLDER_OPEN };
	struct keys_news n = { .leaves = 0 };
	struct asked a;
	unsigned i, heard;
	int fd;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	ask_for(&a, &made, 7);
	keys_tell(&owner[0], false);
	for (i = 0; i < 100; i++)
		answers(k, &a, NULL);
	for (heard = 0; n.leaves < 100; heard++) {
		next_news(&n);
		CU_ASSERT_EQUAL(n.kind, KEYS_COUNT);
	}
	CU_ASSERT_EQUAL(n.leaves, 100);
	CU_ASSERT_EQUAL(n.refused, 0);
	CU_ASSERT(heard < 10);
	fd = keys_client(&owner[0]); /* what clients may not ask is an alarm */
	CU_ASSERT_EQUAL(write(fd, &head, sizeof(head)), sizeof(head));
	next_news(&n);
	CU_ASSERT_EQUAL(n.kind, KEYS_REFUSED);
	CU_ASSERT_STRING_EQUAL(n.text, "not a request of a client");
	close(fd);
	for (i = 0; i < 3; i++) {
		fd = keys_client(&owner[0]);
		CU_ASSERT_EQUAL(write(fd, "x", 1), 1);
		close(fd);
	}
	while (n.refused < 4) /* and those are counted that are not told */
		next_news(&n);
	CU_ASSERT_EQUAL(n.refused, 4);
	tbs_issuer_fini(&a.issuer);
	leave_all(k);
	made_free(&made);
}

/* An owner who does not read holds up nobody, and learns how much he missed. */
static void
test_deaf_owner(void)
{
	struct made made = make_cert(CA_EC, NULL);
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = join(&made, &f);
	struct keys_news n = { .untold = 0 };
	struct asked a;
	unsigned i, told = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	ask_for(&a, &made, 1);
	keys_tell(&owner[0], true);
	for (i = 0; i < 1500; i++)
		answers(k, &a, NULL);
	while (keys_news(&owner[0], &n) == 1)
		told++;
	CU_ASSERT(told < 1500);
	answers(k, &a, NULL);
	next_news(&n);
	CU_ASSERT_EQUAL(n.untold, 1500 - told);
	CU_ASSERT_EQUAL(n.leaves, 1501);
	tbs_issuer_fini(&a.issuer);
	leave_all(k);
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
	kill(holder_pid(ca_keyholder(ca)), SIGKILL);
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
    { "no zombies", test_no_zombie }, { "key gone", test_cannot_restart },
    { "RSA CA", test_rsa }, { "subordinate CA", test_subordinate },
    { "tried", test_try }, { "only leaves are signed", test_only_leaves },
    { "name constraints", test_constraints }, { "pace", test_pace },
    { "a loaded holder is sealed", test_sealed },
    { "an intermediate is renewed", test_renewed },
    { "a holder that another process starts", test_joined },
    { "its intermediate", test_joined_rsa },
    { "what its clients may ask", test_client },
    { "its owner is told", test_news },
    { "or told how many there were", test_counts },
    { "or does not listen", test_deaf_owner }, { "threads", test_threads })
