/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking a chain, between verify.c (cache, fetching), check.c (rules) and
 * verdict.c (names).
 * Room: certs.
 */
#ifndef CERTS_CHECK_PRIV_H
#define CERTS_CHECK_PRIV_H

#include <gnutls/x509.h>
#include "base/str.h"
#include "certs/memo.h"
#include "certs/verify.h"

/* Counted and frozen: what is known about one chain, whatever the name. */
struct verdict {
	struct memo_value value;
	struct fault fault; /* ERR_NONE: a good chain */
	char lacks_ct[CT_WHY];
	bool is_final;    /* see struct verify_wait */
	time_t ends;      /* of what a good one rests on, at most two hours */
	struct buf names; /* of the leaf: {kind, length high, low, bytes}... */
	unsigned names_n;
	/*
	 * Owned; where the issuer that is missing may be had: all that is
	 * wrong with the chain, as far as one can tell.  NULL: not so.
	 */
	char *missing;
	/*
	 * Owned; who may be asked, from the leaf up, a responder before lists:
	 * of what nothing at hand knows the status.  Refused (ERR_ORIGIN_CERT) and asks_n >
	 * 0: nothing else is wrong.
	 */
	struct status_ask *asks[VERIFY_MAX_ASKED];
	unsigned asks_n;
};

#define NAME_KIND_DNS 1
#define NAME_KIND_IP 2

/* Imports and checks; blocks some 400 us.  One reference, never NULL. */
struct verdict *check_chain(const struct verify_options *,
    const struct verify_chain *);
/* Take over those of the leaf. */
void verdict_take_names(struct verdict *, gnutls_x509_crt_t leaf);
/* Is host one of the names?  False: ERR_ORIGIN_CERT in f, in words. */
bool verdict_names(const struct verdict *, const char *host, struct fault *f);

#endif
