/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client side of the key holder, see keyholder.h: one request at a time
 * under a lock.  Waiting is bounded by poll(); a holder that is late is killed,
 * so that no answer can ever be taken for that of another request.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/list.h"
#include "certs/holder_priv.h"
#include "certs/keyholder.h"
#include "certs/reap.h"

#define RESTARTS_AT_ONCE 3 /* of holders that lived less than ... */
#define RESTART_MS 1000    /* ... this; then one each such time */
#define REAP_MS 1000

struct keyholder {
	struct reap_listener children;
	_Atomic bool ended; /* some child has: to be looked at */
	/* 0: no process; written under the lock, as is epoch */
	_Atomic pid_t pid;
	_Atomic unsigned epoch;
	pthread_mutex_t lock; /* of everything below; held during a call */
	int fd;               /* -1: no process */
	uint32_t id;          /* of the last request */
	bool owed;       /* the last request's answer, which nobody wants */
	int64_t late_ms; /* when one was owed last; 0: never */
	unsigned patience_us;
	int64_t born_ms;
	unsigned short_lives;   /* in a row */
	keyholder_news_fn tell; /* NULL: nobody wants to know */
	bool died;         /* that was told, and of no other process since */
	char *key;         /* owned: what was loaded; NULL: nothing yet */
	gnutls_datum_t ca; /* owned: its certificate */
	enum keyholder_key which;
	gnutls_datum_t issuer; /* owned: of this process, not given out yet */
	unsigned char buf[HOLDER_MAX];
};

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

/* The process: started, ended. */

static bool
process_start(struct keyholder *k, struct fault *f)
{
	int pair[2];
	pid_t pid;
	bool ok;

	assert(k->pid == 0);
	reap_dead();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		fault_set(f, ERR_SYSTEM, "key holder: %s", strerror(errno));
		return (false);
	}
	ok = holder_spawn(&pid, pair[1], f);
	close(pair[1]);
	if (!ok) {
		close(pair[0]);
		return (false);
	}
	assert(pid > 0);
	k->fd = pair[0];
	k->pid = pid;
	k->born_ms = now_ms();
	return (true);
}

static void
issuer_forget(struct keyholder *k)
{
	gnutls_free(k->issuer.data);
	k->issuer = (gnutls_datum_t){ NULL, 0 };
}

/* It has no process any more. */
static void
process_gone(struct keyholder *k)
{
	assert(k->pid != 0 && k->fd >= 0);
	close(k->fd);
	k->fd = -1;
	k->pid = 0;
	k->owed = false;
	k->epoch++; /* its issuing key is lost */
	issuer_forget(k);
	k->short_lives = now_ms() - k->born_ms < RESTART_MS ? k->short_lives + 1
							    : 0;
}

/* Its socket is closed: it ends, and leaves no zombie.  How; -1: not yet. */
static int
reap(pid_t pid)
{
	struct timespec nap = { 0, 1000000 };
	int64_t end = now_ms() + REAP_MS;
	int how = -1;

	while (waitpid(pid, &how, WNOHANG) == 0)
		if (now_ms() >= end) {
			reap_later(pid);
			return (-1);
		} else
			nanosleep(&nap, NULL);
	return (how);
}

/* how: as wait(2) says, -1: unknown.  why: we have ended it; NULL: it died. */
static void
tell_death(struct keyholder *k, pid_t pid, int how, const char *why)
{
	struct keyholder_news n = { .pid = pid };

	if (k->tell == NULL)
		return;
	if (why != NULL)
		snprintf(n.text, sizeof(n.text), "%s, and was ended", why);
	else if (how != -1 && WIFSIGNALED(how))
		snprintf(n.text, sizeof(n.text), "was killed by signal %d (%s)",
		    WTERMSIG(how), strsignal(WTERMSIG(how)));
	else if (how != -1 && WIFEXITED(how))
		snprintf(n.text, sizeof(n.text), "ended with status %d",
		    WEXITSTATUS(how));
	else
		snprintf(n.text, sizeof(n.text), "died");
	k->died = true;
	k->tell(&n);
}

static void
tell_revived(struct keyholder *k)
{
	struct keyholder_news n = { .pid = k->pid,
		.up = true,
		.text = "has the key now" };

	if (k->died && k->tell != NULL)
		k->tell(&n);
	k->died = false;
}

/* It holds nothing worth an orderly end.  How it ended; -1: unknown. */
static int
process_end(struct keyholder *k)
{
	pid_t pid = k->pid;

	assert(pid >= 0);
	if (pid == 0)
		return (-1);
	/* may be denied; then it sees the socket's end */
	(void)kill(pid, SIGKILL);
	process_gone(k);
	return (reap(pid));
}

/* One request, one answer, under the lock. */

enum outcome {
	DONE,     /* the answer is in *a */
	REFUSED,  /* the holder says no; fault set */
	NOT_SENT, /* it was dead before it saw the request */
	LOST      /* it died or was killed; fault set */
};

static enum outcome
lost(struct keyholder *k, struct fault *f, const char *why)
{
	pid_t pid = k->pid;
	int how = process_end(k);

	tell_death(k, pid, how, why);
	fault_set(f, ERR_MINT, "key holder %s", why != NULL ? why : "died");
	return (LOST);
}

static enum outcome
receive(struct keyholder *k, struct holder_msg *a, int deadline_ms,
    struct fault *f)
{
	struct pollfd p = { .fd = k->fd, .events = POLLIN };
	int64_t end = now_ms() + deadline_ms, left;
	int r;

	assert(k->pid != 0 && k->fd >= 0 && deadline_ms > 0);
	do {
		left = end - now_ms();
		r = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	if (r <= 0)
		return (lost(k, f, "did not answer in time"));
	if (holder_recv(k->fd, a, k->buf) <= 0)
		return (lost(k, f, NULL));
	if (a->head.id != k->id)
		return (lost(k, f, "broke its protocol"));
	if (a->head.op == 0)
		return (DONE);
	fault_set(f, ERR_MINT, "%.*s", (int)a->field[0].size,
	    (const char *)a->field[0].data);
	return (REFUSED);
}

static bool
send_request(struct keyholder *k, struct holder_msg *q)
{
	assert(k->pid != 0 && !k->owed);
	q->head.id = ++k->id;
	q->head.n[0] = q->field[0].size;
	q->head.n[1] = q->field[1].size;
	return (holder_send(k->fd, q));
}

static enum outcome
exchange(struct keyholder *k, struct holder_msg *q, struct holder_msg *a,
    int deadline_ms, struct fault *f)
{
	pid_t pid = k->pid;

	if (!send_request(k, q)) {
		tell_death(k, pid, process_end(k), NULL);
		return (NOT_SENT);
	}
	return (receive(k, a, deadline_ms, f));
}

static struct holder_msg
request(enum holder_op op, const void *p, size_t n)
{
	return ((struct holder_msg){ .head = { .op = op },
	    .field = { { (unsigned char *)(uintptr_t)p, (unsigned)n } } });
}

/* Wait for an answer that is owed; a holder that does not give it is ended. */
static void
settle(struct keyholder *k)
{
	struct fault f = { ERR_NONE, "" };
	struct holder_msg a;

	if (!k->owed)
		return;
	assert(k->pid != 0);
	k->owed = false;
	(void)receive(k, &a, KEYHOLDER_DEADLINE_MS, &f);
}

static void
copy_out(gnutls_datum_t *out, const gnutls_datum_t *field)
{
	out->size = field->size;
	out->data = gnutls_malloc(out->size + 1);
	if (out->data == NULL)
		abort();
	memcpy(out->data, field->data, out->size);
}

static struct holder_msg
load_request(const char *key, const gnutls_datum_t *ca,
    enum keyholder_key which)
{
	struct holder_msg q = request(HOLDER_LOAD, key, strlen(key));

	q.head.which = which;
	q.field[1] = *ca;
	return (q);
}

/* A process with the key loaded, if one was. */
static bool
revive(struct keyholder *k, struct fault *f)
{
	struct holder_msg q, a;

	if (k->pid != 0)
		return (true);
	if (k->short_lives >= RESTARTS_AT_ONCE &&
	    now_ms() - k->born_ms < RESTART_MS) {
		fault_set(f, ERR_MINT, "key holder keeps dying");
		return (false);
	}
	assert(!k->owed);
	if (!process_start(k, f))
		return (false);
	if (k->key == NULL)
		return (true);
	q = load_request(k->key, &k->ca, k->which);
	switch (exchange(k, &q, &a, KEYHOLDER_LOAD_MS, f)) {
	case DONE:
		assert(k->issuer.data == NULL);
		copy_out(&k->issuer, &a.field[0]);
		tell_revived(k);
		return (true);
	case REFUSED:
		(void)process_end(k);
		return (false);
	case NOT_SENT:
		fault_set(f, ERR_MINT, "key holder died");
		return (false);
	case LOST:
		break;
	}
	return (false);
}

/*
 * The whole call.  epoch: the one it must be, 0: any.  out: a copy of the
 * answer's field; NULL: none wanted.
 */
static bool
call_locked(struct keyholder *k, struct holder_msg *q, unsigned *epoch,
    int deadline_ms, gnutls_datum_t *out, struct fault *f)
{
	enum outcome o = NOT_SENT;
	struct holder_msg a;
	unsigned tries;

	settle(k);
	for (tries = 0; o == NOT_SENT && tries < 2; tries++) {
		if (!revive(k, f))
			return (false);
		if (*epoch != 0 && *epoch != k->epoch) {
			fault_set(f, ERR_MINT, "issuing key was lost");
			return (false);
		}
		o = exchange(k, q, &a, deadline_ms, f);
	}
	if (o != DONE) {
		fault_set(f, ERR_MINT, "key holder died");
		return (false);
	}
	assert(k->pid != 0 && k->epoch != 0);
	*epoch = k->epoch;
	if (out != NULL)
		copy_out(out, &a.field[0]);
	return (true);
}

/* A child has ended: is it this one?  While a call is under way, behind it. */
static void
notice(struct keyholder *k)
{
	pid_t pid;
	int how;

	while (k->ended && pthread_mutex_trylock(&k->lock) == 0) {
		k->ended = false;
		pid = k->pid;
		if (pid != 0 && waitpid(pid, &how, WNOHANG) == pid) {
			process_gone(k);
			tell_death(k, pid, how, NULL);
		}
		pthread_mutex_unlock(&k->lock);
	}
}

static void
on_child(struct reap_listener *l)
{
	struct keyholder *k = CONTAINER_OF(l, struct keyholder, children);

	k->ended = true;
	notice(k);
}

static void
unlock(struct keyholder *k)
{
	pthread_mutex_unlock(&k->lock);
	notice(k);
}

static bool
call(struct keyholder *k, struct holder_msg *q, unsigned *epoch,
    int deadline_ms, gnutls_datum_t *out, struct fault *f)
{
	bool ok;

	pthread_mutex_lock(&k->lock);
	ok = call_locked(k, q, epoch, deadline_ms, out, f);
	unlock(k);
	return (ok);
}

struct keyholder *
keyholder_start(struct fault *f)
{
	struct keyholder *k = calloc(1, sizeof(*k));

	if (k == NULL)
		abort();
	k->fd = -1;
	k->epoch = 1;
	k->patience_us = KEYHOLDER_TRY_US;
	pthread_mutex_init(&k->lock, NULL);
	k->children.ended = on_child;
	reap_listen(&k->children);
	if (!process_start(k, f))
		keyholder_stop(&k);
	return (k);
}

void
keyholder_stop(struct keyholder **kp)
{
	struct keyholder *k = *kp;

	*kp = NULL;
	if (k == NULL)
		return;
	reap_unlisten(&k->children);
	(void)process_end(k);
	assert(k->fd == -1 && k->issuer.data == NULL);
	pthread_mutex_destroy(&k->lock);
	if (k->key != NULL)
		gnutls_memset(k->key, 0, strlen(k->key));
	free(k->key);
	gnutls_free(k->ca.data);
	free(k);
}

void
keyholder_tell(struct keyholder *k, keyholder_news_fn tell)
{
	pthread_mutex_lock(&k->lock);
	k->tell = tell;
	unlock(k);
}

/* These two never wait for a call under way. */

pid_t
keyholder_pid(struct keyholder *k)
{
	return (k->pid);
}

int
keyholder_fd(struct keyholder *k)
{
	return (k->fd);
}

unsigned
keyholder_epoch(struct keyholder *k)
{
	return (k->epoch);
}

bool
keyholder_load(struct keyholder *k, const char *key, const gnutls_datum_t *ca,
    enum keyholder_key which, struct fault *f)
{
	struct holder_msg q = load_request(key, ca, which);
	unsigned epoch = 0;
	bool ok;

	pthread_mutex_lock(&k->lock);
	assert(k->key == NULL && k->issuer.data == NULL);
	ok = call_locked(k, &q, &epoch, KEYHOLDER_LOAD_MS, &k->issuer, f);
	if (ok) {
		if ((k->key = strdup(key)) == NULL)
			abort();
		copy_out(&k->ca, ca);
		k->which = which;
	}
	unlock(k);
	return (ok);
}

bool
keyholder_create(struct keyholder *k, const char *cert, const char *key,
    struct fault *f)
{
	struct holder_msg q = request(HOLDER_CREATE, cert, strlen(cert));
	unsigned epoch = 0;

	q.field[1] = (gnutls_datum_t){ (unsigned char *)(uintptr_t)key,
		(unsigned)strlen(key) };
	return (call(k, &q, &epoch, KEYHOLDER_LOAD_MS, NULL, f));
}

static struct holder_msg
leaf_request(const struct tbs_leaf *leaf, const gnutls_datum_t *tbs)
{
	struct holder_msg q = request(HOLDER_LEAF, leaf, sizeof(*leaf));

	q.field[1] = *tbs;
	return (q);
}

bool
keyholder_sign(struct keyholder *k, unsigned epoch, const struct tbs_leaf *leaf,
    const gnutls_datum_t *tbs, gnutls_datum_t *sig, struct fault *f)
{
	struct holder_msg q = leaf_request(leaf, tbs);

	return (call(k, &q, &epoch, KEYHOLDER_DEADLINE_MS, sig, f));
}

/* It answers at once, and with a signature; else the answer is owed. */
static bool
try_locked(struct keyholder *k, struct holder_msg *q, gnutls_datum_t *sig)
{
	const struct timespec patience = { k->patience_us / 1000000,
		k->patience_us % 1000000 * 1000 };
	struct pollfd p = { .fd = k->fd, .events = POLLIN };
	struct holder_msg a;

	assert(k->pid != 0 && k->fd >= 0);
	if (!send_request(k, q))
		return (false); /* the next call finds out */
	if (ppoll(&p, 1, &patience, NULL) != 1) {
		k->owed = true;
		k->late_ms = now_ms();
		return (false);
	}
	if (holder_recv(k->fd, &a, k->buf) <= 0 || a.head.id != k->id ||
	    a.head.op != 0)
		return (false);
	copy_out(sig, &a.field[0]);
	return (true);
}

bool
keyholder_try_sign(struct keyholder *k, unsigned epoch,
    const struct tbs_leaf *leaf, const gnutls_datum_t *tbs, gnutls_datum_t *sig)
{
	struct holder_msg q = leaf_request(leaf, tbs);
	bool ok;

	if (pthread_mutex_trylock(&k->lock) != 0)
		return (false);
	ok = k->pid != 0 && !k->owed && (epoch == 0 || epoch == k->epoch) &&
	    (k->late_ms == 0 || now_ms() - k->late_ms >= KEYHOLDER_REST_MS) &&
	    try_locked(k, &q, sig);
	unlock(k);
	return (ok);
}

void
keyholder_set_patience(struct keyholder *k, unsigned us)
{
	pthread_mutex_lock(&k->lock);
	k->patience_us = us;
	unlock(k);
}

/*
 * Another process instead of the one that there is, whose intermediate grows
 * old.  Only once it has the key: the old one signs on when that is lost.
 */
static bool
renew(struct keyholder *k, struct fault *f)
{
	pid_t pid = k->pid;
	int fd = k->fd;
	unsigned epoch = k->epoch, lives = k->short_lives;
	int64_t born_ms = k->born_ms;

	assert(k->issuer.data == NULL && !k->owed);
	if (pid == 0)
		return (revive(k, f));
	k->pid = 0;
	k->short_lives = 0;
	if (revive(k, f)) {
		k->epoch = epoch + 1;
		(void)kill(pid, SIGKILL);
		close(fd);
		(void)reap(pid);
		return (true);
	}
	k->fd = fd;
	k->pid = pid;
	k->epoch = epoch;
	k->short_lives = lives;
	k->born_ms = born_ms;
	return (false);
}

bool
keyholder_issuer(struct keyholder *k, gnutls_datum_t *issuer, unsigned *epoch,
    struct fault *f)
{
	bool ok;

	pthread_mutex_lock(&k->lock);
	settle(k);
	ok = k->issuer.data != NULL || renew(k, f);
	if (ok) {
		assert(k->pid != 0 && k->epoch != 0);
		*issuer = k->issuer;
		k->issuer = (gnutls_datum_t){ NULL, 0 };
		*epoch = k->epoch;
	}
	unlock(k);
	return (ok);
}
