/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a scan costs: in a thread of this process and in a scanner process, by
 * turns, CPU of all processes together.  Not installed, not a test.
 *
 *	make t/bench/scan && t/bench/scan DATABASE BYTES SCANS [ROUNDS]
 *
 * Bodies above 64 KiB lie in a file, as spilled ones do.  At the end: time
 * from a scanner's death to a successor that is ready, and what memory the
 * family has (PSS).
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include "scanners/clam_master.h"
#include "scanners/clam_pool_priv.h"
#include "t/unit/clam_home.h"

static struct loop *loop;
static struct body_store store = { .temp_dir = "/dev/shm", .window = 65536 };
static struct task wake;
static uint64_t bytes;

struct pieces {
	struct source source; /* first */
	uint64_t left;
};

/* Text, so that libclamav has something to look at. */
static enum pull
pieces_pull(struct source *src, struct chq *out, size_t want, struct fault *f)
{
	struct pieces *p = (struct pieces *)(void *)src;
	struct chunk *c;
	size_t i, n = want < CHUNK_BYTES ? want : CHUNK_BYTES;

	(void)f;
	if (p->left == 0)
		return (PULL_END);
	n = n < p->left ? n : (size_t)p->left;
	c = chunk_new();
	for (i = 0; i < n; i++)
		c->data[i] = (unsigned char)"lorem ipsum dolor sit amet\n"[i %
		    27];
	c->used = (uint32_t)n;
	chq_add(out, c, c->data, n);
	chunk_unref(&c);
	p->left -= n;
	return (PULL_MORE);
}

static void
pieces_drop(struct source *src, enum pull last)
{
	(void)src;
	(void)last;
}

static const struct source_type pieces_type = { .name = "pieces",
	.pull = pieces_pull,
	.drop = pieces_drop };

static void
on_wake(struct task *t)
{
	(void)t;
	uv_stop(loop_uv(loop));
}

/* us of this process and its descendants, in user and system mode. */
static double
cpu_of(pid_t pid)
{
	char name[64], path[400];
	unsigned long long ns = 0;
	long user = 0, sys = 0;
	struct dirent *e;
	double sum = 0;
	FILE *f;
	DIR *d;
	long child;

	/* Of those that have ended, in ticks. */
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if ((f = fopen(path, "r")) != NULL) {
		if (fscanf(f,
			"%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u "
			"%*u %*u %*u %ld %ld",
			&user, &sys) == 2)
			sum += (double)(user + sys) * 1e6 /
			    (double)sysconf(_SC_CLK_TCK);
		fclose(f);
	}
	snprintf(name, sizeof(name), "/proc/%d/task", (int)pid);
	if ((d = opendir(name)) == NULL)
		return (0);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/schedstat", name,
		    e->d_name);
		if ((f = fopen(path, "r")) != NULL) {
			if (fscanf(f, "%llu", &ns) == 1)
				sum += (double)ns / 1000;
			fclose(f);
		}
		snprintf(path, sizeof(path), "%s/%s/children", name, e->d_name);
		if ((f = fopen(path, "r")) != NULL) {
			while (fscanf(f, "%ld", &child) == 1)
				sum += cpu_of((pid_t)child);
			fclose(f);
		}
	}
	closedir(d);
	return (sum);
}

static unsigned long
pss_of(pid_t pid)
{
	char path[400], line[200];
	unsigned long kb = 0, one;
	struct dirent *e;
	long child;
	FILE *f;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	if ((f = fopen(path, "r")) != NULL) {
		while (fgets(line, sizeof(line), f) != NULL)
			if (sscanf(line, "Pss: %lu", &one) == 1)
				kb += one;
		fclose(f);
	}
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	if ((d = opendir(path)) == NULL)
		return (kb);
	while ((e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/children",
		    (int)pid, e->d_name);
		if (e->d_name[0] == '.' || (f = fopen(path, "r")) == NULL)
			continue;
		while (fscanf(f, "%ld", &child) == 1)
			kb += pss_of((pid_t)child);
		fclose(f);
	}
	closedir(d);
	return (kb);
}

static struct clam_home *home;

static struct clam_engine *
engine(const char *db, bool in_threads)
{
	struct clam_options o = { .db_dir = db,
		.temp_dir = "/dev/shm",
		.threads = 2,
		.watch_ms = 3600000,
		.in_threads = in_threads };
	struct fault f = { .code = ERR_NONE };
	struct clam_engine *e = NULL;
	struct clam_door door;

	o.door = &door;
	if (in_threads || (home = clam_home_new(&o, &door, &f)) != NULL)
		e = clam_engine_open(&o, &f);
	if (e == NULL) {
		fprintf(stderr, "%s\n", f.detail);
		exit(1);
	}
	return (e);
}

/* us of CPU for each of n scans. */
static double
scans(struct clam_engine *e, unsigned n)
{
	struct clam_service service = { .name = "clam", .scans_resp = true };
	struct arena *arena = arena_new();
	struct http_msg *head = http_msg_new(arena, false);
	struct scanner *scanner = clam_new(loop, e, &service);
	struct scan_message msg = { .mode = SCAN_RESP,
		.req = head,
		.resp = head,
		.arena = arena };
	struct pieces p = { .left = bytes };
	struct reader keeper;
	struct scan scan;
	double from;
	unsigned i;

	source_init(&p.source, &pieces_type);
	msg.body = body_new(loop, &store, &p.source, BODY_UNKNOWN);
	reader_open(&keeper, msg.body, 0, NULL);
	from = 0;
	for (i = 0; i <= n; i++) {
		memset(&scan, 0, sizeof(scan));
		scan_start(&scan, scanner, &msg, &wake);
		while (!scan.done)
			uv_run(loop_uv(loop), UV_RUN_DEFAULT);
		if (scan.result.verdict != VERDICT_CLEAN)
			fprintf(stderr, "%s %.*s\n",
			    verdict_name(scan.result.verdict),
			    STR_ARG(scan.result.reason));
		scan_cancel(&scan);
		if (i == 0) /* the first one warms up */
			from = cpu_of(getpid());
	}
	from = cpu_of(getpid()) - from;
	reader_close(&keeper);
	body_unref(&msg.body);
	while (clam_busy(scanner) > 0)
		uv_run(loop_uv(loop), UV_RUN_ONCE);
	clam_free(&scanner);
	arena_free(&arena);
	return (from / n);
}

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6);
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x < y ? -1 : x > y);
}

/* Least and median ms from SIGKILL of an idle scanner to a new one that is idle. */
static void
rebirth(struct clam_engine *e)
{
	struct clam_pool *p = e->pool;
	double ms[31];
	unsigned i, k;
	uint64_t from;
	bool born;

	for (i = 0; i < 31; i++) {
		clam_pool_lock(p);
		from = clam_now_ms();
		ms[i] = now_ms();
		for (k = 0; k < p->n_children; k++)
			if (p->child[k].state == PROC_IDLE)
				(void)clam_wire_word(p->link->fd, CLAM_KILL,
				    p->child[k].id, NULL, 0);
		clam_pool_unlock(p);
		for (born = false; !born;) {
			usleep(50);
			clam_pool_lock(p);
			for (k = 0; k < p->n_children; k++)
				born |= p->child[k].state == PROC_IDLE &&
				    p->child[k].since > from;
			clam_pool_unlock(p);
		}
		ms[i] = now_ms() - ms[i];
	}
	qsort(ms, 31, sizeof(ms[0]), by_size);
	printf("death to a ready successor: %.2f ms at least, median %.2f\n",
	    ms[0], ms[15]);
}

int
main(int argc, char **argv)
{
	unsigned n, rounds, i;
	struct clam_engine *e[2];
	double cost[2][64];

	if (strcmp(argv[0], CLAM_MASTER_ROLE) == 0)
		return (clam_master_main(argc, argv));
	if (argc < 4)
		return (2);
	bytes = strtoull(argv[2], NULL, 10);
	n = (unsigned)atoi(argv[3]);
	rounds = argc > 4 ? (unsigned)atoi(argv[4]) : 9;
	rounds = rounds < 64 ? rounds : 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	loop = loop_new();
	task_init(&wake, loop, on_wake);
	e[1] = engine(argv[1], false);
	e[0] = engine(argv[1], true);
	for (i = 0; i < rounds; i++) {
		cost[0][i] = scans(e[0], n);
		cost[1][i] = scans(e[1], n);
	}
	qsort(cost[0], rounds, sizeof(double), by_size);
	qsort(cost[1], rounds, sizeof(double), by_size);
	printf("%llu bytes: thread %.1f us (%.1f at least), process %.1f "
	       "(%.1f)\n",
	    (unsigned long long)bytes, cost[0][rounds / 2], cost[0][0],
	    cost[1][rounds / 2], cost[1][0]);
	clam_engine_unref(&e[0]);
	rebirth(e[1]);
	printf("PSS of the family: %lu KB\n", pss_of(getpid()));
	clam_engine_unref(&e[1]);
	clam_home_free(&home);
	return (0);
}
