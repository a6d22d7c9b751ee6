/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tickets of servers, those of TLS 1.3 used once each, and for an hour after
 * the full handshake in which the server was verified.
 *
 * GnuTLS keeps the server's whole chain in a ticket, so an origin decides how
 * much of our memory one takes: large ones are not kept, each host has two at
 * most, and the table has a bound in bytes.  What was kept longest ago without
 * being used makes room.
 *
 * Room: tls.  A table belongs to one loop.  Times: s, wall clock.
 */
#ifndef TLS_RESUME_H
#define TLS_RESUME_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_resume;

/* three or four usual certificates, a staple */
#define TLS_RESUME_TICKET_MAX 16384
#define TLS_RESUME_PER_HOST 2 /* what OpenSSL's servers send */

/* At most so many hosts and bytes. */
struct tls_resume *tls_resume_new(unsigned max_hosts, size_t max_bytes);
void tls_resume_free(struct tls_resume **); /* *t may be NULL; becomes NULL */

/*
 * Keep data for the host (up to 255 bytes) and port.  data is owned from now
 * on, gnutls_malloc()ed; it is freed at once when it is too large.
 */
void tls_resume_keep(struct tls_resume *, const char *host, uint16_t port,
    const gnutls_datum_t *data, uint64_t until);
/*
 * Take the newest that is kept for them and not too old: the caller frees
 * data.  False: there is none.
 */
bool tls_resume_take(struct tls_resume *, const char *host, uint16_t port,
    uint64_t now, gnutls_datum_t *data, uint64_t *until);
/* What the tickets take now. */
size_t tls_resume_bytes(const struct tls_resume *);

#endif
