/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chunks: counted blocks of body bytes; slices: parts of them; chunk queues.
 * Bytes are written once, by the one who filled the chunk, and shared from
 * then on.  Counts are not atomic: a chunk stays on the thread of its loop
 * (another thread may read the bytes of a chunk that its loop holds for it).
 * Room: base.  Units: bytes.
 */
#ifndef BASE_CHUNK_H
#define BASE_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_BYTES 16384 /* one TLS record's plaintext (RFC 8446 5.1) */

struct chunk {
	unsigned refs;
	uint32_t cap;
	uint32_t used; /* bytes filled from the start of data */
	unsigned char data[];
};

struct slice {
	struct chunk *chunk; /* counted */
	unsigned char *at;   /* inside chunk->data */
	size_t len;
};

/* A queue of slices, in order. {0} is an empty one. */
struct chq {
	struct slice *ring; /* owned */
	unsigned first, count, cap;
	size_t bytes;
};

/* A chunk of CHUNK_BYTES with one reference.  Never NULL. */
struct chunk *chunk_new(void);
/* A smaller or larger one. */
struct chunk *chunk_new_size(size_t cap);
struct chunk *chunk_ref(struct chunk *c);
void chunk_unref(struct chunk **c);

/* Bytes in live chunks of this thread (tests: what is still held?). */
size_t chunk_bytes_live(void);

static inline size_t
chq_len(const struct chq *q)
{
	return (q->bytes);
}

/* Append len bytes at p inside c; takes a reference of its own.  Merges with the last slice where they touch. */
void chq_add(struct chq *q, struct chunk *c, const unsigned char *p,
    size_t len);
/* Append a copy of the bytes (for small things). */
void chq_copy(struct chq *q, const void *p, size_t len);
/* Move the first n bytes (n <= len) of src to the end of dst. */
void chq_move(struct chq *dst, struct chq *src, size_t n);
/* Append references to bytes off..off+n of src, which keeps them. */
void chq_share(struct chq *dst, const struct chq *src, size_t off, size_t n);
/*
 * Copy the small slices from number `first` on together, so that bytes that
 * came one by one cost no slice and no chunk each.  They go into *tail, which
 * the caller unrefs in the end (NULL at first), and further ones.
 */
void chq_pack(struct chq *q, unsigned first, struct chunk **tail);
/* Drop the first n bytes (n <= len). */
void chq_drop(struct chq *q, size_t n);
/* The first slice's bytes; n = 0 when empty.  Valid until q changes. */
const unsigned char *chq_peek(const struct chq *q, size_t *n);
/* Copy bytes off..off+n into p; they must be there. */
void chq_read(const struct chq *q, size_t off, void *p, size_t n);
/* Fill iov[0..max) from the front; returns how many were used. */
struct iovec;
unsigned chq_iov(const struct chq *q, struct iovec *iov, unsigned max);
void chq_fini(struct chq *q); /* drops everything and the ring; {0} again */

#endif
