/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names to addresses without blocking: one resolver a loop, over c-ares.
 * IP literals and localhost names are answered from themselves, then the
 * hosts table, then the cache, then name servers (A and AAAA asked at the
 * same time; equal questions are joined).
 *
 * Room: net.  Thread: the resolver's loop; a hosts table may be read by
 * all.  Units: ms.  RFC 1034, RFC 6761 6.3, RFC 8305 3.
 */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/str.h"
#include "net/address.h"
#include "net/hosts.h"

#define RESOLVE_ADDRESSES 8 /* kept per family; the rest is dropped */

struct resolver_options {
	/* the resolver takes its own reference; NULL: none */
	struct hosts *hosts;
	const char *servers;  /* "ip[:port],..."; NULL or "": the system's */
	unsigned deadline_ms; /* for one query; 0: 5000 */
	unsigned max_names;   /* in the cache; 0: 8192 */
};

struct dns;
struct resolver;

/*
 * NULL with ERR_CONFIG in f: the servers are not understood or the system's
 * resolver configuration is unusable.
 */
struct resolver *resolver_new(struct loop *, const struct resolver_options *,
    struct fault *f);
/*
 * Use other options from now on and forget what is cached; queries under way
 * end by the old ones.  False: nothing has changed, cause in f.
 */
bool resolver_reload(struct resolver *, const struct resolver_options *,
    struct fault *f);
/*
 * The same in two halves.  The first can fail and changes nothing: NULL,
 * cause in f.  The second cannot, and takes what the first has made; else
 * dns_free() it (dns.h).
 */
struct dns *resolver_prepare(struct resolver *, const struct resolver_options *,
    struct fault *f);
void resolver_switch(struct resolver *, const struct resolver_options *,
    struct dns *);
/* Queries under way end with ERR_SHUTDOWN. */
void resolver_free(struct resolver **);

/* For metrics: since the start. */
struct resolver_counts {
	uint64_t queries; /* resolve_start() calls */
	uint64_t hits;    /* of them answered without a packet */
	uint64_t joined;  /* of them joined to a question under way */
	uint64_t failed;  /* ended with a fault */
	unsigned cached;  /* names in the cache now */
};
struct resolver_counts resolver_counts(const struct resolver *);

/*
 * One question.  Embedded; touched by the resolver from resolve_start() to
 * its end or resolve_cancel().
 */
struct resolve_query {
	/* the answer so far: families arrive one by one */
	bool done;           /* final: no more wake-ups */
	bool has_v6, has_v4; /* that family's answer is in, maybe empty */
	unsigned n_v6, n_v4;
	union address v6[RESOLVE_ADDRESSES], v4[RESOLVE_ADDRESSES];
	struct fault fault; /* ERR_NONE unless done with no address at all */

	/* private */
	struct resolver *resolver;
	struct task *wake;
	struct list link; /* of the name's waiters */
	struct list age;  /* of the resolver, by deadline */
	uint64_t due;     /* 0: not waiting */
};

struct account;

/*
 * Ask for the addresses of host (literal, with or without brackets, or
 * name).  wake (borrowed) is woken whenever the answer has grown, for the
 * last time when done is set.  What is known already is in *q on return,
 * often all of it; the wake-up comes nevertheless.
 *
 * The name is counted for a (of the client, borrowed for this call; NULL:
 * nobody) until its answer is there, whoever else waits for it by then and if
 * nobody does.  Where the client has too many: ERR_DNS_FAIL.
 *
 * ERR_DNS_NAME: no such name, or not a name; ERR_DNS_TIMEOUT: deadline;
 * ERR_DNS_FAIL: anything else.  A name of which only one family could be
 * found out has no fault.
 */
void resolve_start(struct resolver *, struct resolve_query *q, struct str host,
    struct account *a, struct task *wake);
/*
 * Forget the question; nothing of q is touched any more.  A wake-up that is
 * queued already may still come.  Harmless when done or never started ({0}).
 */
void resolve_cancel(struct resolve_query *q);

#endif
