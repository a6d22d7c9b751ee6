/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bodies that scanners have died of, by digest, for a while: the fourth
 * scanner is not tried.  Whether a body may be one of them is seen at its
 * length and first bytes, so that others are not hashed.
 *
 * Room: scanners.  Thread: one at a time.  Units: monotonic ms.
 */
#ifndef SCANNERS_CLAM_DEATHS_H
#define SCANNERS_CLAM_DEATHS_H

#include <stdbool.h>
#include <stdint.h>
#include "scanners/digest.h"

#define DEATHS_MOST 64 /* bodies that are remembered; the oldest goes */
#define DEATHS_MS (600 * 1000)
#define DEATHS_ENOUGH 3
#define DEATHS_HEAD 4096 /* first bytes of a body that are compared */

struct clam_body_print {
	uint64_t length;
	uint64_t head; /* hash of its first bytes */
	unsigned char digest[DIGEST_BYTES];
};

struct clam_deaths {
	struct clam_death_note {
		struct clam_body_print print;
		unsigned count; /* 0: the place is free */
		uint64_t last;
	} note[DEATHS_MOST];
	unsigned n; /* places that were ever used */
};

/* {0} is empty. */

/* Length and first bytes: p[0..n), n at most DEATHS_HEAD.  No digest yet. */
void clam_print_begin(struct clam_body_print *, uint64_t length, const void *p,
    size_t n);
/* Is any body remembered? */
bool clam_deaths_any(const struct clam_deaths *, uint64_t now);
/* May it be one that is remembered?  Its digest is not looked at. */
bool clam_deaths_may_be(const struct clam_deaths *,
    const struct clam_body_print *, uint64_t now);
/* One more scanner has died of it. */
void clam_deaths_add(struct clam_deaths *, const struct clam_body_print *,
    uint64_t now);
/* Have enough of them? */
bool clam_deaths_enough(const struct clam_deaths *,
    const struct clam_body_print *, uint64_t now);

#endif
