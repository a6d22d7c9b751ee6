/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names in certificates: which hosts may be named, and RFC 9525 matching.
 * Room: certs.  Any thread.
 */
#ifndef CERTS_NAME_H
#define CERTS_NAME_H

#include <stdbool.h>
#include "base/str.h"

/*
 * An IPv4 or IPv6 address in text, without brackets or zone, to its bytes as
 * in an iPAddress SAN (RFC 5280 4.2.1.6).  Returns 4, 16, or 0: not one.
 */
unsigned name_ip(const char *host, unsigned char out[16]);

/*
 * A lower-case DNS name: labels of 1-63 letters, digits, hyphens (not at the
 * ends) and underscores, 253 bytes in all, no dot at the end; the last label
 * neither all digits nor 0x… (it would be read as an IPv4 address).
 */
bool name_dns_ok(const char *host);

/*
 * Does a dNSName of a certificate stand for host (name_dns_ok)?  RFC 9525 6.3:
 * ASCII case is ignored, "*" only as the whole leftmost label for exactly one
 * label, and with at least two labels behind it (no "*.tld").  Anything odd in
 * the pattern, NUL included, is no match.
 */
bool name_matches(struct str pattern, const char *host);

#endif
