/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tunnels, see splice.h.  A direction fills its pipe only when that is empty
 * and then empties it, so "would block" is never in doubt: from a fill the
 * source is dry, from a drain the target is full.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/budget.h"
#include "base/list.h"
#include "net/splice.h"

#define PIPE_BYTES (256 << 10) /* measured: 1 MB leaves the CPU's cache */
#define PIPE_MIN_BYTES 32768   /* a smaller one is worse than copying */
/* in use; what stuck peers can park in more of them would be too much */
#define PIPES_LARGE 64
#define STOCK 16
#define PIPE_ENDS 2 /* descriptors */
#define COPY_BYTES 65536
#define FILL_TIGHT 4096
#define BUDGET (512 << 10) /* a direction's share of a turn */

/*
 * A wake-up a segment costs more than moving it.  While a source is fast
 * (START_BYTES within START_MS) the kernel is told to wake us for no less
 * than BATCH_BYTES; BATCH_MS without a wake-up end this, and bring the tail.
 */
#define START_BYTES (1 << 20)
#define START_MS 16
#define BATCH_BYTES (512 << 10)
#define BATCH_MS 4

struct pipe {
	int in, out; /* in < 0: none */
	size_t cap;
};

struct splicer {
	struct loop *loop;
	struct account *kept; /* counted; NULL: nobody's */
	unsigned tunnels;
	unsigned in_use;
	unsigned stocked;
	struct pipe stock[STOCK];
	unsigned char *copy; /* COPY_BYTES, allocated when first needed */
};

enum { CLIENT, ORIGIN, SIDES };

enum flow {
	FLOW_DRY,   /* waits for its source */
	FLOW_FULL,  /* waits for its target */
	FLOW_MORE,  /* has had its share of this turn */
	FLOW_ENDED, /* the end has been passed on */
	FLOW_SOURCE_LOST,
	FLOW_TARGET_LOST
};

/* Bytes from one side to the other. */
struct way {
	int source, target; /* borrowed from the sides */
	enum flow flow;
	bool ended;      /* the source has said so */
	const bool *cut; /* borrowed; it was none if *cut; NULL: it cannot be */
	bool copies;     /* splice(2) does not work here */
	struct pipe pipe;
	size_t piped;         /* bytes in it */
	struct chq first;     /* to be sent before anything else */
	struct charge charge; /* of what is stuck in pipe and first */
	uint64_t total;
	struct splice *tunnel;
	struct timer batch;            /* set while batching */
	uint64_t burst_at, burst_from; /* ms, and total then */
};

struct side {
	int fd; /* owned */
	struct watch *watch;
	struct splice *splice;
};

struct splice {
	struct splicer *splicer;
	struct task task; /* go on with what was left over */
	struct timer idle;
	uint64_t idle_ms;
	struct task *wake;       /* borrowed */
	struct account *account; /* borrowed; NULL: nobody's */
	enum splice_end end;
	struct side sides[SIDES];
	struct way ways[SIDES]; /* by source */
};

/* The stock of pipes. */

static void
pipe_close(struct pipe *p)
{
	assert(p->in >= 0 && p->out >= 0);
	(void)close(p->in);
	(void)close(p->out);
	p->in = p->out = -1;
}

/*
 * The system may refuse a large one (pipe-user-pages-soft) and even make the
 * new one tiny; then the caller copies.
 */
static bool
pipe_open(struct pipe *p, bool large)
{
	int fd[2], n;

	if (pipe2(fd, O_NONBLOCK | O_CLOEXEC) != 0)
		return (false);
	*p = (struct pipe){ .in = fd[1], .out = fd[0] };
	n = large ? fcntl(p->in, F_SETPIPE_SZ, PIPE_BYTES) : -1;
	if (n < 0)
		n = fcntl(p->in, F_GETPIPE_SZ);
	p->cap = n > 0 ? (size_t)n : 0;
	if (p->cap >= PIPE_MIN_BYTES)
		return (true);
	pipe_close(p);
	return (false);
}

/* False: it is copied, which costs nothing but time. */
static bool
pipe_take(struct splicer *s, struct account *a, struct pipe *p)
{
	if (p->in >= 0)
		return (true);
	if (!account_take_spare(a, BUDGET_DESCRIPTORS, PIPE_ENDS))
		return (false);
	if (s->stocked > 0) {
		*p = s->stock[--s->stocked];
		account_give(s->kept, BUDGET_DESCRIPTORS, PIPE_ENDS);
	} else if (!pipe_open(p, s->in_use < PIPES_LARGE)) {
		account_give(a, BUDGET_DESCRIPTORS, PIPE_ENDS);
		return (false);
	}
	s->in_use++;
	return (true);
}

/* p is empty unless the tunnel is being given up. */
static void
pipe_give(struct splicer *s, struct account *a, struct pipe *p, bool empty)
{
	if (p->in < 0)
		return;
	assert(s->in_use > 0);
	s->in_use--;
	account_give(a, BUDGET_DESCRIPTORS, PIPE_ENDS);
	if (empty && s->stocked < STOCK &&
	    account_take_spare(s->kept, BUDGET_DESCRIPTORS, PIPE_ENDS))
		s->stock[s->stocked++] = *p;
	else
		pipe_close(p);
	p->in = p->out = -1;
}

/* One direction. */

static bool
would_block(void)
{
	return (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* FLOW_MORE: nothing is in the way of reading on. */
static enum flow
send_first(struct way *w)
{
	struct iovec iov[16];
	struct msghdr m = { .msg_iov = iov };
	ssize_t n;

	while (chq_len(&w->first) > 0) {
		m.msg_iovlen = chq_iov(&w->first, iov, 16);
		n = sendmsg(w->target, &m, MSG_NOSIGNAL);
		if (n < 0)
			return (would_block() ? FLOW_FULL : FLOW_TARGET_LOST);
		chq_drop(&w->first, (size_t)n);
		w->total += (uint64_t)n;
	}
	chq_fini(&w->first);
	return (FLOW_MORE);
}

/* The target cannot be spliced to: what the pipe holds is copied out of it. */
static enum flow
unpipe(struct splicer *s, struct way *w)
{
	ssize_t n;

	assert(s->copy != NULL);
	w->copies = true;
	while (w->piped > 0) {
		n = read(w->pipe.out, s->copy, COPY_BYTES);
		if (n <= 0)
			return (FLOW_TARGET_LOST);
		chq_copy(&w->first, s->copy, (size_t)n);
		w->piped -= (size_t)n;
	}
	return (send_first(w));
}

static unsigned char *
copy_room(struct splicer *s)
{
	if (s->copy == NULL && (s->copy = malloc(COPY_BYTES)) == NULL)
		abort();
	return (s->copy);
}

static enum flow
drain_pipe(struct splicer *s, struct way *w)
{
	ssize_t n;

	assert(w->pipe.out >= 0);
	while (w->piped > 0) {
		n = splice(w->pipe.out, NULL, w->target, NULL, w->piped,
		    SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (n < 0 && errno == EINVAL && copy_room(s) != NULL)
			return (unpipe(s, w));
		if (n < 0)
			return (would_block() ? FLOW_FULL : FLOW_TARGET_LOST);
		w->piped -= (size_t)n;
		w->total += (uint64_t)n;
	}
	return (FLOW_MORE);
}

/* A read's or splice's result: bytes, an end, or a reason to stop. */
static enum flow
after_read(struct way *w, ssize_t n)
{
	if (n < 0)
		return (would_block() ? FLOW_DRY : FLOW_SOURCE_LOST);
	w->ended = n == 0;
	return (FLOW_MORE);
}

/* What may get stuck: little, where its client has no more memory. */
static size_t
fill_most(const struct way *w, size_t n)
{
	return (n > FILL_TIGHT &&
		    account_spare(w->tunnel->account, BUDGET_MEMORY) == 0
		? FILL_TIGHT
		: n);
}

static enum flow
copy_some(struct splicer *s, struct way *w, size_t *moved)
{
	unsigned char *p = copy_room(s);
	ssize_t n = recv(w->source, p, fill_most(w, COPY_BYTES), 0), sent;

	if (n <= 0)
		return (after_read(w, n));
	*moved += (size_t)n;
	sent = send(w->target, p, (size_t)n, MSG_NOSIGNAL);
	if (sent < 0 && !would_block())
		return (FLOW_TARGET_LOST);
	if (sent < 0)
		sent = 0;
	w->total += (uint64_t)sent;
	chq_copy(&w->first, p + sent, (size_t)(n - sent));
	return (FLOW_MORE);
}

static enum flow
fill_pipe(struct splicer *s, struct way *w, size_t *moved)
{
	ssize_t n;

	assert(w->piped == 0 && chq_len(&w->first) == 0);
	if (w->copies || !pipe_take(s, w->tunnel->account, &w->pipe))
		return (copy_some(s, w, moved));
	n = splice(w->source, NULL, w->pipe.in, NULL, fill_most(w, w->pipe.cap),
	    SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	if (n < 0 && errno == EINVAL) {
		w->copies = true;
		return (FLOW_MORE);
	}
	if (n > 0) {
		w->piped = (size_t)n;
		*moved += (size_t)n;
	}
	return (after_read(w, n));
}

/* All that came before the end is on its way. */
static enum flow
pass_end(const struct way *w)
{
	if (w->cut != NULL && *w->cut)
		return (FLOW_SOURCE_LOST);
	(void)shutdown(w->target, SHUT_WR);
	return (FLOW_ENDED);
}

static enum flow
way_move(struct splicer *s, struct way *w)
{
	enum flow f = FLOW_MORE;
	size_t moved = 0;

	for (;;) {
		if (chq_len(&w->first) > 0)
			f = send_first(w);
		else if (w->piped > 0)
			f = drain_pipe(s, w);
		else if (w->ended)
			f = pass_end(w);
		else if (moved >= BUDGET)
			break;
		else
			f = fill_pipe(s, w, &moved);
		if (f != FLOW_MORE)
			break;
	}
	if (w->piped == 0)
		pipe_give(s, w->tunnel->account, &w->pipe, true);
	charge_set(&w->charge, w->tunnel->account,
	    w->piped + chq_len(&w->first), 0);
	return (f);
}

static void
set_low_water(const struct way *w, int n)
{
	(void)setsockopt(w->source, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
}

/* After something was moved and the source is dry. */
static void
way_batch(struct way *w, uint64_t now)
{
	if (w->batch.at != 0) {
		timer_set(&w->batch, BATCH_MS);
		return;
	}
	if (now - w->burst_at > START_MS) {
		w->burst_at = now;
		w->burst_from = w->total;
	} else if (w->total - w->burst_from >= START_BYTES) {
		set_low_water(w, BATCH_BYTES);
		timer_set(&w->batch, BATCH_MS);
	}
}

/* The tunnel. */

static enum budget_kind
side_kind(const struct side *side)
{
	return (side == &side->splice->sides[CLIENT] ? BUDGET_CLIENTS
						     : BUDGET_DESCRIPTORS);
}

static void
side_close(struct side *side, bool reset)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (side->fd < 0)
		return;
	watch_free(&side->watch);
	if (reset)
		(void)setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &now,
		    sizeof(now));
	(void)close(side->fd);
	side->fd = -1;
	account_give(side->splice->account, side_kind(side), 1);
}

static void
tunnel_end(struct splice *t, enum splice_end end)
{
	unsigned i;

	assert(t->end == SPLICE_RUNNING && end != SPLICE_RUNNING);
	t->end = end;
	timer_stop(&t->idle);
	task_fini(&t->task);
	for (i = 0; i < SIDES; i++) {
		timer_stop(&t->ways[i].batch);
		side_close(&t->sides[i], end != SPLICE_DONE);
		pipe_give(t->splicer, t->account, &t->ways[i].pipe,
		    t->ways[i].piped == 0);
		chq_fini(&t->ways[i].first);
		charge_set(&t->ways[i].charge, NULL, 0, 0);
	}
	task_wake(t->wake);
}

/* Has the way from side i ended the tunnel? */
static bool
check_end(struct splice *t, unsigned i)
{
	bool lost_origin;

	if (t->ways[i].flow == FLOW_SOURCE_LOST)
		lost_origin = i == ORIGIN;
	else if (t->ways[i].flow == FLOW_TARGET_LOST)
		lost_origin = i == CLIENT;
	else {
		if (t->ways[CLIENT].flow != FLOW_ENDED ||
		    t->ways[ORIGIN].flow != FLOW_ENDED)
			return (false);
		tunnel_end(t, SPLICE_DONE);
		return (true);
	}
	tunnel_end(t, lost_origin ? SPLICE_ORIGIN_LOST : SPLICE_CLIENT_LOST);
	return (true);
}

static unsigned
events_of(const struct splice *t, unsigned side)
{
	enum flow from = t->ways[side].flow;
	enum flow to = t->ways[!side].flow;

	return ((from == FLOW_DRY || from == FLOW_MORE ? WATCH_READ : 0u) |
	    (to == FLOW_FULL ? WATCH_WRITE : 0u));
}

/* Move what the ways in the mask (1 << side) have. */
static void
tunnel_move(struct splice *t, unsigned mask)
{
	bool moved = false;
	struct way *w;
	uint64_t before;
	unsigned i;

	assert(t->end == SPLICE_RUNNING);
	for (i = 0; i < SIDES; i++) {
		w = &t->ways[i];
		if ((mask >> i & 1) == 0 || w->flow == FLOW_ENDED)
			continue;
		before = w->total;
		w->flow = way_move(t->splicer, w);
		if (check_end(t, i))
			return;
		if (w->flow == FLOW_MORE)
			task_wake(&t->task);
		if (w->total == before)
			continue;
		moved = true;
		if (w->flow == FLOW_DRY)
			way_batch(w, loop_now(t->splicer->loop));
	}
	for (i = 0; i < SIDES; i++)
		watch_set(t->sides[i].watch, events_of(t, i));
	if (moved && t->idle_ms > 0)
		timer_set(&t->idle, t->idle_ms);
}

static void
on_batch_end(struct timer *timer)
{
	struct way *w = CONTAINER_OF(timer, struct way, batch);
	struct splice *t = w->tunnel;

	set_low_water(w, 1);
	tunnel_move(t, w == &t->ways[CLIENT] ? 1u << CLIENT : 1u << ORIGIN);
}

static void
on_ready(void *arg, unsigned events)
{
	struct side *side = arg;
	struct splice *t = side->splice;
	unsigned i = side == &t->sides[ORIGIN] ? ORIGIN : CLIENT;

	tunnel_move(t,
	    ((events & WATCH_READ) != 0 ? 1u << i : 0) |
		((events & WATCH_WRITE) != 0 ? 1u << !i : 0));
}

static void
on_left_over(struct task *task)
{
	struct splice *t = CONTAINER_OF(task, struct splice, task);
	unsigned i, mask = 0;

	for (i = 0; i < SIDES; i++)
		if (t->ways[i].flow == FLOW_MORE)
			mask |= 1u << i;
	tunnel_move(t, mask);
}

static void
on_idle(struct timer *timer)
{
	tunnel_end(CONTAINER_OF(timer, struct splice, idle), SPLICE_IDLE);
}

static void
side_init(struct splice *t, unsigned i, int fd, struct chq *first)
{
	struct side *side = &t->sides[i];
	int one = 1;

	assert(fd >= 0);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*side = (struct side){ .fd = fd, .splice = t };
	side->watch = watch_new(t->splicer->loop, fd, on_ready, side);
	account_add(t->account, side_kind(side), 1);
	t->ways[i].source = fd;
	t->ways[!i].target = fd;
	t->ways[i].pipe = (struct pipe){ .in = -1, .out = -1 };
	t->ways[i].flow = FLOW_MORE;
	t->ways[i].tunnel = t;
	timer_init(&t->ways[i].batch, t->splicer->loop, on_batch_end);
	if (first != NULL)
		chq_move(&t->ways[!i].first, first, chq_len(first));
}

struct splice *
splice_start(struct splicer *s, int client_fd, int origin_fd,
    struct chq *to_origin_first, struct chq *to_client_first,
    const struct splice_options *o, struct task *wake)
{
	struct splice *t = calloc(1, sizeof(*t));

	if (t == NULL)
		abort();
	t->splicer = s;
	t->wake = wake;
	t->idle_ms = o != NULL ? o->idle_ms : 0;
	t->account = o != NULL ? o->account : NULL;
	task_init(&t->task, s->loop, on_left_over);
	timer_init(&t->idle, s->loop, on_idle);
	side_init(t, CLIENT, client_fd, to_client_first);
	side_init(t, ORIGIN, origin_fd, to_origin_first);
	t->ways[ORIGIN].cut = o != NULL ? o->cut : NULL;
	if (o != NULL && o->no_splice)
		t->ways[CLIENT].copies = t->ways[ORIGIN].copies = true;
	s->tunnels++;
	if (t->idle_ms > 0)
		timer_set(&t->idle, t->idle_ms);
	task_wake(&t->task);
	return (t);
}

enum splice_end
splice_ended(const struct splice *t)
{
	return (t->end);
}

uint64_t
splice_bytes_to_origin(const struct splice *t)
{
	return (t->ways[CLIENT].total);
}

uint64_t
splice_bytes_to_client(const struct splice *t)
{
	return (t->ways[ORIGIN].total);
}

void
splice_free(struct splice **tp)
{
	struct splice *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	if (t->end == SPLICE_RUNNING) {
		t->wake = NULL;
		tunnel_end(t, SPLICE_IDLE);
	}
	assert(t->splicer->tunnels > 0);
	t->splicer->tunnels--;
	loop_defer_free(t->splicer->loop, t, free);
}

struct splicer *
splicer_new(struct loop *l, struct account *kept)
{
	struct splicer *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	s->loop = l;
	s->kept = account_ref(kept);
	return (s);
}

void
splicer_free(struct splicer **sp)
{
	struct splicer *s = *sp;

	*sp = NULL;
	if (s == NULL)
		return;
	assert(s->tunnels == 0 && s->in_use == 0);
	account_give(s->kept, BUDGET_DESCRIPTORS, PIPE_ENDS * s->stocked);
	account_unref(&s->kept);
	while (s->stocked > 0)
		pipe_close(&s->stock[--s->stocked]);
	free(s->copy);
	free(s);
}
