/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stream: its news, its body as it came, its end; see h2.h. */
#include <assert.h>
#include <stdlib.h>
#include "http/h2_priv.h"

/* --- life --- */

struct h2_stream *
h2_stream_new(struct h2_session *s, struct arena *a)
{
	struct h2_stream *st = calloc(1, sizeof(*st));

	if (st == NULL)
		abort();
	st->s = s;
	st->arena = a;
	st->last = &st->first;
	st->expect = st->promise = HTTP_LENGTH_UNKNOWN;
	st->window = h2_first_window(s);
	st->owned = true;
	list_append(&s->streams, &st->all);
	list_init(&st->newsy);
	list_init(&st->roomless);
	s->n++;
	return (st);
}

static void
drop_in(struct h2_stream *st)
{
	struct h2_session *s = st->s;
	size_t n = chq_len(&st->in);

	assert(s->held >= n);
	s->held -= n;
	chq_fini(&st->in);
	chunk_unref(&st->tail);
	n = s->owed < n ? (size_t)s->owed : n;
	s->owed -= n;
	if (n > 0)
		(void)nghttp2_session_consume_connection(s->ng, n);
}

static void
drop_out(struct h2_stream *st)
{
	assert(st->s->unsent >= chq_len(&st->out));
	st->s->unsent -= chq_len(&st->out);
	chq_fini(&st->out);
}

void
h2_stream_settle(struct h2_stream *st)
{
	struct h2_session *s = st->s;

	if (st->owned || !st->closed)
		return;
	drop_in(st);
	drop_out(st);
	list_remove(&st->all);
	list_remove(&st->newsy);
	list_remove(&st->roomless);
	if (st->arena_owned)
		arena_free(&st->arena);
	arena_free(&st->out_arena);
	assert(s->n > 0);
	s->n--;
	free(st);
}

void
h2_stream_free(struct h2_stream **sp)
{
	struct h2_stream *st = *sp;

	*sp = NULL;
	if (st == NULL)
		return;
	assert(st->owned);
	/* Where all of the answer was written, it goes out first. */
	if (!st->closed && !st->reset &&
	    (!st->out_end ||
		(st->out_sent && !st->in_end && !st->s->cfg.patient) ||
		(!st->s->cfg.server && !st->in_end)))
		h2_stream_reset(st,
		    st->out_end && st->s->cfg.server ? H2_NO_ERROR
			: !st->s->cfg.server         ? H2_CANCEL
						     : H2_INTERNAL_ERROR);
	st->owned = false;
	st->owner = NULL;
	st->news = 0;
	list_remove(&st->newsy);
	list_remove(&st->roomless);
	drop_in(st);
	if (st->arena_owned)
		arena_free(&st->arena);
	st->arena = NULL;
	st->arena_owned = false;
	st->req = NULL;
	st->head.msg = NULL;
	h2_stream_settle(st);
}

/* --- news --- */

void
h2_news(struct h2_stream *st, unsigned news)
{
	if (!st->owned)
		return;
	if (st->news == 0)
		list_append(&st->s->newsy, &st->newsy);
	st->news |= (uint8_t)news;
}

struct h2_stream *
h2_session_next(struct h2_session *s, unsigned *news)
{
	struct h2_stream *st;

	if (list_empty(&s->newsy))
		return (NULL);
	st = CONTAINER_OF(s->newsy.next, struct h2_stream, newsy);
	assert(st->owned && st->news != 0);
	list_remove(&st->newsy);
	*news = st->news;
	st->news = 0;
	return (st);
}

void
h2_queue_head(struct h2_stream *st, struct http_msg *m)
{
	struct h2_waiting *w;

	if (!st->owned)
		return;
	w = arena_zalloc(st->arena, sizeof(*w));
	w->msg = m;
	*st->last = w;
	st->last = &w->next;
	h2_news(st, H2_NEWS_HEAD);
}

struct http_msg *
h2_stream_head_take(struct h2_stream *st)
{
	struct h2_waiting *w = st->first;

	if (w == NULL)
		return (NULL);
	st->first = w->next;
	if (st->first == NULL)
		st->last = &st->first;
	return (w->msg);
}

struct arena *
h2_stream_arena_take(struct h2_stream *st)
{
	assert(st->arena_owned);
	st->arena_owned = false;
	return (st->arena);
}

/* --- ends that come early --- */

void
h2_stream_over(struct h2_stream *st, enum h2_code code, bool ours, enum err err,
    const char *why)
{
	if (st->reset)
		return;
	st->reset = true;
	st->ours = ours;
	st->code = code;
	/* An answer that is whole stays so, whatever becomes of the rest. */
	if (st->s->cfg.server || !st->in_end) {
		st->err = err;
		st->why = why;
	}
	st->out_end = true;
	drop_out(st);
	h2_news(st, H2_NEWS_RESET | H2_NEWS_DATA);
}

void
h2_refuse(struct h2_stream *st, enum h2_code code, enum err err,
    const char *why)
{
	struct h2_session *s = st->s;

	(void)h2_spend(s, H2_SPEND_PROVOKED, 1);
	(void)nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, st->id, code);
	st->in_end = false;
	h2_stream_over(st, code, true, err, why);
}

void
h2_stream_reset(struct h2_stream *st, enum h2_code code)
{
	if (st->closed || st->reset)
		return;
	(void)nghttp2_submit_rst_stream(st->s->ng, NGHTTP2_FLAG_NONE, st->id,
	    code);
	st->reset = st->ours = true;
	st->code = code;
	st->err = st->s->cfg.server ? ERR_REQ_BODY_CUT : ERR_ORIGIN_CUT;
	st->out_end = true;
	drop_out(st);
}

enum err
h2_stream_fault(const struct h2_stream *st, struct fault *f)
{
	if (st->err != ERR_NONE) /* no text: the connection's cause */
		(void)fault_set(f, st->err, "%s",
		    st->why != NULL ? st->why : st->s->fault.detail);
	return (st->err);
}

bool
h2_stream_is_reset(const struct h2_stream *st, enum h2_code *code)
{
	if (st->reset && code != NULL)
		*code = st->code;
	return (st->reset);
}

bool
h2_stream_is_ours(const struct h2_stream *st)
{
	return (st->reset && st->ours);
}

/* --- the body that comes --- */

/*
 * All of its window was read: it may have more, as long as whose memory it is
 * has plenty.
 */
static void
widen_more(struct h2_stream *st)
{
	struct h2_session *s = st->s;
	uint64_t more = 2 * (uint64_t)st->window;

	st->pulled = 0;
	if (more > s->cfg.window)
		more = s->cfg.window;
	if (account_spare(s->cfg.account, BUDGET_MEMORY) > 8 * more)
		h2_stream_widen(st, (uint32_t)more);
}

static void
give_credit(struct h2_stream *st, size_t n)
{
	struct h2_session *s = st->s;
	size_t owed = s->owed < n ? (size_t)s->owed : n;

	assert(s->held >= n);
	s->held -= n;
	s->owed -= owed;
	if (owed > 0)
		(void)nghttp2_session_consume_connection(s->ng, owed);
	if (st->closed || st->in_end)
		return;
	(void)nghttp2_session_consume_stream(s->ng, st->id, n);
	st->pulled += n;
	if (st->pulled >= st->window && st->window < s->cfg.window)
		widen_more(st);
}

enum pull
h2_stream_pull(struct h2_stream *st, struct chq *out, size_t want,
    struct fault *f)
{
	size_t n = chq_len(&st->in);

	assert(st->owned && want > 0);
	if (n > 0) {
		n = n < want ? n : want;
		chq_move(out, &st->in, n);
		if (chq_len(&st->in) == 0)
			chunk_unref(&st->tail);
		give_credit(st, n);
		return (PULL_MORE);
	}
	if (st->in_end)
		return (PULL_END);
	if (!st->reset)
		return (PULL_WAIT);
	(void)h2_stream_fault(st, f);
	return (st->ours ? PULL_FAIL : PULL_CUT);
}

size_t
h2_stream_held(const struct h2_stream *st)
{
	return (chq_len(&st->in));
}

bool
h2_stream_ended(const struct h2_stream *st)
{
	return (st->in_end);
}

const struct http_fields *
h2_stream_trailer(const struct h2_stream *st)
{
	return (&st->trailer);
}

void
h2_stream_widen(struct h2_stream *st, uint32_t window)
{
	if (window > INT32_MAX)
		window = INT32_MAX;
	if (st->closed || st->in_end || window <= st->window)
		return;
	st->window = window;
	(void)nghttp2_session_set_local_window_size(st->s->ng,
	    NGHTTP2_FLAG_NONE, st->id, (int32_t)window);
}

/* --- facts --- */

void
h2_stream_set_owner(struct h2_stream *st, void *owner)
{
	assert(st->owned);
	st->owner = owner;
}

void *
h2_stream_owner(const struct h2_stream *st)
{
	return (st->owner);
}
