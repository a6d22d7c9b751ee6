/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers of balancers, see greet.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "net/descriptors.h"
#include "net/proxy_header.h"
#include "proxy/accept.h"
#include "proxy/audit/log.h"
#include "proxy/client.h"
#include "proxy/greet.h"
#include "proxy/peers.h"

/* proxy-protocol.txt 2: not less than three, for a segment that was lost. */
#define GREET_MS 5000

struct greet {
	struct list link; /* of the worker */
	struct worker *worker;
	struct client_from from; /* with the balancer for the client */
	struct account *account; /* counted: the balancer's */
	int fd;
	struct watch *watch;
	struct timer timer;
	/*
	 * No client is named, or the balancer itself: one that looks whether
	 * we live ends it at once.  Is there anything behind the header?
	 */
	bool is_look;
	size_t n; /* read of the header */
	unsigned char header[PROXY_HEADER_MAX];
};

bool
greet_is_due(const struct conf_listen *l, const struct sockaddr *peer)
{
	struct nets_addr a;

	/* By who somebody is: no other spelling of a balancer is believed. */
	return (l->proxy_protocol.n > 0 && nets_addr_of(peer, &a) &&
	    nets_find(&l->proxy_protocol, &a, NETS_PLAIN) != NULL);
}

/* It is not waited for any more; the descriptor is the caller's. */
static int
greet_end(struct greet *g)
{
	struct worker *w = g->worker;
	int fd = g->fd;

	timer_stop(&g->timer);
	watch_free(&g->watch);
	list_remove(&g->link);
	account_give(g->account, BUDGET_CLIENTS, 1);
	account_give(g->account, BUDGET_MEMORY, sizeof(*g));
	account_unref(&g->account);
	atomic_fetch_sub(&w->shared->clients, 1);
	loop_defer_free(w->loop, g, free);
	return (fd);
}

static void
greet_close(struct greet *g)
{
	struct worker *w = g->worker;

	close(greet_end(g));
	worker_client_gone(w);
}

static void
greet_bad(struct greet *g, const char *what)
{
	static struct log_limit limit;
	char text[ADDRESS_TEXT];

	address_ip_text(&g->from.peer.sa, text);
	(void)log_limited(&limit, LEVEL_WARNING, "listen",
	    "%s is one of 'proxy_protocol' and %s; closed", text, what);
	greet_close(g);
}

static void
greet_late(struct timer *t)
{
	struct greet *g = CONTAINER_OF(t, struct greet, timer);

	if (g->is_look)
		greet_close(g);
	else
		greet_bad(g, "sent no whole PROXY header in time");
}

static void
set_hex(char *out, struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		(void)sprintf(out + 2 * i, "%02x", (unsigned char)s.p[i]);
}

/* Too long is left out: it is for the record only. */
static void
set_text(char *out, size_t room, struct str s)
{
	if (s.n < room && s.n > 0)
		memcpy(out, s.p, s.n);
}

/* What the record says of the balancer. */
static struct client_via *
via_of(const struct greet *g, const struct proxy_header *h)
{
	struct client_via *v = calloc(1, sizeof(*v));

	if (v == NULL)
		abort();
	assert(h->unique_id.n <= CLIENT_VIA_ID);
	address_ip_text(&g->from.peer.sa, v->balancer);
	set_hex(v->id, h->unique_id);
	set_text(v->authority, sizeof(v->authority), h->authority);
	set_text(v->alpn, sizeof(v->alpn), h->alpn);
	return (v);
}

/* It is a client now. */
static void
greet_done(struct greet *g, const struct proxy_header *h)
{
	struct worker *w = g->worker;
	struct client_from from = g->from;

	from.via = via_of(g, h);
	if (h->named) {
		from.balancer = g->from.peer;
		from.peer = h->source;
		if (from.listen->kind != CONF_EXPLICIT)
			from.dest = h->dest;
	}
	accept_client(w, greet_end(g), &from);
	worker_client_gone(w); /* it may have been refused */
}

/* What came, of which so much is the header's: the rest stays in the socket. */
static bool
take(struct greet *g, size_t n)
{
	assert(g->n + n <= sizeof(g->header));
	if (recv(g->fd, g->header + g->n, n, MSG_DONTWAIT) != (ssize_t)n)
		return (false);
	g->n += n;
	return (true);
}

/* The header is whole. */
static void
greet_whole(struct greet *g, struct proxy_header *h)
{
	g->is_look = !h->named || address_eq(&h->source.sa, &g->from.peer.sa);
	if (!g->is_look)
		greet_done(g, h);
	/* Else what comes next is looked at: the end of it, mostly. */
}

static void
greet_read(struct greet *g)
{
	struct proxy_header h;
	size_t had = g->n, room = sizeof(g->header) - had;
	ssize_t n = recv(g->fd, g->header + had, room, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* a look by TCP alone, or who asked has gone */
		greet_close(g);
		return;
	}
	switch (proxy_header_parse(g->header, had + (size_t)n, &h)) {
	case PROXY_HEADER_MORE:
		if (!take(g, (size_t)n))
			greet_close(g);
		break;
	case PROXY_HEADER_DONE:
		assert(h.size > had);
		if (take(g, h.size - had))
			greet_whole(g, &h);
		else
			greet_close(g);
		break;
	case PROXY_HEADER_BAD:
		greet_bad(g, "sent something else than a PROXY header");
		break;
	}
}

/* A connection that ends was no more than a look. */
static void
greet_look(struct greet *g)
{
	struct proxy_header h;
	char c;
	ssize_t n = recv(g->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		greet_close(g);
		return;
	}
	(void)proxy_header_parse(g->header, g->n, &h);
	greet_done(g, &h);
}

static void
greet_ready(void *arg, unsigned events)
{
	struct greet *g = arg;

	(void)events;
	if (g->is_look)
		greet_look(g);
	else
		greet_read(g);
}

/* limits.clients counts sockets; a balancer has a share like anybody. */
static struct account *
greet_admit(struct worker *w, int fd, const union address *peer)
{
	const struct conf *conf = w->current->gen->conf;
	struct account *a;

	if (descriptors_short(fd))
		return (NULL);
	if (atomic_fetch_add(&w->shared->clients, 1) >= conf->limits.clients) {
		atomic_fetch_sub(&w->shared->clients, 1);
		return (NULL);
	}
	a = account_open(w->shared->budget, peers_key(&peer->sa));
	if (account_take(a, BUDGET_MEMORY, sizeof(struct greet))) {
		if (account_take(a, BUDGET_CLIENTS, 1))
			return (a);
		account_give(a, BUDGET_MEMORY, sizeof(struct greet));
	}
	account_unref(&a);
	atomic_fetch_sub(&w->shared->clients, 1);
	return (NULL);
}

void
greet_new(struct worker *w, int fd, const struct client_from *from)
{
	static struct log_limit limit;
	struct account *a = greet_admit(w, fd, &from->peer);
	uint64_t most = w->current->gen->conf->limits.request_ms;
	struct greet *g;

	if (a == NULL) {
		(void)log_limited(&limit, LEVEL_ERROR, "listen",
		    "connections of a balancer were closed: too many have not "
		    "sent their PROXY header yet");
		close(fd);
		return;
	}
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		abort();
	g->worker = w;
	g->from = *from;
	g->account = a;
	g->fd = fd;
	list_append(&w->greets, &g->link);
	timer_init(&g->timer, w->loop, greet_late);
	timer_set(&g->timer, most > 0 && most < GREET_MS ? most : GREET_MS);
	g->watch = watch_new(w->loop, fd, greet_ready, g);
	watch_behind(g->watch);
	watch_set(g->watch, WATCH_READ);
}

void
greet_close_all(struct worker *w)
{
	while (!list_empty(&w->greets))
		close(greet_end(
		    CONTAINER_OF(w->greets.next, struct greet, link)));
}
