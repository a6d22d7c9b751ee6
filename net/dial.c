/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connecting, see dial.h.  The numbers of sections are RFC 8305's. */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/budget.h"
#include "net/descriptors.h"
#include "net/dial.h"

#define RESOLUTION_DELAY_MS 50 /* 3: A is there, AAAA is not */
#define ATTEMPT_DELAY_MS 250   /* 5 */
#define CONNECT_TIMEOUT_MS 10000
#define SOURCES_TRIED 16 /* addresses of ours, for one of the origin */
#define CANDIDATES (2 * RESOLVE_ADDRESSES)
#define BAD_SLOTS 256
#define BAD_MS 30000      /* an address that failed comes last */
#define LOSSES_MAX 3      /* of IPv6 in a row: */
#define V4_FIRST_MS 60000 /* IPv4 goes first that long */

struct bad {
	union address address; /* port set */
	uint64_t until;
};

struct dialer {
	struct loop *loop;
	struct resolver *resolver; /* borrowed */
	unsigned dials;            /* under way */
	unsigned v6_losses;
	uint64_t v4_first_until;
	struct bad bad[BAD_SLOTS];
};

struct attempt {
	struct dial_run *run;
	struct watch *watch; /* NULL: over */
	int fd;
	union address address;
};

struct dial_run {
	struct dialer *dialer;
	struct dial *dial;
	struct task *wake;  /* the caller's */
	struct task task;   /* the resolver has news */
	struct timer delay; /* to the next attempt, or for AAAA */
	struct timer deadline;
	struct resolve_query query;
	struct dial_options options; /* .account is counted */
	uint16_t port;
	bool begun;                  /* attempts may be made */
	bool weak;                   /* the fault is only a missing route */
	int last_family;             /* AF_UNSPEC before the first attempt */
	unsigned tried_v6, tried_v4; /* bits by index in query */
	unsigned denied;
	uint64_t started_at, begun_at;
	struct fault fault; /* of the first attempt that failed */
	unsigned n, live;
	struct attempt attempts[CANDIDATES];
};

static void run_next(struct dial_run *);

/* What the dialer remembers. */

static struct bad *
bad_slot(struct dialer *d, const union address *a)
{
	const unsigned char *p = (const unsigned char *)a;
	size_t i, n = address_size(&a->sa);
	uint32_t h = 2166136261u;

	for (i = 0; i < n; i++)
		h = (h ^ p[i]) * 16777619u;
	return (&d->bad[(h ^ h >> 16) % BAD_SLOTS]);
}

static bool
bad_is_same(const struct bad *b, const union address *a)
{
	return (b->until != 0 && address_eq(&b->address.sa, &a->sa) &&
	    address_port(&b->address.sa) == address_port(&a->sa));
}

static bool
is_bad(struct dialer *d, const union address *a)
{
	struct bad *b = bad_slot(d, a);

	return (bad_is_same(b, a) && b->until > loop_now(d->loop));
}

static void
set_bad(struct dialer *d, const union address *a)
{
	*bad_slot(d, a) = (struct bad){ *a, loop_now(d->loop) + BAD_MS };
}

static void
set_good(struct dialer *d, const union address *a)
{
	struct bad *b = bad_slot(d, a);

	if (bad_is_same(b, a))
		b->until = 0;
}

static bool
v4_first(const struct dialer *d)
{
	return (d->v4_first_until > loop_now(d->loop));
}

/* IPv4 has won although IPv6 had begun: is IPv6 any good here? */
static void
count_family(struct dial_run *r, int winner)
{
	struct dialer *d = r->dialer;

	if (winner == AF_INET6)
		d->v6_losses = 0;
	else if (r->tried_v6 != 0 && !v4_first(d) &&
	    ++d->v6_losses >= LOSSES_MAX)
		d->v4_first_until = loop_now(d->loop) + V4_FIRST_MS;
}

/* The end. */

static void
attempt_close(struct attempt *a)
{
	if (a->watch == NULL)
		return;
	assert(a->run->live > 0);
	watch_free(&a->watch);
	if (a->fd >= 0)
		(void)close(a->fd);
	a->fd = -1;
	account_give(a->run->options.account, BUDGET_DESCRIPTORS, 1);
	a->run->live--;
}

static void
run_free(struct dial_run *r)
{
	unsigned i;

	assert(r->dial->run == r && r->dialer->dials > 0);
	for (i = 0; i < r->n; i++)
		attempt_close(&r->attempts[i]);
	assert(r->live == 0);
	resolve_cancel(&r->query);
	timer_stop(&r->delay);
	timer_stop(&r->deadline);
	task_fini(&r->task);
	account_unref(&r->options.account);
	r->dialer->dials--;
	r->dial->run = NULL;
	loop_defer_free(r->dialer->loop, r, free);
}

static void
run_end(struct dial_run *r)
{
	struct dial *d = r->dial;
	uint64_t now = loop_now(r->dialer->loop);

	assert(!r->dial->done);
	if (!r->begun)
		r->begun_at = now;
	d->dns_ms = (uint32_t)(r->begun_at - r->started_at);
	d->connect_ms = (uint32_t)(now - r->begun_at);
	d->done = true;
	task_wake(r->wake);
	run_free(r);
}

static void
run_fail(struct dial_run *r)
{
	struct fault *f = &r->dial->fault;

	assert(r->live == 0);
	fault_copy(f, &r->fault);
	fault_copy(f, &r->query.fault);
	if (f->code == ERR_NONE)
		fault_set(f, r->denied > 0 ? ERR_DEST_DENIED : ERR_DNS_NAME,
		    NULL);
	run_end(r);
}

static void
run_win(struct attempt *won)
{
	struct dial_run *r = won->run;
	struct attempt *a;
	unsigned i;

	assert(won->watch != NULL && won->fd >= 0);
	r->dial->fd = won->fd;
	r->dial->peer = won->address;
	address_ip_text(&won->address.sa, r->dial->peer_ip);
	won->fd = -1; /* the caller's */
	/* Who was overtaken is slow: next time he comes behind. */
	for (i = 0; i < r->n; i++) {
		a = &r->attempts[i];
		if (a != won && a->watch != NULL)
			set_bad(r->dialer, &a->address);
	}
	set_good(r->dialer, &won->address);
	count_family(r, won->address.sa.sa_family);
	run_end(r);
}

/* Attempts. */

static bool
is_weak(int e)
{
	return (e == ENETUNREACH || e == EADDRNOTAVAIL || e == EAFNOSUPPORT);
}

/* Are there addresses that it has to leave from? */
static bool
has_sources(const struct dial_run *r)
{
	return (r->options.from != NULL && r->options.from->addresses.n > 0);
}

/* A datagram could leave: it is no address, but a port, that is wanting. */
static bool
has_way(const union address *to)
{
	int fd = socket(to->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd < 0 || connect(fd, &to->sa, address_size(&to->sa)) == 0;

	if (fd >= 0)
		(void)close(fd);
	return (ok);
}

static enum err
code_of(const struct dial_run *r, const union address *to, int e)
{
	switch (e) {
	case ECONNREFUSED:
		return (ERR_CONNECT_REFUSED);
	case ETIMEDOUT:
		return (ERR_CONNECT_TIMEOUT);
	case EMFILE:
	case ENFILE:
		return (ERR_DESCRIPTORS);
	case EADDRNOTAVAIL:
		return (has_sources(r) || has_way(to) ? ERR_NO_PORTS
						      : ERR_CONNECT_FAIL);
	case ENOBUFS:
	case ENOMEM:
	case EPERM: /* a filter of ours, or its table is full */
		return (ERR_NO_PORTS);
	default:
		return (ERR_CONNECT_FAIL);
	}
}

bool
dial_is_own_want(enum err code)
{
	return (code == ERR_DESCRIPTORS || code == ERR_NO_PORTS);
}

/* The first cause is kept; that a family has no route here is none. */
static void
note_failure(struct dial_run *r, const union address *a, int e)
{
	char text[ADDRESS_TEXT];
	enum err code = code_of(r, a, e);
	bool weak = is_weak(e) && !dial_is_own_want(code);

	if (!dial_is_own_want(code))
		set_bad(r->dialer, a);
	if (r->weak && !weak)
		r->fault = (struct fault){ 0 };
	if (r->fault.code != ERR_NONE)
		return;
	r->weak = weak;
	address_text(&a->sa, text);
	fault_set(&r->fault, code, "%s: %s", text, strerror(e));
}

/* Simultaneous open to our own ephemeral port: nobody is there. */
static bool
is_self_connected(int fd)
{
	union address here, there;
	socklen_t n = sizeof(here), m = sizeof(there);

	memset(&here, 0, sizeof(here));
	memset(&there, 0, sizeof(there));
	return (getsockname(fd, &here.sa, &n) == 0 &&
	    getpeername(fd, &there.sa, &m) == 0 &&
	    address_eq(&here.sa, &there.sa) &&
	    address_port(&here.sa) == address_port(&there.sa));
}

static void
on_ready(void *arg, unsigned events)
{
	struct attempt *a = arg;
	socklen_t n = sizeof(int);
	int e = 0;

	assert(a->watch != NULL && a->fd >= 0);
	(void)events;
	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0)
		e = errno;
	if (e == 0 && is_self_connected(a->fd))
		e = ECONNREFUSED;
	if (e == 0) {
		run_win(a);
		return;
	}
	note_failure(a->run, &a->address, e);
	attempt_close(a);
	run_next(a->run);
}

/* Where it leaves from: 0 or errno. */
static int
leave_from(const struct egress *s, int fd, const union address *from,
    int family)
{
	int one = 1, e = egress_prepare(s, fd, family);

	if (e != 0 || from->sa.sa_family == AF_UNSPEC)
		return (e);
	/* The port is chosen at connect(): more of them to be had. */
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one,
	    sizeof(one));
	/* A block that is routed here is on no interface: ipv6(7). */
	if (family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one,
		    sizeof(one));
	return (bind(fd, &from->sa, address_size(&from->sa)) == 0 ? 0 : errno);
}

/* 0 or errno; fd is closed on failure. */
static int
open_from(const struct dial_run *r, const union address *to,
    const union address *from, int *fd)
{
	int one = 1, e = 0;

	*fd = socket(to->sa.sa_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return (errno);
	if (descriptors_short(*fd)) {
		(void)close(*fd);
		return (EMFILE);
	}
	(void)setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (r->options.from != NULL)
		e = leave_from(r->options.from, *fd, from, to->sa.sa_family);
	if (e == 0 && connect(*fd, &to->sa, address_size(&to->sa)) != 0 &&
	    errno != EINPROGRESS)
		e = errno;
	if (e != 0)
		(void)close(*fd);
	return (e);
}

/* By the next address of ours while one has no port left for that peer. */
static int
open_counted(const struct dial_run *r, const union address *to, int *fd)
{
	const struct egress *s = r->options.from;
	union address from = { 0 };
	int e = EAFNOSUPPORT; /* no address of ours is of that family */
	unsigned n;

	if (s == NULL)
		return (open_from(r, to, &from, fd));
	for (n = 0; n < SOURCES_TRIED &&
	     egress_address(s, to->sa.sa_family, r->options.slot, n, &from);
	     n++)
		if ((e = open_from(r, to, &from, fd)) != EADDRNOTAVAIL)
			break;
	return (e);
}

static int
open_socket(const struct dial_run *r, const union address *to, int *fd)
{
	struct account *a = r->options.account;
	int e;

	if (!(r->options.late ? account_take(a, BUDGET_DESCRIPTORS, 1)
			      : account_take_early(a, BUDGET_DESCRIPTORS, 1)))
		return (EMFILE);
	e = open_counted(r, to, fd);
	if (e != 0)
		account_give(a, BUDGET_DESCRIPTORS, 1);
	return (e);
}

static bool
attempt_start(struct dial_run *r, const union address *to)
{
	struct attempt *a = &r->attempts[r->n];
	int e;

	assert(r->n < CANDIDATES);
	r->dial->peer = *to;
	r->dial->attempts++;
	e = open_socket(r, to, &a->fd);
	if (e != 0) {
		note_failure(r, to, e);
		return (false);
	}
	r->n++;
	r->live++;
	a->run = r;
	a->address = *to;
	a->watch = watch_new(r->dialer->loop, a->fd, on_ready, a);
	watch_set(a->watch, WATCH_WRITE);
	return (true);
}

/* Candidates. */

/* The first untried one of a family; not a bad one unless asked for. */
static bool
pick_of(struct dial_run *r, int family, bool any, union address *out)
{
	bool v6 = family == AF_INET6;
	unsigned *tried = v6 ? &r->tried_v6 : &r->tried_v4;
	unsigned i, n = v6 ? r->query.n_v6 : r->query.n_v4;

	assert(n <= RESOLVE_ADDRESSES);
	for (i = 0; i < n; i++) {
		if ((*tried >> i & 1) != 0)
			continue;
		*out = v6 ? r->query.v6[i] : r->query.v4[i];
		address_set_port(out, r->port);
		if (!any && is_bad(r->dialer, out))
			continue;
		*tried |= 1u << i;
		return (true);
	}
	return (false);
}

/* 4: families take turns, IPv6 begins. */
static bool
pick(struct dial_run *r, union address *out)
{
	int first = r->last_family == AF_UNSPEC
	    ? (v4_first(r->dialer) ? AF_INET : AF_INET6)
	    : r->last_family == AF_INET ? AF_INET6
					: AF_INET;
	int second = first == AF_INET ? AF_INET6 : AF_INET;

	return (pick_of(r, first, false, out) ||
	    pick_of(r, second, false, out) || pick_of(r, first, true, out) ||
	    pick_of(r, second, true, out));
}

static bool
is_allowed(const struct dial_run *r, const union address *a)
{
	return (address_is_host(&a->sa) &&
	    (r->options.check == NULL ||
		r->options.check(r->options.arg, &a->sa)));
}

/* Start the next attempt that can be started. */
static void
run_next(struct dial_run *r)
{
	union address a;

	assert(r->begun);
	while (pick(r, &a)) {
		if (!is_allowed(r, &a)) {
			r->denied++;
			continue;
		}
		r->last_family = a.sa.sa_family;
		if (attempt_start(r, &a)) {
			timer_set(&r->delay, ATTEMPT_DELAY_MS);
			return;
		}
	}
	timer_stop(&r->delay);
	if (r->live == 0 && r->query.done)
		run_fail(r);
}

static void
run_begin(struct dial_run *r)
{
	assert(!r->begun);
	r->begun = true;
	r->begun_at = loop_now(r->dialer->loop);
	timer_set(&r->deadline, r->options.connect_timeout_ms);
	run_next(r);
}

/* 3: AAAA starts at once, A waits a little for AAAA. */
static void
on_addresses(struct task *t)
{
	struct dial_run *r = CONTAINER_OF(t, struct dial_run, task);
	const struct resolve_query *q = &r->query;

	if (r->begun) {
		if (r->live == 0 || r->delay.at == 0)
			run_next(r);
	} else if (q->n_v6 + q->n_v4 == 0) {
		if (q->done)
			run_fail(r);
	} else if (q->done || q->n_v6 > 0 || q->has_v6 || v4_first(r->dialer))
		run_begin(r);
	else if (r->delay.at == 0)
		timer_set(&r->delay, RESOLUTION_DELAY_MS);
}

static void
on_delay(struct timer *t)
{
	struct dial_run *r = CONTAINER_OF(t, struct dial_run, delay);

	if (r->begun)
		run_next(r);
	else
		run_begin(r);
}

static void
on_deadline(struct timer *t)
{
	struct dial_run *r = CONTAINER_OF(t, struct dial_run, deadline);
	char text[ADDRESS_TEXT];
	unsigned i;

	for (i = 0; i < r->n; i++)
		if (r->attempts[i].watch != NULL)
			set_bad(r->dialer, &r->attempts[i].address);
	address_text(&r->dial->peer.sa, text);
	fault_set(&r->dial->fault, ERR_CONNECT_TIMEOUT, "%s", text);
	run_end(r);
}

/* The interface. */

static void
set_options(struct dial_run *r, const struct dial_options *o)
{
	if (o != NULL)
		r->options = *o;
	(void)account_ref(r->options.account);
	if (r->options.connect_timeout_ms == 0)
		r->options.connect_timeout_ms = CONNECT_TIMEOUT_MS;
}

void
dial_start(struct dialer *dialer, struct dial *d, struct str host,
    uint16_t port, const struct dial_options *o, struct task *wake)
{
	struct dial_run *r = calloc(1, sizeof(*r));

	if (r == NULL)
		abort();
	*d = (struct dial){ .fd = -1, .run = r };
	r->dialer = dialer;
	r->dial = d;
	r->wake = wake;
	r->port = port;
	r->last_family = AF_UNSPEC;
	r->started_at = loop_now(dialer->loop);
	task_init(&r->task, dialer->loop, on_addresses);
	timer_init(&r->delay, dialer->loop, on_delay);
	timer_init(&r->deadline, dialer->loop, on_deadline);
	set_options(r, o);
	dialer->dials++;
	resolve_start(dialer->resolver, &r->query, host,
	    o != NULL ? o->account : NULL, &r->task);
}

void
dial_cancel(struct dial *d)
{
	if (d->run != NULL)
		run_free(d->run);
	else if (d->done && d->fault.code == ERR_NONE && d->fd >= 0)
		(void)close(d->fd);
	d->fd = -1;
}

struct dialer *
dialer_new(struct loop *l, struct resolver *resolver)
{
	struct dialer *d = calloc(1, sizeof(*d));

	if (d == NULL)
		abort();
	d->loop = l;
	d->resolver = resolver;
	return (d);
}

void
dialer_free(struct dialer **dp)
{
	struct dialer *d = *dp;

	*dp = NULL;
	if (d == NULL)
		return;
	assert(d->dials == 0);
	free(d);
}
