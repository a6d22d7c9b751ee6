/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How connections leave, see egress.h. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "net/egress.h"

#define SLOTS 4096u
#define V4_HIGH UINT64_C(0xffff00000000) /* ::ffff:0:0 */

static bool
is_v4(const struct net *net)
{
	return (net->addr[0] == 0 && net->addr[1] >> 32 == V4_HIGH >> 32 &&
	    net->mask[0] == UINT64_MAX &&
	    net->mask[1] >> 32 == UINT64_MAX >> 32);
}

/* RFC 4291 2.6.1: the first address of a subnet is its routers'. */
static uint32_t
first_of(const struct net *net)
{
	return (!is_v4(net) && ~net->mask[1] > 1 ? 1 : 0);
}

/* Addresses of a block, as far as slots go. */
static uint32_t
count_of(const struct net *net)
{
	uint64_t hosts = net->mask[0] != UINT64_MAX ? UINT64_MAX
						    : ~net->mask[1];

	return (hosts >= SLOTS ? SLOTS : (uint32_t)hosts + 1 - first_of(net));
}

static uint32_t
count_all(const struct egress *s, int family)
{
	uint32_t n = 0;
	unsigned i;

	for (i = 0; i < s->addresses.n && n < SLOTS; i++)
		if (is_v4(&s->addresses.v[i]) == (family == AF_INET))
			n += count_of(&s->addresses.v[i]);
	return (n < SLOTS ? n : SLOTS);
}

uint32_t
egress_slot(const struct egress *s, const struct sockaddr *client)
{
	uint32_t v4 = count_all(s, AF_INET), v6 = count_all(s, AF_INET6);
	uint32_t n = v4 > v6 ? v4 : v6;
	struct nets_addr a;
	uint64_t h;

	if (n == 0 || !nets_addr_of(client, &a))
		return (0);
	h = (a.plain[0] ^ a.plain[1] * UINT64_C(0x9e3779b97f4a7c15)) *
	    UINT64_C(0xff51afd7ed558ccd);
	return ((uint32_t)(h >> 32) % n);
}

static void
put(const struct net *net, uint32_t i, union address *out)
{
	uint64_t v[2] = { net->addr[0], net->addr[1] };
	unsigned k;

	memset(out, 0, sizeof(*out));
	v[1] += first_of(net) + i; /* the host's part is zero */
	if (is_v4(net)) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_addr.s_addr = htonl((uint32_t)v[1]);
		return;
	}
	out->v6.sin6_family = AF_INET6;
	for (k = 0; k < 16; k++)
		out->v6.sin6_addr.s6_addr[k] = (uint8_t)(v[k / 8] >>
		    (56 - 8 * (k % 8)));
}

bool
egress_address(const struct egress *s, int family, uint32_t slot, unsigned n,
    union address *out)
{
	uint32_t all = count_all(s, family), i;
	const struct net *net;
	unsigned k;

	memset(out, 0, sizeof(*out));
	if (s->addresses.n == 0)
		return (n == 0);
	if (n >= all)
		return (false);
	i = (slot + n) % all;
	for (k = 0; k < s->addresses.n; k++) {
		net = &s->addresses.v[k];
		if (is_v4(net) != (family == AF_INET))
			continue;
		if (i < count_of(net)) {
			put(net, i, out);
			return (true);
		}
		i -= count_of(net);
	}
	assert(false);
	return (false);
}

int
egress_prepare(const struct egress *s, int fd, int family)
{
	int tos = (int)(s->dscp << 2); /* RFC 2474 3: above ECN */

	assert(s->dscp < 64);
	if (s->device != NULL &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, s->device,
		(socklen_t)strlen(s->device)) != 0)
		return (errno);
	if (s->mark != 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_MARK, &s->mark, sizeof(s->mark)) != 0)
		return (errno);
	if (s->dscp == 0)
		return (0);
	return ((family == AF_INET
			? setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos))
			: setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos,
			      sizeof(tos))) == 0
		? 0
		: errno);
}
