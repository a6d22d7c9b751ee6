/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The body, see body.h.  Bytes kept lie in two runs: [kept, spilled) in the
 * spill file, [spilled, received) in memory.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/job.h"
#include "stream/body_priv.h"

#define PULL_MAX 65536     /* bytes one pull asks of a source */
#define PULL_TIGHT 16384   /* while memory is short */
#define SPILL_BATCH 524288 /* bytes written to the file at once */
#define ROOM_SHARE 4       /* of the room that is left: one body's window */
#define BODY_FREE 16384    /* of a body that are not counted */

/* Bytes being written; they stay in memory until they are in the file. */
struct body_spilling {
	struct job job;
	struct body *body; /* borrowed; NULL: gone meanwhile */
	struct spill_write write;
	size_t n;
};

/*
 * What mem costs: a slice may be all that is in use of its chunk, but such
 * slices are no smaller than a fourth of it (link_add_received).
 */
static uint64_t
weight(const struct chq *mem)
{
	uint64_t bytes = chq_len(mem), chunks = mem->count * CHUNK_BYTES;

	if (chunks > 4 * bytes)
		chunks = 4 * bytes;
	return (bytes > chunks ? bytes : chunks);
}

static void
body_count(struct body *b)
{
	charge_set(&b->charge, b->account, weight(&b->mem), BODY_FREE);
}

void
body_charge_to(struct body *b, struct account *a)
{
	charge_set(&b->charge, NULL, 0, 0);
	b->account = a;
	body_count(b);
}

uint64_t
body_held(const struct body *b, enum budget_kind k)
{
	if (b == NULL)
		return (0);
	if (k == BUDGET_TEMP)
		return (b->spill != NULL ? b->mem_from - b->kept : 0);
	return (k == BUDGET_MEMORY ? weight(&b->mem) : 0);
}

struct account *
body_account(const struct body *b)
{
	return (b->account);
}

/* Sources. */

void
source_init(struct source *s, const struct source_type *type)
{
	*s = (struct source){ .type = type, .last = PULL_MORE };
}

/* The one wrapper that calls a source: checks its promises, keeps its end. */
static enum pull
source_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	size_t had = chq_len(out), got;

	if (pull_is_last(s->last))
		return (s->last);
	s->last = s->type->pull(s, out, want, f);
	got = chq_len(out) - had;
	assert(got <= want && (s->last == PULL_MORE) == (got > 0));
	assert((s->last != PULL_CUT && s->last != PULL_FAIL) ||
	    f->code != ERR_NONE);
	return (s->last);
}

static void
wake_readers(struct body *b)
{
	struct list *it, *save;
	struct reader *r;

	LIST_EACH (it, save, &b->readers) {
		r = CONTAINER_OF(it, struct reader, link);
		if (r->waiting) {
			r->waiting = false;
			task_wake(r->wake);
		}
	}
}

void
source_wake(struct source *s)
{
	if (s->body != NULL)
		wake_readers(s->body);
}

void
body_finish(struct body *b, enum pull end)
{
	struct source *s = b->src;

	assert(b->end == PULL_MORE && pull_is_last(end));
	b->end = end;
	b->src = NULL;
	chunk_unref(&b->tail);
	if (s != NULL) {
		s->body = NULL;
		s->last = end;
		s->type->drop(s, end);
	}
	wake_readers(b);
}

void
source_gone(struct source *s, enum pull last, const struct fault *f)
{
	struct body *b = s->body;

	s->last = last;
	if (b == NULL)
		return;
	s->body = NULL;
	b->src = NULL;
	fault_copy(&b->fault, f);
	body_finish(b, last);
}

/* Bodies. */

struct body *
body_new(struct loop *loop, struct body_store *store, struct source *src,
    uint64_t expected)
{
	struct body *b = malloc(sizeof(*b));

	if (b == NULL)
		abort();
	*b = (struct body){ .loop = loop, .store = store };
	b->src = src;
	b->expected = src != NULL ? expected : 0;
	b->end = src != NULL ? PULL_MORE : PULL_END;
	b->refs = 1;
	list_init(&b->readers);
	if (src != NULL)
		src->body = b;
	return (b);
}

struct body *
body_of_bytes(struct loop *loop, struct body_store *store, const void *p,
    size_t n)
{
	struct body *b = body_new(loop, store, NULL, 0);

	chq_copy(&b->mem, p, n);
	b->received = b->expected = n;
	return (b);
}

struct body *
body_ref(struct body *b)
{
	b->refs++;
	return (b);
}

void
body_unref(struct body **bp)
{
	struct body *b = *bp;

	*bp = NULL;
	if (b == NULL || --b->refs > 0)
		return;
	assert(list_empty(&b->readers));
	if (b->spilling != NULL)
		b->spilling->body = NULL;
	if (b->src != NULL) {
		b->src->body = NULL;
		b->src->type->drop(b->src, PULL_MORE);
	}
	chunk_unref(&b->tail);
	chq_fini(&b->mem);
	body_count(b);
	spill_unref(&b->spill);
	free(b);
}

enum pull
body_end(const struct body *b)
{
	return (b->end);
}

uint64_t
body_received(const struct body *b)
{
	return (b->received);
}

uint64_t
body_length(const struct body *b)
{
	return (b->end == PULL_END ? b->received : b->expected);
}

const struct fault *
body_fault(const struct body *b)
{
	return (&b->fault);
}

uint64_t
body_kept_from(const struct body *b)
{
	return (b->kept);
}

void
body_fail(struct body *b, const struct fault *f)
{
	if (b->end != PULL_MORE)
		return;
	fault_copy(&b->fault, f);
	body_finish(b, PULL_FAIL);
}

void
body_set_trailer(struct body *b, const void *trailer)
{
	b->trailer = trailer;
}

const void *
body_trailer(const struct body *b)
{
	return (b->trailer);
}

void
body_on_first_pull(struct body *b, struct task *t)
{
	b->first_pull = t;
	if (b->pulled)
		task_wake(t);
}

bool
body_was_pulled(const struct body *b)
{
	return (b->pulled);
}

/* Keeping. */

/* Held, or only a keeper so far: it will not make room by itself. */
static bool
reader_stays(const struct reader *r)
{
	return (r->offset == 0 || r->mark <= r->offset);
}

/* The hindmost reader; of several there one that stays. */
static struct reader *
slowest(const struct body *b)
{
	struct reader *slow = NULL, *r;
	struct list *it;

	for (it = b->readers.next; it != &b->readers; it = it->next) {
		r = CONTAINER_OF(it, struct reader, link);
		if (slow == NULL || r->offset < slow->offset ||
		    (r->offset == slow->offset && reader_stays(r)))
			slow = r;
	}
	return (slow);
}

/* Free what lies before the slowest reader. */
static void
body_trim(struct body *b)
{
	struct reader *slow = slowest(b);
	uint64_t to = slow != NULL ? slow->offset : b->received;

	if (to <= b->kept)
		return;
	b->kept = to;
	if (to >= b->mem_from) {
		chq_drop(&b->mem, (size_t)(to - b->mem_from));
		b->mem_from = to;
		body_count(b);
		spill_unref(&b->spill);
	}
	wake_readers(b); /* one may wait for room in the window */
}

/* The less memory its client may still have, the less one body keeps of it. */
static uint64_t
window(const struct body *b)
{
	uint64_t room = account_spare(b->account, BUDGET_MEMORY) / ROOM_SHARE;

	return (room < b->store->window ? room : b->store->window);
}

/* [mem_from, to) is in the file: memory lets it go. */
static void
body_spilled(struct body *b, uint64_t to)
{
	if (to > b->mem_from) {
		chq_drop(&b->mem, (size_t)(to - b->mem_from));
		b->mem_from = to;
		body_count(b);
	}
}

static void
spilling_run(struct job *j)
{
	spill_write_run(&CONTAINER_OF(j, struct body_spilling, job)->write);
}

static void
spilling_done(struct job *j)
{
	struct body_spilling *s = CONTAINER_OF(j, struct body_spilling, job);
	uint64_t to = s->write.offset + s->n;
	struct body *b = s->body;
	struct fault f = { 0 };
	bool ok = spill_write_fini(&s->write, &f);

	free(s);
	if (b == NULL)
		return;
	b->spilling = NULL;
	if (ok && b->spill != NULL)
		body_spilled(b, to);
	if (ok || b->end != PULL_MORE) {
		wake_readers(b); /* a complete body simply stays in memory */
		return;
	}
	fault_copy(&b->fault, &f);
	body_finish(b, PULL_FAIL);
}

/* Begin to move the oldest bytes in memory to the file. */
static bool
body_spill(struct body *b)
{
	size_t n = chq_len(&b->mem);
	struct body_spilling *s;
	struct spill_write w;

	if (n > SPILL_BATCH)
		n = SPILL_BATCH;
	if (b->spill == NULL &&
	    (b->spill = spill_new(b->store, b->account, &b->fault)) == NULL)
		return (false);
	if (!spill_write_init(&w, b->spill, &b->mem, n, b->mem_from, &b->fault))
		return (false);
	if (b->store->io == NULL) {
		spill_write_run(&w);
		if (!spill_write_fini(&w, &b->fault))
			return (false);
		body_spilled(b, b->mem_from + n);
		return (true);
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		abort();
	*s = (struct body_spilling){ .body = b, .write = w, .n = n };
	s->job.run = spilling_run;
	s->job.done = spilling_done;
	b->spilling = s;
	job_start(b->store->io, &s->job, b->loop);
	return (true);
}

/*
 * Make room for another pull.  A reader that is on its way will make room
 * itself; one that is held, or only keeps, is what the file is for.  While
 * bytes are being written as many again may come.
 */
static enum pull
body_make_room(struct body *b)
{
	uint64_t most = window(b);
	struct reader *slow;

	/* Just as much as may be kept is often all there is. */
	if (chq_len(&b->mem) == 0 || chq_len(&b->mem) <= most)
		return (PULL_MORE);
	slow = slowest(b);
	if (slow != NULL && !reader_stays(slow))
		return (PULL_WAIT);
	if (b->spilling == NULL && !body_spill(b)) {
		body_finish(b, PULL_FAIL);
		return (PULL_FAIL);
	}
	most += most < b->store->window ? most : SPILL_BATCH;
	return (b->spilling != NULL && chq_len(&b->mem) >= most ? PULL_WAIT
								: PULL_MORE);
}

/*
 * One pull of the source into memory.  Bytes that come singly are packed: the
 * window bounds slices and chunks too, and readers find their place quickly.
 */
static enum pull
body_fill(struct body *b, size_t want)
{
	unsigned slices = b->mem.count;
	size_t had = chq_len(&b->mem);
	enum pull p;

	assert(!b->pulling);
	b->pulling = true;
	p = source_pull(b->src, &b->mem, want, &b->fault);
	b->pulling = false;
	b->received += chq_len(&b->mem) - had;
	if (b->mem.count > slices && b->mem.count > 1)
		chq_pack(&b->mem, slices, &b->tail);
	body_count(b);
	return (p);
}

/* Get further bytes from the source; PULL_MORE: there are some. */
static enum pull
body_pull(struct body *b, size_t want)
{
	size_t most;
	enum pull p;

	if (b->end != PULL_MORE)
		return (b->end);
	if ((p = body_make_room(b)) != PULL_MORE)
		return (p);
	if (!b->pulled) {
		b->pulled = true;
		task_wake(b->first_pull);
	}
	most = window(b) < PULL_TIGHT ? PULL_TIGHT : PULL_MAX;
	p = body_fill(b, want < most ? want : most);
	if (pull_is_last(p))
		body_finish(b, p);
	else if (p == PULL_MORE)
		wake_readers(b);
	return (p);
}

/* Readers. */

void
reader_open(struct reader *r, struct body *b, uint64_t offset,
    struct task *wake)
{
	assert(offset >= b->kept);
	*r = (struct reader){ .body = body_ref(b),
		.wake = wake,
		.offset = offset,
		.mark = BODY_ALL };
	list_append(&b->readers, &r->link);
	wake_readers(b); /* this one may make others spill */
}

static enum pull
reader_take(struct reader *r, struct chq *out, size_t want)
{
	struct body *b = r->body;
	size_t at, there;

	if (r->offset < b->mem_from)
		return (readback_pull(r, out, want));
	at = (size_t)(r->offset - b->mem_from);
	there = chq_len(&b->mem) - at;
	if (want > there)
		want = there;
	if (at == 0 && b->readers.next->next == &b->readers)
		chq_move(out, &b->mem, want); /* the only reader */
	else
		chq_share(out, &b->mem, at, want);
	r->offset += want;
	if (chq_len(&b->mem) == there - want && at == 0) {
		b->mem_from += want;
		b->kept = r->offset;
		body_count(b);
	}
	return (PULL_MORE);
}

enum pull
reader_pull(struct reader *r, struct chq *out, size_t want)
{
	struct body *b = r->body;
	enum pull p = PULL_MORE;

	assert(want > 0);
	r->waiting = false;
	if (r->offset == b->received) {
		if (b->end != PULL_MORE)
			return (b->end);
		if (r->mark <= r->offset)
			p = PULL_WAIT;
		else
			p = body_pull(b, want);
	} else if (r->mark <= r->offset)
		p = PULL_WAIT;
	if (p == PULL_WAIT)
		r->waiting = true;
	if (p != PULL_MORE)
		return (p);
	if (want > r->mark - r->offset)
		want = (size_t)(r->mark - r->offset);
	p = reader_take(r, out, want);
	if (p == PULL_WAIT)
		r->waiting = true;
	body_trim(b);
	return (p);
}

void
reader_release(struct reader *r, uint64_t mark)
{
	if (mark <= r->mark)
		return;
	r->mark = mark;
	if (r->waiting) {
		r->waiting = false;
		task_wake(r->wake);
	}
	if (r->body != NULL)
		wake_readers(r->body); /* it may no longer make others spill */
}

enum pull
reader_skip(struct reader *r, uint64_t to)
{
	uint64_t there = r->body->received < to ? r->body->received : to;
	struct chq dump = { 0 };
	enum pull p = PULL_MORE;

	if (there > r->mark)
		there = r->mark;
	if (there > r->offset) { /* no need to read it back */
		r->offset = there;
		body_trim(r->body);
	}
	while (r->offset < to && p == PULL_MORE) {
		p = reader_pull(r, &dump,
		    (size_t)(to - r->offset < PULL_MAX ? to - r->offset
						       : PULL_MAX));
		chq_drop(&dump, chq_len(&dump));
	}
	chq_fini(&dump);
	return (p);
}

uint64_t
reader_behind(const struct reader *r)
{
	return (r->body->received - r->offset);
}

void
reader_close(struct reader *r)
{
	struct body *b = r->body;

	if (b == NULL)
		return;
	list_remove(&r->link);
	readback_close(r);
	r->body = NULL;
	r->waiting = false;
	body_trim(b);
	wake_readers(b); /* they may have waited for it to go on */
	body_unref(&b);
}
