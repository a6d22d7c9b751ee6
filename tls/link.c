/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transports, see link.h. */
#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/list.h"
#include "base/str.h"
#include "tls/link.h"
#include "tls/session.h"

#define RAW_BYTES 65536		/* one recv(2) */
#define AHEAD_MAX 16384		/* read for a peer nobody reads from */
#define OUT_LIMIT 131072	/* output kept for a peer that does not read */
#define OUT_FLUSH 65536		/* one send(2) */
#define RECORD_MAX 16384	/* RFC 8446 5.1 */
#define STAGE_MAX 8192		/* small writes share a record up to here */
#define IOV_MAX_SEND 64
#define LINGER_MS 2000		/* so that an answer is not lost to a reset */
#define DRAIN_MS 30000		/* for the last output of a slow peer */
#define LINGER_BYTES (1 << 20)
#define WARNINGS_MAX 8		/* warning alerts in one call: a flood is an error */

enum ended { OPEN, FIN, RESET };

struct link {
	struct loop *loop;
	struct task *owner;	/* borrowed; NULL: lingering */
	struct watch *watch;
	gnutls_session_t tls;	/* owned; NULL: plain */
	int fd;
	unsigned events;	/* what the watch is set to */
	bool dry;		/* the kernel had nothing when last asked */
	bool read_waits;	/* the owner waits for bytes */
	bool room_waits;	/* the owner waits for room */
	bool out_blocked;	/* the kernel takes no more for now */
	bool out_failed;
	bool shut;		/* our end is said */
	bool fin_sent;
	bool ticket_due;	/* before the next record */
	enum ended in_end;	/* how the peer's bytes ended, in the kernel */
	enum pull tls_end;	/* how they ended in TLS; PULL_MORE: not yet */
	int alert;
	struct chq pend;	/* read and not yet taken: bytes for TLS or owner */
	struct chq out;		/* plain: to send */
	struct buf stage;	/* TLS: plaintext of a record to be sealed */
	struct buf sealed;	/* TLS: records to send from sealed_at */
	size_t sealed_at;
	uint64_t bytes_in, bytes_out;
	struct task flush;
	struct timer linger;
	size_t linger_bytes;
	char error[96];
};

/* Raw bytes of the link that is being read right now. */
static _Thread_local unsigned char *raw;
static _Thread_local size_t raw_at, raw_n;

static void link_free(struct link *l);
static size_t link_pending(const struct link *l);

/* One output buffer of a busy moment is handed from link to link. */
static _Thread_local struct buf spare_sealed, spare_stage;

/* Watching. */

static void
link_arm(struct link *l)
{
	unsigned want = 0;

	/* A fast uploader is left to the timer: closing now would reset our answer away. */
	if (l->in_end == OPEN && chq_len(&l->pend) < AHEAD_MAX &&
	    l->linger_bytes < LINGER_BYTES)
		want |= WATCH_READ;
	if (l->out_blocked)
		want |= WATCH_WRITE;
	watch_set(l->watch, want);
}

static void
link_set_error(struct link *l, const char *what, const char *why)
{
	if (l->error[0] == '\0')
		snprintf(l->error, sizeof(l->error), "%s: %s", what, why);
}

static void
link_in_ended(struct link *l, ssize_t r)
{
	if (r == 0)
		l->in_end = FIN;
	else {
		l->in_end = RESET;
		link_set_error(l, "receive", strerror(errno));
	}
}

static ssize_t
recv_again(int fd, void *p, size_t n)
{
	ssize_t r;

	do
		r = recv(fd, p, n, 0);
	while (r < 0 && errno == EINTR);
	return (r);
}

/*
 * Bytes received into a new chunk of CHUNK_BYTES, whose reference is taken.
 * A few do not hold all of it: a peer that sends them one by one would have
 * that much memory for each.
 */
static void
add_received(struct chq *out, struct chunk *c, size_t n)
{
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
	ssize_t r = recv_again(l->fd, c->data, c->cap);

	if (r > 0)
		l->bytes_in += (uint64_t)r;
	else if (r == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
		link_in_ended(l, r);
		task_wake(l->owner);
	}
	add_received(&l->pend, c, r > 0 ? (size_t)r : 0);
	link_arm(l);
}

static void
link_linger_read(struct link *l)
{
	unsigned char dump[16384];
	ssize_t r = recv_again(l->fd, dump, sizeof(dump));

	if (r == 0 && link_pending(l) > 0)
		l->in_end = FIN;	/* it may still take what we have */
	else if (r == 0 || (r < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) {
		link_free(l);
		return;
	} else if (r > 0)
		l->linger_bytes += (size_t)r;
	link_arm(l);
}

static void
on_ready(void *arg, unsigned events)
{
	struct link *l = arg;

	if ((events & WATCH_WRITE) != 0) {
		l->out_blocked = false;
		loop_at_end(&l->flush);
		link_arm(l);
	}
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
	} else if (!l->owner->queued)
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

	if (l == NULL)
		abort();
	l->loop = loop;
	l->fd = fd;
	l->owner = owner;
	l->tls_end = PULL_MORE;
	l->alert = -1;
	l->watch = watch_new(loop, fd, on_ready, l);
	task_init(&l->flush, loop, on_flush);
	timer_init(&l->linger, loop, on_linger);
	return (l);
}

void
link_set_owner(struct link *l, struct task *owner)
{
	l->owner = owner;
}

void
link_behind(struct link *l)
{
	watch_behind(l->watch);
}

int
link_fd(const struct link *l)
{
	return (l->fd);
}

static void
link_free_now(void *p)
{
	free(p);
}

static void
link_free(struct link *l)
{
	task_fini(&l->flush);
	timer_stop(&l->linger);
	watch_free(&l->watch);
	if (l->fd >= 0)
		close(l->fd);
	if (l->tls != NULL)
		gnutls_deinit(l->tls);
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
	return (l->in_end == FIN ? PULL_END : PULL_FAIL);
}

static enum pull
link_wait(struct link *l)
{
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

		add_received(out, c[i], k);
		part -= k;
	}
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
		chq_move(out, &l->pend, want < chq_len(&l->pend) ? want :
		    chq_len(&l->pend));
		return (PULL_MORE);
	}
	if (l->in_end != OPEN)
		return (plain_end(l));
	if (l->dry)
		return (link_wait(l));
	return (plain_recv(l, out, want));
}

/* TLS: the callbacks of GnuTLS. */

static void
buf_borrow(struct buf *b, struct buf *spare)
{
	if (b->p == NULL) {
		*b = *spare;
		*spare = (struct buf){ 0 };
		if (b->p == NULL)
			(void)buf_room(b, OUT_FLUSH + RECORD_MAX + STAGE_MAX);
	}
}

static void
buf_give_back(struct buf *b, struct buf *spare)
{
	if (spare->p == NULL && b->cap <= 2 * OUT_LIMIT) {
		*spare = *b;
		*b = (struct buf){ 0 };
	} else
		buf_fini(b);
}

static ssize_t
tls_pull_pend(struct link *l, void *p, size_t n)
{
	if (n > chq_len(&l->pend))
		n = chq_len(&l->pend);
	chq_read(&l->pend, 0, p, n);
	chq_drop(&l->pend, n);
	return ((ssize_t)n);
}

static ssize_t
tls_pull(gnutls_transport_ptr_t ptr, void *p, size_t n)
{
	struct link *l = ptr;
	ssize_t r;

	if (chq_len(&l->pend) > 0)
		return (tls_pull_pend(l, p, n));
	if (raw_at == raw_n) {
		if (l->in_end == FIN)
			return (0);
		if (l->in_end == RESET || l->dry) {
			gnutls_transport_set_errno(l->tls,
			    l->in_end == RESET ? ECONNRESET : EAGAIN);
			return (-1);
		}
		r = recv_again(l->fd, raw, RAW_BYTES);
		if (r > 0)
			l->dry = r < RAW_BYTES;
		else if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			l->dry = true;
		else
			link_in_ended(l, r);
		if (r <= 0) {
			gnutls_transport_set_errno(l->tls, errno);
			return (r);
		}
		l->bytes_in += (uint64_t)r;
		raw_at = 0;
		raw_n = (size_t)r;
	}
	if (n > raw_n - raw_at)
		n = raw_n - raw_at;
	memcpy(p, raw + raw_at, n);
	raw_at += n;
	return ((ssize_t)n);
}

/* It never refuses: the output is bounded by link_room, not here. */
static ssize_t
tls_push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int count)
{
	struct link *l = ptr;
	ssize_t n = 0;
	int i;

	buf_borrow(&l->sealed, &spare_sealed);
	for (i = 0; i < count; i++) {
		buf_add(&l->sealed, iov[i].iov_base, iov[i].iov_len);
		n += (ssize_t)iov[i].iov_len;
	}
	return (n);
}

static int
tls_pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms)
{
	(void)ptr;
	(void)ms;
	return (1);		/* tls_pull says EAGAIN itself */
}

void
link_start_tls(struct link *l, gnutls_session_t session)
{
	assert(l->tls == NULL && chq_len(&l->out) == 0);
	l->tls = session;
	gnutls_transport_set_ptr(session, l);
	gnutls_transport_set_pull_function(session, tls_pull);
	gnutls_transport_set_pull_timeout_function(session, tls_pull_timeout);
	gnutls_transport_set_vec_push_function(session, tls_push);
	gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT);
}

gnutls_session_t
link_tls(const struct link *l)
{
	return (l->tls);
}

/* The scratch buffer is ours while inside the library. */
static void
raw_enter(void)
{
	if (raw == NULL && (raw = malloc(RAW_BYTES)) == NULL)
		abort();
	raw_at = raw_n = 0;
}

static void
raw_leave(struct link *l)
{
	if (raw_at < raw_n) {
		assert(chq_len(&l->pend) == 0);
		chq_copy(&l->pend, raw + raw_at, raw_n - raw_at);
	}
	raw_at = raw_n = 0;
}

static void
tls_note_alert(struct link *l, int r)
{
	const char *name;

	if (r != GNUTLS_E_FATAL_ALERT_RECEIVED) {
		link_set_error(l, "TLS", gnutls_strerror(r));
		return;
	}
	l->alert = (int)gnutls_alert_get(l->tls);
	name = gnutls_alert_get_name((gnutls_alert_description_t)l->alert);
	link_set_error(l, "TLS alert from the peer", name != NULL ? name : "?");
}

/* Could the library get further without waiting? */
static bool
tls_has_input(const struct link *l)
{
	return (chq_len(&l->pend) > 0 || raw_at < raw_n || !l->dry ||
	    l->in_end != OPEN);	/* an end that it has not heard of yet */
}

/* What an error of the library means; PULL_MORE: try again. */
static enum pull
tls_outcome(struct link *l, int r, unsigned *warnings)
{
	if (r == GNUTLS_E_INTERRUPTED)
		return (PULL_MORE);
	if (r == GNUTLS_E_AGAIN)
		return (tls_has_input(l) ? PULL_MORE : PULL_WAIT);
	if (r == GNUTLS_E_WARNING_ALERT_RECEIVED && ++*warnings < WARNINGS_MAX)
		return (PULL_MORE);
	tls_note_alert(l, r);
	if (l->in_end == FIN && chq_len(&l->pend) == 0 && raw_at == raw_n &&
	    (r == GNUTLS_E_PREMATURE_TERMINATION ||
	    r == GNUTLS_E_UNEXPECTED_PACKET_LENGTH))	/* inside a record */
		return (PULL_CUT);
	return (PULL_FAIL);
}

enum pull
link_handshake(struct link *l, enum err cause, struct fault *f)
{
	unsigned warnings = 0;
	enum pull p = PULL_MORE;
	int r;

	raw_enter();
	do {
		r = gnutls_handshake(l->tls);
		if (r == GNUTLS_E_SUCCESS)
			p = PULL_END;
		else
			p = tls_outcome(l, r, &warnings);
	} while (p == PULL_MORE);
	if (p == PULL_CUT || p == PULL_FAIL) {
		if (r != GNUTLS_E_FATAL_ALERT_RECEIVED)
			(void)gnutls_alert_send_appropriate(l->tls, r);
		l->tls_end = p = PULL_FAIL;
		fault_set(f, cause, "%s", l->error);
	}
	raw_leave(l);
	if (l->sealed.n > 0)
		loop_at_end(&l->flush);
	return (p == PULL_WAIT ? link_wait(l) : p);
}

void
link_ticket_due(struct link *l)
{
	l->ticket_due = true;
}

/* Fill chunks with decrypted bytes up to want. */
static enum pull
tls_fill(struct link *l, struct chq *out, size_t want)
{
	struct chunk *c = chunk_new();
	unsigned warnings = 0;
	enum pull p = PULL_MORE;
	size_t got = 0, n = 0, room;
	ssize_t r;

	while (got < want && p == PULL_MORE) {
		room = c->cap - n < want - got ? c->cap - n : want - got;
		r = gnutls_record_recv(l->tls, c->data + n, room);
		if (r > 0) {
			n += (size_t)r;
			got += (size_t)r;
		} else
			p = r == 0 ? PULL_END : tls_outcome(l, (int)r,
			    &warnings);
		if (n == c->cap) {
			add_received(out, c, n);
			c = chunk_new();
			n = 0;
		}
	}
	add_received(out, c, n);
	if (pull_is_last(p))
		l->tls_end = p;
	return (got > 0 ? PULL_MORE : p);
}

static enum pull
tls_read(struct link *l, struct chq *out, size_t want)
{
	enum pull p;

	if (l->tls_end != PULL_MORE)
		return (l->tls_end);
	if (l->dry && chq_len(&l->pend) == 0 && l->in_end == OPEN &&
	    gnutls_record_check_pending(l->tls) == 0)
		return (link_wait(l));
	raw_enter();
	p = tls_fill(l, out, want);
	raw_leave(l);
	if (l->sealed.n > 0)
		loop_at_end(&l->flush);	/* a key update was answered */
	return (p == PULL_WAIT ? link_wait(l) : p);
}

enum pull
link_read(struct link *l, struct chq *out, size_t want)
{
	l->read_waits = false;
	return (l->tls != NULL ? tls_read(l, out, want) :
	    plain_read(l, out, want));
}

void
link_unread(struct link *l, struct chq *q)
{
	chq_move(q, &l->pend, chq_len(&l->pend));
	chq_move(&l->pend, q, chq_len(q));
}

bool
link_is_waiting(const struct link *l)
{
	return (l->read_waits);
}

bool
link_peer_gone(const struct link *l)
{
	return (l->in_end != OPEN || (l->tls_end != PULL_MORE));
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

/* Writing. */

static size_t
link_pending(const struct link *l)
{
	return (chq_len(&l->out) + l->stage.n + l->sealed.n - l->sealed_at);
}

size_t
link_room(struct link *l)
{
	size_t n = link_pending(l);

	if (n < OUT_LIMIT)
		return (OUT_LIMIT - n);
	l->room_waits = true;
	return (0);
}

static void
out_fail(struct link *l, const char *what, const char *why)
{
	l->out_failed = true;
	l->out_blocked = false;
	link_set_error(l, what, why);
	chq_drop(&l->out, chq_len(&l->out));
	l->stage.n = l->sealed.n = l->sealed_at = 0;
	task_wake(l->owner);
}

static void
tls_seal(struct link *l, const void *p, size_t n)
{
	ssize_t r;
	size_t part;

	if (l->ticket_due) {
		l->ticket_due = false;
		tls_server_ticket(l->tls);
	}
	while (n > 0 && !l->out_failed) {
		part = n < RECORD_MAX ? n : RECORD_MAX;
		r = gnutls_record_send(l->tls, p, part);
		if (r < 0) {	/* our push never says "again" */
			out_fail(l, "TLS", gnutls_strerror((int)r));
			return;
		}
		p = (const char *)p + r;
		n -= (size_t)r;
	}
}

static void
tls_seal_stage(struct link *l)
{
	size_t n = l->stage.n;

	if (n > 0) {
		l->stage.n = 0;
		tls_seal(l, l->stage.p, n);
	}
}

static void
link_written(struct link *l)
{
	if (!l->out_blocked && link_pending(l) >= OUT_FLUSH)
		link_flush(l);
	else if (!l->out_blocked)
		loop_at_end(&l->flush);
}

static void
tls_write(struct link *l, const void *p, size_t n)
{
	if (l->stage.n + n > STAGE_MAX)
		tls_seal_stage(l);
	if (n > STAGE_MAX)
		tls_seal(l, p, n);
	else {
		buf_borrow(&l->stage, &spare_stage);
		buf_add(&l->stage, p, n);
	}
}

void
link_write(struct link *l, const void *p, size_t n)
{
	if (l->out_failed || n == 0)
		return;
	assert(!l->shut);
	if (l->tls != NULL)
		tls_write(l, p, n);
	else
		chq_copy(&l->out, p, n);
	link_written(l);
}

void
link_write_chq(struct link *l, struct chq *q, size_t n)
{
	const unsigned char *p;
	size_t part;

	assert(!l->shut);
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
		tls_write(l, p, part);
		chq_drop(q, part);
		n -= part;
	}
	link_written(l);
}

/* Give an idle connection's buffers back. */
static void
out_shrink(struct link *l)
{
	if (l->sealed.p != NULL && l->sealed.n == 0)
		buf_give_back(&l->sealed, &spare_sealed);
	if (l->stage.p != NULL && l->stage.n == 0)
		buf_give_back(&l->stage, &spare_stage);
}

static ssize_t
send_some(struct link *l)
{
	struct iovec iov[IOV_MAX_SEND];
	struct msghdr m = { .msg_iov = iov };
	int flags = MSG_NOSIGNAL;

	if (l->shut)
		flags |= MSG_MORE;	/* FIN goes in the same packet */
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
		chq_drop(&l->out, n);
		return;
	}
	l->sealed_at += n;
	if (l->sealed_at == l->sealed.n)
		l->sealed_at = l->sealed.n = 0;
}

static void
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
	out_shrink(l);
	link_fin(l);
	if (l->owner == NULL && l->in_end != OPEN)
		link_free(l);
	else if (l->owner == NULL)
		timer_set(&l->linger, LINGER_MS);
	else if (l->room_waits)
		task_wake(l->owner);
	l->room_waits = false;
}

void
link_flush(struct link *l)
{
	ssize_t r;

	if (l->tls != NULL)
		tls_seal_stage(l);
	while (!l->out_failed && link_pending(l) > 0) {
		r = send_some(l);
		if (r > 0)
			sent(l, (size_t)r);
		else if (r < 0 && errno == EINTR)
			continue;
		else if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			l->out_blocked = true;
			break;
		} else
			out_fail(l, "send", strerror(errno));
	}
	link_arm(l);
	if (link_pending(l) == 0)
		link_drained_now(l);
	else if (l->room_waits && link_pending(l) < OUT_LIMIT / 2) {
		l->room_waits = false;
		task_wake(l->owner);
	}
}

bool
link_drained(const struct link *l)
{
	return (link_pending(l) == 0);
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

int
link_alert(const struct link *l)
{
	return (l->alert);
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
		tls_seal_stage(l);
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

	if (l->tls_end == PULL_END && l->in_end == OPEN &&
	    recv(l->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		l->in_end = FIN;
	return (l->tls_end == PULL_END && l->in_end == FIN);
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
	l->owner = NULL;
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
		link_flush(l);		/* may end it */
	else
		link_arm(l);
	if (l->watch == NULL)
		return;
	if (l->out_failed || how == LINK_QUIT || (link_drained(l) &&
	    (l->in_end != OPEN || l->tls_end == PULL_END))) {
		link_free(l);
		return;
	}
	chq_drop(&l->pend, chq_len(&l->pend));
	l->dry = false;
	link_arm(l);
	timer_set(&l->linger, link_pending(l) > 0 ? DRAIN_MS : LINGER_MS);
}

int
link_take_fd(struct link **lp, struct chq *left)
{
	struct link *l = *lp;
	int fd = l->fd;

	assert(l->tls == NULL && chq_len(&l->out) == 0);
	chq_move(left, &l->pend, chq_len(&l->pend));
	l->fd = -1;
	watch_free(&l->watch);
	link_free(l);
	*lp = NULL;
	return (fd);
}

void
link_thread_fini(void)
{
	free(raw);
	raw = NULL;
	buf_fini(&spare_sealed);
	buf_fini(&spare_stage);
}
