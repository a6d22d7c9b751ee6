/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of what is wrong with a configuration, and "did you mean".
 * Room: proxy.  Thread: the one that loads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/conf/conf_priv.h"

#define PROBLEMS_MAX 1000 /* enough to see that a file is no configuration */

static void __attribute__((format(printf, 4, 0)))
add(struct conf_problems *list, struct conf_at at, bool warning,
    const char *fmt, va_list ap)
{
	struct conf_problem *p;
	char *c;

	if (list->n == PROBLEMS_MAX)
		return;
	if (list->n == list->cap) {
		list->cap = list->cap == 0 ? 16 : list->cap * 2;
		list->v = realloc(list->v, list->cap * sizeof(*list->v));
		if (list->v == NULL)
			abort();
	}
	p = &list->v[list->n++];
	p->line = at.line;
	p->col = at.col;
	p->warning = warning;
	if (vasprintf(&p->text, fmt, ap) < 0)
		abort();
	for (c = p->text; *c != '\0'; c++) /* one line, no terminal codes */
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	list->errors += !warning;
}

static struct conf_at
place_of(const struct node *at)
{
	return (at == NULL ? (struct conf_at){ 0, 0 }
			   : (struct conf_at){ at->line, at->col });
}

void
conf_problem(struct conf_reader *r, const struct node *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(r->problems, place_of(at), false, fmt, ap);
	va_end(ap);
}

void
conf_warn(struct conf_reader *r, const struct node *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(r->problems, place_of(at), true, fmt, ap);
	va_end(ap);
}

void
conf_problem_at(struct conf_reader *r, struct conf_at at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(r->problems, at, false, fmt, ap);
	va_end(ap);
}

/* Before b: 1, by place. */
static bool
is_later(const struct conf_problem *a, const struct conf_problem *b)
{
	return (a->line > b->line || (a->line == b->line && a->col > b->col));
}

void
conf_problems_sort(struct conf_problems *list)
{
	struct conf_problem p;
	unsigned i, j;

	for (i = 1; i < list->n; i++) { /* stable, nearly in order */
		p = list->v[i];
		for (j = i; j > 0 && is_later(&list->v[j - 1], &p); j--)
			list->v[j] = list->v[j - 1];
		list->v[j] = p;
	}
}

void
conf_problems_fini(struct conf_problems *list)
{
	unsigned i;

	for (i = 0; i < list->n; i++)
		free(list->v[i].text);
	free(list->v);
	memset(list, 0, sizeof(*list));
}

void
conf_problems_print(const struct conf_problems *list, const char *file, FILE *f)
{
	const struct conf_problem *p;
	unsigned i;

	for (i = 0; i < list->n; i++) {
		p = &list->v[i];
		if (p->line > 0)
			fprintf(f, "%s:%u:%u: ", file, p->line, p->col);
		else
			fprintf(f, "%s: ", file);
		fprintf(f, "%s%s\n", p->warning ? "warning: " : "", p->text);
	}
}

/* ---- did you mean ---- */

#define GUESS_MAX 40 /* longer names are not compared */

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return (ab < c ? ab : c);
}

/* Edits between two words; exchanged neighbours count as one. */
static unsigned
distance(const char *a, size_t an, const char *b, size_t bn)
{
	unsigned row[3][GUESS_MAX + 1], *two = row[0], *one = row[1];
	unsigned *now = row[2], *spare;
	size_t i, j;

	for (j = 0; j <= bn; j++)
		one[j] = (unsigned)j;
	for (i = 1; i <= an; i++) {
		now[0] = (unsigned)i;
		for (j = 1; j <= bn; j++) {
			now[j] = min3(one[j] + 1, now[j - 1] + 1,
			    one[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1] && two[j - 2] + 1 < now[j])
				now[j] = two[j - 2] + 1;
		}
		spare = two;
		two = one;
		one = now;
		now = spare;
	}
	return (one[bn]);
}

void
conf_guess_offer(struct conf_guess *g, const char *candidate)
{
	size_t n = strlen(g->text), cn = strlen(candidate);
	size_t shorter = n < cn ? n : cn;
	unsigned d;

	if (n == 0 || cn == 0 || n > GUESS_MAX || cn > GUESS_MAX)
		return;
	d = distance(g->text, n, candidate, cn);
	if (d > 3 || d > (shorter + 2) / 3 || (shorter < 3 && d >= shorter))
		return;
	if (g->best == NULL || d < g->distance) {
		g->best = candidate;
		g->distance = d;
	}
}
