/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is behind a lease: the place that gives it, the connection it stands
 * on, and how exchanges are spoken there.  See lease.h.
 *
 *   place     whom connections are made for, and in which order
 *   origin    one connection: made, verified, leased, kept
 *   speech    the protocol on it: HTTP/1, HTTP/2
 *
 * Room: proxy/wire, lease*.c and origin*.c only.  Thread: its worker's.
 */
#ifndef PROXY_WIRE_LEASE_PRIV_H
#define PROXY_WIRE_LEASE_PRIV_H

#include "base/budget.h"
#include "certs/verify.h"
#include "http/auth.h"
#include "http/h2.h"
#include "proxy/wire/h1_duplex.h"
#include "proxy/wire/h1_in.h"
#include "proxy/wire/h1_sink.h"
#include "proxy/wire/lease.h"
#include "proxy/wire/way.h"
#include "proxy/worker.h"
#include "stream/pace.h"
#include "stream/sink.h"
#include "stream/source.h"
#include "tls/session.h"

#define ORIGIN_BUCKETS 1024
#define WANTS_H1 256 /* what is remembered; others take its place */

/*
 * What is pooled together, and who waits.  Two never share one, so that an
 * origin which does not answer holds up nobody else: a tunnel to an address
 * has its host from its client's own word.
 */
struct place {
	struct place *next;     /* in its bucket */
	struct worker_gen *gen; /* counted */
	bool tls;
	struct str host, dial; /* in name[]; they end in 0 */
	char name[2][256];
	uint16_t port;
	unsigned route;
	uint32_t slot;
	bool absolute;
	unsigned users;      /* leases and connections that point here */
	struct list idle;    /* of struct origin; newest first */
	struct list shared;  /* of struct origin, LEASED, which may bear more */
	struct list waiting; /* of struct lease, QUEUED; by turn */
	unsigned connecting, connecting_max;
	bool offers_h2;    /* by the configuration */
	bool one_first;    /* it may be HTTP/2: one connects, others wait */
	bool speaks_h2;    /* it did, the last time */
	uint64_t freed_at; /* ms: when one that waited was last given one */
};

struct origin_pool {
	struct worker *worker;
	struct place *bucket[ORIGIN_BUCKETS];
	uint64_t seed;   /* clients choose hosts: not their buckets */
	struct list age; /* idle ones, oldest first */
	unsigned idle;
	struct list signed_in; /* idle ones that belong to a client */
	struct {
		uint64_t key, until; /* ms */
	} wants_h1[WANTS_H1];        /* by place and client, see origin_h2.c */
	uint64_t wants_h1_until;     /* the latest of them */
	struct lease *spare;         /* owned; for the next ones */
	unsigned spares;
};

enum lease_at {
#define S(name, told, next) LEASE_AT_##name,
#include "proxy/wire/lease.def"
#undef S
	LEASE_ATS
};

/* What a lease on HTTP/2 has: a stream. */
struct h2_leg {
	struct h2_stream *stream; /* owned; NULL: not opened, or no more */
	struct source src;        /* of the answer's body */
	struct sink sink;         /* of the request's */
	struct charge charge;     /* of what waits in the stream */
	struct pace pace;         /* of the origin, inside a body */
	uint64_t silent_since;    /* ms; 0: nobody waits for octets */
	uint64_t left;            /* of the request's length */
	bool in_body;             /* the answer's has not ended yet */
	uint64_t put;             /* octets of the request's body */
	bool has_body;            /* the request's */
	bool uploads;             /* counted as such on its connection */
	bool waits;               /* SENT: for a stream */
	bool probes;              /* GIVEN: whether the connection lives */
	struct duplex raw;        /* SWITCHED */
};

struct lease {
	struct list link;      /* waiting at its place; or of its connection */
	struct lease *next;    /* of the spare ones */
	struct worker *worker; /* borrowed */
	struct place *place;   /* counted among its users */
	struct origin *origin; /* NULL: none yet, or no more */
	struct task *wake;     /* borrowed */
	struct timer timer;    /* QUEUED, ASKING or probing: until then */
	enum lease_at at;
	struct lease_want want;     /* its strings are the place's */
	const struct http_msg *req; /* borrowed; from SENT on */
	/* ms: since the request, or a head, or its first octet */
	uint64_t asked_at;
	uint64_t until;     /* ms, QUEUED: then it has failed */
	uint64_t turn;      /* ... and its client's turn */
	unsigned heads;     /* of the answer that have come */
	bool begun;         /* an octet of the next one has come */
	bool reused;        /* its connection was used before it */
	bool leg;           /* its request has credentials of a sign-in */
	bool keep;          /* ANSWERED: another one may follow */
	struct duplex *raw; /* SWITCHED: of its connection */
	bool unseen;        /* ENDED: nobody has looked at its request */
	struct h2_leg h2;
};

enum origin_state {
#define S(name, deadline, next) ORIGIN_##name,
#include "proxy/wire/origin.def"
#undef S
	ORIGIN_STATES
};

struct origin {
	struct list link;      /* IDLE: of its place, or of its own client */
	struct list age;       /* IDLE: of the pool */
	struct worker *worker; /* borrowed */
	struct place *place;   /* counted among its users */
	struct list leases;    /* that stand on it, or wait for it */
	struct task task;      /* runs while connecting or idle */
	struct timer timer;    /* its state's deadline */
	enum origin_state state;
	struct link *transport;      /* NULL before it is connected */
	const struct speech *speech; /* NULL before it is ready */
	struct h1_in in;             /* HTTP/1 */
	struct h1_sink out;
	struct h1_duplex raw; /* its lease has switched */
	struct h2_conn *h2;   /* owned: HTTP/2; NULL: it is not */
	unsigned n_leases;
	struct way way;
	struct verify_wait verify;
	struct tls_client tls;    /* .host: whose certificate; .port */
	enum tls_protocol agreed; /* what is spoken */
	struct account *account;  /* counted: for whom it looks up its name */
	/* borrowed: of the client it serves; NULL: none */
	struct lease_own *own;
	enum http_sign_in sign_in; /* not NONE: that client's for ever */
	bool host_is_ip;
	bool connecting; /* counted as such in its place */
	bool spoilt;     /* its end is a visible cut */
	bool lingers;    /* its end is in order, and may take time */
	bool allow_invalid, invalid; /* its certificate */
	struct fault fault;
	uint64_t connected_at;    /* ms */
	uint64_t used_at;         /* ms: ready, or its last exchange over */
	struct lease_times times; /* of its making */
};

/* How exchanges are spoken on a connection that is ready. */
struct speech {
	enum tls_protocol protocol;
	void (*begin)(struct origin *);
	/* The connection ends: a body under way is cut. */
	void (*end)(struct origin *);
	/* The lease is given it, or another task goes on with the lease. */
	void (*attach)(struct lease *);
	/* The lease leaves it, in any state; what is under way is given up. */
	void (*detach)(struct lease *);
	/* Its task runs: LEASED or DRAINING. */
	void (*run)(struct origin *);
	/* Those of lease.h; the state of the lease was checked. */
	void (*turn)(struct lease *);
	struct sink *(*send)(struct lease *, struct http_msg *, bool has_body);
	enum lease_got (*head)(struct lease *, struct arena *,
	    const struct h1_limits *, struct http_msg **, struct fault *);
	struct body *(*body)(struct lease *, struct body_store *,
	    const struct http_msg *);
	struct duplex *(*switched)(struct lease *);
	/* Has an octet of the head that is waited for come? */
	bool (*begun)(const struct lease *);
	bool (*silent)(const struct lease *, uint64_t now, uint64_t ms);
	bool (*slow)(struct lease *, uint64_t now, uint64_t rate);
	uint64_t (*due)(const struct lease *, uint64_t now, uint64_t ms,
	    uint64_t rate);
	void (*forgive)(struct lease *, uint64_t now);
	/* Nothing of an exchange is under way on it, it can bear one more. */
	bool (*whole)(const struct origin *);
	/* May one more lease stand on it, beside those that do? */
	bool (*bears)(const struct origin *);
	/* Between exchanges: has its peer ended it, or said something unasked? */
	bool (*stale)(struct origin *);
};

/* lease_h1.c */
extern const struct speech speech_h1;

/* lease_h2.c */
extern const struct speech speech_h2;
/* It probes no more. */
void lease_h2_probed(struct lease *);
/* The connection has news: of streams, for their leases. */
void lease_h2_news(struct origin *);
/* Those that wait for a stream, or a sign of life, go on if they can. */
void lease_h2_open_waiting(struct origin *);

/* lease_h2_ws.c: a WebSocket connection as a stream (RFC 8441) */

/* What is sent for the handshake: an extended CONNECT, in its arena. */
const struct http_msg *lease_h2_connect(struct lease *);
/* The 2xx that grants it becomes the 101 of HTTP/1. */
void lease_h2_granted(struct lease *, struct http_msg *);
struct duplex *lease_h2_switched(struct lease *);

/* lease_h2_body.c: both bodies of a lease that has its stream */
struct sink *lease_h2_sink(struct lease *);
struct body *lease_h2_source(struct lease *, struct body_store *,
    const struct http_msg *);
/* The lease ends: so does its body, as cut, if somebody has it still. */
void lease_h2_source_gone(struct lease *);
/* Octets wait in the stream, which are its client's. */
void lease_h2_recharge(struct lease *);
bool lease_h2_silent(const struct lease *, uint64_t now, uint64_t ms);
bool lease_h2_slow(struct lease *, uint64_t now, uint64_t rate);
uint64_t lease_h2_due(const struct lease *, uint64_t now, uint64_t ms,
    uint64_t rate);
void lease_h2_forgive(struct lease *, uint64_t now);

/* origin_h2.c */

/* A connection of HTTP/2. */
struct h2_conn {
	struct origin *origin;      /* borrowed: whose it is */
	struct h2_session *session; /* owned */
	struct charge charge;
	struct timer timer; /* of its silence */
	uint64_t heard_at;  /* ms: its last octet */
	uint64_t asked_at;  /* ms: our last PING */
	uint64_t again_at;  /* ms: no other for silence before */
	unsigned waiting;   /* leases whose stream is not open */
	unsigned probing;   /* leases that wait for a sign of life */
	unsigned uploads;   /* leases with a body, all of ... */
	/* borrowed: this client, while there are any */
	struct account *uploader;
	bool ended;      /* nothing more will be read */
	bool refused;    /* a stream of it, which went elsewhere */
	bool told;       /* leases that are ASKING were woken */
	unsigned resets; /* of ours: what clients gave up */
};

void origin_h2_begin(struct origin *);
void origin_h2_end(struct origin *);
void origin_h2_run(struct origin *);
bool origin_h2_stale(struct origin *);
bool origin_h2_bears(const struct origin *);
/*
 * May a request with a body go out there?  The window of a connection is one
 * for all: what an origin does not read of one client's upload would hold up
 * another client's.
 */
bool origin_h2_takes_upload(const struct origin *, const struct account *);
/* A request with a body goes out, or its lease ends. */
void origin_h2_upload_began(struct lease *);
void origin_h2_upload_ended(struct lease *);
/* Something may wait to be sent: soon. */
void origin_h2_flush(struct origin *);
/* Whose memory it is. */
void origin_h2_charge(struct origin *, struct account *);
/* Ask for a sign of life, for one more lease; it has come, or never will. */
void origin_h2_probe(struct origin *);
bool origin_h2_is_probed(const struct origin *);
/* Has it said whether it takes WebSocket connections, or never will? */
bool origin_h2_is_asked(const struct origin *);
/* It lives, and does (RFC 8441 3), or does not. */
bool origin_h2_takes_websocket(const struct origin *);
bool origin_h2_refuses_websocket(const struct origin *);
/* Its silence counts while leases wait for it. */
void origin_h2_watch(struct origin *);
/* That place wants HTTP/1.1 of that client, for a while. */
void origin_wants_h1(const struct lease *);
bool origin_is_h1_wanted(const struct lease *);

/* lease.c */

/* The one writer of its state; checked against the table. */
void lease_go(struct lease *, enum lease_at);
/* It stands on the connection from now on, or waits for it. */
void lease_attach(struct lease *, struct origin *);
/* It waits no more at its place. */
void lease_unqueue(struct lease *);
/* It stands on a connection that is ready, or asks it whether it will do. */
void lease_made(struct lease *);
/* It stands on a connection that is ready. */
bool lease_is_on(const struct lease *);

/* origin.c */

/* For a lease, which is MAKING then: it connects, or has (want.dialled). */
void origin_make(struct lease *);
/* In any state, out of every list; no lease is left. */
void origin_destroy(struct origin *);
/* The one writer of its state; its deadline begins. */
void origin_go(struct origin *, enum origin_state);
/*
 * It is ready: who is its first lease's client pays for it, or, while there is
 * none, the share of what is kept.
 */
void origin_pays(struct origin *);
/* Ready, may it serve the lease?  Both are of one place. */
bool origin_suits(const struct origin *, const struct lease *);
/* ... as what is asked of the connection goes, or may turn out to. */
bool origin_serves(const struct origin *, const struct lease_want *);
/* Has it been used, or made, so short a time ago that it is not dying? */
bool origin_is_recent(const struct origin *);
/* LEASED or IDLE: has its peer ended it, or said something unasked? */
bool origin_is_stale(struct origin *);

/* origin_pool.c */

/* With one more user; origin_place_put() is owed. */
struct place *origin_place_get(struct origin_pool *, struct worker_gen *,
    const struct lease_want *);
void origin_place_put(struct origin_pool *, struct place *);
/* Is there a turn for the lease to connect? */
bool origin_may_connect(const struct lease *);
/*
 * Its place may speak HTTP/2, and another connection there takes long: may it
 * connect beside?
 */
bool origin_may_connect_beside(const struct lease *);
/*
 * A connection of its place speaks HTTP/2 and takes no WebSocket connections:
 * HTTP/1 is what is left for those.
 */
bool origin_refuses_websocket(const struct place *);
/* One of its place does: those that wait and want one are for HTTP/1. */
void origin_pool_refused_websocket(struct place *);
/* It connects no more, if it did: others may.  ok: it is ready. */
void origin_connecting_ended(struct origin *, bool ok);
/* An idle one of its place that suits the lease, out of the pool; NULL: none. */
struct origin *origin_pool_take(const struct lease *);
/*
 * No lease stands on it: its client's, if it is signed in; of who waits; or
 * kept.
 */
void origin_pool_put(struct origin *);
/* It is idle there, and is lost or too old. */
void origin_pool_drop(struct origin *);
/* It is ready, or bears more than before: leases that wait may have it. */
void origin_pool_offer(struct origin *);
/*
 * LEASED: it takes no more leases, and ends with its last one.  In other states
 * nothing.
 */
void origin_drain(struct origin *);

/* origin_own.c */

/* The client's own idle connection for the lease; NULL: none that lives. */
struct origin *origin_own_take(const struct lease *);
/* It is signed in and no lease stands on it: its client keeps it. */
void origin_own_put(struct origin *);
/* It is idle there, and is lost or too old. */
void origin_own_drop(struct origin *);
/* One was lost at that place between two legs. */
void lease_own_break(struct lease_own *, const struct place *);
bool lease_own_is_broken(const struct lease_own *, const struct place *);
/* Drop what is idle and of other generations than keep. */
void origin_own_purge(struct origin_pool *, const struct worker_gen *keep);
/* A head has gone out or come: does it sign the connection in? */
void lease_note_head(struct lease *, const struct http_msg *);

#endif
