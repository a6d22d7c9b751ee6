/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client's connection: a server that reads requests from it, each of which
 * is a flow, or a tunnel, which is opened (TLS with a leaf of ours: a server
 * again), spliced or refused.
 *
 * Room: proxy.  Thread: its worker's.
 */
#ifndef PROXY_CLIENT_H
#define PROXY_CLIENT_H

#include "proxy/wire/h1_server.h"
#include "proxy/wire/h2_server.h"
#include "proxy/wire/lease.h"
#include "proxy/worker.h"

struct account;
struct tunnel;

enum client_state {
#define S(name, next) CLIENT_##name,
#include "proxy/client.def"
#undef S
	CLIENT_STATES
};

#define CLIENT_VIA_ID 128

/* What a balancer in front of us said (PROXY protocol), for the record. */
struct client_via {
	char balancer[ADDRESS_TEXT];    /* its own address */
	char id[2 * CLIENT_VIA_ID + 1]; /* of the connection, in hexadecimal */
	char authority[256];            /* as it came: of any octets but NUL */
	char alpn[64];
};

/* Whose a connection is, and which way it came. */
struct client_from {
	const struct conf_listen *listen;
	union address peer; /* the client */
	/* Whose header named the client; its family is AF_UNSPEC: nobody did. */
	union address balancer;
	/*
	 * Of a transparent listener: where it was going.  Its family is
	 * AF_UNSPEC where nobody has redirected it, and on explicit ones.
	 */
	union address dest;
	struct client_via *via; /* taken by whom it is given; NULL: none */
};

struct client {
	struct list link; /* of the worker */
	struct worker *worker;
	struct account *account; /* counted: his share of the budget */
	const struct conf_listen *listen;
	union address peer;
	struct client_via *via;       /* owned; NULL: no balancer */
	union address dest;           /* as in client_from */
	char dest_text[ADDRESS_TEXT]; /* with its port; "": none */
	char ip[64];
	uint16_t port;
	enum client_state state;
	struct task task;
	struct link *transport;
	struct server *server; /* CLIENT_SERVED; else NULL */
	union {
		struct h1_server h1;
		struct h2_server h2;
	} is;                  /* that is it */
	struct lease_own own;  /* origin connections it has signed in */
	struct tunnel *tunnel; /* owned; NULL: plain */
	bool let_go;           /* it is not to be kept for more requests */
	struct list flows;     /* under way */
};

/*
 * Has somebody connected to a transparent listener himself?  He gets our own
 * pages, and nothing else.
 */
bool client_is_direct(const struct client *);
/* Takes the socket; it may be refused and closed at once. */
void client_new(struct worker *, int fd, const struct client_from *);
/* End it now, visibly. */
void client_abort(struct client *);
/* The worker ends: idle ones close, the rest finish what they do. */
void client_drain(struct client *);

/* Memory is short, and nothing is under way: close it, unless a request comes first. */
void client_let_go(struct client *);

/* A new configuration: does what the client does still stand? */
void client_reload(struct client *, const struct conf *);

/*
 * A CONNECT was granted (EXCHANGE_TUNNEL): the connection is this tunnel, which
 * the client owns from now on.
 */
void client_tunnel(struct client *, struct tunnel *);
/*
 * Close (in order: what was written goes out) and free it.  Flows that are under
 * way end as ERR_CLIENT_GONE.
 */
void client_close(struct client *, enum link_end how);

#endif
