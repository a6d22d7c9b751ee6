/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accepting: a worker's own listening sockets (SO_REUSEPORT).
 *
 * Room: proxy.  Thread: the worker's, or before it runs.
 */
#ifndef PROXY_ACCEPT_H
#define PROXY_ACCEPT_H

struct conf_listen;
struct worker;

/* Take n sockets over, bound and listening; each is of a listener that stays. */
void accept_start(struct worker *, const int *fds,
    const struct conf_listen *const *of, unsigned n);
/* Close them all. */
void accept_stop(struct worker *);

#endif
