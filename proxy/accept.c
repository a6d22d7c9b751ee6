/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A worker's listening sockets, see accept.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "proxy/accept.h"
#include "proxy/audit/log.h"
#include "proxy/client.h"
#include "proxy/greet.h"

#define ACCEPT_BATCH 64 /* connections taken in one turn */
#define PAUSE_MS 100    /* when descriptors have run out */

struct listener {
	struct worker *worker;
	const struct conf_listen *of; /* of the first generation, which stays */
	int fd;
	struct watch *watch;
	struct timer pause;
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

/* A connection: its peer is the client, or a balancer that says who is. */
static void
accepted(struct listener *l, int fd, const union address *peer)
{
	const struct client_from from = { .listen = l->of, .peer = *peer };

	if (greet_is_due(l->of, &peer->sa))
		greet_new(l->worker, fd, peer, l->of);
	else
		client_new(l->worker, fd, &from);
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
