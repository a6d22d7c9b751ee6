/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What services of one flow tell the later ones: fields of their answers, by
 * names that the configuration gives.  Bounded, for services are peers, too.
 * Room: scanners.  Thread: its loop's.  Units: bytes.
 */
#ifndef SCANNERS_SHARED_H
#define SCANNERS_SHARED_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/str.h"

#define SHARED_FIELDS 32 /* of one flow, in all */
#define SHARED_BYTES 8192

struct shared_field {
	struct str name, value;
	unsigned answer; /* which one it came with, from 1 */
};

/* Of a flow; {0} at first. */
struct scan_shared {
	struct shared_field *v; /* in the arena; NULL: none yet */
	unsigned n, answers;
	size_t bytes;
};

/* What follows is of another answer. */
void shared_begin(struct scan_shared *);
/* Copy a field into a; false: it is too much, and left out. */
bool shared_add(struct scan_shared *, struct arena *a, struct str name,
    struct str value);
/*
 * Does the i-th field count among the first n?  It does not, if a later answer
 * among those has the same name: that one takes its place.
 */
bool shared_counts(const struct scan_shared *, unsigned i, unsigned n);

#endif
