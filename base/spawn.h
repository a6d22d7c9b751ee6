/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes of our own: this program started anew in a role, which is its
 * argv[0] ("assayd: keys"); argv[1] is the mode of its sandbox.  What is started is the very file that runs, held
 * open since spawn_init(): an upgrade on disk never mixes two versions.
 *
 * The child has its descriptors at SPAWN_FD and above, in the order given, an
 * empty standard input, and nothing else that was open here; all signals have
 * their default action and are blocked, until it has said which it takes.
 * It is known by a pidfd: never is a signal sent to a number that may have
 * become somebody else's.
 *
 * Room: base.  Any thread, but spawn_init().
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/fault.h"

#define SPAWN_FD 3  /* the first descriptor given to a child */
#define SPAWN_FDS 8 /* given to one child at most */

struct spawn {
	const char *role;  /* argv[0] */
	char *const *env;  /* NULL: ours */
	int fd[SPAWN_FDS]; /* borrowed; SPAWN_FD, SPAWN_FD + 1, ... there */
	unsigned n_fds;
	bool keep_output; /* standard output is ours, else /dev/null */
	int errors;       /* borrowed: its standard error; -1: ours */
};

/* Embedded; CHILD_NONE: there is none. */
struct child {
	pid_t pid; /* 0: none */
	int pidfd; /* owned; readable when it has ended; -1: none */
};

#define CHILD_NONE ((struct child){ .pidfd = -1 })

/* First thing in main(): hold our own file.  Called by spawn_start() else. */
void spawn_init(void);
/* First thing in a role's main(): what spawn_start() says by its arguments. */
void spawn_born(int argc, char **argv);
/*
 * Start it.  True: it runs in its role (exec has succeeded), *c is the
 * caller's.  False: ERR_SYSTEM in f, *c is CHILD_NONE.
 */
bool spawn_start(const struct spawn *, struct child *c, struct fault *f);
/* False with errno: it has no right to get this signal, or has ended. */
bool child_signal(const struct child *, int number);
/*
 * Has it ended?  Waits so long for it at most, ms; negative: for ever.  True:
 * *how is as waitpid(2) says, and *c is CHILD_NONE.
 */
bool child_reap(struct child *c, int *how, int wait_ms);
/* Kill it and wait for that; *c becomes CHILD_NONE.  One of CHILD_NONE is none. */
void child_end(struct child *c);
/* "was killed by signal 11 (Segmentation fault)", "ended with status 1" */
void child_fate(int how, char *out, size_t n);

#endif
