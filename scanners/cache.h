/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict cache: digests of what was found clean (known.h makes them).
 * It holds nothing but them, in a table of fixed size: what is new takes the
 * place of what was asked for longest ago.
 * Room: scanners.  Thread: any.  Units: bytes, seconds.
 */
#ifndef SCANNERS_CACHE_H
#define SCANNERS_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include "scanners/digest.h"

struct verdict_cache;

/*
 * One reference.  NULL when bytes has room for nothing.  The memory is taken
 * from the system as it is used.
 */
struct verdict_cache *verdict_cache_new(uint64_t bytes);
struct verdict_cache *verdict_cache_ref(struct verdict_cache *);
void verdict_cache_unref(struct verdict_cache **);
uint64_t verdict_cache_bytes(const struct verdict_cache *);

/* Was it found clean, and is that still to be believed? */
bool verdict_cache_has(struct verdict_cache *,
    const unsigned char key[DIGEST_BYTES], uint64_t now_s);
/* It was found clean; to be believed until then. */
void verdict_cache_add(struct verdict_cache *,
    const unsigned char key[DIGEST_BYTES], uint64_t now_s, uint64_t until_s);

#endif
