/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listening sockets that a service manager has handed over (sd_listen_fds(3)):
 * those of a socket unit, which keep their names, and those that the supervisor
 * before this one has put into its store, called GIVEN_STORED.  One of a socket
 * unit is for all workers; of the store there is one for each.
 *
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_GIVEN_H
#define PROXY_GIVEN_H

#include <stdbool.h>
#include "base/fault.h"
#include "proxy/conf/conf.h"

struct listen_set;

#define GIVEN_STORED "stored"
#define GIVEN_NAME 256

struct given_socket {
	int fd; /* owned */
	union address addr;
	char name[GIVEN_NAME];
};

struct given {
	struct given_socket *v; /* owned; n of them */
	unsigned n;
};

/*
 * Take all there are; the environment says nothing of them any more.  False:
 * cause in f; what it says cannot be read, or one is no listening TCP socket, or
 * for both families.
 */
bool given_take(struct given *, struct fault *f);
/* Take one more, as given_take() does; fd is taken over, also when it fails. */
bool given_add(struct given *, int fd, const char *name, struct fault *f);
/*
 * One that was taken before, whatever has become of it since: a socket unit's
 * address can be had by it alone.  listen_mend() makes it listen again.
 */
void given_keep(struct given *, int fd, const char *name);
/*
 * Those of socket units must be for addresses of that configuration, and of the
 * listener whose name they have, if it is one's; and then no other address is
 * left.  False: cause in f, which names it.
 */
bool given_check(const struct given *, const struct listen_set *,
    const struct conf *, struct fault *f);
/* Is the address one of a socket unit's? */
bool given_has(const struct given *, const union address *);
/*
 * The socket for the k-th worker on that address, which stays given's; -1:
 * there is none.  given may be NULL.
 */
int given_find(const struct given *, const union address *, unsigned k);
/*
 * Those of the store go: what is used of them has been copied, and on the others
 * clients would wait for nobody.
 */
void given_drop_stored(struct given *);
void given_fini(struct given *);

#endif
