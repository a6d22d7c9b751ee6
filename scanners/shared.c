/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fields that services tell each other, see shared.h. */
#include "scanners/shared.h"

void
shared_begin(struct scan_shared *s)
{
	s->answers++;
}

bool
shared_add(struct scan_shared *s, struct arena *a, struct str name,
    struct str value)
{
	size_t bytes = name.n + value.n;

	if (s->n == SHARED_FIELDS || bytes > SHARED_BYTES - s->bytes)
		return (false);
	if (s->v == NULL)
		s->v = arena_alloc(a, SHARED_FIELDS * sizeof(*s->v));
	s->bytes += bytes;
	s->v[s->n++] = (struct shared_field){ arena_str(a, name),
		arena_str(a, value), s->answers };
	return (true);
}

bool
shared_counts(const struct scan_shared *s, unsigned i, unsigned n)
{
	unsigned k;

	for (k = i + 1; k < n; k++)
		if (s->v[k].answer > s->v[i].answer &&
		    str_ieq(s->v[k].name, s->v[i].name))
			return (false);
	return (true);
}
