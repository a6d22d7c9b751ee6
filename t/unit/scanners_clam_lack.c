/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libclamav says clean when it lacks space, descriptors or its folder: of
 * each kind of container that is found otherwise none may be clean then.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "scanners/clam_engine_priv.h"
#include "t/unit/clam_kit.h"

#define SAMPLES 60
#define LEAST 30 /* else the files are no test */

static struct clam_engine *engine;
static struct sample samples[SAMPLES];
static char names[SAMPLES][40];
static unsigned count;

static ssize_t
sample_read(void *arg, void *p, size_t n, uint64_t at)
{
	const struct sample *s = arg;

	if (at >= s->n)
		return (0);
	n = n < s->n - at ? n : s->n - (size_t)at;
	memcpy(p, s->p + at, n);
	return ((ssize_t)n);
}

static void
look_at(struct clam_look *look, struct sample *s)
{
	memset(look, 0, sizeof(*look));
	look->core = clam_engine_core(engine);
	look->blocks = ~0U;
	look->source = (struct clam_source){ .in = { sample_read, s, s->n } };
	look->deadline = clam_now_ms() + 60000;
	clam_look_run(look);
}

static void
sample_add(const char *folder, const char *name)
{
	struct sample *s = &samples[count];
	struct clam_look look;
	char path[400];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY);
	CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0 && count < SAMPLES);
	s->n = (size_t)st.st_size;
	s->p = malloc(s->n);
	CU_ASSERT_EQUAL(read(fd, s->p, s->n), (ssize_t)s->n);
	close(fd);
	look_at(&look, s);
	CU_ASSERT_EQUAL(look.verdict, VERDICT_BLOCKED);
	snprintf(names[count++], sizeof(names[0]), "%.39s", name);
}

static void
test_control(void)
{
	struct clam_options o = { .threads = 1 };
	char folder[64], command[400];
	struct dirent *e;
	DIR *d;

	snprintf(folder, sizeof(folder), "%s/files", kit_dir);
	CU_ASSERT_EQUAL_FATAL(mkdir(folder, 0700), 0);
	snprintf(command, sizeof(command), PYTHON3 " " CONTAINERS " %s %u few",
	    folder, unit_random(1000000));
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
	engine = kit_engine(&o);
	CU_ASSERT_TRUE(clam_engine_fit(engine));
	d = opendir(folder);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			sample_add(folder, e->d_name);
	closedir(d);
	CU_ASSERT(count >= LEAST);
}

/* None of them is clean; how many were not even found? */
static unsigned
none_is_clean(const char *what, unsigned long how, enum scan_gap gap)
{
	struct clam_look look;
	unsigned i, missed = 0;

	for (i = 0; i < count; i++) {
		look_at(&look, &samples[i]);
		if (look.verdict == VERDICT_CLEAN)
			printf("# %s: clean with %s %lu\n", names[i], what,
			    how);
		CU_ASSERT_NOT_EQUAL(look.verdict, VERDICT_CLEAN);
		if (look.verdict != VERDICT_UNSCANNED)
			continue;
		if (look.gap != gap)
			printf("# %s: %s with %s %lu\n", names[i], look.reason,
			    what, how);
		CU_ASSERT_EQUAL(look.gap, gap);
		missed++;
	}
	return (missed);
}

static void
test_full(void)
{
	static const rlim_t most[] = { 0, 1, 10, 100, 1000, 4096 };
	struct rlimit old, new;
	unsigned missed = 0;
	size_t i;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	for (i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		new = (struct rlimit){ most[i], old.rlim_max };
		setrlimit(RLIMIT_FSIZE, &new);
		missed += none_is_clean("files of", most[i], GAP_ERROR);
		setrlimit(RLIMIT_FSIZE, &old);
	}
	CU_ASSERT(missed > 0); /* the shortage was one */
}

static void
test_descriptors(void)
{
	struct rlimit old, new;
	unsigned missed = 0;
	rlim_t first, n;
	int fd = dup(0);

	CU_ASSERT_FATAL(fd >= 0);
	first = (rlim_t)fd;
	close(fd);
	getrlimit(RLIMIT_NOFILE, &old);
	for (n = 0; n < 6; n++) {
		new = (struct rlimit){ first + n, old.rlim_max };
		setrlimit(RLIMIT_NOFILE, &new);
		missed += none_is_clean("free descriptors", n, GAP_ERROR);
		setrlimit(RLIMIT_NOFILE, &old);
	}
	CU_ASSERT(missed > 0);
}

/* The limit of our own is a limit, and what was written is given back. */
static void
test_limit(void)
{
	static const uint64_t most[] = { 0, 1, 10, 100, 1000, 4096 };
	struct clam_temp *temp = &clam_engine_core(engine)->temp, was = *temp;
	unsigned missed = 0;
	size_t i;

	for (i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		temp->most = temp->sure = most[i];
		missed += none_is_clean("a limit of", most[i], GAP_LIMIT);
		CU_ASSERT_EQUAL(clam_temp_used(temp), 0);
	}
	CU_ASSERT(missed > 0);
	temp->most = was.most;
	temp->sure = was.sure;
}

static void
test_missing(void)
{
	const char *dir = clam_engine_core(engine)->temp_dir;
	int fd;

	kit_remove(dir); /* it is made anew */
	CU_ASSERT_EQUAL(none_is_clean("folder", 0, GAP_ERROR), 0);
	kit_remove(dir);
	fd = open(dir, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CU_ASSERT(fd >= 0);
	close(fd);
	CU_ASSERT(none_is_clean("a file as folder", 0, GAP_ERROR) > 0);
	unlink(dir);
	CU_ASSERT_EQUAL(none_is_clean("folder", 1, GAP_ERROR), 0);
}

/* Without the canary nothing is said, until it is found again. */
static void
test_unfit(void)
{
	struct clam_options o = { .threads = 1, .watch_ms = 20 };
	struct clam_engine *e;
	struct rlimit old, new;
	unsigned i;

	getrlimit(RLIMIT_FSIZE, &old);
	new = (struct rlimit){ 0, old.rlim_max };
	setrlimit(RLIMIT_FSIZE, &new);
	e = kit_engine(&o);
	CU_ASSERT_FALSE(clam_engine_fit(e));
	setrlimit(RLIMIT_FSIZE, &old);
	for (i = 0; i < 3000 && !clam_engine_fit(e); i++)
		usleep(10000);
	CU_ASSERT_TRUE(clam_engine_fit(e));
	setrlimit(RLIMIT_FSIZE, &new);
	for (i = 0; i < 1000; i++)
		clam_threads_count(e->threads);
	CU_ASSERT_FALSE(clam_engine_fit(e));
	setrlimit(RLIMIT_FSIZE, &old);
	for (i = 0; i < 3000 && !clam_engine_fit(e); i++)
		usleep(10000);
	CU_ASSERT_TRUE(clam_engine_fit(e));
	kit_engine_end(&e);
}

/* Small limits are no fault of libclamav's. */
static void
test_small_limits(void)
{
	static const struct clam_options small[] = {
		{ .threads = 1, .recursion = 1 },
		{ .threads = 1, .files = 1 },
		{ .threads = 1, .scan_size = 1024 },
	};
	struct clam_engine *e;
	size_t i;

	for (i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
		e = kit_engine(&small[i]);
		CU_ASSERT_TRUE(clam_engine_fit(e));
		kit_engine_end(&e);
	}
}

static void
test_after(void)
{
	struct sample text = sample_text();
	struct clam_look look;
	unsigned i;

	look_at(&look, &text);
	CU_ASSERT_EQUAL(look.verdict, VERDICT_CLEAN);
	free(text.p);
	for (i = 0; i < count; i++) {
		look_at(&look, &samples[i]);
		CU_ASSERT_EQUAL(look.verdict, VERDICT_BLOCKED);
		free(samples[i].p);
	}
	kit_engine_end(&engine);
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		{ "with enough all is found", test_control },
		{ "no space", test_full },
		{ "no descriptors", test_descriptors },
		{ "the limit of temporary space", test_limit },
		{ "no folder", test_missing },
		{ "no canary", test_unfit },
		{ "small limits", test_small_limits },
		{ "all is found again", test_after },
	};

	(void)argc;
	return (kit_main(argv, "scanners_clam_lack", tests,
	    sizeof(tests) / sizeof(tests[0])));
}
