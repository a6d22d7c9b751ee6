/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tunnel's insides, for tunnel*.c.  See tunnel.h. */
#ifndef PROXY_TUNNEL_PRIV_H
#define PROXY_TUNNEL_PRIV_H

#include "base/budget.h"
#include "certs/leaf.h"
#include "proxy/client.h"
#include "net/resolve.h"
#include "proxy/policy/policy.h"
#include "proxy/tunnel.h"
#include "proxy/wire/way.h"
#include "tls/hello.h"

enum tunnel_state {
#define S(name, deadline, next) TUNNEL_##name,
#include "proxy/tunnel.def"
#undef S
	TUNNEL_STATES
};

/* What the record says; for tunnel_audit.c. */
struct tunnel_record {
	char reference[16];
	uint64_t started_at, started_wall;
	struct str method;
	unsigned http_minor;
	struct tunnel_scans said; /* in the arena */
	unsigned flows;           /* requests that came through */
};

/* Lives in its own arena. */
struct tunnel {
	struct arena *arena;    /* owned; holds this too */
	struct client *client;  /* borrowed: its owner */
	struct worker_gen *gen; /* counted: the one that decided */
	enum tunnel_state state;
	struct timer deadline; /* of the state */
	struct http_uri named; /* what was asked for */
	struct http_uri uri;   /* the authority of what goes through it */
	struct str dial_host;  /* what is connected to */
	struct str agent;      /* User-Agent of CONNECT; absent: none */
	struct plan plan;
	struct fault fault; /* every request inside gets this page */
	struct chq input;   /* read from the client, not yet used */
	struct hello hello;
	struct charge hello_charge; /* of it, while it comes */
	struct chunk *hello_tail;   /* where small pieces of it go; or NULL */
	struct leaf_wait leaf;      /* .leaf is held as long as the session */
	struct lease *ahead; /* owned; got while the client shakes hands */
	struct way way;      /* of a splice, or to learn the address */
	struct str via;      /* of the CONNECT; absent: none */
	union address dest;  /* an address was named: that one */
	bool dest_known;
	bool plain;         /* OPEN without TLS */
	bool led;           /* to a transparent listener */
	struct timer first; /* led: until something has come */
	bool is_silent;     /* nothing has */
	/* NAME; in the arena, or NULL */
	struct resolve_query *query;
	bool proven;            /* led: its name belongs to its address */
	bool in_doubt;          /* ... might not, and that made a difference */
	bool untrusted;         /* its leaf warns: the origin may be invalid */
	const char *refused_by; /* the rule that refused an address of it */
	struct splice *splice;  /* owned; NULL: not spliced */
	struct tunnel_record record;
	uint32_t
	    slot; /* of the flight record, until a request has come; 0: none */
};

/* tunnel.c */
/* Change the state; checked against the table. */
void tunnel_go(struct tunnel *, enum tunnel_state);
/* It has failed, for the record; the client closes. */
void tunnel_end(struct tunnel *, enum err, const char *detail);
/* Is it to the pages of assay itself? */
bool tunnel_is_internal(const struct tunnel *);
/*
 * Connect to the origin, unless the tunnel only shows a page.  dialled:
 * connected already, taken over; or NULL.
 */
void tunnel_connect_ahead(struct tunnel *, struct way *dialled);

/* tunnel_hello.c */
void tunnel_hello(struct tunnel *); /* HELLO */
/* TLS, and all that is to be known of its name is: splice or open it. */
void tunnel_hello_decided(struct tunnel *);
/* What is kept of the ClientHello for the parser; facts of it stay. */
void tunnel_hello_fini(struct tunnel *);
/*
 * The client does not speak TLS, and no rule splices that: requests in plain
 * HTTP are read, anything else is refused.
 */
void tunnel_not_tls(struct tunnel *);

/* tunnel_led.c: those that were led here */
/* It waits for the first octet from now on. */
void tunnel_led_begin(struct tunnel *);
void tunnel_led_silent(struct timer *); /* that has not come */
/* HELLO: it is TLS, and its ClientHello is read. */
void tunnel_led_tls(struct tunnel *);
/*
 * Is it to be found out whether its name belongs to its address?  Then it is in
 * state NAME.
 */
bool tunnel_led_prove(struct tunnel *);
void tunnel_led_name(struct tunnel *); /* NAME */
/* HELLO: it is neither TLS nor HTTP, or silent. */
void tunnel_led_other(struct tunnel *, enum err what);

/* tunnel_open.c */
void tunnel_mint(struct tunnel *);      /* MINT */
void tunnel_handshake(struct tunnel *); /* HANDSHAKE */

/* tunnel_splice.c */
void tunnel_dial(struct tunnel *);    /* begins DIAL */
void tunnel_dialled(struct tunnel *); /* DIAL */
void tunnel_spliced(struct tunnel *); /* SPLICE */

/* tunnel_rules.c */
/*
 * The rules of the tunnel, with the destination's address (NULL while it is
 * not known) into its plan.  False: they block it, the plan and fault say so.
 */
bool tunnel_decide(struct tunnel *, const struct sockaddr *dest);
/* Led here: would it be spliced, were its name proven? */
bool tunnel_asks_proof(const struct tunnel *);
/* Every request inside gets the page of a block by that rule. */
void tunnel_block(struct tunnel *, const char *rule);
/*
 * It is connected: is it spliced, by its own rules and by those that are in
 * force now?  A block is in its plan and fault.
 */
bool tunnel_may_splice(struct tunnel *);

/* tunnel_audit.c: if no request came through it. */
void tunnel_record(const struct tunnel *);
/* It is under way (proxy/flight.h), as it itself or by requests through it. */
void tunnel_flight_begin(struct tunnel *);
void tunnel_flight_note(struct tunnel *);
void tunnel_flight_end(struct tunnel *);

#endif
