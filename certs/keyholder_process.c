/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client knows of its key holder's process, see keyholder_priv.h. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "certs/keyholder_priv.h"

#define REAP_MS 1000

/* Those that another process has started. */
static pthread_mutex_t joined_lock = PTHREAD_MUTEX_INITIALIZER;
static struct keyholder *joined;

int64_t
keyholder_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

/* The process: started, ended. */

bool
keyholder_is_ours(const struct keyholder *k)
{
	return (k->door.want == NULL);
}

/* Its socket comes from the process that starts it. */
static bool
process_await(struct keyholder *k, struct fault *f)
{
	int64_t end = keyholder_now_ms() + KEYHOLDER_WAIT_MS;
	struct timespec until = { end / 1000, end % 1000 * 1000000 };
	int r = 0;

	pthread_mutex_lock(&k->hand);
	while (k->given < 0 && r == 0)
		r = pthread_cond_timedwait(&k->handed, &k->hand, &until);
	k->fd = k->given;
	if (k->fd >= 0)
		k->pid = k->given_pid;
	k->given = -1;
	pthread_mutex_unlock(&k->hand);
	k->born_ms = keyholder_now_ms();
	if (k->fd < 0)
		fault_set(f, ERR_MINT, "key holder is not there");
	return (k->fd >= 0);
}

bool
process_start(struct keyholder *k, struct fault *f)
{
	int pair[2];
	pid_t pid;
	bool ok;

	assert(k->pid == 0);
	if (!keyholder_is_ours(k))
		return (process_await(k, f));
	reap_dead();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		fault_set(f, ERR_SYSTEM, "key holder: %s", strerror(errno));
		return (false);
	}
	ok = holder_spawn(&pid, pair[1], f);
	close(pair[1]);
	if (!ok) {
		close(pair[0]);
		return (false);
	}
	assert(pid > 0);
	k->fd = pair[0];
	k->pid = pid;
	k->born_ms = keyholder_now_ms();
	return (true);
}

static void
issuer_forget(struct keyholder *k)
{
	gnutls_free(k->issuer.data);
	k->issuer = (gnutls_datum_t){ NULL, 0 };
}

void
process_gone(struct keyholder *k)
{
	assert(k->pid != 0 && k->fd >= 0);
	close(k->fd);
	k->fd = -1;
	k->pid = 0;
	k->owed = false;
	k->epoch++; /* its issuing key is lost */
	issuer_forget(k);
	k->short_lives = keyholder_now_ms() - k->born_ms < RESTART_MS
	    ? k->short_lives + 1
	    : 0;
}

void
process_reap(pid_t pid)
{
	struct timespec nap = { 0, 1000000 };
	int64_t end = keyholder_now_ms() + REAP_MS;

	while (waitpid(pid, NULL, WNOHANG) == 0)
		if (keyholder_now_ms() >= end) {
			reap_later(pid);
			return;
		} else
			nanosleep(&nap, NULL);
}

void
process_end(struct keyholder *k)
{
	pid_t pid = k->pid;

	assert(pid >= 0);
	if (pid == 0)
		return;
	/* may be denied; then it sees the socket's end */
	if (keyholder_is_ours(k))
		(void)kill(pid, SIGKILL);
	process_gone(k);
	if (keyholder_is_ours(k))
		process_reap(pid);
}

/* Of those that another process starts. */

void
process_join(struct keyholder *k)
{
	pthread_mutex_lock(&joined_lock);
	k->next = joined;
	joined = k;
	pthread_mutex_unlock(&joined_lock);
}

bool
process_was_given(struct keyholder *k)
{
	bool given;

	pthread_mutex_lock(&k->hand);
	given = k->given >= 0;
	pthread_mutex_unlock(&k->hand);
	return (given);
}

static void
give(struct keyholder *k, int fd, pid_t pid)
{
	pthread_mutex_lock(&k->hand);
	if (k->given >= 0)
		(void)close(k->given);
	k->given = fd;
	k->given_pid = pid;
	pthread_cond_signal(&k->handed);
	pthread_mutex_unlock(&k->hand);
}

bool
keyholder_deliver(uint32_t number, int fd, pid_t pid)
{
	struct keyholder *k;

	pthread_mutex_lock(&joined_lock);
	for (k = joined; k != NULL && k->door.number != number; k = k->next)
		;
	if (k != NULL)
		give(k, fd, pid);
	pthread_mutex_unlock(&joined_lock);
	return (k != NULL);
}

void
process_leave(struct keyholder *k)
{
	struct keyholder **at;

	pthread_mutex_lock(&joined_lock);
	for (at = &joined; *at != k; at = &(*at)->next)
		assert(*at != NULL);
	*at = k->next;
	pthread_mutex_unlock(&joined_lock);
	if (k->given >= 0)
		(void)close(k->given);
}
