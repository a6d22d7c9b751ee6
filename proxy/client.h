/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client's connection: plain requests, or a CONNECT tunnel that is opened
 * (TLS with a leaf of ours), spliced or refused.  One flow at a time; what a
 * client sends ahead waits (RFC 9112 9.3.2).
 *
 * Room: proxy.  Thread: its worker's.
 */
#ifndef PROXY_CLIENT_H
#define PROXY_CLIENT_H

#include "proxy/wire/h1_in.h"
#include "proxy/wire/h1_sink.h"
#include "proxy/wire/lease.h"
#include "proxy/worker.h"

struct account;
struct flow;
struct tunnel;

enum client_state {
#define S(name, next) CLIENT_##name,
#include "proxy/client.def"
#undef S
	CLIENT_STATES
};

struct client {
	struct list link;	/* of the worker */
	struct worker *worker;
	struct account *account;	/* counted: his share of the budget */
	const struct conf_listen *listen;
	union address peer;
	char ip[64];
	uint16_t port;
	enum client_state state;
	struct task task;
	struct timer timer;
	uint64_t deadline_at;	/* of the state; 0: none */
	uint64_t gone_since;	/* when its FIN was seen during a flow; 0: not */
	struct link *transport;
	struct h1_in in;
	struct h1_sink out;
	struct lease_own own;	/* origin connections it has signed in */
	struct tunnel *tunnel;	/* owned; NULL: plain */
	struct flow *flow;	/* NULL: none */
	unsigned served;
};

/* Takes the socket; it may be refused and closed at once. */
void client_new(struct worker *, int fd, const union address *peer,
    const struct conf_listen *);
/* End it now, visibly. */
void client_abort(struct client *);
/* The worker ends: idle ones close, the rest finish what they do. */
void client_drain(struct client *);

/* A new configuration: does what the client does still stand? */
void client_reload(struct client *, const struct conf *);

/* For flows and tunnels. */
/*
 * A flow has found that the connection is to be this tunnel, which the client
 * owns from now on.  It begins when the flow has ended with FLOW_TUNNEL.
 */
void client_tunnel(struct client *, struct tunnel *);
/* Close in order (what was written goes out) and free it. */
void client_close(struct client *, enum link_end how);

/*
 * May the client be led to this address?  Asks the rules for the request under
 * way, else for the tunnel.  Fits struct lease_want.
 */
bool client_may_reach(void *client, const struct sockaddr *);

#endif
