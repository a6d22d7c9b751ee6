/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How connections leave this machine: from which addresses, with which marks.
 *
 * An address out of a pool goes by a slot, so that an origin sees one address a
 * client; the ones behind it are next when its ports are used up.
 *
 * Room: net.  Any thread: frozen once built.
 */
#ifndef NET_EGRESS_H
#define NET_EGRESS_H

#include "net/address.h"
#include "net/nets.h"

/* {0}: the kernel's choice of everything. */
struct egress {
	struct nets addresses; /* blocks of either family; empty: any */
	uint32_t mark;         /* SO_MARK; 0: none */
	unsigned dscp;         /* RFC 2474: six bits; 0: none */
	const char *device;    /* SO_BINDTODEVICE; NULL: any */
};

/* Whose connections leave from the same address have the same; below 4096. */
uint32_t egress_slot(const struct egress *, const struct sockaddr *client);
/*
 * The n-th address to try for a slot.  False: there are no more; n = 0: none of
 * that family.  Without addresses it is true, and out is AF_UNSPEC.
 */
bool egress_address(const struct egress *, int family, uint32_t slot,
    unsigned n, union address *out);
/* Prepare a fresh socket of that family; 0, or errno. */
int egress_prepare(const struct egress *, int fd, int family);

#endif
