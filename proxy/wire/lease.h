/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A lease: one exchange (a request and its answer) on a connection to an
 * origin.  Who holds one never sees the connection: its place decides whether
 * that is one that was kept, or a new one, and what becomes of it afterwards.
 *
 * A place is one (generation, scheme, host, port, address asked for, route, how
 * its parent is asked): never an address alone (RFC 9110 7.4).  A connection that is signed in (NTLM,
 * Negotiate) belongs to one client beside: it is never shared, serves all that
 * client's requests to its place, and ends with it.  Over TLS a connection may
 * speak HTTP/2: then it bears many leases at a time, of any clients.
 *
 * The order of a lease: lease_get(); lease_state() until it is LEASE_READY;
 * lease_send(); lease_head() until the final one; lease_body(); and at any time
 * lease_release().
 *
 * Room: proxy/wire.  Thread: its worker's.  Units: ms.
 */
#ifndef PROXY_WIRE_LEASE_H
#define PROXY_WIRE_LEASE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/list.h"
#include "base/str.h"
#include "net/address.h"

struct account;
struct arena;
struct body;
struct body_store;
struct duplex;
struct h1_limits;
struct http_msg;
struct lease;
struct origin_pool;
struct sink;
struct task;
struct upstream_end;
struct way;
struct worker;
struct worker_gen;

/* Of a client's connection: the connections to origins that it has signed in. */
struct lease_own {
	struct account *account; /* borrowed: the client's */
	struct list idle;        /* newest first */
	unsigned n;
	struct task *wake;  /* borrowed: the client's */
	bool broken;        /* one ended while it was being signed in */
	uint64_t broken_at; /* a hash of where it stood; 0: several did */
};

void lease_own_init(struct lease_own *, struct account *, struct task *wake);
/* The client's connection ends: so do all that it keeps.  It has no lease. */
void lease_own_fini(struct lease_own *);

/* Where to, and how. */
struct lease_want {
	/* borrowed: of the client, who outlives the lease */
	struct account *account;
	struct lease_own *own; /* borrowed: the same client's */
	bool tls;
	unsigned protocols; /* that it may be: a set of enum tls_protocol */
	struct str host;    /* SNI and certificate name; copied */
	bool host_is_ip;
	uint16_t port;
	struct str dial_host; /* what is connected to; STR_NONE: host */
	unsigned route;       /* of a plan: through which parent, if any */
	uint32_t slot;        /* conf_out_slot() of that for its client */
	bool absolute;        /* a parent may be asked by whole URLs (way.h) */
	/* of the CONNECT that it is for, of who outlives the lease; or absent */
	struct str via;
	/*
	 * Asked for each address before a packet is sent there, while the
	 * lease waits; false: the rules forbid it, ERR_POLICY_BLOCK if all
	 * are.  A connection that was kept was allowed to somebody: who has
	 * such rules asks them again with lease_peer().  May be NULL.
	 */
	bool (*may_reach)(void *arg, const struct sockaddr *);
	void *arg;
	struct way *dialled; /* connected already; taken over.  May be NULL */
	bool fresh;          /* none that was kept, or made a while ago */
	bool recent;         /* of those only one used moments ago */
	bool uploads;        /* a body follows the request's head */
	/*
	 * Its request opens a WebSocket connection.  Over HTTP/2 that is an
	 * extended CONNECT (RFC 8441), where the origin takes it; who has the
	 * lease sees the handshake of HTTP/1 either way.
	 */
	bool websocket;
	bool allow_invalid; /* tls.origin.on_invalid: untrusted */
};

enum lease_state {
	LEASE_WAITING, /* its task will be woken */
	LEASE_READY,   /* it has its connection */
	LEASE_FAILED   /* cause in lease_fault() */
};

/* Never NULL.  wake (borrowed) is woken whenever there is news for the lease. */
struct lease *lease_get(struct worker *, struct worker_gen *,
    const struct lease_want *, struct task *wake);
/* Asked when its task runs: what is it now? */
enum lease_state lease_state(struct lease *);
/* LEASE_FAILED: why; valid as long as the lease. */
const struct fault *lease_fault(const struct lease *);
/*
 * It was got before its request was known.  Is it still right for what is
 * wanted now, at the same place?  Not when it is of another generation, it is
 * or may become a connection of other protocols, its connection has ended, is
 * not recent but has to be, or another client uploads there and a body follows
 * this request, too.
 */
bool lease_is_good(struct lease *, const struct worker_gen *,
    const struct lease_want *);
/*
 * It is, and goes on for that, with another task: by its may_reach, and it may
 * be waiting once more.
 */
void lease_adopt(struct lease *, const struct lease_want *, struct task *wake);
/*
 * The end, in any state.  A connection that stands whole between two messages
 * serves the next lease; one that has switched, and whose end was said
 * (duplex_end), is closed in order; any other is cut, so the body of the answer
 * is given up before.  NULL: nothing.  *l becomes NULL.
 */
void lease_release(struct lease **l);

/*
 * LEASE_READY, once: the head of the request goes out.  Where a body follows,
 * its sink is returned, which is the lease's, and wakes the lease's task; else
 * NULL.  The request is borrowed until the lease is released.
 */
struct sink *lease_send(struct lease *, struct http_msg *, bool has_body);

enum lease_got {
	LEASE_GOT_HEAD,
	LEASE_GOT_WAIT, /* its task will be woken */
	LEASE_GOT_END,  /* the connection has ended instead */
	LEASE_GOT_BAD   /* what came is no answer */
};

/*
 * The next head of the answer, into arena a: interim ones, then the final one,
 * framed.  limits is borrowed until it is done.  END and BAD: the cause is in
 * f, and there is no head any more.
 */
enum lease_got lease_head(struct lease *, struct arena *a,
    const struct h1_limits *limits, struct http_msg **, struct fault *f);
/*
 * The head was that of a switch of protocols (101), which is taken: the
 * connection is the lease's alone, until it is released, and so is what is
 * returned.  It wakes the lease's task.
 */
struct duplex *lease_switch(struct lease *);
/*
 * The body behind the final head msg, a new one (one reference); NULL: there is
 * none.  Once.
 */
struct body *lease_body(struct lease *, struct body_store *,
    const struct http_msg *msg);
/*
 * Called whenever its task runs: if there is what the body waited for, its
 * readers go on.  NULL: nothing.
 */
void lease_turn(struct lease *);

/*
 * The connection ended under it: may the request go out on another one, if it
 * is one that may be repeated?
 */
bool lease_may_repeat(const struct lease *);
/*
 * There is no answer, and no origin has looked at the request: any may go out
 * again (RFC 9113 8.7), as it wants now.
 */
bool lease_is_unseen(const struct lease *);
/* May one of both come to be true of it? */
bool lease_may_be_lost(const struct lease *);
/* The peer's certificate is not acceptable, and that was allowed. */
bool lease_is_invalid(const struct lease *);
/* Does its connection end in the middle of being signed in? */
bool lease_breaks_sign_in(const struct lease *);

/* Clocks of the origin, for who has sent the request. */

/*
 * Does it owe a head for too long?  first: until its first octet since the
 * request, or the head before; rest: from then on.
 */
bool lease_is_late(const struct lease *, uint64_t now, uint64_t first,
    uint64_t rest);
/* Silent for ms while octets of the body are waited for? */
bool lease_is_silent(const struct lease *, uint64_t now, uint64_t ms);
/* Has it sent less than rate octets a second of a body that is waited for? */
bool lease_is_slow(struct lease *, uint64_t now, uint64_t rate);
/*
 * When each of these may come true, at the earliest; UINT64_MAX: it cannot.
 * The first is of lease_is_late(), the second of the other two.
 */
uint64_t lease_head_due(const struct lease *, uint64_t first, uint64_t rest);
uint64_t lease_body_due(const struct lease *, uint64_t now, uint64_t ms,
    uint64_t rate);
/* It was not the origin that we waited for: its clocks begin anew. */
void lease_forgive(struct lease *, uint64_t now);

/* Facts for the record. */

struct lease_times {
	int64_t dns_ms, connect_ms, tls_ms; /* -1: not done for it */
};

void lease_times(const struct lease *, struct lease_times *);
/* The parent that it goes through; NULL: straight, or not known yet. */
const struct upstream_end *lease_parent(const struct lease *);
/* Its address without the port, in an array of ADDRESS_TEXT; "": none. */
const char *lease_parent_ip(const struct lease *);
/* Straight, because its parents failed (on_error: direct)? */
bool lease_is_around(const struct lease *);
/* LEASE_FAILED: what a parent answered; 0: nothing. */
unsigned lease_parent_status(const struct lease *);
/* The origin's address with its port, NULL while only its parent knows it. */
const struct sockaddr *lease_peer(const struct lease *);
/* Its text without the port, in an array of ADDRESS_TEXT; "" while unknown. */
const char *lease_peer_ip(const struct lease *);
/*
 * What its certificate lacks of certificate transparency, as long as the lease
 * has the origin; "": nothing, or it was not asked (a session was resumed).
 */
const char *lease_lacks_ct(const struct lease *);
/*
 * "1.3", "AES-128-GCM", "h2"; STR_NONE without TLS or before it is up, and
 * where nothing was said of the protocol.
 */
void lease_tls(const struct lease *, struct str *version, struct str *cipher,
    struct str *protocol);

/* The places of a worker. */
struct origin_pool *origin_pool_new(struct worker *);
/* Close idle connections of generations other than keep. */
void origin_pool_purge(struct origin_pool *, const struct worker_gen *keep);
/* No lease is left. */
void origin_pool_free(struct origin_pool **);

#endif
