/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A serving process that was taken over says what it likes: the supervisor goes
 * on, hears its signals, and serves with another one.  This program is the
 * supervisor, and what it starts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "config.h"
#include "base/spawn.h"
#include "certs/keyholder.h"
#include "proxy/message.h"
#include "proxy/serve.h"
#include "proxy/supervisor.h"
#include "scanners/clam_master.h"
#include "t/unit/unit.h"

#define WHICH "ASSAY_TEST_ATTACK"
#define FOLDER "ASSAY_TEST_FOLDER"

/* The process that was taken over. */

static bool
say_with(enum message_kind kind, uint32_t number, const char *text, int fd)
{
	struct message m = { .kind = kind, .number = number };

	(void)snprintf(m.text, sizeof(m.text), "%s", text);
	return (channel_send(SERVE_CHANNEL, &m, sizeof(m), &fd, fd >= 0, -1) ==
	    CHANNEL_DONE);
}

static bool
say(enum message_kind kind, uint32_t number, const char *text)
{
	return (say_with(kind, number, text, -1));
}

/* How many of its kind there were before. */
static long
lives(void)
{
	char name[200];
	long n;
	int fd;

	(void)snprintf(name, sizeof(name), "%s/lives", getenv(FOLDER));
	fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
	n = lseek(fd, 0, SEEK_END);
	(void)!write(fd, "x", 1);
	close(fd);
	return (n);
}

/* The sockets that it is given, until SETUP; 0: not one, or none of use. */
static unsigned
take_sockets(void (*use)(int fd))
{
	unsigned n = 0;
	struct message m;
	int fd;

	do {
		if (message_receive(SERVE_CHANNEL, MESSAGE_SUPERVISOR, &m, &fd,
			60000) != CHANNEL_DONE)
			return (0);
		if (m.kind == MESSAGE_LISTENER &&
		    (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0) {
			n++;
			if (use != NULL)
				use(fd);
		}
		if (fd >= 0)
			close(fd);
	} while (m.kind != MESSAGE_SETUP);
	return (n);
}

/* Until it is told to end. */
static int
live(void)
{
	struct message m;
	int fd;

	while (message_receive(SERVE_CHANNEL, MESSAGE_SUPERVISOR, &m, &fd,
		   60000) == CHANNEL_DONE) {
		if (m.kind == MESSAGE_DRAIN)
			return (0);
		if (fd >= 0)
			close(fd);
	}
	return (0);
}

static int
behave(void)
{
	if (take_sockets(NULL) == 0)
		return (SERVE_EXIT_LOST);
	say(MESSAGE_READY, 1, "");
	return (live());
}

/* It waits for room in the channel itself: there is always a next message. */
static int
flood(void)
{
	(void)fcntl(SERVE_CHANNEL, F_SETFL, 0);
	(void)!fork();
	(void)!fork();
	while (say(MESSAGE_READY, 1, ""))
		;
	return (0);
}

static void
nap(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

/* What it was not asked for is in force, it says, and dies. */
static int
ready_ahead(void)
{
	unsigned i;

	if (lives() > 0)
		return (behave());
	say(MESSAGE_READY, 1, "");
	for (i = 0; i < 2000 && getppid() > 1; i++) {
		say(MESSAGE_READY, 2, "");
		nap(1);
	}
	return (0);
}

static int
want_keys(void)
{
	unsigned i;

	(void)fcntl(SERVE_CHANNEL, F_SETFL, 0);
	say(MESSAGE_READY, 1, "");
	for (i = 0; i < 200; i++)
		say(MESSAGE_WANT_KEYS, 1, "");
	fprintf(stderr, "has asked\n");
	return (behave());
}

/* Of masters that are its own, and of others; then it is as good as any. */
static int
want_scans(void)
{
	unsigned i;

	(void)fcntl(SERVE_CHANNEL, F_SETFL, 0);
	say(MESSAGE_READY, 1, "");
	for (i = 0; i < 2000; i++)
		say(MESSAGE_WANT_SCANS, i % 4, "");
	fprintf(stderr, "has asked\n");
	return (behave());
}

static int
deaf(void)
{
	if (lives() > 0)
		return (behave());
	say(MESSAGE_READY, 1, "");
	pause();
	return (0);
}

/* Its successors have the same sockets. */
static void
shut(int fd)
{
	(void)fcntl(fd, F_SETFL, 0);
	(void)shutdown(fd, SHUT_RDWR);
}

static int
shut_sockets(void)
{
	if (lives() > 0)
		return (behave());
	(void)take_sockets(shut);
	say(MESSAGE_READY, 1, "");
	return (1);
}

/* Nobody reaches those after it. */
static void
filter(int fd)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog prog = { 1, &none };
	static const int options[] = { SO_ATTACH_FILTER,
		SO_ATTACH_REUSEPORT_CBPF };
	int off = 0;
	unsigned i;

	(void)setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &off, sizeof(off));
	for (i = 0; i < 2; i++)
		if (setsockopt(fd, SOL_SOCKET, options[i], &prog,
			sizeof(prog)) == 0)
			fprintf(stderr, "attached\n");
}

static int
filters(void)
{
	if (take_sockets(filter) == 0)
		return (SERVE_EXIT_LOST);
	say(MESSAGE_READY, 1, "");
	fprintf(stderr, "has tried\n");
	return (live());
}

/* To close it takes as long as its sender likes. */
static int
lingering(void)
{
	struct linger l = { 1, 1000 };
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int door = socket(AF_INET, SOCK_STREAM, 0), fd;
	static char some[65536];

	if (lives() > 0)
		return (behave());
	say(MESSAGE_READY, 1, "");
	(void)bind(door, (struct sockaddr *)&a, n);
	(void)listen(door, 1);
	(void)getsockname(door, (struct sockaddr *)&a, &n);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	(void)connect(fd, (struct sockaddr *)&a, n);
	while (send(fd, some, sizeof(some), MSG_DONTWAIT) > 0)
		;
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	kill(getppid(), SIGSTOP); /* so that it closes last */
	say_with(MESSAGE_READY, 1, "", fd);
	say_with(MESSAGE_READY, 1, "", fd);
	(void)dup2(STDERR_FILENO, fd);
	kill(getppid(), SIGCONT);
	pause();
	return (0);
}

/* Twenty thousand lines; it waits for room, and forges none. */
static int
loud(void)
{
	unsigned i;

	(void)fcntl(STDERR_FILENO, F_SETFL, 0);
	say(MESSAGE_READY, 1, "");
	for (i = 0; i < 20000; i++)
		fprintf(stderr, "loud \033[31m %u\rassayd: forged\n", i);
	return (behave());
}

static const struct {
	const char *name;
	int (*run)(void);
} attacks[] = { { "flood", flood }, { "ready ahead", ready_ahead },
	{ "want keys", want_keys }, { "want scans", want_scans },
	{ "deaf", deaf }, { "shut", shut_sockets }, { "linger", lingering },
	{ "loud", loud }, { "filters", filters } };

static int
attack(void)
{
	unsigned i;

	for (i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		if (strcmp(attacks[i].name, getenv(WHICH)) == 0)
			return (attacks[i].run());
	return (99);
}

/* The supervisor, in a folder of its own. */

struct rig {
	char folder[64], conf[128], log[128];
	pid_t pid;
};

static void
write_conf(const struct rig *r, const char *more)
{
	FILE *f = fopen(r->conf, "w");

	fprintf(f, "state: %s\nlisten: [{ on: \"127.0.0.1:0\" }]\n%s%s",
	    r->folder,
#ifdef HAVE_CLAMAV
	    "services: { clam: { url: \"clamav:" SRCDIR "/etc/testdb\" } }\n",
#else
	    "",
#endif
	    more);
	fclose(f);
}

/* As often as it can be asked: the machine may be slow. */
static bool
comes(bool (*is_so)(const struct rig *, const char *), const struct rig *r,
    const char *what)
{
	unsigned i;

	for (i = 0; i < 3000; i++) {
		if (is_so(r, what))
			return (true);
		nap(10);
	}
	printf("# never: %s\n", what);
	return (false);
}

static unsigned
count_in_log(const struct rig *r, const char *what)
{
	static char text[1 << 20];
	int fd = open(r->log, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	unsigned found = 0;
	const char *at;

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (at = text; (at = strstr(at, what)) != NULL; at++)
		found++;
	return (found);
}

static bool
is_logged(const struct rig *r, const char *what)
{
	return (count_in_log(r, what) > 0);
}

static bool
has_ended(const struct rig *r, const char *how)
{
	int status = -1;

	return (waitpid(r->pid, &status, WNOHANG) == r->pid &&
	    (strcmp(how, "by status 0") != 0 || status == 0));
}

static void
become_supervisor(const struct rig *r)
{
	char *argv[] = { (char *)(uintptr_t) "assayd", (char *)(uintptr_t) "-f",
		(char *)(uintptr_t)r->conf, NULL };
	int log = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	(void)dup2(log, STDERR_FILENO);
	(void)dup2(log, STDOUT_FILENO);
	exit(supervisor_main(3, argv));
}

static void
rig_start(struct rig *r, const char *which)
{
	(void)snprintf(r->folder, sizeof(r->folder), "/tmp/taken-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(r->folder));
	(void)snprintf(r->conf, sizeof(r->conf), "%s/conf", r->folder);
	(void)snprintf(r->log, sizeof(r->log), "%s/log", r->folder);
	write_conf(r, "");
	setenv(WHICH, which, 1);
	setenv(FOLDER, r->folder, 1);
	fflush(NULL);
	r->pid = fork();
	if (r->pid == 0)
		become_supervisor(r);
}

static void
rig_end(const struct rig *r)
{
	char command[200];
	bool ended;

	kill(r->pid, SIGTERM);
	ended = comes(has_ended, r, "by status 0");
	CU_ASSERT_TRUE(ended);
	(void)snprintf(command, sizeof(command),
	    ended && getenv("KEEP") == NULL ? "rm -r %s" : "cat %s/log",
	    r->folder);
	if (!ended)
		kill(r->pid, SIGKILL);
	(void)!system(command);
}

/* So many processes of that role. */
static unsigned
of_role(const struct rig *r, const char *which)
{
	char name[64], text[4096], *at, *end, role[32];
	unsigned n = 0;
	ssize_t size;
	long pid;
	int fd;

	(void)snprintf(name, sizeof(name), "/proc/%ld/task/%ld/children",
	    (long)r->pid, (long)r->pid);
	fd = open(name, O_RDONLY);
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[size > 0 ? size : 0] = '\0';
	for (at = text; (pid = strtol(at, &end, 10)) > 0; at = end) {
		(void)snprintf(name, sizeof(name), "/proc/%ld/cmdline", pid);
		fd = open(name, O_RDONLY);
		size = read(fd, role, sizeof(role) - 1);
		close(fd);
		role[size > 0 ? size : 0] = '\0';
		n += strcmp(role, which) == 0;
	}
	return (n);
}

static void
test_flood(void)
{
	struct rig r;

	rig_start(&r, "flood");
	CU_ASSERT_TRUE(comes(is_logged, &r, "ready"));
	rig_end(&r);
}

static void
test_filters(void)
{
	struct rig r;

	rig_start(&r, "filters");
	CU_ASSERT_TRUE(comes(is_logged, &r, "has tried"));
	CU_ASSERT_EQUAL(count_in_log(&r, "attached"), 0);
	rig_end(&r);
}

/* Some of what it says is logged, escaped, and of the rest how much it was. */
static void
test_loud(void)
{
	struct rig r;
	unsigned n;

	rig_start(&r, "loud");
	CU_ASSERT_TRUE(comes(is_logged, &r, "more lines that it said"));
	CU_ASSERT_TRUE(
	    comes(is_logged, &r, "loud \\x1b[31m 7\\x0dassayd: forged\n"));
	n = count_in_log(&r, "assayd: serve: loud ");
	CU_ASSERT(n >= 50 && n < 2000);
	CU_ASSERT_EQUAL(count_in_log(&r, "\nassayd: forged"), 0);
	rig_end(&r);
}

static void
test_ready_ahead(void)
{
	struct rig r;

	rig_start(&r, "ready ahead");
	CU_ASSERT_TRUE(comes(is_logged, &r, "ready"));
	kill(r.pid, SIGHUP);
	CU_ASSERT_TRUE(comes(is_logged, &r, "ms after the one before"));
	rig_end(&r);
}

/* One master, however often; it is not ended for that. */
static void
test_want_scans(void)
{
	struct rig r;
	unsigned i, n, most = 0;

	rig_start(&r, "want scans");
	CU_ASSERT_TRUE(comes(is_logged, &r, "has asked"));
	for (i = 0; i < 50; i++) {
		n = of_role(&r, "assayd: clam");
		most = n > most ? n : most;
		nap(1);
	}
	CU_ASSERT(most <= 1);
	rig_end(&r);
}

static void
test_want_keys(void)
{
	struct rig r;
	unsigned i, n, most = 0;

	rig_start(&r, "want keys");
	CU_ASSERT_TRUE(comes(is_logged, &r, "has asked"));
	for (i = 0; i < 50; i++) {
		n = of_role(&r, KEYHOLDER_ROLE);
		most = n > most ? n : most;
		nap(1);
	}
	if (most > 2)
		printf("# %u key holders\n", most);
	CU_ASSERT(most <= 2);
	rig_end(&r);
}

static void
test_deaf(void)
{
	struct rig r;
	unsigned i;

	rig_start(&r, "deaf");
	CU_ASSERT_TRUE(comes(is_logged, &r, "ready"));
	write_conf(&r, "workers: 3\n");
	for (i = 0; i < 6000 && !is_logged(&r, "and is ended"); i++) {
		kill(r.pid, SIGUSR1);
		nap(2);
	}
	CU_ASSERT_TRUE(is_logged(&r, "and is ended"));
	CU_ASSERT_TRUE(comes(is_logged, &r, "ms after the one before"));
	rig_end(&r);
}

static void
test_shut(void)
{
	struct rig r;

	rig_start(&r, "shut");
	CU_ASSERT_TRUE(comes(is_logged, &r, "ready"));
	CU_ASSERT_TRUE(comes(is_logged, &r, "ms after the one before"));
	CU_ASSERT_FALSE(is_logged(&r, "keeps dying"));
	rig_end(&r);
}

static void
test_linger(void)
{
	struct rig r;

	rig_start(&r, "linger");
	CU_ASSERT_TRUE(comes(is_logged, &r, "ready"));
	CU_ASSERT_TRUE(comes(is_logged, &r, "ms after the one before"));
	rig_end(&r);
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		{ "it never stops talking", test_flood },
		{ "ready before it was asked", test_ready_ahead },
		{ "it wants keys again and again", test_want_keys },
		{ "it wants scanners again and again", test_want_scans },
		{ "it does not listen", test_deaf },
		{ "it shuts the sockets", test_shut },
		{ "it sends what lingers", test_linger },
		{ "it says very much", test_loud },
		{ "it filters", test_filters },
	};

	spawn_init();
	if (strcmp(argv[0], SERVE_ROLE) == 0)
		return (attack());
	if (strcmp(argv[0], KEYHOLDER_ROLE) == 0)
		return (keyholder_main(argc, argv));
#ifdef HAVE_CLAMAV
	if (strcmp(argv[0], CLAM_MASTER_ROLE) == 0)
		return (clam_master_main(argc, argv));
#endif
	if (strncmp(argv[0], "assayd: ", 8) == 0)
		return (
		    1); /* a role that no test is about: never a test again */
	return (unit_main("proxy_takenover", tests,
	    sizeof(tests) / sizeof(tests[0])));
}
