/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections to the servers of a service: made, kept, reused, counted.
 * Room: icap.  Thread: its loop's; counts of all workers are atomic.
 * Obeys RFC 3507 4.1, 4.10.2 (Max-Connections).
 */
#include <assert.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/budget.h"
#include "icap/icap_priv.h"

#define IDLE_MS 30000 /* below the limits of usual servers */
#define IDLE_MAX 32   /* of one worker and server; beyond it ... */
#define BURST_MS 1000 /* ... only who was of use that long ago */
#define SHED_MS 250   /* how soon idle ones make room for others */

unsigned
icap_pool_limit(const struct icap_endpoint *ep)
{
	if (ep->svc->o.max_connections > 0)
		return (ep->svc->o.max_connections);
	return (
	    ep->caps.max_connections > 0 ? ep->caps.max_connections : UINT_MAX);
}

static void
count_busy(struct icap_endpoint *ep, bool more)
{
	if (more) {
		ep->n_busy++;
		atomic_fetch_add_explicit(&ep->svc->shared->busy[ep->index], 1,
		    memory_order_relaxed);
		return;
	}
	assert(ep->n_busy > 0);
	ep->n_busy--;
	atomic_fetch_sub_explicit(&ep->svc->shared->busy[ep->index], 1,
	    memory_order_relaxed);
}

/* One connection less, of whatever kind. */
static void
count_closed(struct icap_endpoint *ep)
{
	unsigned had = atomic_fetch_sub(&ep->svc->shared->open[ep->index], 1);

	assert(had > 0);
	icap_service_kick(ep->svc);
}

bool
icap_pool_reserve(struct icap_endpoint *ep)
{
	_Atomic unsigned *open = &ep->svc->shared->open[ep->index];

	if (atomic_fetch_add(open, 1) >= icap_pool_limit(ep)) {
		atomic_fetch_sub(open, 1);
		return (false);
	}
	count_busy(ep, true);
	return (true);
}

void
icap_pool_unreserve(struct icap_endpoint *ep)
{
	count_busy(ep, false);
	count_closed(ep);
}

static void
conn_free(void *p)
{
	free(p);
}

/* Close one that is not busy (any more). */
static void
conn_close(struct icap_conn *c, enum link_end how)
{
	struct icap_endpoint *ep = c->ep;

	assert(c->net != NULL);
	link_close(&c->net, how);
	task_fini(&c->task);
	loop_defer_free(ep->svc->loop, c, conn_free);
	count_closed(ep);
}

/* Out of the pool. */
static void
unpool(struct icap_conn *c)
{
	assert(c->ep->n_idle > 0);
	task_fini(&c->task);
	list_remove(&c->link);
	c->ep->n_idle--;
}

static void
close_idle(struct icap_conn *c)
{
	unpool(c);
	conn_close(c, LINK_CLOSE);
}

/* An idle connection woke up: the server closed it, or sent stray bytes. */
static void
on_idle(struct task *t)
{
	struct icap_conn *c = CONTAINER_OF(t, struct icap_conn, task);

	if (link_is_stale(c->net))
		close_idle(c);
}

static struct icap_conn *
conn_new(struct icap_endpoint *ep, struct link *net)
{
	struct icap_conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	list_init(&c->link);
	task_init(&c->task, ep->svc->loop, on_idle);
	c->ep = ep;
	c->net = net;
	return (c);
}

static struct icap_conn *
oldest(struct icap_endpoint *ep)
{
	assert(ep->n_idle > 0 && !list_empty(&ep->idle));
	return (CONTAINER_OF(ep->idle.prev, struct icap_conn, link));
}

/* When the oldest has been kept for long enough. */
static uint64_t
oldest_ends(struct icap_endpoint *ep)
{
	return (oldest(ep)->idle_since +
	    (ep->n_idle > IDLE_MAX ? BURST_MS : IDLE_MS));
}

static void
sweep_set(struct icap_endpoint *ep)
{
	uint64_t at;

	if (ep->n_idle == 0)
		return;
	at = oldest_ends(ep);
	if (icap_pool_limit(ep) != UINT_MAX &&
	    at > loop_now(ep->svc->loop) + SHED_MS)
		at = loop_now(ep->svc->loop) + SHED_MS;
	timer_set_at(&ep->sweep, at);
}

/* Close what was idle for long; all, when another worker is at the limit. */
static void
on_sweep(struct timer *t)
{
	struct icap_endpoint *ep = CONTAINER_OF(t, struct icap_endpoint, sweep);
	bool shed = icap_pool_limit(ep) != UINT_MAX &&
	    atomic_load(&ep->svc->shared->waiting) > 0;
	uint64_t now = loop_now(ep->svc->loop);

	while (ep->n_idle > 0 && (shed || oldest_ends(ep) <= now))
		close_idle(oldest(ep));
	sweep_set(ep);
}

void
icap_pool_init(struct icap_endpoint *ep)
{
	list_init(&ep->idle);
	timer_init(&ep->sweep, ep->svc->loop, on_sweep);
}

struct icap_conn *
icap_pool_take(struct icap_endpoint *ep)
{
	struct icap_conn *c;

	while (ep->n_idle > 0) {
		c = CONTAINER_OF(ep->idle.next, struct icap_conn, link);
		if (link_is_stale(c->net)) {
			close_idle(c);
			continue;
		}
		unpool(c);
		count_busy(ep, true);
		return (c);
	}
	return (NULL);
}

void
icap_pool_empty(struct icap_endpoint *ep)
{
	while (ep->n_idle > 0)
		close_idle(oldest(ep));
	timer_stop(&ep->sweep);
}

void
icap_conn_give(struct icap_conn **cp)
{
	struct icap_conn *c = *cp;
	struct icap_endpoint *ep = c->ep;

	assert(list_empty(&c->link) && c->net != NULL);
	/* One of before the service told its limit. */
	if (atomic_load(&ep->svc->shared->open[ep->index]) >
		icap_pool_limit(ep) ||
	    account_spare(ep->svc->o.kept, BUDGET_DESCRIPTORS) == 0) {
		icap_conn_drop(cp, LINK_CLOSE);
		return;
	}
	*cp = NULL;
	link_charge_to(c->net, ep->svc->o.kept);
	count_busy(ep, false);
	c->reused = true;
	c->idle_since = loop_now(ep->svc->loop);
	link_set_owner(c->net, &c->task);
	list_insert(&ep->idle, &c->link);
	/* Requests of one page come at once, again and again. */
	if (++ep->n_idle == IDLE_MAX + 1 || ep->sweep.at == 0)
		sweep_set(ep);
	icap_service_kick(ep->svc);
}

void
icap_conn_drop(struct icap_conn **cp, enum link_end how)
{
	struct icap_conn *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	count_busy(c->ep, false);
	conn_close(c, how);
}

/* Connecting. */

static void
connect_done(struct icap_connect *c)
{
	assert(c->ep != NULL && !c->done);
	assert((c->conn == NULL) == (c->fault.code != ERR_NONE));
	timer_stop(&c->timer);
	account_unref(&c->account);
	c->done = true;
	task_wake(c->wake);
}

static void
connect_failed(struct icap_connect *c, const char *why)
{
	struct icap_endpoint *ep = c->ep;

	assert(c->conn == NULL);
	fault_set(&c->fault, ERR_SCAN_DOWN, "%s (%s): %s", ep->svc->o.name,
	    ep->name, why[0] != '\0' ? why : "no connection");
	if (c->net != NULL)
		link_close(&c->net, LINK_ABORT);
	dial_cancel(&c->dial); /* it may have come in this moment */
	icap_pool_unreserve(ep);
	connect_done(c);
}

static bool
start_tls(struct icap_connect *c)
{
	struct icap_service *svc = c->ep->svc;
	struct gnutls_session_int *session = NULL;
	struct fault f = { .code = ERR_NONE };

	assert(c->net != NULL && c->ep->url.tls);
	if (svc->o.tls_new != NULL)
		session = svc->o.tls_new(svc->o.tls_arg, c->ep->host, &f);
	if (session == NULL) {
		connect_failed(c, f.detail);
		return (false);
	}
	link_start_tls(c->net, session);
	link_may_reshake(c->net);
	return (true);
}

static bool
take_socket(struct icap_connect *c)
{
	const struct fault *f = &c->dial.fault;

	assert(c->dial.done && c->net == NULL);
	if (f->code != ERR_NONE) {
		if (dial_is_own_want(f->code))
			fault_set(&c->fault, ERR_SCAN_BUSY, "%s (%s): %s",
			    c->ep->svc->o.name, c->ep->name,
			    err_info(f->code)->text);
		connect_failed(c,
		    f->detail[0] != '\0' ? f->detail : err_info(f->code)->text);
		return (false);
	}
	c->net = link_new(c->ep->svc->loop, c->dial.fd, &c->task);
	link_charge_to(c->net, c->account);
	c->dial.fd = -1;
	return (!c->ep->url.tls || start_tls(c));
}

static void
connect_run(struct task *t)
{
	struct icap_connect *c = CONTAINER_OF(t, struct icap_connect, task);
	struct fault f = { .code = ERR_NONE };
	enum pull p;

	if (c->ep == NULL || c->done || !c->dial.done)
		return;
	if (c->net == NULL && !take_socket(c))
		return;
	if (c->ep->url.tls) {
		p = link_handshake(c->net, ERR_SCAN_DOWN, &f);
		if (p == PULL_WAIT)
			return;
		if (p != PULL_END) {
			connect_failed(c, f.detail);
			return;
		}
	}
	c->conn = conn_new(c->ep, c->net);
	c->net = NULL;
	connect_done(c);
}

static void
connect_late(struct timer *t)
{
	struct icap_connect *c = CONTAINER_OF(t, struct icap_connect, timer);

	connect_failed(c, "no connection in time");
}

void
icap_connect_start(struct icap_connect *c, struct icap_endpoint *ep,
    struct account *a, struct task *wake)
{
	struct icap_service *svc = ep->svc;
	struct dial_options options = {
		.connect_timeout_ms = (unsigned)svc->o.connect_timeout_ms,
		.account = a,
		.late = true
	};

	assert(c->ep == NULL && c->conn == NULL);
	*c = (struct icap_connect){ .ep = ep,
		.wake = wake,
		.account = account_ref(a) };
	task_init(&c->task, svc->loop, connect_run);
	timer_init(&c->timer, svc->loop, connect_late);
	timer_set(&c->timer, svc->o.connect_timeout_ms);
	ep->stats.connects++;
	dial_start(svc->dialer, &c->dial, str_of(ep->host), ep->url.port,
	    &options, &c->task);
}

void
icap_connect_cancel(struct icap_connect *c)
{
	struct icap_endpoint *ep = c->ep;

	if (ep == NULL)
		return;
	timer_stop(&c->timer);
	task_fini(&c->task);
	if (!c->done) {
		dial_cancel(&c->dial);
		if (c->net != NULL)
			link_close(&c->net, LINK_ABORT);
		icap_pool_unreserve(ep);
	}
	account_unref(&c->account);
	icap_conn_drop(&c->conn, LINK_CLOSE);
	c->ep = NULL;
}
