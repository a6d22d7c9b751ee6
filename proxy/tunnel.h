/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tunnel: what a client's connection becomes when it asks for one authority
 * (CONNECT).  Its ClientHello decides: it is opened (TLS with a leaf of ours,
 * then requests come through it), spliced or refused.  Browsers send ws:// so
 * that it begins with a request in plain HTTP: then requests are read at once.  A refused one is opened
 * as well, so that the client can be shown the page.
 *
 * Its states are in tunnel.def.
 *
 * Room: proxy.  Thread: its worker's; driven by its client's task.
 */
#ifndef PROXY_TUNNEL_H
#define PROXY_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

struct audit_scan;
struct client;
struct conf;
struct fault;
struct http_uri;
struct lease;
struct lease_want;
struct plan;
struct sockaddr;
struct tunnel;
struct worker_gen;

enum tunnel_step {
	TUNNEL_WAITS,  /* the client's task will be woken */
	TUNNEL_OPENED, /* the client reads requests from its link now */
	TUNNEL_CLOSE   /* it has ended: close in order */
};

/* What services said of a tunnel before it began. */
struct tunnel_scans {
	const struct audit_scan *scans;
	unsigned n;
	int64_t us; /* -1: none looked at it */
};

/* What its record says of how it was asked for. */
struct tunnel_facts {
	const char *reference;
	uint64_t started_at;   /* monotonic ms */
	uint64_t started_wall; /* Unix ms */
	struct str method;
	struct str agent; /* User-Agent of CONNECT, for rules; absent: none */
	unsigned http_minor;
	struct str via; /* Via of CONNECT; absent: none */
	struct tunnel_scans said;
	bool led; /* nobody asked: see tunnel_new_led() */
};

/*
 * A tunnel of the client to an authority (a name, or an address: then the name
 * in TLS takes its place), reached at the address or name dial_host.  It goes
 * by the plan, which the generation's configuration has made; a plan that
 * blocks it makes a tunnel that shows the page.  All is copied, the generation
 * is counted.  Never NULL; the
 * client takes it by client_tunnel().
 */
struct tunnel *tunnel_new(struct client *, struct worker_gen *,
    const struct http_uri *authority, struct str dial_host, const struct plan *,
    const struct tunnel_facts *);
/*
 * The same of a connection that was led to a transparent listener, to where it
 * was going (client's dest).  It shows what it is by its first octets, TLS,
 * plain HTTP or something else, and is decided on then.
 */
struct tunnel *tunnel_new_led(struct client *);
/*
 * Go on, until it is open or has ended: the client's task has run, which the
 * tunnel also wakes at its deadlines.
 */
enum tunnel_step tunnel_run(struct tunnel *);
/*
 * In any state, when the client's connection has ended.  Writes the record, if
 * no request came through it.  *t may be NULL; becomes NULL.
 */
void tunnel_free(struct tunnel **t);
/* A new configuration: false: it denies what the tunnel does, abort it. */
bool tunnel_reload(struct tunnel *, const struct conf *);

/* For the requests that come through it; what is returned is the tunnel's. */

/* One more has come.  For the first: what services said of the tunnel; else NULL. */
const struct tunnel_scans *tunnel_count(struct tunnel *);
/*
 * Whose certificate the client was shown, with scheme "https"; or "http" where
 * its requests come plain.
 */
const struct http_uri *tunnel_authority(const struct tunnel *);
/* Not ERR_NONE: every request inside gets this page. */
const struct fault *tunnel_fault(const struct tunnel *);
/* What a parent proxy has refused it with; 0: nothing. */
unsigned tunnel_parent_status(const struct tunnel *);
const struct plan *tunnel_plan(const struct tunnel *);
/* The name that the ClientHello gave; empty: none. */
struct str tunnel_sni(const struct tunnel *);
/* The address that was named instead of a host; NULL: none was. */
const struct sockaddr *tunnel_dest(const struct tunnel *);
/* Do its requests come without TLS? */
bool tunnel_is_plain(const struct tunnel *);
/* Would the rules have given more to its name, had it been proven? */
bool tunnel_is_in_doubt(const struct tunnel *);
/* Was it led here? */
bool tunnel_is_led(const struct tunnel *);
/*
 * It was, and no origin proves the names in it: where it was going to, with its
 * scheme.  NULL: they are what was asked for, or proven.
 */
const struct http_uri *tunnel_unproven(const struct tunnel *);
/* Is it up: does the client read requests? */
bool tunnel_is_open(const struct tunnel *);
/*
 * The lease that was got while the client shook hands; the caller's from now
 * on.  NULL: none, or it was taken.
 */
struct lease *tunnel_take_ahead(struct tunnel *);
/*
 * What a request in the tunnel asks of its place, by the configuration that it
 * goes by.  Its strings are the tunnel's.
 */
void tunnel_want(const struct tunnel *, const struct worker_gen *,
    struct lease_want *);
/* May the client be led to this address by the rules of the tunnel? */
bool tunnel_may_reach(struct tunnel *, const struct sockaddr *);
/* The rule that forbade an address of it; NULL: none did. */
const char *tunnel_refused_by(const struct tunnel *);

#endif
