/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An ICAP server for tests, see icap_peer.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "t/unit/icap_peer.h"

#define CONNS_MAX 256

struct peer {
	int fd;
	uint16_t port;
	char options[1024];
	peer_fn serve;
	pthread_t thread, threads[CONNS_MAX];
	int fds[CONNS_MAX];
	pthread_mutex_t lock;
	_Atomic unsigned conns, asked, served;
	_Atomic bool stop;
};

static const char usual_options
    [] = "ICAP/1.0 200 OK\r\n"
	 "Methods: REQMOD, RESPMOD\r\nISTag: \"tag-1\"\r\nService: test\r\n"
	 "Options-TTL: 3600\r\nAllow: 204, 206\r\nPreview: 1024\r\n"
	 "Transfer-Preview: *\r\nEncapsulated: null-body=0\r\n\r\n";

void
peer_pause(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

bool
peer_write_bytes(struct peer_conn *c, const void *p, size_t n)
{
	const char *at = p;
	ssize_t r;

	for (; n > 0; at += r, n -= (size_t)r) {
		r = send(c->fd, at, c->slow ? 1 : n, MSG_NOSIGNAL);
		if (r <= 0)
			return (false);
		if (c->slow)
			usleep(50);
	}
	return (true);
}

bool
peer_write(struct peer_conn *c, const char *text)
{
	return (peer_write_bytes(c, text, strlen(text)));
}

bool
peer_write_chunk(struct peer_conn *c, const void *p, size_t n)
{
	char line[32];

	snprintf(line, sizeof(line), "%zx\r\n", n);
	return (peer_write(c, line) && peer_write_bytes(c, p, n) &&
	    peer_write(c, "\r\n"));
}

void
peer_reset(struct peer_conn *c)
{
	struct linger hard = { 1, 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static int
get(struct peer_conn *c)
{
	ssize_t r;

	if (c->raw_at == c->raw_n) {
		r = recv(c->fd, c->raw, sizeof(c->raw), 0);
		if (r <= 0)
			return (-1);
		c->raw_at = 0;
		c->raw_n = (size_t)r;
	}
	return (c->raw[c->raw_at++]);
}

/* A line with its end, or a head with its empty line. */
static bool
read_until(struct peer_conn *c, const char *end, char *out, size_t max)
{
	size_t n = 0, k = strlen(end);
	int b;

	while ((b = get(c)) >= 0 && n + 1 < max) {
		out[n++] = (char)b;
		out[n] = '\0';
		if (n >= k && memcmp(out + n - k, end, k) == 0)
			return (true);
	}
	return (false);
}

bool
peer_read_body(struct peer_conn *c)
{
	char line[128];
	size_t n, i, part;
	int b;

	for (;;) {
		if (!read_until(c, "\r\n", line, sizeof(line)))
			return (false);
		n = strtoul(line, NULL, 16);
		c->ieof = strstr(line, "ieof") != NULL;
		if (c->body_n + n > c->body_cap) {
			c->body_cap = (c->body_n + n) * 2 + 1;
			c->body = realloc(c->body, c->body_cap);
		}
		for (i = 0; i < n; i += part) {
			if ((b = get(c)) < 0)
				return (false);
			c->body[c->body_n++] = (unsigned char)b;
			part = c->raw_n - c->raw_at;
			if (part > n - i - 1)
				part = n - i - 1;
			memcpy(c->body + c->body_n, c->raw + c->raw_at, part);
			c->body_n += part;
			c->raw_at += part;
			part++;
		}
		if (get(c) != '\r' || get(c) != '\n')
			return (false);
		if (n == 0)
			return (true);
	}
}

static bool
read_request(struct peer_conn *c)
{
	const char *e;
	size_t n = 0;
	int b;

	if (!read_until(c, "\r\n\r\n", c->head, sizeof(c->head)))
		return (false);
	c->http_n = c->body_n = 0;
	c->ieof = false;
	if ((e = strstr(c->head, "-body=")) != NULL)
		n = strtoul(e + 6, NULL, 10);
	for (; c->http_n < n; c->http_n++) {
		if ((b = get(c)) < 0)
			return (false);
		c->http[c->http_n] = (char)b;
	}
	c->http[n] = '\0';
	return (true);
}

static void *
conn_main(void *arg)
{
	struct peer_conn *c = arg;
	bool on = true;

	while (on && read_request(c)) {
		if (strncmp(c->head, "OPTIONS ", 8) == 0) {
			c->peer->asked++;
			on = c->peer->options[0] != '\0' &&
			    peer_write(c, c->peer->options);
			continue;
		}
		c->peer->served++;
		on = c->peer->serve(c);
		c->request++;
	}
	pthread_mutex_lock(&c->peer->lock);
	close(c->fd);
	c->peer->fds[c->nth] = -1;
	pthread_mutex_unlock(&c->peer->lock);
	free(c->body);
	free(c);
	return (NULL);
}

static void *
peer_main(void *arg)
{
	struct peer *p = arg;
	struct peer_conn *c;
	int fd, on = 1;

	while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
		if (p->stop || p->conns == CONNS_MAX) {
			close(fd);
			break;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		c = calloc(1, sizeof(*c));
		c->peer = p;
		c->fd = fd;
		pthread_mutex_lock(&p->lock);
		c->nth = p->conns;
		p->fds[c->nth] = fd;
		p->conns++;
		pthread_create(&p->threads[c->nth], NULL, conn_main, c);
		pthread_mutex_unlock(&p->lock);
	}
	return (NULL);
}

struct peer *
peer_new(const char *options, peer_fn serve)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);

	snprintf(p->options, sizeof(p->options), "%s",
	    options != NULL ? options : usual_options);
	p->serve = serve;
	pthread_mutex_init(&p->lock, NULL);
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(p->fd, (struct sockaddr *)&a, n) != 0 ||
	    listen(p->fd, 64) != 0 ||
	    getsockname(p->fd, (struct sockaddr *)&a, &n) != 0)
		abort();
	p->port = ntohs(a.sin_port);
	pthread_create(&p->thread, NULL, peer_main, p);
	return (p);
}

uint16_t
peer_port(const struct peer *p)
{
	return (p->port);
}

unsigned
peer_conns(const struct peer *p)
{
	return (p->conns);
}

unsigned
peer_asked(const struct peer *p)
{
	return (p->asked);
}

unsigned
peer_served(const struct peer *p)
{
	return (p->served);
}

void
peer_free(struct peer **pp)
{
	struct peer *p = *pp;
	unsigned i;

	*pp = NULL;
	p->stop = true;
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
	pthread_mutex_lock(&p->lock);
	for (i = 0; i < p->conns; i++)
		if (p->fds[i] >= 0)
			shutdown(p->fds[i], SHUT_RDWR);
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < p->conns; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
