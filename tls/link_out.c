/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A link's output: what is written, flushed once a turn, and counted; see link.h. */
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/str.h"
#include "tls/link_priv.h"

#define IOV_MAX_SEND 64

/* Output that waits in the kernel's place, and a link that waits for its end. */
void
link_count(struct link *l)
{
	size_t n = link_pending(l) == 0
	    ? 0
	    : chq_len(&l->out) + l->stage.cap + l->sealed.cap;

	charge_set(&l->charge, l->account,
	    n + (l->lingers ? LINK_LINGER_BYTES : 0), LINK_OUT_FREE);
}

size_t
link_pending(const struct link *l)
{
	assert(l->sealed_at <= l->sealed.n);
	return (chq_len(&l->out) + l->stage.n + l->sealed.n - l->sealed_at);
}

size_t
link_room(struct link *l)
{
	size_t n = link_pending(l);

	if (n < LINK_OUT_LIMIT &&
	    (n < LINK_OUT_FREE || account_spare(l->account, BUDGET_MEMORY) > 0))
		return (LINK_OUT_LIMIT - n);
	l->room_waits = true;
	return (0);
}

void
link_out_fail(struct link *l, const char *what, const char *why)
{
	l->out_failed = true;
	l->out_blocked = false;
	link_set_error(l, what, why);
	chq_drop(&l->out, chq_len(&l->out));
	l->stage.n = l->sealed.n = l->sealed_at = 0;
	assert(link_pending(l) == 0);
	task_wake(l->owner);
}

static void
link_written(struct link *l)
{
	if (!l->out_blocked && link_pending(l) >= LINK_OUT_FLUSH)
		link_flush(l);
	else if (!l->out_blocked)
		loop_at_end(&l->flush);
}

void
link_write(struct link *l, const void *p, size_t n)
{
	if (l->out_failed || n == 0)
		return;
	assert(!l->shut);
	if (l->tls != NULL)
		link_tls_write(l, p, n);
	else
		chq_copy(&l->out, p, n);
	link_written(l);
}

void
link_write_chq(struct link *l, struct chq *q, size_t n)
{
	const unsigned char *p;
	size_t part;

	assert(!l->shut && n <= chq_len(q));
	if (l->out_failed) {
		chq_drop(q, n);
		return;
	}
	if (l->tls == NULL)
		chq_move(&l->out, q, n);
	while (l->tls != NULL && n > 0) {
		p = chq_peek(q, &part);
		if (part > n)
			part = n;
		link_tls_write(l, p, part);
		chq_drop(q, part);
		n -= part;
	}
	link_written(l);
}

/* Nothing for the wire: a second handshake comes first. */
static bool
only_staged(const struct link *l)
{
	return (l->tls != NULL && l->sealed.n == l->sealed_at);
}

static ssize_t
send_some(struct link *l)
{
	struct iovec iov[IOV_MAX_SEND];
	struct msghdr m = { .msg_iov = iov };
	int flags = MSG_NOSIGNAL;

	assert(l->fd >= 0 && link_pending(l) > 0);
	if (l->shut)
		flags |= MSG_MORE; /* FIN goes in the same packet */
	if (l->tls != NULL)
		return (send(l->fd, l->sealed.p + l->sealed_at,
		    l->sealed.n - l->sealed_at, flags));
	m.msg_iovlen = chq_iov(&l->out, iov, IOV_MAX_SEND);
	return (sendmsg(l->fd, &m, flags));
}

static void
sent(struct link *l, size_t n)
{
	l->bytes_out += n;
	if (l->tls == NULL) {
		assert(n <= chq_len(&l->out));
		chq_drop(&l->out, n);
		return;
	}
	l->sealed_at += n;
	assert(l->sealed_at <= l->sealed.n);
	if (l->sealed_at == l->sealed.n)
		l->sealed_at = l->sealed.n = 0;
}

void
link_fin(struct link *l)
{
	if (l->shut && !l->fin_sent) {
		l->fin_sent = true;
		(void)shutdown(l->fd, SHUT_WR);
	}
}

static void
link_drained_now(struct link *l)
{
	assert(link_pending(l) == 0);
	link_tls_shrink(l);
	link_fin(l);
	if (l->owner == NULL && l->in_end != IN_OPEN)
		link_free(l);
	else if (l->owner == NULL)
		timer_set(&l->linger, LINK_LINGER_MS);
	else if (l->room_waits)
		task_wake(l->owner);
	l->room_waits = false;
}

void
link_flush(struct link *l)
{
	ssize_t r;

	if (l->tls != NULL)
		link_tls_seal_stage(l);
	while (!l->out_failed && link_pending(l) > 0 && !only_staged(l)) {
		r = send_some(l);
		if (r > 0)
			sent(l, (size_t)r);
		else if (r < 0 && errno == EINTR)
			continue;
		else if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			l->out_blocked = true;
			break;
		} else
			link_out_fail(l, "send", strerror(errno));
	}
	link_arm(l);
	link_count(l);
	if (link_pending(l) == 0)
		link_drained_now(l);
	else if (l->room_waits && link_pending(l) < LINK_OUT_LIMIT / 2) {
		l->room_waits = false;
		task_wake(l->owner);
	}
}

bool
link_drained(const struct link *l)
{
	return (link_pending(l) == 0);
}

uint64_t
link_taken(const struct link *l)
{
	int waiting = 0;

	if (ioctl(l->fd, SIOCOUTQ, &waiting) != 0 || waiting < 0 ||
	    (uint64_t)waiting > l->bytes_out)
		return (l->bytes_out);
	return (l->bytes_out - (uint64_t)waiting);
}
