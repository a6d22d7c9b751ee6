/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A worker's listening sockets, see accept.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/nets.h"
#include "net/original.h"
#include "proxy/accept.h"
#include "proxy/audit/log.h"
#include "proxy/client.h"
#include "proxy/greet.h"

#define ACCEPT_BATCH 64 /* connections taken in one turn */
#define SURGE_MAX 50
#define SURGE_MS 1000
#define PAUSE_MS 100 /* when descriptors have run out */

struct listener {
	struct worker *worker;
	const struct conf_listen *of; /* of the first generation, which stays */
	int fd;
	struct watch *watch;
	struct timer pause;
	/* connections from this machine in the second that began then */
	uint64_t since;
	unsigned from_here;
};

static void
listener_resume(struct timer *t)
{
	struct listener *l = CONTAINER_OF(t, struct listener, pause);

	watch_set(l->watch, WATCH_READ);
}

/* Out of descriptors: look again a little later instead of spinning. */
static void
listener_pause(struct listener *l)
{
	static struct log_limit limit;

	(void)log_limited(&limit, LEVEL_ERROR, "listen", "accept: %s",
	    strerror(errno));
	watch_set(l->watch, 0);
	timer_set(&l->pause, PAUSE_MS);
}

/* Of this machine, as far as who says so can know. */
static bool
is_from_here(const struct client_from *from)
{
	struct nets_addr a, by;

	if (!nets_addr_of(&from->peer.sa, &a) || !nets_is_machine(&a))
		return (false);
	/* Of what a balancer elsewhere calls loopback we know nothing. */
	return (!nets_is_loopback(&a) ||
	    !nets_addr_of(&from->balancer.sa, &by) || nets_is_machine(&by));
}

static struct listener *
listener_of(const struct worker *w, const struct conf_listen *of)
{
	unsigned i;

	for (i = 0; i < w->n_listeners; i++)
		if (w->listeners[i].of == of)
			return (&w->listeners[i]);
	return (NULL); /* it has been closed meanwhile */
}

/*
 * From this machine to a listener that packets are led to: some is what the
 * administrator has wished, much of it goes round in circles.
 */
static bool
is_surge(struct worker *w, const struct conf_listen *of)
{
	static struct log_limit limit;
	struct listener *l = listener_of(w, of);
	uint64_t now = loop_now(w->loop);

	if (l == NULL)
		return (false);
	if (now - l->since >= SURGE_MS) {
		l->since = now;
		l->from_here = 0;
	}
	if (++l->from_here <= SURGE_MAX)
		return (false);
	(void)log_limited(&limit, LEVEL_ERROR, "listen",
	    "%s: more than %d connections a second from this machine itself "
	    "were closed: do the rules of the packet filter leave out what "
	    "assayd sends?",
	    of->name, SURGE_MAX);
	return (true);
}

/*
 * Our own connection, which has come back to us?  Through a balancer it can
 * only be one that a client wanted to have to the balancer itself.
 */
static bool
is_circle(struct worker *w, const struct client_from *from)
{
	static struct log_limit limit;

	if (!is_from_here(from))
		return (false);
	if (from->balancer.sa.sa_family == AF_UNSPEC)
		return (is_surge(w, from->listen));
	(void)log_limited(&limit, LEVEL_ERROR, "listen",
	    "%s: a balancer names this machine itself for a client: closed, as "
	    "what assayd sends to the balancer comes back",
	    from->listen->name);
	return (true);
}

void
accept_client(struct worker *w, int fd, struct client_from *from)
{
	struct nets_addr to;

	if (from->listen->kind != CONF_EXPLICIT && is_circle(w, from)) {
		free(from->via);
		close(fd);
		return;
	}
	/* Somebody has connected to the listener itself. */
	if (nets_addr_of(&from->dest.sa, &to) && nets_is_self(&to))
		memset(&from->dest, 0, sizeof(from->dest));
	client_new(w, fd, from);
}

/* At once: the kernel may forget. */
static void
ask_original(const struct listener *l, int fd, struct client_from *from)
{
	union address to;
	bool found = false;

	if (l->of->kind == CONF_REDIRECT)
		found = original_of_redirect(fd, &from->peer.sa, &to);
	else if (l->of->kind == CONF_TPROXY)
		found = original_of_tproxy(fd, &to);
	if (found)
		from->dest = to;
}

/* A connection: its peer is the client, or a balancer that says who is. */
static void
accepted(struct listener *l, int fd, const union address *peer)
{
	struct client_from from = { .listen = l->of, .peer = *peer };

	ask_original(l, fd, &from);
	if (greet_is_due(l->of, &peer->sa))
		greet_new(l->worker, fd, &from);
	else
		accept_client(l->worker, fd, &from);
}

static void
listener_ready(void *arg, unsigned events)
{
	struct listener *l = arg;
	union address peer;
	socklen_t n;
	unsigned i;
	int fd;

	(void)events;
	for (i = 0; i < ACCEPT_BATCH; i++) {
		n = sizeof(peer);
		fd = accept4(l->fd, &peer.sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			accepted(l, fd, &peer);
		else if ((errno == EMFILE || errno == ENFILE) &&
		    refusals_make_room(&l->worker->refusals))
			continue;
		else if (errno == EMFILE || errno == ENFILE ||
		    errno == ENOBUFS || errno == ENOMEM) {
			listener_pause(l);
			return;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
	}
}

void
accept_stop(struct worker *w)
{
	unsigned i;

	for (i = 0; i < w->n_listeners; i++) {
		timer_stop(&w->listeners[i].pause);
		watch_free(&w->listeners[i].watch);
		close(w->listeners[i].fd);
	}
	free(w->listeners);
	w->listeners = NULL;
	w->n_listeners = 0;
}

void
accept_start(struct worker *w, const int *fds,
    const struct conf_listen *const *of, unsigned n)
{
	struct listener *l;
	unsigned i;

	w->listeners = calloc(n, sizeof(*w->listeners));
	w->n_listeners = n;
	for (i = 0; i < n; i++) {
		l = &w->listeners[i];
		l->worker = w;
		l->fd = fds[i];
		l->of = of[i];
		timer_init(&l->pause, w->loop, listener_resume);
		l->watch = watch_new(w->loop, l->fd, listener_ready, l);
		watch_behind(l->watch);
		watch_set(l->watch, WATCH_READ);
	}
}
