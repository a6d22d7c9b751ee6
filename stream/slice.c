/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A part of a body, see slice.h. */
#include <assert.h>
#include <stdlib.h>
#include "stream/slice.h"

struct slice_body {
	struct source source;
	struct task task; /* what lies in a file has come */
	struct reader reader;
	uint64_t left;
};

static void
slice_woken(struct task *t)
{
	source_wake(&CONTAINER_OF(t, struct slice_body, task)->source);
}

static enum pull
slice_pull(struct source *source, struct chq *out, size_t want, struct fault *f)
{
	struct slice_body *s = CONTAINER_OF(source, struct slice_body, source);
	uint64_t had = s->reader.offset;
	enum pull p;

	if (s->left == 0)
		return (PULL_END);
	p = reader_pull(&s->reader, out,
	    want < s->left ? want : (size_t)s->left);
	assert(p != PULL_END);
	s->left -= s->reader.offset - had;
	if (p == PULL_CUT || p == PULL_FAIL)
		fault_copy(f, body_fault(s->reader.body));
	return (p);
}

static void
slice_drop(struct source *source, enum pull last)
{
	struct slice_body *s = CONTAINER_OF(source, struct slice_body, source);

	(void)last;
	reader_close(&s->reader);
	task_fini(&s->task);
	free(s);
}

static const struct source_type slice_type = {
	.name = "slice",
	.pull = slice_pull,
	.drop = slice_drop,
};

struct body *
slice_new(struct loop *loop, struct body_store *store, struct body *of,
    uint64_t from, uint64_t n)
{
	struct slice_body *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	assert(from >= body_kept_from(of) && from + n <= body_received(of));
	source_init(&s->source, &slice_type);
	task_init(&s->task, loop, slice_woken);
	reader_open(&s->reader, of, from, &s->task);
	s->left = n;
	return (body_new(loop, store, &s->source, n));
}
