/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transaction as a scan: talking, failing, ending.
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 4.1, 4.5, 4.6.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "icap/tx.h"

void
tx_enter(struct icap_tx *tx, enum tx_state s)
{
	static const unsigned next[TX_STATE_COUNT] = {
#define S(name, next) [TX_##name] = next,
		TX_STATES(S)
#undef S
	};

	assert((next[tx->state] & 1u << s) != 0);
	tx->state = s;
	tx->progress_at = loop_now(tx->svc->loop);
}

struct icap_tx *
icap_tx_of_all(struct list *l)
{
	return (CONTAINER_OF(l, struct icap_tx, all));
}

/* Ending. */

static void
tx_free(void *p)
{
	free(p);
}

/* Free what nobody owns any more. */
static void
tx_put(struct icap_tx *tx)
{
	if (tx->scan != NULL || tx->streams)
		return;
	tx_queue_leave(tx);
	tx_unhold(tx);
	timer_stop(&tx->deadline);
	task_fini(&tx->task);
	icap_connect_cancel(&tx->connect);
	reader_close(&tx->reader);
	reader_close(&tx->original);
	tx_compare_fini(tx);
	tx_decode_fini(tx);
	icap_conn_drop(&tx->conn, LINK_ABORT);
	chq_fini(&tx->out);
	chq_fini(&tx->in);
	chq_fini(&tx->ready);
	if (tx->body != NULL)
		body_unref(&tx->body);
	list_remove(&tx->all);
	loop_defer_free(tx->svc->loop, tx, tx_free);
}

void
tx_release_conn(struct icap_tx *tx)
{
	bool complete, clean;

	if (tx->conn == NULL)
		return;
	tx_unhold(tx);
	complete = tx_send_complete(tx);
	clean = complete && chq_len(&tx->in) == 0 && tx->slack == 0 &&
	    !tx->stray && tx->answer != NULL &&
	    !http_fields_has_token(&tx->answer->fields, FIELD_CONNECTION,
		STR("close"));
	reader_close(&tx->reader);
	chq_drop(&tx->out, chq_len(&tx->out));
	if (clean)
		icap_conn_give(&tx->conn);
	else
		icap_conn_drop(&tx->conn, complete ? LINK_CLOSE : LINK_ABORT);
}

static void
drop_conn(struct icap_tx *tx)
{
	tx_unhold(tx);
	icap_connect_cancel(&tx->connect);
	reader_close(&tx->reader);
	chq_drop(&tx->out, chq_len(&tx->out));
	chq_drop(&tx->in, chq_len(&tx->in));
	icap_conn_drop(&tx->conn, LINK_ABORT);
}

/* The scan's result is complete. */
static void
tx_done(struct icap_tx *tx)
{
	struct scan_result *r = &tx->scan->result;

	assert(tx->scan != NULL && !tx->scan->done);
	r->bytes = tx->sent;
	if (tx->ep != NULL)
		r->endpoint = arena_str(tx->arena, str_of(tx->ep->name));
	if (tx->answer != NULL)
		r->note = icap_note(tx->arena, tx->answer);
	tx_share(tx);
	scan_done(tx->scan);
}

void
tx_finish(struct icap_tx *tx)
{
	tx_queue_leave(tx);
	if (tx->state != TX_STREAM) {
		tx_enter(tx, TX_OVER);
		timer_stop(&tx->deadline);
		drop_conn(tx);
		tx_compare_fini(tx);
	}
	tx_done(tx);
}

/* Inside the adapted body: its reader sees a cut. */
static void
stream_ends(struct icap_tx *tx, const struct fault *f)
{
	assert(tx->state == TX_STREAM && tx->streams);
	tx->streams = false;
	source_gone(&tx->source, PULL_CUT, f);
	tx_enter(tx, TX_OVER);
	timer_stop(&tx->deadline);
	drop_conn(tx);
	reader_close(&tx->original);
	tx_compare_fini(tx);
	tx_put(tx);
}

void
tx_block(struct icap_tx *tx)
{
	struct scan_result *r = &tx->scan->result;

	r->verdict = VERDICT_BLOCKED;
	r->threat = arena_str(tx->arena, tx->threat);
	tx_finish(tx);
}

void
tx_fail_as(struct icap_tx *tx, const struct fault *f)
{
	if (tx->state == TX_STREAM) {
		stream_ends(tx, f);
		return;
	}
	if (tx->finding != ICAP_FOUND_NOTHING) {
		tx_block(tx); /* no failure overrules it */
		return;
	}
	tx->scan->result.fault = *f;
	tx->scan->result.verdict = VERDICT_UNSCANNED;
	tx_finish(tx);
}

void
tx_fail(struct icap_tx *tx, enum err code, const char *fmt, ...)
{
	struct fault f = { .code = ERR_NONE };
	char why[140];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	fault_set(&f, code, "%s%s%s%s: %s", tx->svc->o.name,
	    tx->ep != NULL ? " (" : "", tx->ep != NULL ? tx->ep->name : "",
	    tx->ep != NULL ? ")" : "", why);
	if (tx->ep != NULL && tx->state != TX_QUEUE)
		icap_endpoint_failed(tx->ep);
	tx_fail_as(tx, &f);
}

void
tx_body_cut(struct icap_tx *tx)
{
	struct fault f = *body_fault(tx->body);

	if (f.code == ERR_NONE)
		fault_set(&f, ERR_INTERNAL, "body ended early");
	tx_fail_as(tx, &f);
}

void
tx_unscanned(struct icap_tx *tx, enum scan_gap gap, const char *why)
{
	if (tx->finding != ICAP_FOUND_NOTHING) {
		tx_block(tx);
		return;
	}
	tx->scan->result.verdict = VERDICT_UNSCANNED;
	tx->scan->result.gap = gap;
	tx->scan->result.reason = str_of(why);
	tx_finish(tx);
}

static void
tx_too_large(struct icap_tx *tx)
{
	struct fault f = { .code = ERR_NONE };

	if (tx->state == TX_STREAM) {
		fault_set(&f, ERR_BODY_LIMIT, "%s: larger than max_body",
		    tx->svc->o.name);
		stream_ends(tx, &f);
		return;
	}
	tx->scan->result.too_large = true;
	tx_unscanned(tx, GAP_LIMIT, "larger than max_body");
}

/* It echoes a message of which it does not see all. */
static void
tx_broken(struct icap_tx *tx)
{
	struct fault f = { .code = ERR_NONE };

	fault_set(&f, ERR_UNSCANNED, "%s: %s", tx->svc->o.name,
	    tx_decode_text(tx));
	stream_ends(tx, &f);
}

void
tx_clean(struct icap_tx *tx)
{
	if (tx->cut_short) {
		tx->scan->result.too_large = true;
		tx_unscanned(tx, GAP_LIMIT,
		    arena_printf(tx->arena,
			"larger than max_body: the first %llu bytes were "
			"scanned",
			(unsigned long long)tx->sent)
			.p);
		return;
	}
	if (tx_decode_gap(tx) != GAP_NONE) {
		tx_unscanned(tx, tx_decode_gap(tx), tx_decode_text(tx));
		return;
	}
	tx->scan->result.verdict = VERDICT_CLEAN;
	tx_finish(tx);
}

/* Beginning again. */

bool
tx_can_repeat(const struct icap_tx *tx)
{
	const struct body *b = tx->coded != NULL ? tx->coded : tx->body;

	return (b == NULL || body_kept_from(b) == 0);
}

void
tx_again(struct icap_tx *tx)
{
	assert(tx->scan != NULL);
	drop_conn(tx);
	if (tx->send != SEND_NOTHING)
		tx_send_enter(tx, SEND_NOTHING);
	tx_decode_again(tx);
	tx->head = NULL;
	tx->answer = NULL;
	tx->finding = ICAP_FOUND_NOTHING;
	tx->collecting = false;
	tx->received = 0;
	tx->continues = 0;
	tx->slack = 0;
	tx_enter(tx, TX_QUEUE);
	timer_set_at(&tx->deadline, tx->queue_until);
	tx_queue_join(tx, true);
	task_wake(&tx->task);
}

/* Talking. */

static bool
tx_send_on(struct icap_tx *tx)
{
	switch (tx_send(tx)) {
	case TX_SENT:
		return (true);
	case TX_BODY_CUT:
		tx_body_cut(tx);
		break;
	case TX_TOO_LARGE:
		tx_too_large(tx);
		break;
	case TX_BROKEN:
		tx_broken(tx);
		break;
	}
	return (false);
}

static void
tx_step(struct icap_tx *tx)
{
	if (tx->state == TX_QUEUE)
		tx_admit(tx);
	if (tx->state == TX_CONNECT)
		tx_connected(tx);
	if (tx->state == TX_ANSWER || tx->state == TX_HEADS) {
		if (!tx_send_on(tx))
			return;
		tx_receive(tx);
		if (tx->state == TX_HEADS || tx->state == TX_ANSWER)
			(void)tx_send_on(tx); /* 100 may have come */
	}
	if (tx->state == TX_STREAM) {
		if (tx->conn != NULL && !tx_send_on(tx))
			return;
		tx->source_waits = false;
		source_wake(&tx->source);
	}
}

static void
tx_run(struct task *t)
{
	struct icap_tx *tx = CONTAINER_OF(t, struct icap_tx, task);

	tx_step(tx);
	if (tx->scan == NULL || tx->scan->done)
		return;
	if (tx->body_waits)
		scan_waits(tx->scan);
	else
		scan_works(tx->scan);
}

/* Is it the service that we wait for? */
static bool
waits_for_service(const struct icap_tx *tx)
{
	if (tx->body_waits || tx->conn == NULL || tx->compare.waits)
		return (false);
	return (tx->state != TX_STREAM || tx->source_waits);
}

static void
tx_late(struct timer *t)
{
	struct icap_tx *tx = CONTAINER_OF(t, struct icap_tx, deadline);
	uint64_t limit = tx->svc->o.timeout_ms;

	if (tx->state == TX_QUEUE && tx->queue_until == 0)
		task_wake(&tx->task); /* it may have enough by now */
	else if (tx->state == TX_QUEUE && loop_now(t->loop) < tx->queue_until)
		timer_set_at(t, tx->queue_until);
	else if (tx->state == TX_QUEUE && icap_service_is_up(tx->svc))
		tx_fail(tx, ERR_SCAN_BUSY, "no connection became free in time");
	else if (tx->state == TX_QUEUE)
		tx_fail(tx, ERR_SCAN_TIMEOUT, "no server in time");
	else if (tx->state == TX_CONNECT || !waits_for_service(tx))
		timer_set(t, limit);
	else if (loop_now(t->loop) < tx->progress_at + limit)
		timer_set_at(t, tx->progress_at + limit);
	else
		tx_fail(tx, ERR_SCAN_TIMEOUT, "silent for %llu s",
		    (unsigned long long)(limit / 1000));
}

/* The scanner. */

static struct icap_tx *
tx_new(struct scan *scan)
{
	struct icap_service *svc = (struct icap_service *)(void *)scan->scanner;
	struct icap_tx *tx = calloc(1, sizeof(*tx));
	struct body *b = scan->msg->body;

	if (tx == NULL)
		abort();
	tx->scan = scan;
	tx->msg = scan->msg;
	tx->arena = scan->msg->arena;
	tx->svc = svc;
	list_init(&tx->queue);
	list_append(&svc->all, &tx->all);
	task_init(&tx->task, svc->loop, tx_run);
	timer_init(&tx->deadline, svc->loop, tx_late);
	tx->preview = -1;
	tx->started_at = tx->progress_at = loop_now(svc->loop);
	if (scan->msg->who != NULL)
		tx->client = icap_client_slot(scan_who_key(scan->msg->who));
	if (scan->msg->shared != NULL)
		tx->shared = scan->msg->shared->n;
	if (b != NULL && body_length(b) != 0)
		tx->body = body_ref(b);
	return (tx);
}

static void
start_run(struct task *t)
{
	struct icap_tx *tx = CONTAINER_OF(t, struct icap_tx, task);
	const struct icap_options *o = &tx->svc->o;
	uint64_t n;

	t->run = tx_run;
	if (!tx_decode_start(tx)) {
		tx_unscanned(tx, GAP_CODING, tx_decode_text(tx));
		return;
	}
	n = tx->body != NULL ? body_length(tx->body) : 0;
	if (o->max_body > 0 && o->over_max == SCAN_POLICY_BLOCK &&
	    n != BODY_UNKNOWN && n > o->max_body) {
		tx_too_large(tx);
		return;
	}
	tx_run(t);
}

static void
icap_start(struct scan *scan)
{
	struct icap_tx *tx = tx_new(scan);

	scan->priv = tx;
	tx->task.run = start_run;
	task_wake(&tx->task);
}

static void
icap_cancel(struct scan *scan)
{
	struct icap_tx *tx = scan->priv;

	if (tx == NULL)
		return;
	scan->priv = NULL;
	tx->scan = NULL;
	tx_put(tx);
}

const struct scanner_type icap_scanner_type = {
	.name = "icap",
	.start = icap_start,
	.cancel = icap_cancel,
	.depends = icap_depends,
};

void
tx_source_done(struct icap_tx *tx, bool whole)
{
	assert(tx->state == TX_STREAM && tx->streams);
	tx->streams = false;
	tx_enter(tx, TX_OVER);
	timer_stop(&tx->deadline);
	if (whole)
		tx_release_conn(tx);
	else
		drop_conn(tx);
	reader_close(&tx->original);
	tx_compare_fini(tx);
	tx_put(tx);
}

void
icap_tx_abandon(struct icap_tx *tx)
{
	struct fault f = { .code = ERR_NONE };

	assert(tx->scan == NULL && tx->streams);
	fault_set(&f, ERR_SHUTDOWN, "%s", tx->svc->o.name);
	stream_ends(tx, &f);
}
