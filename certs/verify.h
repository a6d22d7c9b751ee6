/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is this the origin's certificate?  The chain is verified by GnuTLS (RFC
 * 5280) and then by rules of our own: RFC 9525 names, strength, EKU of
 * intermediates, revocation by CRL and stapled OCSP response, bounds, and
 * never our own CA.  The verdict on a chain does not depend on the name; it
 * is cached by a SHA-256 over the chain and its staple, so that a wildcard
 * certificate is verified once for many names.
 *
 * A resumed TLS session carries no chain: the caller keeps the verdict with
 * the ticket, under the name it was given for.
 *
 * Room: certs.  A verifier is shared by all workers of a generation; waits
 * belong to one loop's thread.
 */
#ifndef CERTS_VERIFY_H
#define CERTS_VERIFY_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <time.h>
#include "base/fault.h"
#include "base/job.h"
#include "base/loop.h"
#include "certs/ca.h"
#include "certs/ct.h"
#include "certs/issuers.h"
#include "certs/memo.h"
#include "certs/statuses.h"
#include "certs/trust.h"

#define VERIFY_MAX_BYTES 65536 /* more is an attack on memory and CPU */
/* that may lead from the leaf up, as GnuTLS has it */
#define VERIFY_MAX_CERTS 16
#define VERIFY_MAX_STAPLE 16384
#define VERIFY_MAX_ANSWERS 8  /* of responders, for one chain */
#define VERIFY_MAX_LISTS 8    /* the same of lists */
#define VERIFY_MAX_ASKED 12   /* the same of servers, whatever they say */
#define VERIFY_PATIENCE 8000  /* ms that a chain waits for them, at most */
#define VERIFY_MAX_FETCHED 3  /* issuers, one above the other */
#define VERIFY_MAX_AGE 3600   /* s: a verdict is used that long */
#define VERIFY_MAX_BAD_AGE 60 /* s: the same for a refusal */

enum revocation {
	REVOCATION_OFF,  /* not looked at, must-staple neither */
	REVOCATION_SOFT, /* a definite "revoked" refuses */
	/* unknown refuses too, at each level below the anchor */
	REVOCATION_HARD
};

enum ct_demand { CT_OFF, CT_REPORT, CT_REQUIRE };

struct verify_options {
	struct trust *trust; /* a reference is taken */
	struct ca *own;      /* a reference is taken; NULL: none */
	enum revocation revocation;
	enum ct_demand ct; /* trust_ask_ct() was called, unless off */
	/* borrowed, outlives all; NULL: verify_now() only */
	struct job_pool *pool;
	/*
	 * a reference is taken; who gets issuers that origins forgot to send;
	 * NULL: nobody
	 */
	struct issuers *issuers;
	/* a reference is taken; who asks OCSP responders; NULL: nobody */
	struct statuses *statuses;
	unsigned max_entries; /* verdicts kept */
	bool any_order;       /* the longer way only (tests: both must agree) */
};

struct verifier;
struct verify_copy;

/* Never NULL. */
struct verifier *verifier_new(const struct verify_options *);
/* Gives the caller's reference up; what is on the pool finishes first. */
void verifier_free(struct verifier **);

struct verify_stats {
	unsigned long hits, misses, joined;
	unsigned entries;
};
void verifier_stats(struct verifier *, struct verify_stats *);

/*
 * What an origin presented, as gnutls_certificate_get_peers() and
 * gnutls_ocsp_status_request_get() give it.  Leaf first, the rest in any
 * order; what does not lead from the leaf to an anchor is not looked at, and
 * there may be as much of it as the bound on bytes lets through.
 */
struct verify_chain {
	const gnutls_datum_t *certs; /* DER */
	unsigned n;
	gnutls_datum_t staple; /* OCSP response for the leaf; size 0: none */
	/* of responders that were asked, for any of them; callers have none */
	const gnutls_datum_t *answers;
	unsigned answers_n;
	/* CRLs that were got, likewise; counted by who holds the chain */
	struct status_answer *const *lists;
	unsigned lists_n;
};

/* Embedded; {0} and not started is a valid state for verify_cancel(). */
struct verify_wait {
	struct task *wake; /* borrowed: woken when done; NULL: nobody */
	/*
	 * ms, of the loop: then nothing is waited for any more that is being
	 * fetched, and what is known decides; 0: there is no such time
	 */
	uint64_t due;
	bool done;
	bool ok; /* this is the host that was asked for */
	/*
	 * ok: wall clock, the first end of a certificate, a list or an answer
	 * that this rests on, some hour at most: a ticket is not used later
	 */
	time_t until;
	char lacks_ct[CT_WHY]; /* ok: what of SCTs is too few; "": nothing */
	/* not ok: revoked, or its key is blocked: nobody may decide otherwise */
	bool is_final;
	/* not ok: ERR_ORIGIN_CERT and why, in words for people */
	struct fault fault;
	const char *host; /* borrowed until done */
	struct memo_wait memo;

	/* Private: where issuers and statuses may be fetched. */
	struct verifier *verifier; /* borrowed */
	struct loop *loop;
	struct verify_copy *chain;  /* owned: with what was fetched */
	struct memo_value *refused; /* counted: for what it is being got */
	unsigned fetched;
	struct issuers_wait issuer;
	uint64_t asked[VERIFY_MAX_ASKED]; /* status_ask.id */
	unsigned asked_n;
	uint64_t ends;     /* as due, or sooner once somebody was asked */
	bool asks;         /* somebody was */
	struct timer late; /* while something is awaited */
	struct statuses_wait status;
};

/*
 * Verify chain for host (lower-case DNS name in A-labels without the dot at
 * the end, or IP address text).  host must stay until done; chain is copied
 * where needed.  w->wake and w->due are set by the caller, the rest is
 * cleared here.  True: done already (cached verdict, a chain that is refused at sight, or a
 * short one, verified at once), wake is not woken.  False: done later, on the
 * pool, or when an issuer that is missing was fetched or a responder asked,
 * and then woken.
 */
bool verify_start(struct verifier *, struct loop *, const char *host,
    const struct verify_chain *chain, struct verify_wait *w);
/* Forget it: afterwards w may be freed.  Idempotent. */
void verify_cancel(struct verify_wait *w);

/* The same at once, uncached, blocking some 400 us, and nothing is fetched. */
bool verify_now(struct verifier *, const char *host,
    const struct verify_chain *chain, struct fault *f);

#endif
