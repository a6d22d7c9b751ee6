/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The least ICAP server: one thread, epoll, RFC 3507 as far as a client needs it.
 *   icapnull --port PORT
 * Services (REQMOD and RESPMOD):
 *   /null     Preview: 1024; 204 at the end of the preview (or of the body, when there was no preview)
 *   /whole    no preview: reads the whole body, then 204 where the client allows it, else answers as /echo
 *   /echo     Preview: 1024; "100 Continue", then 200 and the message streamed back as it arrives
 *   /hold     Preview: 1024; "100 Continue", keeps the whole body as a scanner does, then 204 where allowed, else 200 with the body
 *   /echonp   no preview; 200 streamed back as the body arrives
 *   /avscan   the same (Traffic Server's plugin asks for no other name and takes no 204)
 * OPTIONS /stats answers counters in the X-Stats header.
 */
#include "common.h"

enum { HEAD, MSG, BODY, DRAINOUT };
enum { V_NULL, V_WHOLE, V_ECHO, V_ECHONP, V_HOLD };
struct conn {
	int fd, st, svc;
	bool req, has_body, preview, in_preview, allow204, ieof, streaming,
	    buffering, again, close_after;
	/* input buffer; encapsulated headers: total length, those to echo */
	size_t in_n, in_off, msg_len, hdr_off, hdr_len;
	unsigned char *in;
	size_t in_cap;
	unsigned char *out;
	size_t out_n, out_off, out_cap;
	/* chunk reader: 0 size line, 1 data, 2 CRLF after data, 3 end-of-body line */
	int cst;
	uint64_t left;
	unsigned char *hdrs;
	size_t hdrs_cap;
};
static struct {
	uint64_t conns, options, reqmod, respmod, r204, r200, r100, bytes, bad;
} st;
static int ep;
static const char *const istag = "ISTag: \"perf-1\"\r\n";
static volatile sig_atomic_t stop;
static void
on_term(int s)
{
	(void)s, stop = 1;
}

static void
put(struct conn *c, const void *p, size_t n)
{
	if (c->out_off && c->out_off == c->out_n)
		c->out_off = c->out_n = 0;
	if (c->out_n + n > c->out_cap)
		c->out = realloc(c->out, c->out_cap = (c->out_n + n) * 2);
	memcpy(c->out + c->out_n, p, n);
	c->out_n += n;
}
#define PUTS(c, s) put(c, s, sizeof(s) - 1)

static void
answer204(struct conn *c)
{
	st.r204++;
	PUTS(c,
	    "ICAP/1.0 204 No Content\r\nISTag: \"perf-1\"\r\nServer: "
	    "icapnull\r\nConnection: keep-alive\r\nEncapsulated: "
	    "null-body=0\r\n\r\n");
}

static void
answer200(struct conn *c)
{
	char h[300];
	st.r200++;
	int n = snprintf(h, sizeof h,
	    "ICAP/1.0 200 OK\r\n%sServer: icapnull\r\nConnection: "
	    "keep-alive\r\nEncapsulated: %s-hdr=0, %s=%zu\r\n\r\n",
	    istag, c->req ? "req" : "res",
	    c->has_body ? c->req ? "req-body" : "res-body" : "null-body",
	    c->hdr_len);
	put(c, h, (size_t)n);
	put(c, c->hdrs, c->hdr_len);
}

static void
data_out(struct conn *c, const unsigned char *p, size_t n)
{
	char h[32];
	put(c, h, (size_t)snprintf(h, sizeof h, "%zx\r\n", n));
	put(c, p, n);
	PUTS(c, "\r\n");
}

static int
flush_out(struct conn *c)
{
	while (c->out_off < c->out_n) {
		ssize_t r = send(c->fd, c->out + c->out_off,
		    c->out_n - c->out_off, MSG_NOSIGNAL);
		if (r < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		c->out_off += (size_t)r;
	}
	c->out_off = c->out_n = 0;
	return 1;
}

/* the ICAP head is in c->in[in_off..]; returns 0 when more is needed, -1 when it is bad */
static int
head(struct conn *c)
{
	unsigned char *p = c->in + c->in_off,
		      *e = memmem(p, c->in_n - c->in_off, "\r\n\r\n", 4);
	if (!e)
		return c->in_n - c->in_off > 65536 ? -1 : 0;
	char h[4096], v[512];
	size_t n = (size_t)(e + 2 - p);
	if (n >= sizeof h)
		return -1;
	memcpy(h, p, n), h[n] = 0;
	c->in_off += n + 2;
	bool opt = !strncmp(h, "OPTIONS ", 8);
	c->req = !strncmp(h, "REQMOD ", 7);
	if (!opt && !c->req && strncmp(h, "RESPMOD ", 8))
		return -1;
	char line[600];
	size_t ln = strcspn(h, "\r");
	snprintf(line, sizeof line, "%.*s", (int)ln, h);
	c->svc = strstr(line, "/echonp") || strstr(line, "/avscan") ? V_ECHONP
	    : strstr(line, "/echo")                                 ? V_ECHO
	    : strstr(line, "/whole")                                ? V_WHOLE
	    : strstr(line, "/hold")                                 ? V_HOLD
								    : V_NULL;
	if (opt) {
		st.options++;
		char o[900];
		int k = snprintf(o, sizeof o,
		    "ICAP/1.0 200 OK\r\nMethods: %s\r\n%sService: "
		    "icapnull\r\nMax-Connections: 10000\r\nOptions-TTL: "
		    "3600\r\n%s%sTransfer-Preview: *\r\n"
		    "X-Stats: conns=%lu reqmod=%lu respmod=%lu r204=%lu "
		    "r200=%lu r100=%lu bytes=%lu bad=%lu "
		    "cpu_s=%.6f\r\nEncapsulated: null-body=0\r\n\r\n",
		    strstr(line, "req")        ? "REQMOD"
			: strstr(line, "resp") ? "RESPMOD"
					       : "REQMOD, RESPMOD",
		    istag,
		    c->svc != V_WHOLE && c->svc != V_ECHONP
			? "Preview: 1024\r\n"
			: "",
		    c->svc != V_ECHO && c->svc != V_ECHONP ? "Allow: 204\r\n"
							   : "",
		    st.conns, st.reqmod, st.respmod, st.r204, st.r200, st.r100,
		    st.bytes, st.bad, cpu_seconds());
		/* Transfer-Preview has no meaning without Preview */
		if (c->svc == V_WHOLE || c->svc == V_ECHONP) {
			char *t = strstr(o, "Transfer-Preview: *\r\n");
			memmove(t, t + 21, strlen(t + 21) + 1), k -= 21;
		}
		put(c, o, (size_t)k);
		return 1;
	}
	if (c->req)
		st.reqmod++;
	else
		st.respmod++;
	c->allow204 = header(h, "allow", v, sizeof v) && strstr(v, "204");
	c->preview = header(h, "preview", v, sizeof v) != NULL;
	if (!header(h, "encapsulated", v, sizeof v))
		return -1;
	size_t res_hdr = 0, body = 0;
	bool has_hdr = false;
	c->has_body = false;
	for (char *q = v; *q;) {
		while (*q == ' ' || *q == ',')
			q++;
		char *eq = strchr(q, '=');
		if (!eq)
			break;
		size_t off = strtoul(eq + 1, NULL, 10);
		if (!strncmp(q, "res-hdr", 7))
			res_hdr = off, has_hdr = true;
		else if (!strncmp(q, "req-hdr", 7))
			has_hdr = true;
		else if (!strncmp(q, "null-body", 9))
			body = off;
		else
			body = off, c->has_body = true;
		q = eq + 1 + strcspn(eq + 1, ",");
	}
	(void)has_hdr;
	c->msg_len = body;
	c->hdr_off = c->req ? 0 : res_hdr, c->hdr_len = body - c->hdr_off;
	c->in_preview = c->preview && c->has_body;
	c->st = MSG, c->cst = 0, c->streaming = c->buffering = c->ieof = false;
	return 1;
}

static void
start_stream(struct conn *c)
{
	answer200(c);
	c->streaming = true;
}

/* the body's end, or the preview's (ieof says the preview was the whole body) */
static void
end_of_part(struct conn *c)
{
	if (c->in_preview && !c->ieof) {
		c->in_preview = false;
		if (c->svc == V_NULL) {
			answer204(c);
			c->st = HEAD;
		} else if (c->svc == V_HOLD) {
			st.r100++;
			PUTS(c, "ICAP/1.0 100 Continue\r\n\r\n");
			c->cst = 0;
		} else { /* the preview's bytes wait in hdrs after the headers */
			st.r100++;
			PUTS(c, "ICAP/1.0 100 Continue\r\n\r\n");
			c->buffering = false;
			/* see body(): msg_len counts what is held */
			size_t held = c->msg_len;
			start_stream(c);
			if (held)
				data_out(c, c->hdrs + c->hdr_len, held);
			c->msg_len = 0;
			c->cst = 0;
		}
		return;
	}
	if (c->streaming) {
		PUTS(c, "0\r\n\r\n");
	} else if (c->svc == V_NULL ||
	    ((c->svc == V_WHOLE || c->svc == V_HOLD) && c->allow204)) {
		answer204(c);
	} else { /* a whole body in the preview */
		answer200(c);
		for (size_t o = 0; o < c->msg_len; o += 65536)
			data_out(c, c->hdrs + c->hdr_len + o,
			    c->msg_len - o < 65536 ? c->msg_len - o : 65536);
		if (c->has_body)
			PUTS(c, "0\r\n\r\n");
	}
	c->st = HEAD;
}

static int
body(struct conn *c)
{
	while (c->in_off < c->in_n && c->st == BODY) {
		unsigned char *p = c->in + c->in_off;
		size_t n = c->in_n - c->in_off;
		if (c->cst == 0) {
			unsigned char *e = memmem(p, n, "\r\n", 2);
			if (!e)
				return n > 256 ? -1 : 0;
			char *end;
			c->left = strtoull((char *)p, &end, 16);
			if (end == (char *)p)
				return -1;
			c->ieof = memmem(p, (size_t)(e - p), "ieof", 4) != NULL;
			c->in_off += (size_t)(e + 2 - p);
			c->cst = c->left ? 1 : 3;
		} else if (c->cst == 1) {
			size_t k = n < c->left ? n : (size_t)c->left;
			st.bytes += k;
			if (c->streaming) {
				data_out(c, p, k);
			} else if (c->buffering) {
				if (c->hdr_len + c->msg_len + k > c->hdrs_cap)
					c->hdrs = realloc(c->hdrs,
					    c->hdrs_cap = 2 *
						(c->hdr_len + c->msg_len + k));
				memcpy(c->hdrs + c->hdr_len + c->msg_len, p, k);
				c->msg_len += k;
			}
			c->in_off += k, c->left -= k;
			if (!c->left)
				c->cst = 2;
		} else {
			if (n < 2)
				return 0;
			if (p[0] != '\r' || p[1] != '\n')
				return -1;
			c->in_off += 2;
			if (c->cst == 2)
				c->cst = 0;
			else
				end_of_part(c);
		}
	}
	return 0;
}

static int
work(struct conn *c)
{
	while (c->in_off < c->in_n) {
		if (c->out_n - c->out_off > (1u << 20))
			return 0; /* the client does not read: wait for it */
		int r;
		if (c->st == HEAD) {
			r = head(c);
			if (r <= 0)
				return r;
		} else if (c->st == MSG) {
			if (c->in_n - c->in_off < c->msg_len)
				return 0;
			if (c->hdr_len > c->hdrs_cap)
				c->hdrs = realloc(c->hdrs,
				    c->hdrs_cap = 2 * c->hdr_len);
			memcpy(c->hdrs, c->in + c->in_off + c->hdr_off,
			    c->hdr_len);
			c->in_off += c->msg_len;
			c->msg_len =
			    0; /* from here on: bytes held after the headers */
			c->st = BODY;
			if (!c->has_body) {
				end_of_part(c);
			} else if (!c->in_preview &&
			    (c->svc == V_ECHO || c->svc == V_ECHONP ||
				(c->svc == V_WHOLE && !c->allow204))) {
				start_stream(c);
			} else if ((c->in_preview && c->svc != V_NULL) ||
			    c->svc == V_HOLD) {
				c->buffering = true;
			}
		} else {
			size_t before = c->in_off;
			if (body(c) < 0)
				return -1;
			if (c->in_off == before && c->st == BODY)
				return 0;
		}
	}
	return 0;
}

static void
bye(struct conn *c)
{
	close(c->fd);
	free(c->in), free(c->out), free(c->hdrs), free(c);
}

static void
drive(struct conn *c)
{
	for (;;) {
		int f = flush_out(c);
		if (f < 0) {
			bye(c);
			return;
		}
		if (c->in_off == c->in_n)
			c->in_off = c->in_n = 0;
		if (!f && c->out_n - c->out_off > (1u << 20))
			return; /* EPOLLOUT resumes */
		if (c->in_off && c->in_off < c->in_n) {
			memmove(c->in, c->in + c->in_off, c->in_n - c->in_off);
			c->in_n -= c->in_off, c->in_off = 0;
		}
		if (c->in_cap - c->in_n < 32768)
			c->in = realloc(c->in,
			    c->in_cap = c->in_cap ? 2 * c->in_cap : 131072);
		ssize_t r = recv(c->fd, c->in + c->in_n, c->in_cap - c->in_n,
		    0);
		bool got = r > 0;
		if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR)) {
			bye(c);
			return;
		}
		if (got)
			c->in_n += (size_t)r;
		size_t off0 = c->in_off, n0 = c->out_n;
		if (work(c) < 0) {
			st.bad++;
			fprintf(stderr,
			    "bad ICAP from client (state %d/%d): %.200s\n",
			    c->st, c->cst, c->in + c->in_off);
			bye(c);
			return;
		}
		if (!got && c->in_off == off0 && c->out_n == n0) {
			flush_out(c);
			return;
		}
	}
}

int
main(int argc, char **argv)
{
	int port = 0;
	for (int i = 1; i + 1 < argc; i += 2)
		if (!strcmp(argv[i], "--port"))
			port = atoi(argv[i + 1]);
	if (!port) {
		fprintf(stderr, "--port is needed\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_term), signal(SIGINT, on_term);
	raise_fd_limit();
	ep = epoll_create1(EPOLL_CLOEXEC);
	int l = listen_on("127.0.0.1", port);
	epoll_ctl(ep, EPOLL_CTL_ADD, l,
	    &(struct epoll_event){ .events = EPOLLIN, .data.ptr = NULL });
	struct epoll_event ev[512];
	while (!stop) {
		int n = epoll_wait(ep, ev, 512, 1000);
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;
			if (c) {
				drive(c);
				continue;
			}
			for (int k = 0; k < 64; k++) {
				int fd = accept4(l, NULL, NULL,
				    SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (fd < 0)
					break;
				set_nodelay(fd);
				st.conns++;
				c = calloc(1, sizeof *c);
				c->fd = fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, fd,
				    &(struct epoll_event){ .events = EPOLLIN |
					    EPOLLOUT | EPOLLRDHUP | EPOLLET,
					.data.ptr = c });
			}
		}
	}
	fprintf(stderr,
	    "conns %lu options %lu reqmod %lu respmod %lu 204 %lu 200 %lu 100 "
	    "%lu bytes %lu bad %lu cpu %.3f\n",
	    st.conns, st.options, st.reqmod, st.respmod, st.r204, st.r200,
	    st.r100, st.bytes, st.bad, cpu_seconds());
	return 0;
}
