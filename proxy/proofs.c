/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proven names, see proofs.h: one place for each hash. */
#include <stdlib.h>
#include <string.h>
#include "proxy/proofs.h"

#define PLACES 512
#define KEPT_MS 3600000
#define NAME_MAX_BYTES 253 /* RFC 1035 2.3.4 */

struct proof {
	union address at;
	uint64_t until; /* 0: none */
	unsigned by;
	unsigned char n;
	char name[NAME_MAX_BYTES];
};

struct proofs {
	struct proof place[PLACES];
};

struct proofs *
proofs_new(void)
{
	struct proofs *p = calloc(1, sizeof(*p));

	if (p == NULL)
		abort();
	return (p);
}

void
proofs_free(struct proofs **p)
{
	free(*p);
	*p = NULL;
}

static unsigned
place_of(const struct sockaddr *at, struct str name)
{
	const struct sockaddr_in6 *v6 = (const void *)at;
	const struct sockaddr_in *v4 = (const void *)at;
	bool is6 = at->sa_family == AF_INET6;
	const unsigned char *ip = is6 ? (const void *)&v6->sin6_addr
				      : (const void *)&v4->sin_addr;
	uint32_t h = 2166136261u ^ address_port(at);
	size_t i;

	for (i = 0; i < (is6 ? 16u : 4u); i++)
		h = (h ^ ip[i]) * 16777619u;
	for (i = 0; i < name.n; i++)
		h = (h ^ (unsigned char)name.p[i]) * 16777619u;
	return ((h ^ h >> 15) % PLACES);
}

void
proofs_add(struct proofs *p, const struct sockaddr *at, struct str name,
    unsigned by, uint64_t now)
{
	struct proof *e = &p->place[place_of(at, name)];

	if (name.n > sizeof(e->name))
		return;
	memset(e, 0, sizeof(*e));
	memcpy(&e->at, at, address_size(at));
	e->until = now + KEPT_MS;
	e->by = by;
	e->n = (unsigned char)name.n;
	memcpy(e->name, name.p, name.n);
}

bool
proofs_has(const struct proofs *p, const struct sockaddr *at, struct str name,
    unsigned by, uint64_t now)
{
	const struct proof *e = &p->place[place_of(at, name)];

	return (e->until > now && e->by == by && address_eq(&e->at.sa, at) &&
	    address_port(&e->at.sa) == address_port(at) &&
	    str_eq((struct str){ e->name, e->n }, name));
}
