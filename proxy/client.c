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
#include "proxy/upgrade.h"
#include "tls/session.h"

#define PER_CLIENT 200 /* connections of one address */
/* of memory: its state, TLS, the first of each flow */
#define CLIENT_BYTES 32768

static void client_run(struct task *);

static const unsigned follows[CLIENT_STATES] = {
#define ON(name) (1u << CLIENT_##name)
#define S(name, next) [CLIENT_##name] = (next),
#include "proxy/client.def"
#undef S
#undef ON
};

static void
client_go(struct client *c, enum client_state s)
{
	assert((follows[c->state] & (1u << s)) != 0);
	c->state = s;
}

/* What is true of a client in each state. */
static void
check_state(const struct client *c)
{
	assert((c->state == CLIENT_SERVED) == (c->server != NULL));
	assert(c->state == CLIENT_SERVED || list_empty(&c->flows));
	assert(c->state != CLIENT_TUNNEL || c->tunnel != NULL);
	assert(c->transport != NULL || c->state == CLIENT_TUNNEL);
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
	client_go(c, CLIENT_ENDED);
	while (!list_empty(&c->flows))
		flow_free(CONTAINER_OF(c->flows.next, struct flow, link));
	if (c->server != NULL)
		server_fini(c->server);
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
	free(c->via);
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
	struct list *it, *save;

	LIST_EACH (it, save, &c->flows)
		upgrade_drain(CONTAINER_OF(it, struct flow, link));
	task_wake(&c->task); /* its server asks whether it goes on */
}

void
client_let_go(struct client *c)
{
	c->let_go = true;
	task_wake(&c->task); /* its server asks whether it goes on */
}

void
client_reload(struct client *c, const struct conf *conf)
{
	struct list *it, *save;
	struct flow *f;

	if (c->tunnel != NULL && !tunnel_reload(c->tunnel, conf)) {
		client_abort(c);
		return;
	}
	LIST_EACH (it, save, &c->flows) {
		f = CONTAINER_OF(it, struct flow, link);
		if (!upgrade_reload(f, conf))
			flow_free(f);
	}
}

/* The server. */

static void
host_begin(void *host, struct exchange *x)
{
	flow_new(host, x);
}

static void
host_limits(void *host, struct server_limits *l)
{
	const struct client *c = host;
	const struct gen *g = c->worker->current->gen;

	*l = (struct server_limits){ .head = g->client_limits,
		.request_ms = g->conf->limits.request_ms,
		.idle_ms = g->conf->limits.idle_ms };
}

/* A client that has lost a sign-in half-way has to begin anew. */
static bool
host_goes_on(void *host)
{
	const struct client *c = host;

	return (!c->worker->draining && !c->own.broken && !c->let_go);
}

static const struct server_host_type host_type = { host_begin, host_limits,
	host_goes_on };

/* What was agreed on in TLS, if that was asked. */
static bool
speaks_h2(const struct client *c)
{
	struct gnutls_session_int *tls = link_tls(c->transport);

	return (tls != NULL && tls_agreed(tls) == TLS_H2);
}

static void
start_server(struct client *c)
{
	struct server_options o = { .type = &host_type,
		.host = c,
		.link = c->transport,
		.task = &c->task,
		.account = c->account };

	assert(c->server == NULL);
	if (c->tunnel != NULL)
		o.authority = tunnel_authority(c->tunnel);
	o.any_host = c->tunnel != NULL && tunnel_is_plain(c->tunnel) &&
	    tunnel_is_led(c->tunnel);
	c->server = speaks_h2(c) ? h2_server_start(&c->is.h2, &o)
				 : h1_server_start(&c->is.h1, &o);
	client_go(c, CLIENT_SERVED);
}

static void
run_server(struct client *c)
{
	switch (server_run(c->server)) {
	case SERVER_WAITS:
		break;
	case SERVER_CLOSE:
		client_close(c, LINK_CLOSE);
		break;
	case SERVER_ABORT:
		client_close(c, LINK_ABORT);
		break;
	}
}

/* The tunnel. */

void
client_tunnel(struct client *c, struct tunnel *t)
{
	assert(c->state == CLIENT_SERVED && c->tunnel == NULL);
	assert(list_empty(&c->flows));
	server_fini(c->server);
	c->server = NULL;
	c->tunnel = t;
	client_go(c, CLIENT_TUNNEL);
	task_wake(&c->task);
}

static void
run_tunnel(struct client *c)
{
	switch (tunnel_run(c->tunnel)) {
	case TUNNEL_WAITS:
		break;
	case TUNNEL_CLOSE:
		client_close(c, LINK_CLOSE);
		break;
	case TUNNEL_OPENED:
		start_server(c);
		run_server(c);
		break;
	}
}

static void
client_run(struct task *t)
{
	struct client *c = CONTAINER_OF(t, struct client, task);

	check_state(c);
	switch (c->state) {
	case CLIENT_SERVED:
		run_server(c);
		break;
	case CLIENT_TUNNEL:
		run_tunnel(c);
		break;
	case CLIENT_NEW:
	case CLIENT_ENDED:
	case CLIENT_STATES:
		break;
	}
}

/* This machine: a balancer or a tunnel in front of us, many users at once. */
static bool
is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *v6 = (const void *)sa;
	const struct sockaddr_in *v4 = (const void *)sa;

	return (sa->sa_family == AF_INET
		? ntohl(v4->sin_addr.s_addr) >> 24 == 127
		: IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr));
}

static unsigned
per_client(const struct conf *conf, const struct sockaddr *sa)
{
	if (conf->limits.per_client != CONF_AUTO)
		return ((unsigned)conf->limits.per_client);
	return (is_loopback(sa) ? UINT_MAX : PER_CLIENT);
}

/* While memory is short only those are served who are connected already. */
static bool
is_new_in_need(const struct worker *w, const struct account *a)
{
	return (atomic_load_explicit(&w->shared->refuse_new,
		    memory_order_relaxed) &&
	    account_used(a, BUDGET_CLIENTS) == 0);
}

/*
 * Its memory and descriptor, out of the shares of its address; NULL: *why says
 * what there is not.  The link takes the descriptor.
 */
static struct account *
client_account(struct worker *w, const struct sockaddr *sa, const char **why)
{
	struct account *a = account_open(w->shared->budget, peers_key(sa));

	if (is_new_in_need(w, a))
		*why = "memory is short, new clients have to wait";
	else if (account_room(a, BUDGET_CLIENTS) == 0)
		*why = "this address has used up its share of descriptors";
	else if (!account_take(a, BUDGET_MEMORY, CLIENT_BYTES))
		*why = "this address has used up its share of memory";
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
	const char *why = "";
	char text[80];
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
	if (atomic_fetch_add(&w->shared->clients, 1) >= conf->limits.clients) {
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
	if ((a = client_account(w, &peer->sa, &why)) == NULL) {
		peers_remove(w->shared->peers, &peer->sa);
		atomic_fetch_sub(&w->shared->clients, 1);
		(void)log_limited(&hungry, LEVEL_ERROR, "listen",
		    "a client was refused: %s", why);
		snprintf(text, sizeof(text), "%s\n", why);
		refuse(&w->refusals, fd, "503 Service Unavailable", text);
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
client_new(struct worker *w, int fd, const struct client_from *from)
{
	struct account *a = client_admit(w, fd, &from->peer);
	struct client *c;
	int one = 1;

	if (a == NULL) {
		free(from->via);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		abort();
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->worker = w;
	c->account = a;
	c->listen = from->listen;
	c->peer = from->peer;
	c->via = from->via;
	c->dest = from->dest;
	if (c->dest.sa.sa_family != AF_UNSPEC)
		address_text(&c->dest.sa, c->dest_text);
	client_name(c);
	task_init(&c->task, w->loop, client_run);
	list_init(&c->flows);
	c->transport = link_new(w->loop, fd, &c->task);
	link_of_client(c->transport);
	link_charge_to(c->transport, a);
	lease_own_init(&c->own, a, &c->task);
	list_append(&w->clients, &c->link);
	w->n_clients++;
	if (c->dest.sa.sa_family != AF_UNSPEC) {
		c->tunnel = tunnel_new_led(c);
		client_go(c, CLIENT_TUNNEL);
	} else
		start_server(c);
	task_wake(&c->task);
}

bool
client_is_direct(const struct client *c)
{
	return (c->listen->kind != CONF_EXPLICIT &&
	    c->dest.sa.sa_family == AF_UNSPEC);
}
