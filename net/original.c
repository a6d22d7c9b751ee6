/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Original destinations, see original.h. */
#include <string.h>
#include "net/original.h"

/* <linux/netfilter_ipv4.h>, which does not go with <netinet/in.h> everywhere. */
#define ORIGINAL_DST 80

bool
original_of_redirect(int fd, const struct sockaddr *peer, union address *to)
{
	bool v6 = peer->sa_family == AF_INET6;
	union address own;
	socklen_t n = sizeof(*to), m = sizeof(own);

	memset(to, 0, sizeof(*to));
	if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, ORIGINAL_DST, to,
		&n) != 0 ||
	    to->sa.sa_family != peer->sa_family ||
	    getsockname(fd, &own.sa, &m) != 0)
		return (false);
	/* Known to the kernel, but nobody has led it elsewhere. */
	return (!address_eq(&to->sa, &own.sa) ||
	    address_port(&to->sa) != address_port(&own.sa));
}

bool
original_of_tproxy(int fd, union address *to)
{
	socklen_t n = sizeof(*to);

	memset(to, 0, sizeof(*to));
	return (getsockname(fd, &to->sa, &n) == 0 &&
	    (to->sa.sa_family == AF_INET || to->sa.sa_family == AF_INET6));
}

bool
original_set_transparent(int fd, int family, bool on)
{
	int level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int name = family == AF_INET6 ? IPV6_TRANSPARENT : IP_TRANSPARENT;
	int is = 0, want = on;
	socklen_t n = sizeof(is);

	if (getsockopt(fd, level, name, &is, &n) == 0 && (is != 0) == on)
		return (true);
	return (setsockopt(fd, level, name, &want, sizeof(want)) == 0);
}
