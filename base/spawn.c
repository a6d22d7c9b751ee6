/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes of our own, see spawn.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/sandbox.h"
#include "base/spawn.h"

/* Ours in the child, behind those that it is given. */
enum { OWN_EXE, OWN_WORD, OWN_FDS };

extern char **environ;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int exe = -1; /* O_PATH: our own file */

static void
open_exe(void)
{
	exe = open("/proc/self/exe", O_PATH | O_CLOEXEC);
}

void
spawn_init(void)
{
	(void)pthread_once(&once, open_exe);
}

void
spawn_born(int argc, char **argv)
{
	enum sandbox_mode m;

	if (argc > 1 && sandbox_mode_of(argv[1], &m))
		sandbox_set_mode(m);
}

/* In the child: only what is async-signal-safe, for we may have threads. */

static bool
reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	int s;

	for (s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP)
			(void)sigaction(s, &dfl, NULL);
	return (true);
}

/* First out of each other's way, then each to its place. */
static bool
place_fds(const struct spawn *s, int word)
{
	int from[SPAWN_FDS + OWN_FDS], n = (int)s->n_fds, i;

	for (i = 0; i < n; i++)
		from[i] = s->fd[i];
	from[n + OWN_EXE] = exe;
	from[n + OWN_WORD] = word;
	for (i = 0; i < n + OWN_FDS; i++) {
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC,
		    SPAWN_FD + n + OWN_FDS);
		if (from[i] < 0)
			return (false);
	}
	for (i = 0; i < n + OWN_FDS; i++)
		if (dup3(from[i], SPAWN_FD + i, i < n ? 0 : O_CLOEXEC) < 0)
			return (false);
	return (true);
}

static bool
place_standard(const struct spawn *s, int errors)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	return (null >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
	    (s->keep_output || dup2(null, STDOUT_FILENO) >= 0) &&
	    (errors < 0 || dup2(errors, STDERR_FILENO) >= 0));
}

/* Does not return: it becomes the role, or says why not. */
static _Noreturn void
become(const struct spawn *s, int word)
{
	char *argv[] = { (char *)(uintptr_t)s->role,
		(char *)(uintptr_t)sandbox_mode_word(sandbox_mode()), NULL };
	int n = SPAWN_FD + (int)s->n_fds, errors = -1, e;

	if (s->errors >= 0) /* not where another is to be */
		errors = fcntl(s->errors, F_DUPFD_CLOEXEC, n + OWN_FDS);
	if ((s->errors < 0 || errors >= 0) && reset_signals() &&
	    place_fds(s, word)) {
		word = n + OWN_WORD;
		if (place_standard(s, errors)) {
			closefrom(n + OWN_FDS);
			(void)execveat(n + OWN_EXE, "", argv,
			    s->env != NULL ? s->env : environ, AT_EMPTY_PATH);
		}
	}
	e = errno;
	(void)!write(word, &e, sizeof(e));
	_exit(127);
}

/* Here again. */

/* No handler of ours runs in the child: it begins with all blocked. */
static pid_t
fork_blocked(void)
{
	sigset_t all, before;
	pid_t pid;
	int e;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	e = errno;
	if (pid != 0)
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = e;
	return (pid);
}

/* 0: it runs in its role (the pipe is closed by that); else why not. */
static int
outcome(int word)
{
	int e = 0;
	ssize_t n;

	do
		n = read(word, &e, sizeof(e));
	while (n < 0 && errno == EINTR);
	return (n == (ssize_t)sizeof(e) ? e : n < 0 ? errno : 0);
}

static int
start(const struct spawn *s, struct child *c)
{
	int word[2], e;

	spawn_init();
	if (exe < 0)
		return (ENOENT);
	if (pipe2(word, O_CLOEXEC) != 0)
		return (errno);
	c->pid = fork_blocked();
	if (c->pid == 0)
		become(s, word[1]);
	e = errno;
	(void)close(word[1]);
	if (c->pid > 0)
		e = outcome(word[0]);
	(void)close(word[0]);
	if (c->pid > 0 && e == 0 && (c->pidfd = pidfd_open(c->pid, 0)) < 0) {
		e = errno;
		(void)kill(c->pid, SIGKILL); /* not reaped: still its number */
	}
	if (c->pid > 0 && e != 0)
		(void)waitpid(c->pid, NULL, 0);
	return (e);
}

bool
spawn_start(const struct spawn *s, struct child *c, struct fault *f)
{
	int e;

	assert(s->n_fds <= SPAWN_FDS && s->role != NULL);
	*c = CHILD_NONE;
	if ((e = start(s, c)) == 0)
		return (true);
	*c = CHILD_NONE;
	(void)fault_set(f, ERR_SYSTEM, "%s: %s", s->role, strerror(e));
	return (false);
}

bool
child_signal(const struct child *c, int number)
{
	assert(c->pid > 0);
	return (pidfd_send_signal(c->pidfd, number, NULL, 0) == 0);
}

bool
child_reap(struct child *c, int *how, int wait_ms)
{
	struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
	pid_t got;

	assert(c->pid > 0);
	if (wait_ms != 0)
		(void)poll(&p, 1, wait_ms);
	got = waitpid(c->pid, how, WNOHANG);
	if (got == 0)
		return (false);
	if (got < 0)
		*how = 0; /* somebody else has reaped it */
	(void)close(c->pidfd);
	*c = CHILD_NONE;
	return (true);
}

void
child_end(struct child *c)
{
	int how;

	if (c->pid == 0)
		return;
	(void)child_signal(c, SIGKILL);
	while (!child_reap(c, &how, -1))
		;
}

void
child_fate(int how, char *out, size_t n)
{
	if (WIFSIGNALED(how))
		(void)snprintf(out, n, "was killed by signal %d (%s)",
		    WTERMSIG(how), strsignal(WTERMSIG(how)));
	else
		(void)snprintf(out, n, "ended with status %d",
		    WIFEXITED(how) ? WEXITSTATUS(how) : -1);
}
