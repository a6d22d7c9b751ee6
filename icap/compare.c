/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service that has named a threat and says that it repaired the message may
 * hand back the message itself.  So what it sends is compared with what it was
 * sent, of any length, until the first difference; nobody gets an octet before
 * that.  What is the same is not kept: it is read from the original again.
 *
 * The same while a trailer is announced that may name a threat.
 * Room: icap.  Thread: its loop's.
 */
#include <assert.h>
#include "http/uri.h"
#include "icap/tx.h"
#include "scanners/codings.h"

/* Does its head name codings?  Nobody need be able to take them off. */
static bool
is_coded(const struct icap_tx *tx, const struct http_msg *m)
{
	struct scan_message as = { .mode = tx->msg->mode, .req = m, .resp = m };
	struct decode_list l = { 0 };

	codings_of_message(&as, &l);
	return (l.n > 0 || l.unknown[0] != '\0');
}

/*
 * It was sent coded, and comes back with a head that says nothing of a coding:
 * decoded, it seems.  taken: of the codings of the message.
 */
static bool
comes_decoded(const struct icap_tx *tx, const struct http_msg *m,
    struct decode_list *l)
{
	if (tx->answer->status == 206 || m == tx->kept || is_coded(tx, m) ||
	    tx_begins_alike(tx))
		return (false);
	codings_of_message(tx->msg, l);
	return (l->n > 0 && l->unknown[0] == '\0');
}

static struct body *
original_of(struct icap_tx *tx, const struct http_msg *m)
{
	struct decode_list l = { 0 };

	if (tx->coded != NULL)
		return (decode_body_new(tx->svc->loop, tx->svc->o.store,
		    tx->coded, &tx->codings, &tx->compare.how));
	if (comes_decoded(tx, m, &l))
		return (decode_body_new(tx->svc->loop, tx->svc->o.store,
		    tx->body, &l, &tx->compare.how));
	return (body_ref(tx->body));
}

static bool
is_wanted(const struct icap_tx *tx)
{
	return (tx->compare.state == COMPARE_NOT && tx->body != NULL &&
	    tx_can_repeat(tx) &&
	    (tx->finding == ICAP_FOUND_REPAIRED ||
		(tx->finding == ICAP_FOUND_NOTHING &&
		    icap_announces_threat(&tx->answer->fields))));
}

static void
begin(struct icap_tx *tx, const struct http_msg *m)
{
	assert(tx->compare.with == NULL && tx->compare.state == COMPARE_NOT);
	tx->compare.with = original_of(tx, m);
	reader_open(&tx->compare.front, tx->compare.with, 0, &tx->task);
	reader_open(&tx->compare.was, tx->compare.with, 0, &tx->task);
	tx->compare.state = COMPARE_ON;
}

enum pull
tx_compare(struct icap_tx *tx, const struct http_msg *m, struct fault *f)
{
	size_t had = chq_len(&tx->ready);
	enum pull r;

	tx->compare.waits = false;
	if (had > 0 && is_wanted(tx))
		begin(tx, m);
	if (had == 0 || tx->compare.state != COMPARE_ON)
		return (PULL_MORE);
	r = reader_match(&tx->compare.was, &tx->ready);
	tx->compare.same += had - chq_len(&tx->ready);
	if (r == PULL_END) {
		tx->compare.state = COMPARE_OTHER;
		reader_close(&tx->compare.was);
		r = PULL_MORE;
	}
	tx->compare.waits = r == PULL_WAIT;
	if (r == PULL_FAIL)
		r = PULL_CUT;
	if (r == PULL_CUT) {
		fault_copy(f, body_fault(tx->compare.with));
		fault_set(f, ERR_INTERNAL, "original ended early");
	}
	return (r);
}

/* Is it there, and where?  From *at on, where services leave it. */
static bool
has_field(const struct http_fields *l, const struct http_field *f, unsigned *at)
{
	unsigned i, k;

	for (i = 0; i < l->n; i++) {
		k = (*at + i) % l->n;
		if (str_ieq(l->v[k].name, f->name) &&
		    str_eq(l->v[k].value, f->value)) {
			*at = k + 1;
			return (true);
		}
	}
	return (false);
}

/*
 * No body that could be repaired: does m say all that the original says?
 * Framing, and what is between us and the client, is not the service's.
 */
static bool
head_stands(const struct icap_tx *tx, const struct http_msg *m)
{
	const struct http_msg *was = m->is_request ? tx->msg->req
						   : tx->msg->resp;
	unsigned i, at = 0;

	if (was == NULL || was->status != m->status ||
	    !str_eq(was->method, m->method) ||
	    (m->is_request &&
		(!http_same_authority(&was->uri, &m->uri) ||
		    !str_eq(was->uri.path, m->uri.path))))
		return (false);
	for (i = 0; i < was->fields.n; i++) {
		const struct http_field *f = &was->fields.v[i];

		if (f->id != FIELD_CONTENT_LENGTH && f->id != FIELD_EXPECT &&
		    f->id != FIELD_TE && f->id != FIELD_PROXY_AUTHORIZATION &&
		    !has_field(&m->fields, f, &at))
			return (false);
	}
	return (true);
}

bool
tx_is_handed_back(const struct icap_tx *tx, const struct http_msg *m,
    bool has_body)
{
	if (tx->body == NULL)
		return (!has_body && head_stands(tx, m));
	if (tx->compare.state == COMPARE_OTHER)
		return (false);
	return (!has_body || tx->answer->status != 206 ||
	    tx->tail_from == NO_OFFSET || tx->tail_from == tx->compare.same);
}

bool
tx_is_recoded(const struct icap_tx *tx, const struct http_msg *m, bool has_body)
{
	return (has_body && tx->body != NULL && is_coded(tx, m));
}

enum pull
tx_compare_pull(struct icap_tx *tx, struct chq *out, size_t want)
{
	uint64_t left;
	enum pull r;

	if (tx->compare.front.body == NULL)
		return (PULL_END);
	assert(tx->compare.front.offset <= tx->compare.same);
	left = tx->compare.same - tx->compare.front.offset;
	if (left == 0) {
		tx_compare_fini(tx);
		return (PULL_END);
	}
	r = reader_pull(&tx->compare.front, out,
	    want < left ? want : (size_t)left);
	return (r == PULL_END ? PULL_FAIL : r);
}

void
tx_compare_fini(struct icap_tx *tx)
{
	reader_close(&tx->compare.was);
	reader_close(&tx->compare.front);
	body_unref(&tx->compare.with);
}
