/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading what a body keeps in its file.  What the system has in memory is
 * taken at once; what must come from the disk is fetched by a thread of the
 * store's pool, since a disk that is slow must stop no worker.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/job.h"
#include "stream/body_priv.h"

#define READ_BACK 65536 /* bytes read from the file at once */

/* Bytes [at, at + n) for one reader. */
struct readback {
	struct job job;
	struct reader *reader; /* NULL: closed meanwhile */
	struct spill *spill;   /* counted */
	struct chunk *data;
	uint64_t at;
	size_t n;
	bool done;
	bool failed;
};

static void
readback_free(struct readback *f)
{
	chunk_unref(&f->data);
	spill_unref(&f->spill);
	free(f);
}

static void
fetch_run(struct job *j)
{
	struct readback *f = CONTAINER_OF(j, struct readback, job);

	f->failed = spill_read(f->spill, f->data->data, f->n, f->at) !=
	    (ssize_t)f->n;
}

static void
fetch_done(struct job *j)
{
	struct readback *f = CONTAINER_OF(j, struct readback, job);
	struct reader *r = f->reader;

	f->done = true;
	if (r == NULL)
		readback_free(f);
	else if (r->waiting) {
		r->waiting = false;
		task_wake(r->wake);
	}
}

static enum pull
fetch_start(struct reader *r, size_t n)
{
	struct body *b = r->body;
	struct readback *f = calloc(1, sizeof(*f));

	if (f == NULL)
		abort();
	*f = (struct readback){ .reader = r,
		.spill = spill_ref(b->spill),
		.data = chunk_new_size(n),
		.at = r->offset,
		.n = n };
	f->job.run = fetch_run;
	f->job.done = fetch_done;
	r->readback = f;
	job_start(b->store->io, &f->job, b->loop);
	return (PULL_WAIT);
}

static enum pull
cannot_read(struct body *b)
{
	fault_set(&b->fault, ERR_TEMP_FULL, "reading back failed");
	if (b->end == PULL_MORE)
		body_finish(b, PULL_FAIL);
	b->end = PULL_FAIL; /* what was complete is so no longer */
	return (PULL_FAIL);
}

/* From what was fetched. */
static enum pull
fetch_take(struct reader *r, struct chq *out, size_t want)
{
	struct readback *f = r->readback;
	size_t skip = (size_t)(r->offset - f->at);

	if (want > f->n - skip)
		want = f->n - skip;
	chq_add(out, f->data, f->data->data + skip, want);
	r->offset += want;
	if (r->offset == f->at + f->n)
		readback_close(r);
	return (PULL_MORE);
}

static enum pull
read_now(struct reader *r, struct chq *out, size_t want)
{
	struct body *b = r->body;
	struct chunk *c = chunk_new_size(want);
	enum pull p = PULL_MORE;
	ssize_t n;

	n = b->store->io != NULL
	    ? spill_read_now(b->spill, c->data, want, r->offset)
	    : spill_read(b->spill, c->data, want, r->offset);
	if (n > 0) {
		c->used = (uint32_t)n;
		chq_add(out, c, c->data, (size_t)n);
		r->offset += (uint64_t)n;
	} else
		p = n < 0 && errno == EAGAIN ? PULL_WAIT : PULL_FAIL;
	chunk_unref(&c);
	return (p);
}

enum pull
readback_pull(struct reader *r, struct chq *out, size_t want)
{
	struct body *b = r->body;
	struct readback *f = r->readback;
	uint64_t there = b->mem_from - r->offset;
	enum pull p;

	if (f != NULL && (r->offset < f->at || r->offset >= f->at + f->n)) {
		readback_close(r); /* it has skipped them */
		f = NULL;
	}
	if (f != NULL && !f->done)
		return (PULL_WAIT);
	if (f != NULL)
		return (f->failed ? cannot_read(b) : fetch_take(r, out, want));
	if (there > READ_BACK)
		there = READ_BACK;
	p = read_now(r, out, want < there ? want : (size_t)there);
	if (p == PULL_WAIT)
		return (fetch_start(r, (size_t)there));
	return (p == PULL_FAIL ? cannot_read(b) : p);
}

void
readback_close(struct reader *r)
{
	struct readback *f = r->readback;

	r->readback = NULL;
	if (f == NULL)
		return;
	f->reader = NULL;
	if (f->done)
		readback_free(f);
}
