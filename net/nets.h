/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of networks: CIDR blocks of both families and named sets.
 *
 *   loopback    127.0.0.0/8, ::1
 *   link_local  169.254.0.0/16, fe80::/10, and the metadata services of clouds
 *               (169.254.169.254, fd00:ec2::254)
 *   private     loopback, link_local, RFC 1918, ULA (RFC 4193)
 *   self        where this process listens (address and port)
 *   any         everything
 *
 * IPv4 written inside IPv6 (mapped, compatible, NAT64 64:ff9b::/96, 6to4
 * 2002::/16) is judged as the IPv4 address it stands for as well, so that no
 * spelling slips past a rule.  Mapped addresses are the same as IPv4 ones.
 *
 * Room: net.  Any thread: sets are frozen once built.
 */
#ifndef NET_NETS_H
#define NET_NETS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/fault.h"

struct arena;

/* One block; IPv4 is held as ::ffff:a.b.c.d with 96 bits more. */
struct net {
	uint64_t addr[2]; /* host order, high half first */
	uint64_t mask[2];
	const char *name; /* as written, for logs */
};

/* {0} is the empty set. */
struct nets {
	struct net *v; /* in the arena it was built with */
	unsigned n;
	bool self; /* "self" is in it */
};

/* An address in the form of struct net.addr. */
struct nets_addr {
	uint64_t plain[2]; /* as given */
	uint64_t inner[2]; /* unwrapped; same as plain if nothing was wrapped */
	uint16_t port;
};

/* Room in nets_add()'s why. */
#define NETS_WHY 120

/*
 * Add a named set, an address or a block ("10.0.0.0/8", "::1").  False: not
 * one of these, and why[] says what is wrong, with a hint.
 */
bool nets_add(struct nets *, struct arena *, const char *text,
    char why[NETS_WHY]);

/* False: neither IPv4 nor IPv6. */
bool nets_addr_of(const struct sockaddr *, struct nets_addr *);

/* As given, "192.0.2.1"; returns room. */
const char *nets_addr_text(const struct nets_addr *,
    char room[INET6_ADDRSTRLEN]);

/* Which form of an address is judged. */
enum nets_form {
	NETS_PLAIN, /* as given: who somebody is */
	NETS_INNER, /* what it leads to: what is to be allowed */
	NETS_EITHER /* what is to be denied */
};

/* The block it is in, NULL if none; self is not looked at. */
const struct net *nets_find(const struct nets *, const struct nets_addr *,
    enum nets_form);

/* Is the address, in either form, in the set?  Its port counts for self only. */
bool nets_match(const struct nets *, const struct sockaddr *);

/*
 * May this address be connected to?  allow opens what deny closes;
 * unspecified, broadcast and multicast addresses are closed too.  Where this
 * process listens itself is opened by "self" in allow only.
 * ERR_NONE, or ERR_DEST_DENIED with the reason in f.
 */
enum err nets_judge(const struct nets *deny, const struct nets *allow,
    const struct sockaddr *, struct fault *f);

/*
 * Tell where this process listens; a wildcard address stands for those of all
 * interfaces.  Replaces what was told before; may be called while others
 * match.  Addresses are copied.
 */
void nets_self_set(const struct sockaddr_storage *v, unsigned n);
bool nets_is_self(const struct nets_addr *);
/*
 * Is it an address of this machine, on whatever port?  Those of its interfaces
 * when nets_self_set() was called, and all of loopback.
 */
bool nets_is_machine(const struct nets_addr *);
bool nets_is_loopback(const struct nets_addr *);

/* Unspecified, broadcast or multicast: "unspecified" ..., else NULL. */
const char *nets_special(const struct nets_addr *);

#endif
