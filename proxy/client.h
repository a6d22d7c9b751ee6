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

#include "base/budget.h"
#include "certs/leaf.h"
#include "proxy/h1io.h"
#include "proxy/origin.h"
#include "proxy/worker.h"
#include "tls/hello.h"

struct audit_scan;
struct flow;

enum client_state {
	CLIENT_IDLE,		/* between requests */
	CLIENT_FLOW,		/* a request is under way */
	CLIENT_HELLO,		/* tunnel: reading the ClientHello */
	CLIENT_MINT,		/* tunnel: waiting for the leaf (or the origin's verdict) */
	CLIENT_HANDSHAKE,
	CLIENT_DIAL,		/* tunnel: connecting for a splice */
	CLIENT_SPLICE,
	CLIENT_ENDED
};

/* What a CONNECT has opened.  Lives in its own arena. */
struct tunnel {
	struct arena *arena;	/* owned; holds this too */
	struct worker_gen *gen;	/* counted: the one that decided */
	struct http_msg *connect;	/* the request */
	struct http_uri uri;	/* the authority of what goes through it */
	struct str dial_host;	/* what CONNECT named */
	char reference[16];
	struct plan plan;
	struct fault fault;	/* every request inside gets this page */
	struct hello hello;
	struct charge hello_charge;	/* of it, while it comes */
	struct chunk *hello_tail;	/* where small pieces of it go; or NULL */
	struct leaf_wait leaf;	/* .leaf is held as long as the session */
	struct origin *ahead;	/* connection made while the client shakes hands */
	struct dial dial;	/* of a splice, or to learn the address */
	union address dest;	/* CONNECT named an address: that one */
	bool dest_known;
	const char *refused_by;	/* the rule that refused an address of it */
	struct splice *splice;
	uint64_t started_at, started_wall;
	struct audit_scan *scans;	/* what services said of the CONNECT */
	unsigned n_scans;
	int64_t scan_us;	/* -1: none */
	unsigned flows;		/* requests that came through */
	bool opened;		/* TLS with the client is up */
	bool untrusted;		/* its leaf warns: the origin may be invalid */
};

struct client {
	struct list link;	/* of the worker */
	struct worker *worker;
	struct account *account;	/* counted: his share of the budget */
	const struct conf_listen *listen;
	union conf_addr peer;
	char ip[64];
	uint16_t port;
	enum client_state state;
	struct task task;
	struct timer timer;
	uint64_t deadline_at;	/* of the state; 0: none */
	uint64_t gone_since;	/* when its FIN was seen during a flow; 0: not */
	struct link *transport;
	struct h1_in in;
	struct origin_holder own;	/* origin connections it has signed in */
	struct tunnel *tunnel;	/* NULL: plain */
	struct flow *flow;	/* NULL: none */
	unsigned served;
};

/* Takes the socket; it may be refused and closed at once. */
void client_new(struct worker *, int fd, const union conf_addr *peer,
    const struct conf_listen *);
/* End it now, visibly. */
void client_abort(struct client *);
/* The worker ends: idle ones close, the rest finish what they do. */
void client_drain(struct client *);

/* For flow.c and tunnel.c. */
void client_set_state(struct client *, enum client_state, uint64_t ms);
/* Close in order (what was written goes out) and free it. */
void client_close(struct client *, enum link_end how);

/* tunnel.c: takes over arena and gen of the flow that read the CONNECT. */
void tunnel_start(struct client *, struct tunnel *);
void tunnel_run(struct client *);
void tunnel_expired(struct client *);
void tunnel_free(struct client *);	/* NULL tunnel: nothing */
/*
 * May the client be led to this address?  Asks the rules for the request under
 * way, else for the tunnel.  Fits struct origin_want.
 */
bool client_may_reach(void *client, const struct sockaddr *);
/*
 * The rules of the tunnel, with the destination's address (NULL while it is
 * not known) into its plan.  False: they block it, the plan and fault say so.
 */
bool tunnel_decide(struct client *, const struct sockaddr *dest);
/* Every request inside gets the page of a block by that rule. */
void tunnel_block(struct tunnel *, const char *rule);
/*
 * It is connected: is it spliced, by its own rules and by those that are in
 * force now?  A block is in its plan and fault.
 */
bool tunnel_may_splice(struct client *);
/* A new configuration: does a spliced tunnel still stand? */
void tunnel_reload(struct client *, const struct conf *);
/*
 * The want of a request in the tunnel (or of the connection made ahead), by
 * the configuration that it goes by.
 */
void tunnel_want(const struct tunnel *, const struct worker_gen *,
    struct origin_want *);

#endif
