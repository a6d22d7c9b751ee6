/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verdict cache, see cache.h: sets of eight slots, and a lock for some. */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "scanners/cache.h"

#define WAYS 8
#define LOCKS 64
#define KEY_BYTES 24 /* of the digest: 2^96 bodies for one collision */

struct slot {
	unsigned char key[KEY_BYTES];
	uint32_t until; /* s; 0: free */
	uint32_t used;  /* s */
};

struct set {
	struct slot slot[WAYS];
};

struct verdict_cache {
	atomic_uint refs;
	uint64_t bytes; /* as asked for */
	uint64_t n;
	struct set *sets;
	pthread_mutex_t lock[LOCKS];
};

struct verdict_cache *
verdict_cache_new(uint64_t bytes)
{
	struct verdict_cache *c;
	unsigned i;

	if (bytes < sizeof(struct set))
		return (NULL);
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		abort();
	atomic_init(&c->refs, 1);
	c->bytes = bytes;
	c->n = bytes / sizeof(struct set);
	c->sets = calloc(c->n, sizeof(*c->sets));
	if (c->sets == NULL)
		abort();
	for (i = 0; i < LOCKS; i++)
		pthread_mutex_init(&c->lock[i], NULL);
	return (c);
}

struct verdict_cache *
verdict_cache_ref(struct verdict_cache *c)
{
	unsigned had;

	if (c == NULL)
		return (NULL);
	had = atomic_fetch_add(&c->refs, 1);
	assert(had > 0);
	return (c);
}

void
verdict_cache_unref(struct verdict_cache **cp)
{
	struct verdict_cache *c = *cp;
	unsigned i;

	*cp = NULL;
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	for (i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&c->lock[i]);
	free(c->sets);
	free(c);
}

uint64_t
verdict_cache_bytes(const struct verdict_cache *c)
{
	return (c->bytes);
}

/* Locked; its lock is for unlocking. */
static struct set *
set_of(struct verdict_cache *c, const unsigned char *key,
    pthread_mutex_t **lock)
{
	uint64_t h;

	assert(c->n > 0);
	memcpy(&h, key, sizeof(h));
	h %= c->n;
	*lock = &c->lock[h % LOCKS];
	pthread_mutex_lock(*lock);
	return (&c->sets[h]);
}

static struct slot *
slot_of(struct set *s, const unsigned char *key)
{
	unsigned i;

	for (i = 0; i < WAYS; i++)
		if (s->slot[i].until != 0 &&
		    memcmp(s->slot[i].key, key, KEY_BYTES) == 0)
			return (&s->slot[i]);
	return (NULL);
}

bool
verdict_cache_has(struct verdict_cache *c,
    const unsigned char key[DIGEST_BYTES], uint64_t now)
{
	pthread_mutex_t *lock;
	struct slot *s = slot_of(set_of(c, key, &lock), key);
	bool has = s != NULL && now < s->until;

	if (has)
		s->used = (uint32_t)now;
	pthread_mutex_unlock(lock);
	return (has);
}

void
verdict_cache_add(struct verdict_cache *c,
    const unsigned char key[DIGEST_BYTES], uint64_t now, uint64_t until)
{
	pthread_mutex_t *lock;
	struct set *set = set_of(c, key, &lock);
	struct slot *s = slot_of(set, key);
	unsigned i;

	if (s == NULL) {
		s = &set->slot[0];
		for (i = 1; i < WAYS; i++)
			if (set->slot[i].used < s->used)
				s = &set->slot[i];
	}
	memcpy(s->key, key, KEY_BYTES);
	s->until = (uint32_t)until;
	s->used = (uint32_t)now;
	pthread_mutex_unlock(lock);
}
