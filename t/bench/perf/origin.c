/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The origin: one thread, epoll, HTTPS and HTTP. Bodies come from memory and the only work is TLS,
 * so that it never is the bottleneck.
 *   origin --addr 127.0.77.1 --tls PORT --http PORT --ca CA.pem --cakey CA.key [--suffix perf.test] [--hosts N]
 * GET /1k /100m /1g ... answers that many bytes ("?chunked" frames them as chunks, "?type=text/html" sets the type).
 * A request body is read to its end, checked against the pattern, and then answered: a bare path answers the
 * count, /1k answers 1 KiB.
 * Each host name h<i>.<suffix> gets a certificate of its own (one key, made at start), so that a proxy that
 * mimics the origin's certificate has to mint one for each host.
 * --addr2 IP: the same HTTPS port on a second address, where HTTP/2 is offered too (by ALPN, before http/1.1).
 * "Upgrade: websocket" is granted for any path; messages of up to 64 KiB are echoed.
 * GET /stats on either port: counters and CPU seconds as JSON.
 */
#include "common.h"
#include "h2.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

enum { S_HS, S_HEAD, S_BODY, S_OUT, S_H2, S_WS };
struct conn {
	int fd, st;
	SSL *ssl;
	struct body in;
	bool bad, chunked, close_after, want_write, again, in_again, dead;
	uint64_t out_len, out_off; /* response body: length and bytes sent */
	/* head of the request so far; head of the response and what is sent of it */
	int hn, hlen, hoff;
	char head[8192], rhead[512];
	bool h2ok; /* HTTP/2 may be offered */
	nghttp2_session *h2;
	struct h2out o;    /* with WebSocket: the echo on its way out */
	unsigned char *ws; /* frames as they come in, WS_MAX */
	size_t ws_n;
};
#define WS_MAX (65536u + 14)
static struct {
	uint64_t conns, full, resumed, hs_fail, requests, bytes_in, bytes_out,
	    bad_bodies, open, h2_conns, h2_requests, ws_messages;
} st;
static int ep;
static SSL_CTX *ctx;
static X509 *ca_cert, **leaf;
static EVP_PKEY *ca_key, *leaf_key;
static const char *suffix = "perf.test";
static int nhosts = 16;
static struct conn **again;
static size_t nagain, again_cap;
static volatile sig_atomic_t stop;
static void
on_term(int s)
{
	(void)s, stop = 1;
}

static X509 *
mint(const char *cn, const char *san)
{
	static long serial = 1000;
	X509 *x = X509_new();
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400 * 30);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	    (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(ca_cert));
	X509_set_pubkey(x, leaf_key);
	X509V3_CTX v;
	X509V3_set_ctx(&v, ca_cert, x, NULL, NULL, 0);
	const struct {
		int nid;
		const char *val;
	} ext[] = { { NID_subject_alt_name, san },
		{ NID_basic_constraints, "critical,CA:FALSE" },
		{ NID_ext_key_usage, "serverAuth" },
		{ NID_key_usage, "critical,digitalSignature" },
		{ NID_authority_key_identifier, "keyid" } };
	for (size_t i = 0; i < sizeof ext / sizeof *ext; i++) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v, ext[i].nid,
		    ext[i].val);
		if (e) {
			X509_add_ext(x, e, -1);
			X509_EXTENSION_free(e);
		}
	}
	X509_sign(x, ca_key, EVP_sha256());
	return x;
}

static int
sni_cb(SSL *s, int *al, void *arg)
{
	(void)al, (void)arg;
	const char *n = SSL_get_servername(s, TLSEXT_NAMETYPE_host_name);
	char *e;
	if (n && n[0] == 'h' && isdigit((unsigned char)n[1])) {
		long i = strtol(n + 1, &e, 10);
		if (*e == '.' && i >= 0 && i < nhosts &&
		    !strcmp(e + 1, suffix)) {
			if (!leaf[i]) {
				char san[300];
				snprintf(san, sizeof san, "DNS:%s", n);
				leaf[i] = mint(n, san);
			}
			SSL_use_certificate(s, leaf[i]);
			SSL_use_PrivateKey(s, leaf_key);
		}
	}
	return SSL_TLSEXT_ERR_OK;
}

static int
alpn_cb(SSL *s, const unsigned char **out, unsigned char *outlen,
    const unsigned char *in, unsigned inlen, void *arg)
{
	(void)arg;
	static const unsigned char want[] = "\x02h2\x08http/1.1";
	int skip = ((struct conn *)SSL_get_app_data(s))->h2ok ? 0 : 3;
	return SSL_select_next_proto((unsigned char **)(uintptr_t)out, outlen,
		   want + skip, 12 - (unsigned)skip, in,
		   inlen) == OPENSSL_NPN_NEGOTIATED
	    ? SSL_TLSEXT_ERR_OK
	    : SSL_TLSEXT_ERR_NOACK;
}

static void
conn_free(struct conn *c)
{
	if (c->dead)
		return;
	c->dead = true;
	if (c->ssl) {
		if (c->st != S_HS)
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		c->ssl = NULL;
	}
	nghttp2_session_del(c->h2);
	free(c->o.b), free(c->ws);
	close(c->fd);
	st.open--;
	if (!c->in_again)
		free(c);
}

static void
run_again(struct conn *c)
{
	if (c->in_again)
		return;
	if (nagain == again_cap)
		again = realloc(again,
		    (again_cap = again_cap ? 2 * again_cap : 64) *
			sizeof *again);
	again[nagain++] = c, c->in_again = true;
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

static void
respond(struct conn *c)
{
	char *path = strchr(c->head, ' '), *e = NULL;
	path = path ? path + 1 : c->head;
	if (!strncasecmp(path, "http://", 7)) {
		char *s = strpbrk(path + 7, "/ ");
		path = s ? s : path;
	}
	char type[64] = "application/octet-stream";
	char *q = strstr(path, "type="), *sp = strchr(path, ' ');
	if (q && sp && q < sp) {
		size_t k = strcspn(q + 5, "& ");
		if (k < sizeof type)
			memcpy(type, q + 5, k), type[k] = 0;
	}
	bool sized = *path == '/' && isdigit((unsigned char)path[1]);
	c->out_len = sized ? parse_size(path + 1, &e) : 0;
	c->chunked = e && !strncmp(e, "?chunked", 8);
	c->out_off = 0, c->hoff = 0;
	char text[1100];
	int tn = 0;
	if (!sized) {
		if (!strncmp(path, "/stats", 6))
			tn = snprintf(text, sizeof text,
			    "{\"conns\":%lu,\"open\":%lu,\"tls_full\":%lu,"
			    "\"tls_resumed\":%lu,\"tls_fail\":%lu,\"requests\":"
			    "%lu,\"bytes_in\":%lu,\"bytes_out\":%lu,\"bad_"
			    "bodies\":%lu,\"h2_conns\":%lu,\"h2_requests\":%lu,"
			    "\"ws_messages\":%lu,\"cpu_s\":%.6f}\n",
			    st.conns, st.open, st.full, st.resumed, st.hs_fail,
			    st.requests, st.bytes_in, st.bytes_out,
			    st.bad_bodies, st.h2_conns, st.h2_requests,
			    st.ws_messages, cpu_seconds());
		else
			tn = snprintf(text, sizeof text, "%lu %s\n", c->in.got,
			    c->bad ? "bad" : "ok");
	}
	int code = c->bad ? 422 : 200;
	c->hlen = snprintf(c->rhead, sizeof c->rhead,
	    "HTTP/1.1 %d %s\r\nServer: perf\r\nDate: Mon, 01 Jan 2024 00:00:00 "
	    "GMT\r\nContent-Type: %s\r\nCache-Control: no-store\r\n",
	    code, code == 200 ? "OK" : "Bad Body", sized ? type : "text/plain");
	if (c->chunked)
		c->hlen += snprintf(c->rhead + c->hlen,
		    sizeof c->rhead - (size_t)c->hlen,
		    "Transfer-Encoding: chunked\r\n\r\n");
	else
		c->hlen += snprintf(c->rhead + c->hlen,
		    sizeof c->rhead - (size_t)c->hlen,
		    "Content-Length: %lu\r\n\r\n",
		    sized ? c->out_len : (uint64_t)tn);
	if (!sized) {
		if (c->hlen + tn < (int)sizeof c->rhead) {
			memcpy(c->rhead + c->hlen, text, (size_t)tn);
			c->hlen += tn;
		}
		c->out_len = 0, c->chunked = false;
	}
	c->st = S_OUT;
}

static void
request(struct conn *c, char *end)
{
	char v[64];
	*end = 0;
	st.requests++;
	if (header(c->head, "upgrade", v, sizeof v) &&
	    !strcasecmp(v, "websocket")) {
		c->st = S_WS;
		return;
	}
	c->in = (struct body){ 0 };
	c->bad = false;
	c->close_after = header(c->head, "connection", v, sizeof v) &&
	    !strcasecmp(v, "close");
	if (header(c->head, "transfer-encoding", v, sizeof v))
		c->in.kind = BODY_CHUNKED;
	else if (header(c->head, "content-length", v, sizeof v) &&
	    strtoull(v, NULL, 10))
		c->in.kind = BODY_LEN, c->in.left = strtoull(v, NULL, 10);
	c->st = S_BODY;
	if (header(c->head, "expect", v, sizeof v))
		cwrite(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

/* ---- WebSocket: masked frames in, the same message back; false on error */
static bool
ws_accept(struct conn *c)
{
	char v[128], key[200];
	unsigned char d[20], b[40];
	if (!header(c->head, "sec-websocket-key", v, sizeof v))
		return false;
	snprintf(key, sizeof key, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", v);
	EVP_Digest(key, strlen(key), d, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock(b, d, 20);
	c->ws = malloc(WS_MAX), c->o.b = malloc(WS_MAX);
	c->o.n = (size_t)snprintf((char *)c->o.b, WS_MAX,
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: "
	    "websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
	    "%s\r\n\r\n",
	    b);
	return true;
}

static bool
ws_drive(struct conn *c)
{
	for (int turns = 0; turns < 32; turns++) {
		while (c->o.off < c->o.n) {
			long r = cwrite(c, c->o.b + c->o.off,
			    c->o.n - c->o.off);
			if (r < 0)
				return r == -1;
			c->o.off += (size_t)r;
		}
		c->o.n = c->o.off = 0;
		unsigned char *p = c->ws;
		size_t hl = c->ws_n < 2   ? 0
		    : (p[1] & 127) < 126  ? 6
		    : (p[1] & 127) == 126 ? 8
					  : 14,
		       len = 0;
		if (hl && c->ws_n >= hl) {
			len = hl == 6 ? p[1] & 127 : 0;
			for (size_t i = 2; i + 4 < hl; i++)
				len = len << 8 | p[i];
			/* not masked, a control frame, too long */
			if (!(p[1] & 128) || (p[0] & 15) > 2 ||
			    hl + len > WS_MAX)
				return false;
			if (c->ws_n >= hl + len) {
				for (size_t i = 0; i < len; i++)
					p[hl + i] ^= p[hl - 4 + (i & 3)];
				memcpy(c->o.b, p, hl - 4);
				c->o.b[1] &= 127;
				memcpy(c->o.b + hl - 4, p + hl, len);
				c->o.n = hl - 4 + len;
				memmove(p, p + hl + len, c->ws_n -= hl + len);
				st.ws_messages++;
				continue;
			}
		}
		long r = cread(c, p + c->ws_n, WS_MAX - c->ws_n);
		if (r <= 0)
			return r == -1;
		c->ws_n += (size_t)r;
	}
	run_again(c);
	return true;
}

/* ---- HTTP/2 */
struct stream {
	char path[64];
	uint64_t got, len, off;
	bool bad;
	char text[48];
};

static int
h2_on_begin(nghttp2_session *h, const nghttp2_frame *f, void *arg)
{
	(void)arg;
	if (f->hd.type == NGHTTP2_HEADERS &&
	    f->headers.cat == NGHTTP2_HCAT_REQUEST)
		nghttp2_session_set_stream_user_data(h, f->hd.stream_id,
		    calloc(1, sizeof(struct stream)));
	return 0;
}

static int
h2_on_header(nghttp2_session *h, const nghttp2_frame *f, const uint8_t *n,
    size_t nl, const uint8_t *v, size_t vl, uint8_t flags, void *arg)
{
	(void)flags, (void)arg, (void)vl;
	struct stream *s = nghttp2_session_get_stream_user_data(h,
	    f->hd.stream_id);
	if (s && nl == 5 && !memcmp(n, ":path", 5))
		snprintf(s->path, sizeof s->path, "%s", (const char *)v);
	return 0;
}

static int
h2_on_data(nghttp2_session *h, uint8_t flags, int32_t id, const uint8_t *p,
    size_t n, void *arg)
{
	(void)flags, (void)arg;
	struct stream *s = nghttp2_session_get_stream_user_data(h, id);
	if (s) {
		if (!s->bad && !pattern_ok(p, n, s->got))
			s->bad = true, st.bad_bodies++;
		s->got += n, st.bytes_in += n;
	}
	return 0;
}

static ssize_t
h2_body(nghttp2_session *h, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
    nghttp2_data_source *src, void *arg)
{
	(void)h, (void)id, (void)arg;
	struct stream *s = src->ptr;
	size_t k = s->len - s->off < n ? (size_t)(s->len - s->off) : n;
	memcpy(to,
	    *s->text ? (unsigned char *)s->text + s->off
		     : pattern + s->off % PAT,
	    k);
	s->off += k, st.bytes_out += k;
	if (s->off == s->len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)k;
}

static int
h2_on_frame(nghttp2_session *h, const nghttp2_frame *f, void *arg)
{
	(void)arg;
	if ((f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA) ||
	    !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	struct stream *s = nghttp2_session_get_stream_user_data(h,
	    f->hd.stream_id);
	if (!s)
		return 0;
	st.requests++, st.h2_requests++;
	bool sized = *s->path == '/' && isdigit((unsigned char)s->path[1]);
	if (sized)
		s->len = parse_size(s->path + 1, NULL);
	else
		s->len = (uint64_t)snprintf(s->text, sizeof s->text, "%lu %s\n",
		    s->got, s->bad ? "bad" : "ok");
	char len[24];
	snprintf(len, sizeof len, "%lu", s->len);
	nghttp2_nv nv[] = { NV(":status", s->bad ? "422" : "200"),
		NV("server", "perf"),
		NV("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
		NV("content-type",
		    sized ? "application/octet-stream" : "text/plain"),
		NV("cache-control", "no-store"), NV("content-length", len) };
	nghttp2_data_provider d = { { .ptr = s }, h2_body };
	nghttp2_submit_response(h, f->hd.stream_id, nv, sizeof nv / sizeof *nv,
	    s->len ? &d : NULL);
	return 0;
}

static int
h2_on_close(nghttp2_session *h, int32_t id, uint32_t code, void *arg)
{
	(void)code, (void)arg;
	free(nghttp2_session_get_stream_user_data(h, id));
	return 0;
}

static void
h2_start(struct conn *c)
{
	static nghttp2_session_callbacks *cb;
	if (!cb) {
		nghttp2_session_callbacks_new(&cb);
		nghttp2_session_callbacks_set_on_begin_headers_callback(cb,
		    h2_on_begin);
		nghttp2_session_callbacks_set_on_header_callback(cb,
		    h2_on_header);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb,
		    h2_on_data);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cb,
		    h2_on_frame);
		nghttp2_session_callbacks_set_on_stream_close_callback(cb,
		    h2_on_close);
	}
	nghttp2_session_server_new(&c->h2, cb, c);
	c->o.b = malloc(H2_OUT);
	h2_greet(c->h2, 1000);
	c->st = S_H2;
	st.h2_conns++;
}

static bool
h2_drive(struct conn *c)
{
	static unsigned char buf[PAT];
	for (int turns = 0; turns < 32; turns++) {
		int w = h2_flush(c->h2, &c->o, c, cwrite);
		if (w < 0 ||
		    (!nghttp2_session_want_read(c->h2) &&
			!nghttp2_session_want_write(c->h2)))
			return false;
		long r = cread(c, buf, sizeof buf);
		if (r == -1)
			return true;
		if (r <= 0 ||
		    nghttp2_session_mem_recv(c->h2, buf, (size_t)r) != r)
			return false;
	}
	run_again(c);
	return true;
}

/* consume bytes that are already read: heads and bodies. Returns bytes left unused (pipelined), or -1 */
static long
consume(struct conn *c, const unsigned char *p, size_t n)
{
	while (c->st != S_OUT) {
		if (c->st == S_WS) /* nothing may come before our 101 */
			return n || !ws_accept(c) ? -1 : 0;
		if (c->st == S_HEAD) {
			if (!n)
				return 0;
			size_t room = sizeof c->head - 1 - (size_t)c->hn,
			       k = n < room ? n : room;
			memcpy(c->head + c->hn, p, k);
			c->head[c->hn + (int)k] = 0;
			char *e = strstr(c->head, "\r\n\r\n");
			if (!e) {
				if (k == room)
					return -1;
				c->hn += (int)k;
				return 0;
			}
			size_t used = (size_t)(e + 4 - c->head) - (size_t)c->hn;
			p += used, n -= used;
			request(c, e + 2);
			c->hn = 0;
		} else {
			const unsigned char *span;
			size_t len;
			bool done;
			if (!n && c->in.kind != BODY_NONE)
				return 0;
			long k = body_step(&c->in, p, n, &span, &len, &done);
			if (k < 0)
				return -1;
			if (len) {
				if (!pattern_ok(span, len, c->in.got - len) &&
				    !c->bad)
					c->bad = true, st.bad_bodies++;
				st.bytes_in += len;
			}
			p += k, n -= (size_t)k;
			if (done)
				respond(c);
		}
	}
	if (n) { /* a pipelined head: keep it */
		if (n >= sizeof c->head)
			return -1;
		memcpy(c->head, p, n);
		c->hn = (int)n;
	}
	return 0;
}

/* returns 1 when the response is out, 0 to wait, -1 on error, 2 to be called again */
static int
output(struct conn *c)
{
	unsigned char buf[PAT + 1024];
	for (int turns = 0; turns < 32; turns++) {
		if (c->hoff < c->hlen) {
			/* the head and the start of a short body leave as one record */
			size_t k = (size_t)(c->hlen - c->hoff);
			memcpy(buf, c->rhead + c->hoff, k);
			size_t b = 0;
			if (!c->chunked && c->out_off == 0 && c->out_len) {
				b = c->out_len < 16384 - k ? (size_t)c->out_len
							   : 16384 - k;
				memcpy(buf + k, pattern, b);
			}
			long r = cwrite(c, buf, k + b);
			if (r < 0)
				return r == -1 ? 0 : -1;
			if ((size_t)r < k) {
				c->hoff += (int)r;
				continue;
			}
			c->hoff = c->hlen;
			c->out_off += (uint64_t)r - k;
			st.bytes_out += (uint64_t)r - k;
		} else if (c->out_off < c->out_len) {
			uint64_t left = c->out_len - c->out_off;
			/* refilled into rhead-style framing: one chunk per write, kept whole by SSL */
			if (c->chunked) {
				size_t k = left < 16000 ? (size_t)left : 16000;
				int h = snprintf((char *)buf, 32, "%zx\r\n", k);
				memcpy(buf + h, pattern + c->out_off % PAT, k);
				size_t n = (size_t)h + k;
				memcpy(buf + n, "\r\n", 2), n += 2;
				long r = cwrite(c, buf, n);
				if (r < 0)
					return r == -1 ? 0 : -1;
				/* plain sockets may take part: finish it, blocking briefly */
				if ((size_t)r < n) {
					size_t o = (size_t)r;
					while (o < n) {
						long w = cwrite(c, buf + o,
						    n - o);
						if (w == -2)
							return -1;
						if (w > 0)
							o += (size_t)w;
						else
							usleep(50);
					}
				}
				c->out_off += k, st.bytes_out += k;
			} else {
				size_t k = left < 16384 ? (size_t)left : 16384;
				if (!c->ssl)
					k = left < PAT ? (size_t)left : PAT;
				long r = cwrite(c, pattern + c->out_off % PAT,
				    k);
				if (r < 0)
					return r == -1 ? 0 : -1;
				c->out_off += (uint64_t)r,
				    st.bytes_out += (uint64_t)r;
			}
		} else if (c->chunked) {
			long r = cwrite(c, "0\r\n\r\n", 5);
			if (r < 0)
				return r == -1 ? 0 : -1;
			c->chunked = false;
		} else {
			return 1;
		}
	}
	return 2;
}

static void
drive(struct conn *c)
{
	static unsigned char buf[PAT];
	if (c->st == S_HS) {
		ERR_clear_error();
		int r = SSL_accept(c->ssl);
		if (r <= 0) {
			int e = SSL_get_error(c->ssl, r);
			if (e == SSL_ERROR_WANT_READ ||
			    e == SSL_ERROR_WANT_WRITE)
				return;
			st.hs_fail++;
			conn_free(c);
			return;
		}
		if (SSL_session_reused(c->ssl))
			st.resumed++;
		else
			st.full++;
		const unsigned char *alpn;
		unsigned n;
		SSL_get0_alpn_selected(c->ssl, &alpn, &n);
		c->st = S_HEAD;
		if (n == 2)
			h2_start(c);
	}
	for (int turns = 0; turns < 32; turns++) {
		if (c->st == S_H2 || c->st == S_WS) {
			if (!(c->st == S_H2 ? h2_drive(c) : ws_drive(c)))
				conn_free(c);
			return;
		}
		if (c->st == S_OUT) {
			int r = output(c);
			if (r < 0 || (r == 1 && c->close_after)) {
				conn_free(c);
				return;
			}
			if (r == 2) {
				run_again(c);
				return;
			}
			if (!r)
				return;
			c->st = S_HEAD;
			if (c->hn) {
				int n = c->hn;
				memcpy(buf, c->head, (size_t)n);
				c->hn = 0;
				if (consume(c, buf, (size_t)n) < 0) {
					conn_free(c);
					return;
				}
				continue;
			}
		}
		long r = cread(c, buf, sizeof buf);
		if (r == -1)
			return;
		if (r <= 0 || consume(c, buf, (size_t)r) < 0) {
			conn_free(c);
			return;
		}
	}
	run_again(c);
}

int
main(int argc, char **argv)
{
	int tls_port = 0, http_port = 0;
	const char *ca = NULL, *cak = NULL, *addr = "127.0.0.1", *addr2 = NULL;
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *o = argv[i], *v = argv[i + 1];
		if (!strcmp(o, "--tls"))
			tls_port = atoi(v);
		else if (!strcmp(o, "--http"))
			http_port = atoi(v);
		else if (!strcmp(o, "--addr"))
			addr = v;
		else if (!strcmp(o, "--addr2"))
			addr2 = v;
		else if (!strcmp(o, "--ca"))
			ca = v;
		else if (!strcmp(o, "--cakey"))
			cak = v;
		else if (!strcmp(o, "--suffix"))
			suffix = v;
		else if (!strcmp(o, "--hosts"))
			nhosts = atoi(v);
		else {
			fprintf(stderr, "unknown option %s\n", o);
			return 2;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_term), signal(SIGINT, on_term);
	raise_fd_limit();
	pattern_init();
	FILE *f = ca ? fopen(ca, "r") : NULL;
	ca_cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	if (f)
		fclose(f);
	f = cak ? fopen(cak, "r") : NULL;
	ca_key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
	if (f)
		fclose(f);
	if (!ca_cert || !ca_key) {
		fprintf(stderr, "--ca and --cakey are needed\n");
		return 2;
	}
	leaf_key = EVP_EC_gen("P-256");
	leaf = calloc((size_t)nhosts, sizeof *leaf);
	ctx = SSL_CTX_new(TLS_server_method());
	char cn[300], san[320];
	snprintf(cn, sizeof cn, "*.%s", suffix),
	    snprintf(san, sizeof san, "DNS:%s", cn);
	SSL_CTX_use_certificate(ctx, mint(cn, san));
	SSL_CTX_use_PrivateKey(ctx, leaf_key);
	SSL_CTX_set_mode(ctx,
	    SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx,
	    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"perf", 4);
	SSL_CTX_set_tlsext_servername_callback(ctx, sni_cb);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_cb, NULL);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, 65536);

	ep = epoll_create1(EPOLL_CLOEXEC);
	int ls[3] = { tls_port ? listen_on(addr, tls_port) : -1,
		http_port ? listen_on(addr, http_port) : -1,
		tls_port && addr2 ? listen_on(addr2, tls_port) : -1 };
	for (int i = 0; i < 3; i++)
		if (ls[i] >= 0)
			epoll_ctl(ep, EPOLL_CTL_ADD, ls[i],
			    &(struct epoll_event){ .events = EPOLLIN,
				.data.ptr = &ls[i] });
	struct epoll_event ev[512];
	while (!stop) {
		int n = epoll_wait(ep, ev, 512, nagain ? 0 : 1000);
		for (int i = 0; i < n; i++) {
			int *l = ev[i].data.ptr;
			if (l >= ls && l < ls + 3) {
				for (int k = 0; k < 64; k++) {
					int fd = accept4(*l, NULL, NULL,
					    SOCK_NONBLOCK | SOCK_CLOEXEC);
					if (fd < 0)
						break;
					set_nodelay(fd);
					struct conn *c = calloc(1, sizeof *c);
					c->fd = fd;
					st.conns++, st.open++;
					if (l != &ls[1]) {
						c->h2ok = l == &ls[2];
						c->ssl = SSL_new(ctx);
						SSL_set_app_data(c->ssl, c);
						SSL_set_fd(c->ssl, fd);
						SSL_set_accept_state(c->ssl);
						c->st = S_HS;
					} else {
						c->st = S_HEAD;
					}
					epoll_ctl(ep, EPOLL_CTL_ADD, fd,
					    &(struct epoll_event){
						.events = EPOLLIN | EPOLLOUT |
						    EPOLLRDHUP | EPOLLET,
						.data.ptr = c });
				}
				continue;
			}
			struct conn *c = ev[i].data.ptr;
			if (!c->dead && !c->in_again)
				drive(c);
		}
		size_t m = nagain;
		struct conn *todo[256];
		if (m > 256)
			m = 256;
		memcpy(todo, again, m * sizeof *todo);
		if (nagain)
			memmove(again, again + m, (nagain - m) * sizeof *again),
			    nagain -= m;
		for (size_t i = 0; i < m; i++) {
			todo[i]->in_again = false;
			if (todo[i]->dead)
				free(todo[i]);
			else
				drive(todo[i]);
		}
	}
	fprintf(stderr,
	    "conns %lu full %lu resumed %lu fail %lu requests %lu in %lu out "
	    "%lu bad %lu cpu %.3f\n",
	    st.conns, st.full, st.resumed, st.hs_fail, st.requests, st.bytes_in,
	    st.bytes_out, st.bad_bodies, cpu_seconds());
	return 0;
}
