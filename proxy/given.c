/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening sockets that a service manager has handed over, see given.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "config.h"
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif
#include "base/channel.h"
#include "proxy/given.h"
#include "proxy/listen.h"

static bool
is_stored(const struct given_socket *s)
{
	return (strcmp(s->name, GIVEN_STORED) == 0);
}

static bool
same(const union address *a, const union address *b)
{
	return (address_eq(&a->sa, &b->sa) &&
	    address_port(&a->sa) == address_port(&b->sa));
}

/* Why it is of no use; NULL: it is. */
static const char *
fault_of(int fd, union address *addr)
{
	int only = 1;
	socklen_t n = sizeof(*addr);

	if (!channel_is(fd, CHANNEL_LISTENER))
		return ("is no TCP socket that listens");
	if (getsockname(fd, &addr->sa, &n) != 0)
		return (strerror(errno));
	n = sizeof(only);
	if (addr->sa.sa_family == AF_INET6 &&
	    getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &n) == 0 && !only)
		return ("is for IPv4, too; write BindIPv6Only=ipv6-only, and "
			"the IPv4 address");
	return (NULL);
}

void
given_keep(struct given *g, int fd, const char *name)
{
	struct given_socket s = { .fd = fd }, *more;
	socklen_t n = sizeof(s.addr);

	(void)snprintf(s.name, sizeof(s.name), "%s", name);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	(void)getsockname(fd, &s.addr.sa, &n);
	more = realloc(g->v, (g->n + 1) * sizeof(*more));
	if (more == NULL)
		abort();
	g->v = more;
	g->v[g->n++] = s;
}

bool
given_add(struct given *g, int fd, const char *name, struct fault *f)
{
	union address addr;
	const char *why = fault_of(fd, &addr);

	if (why == NULL) {
		given_keep(g, fd, name);
		return (true);
	}
	(void)close(fd);
	if (strcmp(name, GIVEN_STORED) == 0) /* it was shut: not missed */
		return (true);
	fault_set(f, ERR_SYSTEM, "socket '%s' %s", name, why);
	return (false);
}

bool
given_take(struct given *g, struct fault *f)
{
	bool ok = true;
#ifdef HAVE_SYSTEMD
	char **names = NULL;
	int i, n = sd_listen_fds_with_names(1, &names);

	if (n < 0) {
		fault_set(f, ERR_SYSTEM,
		    "sockets that were handed over (LISTEN_FDS): %s",
		    strerror(-n));
		return (false);
	}
	for (i = 0; i < n; i++) {
		if (ok)
			ok = given_add(g, SD_LISTEN_FDS_START + i, names[i], f);
		else
			(void)close(SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
#else
	(void)g;
	(void)f;
#endif
	return (ok);
}

/* The listener of that address; NULL: there is none. */
static const struct conf_listen *
listener_of(const struct listen_set *s, const struct conf *c,
    const union address *a)
{
	unsigned i;

	for (i = 0; i < s->n; i++)
		if (same(&s->asked[i], a))
			return (&c->listen.v[s->of[i]]);
	return (NULL);
}

/* What systemd calls those that have no name of their own. */
static bool
is_nameless(const char *name)
{
	size_t n = strlen(name);

	return (strcmp(name, "unknown") == 0 ||
	    (n > 7 && strcmp(name + n - 7, ".socket") == 0));
}

static bool
check_one(const struct given_socket *g, const struct listen_set *s,
    const struct conf *c, struct fault *f)
{
	const struct conf_listen *l = listener_of(s, c, &g->addr);
	char text[64];

	listen_text(&g->addr, text);
	if (l == NULL) {
		fault_set(f, ERR_CONFIG,
		    "socket '%s' is for %s, where nothing of 'listen' is",
		    g->name, text);
		return (false);
	}
	if (is_nameless(g->name) || strcmp(g->name, l->name) == 0)
		return (true);
	fault_set(f, ERR_CONFIG,
	    "socket '%s' is for %s, which is listener '%s'", g->name, text,
	    l->name);
	return (false);
}

bool
given_check(const struct given *g, const struct listen_set *s,
    const struct conf *c, struct fault *f)
{
	char text[64];
	unsigned i, units = 0;

	for (i = 0; i < g->n; i++) {
		if (is_stored(&g->v[i]))
			continue;
		units++;
		if (!check_one(&g->v[i], s, c, f))
			return (false);
	}
	for (i = 0; units > 0 && i < s->n; i++)
		if (!given_has(g, &s->asked[i])) {
			listen_text(&s->asked[i], text);
			fault_set(f, ERR_CONFIG,
			    "there is no socket for %s (listener '%s') "
			    "among those that were handed over",
			    text, c->listen.v[s->of[i]].name);
			return (false);
		}
	return (true);
}

bool
given_has(const struct given *g, const union address *a)
{
	unsigned i;

	for (i = 0; g != NULL && i < g->n; i++)
		if (!is_stored(&g->v[i]) && same(&g->v[i].addr, a))
			return (true);
	return (false);
}

int
given_find(const struct given *g, const union address *a, unsigned k)
{
	unsigned i, stored = 0;

	for (i = 0; g != NULL && i < g->n; i++)
		if (same(&g->v[i].addr, a) &&
		    (!is_stored(&g->v[i]) || stored++ == k))
			return (g->v[i].fd);
	return (-1);
}

void
given_drop_stored(struct given *g)
{
	unsigned i, n = 0;

	for (i = 0; i < g->n; i++)
		if (is_stored(&g->v[i]))
			(void)close(g->v[i].fd);
		else
			g->v[n++] = g->v[i];
	g->n = n;
}

void
given_fini(struct given *g)
{
	while (g->n > 0)
		(void)close(g->v[--g->n].fd);
	free(g->v);
	*g = (struct given){ NULL, 0 };
}
