/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the ICAP client share.
 * Room: icap.  Units: bytes, ms.  Thread: its loop's.
 */
#ifndef ICAP_ICAP_PRIV_H
#define ICAP_ICAP_PRIV_H

#include "base/arena.h"
#include "base/chunk.h"
#include "base/list.h"
#include "http/h1_body.h"
#include "http/h1_head.h"
#include "icap/encap.h"
#include "icap/icap.h"
#include "icap/options.h"
#include "icap/url.h"
#include "net/dial.h"
#include "tls/link.h"

#define BUSY_MIN_MS 250 /* after ICAP 503 */
#define BUSY_MAX_MS 4000
#define ICAP_LOOK_MS 50 /* has another worker freed a connection? */

struct icap_service;
struct icap_endpoint;

/* A connection to a server: with a transaction on it, or idle in the pool. */
struct icap_conn {
	struct list link; /* of the endpoint's idle ones; newest first */
	struct task task; /* owns the link while idle */
	struct icap_endpoint *ep;
	struct link *net; /* owned */
	uint64_t idle_since;
	bool reused; /* it has served a transaction before */
};

/* Making one: name, connect, TLS. Embedded. */
struct icap_connect {
	struct icap_endpoint *ep; /* NULL: not under way */
	struct dial dial;
	struct task task;
	struct timer timer;
	struct task *wake;       /* borrowed; woken when done */
	struct account *account; /* counted: for whom; NULL: nobody */
	struct link *net;
	struct icap_conn *conn; /* when done: taken by setting it NULL */
	struct fault fault;
	bool done;
};

/* One OPTIONS exchange. */
struct icap_probing {
	bool running;
	bool retried; /* its connection was lost once */
	struct task task;
	struct timer deadline;
	struct icap_connect connect;
	struct icap_conn *conn;
	struct arena *arena;
	struct h1_head *head;
	struct http_msg *answer; /* NULL: its head is not there yet */
	struct h1_body body;     /* opt-body: read and dropped */
	bool has_body;
	struct chq in;
	uint64_t started_at, ended_at;
};

/* One server. */
struct icap_endpoint {
	struct icap_service *svc;
	unsigned index;
	struct icap_url url;
	const char *name; /* "host:port" */
	const char *host;
	struct str prefix[2]; /* by scan_mode: request line and fixed fields */
	enum icap_state state;
	struct arena *arena; /* of caps */
	struct icap_caps caps;
	struct fault down; /* why */
	char istag[104];   /* the last one seen */
	struct icap_probing probing;
	struct timer next; /* refresh, or another probe */
	bool expired;      /* to be asked again when somebody comes */
	uint64_t used;     /* transactions at the last OPTIONS */
	uint64_t backoff;
	uint64_t busy_until; /* ICAP 503: nothing new before */
	uint64_t busy_backoff;
	unsigned busy_answers; /* 503 without any other answer between */
	unsigned failed; /* hung up, in the window that began at failed_at */
	uint64_t failed_at;
	uint64_t asked_at; /* OPTIONS, because of a doubt */
	struct list idle;
	struct timer sweep; /* of idle connections */
	unsigned n_idle, n_busy;
	struct icap_stats stats; /* its counters */
};

struct icap_service {
	struct scanner scanner; /* first: it is one */
	struct loop *loop;
	struct arena *arena;
	struct icap_options o; /* strings in arena */
	struct icap_shared *shared;
	struct dialer *dialer; /* borrowed */
	struct icap_endpoint *eps;
	unsigned n;
	unsigned turn;     /* round robin */
	struct list queue; /* transactions that wait for a server, by round */
	unsigned queued;
	unsigned waits[ICAP_CLIENTS]; /* of them, by client */
	uint64_t round;    /* of the last one that left it for a server */
	struct timer look; /* looks again while somebody waits */
	struct list all;   /* every transaction */
	struct buf icap_head, http_head; /* scratch */
};

/* pool.c */

void icap_pool_init(struct icap_endpoint *);
/* Highest number of connections of all workers; UINT_MAX: no limit. */
unsigned icap_pool_limit(const struct icap_endpoint *);
/* May one more be opened?  True: it is counted, and busy. */
bool icap_pool_reserve(struct icap_endpoint *);
/* Give that right back unused. */
void icap_pool_unreserve(struct icap_endpoint *);
/* The newest idle one that is still good; NULL: none. */
struct icap_conn *icap_pool_take(struct icap_endpoint *);
/* Close all idle ones. */
void icap_pool_empty(struct icap_endpoint *);
/* Back to the pool: everything was sent and received. *c is NULL. */
void icap_conn_give(struct icap_conn **c);
/* Close it.  LINK_ABORT inside a message. *c is NULL; may be NULL before. */
void icap_conn_drop(struct icap_conn **c, enum link_end);
/*
 * A slot has been reserved.  Completes by done and wake, never inside.  The
 * connection is counted for that account (NULL: nobody's) until it is given
 * back.
 */
void icap_connect_start(struct icap_connect *, struct icap_endpoint *,
    struct account *, struct task *wake);
/* In any state; a connection not taken is closed. */
void icap_connect_cancel(struct icap_connect *);

/* probe.c */

void icap_probing_init(struct icap_endpoint *);
/* Begin, unless one is under way. */
void icap_probing_start(struct icap_endpoint *);
void icap_probing_cancel(struct icap_endpoint *);

/* service.c */

enum icap_admit {
	ICAP_GO,     /* *ep is set; *conn too, or a connection is reserved */
	ICAP_WAIT,   /* for an answer to OPTIONS */
	ICAP_BUSY,   /* all that are up are busy */
	ICAP_REFUSED /* all are down: cause in *f */
};
/*
 * Choose a server.  tried: bit i set, not the i-th.  fresh: no idle connection.
 */
enum icap_admit icap_service_admit(struct icap_service *, unsigned tried,
    bool fresh, struct icap_endpoint **ep, struct icap_conn **conn,
    struct fault *f);
void icap_endpoint_up(struct icap_endpoint *);
void icap_endpoint_down(struct icap_endpoint *, const struct fault *);
/* A transaction failed. What a message provokes says nothing about the server. */
void icap_endpoint_failed(struct icap_endpoint *);
/* It cannot be reached: OPTIONS is to say whether it is down. */
void icap_endpoint_unreachable(struct icap_endpoint *);
/* It ended a connection in place of an answer: the same after some of them. */
void icap_endpoint_hung_up(struct icap_endpoint *);
/* It gave an answer, whatever that said. */
void icap_endpoint_worked(struct icap_endpoint *);
/* It said 503: that message waits; after some of them everybody does. */
void icap_endpoint_is_busy(struct icap_endpoint *);
/* An answer's ISTag: a new one means new OPTIONS soon. */
void icap_endpoint_istag(struct icap_endpoint *, struct str);

/* queue.c */

/* Let the first in the queue look again. */
void icap_service_kick(struct icap_service *);
bool icap_service_is_up(const struct icap_service *);
/* Below ICAP_CLIENTS; addresses of one IPv6 network share one. */
unsigned icap_client_slot(uint64_t key);

/* transaction.c */

extern const struct scanner_type icap_scanner_type;
struct icap_tx;
/* Out of the loop and freed; an adapted body still read ends cut. */
void icap_tx_abandon(struct icap_tx *);
struct icap_tx *icap_tx_of_all(struct list *);

#endif
