/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening sockets, see listen.h. */
#include <assert.h>
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
	s->of = calloc(s->n, sizeof(*s->of));
	s->addr = calloc(s->n, sizeof(*s->addr));
	for (s->n = 0, i = 0; i < c->listen.n; i++)
		for (k = 0; k < c->listen.v[i].naddr; k++) {
			s->of[s->n] = i;
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
listen_again(struct listen_set *s, unsigned workers, struct fault *f)
{
	unsigned i;

	assert(s->fd == NULL);
	for (i = 0; i < s->n; i++)
		if (taken(&s->addr[i], f))
			return (false);
	s->fd = malloc(((size_t)workers * s->n + 1) * sizeof(*s->fd));
	if (s->fd == NULL)
		abort();
	for (i = 0; i < workers * s->n; i++) {
		s->fd[i] = listen_one(&s->addr[i % s->n], f);
		if (s->fd[i] >= 0)
			continue;
		while (i-- > 0)
			close(s->fd[i]);
		free(s->fd);
		s->fd = NULL;
		return (false);
	}
	return (true);
}

bool
listen_open(struct listen_set *s, const struct conf *c, unsigned workers,
    struct fault *f)
{
	memset(s, 0, sizeof(*s));
	addresses(s, c);
	drop_unsupported(s);
	if (listen_again(s, workers, f))
		return (true);
	listen_fini(s, workers);
	return (false);
}

bool
listen_is_open(const struct listen_set *s)
{
	return (s->fd != NULL);
}

void
listen_close(struct listen_set *s, unsigned workers)
{
	unsigned i;

	for (i = 0; s->fd != NULL && i < workers * s->n; i++)
		close(s->fd[i]);
	free(s->fd);
	s->fd = NULL;
}

void
listen_fini(struct listen_set *s, unsigned workers)
{
	listen_close(s, workers);
	free(s->of);
	free(s->addr);
	memset(s, 0, sizeof(*s));
}
