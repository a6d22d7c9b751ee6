/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between processes: whole, with their descriptors, or refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "base/channel.h"
#include "base/sealed.h"
#include "base/str.h"
#include "t/unit/unit.h"

struct message {
	unsigned kind;
	char text[60];
};

static unsigned
open_fds(void)
{
	unsigned i, n = 0;

	for (i = 0; i < 200; i++)
		n += fcntl((int)i, F_GETFD) >= 0;
	return (n);
}

/* A socket whose close waits for its peer. */
static int
lingering(int *door)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger l = { 1, 1000 };
	static char some[65536];
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*door = socket(AF_INET, SOCK_STREAM, 0);
	CU_ASSERT(bind(*door, (struct sockaddr *)&a, n) == 0 &&
	    listen(*door, 1) == 0 &&
	    getsockname(*door, (struct sockaddr *)&a, &n) == 0 &&
	    connect(fd, (struct sockaddr *)&a, n) == 0);
	while (send(fd, some, sizeof(some), MSG_DONTWAIT) > 0)
		;
	CU_ASSERT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
	return (fd);
}

/* Whoever sends descriptors does not say how long it takes to refuse them. */
static void
test_lingering(void)
{
	struct message m = { 3, "three" }, got;
	int p[2], fds[CHANNEL_FDS], many[CHANNEL_FDS + 1], door, fd;
	unsigned i, n, had = open_fds();

	CU_ASSERT_TRUE_FATAL(channel_pair(p));
	fd = lingering(&door);
	for (i = 0; i < CHANNEL_FDS + 1; i++)
		many[i] = fd;
	for (i = 0; i < 3; i++) {
		struct iovec iov = { &m, sizeof(m) };
		union {
			struct cmsghdr h;
			char room[CMSG_SPACE(sizeof(many))];
		} c;
		struct msghdr h = { .msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &c,
			.msg_controllen = sizeof(c) };

		c.h = (struct cmsghdr){ CMSG_LEN(sizeof(many)), SOL_SOCKET,
			SCM_RIGHTS };
		memcpy(CMSG_DATA(&c.h), many, sizeof(many));
		CU_ASSERT_EQUAL(sendmsg(p[0], &h, 0), (ssize_t)sizeof(m));
	}
	CU_ASSERT_EQUAL(channel_recv(p[1], &got, sizeof(got), fds, &n, 0),
	    CHANNEL_BROKEN);
	close(dup2(p[0], fd)); /* those that are sent are the last ones */
	close(p[0]);
	channel_end(p[1]);
	close(door);
	CU_ASSERT_EQUAL(open_fds(), had);
}

static void
test_message(void)
{
	struct message m = { 3, "three" }, got;
	int p[2], fds[CHANNEL_FDS], null = open("/dev/null", O_WRONLY);
	struct stat a, b;
	unsigned n;

	CU_ASSERT_TRUE_FATAL(channel_pair(p));
	CU_ASSERT_EQUAL(channel_recv(p[1], &got, sizeof(got), fds, &n, 0),
	    CHANNEL_LATE);
	CU_ASSERT_EQUAL(channel_send(p[0], &m, sizeof(m), NULL, 0, 0),
	    CHANNEL_DONE);
	m.kind = 4;
	CU_ASSERT_EQUAL(channel_send(p[0], &m, sizeof(m), (int[]){ null, p[0] },
			    2, 0),
	    CHANNEL_DONE);
	CU_ASSERT_EQUAL(channel_recv(p[1], &got, sizeof(got), fds, &n, 0),
	    CHANNEL_DONE);
	CU_ASSERT(got.kind == 3 && strcmp(got.text, "three") == 0 && n == 0);
	CU_ASSERT_EQUAL(channel_recv(p[1], &got, sizeof(got), fds, &n, 100),
	    CHANNEL_DONE);
	CU_ASSERT_FATAL(got.kind == 4 && n == 2);
	CU_ASSERT(fcntl(fds[0], F_GETFD) == FD_CLOEXEC);
	CU_ASSERT(fstat(fds[0], &a) == 0 && fstat(null, &b) == 0 &&
	    a.st_rdev == b.st_rdev);
	channel_close(fds, n);
	close(p[0]);
	CU_ASSERT_EQUAL(channel_recv(p[1], &got, sizeof(got), fds, &n, 100),
	    CHANNEL_CLOSED);
	CU_ASSERT_EQUAL(channel_send(p[1], &m, sizeof(m), NULL, 0, 100),
	    CHANNEL_CLOSED);
	close(p[1]);
	close(null);
}

/* Lengths that are wrong, and more descriptors than one takes. */
static void
test_broken(void)
{
	char raw[200] = "";
	struct message got;
	int p[2], fds[CHANNEL_FDS], many[100], i;
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(many))];
	} c = { .h = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { raw, sizeof(got) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned n, before = open_fds(), size;

	CU_ASSERT_TRUE_FATAL(channel_pair(p));
	for (size = 1; size < sizeof(raw); size++) {
		CU_ASSERT_EQUAL(channel_send(p[0], raw, size, &p[0], 1, 0),
		    CHANNEL_DONE);
		CU_ASSERT_EQUAL(channel_recv(p[1], &got, sizeof(got), fds, &n,
				    0),
		    size == sizeof(got) ? CHANNEL_DONE : CHANNEL_BROKEN);
		channel_close(fds, n);
	}
	for (i = 0; i < 100; i++)
		many[i] = p[0];
	for (size = CHANNEL_FDS - 1; size <= 100; size++) {
		c.h.cmsg_len = CMSG_LEN(size * sizeof(int));
		memcpy(CMSG_DATA(&c.h), many, size * sizeof(int));
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(size * sizeof(int));
		CU_ASSERT_EQUAL(sendmsg(p[0], &m, 0), (ssize_t)sizeof(got));
		CU_ASSERT_EQUAL(channel_recv(p[1], &got, sizeof(got), fds, &n,
				    0),
		    size <= CHANNEL_FDS ? CHANNEL_DONE : CHANNEL_BROKEN);
		channel_close(fds, n);
	}
	close(p[0]);
	close(p[1]);
	CU_ASSERT_EQUAL(open_fds(), before);
}

/* Who does not read holds nobody up for ever. */
/* Of any length; and had the other end read all that it was sent? */
static void
test_take(void)
{
	int p[2], fds[CHANNEL_FDS], null = open("/dev/null", O_WRONLY);
	unsigned n_fds, turn, before;
	char got[100];
	size_t n;

	for (turn = 0; turn < 2; turn++) {
		CU_ASSERT_TRUE_FATAL(channel_pair(p));
		CU_ASSERT_EQUAL(channel_send(p[0], "abc", 3, &null, 1, 0),
		    CHANNEL_DONE);
		CU_ASSERT_EQUAL(channel_send(p[0], "defgh", 5, NULL, 0, 0),
		    CHANNEL_DONE);
		CU_ASSERT_EQUAL(channel_take(p[1], got, 100, &n, fds, &n_fds,
				    -1),
		    CHANNEL_DONE);
		CU_ASSERT(n == 3 && n_fds == 1 && memcmp(got, "abc", 3) == 0);
		channel_close(fds, n_fds);
		if (turn == 1)
			CU_ASSERT_EQUAL(channel_take(p[1], got, 100, &n, fds,
					    &n_fds, 0),
			    CHANNEL_DONE);
		close(p[1]);
		errno = 1;
		CU_ASSERT_EQUAL(channel_take(p[0], got, 100, &n, fds, &n_fds,
				    0),
		    CHANNEL_CLOSED);
		CU_ASSERT_EQUAL(errno, turn == 0 ? ECONNRESET : 0);
		close(p[0]);
	}
	CU_ASSERT_TRUE_FATAL(channel_pair(p));
	CU_ASSERT_EQUAL(channel_send(p[0], "abcdef", 6, &null, 1, 0),
	    CHANNEL_DONE);
	before = open_fds();
	CU_ASSERT_EQUAL(channel_take(p[1], got, 5, &n, fds, &n_fds, 0),
	    CHANNEL_BROKEN);
	CU_ASSERT_EQUAL(open_fds(), before);
	channel_close(p, 2);
	close(null);
}

static void
test_late(void)
{
	struct message m = { 1, "" };
	struct timespec a, b;
	unsigned sent = 0;
	int p[2];

	CU_ASSERT_TRUE_FATAL(channel_pair(p));
	while (sent < 100000 &&
	    channel_send(p[0], &m, sizeof(m), NULL, 0, 0) == CHANNEL_DONE)
		sent++;
	CU_ASSERT(sent > 10 && sent < 100000);
	clock_gettime(CLOCK_MONOTONIC, &a);
	CU_ASSERT_EQUAL(channel_send(p[0], &m, sizeof(m), NULL, 0, 60),
	    CHANNEL_LATE);
	clock_gettime(CLOCK_MONOTONIC, &b);
	CU_ASSERT(
	    (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >=
	    59);
	close(p[0]);
	close(p[1]);
}

static int
tcp_socket(bool listening)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	if (listening)
		CU_ASSERT_EQUAL(listen(fd, 1), 0);
	return (fd);
}

static int
local_socket(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	/* A name that the kernel gives, unix(7). */
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof(a.sun_family)),
	    0);
	CU_ASSERT_EQUAL(listen(fd, 1), 0);
	return (fd);
}

static void
test_types(void)
{
	enum { NONE = 99 };
	int p[2], all[9];
	static const unsigned is[] = { CHANNEL_FILE, NONE, CHANNEL_LISTENER,
		NONE, CHANNEL_LOCAL, CHANNEL_PAIR, CHANNEL_SEALED, NONE, NONE };
	unsigned i, t;

	CU_ASSERT_TRUE_FATAL(channel_pair(p));
	all[0] = open("/dev/null", O_WRONLY);
	all[1] = open("/dev/null", O_RDONLY);
	all[2] = tcp_socket(true);
	all[3] = tcp_socket(false);
	all[4] = local_socket();
	all[5] = p[0];
	all[6] = sealed_new("text", "abc", 3);
	all[7] = open("/", O_RDONLY | O_DIRECTORY);
	all[8] = open("/", O_PATH);
	for (i = 0; i < 9; i++)
		for (t = CHANNEL_FILE; t <= CHANNEL_SEALED; t++)
			/* Sockets and sealed memory can be written. */
			if (t != CHANNEL_FILE || i < 2 || i > 6)
				CU_ASSERT_EQUAL(channel_is(all[i], t),
				    t == is[i]);
	channel_close(all, 9);
	close(p[1]);
	CU_ASSERT_FALSE(channel_is(all[0], CHANNEL_FILE));
}

static void
test_sealed(void)
{
	struct buf b = { 0 };
	char big[10000];
	int fd, open_one;

	memset(big, 'b', sizeof(big));
	fd = sealed_new("big", big, sizeof(big));
	CU_ASSERT_FATAL(fd >= 0 && sealed_is(fd));
	CU_ASSERT_FALSE(sealed_read(fd, &b, sizeof(big) - 1));
	CU_ASSERT_EQUAL(b.n, 0);
	CU_ASSERT_TRUE(sealed_read(fd, &b, sizeof(big)));
	CU_ASSERT(b.n == sizeof(big) && memcmp(b.p, big, b.n) == 0);
	CU_ASSERT_TRUE(sealed_read(fd, &b, sizeof(big))); /* and again */
	CU_ASSERT_EQUAL(b.n, 2 * sizeof(big));
	CU_ASSERT_EQUAL(write(fd, "x", 1), -1);
	CU_ASSERT_EQUAL(ftruncate(fd, 0), -1);
	close(fd);
	open_one = memfd_create("open", MFD_ALLOW_SEALING);
	CU_ASSERT_FALSE(sealed_is(open_one));
	CU_ASSERT_FALSE(sealed_read(open_one, &b, 100));
	close(open_one);
	fd = sealed_new("empty", "", 0);
	CU_ASSERT_TRUE(sealed_read(fd, &b, 0));
	close(fd);
	buf_fini(&b);
}

UNIT_TESTS(base_channel, { "a message and its descriptors", test_message },
    { "messages that are none", test_broken }, { "nobody reads", test_late },
    { "of any length, and unread", test_take },
    { "kinds of descriptors", test_types }, { "sealed memory", test_sealed },
    { "sockets that linger", test_lingering })
