/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS towards servers that are configured by hand (icaps: services): who is
 * trusted, what certificate we show, and the sessions.  GnuTLS verifies
 * inside the handshake.
 * Room: tls.  Frozen; any thread.
 */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include <stdbool.h>
#include "base/fault.h"

struct gnutls_session_int;
struct tls_peer;

/* Strings are borrowed as long as the peer lives. */
struct tls_peer_options {
	bool system;              /* trust the system's bundle */
	const char *const *files; /* and these PEM files */
	unsigned n_files;
	const char *cert, *key; /* what we show; NULL: nothing */
	const char *name;       /* whom to expect; NULL: the host asked for */
};

/* Loads everything; NULL with the file at fault in f (ERR_CONFIG). */
struct tls_peer *tls_peer_new(const struct tls_peer_options *, struct fault *f);
void tls_peer_free(struct tls_peer **);
/*
 * A client session for host (which lives as long as it).  arg is the struct
 * tls_peer: fits icap_options.tls_new.  NULL with cause in f.
 */
struct gnutls_session_int *tls_peer_session(void *arg, const char *host,
    struct fault *f);

#endif
