/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watches, see loop.h.  libuv polls those of the first rank; those behind are
 * in an epoll set of our own, which libuv polls as one descriptor.
 */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/loop_priv.h"

/*
 * So many woken tasks are run at once, between the callbacks of one poll:
 * what they touch is in the CPU's cache still.  (And with more than 1024
 * descriptors ready libuv polls up to 48 times before it lets anybody work,
 * and is told of the same ones again.)
 */
#define TURN_NOW 8

struct watch {
	uv_poll_t poll;
	struct loop *loop;
	void (*ready)(void *arg, unsigned events); /* NULL: freed */
	void *arg;
	int fd;
	bool is_polled; /* by libuv; else behind, or not looked at yet */
	bool is_behind;
	unsigned events;
};

static void
on_poll(uv_poll_t *h, int status, int events)
{
	struct watch *w = h->data;
	struct loop *l = h->loop->data;
	unsigned got = 0;

	/* libuv has stopped; whoever reads or writes next finds the error. */
	if (status < 0 && (got = w->events) != 0) {
		w->events = 0;
		watch_set(w, got);
	}
	if ((events & UV_READABLE) != 0)
		got |= WATCH_READ;
	if ((events & UV_WRITABLE) != 0)
		got |= WATCH_WRITE;
	if ((events & UV_DISCONNECT) != 0)
		got |= WATCH_END;
	if (w->ready != NULL && got != 0)
		w->ready(w->arg, got);
	if (l->run.n >= TURN_NOW)
		loop_turn(l);
}

static void
on_behind(uv_poll_t *h, int status, int events)
{
	struct loop *l = h->data;
	struct epoll_event *e;
	struct watch *w;
	unsigned got;

	(void)status;
	(void)events;
	l->ready_n = epoll_wait(l->behind, l->ready, BEHIND_MAX, 0);
	for (l->ready_at = 0; l->ready_at < l->ready_n;) {
		e = &l->ready[l->ready_at++];
		if ((w = e->data.ptr) == NULL)
			continue; /* freed meanwhile */
		got = 0;
		/* Whoever reads or writes next finds the error. */
		if ((e->events & ~(unsigned)EPOLLOUT) != 0)
			got |= WATCH_READ;
		if ((e->events & ~(unsigned)EPOLLIN) != 0)
			got |= WATCH_WRITE;
		if ((e->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
			got |= WATCH_END;
		got &= w->events;
		if (got != 0)
			w->ready(w->arg, got);
		if (l->run.n >= TURN_NOW)
			loop_turn(l);
	}
}

struct watch *
watch_new(struct loop *l, int fd, void (*ready)(void *, unsigned), void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	assert(fd >= 0 && ready != NULL);
	if (w == NULL)
		abort();
	w->loop = l;
	w->fd = fd;
	w->ready = ready;
	w->arg = arg;
	return (w);
}

void
watch_behind(struct watch *w)
{
	assert(!w->is_polled);
	w->is_behind = true;
}

static void
set_polled(struct watch *w, unsigned events)
{
	int want = 0;

	assert(!w->is_behind);
	if ((events & WATCH_READ) != 0)
		want |= UV_READABLE;
	if ((events & WATCH_WRITE) != 0)
		want |= UV_WRITABLE;
	if ((events & WATCH_END) != 0)
		want |= UV_DISCONNECT;
	if (!w->is_polled) {
		if (uv_poll_init(&w->loop->uv, &w->poll, w->fd) != 0)
			abort(); /* not a pollable descriptor: our bug */
		w->poll.data = w;
		w->is_polled = true;
	}
	if (want == 0)
		uv_poll_stop(&w->poll);
	else
		uv_poll_start(&w->poll, want, on_poll);
}

static void
set_behind(struct watch *w, unsigned events)
{
	struct epoll_event e = { .data.ptr = w };

	assert(w->is_behind && !w->is_polled);
	if ((events & WATCH_READ) != 0)
		e.events |= EPOLLIN;
	if ((events & WATCH_WRITE) != 0)
		e.events |= EPOLLOUT;
	if ((events & WATCH_END) != 0)
		e.events |= EPOLLRDHUP;
	if (epoll_ctl(w->loop->behind,
		events == 0          ? EPOLL_CTL_DEL
		    : w->events == 0 ? EPOLL_CTL_ADD
				     : EPOLL_CTL_MOD,
		w->fd, &e) != 0)
		abort();
}

void
watch_set(struct watch *w, unsigned events)
{
	assert(loop_is_here(w->loop));
	if (w->events == events)
		return;
	if (w->is_behind)
		set_behind(w, events);
	else
		set_polled(w, events);
	w->events = events;
}

static void
watch_closed(uv_handle_t *h)
{
	free(h->data);
}

static void
forget_ready(struct loop *l, const struct watch *w)
{
	int i;

	for (i = l->ready_at; i < l->ready_n; i++)
		if (l->ready[i].data.ptr == w)
			l->ready[i].data.ptr = NULL;
}

void
watch_free(struct watch **wp)
{
	struct watch *w = *wp;

	if (w == NULL)
		return;
	w->ready = NULL;
	if (w->is_polled)
		uv_close((uv_handle_t *)&w->poll, watch_closed);
	else {
		if (w->is_behind) {
			watch_set(w, 0);
			forget_ready(w->loop, w);
		}
		free(w);
	}
	*wp = NULL;
}

void
watches_begin(struct loop *l)
{
	l->behind = epoll_create1(EPOLL_CLOEXEC);
	if (l->behind < 0 ||
	    uv_poll_init(&l->uv, &l->behind_poll, l->behind) != 0)
		abort();
	l->behind_poll.data = l;
	uv_poll_start(&l->behind_poll, UV_READABLE, on_behind);
}

static void
on_behind_closed(uv_handle_t *h)
{
	struct loop *l = h->data;

	close(l->behind);
}

void
watches_end(struct loop *l)
{
	uv_close((uv_handle_t *)&l->behind_poll, on_behind_closed);
}
