/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One direction of a WebSocket connection, see ws.h. */
#include <assert.h>
#include <stdlib.h>
#include "http/ws.h"
#include "http/ws_inflate.h"
#include "http/ws_utf8.h"

#define PIECE 4096      /* unmasked, or inflated, at a time */
#define SHARE_FROM 1024 /* shorter pieces are copied together */
#define FILL_MIN 256

struct ws {
	struct ws_facts facts;
	struct ws_limits limits;
	bool takeover; /* the sender keeps its compression context */
	enum ws_side from;
	enum at {
		AT_HEAD,
		AT_PAYLOAD,
		AT_TAIL,
		AT_END,
		AT_CONTROL,
		AT_CLOSED,
		AT_BAD,
		AT_COUNT
	} at;
	struct ws_frame frame; /* the one under way, control frames included */
	uint64_t left;         /* of its payload */
	struct chq held;       /* its head; of a control frame what there is */
	char reason[WS_CONTROL_MAX];
	/* of the message */
	uint64_t heads; /* octets */
	bool gap;       /* WS_GAP was said */
	bool blind;     /* nor is it inflated any more */
	struct ws_utf8 utf8;
	struct chunk *fill; /* counted: content is written there; or NULL */
	/* of the connection */
	struct ws_inflate *inflate; /* owned; NULL: none under way */
	bool more; /* it filled its room: there may be more to come */
	bool lost; /* its history is not the sender's any more */
};

/* What one call goes by. */
struct call {
	struct chq *in;
	const struct ws_out *out;
	size_t made;            /* octets of content, given or not */
	unsigned char *nowhere; /* PIECE octets */
	struct fault *f;
};

struct ws *
ws_new(enum ws_side from, const struct ws_terms *t, const struct ws_limits *l)
{
	struct ws *w = calloc(1, sizeof(*w));

	assert(!t->unknown && l->ratio > 0);
	if (w == NULL)
		abort();
	w->limits = *l;
	w->from = from;
	w->takeover = !t->no_takeover[from];
	ws_frame_init(&w->frame, from, t->deflate);
	return (w);
}

void
ws_free(struct ws **wp)
{
	struct ws *w = *wp;

	if (w == NULL)
		return;
	*wp = NULL;
	chq_fini(&w->held);
	chunk_unref(&w->fill);
	ws_inflate_free(&w->inflate);
	free(w);
}

const struct ws_facts *
ws_facts(const struct ws *w)
{
	return (&w->facts);
}

size_t
ws_bytes(const struct ws *w)
{
	return (sizeof(*w) + chq_len(&w->held) +
	    (w->fill != NULL ? w->fill->cap : 0) +
	    ws_inflate_bytes(w->inflate));
}

static enum ws_got
bad(struct ws *w, struct call *c, unsigned code, const char *why)
{
	w->at = AT_BAD;
	w->facts.code = code;
	chq_fini(&w->held);
	chunk_unref(&w->fill);
	ws_inflate_free(&w->inflate);
	fault_set(c->f,
	    code == WS_CODE_INTERNAL ? ERR_MEMORY : ws_frame_err(w->from),
	    "WebSocket: %s", why);
	return (WS_BAD);
}

static enum ws_got
at_bad(struct ws *w, struct call *c)
{
	return (bad(w, c, w->facts.code, "broken before"));
}

static enum ws_got
at_closed(struct ws *w, struct call *c)
{
	(void)w;
	chq_drop(c->in, chq_len(c->in));
	return (WS_MORE);
}

/* Whatever input these octets lie in, they are few: it is not kept for them. */
static enum ws_got
more_of_held(struct ws *w)
{
	unsigned char copy[WS_HEAD_MAX + WS_CONTROL_MAX];
	size_t n = chq_len(&w->held);

	assert(n <= sizeof(copy));
	if (n > 0) {
		chq_read(&w->held, 0, copy, n);
		chq_fini(&w->held);
		chq_copy(&w->held, copy, n);
	}
	return (WS_MORE);
}

/* ---- what is read of a message ---- */

/* Nothing more is looked at, but what the next messages need. */
static enum ws_got
say_gap(struct ws *w, bool blind)
{
	bool first = !w->gap;

	w->gap = true;
	chunk_unref(&w->fill);
	if (blind) {
		w->blind = true;
		w->lost |= w->facts.compressed && w->takeover;
		w->more = false;
		ws_inflate_free(&w->inflate);
	}
	return (first ? WS_GAP : WS_STEP);
}

static bool
is_bomb(const struct ws *w)
{
	const struct ws_facts *m = &w->facts;

	return (m->content > WS_RATIO_FREE &&
	    m->content / w->limits.ratio > m->payload - w->left);
}

/*
 * By what has come, not by what a head declares; content is asked as it comes.
 */
static bool
is_over(const struct ws *w)
{
	return (w->facts.payload - w->left > w->limits.message ||
	    w->heads > w->facts.payload + WS_HEADS_FREE ||
	    (w->lost && w->facts.compressed));
}

static enum ws_got
message_begin(struct ws *w)
{
	struct ws_facts *m = &w->facts;

	m->text = w->frame.op == WS_OP_TEXT;
	m->compressed = w->frame.compressed;
	m->payload = m->content = 0;
	w->heads = 0;
	w->gap = w->blind = false;
	w->utf8 = (struct ws_utf8){ .n = 0 };
	assert(w->fill == NULL);
	return (WS_BEGIN);
}

/* Of n octets of content: up to the limit, then one that is beyond it. */
static size_t
within(const struct ws *w, size_t n)
{
	uint64_t left = w->facts.content < w->limits.message
	    ? w->limits.message - w->facts.content
	    : 1;

	return (w->gap || n < left ? n : (size_t)left);
}

/*
 * Room for content, at most n: where it stays, in a small chunk if the message
 * is small, or nowhere.
 */
static unsigned char *
room_for(struct ws *w, struct call *c, size_t *n)
{
	uint64_t cap = CHUNK_BYTES, length = w->frame.length;
	size_t room = PIECE;

	assert(*n > 0);
	if (w->fill != NULL && w->fill->used == w->fill->cap)
		chunk_unref(&w->fill);
	if (w->fill == NULL && !w->gap) {
		if (!w->frame.open && length < CHUNK_BYTES)
			cap = length * (w->facts.compressed ? 8 : 1);
		cap = cap < FILL_MIN ? FILL_MIN : cap;
		w->fill = chunk_new_size(
		    cap < CHUNK_BYTES ? (size_t)cap : CHUNK_BYTES);
	}
	if (!w->gap)
		room = within(w, w->fill->cap - w->fill->used);
	*n = *n < room ? *n : room;
	return (w->gap ? c->nowhere : w->fill->data + w->fill->used);
}

/* Content has come: is it text, and may it be so much?  WS_STEP: it is fine. */
static enum ws_got
look(struct ws *w, struct call *c, const unsigned char *p, size_t n)
{
	w->facts.content += n;
	c->made += n;
	if (w->facts.text && !ws_utf8_feed(&w->utf8, p, n))
		return (bad(w, c, WS_CODE_DATA, "a text is not UTF-8"));
	if (w->facts.compressed && is_bomb(w))
		return (say_gap(w, true));
	if (w->facts.content > w->limits.message)
		return (say_gap(w, w->facts.compressed && !w->takeover));
	return (WS_STEP);
}

/* What room_for() gave has been filled. */
static enum ws_got
filled(struct ws *w, struct call *c, const unsigned char *p, size_t n)
{
	enum ws_got got;

	assert(n > 0);
	if (!w->gap)
		w->fill->used += (uint32_t)n;
	got = look(w, c, p, n);
	if (got == WS_STEP && !w->gap)
		chq_add(c->out->content, w->fill, p, n);
	return (got);
}

/* The frame's next n octets go on. */
static void
pass(struct ws *w, struct call *c, size_t n)
{
	assert(n <= w->left);
	chq_move(c->out->frames, c->in, n);
	w->left -= n;
}

/* ---- kinds of payload ---- */

/* Where in the payload the next octet stands. */
static uint64_t
offset(const struct ws *w)
{
	return (w->frame.length - w->left);
}

/* As it comes: long pieces without mask stay where they are. */
static enum ws_got
plain(struct ws *w, struct call *c, const unsigned char *p, size_t n)
{
	unsigned char *to;
	enum ws_got got;

	n = within(w, n);
	if (w->from == WS_SERVER && n >= SHARE_FROM) {
		got = look(w, c, p, n);
		if (got == WS_STEP && !w->gap)
			chq_share(c->out->content, c->in, 0, n);
		pass(w, c, n);
		return (got);
	}
	to = room_for(w, c, &n);
	ws_frame_mask(to, p, n, w->frame.mask, offset(w));
	pass(w, c, n);
	return (filled(w, c, to, n));
}

/* Of n octets of payload: up to the limit, then one that is beyond it. */
static size_t
unread(const struct ws *w, size_t n)
{
	uint64_t had = w->facts.payload - w->left,
		 left = had < w->limits.message ? w->limits.message - had : 1;

	return (w->gap || n < left ? n : (size_t)left);
}

typedef enum ws_inflate_got inflate_fn(struct ws_inflate *,
    struct ws_inflate_io *);

/* One step of the inflater. */
static enum ws_got
inflate(struct ws *w, struct call *c, struct ws_inflate_io *io,
    inflate_fn *step, enum ws_inflate_got *said)
{
	size_t n = c->out->want - c->made;
	unsigned char *to = room_for(w, c, &n);
	enum ws_got got = WS_STEP;

	io->out = to;
	io->out_n = n;
	*said = step(w->inflate, io);
	if (*said == WS_INFLATE_MEMORY)
		return (bad(w, c, WS_CODE_INTERNAL, "no memory to inflate"));
	w->more = io->out_n == 0;
	n -= io->out_n;
	if (n > 0)
		got = filled(w, c, to, n);
	/* What came before it breaks may be too much to look any further. */
	if (*said == WS_INFLATE_BAD && got != WS_BAD && !w->blind)
		got = bad(w, c, WS_CODE_DATA, "broken compression");
	return (got);
}

static enum ws_got
compressed(struct ws *w, struct call *c, const unsigned char *p, size_t n)
{
	unsigned char unmasked[PIECE];
	struct ws_inflate_io io = { .in = unmasked };
	enum ws_inflate_got said;
	uint64_t left = w->left;
	enum ws_got got;

	if (w->inflate == NULL && (w->inflate = ws_inflate_new()) == NULL)
		return (bad(w, c, WS_CODE_INTERNAL, "no memory to inflate"));
	n = io.in_n = unread(w, n < PIECE ? n : PIECE);
	ws_frame_mask(unmasked, p, n, w->frame.mask, offset(w));
	w->left = left - n; /* what a bomb is measured by */
	got = inflate(w, c, &io, ws_inflate_feed, &said);
	w->left = left;
	pass(w, c, n - io.in_n);
	if (got == WS_STEP && !w->gap && is_over(w))
		got = say_gap(w, !w->takeover);
	return (got);
}

/* ---- states ---- */

static enum ws_got
frame_begin(struct ws *w)
{
	const struct ws_frame *h = &w->frame;
	enum ws_got got = WS_STEP;

	assert(w->left == 0);
	w->left = h->length;
	if (ws_op_is_control(h->op)) {
		w->at = AT_CONTROL;
		return (WS_STEP);
	}
	w->at = AT_PAYLOAD;
	if (h->op != WS_OP_CONTINUATION)
		got = message_begin(w);
	w->heads += h->head_n;
	w->facts.payload += h->length;
	w->facts.octets += h->length;
	return (got);
}

static enum ws_got
at_head(struct ws *w, struct call *c)
{
	enum ws_frame_step step = WS_FRAME_MORE;
	const unsigned char *p;
	size_t n, used;

	while (step == WS_FRAME_MORE) {
		if ((p = chq_peek(c->in, &n)) == NULL)
			return (more_of_held(w));
		step = ws_frame_feed(&w->frame, p, n, &used, c->f);
		chq_move(&w->held, c->in, used);
	}
	if (step == WS_FRAME_HEAD)
		return (frame_begin(w));
	return (bad(w, c, WS_CODE_PROTOCOL, "a broken frame"));
}

static enum ws_got
payload(struct ws *w, struct call *c)
{
	const unsigned char *p;
	size_t n, want = c->out->want - c->made;

	if ((p = chq_peek(c->in, &n)) == NULL && !w->more)
		return (WS_MORE);
	n = n < w->left ? n : (size_t)w->left;
	if (w->blind || (w->gap && !w->facts.compressed && !w->facts.text)) {
		pass(w, c, n);
		return (WS_STEP);
	}
	if (want == 0)
		return (WS_FULL);
	if (w->facts.compressed)
		return (compressed(w, c, p, n));
	return (plain(w, c, p, n < want ? n : want));
}

static enum ws_got
at_payload(struct ws *w, struct call *c)
{
	enum ws_got got = WS_STEP;

	chq_move(c->out->frames, &w->held, chq_len(&w->held));
	if (is_over(w))
		got = say_gap(w,
		    w->facts.compressed && (w->lost || !w->takeover));
	while (got == WS_STEP && (w->left > 0 || w->more))
		got = payload(w, c);
	if (got == WS_STEP)
		w->at = w->frame.open ? AT_HEAD : AT_TAIL;
	return (got);
}

/* The last frame is in: what is still inside the inflater. */
static enum ws_got
at_tail(struct ws *w, struct call *c)
{
	struct ws_inflate_io io = { .in_n = 0 };
	enum ws_inflate_got said = WS_INFLATE_GO;
	enum ws_got got = WS_STEP;

	while (w->facts.compressed && !w->blind && got == WS_STEP &&
	    said != WS_INFLATE_END) {
		if (c->made == c->out->want)
			return (WS_FULL);
		if (w->inflate == NULL) /* RFC 7692 7.2.3.6 */
			return (bad(w, c, WS_CODE_DATA, "broken compression"));
		got = inflate(w, c, &io, ws_inflate_end, &said);
	}
	if (got == WS_STEP || (got == WS_GAP && said == WS_INFLATE_END)) {
		w->at = AT_END;
		w->more = false;
	}
	return (got);
}

static enum ws_got
at_end(struct ws *w, struct call *c)
{
	if (w->facts.text && !w->blind && !ws_utf8_is_whole(&w->utf8))
		return (bad(w, c, WS_CODE_DATA, "a text is not UTF-8"));
	chunk_unref(&w->fill);
	if (!w->takeover)
		ws_inflate_free(&w->inflate);
	w->facts.messages++;
	w->at = AT_HEAD;
	return (WS_END);
}

/* RFC 6455 5.5.1: nothing, or a code and a reason. */
static enum ws_got
closes(struct ws *w, struct call *c, const unsigned char *p, size_t n)
{
	struct ws_utf8 utf8 = { .n = 0 };
	struct ws_facts *m = &w->facts;
	size_t i;

	m->code = n == 0 ? WS_CODE_NONE : (unsigned)(p[0] << 8 | p[1]);
	if (n > 0 && !ws_code_is_valid(m->code))
		return (bad(w, c, WS_CODE_PROTOCOL, "a bad close code"));
	if (n > 2 &&
	    (!ws_utf8_feed(&utf8, p + 2, n - 2) || !ws_utf8_is_whole(&utf8)))
		return (bad(w, c, WS_CODE_DATA, "a reason is not UTF-8"));
	for (i = 2; i < n; i++)
		w->reason[i - 2] = (char)p[i];
	m->reason = (struct str){ w->reason, n > 2 ? n - 2 : 0 };
	w->at = AT_CLOSED;
	chunk_unref(&w->fill);
	ws_inflate_free(&w->inflate);
	return (WS_CLOSE);
}

static enum ws_got
at_control(struct ws *w, struct call *c)
{
	unsigned char p[WS_CONTROL_MAX];
	const struct ws_frame *h = &w->frame;
	size_t n = chq_len(c->in);
	enum ws_got got = WS_CONTROL;

	assert(h->length <= WS_CONTROL_MAX && w->left <= h->length);
	n = n < w->left ? n : (size_t)w->left;
	chq_move(&w->held, c->in, n);
	w->left -= n;
	if (w->left > 0)
		return (more_of_held(w));
	n = (size_t)h->length;
	chq_read(&w->held, h->head_n, p, n);
	ws_frame_mask(p, p, n, h->mask, 0);
	w->at = AT_HEAD;
	w->facts.controls++;
	if (h->op == WS_OP_CLOSE)
		got = closes(w, c, p, n);
	if (got != WS_BAD)
		chq_move(c->out->control, &w->held, chq_len(&w->held));
	return (got);
}

enum ws_got
ws_feed(struct ws *w, struct chq *in, const struct ws_out *out, struct fault *f)
{
	static enum ws_got (*const states[AT_COUNT])(struct ws *,
	    struct call *) = {
		[AT_HEAD] = at_head,
		[AT_PAYLOAD] = at_payload,
		[AT_TAIL] = at_tail,
		[AT_END] = at_end,
		[AT_CONTROL] = at_control,
		[AT_CLOSED] = at_closed,
		[AT_BAD] = at_bad,
	};
	unsigned char nowhere[PIECE];
	struct call c = { .in = in, .out = out, .nowhere = nowhere, .f = f };
	enum ws_got got;

	assert(out->want > 0);
	do
		got = states[w->at](w, &c);
	while (got == WS_STEP);
	assert(c.made <= out->want);
	return (got);
}
