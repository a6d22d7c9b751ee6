/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections per address, see peers.h: chained hash under one lock. */
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/peers.h"

#define BUCKETS 4096

struct peer {
	struct peer *next;
	uint64_t key;
	unsigned n;
};

struct peers {
	pthread_mutex_t lock;
	struct peer *bucket[BUCKETS];
};

struct peers *
peers_new(void)
{
	struct peers *p = calloc(1, sizeof(*p));

	if (p == NULL)
		abort();
	pthread_mutex_init(&p->lock, NULL);
	return (p);
}

void
peers_free(struct peers **pp)
{
	struct peer *e;
	unsigned i;

	if (*pp == NULL)
		return;
	for (i = 0; i < BUCKETS; i++)
		while ((e = (*pp)->bucket[i]) != NULL) {
			(*pp)->bucket[i] = e->next;
			free(e);
		}
	pthread_mutex_destroy(&(*pp)->lock);
	free(*pp);
	*pp = NULL;
}

/* IPv4 as its 32 bits, IPv6 as its network half: a /64 is one customer. */
uint64_t
peers_key(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *v6 = (const void *)sa;
	const struct sockaddr_in *v4 = (const void *)sa;
	uint64_t key;

	if (sa->sa_family == AF_INET)
		return (v4->sin_addr.s_addr);
	memcpy(&key, &v6->sin6_addr, sizeof(key));
	return (key);
}

static struct peer **
peer_find(struct peers *p, uint64_t key)
{
	struct peer **at = &p->bucket[(key * 0x9e3779b97f4a7c15u) >> 52];

	while (*at != NULL && (*at)->key != key)
		at = &(*at)->next;
	return (at);
}

bool
peers_add(struct peers *p, const struct sockaddr *sa, unsigned max)
{
	uint64_t key = peers_key(sa);
	struct peer **at;
	bool ok;

	pthread_mutex_lock(&p->lock);
	at = peer_find(p, key);
	if (*at == NULL) {
		*at = calloc(1, sizeof(**at));
		if (*at == NULL)
			abort();
		(*at)->key = key;
	}
	ok = (*at)->n < max;
	if (ok)
		(*at)->n++;
	pthread_mutex_unlock(&p->lock);
	return (ok);
}

void
peers_remove(struct peers *p, const struct sockaddr *sa)
{
	struct peer **at, *gone;

	pthread_mutex_lock(&p->lock);
	at = peer_find(p, peers_key(sa));
	if (*at != NULL && --(*at)->n == 0) {
		gone = *at;
		*at = gone->next;
		free(gone);
	}
	pthread_mutex_unlock(&p->lock);
}
