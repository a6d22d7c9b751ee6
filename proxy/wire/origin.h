/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections to origins: dialled, over TLS verified before a byte of a
 * request leaves, and kept for the next request to the same origin.
 *
 * A connection belongs to one (scheme, host, port, address asked for,
 * generation): never to an address alone (RFC 9110 7.4).  One that is signed
 * in (NTLM, Negotiate) belongs to one client's connection beside: it is never
 * pooled, serves all that client's requests to its place, and ends with it.
 *
 * Room: proxy.  Thread: its worker's.
 */
#ifndef PROXY_ORIGIN_H
#define PROXY_ORIGIN_H

#include "certs/verify.h"
#include "http/auth.h"
#include "proxy/wire/h1_in.h"
#include "proxy/wire/h1_sink.h"
#include "proxy/worker.h"

enum origin_state {
	ORIGIN_QUEUED,		/* others are connecting to it already */
	ORIGIN_GIVEN,		/* an idle one came free instead: see origin_settle() */
	ORIGIN_DIALLING,
	ORIGIN_HANDSHAKE,
	ORIGIN_VERIFYING,
	ORIGIN_READY,
	ORIGIN_FAILED		/* cause in fault */
};

/* What a client's connection keeps: origin connections it has signed in. */
struct origin_holder {
	struct account *account;	/* borrowed: the client's */
	struct list idle;	/* newest first */
	unsigned n;
	struct task *wake;	/* borrowed: the client's */
	bool broken;		/* one ended while it was being signed in */
};

struct origin {
	struct list link;		/* of its place: idle, or waiting ones */
	struct list age;		/* of the pool: all idle, oldest first */
	struct place *place;		/* of its host, dial_host and port */
	struct worker *worker;
	struct worker_gen *gen;		/* counted */
	struct task *owner;		/* borrowed; NULL: idle */
	struct task task;		/* runs while connecting or idle */
	struct timer timer;
	enum origin_state state;
	struct link *transport;		/* NULL before it is connected */
	struct h1_in in;
	struct h1_sink out;
	struct dial dial;
	struct verify_wait verify;
	struct tls_client tls;		/* .host: whose certificate; .port */
	char dial_host[256];		/* what is connected to: host, or the CONNECT address */
	bool is_tls, host_is_ip;
	bool fresh;			/* wants no connection that was used before */
	bool connecting;		/* counted as such in its place */
	struct origin *given;		/* owned; ORIGIN_GIVEN */
	struct account *account;	/* counted: for whom it looks up its name */
	struct origin_holder *holder;	/* borrowed: of the client it serves */
	enum http_sign_in sign_in;	/* not NONE: the holder's for ever */
	bool (*may_reach)(void *arg, const struct sockaddr *);
	void *may_arg;			/* borrowed, while it is dialling */
	bool leg;			/* the request on it has credentials of it */
	bool reused;			/* has served a request before this one */
	bool allow_invalid;		/* tls.origin.on_invalid: untrusted */
	bool invalid;			/* its certificate is not acceptable */
	struct fault fault;
	uint64_t dialled_at;
	uint64_t used_at;		/* ms: ready, or last given back */
	int64_t dns_ms, connect_ms, tls_ms;	/* -1: not done for this request */
};

/* Where to: what is asked of the pool. */
struct origin_want {
	struct account *account;	/* borrowed: for whom; NULL: nobody */
	bool tls;
	unsigned protocols;	/* tls: what is offered, of enum tls_protocol */
	struct str host;	/* SNI and certificate name */
	bool host_is_ip;
	uint16_t port;
	struct str dial_host;	/* STR_NONE: host */
	struct origin_holder *holder;	/* of whom; NULL: one of our own */
	/*
	 * Asked for each address before a packet is sent there, while owned;
	 * false: the rules forbid it, ERR_POLICY_BLOCK if all are.  May be NULL.
	 */
	bool (*may_reach)(void *arg, const struct sockaddr *);
	void *arg;
	struct dial *dialled;	/* connected already; taken over.  May be NULL */
	bool fresh;		/* not a pooled one */
	bool recent;		/* of pooled ones only those used moments ago */
	bool allow_invalid;
};

/*
 * A connection for owner (woken when its state changes or its link has
 * news): an idle one, ready at once, or one that is being made.  Never NULL.
 */
struct origin *origin_get(struct worker *, struct worker_gen *,
    const struct origin_want *, struct task *owner);
void origin_set_owner(struct origin *, struct task *owner);
/*
 * The owner was woken: *o becomes the connection that came free while *o
 * waited for its turn to connect, if there is one.  Returns its state.
 */
enum origin_state origin_settle(struct origin **o);
/*
 * The owner has no more use for it.  reusable: it stands between two
 * messages, whole; it goes to the pool.  Otherwise it is closed.
 */
void origin_release(struct origin **, bool reusable);
/* Has it been used, or made, so short a time ago that it is not dying? */
bool origin_is_recent(const struct origin *);
/* The peer's address, NULL while unknown. */
const struct sockaddr *origin_peer(const struct origin *);

/*
 * A head goes out over it, or has come (as it was received).  From the first
 * one that signs the connection in it is the holder's.
 */
void origin_note_head(struct origin *, const struct http_msg *);
/*
 * It died under a request: may another one be sent that?  Not where the
 * request carries a leg of a sign-in, which means this connection alone.
 */
bool origin_may_repeat(const struct origin *);

void origin_holder_init(struct origin_holder *, struct account *,
    struct task *wake);
/* The client's connection ends: so do all that it keeps. */
void origin_holder_fini(struct origin_holder *);

struct origin_pool *origin_pool_new(struct worker *);
/* Close idle connections of generations other than keep. */
void origin_pool_purge(struct origin_pool *, const struct worker_gen *keep);
void origin_pool_free(struct origin_pool **);

#endif
