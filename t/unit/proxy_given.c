/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets that a service manager hands over are used, or the cause is said. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "config.h"
#include "proxy/conf/conf.h"
#include "proxy/given.h"
#include "proxy/listen.h"
#include "t/unit/unit.h"

/* As systemd opens it: nobody shares its address. */
static int
socket_of_unit(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CU_ASSERT_FATAL(fd >= 0 &&
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	    listen(fd, 5) == 0 &&
	    getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	*port = ntohs(a.sin_port);
	return (fd);
}

static struct conf *
conf_on(uint16_t port)
{
	struct conf_problems p = { 0 };
	struct conf *conf;
	char text[100];

	(void)snprintf(text, sizeof(text), "listen: [{on: '127.0.0.1:%u'}]",
	    port);
	conf = conf_parse("t", text, strlen(text), &p);
	CU_ASSERT_FATAL(conf != NULL);
	conf_problems_fini(&p);
	return (conf);
}

#ifdef HAVE_SYSTEMD
/* What a service manager says, of no socket that there is. */
static void
test_unreadable(void)
{
	static const struct {
		const char *fds, *names;
		bool ok;
	} t[] = {
		{ NULL, NULL, true },
		{ "0", NULL, false },
		{ "x", NULL, false },
		{ "-1", NULL, false },
		{ "1", "a:b", false },
		{ "99999999999999999999", NULL, false },
	};
	struct given g = { 0 };
	struct fault f;
	char pid[20];
	unsigned i;

	(void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f = (struct fault){ ERR_NONE, "" };
		setenv("LISTEN_PID", pid, 1);
		unsetenv("LISTEN_FDS");
		unsetenv("LISTEN_FDNAMES");
		if (t[i].fds != NULL)
			setenv("LISTEN_FDS", t[i].fds, 1);
		if (t[i].names != NULL)
			setenv("LISTEN_FDNAMES", t[i].names, 1);
		CU_ASSERT(given_take(&g, &f) == t[i].ok);
		CU_ASSERT(f.code == (t[i].ok ? ERR_NONE : ERR_SYSTEM));
		CU_ASSERT(t[i].ok || strstr(f.detail, "handed over") != NULL);
		CU_ASSERT(g.n == 0);
	}
}
#endif

static void
test_used(void)
{
	struct given g = { 0 };
	struct listen_set s;
	struct fault f = { ERR_NONE, "" };
	struct conf *conf;
	uint16_t port;
	int fd = socket_of_unit(&port);

	conf = conf_on(port);
	CU_ASSERT(given_add(&g, fd, "assay.socket", &f));
	CU_ASSERT_FATAL(listen_open(&s, conf, 3, NULL, &g, &f));
	CU_ASSERT(given_check(&g, &s, conf, &f));
	listen_fini(&s);
	given_fini(&g);
	conf_unref(&conf);
}

/* Descriptors have run out: that is said, and nothing is left open. */
static void
test_no_descriptors(void)
{
	struct given g = { 0 };
	struct listen_set s;
	struct fault f = { ERR_NONE, "" };
	struct rlimit was, few;
	struct conf *conf;
	uint16_t port;
	int fd = socket_of_unit(&port), next;

	conf = conf_on(port);
	CU_ASSERT(given_add(&g, fd, "assay.socket", &f));
	CU_ASSERT_FATAL(getrlimit(RLIMIT_NOFILE, &was) == 0);
	next = dup(fd);
	close(next);
	few = was;
	/* none; then enough to look, and to open one of two */
	for (few.rlim_cur = (rlim_t)next; few.rlim_cur < (rlim_t)next + 2;
	     few.rlim_cur++) {
		f = (struct fault){ ERR_NONE, "" };
		CU_ASSERT_FATAL(setrlimit(RLIMIT_NOFILE, &few) == 0);
		CU_ASSERT(!listen_open(&s, conf, 2, NULL, &g, &f));
		CU_ASSERT_FATAL(setrlimit(RLIMIT_NOFILE, &was) == 0);
		CU_ASSERT(f.code == ERR_SYSTEM);
		CU_ASSERT(strstr(f.detail, "Too many open files") != NULL);
		CU_ASSERT(dup(fd) == next && close(next) == 0);
	}
	given_fini(&g);
	conf_unref(&conf);
}

/* One that cannot be had is not replaced by one that nobody knows of. */
static void
test_not_replaced(void)
{
	struct given g = { 0 };
	struct listen_set s;
	struct fault f = { ERR_NONE, "" };
	struct conf *conf;
	uint16_t port;
	int fd = socket_of_unit(&port);

	conf = conf_on(port);
	CU_ASSERT(given_add(&g, fd, "assay.socket", &f));
	close(fd); /* its address is free */
	CU_ASSERT(!listen_open(&s, conf, 1, NULL, &g, &f));
	CU_ASSERT(f.code == ERR_SYSTEM);
	CU_ASSERT(strstr(f.detail, "Bad file descriptor") != NULL);
	g.n = 0;
	given_fini(&g);
	conf_unref(&conf);
}

/* Somebody has shut it: it is kept, and made to listen again. */
static void
test_shut(void)
{
	struct given g = { 0 };
	struct listen_set s;
	struct fault f = { ERR_NONE, "" };
	struct conf *conf;
	uint16_t port;
	int fd = socket_of_unit(&port), is = 0;
	socklen_t n = sizeof(is);

	conf = conf_on(port);
	CU_ASSERT(shutdown(fd, SHUT_RDWR) == 0);
	CU_ASSERT(!given_add(&g, dup(fd), "assay.socket", &f));
	CU_ASSERT(strstr(f.detail, "no TCP socket that listens") != NULL);
	given_keep(&g, fd, "assay.socket");
	f = (struct fault){ ERR_NONE, "" };
	CU_ASSERT_FATAL(listen_open(&s, conf, 2, NULL, &g, &f));
	CU_ASSERT(listen_mend(&s, &f));
	CU_ASSERT(
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is, &n) == 0 && is != 0);
	listen_fini(&s);
	given_fini(&g);
	conf_unref(&conf);
}

UNIT_TESTS(proxy_given,
#ifdef HAVE_SYSTEMD
    { "what is said of them cannot be read", test_unreadable },
#endif
    { "they are used", test_used },
    { "there are no descriptors", test_no_descriptors },
    { "they are not replaced", test_not_replaced },
    { "they were shut", test_shut })
