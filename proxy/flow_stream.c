/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Endless answers in front of scanners.  Nothing of one would ever arrive, so
 * its begin is collected for a moment and looked at by the chain as a message
 * of its own; what was not seen is unscanned (stream), and if the policy of
 * every service lets that pass, the rest goes out as it comes: checked to be
 * what its type says (http/endless.h), not faster than a stream is, and up to
 * a size.  A content coding is taken off for both looks, and the rest is kept
 * as it is.  What ends in that moment, comes as fast as a file or is not what it
 * says is scanned whole like any other body.
 */
#include <string.h>
#include "base/budget.h"
#include "http/endless.h"
#include "proxy/flow.h"
#include "scanners/decode_live.h"

#define BEGIN_BYTES 65536     /* of the begin are shown to the chain */
#define BEGIN_FREE 16384      /* of it that are not counted */
#define FILE_BYTES (16 << 20) /* so much that came fast is a file */
#define HEAD_MS 5000          /* the head goes out, though no body has come */
#define BLOCK 16384
#define TURN_BYTES (1 << 20) /* read at most before others have their turn */

struct flow_stream {
	enum {
		STREAM_GATHERS,
		STREAM_BEGIN_SCANNED, /* ... or being scanned */
		STREAM_PASSES,
		STREAM_OFF /* an ordinary body after all */
	} state;
	enum http_endless kind;
	struct decode_list codings;       /* none, or one */
	struct decode_live *decoder;      /* owned; NULL: not coded */
	struct http_endless_check begins; /* while it is collected */
	struct http_endless_check passes; /* what goes out */
	struct reader look;
	struct buf begin;         /* owned; decoded */
	struct charge charge;     /* of begin */
	struct body *first;       /* counted: of begin */
	struct reader same;       /* of what a service made of it */
	uint64_t looked;          /* bytes of the decoded begin */
	uint64_t since, first_at; /* ms; first_at 0: nothing has come */
};

static const struct conf_download *
limits_of(const struct flow *f)
{
	return (&f->gen->gen->conf->download);
}

static void
begin_add(struct flow_stream *s, const void *p, size_t n)
{
	size_t room = BEGIN_BYTES - s->begin.n;

	if (room > 0)
		buf_add(&s->begin, p, n < room ? n : room);
}

static bool
look_at(void *arg, const unsigned char *p, size_t n)
{
	struct flow *f = arg;
	struct flow_stream *s = f->stream;

	if (s->first_at == 0)
		s->first_at = loop_now(f->worker->loop);
	s->looked += n;
	begin_add(s, p, n);
	return (http_endless_feed(&s->begins, p, n));
}

/* What is out in the end; false: it is not what its type says. */
static bool
pass_at(void *arg, const unsigned char *p, size_t n)
{
	struct flow *f = arg;

	return (http_endless_feed(&f->stream->passes, p, n));
}

/* All bytes of q without their coding. */
static bool
feed(struct flow *f, const struct chq *q, decode_live_fn to)
{
	struct decode_live *decoder = f->stream->decoder;
	unsigned char block[BLOCK];
	size_t n, at, len = chq_len(q);
	bool ok = true;

	for (at = 0; at < len && ok; at += n) {
		n = len - at < sizeof(block) ? len - at : sizeof(block);
		chq_read(q, at, block, n);
		ok = decoder != NULL
		    ? decode_live_feed(decoder, block, n, to, f)
		    : to(f, block, n);
	}
	return (ok);
}

/*
 * PULL_WAIT: all that is there was looked at.  PULL_MORE: there is more.
 * PULL_FAIL: not a stream.
 */
static enum pull
gather(struct flow *f, struct flow_stream *s)
{
	uint64_t until = s->looked + TURN_BYTES;
	uint64_t coded = s->look.offset + TURN_BYTES;
	struct chq q = { 0 };
	enum pull p = PULL_MORE;

	while (s->looked < until && s->look.offset < coded &&
	    (p = reader_pull(&s->look, &q, BLOCK)) == PULL_MORE) {
		if (!feed(f, &q, look_at))
			p = PULL_FAIL;
		chq_drop(&q, chq_len(&q));
		if (p == PULL_FAIL)
			break;
	}
	chq_fini(&q);
	charge_set(&s->charge, f->client->account, s->begin.cap, BEGIN_FREE);
	return (p);
}

/*
 * Did it come, so far, slowly enough to be a stream?  One that begins with a
 * burst of what was before is in a while.
 */
static bool
is_slow(const struct flow *f, const struct flow_stream *s)
{
	uint64_t ms = loop_now(f->worker->loop) - s->first_at;

	return (s->first_at != 0 && ms >= limits_of(f)->stream_wait_ms &&
	    s->look.offset * 1000 / ms <= limits_of(f)->stream_rate);
}

static void
begin_fini(struct flow_stream *s)
{
	buf_fini(&s->begin);
	charge_set(&s->charge, NULL, 0, 0);
}

static void
stream_off(struct flow_stream *s)
{
	s->state = STREAM_OFF;
	reader_close(&s->look);
	decode_live_free(&s->decoder);
	begin_fini(s);
}

/* Its head for the chain, which gets the begin without its coding. */
static struct http_msg *
decoded_head(struct flow *f)
{
	struct http_msg *m = http_msg_copy(f->arena, f->resp);

	http_fields_remove(&m->fields, FIELD_CONTENT_ENCODING);
	return (m);
}

/* The chain gets a message that is the begin alone. */
static void
defer(struct flow *f, struct flow_stream *s, struct scan_message *m)
{
	struct str type = http_fields_value(&f->resp->fields,
	    FIELD_CONTENT_TYPE);

	type.n = str_index(type, ';');
	if (type.n > 80)
		type.n = 80;
	s->state = STREAM_BEGIN_SCANNED;
	s->first = body_of_bytes(f->worker->loop, &f->gen->gen->store,
	    s->begin.p, s->begin.n);
	body_charge_to(s->first, f->client->account);
	reader_close(&s->look);
	decode_live_free(&s->decoder);
	m->body = s->first;
	if (s->codings.n > 0)
		m->resp = decoded_head(f);
	m->gap = GAP_STREAM;
	m->gap_text = arena_printf(f->arena, "endless answer (%.*s)",
	    STR_ARG(type));
}

/* Content codings that are taken off as they come: one, or none at all. */
static bool
codings_of(const struct http_msg *m, struct decode_list *list)
{
	const struct http_field *f = http_fields_get(&m->fields,
	    FIELD_CONTENT_ENCODING);

	*list = (struct decode_list){ .n = 0 };
	for (; f != NULL; f = http_fields_next(&m->fields, f))
		decode_list_add(list, f->value);
	return (decode_list_is_clear(list) &&
	    (list->n == 0 || (list->n == 1 && list->coding[0] != DECODE_AWS)));
}

/* False: no memory. */
static bool
decoder_begin(struct flow *f, struct flow_stream *s)
{
	if (s->codings.n > 0)
		s->decoder = decode_live_new(s->codings.coding[0],
		    f->client->account);
	return (s->codings.n == 0 || s->decoder != NULL);
}

static struct flow_stream *
stream_new(struct flow *f, enum http_endless kind,
    const struct decode_list *codings)
{
	struct flow_stream *s = arena_zalloc(f->arena, sizeof(*s));

	s->kind = kind;
	s->codings = *codings;
	if (!decoder_begin(f, s))
		s->state = STREAM_OFF;
	s->since = loop_now(f->worker->loop);
	http_endless_begin(&s->begins, kind, f->resp);
	http_endless_begin(&s->passes, kind, f->resp);
	reader_open(&s->look, f->resp_body, 0, &f->task);
	return (s);
}

/* What was decided for an answer of this kind; true: it is deferred. */
static bool
may_defer(struct flow *f)
{
	enum http_endless kind = ENDLESS_NOT;
	struct decode_list codings;

	if (f->resp_body != NULL && !f->is_part && !f->internal &&
	    codings_of(f->resp, &codings))
		kind = http_endless_of(f->resp, f->req);
	if (kind == ENDLESS_NOT || f->plan.stream == POLICY_STREAM_SCAN)
		return (false);
	if (f->plan.stream == POLICY_STREAM_BLOCK) {
		flow_block(f, f->plan.rule[POLICY_BY_STREAM],
		    "an endless answer");
		return (false);
	}
	f->stream = stream_new(f, kind, &codings);
	return (true);
}

/* Browsers are to take it for what it was checked to be. */
static void
add_nosniff(struct flow *f)
{
	http_fields_add_named(f->arena, &f->resp->fields,
	    STR("X-Content-Type-Options"), STR("nosniff"));
}

bool
flow_stream_begin(struct flow *f, struct scan_message *m)
{
	uint64_t now = loop_now(f->worker->loop);
	struct flow_stream *s = f->stream;
	enum pull p;

	if (s == NULL && !may_defer(f))
		return (f->state == FLOW_STATE_SCAN_RESP);
	s = f->stream;
	if (s->state != STREAM_GATHERS)
		return (true);
	p = gather(f, s);
	if ((p != PULL_WAIT && p != PULL_MORE) || s->look.offset > FILE_BYTES)
		stream_off(s);
	else if (is_slow(f, s))
		defer(f, s, m);
	else {
		if (p == PULL_MORE)
			task_wake(&f->task);
		if (!f->head_out && s->first_at == 0 &&
		    now - s->since >= HEAD_MS) {
			add_nosniff(f);
			flow_head_early(f);
		}
		return (false);
	}
	return (true);
}

bool
flow_stream_is_on(const struct flow *f)
{
	return (f->stream != NULL &&
	    (f->stream->state == STREAM_BEGIN_SCANNED ||
		f->stream->state == STREAM_PASSES));
}

bool
flow_stream_is_paced(const struct flow *f)
{
	return (f->stream != NULL &&
	    (f->stream->state == STREAM_GATHERS ||
		(f->stream->state == STREAM_PASSES &&
		    reader_behind(&f->down.reader) > 0)));
}

bool
flow_stream_may_drip(const struct flow *f)
{
	const struct worker_chain *chain;

	if (f->stream != NULL)
		return (f->stream->state != STREAM_OFF);
	/* Nobody looks at it: it takes neither a service nor a disk. */
	chain = worker_gen_chain(f->gen, f->plan.scan_resp);
	return (f->resp != NULL && f->resp_from_origin &&
	    (chain == NULL || chain->n == 0) &&
	    http_endless_of(f->resp, f->req) != ENDLESS_NOT);
}

/* Does q go on as the begin does, from offset at? */
static bool
goes_on_as(const struct flow_stream *s, uint64_t at, struct chq *q)
{
	unsigned char block[BLOCK];
	size_t n;

	while ((n = chq_len(q)) > 0) {
		n = n < sizeof(block) ? n : sizeof(block);
		chq_read(q, 0, block, n);
		chq_drop(q, n);
		if (at + n > s->begin.n ||
		    memcmp(s->begin.p + at, block, n) != 0)
			return (false);
		at += n;
	}
	return (true);
}

/* A service sent a message of its own: it has to be what it was given. */
static enum pull
compare(struct flow_stream *s)
{
	struct chq q = { 0 };
	enum pull p;
	uint64_t at;

	do {
		at = s->same.offset;
		p = reader_pull(&s->same, &q, BLOCK);
		if (p == PULL_MORE && !goes_on_as(s, at, &q))
			p = PULL_FAIL;
	} while (p == PULL_MORE);
	chq_fini(&q);
	if (p == PULL_END && s->same.offset != s->begin.n)
		p = PULL_FAIL;
	return (p);
}

static bool
pass_check(void *arg, const struct chq *q)
{
	struct flow *f = arg;

	if (!feed(f, q, pass_at)) {
		f->blocked = true;
		fault_set(&f->fault, ERR_UNSCANNED,
		    "an endless answer is not what its type says");
		return (false);
	}
	if (f->down.sent + chq_len(q) <= limits_of(f)->stream_size)
		return (true);
	fault_set(&f->fault, ERR_BODY_LIMIT,
	    "an endless answer over download.stream_size");
	return (false);
}

bool
flow_stream_pass(struct flow *f, struct chain_result *r)
{
	struct flow_stream *s = f->stream;
	enum pull p;

	if (r->modified) {
		if (r->body != NULL && s->same.body == NULL)
			reader_open(&s->same, r->body, 0, &f->task);
		p = r->body != NULL ? compare(s) : PULL_FAIL;
		if (p == PULL_WAIT)
			return (false);
		reader_close(&s->same);
		if (p != PULL_END) {
			flow_chain_note(f, r);
			flow_fail_code(f, ERR_SCAN_MESSAGE,
			    "a service "
			    "changed the begin of an endless answer");
			return (false);
		}
	}
	if (!decoder_begin(f, s)) {
		flow_chain_note(f, r);
		flow_fail_code(f, ERR_MEMORY,
		    "limits.memory has no more for this client");
		return (false);
	}
	s->state = STREAM_PASSES;
	s->since = loop_now(f->worker->loop);
	if (!f->head_out)
		add_nosniff(f);
	f->down.check = pass_check;
	f->down.check_arg = f;
	return (true);
}

/* A second's worth at once, then the rate. */
uint64_t
flow_stream_mark(struct flow *f)
{
	uint64_t ms = loop_now(f->worker->loop) - f->stream->since;
	uint64_t rate = limits_of(f)->stream_rate;

	return (f->stream->begin.n + rate + ms / 1000 * rate +
	    ms % 1000 * rate / 1000);
}

void
flow_stream_stop(struct flow *f)
{
	struct flow_stream *s = f->stream;

	if (s == NULL)
		return;
	f->stream = NULL;
	reader_close(&s->look);
	reader_close(&s->same);
	decode_live_free(&s->decoder);
	body_unref(&s->first);
	begin_fini(s);
}
