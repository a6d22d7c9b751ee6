/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A body in one piece, see clam_map.h. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "scanners/clam_map.h"

#define BLOCK 65536 /* bytes read at once, and between two stop() */

struct fill {
	const struct clam_source *source;
	bool (*stop)(void *);
	void *stop_arg;
};

/* Read [from, to) to `to_p`, or for nothing but to see that it can be read. */
static enum clam_mapped
fill(const struct fill *f, unsigned char *to_p, uint64_t from, uint64_t to)
{
	const struct decode_input *in = &f->source->in;
	unsigned char scrap[BLOCK];
	size_t part;
	ssize_t got;

	while (from < to) {
		if (f->stop(f->stop_arg))
			return (CLAM_MAP_STOPPED);
		part = to - from < BLOCK ? (size_t)(to - from) : BLOCK;
		got = in->read(in->arg, to_p != NULL ? to_p : scrap, part,
		    from);
		if (got <= 0)
			return (CLAM_MAP_UNREAD);
		from += (uint64_t)got;
		if (to_p != NULL)
			to_p += got;
	}
	return (CLAM_MAPPED);
}

/* The whole pages of the file; 0: it has none, or cannot be mapped. */
static uint64_t
map_file(const struct clam_source *s, void *area)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t n = s->fd_bytes < s->in.length ? s->fd_bytes : s->in.length;

	n -= n % page;
	/* Writable, so that a parser that scribbles keeps to its own pages. */
	if (n == 0 ||
	    mmap(area, (size_t)n, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_FIXED, s->fd, 0) == MAP_FAILED)
		return (0);
	return (n);
}

static enum clam_mapped
open_copy(struct clam_map *m, const struct fill *f)
{
	m->copy = malloc(m->n);
	m->p = m->copy;
	if (m->copy == NULL)
		return (CLAM_MAP_MEMORY);
	return (fill(f, m->copy, 0, m->n));
}

static enum clam_mapped
open_area(struct clam_map *m, const struct fill *f)
{
	enum clam_mapped r;
	uint64_t mapped;
	void *area = mmap(NULL, m->n, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return (CLAM_MAP_MEMORY);
	m->p = m->area = area;
	mapped = map_file(f->source, area);
	r = fill(f, NULL, 0, mapped);
	if (r != CLAM_MAPPED)
		return (r);
	return (fill(f, (unsigned char *)area + mapped, mapped, m->n));
}

enum clam_mapped
clam_map_open(struct clam_map *m, const struct clam_source *s,
    bool (*stop)(void *), void *stop_arg)
{
	struct fill f = { s, stop, stop_arg };
	enum clam_mapped r;

	*m = (struct clam_map){ .p = s->memory, .n = (size_t)s->in.length };
	if (s->memory != NULL)
		return (CLAM_MAPPED);
	r = s->fd_bytes > 0 ? open_area(m, &f) : open_copy(m, &f);
	if (r != CLAM_MAPPED)
		clam_map_close(m);
	return (r);
}

void
clam_map_close(struct clam_map *m)
{
	free(m->copy);
	if (m->area != NULL)
		munmap(m->area, m->n);
	*m = (struct clam_map){ .p = NULL };
}
