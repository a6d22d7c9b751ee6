/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server: what reads requests from a client's connection and writes the
 * answers, in one version of HTTP.  The connection's owner, its host, runs it;
 * it begins flows by way of the host, each with an exchange.
 *
 * Room: proxy/wire.  Units: ms.  Thread: its loop's.
 */
#ifndef PROXY_WIRE_SERVER_H
#define PROXY_WIRE_SERVER_H

#include "http/h1_head.h"
#include "http/uri.h"
#include "proxy/wire/exchange.h"
#include "tls/link.h"

struct account;
struct server;

/* Of the configuration that is in force when it is asked for. */
struct server_limits {
	struct h1_limits head; /* of a request */
	uint64_t request_ms;   /* for a whole head, from its first octet */
	uint64_t idle_ms;      /* between requests */
};

/* What a server asks of its host. */
struct server_host_type {
	/*
	 * Here is a request, or what is wrong with one: a flow takes it
	 * (exchange_take) before this returns, and runs later.
	 */
	void (*begin)(void *host, struct exchange *);
	void (*limits)(void *host, struct server_limits *);
	/*
	 * May the connection wait for another request?  When that changes, the
	 * host wakes the task.
	 */
	bool (*goes_on)(void *host);
};

struct server_options {
	const struct server_host_type *type;
	void *host;        /* borrowed */
	struct link *link; /* borrowed, until server_fini() */
	struct task *task; /* borrowed: the link's owner; it runs the server */
	struct account *account; /* borrowed: the client's */
	/* Of the tunnel that it is in, borrowed; NULL: in none. */
	const struct http_uri *authority;
	/* It is no name, but where clients were going: Host says the name. */
	bool any_host;
};

enum server_step {
	SERVER_WAITS, /* its task will be woken */
	SERVER_CLOSE, /* it has ended: close the connection in order */
	SERVER_ABORT  /* ... visibly, at once */
};

struct server_type {
	enum server_step (*run)(struct server *);
	void (*fini)(struct server *);
};

/* Embedded in a server. */
struct server {
	const struct server_type *type;
	struct server_options of;
};

/* Its task runs: go on with whatever there is news for. */
static inline enum server_step
server_run(struct server *s)
{
	return (s->type->run(s));
}

/* The connection goes away, or on to something else.  No exchange is left. */
static inline void
server_fini(struct server *s)
{
	s->type->fini(s);
}

#endif
