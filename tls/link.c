/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transports, see link.h: the socket, plain bytes, and how it ends.  Output is
 * in link_out.c, what TLS adds in link_tls.c.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/list.h"
#include "base/str.h"
#include "tls/link_priv.h"

#define AHEAD_MAX 16384 /* read for a peer nobody reads from */
#define DRAIN_MS 30000  /* for the last output of a slow peer */
#define LINGER_BYTES (1 << 20)

/* Watching. */

void
link_arm(struct link *l)
{
	unsigned want = 0;

	/* A fast uploader is left to the timer: a reset loses our answer. */
	if (l->in_end == IN_OPEN && chq_len(&l->pend) < AHEAD_MAX &&
	    l->linger_bytes < LINGER_BYTES)
		want |= WATCH_READ;
	else if (l->in_end == IN_OPEN && l->owner != NULL && !l->left)
		want |= WATCH_END;
	if (l->out_blocked)
		want |= WATCH_WRITE;
	watch_set(l->watch, want);
}

void
link_set_error(struct link *l, const char *what, const char *why)
{
	if (l->error[0] == '\0')
		snprintf(l->error, sizeof(l->error), "%s: %s", what, why);
}

void
link_in_ended(struct link *l, ssize_t r)
{
	assert(r <= 0);
	if (r == 0)
		l->in_end = IN_FIN;
	else {
		l->in_end = IN_RESET;
		link_set_error(l, "receive", strerror(errno));
	}
}

ssize_t
link_recv(int fd, void *p, size_t n)
{
	ssize_t r;

	do
		r = recv(fd, p, n, 0);
	while (r < 0 && errno == EINTR);
	return (r);
}

void
link_add_received(struct chq *out, struct chunk *c, size_t n)
{
	assert(n <= c->cap);
	c->used = (uint32_t)n;
	if (n < CHUNK_BYTES / 4)
		chq_copy(out, c->data, n);
	else
		chq_add(out, c, c->data, n);
	chunk_unref(&c);
}

/* Bytes came while nobody reads: keep a little, notice the end. */
static void
link_read_ahead(struct link *l)
{
	struct chunk *c = chunk_new();
	ssize_t r = link_recv(l->fd, c->data, c->cap);
	unsigned had;

	assert(l->owner != NULL && !l->lingers);
	if (r > 0)
		l->bytes_in += (uint64_t)r;
	else if (r == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
		link_in_ended(l, r);
		task_wake(l->owner);
	}
	had = l->pend.count;
	link_add_received(&l->pend, c, r > 0 ? (size_t)r : 0);
	if (had > 0 && l->pend.count > had)
		chq_pack(&l->pend, had, &l->tail);
	link_arm(l);
}

static void
link_linger_read(struct link *l)
{
	unsigned char dump[16384];
	ssize_t r = link_recv(l->fd, dump, sizeof(dump));

	assert(l->owner == NULL);
	if (r == 0 && link_pending(l) > 0)
		l->in_end = IN_FIN; /* it may still take what we have */
	else if (r == 0 || (r < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) {
		link_free(l);
		return;
	} else if (r > 0)
		l->linger_bytes += (size_t)r;
	link_arm(l);
}

/* More is to be read than is read ahead, and behind that its peer has ended. */
static void
link_left(struct link *l)
{
	int e = 0;
	socklen_t n = sizeof(e);

	l->left = true;
	/* A reset counts at once; what was to be read is of no use. */
	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0 || e != 0) {
		errno = e != 0 ? e : ECONNRESET;
		link_in_ended(l, -1);
	}
	task_wake(l->owner);
	link_arm(l);
}

static void
on_ready(void *arg, unsigned events)
{
	struct link *l = arg;

	assert(l->fd >= 0 && l->watch != NULL);
	if ((events & WATCH_WRITE) != 0) {
		l->out_blocked = false;
		loop_at_end(&l->flush);
		link_arm(l);
	}
	if ((events & WATCH_END) != 0 && l->owner != NULL)
		link_left(l);
	if ((events & WATCH_READ) == 0)
		return;
	if (l->owner == NULL) {
		link_linger_read(l);
		return;
	}
	l->dry = false;
	if (l->read_waits) {
		l->read_waits = false;
		task_wake(l->owner);
	} else if (l->reshakes)
		link_tls_reshake(l);
	else if (l->owner->queue == NULL)
		link_read_ahead(l);
}

/* Making and ending. */

static void
on_flush(struct task *t)
{
	struct link *l = CONTAINER_OF(t, struct link, flush);

	link_flush(l);
}

static void
on_linger(struct timer *t)
{
	link_free(CONTAINER_OF(t, struct link, linger));
}

struct link *
link_new(struct loop *loop, int fd, struct task *owner)
{
	struct link *l = calloc(1, sizeof(*l));

	assert(fd >= 0);
	if (l == NULL)
		abort();
	l->loop = loop;
	l->fd = fd;
	l->kind = BUDGET_DESCRIPTORS;
	l->owner = owner;
	l->tls_end = PULL_MORE;
	l->watch = watch_new(loop, fd, on_ready, l);
	task_init(&l->flush, loop, on_flush);
	timer_init(&l->linger, loop, on_linger);
	return (l);
}

void
link_set_owner(struct link *l, struct task *owner)
{
	assert(!l->lingers && l->watch != NULL);
	l->owner = owner;
}

void
link_of_client(struct link *l)
{
	assert(l->account == NULL);
	l->kind = BUDGET_CLIENTS;
	watch_behind(l->watch);
}

void
link_charge_to(struct link *l, struct account *a)
{
	if (a == l->account)
		return;
	charge_set(&l->charge, NULL, 0, 0);
	account_give(l->account, l->kind, 1);
	account_unref(&l->account);
	l->account = account_ref(a);
	account_add(a, l->kind, 1);
}

static void
link_free_now(void *p)
{
	free(p);
}

void
link_free(struct link *l)
{
	task_fini(&l->flush);
	timer_stop(&l->linger);
	watch_free(&l->watch);
	if (l->fd >= 0)
		close(l->fd);
	if (l->tls != NULL)
		gnutls_deinit(l->tls);
	if (l->lingers)
		account_give(l->account, BUDGET_LINGER, 1);
	account_give(l->account, l->kind, 1);
	charge_set(&l->charge, NULL, 0, 0);
	account_unref(&l->account);
	chunk_unref(&l->tail);
	chq_fini(&l->pend);
	chq_fini(&l->out);
	buf_fini(&l->stage);
	buf_fini(&l->sealed);
	loop_defer_free(l->loop, l, link_free_now);
}

/* Plain reading. */

#define READ_CHUNKS 4

static enum pull
plain_end(const struct link *l)
{
	if (l->in_end != IN_FIN)
		return (PULL_FAIL);
	return (l->cut != NULL && *l->cut ? PULL_CUT : PULL_END);
}

enum pull
link_wait(struct link *l)
{
	assert(!l->lingers);
	l->read_waits = true;
	link_arm(l);
	return (PULL_WAIT);
}

static enum pull
plain_recv(struct link *l, struct chq *out, size_t want)
{
	struct chunk *c[READ_CHUNKS];
	struct iovec iov[READ_CHUNKS];
	unsigned n = 0, i;
	size_t part, asked = 0;
	ssize_t r;

	assert(l->tls == NULL && want > 0);
	for (; n < READ_CHUNKS && asked < want; n++) {
		c[n] = chunk_new();
		part = want - asked < CHUNK_BYTES ? want - asked : CHUNK_BYTES;
		iov[n] = (struct iovec){ c[n]->data, part };
		asked += part;
	}
	do
		r = readv(l->fd, iov, (int)n);
	while (r < 0 && errno == EINTR);
	part = r > 0 ? (size_t)r : 0;
	l->bytes_in += part;
	l->dry = r < (ssize_t)asked;
	for (i = 0; i < n; i++) {
		size_t k = part < iov[i].iov_len ? part : iov[i].iov_len;

		link_add_received(out, c[i], k);
		part -= k;
	}
	assert(part == 0);
	if (r > 0)
		return (PULL_MORE);
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return (link_wait(l));
	link_in_ended(l, r);
	link_arm(l);
	return (plain_end(l));
}

static enum pull
plain_read(struct link *l, struct chq *out, size_t want)
{
	if (chq_len(&l->pend) > 0) {
		chq_move(out, &l->pend,
		    want < chq_len(&l->pend) ? want : chq_len(&l->pend));
		return (PULL_MORE);
	}
	if (l->in_end != IN_OPEN)
		return (plain_end(l));
	if (l->dry)
		return (link_wait(l));
	return (plain_recv(l, out, want));
}

enum pull
link_read(struct link *l, struct chq *out, size_t want)
{
	assert(want > 0 && !l->lingers);
	l->read_waits = false;
	if (l->tail != NULL && chq_len(&l->pend) == 0)
		chunk_unref(&l->tail);
	return (l->tls != NULL ? link_tls_read(l, out, want)
			       : plain_read(l, out, want));
}

void
link_unread(struct link *l, struct chq *q)
{
	assert(l->tls == NULL); /* the bytes would be plaintext */
	chq_move(q, &l->pend, chq_len(&l->pend));
	chq_move(&l->pend, q, chq_len(q));
}

void
link_cut_by(struct link *l, const bool *cut)
{
	assert(!l->lingers);
	l->cut = cut;
}

bool
link_is_waiting(const struct link *l)
{
	return (l->read_waits);
}

void
link_look(struct link *l)
{
	link_arm(l);
}

bool
link_peer_gone(const struct link *l)
{
	return (l->in_end != IN_OPEN || (l->tls_end != PULL_MORE));
}

bool
link_peer_left(const struct link *l)
{
	return (l->left);
}

bool
link_is_stale(struct link *l)
{
	struct chq q = { 0 };
	enum pull p;

	l->dry = false;
	p = link_read(l, &q, 1);
	chq_fini(&q);
	return (p != PULL_WAIT);
}

bool
link_broken(const struct link *l)
{
	return (l->out_failed);
}

const char *
link_error(const struct link *l)
{
	return (l->error);
}

uint64_t
link_bytes_in(const struct link *l)
{
	return (l->bytes_in);
}

uint64_t
link_bytes_out(const struct link *l)
{
	return (l->bytes_out);
}

void
link_shutdown(struct link *l)
{
	if (l->shut)
		return;
	if (l->tls != NULL && !l->out_failed) {
		link_tls_seal_stage(l);
		(void)gnutls_bye(l->tls, GNUTLS_SHUT_WR);
	}
	l->shut = true;
	if (link_pending(l) > 0)
		loop_at_end(&l->flush);
	else
		link_fin(l);
}

/* It said close_notify; did it close as well? Then nobody hears ours. */
static bool
peer_closed(struct link *l)
{
	char byte;

	if (l->tls_end == PULL_END && l->in_end == IN_OPEN &&
	    recv(l->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		l->in_end = IN_FIN;
	return (l->tls_end == PULL_END && l->in_end == IN_FIN);
}

static void
link_reset(struct link *l)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	link_free(l);
}

void
link_close(struct link **lp, enum link_end how)
{
	struct link *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	assert(!l->lingers && l->watch != NULL);
	l->owner = NULL;
	l->cut = NULL;
	if (how == LINK_ABORT) {
		link_reset(l);
		return;
	}
	if (link_drained(l) && peer_closed(l)) {
		link_free(l);
		return;
	}
	link_shutdown(l);
	if (!l->out_blocked)
		link_flush(l); /* may end it */
	else
		link_arm(l);
	if (l->watch == NULL)
		return;
	if (l->out_failed || how == LINK_QUIT ||
	    (link_drained(l) &&
		(l->in_end != IN_OPEN || l->tls_end == PULL_END))) {
		link_free(l);
		return;
	}
	if (!account_take(l->account, BUDGET_LINGER, 1)) {
		link_free(l);
		return;
	}
	l->lingers = true;
	link_count(l);
	chq_drop(&l->pend, chq_len(&l->pend));
	l->dry = false;
	link_arm(l);
	timer_set(&l->linger, link_pending(l) > 0 ? DRAIN_MS : LINK_LINGER_MS);
}

int
link_take_fd(struct link **lp, struct chq *left, struct chq *unsent)
{
	struct link *l = *lp;
	int fd = l->fd;

	assert(l->tls == NULL && fd >= 0);
	assert(!l->shut && !l->lingers);
	chq_move(left, &l->pend, chq_len(&l->pend));
	chq_move(unsent, &l->out, chq_len(&l->out));
	l->fd = -1;
	watch_free(&l->watch);
	link_free(l);
	*lp = NULL;
	return (fd);
}

void
link_thread_fini(void)
{
	link_tls_thread_fini();
}
