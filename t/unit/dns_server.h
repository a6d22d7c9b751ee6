/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A name server for tests, on a loopback port of the loop under test.  What
 * it says is told by a table: names are matched without case.
 */
#ifndef DNS_SERVER_H
#define DNS_SERVER_H

#include <stdint.h>
#include "base/loop.h"

enum dns_says {
	SAYS_ADDRESSES, /* the list; an empty one is NODATA */
	SAYS_NO_NAME,   /* NXDOMAIN */
	SAYS_FAILURE,   /* SERVFAIL */
	SAYS_NOTHING,
	SAYS_JUNK,     /* random bytes, then nothing */
	SAYS_TRUNCATED /* TC over UDP, the addresses over TCP */
};

struct dns_entry {
	const char *name;
	enum dns_says a, aaaa;
	const char *v4, *v6;   /* separated by spaces; NULL: none */
	unsigned v4_ms, v6_ms; /* the answer is late by that */
	uint32_t ttl;
	const char *cname; /* sent in front of the addresses */
};

struct dns_server;

struct dns_server *dns_server_new(struct loop *, const struct dns_entry *,
    unsigned n);
/* "127.0.0.1:port" */
const char *dns_server_address(const struct dns_server *);
unsigned dns_server_questions(const struct dns_server *);
/* Names in questions that the table does not have. */
unsigned dns_server_strangers(const struct dns_server *);
void dns_server_free(struct dns_server **);

#endif
