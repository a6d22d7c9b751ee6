/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's side of the ICAP tests, see icap_peer.h. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "http/length.h"
#include "http/uri.h"
#include "net/dial.h"
#include "t/head.h"
#include "t/unit/icap_peer.h"

#define GUARD_MS 60000

/* The rig. */

static void
on_guard(struct timer *t)
{
	struct rig *rig = CONTAINER_OF(t, struct rig, guard);

	rig->late++;
	loop_stop(rig->loop);
}

static void
on_notice(void *arg, const struct icap_notice *n)
{
	struct rig *rig = arg;

	rig->notices++;
	rig->up = n->up;
}

void
rig_init(struct rig *rig)
{
	struct resolver_options names = { .servers = "127.0.0.1:9" };
	struct fault f = { .code = ERR_NONE };

	*rig = (struct rig){ .loop = loop_new() };
	rig->store = (struct body_store){ .temp_dir = "/tmp",
		.window = 262144 };
	rig->resolver = resolver_new(rig->loop, &names, &f);
	rig->dialer = dialer_new(rig->loop, rig->resolver);
	timer_init(&rig->guard, rig->loop, on_guard);
	rig->options = (struct icap_options){
		.name = "svc",
		.req = true,
		.resp = true,
		.preview = ICAP_PREVIEW_AUTO,
		.connect_timeout_ms = 10000,
		.timeout_ms = 20000,
		.probe_ms = 5000,
		.identity = ICAP_IDENTITY_SQUID,
		.notice = on_notice,
		.notice_arg = rig,
		.store = &rig->store,
	};
}

void
rig_start(struct rig *rig, uint16_t port, uint16_t port2)
{
	char text[2][64];
	const char *urls[2] = { text[0], text[1] };
	struct fault f = { .code = ERR_NONE };

	snprintf(text[0], 64, "icap://127.0.0.1:%u/scan?x=1", port);
	snprintf(text[1], 64, "icap://127.0.0.1:%u/scan?x=2", port2);
	rig->options.urls = urls;
	rig->options.n_urls = port2 != 0 ? 2 : 1;
	rig->scanner = icap_new(rig->loop, &rig->options, &rig->shared,
	    rig->dialer, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig->scanner);
}

void
rig_wait(struct rig *rig, unsigned ms)
{
	timer_set(&rig->guard, ms);
	loop_run(rig->loop);
}

void
rig_end(struct rig *rig, struct peer **peer, struct peer **peer2)
{
	icap_free(&rig->scanner);
	rig_wait(rig, 2);
	if (*peer != NULL) /* nothing lingers after that */
		peer_free(peer);
	if (peer2 != NULL && *peer2 != NULL)
		peer_free(peer2);
	rig_wait(rig, 20);
	CU_ASSERT_EQUAL(rig->shared.open[0], 0);
	CU_ASSERT_EQUAL(rig->shared.busy[0], 0);
	CU_ASSERT_EQUAL(rig->shared.waiting, 0);
	rig_fini(rig);
}

void
rig_fini(struct rig *rig)
{
	timer_stop(&rig->guard);
	dialer_free(&rig->dialer);
	resolver_free(&rig->resolver);
	loop_free(&rig->loop);
}

/* Bodies. */

struct test_source {
	struct source source;
	struct try *try;
	struct try_body how;
	size_t at;
	size_t allowed; /* of a slow one */
};

unsigned char
try_byte(size_t i)
{
	return ((unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16)));
}

bool
try_is_body(const unsigned char *p, size_t n, size_t from)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i] != try_byte(from + i))
			return (false);
	return (true);
}

static enum pull
test_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct test_source *t = CONTAINER_OF(s, struct test_source, source);
	size_t stop = t->how.cut_at > 0 ? t->how.cut_at : t->how.size;
	size_t n = stop - t->at, i;
	struct chunk *c;

	if (n == 0 && t->how.cut_at == 0)
		return (PULL_END);
	if (n == 0) {
		fault_set(f, ERR_ORIGIN_CUT, NULL);
		return (PULL_CUT);
	}
	if (n > want)
		n = want;
	if (n > 16384)
		n = 16384;
	if (t->how.piece > 0 && n > t->allowed - t->at)
		n = t->allowed - t->at;
	if (n == 0) {
		if (t->try->pace.at == 0)
			timer_set(&t->try->pace, t->how.every_ms);
		return (PULL_WAIT);
	}
	c = chunk_new_size(n);
	for (i = 0; i < n; i++)
		c->data[i] = try_byte(t->at + i);
	c->used = (uint32_t)n;
	chq_add(out, c, c->data, n);
	chunk_unref(&c);
	t->at += n;
	return (PULL_MORE);
}

static void
test_drop(struct source *s, enum pull last)
{
	struct test_source *t = CONTAINER_OF(s, struct test_source, source);

	(void)last;
	timer_stop(&t->try->pace);
	t->try->pace.fire = NULL;
	free(t);
}

static const struct source_type test_type = { "test", test_pull, test_drop };

static void
on_pace(struct timer *t)
{
	struct try *try = CONTAINER_OF(t, struct try, pace);
	struct test_source *s = try->source;

	s->allowed += s->how.piece;
	source_wake(&s->source);
}

/* Jobs. */

static struct body *
make_body(struct try *try, const struct try_body *how)
{
	struct test_source *s = calloc(1, sizeof(*s));

	source_init(&s->source, &test_type);
	s->try = try;
	s->how = *how;
	s->allowed = how->piece;
	try->source = s;
	timer_init(&try->pace, try->rig->loop, on_pace);
	return (body_new(try->rig->loop, &try->rig->store, &s->source,
	    how->known ? how->size : BODY_UNKNOWN));
}

static void
read_adapted(struct try *try)
{
	struct chq q = { 0 };
	enum pull r;
	size_t n;

	while ((r = reader_pull(&try->reader, &q, 65536)) == PULL_MORE) {
		n = chq_len(&q);
		if (try->got_n + n > try->got_cap) {
			try->got_cap = (try->got_n + n) * 2;
			try->got = realloc(try->got, try->got_cap);
		}
		chq_read(&q, 0, try->got + try->got_n, n);
		try->got_n += n;
		chq_drop(&q, n);
	}
	chq_fini(&q);
	if (r == PULL_WAIT)
		return;
	try->end = r;
	try->ended = true;
	reader_close(&try->reader);
}

static void
try_task(struct task *t)
{
	struct try *try = CONTAINER_OF(t, struct try, task);
	struct scan_result *r = &try->scan.result;

	if (!try->scan.done || try->ended)
		return;
	if (try->body == NULL && r->body != NULL) {
		try->body = r->body;
		r->body = NULL;
		reader_open(&try->reader, try->body, 0, t);
		reader_close(&try->keeper); /* as a chain does */
	}
	if (try->body == NULL)
		try->ended = true;
	else if (!try->hold)
		read_adapted(try);
	if (try->ended)
		loop_stop(try->rig->loop);
}

static struct http_msg *
parse(struct try *try, enum h1_kind kind, const char *text)
{
	struct http_msg *m = head_read(try->arena, kind, str_of(text),
	    &h1_limits_client, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	return (m);
}

void
try_init(struct try *try, struct rig *rig, const char *req, const char *resp,
    const struct try_body *how)
{
	struct http_msg *m, *rm = NULL;
	uint64_t length = how != NULL && how->known ? how->size
						    : HTTP_LENGTH_UNKNOWN;

	memset(try, 0, sizeof(*try));
	try->rig = rig;
	try->arena = arena_new();
	task_init(&try->task, rig->loop, try_task);
	m = parse(try, H1_REQUEST, req);
	CU_ASSERT_EQUAL(http_target_parse(m, NULL, false, NULL), ERR_NONE);
	http_length_set(m, NULL, resp == NULL && how != NULL, length);
	if (resp != NULL) {
		rm = parse(try, H1_RESPONSE, resp);
		http_length_set(rm, m, how != NULL, length);
	}
	try->who.client_ip = STR("10.1.2.3");
	try->who.user = STR("joe");
	try->msg = (struct scan_message){
		.mode = resp != NULL ? SCAN_RESP : SCAN_REQ,
		.req = m,
		.resp = rm,
		.who = &try->who,
		.arena = try->arena,
	};
	if (how != NULL) {
		try->msg.body = make_body(try, how);
		reader_open(&try->keeper, try->msg.body, 0, NULL);
	}
}

void
try_start(struct try *try)
{
	scan_start(&try->scan, try->rig->scanner, &try->msg, &try->task);
}

void
try_wait(struct try *try)
{
	timer_set(&try->rig->guard, GUARD_MS);
	while (!try->ended && try->rig->late == 0)
		loop_run(try->rig->loop);
	CU_ASSERT_EQUAL(try->rig->late, 0);
}

void
try_run(struct try *try)
{
	try_start(try);
	try_wait(try);
}

void
try_fini(struct try *try)
{
	scan_cancel(&try->scan);
	reader_close(&try->reader);
	reader_close(&try->keeper);
	if (try->body != NULL)
		body_unref(&try->body);
	if (try->msg.body != NULL)
		body_unref(&try->msg.body);
	if (try->pace.fire != NULL)
		timer_stop(&try->pace);
	task_fini(&try->task);
	free(try->got);
	arena_free(&try->arena);
}
