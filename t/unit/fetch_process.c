/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process that fetches, in its sandbox, against a server that misbehaves. */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/channel.h"
#include "base/sealed.h"
#include "base/str.h"
#include "base/thread.h"
#include "fetch/fetcher.h"
#include "fetch/wire_priv.h"
#include "t/unit/certs_make.h"

/* The server: what it does is in the path. */

static int port, tls_port;
static gnutls_certificate_credentials_t credentials;
static atomic_uint open_now, open_most, served;
static atomic_bool hold;

struct conn {
	int fd;
	gnutls_session_t tls; /* NULL: plain */
};

static ssize_t
get_some(struct conn *c, char *p, size_t n)
{
	return (c->tls != NULL ? gnutls_record_recv(c->tls, p, n)
			       : recv(c->fd, p, n, 0));
}

static void
put(struct conn *c, const char *p, size_t n)
{
	if (c->tls != NULL)
		(void)!gnutls_record_send(c->tls, p, n);
	else
		(void)!send(c->fd, p, n, MSG_NOSIGNAL);
}

__attribute__((format(printf, 2, 3))) static void
putf(struct conn *c, const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(c, text, (size_t)n);
}

static void
redirect(struct conn *c, const char *to)
{
	putf(c,
	    "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 3\r\n"
	    "\r\nno!",
	    to);
}

static void
endless_head(struct conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	char fields[1024];

	memset(fields, 'x', sizeof(fields));
	memcpy(fields, "X-A: ", 5);
	memcpy(fields + sizeof(fields) - 2, "\r\n", 2);
	putf(c, "HTTP/1.1 200 OK\r\n");
	while (poll(&p, 1, 0) == 0)
		put(c, fields, sizeof(fields));
}

static void
until_closed(struct conn *c)
{
	char none[64];

	while (get_some(c, none, sizeof(none)) > 0)
		;
}

static void
answer(struct conn *c, const char *path, const char *head, const char *body)
{
	char to[64];
	unsigned n;

	if (strcmp(path, "/ok") == 0 &&
	    strstr(head, "If-None-Match: \"v1\"") != NULL)
		putf(c,
		    "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=7"
		    "\r\nETag: \"v1\"\r\n\r\n");
	else if (strcmp(path, "/dated") == 0 &&
	    strstr(head, "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT") !=
		NULL)
		putf(c, "HTTP/1.1 304 Not Modified\r\n\r\n");
	else if (strcmp(path, "/ok") == 0)
		putf(c,
		    "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=100"
		    "\r\nAge: 10\r\nETag: \"v1\"\r\nLast-Modified: Thu, 01 "
		    "Jan 2026 00:00:00 GMT\r\nContent-Length: 5\r\n\r\n"
		    "hello");
	else if (strcmp(path, "/expires") == 0)
		putf(c,
		    "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 "
		    "GMT\r\nExpires: Thu, 01 Jan 2026 00:02:00 GMT\r\n"
		    "ETag: bad\x01tag\r\nContent-Length: 0\r\n\r\n");
	else if (sscanf(path, "/r%u", &n) == 1) {
		(void)snprintf(to, sizeof(to), n > 1 ? "/r%u" : "/ok", n - 1);
		redirect(c, to);
	} else if (strcmp(path, "/denied") == 0)
		redirect(c, "http://192.0.2.1/");
	else if (strcmp(path, "/self") == 0)
		redirect(c, "http://self.test:9/");
	else if (strcmp(path, "/port") == 0)
		redirect(c, "http://127.0.0.1:1/");
	else if (strcmp(path, "/file") == 0)
		redirect(c, "file:///etc/passwd");
	else if (strcmp(path, "/plain") == 0) {
		(void)snprintf(to, sizeof(to), "http://a.test:%d/ok", port);
		redirect(c, to);
	} else if (strcmp(path, "/large") == 0)
		putf(c, "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n");
	else if (strcmp(path, "/stream") == 0)
		putf(c,
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "40\r\n%064d\r\n40\r\n%064d\r\n0\r\n\r\n",
		    1, 2);
	else if (strcmp(path, "/fits") == 0)
		putf(c,
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "64\r\n%0100d\r\n0\r\n\r\n",
		    1);
	else if (strcmp(path, "/cut") == 0)
		putf(c, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
	else if (strcmp(path, "/junk") == 0)
		putf(c, "220 mail.test ESMTP\r\n");
	else if (strcmp(path, "/head") == 0)
		endless_head(c);
	else if (strcmp(path, "/silent") == 0)
		until_closed(c);
	else if (strcmp(path, "/hold") == 0) {
		while (hold)
			(void)poll(NULL, 0, 5);
		putf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	} else if (strcmp(path, "/ocsp") == 0)
		putf(c, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s",
		    strncmp(head, "POST ", 5) == 0 &&
			    strstr(head, "application/ocsp-request") != NULL
			? "200 OK"
			: "400 Bad",
		    strlen(body), body);
	else
		putf(c,
		    "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n"
		    "no!");
}

static void
serve(struct conn *c)
{
	char head[8192], path[256], *end = NULL;
	size_t n = 0, length = 0;
	ssize_t r;

	while (n < sizeof(head) - 1 &&
	    (end == NULL || strlen(end + 4) < length) &&
	    (r = get_some(c, head + n, sizeof(head) - 1 - n)) > 0) {
		n += (size_t)r;
		head[n] = '\0';
		if ((end = strstr(head, "\r\n\r\n")) != NULL &&
		    strstr(head, "Content-Length: ") != NULL)
			length = (size_t)atoi(
			    strstr(head, "Content-Length: ") + 16);
	}
	if (end != NULL && sscanf(head, "%*s %255s", path) == 1)
		answer(c, path, head, end + 4);
}

static void *
conn_run(void *arg)
{
	struct conn *c = arg;

	if (c->tls == NULL || gnutls_handshake(c->tls) == 0) {
		served++;
		serve(c);
	}
	if (c->tls != NULL) {
		(void)gnutls_bye(c->tls, GNUTLS_SHUT_WR);
		gnutls_deinit(c->tls);
	}
	shutdown(c->fd, SHUT_WR);
	close(c->fd);
	open_now--;
	free(c);
	return (NULL);
}

static void
accepted(int fd, bool tls)
{
	struct conn *c = calloc(1, sizeof(*c));
	unsigned now = ++open_now;
	pthread_t t;

	if (now > open_most)
		open_most = now;
	c->fd = fd;
	if (tls) {
		gnutls_init(&c->tls, GNUTLS_SERVER);
		gnutls_set_default_priority(c->tls);
		gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE,
		    credentials);
		gnutls_transport_set_int(c->tls, fd);
	}
	if (thread_start(&t, "server", conn_run, c) != 0)
		abort();
	pthread_detach(t);
}

static void *
server_run(void *arg)
{
	int *listener = arg, fd;

	while ((fd = accept4(listener[0], NULL, NULL, SOCK_CLOEXEC)) >= 0)
		accepted(fd, listener[1]);
	return (NULL);
}

static int
server_start(int listener[2], bool tls)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	pthread_t t;

	listener[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	listener[1] = tls;
	if (bind(listener[0], (struct sockaddr *)&a, n) != 0 ||
	    listen(listener[0], 512) != 0 ||
	    getsockname(listener[0], (struct sockaddr *)&a, &n) != 0 ||
	    thread_start(&t, "listener", server_run, listener) != 0)
		abort();
	pthread_detach(t);
	return (ntohs(a.sin_port));
}

/* What is asked of the process. */

static struct loop *loop;
static struct fetch *client;
static struct child child;
static struct sandbox_report report;
static unsigned works, lost;
static bool own_roots = true;

static void
on_works(void *arg, const struct sandbox_report *r)
{
	(void)arg;
	report = *r;
	works++;
}

static void
on_lost(void *arg, const char *why)
{
	(void)arg;
	(void)why;
	lost++;
}

struct want {
	struct fetch_wait wait;
	struct fetch_answer got;
	struct buf content;
	bool ready;
};

static void
on_ready(struct fetch_wait *w, struct fetch_answer *a)
{
	struct want *x = (struct want *)w;

	x->ready = true;
	x->got = *a;
	if (a->fd >= 0)
		CU_ASSERT_TRUE(sealed_read(a->fd, &x->content, 1000));
	loop_stop(loop);
}

static void
start(struct want *x, struct fetch_request *r)
{
	*x = (struct want){ .wait.ready = on_ready };
	fetch_start(client, loop, &x->wait, r);
}

static void
finish(struct want *x)
{
	while (!x->ready)
		loop_run(loop);
}

static struct want
get_with(struct fetch_request r)
{
	struct want x;

	start(&x, &r);
	finish(&x);
	return (x);
}

static struct want
get(const char *host, int to, const char *path)
{
	char url[128];

	(void)snprintf(url, sizeof(url), "http%s://%s:%d%s",
	    to == tls_port ? "s" : "", host, to, path);
	return (get_with((struct fetch_request){ .kind = FETCH_ISSUER,
	    .url = url,
	    .max_bytes = 100,
	    .deadline_ms = 15000 }));
}

static void
expect(const char *host, int to, const char *path, enum fetch_outcome o)
{
	struct want x = get(host, to, path);

	if (x.got.outcome != o)
		printf("# %s%s: %s: %s\n", host, path,
		    fetch_outcome_text(x.got.outcome), x.got.why);
	CU_ASSERT_EQUAL(x.got.outcome, o);
	buf_fini(&x.content);
}

static void
stop(struct timer *t)
{
	loop_stop(t->loop);
}

static void
turn(void)
{
	struct timer t;

	timer_init(&t, loop, stop);
	timer_set(&t, 10);
	loop_run(loop);
	timer_stop(&t);
}

#define HOSTS 40 /* h0.test .. of the server */

static void
begin(void)
{
	const struct fetch_events e = { on_works, on_lost, NULL };
	struct sockaddr_storage self = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&self;
	struct arena *a = arena_new();
	struct nets deny = { 0 }, allow = { 0 };
	const struct fetcher_ports ports[] = { { 9, 9 },
		{ (uint16_t)port, (uint16_t)port },
		{ (uint16_t)tls_port, (uint16_t)tls_port } };
	char why[NETS_WHY],
	    hosts[4096] = "127.0.0.1 a.test\n192.0.2.1 denied.test"
			  "\n192.0.2.1 mixed.test\n127.0.0.1 "
			  "mixed.test\n127.0.0.3 dead.test\n"
			  "127.0.0.1 dead.test\n127.0.0.9 "
			  "self.test\n::1 v6.test\n";
	struct fetcher_rules r = { .deny = &deny,
		.allow = &allow,
		.self = &self,
		.n_self = 1,
		.ports = ports,
		.n_ports = 3,
		.servers = "127.0.0.1:1",
		.roots = own_roots ? make_path("roots.pem") : NULL };
	struct fault f = { 0 };
	int fd = -1;
	unsigned i;

	for (i = 0; i < HOSTS; i++)
		(void)snprintf(hosts + strlen(hosts), 32,
		    "127.0.0.1 h%u.test\n", i);
	r.hosts = make_file("hosts", hosts, strlen(hosts), 0600);
	in->sin_family = AF_INET;
	in->sin_port = htons(9);
	in->sin_addr.s_addr = htonl(0x7f000009);
	CU_ASSERT_TRUE(nets_add(&deny, a, "192.0.2.0/24", why));
	CU_ASSERT_TRUE(nets_add(&deny, a, "::/0", why));
	CU_ASSERT_TRUE(nets_add(&deny, a, "self", why));
	CU_ASSERT_TRUE(nets_add(&allow, a, "127.0.0.0/8", why));
	works = lost = 0;
	loop = loop_new();
	client = fetch_new(loop, &e);
	CU_ASSERT_TRUE_FATAL(fetcher_start(&r, -1, &child, &fd, &f));
	fetch_attach(client, fd);
	arena_free(&a);
}

static void
end(void)
{
	int how = -1;

	fetch_free(&client);
	loop_settle(loop);
	loop_free(&loop);
	CU_ASSERT_TRUE(child_reap(&child, &how, 20000));
	CU_ASSERT_EQUAL(how, 0); /* it ended by itself: no signal, status 0 */
}

static void
test_comes(void)
{
	struct want x;

	begin();
	x = get("a.test", port, "/ok");
	CU_ASSERT_EQUAL_FATAL(x.got.outcome, FETCH_DONE);
	CU_ASSERT(x.content.n == 5 && memcmp(x.content.p, "hello", 5) == 0);
	CU_ASSERT(x.got.status == 200 && x.got.fresh_s == 90);
	CU_ASSERT_EQUAL(x.got.modified, 1767225600);
	CU_ASSERT_STRING_EQUAL(x.got.etag, "\"v1\"");
	buf_fini(&x.content);
	x = get("A.TEST", port, "/expires");
	CU_ASSERT(x.got.outcome == FETCH_DONE && x.got.fresh_s == 120);
	CU_ASSERT(x.got.size == 0 && x.got.etag[0] == '\0');
	buf_fini(&x.content);
	expect("127.0.0.1", port, "/ok", FETCH_DONE);
	expect("a.test", port, "/fits", FETCH_DONE);
	expect("a.test", port, "/absent", FETCH_STATUS);
	CU_ASSERT_EQUAL(works, 1);
	CU_ASSERT(report.off == 0);
	CU_ASSERT(report.seccomp || report.seccomp_errno != 0);
	end();
}

static void
test_same(void)
{
	char url[64];
	struct fetch_request r = { .kind = FETCH_LIST,
		.url = url,
		.etag = "\"v1\"" };
	struct want x;

	begin();
	(void)snprintf(url, sizeof(url), "http://a.test:%d/ok", port);
	x = get_with(r);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_SAME);
	CU_ASSERT(x.got.status == 304 && x.got.fresh_s == 7 && x.got.fd == -1);
	CU_ASSERT_STRING_EQUAL(x.got.etag, "\"v1\"");
	r.etag = NULL;
	r.since = 1767225600;
	(void)snprintf(url, sizeof(url), "http://a.test:%d/dated", port);
	x = get_with(r);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_SAME);
	end();
}

static void
test_ocsp(void)
{
	char url[64];
	struct fetch_request r = { .kind = FETCH_OCSP,
		.url = url,
		.body = "question",
		.body_n = 8 };
	struct want x;

	begin();
	(void)snprintf(url, sizeof(url), "http://a.test:%d/ocsp", port);
	x = get_with(r);
	CU_ASSERT_EQUAL_FATAL(x.got.outcome, FETCH_DONE);
	CU_ASSERT(x.content.n == 8 && memcmp(x.content.p, "question", 8) == 0);
	buf_fini(&x.content);
	(void)snprintf(url, sizeof(url), "http://a.test:%d/r1", port);
	x = get_with(r);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_REDIRECT);
	end();
}

/* Where it may go, at each hop, whatever the environment says. */
static void
test_where(void)
{
	unsigned before;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "socks5h://127.0.0.1:1", 1);
	begin();
	expect("a.test", port, "/r3", FETCH_DONE);
	expect("a.test", port, "/r4", FETCH_REDIRECT);
	expect("a.test", port, "/file", FETCH_REDIRECT);
	expect("a.test", port, "/denied", FETCH_DENIED);
	expect("a.test", port, "/self", FETCH_DENIED);
	expect("a.test", port, "/port", FETCH_DENIED);
	expect("denied.test", port, "/ok", FETCH_DENIED);
	expect("v6.test", port, "/ok", FETCH_DENIED);
	expect("[::ffff:192.0.2.1]", port, "/ok", FETCH_DENIED);
	expect("mixed.test", port, "/ok", FETCH_DONE);
	expect("dead.test", port, "/ok", FETCH_DONE);
	expect("127.0.0.3", port, "/ok", FETCH_CONNECT);
	expect("nowhere.test", port, "/ok", FETCH_NAME);
	before = served;
	expect("u:p@a.test", port, "/ok", FETCH_URL);
	expect("", port, "/ok", FETCH_URL);
	CU_ASSERT_EQUAL(served, before);
	end();
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("ALL_PROXY");
}

static void
test_schemes(void)
{
	static const char *const urls[] = { "file:///etc/passwd",
		"ftp://a.test/x", "gopher://a.test/", "dict://a.test:9/",
		"ldap://a.test/cn=x", "a.test/x", "http:/a.test", "//a.test/",
		"http://a.test:0/", "http://a.test:65536/", "http://\x7f/" };
	struct want x;
	unsigned i;

	begin();
	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		x = get_with((struct fetch_request){ .kind = FETCH_LIST,
		    .url = urls[i] });
		/* or what libcurl takes for http, on port 80 */
		CU_ASSERT(x.got.outcome == FETCH_URL ||
		    x.got.outcome == FETCH_DENIED);
	}
	end();
}

static void
test_bounds(void)
{
	char url[64];
	struct fetch_request r = { .kind = FETCH_CRL,
		.url = url,
		.deadline_ms = 300 };
	struct want x;

	begin();
	expect("a.test", port, "/large", FETCH_LARGE);
	expect("a.test", port, "/stream", FETCH_LARGE);
	expect("a.test", port, "/cut", FETCH_CUT);
	expect("a.test", port, "/junk", FETCH_CUT);
	expect("a.test", port, "/head", FETCH_CUT);
	(void)snprintf(url, sizeof(url), "http://a.test:%d/silent", port);
	x = get_with(r);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_LATE);
	CU_ASSERT_EQUAL(lost, 0);
	end();
}

/* So many with one host; others do not wait for them. */
static void
test_at_once(void)
{
	enum { N = 40 };
	struct want x[N], other;
	char url[64];
	struct fetch_request r = { .kind = FETCH_LIST, .url = url };
	unsigned i;

	while (open_now > 0)
		(void)poll(NULL, 0, 5);
	open_most = 0;
	hold = true;
	begin();
	(void)snprintf(url, sizeof(url), "http://a.test:%d/hold", port);
	for (i = 0; i < N; i++)
		start(&x[i], &r);
	(void)snprintf(url, sizeof(url), "http://mixed.test:%d/ok", port);
	other = get_with(r);
	CU_ASSERT_EQUAL(other.got.outcome, FETCH_DONE);
	buf_fini(&other.content);
	while (open_now < FETCHER_OF_HOST)
		turn();
	fetch_cancel(&x[0].wait);
	fetch_cancel(&x[N - 1].wait);
	hold = false;
	for (i = 1; i + 1 < N; i++) {
		finish(&x[i]);
		CU_ASSERT_EQUAL(x[i].got.outcome, FETCH_DONE);
		buf_fini(&x[i].content);
	}
	CU_ASSERT_TRUE(open_most <= FETCHER_OF_HOST + 2); /* + other, closing */
	CU_ASSERT_FALSE(x[0].ready || x[N - 1].ready);
	end();
}

/* Held by the server. */
static void
start_held(struct want *x, enum fetch_kind kind, const char *host)
{
	char url[64];
	struct fetch_request r = { .kind = kind, .url = url };

	(void)snprintf(url, sizeof(url), "http://%s:%d/hold", host, port);
	start(x, &r);
}

static void
start_held_at(struct want *x, enum fetch_kind kind, unsigned host)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "h%u.test", host);
	start_held(x, kind, name);
}

static void
held_begin(void)
{
	while (open_now > 0)
		(void)poll(NULL, 0, 5);
	open_most = 0;
	hold = true;
	begin();
}

static void
wait_open(unsigned n)
{
	while (open_now < n)
		turn();
}

static struct want
ask_at(const char *host, unsigned deadline_ms)
{
	char url[64];

	(void)snprintf(url, sizeof(url), "http://%s:%d/ocsp", host, port);
	return (get_with((struct fetch_request){ .kind = FETCH_OCSP,
	    .url = url,
	    .deadline_ms = deadline_ms,
	    .body = "question",
	    .body_n = 8 }));
}

static void
finish_all(struct want *x, unsigned n, enum fetch_outcome o)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		finish(&x[i]);
		CU_ASSERT_EQUAL(x[i].got.outcome, o);
		buf_fini(&x[i].content);
	}
}

/*
 * Whoever makes it get much of one kind does not keep it from asking about
 * revocation: not of other hosts, and not of the same.
 */
static void
test_share(void)
{
	struct want x[HOSTS], same[FETCHER_OF_HOST], late, answer;
	unsigned i;

	held_begin();
	for (i = 0; i < FETCHER_OF_HOST; i++)
		start_held(&same[i], FETCH_ISSUER, "a.test");
	for (i = 0; i < HOSTS; i++)
		start_held_at(&x[i], FETCH_ISSUER, i);
	wait_open(FETCHER_AT_ONCE / 4);
	answer = ask_at("a.test", 10000);
	CU_ASSERT_EQUAL(answer.got.outcome, FETCH_DONE);
	buf_fini(&answer.content);
	CU_ASSERT_TRUE(open_most <= FETCHER_AT_ONCE / 4 + 1);
	/* It had no turn: that says nothing of its server. */
	late = get_with((struct fetch_request){ .kind = FETCH_ISSUER,
	    .url = "http://h0.test/",
	    .deadline_ms = 100 });
	CU_ASSERT_EQUAL(late.got.outcome, FETCH_BUSY);
	CU_ASSERT_EQUAL(late.got.status, 0);
	hold = false;
	finish_all(same, FETCHER_OF_HOST, FETCH_DONE);
	finish_all(x, HOSTS, FETCH_DONE);
	end();
}

/* A turn that came when most of the time was over is none. */
static void
test_late_turn(void)
{
	struct want x[FETCHER_OF_HOST], late, answer;
	char url[64];
	struct fetch_request r = { .kind = FETCH_ISSUER,
		.url = url,
		.deadline_ms = 1500 };
	struct timer t;
	unsigned i;

	held_begin();
	for (i = 0; i < FETCHER_OF_HOST; i++)
		start_held(&x[i], FETCH_ISSUER, "a.test");
	wait_open(FETCHER_OF_HOST);
	(void)snprintf(url, sizeof(url), "http://a.test:%d/silent", port);
	start(&late, &r);
	answer = ask_at("h0.test", 0); /* behind it: it is known there */
	CU_ASSERT_EQUAL(answer.got.outcome, FETCH_DONE);
	buf_fini(&answer.content);
	timer_init(&t, loop, stop);
	timer_set(&t, 1000);
	loop_run(loop);
	timer_stop(&t);
	hold = false;
	finish_all(x, FETCHER_OF_HOST, FETCH_DONE);
	finish(&late);
	CU_ASSERT_EQUAL(late.got.outcome, FETCH_BUSY);
	end();
}

/* A place that becomes free is for who asks about revocation. */
static void
test_first(void)
{
	struct want x[FETCHER_AT_ONCE], issuer, status;
	char url[64];
	struct fetch_request r = { .kind = FETCH_ISSUER, .url = url };
	unsigned i;

	held_begin();
	for (i = 0; i < FETCHER_AT_ONCE; i++)
		start_held_at(&x[i], FETCH_CRL, i);
	wait_open(FETCHER_AT_ONCE);
	(void)snprintf(url, sizeof(url), "http://a.test:%d/ok", port);
	start(&issuer, &r);
	r.kind = FETCH_OCSP;
	start(&status, &r);
	fetch_cancel(&x[0].wait);
	finish(&issuer); /* they follow one another in the one place */
	CU_ASSERT_TRUE(status.ready);
	finish(&status);
	CU_ASSERT_EQUAL(issuer.got.outcome, FETCH_DONE);
	CU_ASSERT_EQUAL(status.got.outcome, FETCH_DONE);
	buf_fini(&issuer.content);
	buf_fini(&status.content);
	hold = false;
	finish_all(x + 1, FETCHER_AT_ONCE - 1, FETCH_DONE);
	end();
}

static void
test_tls(void)
{
	begin();
	expect("a.test", tls_port, "/ok", FETCH_DONE);
	expect("mixed.test", tls_port, "/ok", FETCH_TLS); /* another name */
	expect("a.test", tls_port, "/plain", FETCH_REDIRECT);
	end();
	own_roots = false; /* the system's, which do not know it */
	begin();
	expect("a.test", tls_port, "/ok", FETCH_TLS);
	end();
	own_roots = true;
	CU_ASSERT_EQUAL(unlink(make_path("roots.pem")), 0);
	begin();
	expect("a.test", tls_port, "/ok", FETCH_TLS);
	end();
}

/* It is killed, or told nonsense: the client notices, all is cleared away. */
static void
test_dies(void)
{
	char url[64];
	struct fetch_request r = { .kind = FETCH_LIST, .url = url };
	struct want x;
	int how;

	begin();
	(void)snprintf(url, sizeof(url), "http://a.test:%d/silent", port);
	start(&x, &r);
	while (works == 0)
		turn();
	CU_ASSERT_TRUE(child_signal(&child, SIGKILL));
	finish(&x);
	CU_ASSERT_EQUAL(x.got.outcome, FETCH_LOST);
	CU_ASSERT_EQUAL(lost, 1);
	fetch_free(&client);
	loop_settle(loop);
	loop_free(&loop);
	CU_ASSERT_TRUE(child_reap(&child, &how, 20000));
}

static void
test_told_nonsense(void)
{
	const struct nets none = { 0 };
	struct fetcher_rules r = { .deny = &none, .allow = &none };
	struct fault f = { 0 };
	struct wire_say s;
	int fd, fds[CHANNEL_FDS], how = -1, err[2];
	char said[64] = "";
	unsigned n;

	CU_ASSERT_EQUAL(pipe(err), 0);
	CU_ASSERT_TRUE_FATAL(fetcher_start(&r, err[1], &child, &fd, &f));
	close(err[1]);
	CU_ASSERT_EQUAL(channel_recv(fd, &s, sizeof(s), fds, &n, 20000),
	    CHANNEL_DONE);
	CU_ASSERT_EQUAL(s.op, WIRE_WORKS);
	CU_ASSERT_EQUAL(channel_send(fd, "?", 1, NULL, 0, 1000), CHANNEL_DONE);
	CU_ASSERT_TRUE(child_reap(&child, &how, 20000));
	CU_ASSERT(WIFEXITED(how) && WEXITSTATUS(how) == 1);
	CU_ASSERT_TRUE(read(err[0], said, sizeof(said) - 1) > 0);
	CU_ASSERT_STRING_EQUAL(said, "not a question\n");
	close(err[0]);
	close(fd);
}

static void
test_rules(void)
{
	static struct net many[1025];
	const struct nets none = { 0 }, too_many = { .v = many, .n = 1025 };
	struct fetcher_rules r = { .deny = &too_many, .allow = &none };
	struct fault f = { 0 };
	int fd;

	CU_ASSERT_FALSE(fetcher_start(&r, -1, &child, &fd, &f));
	CU_ASSERT_EQUAL(f.code, ERR_CONFIG);
}

static void
prepare(int listeners[2][2])
{
	static const struct make root = { .cn = "root", .ca = 1 };
	static const struct make leaf = { .cn = "a.test", .dns = { "a.test" } };
	struct made issuer = make_cert(&root, NULL);
	struct made cert = make_cert(&leaf, &issuer);

	(void)make_cert_file("roots.pem", &issuer);
	/* Started by root it is somebody else. */
	(void)chmod(make_path("roots.pem"), 0644);
	(void)chmod(make_folder(), 0755);
	gnutls_certificate_allocate_credentials(&credentials);
	gnutls_certificate_set_x509_key(credentials, &cert.crt, 1, cert.key);
	made_free(&issuer);
	made_free(&cert);
	port = server_start(listeners[0], false);
	tls_port = server_start(listeners[1], true);
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = { { "comes", test_comes },
		{ "has not changed", test_same }, { "OCSP", test_ocsp },
		{ "where it goes", test_where }, { "schemes", test_schemes },
		{ "bounds", test_bounds }, { "at once", test_at_once },
		{ "share", test_share }, { "late turn", test_late_turn },
		{ "first", test_first }, { "dies", test_dies },
		{ "told nonsense", test_told_nonsense },
		{ "rules", test_rules }, { "TLS", test_tls } };
	static int listeners[2][2];
	int code;

	if (strcmp(argv[0], FETCHER_ROLE) == 0)
		return (fetcher_main(argc, argv));
	signal(SIGPIPE, SIG_IGN);
	prepare(listeners);
	code = unit_main("fetch_process", tests,
	    sizeof(tests) / sizeof(tests[0]));
	/* The server's threads use them. */
	while (open_now > 0)
		(void)poll(NULL, 0, 5);
	gnutls_certificate_free_credentials(credentials);
	return (code);
}
