/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections from balancers (listen.proxy_protocol), until the PROXY header
 * is there that says who the client is.  Nothing is sent meanwhile, and not
 * an octet behind the header is read: then the connection is the client's like
 * any other.  One without a header in time, or with a broken one, is closed.
 *
 * Room: proxy.  Thread: its worker's.
 */
#ifndef PROXY_GREET_H
#define PROXY_GREET_H

#include <stdbool.h>
#include "net/address.h"

struct client_from;
struct conf_listen;
struct worker;

/* Is it one of those who have to send a header? */
bool greet_is_due(const struct conf_listen *, const struct sockaddr *peer);
/* Takes the socket; where there is too little for it, it is closed at once. */
void greet_new(struct worker *, int fd, const struct client_from *);
/* The worker has ended: close them all. */
void greet_close_all(struct worker *);

#endif
