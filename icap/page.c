/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is what came along with a finding a page about it, or repaired?  Or is it
 * the message itself, handed back?  The user may see the first two only.
 * Room: icap.  Thread: its loop's.
 */
#include <string.h>
#include "icap/tx.h"

#define EDGE 64 /* so many bytes tell the begin or end of a body */

bool
tx_is_page(const struct icap_tx *tx, const struct http_msg *m)
{
	const struct scan_message *msg = tx->msg;

	return (!m->is_request && tx->answer->status != 206 &&
	    (msg->mode == SCAN_REQ ||
		(m->status >= 300 && m->status != msg->resp->status)));
}

bool
tx_may_be_page(const struct icap_tx *tx, const struct http_msg *m)
{
	return (tx_is_page(tx, m) ||
	    (m == tx->resp && tx->answer->status != 206 &&
		icap_encap_body(&tx->encap) == ICAP_RES_BODY));
}

/* n bytes of the message's body from offset at; false: not at hand. */
static bool
original_bytes(const struct icap_tx *tx, uint64_t at, unsigned char *p,
    size_t n)
{
	struct reader r = { 0 };
	struct chq q = { 0 };
	enum pull e = PULL_MORE;

	if (body_kept_from(tx->body) > at || body_received(tx->body) < at + n)
		return (false);
	reader_open(&r, tx->body, at, NULL);
	while (e == PULL_MORE && chq_len(&q) < n)
		e = reader_pull(&r, &q, n - chq_len(&q));
	reader_close(&r);
	if (chq_len(&q) == n)
		chq_read(&q, 0, p, n);
	else
		e = PULL_FAIL;
	chq_fini(&q);
	return (e == PULL_MORE);
}

/* Do both say the same there?  What is not at hand counts as the same. */
static bool
same(const struct icap_tx *tx, uint64_t at, size_t ours, size_t n)
{
	unsigned char a[EDGE], b[EDGE];

	if (!original_bytes(tx, at, a, n))
		return (true);
	chq_read(&tx->ready, ours, b, n);
	return (memcmp(a, b, n) == 0);
}

bool
tx_begins_alike(const struct icap_tx *tx)
{
	size_t all = chq_len(&tx->ready);

	return (same(tx, 0, 0, all < EDGE ? all : EDGE));
}

bool
tx_is_foreign(const struct icap_tx *tx)
{
	size_t all = chq_len(&tx->ready), n = all < EDGE ? all : EDGE;

	if (all == 0 || tx->body == NULL)
		return (all > 0);
	if (same(tx, 0, 0, n))
		return (false);
	return (tx->sent < n || !same(tx, tx->sent - n, all - n, n));
}
