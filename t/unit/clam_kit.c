/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Samples, engines and a folder for the clamav tests, see clam_kit.h. */
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>
#include "scanners/clam_master.h"
#include "t/unit/clam_home.h"
#include "t/unit/clam_kit.h"

char kit_dir[] = "/tmp/assay-unit-XXXXXX";

/* In two pieces, so that no scanner finds this file. */
static const char eicar_a[] = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-";
static const char eicar_b[] = "ANTIVIRUS-TEST-FILE!$H+H*";

static void
add(struct sample *s, const void *p, size_t n)
{
	if (s->n + n > s->cap) {
		s->cap = 2 * (s->n + n);
		s->p = realloc(s->p, s->cap);
	}
	memcpy(s->p + s->n, p, n);
	s->n += n;
}

static void
add_text(struct sample *s, const char *text)
{
	add(s, text, strlen(text));
}

struct sample
sample_eicar(void)
{
	struct sample s = { 0 };

	add_text(&s, eicar_a);
	add_text(&s, eicar_b);
	return (s);
}

struct sample
sample_text(void)
{
	struct sample s = { 0 };

	while (s.n < 1000)
		add_text(&s, "the quick brown fox jumps over the lazy dog\n");
	return (s);
}

struct sample
sample_html(void)
{
	struct sample s = { 0 }, e = sample_eicar();

	add_text(&s,
	    "<!DOCTYPE html><html><head><title>x</title></head>"
	    "<body><p>");
	add(&s, e.p, e.n);
	add_text(&s, "</p></body></html>");
	free(e.p);
	return (s);
}

struct sample
sample_middle(void)
{
	struct sample s = { 0 }, e = sample_eicar();

	while (s.n < 300000)
		add_text(&s, "some text before it ");
	add(&s, e.p, e.n);
	while (s.n < 400000)
		add_text(&s, " and after");
	free(e.p);
	return (s);
}

struct sample
sample_form(void)
{
	struct sample s = { 0 }, e = sample_eicar();

	add_text(&s,
	    "--x\r\nContent-Disposition: form-data; name=\"f\"; "
	    "filename=\"e\"\r\n\r\n");
	add(&s, e.p, e.n);
	add_text(&s, "\r\n--x--\r\n");
	free(e.p);
	return (s);
}

static struct sample
zlib_of(struct sample in, int window_bits)
{
	size_t cap = in.n + in.n / 100 + 1000;
	struct sample out = { .p = malloc(cap) };
	z_stream z = { 0 };

	deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
	z.next_in = in.p;
	z.avail_in = (uInt)in.n;
	z.next_out = out.p;
	z.avail_out = (uInt)cap;
	deflate(&z, Z_FINISH);
	out.n = z.total_out;
	deflateEnd(&z);
	free(in.p);
	return (out);
}

static struct sample
zstd_of(struct sample in)
{
	size_t cap = ZSTD_compressBound(in.n);
	struct sample out = { .p = malloc(cap) };

	out.n = ZSTD_compress(out.p, cap, in.p, in.n, 3);
	free(in.p);
	return (out);
}

/* One uncompressed meta-block; small samples only. */
static struct sample
br_of(struct sample in)
{
	unsigned long h = (unsigned long)(in.n - 1) << 4 | 1UL << 20;
	unsigned char head[3] = { (unsigned char)h, (unsigned char)(h >> 8),
		(unsigned char)(h >> 16) };
	struct sample out = { 0 };

	add(&out, head, 3);
	add(&out, in.p, in.n);
	add(&out, "\3", 1);
	free(in.p);
	return (out);
}

static void
add_le(struct sample *s, unsigned long v, unsigned bytes)
{
	unsigned char c;

	for (; bytes > 0; bytes--, v >>= 8) {
		c = (unsigned char)v;
		add(s, &c, 1);
	}
}

/* The fields that local and central headers share. */
static void
add_zip_head(struct sample *s, unsigned flags, unsigned long crc, size_t coded,
    size_t plain)
{
	add_le(s, 20, 2);
	add_le(s, flags, 2);
	add_le(s, 8, 2);
	add_le(s, 0x21 << 16, 4);
	add_le(s, crc, 4);
	add_le(s, coded, 4);
	add_le(s, plain, 4);
	add_le(s, 1, 2);
	add_le(s, 0, 2);
}

/* A zip of one member, deflated; flags 1: says it is sample_encrypted. */
static struct sample
zip_of(struct sample in, unsigned flags)
{
	unsigned long crc = crc32(0, in.p, (uInt)in.n);
	size_t plain = in.n, start;
	struct sample body = zlib_of(in, -15), s = { 0 };

	if (flags & 1) {
		body.p = realloc(body.p, body.n + 12);
		memmove(body.p + 12, body.p, body.n);
		memset(body.p, 0x5a, 12);
		body.n += 12;
	}
	add(&s, "PK\3\4", 4);
	add_zip_head(&s, flags, crc, body.n, plain);
	add_text(&s, "f");
	add(&s, body.p, body.n);
	start = s.n;
	add(&s, "PK\1\2", 4);
	add_le(&s, 20, 2);
	add_zip_head(&s, flags, crc, body.n, plain);
	add_le(&s, 0, 2);
	add_le(&s, 0, 2);
	add_le(&s, 0, 2);
	add_le(&s, 0, 4);
	add_le(&s, 0, 4);
	add_text(&s, "f");
	add(&s, "PK\5\6", 4);
	add_le(&s, 0, 4);
	add_le(&s, 1, 2);
	add_le(&s, 1, 2);
	add_le(&s, s.n - start - 12, 4);
	add_le(&s, start, 4);
	add_le(&s, 0, 2);
	free(body.p);
	return (s);
}

struct sample
sample_zeros(size_t n)
{
	return ((struct sample){ .p = calloc(1, n), .n = n });
}

static struct sample
both_of(struct sample a, struct sample b)
{
	add(&a, b.p, b.n);
	free(b.p);
	return (a);
}

struct sample
sample_eicar_gzip(void)
{
	return (zlib_of(sample_eicar(), 31));
}

struct sample
sample_eicar_deflate(void)
{
	return (zlib_of(sample_eicar(), 15));
}

struct sample
sample_eicar_raw(void)
{
	return (zlib_of(sample_eicar(), -15));
}

struct sample
sample_eicar_br(void)
{
	return (br_of(sample_eicar()));
}

struct sample
sample_eicar_zstd(void)
{
	return (zstd_of(sample_middle()));
}

struct sample
sample_eicar_twice(void)
{
	return (zstd_of(sample_eicar_gzip()));
}

struct sample
sample_eicar_zip(void)
{
	return (zip_of(sample_eicar(), 0));
}

struct sample
sample_eicar_zip3(void)
{
	return (zip_of(zip_of(sample_eicar_zip(), 0), 0));
}

struct sample
sample_eicar_deflated_zip(void)
{
	return (zlib_of(sample_eicar_zip(), 15));
}

struct sample
sample_text_gzip(void)
{
	return (zlib_of(sample_text(), 31));
}

struct sample
sample_text_deflate(void)
{
	return (zlib_of(sample_text(), 15));
}

struct sample
sample_text_br(void)
{
	return (br_of(sample_text()));
}

struct sample
sample_encrypted(void)
{
	return (zip_of(sample_text(), 1));
}

struct sample
sample_encrypted_deflate(void)
{
	return (zlib_of(sample_encrypted(), 15));
}

struct sample
sample_zip_bomb(void)
{
	return (zip_of(sample_zeros(KIT_BIG), 0));
}

struct sample
sample_gzip_bomb(void)
{
	return (zlib_of(sample_zeros(KIT_BIG), 31));
}

struct sample
sample_deflate_bomb(void)
{
	return (zlib_of(sample_zeros(KIT_BIG), 15));
}

struct sample
sample_zstd_bomb(void)
{
	return (zstd_of(sample_zeros(KIT_BIG)));
}

struct sample
sample_large(void)
{
	return (sample_zeros(KIT_BIG));
}

struct sample
sample_empty(void)
{
	return ((struct sample){ 0 });
}

struct sample
sample_gzip_members(void)
{
	return (both_of(sample_text_gzip(), sample_eicar_gzip()));
}

struct sample
sample_deflate_cut(void)
{
	struct sample s = sample_eicar_deflate();

	s.n -= 5;
	return (s);
}

struct sample
sample_text_deflate_cut(void)
{
	struct sample s = sample_text_deflate();

	s.n -= 5;
	return (s);
}

struct sample
sample_assay(void)
{
	struct sample s = { 0 };

	add_text(&s, "xx assay-test-malware-7f3a yy");
	return (s);
}

struct sample
sample_hash(void)
{
	struct sample s = { 0 };

	add_text(&s, "assay-test-hash-2c91\n");
	return (s);
}

bool kit_in_threads = true;

static struct {
	struct clam_engine *engine;
	struct clam_home *home;
} homes[16];
static pthread_mutex_t homes_lock = PTHREAD_MUTEX_INITIALIZER;

struct clam_engine *
kit_engine(const struct clam_options *extra)
{
	struct clam_options o = *extra;
	struct fault f = { .code = ERR_NONE };
	struct clam_home *home = NULL;
	struct clam_door door;
	struct clam_engine *e;
	unsigned i;

	if (o.db_dir == NULL)
		o.db_dir = TESTDB;
	if (o.temp_dir == NULL)
		o.temp_dir = kit_dir;
	o.in_threads = kit_in_threads;
	if (o.watch_ms == 0)
		o.watch_ms = 3600000; /* not in this test */
	o.door = &door;
	if (!o.in_threads) {
		home = clam_home_new(&o, &door, &f);
		CU_ASSERT_PTR_NOT_NULL_FATAL(home);
	}
	e = clam_engine_open(&o, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	pthread_mutex_lock(&homes_lock);
	for (i = 0; homes[i].engine != NULL || homes[i].home != NULL; i++)
		;
	homes[i].engine = e;
	homes[i].home = home;
	pthread_mutex_unlock(&homes_lock);
	return (e);
}

void
kit_engine_end(struct clam_engine **ep)
{
	struct clam_home *home;
	unsigned i;

	pthread_mutex_lock(&homes_lock);
	for (i = 0; homes[i].engine != *ep; i++)
		;
	home = homes[i].home;
	homes[i].engine = NULL;
	homes[i].home = NULL;
	pthread_mutex_unlock(&homes_lock);
	clam_engine_unref(ep);
	clam_home_free(&home);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return (remove(path));
}

void
kit_remove(const char *dir)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int
kit_main(char **argv, const char *suite, const struct unit_test *tests,
    unsigned n)
{
	int r;

	if (strcmp(argv[0], CLAM_MASTER_ROLE) == 0)
		return (clam_master_main(1, argv));
	if (mkdtemp(kit_dir) == NULL)
		return (1);
	r = unit_main(suite, tests, n);
	kit_remove(kit_dir);
	return (r);
}
