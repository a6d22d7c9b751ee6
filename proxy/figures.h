/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the supervisor counts (figures.def), in memory that it writes and serving
 * processes read: a page that nobody else can map for writing, nor shorten.
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_FIGURES_H
#define PROXY_FIGURES_H

#include <stdint.h>

struct figures;

enum figure {
#define F(name, what) FIGURE_##name,
#include "proxy/figures.def"
#undef F
	FIGURES
};

/* Zeros; *fd: the caller's, for those who read.  NULL with errno. */
struct figures *figures_new(int *fd);
/* Of another process, by that descriptor (borrowed).  NULL: it is none. */
const struct figures *figures_join(int fd);
/* Of either; *f may be NULL, becomes NULL. */
void figures_free(const struct figures **);

/* By who made it; may be NULL: nothing is counted. */
void figure_add(struct figures *, enum figure, uint64_t n);
void figure_set(struct figures *, enum figure, uint64_t n);
/* Of NULL: 0. */
uint64_t figure_get(const struct figures *, enum figure);

#endif
