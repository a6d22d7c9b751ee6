/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a serving process knows in numbers.  Workers are asked one after another
 * by mail and add what is theirs; who does not answer within NUMBERS_MS is
 * missing, and the rest is told.
 *
 * Room: proxy.  Thread: the main one.
 */
#ifndef PROXY_NUMBERS_H
#define PROXY_NUMBERS_H

#include "icap/icap.h"
#include "net/resolve.h"
#include "proxy/gen.h"

struct proxy_shared;
struct worker;

#define NUMBERS_MS 1000
#define NUMBERS_ENDPOINTS ICAP_MAX_URLS

/* A server of an ICAP service, over all workers. */
struct numbers_endpoint {
	char name[300]; /* "host:port" */
	char down[200]; /* why, for one of the workers; "": it is up */
	unsigned up;    /* workers that find it so */
	unsigned max_connections;
	uint64_t idle, busy, options, transactions, retries, failures, connects;
};

struct numbers_service {
	struct numbers_endpoint v[NUMBERS_ENDPOINTS];
	unsigned n;
};

/* Of all workers together. */
struct numbers {
	unsigned workers;  /* that there are ... */
	unsigned answered; /* ... and that are in what follows */
	struct resolver_counts names;
	uint64_t ticket_bytes;            /* of origins, to resume with */
	uint64_t chunk_bytes;             /* of bodies and buffers */
	struct numbers_service *services; /* as in the configuration */
};

struct numbers_round;

/*
 * Begin: ready() is called once, later, with what came, which is valid for the
 * call; of that generation, which is kept until then.
 */
struct numbers_round *numbers_ask(struct loop *, struct gen *,
    struct worker *const *workers, unsigned n,
    void (*ready)(void *arg, const struct gen *, const struct numbers *),
    void *arg);
/* ready() is not called any more; *r becomes NULL. */
void numbers_forget(struct numbers_round **);

#endif
