/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One direction of a call of gRPC, see grpc_way.h. */
#include <assert.h>
#include "proxy/flow.h"
#include "proxy/grpc_way.h"

#define AHEAD_BYTES 65536 /* what is read before it is sent */
#define STEPS 256         /* in one turn */

static const unsigned follows[GRPC_WAY_STATES] = {
#define ON(name) (1u << GRPC_WAY_##name)
#define S(name, next) [GRPC_WAY_##name] = (next),
#include "proxy/grpc_way.def"
#undef S
#undef ON
};

static void
go(struct grpc_way *w, enum grpc_way_state s)
{
	assert((follows[w->state] & (1u << s)) != 0);
	w->state = s;
	assert((w->item != NULL) ==
	    (s == GRPC_WAY_DECODES || s == GRPC_WAY_SCANS ||
		s == GRPC_WAY_MATCHES));
}

void
grpc_way_init(struct grpc_way *w, struct flow *f, enum scan_mode mode,
    const struct http_msg *head, struct body *b, const struct pump *pump,
    const struct worker_chain *chain)
{
	const struct http_field *coding = http_fields_find(&head->fields,
	    STR("grpc-encoding"));

	*w = (struct grpc_way){ .flow = f,
		.mode = mode,
		.chain = chain,
		.pump = pump };
	assert(pump->reader.body == b && pump->reader.offset == 0);
	if (coding != NULL)
		decode_list_add(&w->coding, coding->value);
	reader_open(&w->look, b, 0, &f->task);
}

void
grpc_way_fini(struct grpc_way *w)
{
	grpc_item_free(&w->item);
	reader_close(&w->look);
	*w = (struct grpc_way){ .flow = NULL };
}

/* ---- how far ---- */

static uint64_t
sent(const struct grpc_way *w)
{
	return (w->pump->reader.body != NULL ? w->pump->reader.offset : 0);
}

uint64_t
grpc_way_mark(const struct grpc_way *w)
{
	if (w->state == GRPC_WAY_ENDED)
		return (BODY_ALL);
	return (w->chain == NULL ? w->look.offset : w->edge);
}

bool
grpc_way_goes_on(const struct grpc_way *w)
{
	return (w->is_behind && w->look.offset < sent(w) + AHEAD_BYTES);
}

bool
grpc_way_is_scanning(const struct grpc_way *w)
{
	return (w->item != NULL);
}

/* ---- frames ---- */

static enum grpc_way_got
ended(struct grpc_way *w, enum pull p)
{
	if (p == PULL_WAIT)
		return (GRPC_WAY_WAITS);
	if (p != PULL_END)
		return (GRPC_WAY_CUT);
	if (w->state != GRPC_WAY_HEAD || w->n > 0)
		return (GRPC_WAY_BROKEN);
	go(w, GRPC_WAY_ENDED);
	return (GRPC_WAY_MORE);
}

static enum grpc_way_got
behind(struct grpc_way *w)
{
	w->is_behind = true;
	return (GRPC_WAY_WAITS);
}

/* Compressed as nobody said how? */
static bool
is_unsaid(const struct grpc_way *w)
{
	return (w->compressed && w->coding.n == 0 &&
	    w->coding.unknown[0] == '\0' && w->coding.ignored[0] == '\0');
}

static enum grpc_way_got
read_head(struct grpc_way *w)
{
	enum pull p = PULL_MORE;
	struct chq q = { 0 };
	uint32_t length;
	size_t n;

	if (w->look.offset >= sent(w) + AHEAD_BYTES)
		return (behind(w));
	while (w->n < HTTP_GRPC_HEAD && p == PULL_MORE) {
		p = reader_pull(&w->look, &q, HTTP_GRPC_HEAD - w->n);
		n = chq_len(&q);
		chq_read(&q, 0, w->head + w->n, n);
		chq_drop(&q, n);
		w->n += (unsigned)n;
	}
	chq_fini(&q);
	if (p != PULL_MORE)
		return (ended(w, p));
	if (!http_grpc_head(w->head, &w->compressed, &length) || is_unsaid(w))
		return (GRPC_WAY_BROKEN);
	w->n = 0;
	w->begin = w->look.offset;
	w->end = w->begin + length;
	go(w, GRPC_WAY_GATHERS);
	return (GRPC_WAY_MORE);
}

static void
pass(struct grpc_way *w)
{
	grpc_item_free(&w->item);
	w->edge = w->end;
	go(w, GRPC_WAY_HEAD);
}

static enum grpc_way_got
gather(struct grpc_way *w)
{
	uint64_t to = w->end;
	enum pull p;

	if (w->chain == NULL && to > sent(w) + AHEAD_BYTES)
		to = sent(w) + AHEAD_BYTES;
	p = reader_skip(&w->look, to);
	if (p != PULL_MORE)
		return (ended(w, p));
	if (to < w->end)
		return (behind(w));
	if (w->chain == NULL || w->begin == w->end) {
		pass(w);
		return (GRPC_WAY_MORE);
	}
	w->item = grpc_item_new(w->flow, w->look.body, w->begin,
	    w->end - w->begin, w->compressed ? &w->coding : NULL);
	go(w, GRPC_WAY_DECODES);
	return (GRPC_WAY_MORE);
}

/* ---- the message ---- */

static enum grpc_way_got
decode(struct grpc_way *w)
{
	if (!grpc_item_gather(w->item))
		return (GRPC_WAY_WAITS);
	w->flow->who.rule = str_of(w->flow->plan.rule[POLICY_BY_SCAN]);
	grpc_item_scan(w->item, w->chain->steps, w->chain->n, w->mode);
	go(w, GRPC_WAY_SCANS);
	return (GRPC_WAY_MORE);
}

/* PULL_WAIT: later; PULL_END: it is what it was. */
static enum pull
match(struct grpc_way *w, const struct chain_result *r)
{
	if (w->state == GRPC_WAY_SCANS) {
		if (r->action != CHAIN_PASS || !r->modified)
			return (PULL_END);
		go(w, GRPC_WAY_MATCHES);
	}
	return (grpc_item_match(w->item));
}

static enum grpc_way_got
judge(struct grpc_way *w)
{
	struct chain_result *r = chain_result(w->item->chain);
	enum pull p;

	if (r == NULL || (p = match(w, r)) == PULL_WAIT)
		return (GRPC_WAY_WAITS);
	if (p != PULL_END) {
		r->action = CHAIN_BLOCK;
		fault_set(&r->fault, ERR_SERVICE_BLOCK,
		    "%.*s changed a message of gRPC", STR_ARG(r->by));
	}
	flow_chain_sum(w->flow, w->item->chain, r);
	if (r->action != CHAIN_PASS)
		return (GRPC_WAY_STOPPED);
	pass(w);
	return (GRPC_WAY_MORE);
}

static enum grpc_way_got
step(struct grpc_way *w)
{
	switch (w->state) {
	case GRPC_WAY_HEAD:
		return (read_head(w));
	case GRPC_WAY_GATHERS:
		return (gather(w));
	case GRPC_WAY_DECODES:
		return (decode(w));
	case GRPC_WAY_SCANS:
	case GRPC_WAY_MATCHES:
		return (judge(w));
	case GRPC_WAY_ENDED:
	case GRPC_WAY_STATES:
		break;
	}
	return (GRPC_WAY_WAITS);
}

enum grpc_way_got
grpc_way_run(struct grpc_way *w)
{
	enum grpc_way_got got = GRPC_WAY_MORE;
	unsigned i;

	w->is_behind = false;
	for (i = 0; i < STEPS && got == GRPC_WAY_MORE; i++)
		got = step(w);
	return (got);
}
