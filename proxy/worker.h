/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A worker: one thread, one loop, its own listening sockets (SO_REUSEPORT),
 * connections, resolver and origin pool.  A connection never leaves it.
 *
 * Room: proxy.  Thread: the worker's, but for worker_start() and the posts.
 */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "base/list.h"
#include "base/loop.h"
#include "net/dial.h"
#include "proxy/flight.h"
#include "proxy/gen.h"
#include "proxy/refuse.h"
#include "proxy/remember.h"
#include "net/resolve.h"
#include "net/splice.h"
#include "scanners/chain.h"

struct client;
struct dns;
struct origin_pool;
struct listener;
struct proofs;
struct upstream_probes;

/* What all workers share and count; lives as long as the process. */
struct proxy_shared {
	_Atomic unsigned clients; /* connections of clients */
	struct peers *peers;      /* connections per address */
	/* limits.memory, limits.temp; shares of clients */
	struct budget *budget;
	struct flight *flight; /* borrowed: what is under way, after a crash */
	_Atomic bool refuse_new; /* memory is short (pressure.h) */
	_Atomic uint64_t flows;  /* answered since the start */
	struct remember blocked; /* responses, of late */
};

/* The steps of one chain of the configuration, with this worker's scanners. */
struct worker_chain {
	const struct policy_scan *of;
	struct chain_step *steps;
	unsigned n;
};

/* A generation as one worker uses it.  Counted by flows and connections. */
struct worker_gen {
	struct worker *worker;
	struct gen *gen; /* counted */
	unsigned refs;
	struct scanner **scanners;   /* by service; NULL: not used */
	struct worker_chain *chains; /* sorted by .of */
	unsigned n_chains;
	/* tickets of origins verified by this generation */
	struct tls_resume *resume;
	struct upstream_probes *probes; /* owned; NULL: no upstreams */
};

struct worker {
	unsigned index;
	struct loop *loop;
	struct proxy_shared *shared; /* borrowed */
	struct worker_gen *current;  /* counted */
	struct worker_gen *next;     /* counted; prepared, not used yet */
	struct dns *next_dns;        /* owned; with next */
	struct conf *first;          /* counted: its listeners stay */
	struct resolver *resolver;
	struct account *kept; /* counted: of idle connections and the like */
	struct dialer *dialer;
	struct splicer *splicer;
	struct proofs *proofs; /* of names, for transparent clients */
	struct origin_pool *pool;
	struct list clients; /* of struct client */
	unsigned n_clients;
	struct list outers;         /* of TLS with parents, see wire/outer.h */
	struct list greets;         /* of balancers, see greet.h */
	struct listener *listeners; /* owned */
	unsigned n_listeners;
	struct refusals refusals;
	struct flight_part flight; /* its slots, while the thread runs */
	struct timer tick;
	bool draining;
	struct timer drain;
	void *thread; /* private */
};

/*
 * On the worker's thread, or before it runs.  NULL with cause in f: a service
 * cannot be used.
 */
struct worker_gen *worker_gen_new(struct worker *, struct gen *,
    struct fault *f);
/* What a generation says about names; the strings are the generation's. */
void worker_resolver(const struct gen *, struct resolver_options *);
struct worker_gen *worker_gen_ref(struct worker_gen *);
void worker_gen_unref(struct worker_gen **);
/* The steps for a chain of this generation's configuration. */
const struct worker_chain *worker_gen_chain(const struct worker_gen *,
    const struct policy_scan *);

/*
 * Start a worker on sockets already bound and listening (borrowed array,
 * sockets are taken over).  NULL with the cause in f.
 */
struct worker *worker_start(unsigned index, struct gen *, struct proxy_shared *,
    const int *fds, const struct conf_listen *const *of, unsigned n_fds,
    struct fault *f);
/* Stop accepting, finish flows, then end; within drain_ms, or at once for 0. */
void worker_post_drain(struct worker *, uint64_t drain_ms);
/* Wait for its end; it lets go of its generation. */
void worker_join(struct worker *);
/* After every generation is gone: nobody sends it mail any more. */
void worker_free(struct worker **);

/* A client connection has ended (for draining). */
void worker_client_gone(struct worker *);

#endif
