/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clients that name a host with an underscore.  Such hosts exist and browsers
 * open them; GnuTLS (3.7, 3.8) refuses the whole handshake when its server
 * reads that in server_name.  It has no use for the name: what it is was
 * decided before (tls/hello.h).  So the copy of the hello that it reads has
 * another letter there; the one that it hashes, which the client's Finished
 * covers, stays as it was sent.
 *
 * Between the two GnuTLS calls nobody but its log function, which is therefore
 * switched on while such a hello is read, and off again.  If a version says
 * other lines, such a client is refused as before.
 *
 * Room: tls.  Any thread.
 */
#ifndef TLS_ODDNAME_H
#define TLS_ODDNAME_H

#include <stdbool.h>

struct gnutls_session_int;

/* Would GnuTLS refuse it? */
bool oddname_is(const char *sni);
/*
 * For a server session that has not begun: its hellos are read so.  Each
 * gnutls_handshake() of it stands between the other two.
 */
void oddname_expect(struct gnutls_session_int *);
void oddname_enter(void);
void oddname_leave(void);

#endif
