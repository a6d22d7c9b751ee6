/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies that scanners have died of, see clam_deaths.h. */
#include <assert.h>
#include <string.h>
#include "scanners/clam_deaths.h"

void
clam_print_begin(struct clam_body_print *b, uint64_t length, const void *p,
    size_t n)
{
	const unsigned char *c = p;

	assert(n <= DEATHS_HEAD);
	*b = (struct clam_body_print){ .length = length,
		.head = 0xcbf29ce484222325u };
	while (n-- > 0) /* FNV-1a; whoever meets it on purpose is hashed */
		b->head = (b->head ^ *c++) * 0x100000001b3u;
}

static bool
is_fresh(const struct clam_death_note *n, uint64_t now)
{
	return (n->count > 0 && now < n->last + DEATHS_MS);
}

static bool
is_like(const struct clam_body_print *a, const struct clam_body_print *b)
{
	return (a->length == b->length && a->head == b->head);
}

static bool
is_same(const struct clam_body_print *a, const struct clam_body_print *b)
{
	return (
	    is_like(a, b) && memcmp(a->digest, b->digest, DIGEST_BYTES) == 0);
}

bool
clam_deaths_any(const struct clam_deaths *d, uint64_t now)
{
	unsigned i;

	for (i = 0; i < d->n; i++)
		if (is_fresh(&d->note[i], now))
			return (true);
	return (false);
}

bool
clam_deaths_may_be(const struct clam_deaths *d, const struct clam_body_print *b,
    uint64_t now)
{
	unsigned i;

	for (i = 0; i < d->n; i++)
		if (is_fresh(&d->note[i], now) && is_like(&d->note[i].print, b))
			return (true);
	return (false);
}

/* A place of its own, else a free or forgotten one, else the oldest. */
static struct clam_death_note *
place_for(struct clam_deaths *d, const struct clam_body_print *b, uint64_t now)
{
	struct clam_death_note *best = NULL, *n;
	unsigned i;

	for (i = 0; i < d->n; i++) {
		n = &d->note[i];
		if (is_fresh(n, now) && is_same(&n->print, b))
			return (n);
		if (best == NULL || n->last < best->last)
			best = n;
	}
	if (d->n < DEATHS_MOST)
		best = &d->note[d->n++];
	best->count = 0;
	return (best);
}

void
clam_deaths_add(struct clam_deaths *d, const struct clam_body_print *b,
    uint64_t now)
{
	struct clam_death_note *n = place_for(d, b, now);

	n->print = *b;
	n->count++;
	n->last = now;
}

bool
clam_deaths_enough(const struct clam_deaths *d, const struct clam_body_print *b,
    uint64_t now)
{
	unsigned i;

	for (i = 0; i < d->n; i++)
		if (is_fresh(&d->note[i], now) && is_same(&d->note[i].print, b))
			return (d->note[i].count >= DEATHS_ENOUGH);
	return (false);
}
