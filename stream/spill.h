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

struct account;
struct body_store;
struct iovec;
struct spill;

/*
 * A new file in store->temp_dir, without a name, which is a's with its bytes
 * (counted; NULL: nobody's); NULL with the cause in f.
 */
struct spill *spill_new(struct body_store *, struct account *a,
    struct fault *f);
/* Counted on the loop's thread, because a body_view may outlive its body. */
struct spill *spill_ref(struct spill *);
void spill_unref(struct spill **);

/*
 * Bytes on their way to the file.  They may be written in another thread:
 * only spill_write_run() is called there, and nothing else in the meantime.
 */
struct spill_write {
	struct spill *spill; /* counted */
	struct chq data;     /* references */
	struct iovec *iov;   /* owned: the data's bytes */
	unsigned count;
	uint64_t offset;
	int error; /* errno, after the run; 0: written */
};

/*
 * The first n bytes of q (which keeps them) for offset.  false: its account
 * has no room for them, cause in f; nothing is owed then.
 */
bool spill_write_init(struct spill_write *, struct spill *, const struct chq *q,
    size_t n, uint64_t offset, struct fault *f);
void spill_write_run(struct spill_write *);
/* Lets go of everything.  false: it was not written, cause in f. */
bool spill_write_fini(struct spill_write *, struct fault *f);
/* Its file, for mapping what was written; it stays the spill's. */
int spill_fd(const struct spill *);
/*
 * Another description of it, which can only be read and has a position of its
 * own; the caller's.  -1 with errno.
 */
int spill_open(const struct spill *);
/* Like pread(2), but never short before the bytes written; any thread. */
ssize_t spill_read(const struct spill *, void *p, size_t n, uint64_t offset);
/*
 * What of it can be had without waiting for the disk: may be short, -1 with
 * EAGAIN for nothing.  File systems that cannot tell (a tmpfs) are read.
 */
ssize_t spill_read_now(const struct spill *, void *p, size_t n,
    uint64_t offset);

#endif
