/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key holder's process is started: this program anew, with nothing but
 * its socket.  See keyholder.h.
 * Room: certs.  Any thread.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include "certs/holder_priv.h"
#include "certs/keyholder.h"

extern char **environ;

static int
spawn_actions(posix_spawn_file_actions_t *a, int fd)
{
	int r;

	if ((r = posix_spawn_file_actions_adddup2(a, fd, HOLDER_FD)) != 0 ||
	    (r = posix_spawn_file_actions_addopen(a, 0, "/dev/null", O_RDONLY,
		 0)) != 0 ||
	    (r = posix_spawn_file_actions_addopen(a, 1, "/dev/null", O_WRONLY,
		 0)) != 0)
		return (r);
	return (posix_spawn_file_actions_addclosefrom_np(a, HOLDER_FD + 1));
}

static int
spawn_attributes(posix_spawnattr_t *at)
{
	sigset_t all;

	sigfillset(&all); /* it takes none before it has said which */
	posix_spawnattr_setsigmask(at, &all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	posix_spawnattr_setsigdefault(at, &all);
	return (posix_spawnattr_setflags(at,
	    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
}

int
holder_spawn(pid_t *pid, int fd)
{
	static char name[] = KEYHOLDER_ARGV0;
	char *argv[] = { name, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int r;

	if ((r = posix_spawn_file_actions_init(&actions)) != 0)
		return (r);
	if ((r = posix_spawnattr_init(&attr)) == 0) {
		if ((r = spawn_actions(&actions, fd)) == 0 &&
		    (r = spawn_attributes(&attr)) == 0)
			r = posix_spawn(pid, "/proc/self/exe", &actions, &attr,
			    argv, environ);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	return (r);
}
