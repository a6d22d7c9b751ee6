/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of networks, see nets.h.
 * Room: net.  Any thread.  Obeys RFC 4291 2.5.5 (mapped and compatible
 * addresses), RFC 6052 (NAT64), RFC 3056 (6to4).
 */
#include <arpa/inet.h>
#include <assert.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "net/nets.h"

#define V4_MAPPED 0x0000ffff00000000u /* low half of ::ffff:0:0/96 */

static const struct {
	const char *name;
	const char *block;
} named_sets[] = {
	{ "loopback", "127.0.0.0/8" },
	{ "loopback", "::1" },
	{ "link_local", "169.254.0.0/16" },
	{ "link_local", "fe80::/10" },
	{ "link_local", "fd00:ec2::254" },
	{ "private", "127.0.0.0/8" },
	{ "private", "::1" },
	{ "private", "169.254.0.0/16" },
	{ "private", "fe80::/10" },
	{ "private", "10.0.0.0/8" },
	{ "private", "172.16.0.0/12" },
	{ "private", "192.168.0.0/16" },
	{ "private", "fc00::/7" },
	{ "any", "::/0" },
};

#define NAMED_SETS (sizeof(named_sets) / sizeof(named_sets[0]))

static uint64_t
load64(const unsigned char *p)
{
	uint64_t v = 0;
	unsigned i;

	for (i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return (v);
}

static void
set_v4(uint64_t addr[2], uint32_t v4)
{
	addr[0] = 0;
	addr[1] = V4_MAPPED | v4;
}

/* The IPv4 address that a plain one stands for, if it does. */
static void
unwrap(const uint64_t plain[2], uint64_t inner[2])
{
	inner[0] = plain[0];
	inner[1] = plain[1];
	if (plain[0] == 0 && plain[1] >> 32 == 0 && plain[1] > 1)
		set_v4(inner, (uint32_t)plain[1]); /* RFC 4291 2.5.5.1 */
	else if (plain[0] == 0x0064ff9b00000000u && plain[1] >> 32 == 0)
		set_v4(inner, (uint32_t)plain[1]); /* RFC 6052 2.1 */
	else if (plain[0] >> 48 == 0x2002)
		set_v4(inner, (uint32_t)(plain[0] >> 16)); /* RFC 3056 2 */
}

bool
nets_addr_of(const struct sockaddr *sa, struct nets_addr *a)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (sa->sa_family == AF_INET) {
		memcpy(&in, sa, sizeof(in));
		set_v4(a->plain, ntohl(in.sin_addr.s_addr));
		a->port = ntohs(in.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		a->plain[0] = load64(in6.sin6_addr.s6_addr);
		a->plain[1] = load64(in6.sin6_addr.s6_addr + 8);
		a->port = ntohs(in6.sin6_port);
	} else {
		return (false);
	}
	unwrap(a->plain, a->inner);
	return (true);
}

static void
mask_of(unsigned bits, uint64_t mask[2])
{
	mask[0] = bits == 0 ? 0
	    : bits >= 64    ? UINT64_MAX
			    : UINT64_MAX << (64 - bits);
	mask[1] = bits <= 64 ? 0 : UINT64_MAX << (128 - bits);
}

/* Append; the array doubles, what it leaves behind stays in the arena. */
static void
append(struct nets *s, struct arena *a, const struct net *net)
{
	struct net *v;

	if ((s->n & (s->n - 1)) == 0) { /* 0, 1, 2, 4 ... are full */
		v = arena_alloc(a, (s->n == 0 ? 1 : s->n * 2u) * sizeof(*v));
		if (s->n > 0)
			memcpy(v, s->v, s->n * sizeof(*v));
		s->v = v;
	}
	s->v[s->n++] = *net;
}

/* "/NN" behind an address: the number of bits, or -1. */
static int
parse_bits(const char *p, int max)
{
	int v = 0;

	if (*p == '\0' || strlen(p) > 3 || (p[0] == '0' && p[1] != '\0'))
		return (-1);
	for (; *p != '\0'; p++) {
		if (*p < '0' || *p > '9')
			return (-1);
		v = v * 10 + (*p - '0');
	}
	return (v > max ? -1 : v);
}

/* Address and bits of a block; bits count for its own family. */
static bool
parse_block(const char *text, struct net *net, int *bits, bool *v6)
{
	char head[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
	unsigned char raw[16];

	if (n == 0 || n >= sizeof(head))
		return (false);
	memcpy(head, text, n);
	head[n] = '\0';
	*v6 = strchr(head, ':') != NULL;
	if (inet_pton(*v6 ? AF_INET6 : AF_INET, head, raw) != 1)
		return (false);
	*bits = *v6 ? 128 : 32;
	if (slash != NULL)
		*bits = parse_bits(slash + 1, *bits);
	if (*v6) {
		net->addr[0] = load64(raw);
		net->addr[1] = load64(raw + 8);
	} else {
		set_v4(net->addr,
		    (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 |
			(uint32_t)raw[2] << 8 | raw[3]);
	}
	return (true);
}

/* The block's own first address, as a hint. */
static void
format_block(const struct net *net, int bits, bool v6, char *out, size_t room)
{
	unsigned char raw[16];
	char text[INET6_ADDRSTRLEN];
	unsigned i;

	for (i = 0; i < 16; i++)
		raw[i] = (unsigned char)((net->addr[i / 8] &
					     net->mask[i / 8]) >>
		    (56 - 8 * (i % 8)));
	if (inet_ntop(v6 ? AF_INET6 : AF_INET, v6 ? raw : raw + 12, text,
		sizeof(text)) == NULL)
		text[0] = '\0';
	snprintf(out, room,
	    "no network, as bits beyond the prefix are set; "
	    "write '%s/%d'",
	    text, bits);
}

static bool
add_block(struct nets *s, struct arena *a, const char *text, const char *name,
    char why[NETS_WHY])
{
	struct net net;
	int bits;
	bool v6;

	if (!parse_block(text, &net, &bits, &v6)) {
		snprintf(why, NETS_WHY,
		    "no network; write '10.0.0.0/8', "
		    "'2001:db8::/32', private, loopback, link_local, self or "
		    "any");
		return (false);
	}
	if (bits < 0) {
		snprintf(why, NETS_WHY,
		    "no network, as its prefix is out of "
		    "range; 0 to %d is possible",
		    v6 ? 128 : 32);
		return (false);
	}
	mask_of((unsigned)bits + (v6 ? 0 : 96), net.mask);
	if ((net.addr[0] & ~net.mask[0]) != 0 ||
	    (net.addr[1] & ~net.mask[1]) != 0) {
		format_block(&net, bits, v6, why, NETS_WHY);
		return (false);
	}
	net.name = arena_cstr(a, name);
	append(s, a, &net);
	return (true);
}

bool
nets_add(struct nets *s, struct arena *a, const char *text, char why[NETS_WHY])
{
	bool found = false;
	unsigned i;

	if (strcmp(text, "self") == 0) {
		s->self = true;
		return (true);
	}
	for (i = 0; i < NAMED_SETS; i++)
		if (strcmp(text, named_sets[i].name) == 0) {
			found = add_block(s, a, named_sets[i].block, text, why);
			assert(found);
		}
	return (found || add_block(s, a, text, text, why));
}

static bool
in_net(const struct net *net, const uint64_t addr[2])
{
	return (((addr[0] ^ net->addr[0]) & net->mask[0]) == 0 &&
	    ((addr[1] ^ net->addr[1]) & net->mask[1]) == 0);
}

const struct net *
nets_find(const struct nets *s, const struct nets_addr *a, enum nets_form form)
{
	unsigned i;

	for (i = 0; i < s->n; i++)
		if ((form != NETS_PLAIN && in_net(&s->v[i], a->inner)) ||
		    (form != NETS_INNER && in_net(&s->v[i], a->plain)))
			return (&s->v[i]);
	return (NULL);
}

bool
nets_match(const struct nets *s, const struct sockaddr *sa)
{
	struct nets_addr a;

	if (!nets_addr_of(sa, &a))
		return (false);
	return (nets_find(s, &a, NETS_EITHER) != NULL ||
	    (s->self && nets_is_self(&a)));
}

const char *
nets_special(const struct nets_addr *a)
{
	uint64_t hi = a->inner[0], lo = a->inner[1];

	if (hi >> 56 == 0xff)
		return ("multicast"); /* RFC 4291 2.7 */
	if (hi == 0 && lo <= 1)
		return (lo == 0 ? "unspecified" : NULL);
	if (hi != 0 || lo >> 32 != V4_MAPPED >> 32)
		return (NULL);
	lo &= UINT32_MAX;
	if (lo >> 24 == 0)
		return ("unspecified"); /* RFC 1122 3.2.1.3: this network */
	if (lo >> 28 == 0xe)
		return ("multicast");
	return (lo == UINT32_MAX ? "broadcast" : NULL);
}

/*
 * Where we listen.  A reader may still hold a list that was replaced, and
 * lists are small and replaced only when listeners or interfaces change: so
 * old ones are kept, reachable through next.
 */
struct self {
	struct self *next;
	unsigned n, cap;
	struct nets_addr v[];
};

static _Atomic(struct self *) self_now;
static _Atomic(struct self *) machine_now; /* its addresses; ports are 0 */

static void
self_add(struct self **s, const struct nets_addr *a)
{
	if (*s == NULL || (*s)->n == (*s)->cap) {
		unsigned had = *s == NULL ? 0 : (*s)->n;

		*s = realloc(*s,
		    sizeof(**s) + (had + 16) * sizeof(struct nets_addr));
		if (*s == NULL)
			abort();
		(*s)->n = had;
		(*s)->cap = had + 16;
	}
	(*s)->v[(*s)->n++] = *a;
}

/* Every address of the machine with the port of a wildcard listener. */
static void
self_add_interfaces(struct self **s, bool v6, uint16_t port)
{
	struct ifaddrs *all, *it;
	struct nets_addr a;

	if (getifaddrs(&all) != 0)
		return;
	for (it = all; it != NULL; it = it->ifa_next) {
		if (it->ifa_addr == NULL ||
		    (it->ifa_addr->sa_family != (v6 ? AF_INET6 : AF_INET)))
			continue;
		if (nets_addr_of(it->ifa_addr, &a)) {
			a.port = port;
			self_add(s, &a);
		}
	}
	freeifaddrs(all);
}

static bool
is_wildcard(const struct nets_addr *a)
{
	return (
	    a->plain[0] == 0 && (a->plain[1] == 0 || a->plain[1] == V4_MAPPED));
}

static void
replace(_Atomic(struct self *) *now, struct self *s)
{
	if (s == NULL)
		return;
	s->next = atomic_load(now);
	atomic_store(now, s);
}

void
nets_self_set(const struct sockaddr_storage *v, unsigned n)
{
	struct self *s = NULL, *machine = NULL;
	struct nets_addr a;
	unsigned i;

	for (i = 0; i < n; i++) {
		if (!nets_addr_of((const struct sockaddr *)&v[i], &a))
			continue;
		self_add(&s, &a);
		if (is_wildcard(&a))
			self_add_interfaces(&s, v[i].ss_family == AF_INET6,
			    a.port);
	}
	replace(&self_now, s);
	self_add_interfaces(&machine, false, 0);
	self_add_interfaces(&machine, true, 0);
	replace(&machine_now, machine);
}

bool
nets_is_loopback(const struct nets_addr *a)
{
	return (a->inner[0] == 0 &&
	    (a->inner[1] == 1 || a->inner[1] >> 24 == (V4_MAPPED >> 24 | 127)));
}

bool
nets_is_machine(const struct nets_addr *a)
{
	const struct self *s = atomic_load_explicit(&machine_now,
	    memory_order_acquire);
	unsigned i;

	for (i = 0; s != NULL && i < s->n; i++)
		if (memcmp(s->v[i].plain, a->plain, 16) == 0)
			return (true);
	return (nets_is_loopback(a));
}

bool
nets_is_self(const struct nets_addr *a)
{
	const struct self *s = atomic_load_explicit(&self_now,
	    memory_order_acquire);
	unsigned i;

	if (s == NULL)
		return (false);
	for (i = 0; i < s->n; i++) {
		if (s->v[i].port != a->port)
			continue;
		if (memcmp(s->v[i].plain, a->inner, 16) == 0 ||
		    memcmp(s->v[i].plain, a->plain, 16) == 0)
			return (true);
		/* a wildcard answers on all of 127.0.0.0/8 */
		if (is_wildcard(&s->v[i]) && a->inner[1] != 1 &&
		    nets_is_loopback(a))
			return (true);
	}
	return (false);
}

const char *
nets_addr_text(const struct nets_addr *a, char room[INET6_ADDRSTRLEN])
{
	unsigned char raw[16];
	unsigned i;
	bool v4 = a->plain[0] == 0 && a->plain[1] >> 32 == 0xffff;

	for (i = 0; i < 16; i++)
		raw[i] = (unsigned char)(a->plain[i / 8] >> (56 - 8 * (i % 8)));
	if (inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? raw + 12 : raw, room,
		INET6_ADDRSTRLEN) == NULL)
		room[0] = '\0';
	return (room);
}

enum err
nets_judge(const struct nets *deny, const struct nets *allow,
    const struct sockaddr *sa, struct fault *f)
{
	char room[INET6_ADDRSTRLEN];
	const struct net *net;
	const char *special;
	struct nets_addr a;

	if (!nets_addr_of(sa, &a))
		return (fault_set(f, ERR_DEST_DENIED, "no IP address"));
	if (deny->self && !allow->self && nets_is_self(&a))
		return (fault_set(f, ERR_DEST_DENIED,
		    "%s is this proxy "
		    "itself",
		    nets_addr_text(&a, room)));
	if (nets_find(allow, &a, NETS_INNER) != NULL ||
	    (allow->self && nets_is_self(&a)))
		return (ERR_NONE);
	if ((net = nets_find(deny, &a, NETS_EITHER)) != NULL)
		return (fault_set(f, ERR_DEST_DENIED, "%s is in %s",
		    nets_addr_text(&a, room), net->name));
	if ((special = nets_special(&a)) != NULL)
		return (fault_set(f, ERR_DEST_DENIED, "%s is a%s %s address",
		    nets_addr_text(&a, room), special[0] == 'u' ? "n" : "",
		    special));
	return (ERR_NONE);
}
