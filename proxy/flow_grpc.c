/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls of gRPC over HTTP/2.  Where a chain looks at one, it does so message by
 * message (grpc_way.h), so that neither side ever waits for an end that only
 * comes when the other has had what it sent: request and answer flow at the same
 * time, from the begin.  Whatever ends a call early is said as its client
 * understands it, behind the answer's last whole message too.
 *
 * A call may be silent one way for as long as it goes on the other way.
 */
#include <assert.h>
#include "http/length.h"
#include "proxy/flow.h"
#include "proxy/grpc_way.h"
#include "proxy/pages/page.h"

#define AGAIN_BYTES 65536 /* of a call that may go out once more */

struct flow_grpc {
	struct grpc_way up, down;
	uint64_t moved;    /* octets, both ways, at the last look */
	uint64_t moved_at; /* ms */
};

static const struct worker_chain *
chain_of(const struct flow *f, const struct policy_scan *of)
{
	const struct worker_chain *chain = worker_gen_chain(f->gen, of);

	return (chain != NULL && chain->n > 0 ? chain : NULL);
}

void
flow_grpc_begin(struct flow *f)
{
	if (!f->x->type->http2 || f->upgrade != NULL ||
	    f->plan.stream == POLICY_STREAM_SCAN || !http_grpc_is_call(f->req))
		return;
	f->grpc = arena_zalloc(f->arena, sizeof(*f->grpc));
	f->grpc->moved_at = loop_now(f->worker->loop);
}

bool
flow_grpc_asks(struct flow *f, struct scan_message *m)
{
	struct http_msg *head;

	if (f->grpc == NULL || f->req_body == NULL)
		return (true);
	if (f->plan.stream == POLICY_STREAM_BLOCK) {
		flow_block(f, f->plan.rule[POLICY_BY_STREAM],
		    "an endless request");
		return (false);
	}
	head = http_msg_copy(f->arena, f->req);
	http_length_set(head, NULL, false, 0);
	m->req = head;
	m->body = NULL;
	return (true);
}

void
flow_grpc_request(struct flow *f)
{
	const struct worker_chain *chain = chain_of(f, f->plan.scan_req);

	assert(f->grpc != NULL && f->req_body != NULL && chain != NULL);
	if (!http_grpc_is_call(f->req)) {
		flow_fail_code(f, ERR_SCAN_MESSAGE,
		    "a service made something else of a call");
		return;
	}
	pump_hold(&f->up, f->req_body, &f->task);
	flow_trim(f, &f->up);
	grpc_way_init(&f->grpc->up, f, SCAN_REQ, f->req, f->req_body, &f->up,
	    chain);
	task_wake(&f->task);
	flow_go(f, FLOW_STATE_ORIGIN);
}

bool
flow_grpc_takes_response(struct flow *f)
{
	const struct worker_chain *chain = chain_of(f, f->plan.scan_resp);

	if (f->grpc == NULL || f->resp_body == NULL || !f->resp_from_origin ||
	    f->is_part || (chain == NULL && f->grpc->up.flow == NULL) ||
	    !http_grpc_is_answer(f->resp) ||
	    (chain != NULL && f->plan.stream == POLICY_STREAM_SCAN))
		return (false);
	if (chain != NULL && f->plan.stream == POLICY_STREAM_BLOCK) {
		flow_block(f, f->plan.rule[POLICY_BY_STREAM],
		    "an endless answer");
		return (true);
	}
	http_grpc_offer_known(f->resp);
	grpc_way_init(&f->grpc->down, f, SCAN_RESP, f->resp, f->resp_body,
	    &f->down, chain);
	task_wake(&f->task);
	flow_go(f, FLOW_STATE_REPLY);
	return (true);
}

uint64_t
flow_grpc_mark(const struct flow *f, const struct pump *p)
{
	const struct flow_grpc *g = f->grpc;
	const struct grpc_way *w;

	if (g == NULL)
		return (BODY_ALL);
	w = p == &f->up ? &g->up : &g->down;
	assert(p == &f->up || p == &f->down);
	return (w->flow != NULL ? grpc_way_mark(w) : BODY_ALL);
}

/* ---- a turn ---- */

/* False: the flow has failed. */
static bool
run_way(struct flow *f, struct grpc_way *w, struct pump *p)
{
	switch (grpc_way_run(w)) {
	case GRPC_WAY_MORE:
		task_wake(&f->task);
		break;
	case GRPC_WAY_WAITS:
		break;
	case GRPC_WAY_STOPPED:
		flow_fail(f, &f->fault);
		return (false);
	case GRPC_WAY_BROKEN:
		f->blocked = true;
		flow_fail_code(f, ERR_UNSCANNED,
		    w->mode == SCAN_REQ
			? "a request that is not the gRPC that its type says"
			: "an answer that is not the gRPC that its type says");
		return (false);
	case GRPC_WAY_CUT:
		flow_fail(f, body_fault(w->look.body));
		return (false);
	}
	if (p->started)
		reader_release(&p->reader, grpc_way_mark(w));
	return (true);
}

static void
note_moves(struct flow *f)
{
	struct flow_grpc *g = f->grpc;
	uint64_t n = f->up.sent + f->down.sent + g->up.look.offset +
	    g->down.look.offset;

	if (n == g->moved && !grpc_way_is_scanning(&g->up) &&
	    !grpc_way_is_scanning(&g->down))
		return;
	if (f->up.sent > AGAIN_BYTES)
		reader_close(&f->body_again);
	g->moved = n;
	g->moved_at = loop_now(f->worker->loop);
}

void
flow_grpc_run(struct flow *f)
{
	struct flow_grpc *g = f->grpc;

	if (g == NULL)
		return;
	note_moves(f);
	if (g->up.flow != NULL && !run_way(f, &g->up, &f->up))
		return;
	if (g->down.flow != NULL)
		(void)run_way(f, &g->down, &f->down);
}

void
flow_grpc_turn_ends(struct flow *f)
{
	struct flow_grpc *g = f->grpc;

	if (g != NULL &&
	    (grpc_way_goes_on(&g->up) || grpc_way_goes_on(&g->down)))
		task_wake(&f->task);
}

/* ---- ends ---- */

bool
flow_grpc_tell(struct flow *f)
{
	const struct grpc_way *w = f->grpc != NULL ? &f->grpc->down : NULL;
	struct http_fields *end;
	struct page_facts facts;

	if (w == NULL || w->flow == NULL || !f->down.started ||
	    pull_is_last(f->down.end))
		return (false);
	reader_release(&f->down.reader, w->edge);
	if (!pump_flush(&f->down, w->edge))
		return (false);
	end = arena_zalloc(f->arena, sizeof(*end));
	flow_page_facts(f, &facts);
	page_grpc_end(f->arena, &facts, end);
	f->down.end = sink_end(f->down.sink, end);
	return (f->down.end == PULL_END);
}

void
flow_grpc_stop(struct flow *f)
{
	struct flow_grpc *g = f->grpc;

	if (g == NULL)
		return;
	f->grpc = NULL;
	grpc_way_fini(&g->up);
	grpc_way_fini(&g->down);
}

/* ---- clocks ---- */

uint64_t
flow_grpc_due(const struct flow *f)
{
	const struct flow_grpc *g = f->grpc;

	assert(g != NULL);
	if (grpc_way_is_scanning(&g->up) || grpc_way_is_scanning(&g->down))
		return (UINT64_MAX); /* it waits for us */
	return (g->moved_at + f->gen->gen->conf->limits.first_byte_ms);
}
