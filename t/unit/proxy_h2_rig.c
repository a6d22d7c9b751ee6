/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client, an HTTP/2 server and flows, see proxy_h2_rig.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "http/length.h"
#include "t/unit/proxy_h2_rig.h"

#define FIELDS 20

struct rig rig;
static struct body_store store = { .temp_dir = "/tmp", .window = 100000 };
static struct budget *budget;
static struct account *account;
static size_t live_before;

/* --- flows --- */

static void
does_run(struct task *t)
{
	CONTAINER_OF(t, struct does, task)->woken++;
}

static int32_t
id_of(const struct http_msg *m)
{
	struct str s = http_fields_value(&m->fields, FIELD_REFERER);
	uint64_t v;

	if (s.n == 0 && m->target.n > 1)
		s = (struct str){ m->target.p + 1, m->target.n - 1 };
	return (str_to_u64(s, INT32_MAX, &v) ? (int32_t)v : 0);
}

static void
host_begin(void *host, struct exchange *x)
{
	struct does *d = calloc(1, sizeof(*d));

	(void)host;
	CU_ASSERT_FATAL(d != NULL && rig.n_does < RIG_MOST);
	rig.does[rig.n_does++] = d;
	task_init(&d->task, rig.loop, does_run);
	d->x = x;
	d->fault = x->fault.code;
	d->end = PULL_MORE;
	if (x->req != NULL) {
		d->id = id_of(x->req);
		d->expects = x->req->expect_continue;
		(void)snprintf(d->what, sizeof(d->what), "%.*s %.*s",
		    STR_ARG(x->req->method), STR_ARG(x->req->target));
	}
	d->arena = exchange_take(x, &d->task);
}

static void
host_limits(void *host, struct server_limits *l)
{
	(void)host;
	*l = (struct server_limits){ .head = h1_limits_client,
		.request_ms = rig.request_ms,
		.idle_ms = rig.idle_ms };
}

static bool
host_goes_on(void *host)
{
	(void)host;
	return (!rig.drains);
}

static const struct server_host_type host_type = { host_begin, host_limits,
	host_goes_on };

struct does *
rig_does(const struct ask *a)
{
	unsigned i;

	for (i = 0; i < rig.n_does; i++)
		if (rig.does[i]->id == a->id)
			return (rig.does[i]);
	return (NULL);
}

struct does *
rig_last(void)
{
	return (rig.n_does > 0 ? rig.does[rig.n_does - 1] : NULL);
}

void
does_body(struct does *d)
{
	d->took = true;
	d->body = exchange_body(d->x, &store);
	if (d->body != NULL)
		reader_open(&d->reader, d->body, 0, &d->task);
	else
		d->end = PULL_END;
}

static void
check(int32_t id, size_t at, const unsigned char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		rig.wrong += p[i] != lab_byte((unsigned)id, at + i);
}

static void
check_queue(int32_t id, size_t at, struct chq *q)
{
	unsigned char some[4096];
	size_t n;

	while ((n = chq_len(q)) > 0) {
		n = n < sizeof(some) ? n : sizeof(some);
		chq_read(q, 0, some, n);
		chq_drop(q, n);
		check(id, at, some, n);
		at += n;
	}
}

enum pull
does_read(struct does *d, size_t n)
{
	struct chq q = { 0 };
	enum pull p = PULL_MORE;
	size_t had;

	if (d->body == NULL)
		return (d->end);
	while (n > 0 && p == PULL_MORE) {
		p = reader_pull(&d->reader, &q, n);
		had = chq_len(&q);
		n -= had;
		check_queue(d->id, d->got, &q);
		d->got += had;
	}
	chq_fini(&q);
	if (pull_is_last(p))
		d->end = p;
	return (p);
}

static struct http_msg *
head_of(struct does *d, unsigned status)
{
	struct http_msg *m = http_msg_new(d->arena, false);

	m->status = status;
	m->reason = str_of(http_reason(status));
	http_fields_add_named(d->arena, &m->fields, STR("X-A"), STR("1"));
	return (m);
}

void
does_interim(struct does *d, unsigned status)
{
	if (exchange_takes_interim(d->x))
		exchange_interim(d->x, head_of(d, status));
}

void
does_answer(struct does *d, unsigned status, uint64_t length)
{
	struct http_msg *m = head_of(d, status);

	m->length_is = length == 0          ? LENGTH_NONE
	    : length == HTTP_LENGTH_UNKNOWN ? LENGTH_UNKNOWN
					    : LENGTH_KNOWN;
	m->length = m->length_is == LENGTH_KNOWN ? length : 0;
	d->sink = exchange_respond(d->x, m, length != 0, true);
	d->answered = true;
	d->says = length;
	d->whole = length == 0;
}

size_t
does_write(struct does *d, size_t n)
{
	unsigned char some[4096];
	struct chq q = { 0 };
	size_t done = 0, now, i;

	while (done < n && (now = sink_room(d->sink)) > 0) {
		now = now < n - done ? now : n - done;
		now = now < sizeof(some) ? now : sizeof(some);
		for (i = 0; i < now; i++)
			some[i] = lab_byte((unsigned)d->id, d->written + i);
		chq_copy(&q, (char *)some, now);
		if (!sink_write(d->sink, &q, now))
			break;
		d->written += now;
		done += now;
	}
	chq_fini(&q);
	return (done);
}

void
does_end(struct does *d, bool trailer)
{
	struct http_fields l = { 0 };

	http_fields_add_named(d->arena, &l, STR("X-T"), STR("2"));
	d->whole = sink_end(d->sink, trailer ? &l : NULL) == PULL_END;
}

void
does_finish(struct does *d, enum exchange_end how)
{
	reader_close(&d->reader);
	if (d->body != NULL)
		body_on_first_pull(d->body, NULL);
	body_unref(&d->body);
	exchange_end(&d->x, how);
	arena_free(&d->arena);
	task_fini(&d->task);
}

static void
finish_all(void)
{
	unsigned i;

	for (i = 0; i < rig.n_does; i++)
		if (rig.does[i]->x != NULL)
			does_finish(rig.does[i], EXCHANGE_ABORT);
}

/* --- the server's connection --- */

static void
conn_run(struct task *t)
{
	(void)t;
	if (rig.link == NULL)
		return;
	if (rig.step == SERVER_WAITS)
		rig.step = server_run(&rig.h2.server);
	if (rig.step == SERVER_WAITS)
		return;
	finish_all();
	server_fini(&rig.h2.server);
	link_close(&rig.link,
	    rig.step == SERVER_CLOSE ? LINK_CLOSE : LINK_ABORT);
}

/* --- the client --- */

static struct ask *
ask_of(int32_t id)
{
	unsigned i;

	for (i = 0; i < rig.n_ask; i++)
		if (rig.ask[i].id == id)
			return (&rig.ask[i]);
	return (NULL);
}

/* "name: value" lines become fields; the text must stay. */
static size_t
fields_of(const char *text, nghttp2_nv nv[FIELDS])
{
	const char *end, *colon;
	size_t n = 0;

	for (; *text != '\0'; text = end + 1) {
		end = strchr(text, '\n');
		colon = strchr(text + 1, ':');
		CU_ASSERT_FATAL(end != NULL && colon != NULL && n < FIELDS);
		nv[n++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)text,
			.namelen = (size_t)(colon - text),
			.value = (uint8_t *)(uintptr_t)(colon + 2),
			.valuelen = (size_t)(end - colon - 2) };
	}
	return (n);
}

static ssize_t
client_body(nghttp2_session *ng, int32_t id, uint8_t *p, size_t n,
    uint32_t *flags, nghttp2_data_source *from, void *arg)
{
	struct ask *a = from->ptr;
	nghttp2_nv nv[FIELDS];
	size_t i;

	(void)arg;
	if (a->to_send == 0 && !a->ends) {
		a->deferred = true;
		return (NGHTTP2_ERR_DEFERRED);
	}
	n = n < a->to_send ? n : a->to_send;
	for (i = 0; i < n; i++)
		p[i] = lab_byte((unsigned)id, a->sent + i);
	a->sent += n;
	a->to_send -= n;
	if (a->to_send > 0 || !a->ends)
		return ((ssize_t)n);
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	a->sent_end = true;
	if (a->trailer != NULL) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		(void)nghttp2_submit_trailer(ng, id, nv,
		    fields_of(a->trailer, nv));
	}
	return ((ssize_t)n);
}

static int
on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
    void *arg)
{
	struct ask *a = ask_of(frame->hd.stream_id);
	char *to;
	size_t size, n;

	(void)ng;
	(void)flags;
	(void)arg;
	if (a == NULL)
		return (0);
	if (name_n == 7 && memcmp(name, ":status", 7) == 0) {
		a->status = (unsigned)atoi((const char *)value);
		if (a->status >= 200)
			return (0);
		n = strlen(a->interims);
		(void)snprintf(a->interims + n, sizeof(a->interims) - n, "%u ",
		    a->status);
		a->status = 0;
		return (0);
	}
	if (a->status == 0 ||
	    (memcmp(name, "x-", 2) != 0 && memcmp(name, "sec-", 4) != 0))
		return (0);
	to = frame->headers.cat == NGHTTP2_HCAT_HEADERS && a->fields[0] != '\0'
	    ? a->behind
	    : a->fields;
	size = to == a->behind ? sizeof(a->behind) : sizeof(a->fields);
	n = strlen(to);
	(void)snprintf(to + n, size - n, "%.*s: %.*s\n", (int)name_n,
	    (const char *)name, (int)value_n, (const char *)value);
	return (0);
}

static int
on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p,
    size_t n, void *arg)
{
	struct ask *a = ask_of(id);

	(void)flags;
	(void)arg;
	CU_ASSERT_FATAL(a != NULL);
	check(id, a->got, p, n);
	a->got += n;
	if (rig.keeps)
		a->unread += n;
	else
		(void)nghttp2_session_consume(ng, id, n);
	return (0);
}

static int
on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct ask *a = ask_of(frame->hd.stream_id);

	(void)ng;
	(void)arg;
	if (a != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
	    (frame->hd.type == NGHTTP2_DATA ||
		frame->hd.type == NGHTTP2_HEADERS))
		a->ended = true;
	if (frame->hd.type != NGHTTP2_GOAWAY)
		return (0);
	rig.goaways++;
	rig.last_id = frame->goaway.last_stream_id;
	rig.code = frame->goaway.error_code;
	return (0);
}

static int
on_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct ask *a = ask_of(frame->hd.stream_id);

	(void)ng;
	(void)arg;
	if (a != NULL && frame->hd.type == NGHTTP2_HEADERS)
		a->asked = true;
	return (0);
}

static int
on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
	struct ask *a = ask_of(id);

	(void)ng;
	(void)arg;
	if (a != NULL) {
		a->closed = true;
		a->code = code;
	}
	return (0);
}

/* It lets through what a client should not say, and opens no window itself. */
static void
new_client(uint32_t window)
{
	nghttp2_settings_entry set[] = { { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
	    window } };
	nghttp2_session_callbacks *c;
	nghttp2_option *o;

	CU_ASSERT_FATAL(nghttp2_session_callbacks_new(&c) == 0);
	CU_ASSERT_FATAL(nghttp2_option_new(&o) == 0);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1);
	CU_ASSERT_FATAL(nghttp2_session_client_new2(&rig.ng, c, NULL, o) == 0);
	(void)nghttp2_submit_settings(rig.ng, NGHTTP2_FLAG_NONE, set,
	    window != 0 ? 1 : 0);
	nghttp2_session_callbacks_del(c);
	nghttp2_option_del(o);
}

/* Frames that are ready, in their order. */
static void
client_says(void)
{
	const uint8_t *p;
	ssize_t n;

	while (
	    rig.out.n < 65536 && (n = nghttp2_session_mem_send(rig.ng, &p)) > 0)
		buf_add(&rig.out, p, (size_t)n);
}

static bool
client_writes(void)
{
	ssize_t n;

	client_says();
	if (rig.out.n == 0 || rig.mute)
		return (false);
	n = (ssize_t)(rig.piece == 0 || rig.piece > rig.out.n ? rig.out.n
							      : rig.piece);
	n = send(rig.fd, rig.out.p, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN) { /* nobody is there any more */
		rig.out.n = 0;
		return (false);
	}
	if (n <= 0)
		return (false);
	rig.out.n -= (size_t)n;
	memmove(rig.out.p, rig.out.p + n, rig.out.n);
	return (true);
}

static bool
client_reads(void)
{
	static uint8_t some[65536];
	ssize_t n = recv(rig.fd, some, sizeof(some), MSG_DONTWAIT);

	rig.eof |= n == 0 || (n < 0 && errno != EAGAIN);
	if (n <= 0)
		return (false);
	CU_ASSERT_EQUAL(nghttp2_session_mem_recv(rig.ng, some, (size_t)n), n);
	return (true);
}

static bool
client_moves(void)
{
	bool moved = client_writes();

	moved |= client_reads();
	return (moved);
}

/* --- for tests --- */

void
rig_begin(uint32_t window)
{
	static const struct http_uri authority = { .scheme = LIT("https"),
		.host = LIT("a.test"),
		.port = 443 };
	struct server_options o = { .type = &host_type,
		.task = &rig.task,
		.authority = &authority };
	int fd[2];

	live_before = chunk_bytes_live();
	memset(&rig, 0, sizeof(rig));
	rig.loop = loop_new();
	budget = budget_new();
	account = account_open(budget, 1);
	rig.request_ms = rig.idle_ms = 600000;
	lab_tcp(fd);
	rig.fd = fd[1];
	task_init(&rig.task, rig.loop, conn_run);
	o.link = rig.link = link_new(rig.loop, fd[0], &rig.task);
	o.account = account;
	(void)h2_server_start(&rig.h2, &o);
	task_wake(&rig.task);
	new_client(window);
}

void
rig_end(void)
{
	unsigned i;

	finish_all();
	if (rig.link != NULL) {
		server_fini(&rig.h2.server);
		link_close(&rig.link, LINK_ABORT);
	}
	task_fini(&rig.task);
	for (i = 0; i < rig.n_does; i++)
		free(rig.does[i]);
	nghttp2_session_del(rig.ng);
	close(rig.fd);
	buf_fini(&rig.out);
	account_unref(&account);
	loop_free(&rig.loop);
	budget_free(&budget);
	CU_ASSERT_EQUAL(rig.wrong, 0);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live_before);
	link_thread_fini();
}

void
rig_turn(void)
{
	(void)client_moves();
	lab_run(rig.loop, 1);
}

void
rig_settle(void)
{
	unsigned still = 0;

	while (still < 4) {
		still = client_moves() ? 0 : still + 1;
		lab_run(rig.loop, 2);
	}
}

struct hope {
	bool (*so)(void *);
	void *arg;
};

static bool
moved_and_so(void *arg)
{
	const struct hope *h = arg;

	(void)client_moves();
	return (h->so(h->arg));
}

bool
rig_until(bool (*so)(void *), void *arg)
{
	struct hope h = { so, arg };

	return (lab_until(rig.loop, moved_and_so, &h, RIG_MS));
}

struct ask *
rig_ask(const char *head, bool sends)
{
	struct ask *a = &rig.ask[rig.n_ask];
	nghttp2_data_provider from = { .source = { .ptr = a },
		.read_callback = client_body };
	nghttp2_nv nv[FIELDS];

	CU_ASSERT_FATAL(rig.n_ask < RIG_MOST);
	rig.n_ask++;
	a->sends = sends;
	a->id = nghttp2_submit_request(rig.ng, NULL, nv, fields_of(head, nv),
	    sends ? &from : NULL, NULL);
	CU_ASSERT_FATAL(a->id > 0);
	return (a);
}

static struct ask *
ask_method(const char *method, bool sends)
{
	char head[128];

	(void)snprintf(head, sizeof(head),
	    ":method: %s\n:scheme: https\n:authority: a.test\n:path: /%u\n",
	    method, nghttp2_session_get_next_stream_id(rig.ng));
	return (rig_ask(head, sends));
}

struct ask *
rig_get(void)
{
	return (ask_method("GET", false));
}

struct ask *
rig_post(void)
{
	return (ask_method("POST", true));
}

void
rig_send(struct ask *a, size_t n, bool end)
{
	a->to_send += n;
	a->ends |= end;
	if (a->deferred && !a->closed) {
		a->deferred = false;
		(void)nghttp2_session_resume_data(rig.ng, a->id);
	}
}

void
rig_reset(struct ask *a)
{
	client_says(); /* nghttp2 would send it in front of HEADERS */
	if (a->asked)
		(void)nghttp2_submit_rst_stream(rig.ng, NGHTTP2_FLAG_NONE,
		    a->id, NGHTTP2_CANCEL);
}

void
rig_consume(struct ask *a, size_t n)
{
	n = n < a->unread ? n : a->unread;
	a->unread -= n;
	(void)nghttp2_session_consume(rig.ng, a->id, n);
}
