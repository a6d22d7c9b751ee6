/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where nghttp2's memory comes from.  A session holds a buffer of a frame's
 * largest size as long as it lives, of which it hardly ever fills more than
 * the begin.  These buffers lie side by side, each on pages of its own: what
 * is never written takes no memory.  All else is malloc()'s.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "http/h2_priv.h"

#define PAGE 4096u
#define SLOT 20480u     /* whole pages; a buffer of nghttp2's is 16394 */
#define SLOT_MIN 16384u /* smaller ones are malloc()'s */
#define SLAB 524288u    /* a power of two, to which it is aligned */
#define SLOTS ((SLAB - PAGE) / SLOT) /* its first page is its head */

struct slab {
	struct list link; /* of this thread's, those with room in front */
	unsigned used;
	bool taken[SLOTS];
};

/* Sessions live and die on one thread. */
static __thread struct list slabs;

static struct slab *
slab_new(void)
{
	struct slab *b = aligned_alloc(SLAB, SLAB);

	if (b == NULL)
		return (NULL);
	(void)madvise(b, SLAB, MADV_NOHUGEPAGE);
	memset(b, 0, sizeof(*b));
	list_insert(&slabs, &b->link);
	return (b);
}

static struct slab *
slab_with_room(void)
{
	struct slab *b;

	if (slabs.next == NULL)
		list_init(&slabs);
	if (list_empty(&slabs))
		return (slab_new());
	b = CONTAINER_OF(slabs.next, struct slab, link);
	return (b->used < SLOTS ? b : slab_new());
}

static void *
slot_take(void)
{
	struct slab *b = slab_with_room();
	unsigned i = 0;

	if (b == NULL)
		return (NULL);
	while (b->taken[i])
		i++;
	b->taken[i] = true;
	if (++b->used == SLOTS) { /* to the back */
		list_remove(&b->link);
		list_append(&slabs, &b->link);
	}
	return ((char *)b + PAGE + (size_t)i * SLOT);
}

/* NULL: it is malloc()'s. */
static struct slab *
slab_of(const void *p)
{
	uintptr_t at = (uintptr_t)p, head = at & ~(uintptr_t)(SLAB - 1);
	struct list *it, *save;

	if ((at & (PAGE - 1)) != 0 || p == NULL || slabs.next == NULL)
		return (NULL); /* nearly always */
	LIST_EACH (it, save, &slabs)
		if ((uintptr_t)CONTAINER_OF(it, struct slab, link) == head)
			return (CONTAINER_OF(it, struct slab, link));
	return (NULL);
}

static void
slot_give(struct slab *b, const void *p)
{
	size_t i = ((size_t)((const char *)p - (const char *)b) - PAGE) / SLOT;

	assert(i < SLOTS && b->taken[i] && b->used > 0);
	b->taken[i] = false;
	list_remove(&b->link);
	if (--b->used == 0)
		free(b);
	else
		list_insert(&slabs, &b->link);
}

static void *
mem_malloc(size_t n, void *arg)
{
	(void)arg;
	return (n >= SLOT_MIN && n <= SLOT ? slot_take() : malloc(n));
}

static void
mem_free(void *p, void *arg)
{
	struct slab *b = slab_of(p);

	(void)arg;
	if (b != NULL)
		slot_give(b, p);
	else
		free(p);
}

static void *
mem_calloc(size_t n, size_t size, void *arg)
{
	(void)arg;
	return (calloc(n, size));
}

static void *
mem_realloc(void *p, size_t n, void *arg)
{
	struct slab *b = slab_of(p);
	void *to;

	if (p == NULL)
		return (mem_malloc(n, arg));
	if (b == NULL)
		return (realloc(p, n));
	if (n <= SLOT)
		return (p);
	to = malloc(n);
	if (to == NULL)
		return (NULL);
	memcpy(to, p, SLOT);
	mem_free(p, arg);
	return (to);
}

nghttp2_mem h2_mem = { NULL, mem_malloc, mem_free, mem_calloc, mem_realloc };
