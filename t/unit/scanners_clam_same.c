/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libclamav finds in a file, the clamav scanner finds in a body: every
 * container format that containers.py can make, its parts moved over the
 * boundaries of pages and chunks; in pieces of all sizes, in memory and
 * spilled.
 */
#include <clamav.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>
#include "scanners/clam_priv.h"
#include "t/unit/clam_kit.h"

#define LEAST_FOUND 600 /* else the files are no test */

static struct cl_engine *alone;
static struct clam_engine *engine;
static struct loop *loop;
static char folder[64];
static unsigned files, found;

/* Thousands of files are made and removed. */
static const char *
fast_dir(void)
{
	return (access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : kit_dir);
}

static void
alone_open(void)
{
	unsigned n = 0;

	alone = cl_engine_new();
	cl_engine_set_num(alone, CL_ENGINE_MAX_SCANSIZE, 400 << 20);
	cl_engine_set_num(alone, CL_ENGINE_MAX_FILESIZE, 400 << 20);
	cl_engine_set_str(alone, CL_ENGINE_TMPDIR, fast_dir());
	CU_ASSERT_EQUAL_FATAL(cl_load(TESTDB, alone, &n, CL_DB_STDOPT), 0);
	CU_ASSERT_EQUAL_FATAL(cl_engine_compile(alone), CL_SUCCESS);
}

static bool
alone_finds(const char *path)
{
	struct cl_scan_options o = { .general = CL_SCAN_GENERAL_HEURISTICS,
		.parse = ~0U };
	const char *name = NULL;
	unsigned long n = 0;

	return (cl_scanfile(path, &name, &n, alone, &o) == CL_VIRUS);
}

static struct sample
file_read(const char *path)
{
	struct sample s = { 0 };
	struct stat st;
	int fd = open(path, O_RDONLY);

	CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
	s.n = (size_t)st.st_size;
	s.p = malloc(s.n);
	CU_ASSERT_EQUAL(read(fd, s.p, s.n), (ssize_t)s.n);
	close(fd);
	return (s);
}

/* A body that comes in pieces of one size. */
struct feed {
	struct source source; /* first */
	const struct sample *s;
	size_t at, piece;
};

static enum pull
feed_pull(struct source *src, struct chq *out, size_t want, struct fault *f)
{
	struct feed *feed = (struct feed *)(void *)src;
	size_t n = feed->s->n - feed->at;

	(void)f;
	if (n == 0)
		return (PULL_END);
	n = n < feed->piece ? n : feed->piece;
	n = n < want ? n : want;
	chq_copy(out, feed->s->p + feed->at, n);
	feed->at += n;
	return (PULL_MORE);
}

static void
feed_drop(struct source *src, enum pull last)
{
	(void)src;
	(void)last;
}

static const struct source_type feed_type = { .name = "feed",
	.pull = feed_pull,
	.drop = feed_drop };

static void
on_wake(struct task *t)
{
	(void)t;
}

static enum verdict
scanner_says(const struct sample *s, size_t piece, uint64_t window)
{
	struct clam_service service = { .name = "clam", .scans_resp = true };
	struct body_store store = { .temp_dir = fast_dir(), .window = window };
	struct arena *arena = arena_new();
	struct http_msg *head = http_msg_new(arena, false);
	struct scan_message msg = { .mode = SCAN_RESP,
		.req = head,
		.resp = head,
		.arena = arena };
	struct feed feed = { .s = s, .piece = piece };
	struct scanner *scanner = clam_new(loop, engine, &service);
	struct scan scan = { 0 };
	enum verdict v;
	struct task wake;

	head->status = 200;
	source_init(&feed.source, &feed_type);
	msg.body = body_new(loop, &store, &feed.source, BODY_UNKNOWN);
	task_init(&wake, loop, on_wake);
	scan_start(&scan, scanner, &msg, &wake);
	while (!scan.done)
		uv_run(loop_uv(loop), UV_RUN_ONCE);
	v = scan.result.verdict;
	scan_cancel(&scan);
	clam_free(&scanner);
	task_fini(&wake);
	body_unref(&msg.body);
	arena_free(&arena);
	return (v);
}

static void
file_compare(const char *name)
{
	static const size_t pieces[] = { 1024, 1448, 4095, 4096, 16384 };
	char path[400];
	struct sample s;
	size_t i, piece;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	files++;
	if (!alone_finds(path))
		return;
	found++;
	s = file_read(path);
	for (i = 0; i < 3; i++) {
		piece = i == 0 ? 16384 : pieces[unit_random(5)];
		if (scanner_says(&s, piece, i < 2 ? 64 << 20 : 32768) ==
		    VERDICT_BLOCKED)
			continue;
		printf("# %s, pieces of %zu, %s: not found\n", name, piece,
		    i < 2 ? "in memory" : "spilled");
		CU_FAIL("found alone");
	}
	free(s.p);
}

static void
test_same(void)
{
	struct clam_options o = { .threads = 1, .temp_dir = fast_dir() };
	char command[400];
	struct dirent *e;
	DIR *d;

	snprintf(folder, sizeof(folder), "%s/files", kit_dir);
	CU_ASSERT_EQUAL_FATAL(mkdir(folder, 0700), 0);
	snprintf(command, sizeof(command), PYTHON3 " " CONTAINERS " %s %u",
	    folder, unit_random(1000000));
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
	engine = kit_engine(&o);
	loop = loop_new();
	alone_open();
	d = opendir(folder);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			file_compare(e->d_name);
	closedir(d);
	printf("# %u files, %u found\n", files, found);
	CU_ASSERT(found >= LEAST_FOUND);
	cl_engine_free(alone);
	loop_free(&loop);
	kit_engine_end(&engine);
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		{ "a body is looked at as a file is", test_same },
	};

	(void)argc;
	return (kit_main(argv, "scanners_clam_same", tests,
	    sizeof(tests) / sizeof(tests[0])));
}
