/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arenas: memory that is freed all at once, at the end of a flow.
 * Room: base.  One thread at a time owns an arena.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include "base/str.h"

struct account;
struct arena;

struct arena *arena_new(void);
/* One that stays and stays small: its first block has so many bytes. */
struct arena *arena_new_sized(size_t first);
/* Aligned for any type, not cleared.  Never NULL. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
/* Copies; the result is NUL-terminated behind its length as well. */
struct str arena_str(struct arena *a, struct str s);
char *arena_cstr(struct arena *a, const char *s);
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));
/*
 * Whose memory it is, borrowed while the arena grows: what is beyond the
 * first ARENA_FREE bytes is counted for him, until the arena is freed.
 */
void arena_charge_to(struct arena *a, struct account *);
#define ARENA_FREE 16384
/* Bytes taken from the system. */
size_t arena_bytes(const struct arena *a);
void arena_free(struct arena **a); /* *a may be NULL; becomes NULL */

#endif
