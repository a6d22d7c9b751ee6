/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses of ICAP services: icap://host[:port]/path[?query], icaps://.
 * Room: icap.  Obeys RFC 3507 4.2, RFC 3986.
 */
#ifndef ICAP_URL_H
#define ICAP_URL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/str.h"

#define ICAP_PORT 1344   /* RFC 3507 4.2 */
#define ICAPS_PORT 11344 /* practice */

/* Parts of the text it was parsed from, which must stay. */
struct icap_url {
	bool tls;
	struct str text;      /* all of it: the Request-URI */
	struct str authority; /* as written, for Host: IPv6 in brackets */
	struct str host;      /* without brackets */
	uint16_t port;        /* default filled in */
};

/* False: not an ICAP address; the cause (ERR_CONFIG) is in f. */
bool icap_url_parse(const char *text, struct icap_url *, struct fault *f);

/* Does it begin as one does?  For a better complaint about the others. */
bool icap_url_is_one(const char *text);

#endif
