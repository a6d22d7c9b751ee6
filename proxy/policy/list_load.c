/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists as objects, and reading them from files, see list.h. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/handed.h"
#include "net/nets.h"
#include "proxy/policy/list_priv.h"

#define BLOCK ((size_t)1 << 20) /* octets that are read at once */
#define BAD_ALWAYS 10
#define SMALL 100 /* lists of so many entries may change as they like */
#define PATH_BYTES 1200

/* One list being read. */
struct reading {
	struct list_sink sink; /* first */
	const struct list_options *o;
	struct list_report *report;
	struct list_found *found;
	struct fault *f;
	struct sha256_ctx sha;
	uint64_t stamp;
	unsigned category; /* of the file that is read; 0: none */
	char **names;      /* of categories */
	unsigned n_names;
};

static void *
need(void *p)
{
	if (p == NULL)
		abort(); /* out of memory, as everywhere */
	return (p);
}

void
list_report_fini(struct list_report *r)
{
	free(r->text);
	*r = (struct list_report){ 0 };
}

/* ---- what lines say ---- */

static void
on_name(struct list_sink *s, struct str name, unsigned how)
{
	struct reading *r = (struct reading *)(void *)s;

	list_found_name(r->found, name, how | r->category << LIST_IS_BITS);
}

static void
on_url(struct list_sink *s, struct str url)
{
	struct reading *r = (struct reading *)(void *)s;

	list_found_url(r->found, url, r->category << LIST_IS_BITS);
}

static void
on_range(struct list_sink *s, const struct list_range *range)
{
	struct reading *r = (struct reading *)(void *)s;
	struct list_range own = *range;

	own.category = r->category;
	list_found_range(r->found, &own);
}

/* What was wrong in which line; control characters are none of a log's. */
static void
show(struct reading *r, const char *path, uint64_t line, const char *why,
    struct str text)
{
	struct list_report *out = r->report;
	size_t had = out->text != NULL ? strlen(out->text) : 0, i;
	char shown[60];

	if (out->shown == LIST_SHOWN)
		return;
	out->shown++;
	for (i = 0; i < text.n && i < sizeof(shown) - 1; i++)
		shown[i] = text.p[i] < ' ' || text.p[i] > '~' ? '?' : text.p[i];
	shown[i] = '\0';
	out->text = need(realloc(out->text, had + PATH_BYTES + 200));
	(void)snprintf(out->text + had, PATH_BYTES + 200, "%s:%llu: %s: '%s'\n",
	    path, (unsigned long long)line, why, shown);
}

/* ---- one file ---- */

struct file {
	const char *path;
	enum list_format format;
	int fd;
	char *block; /* owned; BLOCK and a line octets */
	size_t n;    /* octets in it */
	uint64_t line, total;
	char eol; /* 0: not known yet */
	struct list_reading lines;
	bool too_long; /* the rest of an endless line is dropped */
};

static void
take_line(struct reading *r, struct file *file, char *p, size_t n)
{
	struct str was = { p, n };
	const char *why = "a line of over 4096 octets";
	enum list_said said = LIST_SAID_BAD;
	char end;

	file->line++;
	if (file->line == 1 && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
		p += 3;
		n -= 3;
	}
	if (file->too_long)
		file->too_long = false;
	else if (n <= LIST_LINE) {
		end = p[n];
		p[n] = '\0';
		said = list_line(&file->lines, file->format, p, n, &r->sink,
		    &why);
		p[n] = end;
	}
	if (said == LIST_SAID_NOTHING)
		return;
	r->report->lines++;
	r->report->skipped += said == LIST_SAID_SKIPPED;
	if (said != LIST_SAID_BAD)
		return;
	r->report->bad++;
	show(r, file->path, file->line, why, was);
}

/* All lines that have ended; what is left moves to the begin. */
static void
take_lines(struct reading *r, struct file *file)
{
	char *p = file->block, *end = file->block + file->n, *eol;

	while ((eol = memchr(p, file->eol, (size_t)(end - p))) != NULL) {
		take_line(r, file, p, (size_t)(eol - p));
		p = eol + 1;
	}
	file->n = (size_t)(end - p);
	if (file->n > LIST_LINE) {
		file->too_long = true;
		file->n = 0;
	}
	memmove(file->block, p, file->n);
}

static bool
refuse(struct reading *r, const char *path, const char *why)
{
	(void)fault_set(r->f, ERR_CONFIG, "%s: %s", path, why);
	return (false);
}

static const char too_many
    [] = "a list that rules open something by has at most 100000 entries";

static bool
read_open(struct reading *r, struct file *file)
{
	ssize_t got;

	while ((got = read(file->fd, file->block + file->n, BLOCK)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return (refuse(r, file->path, strerror(errno)));
		file->total += (uint64_t)got;
		if (file->total > r->o->max_size)
			return (refuse(r, file->path,
			    "larger than max_size allows"));
		sha256_update(&r->sha, (size_t)got,
		    (const uint8_t *)file->block + file->n);
		file->n += (size_t)got;
		if (file->eol == 0)
			file->eol = list_eol(file->block, file->n);
		if (file->format == LIST_AUTO) {
			file->format = list_guess(file->block, file->n);
			r->report->format = file->format;
		}
		take_lines(r, file);
		if (r->o->opens && list_found_count(r->found) > LIST_EXACT)
			return (refuse(r, file->path, too_many));
	}
	if (file->n > 0 || file->too_long)
		take_line(r, file, file->block, file->n);
	return (true);
}

static bool
read_file(struct reading *r, const char *path, enum list_format format)
{
	struct file file = { .path = path, .format = format };
	bool good;

	file.fd = handed_open(path);
	if (file.fd < 0)
		return (refuse(r, path,
		    errno == EINVAL ? "not an ordinary file"
				    : strerror(errno)));
	file.block = need(malloc(BLOCK + LIST_LINE + 1));
	good = read_open(r, &file);
	free(file.block);
	close(file.fd);
	return (good);
}

/* ---- a folder of categories ---- */

static int
is_folder(const struct dirent *e)
{
	return (e->d_name[0] != '.');
}

static bool
add_category(struct reading *r, const char *name)
{
	if (r->n_names == LIST_CATEGORIES)
		return (false);
	r->names = need(
	    realloc(r->names, (r->n_names + 1) * sizeof(*r->names)));
	r->names[r->n_names++] = need(strdup(name));
	r->category = r->n_names;
	return (true);
}

/* One folder: 0 without files of lists, -1 when one is refused. */
static int
read_category(struct reading *r, const char *name)
{
	static const struct {
		const char *file;
		enum list_format format;
	} files[] = { { "domains", LIST_DOMAINS }, { "urls", LIST_URLS } };
	char path[PATH_BYTES];
	int n = 0;
	unsigned i;

	for (i = 0; i < 2; i++) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%s/%s", r->o->path,
			name, files[i].file) >= sizeof(path) ||
		    access(path, F_OK) != 0)
			continue;
		if (n++ == 0 && !add_category(r, name)) {
			(void)refuse(r, r->o->path, "too many categories");
			return (-1);
		}
		if (!read_file(r, path, files[i].format))
			return (-1);
	}
	return (n);
}

static bool
read_folder(struct reading *r)
{
	struct dirent **e = NULL;
	int n = scandir(r->o->path, &e, is_folder, alphasort), i, got = 0;

	if (n < 0)
		return (refuse(r, r->o->path, strerror(errno)));
	for (i = 0; i < n; i++) {
		if (got >= 0)
			got = read_category(r, e[i]->d_name);
		free(e[i]);
	}
	free(e);
	return (got >= 0);
}

/* ---- has it changed? ---- */

static void
stamp_add(uint64_t *stamp, uint64_t v)
{
	*stamp = (*stamp ^ v) * 0x100000001b3u;
}

static void
stamp_file(uint64_t *stamp, const char *path)
{
	struct stat st;

	if (!handed_stat(path, &st))
		return;
	stamp_add(stamp, (uint64_t)st.st_dev);
	stamp_add(stamp, (uint64_t)st.st_ino);
	stamp_add(stamp, (uint64_t)st.st_size);
	stamp_add(stamp, (uint64_t)st.st_mtim.tv_sec);
	stamp_add(stamp, (uint64_t)st.st_mtim.tv_nsec);
}

static uint64_t
stamp_of(const struct list_options *o)
{
	char path[PATH_BYTES];
	uint64_t stamp = 0xcbf29ce484222325u;
	struct dirent **e = NULL;
	int n, i;

	stamp_file(&stamp, o->path);
	stamp_add(&stamp, o->format);
	if (o->format != LIST_UT1)
		return (stamp);
	n = scandir(o->path, &e, is_folder, alphasort);
	for (i = 0; i < n; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s/domains", o->path,
		    e[i]->d_name);
		stamp_file(&stamp, path);
		(void)snprintf(path, sizeof(path), "%s/%s/urls", o->path,
		    e[i]->d_name);
		stamp_file(&stamp, path);
		free(e[i]);
	}
	free(e);
	return (stamp);
}

/* ---- is it good? ---- */

static bool
is_sound(struct reading *r, const char *digest)
{
	const struct list_options *o = r->o;
	const struct list_report *p = r->report;
	uint64_t n = list_found_count(r->found);

	if (o->sha256 != NULL && strcasecmp(o->sha256, digest) != 0)
		return (refuse(r, o->path, "its SHA-256 is another"));
	if (p->bad > BAD_ALWAYS && p->bad * 100 > p->lines * o->max_bad) {
		(void)fault_set(r->f, ERR_CONFIG,
		    "%s: %llu of %llu lines are bad", o->path,
		    (unsigned long long)p->bad, (unsigned long long)p->lines);
		return (false);
	}
	if (n == 0)
		return (refuse(r, o->path, "nothing is in it"));
	if (o->opens && n > LIST_EXACT)
		return (refuse(r, o->path, too_many));
	return (true);
}

/* Is it like the one before?  What stands twice was counted once in both. */
static bool
is_like(struct reading *r, const struct list *l, const struct list *old)
{
	const struct list_options *o = r->o;
	uint64_t n = list_count(l), was;

	if (old == NULL)
		return (true);
	was = list_count(old);
	if (was > SMALL && n < was && (was - n) * 100 > was * o->max_shrink)
		return (refuse(r, o->path, "it shrank more than max_shrink"));
	if (o->max_growth > 0 && n > SMALL && was > 0 &&
	    n > was * o->max_growth)
		return (refuse(r, o->path, "it grew more than max_growth"));
	return (true);
}

static void
digest_text(struct sha256_ctx *sha, char out[2 * SHA256_DIGEST_SIZE + 1])
{
	uint8_t bytes[SHA256_DIGEST_SIZE];
	unsigned i;

	sha256_digest(sha, sizeof(bytes), bytes);
	for (i = 0; i < sizeof(bytes); i++)
		(void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static struct list *
make(struct reading *r, const char *digest)
{
	struct list *l = need(calloc(1, sizeof(*l)));

	atomic_init(&l->refs, 1);
	(void)snprintf(l->digest, sizeof(l->digest), "%s", digest);
	l->category = r->names;
	l->n_categories = r->n_names;
	r->names = NULL;
	r->n_names = 0;
	l->stamp = r->stamp;
	l->exact = r->o->opens;
	l->format = r->report->format;
	l->bad = r->report->bad;
	l->skipped = r->report->skipped;
	list_table_make(&l->table, &r->found);
	return (l);
}

static void
names_free(char ***names, unsigned n)
{
	while (n > 0)
		free((*names)[--n]);
	free(*names);
	*names = NULL;
}

struct list *
list_load(const struct list_options *o, struct list *old,
    struct list_report *report, struct fault *f)
{
	struct reading r = { .sink = { on_name, on_url, on_range, o->opens },
		.o = o,
		.report = report,
		.f = f,
		.stamp = stamp_of(o) };
	char digest[2 * SHA256_DIGEST_SIZE + 1];
	struct list *l = NULL;
	bool good;

	*report = (struct list_report){ .format = o->format };
	if (old != NULL && old->stamp == r.stamp && old->exact == o->opens &&
	    (o->sha256 == NULL || strcasecmp(o->sha256, old->digest) == 0))
		return (list_ref(old));
	r.found = list_found_new(o->opens);
	sha256_init(&r.sha);
	good = o->format == LIST_UT1 ? read_folder(&r)
				     : read_file(&r, o->path, o->format);
	digest_text(&r.sha, digest);
	if (good && is_sound(&r, digest))
		l = make(&r, digest);
	if (l != NULL && !is_like(&r, l, old))
		list_unref(&l);
	list_found_free(&r.found);
	names_free(&r.names, r.n_names);
	return (l);
}

struct list *
list_ref(struct list *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return (l);
}

void
list_unref(struct list **at)
{
	struct list *l = *at;

	*at = NULL;
	if (l == NULL ||
	    atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	list_table_fini(&l->table);
	names_free(&l->category, l->n_categories);
	free(l);
}

uint64_t
list_count(const struct list *l)
{
	return ((uint64_t)l->table.n + l->table.n_range);
}

size_t
list_bytes(const struct list *l)
{
	return (sizeof(*l) + list_table_bytes(&l->table));
}

const char *
list_digest(const struct list *l)
{
	return (l->digest);
}

enum list_format
list_format(const struct list *l)
{
	return (l->format);
}

const char *
list_format_name(enum list_format f)
{
	static const char *const names[] = { [LIST_AUTO] = "auto",
		[LIST_DOMAINS] = "domains",
		[LIST_SQUID] = "squid",
		[LIST_HOSTS] = "hosts",
		[LIST_URLS] = "urls",
		[LIST_CIDR] = "cidr",
		[LIST_ADBLOCK] = "adblock",
		[LIST_RPZ] = "rpz",
		[LIST_UT1] = "ut1" };

	assert((unsigned)f < sizeof(names) / sizeof(names[0]));
	return (names[f]);
}

uint64_t
list_bad(const struct list *l)
{
	return (l->bad);
}

uint64_t
list_skipped(const struct list *l)
{
	return (l->skipped);
}

bool
list_has_names(const struct list *l)
{
	return (l->table.names);
}

bool
list_has_urls(const struct list *l)
{
	return (l->table.urls);
}

bool
list_has_ranges(const struct list *l)
{
	return (l->table.n_range > 0);
}

unsigned
list_category(const struct list *l, const char *name)
{
	unsigned i;

	for (i = 0; i < l->n_categories; i++)
		if (strcmp(l->category[i], name) == 0)
			return (i + 1);
	return (0);
}
