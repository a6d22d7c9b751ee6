/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by load.c, origin.c and icapnull.c: time, the body pattern, a percentile list. */
#ifndef PERF_COMMON_H
#define PERF_COMMON_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * every body is this pattern repeated: what a proxy alters, drops or repeats is
 * seen
 */
#define PAT 65536u
static unsigned char pattern[3 * PAT];

static inline uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline void
pattern_init(void)
{
	uint32_t x = 2463534242u;
	for (unsigned i = 0; i < PAT; i++) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		pattern[i] = (unsigned char)(x >> 11);
	}
	memcpy(pattern + PAT, pattern, PAT);
	memcpy(pattern + 2 * PAT, pattern, PAT);
}

/* does buf hold the body's bytes from offset off on? */
static inline bool
pattern_ok(const unsigned char *buf, size_t n, uint64_t off)
{
	while (n) {
		size_t k = n < PAT ? n : PAT;
		if (memcmp(buf, pattern + off % PAT, k))
			return false;
		buf += k, off += k, n -= k;
	}
	return true;
}

/* "100", "1k", "100m", "1g" */
static inline uint64_t
parse_size(const char *s, char **end)
{
	char *e;
	uint64_t v = strtoull(s, &e, 10);
	if (e != s)
		switch (tolower((unsigned char)*e)) {
		case 'g':
			v <<= 10; /* fall through */
		case 'm':
			v <<= 10; /* fall through */
		case 'k':
			v <<= 10;
			e++;
		}
	if (end)
		*end = e;
	return v;
}

static inline void
set_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static inline void
set_nodelay(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline int
listen_on(const char *addr, int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
	    one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port) };
	inet_pton(AF_INET, addr, &a.sin_addr);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) {
		fprintf(stderr, "cannot listen on %s:%d: %s\n", addr, port,
		    strerror(errno));
		exit(2);
	}
	return fd;
}

static inline void
raise_fd_limit(void)
{
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static inline double
cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* An HTTP/1 message body reader: Content-Length, chunked or until close. Feed it bytes, get body spans. */
enum { BODY_NONE, BODY_LEN, BODY_CHUNKED, BODY_EOF };
struct body {
	/*
 * st for chunked: 0 size, 1 size-ext, 2 size LF, 3 data, 4 data CR, 5 data LF,
 * 6 trailer line start, 7 trailer line, 8 last LF
 */
	int kind, st;
	uint64_t left, got;
	int digits;
};
/* one step: returns bytes used (0 when done), sets span/len to the body bytes in them; *done, or -1 on bad framing */
static inline long
body_step(struct body *b, const unsigned char *p, size_t n,
    const unsigned char **span, size_t *len, bool *done)
{
	*len = 0, *done = false;
	if (b->kind == BODY_NONE) {
		*done = true;
		return 0;
	}
	if (b->kind == BODY_EOF || b->kind == BODY_LEN) {
		size_t k = b->kind == BODY_EOF || n < b->left ? n
							      : (size_t)b->left;
		*span = p, *len = k, b->got += k;
		if (b->kind == BODY_LEN)
			b->left -= k, *done = !b->left;
		return (long)k;
	}
	size_t i = 0;
	while (i < n) {
		unsigned char c = p[i];
		switch (b->st) {
		case 0:
			if (isxdigit(c)) {
				b->left = b->left * 16 +
				    (uint64_t)(c <= '9' ? c - '0'
							: (c | 32) - 'a' + 10);
				if (++b->digits > 15)
					return -1;
			} else if (!b->digits) {
				return -1;
			} else if (c == '\r') {
				b->st = 2;
			} else if (c == ';' || c == ' ') {
				b->st = 1;
			} else {
				return -1;
			}
			i++;
			break;
		case 1:
			if (c == '\r')
				b->st = 2;
			i++;
			break;
		case 2:
			if (c != '\n')
				return -1;
			b->st = b->left ? 3 : 6;
			i++;
			break;
		case 3: {
			size_t k = n - i < b->left ? n - i : (size_t)b->left;
			*span = p + i, *len = k;
			b->left -= k, b->got += k;
			if (!b->left)
				b->st = 4;
			return (long)(i + k);
		}
		case 4:
			if (c != '\r')
				return -1;
			b->st = 5, i++;
			break;
		case 5:
			if (c != '\n')
				return -1;
			b->st = 0, b->digits = 0, b->left = 0, i++;
			break;
		case 6:
			b->st = c == '\r' ? 8 : 7, i++;
			break;
		case 7:
			if (c == '\n')
				b->st = 6;
			i++;
			break;
		case 8:
			if (c != '\n')
				return -1;
			i++;
			*done = true;
			return (long)i;
		}
	}
	return (long)i;
}

/* value of a header in a NUL-ended block of CRLF lines, or NULL; copies into out */
static inline const char *
header(const char *block, const char *name, char *out, size_t cap)
{
	size_t nl = strlen(name);
	for (const char *p = strstr(block, "\r\n"); p && p[2];
	     p = strstr(p + 2, "\r\n")) {
		if (!strncasecmp(p + 2, name, nl) && p[2 + nl] == ':') {
			const char *v = p + 3 + nl;
			while (*v == ' ' || *v == '\t')
				v++;
			size_t k = strcspn(v, "\r\n");
			if (k >= cap)
				k = cap - 1;
			memcpy(out, v, k);
			out[k] = 0;
			return out;
		}
	}
	return NULL;
}
#endif
