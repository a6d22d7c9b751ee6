/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listening sockets: one set for each worker, on the same addresses
 * (SO_REUSEPORT), bound before anything is read from the network.
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_LISTEN_H
#define PROXY_LISTEN_H

#include <stdbool.h>
#include "base/fault.h"
#include "proxy/conf/conf.h"

struct listen_set {
	unsigned n;                    /* sockets of one worker */
	const struct conf_listen **of; /* [n] */
	union address *addr; /* [n]; the port the kernel gave is filled in */
	int *fd;             /* [workers * n] */
};

/* Bind and listen for so many workers.  False: cause in f, nothing is open. */
bool listen_open(struct listen_set *, const struct conf *, unsigned workers,
    struct fault *f);
/* The sockets of one worker. */
const int *listen_of(const struct listen_set *, unsigned worker);
/* Free the lists; sockets belong to the workers. */
void listen_fini(struct listen_set *);
/* "127.0.0.1:3128" */
void listen_text(const union address *, char out[64]);

#endif
