/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A scanner: a process forked from the scan master, with the database in
 * memory that it shares with all others, a socket and a slot.  It looks at
 * one hostile body at a time, in the strictest box, and ends when its socket
 * does.
 *
 * Room: scanners.  One thread.
 */
#include <errno.h>
#include <fcntl.h>
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
#include "scanners/clam_master_priv.h"

#define MEMORY (1ULL << 30) /* that it may have more than the master */
#define FILES_OPEN 256
#define CPU_SPARE_S 2 /* beyond the deadline: somebody else kills it before */
#define OWNER 1       /* of the only account here */

enum { END_DONE = 0, END_BROKEN = 2, END_BOX = 3 };

struct scanning {
	struct clam_core *core;
	_Atomic uint64_t *since;
	int socket;
	const unsigned char *slot; /* CLAM_SLOT */
	struct budget *budget;
	struct account *account;
	uint64_t born_with; /* resident memory, at most so far */
	uint64_t mapped;    /* of that, bodies: the most of one */
	struct rusage use;  /* after the last scan */
	rlim_t cpu_most;    /* what RLIMIT_CPU may be at most */
};

/* A body as it came: a file's begin, then what lies in memory. */
struct piece {
	int file;
	uint64_t file_bytes;
	const unsigned char *rest;
	uint64_t rest_bytes;
};

static ssize_t
piece_read(void *arg, void *p, size_t n, uint64_t at)
{
	const struct piece *b = arg;
	ssize_t r;

	if (at < b->file_bytes) {
		if (n > b->file_bytes - at)
			n = (size_t)(b->file_bytes - at);
		do
			r = pread(b->file, p, n, (off_t)at);
		while (r < 0 && errno == EINTR);
		return (r);
	}
	at -= b->file_bytes;
	if (at >= b->rest_bytes)
		return (0);
	if (n > b->rest_bytes - at)
		n = (size_t)(b->rest_bytes - at);
	memcpy(p, b->rest + at, n);
	return ((ssize_t)n);
}

/* ---- limits of one scan ---- */

/* Asked once a scan: both limits need it, the next one's and this one's. */
static void
use_note(struct scanning *c)
{
	(void)getrusage(RUSAGE_SELF, &c->use);
}

static uint64_t
resident(const struct scanning *c)
{
	return ((uint64_t)c->use.ru_maxrss * 1024);
}

/* A matcher that runs on past its deadline ends here at the latest. */
static void
cpu_limit(const struct scanning *c, uint64_t deadline)
{
	uint64_t now = clam_now_ms(),
		 left = deadline > now ? deadline - now : 0;
	struct rlimit cpu = { .rlim_max = c->cpu_most };

	cpu.rlim_cur = (rlim_t)(c->use.ru_utime.tv_sec +
	    c->use.ru_stime.tv_sec + (time_t)(left / 1000) + CPU_SPARE_S);
	(void)setrlimit(RLIMIT_CPU, &cpu);
}

/* One account gets half of a budget. */
static void
temp_limit(struct scanning *c, uint64_t room)
{
	budget_set_limit(c->budget, BUDGET_TEMP,
	    room < INT64_MAX / 2 ? 2 * room : INT64_MAX);
}

/* ---- a scan ---- */

/* What comes behind the file: sealed memory, or the slot.  False: it is not. */
static bool
rest_open(const struct scanning *c, const struct clam_scan_msg *m, int fd,
    struct piece *b)
{
	struct stat st;
	void *p;

	b->rest = c->slot;
	b->rest_bytes = m->slot_bytes;
	if (m->memory_bytes == 0)
		return (true);
	if (m->slot_bytes > 0 || !channel_is(fd, CHANNEL_SEALED) ||
	    fstat(fd, &st) != 0 || (uint64_t)st.st_size < m->memory_bytes)
		return (false);
	p = mmap(NULL, m->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
	    0);
	if (p == MAP_FAILED)
		return (false);
	b->rest = p;
	b->rest_bytes = m->memory_bytes;
	return (true);
}

static bool
file_is_good(const struct clam_scan_msg *m, int fd)
{
	struct stat st;

	return (
	    m->file_bytes == 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)));
}

static void
look_init(struct scanning *c, struct clam_look *look,
    const struct clam_scan_msg *m, struct piece *b)
{
	look->core = c->core;
	look->codings = m->codings;
	memcpy(look->type, m->type, sizeof(look->type));
	look->account = c->account;
	look->deadline = m->deadline;
	look->blocks = m->blocks;
	look->source = (struct clam_source){
		.in = { piece_read, b, b->file_bytes + b->rest_bytes },
		.memory = b->file_bytes == 0 ? b->rest : NULL,
		.fd = b->file,
		.fd_bytes = b->file_bytes,
	};
	temp_limit(c, m->temp_room);
}

static void
body_look(struct scanning *c, struct clam_look *look, struct clam_packet *p)
{
	const struct clam_scan_msg *m = &p->m.scan;
	struct piece b = { .file = -1, .file_bytes = m->file_bytes };
	int rest_fd = m->file_bytes > 0 ? p->fd[1] : p->fd[0];

	if (m->file_bytes > 0)
		b.file = p->fd[0];
	if (!file_is_good(m, b.file) || !rest_open(c, m, rest_fd, &b)) {
		clam_look_unscanned(look, GAP_ERROR, "scan error (body)");
		return;
	}
	look_init(c, look, m, &b);
	cpu_limit(c, m->deadline);
	clam_look_run(look);
	if (m->memory_bytes > 0)
		munmap((void *)(uintptr_t)b.rest, m->memory_bytes);
}

/*
 * The system knows the most that was ever resident, which a large body that
 * is mapped counts to, and that one goes again.
 */
static uint64_t
grown(struct scanning *c, const struct clam_scan_msg *m)
{
	uint64_t now, body = m->file_bytes + m->memory_bytes;

	use_note(c);
	now = resident(c);
	c->mapped = body > c->mapped ? body : c->mapped;
	return (now > c->born_with + c->mapped ? now - c->born_with - c->mapped
					       : 0);
}

static bool
scan(struct scanning *c, struct clam_packet *p)
{
	struct clam_verdict v = { .kind = CLAM_VERDICT, .id = p->m.scan.id };
	struct clam_look look = { .verdict = VERDICT_CLEAN };

	atomic_store(c->since, clam_now_ms());
	body_look(c, &look, p);
	atomic_store(c->since, 0);
	clam_packet_drop(p);
	v.verdict = look.verdict;
	v.gap = look.verdict == VERDICT_UNSCANNED ? look.gap : GAP_NONE;
	v.grown = grown(c, &p->m.scan);
	clam_wire_text(v.threat, sizeof(v.threat), look.threat);
	clam_wire_text(v.reason, sizeof(v.reason), look.reason);
	clam_wire_text(v.note, sizeof(v.note), look.note);
	return (clam_wire_send(c->socket, &v, NULL, 0));
}

/* ---- birth ---- */

/* All but two and the standard ones. */
static bool
close_others(int a, int b)
{
	unsigned lo = (unsigned)(a < b ? a : b), hi = (unsigned)(a < b ? b : a);

	return ((lo <= 3 || close_range(3, lo - 1, 0) == 0) &&
	    (hi <= lo + 1 || close_range(lo + 1, hi - 1, 0) == 0) &&
	    close_range(hi + 1, ~0U, 0) == 0);
}

/* Its socket, the memory for a report and the standard ones stay open. */
static bool
slot_open(struct scanning *c, const struct clam_birth *b)
{
	int seals = fcntl(b->slot, F_GET_SEALS), flags;
	struct stat st;
	void *p;

	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
	    fstat(b->slot, &st) != 0 || st.st_size < (off_t)CLAM_SLOT)
		return (false);
	/* Writable, for a parser that scribbles: nobody reads it but us. */
	p = mmap(NULL, CLAM_SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, b->slot,
	    0);
	if (p == MAP_FAILED)
		return (false);
	c->slot = p;
	c->socket = b->socket;
	flags = fcntl(c->socket, F_GETFL);
	return (flags >= 0 &&
	    fcntl(c->socket, F_SETFL, flags & ~O_NONBLOCK) == 0 &&
	    close_others(c->socket, b->report >= 0 ? b->report : c->socket));
}

static bool
box_enter(const struct scanning *c, const struct clam_birth *b,
    struct sandbox_report *r)
{
	uint64_t size = c->core->limits.scan_size;
	const struct sandbox_limit limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_NPROC, 0 },
		{ RLIMIT_NOFILE, FILES_OPEN },
		{ RLIMIT_FSIZE, size + (1 << 20) },
		{ RLIMIT_AS, b->space + MEMORY + 2 * size },
	};
	const struct sandbox_path paths[] = { { b->temp_dir,
	    SANDBOX_READ | SANDBOX_WRITE } };
	const struct sandbox box = {
		.box = BOX_SCANNER,
		.mode = b->sandbox,
		.limits = limits,
		/* AddressSanitizer has terabytes of address space. */
		.n_limits = 5 - (ASAN_ON || b->space == 0),
		.paths = paths,
		.n_paths = 1,
	};
	struct fault f = { .code = ERR_NONE };

	if (sandbox_drop(&box, r, &f) && sandbox_close(&box, r, &f))
		return (true);
	fprintf(stderr, "scanner: %s\n", f.detail);
	return (false);
}

static bool
begin(struct scanning *c, const struct clam_birth *b, struct clam_born *born)
{
	struct rlimit cpu;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != b->master) /* it was too late for that */
		return (false);
	prctl(PR_SET_NAME, "assayd: scanner", 0, 0, 0);
	if (!slot_open(c, b))
		return (false);
	crash_report_to(b->report, "scanner");
	c->cpu_most = getrlimit(RLIMIT_CPU, &cpu) == 0 ? cpu.rlim_max
						       : RLIM_INFINITY;
	c->since = &b->words->since[b->me];
	c->core = b->core;
	c->core->temp_dir = strdup(b->temp_dir);
	c->core->temp.me = b->me;
	clam_lib_temp_dir(c->core->cl, b->temp_dir);
	c->budget = budget_new();
	c->account = account_open(c->budget, OWNER);
	return (c->core->temp_dir != NULL && box_enter(c, b, &born->box));
}

_Noreturn void
clam_child_run(const struct clam_birth *b)
{
	struct clam_born born = { .kind = CLAM_BORN };
	struct scanning c = { .core = NULL };
	struct clam_packet p;
	bool goes_on;

	if (!begin(&c, b, &born))
		_exit(END_BOX);
	born.fit = clam_core_finds_canary(c.core);
	use_note(&c);
	c.born_with = resident(&c);
	goes_on = clam_wire_send(c.socket, &born, NULL, 0) && born.fit;
	while (goes_on)
		switch (clam_wire_recv(c.socket, CLAM_BIT(CLAM_SCAN), &p, -1)) {
		case CLAM_GOT:
			goes_on = scan(&c, &p);
			break;
		case CLAM_BROKEN:
			_exit(END_BROKEN);
		case CLAM_NOTHING:
		case CLAM_ENDED:
		case CLAM_UNREAD:
			goes_on = false;
			break;
		}
	_exit(END_DONE);
}
