/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TLS half of a transport, see link.h and link_priv.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tls/link_priv.h"
#include "tls/oddname.h"
#include "tls/session.h"

#define RAW_BYTES 65536  /* one recv(2) */
#define RECORD_MAX 16384 /* RFC 8446 5.1 */
#define STAGE_MAX 8192   /* small writes share a record up to here */
#define WARNINGS_MAX 8   /* warning alerts in one call: a flood is an error */
#define RESHAKES_MAX 2   /* second handshakes of one connection ... */
/* ... and refusals of further ones, then it ends */
#define HELLO_REQUESTS_MAX 8

/* Raw bytes of the link that is being read right now. */
static _Thread_local unsigned char *raw;
static _Thread_local size_t raw_at, raw_n;

/*
 * Output buffers are handed from link to link.  All links that have written
 * hold a stage until the turn ends, few hold records for much longer than it
 * takes to send them.
 */
#define STAGES_MAX 16
#define SEALED_MAX 4
#define SEALED_BYTES (LINK_OUT_FLUSH + RECORD_MAX + STAGE_MAX)

struct spares {
	const size_t bytes; /* of a new buffer; twice as large is kept, too */
	const unsigned max;
	unsigned n;
	struct buf v[STAGES_MAX]; /* the last one is in the CPU's cache still */
};

static _Thread_local struct spares stages = { .bytes = STAGE_MAX,
	.max = STAGES_MAX };
static _Thread_local struct spares sealed = { .bytes = SEALED_BYTES,
	.max = SEALED_MAX };

static void
buf_borrow(struct buf *b, struct spares *from)
{
	if (b->p == NULL && from->n > 0)
		*b = from->v[--from->n];
	else if (b->p == NULL)
		(void)buf_room(b, from->bytes);
	assert(b->p != NULL && b->n <= b->cap);
}

static void
buf_give_back(struct buf *b, struct spares *to)
{
	assert(b->n == 0 && to->n <= to->max);
	if (to->n < to->max && b->cap / 2 <= to->bytes + 1) {
		to->v[to->n++] = *b;
		*b = (struct buf){ 0 };
	} else
		buf_fini(b);
}

static void
spares_fini(struct spares *s)
{
	while (s->n > 0)
		buf_fini(&s->v[--s->n]);
}

/* The callbacks of GnuTLS. */

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

	assert(raw != NULL && raw_at <= raw_n); /* raw_enter() */
	if (chq_len(&l->pend) > 0)
		return (tls_pull_pend(l, p, n));
	if (raw_at == raw_n) {
		if (l->in_end == IN_FIN)
			return (0);
		if (l->in_end == IN_RESET || l->dry) {
			gnutls_transport_set_errno(l->tls,
			    l->in_end == IN_RESET ? ECONNRESET : EAGAIN);
			return (-1);
		}
		r = link_recv(l->fd, raw, RAW_BYTES);
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

	buf_borrow(&l->sealed, &sealed);
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
	return (1); /* tls_pull says EAGAIN itself */
}

/* Plain output that the kernel has not taken yet goes before all records. */
static void
keep_plain_output(struct link *l)
{
	const unsigned char *p;
	size_t n;

	if (chq_len(&l->out) == 0)
		return;
	buf_borrow(&l->sealed, &sealed);
	while (chq_len(&l->out) > 0) {
		p = chq_peek(&l->out, &n);
		buf_add(&l->sealed, p, n);
		chq_drop(&l->out, n);
	}
}

void
link_start_tls(struct link *l, gnutls_session_t session)
{
	assert(l->tls == NULL && session != NULL);
	assert(!l->shut && !l->lingers && l->stage.n == 0);
	keep_plain_output(l);
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
	assert(raw_at == raw_n); /* never inside another link's call */
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
	name = gnutls_alert_get_name(gnutls_alert_get(l->tls));
	link_set_error(l, "TLS alert from the peer", name != NULL ? name : "?");
}

/* Could the library get further without waiting? */
static bool
tls_has_input(const struct link *l)
{
	return (chq_len(&l->pend) > 0 || raw_at < raw_n || !l->dry ||
	    l->in_end != IN_OPEN); /* an end that it has not heard of yet */
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
	if (l->in_end == IN_FIN && chq_len(&l->pend) == 0 && raw_at == raw_n &&
	    (r == GNUTLS_E_PREMATURE_TERMINATION ||
		r == GNUTLS_E_UNEXPECTED_PACKET_LENGTH)) /* inside a record */
		return (PULL_CUT);
	return (PULL_FAIL);
}

enum pull
link_handshake(struct link *l, enum err cause, struct fault *f)
{
	unsigned warnings = 0;
	enum pull p = PULL_MORE;
	int r;

	assert(l->tls != NULL && !l->reshakes && !l->lingers);
	raw_enter();
	if (l->odd_name)
		oddname_enter();
	do {
		r = gnutls_handshake(l->tls);
		if (r == GNUTLS_E_SUCCESS)
			p = PULL_END;
		else
			p = tls_outcome(l, r, &warnings);
	} while (p == PULL_MORE);
	if (l->odd_name)
		oddname_leave();
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
link_odd_name(struct link *l)
{
	assert(l->tls != NULL);
	oddname_expect(l->tls);
	l->odd_name = true;
}

void
link_ticket_due(struct link *l)
{
	assert(l->tls != NULL);
	l->ticket_due = true;
}

void
link_may_reshake(struct link *l)
{
	l->may_reshake = true;
}

/* The server asks for another handshake; PULL_MORE: go on. */
static enum pull
hello_requested(struct link *l)
{
	if (!l->may_reshake || ++l->hello_requests > HELLO_REQUESTS_MAX) {
		link_set_error(l, "TLS", "the peer asks to renegotiate");
		return (PULL_FAIL);
	}
	if (l->hello_requests <= RESHAKES_MAX &&
	    gnutls_safe_renegotiation_status(l->tls)) {
		/* What was written before goes before. */
		link_tls_seal_stage(l);
		l->reshakes = true;
	} else
		(void)gnutls_alert_send(l->tls, GNUTLS_AL_WARNING,
		    GNUTLS_A_NO_RENEGOTIATION);
	return (PULL_MORE);
}

/*
 * Drive it.  PULL_MORE: it is over, or there are data to read before it goes
 * on; PULL_WAIT: for the peer.
 */
static enum pull
reshake(struct link *l, unsigned *warnings)
{
	enum pull p;
	int r;

	assert(l->reshakes && l->may_reshake);
	do {
		r = gnutls_handshake(l->tls);
		if (r == GNUTLS_E_GOT_APPLICATION_DATA)
			return (PULL_MORE);
		if (r == GNUTLS_E_SUCCESS) {
			l->reshakes = false;
			loop_at_end(&l->flush);
			return (PULL_MORE);
		}
		p = tls_outcome(l, r, warnings);
	} while (p == PULL_MORE);
	return (p);
}

void
link_tls_reshake(struct link *l)
{
	unsigned warnings = 0;
	enum pull p;

	assert(l->tls != NULL && l->owner != NULL);
	raw_enter();
	p = reshake(l, &warnings);
	raw_leave(l);
	if (pull_is_last(p))
		l->tls_end = p;
	if (p != PULL_WAIT)
		task_wake(l->owner);
	if (l->sealed.n > 0)
		loop_at_end(&l->flush);
	link_arm(l);
}

/* One record's bytes, or what became of the second handshake. */
static enum pull
tls_recv(struct link *l, void *p, size_t room, size_t *got, unsigned *warnings)
{
	enum pull e = l->reshakes ? reshake(l, warnings) : PULL_MORE;
	ssize_t r;

	*got = 0;
	if (e != PULL_MORE)
		return (e);
	r = gnutls_record_recv(l->tls, p, room);
	if (r > 0)
		*got = (size_t)r;
	else if (r == GNUTLS_E_REHANDSHAKE)
		return (hello_requested(l));
	else
		return (r == 0 ? PULL_END : tls_outcome(l, (int)r, warnings));
	return (PULL_MORE);
}

/* Fill chunks with decrypted bytes up to want. */
static enum pull
tls_fill(struct link *l, struct chq *out, size_t want)
{
	struct chunk *c = chunk_new();
	unsigned warnings = 0;
	enum pull p = PULL_MORE;
	size_t got = 0, n = 0, room, k;

	while (got < want && p == PULL_MORE) {
		room = c->cap - n < want - got ? c->cap - n : want - got;
		p = tls_recv(l, c->data + n, room, &k, &warnings);
		n += k;
		got += k;
		assert(n <= c->cap && got <= want);
		if (n == c->cap) {
			link_add_received(out, c, n);
			c = chunk_new();
			n = 0;
		}
	}
	link_add_received(out, c, n);
	if (pull_is_last(p))
		l->tls_end = p;
	return (got > 0 ? PULL_MORE : p);
}

enum pull
link_tls_read(struct link *l, struct chq *out, size_t want)
{
	enum pull p;

	if (l->tls_end != PULL_MORE)
		return (l->tls_end);
	if (l->dry && chq_len(&l->pend) == 0 && l->in_end == IN_OPEN &&
	    gnutls_record_check_pending(l->tls) == 0)
		return (link_wait(l));
	raw_enter();
	p = tls_fill(l, out, want);
	raw_leave(l);
	if (l->sealed.n > 0)
		loop_at_end(&l->flush); /* a key update was answered */
	return (p == PULL_WAIT ? link_wait(l) : p);
}

/* Writing. */

static void
tls_seal(struct link *l, const void *p, size_t n)
{
	ssize_t r;
	size_t part;

	assert(!l->reshakes);
	if (l->ticket_due) {
		l->ticket_due = false;
		tls_server_ticket(l->tls);
	}
	while (n > 0 && !l->out_failed) {
		part = n < RECORD_MAX ? n : RECORD_MAX;
		r = gnutls_record_send(l->tls, p, part);
		if (r < 0) { /* our push never says "again" */
			link_out_fail(l, "TLS", gnutls_strerror((int)r));
			return;
		}
		assert(r > 0 && (size_t)r <= part);
		p = (const char *)p + r;
		n -= (size_t)r;
	}
}

void
link_tls_seal_stage(struct link *l)
{
	size_t n = l->stage.n;

	if (n > 0 && !l->reshakes) {
		l->stage.n = 0;
		tls_seal(l, l->stage.p, n);
		buf_give_back(&l->stage, &stages);
	}
}

void
link_tls_write(struct link *l, const void *p, size_t n)
{
	assert(l->tls != NULL && !l->shut);
	if (l->stage.n + n > STAGE_MAX)
		link_tls_seal_stage(l);
	if (n > STAGE_MAX && !l->reshakes)
		tls_seal(l, p, n);
	else {
		buf_borrow(&l->stage, &stages);
		buf_add(&l->stage, p, n);
	}
}

void
link_tls_shrink(struct link *l)
{
	assert(l->sealed.n > 0 || l->sealed_at == 0);
	if (l->sealed.p != NULL && l->sealed.n == 0)
		buf_give_back(&l->sealed, &sealed);
}

void
link_tls_thread_fini(void)
{
	assert(raw_at == raw_n);
	free(raw);
	raw = NULL;
	spares_fini(&sealed);
	spares_fini(&stages);
}
