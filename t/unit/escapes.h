/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ways out of a box (base_escape.c): what is tried, and where it is meant to
 * work.
 */
#ifndef ESCAPES_H
#define ESCAPES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

struct escape {
	const char *name;
	bool (*fn)(void);     /* true: it got what it wanted */
	unsigned meant;       /* boxes, a bit each, where it shall */
	unsigned by_landlock; /* where nothing but Landlock prevents it ... */
	unsigned abi;         /* ... from this ABI on */
};

extern const struct escape escapes[];
extern const unsigned n_escapes;
bool escape_own_memory(void);

/* What they try to reach. */
struct escape_scene {
	char top[32], own[64], secret[64], door[64], hidden[32];
	struct sockaddr_in tcp;
	int sealed, slot, spill; /* descriptors that a box is given */
	pid_t victim;
	int victim_fd;
};

extern struct escape_scene scene;

#endif
