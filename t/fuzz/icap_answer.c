/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz everything an ICAP server may say: the input is what it sends, as
 * answer to OPTIONS or to a transaction.  The first byte chooses which, and
 * how the rest is cut.  Every scan must end, an adapted body too.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>
#include "base/list.h"
#include "http/uri.h"
#include "icap/icap.h"
#include "net/dial.h"
#include "t/head.h"

#define RESP_MODE 1
#define WITH_BODY 2
#define TO_OPTIONS 4
#define TURNS 200

static const char options
    [] = "ICAP/1.0 200 OK\r\nISTag: \"a\"\r\n"
	 "Allow: 204, 206\r\nPreview: 4\r\nEncapsulated: null-body=0\r\n\r\n";

static struct loop *loop;
static struct body_store store = { .temp_dir = "/tmp", .window = 65536 };
static int peer_fd;

static int listener;
static char url[64];
static struct resolver *resolver;
static struct dialer *dialer;

/* A server on a port of this machine. */
static void
begin(void)
{
	struct resolver_options names = { .servers = "127.0.0.1:9" };
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct fault f = { .code = ERR_NONE };
	socklen_t n = sizeof(a);

	loop = loop_new();
	resolver = resolver_new(loop, &names, &f);
	assert(resolver != NULL);
	dialer = dialer_new(loop, resolver);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (bind(listener, (struct sockaddr *)&a, n) != 0 ||
	    listen(listener, 16) != 0 ||
	    getsockname(listener, (struct sockaddr *)&a, &n) != 0)
		abort();
	snprintf(url, sizeof(url), "icap://127.0.0.1:%u/b", ntohs(a.sin_port));
}

static void
hang_up(void)
{
	if (peer_fd >= 0)
		close(peer_fd);
	peer_fd = -1;
}

/* The newest connection; closing one leaves no trace in the kernel. */
static void
answer_call(void)
{
	struct linger at_once = { .l_onoff = 1 };
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		return;
	hang_up();
	peer_fd = fd;
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static void
turns(unsigned n)
{
	while (n-- > 0) {
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		answer_call();
	}
}

static void
say(const uint8_t *p, size_t n, size_t piece)
{
	size_t k;

	for (; n > 0; p += k, n -= k) {
		k = n < piece ? n : piece;
		if (peer_fd < 0 || send(peer_fd, p, k, MSG_NOSIGNAL) < 0)
			return;
		turns(2);
	}
}

static struct http_msg *
parse(struct arena *a, enum h1_kind kind, struct str text)
{
	struct http_msg *m = head_read(a, kind, text, &h1_limits_client, NULL);

	assert(m != NULL);
	return (m);
}

static void
nothing(struct task *t)
{
	(void)t;
}

/* Read it to its end, hanging up when it waits. */
static void
read_all(struct body *b, struct task *t)
{
	struct chq q = { 0 };
	struct reader r;
	enum pull p;
	unsigned waits = 0;

	reader_open(&r, b, 0, t);
	while (!pull_is_last(p = reader_pull(&r, &q, 4096))) {
		chq_drop(&q, chq_len(&q));
		if (p == PULL_WAIT) {
			hang_up();
			turns(2);
			assert(++waits < TURNS);
		}
	}
	reader_close(&r);
	chq_fini(&q);
}

static void
fuzz_one(unsigned how, const uint8_t *p, size_t n, struct scanner *s)
{
	struct arena *a = arena_new();
	struct scan_message m = { .arena = a };
	struct reader keeper = { .body = NULL }; /* as a chain does */
	struct scan scan;
	struct task t;
	unsigned i;

	task_init(&t, loop, nothing);
	m.mode = (how & RESP_MODE) != 0 ? SCAN_RESP : SCAN_REQ;
	m.req = parse(a, H1_REQUEST,
	    STR("POST http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert(http_target_parse((struct http_msg *)(uintptr_t)m.req, NULL,
		   false, NULL) == ERR_NONE);
	m.resp = parse(a, H1_RESPONSE, STR("HTTP/1.1 200 OK\r\n\r\n"));
	if ((how & WITH_BODY) != 0) {
		m.body = body_of_bytes(loop, &store, "0123456789", 10);
		reader_open(&keeper, m.body, 0, NULL);
	}
	scan_start(&scan, s, &m, &t);
	turns(6);
	if ((how & TO_OPTIONS) == 0) {
		say((const uint8_t *)options, sizeof(options) - 1, 4096);
		turns(4);
	}
	say(p, n, 1 + (how >> 3) * (how >> 3));
	for (i = 0; i < TURNS && !scan.done; i++) {
		hang_up();
		turns(2);
	}
	assert(scan.done);
	if (scan.result.body != NULL)
		read_all(scan.result.body, &t);
	scan_cancel(&scan);
	reader_close(&keeper);
	if (m.body != NULL)
		body_unref(&m.body);
	task_fini(&t);
	arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const char *urls[] = { url };
	struct icap_shared shared = { 0 };
	struct icap_options o = { .name = "f",
		.urls = urls,
		.n_urls = 1,
		.req = true,
		.resp = true,
		.preview = ICAP_PREVIEW_AUTO,
		.on_busy = ICAP_BUSY_BLOCK,
		.connect_timeout_ms = 1000,
		.timeout_ms = 1000,
		.store = &store };
	struct fault f = { .code = ERR_NONE };
	struct scanner *s;

	if (n == 0)
		return (0);
	if (loop == NULL)
		begin();
	peer_fd = -1;
	s = icap_new(loop, &o, &shared, dialer, &f);
	assert(s != NULL);
	fuzz_one(p[0], p + 1, n - 1, s);
	icap_free(&s);
	hang_up();
	turns(3);
	return (0);
}
