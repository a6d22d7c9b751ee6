/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What says whether certificates were revoked, got through the process that
 * fetches: answers of responders (OCSP, RFC 6960, 5019) and lists (CRLs, RFC
 * 5280 4.2.1.13).  What came is kept while it is valid, a day at most, and asked
 * for again before it ends by who uses it then.  Only what the issuer, or the
 * delegate of a responder, has signed is kept; that there is none is remembered
 * for a minute.  A server that cannot be reached is left alone for a minute,
 * then for twice that, up to ten.
 *
 * Room: certs.  Any thread; a wait belongs to its loop's.
 */
#ifndef CERTS_STATUSES_H
#define CERTS_STATUSES_H

#include <gnutls/x509.h>
#include <stdint.h>
#include "base/job.h"
#include "base/loop.h"
#include "certs/memo.h"
#include "fetch/fetch.h"

/* ms; a handshake may wait for it; by GET and POST, together */
#define STATUSES_DEADLINE 4000
#define STATUSES_LIST_DEADLINE 6000    /* ms; the same, of a list */
#define STATUSES_LIST_MOST (16u << 20) /* octets of one list */

struct crl;
struct statuses;
struct statuses_ticket;

enum status_kind { STATUS_OCSP, STATUS_LIST };

/* Owned by a verdict and as frozen. */
struct status_ask {
	enum status_kind kind;
	char url[FETCH_URL_MAX];
	/* OCSP: its request; else what names the list and who signs it */
	gnutls_datum_t key;
	gnutls_datum_t cert, issuer; /* DER */
	uint64_t id;                 /* of the key */
	size_t bytes;                /* all in all */
};

/* NULL: cert does not say where to ask, or its request would be too long. */
struct status_ask *status_ask_new(gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer);
/* The same of the nth list that it says to be on. */
struct status_ask *status_ask_list(gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer, unsigned nth);
void status_ask_free(struct status_ask **);

/* Counted. */
struct status_answer {
	struct memo_value value;
	gnutls_datum_t der;      /* OCSP; size 0: none that can be believed */
	struct crl *list;        /* owned; NULL: likewise */
	_Atomic long refresh_at; /* wall clock, s */
	/* Of a server that could not be reached, how often; wall clock, s. */
	unsigned failures;
	long paused_until;
	char why[FETCH_WHY_MAX]; /* nothing to believe: in words, printable */
};

/* Is there something to believe? */
static inline bool
status_answers(const struct status_answer *a)
{
	return (a->der.size > 0 || a->list != NULL);
}

/*
 * fetch is borrowed until the last reference is gone, the pool, in which lists
 * are read, until statuses_end().  Never NULL.
 */
struct statuses *statuses_new(struct fetch *, struct job_pool *,
    unsigned max_entries);
/* Nothing is read or asked any more.  Before both are freed, no loop runs. */
void statuses_end(struct statuses *);
struct statuses *statuses_ref(struct statuses *);
void statuses_unref(struct statuses **); /* *s may be NULL; becomes NULL */

/*
 * What is known, counted; NULL: nothing.  An answer that ends soon is asked
 * for again, and nobody waits for that.  owner: of ask, counted by who asks.
 */
struct status_answer *statuses_known(struct statuses *, struct loop *,
    const struct status_ask *, struct memo_value *owner);

/* Ask without waiting, unless it is known. */
void statuses_prepare(struct statuses *, struct loop *,
    const struct status_ask *, struct memo_value *owner);

/* Embedded; {0} is a wait that was not started. */
struct statuses_wait {
	/* Once, later, on the loop's thread; the answer is its to unref. */
	void (*ready)(struct statuses_wait *, struct status_answer *);
	struct statuses_ticket *ticket; /* NULL: not waiting */
	struct statuses *statuses;      /* borrowed while waiting */
};

/* Ask.  After statuses_known() gave NULL. */
void statuses_start(struct statuses *, struct loop *, struct statuses_wait *w,
    const struct status_ask *, struct memo_value *owner);
/* ready() will not be called any more; idempotent. */
void statuses_cancel(struct statuses_wait *w);

#endif
