/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The receiving half of a transaction, up to the last head: the ICAP head and
 * the heads it encapsulates.  What they mean is answer.c, the body adapted.c.
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 4.4.1, 4.4.2.
 */
#include <assert.h>
#include "icap/tx.h"

#define READ_BYTES 16384
#define TURN_MAX 524288 /* then others get their turn */
#define SLOPPY_BYTES 16 /* so far may the offsets be off */

/* The connection ended where an answer was due. */
static void
tx_peer_gone(struct icap_tx *tx, enum pull how)
{
	const char *error = link_error(tx->conn->net);

	assert(pull_is_last(how));
	if (tx->received == 0 && tx->conn->reused && !tx->fresh &&
	    tx_can_repeat(tx)) {
		tx->fresh = true; /* a race: once, on a new connection */
		tx->ep->stats.retries++;
		tx_again(tx);
		return;
	}
	if (tx->received == 0)
		icap_endpoint_hung_up(tx->ep);
	if (how == PULL_FAIL && error[0] != '\0')
		tx_fail(tx, ERR_SCAN_CUT, "%s", error);
	else
		tx_fail(tx, ERR_SCAN_CUT,
		    tx->received == 0
			? "closed the connection without an answer"
			: "closed the connection inside its answer");
}

static void
feed_answer(struct icap_tx *tx)
{
	struct fault f = { .code = ERR_NONE };
	struct http_msg *m;

	assert(tx->head != NULL && tx->answer == NULL);
	switch (h1_head_feed(tx->head, &tx->in, &m, &f)) {
	case H1_MORE:
		break;
	case H1_DONE:
		tx_take_answer(tx, m);
		break;
	case H1_BAD:
		tx_fail(tx, ERR_SCAN_PROTOCOL, "%s",
		    f.detail[0] != '\0' ? f.detail : err_info(f.code)->text);
		break;
	}
}

static enum h1_kind
part_kind(const struct icap_tx *tx)
{
	return (tx->encap.v[tx->part].part == ICAP_REQ_HDR ? H1_REQUEST
							   : H1_RESPONSE);
}

/*
 * A head is complete.  Offsets that are a little off occur in real servers:
 * the empty line counts, blank lines up to the offset are passed over.
 */
static void
end_part(struct icap_tx *tx, struct http_msg *m)
{
	uint32_t from = tx->encap.v[tx->part].offset;
	uint32_t to = tx->encap.v[tx->part + 1].offset;
	size_t said = to - from;

	assert(m->is_request == (part_kind(tx) == H1_REQUEST));
	assert(tx->part + 1 < tx->encap.n && to >= from);
	if (tx->part_bytes > said + SLOPPY_BYTES ||
	    said > tx->part_bytes + SLOPPY_BYTES) {
		tx_fail(tx, ERR_SCAN_PROTOCOL,
		    "Encapsulated offsets do not fit the heads");
		return;
	}
	tx->slack = said > tx->part_bytes ? said - tx->part_bytes : 0;
	if (m->is_request)
		tx->req = m;
	else
		tx->resp = m;
	tx->part++;
	tx->part_bytes = 0;
	tx->head = NULL;
	tx_enter(tx, TX_HEADS);
}

static void
feed_heads(struct icap_tx *tx)
{
	size_t had = chq_len(&tx->in);
	struct fault f = { .code = ERR_NONE };
	struct http_msg *m;
	enum h1_step step;

	tx_skip_slack(tx);
	if (tx->part + 1 >= tx->encap.n) {
		tx_take_heads(tx);
		return;
	}
	if (tx->head == NULL)
		tx->head = h1_head_new(tx->arena, part_kind(tx),
		    &h1_limits_origin);
	step = h1_head_feed(tx->head, &tx->in, &m, &f);
	tx->part_bytes += had - chq_len(&tx->in);
	if (step == H1_BAD)
		tx_fail(tx, ERR_SCAN_MESSAGE, "adapted head: %s",
		    f.detail[0] != '\0' ? f.detail : err_info(f.code)->text);
	else if (step == H1_DONE)
		end_part(tx, m);
}

void
tx_skip_slack(struct icap_tx *tx)
{
	const unsigned char *p;
	size_t n;

	while (tx->slack > 0 && chq_len(&tx->in) > 0) {
		p = chq_peek(&tx->in, &n);
		if (*p != '\r' && *p != '\n') {
			tx->slack = 0;
			return;
		}
		chq_drop(&tx->in, 1);
		tx->slack--;
	}
}

/* Is there something to do before further bytes come? */
static bool
has_work(const struct icap_tx *tx)
{
	return (chq_len(&tx->in) > 0 || tx->compare.waits ||
	    (tx->state == TX_HEADS && tx->part + 1 >= tx->encap.n &&
		!tx->collecting));
}

void
tx_receive(struct icap_tx *tx)
{
	uint64_t turn = tx->received + TURN_MAX;
	enum pull r;

	while (tx->state == TX_ANSWER || tx->state == TX_HEADS) {
		if (tx->received >= turn) {
			task_wake(&tx->task);
			return;
		}
		if (!has_work(tx)) {
			r = link_read(tx->conn->net, &tx->in, READ_BYTES);
			if (r == PULL_WAIT)
				return;
			if (r != PULL_MORE) {
				tx_peer_gone(tx, r);
				return;
			}
			tx->progress_at = loop_now(tx->svc->loop);
			tx->received += chq_len(&tx->in);
		}
		if (tx->state == TX_ANSWER)
			feed_answer(tx);
		else
			feed_heads(tx);
		if (tx->compare.waits)
			return;
	}
}
