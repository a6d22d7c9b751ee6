/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key holder process, see keyholder.h.  One thread, no input but
 * descriptor 3, no output but its answers (and stderr for what the start of
 * a process has to say).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/spawn.h"
#include "certs/ca_priv.h"
#include "certs/holder_priv.h"
#include "certs/keyholder.h"

#define KEY_FILE_MAX 65536

void
holder_tell(struct holder *h, const struct keys_news *news)
{
	struct keys_news n = *news;
	struct holder_head head = { .op = HOLDER_NEWS, .n = { sizeof(n), 0 } };
	struct iovec iov[2] = { { &head, sizeof(head) }, { &n, sizeof(n) } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	n.untold = h->untold;
	n.leaves = h->leaves;
	n.refused = h->refused;
	h->owes = false;
	h->counted_us = holder_now_us();
	if (sendmsg(HOLDER_FD, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		h->untold = 0;
	else if (n.kind != KEYS_COUNT)
		h->untold++;
	else
		h->owes = true;
}

bool
holder_fail(struct holder *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(h->text, sizeof(h->text), fmt, ap);
	va_end(ap);
	return (false);
}

bool
holder_send(int fd, const struct holder_msg *m)
{
	struct iovec iov[3] = { { (void *)(uintptr_t)&m->head,
				    sizeof(m->head) },
		{ m->field[0].data, m->field[0].size },
		{ m->field[1].data, m->field[1].size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };
	ssize_t n;

	assert(m->head.n[0] == m->field[0].size);
	assert(m->head.n[1] == m->field[1].size);
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return (n >= 0);
}

/* Its descriptor; what is more than one is closed. */
static int
take_fd(struct msghdr *m)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(m);
	int fd = -1;

	if (h != NULL && h->cmsg_level == SOL_SOCKET &&
	    h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	return (fd);
}

int
holder_recv(int fd, struct holder_msg *m, unsigned char buf[static HOLDER_MAX],
    int *with)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec iov = { buf, HOLDER_MAX };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned char *p = buf + sizeof(m->head);
	ssize_t n;
	size_t left;

	do {
		msg.msg_control = with != NULL ? c.room : NULL;
		msg.msg_controllen = with != NULL ? sizeof(c.room) : 0;
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return ((int)n);
	if (with != NULL)
		*with = take_fd(&msg);
	errno = EPROTO;
	if ((size_t)n < sizeof(m->head))
		return (-1);
	memcpy(&m->head, buf, sizeof(m->head));
	left = (size_t)n - sizeof(m->head);
	if (m->head.n[0] > left || m->head.n[1] != left - m->head.n[0])
		return (-1);
	m->field[0] = (gnutls_datum_t){ p, m->head.n[0] };
	m->field[1] = (gnutls_datum_t){ p + m->head.n[0], m->head.n[1] };
	return (1);
}

/* A field as a path: no NUL inside, not empty, not too long. */
static bool
field_path(struct holder *h, const gnutls_datum_t *f, char out[static 4096])
{
	if (f->size == 0 || f->size >= 4096 ||
	    memchr(f->data, '\0', f->size) != NULL)
		return (holder_fail(h, "invalid path of a CA file"));
	memcpy(out, f->data, f->size);
	out[f->size] = '\0';
	return (true);
}

static bool
key_file_ok(struct holder *h, const char *path, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return (holder_fail(h, "%s: not a regular file", path));
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return (holder_fail(h, "%s: belongs to another user (uid %u)",
		    path, (unsigned)st->st_uid));
	if ((st->st_mode & 077) != 0)
		return (holder_fail(h,
		    "%s: private key is open to group or "
		    "others (mode %04o); chmod 600 it",
		    path, (unsigned)st->st_mode & 07777));
	if (st->st_size > KEY_FILE_MAX)
		return (holder_fail(h, "%s: too large for a key", path));
	return (true);
}

/* The file's bytes; -1: h->text is set. */
static ssize_t
key_file_read(struct holder *h, const char *path, bool *absent, char *buf)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = -1;
	struct stat st;

	*absent = fd < 0 && errno == ENOENT;
	if (fd < 0 || fstat(fd, &st) != 0)
		(void)holder_fail(h, "%s: %s", path, strerror(errno));
	else if (key_file_ok(h, path, &st) &&
	    (n = read(fd, buf, KEY_FILE_MAX)) < 0)
		(void)holder_fail(h, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return (n);
}

static bool
key_parse(struct holder *h, const char *path, char *pem, size_t n,
    gnutls_x509_privkey_t *out)
{
	gnutls_datum_t d = { (unsigned char *)pem, (unsigned)n };
	int r;

	assert(n <= KEY_FILE_MAX);
	pem[n] = '\0';
	if (strstr(pem, "ENCRYPTED") != NULL)
		return (holder_fail(h,
		    "%s: encrypted private keys are not "
		    "supported",
		    path));
	if (gnutls_x509_privkey_init(out) < 0)
		return (holder_fail(h, "out of memory"));
	r = gnutls_x509_privkey_import2(*out, &d, GNUTLS_X509_FMT_PEM, NULL,
	    GNUTLS_PKCS_PLAIN);
	if (r >= 0)
		return (true);
	gnutls_x509_privkey_deinit(*out);
	return (holder_fail(h, "%s: no usable private key (%s)", path,
	    gnutls_strerror(r)));
}

bool
holder_read_key(struct holder *h, const char *path, gnutls_x509_privkey_t *out,
    bool *absent)
{
	static char buf[KEY_FILE_MAX + 1];
	ssize_t n = key_file_read(h, path, absent, buf);
	bool ok = n >= 0 && key_parse(h, path, buf, (size_t)n, out);

	gnutls_memset(buf, 0, sizeof(buf));
	return (ok);
}

static bool
load_file(struct holder *h, const char *path, gnutls_privkey_t key)
{
	gnutls_x509_privkey_t x;
	bool absent;
	int r;

	if (!holder_read_key(h, path, &x, &absent))
		return (false);
	r = gnutls_privkey_import_x509(key, x,
	    GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE);
	if (r < 0)
		return (holder_fail(h, "%s: %s", path, gnutls_strerror(r)));
	return (true);
}

/* The URL may carry a PIN: no message repeats it. */
static bool
load_token(struct holder *h, const char *url, gnutls_privkey_t key)
{
	int r = gnutls_privkey_import_url(key, url, 0);

	h->in_token = true;
	if (r < 0)
		return (holder_fail(h, "key in a PKCS #11 token: %s",
		    gnutls_strerror(r)));
	return (true);
}

static gnutls_sign_algorithm_t
algorithm_of(gnutls_privkey_t key)
{
	return (gnutls_privkey_get_pk_algorithm(key, NULL) == GNUTLS_PK_RSA
		? GNUTLS_SIGN_RSA_SHA256
		: GNUTLS_SIGN_ECDSA_SHA256);
}

/* Sign something random, and check it with the certificate. */
static bool
key_fits(struct holder *h, gnutls_privkey_t key, gnutls_x509_crt_t ca)
{
	unsigned char some[32];
	gnutls_datum_t data = { some, sizeof(some) }, sig = { NULL, 0 };
	gnutls_pubkey_t pub = NULL;
	int r;

	if ((r = gnutls_rnd(GNUTLS_RND_NONCE, some, sizeof(some))) >= 0 &&
	    (r = gnutls_privkey_sign_data2(key, algorithm_of(key), 0, &data,
		 &sig)) >= 0 &&
	    (r = gnutls_pubkey_init(&pub)) >= 0 &&
	    (r = gnutls_pubkey_import_x509(pub, ca, 0)) >= 0)
		r = gnutls_pubkey_verify_data2(pub, algorithm_of(key), 0, &data,
		    &sig);
	if (pub != NULL)
		gnutls_pubkey_deinit(pub);
	gnutls_free(sig.data);
	return (r >= 0 ||
	    holder_fail(h,
		"the private key does not belong to "
		"this CA (%s)",
		gnutls_strerror(r)));
}

static bool
read_key(struct holder *h, const char *path, gnutls_privkey_t key)
{
	return (strncmp(path, "pkcs11:", 7) == 0 ? load_token(h, path, key)
						 : load_file(h, path, key));
}

/* What signs from now on; h->made is its certificate if it was made here. */
static bool
become_issuer(struct holder *h, uint32_t which, gnutls_x509_crt_t ca,
    gnutls_privkey_t *key)
{
	if (which > KEYHOLDER_ISSUER)
		return (holder_fail(h, "unknown kind of issuer"));
	if (!key_fits(h, *key, ca))
		return (false);
	if (which == KEYHOLDER_ISSUER &&
	    (!holder_issue(h, ca, key, &h->made) ||
		gnutls_x509_crt_import(ca, &h->made, GNUTLS_X509_FMT_DER) < 0))
		return (false);
	if (tbs_issuer_init(&h->issuer, ca) < 0)
		return (holder_fail(h, "issuing certificate is malformed"));
	return (true);
}

static void
copy(gnutls_datum_t *to, const gnutls_datum_t *from)
{
	to->size = from->size;
	to->data = gnutls_malloc(from->size + 1);
	if (to->data == NULL)
		abort();
	memcpy(to->data, from->data, from->size);
}

static bool
load(struct holder *h, const char *path, const gnutls_datum_t *der,
    uint32_t which)
{
	gnutls_privkey_t key = NULL;
	gnutls_x509_crt_t ca = NULL;
	bool ok;

	assert(h->key == NULL); /* it is loaded once */
	if (gnutls_privkey_init(&key) < 0 || gnutls_x509_crt_init(&ca) < 0)
		abort();
	ok = read_key(h, path, key);
	if (ok && gnutls_x509_crt_import(ca, der, GNUTLS_X509_FMT_DER) < 0)
		ok = holder_fail(h, "CA certificate is malformed");
	ok = ok && become_issuer(h, which, ca, &key);
	gnutls_x509_crt_deinit(ca);
	if (!ok) {
		gnutls_privkey_deinit(key);
		gnutls_free(h->made.data);
		h->made = (gnutls_datum_t){ NULL, 0 };
		return (false);
	}
	assert(h->issuer.name.size > 0);
	copy(&h->ca, der);
	if (!holder_enter(h)) {
		gnutls_privkey_deinit(key);
		return (false);
	}
	h->key = key;
	return (true);
}

/* What is not ours to free. */
static void
lend(gnutls_datum_t *to, const gnutls_datum_t *from)
{
	*to = (gnutls_datum_t){ NULL, 0 };
	if (from->size > 0)
		copy(to, from);
}

static void
tell_box(struct holder *h, struct holder_msg *a)
{
	lend(&a->field[1],
	    &(gnutls_datum_t){ (unsigned char *)&h->report,
		sizeof(h->report) });
}

static bool
load_op(struct holder *h, const struct holder_msg *m, struct holder_msg *a)
{
	char path[4096];
	bool ok;

	if (!field_path(h, &m->field[0], path))
		return (false);
	ok = load(h, path, &m->field[1], m->head.which);
	gnutls_memset(path, 0, sizeof(path));
	if (ok) {
		lend(&a->field[0], &h->made);
		tell_box(h, a);
	}
	return (ok);
}

/* The CA's files: made if they shall and are not there, read, checked. */
static bool
open_files(struct holder *h, const char *cert, const char *key, bool make,
    struct holder_msg *a)
{
	struct fault f = { ERR_NONE, "" };
	enum keyholder_key which;
	bool made = false;

	if (!ca_files_ok(cert, key, &f))
		return (holder_fail(h, "%s", f.detail));
	if (make && strncmp(key, "pkcs11:", 7) != 0 &&
	    access(cert, F_OK) != 0 && errno == ENOENT) {
		made = true;
		if (!holder_create(h, cert, key))
			return (false);
	}
	if (!ca_read_file(cert, &a->field[0], &which, &f))
		return (holder_fail(h, "%s", f.detail));
	a->head.which = which | (made ? HOLDER_MADE : 0);
	return (load(h, key, &a->field[0], which));
}

static bool
open_op(struct holder *h, const struct holder_msg *m, struct holder_msg *a)
{
	char cert[4096], key[4096];
	bool ok;

	if (!field_path(h, &m->field[0], cert) ||
	    !field_path(h, &m->field[1], key))
		return (false);
	ok = open_files(h, cert, key, m->head.which == HOLDER_MAKE, a);
	gnutls_memset(key, 0, sizeof(key));
	if (ok)
		tell_box(h, a);
	return (ok);
}

static bool
who_op(struct holder *h, struct holder_msg *a)
{
	lend(&a->field[0], &h->ca);
	lend(&a->field[1], &h->made);
	return (true);
}

/*
 * A key is loaded once, and then nothing but leaves is signed: neither a
 * digest, of which nobody can say what it is of, nor a CA certificate.
 */
static bool
serve(struct holder *h, const struct holder_msg *m, struct holder_msg *a)
{
	if (h->key != NULL)
		switch (m->head.op) {
		case HOLDER_LEAF:
			return (holder_leaf(h, m, &a->field[0]));
		case HOLDER_WHO:
			return (who_op(h, a));
		default:
			return (holder_fail(h, "only leaves are signed"));
		}
	switch (m->head.op) {
	case HOLDER_OPEN:
		return (open_op(h, m, a));
	case HOLDER_LOAD:
		return (load_op(h, m, a));
	default:
		return (holder_fail(h, "no key is loaded"));
	}
}

/* False: it could not be sent; a client that does not read is not waited for. */
static bool
answer(struct holder *h, int fd, const struct holder_msg *m)
{
	struct holder_msg a = { .head = { .id = m->head.id } };
	bool sent;

	if (!serve(h, m, &a)) {
		assert(h->text[0] != '\0');
		gnutls_free(a.field[0].data);
		a.head = (struct holder_head){ .op = 1, .id = m->head.id };
		lend(&a.field[0],
		    &(gnutls_datum_t){ (unsigned char *)h->text,
			(unsigned)strlen(h->text) });
	}
	a.head.n[0] = a.field[0].size;
	a.head.n[1] = a.field[1].size;
	sent = holder_send(fd, &a);
	gnutls_free(a.field[0].data);
	gnutls_free(a.field[1].data);
	return (sent);
}

/* Clients. */

static void
client_gone(struct holder *h, unsigned i)
{
	(void)close(h->client[i]);
	h->client[i] = h->client[--h->n_clients];
}

/* A message of a client: nothing but its own socket can break by it. */
static void
client_turn(struct holder *h, unsigned i)
{
	static unsigned char buf[HOLDER_MAX];
	struct holder_msg m;

	int r = holder_recv(h->client[i], &m, buf, NULL);

	if (r > 0 && (m.head.op == HOLDER_LEAF || m.head.op == HOLDER_WHO)) {
		if (!answer(h, h->client[i], &m))
			client_gone(h, i);
		return;
	}
	if (r > 0 || (r < 0 && errno == EPROTO)) {
		(void)holder_fail(h, "not a request of a client");
		(void)holder_refused(h);
	}
	client_gone(h, i);
}

/* Of the owner; 1: go on, 0: he is gone, -1 with errno. */
static int
owner_turn(struct holder *h)
{
	static unsigned char buf[HOLDER_MAX];
	struct holder_msg m;
	int with = -1, r = holder_recv(HOLDER_FD, &m, buf, &with);

	if (r > 0 && with >= 0 && m.head.op == HOLDER_CLIENT) {
		if (h->n_clients == HOLDER_CLIENTS)
			client_gone(h, 0);
		(void)fcntl(with, F_SETFL, O_NONBLOCK);
		h->client[h->n_clients++] = with;
		return (1);
	}
	if (with >= 0)
		(void)close(with);
	if (r > 0 && m.head.op == HOLDER_LAST)
		h->last = true;
	else if (r > 0 && m.head.op == HOLDER_TELL) {
		h->tells = true;
		h->tells_leaves = m.head.which == 1;
	} else if (r > 0 && !answer(h, HOLDER_FD, &m))
		r = 0;
	return (r);
}

static int
turn(struct holder *h)
{
	struct pollfd p[1 + HOLDER_CLIENTS] = { { HOLDER_FD, POLLIN, 0 } };
	unsigned i, n = h->n_clients;
	int r;

	for (i = 0; i < n; i++)
		p[1 + i] = (struct pollfd){ h->client[i], POLLIN, 0 };
	r = poll(p, 1 + n, h->owes ? HOLDER_COUNT_MS : -1);
	if (r < 0)
		return (errno == EINTR ? 1 : -1);
	if (r == 0)
		holder_count(h);
	/* What its owner said before a client asked holds for that already. */
	if (p[0].revents != 0) {
		if ((r = owner_turn(h)) <= 0)
			return (r);
	} else
		while (
		    n-- > 0) /* the last first: one that goes moves no other */
			if (p[1 + n].revents != 0)
				client_turn(h, n);
	return (h->last && h->n_clients == 0 ? 0 : 1);
}

static void
confine(void)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM,
		SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU,
		SIGXFSZ, SIGPOLL, SIGPWR, SIGSTKFLT };
	sigset_t set;
	unsigned i;
	int s;

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_NAME, KEYHOLDER_ROLE, 0, 0, 0);
	umask(077);
	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	for (s = SIGRTMIN; s <= SIGRTMAX; s++)
		signal(s, SIG_IGN);
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

int
keyholder_main(int argc, char **argv)
{
	static struct holder h;
	struct fault f = { ERR_NONE, "" };
	int r;

	spawn_born(argc, argv);
	confine();
	if (!holder_limits(&f)) {
		fprintf(stderr, "%s: %s\n", argv[0], f.detail);
		return (1);
	}
	while ((r = turn(&h)) > 0)
		;
	if (r < 0 && errno != ECONNRESET)
		fprintf(stderr, "%s: %s\n", argv[0],
		    errno == EBADF || errno == ENOTSOCK
			? "only assayd starts this"
			: strerror(errno));
	if (h.key != NULL)
		gnutls_privkey_deinit(h.key);
	_exit(r < 0); /* nothing that runs at exit looks at this memory */
}
