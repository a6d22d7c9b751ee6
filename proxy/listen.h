/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listening sockets: one set for each worker, on the same addresses
 * (SO_REUSEPORT), bound before anything is read from the network.  They are
 * the supervisor's, who hands copies of the descriptors on.
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_LISTEN_H
#define PROXY_LISTEN_H

#include <stdbool.h>
#include "base/fault.h"
#include "proxy/conf/conf.h"

struct listen_set {
	unsigned n;          /* sockets of one worker */
	unsigned *of;        /* [n]: which listener of the configuration */
	union address *addr; /* [n]; the port the kernel gave is filled in */
	int *fd;             /* [workers * n] */
};

/* Bind and listen for so many workers.  False: cause in f, nothing is open. */
bool listen_open(struct listen_set *, const struct conf *, unsigned workers,
    struct fault *f);
/* Close the sockets; their addresses stay for listen_again(). */
void listen_close(struct listen_set *, unsigned workers);
bool listen_is_open(const struct listen_set *);
bool listen_again(struct listen_set *, unsigned workers, struct fault *f);
/* The same, and free the lists. */
void listen_fini(struct listen_set *, unsigned workers);
/* "127.0.0.1:3128" */
void listen_text(const union address *, char out[64]);

#endif
