/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scan master's scanners: forked, watched by pidfd, swept up after.
 *
 * All of them have the layout and the stack canary of the master, so each
 * crash is a guess at these: after a few the master asks to be replaced, and
 * after some more it forks none until an hour has gone by.
 *
 * Room: scanners.  One thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/crash.h"
#include "scanners/clam_master_priv.h"

#define TIRED_CRASHES 3
#define MOST_CRASHES 12
#define CRASH_MS (3600 * 1000)
#define LATE_MS \
	5000 /* beyond the time of a scan: its server should have seen to it */

struct scanner_proc {
	pid_t pid; /* 0: none */
	int pidfd;
	int server;
	int report; /* owned; of its crash; -1: none */
	uint32_t id;
	bool killed; /* by us */
};

struct clam_brood {
	struct clam_core *core;
	enum sandbox_mode sandbox;
	uint64_t space;
	int owner;
	unsigned for_one; /* of a server */
	struct clam_words words;
	uint64_t crashes[MOST_CRASHES]; /* when; the latest first */
	struct scanner_proc proc[];
};

/* The words stay behind when the process is gone, hence shared memory. */
static bool
words_make(struct clam_words *w, unsigned n)
{
	void *p = mmap(NULL, 2 * n * sizeof(uint64_t), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return (false);
	w->held = p;
	w->since = w->held + n;
	w->n = n;
	return (true);
}

struct clam_brood *
clam_brood_new(struct clam_core *core, unsigned most, enum sandbox_mode mode,
    uint64_t space, int owner)
{
	unsigned all = 2 * most;
	struct clam_brood *b = calloc(1, sizeof(*b) + all * sizeof(b->proc[0]));

	if (b == NULL || !words_make(&b->words, all))
		abort();
	b->core = core;
	b->owner = owner;
	b->for_one = most;
	b->sandbox = mode;
	b->space = space;
	core->temp.held = b->words.held;
	core->temp.n = all;
	return (b);
}

static void
died(int server, uint32_t id, enum clam_death how, int of)
{
	struct clam_died d = { CLAM_DIED, id, how, of };

	/* A server that does not read is one that we lose, see clam_master.c. */
	(void)clam_wire_send(server, &d, NULL, 0);
}

static void
folder_name(const struct clam_brood *b, unsigned i, char name[CLAM_PATH])
{
	snprintf(name, CLAM_PATH, "%s/%u", b->core->temp_dir, i);
}

/* ---- crashes ---- */

static bool
is_crash(int sig)
{
	return (sig == SIGSEGV || sig == SIGBUS || sig == SIGILL ||
	    sig == SIGFPE || sig == SIGABRT || sig == SIGSYS || sig == SIGTRAP);
}

static void
crash_count(struct clam_brood *b)
{
	memmove(b->crashes + 1, b->crashes,
	    (MOST_CRASHES - 1) * sizeof(b->crashes[0]));
	b->crashes[0] = clam_now_ms();
}

/* Are there n within the last hour? */
static bool
has_crashed(const struct clam_brood *b, unsigned n)
{
	return (b->crashes[n - 1] != 0 &&
	    clam_now_ms() - b->crashes[n - 1] < CRASH_MS);
}

bool
clam_brood_is_tired(const struct clam_brood *b)
{
	struct stat st;

	return (has_crashed(b, TIRED_CRASHES) ||
	    lstat(b->core->temp_dir, &st) != 0 || !S_ISDIR(st.st_mode));
}

/* ---- birth ---- */

/* One server does not take the places of the others. */
static unsigned
place_free(const struct clam_brood *b, int server)
{
	unsigned i, found = b->words.n, n = 0;

	for (i = 0; i < b->words.n; i++)
		if (b->proc[i].pid == 0)
			found = found < i ? found : i;
		else
			n += b->proc[i].server == server;
	return (n < b->for_one ? found : b->words.n);
}

static int
not_born(int report, int e)
{
	if (report >= 0)
		close(report);
	return (e);
}

/* 0, or errno. */
static int
give_birth(struct clam_brood *b, unsigned i, int socket, int slot)
{
	struct scanner_proc *s = &b->proc[i];
	struct clam_birth birth = { .core = b->core,
		.words = &b->words,
		.me = i,
		.socket = socket,
		.slot = slot,
		.report = crash_report_new(),
		.master = getpid(),
		.sandbox = b->sandbox,
		.space = b->space };
	pid_t pid;

	folder_name(b, i, birth.temp_dir);
	clam_temp_remove(birth.temp_dir);
	if (mkdir(birth.temp_dir, 0700) != 0)
		return (not_born(birth.report, errno));
	pid = fork();
	if (pid == 0)
		clam_child_run(&birth);
	if (pid < 0)
		return (not_born(birth.report, errno));
	s->pidfd = pidfd_open(pid, 0);
	if (s->pidfd < 0) {
		kill(pid, SIGKILL); /* not waited for: still its number */
		waitpid(pid, NULL, 0);
		return (not_born(birth.report, EMFILE));
	}
	s->report = birth.report;
	s->pid = pid;
	return (0);
}

void
clam_brood_add(struct clam_brood *b, int server, uint32_t id, int socket,
    int slot)
{
	unsigned i = place_free(b, server);
	int e = EAGAIN;

	if (i < b->words.n && !has_crashed(b, MOST_CRASHES))
		e = give_birth(b, i, socket, slot);
	close(socket);
	close(slot);
	if (e != 0) {
		died(server, id, CLAM_NOT_MADE, e);
		return;
	}
	b->proc[i].server = server;
	b->proc[i].id = id;
	b->proc[i].killed = false;
}

/* ---- death ---- */

static void
proc_kill(struct scanner_proc *s)
{
	s->killed = true;
	(void)pidfd_send_signal(s->pidfd, SIGKILL, NULL, 0);
}

/* Its own words go to the owner; without any he would wait for nothing. */
static void
crashed(struct clam_brood *b, const struct scanner_proc *s, int status)
{
	struct clam_crashed m = { CLAM_CRASHED, s->pid, status };

	crash_count(b);
	if (b->owner >= 0 && s->report >= 0)
		(void)clam_wire_send(b->owner, &m, &s->report, 1);
}

/* It is dead: what of? */
static void
bury(struct clam_brood *b, unsigned i, int status)
{
	struct scanner_proc *s = &b->proc[i];
	char folder[CLAM_PATH];

	close(s->pidfd);
	if (WIFSIGNALED(status) && is_crash(WTERMSIG(status)) && !s->killed)
		crashed(b, s, status);
	if (s->report >= 0)
		close(s->report);
	s->report = -1;
	s->pid = 0;
	folder_name(b, i, folder);
	clam_temp_remove(folder);
	atomic_store(&b->words.held[i], 0);
	atomic_store(&b->words.since[i], 0);
	if (s->server < 0)
		return;
	if (s->killed)
		died(s->server, s->id, CLAM_KILLED, 0);
	else if (WIFSIGNALED(status))
		died(s->server, s->id, CLAM_SIGNALLED, WTERMSIG(status));
	else
		died(s->server, s->id, CLAM_EXITED, WEXITSTATUS(status));
}

static void
proc_look(struct clam_brood *b, unsigned i, uint64_t now)
{
	struct scanner_proc *s = &b->proc[i];
	uint64_t since;
	int status = 0;

	if (waitpid(s->pid, &status, WNOHANG) != 0) {
		bury(b, i, status);
		return;
	}
	since = atomic_load(&b->words.since[i]);
	if (since != 0 && now > since &&
	    now - since > b->core->limits.time_ms + LATE_MS)
		proc_kill(s);
}

void
clam_brood_look(struct clam_brood *b)
{
	uint64_t now = clam_now_ms();
	unsigned i;

	for (i = 0; i < b->words.n; i++)
		if (b->proc[i].pid != 0)
			proc_look(b, i, now);
}

void
clam_brood_kill(struct clam_brood *b, int server, uint32_t id)
{
	unsigned i;

	for (i = 0; i < b->words.n; i++)
		if (b->proc[i].pid != 0 && b->proc[i].server == server &&
		    b->proc[i].id == id)
			proc_kill(&b->proc[i]);
}

void
clam_brood_forget(struct clam_brood *b, int server)
{
	unsigned i;

	for (i = 0; i < b->words.n; i++)
		if (b->proc[i].pid != 0 && b->proc[i].server == server) {
			b->proc[i].server = -1;
			proc_kill(&b->proc[i]);
		}
}

void
clam_brood_orphan(struct clam_brood *b)
{
	b->owner = -1;
}

void
clam_brood_end(struct clam_brood *b)
{
	unsigned i;

	for (i = 0; i < b->words.n; i++)
		if (b->proc[i].pid != 0) {
			b->proc[i].server = -1;
			proc_kill(&b->proc[i]);
		}
	for (i = 0; i < b->words.n; i++)
		if (b->proc[i].pid != 0) {
			waitpid(b->proc[i].pid, NULL, 0);
			bury(b, i, 0);
		}
}

unsigned
clam_brood_most(const struct clam_brood *b)
{
	return (b->words.n);
}

unsigned
clam_brood_fds(const struct clam_brood *b, int *fds, unsigned most)
{
	unsigned i, n = 0;

	for (i = 0; i < b->words.n && n < most; i++)
		if (b->proc[i].pid != 0)
			fds[n++] = b->proc[i].pidfd;
	return (n);
}
