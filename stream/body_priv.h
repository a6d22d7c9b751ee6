/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A body from inside: body.c (filling, keeping, readers), readback.c (what
 * lies in the file) and view.c.
 *
 * Room: stream.  Units: bytes.  Thread: the loop's.
 */
#ifndef STREAM_BODY_PRIV_H
#define STREAM_BODY_PRIV_H

#include "base/budget.h"
#include "stream/body.h"
#include "stream/spill.h"

struct body_spilling;

struct body {
	struct loop *loop;        /* borrowed */
	struct body_store *store; /* borrowed */
	struct account *account;  /* borrowed; NULL: nobody's */
	struct charge charge;     /* of mem */
	struct source *src;       /* borrowed; NULL: ended */
	struct list readers;      /* of struct reader */
	struct chq mem;           /* [mem_from, received) */
	struct chunk *tail;       /* of mem, where small slices go; or NULL */
	struct spill *spill;      /* [.., mem_from); NULL: nothing there */
	struct body_spilling *spilling; /* NULL: none under way */
	uint64_t mem_from;
	uint64_t kept; /* first offset still held */
	uint64_t received;
	uint64_t expected;
	enum pull end; /* PULL_MORE: unfinished */
	struct fault fault;
	const void *trailer;     /* borrowed */
	struct task *first_pull; /* borrowed */
	bool pulled;
	bool pulling; /* inside source_pull */
	unsigned refs;
};

/* The body has its end, a last one: nobody pulls any more. */
void body_finish(struct body *b, enum pull end);

/*
 * Up to want bytes at r->offset, which lie in the file.  PULL_WAIT: they are
 * being fetched, and r->wake is woken if r->waiting.  PULL_FAIL: the body has
 * failed.
 */
enum pull readback_pull(struct reader *r, struct chq *out, size_t want);
/* Whatever is being fetched is for nobody. */
void readback_close(struct reader *r);

#endif
