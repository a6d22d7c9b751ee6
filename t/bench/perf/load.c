/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Load generator for HTTP proxies: one thread, epoll, OpenSSL.
 *
 *   load --mode connect|direct|plain|direct-plain --addr 127.0.0.1:PORT --port ORIGIN_PORT --ca FILE [options]
 *
 * connect       CONNECT through the proxy at --addr, then TLS (checked against --ca and the host name), then requests
 * direct        TLS to --addr at once (the origin itself, or a transparent/static TLS-inspecting peer)
 * plain         http:// requests in absolute form through the proxy
 * direct-plain  plain HTTP to --addr
 *
 *   -c N          connections                         -n N / -d SECONDS   requests / time
 *   -k N          requests per connection (0: all)    --resume            offer the session of the host's last connection
 *   --hosts N --host0 K --suffix perf.test            h<K>... names, the next one for each new connection
 *   --path /1k    --body BYTES  (POST)                --expect BYTES      the response's body length
 *   --rate R      open loop: R requests/s on a fixed timetable; latency counts from the timetable
 *   --warm        open all connections, one request each, print "ready", wait for a line on stdin, then measure
 *   --timeout S   of one request                      --opening N         connections being opened at a time in --warm
 *   --tls 1.2     highest version                     --no-check          do not compare bodies
 *   --h2          HTTP/2 (offered with http/1.1, as browsers do; not chosen: error no_h2), --streams N at a time on each connection.
 *                 A connection's first request goes alone, as a page before its parts; with -k latency is that of all -k requests
 *                 from the opening of the connection on. No --rate.
 *   --ws BYTES    WebSocket: one upgrade for each connection, then messages that the origin echoes; each counts as a request. No --rate, no -k.
 * Result: one JSON line.
 */
#include "common.h"
#include "h2.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <math.h>

enum {
	C_CLOSED,
	C_TCP,
	C_CONNECT_OUT,
	C_CONNECT_IN,
	C_TLS,
	C_READY,
	C_BUSY,
	C_H2,
	C_WS_UP,
	C_WS
};
enum {
	E_TCP,
	E_CONNECT,
	E_TLS,
	E_VERIFY,
	E_STATUS,
	E_BODY,
	E_FRAMING,
	E_CLOSED,
	E_TIMEOUT,
	E_EARLY,
	E_NO_H2,
	E_NO_UPGRADE,
	E_RESET,
	E_N
};
static const char *const err_name[E_N] = { "tcp", "connect_refused", "tls",
	"verify", "status", "body", "framing", "closed", "timeout",
	"early_answer", "no_h2", "no_upgrade", "stream_reset" };
static uint64_t errors[E_N], err_status[600];

struct stream { /* one slot of a connection, free while id is 0 */
	struct conn *c;
	int32_t id;
	int status;
	bool bad, timed_out;
	uint64_t t_start, deadline, got, sent;
};
struct conn {
	int fd, st, id;
	SSL *ssl;
	uint32_t host;
	uint64_t reqs, t_open, t_start, deadline;
	bool fresh, in_head, in_again, close_after, sent, retry;
	int olen, ooff, hn, status;
	uint64_t body_left, body_off;
	struct body in;
	char out[1024], head[8192];
	nghttp2_session *h2;
	struct h2out o;
	struct stream *s;
	/*
 * HTTP/2 and WebSocket: requests under way; requests already counted as started
 * that wait for the connection
 */
	int live, pending;
	uint64_t begun;
	bool goaway;
};
struct list {
	uint64_t *v;
	size_t n, cap;
};
static struct list lat, hs;
static void
push(struct list *l, uint64_t v)
{
	if (l->n == l->cap)
		l->v = realloc(l->v,
		    (l->cap = l->cap ? 2 * l->cap : 4096) * sizeof *l->v);
	l->v[l->n++] = v;
}

static int conc = 1, opening = 64, mode = 0, streams = 0;
static unsigned char *ws; /* the one WebSocket frame that is sent, masked */
static size_t ws_len, ws_size;
static uint64_t want_reqs, per_conn, body, expect_len,
    timeout_ns = 30000000000ull, host0, hosts = 1;
static double duration, rate;
static bool warm, resume, check = true, have_expect;
static const char *path = "/1k", *suffix = "perf.test", *ca;
static int origin_port;
static struct sockaddr_in addr;
static SSL_CTX *ctx;
static SSL_SESSION **sessions;
static int ep;
static struct conn *cs;
static uint64_t host_next, started, finished, ok, bytes_in, bytes_out,
    handshakes, resumed, reopened, stopped_at;
static bool stopping, warming;
static uint64_t warm_done;
static char tls_desc[128];
static struct conn **again, **ready;
static size_t nagain, nready, again_cap;
/* open loop: start of the timetable, index of the next request in it */
static uint64_t t0, due_next;

static void drive(struct conn *c);

static int ex_host;
static int
new_session(SSL *s, SSL_SESSION *sess)
{
	uint32_t h = (uint32_t)(uintptr_t)SSL_get_ex_data(s, ex_host);
	if (sessions[h])
		SSL_SESSION_free(sessions[h]);
	sessions[h] = sess;
	return 1;
}

static void
drop(struct conn *c)
{
	if (c->ssl) {
		if (c->st >= C_READY)
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		c->ssl = NULL;
	}
	if (c->h2) {
		nghttp2_session_del(c->h2);
		c->h2 = NULL;
	}
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->st = C_CLOSED;
}

static void
run_again(struct conn *c)
{
	if (c->in_again)
		return;
	again[nagain++] = c, c->in_again = true;
}

static bool
more_wanted(void)
{
	if (stopping)
		return false;
	return !want_reqs || started < want_reqs;
}

static void fail(struct conn *c, int e);

static void
open_conn(struct conn *c)
{
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		perror("socket");
		exit(2);
	}
	set_nodelay(c->fd);
	c->host = (uint32_t)(host_next++ % hosts);
	c->reqs = 0, c->ooff = c->olen = c->hn = 0, c->fresh = true,
	c->retry = false;
	c->live = 0, c->pending = 1, c->begun = 0, c->goaway = false;
	c->t_open = now_ns();
	c->deadline = c->t_open + timeout_ns;
	c->st = C_TCP;
	if (connect(c->fd, (struct sockaddr *)&addr, sizeof addr) &&
	    errno != EINPROGRESS) {
		fail(c, E_TCP);
		return;
	}
	epoll_ctl(ep, EPOLL_CTL_ADD, c->fd,
	    &(struct epoll_event){ .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP |
		    EPOLLET,
		.data.ptr = c });
}

static void
begin_request(struct conn *c, uint64_t intended)
{
	uint64_t n = now_ns();
	c->t_start = intended           ? intended
	    : per_conn == 1 && c->fresh ? c->t_open
					: n;
	c->deadline = n + timeout_ns;
	char hostport[320];
	bool tls = mode < 2;
	int dflt = tls ? 443 : 80;
	if (origin_port == dflt)
		snprintf(hostport, sizeof hostport, "h%lu.%s", host0 + c->host,
		    suffix);
	else
		snprintf(hostport, sizeof hostport, "h%lu.%s:%d",
		    host0 + c->host, suffix, origin_port);
	char target[700];
	snprintf(target, sizeof target, mode == 2 ? "http://%s%s" : "%.0s%s",
	    hostport, path);
	c->olen = snprintf(c->out, sizeof c->out,
	    "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0 (X11; Linux "
	    "x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
	    "Accept: "
	    "text/html,application/xhtml+xml,application/xml;q=0.9,*/"
	    "*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n",
	    body ? "POST" : "GET", target, hostport);
	if (body)
		c->olen += snprintf(c->out + c->olen,
		    sizeof c->out - (size_t)c->olen,
		    "Content-Type: application/octet-stream\r\nContent-Length: "
		    "%lu\r\n",
		    body);
	c->olen += snprintf(c->out + c->olen, sizeof c->out - (size_t)c->olen,
	    "\r\n");
	c->ooff = 0, c->body_left = body, c->body_off = 0;
	c->in_head = true, c->hn = 0, c->sent = false;
	c->st = C_BUSY;
}

/* what a closed or idle connection does next */
static void
next(struct conn *c)
{
	if (warming)
		return;
	if (!more_wanted()) {
		if (finished >= started || stopping)
			return;
		return;
	}
	if (rate > 0) {
		uint64_t t = t0 + (uint64_t)((double)due_next * 1e9 / rate);
		if (now_ns() < t) {
			ready[nready++] = c;
			return;
		}
		due_next++, started++;
		if (c->st == C_READY) {
			begin_request(c, t);
			run_again(c);
		} else {
			c->t_start = t;
			open_conn(c);
		}
		return;
	}
	if (c->st == C_H2) { /* starts as many as it may itself */
		run_again(c);
		return;
	}
	started++;
	if (c->st == C_WS) {
		c->pending++;
		run_again(c);
	} else if (c->st == C_READY) {
		begin_request(c, 0);
		run_again(c);
	} else {
		open_conn(c);
	}
}

static void
done_one(struct conn *c)
{
	finished++;
	if (warming)
		warm_done++;
	next(c);
}

static void
fail(struct conn *c, int e)
{
	uint64_t n = streams || ws ? (uint64_t)(c->live + c->pending) : 1;
	errors[e] += n;
	if ((e == E_STATUS || e == E_CONNECT || e == E_NO_UPGRADE) &&
	    c->status > 0 && c->status < 600)
		err_status[c->status]++;
	drop(c);
	finished += n;
	if (warming)
		warm_done++;
	/* its next turn comes from the loop: no recursion when every try fails */
	c->retry = true;
	run_again(c);
}

static void
complete(struct conn *c)
{
	uint64_t t = now_ns();
	c->reqs++;
	bool early = c->body_left || c->ooff < c->olen;
	if (early || c->status != 200) {
		c->fresh = false;
		fail(c, early ? E_EARLY : E_STATUS);
		return;
	}
	if (have_expect && c->in.got != expect_len) {
		fail(c, E_BODY);
		return;
	}
	ok++;
	if (!warming)
		push(&lat, t - c->t_start);
	c->fresh = false;
	c->st = C_READY;
	if (c->close_after || (per_conn && c->reqs >= per_conn && !warming))
		drop(c);
	done_one(c);
}

/* >0 bytes, 0 end, -1 would block, -2 error */
static long
cread(struct conn *c, void *p, size_t n)
{
	if (!c->ssl) {
		ssize_t r = recv(c->fd, p, n, 0);
		return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? -1 : -2;
	}
	ERR_clear_error();
	int r = SSL_read(c->ssl, p, (int)n);
	if (r > 0)
		return r;
	int e = SSL_get_error(c->ssl, r);
	return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? -1
	    : e == SSL_ERROR_ZERO_RETURN                             ? 0
								     : -2;
}

static long
cwrite(struct conn *c, const void *p, size_t n)
{
	if (!c->ssl) {
		ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL);
		return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? -1 : -2;
	}
	ERR_clear_error();
	int r = SSL_write(c->ssl, p, (int)n);
	if (r > 0)
		return r;
	int e = SSL_get_error(c->ssl, r);
	return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? -1 : -2;
}

/* response bytes; false when the connection was dropped or the response ended */
static bool
take(struct conn *c, const unsigned char *p, size_t n)
{
	while (n) {
		if (c->in_head) {
			size_t room = sizeof c->head - 1 - (size_t)c->hn,
			       k = n < room ? n : room;
			memcpy(c->head + c->hn, p, k);
			c->head[c->hn + (int)k] = 0;
			char *e = strstr(c->head, "\r\n\r\n"), v[64];
			if (!e) {
				if (k == room) {
					fail(c, E_FRAMING);
					return false;
				}
				c->hn += (int)k;
				return true;
			}
			size_t used = (size_t)(e + 4 - c->head) - (size_t)c->hn;
			p += used, n -= used;
			e[2] = 0;
			c->hn = 0;
			if (strncmp(c->head, "HTTP/1.", 7) ||
			    strlen(c->head) < 12) {
				fail(c, E_FRAMING);
				return false;
			}
			c->status = atoi(c->head + 9);
			if (c->status / 100 == 1)
				continue;
			c->in_head = false;
			c->in = (struct body){ 0 };
			c->close_after = c->head[7] == '0';
			if (header(c->head, "connection", v, sizeof v))
				c->close_after = !strcasecmp(v, "close");
			if (header(c->head, "transfer-encoding", v, sizeof v) &&
			    !strcasecmp(v, "chunked"))
				c->in.kind = BODY_CHUNKED;
			else if (header(c->head, "content-length", v, sizeof v))
				c->in.left = strtoull(v, NULL, 10),
				c->in.kind = c->in.left ? BODY_LEN : BODY_NONE;
			else if (c->status != 204 && c->status != 304)
				c->in.kind = BODY_EOF, c->close_after = true;
			if (c->in.kind == BODY_NONE) {
				complete(c);
				return false;
			}
			continue;
		}
		const unsigned char *span;
		size_t len;
		bool done;
		long k = body_step(&c->in, p, n, &span, &len, &done);
		if (k < 0) {
			fail(c, E_FRAMING);
			return false;
		}
		if (len) {
			bytes_in += len;
			if (check && !body && c->status == 200 &&
			    !pattern_ok(span, len, c->in.got - len)) {
				fail(c, E_BODY);
				return false;
			}
		}
		p += k, n -= (size_t)k;
		if (done) {
			if (n) {
				fail(c, E_FRAMING);
				return false;
			}
			complete(c);
			return false;
		}
	}
	return true;
}

static void
tls_ready(struct conn *c)
{
	uint64_t t = now_ns();
	if (!warming)
		push(&hs, t - c->t_open);
	handshakes++;
	if (SSL_session_reused(c->ssl))
		resumed++;
	if (!tls_desc[0])
		snprintf(tls_desc, sizeof tls_desc, "%s %s",
		    SSL_get_version(c->ssl), SSL_get_cipher(c->ssl));
}

/* ---- HTTP/2: each connection keeps up to --streams requests under way */
static int
h2_on_header(nghttp2_session *h, const nghttp2_frame *f, const uint8_t *n,
    size_t nl, const uint8_t *v, size_t vl, uint8_t flags, void *arg)
{
	(void)flags, (void)arg, (void)vl;
	struct stream *s = nghttp2_session_get_stream_user_data(h,
	    f->hd.stream_id);
	if (s && nl == 7 && !memcmp(n, ":status", 7))
		s->status = atoi(
		    (const char *)v); /* nghttp2 ends values with a NUL */
	return 0;
}

static int
h2_on_data(nghttp2_session *h, uint8_t flags, int32_t id, const uint8_t *p,
    size_t n, void *arg)
{
	(void)flags, (void)arg;
	struct stream *s = nghttp2_session_get_stream_user_data(h, id);
	if (s) {
		bytes_in += n;
		s->bad |= check && !body && s->status == 200 &&
		    !pattern_ok(p, n, s->got);
		s->got += n;
		s->deadline = now_ns() + timeout_ns;
	}
	return 0;
}

static int
h2_on_frame(nghttp2_session *h, const nghttp2_frame *f, void *arg)
{
	(void)h;
	if (f->hd.type == NGHTTP2_GOAWAY)
		((struct conn *)arg)->goaway = true;
	return 0;
}

static int
h2_on_close(nghttp2_session *h, int32_t id, uint32_t code, void *arg)
{
	struct conn *c = arg;
	struct stream *s = nghttp2_session_get_stream_user_data(h, id);
	if (!s || s->id != id)
		return 0;
	s->id = 0, c->live--;
	/* told to take another connection: not an error */
	if (code == NGHTTP2_REFUSED_STREAM && c->goaway) {
		c->pending++;
		return 0;
	}
	c->reqs++, finished++;
	if (warming)
		warm_done++;
	int e = s->timed_out                                  ? E_TIMEOUT
	    : code                                            ? E_RESET
	    : s->status != 200                                ? E_STATUS
	    : s->bad || (have_expect && s->got != expect_len) ? E_BODY
	    : body && s->sent < body                          ? E_EARLY
							      : -1;
	if (e >= 0) {
		errors[e]++;
		if (e == E_STATUS && s->status > 0 && s->status < 600)
			err_status[s->status]++;
		return 0;
	}
	ok++;
	if (!warming && (!per_conn || c->reqs == per_conn))
		push(&lat, now_ns() - (per_conn ? c->t_open : s->t_start));
	return 0;
}

static ssize_t
h2_body(nghttp2_session *h, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
    nghttp2_data_source *src, void *arg)
{
	(void)h, (void)id, (void)arg;
	struct stream *s = src->ptr;
	size_t k = body - s->sent < n ? (size_t)(body - s->sent) : n;
	memcpy(to, pattern + s->sent % PAT, k);
	s->sent += k, bytes_out += k;
	if (s->sent == body)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)k;
}

/* after the handshake; false when the other side did not choose h2 */
static bool
h2_start(struct conn *c)
{
	static nghttp2_session_callbacks *cb;
	const unsigned char *alpn;
	unsigned n;
	SSL_get0_alpn_selected(c->ssl, &alpn, &n);
	if (n != 2 || memcmp(alpn, "h2", 2))
		return false;
	if (!cb) {
		nghttp2_session_callbacks_new(&cb);
		nghttp2_session_callbacks_set_on_header_callback(cb,
		    h2_on_header);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb,
		    h2_on_data);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cb,
		    h2_on_frame);
		nghttp2_session_callbacks_set_on_stream_close_callback(cb,
		    h2_on_close);
	}
	nghttp2_session_client_new(&c->h2, cb, c);
	if (!c->o.b)
		c->o.b = malloc(H2_OUT),
		c->s = malloc((size_t)streams * sizeof *c->s);
	c->o.n = c->o.off = 0;
	memset(c->s, 0, (size_t)streams * sizeof *c->s);
	h2_greet(c->h2, 100);
	c->st = C_H2;
	return true;
}

static void
h2_fill(struct conn *c)
{
	while (!c->goaway && c->live < (c->reqs ? streams : 1) &&
	    (!per_conn || c->begun < per_conn)) {
		if (!c->pending && (warming || !more_wanted()))
			return;
		char authority[320], len[24];
		snprintf(authority, sizeof authority,
		    origin_port == 443 ? "h%lu.%s" : "h%lu.%s:%d",
		    host0 + c->host, suffix, origin_port);
		snprintf(len, sizeof len, "%lu", body);
		nghttp2_nv nv[] = { NV(":method", body ? "POST" : "GET"),
			NV(":scheme", "https"), NV(":authority", authority),
			NV(":path", path),
			NV("user-agent",
			    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) "
			    "Gecko/20100101 Firefox/128.0"),
			NV("accept",
			    "text/html,application/xhtml+xml,application/"
			    "xml;q=0.9,*/*;q=0.8"),
			NV("accept-language", "en-US,en;q=0.5"),
			NV("content-length", len) };
		struct stream *s = c->s;
		while (s->id)
			s++;
		*s = (struct stream){ .c = c, .t_start = now_ns() };
		s->deadline = s->t_start + timeout_ns;
		nghttp2_data_provider d = { { .ptr = s }, h2_body };
		int32_t id = nghttp2_submit_request(c->h2, NULL, nv,
		    sizeof nv / sizeof *nv - !body, body ? &d : NULL, s);
		if (id <
		    0) { /* no more stream ids, or the other side is going away */
			c->goaway = true;
			return;
		}
		s->id = id, c->live++, c->begun++;
		if (c->pending)
			c->pending--;
		else
			started++;
	}
}

static void
h2_drive(struct conn *c, unsigned char *buf, size_t cap)
{
	for (int turns = 0;; turns++) {
		h2_fill(c);
		int live = c->live;
		if (h2_flush(c->h2, &c->o, c, cwrite) < 0) {
			fail(c, E_CLOSED);
			return;
		}
		if (c->live < live &&
		    turns < 16) /* a reset left: its slot is free */
			continue;
		if (!c->live &&
		    (c->goaway ||
			(per_conn && c->reqs >= per_conn && !warming))) {
			int p = c->pending;
			reopened += c->goaway;
			drop(c);
			if (p) {
				open_conn(c);
				if (c->st != C_CLOSED)
					c->pending = p;
			} else {
				c->retry = true;
				run_again(c);
			}
			return;
		}
		if (turns == 16) {
			run_again(c);
			return;
		}
		long r = cread(c, buf, cap);
		if (r == -1)
			return;
		if (r <= 0 && !c->live && !c->pending) { /* closed while idle */
			reopened++;
			drop(c);
			return;
		}
		if (r <= 0 ||
		    nghttp2_session_mem_recv(c->h2, buf, (size_t)r) != r) {
			fail(c, r <= 0 ? E_CLOSED : E_FRAMING);
			return;
		}
	}
}

/* ---- WebSocket: one message at a time on each connection, echoed by the origin */
static void
ws_prepare(void)
{
	static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
	ws = malloc(ws_size + 14);
	size_t n = 0;
	ws[n++] = 0x82;
	if (ws_size < 126)
		ws[n++] = (unsigned char)(0x80 | ws_size);
	else if (ws_size < 65536)
		ws[n++] = 0x80 | 126, ws[n++] = (unsigned char)(ws_size >> 8),
		ws[n++] = (unsigned char)ws_size;
	else
		for (ws[n++] = 0x80 | 127; n < 10; n++)
			ws[n] = (unsigned char)((uint64_t)ws_size >>
			    (8 * (9 - n)));
	memcpy(ws + n, mask, 4), n += 4;
	for (size_t i = 0; i < ws_size; i++)
		ws[n + i] = pattern[i % PAT] ^ mask[i & 3];
	ws_len = n + ws_size;
}

static void
ws_drive(struct conn *c, unsigned char *buf, size_t cap)
{
	for (int turns = 0;; turns++) {
		if (!c->live && c->pending) {
			c->live = 1, c->pending--;
			c->ooff = 0, c->body_off = 0;
			c->t_start = now_ns(),
			c->deadline = c->t_start + timeout_ns;
		}
		while (c->live && (size_t)c->ooff < ws_len) {
			long r = cwrite(c, ws + c->ooff,
			    ws_len - (size_t)c->ooff);
			if (r == -1)
				break;
			if (r < 0) {
				fail(c, E_CLOSED);
				return;
			}
			c->ooff += (int)r;
		}
		if (turns == 16) {
			run_again(c);
			return;
		}
		long r = cread(c, buf, cap);
		if (r == -1)
			return;
		if (r <= 0 && !c->live) {
			reopened++;
			drop(c);
			return;
		}
		if (r <= 0) {
			fail(c, E_CLOSED);
			return;
		}
		for (unsigned char *p = buf, *e = buf + r; p < e;) {
			unsigned char *h = (unsigned char *)c->head;
			if (!c->body_left) { /* the frame's header, octet by octet */
				h[c->hn++] = *p++;
				int want = c->hn < 2      ? 2
				    : (h[1] & 127) == 126 ? 4
				    : (h[1] & 127) == 127 ? 10
							  : 2;
				if (c->hn < want)
					continue;
				c->hn = 0;
				c->body_left = want == 2 ? h[1] & 127 : 0;
				for (int i = 2; i < want; i++)
					c->body_left = c->body_left << 8 | h[i];
				/* masked, a control frame, or nothing was asked */
				if (!c->live || h[1] & 128 || (h[0] & 15) > 2 ||
				    !c->body_left) {
					fail(c, E_FRAMING);
					return;
				}
				continue;
			}
			size_t k = (size_t)(e - p) < c->body_left
			    ? (size_t)(e - p)
			    : (size_t)c->body_left;
			if (c->body_off + k > ws_size ||
			    !pattern_ok(p, k, c->body_off)) {
				fail(c, E_BODY);
				return;
			}
			p += k, c->body_left -= k, c->body_off += k,
			    bytes_in += k;
			if (c->body_left || !(h[0] & 128))
				continue;
			if (c->body_off != ws_size) {
				fail(c, E_BODY);
				return;
			}
			ok++, finished++, bytes_out += ws_size, c->live = 0;
			if (warming)
				warm_done++;
			else
				push(&lat, now_ns() - c->t_start);
			if (!warming && more_wanted())
				started++, c->pending++;
		}
	}
}

static void
drive(struct conn *c)
{
	static unsigned char buf[2 * PAT];
	for (;;) {
		switch (c->st) {
		case C_CLOSED:
			if (c->retry) {
				c->retry = false;
				next(c);
			}
			return;
		case C_TCP: {
			int e = 0;
			socklen_t l = sizeof e;
			getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &l);
			if (e) {
				fail(c, E_TCP);
				return;
			}
			struct sockaddr_in peer;
			l = sizeof peer;
			if (getpeername(c->fd, (struct sockaddr *)&peer, &l))
				return;
			if (mode == 0) {
				c->olen = snprintf(c->out, sizeof c->out,
				    "CONNECT h%lu.%s:%d HTTP/1.1\r\nHost: "
				    "h%lu.%s:%d\r\nUser-Agent: Mozilla/5.0 "
				    "(X11; Linux x86_64; rv:128.0) "
				    "Gecko/20100101 "
				    "Firefox/128.0\r\nProxy-Connection: "
				    "keep-alive\r\n\r\n",
				    host0 + c->host, suffix, origin_port,
				    host0 + c->host, suffix, origin_port);
				c->ooff = 0;
				c->st = C_CONNECT_OUT;
				break;
			}
			if (mode == 1)
				goto start_tls;
			goto up;
		}
		case C_CONNECT_OUT: {
			ssize_t r = send(c->fd, c->out + c->ooff,
			    (size_t)(c->olen - c->ooff), MSG_NOSIGNAL);
			if (r < 0) {
				if (errno == EAGAIN)
					return;
				fail(c, E_CONNECT);
				return;
			}
			c->ooff += (int)r;
			if (c->ooff == c->olen)
				c->st = C_CONNECT_IN, c->hn = 0;
			break;
		}
		case C_CONNECT_IN: {
			ssize_t r = recv(c->fd, c->head + c->hn,
			    sizeof c->head - 1 - (size_t)c->hn, 0);
			if (r < 0 && errno == EAGAIN)
				return;
			c->status = 0;
			if (r <= 0) {
				fail(c, E_CONNECT);
				return;
			}
			c->hn += (int)r;
			c->head[c->hn] = 0;
			if (!strstr(c->head, "\r\n\r\n"))
				break;
			c->status = strlen(c->head) > 12 ? atoi(c->head + 9)
							 : 0;
			if (c->status != 200) {
				fail(c, E_CONNECT);
				return;
			}
		start_tls:
			c->ssl = SSL_new(ctx);
			SSL_set_fd(c->ssl, c->fd);
			SSL_set_connect_state(c->ssl);
			char host[300];
			snprintf(host, sizeof host, "h%lu.%s", host0 + c->host,
			    suffix);
			SSL_set_tlsext_host_name(c->ssl, host);
			SSL_set1_host(c->ssl, host);
			SSL_set_ex_data(c->ssl, ex_host,
			    (void *)(uintptr_t)c->host);
			if (resume && sessions[c->host])
				SSL_set_session(c->ssl, sessions[c->host]);
			c->st = C_TLS;
			break;
		}
		case C_TLS: {
			ERR_clear_error();
			int r = SSL_connect(c->ssl);
			if (r <= 0) {
				int e = SSL_get_error(c->ssl, r);
				if (e == SSL_ERROR_WANT_READ ||
				    e == SSL_ERROR_WANT_WRITE)
					return;
				long v = SSL_get_verify_result(c->ssl);
				static int told;
				if (told++ < 3)
					fprintf(stderr, "handshake: %s (%s)\n",
					    v != X509_V_OK
						? X509_verify_cert_error_string(
						      v)
						: "failed",
					    ERR_reason_error_string(
						ERR_peek_error())
						? ERR_reason_error_string(
						      ERR_peek_error())
						: "closed");
				fail(c, v != X509_V_OK ? E_VERIFY : E_TLS);
				return;
			}
			tls_ready(c);
			if (streams) {
				if (h2_start(c))
					break;
				fail(c, E_NO_H2);
				return;
			}
		up:
			if (ws) {
				c->olen = snprintf(c->out, sizeof c->out,
				    "GET %s HTTP/1.1\r\nHost: "
				    "h%lu.%s\r\nUser-Agent: Mozilla/5.0 (X11; "
				    "Linux x86_64; rv:128.0) Gecko/20100101 "
				    "Firefox/128.0\r\n"
				    "Upgrade: websocket\r\nConnection: "
				    "Upgrade\r\nSec-WebSocket-Version: "
				    "13\r\nSec-WebSocket-Key: "
				    "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
				    path, host0 + c->host, suffix);
				c->ooff = c->hn = 0;
				c->st = C_WS_UP;
				break;
			}
			c->st = C_READY;
			begin_request(c, rate > 0 && !warming ? c->t_start : 0);
			break;
		}
		case C_H2:
			h2_drive(c, buf, sizeof buf);
			return;
		case C_WS_UP:
			if (c->ooff < c->olen) {
				long r = cwrite(c, c->out + c->ooff,
				    (size_t)(c->olen - c->ooff));
				if (r == -1)
					return;
				if (r < 0) {
					fail(c, E_CLOSED);
					return;
				}
				c->ooff += (int)r;
				break;
			} else {
				long r = cread(c, c->head + c->hn,
				    sizeof c->head - 1 - (size_t)c->hn);
				if (r == -1)
					return;
				c->status = 0;
				if (r <= 0) {
					fail(c, E_CLOSED);
					return;
				}
				c->head[c->hn += (int)r] = 0;
				if (!strstr(c->head, "\r\n\r\n"))
					break;
				char v[64];
				c->status = atoi(c->head + 9);
				if (c->status != 101 ||
				    !header(c->head, "sec-websocket-accept", v,
					sizeof v) ||
				    strcmp(v, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) {
					fail(c, E_NO_UPGRADE);
					return;
				}
				c->hn = 0, c->body_left = 0;
				c->st = C_WS;
			}
			break;
		case C_WS:
			ws_drive(c, buf, sizeof buf);
			return;
		case C_READY: { /* idle: the peer may close */
			long r = cread(c, buf, 1);
			if (r == -1)
				return;
			reopened++;
			drop(c);
			/* reopened by next() when it is its turn: find it in ready[] as closed */
			return;
		}
		case C_BUSY: {
			bool blocked = false;
			while (c->ooff < c->olen || c->body_left) {
				long r;
				if (c->ooff < c->olen) {
					/* head and start of the body together */
					if (body && c->body_off == 0 &&
					    c->body_left) {
						size_t h = (size_t)(c->olen -
							   c->ooff),
						       b = c->body_left <
							16384 - h
						    ? (size_t)c->body_left
						    : 16384 - h;
						memcpy(buf, c->out + c->ooff,
						    h);
						memcpy(buf + h, pattern, b);
						r = cwrite(c, buf, h + b);
						if (r > 0) {
							size_t hp = (size_t)r <
								h
							    ? (size_t)r
							    : h;
							c->ooff += (int)hp;
							c->body_off +=
							    (uint64_t)r - hp,
							    c->body_left -=
							    (uint64_t)r - hp,
							    bytes_out +=
							    (uint64_t)r - hp;
						}
					} else {
						r = cwrite(c, c->out + c->ooff,
						    (size_t)(c->olen -
							c->ooff));
						if (r > 0)
							c->ooff += (int)r;
					}
				} else {
					size_t cap = c->ssl ? 16384 : PAT,
					       k = c->body_left < cap
					    ? (size_t)c->body_left
					    : cap;
					r = cwrite(c,
					    pattern + c->body_off % PAT, k);
					if (r > 0)
						c->body_off += (uint64_t)r,
						    c->body_left -= (uint64_t)r,
						    bytes_out += (uint64_t)r;
				}
				if (r == -1) {
					blocked = true;
					break;
				}
				if (r < 0)
					goto lost;
				c->sent = true;
			}
			int turns = 0;
			for (;;) {
				long r = cread(c, buf, sizeof buf);
				if (r == -1)
					return;
				if (r <= 0) {
					if (!c->in_head &&
					    c->in.kind == BODY_EOF) {
						complete(c);
						return;
					}
					goto lost;
				}
				c->deadline = now_ns() + timeout_ns;
				if (!take(c, buf, (size_t)r))
					break;
				if (++turns == 16) {
					run_again(c);
					return;
				}
			}
			(void)blocked;
			if (c->st == C_CLOSED || c->st == C_TCP)
				return;
			return; /* next() has already queued it where there is more to do */
		lost:
			/* a keep-alive connection that the proxy closed as the request left is not an error: try once more */
			if (c->reqs && c->in_head && !c->hn && !body) {
				uint64_t t = c->t_start;
				reopened++;
				drop(c);
				open_conn(c);
				c->t_start = t;
				return;
			}
			fail(c, E_CLOSED);
			return;
		}
		}
	}
}

static int
cmp64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void
print_list(const char *name, struct list *l)
{
	qsort(l->v, l->n, sizeof *l->v, cmp64);
	double sum = 0;
	for (size_t i = 0; i < l->n; i++)
		sum += (double)l->v[i];
#define Q(q) (l->n ? (double)l->v[(size_t)((double)(l->n - 1) * (q))] / 1e3 : 0)
	printf(",\"%s_us\":{\"n\":%zu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,"
	       "\"p99\":%.1f,\"p99.9\":%.1f,\"max\":%.1f}",
	    name, l->n, l->n ? sum / (double)l->n / 1e3 : 0, Q(.5), Q(.9),
	    Q(.99), Q(.999), Q(1.0));
}

static void
poll_once(int timeout_ms_max)
{
	struct epoll_event ev[512];
	int n;
	if (nagain) {
		n = epoll_wait(ep, ev, 512, 0);
	} else if (rate > 0 && nready && !warming) {
		uint64_t t = t0 + (uint64_t)((double)due_next * 1e9 / rate),
			 nw = now_ns();
		struct timespec ts = { 0,
			t > nw ? (long)(t - nw < 100000000 ? t - nw : 100000000)
			       : 0 };
		n = epoll_pwait2(ep, ev, 512, &ts, NULL);
	} else {
		n = epoll_wait(ep, ev, 512, timeout_ms_max);
	}
	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;
		if (!c->in_again)
			drive(c);
	}
	size_t m = nagain;
	if (m) {
		struct conn *todo[256];
		if (m > 256)
			m = 256;
		memcpy(todo, again, m * sizeof *todo);
		memmove(again, again + m, (nagain - m) * sizeof *again);
		nagain -= m;
		for (size_t i = 0; i < m; i++) {
			todo[i]->in_again = false;
			drive(todo[i]);
		}
	}
	if (rate > 0 && !warming)
		while (nready && more_wanted() &&
		    now_ns() >= t0 + (uint64_t)((double)due_next * 1e9 / rate))
			next(ready[--nready]);
	static uint64_t last;
	uint64_t t = now_ns();
	if (t - last > 250000000) {
		last = t;
		for (int i = 0; i < conc; i++)
			if (cs[i].st == C_H2) {
				for (struct stream *s = cs[i].s;
				     s < cs[i].s + streams; s++)
					if (s->id && t > s->deadline &&
					    !s->timed_out) {
						s->timed_out = true;
						nghttp2_submit_rst_stream(
						    cs[i].h2, NGHTTP2_FLAG_NONE,
						    s->id, NGHTTP2_CANCEL);
						run_again(&cs[i]);
					}
			} else if (cs[i].st != C_CLOSED &&
			    cs[i].st != C_READY &&
			    !(cs[i].st == C_WS && !cs[i].live) &&
			    t > cs[i].deadline) {
				fail(&cs[i], E_TIMEOUT);
			}
	}
}

int
main(int argc, char **argv)
{
	const char *tls = NULL;
	for (int i = 1; i < argc; i++) {
		const char *o = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(o, "--warm")) {
			warm = true;
			continue;
		}
		if (!strcmp(o, "--resume")) {
			resume = true;
			continue;
		}
		if (!strcmp(o, "--no-check")) {
			check = false;
			continue;
		}
		if (!strcmp(o, "--h2")) {
			streams = streams ? streams : 1;
			continue;
		}
		i++;
		if (!strcmp(o, "--mode"))
			mode = !strcmp(v, "connect") ? 0
			    : !strcmp(v, "direct")   ? 1
			    : !strcmp(v, "plain")    ? 2
						     : 3;
		else if (!strcmp(o, "--addr")) {
			char h[64];
			snprintf(h, sizeof h, "%.63s", v);
			char *p = strchr(h, ':');
			if (!p)
				return 2;
			*p = 0;
			addr.sin_family = AF_INET,
			addr.sin_port = htons((uint16_t)atoi(p + 1));
			inet_pton(AF_INET, h, &addr.sin_addr);
		} else if (!strcmp(o, "--port"))
			origin_port = atoi(v);
		else if (!strcmp(o, "--ca"))
			ca = v;
		else if (!strcmp(o, "-c"))
			conc = atoi(v);
		else if (!strcmp(o, "-n"))
			want_reqs = strtoull(v, NULL, 10);
		else if (!strcmp(o, "-d"))
			duration = atof(v);
		else if (!strcmp(o, "-k"))
			per_conn = strtoull(v, NULL, 10);
		else if (!strcmp(o, "--hosts"))
			hosts = strtoull(v, NULL, 10);
		else if (!strcmp(o, "--host0"))
			host0 = strtoull(v, NULL, 10);
		else if (!strcmp(o, "--suffix"))
			suffix = v;
		else if (!strcmp(o, "--path"))
			path = v;
		else if (!strcmp(o, "--body"))
			body = parse_size(v, NULL);
		else if (!strcmp(o, "--expect"))
			expect_len = parse_size(v, NULL), have_expect = true;
		else if (!strcmp(o, "--rate"))
			rate = atof(v);
		else if (!strcmp(o, "--timeout"))
			timeout_ns = (uint64_t)(atof(v) * 1e9);
		else if (!strcmp(o, "--opening"))
			opening = atoi(v);
		else if (!strcmp(o, "--streams"))
			streams = atoi(v);
		else if (!strcmp(o, "--ws"))
			ws_size = parse_size(v, NULL);
		else if (!strcmp(o, "--tls"))
			tls = v;
		else {
			fprintf(stderr, "unknown option %s\n", o);
			return 2;
		}
	}
	if (!addr.sin_port || (mode < 2 && !ca) ||
	    (!want_reqs && duration <= 0) || conc < 1) {
		fprintf(stderr, "--addr, --ca, and -n or -d are needed\n");
		return 2;
	}
	if ((streams && (ws_size || mode > 1)) ||
	    ((streams || ws_size) && rate > 0) || (ws_size && per_conn)) {
		fprintf(stderr,
		    "--h2 goes with TLS only, and neither it nor --ws with "
		    "--rate or with each other\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	raise_fd_limit();
	pattern_init();
	if (ws_size)
		ws_prepare();
	ctx = SSL_CTX_new(TLS_client_method());
	ex_host = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	sessions = calloc(hosts, sizeof *sessions);
	if (ca && SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1) {
		fprintf(stderr, "cannot read %s\n", ca);
		return 2;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(ctx,
	    SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_alpn_protos(ctx,
	    (const unsigned char *)"\x02h2\x08http/1.1" + (streams ? 0 : 3),
	    streams ? 12 : 9);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, 65536);
	if (tls && !strcmp(tls, "1.2"))
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	if (resume) {
		SSL_CTX_set_session_cache_mode(ctx,
		    SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(ctx, new_session);
	}
	ep = epoll_create1(EPOLL_CLOEXEC);
	cs = calloc((size_t)conc, sizeof *cs);
	again_cap = (size_t)conc + 8;
	again = calloc(again_cap, sizeof *again);
	ready = calloc(again_cap, sizeof *ready);
	for (int i = 0; i < conc; i++)
		cs[i].fd = -1, cs[i].id = i;
	uint64_t warm_errors = 0;
	if (warm) {
		warming = true;
		uint64_t opened = 0, limit = now_ns() + 180000000000ull;
		while (warm_done < (uint64_t)conc && now_ns() < limit) {
			while (opened < (uint64_t)conc &&
			    opened - warm_done < (uint64_t)opening)
				open_conn(&cs[opened++]);
			poll_once(100);
		}
		for (int i = 0; i < E_N; i++)
			warm_errors += errors[i];
		uint64_t up = 0;
		for (int i = 0; i < conc; i++)
			up += cs[i].st == C_READY || cs[i].st == C_H2 ||
			    cs[i].st == C_WS;
		printf("ready %lu %lu\n", up, warm_errors);
		fflush(stdout);
		char line[64];
		if (!fgets(line, sizeof line, stdin) ||
		    !strncmp(line, "quit", 4))
			return 0;
		warming = false;
		started = finished = ok = bytes_in = bytes_out = 0;
		memset(errors, 0, sizeof errors);
	}
	double cpu0 = cpu_seconds();
	t0 = now_ns();
	uint64_t end = duration > 0 ? t0 + (uint64_t)(duration * 1e9)
				    : UINT64_MAX;
	for (int i = 0; i < conc; i++)
		if (rate > 0)
			ready[nready++] = &cs[conc - 1 - i];
		else
			next(&cs[i]);
	uint64_t last_progress = t0, seen = 0;
	while (!(want_reqs && finished >= want_reqs)) {
		poll_once(100);
		uint64_t t = now_ns();
		if (t >= end && !stopping) {
			stopping = true, stopped_at = t;
		}
		if (stopping &&
		    (finished >= started || t > stopped_at + 5000000000ull))
			break;
		if (finished != seen)
			seen = finished, last_progress = t;
		if (t - last_progress > 2 * timeout_ns)
			break;
	}
	double secs = (double)(now_ns() - t0) / 1e9;
	uint64_t ne = 0;
	for (int i = 0; i < E_N; i++)
		ne += errors[i];
	uint64_t late = rate > 0 && stopping ? started - finished : 0;
	printf("{\"requests\":%lu,\"ok\":%lu,\"errors\":%lu,\"error_kinds\":{",
	    finished, ok, ne);
	bool comma = false;
	for (int i = 0; i < E_N; i++)
		if (errors[i])
			printf("%s\"%s\":%lu", comma ? "," : "", err_name[i],
			    errors[i]),
			    comma = true;
	for (int i = 0; i < 600; i++)
		if (err_status[i])
			printf("%s\"status_%d\":%lu", comma ? "," : "", i,
			    err_status[i]),
			    comma = true;
	printf("},\"warm_errors\":%lu,\"unfinished\":%lu,\"seconds\":%.6f,"
	       "\"req_s\":%.1f,\"bytes_in\":%lu,\"bytes_out\":%lu,\"mib_s\":%."
	       "2f",
	    warm_errors, late, secs, (double)ok / secs, bytes_in, bytes_out,
	    (double)(bytes_in + bytes_out) / secs / 1048576);
	print_list("latency", &lat);
	print_list("handshake", &hs);
	printf(",\"handshakes\":%lu,\"resumed\":%lu,\"reopened\":%lu,\"cpu_s\":"
	       "%.4f,\"tls\":\"%s\"}\n",
	    handshakes, resumed, reopened, cpu_seconds() - cpu0, tls_desc);
	return 0;
}
