/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leaves: certificates minted in memory for the hosts that clients ask for,
 * and their cache.  All leaves share one EC P-256 key, made fresh when the
 * process starts.  Nothing is copied from the origin's certificate.  For
 * clients that know RSA server certificates only there are leaves with an RSA
 * key, of this process too, made when the first is wanted.
 *
 * What a leaf is (RFC 5280, CA/B baseline): SAN dNSName or iPAddress, CN only
 * up to 64 bytes, random 126-bit serial, from an hour ago to the least of
 * leaf_days, 398 days and the issuer's end, CA:FALSE, digitalSignature (and
 * keyEncipherment for RSA), serverAuth, SKI, AKI, SHA-256.
 *
 * Room: certs.  The cache is shared by all workers; its lock is held only for
 * the look-up.  Waits belong to one loop's thread.
 */
#ifndef CERTS_LEAF_H
#define CERTS_LEAF_H

#include <gnutls/abstract.h>
#include <stdbool.h>
#include <time.h>
#include "base/fault.h"
#include "base/job.h"
#include "base/loop.h"
#include "certs/ca.h"
#include "certs/memo.h"

struct leaf_cache;
struct issuer;

#define LEAF_MAX_CHAIN 6 /* leaf, issuer, CA, and three above it */

/*
 * Counted and shared between threads.  chain and key are for
 * gnutls_certificate_retrieve_function3 with flags 0: GnuTLS borrows them, so
 * the session's owner holds a reference as long as the session lives.  Never
 * gnutls_pcert_deinit() them: the public keys inside are shared too.
 */
struct leaf {
	struct memo_value value; /* refs, freshness: the cache's */
	/* leaf first, anchor not included */
	gnutls_pcert_st chain[LEAF_MAX_CHAIN];
	unsigned n;
	gnutls_privkey_t key;  /* borrowed: the process's leaf key */
	time_t expiry;         /* notAfter */
	struct issuer *issuer; /* counted: owner of the chain behind it */
	struct fault fault;    /* never set in a leaf that callers see */
	unsigned char der[];   /* chain[0] points here */
};

void leaf_unref(struct leaf **); /* *l may be NULL; becomes NULL */

/*
 * max_entries: hosts kept, least recently used dropped first.  signers:
 * borrowed, outlives every wait; NULL for a cache only used by leaf_mint().
 * Takes a reference of ca.  Never NULL.
 */
struct leaf_cache *leaf_cache_new(struct ca *ca, unsigned max_entries,
    struct job_pool *signers);
/* Gives the caller's reference up; mints under way finish first. */
void leaf_cache_free(struct leaf_cache **);

struct leaf_stats {
	unsigned long hits, misses, joined, minted, failed;
	unsigned entries;
};
void leaf_cache_stats(struct leaf_cache *, struct leaf_stats *);

/*
 * May a leaf be made for it: a lower-case DNS name (letters, digits, hyphen,
 * underscore; labels up to 63, 253 in all, no dot at the end, the last label
 * not a number) or the text of an IPv4 or IPv6 address, without brackets?
 */
bool leaf_host_ok(const char *host);

/* Which leaf; 0: one that is trusted, with the EC key. */
#define LEAF_UNTRUSTED 1u /* signed by a throwaway key of this process */
#define LEAF_RSA 2u

/* Embedded; {0} and not started is a valid state for leaf_cancel(). */
struct leaf_wait {
	struct task *wake; /* borrowed: woken when done; NULL: nobody */
	bool done;
	/* counted: take it (set NULL) or leaf_cancel(); NULL: */
	struct leaf *leaf;
	struct fault fault; /* ... ERR_MINT and why */
	struct memo_wait memo;
};

/*
 * Get a leaf: from the cache, minted at once if the key holder is idle and
 * quick (KEYHOLDER_TRY_US), else minted on the signers, as the first with the
 * RSA key always is; waits for one host are joined into one mint there.
 * which: bits as above; LEAF_UNTRUSTED (on_invalid: untrusted) makes the
 * client's own warning show.  w->wake is set by the caller, the rest is
 * cleared here.  True: done already (or a host that is refused), wake is not
 * woken.  False: done later, and then woken.
 */
bool leaf_start(struct leaf_cache *, struct loop *, const char *host,
    unsigned which, struct leaf_wait *w);
/* Forget it, or its result: afterwards w may be freed.  Idempotent. */
void leaf_cancel(struct leaf_wait *w);

/* Make one now, outside the cache; blocks.  NULL: ERR_MINT in f. */
struct leaf *leaf_mint(struct leaf_cache *, const char *host, unsigned which,
    struct fault *f);

#endif
