/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libclamav with the test database: what is found, what is unscanned and why,
 * and reload under load.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "scanners/clam_priv.h"
#include "scanners/clam_keeper.h"
#include "t/unit/clam_kit.h"

static char db[64];

static const struct look_case {
	const char *name;
	struct sample (*make)(void);
	const char *codings;
	enum verdict verdict;
	const char *text; /* threat, or how the reason begins */
	uint64_t scan_size;
	uint32_t files, recursion;
} cases[] = {
	{ "nothing", sample_empty, "", VERDICT_CLEAN, "", 0, 0, 0 },
	{ "text", sample_text, "", VERDICT_CLEAN, "", 0, 0, 0 },
	{ "text, identity", sample_text, "identity", VERDICT_CLEAN, "", 0, 0,
	    0 },
	{ "text, gzip", sample_text_gzip, "gzip", VERDICT_CLEAN, "", 0, 0, 0 },
	{ "text, deflate", sample_text_deflate, "deflate", VERDICT_CLEAN, "", 0,
	    0, 0 },
	{ "text, br", sample_text_br, "br", VERDICT_CLEAN, "", 0, 0, 0 },
	{ "plain", sample_eicar, "", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "mid-file", sample_middle, "", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "HTML", sample_html, "", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "form", sample_form, "", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "gzip file", sample_eicar_gzip, "", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "gzip", sample_eicar_gzip, "gzip", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "gzip members", sample_gzip_members, "x-gzip", VERDICT_BLOCKED, FOUND,
	    0, 0, 0 },
	{ "deflate", sample_eicar_deflate, "deflate", VERDICT_BLOCKED, FOUND, 0,
	    0, 0 },
	{ "raw deflate", sample_eicar_raw, "deflate", VERDICT_BLOCKED, FOUND, 0,
	    0, 0 },
	{ "deflate, cut", sample_deflate_cut, "deflate", VERDICT_BLOCKED, FOUND,
	    0, 0, 0 },
	{ "br", sample_eicar_br, "br", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "zstd", sample_eicar_zstd, "zstd", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "two codings", sample_eicar_twice, "gzip, zstd", VERDICT_BLOCKED,
	    FOUND, 0, 0, 0 },
	{ "zip", sample_eicar_zip, "", VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "zip, deflate", sample_eicar_deflated_zip, "deflate", VERDICT_BLOCKED,
	    FOUND, 0, 0, 0 },
	{ "zip in zip in zip", sample_eicar_zip3, "", VERDICT_BLOCKED, FOUND, 0,
	    0, 0 },
	{ "made-up string", sample_assay, "", VERDICT_BLOCKED, "Assay.Test.A",
	    0, 0, 0 },
	{ "hash", sample_hash, "", VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0,
	    0 },
	{ "a coding ignored by the client", sample_eicar, "br", VERDICT_BLOCKED,
	    FOUND, 0, 0, 0 },
	{ "encrypted", sample_encrypted, "", VERDICT_UNSCANNED,
	    "encrypted content (Zip", 0, 0, 0 },
	{ "encrypted, deflate", sample_encrypted_deflate, "deflate",
	    VERDICT_UNSCANNED, "encrypted content (Zip", 0, 0, 0 },
	{ "not gzip", sample_text, "gzip", VERDICT_UNSCANNED, SHUT("gzip"), 0,
	    0, 0 },
	{ "not br", sample_text, "br", VERDICT_UNSCANNED, SHUT("br"), 0, 0, 0 },
	{ "not zstd", sample_text, "zstd", VERDICT_UNSCANNED, SHUT("zstd"), 0,
	    0, 0 },
	{ "cut deflate", sample_text_deflate_cut, "deflate", VERDICT_CLEAN, "",
	    0, 0, 0 },
	{ "no registered coding", sample_text, "snappy", VERDICT_CLEAN, "", 0,
	    0, 0 },
	{ "no registered coding, plain", sample_eicar, "none", VERDICT_BLOCKED,
	    FOUND, 0, 0, 0 },
	{ "gzip, no registered coding", sample_eicar_deflate, "deflate, utf-8",
	    VERDICT_BLOCKED, FOUND, 0, 0, 0 },
	{ "unknown coding", sample_text, "compress", VERDICT_UNSCANNED,
	    SHUT("compress"), 0, 0, 0 },
	{ "recursion", sample_eicar_zip3, "", VERDICT_UNSCANNED,
	    "limit exceeded", 0, 0, 2 },
	{ "size, without a name", sample_large, "", VERDICT_UNSCANNED,
	    "limit exceeded", 1 << 20, 0, 0 },
	{ "zip bomb", sample_zip_bomb, "", VERDICT_UNSCANNED, "limit exceeded",
	    8 << 20, 0, 0 },
	{ "gzip bomb", sample_gzip_bomb, "gzip", VERDICT_UNSCANNED,
	    "limit exceeded", 8 << 20, 0, 0 },
	{ "deflate bomb", sample_deflate_bomb, "deflate", VERDICT_UNSCANNED,
	    "decoded size limit", 8 << 20, 0, 0 },
	{ "zstd bomb", sample_zstd_bomb, "zstd", VERDICT_UNSCANNED,
	    "decoded size limit", 0, 0, 0 },
};

struct feed {
	const struct sample *s;
	size_t fail_from; /* reads that touch it fail; SIZE_MAX: none */
	unsigned reads;
	atomic_bool *stop_at_read;
};

static ssize_t
feed_read(void *arg, void *p, size_t n, uint64_t at)
{
	struct feed *f = arg;

	f->reads++;
	if (f->stop_at_read != NULL)
		atomic_store(f->stop_at_read, true);
	if (at >= f->s->n)
		return (0);
	if (n > f->s->n - at)
		n = f->s->n - (size_t)at;
	if (at + n > f->fail_from) {
		errno = EIO;
		return (-1);
	}
	memcpy(p, f->s->p + at, n);
	return ((ssize_t)n);
}

static void
look_init(struct clam_look *look, struct clam_engine *e, struct feed *f,
    const struct sample *s)
{
	memset(look, 0, sizeof(*look));
	*f = (struct feed){ .s = s, .fail_from = SIZE_MAX };
	look->core = clam_engine_core(e);
	look->source = (struct clam_source){ .in = { feed_read, f, s->n } };
	look->deadline = clam_now_ms() + 60000;
}

static bool
case_holds(const struct look_case *c, const struct clam_look *look)
{
	const char *text = look->verdict == VERDICT_BLOCKED ? look->threat
							    : look->reason;

	return (look->verdict == c->verdict &&
	    strncmp(text, c->text, strlen(c->text)) == 0);
}

static void
test_looks(void)
{
	const struct look_case *c;
	struct clam_options o;
	struct clam_engine *e;
	struct clam_look look;
	struct sample s;
	struct feed f;
	size_t i;
	unsigned memory;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		c = &cases[i];
		o = (struct clam_options){ .scan_size = c->scan_size,
			.files = c->files,
			.recursion = c->recursion };
		e = kit_engine(&o);
		s = c->make();
		for (memory = 0; memory < 2; memory++) {
			look_init(&look, e, &f, &s);
			look.source.memory = memory ? s.p : NULL;
			decode_list_add(&look.codings, str_of(c->codings));
			clam_look_run(&look);
			if (!case_holds(c, &look))
				printf("# %s: %s [%s] [%s]\n", c->name,
				    verdict_name(look.verdict), look.threat,
				    look.reason);
			CU_ASSERT(case_holds(c, &look));
		}
		free(s.p);
		kit_engine_end(&e);
	}
}

static unsigned files_left;

static int
count_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)path;
	(void)flag;
	if (S_ISDIR(st->st_mode) && ftw->level == 1 &&
	    (st->st_mode & 0777) != 0700)
		files_left += 1000;
	if (ftw->level >= 2)
		files_left++;
	return (0);
}

/* Nothing stays behind a scan, and sample_empty behind the engine. */
static void
test_temp(void)
{
	struct clam_options o = { .files = 0 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s = sample_eicar_zip3();
	struct clam_look look;
	struct feed f;
	char stale[64];

	snprintf(stale, sizeof(stale), "%s/clam-abcdef", kit_dir);
	CU_ASSERT_EQUAL(mkdir(stale, 0700), 0);
	look_init(&look, e, &f, &s);
	clam_look_run(&look);
	files_left = 0;
	nftw(kit_dir, count_one, 8, FTW_PHYS);
	CU_ASSERT_EQUAL(files_left, 0);
	CU_ASSERT_EQUAL(access(clam_engine_core(e)->temp_dir, F_OK), 0);
	kit_engine_end(&e);
	e = kit_engine(&o); /* clears what a crash left */
	CU_ASSERT_NOT_EQUAL(access(stale, F_OK), 0);
	kit_engine_end(&e);
	CU_ASSERT_EQUAL(rmdir(kit_dir), 0);
	CU_ASSERT_EQUAL(mkdir(kit_dir, 0700), 0);
	free(s.p);
}

/* Any user may hold a lock on a folder like /tmp: it stops nobody. */
static void
test_locked_around(void)
{
	struct clam_options o = { .files = 0 };
	struct clam_engine *e;
	int fd = open(kit_dir, O_RDONLY | O_DIRECTORY);

	CU_ASSERT_FATAL(fd >= 0 && flock(fd, LOCK_EX) == 0);
	alarm(60);
	e = kit_engine(&o);
	alarm(0);
	CU_ASSERT_PTR_NOT_NULL(e);
	/* Its own folder is held: nobody takes it for one that was left. */
	CU_ASSERT_NOT_EQUAL(flock(open(clam_engine_core(e)->temp_dir, O_RDONLY),
				LOCK_EX | LOCK_NB),
	    0);
	kit_engine_end(&e);
	close(fd);
}

/* Many that start at once, and clean up: each has a folder in the end. */
static void *
open_many(void *arg)
{
	struct clam_options o = { .files = 0 };
	struct clam_engine *e;
	unsigned i;

	for (i = 0; i < 10; i++) {
		e = kit_engine(&o);
		if (access(clam_engine_core(e)->temp_dir, W_OK) != 0)
			atomic_fetch_add((atomic_uint *)arg, 1);
		kit_engine_end(&e);
	}
	return (NULL);
}

static void
test_many_folders(void)
{
	atomic_uint bad = 0;
	pthread_t t[4];
	unsigned i;

	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, open_many, &bad);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&bad), 0);
}

/* A read that fails anywhere is never clean. */
static void
test_read_errors(void)
{
	static struct sample (*const make[])(void) = { sample_middle,
		sample_text, sample_text_deflate, sample_html };
	static const char *const codings[] = { "", "", "deflate", "" };
	struct clam_options o = { .files = 0 };
	struct clam_engine *e = kit_engine(&o);
	struct clam_look look;
	struct sample s;
	struct feed f;
	size_t i, k;

	for (i = 0; i < 4; i++) {
		s = make[i]();
		for (k = 0; k < 20; k++) {
			look_init(&look, e, &f, &s);
			f.fail_from = k * (s.n - 1) / 19;
			decode_list_add(&look.codings, str_of(codings[i]));
			clam_look_run(&look);
			CU_ASSERT_NOT_EQUAL(look.verdict, VERDICT_CLEAN);
			if (look.verdict == VERDICT_UNSCANNED)
				CU_ASSERT_STRING_EQUAL(look.reason,
				    "read error");
		}
		free(s.p);
	}
	kit_engine_end(&e);
}

static void
test_deadline(void)
{
	struct clam_options o = { .time_ms = 20 };
	struct clam_engine *e = kit_engine(&o);
	struct sample s = sample_zeros(KIT_BIG);
	struct clam_look look;
	struct feed f;
	size_t i;

	for (i = 0; i < s.n; i++)
		s.p[i] = (unsigned char)unit_random(256);
	look_init(&look, e, &f, &s);
	look.deadline = clam_now_ms() + 20;
	look.blocks = ~(1U << GAP_TIME); /* any other reason would win */
	clam_look_run(&look);
	CU_ASSERT_EQUAL(look.verdict, VERDICT_UNSCANNED);
	CU_ASSERT_EQUAL(look.gap, GAP_TIME);
	CU_ASSERT_PTR_NOT_NULL(strstr(look.reason, "ime")); /* limit */
	look_init(&look, e, &f, &s);
	look.deadline = clam_now_ms() - 1;
	clam_look_run(&look);
	CU_ASSERT_EQUAL(look.verdict, VERDICT_UNSCANNED);
	CU_ASSERT_EQUAL(f.reads, 0);
	look_init(&look, e, &f, &s);
	f.stop_at_read = &look.stop; /* the flow goes during the first read */
	clam_look_run(&look);
	CU_ASSERT_EQUAL(look.verdict, VERDICT_UNSCANNED);
	CU_ASSERT(f.reads < 3);
	free(s.p);
	kit_engine_end(&e);
}

/* In threads and by a master alike. */
static void
open_fails(struct clam_options o, const char *why)
{
	struct fault f[2] = { { ERR_NONE, "" }, { ERR_NONE, "" } };
	struct clam_open m;
	unsigned i;

	o.in_threads = true;
	CU_ASSERT_PTR_NULL(clam_engine_open(&o, &f[0]));
	clam_open_fill(&m, &o, NULL);
	CU_ASSERT_FALSE(clam_keeper_check(&m, &f[1]));
	for (i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(f[i].code, ERR_CONFIG);
		CU_ASSERT_PTR_NOT_NULL(strstr(f[i].detail, why));
	}
}

static void
test_open_fails(void)
{
	open_fails((struct clam_options){ .db_dir = "/nonexistent",
		       .temp_dir = kit_dir },
	    "/nonexistent");
	/* A folder without a database. */
	open_fails((struct clam_options){ .db_dir = kit_dir,
		       .temp_dir = kit_dir },
	    kit_dir);
	open_fails((struct clam_options){ .db_dir = TESTDB,
		       .temp_dir = "/nonexistent" },
	    "/nonexistent");
	CU_ASSERT_EQUAL(rmdir(kit_dir), 0); /* nothing is left of it */
	CU_ASSERT_EQUAL(mkdir(kit_dir, 0700), 0);
}

/* Reload. */

static atomic_uint reports_good, reports_bad;

static void
on_report(void *arg, const char *line)
{
	(void)arg;
	if (strstr(line, "reloaded") != NULL)
		atomic_fetch_add(&reports_good, 1);
	else
		atomic_fetch_add(&reports_bad, 1);
}

static void
db_write(const char *name, const char *line)
{
	char path[128], new[140];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", db, name);
	snprintf(new, sizeof(new), "%s.tmp", path);
	f = fopen(new, "w");
	fprintf(f, "%s\n", line);
	fclose(f);
	rename(new, path);
}

/* Wait for *what to become at least n; the run fails after 20 s. */
static void
wait_for(atomic_uint *what, unsigned n)
{
	unsigned i;

	for (i = 0; i < 2000 && atomic_load(what) < n; i++)
		usleep(10000);
	CU_ASSERT(atomic_load(what) >= n);
}

static atomic_bool stop_scanning;
static atomic_uint scans, misses;

static void *
scan_on(void *arg)
{
	struct sample s = sample_assay();
	struct clam_look look;
	struct feed f;

	while (!atomic_load(&stop_scanning)) {
		look_init(&look, arg, &f, &s);
		clam_look_run(&look);
		if (look.verdict != VERDICT_BLOCKED)
			atomic_fetch_add(&misses, 1);
		atomic_fetch_add(&scans, 1);
	}
	free(s.p);
	return (NULL);
}

#define ASSAY_A \
	"Assay.Test.A:0:*:61737361792d746573742d6d616c776172652d37663361"

static void
test_reload(void)
{
	struct clam_options o = { .db_dir = db,
		.watch_ms = 20,
		.report = on_report };
	struct clam_engine *e;
	struct clam_info info;
	struct clam_look look;
	struct sample s = sample_text();
	struct feed f;
	pthread_t t[3];
	unsigned i;

	snprintf(db, sizeof(db), "%s/db", kit_dir);
	mkdir(db, 0700);
	db_write("a.ndb", ASSAY_A);
	e = kit_engine(&o);
	CU_ASSERT_EQUAL(clam_engine_signatures(e), 1);
	for (i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, scan_on, e);
	db_write("b.ndb", "Fox:0:*:627564656e");
	wait_for(&reports_good, 1);
	db_write("b.ndb", "this is no signature");
	wait_for(&reports_bad, 1);
	CU_ASSERT_EQUAL(clam_engine_signatures(e), 2);   /* the old one */
	db_write("b.ndb", "Fox:0:*:62726f776e20666f78"); /* brown fox */
	wait_for(&reports_good, 2);
	look_init(&look, e, &f, &s);
	clam_look_run(&look);
	CU_ASSERT_EQUAL(look.verdict, VERDICT_BLOCKED);
	CU_ASSERT_STRING_EQUAL(look.threat, "Fox");
	atomic_store(&stop_scanning, true);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT(atomic_load(&scans) > 0);
	CU_ASSERT_EQUAL(atomic_load(&misses), 0);
	clam_engine_info(e, &info);
	CU_ASSERT_EQUAL(info.reloads, 2);
	CU_ASSERT_PTR_NOT_NULL(info.library);
	kit_engine_end(&e);
	kit_remove(db);
	free(s.p);
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		{ "what is found and what is unscanned", test_looks },
		{ "temporary files", test_temp },
		{ "a lock on the folder around", test_locked_around },
		{ "folders of many at once", test_many_folders },
		{ "read errors", test_read_errors },
		{ "deadline and stop", test_deadline },
		{ "no database", test_open_fails },
		{ "reload while scanning", test_reload },
	};

	(void)argc;
	return (kit_main(argv, "scanners_clam", tests,
	    sizeof(tests) / sizeof(tests[0])));
}
