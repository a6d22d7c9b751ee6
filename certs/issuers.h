/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certificates of issuers that origins forgot to send, got from where the
 * certificate they issued says (authority information access, RFC 5280
 * 4.2.2.1), by the process that fetches (fetch/fetch.h).  What comes is a
 * candidate and nothing more: whoever asks verifies the chain with it.
 *
 * Kept for as long as HTTP calls it fresh, within bounds; that there is none is
 * kept for minutes.  Who asks for the same at the same time waits for one fetch.
 *
 * Room: certs.  Any thread; a wait belongs to the thread of its loop.
 */
#ifndef CERTS_ISSUERS_H
#define CERTS_ISSUERS_H

#include <gnutls/gnutls.h>
#include "base/loop.h"
#include "certs/memo.h"
#include "fetch/fetch.h"

#define ISSUERS_OF_ONE 4      /* certificates of one answer (PKCS #7) */
#define ISSUERS_DEADLINE 5000 /* ms */

struct issuers;
struct issuers_ticket;

/* Counted and frozen. */
struct issuer_set {
	struct memo_value value;
	unsigned n;                           /* 0: none could be had */
	gnutls_datum_t certs[ISSUERS_OF_ONE]; /* DER; borrowed from the set */
	char why[FETCH_WHY_MAX];              /* n = 0: in words, printable */
};

/* fetch is borrowed until the last reference is gone.  Never NULL. */
struct issuers *issuers_new(struct fetch *, unsigned max_entries);
struct issuers *issuers_ref(struct issuers *);
void issuers_unref(struct issuers **); /* *i may be NULL; becomes NULL */

/* What is known of url without asking, counted; NULL: nothing. */
struct issuer_set *issuers_known(struct issuers *, const char *url);

/* Embedded; {0} is a wait that was not started. */
struct issuers_wait {
	/* Once, later, on the loop's thread; the set is its to unref. */
	void (*ready)(struct issuers_wait *, struct issuer_set *);
	struct issuers_ticket *ticket; /* NULL: not waiting */
	struct issuers *issuers;       /* borrowed while waiting */
};

/* Get it.  After issuers_known() gave NULL. */
void issuers_start(struct issuers *, struct loop *, struct issuers_wait *w,
    const char *url);
/* ready() will not be called any more; idempotent. */
void issuers_cancel(struct issuers_wait *w);

#endif
