/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tunnel's insides, for tunnel*.c.  See tunnel.h. */
#ifndef PROXY_TUNNEL_PRIV_H
#define PROXY_TUNNEL_PRIV_H

#include "base/budget.h"
#include "certs/leaf.h"
#include "proxy/client.h"
#include "net/dial.h"
#include "proxy/policy/policy.h"
#include "proxy/tunnel.h"
#include "tls/hello.h"

/* What the record says; for tunnel_audit.c. */
struct tunnel_record {
	char reference[16];
	uint64_t started_at, started_wall;
	struct str method;
	unsigned http_minor;
	struct tunnel_scans said;	/* in the arena */
	unsigned flows;		/* requests that came through */
};

/* Lives in its own arena. */
struct tunnel {
	struct arena *arena;	/* owned; holds this too */
	struct client *client;	/* borrowed: its owner */
	struct worker_gen *gen;	/* counted: the one that decided */
	struct http_uri named;	/* what was asked for */
	struct http_uri uri;	/* the authority of what goes through it */
	struct str dial_host;	/* what is connected to */
	struct plan plan;
	struct fault fault;	/* every request inside gets this page */
	struct hello hello;
	struct charge hello_charge;	/* of it, while it comes */
	struct chunk *hello_tail;	/* where small pieces of it go; or NULL */
	struct leaf_wait leaf;	/* .leaf is held as long as the session */
	struct origin *ahead;	/* owned; made while the client shakes hands */
	struct dial dial;	/* of a splice, or to learn the address */
	union address dest;	/* an address was named: that one */
	bool dest_known;
	bool opened;		/* TLS with the client is up */
	bool untrusted;		/* its leaf warns: the origin may be invalid */
	const char *refused_by;	/* the rule that refused an address of it */
	struct splice *splice;	/* owned; NULL: not spliced */
	struct tunnel_record record;
};

/* tunnel_rules.c */
/*
 * The rules of the tunnel, with the destination's address (NULL while it is
 * not known) into its plan.  False: they block it, the plan and fault say so.
 */
bool tunnel_decide(struct tunnel *, const struct sockaddr *dest);
/* Every request inside gets the page of a block by that rule. */
void tunnel_block(struct tunnel *, const char *rule);
/*
 * It is connected: is it spliced, by its own rules and by those that are in
 * force now?  A block is in its plan and fault.
 */
bool tunnel_may_splice(struct tunnel *);

/* tunnel_audit.c: if no request came through it. */
void tunnel_record(const struct tunnel *);

#endif
