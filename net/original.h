/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a connection was going before the packet filter led it here.
 * Room: net.  Any thread.  ip(7), ipv6(7), tproxy.rst of the kernel.
 */
#ifndef NET_ORIGINAL_H
#define NET_ORIGINAL_H

#include <stdbool.h>
#include "net/address.h"

/*
 * Of an accepted socket that NAT has redirected, with peer as accept() gave it.
 * To be asked before anything is read: what the kernel remembers of a
 * connection may go.  False: it was not redirected, somebody has connected to
 * this socket's own address.
 */
bool original_of_redirect(int fd, const struct sockaddr *peer,
    union address *to);
/* The same of one that a tproxy rule has led to a transparent socket. */
bool original_of_tproxy(int fd, union address *to);
/*
 * Let a socket, before bind(), take connections to foreign addresses; off
 * where it is not wanted (any more).  False, errno EPERM: that takes
 * CAP_NET_RAW or CAP_NET_ADMIN.
 */
bool original_set_transparent(int fd, int family, bool on);

#endif
