/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views of a complete body for other threads, see body.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "stream/body_priv.h"

#define VIEW_FREE 16384 /* of a view that are not counted */

struct piece {
	uint64_t at;
	const unsigned char *p;
	size_t n;
};

struct body_view {
	struct spill *spill; /* counted; [0, mem_from) */
	struct chq mem;      /* references */
	uint64_t mem_from, length;
	struct account *account; /* counted; NULL: nobody's */
	struct charge charge;    /* of mem: it outlives the body */
	unsigned pieces_n;
	struct piece pieces[];
};

struct body_view *
body_view_new(struct body *b)
{
	return (b->end == PULL_END ? body_view_part(b, b->received) : NULL);
}

struct body_view *
body_view_part(struct body *b, uint64_t n)
{
	struct body_view *v;
	uint64_t at = b->mem_from;
	unsigned i;

	if (n > b->received || b->kept > 0)
		return (NULL);
	v = calloc(1, sizeof(*v) + b->mem.count * sizeof(v->pieces[0]));
	if (v == NULL)
		abort();
	chq_share(&v->mem, &b->mem, 0, chq_len(&b->mem));
	v->mem_from = at;
	v->length = n;
	v->account = account_ref(b->account);
	charge_set(&v->charge, v->account, chq_len(&v->mem), VIEW_FREE);
	if (b->spill != NULL)
		v->spill = spill_ref(b->spill);
	v->pieces_n = v->mem.count;
	for (i = 0; i < v->pieces_n; i++) {
		struct slice
		    *s = &v->mem.ring[(v->mem.first + i) & (v->mem.cap - 1)];

		v->pieces[i] = (struct piece){ at, s->at, s->len };
		at += s->len;
	}
	return (v);
}

struct account *
body_view_account(const struct body_view *v)
{
	return (v->account);
}

uint64_t
body_view_length(const struct body_view *v)
{
	return (v->length);
}

const void *
body_view_memory(const struct body_view *v)
{
	return (v->mem_from == 0 && v->pieces_n == 1 ? v->pieces[0].p : NULL);
}

int
body_view_file(const struct body_view *v, uint64_t *n)
{
	*n = v->spill == NULL         ? 0
	    : v->mem_from < v->length ? v->mem_from
				      : v->length;
	return (*n > 0 ? spill_fd(v->spill) : -1);
}

int
body_view_open(const struct body_view *v)
{
	errno = ENOENT;
	return (v->spill != NULL ? spill_open(v->spill) : -1);
}

/* The piece that holds offset (>= mem_from, < length). */
static const struct piece *
view_piece(const struct body_view *v, uint64_t offset)
{
	unsigned lo = 0, hi = v->pieces_n, mid;

	while (hi - lo > 1) {
		mid = (lo + hi) / 2;
		if (v->pieces[mid].at <= offset)
			lo = mid;
		else
			hi = mid;
	}
	return (&v->pieces[lo]);
}

ssize_t
body_view_read(struct body_view *v, void *p, size_t n, uint64_t offset)
{
	const struct piece *piece;
	size_t got = 0, part, skip;
	ssize_t r;

	if (offset >= v->length)
		return (0);
	if (n > v->length - offset)
		n = (size_t)(v->length - offset);
	if (offset < v->mem_from) {
		part = n < v->mem_from - offset
		    ? n
		    : (size_t)(v->mem_from - offset);
		r = spill_read(v->spill, p, part, offset);
		if (r != (ssize_t)part)
			return (-1);
		got = part;
	}
	for (; got < n; got += part) {
		piece = view_piece(v, offset + got);
		skip = (size_t)(offset + got - piece->at);
		part = piece->n - skip < n - got ? piece->n - skip : n - got;
		memcpy((char *)p + got, piece->p + skip, part);
	}
	return ((ssize_t)got);
}

void
body_view_free(struct body_view **vp)
{
	struct body_view *v = *vp;

	*vp = NULL;
	if (v == NULL)
		return;
	chq_fini(&v->mem);
	charge_set(&v->charge, NULL, 0, 0);
	account_unref(&v->account);
	spill_unref(&v->spill);
	free(v);
}
