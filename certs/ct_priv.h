/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logs of certificate transparency, between ct_list.c (their file) and ct.c.
 * Room: certs.
 */
#ifndef CERTS_CT_PRIV_H
#define CERTS_CT_PRIV_H

#include <gnutls/abstract.h>
#include <stdint.h>
#include "certs/ct.h"

struct ct_log {
	unsigned char id[32]; /* SHA-256 of its key */
	gnutls_pubkey_t key;
	unsigned by;   /* the number of its operator, from 1 */
	int64_t until; /* ms: promises of later ones do not count; 0: all do */
};

struct ct {
	struct ct_log *v;
	unsigned n;
};

/* Add the logs of text.  NULL: done; else what is wrong, in words. */
const char *ct_list_read(struct ct *, const unsigned char *text, size_t n);

#endif
