/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that a configuration names, for a process that may not open them by
 * name: another one has, and gave the descriptors.  What was not given is
 * opened by its name.
 *
 * Room: base.  Thread: the one that loads configurations, alone.
 */
#ifndef BASE_HANDED_H
#define BASE_HANDED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* This is the file of that name from now on; fd is taken over. */
void handed_add(const char *path, int fd);
bool handed_has(const char *path);
/* None any more. */
void handed_clear(void);

/* stat(2) of it. */
bool handed_stat(const char *path, struct stat *);

/* An ordinary file, for reading from its begin.  The caller's; -1 with errno
 * (EINVAL: it is something else). */
int handed_open(const char *path);

#define HANDED_MOST ((size_t)1 << 30) /* octets of one file */

/* All of it, with a NUL behind; the caller frees.  NULL with errno (EFBIG). */
unsigned char *handed_read(const char *path, size_t *n);

#endif
