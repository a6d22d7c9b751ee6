/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accepting: a worker's own listening sockets (SO_REUSEPORT).
 *
 * Room: proxy.  Thread: the worker's, or before it runs.
 */
#ifndef PROXY_ACCEPT_H
#define PROXY_ACCEPT_H

struct client_from;
struct conf_listen;
struct worker;

/* Take n sockets over, bound and listening; each is of a listener that stays. */
void accept_start(struct worker *, const int *fds,
    const struct conf_listen *const *of, unsigned n);
/* Close them all. */
void accept_stop(struct worker *);
/*
 * Who the client is, and where it was going, is known, by the kernel or by a
 * balancer: it becomes a client, unless it is our own connection that has come
 * back.  Takes the socket, and via.
 */
void accept_client(struct worker *, int fd, struct client_from *);

#endif
