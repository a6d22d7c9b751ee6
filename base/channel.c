/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between our processes, see channel.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/channel.h"
#include "base/sealed.h"

/*
 * As many as the kernel lets one message have: what there is no room for, it
 * would close by itself, and how long that takes is the sender's to say.
 */
#define SENT_MAX 253
#define UNREAD_MAX 4096 /* more than a socket holds */

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(SENT_MAX * sizeof(int))];
};

bool
channel_pair(int pair[2])
{
	return (
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		0, pair) == 0);
}

static long long
now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return ((long long)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

/* Until the socket is ready or the time is over. */
static bool
wait_for(int fd, short events, long long end)
{
	struct pollfd p = { .fd = fd, .events = events };
	long long left;
	int r;

	do {
		left = end - now_ms();
		r = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	return (r > 0);
}

static void
put_fds(struct msghdr *m, union control *c, const int *fds, unsigned n)
{
	struct cmsghdr *h;

	if (n == 0)
		return;
	memset(c, 0, sizeof(*c));
	m->msg_control = c->room;
	m->msg_controllen = CMSG_SPACE(n * sizeof(int));
	h = CMSG_FIRSTHDR(m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n * sizeof(int));
}

enum channel_end
channel_send(int fd, const void *msg, size_t n, const int *fds, unsigned n_fds,
    int wait_ms)
{
	struct iovec iov = { (void *)(uintptr_t)msg, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	long long end = now_ms() + wait_ms;
	union control c;
	ssize_t r;

	assert(n > 0 && n_fds <= CHANNEL_FDS);
	put_fds(&m, &c, fds, n_fds);
	while ((r = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
			return (CHANNEL_CLOSED);
		if (errno != EAGAIN)
			return (CHANNEL_BROKEN);
		if (!wait_for(fd, POLLOUT, end))
			return (CHANNEL_LATE);
	}
	return (r == (ssize_t)n ? CHANNEL_DONE : CHANNEL_BROKEN);
}

/* Those of one header; false: there are too many, and none is left open. */
static bool
add_fds(const struct cmsghdr *h, int fds[CHANNEL_FDS], unsigned *n_fds)
{
	size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int sent[SENT_MAX];

	assert(n <= SENT_MAX);
	memcpy(sent, CMSG_DATA(h), n * sizeof(int));
	if (n > CHANNEL_FDS - *n_fds) {
		channel_close(sent, (unsigned)n);
		return (false);
	}
	memcpy(fds + *n_fds, sent, n * sizeof(int));
	*n_fds += (unsigned)n;
	return (true);
}

/* False: there is something else beside descriptors, or too many of them. */
static bool
take_fds(struct msghdr *m, int fds[CHANNEL_FDS], unsigned *n_fds)
{
	struct cmsghdr *h;
	bool ok = (m->msg_flags & MSG_CTRUNC) == 0;

	for (h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) {
			ok = false;
			continue;
		}
		ok = add_fds(h, fds, n_fds) && ok;
	}
	return (ok);
}

/* A socket that lingers would have us wait for its peer. */
void
channel_close(const int *fds, unsigned n)
{
	static const struct linger none;

	while (n > 0) {
		(void)setsockopt(fds[--n], SOL_SOCKET, SO_LINGER, &none,
		    sizeof(none));
		(void)close(fds[n]);
	}
}

enum channel_end
channel_take(int fd, void *msg, size_t most, size_t *n, int fds[CHANNEL_FDS],
    unsigned *n_fds, int wait_ms)
{
	struct iovec iov = { msg, most };
	union control c;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	long long end = wait_ms > 0 ? now_ms() + wait_ms : 0;
	int flags = MSG_CMSG_CLOEXEC | (wait_ms >= 0 ? MSG_DONTWAIT : 0);
	ssize_t r;

	assert(most > 0); /* nothing read is the end */
	*n_fds = 0;
	do {
		m.msg_control = c.room;
		m.msg_controllen = sizeof(c.room);
		r = recvmsg(fd, &m, flags);
	} while (r < 0 &&
	    (errno == EINTR ||
		(errno == EAGAIN && wait_ms > 0 && wait_for(fd, POLLIN, end))));
	if (r < 0)
		return (errno == EAGAIN       ? CHANNEL_LATE
			: errno == ECONNRESET ? CHANNEL_CLOSED
					      : CHANNEL_BROKEN);
	*n = (size_t)r;
	if (take_fds(&m, fds, n_fds) && (m.msg_flags & MSG_TRUNC) == 0 && r > 0)
		return (CHANNEL_DONE);
	channel_close(fds, *n_fds); /* also those of an empty message */
	*n_fds = 0;
	errno = r == 0 ? 0 : EPROTO;
	return (r == 0 ? CHANNEL_CLOSED : CHANNEL_BROKEN);
}

void
channel_end(int fd)
{
	int fds[CHANNEL_FDS];
	unsigned i, n_fds;
	enum channel_end r;
	size_t n;
	char c;

	for (i = 0; i < UNREAD_MAX; i++) {
		r = channel_take(fd, &c, sizeof(c), &n, fds, &n_fds, 0);
		channel_close(fds, n_fds);
		if (r == CHANNEL_LATE || r == CHANNEL_CLOSED)
			break;
	}
	(void)close(fd);
}

enum channel_end
channel_recv(int fd, void *msg, size_t n, int fds[CHANNEL_FDS], unsigned *n_fds,
    int wait_ms)
{
	enum channel_end end;
	size_t got;

	end = channel_take(fd, msg, n, &got, fds, n_fds,
	    wait_ms > 0 ? wait_ms : 0);
	if (end != CHANNEL_DONE || got == n)
		return (end);
	channel_close(fds, *n_fds);
	*n_fds = 0;
	errno = EPROTO;
	return (CHANNEL_BROKEN);
}

static bool
option_is(int fd, int option, int value)
{
	socklen_t n = sizeof(int);
	int is = -1;

	return (
	    getsockopt(fd, SOL_SOCKET, option, &is, &n) == 0 && is == value);
}

bool
channel_is(int fd, enum channel_type type)
{
	int mode = fcntl(fd, F_GETFL);
	struct stat st;

	if (fstat(fd, &st) != 0 || mode < 0)
		return (false);
	switch (type) {
	case CHANNEL_FILE:
		return (!S_ISDIR(st.st_mode) && (mode & O_PATH) == 0 &&
		    (mode & O_ACCMODE) != O_RDONLY);
	case CHANNEL_TEXT:
		return (S_ISREG(st.st_mode) && (mode & O_PATH) == 0 &&
		    (mode & O_ACCMODE) == O_RDONLY);
	case CHANNEL_LISTENER:
		return (option_is(fd, SO_ACCEPTCONN, 1) &&
		    option_is(fd, SO_TYPE, SOCK_STREAM) &&
		    (option_is(fd, SO_DOMAIN, AF_INET) ||
			option_is(fd, SO_DOMAIN, AF_INET6)));
	case CHANNEL_LOCAL:
		return (option_is(fd, SO_ACCEPTCONN, 1) &&
		    option_is(fd, SO_DOMAIN, AF_UNIX));
	case CHANNEL_PAIR:
		return (option_is(fd, SO_ACCEPTCONN, 0) &&
		    option_is(fd, SO_DOMAIN, AF_UNIX) &&
		    option_is(fd, SO_TYPE, SOCK_SEQPACKET));
	case CHANNEL_SEALED:
		return (sealed_is(fd));
	}
	return (false);
}
