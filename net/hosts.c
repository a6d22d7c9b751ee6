/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hosts table, see hosts.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/handed.h"
#include "net/hosts.h"
#include "net/hostname.h"

#define BLANKS " \t\r\n\v\f"

struct host_address {
	struct host_address *next;
	union address address;
};

struct host {
	struct host *next; /* of the bucket */
	uint64_t hash;
	struct str name;
	struct host_address *first, **last;
};

struct hosts {
	_Atomic unsigned refs;
	struct arena *arena;   /* owned: everything but the buckets */
	struct host **buckets; /* owned; a power of two */
	unsigned size, count;
};

/* The file is the administrator's: the hash needs no secret. */
static uint64_t
hash_of(struct str name)
{
	return (hostname_hash(name, 1));
}

static struct host **
find(const struct hosts *h, struct str name, uint64_t hash)
{
	struct host **at = &h->buckets[hash & (h->size - 1)];

	assert((h->size & (h->size - 1)) == 0);
	while (
	    *at != NULL && ((*at)->hash != hash || !str_eq((*at)->name, name)))
		at = &(*at)->next;
	return (at);
}

static void
set_size(struct hosts *h, unsigned size)
{
	struct host **old = h->buckets, *e, *next;
	unsigned i, n = h->size;

	h->buckets = calloc(size, sizeof(*h->buckets));
	if (h->buckets == NULL)
		abort();
	h->size = size;
	for (i = 0; i < n; i++)
		for (e = old[i]; e != NULL; e = next) {
			next = e->next;
			e->next = h->buckets[e->hash & (size - 1)];
			h->buckets[e->hash & (size - 1)] = e;
		}
	free(old);
}

static struct host *
host_for(struct hosts *h, struct str name)
{
	uint64_t hash = hash_of(name);
	struct host **at = find(h, name, hash);
	struct host *e;

	if (*at != NULL)
		return (*at);
	if (h->count >= h->size) {
		set_size(h, h->size * 2);
		at = find(h, name, hash);
	}
	e = *at = arena_zalloc(h->arena, sizeof(*e));
	e->hash = hash;
	e->name = arena_str(h->arena, name);
	e->last = &e->first;
	h->count++;
	return (e);
}

static void
add(struct hosts *h, struct str name, const union address *a)
{
	struct host *e = host_for(h, name);
	struct host_address *x;

	for (x = e->first; x != NULL; x = x->next)
		if (address_eq(&x->address.sa, &a->sa))
			return;
	x = arena_alloc(h->arena, sizeof(*x));
	x->next = NULL;
	x->address = *a;
	*e->last = x;
	e->last = &x->next;
}

/* address name alias ... # comment */
static void
read_line(struct hosts *h, char *line)
{
	char name[HOSTNAME_BYTES], *save, *word;
	union address a;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, BLANKS, &save);
	if (word == NULL || !address_parse(str_of(word), &a))
		return;
	while ((word = strtok_r(NULL, BLANKS, &save)) != NULL)
		if (hostname_normalise(str_of(word), name))
			add(h, str_of(name), &a);
}

/* An ordinary one: of a device or a pipe there may be no end. */
static FILE *
open_file(const char *path, struct fault *f)
{
	int fd = handed_open(path);
	FILE *in = NULL;

	if (fd < 0 && errno == EINVAL) {
		fault_set(f, ERR_CONFIG, "%s: no ordinary file", path);
		return (NULL);
	}
	if (fd < 0 || (in = fdopen(fd, "r")) == NULL)
		fault_set(f, ERR_CONFIG, "%s: %s", path, strerror(errno));
	if (fd >= 0 && in == NULL)
		close(fd);
	return (in);
}

static bool
read_file(struct hosts *h, const char *path, struct fault *f)
{
	FILE *in = open_file(path, f);
	char *line = NULL;
	size_t cap = 0;
	bool ok;

	if (in == NULL)
		return (false);
	while (getline(&line, &cap, in) >= 0)
		read_line(h, line);
	ok = ferror(in) == 0;
	if (!ok)
		fault_set(f, ERR_CONFIG, "%s: %s", path, strerror(errno));
	free(line);
	(void)fclose(in);
	return (ok);
}

struct hosts *
hosts_load(const char *path, struct fault *f)
{
	struct hosts *h = calloc(1, sizeof(*h));

	if (h == NULL)
		abort();
	h->refs = 1;
	h->arena = arena_new();
	set_size(h, 64);
	if (path != NULL && path[0] != '\0' && !read_file(h, path, f))
		hosts_unref(&h);
	return (h);
}

struct hosts *
hosts_ref(struct hosts *h)
{
	assert(h->refs > 0);
	h->refs++;
	return (h);
}

void
hosts_unref(struct hosts **hp)
{
	struct hosts *h = *hp;

	*hp = NULL;
	if (h == NULL)
		return;
	assert(h->refs > 0);
	if (--h->refs > 0)
		return;
	arena_free(&h->arena);
	free(h->buckets);
	free(h);
}

unsigned
hosts_count(const struct hosts *h)
{
	return (h->count);
}

bool
hosts_find(const struct hosts *h, struct str name, unsigned max,
    union address *v6, unsigned *n_v6, union address *v4, unsigned *n_v4)
{
	const struct host *e = *find(h, name, hash_of(name));
	const struct host_address *x;

	*n_v6 = *n_v4 = 0;
	if (e == NULL)
		return (false);
	for (x = e->first; x != NULL; x = x->next)
		if (x->address.sa.sa_family == AF_INET6 && *n_v6 < max)
			v6[(*n_v6)++] = x->address;
		else if (x->address.sa.sa_family == AF_INET && *n_v4 < max)
			v4[(*n_v4)++] = x->address;
	return (true);
}
