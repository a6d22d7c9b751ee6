/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sending half of a transaction: heads, preview, rest.
 * A chunk announces only bytes that are at hand.
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 4.4, 4.5; RFC 9112 7.1.
 */
#include <assert.h>
#include "icap/request.h"
#include "icap/tx.h"

#define CHUNK_MAX 65536 /* of one chunk */
#define TURN_MAX 524288 /* then others get their turn */

void
tx_send_enter(struct icap_tx *tx, enum send_state s)
{
	static const unsigned next[SEND_STATE_COUNT] = {
#define S(name, next) [SEND_##name] = next,
		SEND_STATES(S)
#undef S
	};

	assert((next[tx->send] & 1u << s) != 0);
	tx->send = s;
}

/* How much to announce for this message; -1: send it whole. */
static int32_t
choose_preview(const struct icap_tx *tx)
{
	const struct icap_caps *c = &tx->ep->caps;
	int32_t asked = tx->svc->o.preview;

	if (tx->body == NULL || asked == ICAP_PREVIEW_OFF || c->preview < 0 ||
	    icap_options_transfer(c, tx->msg->req->uri.path) == ICAP_COMPLETE)
		return (-1);
	return (asked >= 0 && asked < c->preview ? asked : c->preview);
}

void
tx_send_begin(struct icap_tx *tx)
{
	struct icap_service *svc = tx->svc;
	const struct scan_message *msg = tx->msg;
	struct icap_request r = {
		.msg = msg,
		.prefix = tx->ep->prefix[msg->mode],
		.headers = svc->o.headers,
		.n_headers = svc->o.n_headers,
		.shared = tx->shared,
		.identity = svc->o.identity,
		.wants_user = tx->ep->caps.wants_user,
		.wants_username = tx->ep->caps.wants_username,
		.has_body = tx->body != NULL,
	};

	assert(tx->state == TX_ANSWER && tx->send == SEND_NOTHING);
	tx->preview = r.preview = choose_preview(tx);
	/* What a 206 refers to is held anyway, in a preview or not. */
	tx->offered_206 = r.allow_206 = tx->ep->caps.allow_206 &&
	    tx->body != NULL && tx->coded == NULL && tx_can_repeat(tx);
	tx->limit = svc->o.max_body > 0 && svc->o.over_max == SCAN_POLICY_BYPASS
	    ? svc->o.max_body
	    : BODY_ALL;
	if (tx->body != NULL && body_length(tx->body) != BODY_UNKNOWN &&
	    body_length(tx->body) > tx->limit)
		r.length = tx->limit;
	icap_request_build(&r, &svc->icap_head, &svc->http_head);
	link_write(tx->conn->net, svc->icap_head.p, svc->icap_head.n);
	link_write(tx->conn->net, svc->http_head.p, svc->http_head.n);
	tx->sent = 0;
	tx->body_waits = tx->early_100 = tx->cut_short = false;
	if (tx->body == NULL) {
		tx_send_enter(tx, SEND_DONE);
		return;
	}
	reader_open(&tx->reader, tx->body, 0, &tx->task);
	tx_send_enter(tx, tx->preview >= 0 ? SEND_PREVIEW : SEND_REST);
}

/* One chunk of all that was read. */
static void
write_chunk(struct icap_tx *tx)
{
	struct link *net = tx->conn->net;
	size_t n = chq_len(&tx->out);
	char line[20];

	assert(n > 0);
	link_write(net, line, h1_chunk_line(line, n));
	link_write_chq(net, &tx->out, n);
	link_write(net, "\r\n", 2);
	tx->sent += n;
	tx_decode_sent(tx);
	tx->progress_at = loop_now(tx->svc->loop);
}

/* All that it may have is there: does the body end, or only for the service? */
static enum pull
at_limit(struct icap_tx *tx)
{
	enum pull r = reader_skip(&tx->reader, tx->limit + 1);

	if (r != PULL_MORE)
		return (r);
	tx->cut_short = true;
	return (PULL_END);
}

/* Read up to max bytes; PULL_MORE: more may be had. */
static enum pull
gather(struct icap_tx *tx, uint64_t max)
{
	uint64_t left = tx->limit - tx->sent;
	enum pull r = PULL_MORE;

	assert(tx->sent + chq_len(&tx->out) <= tx->limit);
	assert(tx->reader.body != NULL);
	if (max > left)
		max = left;
	while (r == PULL_MORE && chq_len(&tx->out) < max)
		r = reader_pull(&tx->reader, &tx->out,
		    (size_t)(max - chq_len(&tx->out)));
	if (r == PULL_MORE && chq_len(&tx->out) == left)
		r = at_limit(tx);
	tx->body_waits = r == PULL_WAIT;
	return (r);
}

/* It may not have that much, or echoes a message whose rest it never sees. */
static bool
is_too_large(const struct icap_tx *tx)
{
	const struct icap_options *o = &tx->svc->o;

	return ((o->max_body > 0 && o->over_max == SCAN_POLICY_BLOCK &&
		    tx->sent + chq_len(&tx->out) > o->max_body) ||
	    (tx->cut_short && tx->state == TX_STREAM));
}

/* It echoes a body that breaks off only for us. */
static bool
is_broken(const struct icap_tx *tx)
{
	return (tx->state == TX_STREAM && tx_decode_gap(tx) != GAP_NONE);
}

static void
end_sending(struct icap_tx *tx)
{
	assert(tx->body != NULL);
	reader_close(&tx->reader);
	tx_unhold(tx);
	tx->progress_at = loop_now(tx->svc->loop);
	tx_send_enter(tx, SEND_DONE);
	tx_decode_stop(tx);
}

/* The preview is out: an end known by now is said (RFC 3507 4.5). */
static void
end_preview(struct icap_tx *tx, bool whole)
{
	struct link *net = tx->conn->net;

	if (whole) {
		link_write(net, "0; ieof\r\n\r\n", 11);
		end_sending(tx);
		return;
	}
	link_write(net, "0\r\n\r\n", 5);
	tx->body_waits = false;
	tx->progress_at = loop_now(tx->svc->loop);
	tx_send_enter(tx, SEND_HELD);
	if (tx->state == TX_HEADS || tx->state == TX_STREAM)
		tx_send_stop(tx);
	else if (tx->early_100)
		tx_send_rest(tx);
}

void
tx_send_stop(struct icap_tx *tx)
{
	if (tx->send == SEND_HELD)
		end_sending(tx);
}

static enum tx_sent
send_preview(struct icap_tx *tx)
{
	uint64_t size = (uint64_t)tx->preview;
	enum pull r = gather(tx, size - tx->sent);

	assert(tx->preview >= 0 && tx->sent <= (uint64_t)tx->preview);
	if (is_too_large(tx))
		return (TX_TOO_LARGE);
	if (is_broken(tx))
		return (TX_BROKEN);
	if (chq_len(&tx->out) > 0)
		write_chunk(tx);
	if (r == PULL_CUT || r == PULL_FAIL)
		return (TX_BODY_CUT);
	if (r == PULL_END || tx->sent == size)
		end_preview(tx,
		    r == PULL_END || body_length(tx->body) == tx->sent);
	return (TX_SENT);
}

void
tx_send_rest(struct icap_tx *tx)
{
	assert(tx->state == TX_ANSWER);
	if (tx->send == SEND_HELD)
		tx_send_enter(tx, SEND_REST);
	else
		tx->early_100 = true; /* remembered */
}

static enum tx_sent
send_rest(struct icap_tx *tx)
{
	struct link *net = tx->conn->net;
	uint64_t turn = tx->sent + TURN_MAX;
	enum pull r = PULL_MORE;
	size_t room;

	tx->body_waits = false;
	while (r == PULL_MORE && (room = link_room(net)) > 0) {
		if (tx->sent >= turn) {
			task_wake(&tx->task);
			return (TX_SENT);
		}
		r = gather(tx, room < CHUNK_MAX ? room : CHUNK_MAX);
		if (is_too_large(tx))
			return (TX_TOO_LARGE);
		if (is_broken(tx))
			return (TX_BROKEN);
		if (chq_len(&tx->out) > 0)
			write_chunk(tx);
	}
	if (r == PULL_CUT || r == PULL_FAIL)
		return (TX_BODY_CUT);
	if (r == PULL_END) {
		link_write(net, "0\r\n\r\n", 5);
		end_sending(tx);
	}
	return (TX_SENT);
}

enum tx_sent
tx_send(struct icap_tx *tx)
{
	enum tx_sent r = TX_SENT;

	if (link_broken(tx->conn->net))
		/* what it answered, if anything, is read yet */
		return (TX_SENT);
	if (tx->send == SEND_PREVIEW)
		r = send_preview(tx);
	if (r == TX_SENT && tx->send == SEND_REST)
		r = send_rest(tx);
	return (r);
}

bool
tx_send_complete(const struct icap_tx *tx)
{
	return ((tx->send == SEND_DONE || tx->send == SEND_HELD) &&
	    link_drained(tx->conn->net));
}
