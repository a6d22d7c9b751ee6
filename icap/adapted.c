/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The adapted body: its source is the connection to the service, from the
 * first chunk to the last, and behind it (206) the rest of the original.
 * Nothing is read from the service unless somebody wants it.
 * Room: icap.  Thread: its loop's.
 * Obeys RFC 3507 4.4.2, 4.8.2, 4.9.2 and the partial content draft.
 */
#include <assert.h>
#include "icap/tx.h"

#define READ_BYTES 65536
/* decoded at once, to learn the length of small bodies */
#define READY_MAX 65536

static struct icap_tx *
tx_of(struct source *s)
{
	return (CONTAINER_OF(s, struct icap_tx, source));
}

/* The service's fault: the reader sees a cut. */
static enum pull
cut(struct icap_tx *tx, struct fault *f, enum err code, const char *why)
{
	f->code = ERR_NONE;
	fault_set(f, code, "%s (%s): %s", tx->svc->o.name, tx->ep->name, why);
	icap_endpoint_failed(tx->ep);
	return (PULL_CUT);
}

/* From which byte the original goes on; NO_OFFSET: not at all. */
static bool
original_offset(const struct icap_tx *tx, uint64_t *offset)
{
	struct str v;

	*offset = NO_OFFSET;
	if (tx->answer->status != 206 ||
	    !h1_body_ext(&tx->coding, STR("use-original-body"), &v))
		return (true);
	return (str_to_u64(v, NO_OFFSET - 1, offset));
}

static enum pull
pull_tail(struct icap_tx *tx, struct chq *out, size_t want, struct fault *f)
{
	enum pull r = reader_skip(&tx->original, tx->tail_from);

	assert(tx->tail && tx->tail_from != NO_OFFSET);
	if (r == PULL_END && tx->original.offset < tx->tail_from)
		return (cut(tx, f, ERR_SCAN_PROTOCOL,
		    "use-original-body beyond the original"));
	if (r == PULL_MORE)
		r = reader_pull(&tx->original, out, want);
	if (r == PULL_CUT || r == PULL_FAIL) {
		fault_copy(f, body_fault(tx->body));
		fault_set(f, ERR_INTERNAL, "original ended early");
	}
	return (r == PULL_FAIL ? PULL_CUT : r);
}

static void
set_trailer(struct icap_tx *tx)
{
	struct http_fields *trailer;

	if (tx->coding.trailer.n == 0)
		return;
	trailer = arena_alloc(tx->arena, sizeof(*trailer));
	*trailer = tx->coding.trailer;
	body_set_trailer(tx->source.body, trailer);
}

/* Do the fields behind the body name a threat? */
static void
hear_trailer(struct icap_tx *tx)
{
	enum icap_finding found;
	struct str threat;

	found = icap_find_threat(&tx->coding.trailer, NULL, &threat);
	if (found <= tx->finding)
		return;
	if (tx->finding == ICAP_FOUND_NOTHING || tx->threat.n == 0)
		tx->threat = threat;
	tx->finding = found;
}

/*
 * The body is out but for its end: does what stands behind it come too late?
 * Repaired is known to be true of what was compared only.
 */
static bool
heard_too_late(struct icap_tx *tx)
{
	enum icap_finding was = tx->finding;

	hear_trailer(tx);
	if (tx->blocked)
		return (false);
	return (tx->finding == ICAP_FOUND_THREAT ||
	    (tx->body != NULL && tx->finding != was &&
		tx->compare.state != COMPARE_OTHER));
}

/* Too late for a verdict: the message never becomes whole. */
static enum pull
cut_threat(struct icap_tx *tx, struct fault *f)
{
	f->code = ERR_NONE;
	fault_set(f, ERR_THREAT, "%.*s", STR_ARG(tx->threat));
	return (PULL_CUT);
}

/* The last chunk has come. */
static enum pull
coding_ended(struct icap_tx *tx, struct chq *out, size_t want, struct fault *f)
{
	assert(!tx->tail);
	if (heard_too_late(tx))
		return (cut_threat(tx, f));
	if (!original_offset(tx, &tx->tail_from))
		return (cut(tx, f, ERR_SCAN_PROTOCOL, "bad use-original-body"));
	set_trailer(tx);
	tx->tail = tx->tail_from != NO_OFFSET;
	tx_release_conn(tx);
	return (tx->tail ? pull_tail(tx, out, want, f) : PULL_END);
}

static enum pull
read_more(struct icap_tx *tx, struct fault *f)
{
	enum pull r = link_read(tx->conn->net, &tx->in, READ_BYTES);
	uint64_t now = loop_now(tx->svc->loop);

	assert(tx->conn != NULL && tx->state == TX_STREAM);
	switch (r) {
	case PULL_MORE:
		tx->progress_at = now;
		return (PULL_MORE);
	case PULL_WAIT:
		if (!tx->source_waits)
			tx->progress_at = now; /* waiting begins */
		tx->source_waits = true;
		return (PULL_WAIT);
	case PULL_END:
	case PULL_CUT:
	case PULL_FAIL:
		break;
	}
	return (cut(tx, f, ERR_SCAN_CUT,
	    "closed the connection inside an adapted body"));
}

static enum pull
adapted_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct icap_tx *tx = tx_of(s);
	size_t n = chq_len(&tx->ready);
	enum pull r;

	assert(tx->streams);
	r = tx_compare_pull(tx, out, want);
	if (r == PULL_CUT || r == PULL_FAIL)
		return (cut(tx, f, ERR_INTERNAL, "original ended early"));
	if (r != PULL_END)
		return (r);
	if (n > 0) {
		chq_move(out, &tx->ready, n < want ? n : want);
		return (PULL_MORE);
	}
	if (tx->tail)
		return (pull_tail(tx, out, want, f));
	do {
		tx_skip_slack(tx);
		r = h1_body_pull(&tx->coding, &tx->in, out, want, f);
		if (r == PULL_END)
			return (coding_ended(tx, out, want, f));
		if (r == PULL_CUT || r == PULL_FAIL)
			return (cut(tx, f, ERR_SCAN_PROTOCOL,
			    "invalid chunked coding"));
		if (r == PULL_MORE)
			return (PULL_MORE);
		r = read_more(tx, f);
	} while (r == PULL_MORE);
	return (r);
}

static void
adapted_drop(struct source *s, enum pull last)
{
	tx_source_done(tx_of(s), last == PULL_END);
}

static const struct source_type adapted_type = {
	.name = "icap",
	.pull = adapted_pull,
	.drop = adapted_drop,
};

uint64_t
tx_source_here(const struct icap_tx *tx)
{
	return (tx->compare.same + chq_len(&tx->ready));
}

/* Does it go on as long as the bytes are the same? */
static bool
is_compared(const struct icap_tx *tx)
{
	return (tx->compare.state == COMPARE_ON);
}

/* Take what has come, and compare it where that is wanted. */
static enum pull
collect(struct icap_tx *tx, const struct http_msg *m, struct fault *f)
{
	enum pull r, c;

	do {
		r = PULL_MORE;
		while (r == PULL_MORE && chq_len(&tx->ready) < READY_MAX &&
		    (is_compared(tx) || tx_source_here(tx) < READY_MAX))
			r = h1_body_pull(&tx->coding, &tx->in, &tx->ready,
			    READY_MAX, f);
		if (r == PULL_END)
			hear_trailer(tx);
		c = m == NULL || r == PULL_FAIL ? PULL_MORE
						: tx_compare(tx, m, f);
		if (c != PULL_MORE)
			return (c);
	} while (r == PULL_MORE && is_compared(tx));
	return (r == PULL_WAIT && !is_compared(tx) &&
		    tx_source_here(tx) >= READY_MAX
		? PULL_MORE
		: r);
}

enum pull
tx_source_begin(struct icap_tx *tx, const struct http_msg *m, uint64_t *length,
    struct fault *f)
{
	enum pull r;

	assert(tx->state == TX_HEADS && !tx->streams);
	if (!tx->collecting) {
		source_init(&tx->source, &adapted_type);
		h1_body_init(&tx->coding, tx->arena, FRAMING_CHUNKED, 0,
		    ERR_SCAN_PROTOCOL);
	}
	tx_skip_slack(tx);
	r = collect(tx, m, f);
	if (r != PULL_END || !original_offset(tx, &tx->tail_from) ||
	    tx->tail_from != NO_OFFSET)
		return (r);
	*length = tx_source_here(tx);
	tx_release_conn(tx);
	return (r);
}
