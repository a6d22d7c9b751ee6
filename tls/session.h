/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GnuTLS sessions for both legs: what is offered and accepted, tickets for
 * our clients, resumption towards origins.
 *
 * Suites and versions are those of priority.h.  Towards clients: our order,
 * no renegotiation, no 0-RTT.  Towards servers: renegotiation indication
 * demanded, no SHA-1, both downgrade sentinels checked (RFC 8446 4.1.3, RFC
 * 9325).
 *
 * Room: tls.  A context is frozen and may be used by all threads.
 */
#ifndef TLS_SESSION_H
#define TLS_SESSION_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/str.h"

struct leaf;
struct tls_context;
struct tls_resume;
struct verify_chain;

struct tls_options {
	bool client_min_13; /* towards clients TLS 1.3 only */
	bool origin_min_13;
	const char *client_priority; /* see tls_priority_new() */
	const char *origin_priority;
	/* tickets of another epoch are not taken; up to 384 octets count */
	const char *epoch;
	/* The proxy's own certificate towards servers; NULL: none. */
	const char *cert, *key;
};

/* What is spoken inside TLS (RFC 7301); a set is what a side offers. */
enum tls_protocol {
	TLS_HTTP1 = 1 << 0, /* "http/1.1" */
	TLS_H2 = 1 << 1     /* "h2"; preferred */
};

/* NULL with the cause in f (a system-wide GnuTLS policy may forbid what we need). */
struct tls_context *tls_context_new(const struct tls_options *,
    struct fault *f);
void tls_context_free(struct tls_context **);

#define TLS_TICKET_SECRET 32

/*
 * What tickets for our clients are made with from now on: processes with the
 * same one take each other's.  Without it each process has its own.  Any thread.
 */
void tls_ticket_secret(const unsigned char secret[static TLS_TICKET_SECRET]);

/*
 * A server session that shows leaf, which the caller keeps as long as the
 * session lives.  name binds its tickets: a ticket is good only under the
 * name it was given for (GnuTLS 3.7 does not check that for TLS 1.3).
 * protocols: the set that it speaks; a client that offers none of them gets
 * no word about it.  NULL: out of memory.
 */
gnutls_session_t tls_server_new(struct tls_context *, struct leaf *leaf,
    const char *name, unsigned protocols);
/* Do clients get TLS 1.3? */
bool tls_server_speaks_13(const struct tls_context *);

/*
 * After the handshake: write the ticket of TLS 1.3 (each connection gives one,
 * so a client has as many as it has connections).  Best just before the first
 * answer, in whose packet it goes.
 */
void tls_server_ticket(gnutls_session_t);

/*
 * A client session towards host (SNI unless it is an IP address).  With a
 * resume table it offers a ticket kept for host and port, and keeps new ones
 * once tls_client_verified() was called.  Both must live as long as it.
 */
struct tls_client {
	struct tls_resume *resume; /* see resume.h; borrowed; NULL: none */
	char host[256];
	uint16_t port;
	unsigned protocols; /* the set that it offers; 0: it says nothing */
	bool legacy;        /* TLS_TO_OLD_SERVER */
	bool verified;
	uint64_t until; /* s, wall clock: its tickets are not used later */
};
gnutls_session_t tls_client_new(struct tls_context *, struct tls_client *,
    bool host_is_ip);
/*
 * The peer was verified: tickets from now on may be used again without, but
 * not later than at until (wall clock; of no meaning in a resumed session,
 * which has the bound of the one before).
 */
void tls_client_verified(struct tls_client *, gnutls_session_t, time_t until);
/* After the handshake: what both sides agreed on; 0: nothing was said. */
enum tls_protocol tls_agreed(gnutls_session_t);
/*
 * After the handshake: what GnuTLS does not check.  False: refuse, cause in
 * f (ERR_ORIGIN_TLS).
 */
bool tls_client_acceptable(gnutls_session_t, struct fault *f);

/*
 * What the server presented, as long as the session lives.  False: it
 * resumed a session, whose server was verified when its ticket was kept.
 */
bool tls_client_chain(gnutls_session_t, struct verify_chain *chain);

/* "1.3"; STR_NONE without TLS. */
struct str tls_version_text(gnutls_session_t);
/* "AES-128-GCM"; STR_NONE without TLS. */
struct str tls_cipher_text(gnutls_session_t);
/* "h2": what tls_agreed() says; STR_NONE without TLS, or where it is 0. */
struct str tls_protocol_text(gnutls_session_t);

#endif
