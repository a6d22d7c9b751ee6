/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening sockets, see listen.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "proxy/listen.h"
#include "net/resolve.h"

#define BACKLOG 4096

void
listen_text(const union address *a, char out[64])
{
	address_text(&a->sa, out);
}

/* One socket; a port of 0 becomes the one the kernel gave. */
static int
listen_one(union address *a, struct fault *f)
{
	socklen_t n = sizeof(*a);
	char text[64];
	int one = 1, fd;

	fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    0);
	if (fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0 &&
	    (a->sa.sa_family != AF_INET6 ||
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) ==
		    0) &&
	    bind(fd, &a->sa, address_size(&a->sa)) == 0 &&
	    listen(fd, BACKLOG) == 0 && getsockname(fd, &a->sa, &n) == 0)
		return (fd);
	listen_text(a, text);
	fault_set(f, ERR_SYSTEM, "cannot listen on %s: %s", text,
	    strerror(errno));
	if (fd >= 0)
		close(fd);
	return (-1);
}

static void
addresses(struct listen_set *s, const struct conf *c)
{
	unsigned i, k;

	for (i = 0; i < c->listen.n; i++)
		s->n += c->listen.v[i].naddr;
	s->of = calloc(s->n, sizeof(const struct conf_listen *));
	s->addr = calloc(s->n, sizeof(*s->addr));
	for (s->n = 0, i = 0; i < c->listen.n; i++)
		for (k = 0; k < c->listen.v[i].naddr; k++) {
			s->of[s->n] = &c->listen.v[i];
			s->addr[s->n++] = c->listen.v[i].addr[k];
		}
}

/* SO_REUSEPORT lets us share an address with ourselves, not with strangers. */
static bool
taken(const union address *a, struct fault *f)
{
	char text[64];
	int one = 1;
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool in_use;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a->sa.sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one,
		    sizeof(one));
	in_use = bind(fd, &a->sa, address_size(&a->sa)) != 0 &&
	    errno == EADDRINUSE;
	close(fd);
	if (in_use) {
		listen_text(a, text);
		fault_set(f, ERR_SYSTEM, "cannot listen on %s: %s", text,
		    strerror(EADDRINUSE));
	}
	return (in_use);
}

/* Where the machine has no IPv6, the default address of that family is left out. */
static bool
unsupported(const struct listen_set *s, unsigned i)
{
	int fd;

	if (s->addr[i].sa.sa_family != AF_INET6 || s->n < 2)
		return (false);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return (errno == EAFNOSUPPORT);
	if (bind(fd, &s->addr[i].sa, sizeof(s->addr[i].v6)) != 0 &&
	    errno == EADDRNOTAVAIL) {
		close(fd);
		return (true);
	}
	close(fd);
	return (false);
}

static void
drop_unsupported(struct listen_set *s)
{
	unsigned i = 0, k;

	while (i < s->n) {
		if (!unsupported(s, i)) {
			i++;
			continue;
		}
		s->n--;
		for (k = i; k < s->n; k++) {
			s->addr[k] = s->addr[k + 1];
			s->of[k] = s->of[k + 1];
		}
	}
}

bool
listen_open(struct listen_set *s, const struct conf *c, unsigned workers,
    struct fault *f)
{
	unsigned i, k;

	memset(s, 0, sizeof(*s));
	addresses(s, c);
	drop_unsupported(s);
	for (i = 0; i < s->n; i++)
		if (taken(&s->addr[i], f)) {
			listen_fini(s);
			return (false);
		}
	s->fd = malloc(((size_t)workers * s->n + 1) * sizeof(*s->fd));
	for (i = 0; i < workers * s->n; i++) {
		s->fd[i] = listen_one(&s->addr[i % s->n], f);
		if (s->fd[i] >= 0)
			continue;
		for (k = 0; k < i; k++)
			close(s->fd[k]);
		listen_fini(s);
		return (false);
	}
	return (true);
}

const int *
listen_of(const struct listen_set *s, unsigned worker)
{
	return (s->fd + (size_t)worker * s->n);
}

void
listen_fini(struct listen_set *s)
{
	free(s->of);
	free(s->addr);
	free(s->fd);
	memset(s, 0, sizeof(*s));
}
