/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Octets in memory that are handed to another process by descriptor: written
 * once, then sealed, so that neither side can change or shorten them under the
 * other (memfd_create(2), F_ADD_SEALS).
 *
 * Room: base.  Any thread.
 */
#ifndef BASE_SEALED_H
#define BASE_SEALED_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

/* name: for /proc.  -1 with errno. */
int sealed_new(const char *name, const void *p, size_t n);
/*
 * The same in steps: written by write(2) as it comes, then sealed.  -1, false
 * with errno.
 */
int sealed_begin(const char *name);
bool sealed_end(int fd);
/* Is it such a one, with all seals? */
bool sealed_is(int fd);
/* Append what it holds.  False: it is none, holds more than max, or errno. */
bool sealed_read(int fd, struct buf *out, size_t max);

#endif
