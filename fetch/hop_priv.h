/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One exchange of HTTP with one address: what libcurl is for, and all that it
 * is for.  It resolves no name, follows nothing, keeps no connection, knows no
 * proxy, and makes no socket to an address that the rules do not allow.
 *
 * Room: fetch.  One thread; RFC 9110, 9111 4.2.1.
 */
#ifndef FETCH_HOP_PRIV_H
#define FETCH_HOP_PRIV_H

#include "base/loop.h"
#include "fetch/rules_priv.h"
#include "fetch/wire_priv.h"
#include "net/address.h"

#define HOP_HOST_MAX 256

/* A URL of http or https, without user or fragment. */
struct hop_url {
	char text[FETCH_URL_MAX];
	char host[HOP_HOST_MAX]; /* lower case; an IPv6 address in brackets */
	uint16_t port;
	bool tls;
};

struct hops;

struct hop {
	/* The caller's, until it is over: */
	struct task *wake;
	const struct hop_url *url;
	union address address;      /* with the port */
	const struct wire_ask *ask; /* etag, since, body and max_bytes of it */
	unsigned timeout_ms;
	int fd;         /* what comes is written there */
	uint64_t *held; /* octets of all such files, counted up */

	/* The result, once it is over: */
	bool over;
	enum fetch_outcome outcome; /* FETCH_REDIRECT: to location */
	unsigned status;            /* 0: none */
	uint64_t size;              /* written */
	int64_t fresh_s, modified;
	char etag[FETCH_ETAG_MAX];
	char location[FETCH_URL_MAX]; /* as it came */
	char why[FETCH_WHY_MAX];

	/* Private. */
	struct hops *hops;
	void *easy, *fields, *connect_to; /* libcurl's */
	size_t head;                      /* octets of it so far */
	int64_t age, max_age, expires, date;
	bool unwanted, large, full; /* why octets were not taken */
	struct fault denied;
};

/* rules: borrowed.  roots: PEM file; NULL: the system's. */
struct hops *hops_new(struct loop *, const struct rules *, const char *roots);
void hops_free(struct hops **); /* no hop is under way */
/* The file of the system's roots; NULL: libcurl knows none. */
const char *hops_system_roots(void);

/* base: what text may be relative to; NULL: nothing.  False: no such URL. */
bool hop_url_read(const char *text, const struct hop_url *base,
    struct hop_url *out);

/* The rest of h is cleared here.  Its wake is woken once, when it is over. */
void hop_start(struct hops *, struct hop *h);
/* Forget it: harmless when over or never started ({0}). */
void hop_cancel(struct hop *h);

#endif
