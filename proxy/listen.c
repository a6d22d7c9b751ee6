/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening sockets, see listen.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/channel.h"
#include "proxy/given.h"
#include "proxy/listen.h"
#include "net/original.h"
#include "net/resolve.h"

#define BACKLOG 4096

void
listen_text(const union address *a, char out[64])
{
	address_text(&a->sa, out);
}

static void
cannot(const union address *a, struct fault *f)
{
	char text[64];

	listen_text(a, text);
	fault_set(f, ERR_SYSTEM, "cannot listen on %s: %s", text,
	    strerror(errno));
}

/* Connections to addresses of others come to it, if a tproxy rule says so. */
static bool
make_transparent(int fd, const union address *a, enum conf_kind kind,
    struct fault *f)
{
	char text[64];

	if (original_set_transparent(fd, a->sa.sa_family, kind == CONF_TPROXY))
		return (true);
	listen_text(a, text);
	fault_set(f, ERR_SYSTEM,
	    "cannot listen on %s with 'kind: tproxy': %s (it takes "
	    "CAP_NET_RAW at the start)",
	    text, strerror(errno));
	return (false);
}

/*
 * Serving processes share them: one that was taken over attaches no filter, which
 * would decide who reaches its successors.
 */
static bool
lock_filters(int fd)
{
	int one = 1;

	return (
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof(one)) == 0);
}

/* One socket; a port of 0 becomes the one the kernel gave. */
static int
listen_one(union address *a, enum conf_kind kind, struct fault *f)
{
	socklen_t n = sizeof(*a);
	int one = 1, fd;

	fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    0);
	if (fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0 &&
	    (a->sa.sa_family != AF_INET6 ||
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) ==
		    0) &&
	    make_transparent(fd, a, kind, f) &&
	    bind(fd, &a->sa, address_size(&a->sa)) == 0 &&
	    listen(fd, BACKLOG) == 0 && getsockname(fd, &a->sa, &n) == 0 &&
	    lock_filters(fd))
		return (fd);
	cannot(a, f);
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
	s->kind = calloc(s->n, sizeof(*s->kind));
	s->asked = calloc(s->n, sizeof(*s->asked));
	s->addr = calloc(s->n, sizeof(*s->addr));
	for (s->n = 0, i = 0; i < c->listen.n; i++)
		for (k = 0; k < c->listen.v[i].naddr; k++) {
			s->of[s->n] = i;
			s->kind[s->n] = c->listen.v[i].kind;
			s->asked[s->n] = c->listen.v[i].addr[k];
			s->addr[s->n++] = c->listen.v[i].addr[k];
		}
}

/* SO_REUSEPORT lets us share an address with ourselves, not with strangers. */
static bool
taken(const union address *a, struct fault *f)
{
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
		errno = EADDRINUSE;
		cannot(a, f);
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
			s->kind[k] = s->kind[k + 1];
			s->asked[k] = s->asked[k + 1];
			s->addr[k] = s->addr[k + 1];
			s->of[k] = s->of[k + 1];
		}
	}
}

/* The address of the set in use that is configured as this one; n: none. */
static unsigned
find(const struct listen_set *was, const union address *asked)
{
	unsigned i = 0;

	while (i < was->n &&
	    (was->asked[i].sa.sa_family != asked->sa.sa_family ||
		memcmp(&was->asked[i], asked, address_size(&asked->sa)) != 0))
		i++;
	return (i);
}

static bool
is_given(const struct listen_set *s, unsigned i)
{
	return (given_find(s->given, &s->addr[i], 0) >= 0);
}

/* Some address of ours has that port: it is no stranger's. */
static bool
is_ours(const struct listen_set *was, const union address *a)
{
	unsigned i;

	for (i = 0; was != NULL && i < was->n; i++)
		if (address_port(&was->addr[i].sa) == address_port(&a->sa))
			return (true);
	return (false);
}

/* The same of a set that is open; n: it has none, or there is no such set. */
static unsigned
kept(const struct listen_set *s, unsigned i, const struct listen_set *was)
{
	unsigned j = was != NULL && was->fd != NULL ? find(was, &s->asked[i])
						    : UINT_MAX;

	return (was != NULL && j < was->n ? j : UINT_MAX);
}

/* A copy of one that is open, for address i. */
static int
copy(const struct listen_set *s, unsigned i, int of, struct fault *f)
{
	int fd = fcntl(of, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		fault_set(f, ERR_SYSTEM, "listening socket: %s",
		    strerror(errno));
	else if (!make_transparent(fd, &s->addr[i], s->kind[i], f)) {
		close(fd);
		fd = -1;
	}
	return (fd);
}

/* The same of one that a service manager has opened. */
static int
adopt(const struct listen_set *s, unsigned i, int of, struct fault *f)
{
	int fd = copy(s, i, of, f);

	if (fd >= 0) {
		(void)lock_filters(fd);
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
	return (fd);
}

/* Copy k of address i. */
static int
one(struct listen_set *s, unsigned i, unsigned k, const struct listen_set *was,
    struct fault *f)
{
	unsigned j = kept(s, i, was);
	int given;

	if (j != UINT_MAX)
		s->addr[i] = was->addr[j];
	if (j != UINT_MAX && k < was->copies)
		return (copy(s, i, was->fd[k * was->n + j], f));
	given = given_find(s->given, &s->addr[i], k);
	return (given >= 0 ? adopt(s, i, given, f)
			   : listen_one(&s->addr[i], s->kind[i], f));
}

static bool
open_all(struct listen_set *s, const struct listen_set *was, struct fault *f)
{
	unsigned i;

	for (i = 0; i < s->n; i++)
		if (kept(s, i, was) == UINT_MAX && !is_ours(was, &s->addr[i]) &&
		    !is_given(s, i) && taken(&s->addr[i], f))
			return (false);
	s->fd = malloc(((size_t)s->copies * s->n + 1) * sizeof(*s->fd));
	if (s->fd == NULL)
		abort();
	for (i = 0; i < s->copies * s->n; i++) {
		s->fd[i] = one(s, i % s->n, i / s->n, was, f);
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
    const struct listen_set *was, const struct given *given, struct fault *f)
{
	memset(s, 0, sizeof(*s));
	s->given = given;
	addresses(s, c);
	drop_unsupported(s);
	s->copies = was != NULL && was->copies > workers ? was->copies
							 : workers;
	if (open_all(s, was, f))
		return (true);
	listen_fini(s);
	return (false);
}

bool
listen_again(struct listen_set *s, struct fault *f)
{
	return (open_all(s, NULL, f));
}

static bool
cannot_mend(const union address *a, struct fault *f)
{
	cannot(a, f);
	return (false);
}

static bool
mend_one(const struct listen_set *s, unsigned i, struct fault *f)
{
	int mode = fcntl(s->fd[i], F_GETFL), fd;

	if (channel_is(s->fd[i], CHANNEL_LISTENER))
		return ((mode & O_NONBLOCK) != 0 ||
		    fcntl(s->fd[i], F_SETFL, mode | O_NONBLOCK) == 0);
	if (given_has(s->given, &s->addr[i % s->n])) /* it has its address */
		return (listen(s->fd[i], BACKLOG) == 0 ||
		    cannot_mend(&s->addr[i % s->n], f));
	if ((fd = listen_one(&s->addr[i % s->n], s->kind[i % s->n], f)) < 0)
		return (false);
	close(s->fd[i]);
	s->fd[i] = fd;
	return (true);
}

bool
listen_mend(struct listen_set *s, struct fault *f)
{
	unsigned i;

	for (i = 0; s->fd != NULL && i < s->copies * s->n; i++)
		if (!mend_one(s, i, f))
			return (false);
	return (true);
}

bool
listen_is_open(const struct listen_set *s)
{
	return (s->fd != NULL);
}

void
listen_close(struct listen_set *s)
{
	unsigned i;

	for (i = 0; s->fd != NULL && i < s->copies * s->n; i++)
		close(s->fd[i]);
	free(s->fd);
	s->fd = NULL;
}

void
listen_fini(struct listen_set *s)
{
	listen_close(s);
	free(s->of);
	free(s->kind);
	free(s->asked);
	free(s->addr);
	memset(s, 0, sizeof(*s));
}
