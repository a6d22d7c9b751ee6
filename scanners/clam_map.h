/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All bytes of a body side by side in the address space, as libclamav wants
 * them.  cl_fmap_open_handle() is no way to give it a body: up to 1.5 at
 * least it takes the handle for a file descriptor and asks fstat(2) about
 * it whenever a parser holds a page, and what then fails is left out without
 * a word (entries of a zip, streams of an OLE file).
 *
 * What lies in a spill file is mapped, so that a large body costs no memory
 * that cannot be taken back; the rest is copied.
 *
 * Room: scanners.  Thread: any.  Units: bytes.
 */
#ifndef SCANNERS_CLAM_MAP_H
#define SCANNERS_CLAM_MAP_H

#include <stddef.h>
#include "scanners/decode.h"

struct clam_source {
	struct decode_input in;
	const void *memory; /* all of it, if it lies in one piece; or NULL */
	int fd;             /* holds its first bytes, at the same offsets */
	uint64_t fd_bytes;  /* how many; 0: there is no file */
};

struct clam_map {
	const void *p;
	size_t n;
	void *copy; /* owned, malloc(); or NULL */
	void *area; /* owned, mmap(); or NULL */
};

enum clam_mapped {
	CLAM_MAPPED,
	CLAM_MAP_STOPPED, /* stop() said so */
	CLAM_MAP_UNREAD,  /* a read failed */
	CLAM_MAP_MEMORY   /* no room for it */
};

/*
 * Every byte is read once on the way, so that a disk that fails is an answer
 * here.  stop is asked now and then.  Unless CLAM_MAPPED nothing is owned.
 */
enum clam_mapped clam_map_open(struct clam_map *, const struct clam_source *,
    bool (*stop)(void *), void *stop_arg);
void clam_map_close(struct clam_map *);

#endif
