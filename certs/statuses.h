/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What responders say of certificates (OCSP, RFC 6960), asked through the
 * process that fetches.  An answer is kept while it is valid, a day at most,
 * and asked for again before it ends by who uses it then.  Only an answer that
 * the issuer or its delegate has signed is kept; that there is none is
 * remembered for a minute, and so is a responder that cannot be reached.
 *
 * Room: certs.  Any thread; a wait belongs to its loop's.
 */
#ifndef CERTS_STATUSES_H
#define CERTS_STATUSES_H

#include <gnutls/x509.h>
#include "base/loop.h"
#include "certs/memo.h"
#include "fetch/fetch.h"

#define STATUSES_DEADLINE 4000 /* ms; a handshake may wait for it */

struct statuses;
struct statuses_ticket;

/* Owned by a verdict and as frozen. */
struct status_ask {
	char url[FETCH_URL_MAX];
	gnutls_datum_t request;      /* DER; it names the certificate */
	gnutls_datum_t cert, issuer; /* DER */
	size_t bytes;                /* all in all */
};

/* NULL: cert does not say where to ask, or its request would be too long. */
struct status_ask *status_ask_new(gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer);
void status_ask_free(struct status_ask **);

/* Counted. */
struct status_answer {
	struct memo_value value;
	gnutls_datum_t der;      /* size 0: none that can be believed */
	_Atomic long refresh_at; /* wall clock, s */
	char why[FETCH_WHY_MAX]; /* der.size 0: in words, printable */
};

/* fetch is borrowed until the last reference is gone.  Never NULL. */
struct statuses *statuses_new(struct fetch *, unsigned max_entries);
struct statuses *statuses_ref(struct statuses *);
void statuses_unref(struct statuses **); /* *s may be NULL; becomes NULL */

/*
 * What is known, counted; NULL: nothing.  An answer that ends soon is asked
 * for again, and nobody waits for that.  owner: of ask, counted by who asks.
 */
struct status_answer *statuses_known(struct statuses *, struct loop *,
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
