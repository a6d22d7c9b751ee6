/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arenas, see arena.h: blocks in a list, bump allocation in the first. */
#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/asan.h"
#include "base/budget.h"

#define FIRST_BYTES 4096 /* what one small exchange needs */
#define LATER_BYTES 8192
#define ALIGN_TO 16
#define SPARE_MAX 64 /* blocks of each of both sizes kept per thread */

struct block {
	struct block *next;
	size_t used, cap;
	_Alignas(ALIGN_TO) unsigned char data[];
};

struct arena {
	struct block *top;
	size_t bytes;
	struct account *account; /* borrowed */
	struct charge charge;
};

struct spares {
	struct block *top;
	unsigned n;
};

static _Thread_local struct spares first_spares, later_spares;

/* NULL: those of this size are not kept. */
static struct spares *
spares_of(size_t cap)
{
	return (cap == FIRST_BYTES   ? &first_spares
		: cap == LATER_BYTES ? &later_spares
				     : NULL);
}

static struct block *
block_new(size_t cap, struct block *next)
{
	struct spares *spares = spares_of(cap);
	struct block *b;

	if (spares != NULL && spares->n > 0) {
		b = spares->top;
		spares->top = b->next;
		spares->n--;
		assert(b->cap == cap);
	} else {
		b = malloc(sizeof(*b) + cap);
		if (b == NULL)
			abort();
	}
	b->next = next;
	b->used = 0;
	b->cap = cap;
	return (b);
}

static void
block_free(struct block *b)
{
	struct spares *spares = spares_of(b->cap);

	if (!ASAN_ON && spares != NULL && spares->n < SPARE_MAX) {
		b->next = spares->top;
		spares->top = b;
		spares->n++;
	} else
		free(b);
}

struct arena *
arena_new_sized(size_t first)
{
	struct block *b = block_new(first, NULL);
	struct arena *a = (struct arena *)(void *)b->data;

	assert(first >= sizeof(*a));
	b->used = (sizeof(*a) + ALIGN_TO - 1) / ALIGN_TO * ALIGN_TO;
	a->top = b;
	a->bytes = first;
	a->account = NULL;
	a->charge = (struct charge){ .held = 0 };
	return (a);
}

struct arena *
arena_new(void)
{
	return (arena_new_sized(FIRST_BYTES));
}

__attribute__((noinline)) static struct block *
grow(struct arena *a, size_t n)
{
	size_t usual = a->bytes < FIRST_BYTES ? FIRST_BYTES : LATER_BYTES,
	       cap = n > usual ? n : usual;

	a->top = block_new(cap, a->top);
	a->bytes += cap;
	charge_set(&a->charge, a->account, a->bytes, ARENA_FREE);
	return (a->top);
}

void *
arena_alloc(struct arena *a, size_t n)
{
	struct block *b = a->top;
	void *p;

	n = (n + ALIGN_TO - 1) / ALIGN_TO * ALIGN_TO;
	if (b->cap - b->used < n)
		b = grow(a, n);
	assert(b->cap - b->used >= n);
	p = b->data + b->used;
	b->used += n;
	return (p);
}

void *
arena_zalloc(struct arena *a, size_t n)
{
	return (memset(arena_alloc(a, n), 0, n));
}

struct str
arena_str(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return ((struct str){ p, s.n });
}

char *
arena_cstr(struct arena *a, const char *s)
{
	size_t n = strlen(s) + 1;

	return (memcpy(arena_alloc(a, n), s, n));
}

struct str
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *p;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	p = arena_alloc(a, (size_t)n + 1);
	(void)vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return ((struct str){ p, (size_t)n });
}

void
arena_charge_to(struct arena *a, struct account *account)
{
	charge_set(&a->charge, NULL, 0, 0);
	a->account = account;
	charge_set(&a->charge, account, a->bytes, ARENA_FREE);
}

size_t
arena_bytes(const struct arena *a)
{
	return (a->bytes);
}

void
arena_free(struct arena **ap)
{
	struct block *b, *next;

	if (*ap == NULL)
		return;
	charge_set(&(*ap)->charge, NULL, 0, 0);
	for (b = (*ap)->top; b != NULL; b = next) {
		next = b->next;
		block_free(b);
	}
	*ap = NULL;
}
