/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scan master, see clam_master.h.  One thread, for it forks.
 *
 * It ends when its owner's socket does, or when it was told to leave and no
 * server is there any more; its scanners end with it.
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
#include "base/spawn.h"
#include "scanners/clam_master.h"
#include "scanners/clam_master_priv.h"

#define SERVERS 8
#define TICK_MS 1000 /* the least: who scans for too long is looked for */
#define FILES_OPEN 16384
#define TOLD_MS 10000 /* between two words that it is tired */
#define HUGE (2UL << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

struct master {
	int owner;
	int server[SERVERS]; /* -1: none */
	bool leaves;
	struct clam_open open;
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
 * Database and folder; a file as database is read by its name.  A rule of
 * Landlock is bound to the folder that is there now: what is removed and made
 * anew, or what is mounted there, is reached by one for the folder above.
 */
static bool
box_enter(const struct master *m, struct clam_ready *ready, struct fault *f)
{
	char above[sizeof(m->open.temp_dir)], *slash;
	const struct sandbox_limit limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_NOFILE, FILES_OPEN },
	};
	const struct sandbox_path paths[] = {
		{ m->open.db, SANDBOX_READ },
		{ above, SANDBOX_READ | SANDBOX_WRITE },
	};
	const struct sandbox box = {
		.box = BOX_MASTER,
		.mode = (enum sandbox_mode)m->open.sandbox,
		.limits = limits,
		.n_limits = 2,
		.paths = paths,
		.n_paths = 2,
	};

	strcpy(above, m->open.temp_dir);
	if ((slash = strrchr(above, '/')) != NULL && slash > above)
		*slash = '\0';
	if (box.mode != SANDBOX_OFF && !sandbox_prepare(BOX_SCANNER, f))
		return (false);
	return (sandbox_drop(&box, &ready->box, f) &&
	    sandbox_close(&box, &ready->box, f));
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
	clam_core_temp_at(&m->core, m->open.temp_dir, m->open.temp,
	    m->open.scanners);
	m->seen = clam_files_print(m->open.db);
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

/* The first message, then the database.  False: there is nothing to serve. */
static bool
begin(struct master *m)
{
	struct clam_ready ready = { .kind = CLAM_READY };
	struct clam_failed failed = { .kind = CLAM_FAILED };
	struct fault f = { .code = ERR_NONE };
	struct clam_packet p;

	if (clam_wire_recv(m->owner, CLAM_BIT(CLAM_OPEN), &p, 60000) !=
	    CLAM_GOT)
		return (false);
	m->open = p.m.open;
	if (!load(m, &ready, &f)) {
		clam_wire_text(failed.text, sizeof(failed.text), f.detail);
		(void)clam_wire_send(m->owner, &failed, NULL, 0);
		return (false);
	}
	m->brood = clam_brood_new(&m->core, m->open.scanners,
	    (enum sandbox_mode)m->open.sandbox, m->space);
	m->polls = calloc(1 + SERVERS + m->open.scanners, sizeof(*m->polls));
	m->fds = calloc(m->open.scanners, sizeof(*m->fds));
	return (m->polls != NULL && m->fds != NULL &&
	    clam_wire_send(m->owner, &ready, NULL, 0));
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
server_add(struct master *m, int fd)
{
	unsigned i;

	for (i = 0; i < SERVERS && m->server[i] >= 0; i++)
		;
	if (fd < 0 || i == SERVERS || !channel_is(fd, CHANNEL_PAIR)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	m->server[i] = fd;
}

/* False: it is over. */
static bool
owner_read(struct master *m)
{
	struct clam_packet p;

	switch (clam_wire_recv(m->owner,
	    CLAM_BIT(CLAM_ATTACH) | CLAM_BIT(CLAM_LEAVE), &p, 0)) {
	case CLAM_GOT:
		if (p.m.kind == CLAM_ATTACH)
			server_add(m, clam_packet_take(&p, 0));
		else
			m->leaves = true;
		return (true);
	case CLAM_NOTHING:
		return (true);
	case CLAM_ENDED:
	case CLAM_UNREAD:
	case CLAM_BROKEN:
		break;
	}
	return (false);
}

static void
server_drop(struct master *m, unsigned i)
{
	clam_brood_forget(m->brood, m->server[i]);
	close(m->server[i]);
	m->server[i] = -1;
}

static void
server_read(struct master *m, unsigned i)
{
	struct clam_packet p;
	int fd = m->server[i];

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
		m->polls[n++] = (struct pollfd){ m->server[i], POLLIN, 0 };
	k = clam_brood_fds(m->brood, m->fds, m->open.scanners);
	for (i = 0; i < k; i++)
		m->polls[n++] = (struct pollfd){ m->fds[i], POLLIN, 0 };
	return (n);
}

static bool
is_alone(const struct master *m)
{
	unsigned i;

	for (i = 0; i < SERVERS && m->server[i] < 0; i++)
		;
	return (i == SERVERS);
}

static void
serve(struct master *m)
{
	int wait = m->open.watch_ms < TICK_MS ? (int)m->open.watch_ms : TICK_MS;
	uint64_t now;
	unsigned i, n;

	while (!(m->leaves && is_alone(m))) {
		n = polls_fill(m);
		if (poll(m->polls, n, wait) < 0)
			continue;
		clam_brood_look(m->brood);
		if (m->polls[0].revents != 0 && !owner_read(m))
			break;
		for (i = 0; i < SERVERS; i++)
			if (m->server[i] >= 0 && m->polls[1 + i].revents != 0)
				server_read(m, i);
		now = clam_now_ms();
		if (!m->leaves)
			watch(m, now);
		tell_if_tired(m, now);
	}
	clam_brood_end(m->brood);
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
		m.server[i] = -1;
	if (fcntl(m.owner, F_SETFD, FD_CLOEXEC) != 0 || !begin(&m))
		return (1);
	serve(&m);
	_exit(0); /* nothing that runs at exit is allowed in the box */
}
