/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many connections each client address has, over all workers
 * (limits.per_client: one client must not take every place).
 * Room: proxy.  Any thread; asked at accept and close only.
 */
#ifndef PROXY_PEERS_H
#define PROXY_PEERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct peers;
/* Whose share of the budget it is (base/budget.h). IPv6 by /64. */
uint64_t peers_key(const struct sockaddr *);
struct peers *peers_new(void);
void peers_free(struct peers **);
/* Count one more; false (not counted) when it has max already. IPv6 by /64. */
bool peers_add(struct peers *, const struct sockaddr *, unsigned max);
void peers_remove(struct peers *, const struct sockaddr *);

#endif
