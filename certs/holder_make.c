/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the key holder makes: the CA of a first start, and the intermediate
 * that signs for an RSA CA.  RFC 5280 4.2.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "certs/holder_priv.h"

#define DAY 86400
#define CA_DAYS 3653 /* ten years */
#define ISSUER_DAYS 365
#define CN_MAX 64 /* RFC 5280 A.1, ub-common-name */

/* Folders. */

/* Make the folder of path and what is missing above it, for us alone. */
static bool
make_folder(struct holder *h, const char *path)
{
	char *dir = strdup(path), *at;
	bool ok = true;

	if (dir == NULL)
		return (holder_fail(h, "out of memory"));
	for (at = strchr(dir + 1, '/'); ok && at != NULL;
	     at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(dir, 0700) != 0 && errno != EEXIST &&
		    access(dir, F_OK) != 0)
			ok = holder_fail(h, "%s: %s", dir, strerror(errno));
		*at = '/';
	}
	free(dir);
	return (ok);
}

static void
sync_folder(const char *path)
{
	char *dir = strdup(path),
	     *slash = dir == NULL ? NULL : strrchr(dir, '/');
	int fd;

	if (slash != NULL)
		slash[slash == dir] = '\0';
	fd = dir == NULL ? -1
			 : open(slash != NULL ? dir : ".",
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	free(dir);
}

static bool
write_all(int fd, const gnutls_datum_t *d)
{
	size_t done = 0;
	ssize_t n;

	assert(fd >= 0);
	while (done < d->size) {
		n = write(fd, d->data + done, d->size - done);
		if (n < 0 && errno != EINTR)
			return (false);
		done += n > 0 ? (size_t)n : 0;
	}
	return (true);
}

/*
 * Write the whole file under another name, then give it its own: nobody ever
 * sees half a file, and one that exists is never replaced (link fails).
 */
static bool
write_file(struct holder *h, const char *path, const gnutls_datum_t *d,
    mode_t mode)
{
	char tmp[4096 + 16];
	bool ok;
	int fd;

	(void)snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return (holder_fail(h, "%s: %s", path, strerror(errno)));
	ok = write_all(fd, d) && fchmod(fd, mode) == 0 && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	ok = ok &&
	    (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) == 0 ||
		(errno == EINVAL && link(tmp, path) == 0));
	if (!ok)
		(void)holder_fail(h, "%s: %s", path, strerror(errno));
	(void)unlink(tmp); /* gone when it was renamed */
	sync_folder(path);
	return (ok);
}

/* Certificates. */

struct making {
	gnutls_x509_crt_t crt;
	gnutls_x509_privkey_t key; /* of the certificate */
	unsigned char id[20];      /* its SHA-1, the SKI (RFC 5280 4.2.1.2) */
};

static int
set_serial(gnutls_x509_crt_t crt)
{
	unsigned char serial[16];
	int r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

	serial[0] = (serial[0] & 0x3f) | 0x40; /* positive, 16 bytes */
	return (r < 0
		? r
		: gnutls_x509_crt_set_serial(crt, serial, sizeof(serial)));
}

/* Everything of a CA certificate but name and dates. */
static int
set_body(struct making *k, int path_len)
{
	size_t n = sizeof(k->id);
	int r;

	assert(k->key != NULL && k->crt == NULL);
	if ((r = gnutls_x509_privkey_get_key_id(k->key, 0, k->id, &n)) < 0 ||
	    (r = gnutls_x509_crt_init(&k->crt)) < 0)
		return (r);
	if ((r = gnutls_x509_crt_set_version(k->crt, 3)) < 0 ||
	    (r = set_serial(k->crt)) < 0 ||
	    (r = gnutls_x509_crt_set_key(k->crt, k->key)) < 0 ||
	    (r = gnutls_x509_crt_set_basic_constraints(k->crt, 1, path_len)) <
		0 ||
	    (r = gnutls_x509_crt_set_key_usage(k->crt,
		 GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)) < 0)
		return (r);
	return (
	    gnutls_x509_crt_set_subject_key_id(k->crt, k->id, sizeof(k->id)));
}

/* "<head><middle><first 8 digits of the key's id>", middle cut to fit. */
static int
set_name(struct making *k, const char *head, const char *middle,
    const char *tail)
{
	char cn[CN_MAX + 1];
	size_t room = CN_MAX - strlen(head) - strlen(tail) - 8;
	size_t n = strnlen(middle, room);

	assert(strlen(head) + strlen(tail) + 8 < CN_MAX);
	while (n > 0 && n == room && ((unsigned char)middle[n] & 0xc0) == 0x80)
		n--; /* not inside a character */
	(void)snprintf(cn, sizeof(cn), "%s%.*s%s%02x%02x%02x%02x", head, (int)n,
	    middle, tail, k->id[0], k->id[1], k->id[2], k->id[3]);
	return (gnutls_x509_crt_set_dn_by_oid(k->crt,
	    GNUTLS_OID_X520_COMMON_NAME, 0, cn, (unsigned)strlen(cn)));
}

static int
set_dates(gnutls_x509_crt_t crt, time_t from, time_t to)
{
	int r = gnutls_x509_crt_set_activation_time(crt, from);

	return (r < 0 ? r : gnutls_x509_crt_set_expiration_time(crt, to));
}

static int
make_ca(struct making *k, gnutls_datum_t *pem)
{
	time_t now = time(NULL);
	char host[256] = "";
	int r;

	(void)gethostname(host, sizeof(host) - 1);
	/* Room for one authority below it: a roll-over cross-signs its successor. */
	if ((r = set_body(k, 1)) < 0 ||
	    (r = set_name(k, "assay CA ", host, " ")) < 0 ||
	    (r = set_dates(k->crt, now - DAY, now + CA_DAYS * (time_t)DAY)) <
		0 ||
	    (r = gnutls_x509_crt_sign2(k->crt, k->crt, k->key,
		 GNUTLS_DIG_SHA256, 0)) < 0)
		return (r);
	return (gnutls_x509_crt_export2(k->crt, GNUTLS_X509_FMT_PEM, pem));
}

static int
make_key(gnutls_x509_privkey_t *key)
{
	int r = gnutls_x509_privkey_init(key);

	return (r < 0
		? r
		: gnutls_x509_privkey_generate(*key, GNUTLS_PK_EC,
		      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
}

static void
making_fini(struct making *k)
{
	if (k->crt != NULL)
		gnutls_x509_crt_deinit(k->crt);
	if (k->key != NULL)
		gnutls_x509_privkey_deinit(k->key);
}

static bool
create_key(struct holder *h, const char *path, gnutls_x509_privkey_t *key)
{
	gnutls_datum_t pem = { NULL, 0 };
	bool ok;
	int r;

	if ((r = make_key(key)) < 0 ||
	    (r = gnutls_x509_privkey_export2_pkcs8(*key, GNUTLS_X509_FMT_PEM,
		 NULL, GNUTLS_PKCS_PLAIN, &pem)) < 0)
		return (holder_fail(h, "%s: %s", path, gnutls_strerror(r)));
	ok = write_file(h, path, &pem, 0600);
	gnutls_memset(pem.data, 0, pem.size);
	gnutls_free(pem.data);
	return (ok);
}

bool
holder_create(struct holder *h, const char *cert, const char *key)
{
	struct making k = { NULL, NULL, "" };
	gnutls_datum_t pem = { NULL, 0 };
	bool absent, ok;
	int r;

	if (!make_folder(h, key) || !make_folder(h, cert))
		return (false);
	/* A key that exists is what an earlier start left before it had a certificate. */
	ok = holder_read_key(h, key, &k.key, &absent) ||
	    (absent && create_key(h, key, &k.key));
	if (ok && (r = make_ca(&k, &pem)) < 0)
		ok = holder_fail(h, "%s: %s", cert, gnutls_strerror(r));
	assert(!ok || (k.key != NULL && pem.size > 0));
	ok = ok && write_file(h, cert, &pem, 0644);
	gnutls_free(pem.data);
	making_fini(&k);
	return (ok);
}

static time_t
later(time_t a, time_t b)
{
	return (a > b ? a : b);
}

/* The CA's CN, or "assay CA". */
static void
name_of(gnutls_x509_crt_t ca, char *out, size_t size)
{
	if (gnutls_x509_crt_get_dn_by_oid(ca, GNUTLS_OID_X520_COMMON_NAME, 0, 0,
		out, &size) < 0)
		strcpy(out, "assay CA");
}

static int
set_issuer_id(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca)
{
	struct tbs_issuer i;
	int r = tbs_issuer_init(&i, ca);

	if (r < 0)
		return (r);
	r = gnutls_x509_crt_set_authority_key_id(crt, i.id, i.id_n);
	tbs_issuer_fini(&i);
	return (r);
}

/* What the CA may not sign, its intermediate may not either. */
static int
set_constraints(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca)
{
	gnutls_x509_name_constraints_t only = NULL;
	int r = tbs_constraints(ca, &only);

	if (r < 0 || only == NULL)
		return (r);
	r = gnutls_x509_crt_set_name_constraints(crt, only, 1);
	gnutls_x509_name_constraints_deinit(only);
	return (r);
}

static int
issue(gnutls_privkey_t by, struct making *k, gnutls_x509_crt_t ca,
    gnutls_datum_t *out)
{
	time_t now = time(NULL), end = gnutls_x509_crt_get_expiration_time(ca);
	char cn[256] = "";
	int r;

	name_of(ca, cn, sizeof(cn));
	if (end > now + ISSUER_DAYS * (time_t)DAY)
		end = now + ISSUER_DAYS * (time_t)DAY;
	if ((r = make_key(&k->key)) < 0 || (r = set_body(k, 0)) < 0 ||
	    (r = set_name(k, "", cn, " issuing ")) < 0 ||
	    (r = set_issuer_id(k->crt, ca)) < 0 ||
	    (r = set_constraints(k->crt, ca)) < 0 ||
	    (r = set_dates(k->crt,
		 later(now - 3600, gnutls_x509_crt_get_activation_time(ca)),
		 end)) < 0 ||
	    (r = gnutls_x509_crt_privkey_sign(k->crt, ca, by, GNUTLS_DIG_SHA256,
		 0)) < 0)
		return (r);
	return (gnutls_x509_crt_export2(k->crt, GNUTLS_X509_FMT_DER, out));
}

/* The new key instead of the one that signed for it. */
static int
take_key(struct making *k, gnutls_privkey_t *key)
{
	gnutls_privkey_t p;
	int r = gnutls_privkey_init(&p);

	assert(k->key != NULL && *key != NULL);
	if (r < 0)
		return (r);
	r = gnutls_privkey_import_x509(p, k->key,
	    GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE);
	if (r < 0) {
		gnutls_privkey_deinit(p);
		return (r);
	}
	k->key = NULL;
	gnutls_privkey_deinit(*key);
	*key = p;
	return (0);
}

bool
holder_issue(struct holder *h, gnutls_x509_crt_t ca, gnutls_privkey_t *key,
    gnutls_datum_t *out)
{
	struct making k = { NULL, NULL, "" };
	int r = issue(*key, &k, ca, out);

	assert(h->key == NULL); /* nothing was loaded before */
	if (r >= 0)
		r = take_key(&k, key);
	making_fini(&k);
	return (r >= 0 ||
	    holder_fail(h, "making the issuing certificate: %s",
		gnutls_strerror(r)));
}
