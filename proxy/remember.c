/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was blocked of late, see remember.h. */
#include "proxy/remember.h"

/* FNV-1a; 0 stands for an empty slot. */
static uint64_t
hash_of(struct str url)
{
	uint64_t h = 14695981039346656037ull;
	size_t i, n = str_index(url, '?');

	for (i = 0; i < n; i++)
		h = (h ^ (unsigned char)url.p[i]) * 1099511628211ull;
	return (h != 0 ? h : 1);
}

static _Atomic uint64_t *
slot_of(struct remember *r, uint64_t h)
{
	return (&r->slot[(h ^ h >> 32) % REMEMBER_SLOTS]);
}

void
remember_add(struct remember *r, struct str url)
{
	uint64_t h = hash_of(url);

	atomic_store_explicit(slot_of(r, h), h, memory_order_relaxed);
}

bool
remember_has(struct remember *r, struct str url)
{
	uint64_t h = hash_of(url);

	return (atomic_load_explicit(slot_of(r, h), memory_order_relaxed) == h);
}
