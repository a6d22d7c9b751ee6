/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One message that is looked at, see ws_item.h. */
#include <assert.h>
#include "http/length.h"
#include "proxy/flow.h"
#include "proxy/ws_item.h"

#define FULL_BYTES 65536

static void
open_content(struct ws_item *it)
{
	struct flow *f = it->flow;

	it->content = body_new(f->worker->loop, &f->gen->gen->store,
	    &it->source.content, BODY_UNKNOWN);
	body_charge_to(it->content, f->client->account);
	reader_open(&it->first, it->content, 0, &f->task);
	reader_open(&it->look, it->content, 0, &f->task);
}

struct ws_item *
ws_item_new(struct flow *f, enum ws_side from, bool scanned, uint64_t now)
{
	struct arena *a = arena_new();
	struct ws_item *it = arena_zalloc(a, sizeof(*it));

	arena_charge_to(a, f->client->account);
	it->arena = a;
	it->flow = f;
	it->began_at = it->news_at = now;
	ws_message_init(&it->source, from, &f->task);
	it->frames = body_new(f->worker->loop, &f->gen->gen->store,
	    &it->source.frames, BODY_UNKNOWN);
	body_charge_to(it->frames, f->client->account);
	reader_open(&it->hold, it->frames, 0, &f->task);
	if (!scanned)
		return (it);
	reader_open(&it->along, it->frames, 0, &f->task);
	open_content(it);
	return (it);
}

void
ws_item_release(struct ws_item *it)
{
	chain_cancel(&it->chain);
	reader_close(&it->along);
	reader_close(&it->look);
	reader_close(&it->first);
	reader_close(&it->now);
	chq_fini(&it->again);
	body_unref(&it->content);
}

void
ws_item_settle(struct ws_item *it)
{
	if (it->chain != NULL && chain_result(it->chain) == NULL)
		flow_chain_give_up(it->flow, &it->chain);
}

void
ws_item_free(struct ws_item **itp)
{
	struct ws_item *it = *itp;
	struct arena *a;

	*itp = NULL;
	if (it == NULL)
		return;
	ws_item_release(it);
	reader_close(&it->hold);
	body_unref(&it->frames);
	ws_message_fini(&it->source);
	a = it->arena;
	arena_free(&a);
}

void
ws_item_fed(struct ws_item *it, enum ws_got got, const struct fault *f)
{
	assert(!it->whole || got == WS_CONTROL || got == WS_MORE ||
	    got == WS_CLOSE || got == WS_BAD);
	if (got == WS_GAP)
		it->gap = true;
	if (got == WS_END)
		it->whole = true;
	ws_message_fed(&it->source, got, f);
}

void
ws_item_cut(struct ws_item *it)
{
	assert(!it->whole && !it->gap);
	ws_item_fed(it, WS_GAP, NULL);
}

bool
ws_item_is_full(const struct ws_item *it)
{
	return (ws_message_bytes(&it->source) >= FULL_BYTES);
}

/* A pull that finds nothing would wake the flow, which runs. */
static bool
has_news(const struct ws_item *it)
{
	return (it->whole || ws_message_bytes(&it->source) > 0);
}

/* A body that failed: no room in memory or file. */
static bool
has_failed(const struct body *b, struct fault *f)
{
	if (body_end(b) != PULL_CUT && body_end(b) != PULL_FAIL)
		return (false);
	fault_copy(f, body_fault(b));
	return (true);
}

enum pull
ws_item_gather(struct ws_item *it, struct fault *f)
{
	assert(it->content != NULL);
	if (it->along.body != NULL &&
	    (has_news(it) || reader_behind(&it->along) > 0))
		(void)reader_skip(&it->along, BODY_ALL);
	if (it->look.body != NULL &&
	    (has_news(it) || it->gap || reader_behind(&it->look) > 0))
		(void)reader_skip(&it->look, BODY_ALL);
	if (has_failed(it->frames, f) || has_failed(it->content, f))
		return (PULL_FAIL);
	return (body_end(it->content) == PULL_END ? PULL_END : PULL_WAIT);
}

bool
ws_item_is_empty(const struct ws_item *it)
{
	return (
	    it->content == NULL || (body_length(it->content) == 0 && !it->gap));
}

/* ---- the heads that scanners see ---- */

/* The request of the handshake without what made it one. */
static struct http_msg *
plain_head(struct arena *a, const struct http_msg *handshake)
{
	static const enum http_field_id gone[] = { FIELD_UPGRADE,
		FIELD_CONNECTION, FIELD_SEC_WEBSOCKET_KEY,
		FIELD_SEC_WEBSOCKET_VERSION, FIELD_SEC_WEBSOCKET_EXTENSIONS,
		FIELD_SEC_WEBSOCKET_PROTOCOL, FIELD_CONTENT_TYPE };
	struct http_msg *m = http_msg_copy(a, handshake);
	unsigned i;

	for (i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
		http_fields_remove(&m->fields, gone[i]);
	return (m);
}

static void
describe(struct http_msg *m, const struct ws_item *it, bool text)
{
	http_fields_set(it->arena, &m->fields, FIELD_CONTENT_TYPE,
	    text ? STR("text/plain; charset=utf-8")
		 : STR("application/octet-stream"));
}

static struct http_msg *
answer_head(const struct ws_item *it, const struct http_msg *req)
{
	struct http_msg *m = http_msg_new(it->arena, false);

	m->status = 200;
	m->reason = STR("OK");
	http_length_set(m, req, true, body_length(it->content));
	return (m);
}

void
ws_item_scan(struct ws_item *it, const struct chain_step *steps, unsigned n,
    enum ws_side from, bool text)
{
	struct flow *f = it->flow;
	struct http_msg *req = plain_head(it->arena, f->req), *resp = NULL;

	assert(it->chain == NULL && body_end(it->content) == PULL_END);
	if (from == WS_CLIENT) {
		req->method = STR("POST");
		req->method_id = METHOD_POST;
		http_length_set(req, NULL, true, body_length(it->content));
		describe(req, it, text);
	} else {
		resp = answer_head(it, req);
		describe(resp, it, text);
	}
	it->message = (struct scan_message){ .mode = from == WS_CLIENT
		    ? SCAN_REQ
		    : SCAN_RESP,
		.req = req,
		.resp = resp,
		.body = it->content,
		.who = &f->who,
		.shared = &it->shared,
		.arena = it->arena };
	if (it->gap) {
		it->message.gap = GAP_LIMIT;
		it->message.gap_text = STR("a WebSocket message of which "
					   "only the begin was read");
	}
	it->chain = chain_start(f->worker->loop, steps, n, &it->message,
	    &f->task);
}

/* ---- what a service sent back ---- */

enum pull
ws_item_match(struct ws_item *it)
{
	struct chain_result *r = chain_result(it->chain);

	if (r->body == NULL)
		return (PULL_FAIL);
	if (it->now.body == NULL)
		reader_open(&it->now, r->body, 0, &it->flow->task);
	return (reader_match_all(&it->first, &it->now, &it->again,
	    body_length(it->content)));
}

/* ---- the way out ---- */

enum pull
ws_item_pull(struct ws_item *it, struct chq *out, size_t want)
{
	if (!has_news(it) && reader_behind(&it->hold) == 0)
		return (PULL_WAIT);
	return (reader_pull(&it->hold, out, want));
}
