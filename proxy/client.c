/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Client connections, see client.h. */
#include <arpa/inet.h>
#include <assert.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "proxy/client.h"
#include "net/descriptors.h"
#include "proxy/flow.h"
#include "proxy/audit/log.h"
#include "proxy/peers.h"
#include "proxy/tunnel.h"

#define PER_CLIENT 200		/* connections of one address */
#define CLIENT_BYTES 32768	/* of memory: its state, TLS, the first of each flow */
#define TICK_MS 250		/* how often a long flow looks at its clocks */
#define TURN_REQUESTS 16	/* answered in one turn, then others have theirs */

static void client_run(struct task *);

static const unsigned follows[CLIENT_STATES] = {
#define ON(name) (1u << CLIENT_##name)
#define S(name, next) [CLIENT_##name] = (next),
#include "proxy/client.def"
#undef S
#undef ON
};

/* What is true of a client in each state. */
static void
check_state(const struct client *c)
{
	assert((c->state == CLIENT_FLOW) == (c->flow != NULL));
	assert(c->state != CLIENT_TUNNEL || c->tunnel != NULL);
	assert(c->transport != NULL || c->state == CLIENT_TUNNEL ||
	    c->state == CLIENT_ENDED);
}

/* ms: its deadline, which begins anew; 0: none. */
static void
client_set_state(struct client *c, enum client_state s, uint64_t ms)
{
	assert((follows[c->state] & (1u << s)) != 0);
	c->state = s;
	c->deadline_at = ms > 0 ? loop_now(c->worker->loop) + ms : 0;
	if (s == CLIENT_FLOW)
		timer_set(&c->timer, TICK_MS);
	else if (ms > 0)
		timer_set_at(&c->timer, c->deadline_at);
	else
		timer_stop(&c->timer);
}

static void
client_free_now(void *p)
{
	free(p);
}

void
client_close(struct client *c, enum link_end how)
{
	struct worker *w = c->worker;

	if (c->state == CLIENT_ENDED)
		return;
	client_set_state(c, CLIENT_ENDED, 0);
	flow_free(&c->flow);
	h1_in_fini(&c->in, NULL);
	if (c->transport != NULL)
		link_close(&c->transport, how);
	tunnel_free(&c->tunnel);
	lease_own_fini(&c->own);
	task_fini(&c->task);
	list_remove(&c->link);
	w->n_clients--;
	peers_remove(w->shared->peers, &c->peer.sa);
	account_give(c->account, BUDGET_MEMORY, CLIENT_BYTES);
	account_unref(&c->account);
	atomic_fetch_sub(&w->shared->clients, 1);
	loop_defer_free(w->loop, c, client_free_now);
	worker_client_gone(w);
}

void
client_abort(struct client *c)
{
	client_close(c, LINK_ABORT);
}

void
client_drain(struct client *c)
{
	if (c->state == CLIENT_IDLE)
		client_close(c, LINK_CLOSE);
}

void
client_reload(struct client *c, const struct conf *conf)
{
	if (c->tunnel != NULL && !tunnel_reload(c->tunnel, conf))
		client_abort(c);
}

/* A silent or slow client. */
static void
client_expired(struct client *c)
{
	switch (c->state) {
	case CLIENT_IDLE:
		client_close(c, LINK_CLOSE);
		break;
	case CLIENT_FLOW:
	case CLIENT_TUNNEL:
	case CLIENT_ENDED:
	case CLIENT_STATES:
		break;
	}
}

static void
client_tick(struct timer *t)
{
	struct client *c = CONTAINER_OF(t, struct client, timer);

	if (c->state == CLIENT_FLOW) {
		timer_set(t, TICK_MS);
		task_wake(&c->task);
	} else if (c->deadline_at != 0)
		client_expired(c);
}

void
client_tunnel(struct client *c, struct tunnel *t)
{
	assert(c->state == CLIENT_FLOW && c->tunnel == NULL);
	c->tunnel = t;
}

/* Between requests: begin a flow with the first octet, not before. */
static bool
client_idle(struct client *c)
{
	const struct conf_limits *l;
	enum pull p = PULL_MORE;
	uint64_t before = link_bytes_in(c->transport);

	if (c->own.broken) {		/* it has to sign in from the start */
		client_close(c, LINK_CLOSE);
		return (false);
	}
	/* Answers without a body wait for nobody: the next request does. */
	if (link_room(c->transport) == 0)
		return (false);
	if (chq_len(&c->in.bytes) == 0)
		p = link_read(c->transport, &c->in.bytes, 16384);
	if (p == PULL_WAIT)
		return (false);
	if (p != PULL_MORE) {
		client_close(c, LINK_CLOSE);
		return (false);
	}
	l = &c->worker->current->gen->conf->limits;
	c->flow = flow_new(c);
	c->flow->in_before = before;	/* what was just read is its own */
	/* The whole head, from its first octet (or the connection's begin). */
	client_set_state(c, CLIENT_FLOW, l->request_ms);
	return (true);
}

static bool
client_flow(struct client *c)
{
	switch (flow_run(c->flow)) {
	case FLOW_WAITS:
		link_look(c->transport);	/* it may go away meanwhile */
		return (false);
	case FLOW_CLOSE:
		client_close(c, LINK_CLOSE);
		return (false);
	case FLOW_ABORT:
		client_close(c, LINK_ABORT);
		return (false);
	case FLOW_NEXT:
		flow_free(&c->flow);
		c->gone_since = 0;
		c->served++;
		client_set_state(c, CLIENT_IDLE,
		    c->worker->current->gen->conf->limits.idle_ms);
		return (true);
	case FLOW_TUNNEL:
		assert(c->tunnel != NULL);
		flow_free(&c->flow);
		client_set_state(c, CLIENT_TUNNEL, 0);
		return (true);
	}
	return (false);
}

static bool
client_in_tunnel(struct client *c)
{
	switch (tunnel_run(c->tunnel)) {
	case TUNNEL_WAITS:
		return (false);
	case TUNNEL_CLOSE:
		client_close(c, LINK_CLOSE);
		return (false);
	case TUNNEL_OPENED:
		break;
	}
	client_set_state(c, CLIENT_IDLE,
	    c->worker->current->gen->conf->limits.request_ms);
	return (true);
}

static void
client_run(struct task *t)
{
	struct client *c = CONTAINER_OF(t, struct client, task);
	unsigned until = c->served + TURN_REQUESTS;
	bool again = true;

	while (again) {
		check_state(c);
		if (c->state == CLIENT_IDLE && c->served == until) {
			task_wake(t);
			return;
		}
		if (c->worker->draining && c->state == CLIENT_IDLE) {
			client_close(c, LINK_CLOSE);
			return;
		}
		switch (c->state) {
		case CLIENT_IDLE:
			again = client_idle(c);
			break;
		case CLIENT_FLOW:
			again = client_flow(c);
			break;
		case CLIENT_TUNNEL:
			again = client_in_tunnel(c);
			break;
		case CLIENT_ENDED:
		case CLIENT_STATES:
			return;
		}
	}
}

/* This machine: a balancer or a tunnel in front of us, many users at once. */
static bool
is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *v6 = (const void *)sa;
	const struct sockaddr_in *v4 = (const void *)sa;

	return (sa->sa_family == AF_INET ?
	    ntohl(v4->sin_addr.s_addr) >> 24 == 127 :
	    IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr));
}

static unsigned
per_client(const struct conf *conf, const struct sockaddr *sa)
{
	if (conf->limits.per_client != CONF_AUTO)
		return ((unsigned)conf->limits.per_client);
	return (is_loopback(sa) ? UINT_MAX : PER_CLIENT);
}

/*
 * Its memory and descriptor, out of the shares of its address; NULL: which
 * of them is used up is in *what.  The link takes the descriptor.
 */
static struct account *
client_account(struct worker *w, const struct sockaddr *sa, const char **what)
{
	struct account *a = account_open(w->shared->budget, peers_key(sa));

	if (account_room(a, BUDGET_CLIENTS) == 0)
		*what = "descriptors";
	else if (!account_take(a, BUDGET_MEMORY, CLIENT_BYTES))
		*what = "memory";
	else
		return (a);
	account_unref(&a);
	return (NULL);
}

/* May this connection be served?  Counts it if so: its account, else NULL. */
static struct account *
client_admit(struct worker *w, int fd, const union address *peer)
{
	static struct log_limit denied, full, few, hungry;
	const struct conf *conf = w->current->gen->conf;
	const char *what = "";
	char why[80];
	struct account *a;

	if (conf_client_check(conf, &peer->sa, NULL) != ERR_NONE) {
		(void)log_limited(&denied, LEVEL_WARNING, "listen",
		    "a client outside 'clients' was refused");
		refuse(&w->refusals, fd, "403 Forbidden",
		    "this address may not use the proxy\n");
		return (NULL);
	}
	if (descriptors_short(fd)) {
		(void)log_limited(&few, LEVEL_ERROR, "listen",
		    "descriptors run short (the limit of open files)");
		origin_pool_purge(w->pool, NULL);
		refuse(&w->refusals, fd, "503 Service Unavailable",
		    "the proxy serves as many clients as it can\n");
		return (NULL);
	}
	if (atomic_fetch_add(&w->shared->clients, 1) >=
	    conf->limits.clients) {
		atomic_fetch_sub(&w->shared->clients, 1);
		(void)log_limited(&full, LEVEL_ERROR, "listen",
		    "limits.clients reached");
		refuse(&w->refusals, fd, "503 Service Unavailable",
		    "the proxy serves as many clients as it may\n");
		return (NULL);
	}
	if (!peers_add(w->shared->peers, &peer->sa,
	    per_client(conf, &peer->sa))) {
		atomic_fetch_sub(&w->shared->clients, 1);
		refuse(&w->refusals, fd, "429 Too Many Requests",
		    "too many connections from this address\n");
		return (NULL);
	}
	if ((a = client_account(w, &peer->sa, &what)) == NULL) {
		peers_remove(w->shared->peers, &peer->sa);
		atomic_fetch_sub(&w->shared->clients, 1);
		(void)log_limited(&hungry, LEVEL_ERROR, "listen",
		    "a client has used up its share of %s", what);
		snprintf(why, sizeof(why),
		    "this address has used up its share of %s\n", what);
		refuse(&w->refusals, fd, "503 Service Unavailable", why);
	}
	return (a);
}

static void
client_name(struct client *c)
{
	const void *a = &c->peer.v4.sin_addr;

	if (c->peer.sa.sa_family == AF_INET6)
		a = &c->peer.v6.sin6_addr;
	(void)inet_ntop(c->peer.sa.sa_family, a, c->ip, sizeof(c->ip));
	c->port = address_port(&c->peer.sa);
}

void
client_new(struct worker *w, int fd, const union address *peer,
    const struct conf_listen *listen)
{
	struct account *a = client_admit(w, fd, peer);
	struct client *c;
	int one = 1;

	if (a == NULL)
		return;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		abort();
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->worker = w;
	c->account = a;
	c->listen = listen;
	c->peer = *peer;
	client_name(c);
	task_init(&c->task, w->loop, client_run);
	timer_init(&c->timer, w->loop, client_tick);
	c->transport = link_new(w->loop, fd, &c->task);
	link_of_client(c->transport);
	link_charge_to(c->transport, a);
	h1_in_init(&c->in, c->transport, &c->task);
	lease_own_init(&c->own, a, &c->task);
	list_append(&w->clients, &c->link);
	w->n_clients++;
	/* A connection that says nothing is closed like an unfinished head. */
	client_set_state(c, CLIENT_IDLE,
	    w->current->gen->conf->limits.request_ms);
	task_wake(&c->task);
}
