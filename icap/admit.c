/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A transaction's way to a connection: it has something to say, its client's
 * turn comes, a server is chosen and reached.
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 4.5, 4.10.2.
 */
#include <assert.h>
#include "icap/kind.h"
#include "icap/tx.h"

static struct account *
tx_account(const struct icap_tx *tx)
{
	return (tx->msg->who != NULL ? tx->msg->who->account : NULL);
}

static void
tx_talk(struct icap_tx *tx)
{
	assert(tx->conn != NULL && tx->conn->ep == tx->ep);
	link_charge_to(tx->conn->net, tx_account(tx));
	tx_enter(tx, TX_ANSWER);
	link_set_owner(tx->conn->net, &tx->task);
	tx->head = h1_head_new(tx->arena, H1_ICAP_RESPONSE, &h1_limits_origin);
	tx->ep->stats.transactions++;
	timer_set(&tx->deadline, tx->svc->o.timeout_ms);
	tx_send_begin(tx);
}

/* Its turn comes later, or never. */
static void
tx_wait(struct icap_tx *tx)
{
	tx->ep = NULL;
	if (!tx_queue_join(tx, false))
		tx_fail(tx, ERR_SCAN_BUSY, "too many are waiting already");
}

/* No place on any server that is up. */
static void
tx_all_busy(struct icap_tx *tx, const char *why)
{
	assert(tx->conn == NULL);
	tx->ep = NULL;
	if (tx->svc->o.on_busy == ICAP_BUSY_WAIT)
		tx_wait(tx);
	else
		tx_fail(tx, ERR_SCAN_BUSY, "%s",
		    tx->overloaded ? "answered that it is overloaded" : why);
}

/* RFC 3507 4.10.2, Transfer-Ignore: it does not want files of this kind. */
static bool
tx_is_ignored(struct icap_tx *tx)
{
	if (!tx->svc->o.obey_transfer ||
	    icap_options_transfer(&tx->ep->caps, tx->msg->req->uri.path) !=
		ICAP_IGNORE ||
	    !icap_kind_agrees(tx->msg))
		return (false);
	if (tx->conn != NULL)
		icap_conn_give(&tx->conn);
	else
		icap_pool_unreserve(tx->ep);
	tx->scan->result.unwanted = true;
	tx_unscanned(tx, GAP_LIMIT,
	    "the service does not want this kind of file");
	return (true);
}

/*
 * No place in the queue, and no connection, for a body that is not there yet.
 * False: it is waited for, or the scan is over.
 */
static bool
tx_has_to_say(struct icap_tx *tx)
{
	enum pull r = tx_gather(tx);

	if (r == PULL_CUT || r == PULL_FAIL)
		tx_body_cut(tx);
	if (r == PULL_WAIT) {
		tx_queue_leave(tx);
		tx->queue_until = 0;
	}
	if (r != PULL_END || tx->queue_until > 0)
		return (r == PULL_END);
	tx->queue_until = loop_now(tx->svc->loop) + tx->svc->o.timeout_ms;
	timer_set_at(&tx->deadline, tx->queue_until);
	return (true);
}

/* All that could take it have said 503. */
static void
tx_pause(struct icap_tx *tx)
{
	assert(tx->said_busy != 0);
	tx->said_busy = 0;
	tx->backoff = tx->backoff == 0 ? BUSY_MIN_MS : tx->backoff * 2;
	if (tx->backoff > BUSY_MAX_MS)
		tx->backoff = BUSY_MAX_MS;
	tx->not_before = loop_now(tx->svc->loop) + tx->backoff;
}

void
tx_admit(struct icap_tx *tx)
{
	struct fault f = tx->last;
	enum icap_admit r;

	assert(tx->state == TX_QUEUE && tx->conn == NULL);
	if (!tx_has_to_say(tx))
		return;
	if (!tx_gets_share(tx)) {
		tx_all_busy(tx, "this client's slow bodies hold its share");
		return;
	}
	if (!tx_is_next(tx)) {
		tx_wait(tx);
		return;
	}
	r = icap_service_admit(tx->svc, tx->tried | tx->said_busy, tx->fresh,
	    &tx->ep, &tx->conn, &f);
	if (r == ICAP_REFUSED && tx->said_busy != 0) {
		tx_pause(tx); /* there is no other one */
		r = ICAP_BUSY;
	}
	switch (r) {
	case ICAP_GO:
		tx_queue_pass(tx);
		if (tx_is_ignored(tx))
			break;
		tx_hold(tx);
		if (tx->conn != NULL) {
			tx_talk(tx);
			break;
		}
		tx_enter(tx, TX_CONNECT);
		icap_connect_start(&tx->connect, tx->ep, tx_account(tx),
		    &tx->task);
		break;
	case ICAP_WAIT:
		tx_wait(tx);
		break;
	case ICAP_BUSY:
		tx_all_busy(tx, "all connections are in use");
		break;
	case ICAP_REFUSED:
		tx->ep = NULL;
		if (f.code == ERR_NONE)
			fault_set(&f, ERR_SCAN_DOWN, "%s", tx->svc->o.name);
		tx_fail_as(tx, &f);
		break;
	}
}

void
tx_connected(struct icap_tx *tx)
{
	assert(tx->state == TX_CONNECT && tx->ep != NULL);
	if (!tx->connect.done)
		return;
	if (tx->connect.conn != NULL) {
		tx->conn = tx->connect.conn;
		tx->connect.conn = NULL;
		icap_connect_cancel(&tx->connect);
		tx_talk(tx);
		return;
	}
	tx->last = tx->connect.fault;
	tx->tried |= 1u << tx->ep->index;
	if (tx->last.code != ERR_SCAN_BUSY) /* our want, not its fault */
		icap_endpoint_unreachable(tx->ep);
	tx_again(tx);
}
