/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an answer means: its status, its heads, the verdict.
 * Room: icap.  Thread: its loop's.
 * Obeys RFC 3507 4.3.3, 4.4.1, 4.5, 4.6, 4.8.2, 4.9.2; errata e5, e7.
 */
#include <assert.h>
#include "http/length.h"
#include "icap/adapt.h"
#include "icap/tx.h"

#define CONTINUES_MAX 8 /* endless 100s are a failure */

static void
answer_continue(struct icap_tx *tx)
{
	if (++tx->continues > CONTINUES_MAX) {
		tx_fail(tx, ERR_SCAN_PROTOCOL, "endless 100 Continue");
		return;
	}
	tx->head = h1_head_new(tx->arena, H1_ICAP_RESPONSE, &h1_limits_origin);
	tx_send_rest(tx); /* after ieof there is none (erratum 5893) */
}

/* Is nothing to come behind the head?  Else the connection is not usable. */
static bool
ends_here(struct icap_tx *tx)
{
	const struct http_field *f = http_fields_get(&tx->answer->fields,
	    FIELD_ENCAPSULATED);
	bool resp_mode = tx->msg->mode == SCAN_RESP;

	return (f == NULL ||
	    (icap_encap_parse(f->value, resp_mode, &tx->encap) &&
		tx->encap.n <= 1 &&
		icap_encap_body(&tx->encap) == ICAP_NULL_BODY));
}

static void
answer_no_content(struct icap_tx *tx)
{
	tx->stray = !ends_here(tx);
	tx_release_conn(tx);
	if (tx->scan->scanner->cache != NULL && icap_reusable(tx))
		tx->scan->result.depends = icap_depends(tx->scan->scanner,
		    tx->scan->msg);
	tx_clean(tx);
}

/* A threat, and no message that could be a page or repaired. */
static void
answer_found(struct icap_tx *tx)
{
	tx->stray = !ends_here(tx);
	tx_release_conn(tx);
	tx_block(tx);
}

/* Its tail may be wanted at the end of the adapted body. */
static bool
keep_original(struct icap_tx *tx)
{
	assert(tx->body != NULL && tx->original.body == NULL);
	if (!tx_can_repeat(tx)) {
		tx_fail(tx, ERR_SCAN_MESSAGE, "206 after the original is gone");
		return (false);
	}
	reader_open(&tx->original, tx->body, 0, &tx->task);
	/* c-icap takes what it has not read by then for the next request. */
	tx->stray = tx->send != SEND_HELD &&
	    (tx->preview < 0 || tx->sent > (uint64_t)tx->preview);
	return (true);
}

static void
answer_message(struct icap_tx *tx)
{
	const struct http_field *f = http_fields_get(&tx->answer->fields,
	    FIELD_ENCAPSULATED);

	if (f == NULL ||
	    !icap_encap_parse(f->value, tx->msg->mode == SCAN_RESP,
		&tx->encap)) {
		tx_fail(tx, ERR_SCAN_PROTOCOL,
		    f == NULL ? "%u without Encapsulated"
			      : "%u with a bad Encapsulated",
		    tx->answer->status);
		return;
	}
	if (tx->answer->status == 206 &&
	    (!tx->offered_206 ||
		icap_encap_body(&tx->encap) == ICAP_NULL_BODY)) {
		tx_fail(tx, ERR_SCAN_PROTOCOL, "206 where it was not offered");
		return;
	}
	tx->part = 0;
	tx->part_bytes = 0;
	tx->head = NULL;
	tx->req = tx->resp = NULL;
	if (tx->answer->status == 206 && !keep_original(tx))
		return;
	tx_enter(tx, TX_HEADS);
	tx_send_stop(tx);
}

/* 503, 506: overloaded.  Others may take the message, or it waits. */
static void
answer_overloaded(struct icap_tx *tx)
{
	assert(tx->ep->index < ICAP_MAX_URLS);
	icap_endpoint_is_busy(tx->ep);
	tx->said_busy |= 1u << tx->ep->index;
	tx->overloaded = true;
	if (tx_can_repeat(tx))
		tx_again(tx);
	else
		tx_fail(tx, ERR_SCAN_BUSY, "answered %u", tx->answer->status);
}

static void
answer_error(struct icap_tx *tx)
{
	const struct http_msg *m = tx->answer;

	/* 408 to an idle connection crossed our request: as if it had closed. */
	if (m->status == 408 && tx->conn->reused && !tx->fresh &&
	    tx_can_repeat(tx)) {
		tx->fresh = true;
		tx->ep->stats.retries++;
		tx_again(tx);
		return;
	}
	tx_fail(tx, ERR_SCAN_STATUS, "answered %u %.*s", m->status,
	    (int)(m->reason.n < 60 ? m->reason.n : 60), m->reason.p);
}

static bool
has_message(const struct http_msg *m)
{
	return (m->status == 200 || m->status == 201 || m->status == 206);
}

void
tx_take_answer(struct icap_tx *tx, struct http_msg *m)
{
	const struct http_field *tag = http_fields_get(&m->fields, FIELD_ISTAG);

	assert(tx->state == TX_ANSWER && tx->answer == NULL);
	if (m->status == 100) {
		answer_continue(tx);
		return;
	}
	tx->answer = m;
	if (tag != NULL)
		icap_endpoint_istag(tx->ep, tag->value);
	if (m->status != 503 && m->status != 506)
		icap_endpoint_worked(tx->ep);
	tx->finding = icap_find_threat(&m->fields, NULL, &tx->threat);
	if (tx->finding != ICAP_FOUND_NOTHING && !has_message(m)) {
		answer_found(tx);
		return;
	}
	switch (m->status) {
	case 204:
		answer_no_content(tx);
		break;
	case 200:
	case 201:
	case 206:
		answer_message(tx);
		break;
	case 503:
	case 506:
		answer_overloaded(tx);
		break;
	default:
		answer_error(tx);
		break;
	}
}

/* The heads of the message. */

enum shape { SHAPE_NOTHING, SHAPE_REQUEST, SHAPE_RESPONSE, SHAPE_BAD };

/* RFC 3507 4.4.1: which lists are legal in which mode. */
static enum shape
shape_of(const struct icap_tx *tx)
{
	enum icap_part body = icap_encap_body(&tx->encap);
	bool resp_mode = tx->msg->mode == SCAN_RESP;
	enum shape shape;

	if (tx->encap.n == 1 && body == ICAP_NULL_BODY)
		return (SHAPE_NOTHING); /* not a word that it is unchanged */
	shape = resp_mode || tx->resp != NULL ? SHAPE_RESPONSE : SHAPE_REQUEST;
	if (body == ICAP_OPT_BODY ||
	    (shape == SHAPE_RESPONSE && body == ICAP_REQ_BODY) ||
	    (shape == SHAPE_REQUEST && body == ICAP_RES_BODY) ||
	    (resp_mode && tx->resp == NULL && body == ICAP_NULL_BODY))
		return (SHAPE_BAD);
	return (shape);
}

/* An answer without a head of its own keeps the old one. */
static struct http_msg *
head_or_old(struct icap_tx *tx, enum shape shape)
{
	const struct scan_message *msg = tx->msg;

	if (shape == SHAPE_RESPONSE && tx->resp != NULL)
		return (tx->resp);
	if (shape == SHAPE_REQUEST && tx->req != NULL)
		return (tx->req);
	if (tx->kept == NULL)
		tx->kept = http_msg_copy(tx->arena,
		    shape == SHAPE_RESPONSE ? msg->resp : msg->req);
	return (tx->kept);
}

/* What the service wrote into the heads of the message itself. */
static void
hear_heads(struct icap_tx *tx)
{
	const struct scan_message *msg = tx->msg;
	const struct http_msg *m = tx->resp != NULL ? tx->resp : tx->req;
	const struct http_msg *was = m == tx->req ? msg->req : msg->resp;
	enum icap_finding found;
	struct str threat;

	if (m == NULL)
		return;
	found = icap_find_threat(&m->fields, was != NULL ? &was->fields : NULL,
	    &threat);
	if (found <= tx->finding)
		return;
	tx->finding = found;
	if (threat.n > 0)
		tx->threat = threat;
}

static enum verdict
judge(const struct icap_tx *tx, const struct http_msg *m, enum shape shape)
{
	const struct scan_message *msg = tx->msg;

	if (tx->finding == ICAP_FOUND_THREAT)
		return (VERDICT_BLOCKED);
	if (shape == SHAPE_REQUEST)
		return (VERDICT_MODIFIED);
	if (msg->mode == SCAN_REQ ||
	    (m->status >= 300 && msg->resp->status < 300))
		return (VERDICT_BLOCKED);
	return (VERDICT_MODIFIED);
}

/*
 * Is there a finding, and what came along neither a page about it nor repaired?
 * Or was the service not given the whole of what it replaces?
 * Nobody gets a message that may be the infected one.
 */
static bool
is_overruled(const struct icap_tx *tx, const struct http_msg *m,
    enum shape shape, bool has_body, bool whole)
{
	if (judge(tx, m, shape) == VERDICT_BLOCKED)
		return (!tx_is_page(tx, m) &&
		    !(tx_may_be_page(tx, m) && whole && tx_is_foreign(tx)));
	if (tx->cut_short || tx_decode_gap(tx) != GAP_NONE)
		return (true); /* made of a part that passed for the whole */
	return (tx->finding == ICAP_FOUND_REPAIRED &&
	    (tx_is_handed_back(tx, m, has_body) ||
		tx_is_recoded(tx, m, has_body)));
}

static void
give_result(struct icap_tx *tx, struct http_msg *m, enum shape shape,
    bool has_body, uint64_t length)
{
	struct scan_result *r = &tx->scan->result;

	r->verdict = judge(tx, m, shape);
	r->threat = arena_str(tx->arena, tx->threat);
	r->has_message = true;
	tx->blocked = r->verdict == VERDICT_BLOCKED;
	if (shape == SHAPE_REQUEST)
		r->req = m;
	else
		r->resp = m;
	if (has_body) {
		tx->streams = true;
		r->body = body_new(tx->svc->loop, tx->svc->o.store, &tx->source,
		    length == HTTP_LENGTH_UNKNOWN ? BODY_UNKNOWN : length);
		if (tx->msg->who != NULL)
			body_charge_to(r->body, tx->msg->who->account);
		tx_enter(tx, TX_STREAM);
		tx_decode_stop(tx);
	} else {
		tx_release_conn(tx);
	}
	tx_finish(tx);
}

/* What the adapted head says; HTTP_LENGTH_UNKNOWN: nothing to rely on. */
static uint64_t
said_length(const struct icap_tx *tx, const struct http_msg *m)
{
	uint64_t said;

	/* 206: the head may be that of the original, the body is not. */
	if (tx->answer->status == 206 || m == tx->kept ||
	    !http_content_length(&m->fields, true, &said))
		return (HTTP_LENGTH_UNKNOWN);
	return (said);
}

/*
 * How a message is framed depends on what it is, never on how many of its
 * octets came at once.  Requests, pages and what says its length are short or
 * not: up to READY_MAX they are collected.  Others are sent on as they come.
 */
static bool
wants_length(const struct icap_tx *tx, const struct http_msg *m,
    enum shape shape)
{
	return (m->is_request || judge(tx, m, shape) == VERDICT_BLOCKED ||
	    said_length(tx, m) != HTTP_LENGTH_UNKNOWN);
}

/* What has come does not tell yet how to go on. */
static bool
must_collect(const struct icap_tx *tx, const struct http_msg *m,
    enum shape shape)
{
	return (tx_source_here(tx) == 0 || wants_length(tx, m, shape) ||
	    tx->compare.state == COMPARE_ON ||
	    (tx->finding != ICAP_FOUND_NOTHING && !tx_is_page(tx, m) &&
		tx->compare.state != COMPARE_OTHER));
}

/*
 * The length to go on with.  here: of the body that has come wholly.  One that
 * is only said is held against the octets by whoever sends them on.
 */
static uint64_t
final_length(const struct icap_tx *tx, const struct http_msg *m,
    enum shape shape, uint64_t here)
{
	uint64_t said = said_length(tx, m);

	if (here != HTTP_LENGTH_UNKNOWN)
		return (here == 0 || wants_length(tx, m, shape)
			? here
			: HTTP_LENGTH_UNKNOWN);
	return (said >= tx_source_here(tx) ? said : HTTP_LENGTH_UNKNOWN);
}

static void
take_message(struct icap_tx *tx, enum shape shape)
{
	const struct scan_message *msg = tx->msg;
	bool has_body = icap_encap_body(&tx->encap) != ICAP_NULL_BODY;
	struct http_msg *m = head_or_old(tx, shape);
	uint64_t length = HTTP_LENGTH_UNKNOWN;
	struct fault f = { .code = ERR_NONE };
	enum pull r = PULL_END;

	if (shape == SHAPE_RESPONSE && icap_never_has_body(msg, m)) {
		tx->stray = has_body;
		has_body = false;
	}
	hear_heads(tx);
	if (judge(tx, m, shape) == VERDICT_BLOCKED && !tx_may_be_page(tx, m)) {
		tx_block(tx);
		return;
	}
	if (has_body) {
		r = tx_source_begin(tx,
		    judge(tx, m, shape) == VERDICT_MODIFIED ? m : NULL, &length,
		    &f);
		if (r == PULL_WAIT && must_collect(tx, m, shape)) {
			tx->collecting = true;
			return;
		}
		if (r == PULL_CUT) {
			tx_fail_as(tx, &f);
			return;
		}
		if (r == PULL_FAIL) {
			tx_fail(tx, ERR_SCAN_PROTOCOL,
			    "invalid chunked coding");
			return;
		}
		length = final_length(tx, m, shape, length);
	}
	if (shape == SHAPE_RESPONSE)
		icap_adapt_response(msg, m, has_body, length, &f);
	else
		icap_adapt_request(msg, m, has_body, length, &f);
	if (f.code != ERR_NONE)
		tx_fail(tx, f.code, "%s", f.detail);
	else if (is_overruled(tx, m, shape, has_body, r == PULL_END))
		tx_block(tx);
	else
		give_result(tx, m, shape, has_body && length != 0, length);
}

void
tx_take_heads(struct icap_tx *tx)
{
	enum shape shape = shape_of(tx);

	assert(tx->state == TX_HEADS);
	if (shape == SHAPE_BAD)
		tx_fail(tx, ERR_SCAN_PROTOCOL,
		    "encapsulated parts do not fit the request");
	else if (shape == SHAPE_NOTHING)
		tx_fail(tx, ERR_SCAN_PROTOCOL, "%u without a message",
		    tx->answer->status);
	else
		take_message(tx, shape);
}
