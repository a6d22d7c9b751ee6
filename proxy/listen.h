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

struct given;

struct listen_set {
	unsigned n;           /* addresses */
	unsigned copies;      /* sockets of each; as many as workers, or more */
	unsigned *of;         /* [n]: which listener of the configuration */
	enum conf_kind *kind; /* [n] */
	union address *asked; /* [n]: as configured */
	union address *addr;  /* [n]; the port the kernel gave is filled in */
	int *fd;              /* [copies * n], copy by copy; NULL: closed */
	const struct given *given; /* borrowed; NULL: none */
};

/*
 * Bind and listen for so many workers.  was (may be NULL): the set in use;
 * sockets of addresses that stay are copies of its descriptors, all of them,
 * for one that is closed loses who waits in its queue.  given (may be NULL, is
 * needed as long as the set): sockets that are taken instead of new ones.  False:
 * cause in f, nothing is open.
 */
bool listen_open(struct listen_set *, const struct conf *, unsigned workers,
    const struct listen_set *was, const struct given *given, struct fault *f);
/* Close the sockets; their addresses stay for listen_again(). */
void listen_close(struct listen_set *);
bool listen_is_open(const struct listen_set *);
bool listen_again(struct listen_set *, struct fault *f);
/*
 * Whoever has had them may have shut them, or made them block: those that do
 * not listen any more are opened anew.  False: cause in f.
 */
bool listen_mend(struct listen_set *, struct fault *f);
/* The same as listen_close(), and free the lists. */
void listen_fini(struct listen_set *);
/* "127.0.0.1:3128" */
void listen_text(const union address *, char out[64]);

#endif
