/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scan master, see clam_master.h.  One thread, for it forks.
 *
 * It ends when it was told to leave, or its owner is gone, and no server is
 * there any more; without an owner it waits for that a while only.  Its
 * scanners end with it, and it removes its folder.
 *
 * Room: scanners.  Units: monotonic ms.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/asan.h"
#include "base/crash.h"
#include "base/spawn.h"
#include "scanners/clam_master.h"
#include "scanners/clam_master_priv.h"

#define SERVERS 8
#define TICK_MS 1000 /* the least: who scans for too long is looked for */
#define FILES_OPEN 16384
#define TOLD_MS 10000 /* between two words that it is tired */
#define ORPHAN_MS 10000
#define HUGE (2UL << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

struct server {
	int fd;       /* owned; -1: none */
	uint32_t who; /* as the owner calls it */
};

struct master {
	int owner; /* -1: he is gone */
	struct server server[SERVERS];
	bool leaves;
	uint64_t ends_at; /* whoever is there; 0: not */
	struct clam_open open;
	struct clam_ready ready;
	struct clam_core core;
	struct clam_brood *brood;
	uint64_t seen, pending; /* prints of the database, see watch() */
	uint64_t watch_at, told_at;
	uint64_t space;       /* addresses in use once all is loaded */
	struct pollfd *polls; /* owned */
	int *fds;
};

/* ---- start ---- */

static void
signals_set(void)
{
	static const int none[] = { SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGUSR1,
		SIGUSR2, SIGQUIT };
	sigset_t set;
	size_t i;

	/* A terminal's and a manager's are for the owner, who ends us. */
	for (i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		signal(none[i], SIG_IGN);
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

/*
 * While it loads it hears nobody: its owner's death is its own.  A change of
 * users takes that back.  False: he is dead already.
 */
static bool
die_with_owner(const struct master *m)
{
	struct pollfd p = { m->owner, 0, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	return (poll(&p, 1, 0) >= 0 && (p.revents & (POLLHUP | POLLERR)) == 0);
}

/*
 * Database and folder; a file as database is read by its name.  A rule of
 * Landlock is bound to the folder that is there now: what is removed and made
 * anew, or what is mounted there, is reached by one for the folder above.
 */
static bool
box_enter(struct master *m, struct clam_ready *ready, struct fault *f)
{
	const struct sandbox_limit limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_NOFILE, FILES_OPEN },
	};
	const struct sandbox_path paths[] = {
		{ m->open.db, SANDBOX_READ },
		{ m->open.temp_dir, SANDBOX_READ | SANDBOX_WRITE },
	};
	const struct sandbox box = {
		.box = BOX_MASTER,
		.mode = (enum sandbox_mode)m->open.sandbox,
		.user = m->open.user.name[0] != '\0' ? &m->open.user : NULL,
		.limits = limits,
		.n_limits = 2,
		.paths = paths,
		.n_paths = 2,
	};

	if (box.mode != SANDBOX_OFF && !sandbox_prepare(BOX_SCANNER, f))
		return (false);
	if (!sandbox_drop(&box, &ready->box, f))
		return (false);
	if (box.user != NULL && !ready->box.own_user) {
		fault_set(f, ERR_SYSTEM, "scan master: as user %s: %s",
		    box.user->name, strerror(ready->box.user_errno));
		return (false);
	}
	/* As who it is from now on: the folder is his. */
	if (!die_with_owner(m))
		return (false);
	m->seen = clam_files_print(m->open.db);
	if (!clam_core_temp(&m->core, m->open.temp_dir, m->open.temp,
		m->open.scanners, f))
		return (false);
	m->core.temp_lock = -1; /* held until the end, and not made anew */
	return (sandbox_close(&box, &ready->box, f));
}

/* Huge pages make a fork ten times cheaper; refused, nothing is lost. */
static void
collapse(const char *line)
{
	unsigned long from, to, inode;
	char rights[5];

	if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", &from, &to, rights,
		&inode) != 4 ||
	    strcmp(rights, "rw-p") != 0 || inode != 0)
		return;
	from = (from + HUGE - 1) / HUGE * HUGE;
	to = to / HUGE * HUGE;
	if (from >= to)
		return;
	(void)madvise((void *)from, to - from, MADV_HUGEPAGE);
	(void)madvise((void *)from, to - from, MADV_COLLAPSE);
}

/* maps: /proc/self/maps, open since before the box; it is read anew. */
static void
huge_pages(FILE *maps)
{
	char line[512];

	if (maps == NULL)
		return;
	while (!ASAN_ON && fgets(line, sizeof(line), maps) != NULL)
		if (strstr(line, "[stack]") == NULL)
			collapse(line);
}

/* What is asked of /proc is opened before the box, and read behind it. */
struct self {
	FILE *maps, *statm;
};

static void
self_close(struct self *s)
{
	if (s->maps != NULL)
		fclose(s->maps);
	if (s->statm != NULL)
		fclose(s->statm);
}

static uint64_t
self_space(const struct self *s)
{
	unsigned long pages = 0;

	if (s->statm == NULL || fscanf(s->statm, "%lu", &pages) != 1)
		return (0);
	return ((uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

static bool
load(struct master *m, struct clam_ready *ready, struct fault *f)
{
	struct self self = { fopen("/proc/self/maps", "re"),
		fopen("/proc/self/statm", "re") };
	struct clam_info info = { .signatures = 0 };
	bool ok;

	clam_lib_init();
	clam_core_init(&m->core, m->open.db, &m->open.limits);
	ok = box_enter(m, ready, f) && clam_core_load(&m->core, &info, f);
	if (ok) {
		ready->signatures = info.signatures;
		ready->version = info.version;
		ready->built_at = info.built_at;
		clam_wire_text(ready->library, sizeof(ready->library),
		    info.library);
		ready->fit = clam_core_finds_canary(&m->core);
		huge_pages(self.maps);
		m->space = self_space(&self);
	}
	self_close(&self);
	return (ok);
}

static void
folder_remove(struct master *m)
{
	if (m->core.temp_dir != NULL)
		clam_temp_remove(m->core.temp_dir);
}

/* The first message, then the database.  False: there is nothing to serve. */
static bool
begin(struct master *m)
{
	struct clam_ready *ready = &m->ready;
	struct clam_failed failed = { .kind = CLAM_FAILED };
	struct fault f = { .code = ERR_NONE };
	struct clam_packet p;
	unsigned n;

	if (clam_wire_recv(m->owner, CLAM_BIT(CLAM_OPEN), &p, 60000) !=
	    CLAM_GOT)
		return (false);
	m->open = p.m.open;
	if (!die_with_owner(m))
		return (false);
	ready->kind = CLAM_READY;
	if (getentropy(&ready->life, sizeof(ready->life)) != 0 ||
	    !load(m, ready, &f)) {
		clam_wire_text(failed.text, sizeof(failed.text), f.detail);
		(void)clam_wire_send(m->owner, &failed, NULL, 0);
		folder_remove(m);
		return (false);
	}
	m->brood = clam_brood_new(&m->core, m->open.scanners,
	    (enum sandbox_mode)m->open.sandbox, m->space, m->owner);
	n = clam_brood_most(m->brood);
	m->polls = calloc(1 + SERVERS + n, sizeof(*m->polls));
	m->fds = calloc(n, sizeof(*m->fds));
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	return (m->polls != NULL && m->fds != NULL &&
	    clam_wire_send(m->owner, ready, NULL, 0));
}

/* ---- the database ---- */

/* Another is there, once it has been the same for a whole interval. */
static void
watch(struct master *m, uint64_t now)
{
	uint64_t print;

	if (now < m->watch_at)
		return;
	m->watch_at = now + m->open.watch_ms;
	print = clam_files_print(m->open.db);
	if (print == m->seen) {
		m->pending = 0;
	} else if (print != m->pending) {
		m->pending = print;
	} else {
		m->seen = print;
		m->pending = 0;
		(void)clam_wire_word(m->owner, CLAM_CHANGED, 0, NULL, 0);
	}
}

static void
tell_if_tired(struct master *m, uint64_t now)
{
	if (now < m->told_at || !clam_brood_is_tired(m->brood))
		return;
	m->told_at = now + TOLD_MS;
	(void)clam_wire_word(m->owner, CLAM_TIRED, 0, NULL, 0);
}

/* ---- messages ---- */

static void
server_drop(struct master *m, unsigned i)
{
	clam_brood_forget(m->brood, m->server[i].fd);
	close(m->server[i].fd);
	m->server[i].fd = -1;
}

/* One socket for each server, so that none takes the places of others. */
static void
server_add(struct master *m, uint32_t who, int fd)
{
	unsigned i, place = SERVERS;

	for (i = 0; i < SERVERS; i++) {
		if (m->server[i].fd >= 0 && m->server[i].who == who)
			server_drop(m, i);
		if (m->server[i].fd < 0 && place == SERVERS)
			place = i;
	}
	if (fd < 0 || place == SERVERS || !channel_is(fd, CHANNEL_PAIR) ||
	    !clam_wire_send(fd, &m->ready, NULL, 0)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	m->server[place] = (struct server){ fd, who };
}

static void
owner_told(struct master *m, struct clam_packet *p)
{
	if (p->m.kind == CLAM_ATTACH)
		server_add(m, p->m.word.id, clam_packet_take(p, 0));
	else if (p->m.kind == CLAM_LEAVE)
		m->leaves = true;
	else
		(void)clam_wire_word(m->owner, CLAM_PONG, 0, NULL, 0);
}

static void
owner_read(struct master *m)
{
	struct clam_packet p;

	switch (clam_wire_recv(m->owner,
	    CLAM_BIT(CLAM_ATTACH) | CLAM_BIT(CLAM_LEAVE) | CLAM_BIT(CLAM_PING),
	    &p, 0)) {
	case CLAM_GOT:
		owner_told(m, &p);
		break;
	case CLAM_NOTHING:
		break;
	case CLAM_ENDED:
	case CLAM_UNREAD:
	case CLAM_BROKEN:
		close(m->owner);
		m->owner = -1;
		clam_brood_orphan(m->brood);
		m->leaves = true;
		m->ends_at = clam_now_ms() + ORPHAN_MS;
		break;
	}
}

static void
server_read(struct master *m, unsigned i)
{
	struct clam_packet p;
	int fd = m->server[i].fd;

	switch (clam_wire_recv(fd, CLAM_BIT(CLAM_NEW) | CLAM_BIT(CLAM_KILL), &p,
	    0)) {
	case CLAM_GOT:
		if (p.m.kind == CLAM_NEW)
			clam_brood_add(m->brood, fd, p.m.word.id,
			    clam_packet_take(&p, 0), clam_packet_take(&p, 1));
		else
			clam_brood_kill(m->brood, fd, p.m.word.id);
		break;
	case CLAM_NOTHING:
		break;
	case CLAM_ENDED:
	case CLAM_UNREAD:
	case CLAM_BROKEN:
		server_drop(m, i);
		break;
	}
}

/* ---- the loop ---- */

static unsigned
polls_fill(struct master *m)
{
	unsigned i, n = 0, k;

	m->polls[n++] = (struct pollfd){ m->owner, POLLIN, 0 };
	for (i = 0; i < SERVERS; i++) /* -1 is passed over */
		m->polls[n++] = (struct pollfd){ m->server[i].fd, POLLIN, 0 };
	k = clam_brood_fds(m->brood, m->fds, clam_brood_most(m->brood));
	for (i = 0; i < k; i++)
		m->polls[n++] = (struct pollfd){ m->fds[i], POLLIN, 0 };
	return (n);
}

static bool
is_alone(const struct master *m)
{
	unsigned i;

	for (i = 0; i < SERVERS && m->server[i].fd < 0; i++)
		;
	return (i == SERVERS);
}

static bool
is_over(const struct master *m)
{
	return (m->leaves &&
	    (is_alone(m) || (m->ends_at != 0 && clam_now_ms() > m->ends_at)));
}

static void
serve(struct master *m)
{
	int wait = m->open.watch_ms < TICK_MS ? (int)m->open.watch_ms : TICK_MS;
	uint64_t now;
	unsigned i, n;

	while (!is_over(m)) {
		n = polls_fill(m);
		if (poll(m->polls, n, wait) < 0)
			continue;
		clam_brood_look(m->brood);
		if (m->polls[0].revents != 0)
			owner_read(m);
		for (i = 0; i < SERVERS; i++)
			if (m->server[i].fd >= 0 &&
			    m->polls[1 + i].revents != 0)
				server_read(m, i);
		now = clam_now_ms();
		if (!m->leaves)
			watch(m, now);
		if (!m->leaves)
			tell_if_tired(m, now);
	}
	clam_brood_end(m->brood);
	folder_remove(m);
}

int
clam_master_main(int argc, char **argv)
{
	static struct master m;
	unsigned i;

	(void)argc;
	prctl(PR_SET_NAME, CLAM_MASTER_ROLE, 0, 0, 0);
	if (!channel_is(SPAWN_FD, CHANNEL_PAIR)) {
		fprintf(stderr, "%s: started by assayd only\n", argv[0]);
		return (2);
	}
	signals_set();
	m.owner = SPAWN_FD;
	for (i = 0; i < SERVERS; i++)
		m.server[i].fd = -1;
	crash_init(
	    crash_report_is(CLAM_MASTER_REPORT) ? CLAM_MASTER_REPORT : -1);
	(void)fcntl(CLAM_MASTER_REPORT, F_SETFD, FD_CLOEXEC);
	if (fcntl(m.owner, F_SETFD, FD_CLOEXEC) != 0 || !begin(&m))
		return (1);
	serve(&m);
	_exit(0); /* nothing that runs at exit is allowed in the box */
}
