/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OPTIONS: one exchange at a time for a server, shared by everybody who waits.
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 4.10.
 */
#include <assert.h>
#include <string.h>
#include "icap/icap_priv.h"

#define ANSWER_MS 10000  /* a server that does not even say this is down */
#define POSTPONE_MS 1000 /* all its connections are in use */
#define READ_BYTES 16384

static void
probing_end(struct icap_endpoint *ep)
{
	struct icap_probing *p = &ep->probing;

	assert(p->running);
	p->running = p->retried = false;
	p->ended_at = loop_now(ep->svc->loop);
	timer_stop(&p->deadline);
	icap_connect_cancel(&p->connect);
	icap_conn_drop(&p->conn, LINK_CLOSE);
	chq_fini(&p->in);
	p->head = NULL;
	p->answer = NULL;
	arena_free(&p->arena);
}

static void
probing_failed(struct icap_endpoint *ep, const char *why)
{
	struct fault f = { .code = ERR_NONE };

	fault_set(&f, ERR_SCAN_DOWN, "%s (%s): OPTIONS: %s", ep->svc->o.name,
	    ep->name, why);
	probing_end(ep);
	icap_endpoint_down(ep, &f);
}

static void
send_options(struct icap_endpoint *ep)
{
	struct buf *b = &ep->svc->icap_head;

	assert(ep->probing.conn != NULL);
	b->n = 0;
	buf_cstr(b, "OPTIONS ");
	buf_str(b, ep->url.text);
	buf_cstr(b, " ICAP/1.0\r\nHost: ");
	buf_str(b, ep->url.authority);
	buf_cstr(b, "\r\nUser-Agent: assay\r\n\r\n"); /* no body: e1 */
	link_write(ep->probing.conn->net, b->p, b->n);
	ep->stats.options++;
}

/* The whole answer is there. */
static void
probing_done(struct icap_endpoint *ep)
{
	struct icap_probing *p = &ep->probing;
	struct arena *old = ep->arena;
	bool close = http_fields_has_token(&p->answer->fields, FIELD_CONNECTION,
	    STR("close"));

	assert(p->answer != NULL && p->conn != NULL && p->arena != NULL);
	icap_options_parse(p->arena, &p->answer->fields, &ep->caps);
	ep->arena = p->arena;
	p->arena = NULL;
	arena_free(&old);
	if (!close && chq_len(&p->in) == 0)
		icap_conn_give(&p->conn);
	probing_end(ep);
	icap_endpoint_up(ep);
}

/* A head is there: is it an answer to build on? */
static bool
take_answer(struct icap_endpoint *ep, struct http_msg *m)
{
	struct icap_probing *p = &ep->probing;
	const struct http_field *f;
	struct icap_encap e;
	char why[80] = "answered ";

	assert(p->answer == NULL);
	if (m->status == 503 && ep->state == ICAP_UP) {
		probing_end(ep); /* alive, and what it said holds on */
		icap_endpoint_is_busy(ep);
		ep->expired = false;
		timer_set(&ep->next, POSTPONE_MS);
		return (false);
	}
	if (m->status != 200) {
		why[9] = (char)('0' + m->status / 100 % 10);
		why[10] = (char)('0' + m->status / 10 % 10);
		why[11] = (char)('0' + m->status % 10);
		probing_failed(ep, why);
		return (false);
	}
	f = http_fields_get(&m->fields, FIELD_ENCAPSULATED);
	if (f != NULL && !icap_encap_parse(f->value, false, &e)) {
		probing_failed(ep, "bad Encapsulated");
		return (false);
	}
	p->answer = m;
	p->has_body = f != NULL && icap_encap_body(&e) == ICAP_OPT_BODY;
	h1_body_init(&p->body, p->arena, FRAMING_CHUNKED, 0, ERR_SCAN_PROTOCOL);
	return (true);
}

/* False: it is over, or has to wait. */
static bool
probing_feed(struct icap_endpoint *ep)
{
	struct icap_probing *p = &ep->probing;
	struct fault f = { .code = ERR_NONE };
	struct chq dump = { 0 };
	struct http_msg *m;
	enum h1_step step;
	enum pull r;

	if (p->answer == NULL) {
		step = h1_head_feed(p->head, &p->in, &m, &f);
		if (step == H1_BAD)
			probing_failed(ep, f.detail);
		if (step != H1_DONE || !take_answer(ep, m))
			return (step == H1_MORE);
	}
	r = p->has_body ? PULL_MORE : PULL_END;
	while (r == PULL_MORE) {
		r = h1_body_pull(&p->body, &p->in, &dump, READ_BYTES, &f);
		chq_drop(&dump, chq_len(&dump));
	}
	chq_fini(&dump);
	if (r == PULL_WAIT && p->body.content < ICAP_ENCAP_MAX)
		return (true);
	if (r == PULL_END)
		probing_done(ep);
	else
		probing_failed(ep, "bad opt-body");
	return (false);
}

/*
 * The connection is lost: of a server that was up it is asked once more, the
 * process that served this one may have ended over somebody's message.
 */
static void
probing_lost(struct icap_endpoint *ep)
{
	if (ep->state != ICAP_UP || ep->probing.retried) {
		probing_failed(ep, "connection closed");
		return;
	}
	probing_end(ep);
	icap_probing_start(ep);
	ep->probing.retried = ep->probing.running;
}

static void
probing_read(struct icap_endpoint *ep)
{
	struct icap_probing *p = &ep->probing;
	enum pull r;

	do {
		r = link_read(p->conn->net, &p->in, READ_BYTES);
		if (r == PULL_WAIT)
			return;
		if (r != PULL_MORE) {
			probing_lost(ep);
			return;
		}
	} while (probing_feed(ep));
}

static void
probing_run(struct task *t)
{
	struct icap_endpoint *ep = CONTAINER_OF(t, struct icap_endpoint,
	    probing.task);
	struct icap_probing *p = &ep->probing;
	struct fault f;

	if (!p->running)
		return;
	if (p->conn == NULL) {
		if (!p->connect.done)
			return;
		if (p->connect.conn == NULL) {
			f = p->connect.fault;
			probing_end(ep);
			icap_endpoint_down(ep, &f);
			return;
		}
		p->conn = p->connect.conn;
		p->connect.conn = NULL;
	}
	if (p->head == NULL) {
		p->head = h1_head_new(p->arena, H1_ICAP_RESPONSE,
		    &h1_limits_origin);
		link_set_owner(p->conn->net, &p->task);
		timer_set(&p->deadline, ANSWER_MS);
		send_options(ep);
	}
	probing_read(ep);
}

static void
probing_late(struct timer *t)
{
	probing_failed(CONTAINER_OF(t, struct icap_endpoint, probing.deadline),
	    "no answer in time");
}

void
icap_probing_init(struct icap_endpoint *ep)
{
	task_init(&ep->probing.task, ep->svc->loop, probing_run);
	timer_init(&ep->probing.deadline, ep->svc->loop, probing_late);
}

void
icap_probing_start(struct icap_endpoint *ep)
{
	struct icap_probing *p = &ep->probing;

	if (p->running)
		return;
	assert(p->conn == NULL && p->arena == NULL && p->head == NULL);
	if (icap_pool_reserve(ep)) {
		icap_connect_start(&p->connect, ep, NULL, &p->task);
	} else if ((p->conn = icap_pool_take(ep)) != NULL) {
		task_wake(&p->task);
	} else {
		timer_set(&ep->next, POSTPONE_MS);
		return;
	}
	timer_stop(&ep->next);
	p->running = true;
	p->arena = arena_new();
	p->started_at = loop_now(ep->svc->loop);
}

void
icap_probing_cancel(struct icap_endpoint *ep)
{
	if (ep->probing.running)
		probing_end(ep);
	task_fini(&ep->probing.task);
}
