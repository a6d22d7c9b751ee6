/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who gets the next connection of a service.  A transaction takes one when it
 * has something to say.  Clients take turns, one message each; and one client's
 * slow bodies never hold all connections.
 * Room: icap.  Thread: its loop's; counts of all workers are atomic.
 */
#include <assert.h>
#include <limits.h>
#include <stdatomic.h>
#include "icap/tx.h"

#define QUEUE_MAX 1024    /* scans of one worker that wait for a service */
#define GATHER_BYTES 4096 /* worth a connection, where no preview says so */
#define GATHER_MS 1000    /* then less will do */
#define AHEAD_BYTES 65536 /* a body that is whole by then needs no share */

/* Clients. */

unsigned
icap_client_slot(uint64_t key)
{
	uint64_t h = (key ^ key >> 32) * 0x9e3779b97f4a7c15u;

	return ((unsigned)(h >> 32) % ICAP_CLIENTS);
}

/* Connections that all servers together offer; UINT_MAX: no limit. */
static unsigned
connections(const struct icap_service *svc)
{
	unsigned i, limit, sum = 0;

	for (i = 0; i < svc->n; i++) {
		limit = icap_pool_limit(&svc->eps[i]);
		if (limit >= UINT_MAX - sum)
			return (UINT_MAX);
		sum += limit;
	}
	return (sum);
}

/* How many of them slow bodies of one client may hold. */
static unsigned
share(const struct icap_service *svc)
{
	unsigned all = connections(svc), rest = all / 4;

	if (all == UINT_MAX || all < 2)
		return (all);
	return (all - (rest > 0 ? rest : 1));
}

/* Its end is still to come, at whatever pace its sender likes. */
static bool
is_slow(const struct icap_tx *tx)
{
	const struct body *b = tx->coded != NULL ? tx->coded : tx->body;

	return (b != NULL && body_end(b) == PULL_MORE &&
	    body_received(b) != body_length(b));
}

bool
tx_may_hold(const struct icap_tx *tx)
{
	if (tx->svc->o.on_busy == ICAP_BUSY_BYPASS || !is_slow(tx))
		return (true);
	return (
	    atomic_load(&tx->svc->shared->held[tx->client]) < share(tx->svc));
}

bool
tx_gets_share(struct icap_tx *tx)
{
	if (tx_may_hold(tx))
		return (true);
	if (tx->reader.body == NULL)
		reader_open(&tx->reader, tx->body, 0, &tx->task);
	(void)reader_skip(&tx->reader, AHEAD_BYTES);
	if (!tx_may_hold(tx))
		return (false);
	reader_close(&tx->reader);
	return (true);
}

void
tx_hold(struct icap_tx *tx)
{
	assert(tx->state == TX_QUEUE);
	if (tx->holds || !is_slow(tx))
		return;
	tx->holds = true;
	atomic_fetch_add(&tx->svc->shared->held[tx->client], 1);
}

void
tx_unhold(struct icap_tx *tx)
{
	unsigned had;

	if (!tx->holds)
		return;
	tx->holds = false;
	had = atomic_fetch_sub(&tx->svc->shared->held[tx->client], 1);
	assert(had > 0);
	icap_service_kick(tx->svc);
}

/* The queue. */

static struct icap_tx *
tx_of(struct list *l)
{
	return (CONTAINER_OF(l, struct icap_tx, queue));
}

static bool
may_go(const struct icap_tx *tx)
{
	return (loop_now(tx->svc->loop) >= tx->not_before && tx_may_hold(tx));
}

/* The first that may go; NULL: none. */
static struct icap_tx *
next(const struct icap_service *svc)
{
	struct list *l;

	for (l = svc->queue.next; l != &svc->queue; l = l->next)
		if (may_go(tx_of(l)))
			return (tx_of(l));
	return (NULL);
}

bool
tx_is_next(const struct icap_tx *tx)
{
	struct icap_tx *first = next(tx->svc);

	return (first == tx || (first == NULL && may_go(tx)));
}

void
icap_service_kick(struct icap_service *svc)
{
	struct icap_tx *first = next(svc);

	if (first != NULL)
		task_wake(&first->task);
}

void
tx_queue_leave(struct icap_tx *tx)
{
	if (!tx->is_queued)
		return;
	assert(tx->svc->queued > 0 && tx->svc->waits[tx->client] > 0);
	tx->is_queued = false;
	list_remove(&tx->queue);
	tx->svc->queued--;
	tx->svc->waits[tx->client]--;
	atomic_fetch_sub(&tx->svc->shared->waiting, 1);
	icap_service_kick(tx->svc);
}

/*
 * Into the order of rounds: each client has one in a round.  Full: who has the
 * most, and so the last round, gives way.
 */
static bool
insert(struct icap_tx *tx)
{
	struct icap_service *svc = tx->svc;
	struct list *l = svc->queue.prev;

	if (svc->queued >= QUEUE_MAX) {
		if (tx_of(l)->round <= tx->round)
			return (false);
		tx_fail(tx_of(l), ERR_SCAN_BUSY, "too many are waiting");
		l = svc->queue.prev;
	}
	while (l != &svc->queue && tx_of(l)->round > tx->round)
		l = l->prev;
	list_insert(l, &tx->queue);
	return (true);
}

bool
tx_queue_join(struct icap_tx *tx, bool again)
{
	struct icap_service *svc = tx->svc;

	assert(tx->state == TX_QUEUE && tx->client < ICAP_CLIENTS);
	if (tx->is_queued)
		return (true);
	tx->round = svc->round;
	if (again)
		list_insert(&svc->queue, &tx->queue);
	else {
		tx->round += svc->waits[tx->client];
		if (!insert(tx))
			return (false);
	}
	tx->is_queued = true;
	svc->queued++;
	svc->waits[tx->client]++;
	atomic_fetch_add(&svc->shared->waiting, 1);
	if (svc->look.at == 0)
		timer_set(&svc->look, ICAP_LOOK_MS);
	return (true);
}

void
tx_queue_pass(struct icap_tx *tx)
{
	if (tx->is_queued && tx->round > tx->svc->round)
		tx->svc->round = tx->round;
	tx_queue_leave(tx);
}

/* Something to say. */

/* The preview that a server which is up wants; -1: none, or not known. */
static int32_t
wanted(const struct icap_service *svc)
{
	int32_t most = -1, asked = svc->o.preview;
	unsigned i;

	for (i = 0; i < svc->n && asked != ICAP_PREVIEW_OFF; i++)
		if (svc->eps[i].state == ICAP_UP &&
		    svc->eps[i].caps.preview > most)
			most = svc->eps[i].caps.preview;
	return (asked >= 0 && asked < most ? asked : most);
}

bool
icap_service_is_up(const struct icap_service *svc)
{
	unsigned i;

	for (i = 0; i < svc->n; i++)
		if (svc->eps[i].state == ICAP_UP)
			return (true);
	return (false);
}

enum pull
tx_gather(struct icap_tx *tx)
{
	int32_t preview = wanted(tx->svc);
	uint64_t least = preview > 0 ? (uint64_t)preview : 1, enough = least;
	uint64_t late = tx->started_at + GATHER_MS;
	enum pull r;

	assert(tx->state == TX_QUEUE);
	if (tx->body == NULL || preview == 0 || tx->send != SEND_NOTHING ||
	    !icap_service_is_up(tx->svc))
		return (PULL_END);
	if (preview < 0)
		enough = GATHER_BYTES;
	if (tx->reader.body == NULL)
		reader_open(&tx->reader, tx->body, 0, &tx->task);
	r = reader_skip(&tx->reader, enough);
	if (r == PULL_WAIT && loop_now(tx->svc->loop) < late)
		timer_set_at(&tx->deadline, late);
	else if (r == PULL_WAIT && tx->reader.offset >= least)
		r = PULL_END;
	if (r != PULL_WAIT)
		reader_close(&tx->reader);
	return (r == PULL_MORE ? PULL_END : r);
}
