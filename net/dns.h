/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking name servers: c-ares on the loop.  No cache, no joining, no tables;
 * see resolve.h for those.  c-ares has its home here.
 * Room: net.  Thread: its loop's.  Units: ms.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/loop.h"
#include "net/address.h"

#define DNS_ADDRESSES 8 /* kept of an answer */

enum dns_result {
	DNS_FOUND,   /* at least one address */
	DNS_NO_NAME, /* NXDOMAIN */
	DNS_NO_DATA, /* the name has no address of this family */
	DNS_TIMEOUT, /* no server answered */
	DNS_FAILED   /* refused, malformed, no server reachable, ... */
};

struct dns_answer {
	enum dns_result result;
	const char *text; /* static: why, for DNS_FAILED */
	unsigned n;
	union address addresses[DNS_ADDRESSES];
	uint64_t ttl_ms; /* the smallest on the way to them */
};

struct dns;

/* Embedded; c-ares holds it from dns_ask() to its answer. */
struct dns_question {
	/* Exactly once; may be from inside dns_ask(). */
	void (*answered)(struct dns_question *, const struct dns_answer *);
	struct dns *dns; /* set by dns_ask() */
	int family;
};

/*
 * servers: "ip[:port],...", NULL or "" for the system's.  A question is given
 * up about two deadlines after it was asked, all its repetitions included.
 * NULL with ERR_CONFIG in f.
 */
struct dns *dns_new(struct loop *, const char *servers, unsigned deadline_ms,
    struct fault *f);
/*
 * The addresses of a name in one family (AF_INET, AF_INET6).  A name that
 * ends in a dot is absolute, any other goes through the search list.
 */
void dns_ask(struct dns *, struct dns_question *, const char *name, int family);
/*
 * No more questions to *d: it is freed behind its last answer, or by
 * dns_free() of its (fresh) successor.  *d becomes NULL.
 */
void dns_retire(struct dns **d, struct dns *successor);
/* Now; what is unanswered, also by its predecessors, fails (DNS_FAILED). */
void dns_free(struct dns **d);

#endif
