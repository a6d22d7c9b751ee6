/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source contract: where the bytes of a body come from.  A source is
 * pulled; it never pushes.  source_pull() is the only caller of type->pull
 * and checks every promise.
 * Room: stream.  Thread: its loop's.
 */
#ifndef STREAM_SOURCE_H
#define STREAM_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/chunk.h"
#include "base/fault.h"

enum pull {
	PULL_MORE, /* 1..want bytes were appended */
	PULL_WAIT, /* nothing now; a wake-up is owed */
	PULL_END,  /* the body is complete */
	PULL_CUT,  /* the sender stopped inside it */
	PULL_FAIL  /* we stopped it; see the body's fault */
};

static inline bool
pull_is_last(enum pull p)
{
	return (p >= PULL_END);
}

struct source;
struct body;

struct source_type {
	const char *name;
	/*
	 * Append up to want (> 0) bytes to out, or say why not.  On PULL_CUT
	 * and PULL_FAIL the cause is put into *f (fault_set).  After PULL_WAIT
	 * the source must call source_wake() when it is worth pulling again.
	 */
	enum pull (*pull)(struct source *, struct chq *out, size_t want,
	    struct fault *f);
	/*
	 * The body will not pull any more (it ended, or nobody reads it).
	 * last is the end it has seen, PULL_MORE if it was left unfinished.
	 * Called exactly once unless source_gone() came first; the source is
	 * its owner's again and the body has forgotten it.
	 */
	void (*drop)(struct source *, enum pull last);
};

struct source {
	const struct source_type *type;
	struct body *body; /* borrowed; set by body_new(), NULL afterwards */
	enum pull last;
};

void source_init(struct source *, const struct source_type *);
/* Bytes or an end may be there: wakes the readers that wait.  Only queues. */
void source_wake(struct source *);
/*
 * The owner of the source dies before the body has seen an end: the body
 * ends as `last` (PULL_CUT or PULL_FAIL) with cause f, and forgets it.
 */
void source_gone(struct source *, enum pull last, const struct fault *f);

#endif
