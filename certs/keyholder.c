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
#include "certs/keyholder_priv.h"

#define RESTARTS_AT_ONCE 3 /* of holders that lived RESTART_MS at most */

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
	process_end(k);
	if (!keyholder_is_ours(k) && why != NULL)
		k->door.want(k->door.arg, k->door.number, why);
	fault_set(f, ERR_MINT, "key holder %s", why != NULL ? why : "died");
	return (LOST);
}

static enum outcome
receive(struct keyholder *k, struct holder_msg *a, int deadline_ms,
    struct fault *f)
{
	struct pollfd p = { .fd = k->fd, .events = POLLIN };
	int64_t end = keyholder_now_ms() + deadline_ms, left;
	int r;

	assert(k->pid != 0 && k->fd >= 0 && deadline_ms > 0);
	do {
		left = end - keyholder_now_ms();
		r = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	if (r <= 0)
		return (lost(k, f, "did not answer in time"));
	if (holder_recv(k->fd, a, k->buf, NULL) <= 0)
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
	if (!send_request(k, q)) {
		process_end(k);
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

/* What it has, of one that is loaded: the CA must be the one that it was. */
static enum outcome
ask_who(struct keyholder *k, struct fault *f)
{
	struct holder_msg q = request(HOLDER_WHO, NULL, 0), a;
	enum outcome o = exchange(k, &q, &a, KEYHOLDER_DEADLINE_MS, f);

	if (o != DONE)
		return (o);
	if (k->ca.data == NULL)
		copy_out(&k->ca, &a.field[0]);
	if (k->ca.size != a.field[0].size ||
	    memcmp(k->ca.data, a.field[0].data, k->ca.size) != 0) {
		fault_set(f, ERR_MINT, "key holder has another CA");
		return (REFUSED);
	}
	assert(k->issuer.data == NULL);
	if (a.field[1].size > 0)
		copy_out(&k->issuer, &a.field[1]);
	return (DONE);
}

/* What makes a new process one that signs. */
static enum outcome
make_it_sign(struct keyholder *k, struct fault *f)
{
	struct holder_msg q, a;
	enum outcome o;

	if (!keyholder_is_ours(k))
		return (ask_who(k, f));
	if (k->key == NULL)
		return (DONE);
	q = load_request(k->key, &k->ca, k->which);
	if ((o = exchange(k, &q, &a, KEYHOLDER_LOAD_MS, f)) == DONE) {
		assert(k->issuer.data == NULL);
		if (a.field[0].size > 0)
			copy_out(&k->issuer, &a.field[0]);
	}
	return (o);
}

/* A process with the key loaded, if one was. */
static bool
revive(struct keyholder *k, struct fault *f)
{
	if (k->pid != 0)
		return (true);
	if (keyholder_is_ours(k) && k->short_lives >= RESTARTS_AT_ONCE &&
	    keyholder_now_ms() - k->born_ms < RESTART_MS) {
		fault_set(f, ERR_MINT, "key holder keeps dying");
		return (false);
	}
	assert(!k->owed);
	if (!process_start(k, f))
		return (false);
	switch (make_it_sign(k, f)) {
	case DONE:
		return (true);
	case REFUSED:
		process_end(k);
		return (false);
	case NOT_SENT:
		fault_set(f, ERR_MINT, "key holder died");
		return (false);
	case LOST:
		break;
	}
	return (false);
}

/* Another one has come instead of the one that there is: that one is dead. */
static void
adopt(struct keyholder *k)
{
	if (k->pid != 0 && process_was_given(k))
		process_gone(k);
}

/* The whole call.  epoch: the one it must be, 0: any.  *a: the answer. */
static bool
call_locked(struct keyholder *k, struct holder_msg *q, unsigned *epoch,
    int deadline_ms, struct holder_msg *a, struct fault *f)
{
	enum outcome o = NOT_SENT;
	unsigned tries;

	settle(k);
	adopt(k);
	for (tries = 0; o == NOT_SENT && tries < 2; tries++) {
		if (!revive(k, f))
			return (false);
		if (*epoch != 0 && *epoch != k->epoch) {
			fault_set(f, ERR_MINT, "issuing key was lost");
			return (false);
		}
		o = exchange(k, q, a, deadline_ms, f);
	}
	if (o != DONE) {
		fault_set(f, ERR_MINT, "key holder died");
		return (false);
	}
	assert(k->pid != 0 && k->epoch != 0);
	*epoch = k->epoch;
	return (true);
}

static struct keyholder *
alloc(void)
{
	struct keyholder *k = calloc(1, sizeof(*k));
	pthread_condattr_t monotonic;

	if (k == NULL)
		abort();
	k->fd = -1;
	k->given = -1;
	k->epoch = 1;
	k->patience_us = KEYHOLDER_TRY_US;
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->hand, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&k->handed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return (k);
}

struct keyholder *
keyholder_start(struct fault *f)
{
	struct keyholder *k = alloc();

	if (!process_start(k, f))
		keyholder_stop(&k);
	return (k);
}

struct keyholder *
keyholder_join(const struct keyholder_door *d, struct fault *f)
{
	struct keyholder *k = alloc();
	bool ok;

	assert(d->want != NULL);
	k->door = *d;
	k->given = d->fd;
	k->given_pid = d->pid;
	process_join(k);
	pthread_mutex_lock(&k->lock);
	ok = revive(k, f);
	pthread_mutex_unlock(&k->lock);
	if (!ok)
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
	if (!keyholder_is_ours(k))
		process_leave(k);
	process_end(k);
	assert(k->fd == -1 && k->issuer.data == NULL);
	pthread_mutex_destroy(&k->lock);
	pthread_mutex_destroy(&k->hand);
	pthread_cond_destroy(&k->handed);
	if (k->key != NULL)
		gnutls_memset(k->key, 0, strlen(k->key));
	free(k->key);
	gnutls_free(k->ca.data);
	free(k);
}

unsigned
keyholder_epoch(struct keyholder *k)
{
	return (k->epoch);
}

const gnutls_datum_t *
keyholder_ca(const struct keyholder *k)
{
	assert(k->ca.data != NULL);
	return (&k->ca);
}

static bool
open_locked(struct keyholder *k, struct holder_msg *q, bool *made,
    struct fault *f)
{
	struct sandbox_report box;
	struct holder_msg a;
	unsigned epoch = 0;

	assert(k->key == NULL && k->issuer.data == NULL);
	if (!call_locked(k, q, &epoch, KEYHOLDER_LOAD_MS, &a, f))
		return (false);
	if (!holder_report_of(&a, &box)) {
		fault_set(f, ERR_MINT, "key holder broke its protocol");
		return (false);
	}
	*made = (a.head.which & HOLDER_MADE) != 0;
	k->which = (a.head.which & ~(uint32_t)HOLDER_MADE) == KEYHOLDER_ISSUER
	    ? KEYHOLDER_ISSUER
	    : KEYHOLDER_CA;
	return (ask_who(k, f) == DONE);
}

bool
keyholder_open(struct keyholder *k, const char *cert, const char *key,
    bool make, bool *made, struct fault *f)
{
	struct holder_msg q = request(HOLDER_OPEN, cert, strlen(cert));
	bool ok;

	q.head.which = make ? HOLDER_MAKE : 0;
	q.field[1] = (gnutls_datum_t){ (unsigned char *)(uintptr_t)key,
		(unsigned)strlen(key) };
	pthread_mutex_lock(&k->lock);
	ok = open_locked(k, &q, made, f);
	if (ok && (k->key = strdup(key)) == NULL)
		abort();
	pthread_mutex_unlock(&k->lock);
	return (ok);
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
	struct holder_msg q = leaf_request(leaf, tbs), a;
	bool ok;

	pthread_mutex_lock(&k->lock);
	ok = call_locked(k, &q, &epoch, KEYHOLDER_DEADLINE_MS, &a, f);
	if (ok)
		copy_out(sig, &a.field[0]);
	pthread_mutex_unlock(&k->lock);
	return (ok);
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
		k->late_ms = keyholder_now_ms();
		return (false);
	}
	if (holder_recv(k->fd, &a, k->buf, NULL) <= 0 || a.head.id != k->id ||
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
	adopt(k);
	ok = k->pid != 0 && !k->owed && (epoch == 0 || epoch == k->epoch) &&
	    (k->late_ms == 0 ||
		keyholder_now_ms() - k->late_ms >= KEYHOLDER_REST_MS) &&
	    try_locked(k, &q, sig);
	pthread_mutex_unlock(&k->lock);
	return (ok);
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
	if (!keyholder_is_ours(k))
		k->door.want(k->door.arg, k->door.number, NULL);
	k->pid = 0;
	k->short_lives = 0;
	if (revive(k, f)) {
		k->epoch = epoch + 1;
		if (keyholder_is_ours(k))
			(void)kill(pid, SIGKILL);
		close(fd);
		if (keyholder_is_ours(k))
			process_reap(pid);
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
	adopt(k);
	ok = k->issuer.data != NULL || renew(k, f);
	if (ok) {
		assert(k->pid != 0 && k->epoch != 0);
		*issuer = k->issuer;
		k->issuer = (gnutls_datum_t){ NULL, 0 };
		*epoch = k->epoch;
	}
	pthread_mutex_unlock(&k->lock);
	return (ok);
}
