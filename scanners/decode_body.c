/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A body without its content codings, see decode_body.h: a source a coding. */
#include <assert.h>
#include <stdlib.h>
#include "base/list.h"
#include "scanners/codec.h"
#include "scanners/decode_body.h"

#define BLOCK 16384 /* bytes read or written at once */
/* coded bytes that gave nothing: others have their turn */
#define TURN (256 << 10)
#define MAX_RATIO 2000       /* over deflate's 1032: only bombs get there */
#define FREE_BYTES (1 << 20) /* no ratio asked below that */
#define MUCH (64 << 20)      /* beyond that deflate's own bombs count, too */
#define MUCH_RATIO 200
#define HEAD 5 /* coded bytes by which a codec is opened */

struct decoder {
	struct source source;
	struct task task;     /* the coded bytes have come */
	struct reader reader; /* of what this one decodes */
	struct chq in;        /* read, not yet decoded */
	bool in_ended;
	const struct codec *codec;
	enum decode_coding coding;
	void *state; /* NULL: not opened yet */
	/* a stream, its end, the end of all */
	enum { CODED, BETWEEN, BEHIND } at;
	struct body *first;      /* counted: what came from the sender */
	struct account *account; /* borrowed of first */
	struct charge charge;    /* of state */
	struct decode_how *how;  /* borrowed */
	uint64_t made;
};

static void
decoder_woken(struct task *t)
{
	struct decoder *d = CONTAINER_OF(t, struct decoder, task);

	source_wake(&d->source);
}

/* Coded bytes, at least n if there are so many.  PULL_MORE: there they are. */
static enum pull
fill(struct decoder *d, size_t n, struct fault *f)
{
	enum pull r = PULL_MORE;

	while (r == PULL_MORE && !d->in_ended && chq_len(&d->in) < n)
		r = reader_pull(&d->reader, &d->in, BLOCK);
	if (r == PULL_END)
		d->in_ended = true;
	else if (r == PULL_CUT || r == PULL_FAIL) {
		fault_copy(f, body_fault(d->reader.body));
		return (PULL_CUT);
	} else if (r == PULL_WAIT)
		return (r);
	return (chq_len(&d->in) > 0 ? PULL_MORE : PULL_END);
}

static enum pull
ends_as(struct decoder *d, enum decode_end end)
{
	if (d->how->end == DECODE_DONE)
		*d->how = (struct decode_how){ end, d->coding };
	return (PULL_END);
}

static enum pull
no_memory(struct fault *f)
{
	fault_set(f, ERR_MEMORY, "limits.memory has no more for this client");
	return (PULL_FAIL);
}

static bool
is_large(const struct decoder *d)
{
	uint64_t coded = body_received(d->first);

	return (d->made > FREE_BYTES &&
	    (d->made / MAX_RATIO > coded ||
		(d->made > MUCH && d->made / MUCH_RATIO > coded)));
}

/*
 * deflate: with a wrapper (RFC 1950) for most clients, and for those that know
 * it without one only, a stored block (RFC 1951 3.2.4) and what follows?
 * Nobody makes that by chance, and nobody but us would be shown both.
 */
static bool
is_ambiguous(enum decode_coding coding, const unsigned char *p, size_t n)
{
	return (coding == DECODE_DEFLATE && n == HEAD && (p[0] & 15) == 8 &&
	    (p[1] ^ p[3]) == 0xff && (p[2] ^ p[4]) == 0xff);
}

static bool
open_codec(struct decoder *d)
{
	unsigned char head[HEAD];
	size_t n = chq_len(&d->in) < HEAD ? chq_len(&d->in) : HEAD;

	assert(d->state == NULL);
	if (account_room(d->account, BUDGET_MEMORY) == 0)
		return (false);
	chq_read(&d->in, 0, head, n);
	if (is_ambiguous(d->coding, head, n))
		(void)ends_as(d, DECODE_BAD); /* of one of them at least */
	d->state = d->codec->open(head, n);
	return (d->state != NULL);
}

/* Padding is content for nobody. */
static size_t
skip_padding(struct decoder *d)
{
	size_t n;
	const unsigned char *p = chq_peek(&d->in, &n);

	n = codec_is_padded(d->coding) ? codec_padding(p, n) : 0;
	chq_drop(&d->in, n);
	return (n);
}

/* Behind the end: another stream, or bytes that are none. */
static void
look_behind(struct decoder *d)
{
	size_t n;
	const unsigned char *p = chq_peek(&d->in, &n);
	struct io io = { .in = p, .in_n = n };

	d->at = BEHIND;
	if (d->codec->again != NULL && d->codec->again(d->state, &io))
		d->at = CODED;
}

static enum pull
pass(struct decoder *d, struct chq *out, size_t want)
{
	size_t n = chq_len(&d->in);

	assert(chq_len(&d->in) > 0);
	chq_move(out, &d->in, n < want ? n : want);
	return (PULL_MORE);
}

/* One step: input or output moves on, or both stand at an end. */
static enum step
step(struct decoder *d, struct chq *out, size_t want, size_t *used,
    size_t *made)
{
	struct chunk *c = chunk_new_size(want);
	struct io io = { .out = c->data, .out_n = want };
	size_t had = 0;
	enum step s;

	assert(want > 0 && d->state != NULL);
	if (chq_len(&d->in) > 0)
		io.in = chq_peek(&d->in, &had);
	io.in_n = had;
	s = d->codec->step(d->state, &io);
	*used = had - io.in_n;
	*made = want - io.out_n;
	assert(*used <= had && *made <= want);
	chq_drop(&d->in, *used);
	if (*made > 0) {
		c->used = (uint32_t)*made;
		chq_add(out, c, c->data, *made);
	}
	chunk_unref(&c);
	d->made += *made;
	charge_set(&d->charge, d->account, d->codec->bytes(d->state), BLOCK);
	return (s);
}

/* Steps until something came out, or an end. */
static enum pull
decode(struct decoder *d, struct chq *out, size_t want, struct fault *f)
{
	size_t used, made, idle = 0;
	enum pull r;
	enum step s;

	while (idle < TURN) {
		r = fill(d, 1, f);
		if (r == PULL_WAIT || r == PULL_CUT)
			return (r);
		if (r == PULL_END && d->at != CODED)
			return (PULL_END);
		if (d->at == BETWEEN && (used = skip_padding(d)) > 0) {
			idle += used;
			continue;
		}
		if (d->at == BETWEEN)
			look_behind(d);
		if (d->at == BEHIND)
			return (pass(d, out, want));
		s = step(d, out, want, &used, &made);
		if (s == STEP_END)
			d->at = BETWEEN;
		if (made > 0)
			return (PULL_MORE);
		if (s == STEP_BAD)
			return (ends_as(d,
			    r == PULL_END ? DECODE_DONE : DECODE_BAD));
		if (s == STEP_GO && used == 0)
			return (ends_as(d,
			    r == PULL_END ? DECODE_DONE : DECODE_BAD));
		idle += used;
	}
	task_wake(&d->task);
	return (PULL_WAIT);
}

static enum pull
decoder_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct decoder *d = CONTAINER_OF(s, struct decoder, source);
	enum pull r;

	if (is_large(d))
		return (ends_as(d, DECODE_LARGE));
	if (d->state == NULL) {
		r = fill(d, HEAD, f);
		if (r != PULL_MORE)
			return (r);
		if (!open_codec(d))
			return (no_memory(f));
	}
	if (d->charge.held > 0 && account_room(d->account, BUDGET_MEMORY) == 0)
		return (no_memory(f));
	return (decode(d, out, want < BLOCK ? want : BLOCK, f));
}

static void
decoder_drop(struct source *s, enum pull last)
{
	struct decoder *d = CONTAINER_OF(s, struct decoder, source);

	(void)last;
	reader_close(&d->reader);
	chq_fini(&d->in);
	task_fini(&d->task);
	if (d->state != NULL)
		d->codec->close(d->state);
	charge_set(&d->charge, NULL, 0, 0);
	body_unref(&d->first);
	free(d);
}

static const struct source_type decoder_type = {
	.name = "decoder",
	.pull = decoder_pull,
	.drop = decoder_drop,
};

static struct body *
decoder_new(struct loop *loop, struct body_store *store, struct body *from,
    struct body *first, enum decode_coding coding, struct decode_how *how)
{
	struct decoder *d = calloc(1, sizeof(*d));
	struct body *b;

	if (d == NULL)
		abort();
	source_init(&d->source, &decoder_type);
	task_init(&d->task, loop, decoder_woken);
	reader_open(&d->reader, from, 0, &d->task);
	d->coding = coding;
	d->codec = &codecs[coding];
	d->first = body_ref(first);
	d->account = body_account(first);
	d->how = how;
	b = body_new(loop, store, &d->source, BODY_UNKNOWN);
	body_charge_to(b, d->account);
	return (b);
}

struct body *
decode_body_new(struct loop *loop, struct body_store *store, struct body *coded,
    const struct decode_list *list, struct decode_how *how)
{
	struct body *b = body_ref(coded), *next;
	unsigned i;

	assert(list->n > 0);
	*how = (struct decode_how){ .end = DECODE_DONE };
	for (i = list->n; i-- > 0; b = next) { /* the last one applied first */
		next = decoder_new(loop, store, b, coded, list->coding[i], how);
		body_unref(&b); /* its reader holds it */
	}
	return (b);
}
