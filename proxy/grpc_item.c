/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One message of a call, see grpc_item.h. */
#include <assert.h>
#include "http/grpc.h"
#include "http/length.h"
#include "proxy/flow.h"
#include "proxy/grpc_item.h"
#include "stream/slice.h"

#define TURN_BYTES (1 << 20) /* decoded before others have their turn */

/* What is known of how it is encoded takes it off. */
static void
open_content(struct grpc_item *it, struct body *whole,
    const struct decode_list *coding)
{
	struct flow *f = it->flow;
	struct body_store *store = &f->gen->gen->store;

	body_charge_to(whole, f->client->account);
	it->content = whole;
	if (coding != NULL && coding->n > 0 && decode_list_is_clear(coding) &&
	    coding->unknown[0] == '\0') {
		it->content = decode_body_new(f->worker->loop, store, whole,
		    coding, &it->how);
		body_unref(&whole);
	} else if (coding != NULL)
		it->unknown = coding->unknown[0] != '\0' ? coding->unknown
							 : coding->ignored;
	reader_open(&it->first, it->content, 0, &f->task);
	reader_open(&it->along, it->content, 0, &f->task);
}

struct grpc_item *
grpc_item_new(struct flow *f, struct body *b, uint64_t from, uint64_t n,
    const struct decode_list *coding)
{
	struct arena *a = arena_new();
	struct grpc_item *it = arena_zalloc(a, sizeof(*it));

	arena_charge_to(a, f->client->account);
	it->arena = a;
	it->flow = f;
	open_content(it,
	    slice_new(f->worker->loop, &f->gen->gen->store, b, from, n),
	    coding);
	return (it);
}

void
grpc_item_free(struct grpc_item **itp)
{
	struct grpc_item *it = *itp;
	struct arena *a;

	*itp = NULL;
	if (it == NULL)
		return;
	chain_cancel(&it->chain);
	reader_close(&it->along);
	reader_close(&it->first);
	reader_close(&it->now);
	chq_fini(&it->again);
	body_unref(&it->content);
	a = it->arena;
	arena_free(&a);
}

bool
grpc_item_gather(struct grpc_item *it)
{
	enum pull p = reader_skip(&it->along, it->along.offset + TURN_BYTES);

	if (p == PULL_MORE)
		task_wake(&it->flow->task);
	return (pull_is_last(p));
}

/* ---- the heads that scanners see ---- */

static void
describe(const struct grpc_item *it, struct http_msg *m,
    const struct http_msg *req)
{
	http_fields_set(it->arena, &m->fields, FIELD_CONTENT_TYPE,
	    http_grpc_is_json(it->flow->req) ? STR("application/json")
					     : STR("application/octet-stream"));
	http_length_set(m, req, true, body_length(it->content));
}

static void
note_gap(const struct grpc_item *it, struct scan_message *m)
{
	if (it->unknown != NULL) {
		m->gap = GAP_CODING;
		m->gap_text = arena_printf(it->arena, "grpc-encoding %s",
		    it->unknown);
	} else if (it->how.end != DECODE_DONE) {
		m->gap = it->how.end == DECODE_LARGE ? GAP_LIMIT : GAP_DAMAGED;
		m->gap_text = arena_printf(it->arena,
		    "a message of gRPC whose %s %s",
		    decode_name(it->how.coding),
		    it->how.end == DECODE_LARGE ? "is too large" : "is broken");
	}
}

void
grpc_item_scan(struct grpc_item *it, const struct chain_step *steps, unsigned n,
    enum scan_mode mode)
{
	struct flow *f = it->flow;
	struct http_msg *req = http_msg_copy(it->arena, f->req), *resp = NULL;

	assert(it->chain == NULL && body_end(it->content) != PULL_MORE);
	reader_close(&it->along);
	if (mode == SCAN_REQ)
		describe(it, req, NULL);
	else {
		resp = http_msg_copy(it->arena, f->resp);
		describe(it, resp, req);
	}
	it->message = (struct scan_message){ .mode = mode,
		.req = req,
		.resp = resp,
		.body = it->content,
		.who = &f->who,
		.shared = &it->shared,
		.arena = it->arena };
	note_gap(it, &it->message);
	it->chain = chain_start(f->worker->loop, steps, n, &it->message,
	    &f->task);
}

/* ---- what a service sent back ---- */

enum pull
grpc_item_match(struct grpc_item *it)
{
	struct chain_result *r = chain_result(it->chain);

	if (r->body == NULL)
		return (PULL_FAIL);
	if (it->now.body == NULL)
		reader_open(&it->now, r->body, 0, &it->flow->task);
	return (reader_match_all(&it->first, &it->now, &it->again,
	    body_length(it->content)));
}
