/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A spill file: what a body keeps beyond its window, in an unlinked file.
 * Room: stream.  Units: bytes; offsets are those of the body.
 */
#ifndef STREAM_SPILL_H
#define STREAM_SPILL_H

#include <stdint.h>
#include <sys/types.h>
#include "base/chunk.h"
#include "base/fault.h"

struct body_store;
struct spill;

/* A new file in store->temp_dir, without a name; NULL with the cause in f. */
struct spill *spill_new(struct body_store *, struct fault *f);
/* Counted on the loop's thread, because a body_view may outlive its body. */
struct spill *spill_ref(struct spill *);
void spill_unref(struct spill **);
/*
 * Write the first n bytes of q (which keeps them) at offset.  false: disk
 * full, limit of store->max_temp, or an I/O error, with the cause in f.
 */
bool spill_write(struct spill *, const struct chq *q, size_t n,
    uint64_t offset, struct fault *f);
/* Like pread(2), but never short before the bytes written; any thread. */
ssize_t spill_read(const struct spill *, void *p, size_t n, uint64_t offset);

#endif
