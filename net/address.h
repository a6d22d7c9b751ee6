/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses of either family as one value.
 * Room: net.  Pure functions.
 */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/str.h"

/* IPv4 or IPv6; port 0: none. */
union address {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* For connect() and bind(). */
socklen_t address_size(const struct sockaddr *);
/* Host byte order. */
uint16_t address_port(const struct sockaddr *);
void address_set_port(union address *, uint16_t port);
/* Family and address, not the port. */
bool address_eq(const struct sockaddr *, const struct sockaddr *);
/* Can it be one host's address? Not unspecified, multicast or broadcast. */
bool address_is_host(const struct sockaddr *);

#define ADDRESS_TEXT 56
/* "192.0.2.1"; with a port "192.0.2.1:80" and "[2001:db8::1]:80". */
void address_text(const struct sockaddr *, char out[ADDRESS_TEXT]);
/* The same, never with a port. */
void address_ip_text(const struct sockaddr *, char out[ADDRESS_TEXT]);
/*
 * Read a literal: dotted quad (inet_pton's strict form) or IPv6 with or
 * without brackets, no zone; IPv4-mapped IPv6 becomes IPv4, so that rules
 * see one spelling.  Port 0.  False: not a literal.
 */
bool address_parse(struct str text, union address *out);

#endif
