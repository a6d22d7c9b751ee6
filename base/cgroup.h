/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much memory our control group may have: the smallest limit on the way
 * from it up to the root, in version 2 (memory.max) or 1
 * (memory.limit_in_bytes), inside a container or outside; and how much of that
 * is in use and cannot simply be dropped.
 * cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst
 * of Linux.
 *
 * Room: base.  Units: bytes.  Any thread.
 */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#define CGROUP_UNLIMITED UINT64_MAX

/* Of the group with the smallest limit. */
struct cgroup_memory {
	uint64_t limit; /* CGROUP_UNLIMITED: no group has one */
	int usage; /* owned; its counters, open for reading; -1: not there */
	int stat;
};

/*
 * Find it.  root: "" for the machine, or a folder that has its proc and sys
 * (for tests).  Descriptors stay open, so that they can be read from inside a
 * sandbox; -1 both when there is no limit.
 */
void cgroup_memory_find(struct cgroup_memory *, const char *root);
void cgroup_memory_fini(struct cgroup_memory *);
/*
 * In use, without what the page cache holds and would give back.  False: it
 * cannot be read, or there is no limit.
 */
bool cgroup_memory_used(const struct cgroup_memory *, uint64_t *used);

#endif
