/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host names as they come in SNI, CONNECT and the like, made comparable.
 * Room: net.  Pure functions.
 */
#ifndef NET_HOSTNAME_H
#define NET_HOSTNAME_H

#include <stdbool.h>
#include "base/str.h"

#define HOSTNAME_BYTES 254 /* 253 (RFC 1035 2.3.4, as text) and a NUL */

/*
 * A DNS name in its one spelling: lower case, without the trailing dot,
 * NUL-terminated in out.  False, and "" in out, for what is none: empty or
 * too long labels (RFC 1035 2.3.4), bytes other than letters, digits, '-'
 * and '_' (an IDN must come as A-labels), and names whose last label is a
 * number, which some system would take for an IPv4 address (127.1, 0x7f.1).
 */
bool hostname_normalise(struct str name, char out[HOSTNAME_BYTES]);

/*
 * For hash tables that peers can fill: with a secret seed nobody can choose
 * names that collide.
 */
uint64_t hostname_hash(struct str name, uint64_t seed);

#endif
