/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The header that a balancer puts in front of a connection: who is behind it
 * (the PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has
 * it).  An engine without I/O: octets in, the header out.
 *
 * Room: net.  Pure functions.
 */
#ifndef NET_PROXY_HEADER_H
#define NET_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include "base/str.h"
#include "net/address.h"

/* No header that is taken is longer: 16 octets, and 4096 behind them. */
#define PROXY_HEADER_MAX 4112
/* A longer UNIQUE_ID is none (proxy-protocol.txt 2.2.5). */
#define PROXY_HEADER_ID_MAX 128

enum proxy_header_step {
	PROXY_HEADER_MORE, /* what is there is the begin of one */
	PROXY_HEADER_DONE,
	PROXY_HEADER_BAD /* it is none, or one that is broken */
};

struct proxy_header {
	size_t size; /* octets of it; what follows is the client's */
	/*
	 * Does it name a client?  Else the connection's own addresses are the
	 * true ones: LOCAL, UNKNOWN, UNSPEC, a transport that is not TCP.
	 */
	bool named;
	bool local; /* LOCAL: the balancer itself, a look whether we live */
	union address source; /* named: the client; IPv4 in IPv6 is IPv4 */
	union address dest;   /* named: where it connected to */
	/* Of version 2, as they came, inside the octets; STR_NONE: not sent. */
	struct str unique_id;
	struct str authority; /* the name that the balancer was asked for */
	struct str alpn;
};

/*
 * Read a header from the n octets at the begin of a connection.  It may be
 * asked with more octets each time, and says BAD as soon as they can be none.
 * *h is filled by DONE only; its strings point into p.
 */
enum proxy_header_step proxy_header_parse(const unsigned char *p, size_t n,
    struct proxy_header *h);

#endif
