/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes in over HTTP/1, see h1_in.h. */
#include <assert.h>
#include <string.h>
#include "base/list.h"
#include "proxy/wire/h1_in.h"

#define HEAD_READ 16384

static enum pull in_pull(struct source *, struct chq *, size_t, struct fault *);
static void in_drop(struct source *, enum pull);

static const struct source_type in_type = { "http1", in_pull, in_drop };

void
h1_in_init(struct h1_in *in, struct link *l, struct task *wake)
{
	memset(in, 0, sizeof(*in));
	in->link = l;
	in->wake = wake;
	source_init(&in->src, &in_type);
}

bool
h1_in_begun(const struct h1_in *in)
{
	return (in->head != NULL && h1_head_begun(in->head));
}

enum h1_got
h1_in_head(struct h1_in *in, struct arena *a, enum h1_kind kind,
    const struct h1_limits *limits, struct http_msg **msg, struct fault *f)
{
	enum h1_step step;
	enum pull p;

	assert(!in->in_body);
	if (in->head == NULL)
		in->head = h1_head_new(a, kind, limits);
	for (;;) {
		if (chq_len(&in->bytes) > 0) {
			step = h1_head_feed(in->head, &in->bytes, msg, f);
			if (step != H1_MORE) {
				in->odd = step == H1_DONE &&
				    h1_head_is_odd(in->head);
				in->head = NULL;
				in->frame = (struct h1_frame){ FRAMING_NONE };
				return (
				    step == H1_DONE ? H1_GOT_HEAD : H1_GOT_BAD);
			}
		}
		p = link_read(in->link, &in->bytes, HEAD_READ);
		if (p == PULL_WAIT)
			return (H1_GOT_WAIT);
		if (p != PULL_MORE) {
			in->poisoned = true;
			return (
			    h1_head_begun(in->head) ? H1_GOT_CUT : H1_GOT_END);
		}
	}
}

struct body *
h1_in_body(struct h1_in *in, struct loop *loop, struct body_store *store,
    const struct http_msg *msg, enum err bad, enum err cut)
{
	if (!http_has_body(msg))
		return (NULL);
	assert(in->frame.framing != FRAMING_NONE);
	assert(!in->in_body && in->head == NULL);
	h1_body_init(&in->deframer, msg->arena, in->frame.framing, msg->length,
	    bad);
	source_init(&in->src, &in_type);
	in->in_body = true;
	in->pace = (struct pace){ 0 };
	in->cut = cut;
	return (body_new(loop, store, &in->src, http_length(msg)));
}

/* The link has ended under the body. */
static enum pull
in_ended(struct h1_in *in, enum pull how, struct fault *f)
{
	enum pull p = h1_body_eof(&in->deframer, how == PULL_END);

	in->poisoned = true;
	if (p != PULL_END)
		fault_set(f, in->cut, "%s", link_error(in->link));
	return (p);
}

/* The body may outlive what we are for it: another one may follow. */
static void
in_keep_trailer(const struct h1_in *in, struct body *b)
{
	struct http_fields *trailer;

	if (in->deframer.trailer.n == 0)
		return;
	trailer = arena_alloc(in->deframer.arena, sizeof(*trailer));
	*trailer = in->deframer.trailer;
	body_set_trailer(b, trailer);
}

static enum pull
in_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct h1_in *in = CONTAINER_OF(s, struct h1_in, src);
	struct body *b = s->body;
	size_t had = chq_len(out);
	enum pull p, r;

	for (;;) {
		p = h1_body_pull(&in->deframer, &in->bytes, out, want, f);
		if (p == PULL_MORE) {
			in->silent_since = 0;
			pace_got(&in->pace, chq_len(out) - had);
		}
		if (p == PULL_FAIL)
			in->poisoned = true;
		if (p == PULL_END)
			in_keep_trailer(in, b);
		if (p != PULL_WAIT)
			return (p);
		r = link_read(in->link, &in->bytes,
		    want > HEAD_READ ? want : HEAD_READ);
		if (r == PULL_WAIT) {
			in->starved = true;
			if (in->silent_since == 0)
				in->silent_since = loop_now(in->wake->loop);
			pace_wait(&in->pace, loop_now(in->wake->loop));
			return (PULL_WAIT);
		}
		pace_pause(&in->pace, loop_now(in->wake->loop));
		if (r != PULL_MORE)
			return (in_ended(in, r, f));
	}
}

/* Nobody wants the rest.  If it is here already, the connection stays whole. */
static bool
in_discard(struct h1_in *in)
{
	struct fault f = { 0 };
	struct chq dump = { 0 };
	enum pull p;

	do {
		p = h1_body_pull(&in->deframer, &in->bytes, &dump, HEAD_READ,
		    &f);
		chq_drop(&dump, chq_len(&dump));
	} while (p == PULL_MORE);
	chq_fini(&dump);
	return (p == PULL_END);
}

static void
in_drop(struct source *s, enum pull last)
{
	struct h1_in *in = CONTAINER_OF(s, struct h1_in, src);

	in->in_body = false;
	in->silent_since = 0;
	if (last != PULL_END && (last != PULL_MORE || !in_discard(in)))
		in->poisoned = true;
	task_wake(in->wake);
}

void
h1_in_wake(struct h1_in *in)
{
	if (!in->in_body || !in->starved || link_is_waiting(in->link))
		return;
	in->starved = false;
	pace_pause(&in->pace, loop_now(in->wake->loop));
	source_wake(&in->src);
}

bool
h1_in_stalled(const struct h1_in *in, uint64_t now, uint64_t ms)
{
	/* Bytes that are here and not fetched are nobody's silence. */
	return (in->in_body && in->silent_since != 0 &&
	    link_is_waiting(in->link) && now - in->silent_since >= ms);
}

bool
h1_in_is_slow(struct h1_in *in, uint64_t now, uint64_t rate)
{
	return (in->in_body && pace_is_slow(&in->pace, now, rate, 1));
}

uint64_t
h1_in_due(const struct h1_in *in, uint64_t now, uint64_t ms, uint64_t rate)
{
	uint64_t silent, slow;

	if (!in->in_body)
		return (UINT64_MAX);
	silent = (in->silent_since != 0 && link_is_waiting(in->link)
			 ? in->silent_since
			 : now) +
	    ms;
	slow = rate > 0 ? pace_due(&in->pace, now) : UINT64_MAX;
	return (silent < slow ? silent : slow);
}

void
h1_in_forgive(struct h1_in *in, uint64_t now)
{
	bool waits = in->pace.since != 0;

	in->pace = (struct pace){ .since = waits ? now : 0 };
	if (in->silent_since != 0)
		in->silent_since = now;
}

void
h1_in_abandon(struct h1_in *in, const struct fault *f)
{
	struct fault own = { 0 };

	if (!in->in_body)
		return;
	fault_set(&own, in->cut, NULL);
	in->in_body = false;
	in->silent_since = 0;
	in->poisoned = true;
	source_gone(&in->src, PULL_CUT,
	    f != NULL && f->code != ERR_NONE ? f : &own);
}

void
h1_in_fini(struct h1_in *in, const struct fault *f)
{
	h1_in_abandon(in, f);
	chq_fini(&in->bytes);
	in->head = NULL;
	in->link = NULL;
	in->poisoned = true;
}
