/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * assayctl: what people and service managers say to a running assayd, through
 * its administration socket.  A reload is asked of the supervisor by SIGHUP; that
 * it is over, and how, is what it counts (figures.def).
 *
 * Which process that is says the kernel: the supervisor has made the socket.
 * What answers is a serving process, which may have been taken over: it is not
 * asked whom to send a signal to, and its text is escaped.
 */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "config.h"
#include "base/str.h"
#include "proxy/conf/conf.h"

enum { OK = 0, PROBLEM = 1, USAGE = 2, UNREACHABLE = 3 };

#define ANSWER_MAX (4u << 20)
#define ANSWER_S 10     /* so long one answer may take ... */
#define TRY_EVERY_MS 50 /* ... and so often it is asked for again */
#define TIMEOUT_S 600   /* of a reload; assayd has its own, limits.start */

struct ctl {
	const char *file, *socket;
	bool json;
	unsigned timeout_s;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

static void
usage(FILE *to)
{
	fputs("usage: assayctl [-f FILE] [-s SOCKET] [--json] [--timeout S] "
	      "COMMAND\n"
	      "  -f FILE       the configuration, which names the socket\n"
	      "  -s SOCKET     the administration socket\n"
	      "  --json        one line of JSON\n"
	      "  --timeout S   wait so many seconds at most\n"
	      "       assayctl recipe NAME [OPTIONS]\n"
	      "commands:\n"
	      "  status        what assayd does and has counted\n"
	      "  check         look for problems in the configuration, as "
	      "assayd --check\n"
	      "  stop          end assayd as SIGTERM does, and wait until it "
	      "has ended\n"
	      "  reload        read the configuration anew; wait until it is "
	      "in force\n"
	      "  recipe nft    print rules of the packet filter for "
	      "transparent listeners;\n"
	      "                options: assayctl recipe nft --help\n",
	    to);
}

/* Finding it. */

/* As assayd finds its configuration; NULL: that has problems. */
static struct conf *
configuration(const struct ctl *c)
{
	struct conf_problems list = { 0 };
	const char *file = c->file;
	struct conf *conf;

	if (file == NULL && access(conf_default_file(), F_OK) == 0)
		file = conf_default_file();
	conf = conf_load(file, &list);
	conf_problems_print(&list, file != NULL ? file : "built-in defaults",
	    stderr);
	conf_problems_fini(&list);
	return (conf);
}

/* False: there is none, and why was said. */
static bool
find_socket(struct ctl *c)
{
	const char *given = c->socket != NULL ? c->socket
					      : getenv("ASSAY_SOCKET");
	struct conf *conf = NULL;
	char *state = NULL;
	int n;

	if (given == NULL && (conf = configuration(c)) != NULL &&
	    (given = conf->admin.socket) == NULL) {
		fprintf(stderr,
		    "assayctl: there is no socket ('admin.socket: "
		    "none')\n");
		conf_unref(&conf);
		return (false);
	}
	if (given == NULL) /* where it is when nobody says otherwise */
		state = conf_default_state_dir();
	n = given != NULL ? snprintf(c->path, sizeof(c->path), "%s", given)
			  : snprintf(c->path, sizeof(c->path), "%s/admin.sock",
				state != NULL ? state : "");
	free(state);
	conf_unref(&conf);
	if (n < (int)sizeof(c->path))
		return (true);
	fprintf(stderr, "assayctl: the socket's path is too long\n");
	return (false);
}

/* Asking. */

static int
connect_to(const struct ctl *c, pid_t *pid)
{
	struct timeval wait = { .tv_sec = ANSWER_S };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct ucred who = { 0 };
	socklen_t n = sizeof(who);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), e;

	strcpy(un.sun_path, c->path);
	if (fd < 0)
		return (-1);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0) {
		*pid = who.pid;
		return (fd);
	}
	e = errno;
	(void)close(fd);
	errno = e;
	return (-1);
}

/* NULL with errno; *pid: of the supervisor. */
static json_t *
ask(const struct ctl *c, pid_t *pid)
{
	struct buf answer = { 0 };
	char part[16384];
	json_t *j = NULL;
	ssize_t n;
	int fd = connect_to(c, pid);

	if (fd < 0)
		return (NULL);
	while ((n = read(fd, part, sizeof(part))) > 0 &&
	    answer.n + (size_t)n <= ANSWER_MAX)
		buf_add(&answer, part, (size_t)n);
	if (n == 0) {
		j = json_loadb(answer.p != NULL ? answer.p : "", answer.n,
		    JSON_REJECT_DUPLICATES, NULL);
		errno = EPROTO;
	}
	(void)close(fd);
	buf_fini(&answer);
	return (j);
}

static int
unreachable(const struct ctl *c)
{
	fprintf(stderr, "assayctl: %s: %s\n", c->path,
	    errno == EPROTO       ? "no answer that can be understood"
		: errno == EAGAIN ? "no answer in time"
				  : strerror(errno));
	return (UNREACHABLE);
}

static int
status(const struct ctl *c)
{
	pid_t pid;
	json_t *j = ask(c, &pid);
	char *text;

	if (j == NULL)
		return (unreachable(c));
	text = json_dumps(j,
	    JSON_ENSURE_ASCII | (c->json ? JSON_COMPACT : JSON_INDENT(2)));
	json_decref(j);
	if (text == NULL)
		abort();
	puts(text);
	free(text);
	return (OK);
}

/* Reload. */

struct reloads {
	json_int_t generation, begun, over;
	int last_refused;
};

static bool
read_reloads(const struct ctl *c, pid_t *pid, struct reloads *r)
{
	json_int_t taken, refused;
	json_t *j = ask(c, pid);
	bool ok;

	if (j == NULL)
		return (false);
	ok = json_unpack(j, "{s:{s:I, s:I, s:I, s:I, s:b}}", "reloads",
		 "in_force", &r->generation, "begun", &r->begun, "taken",
		 &taken, "refused", &refused, "last_refused",
		 &r->last_refused) == 0;
	json_decref(j);
	if (ok)
		r->over = taken + refused;
	else
		errno = EPROTO;
	return (ok);
}

static void
nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = TRY_EVERY_MS * 1000000L },
	    NULL);
}

static int
said(const struct ctl *c, const struct reloads *was, const struct reloads *is)
{
	if (c->json)
		printf("{\"ok\":%s,\"generation\":%lld}\n",
		    is->last_refused ? "false" : "true",
		    (long long)is->generation);
	else if (!is->last_refused)
		printf("generation %lld -> %lld\n", (long long)was->generation,
		    (long long)is->generation);
	if (is->last_refused)
		fprintf(stderr,
		    "assayctl: the reload was refused, generation "
		    "%lld is in force; the log says why\n",
		    (long long)is->generation);
	return (is->last_refused ? PROBLEM : OK);
}

/*
 * One that has begun before is not ours: that may have read the file as it was.
 * Who answers may be replaced meanwhile, and be silent for a while.
 */
static int
reload(const struct ctl *c)
{
	struct reloads was, is;
	pid_t pid, now;
	time_t end = time(NULL) + c->timeout_s;

	if (!read_reloads(c, &pid, &was))
		return (unreachable(c));
	if (kill(pid, SIGHUP) != 0) {
		fprintf(stderr, "assayctl: process %ld: %s\n", (long)pid,
		    strerror(errno));
		return (UNREACHABLE);
	}
	while (time(NULL) < end && (kill(pid, 0) == 0 || errno == EPERM)) {
		nap();
		if (read_reloads(c, &now, &is) && now == pid &&
		    is.over > was.begun)
			return (said(c, &was, &is));
	}
	fprintf(stderr, "assayctl: %s before the reload was over\n",
	    time(NULL) < end ? "assayd ended" : "time ran out");
	return (PROBLEM);
}

/* The program itself knows best: the one that lies beside this one. */
static int
check(const struct ctl *c)
{
	char path[1024];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 8);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	if ((slash = strrchr(path, '/')) != NULL)
		strcpy(slash + 1, "assayd");
	if (c->file != NULL)
		(void)execl(path, "assayd", "--check", "-f", c->file, NULL);
	else
		(void)execl(path, "assayd", "--check", NULL);
	fprintf(stderr, "assayctl: %s: %s\n", path, strerror(errno));
	return (PROBLEM);
}

/* Flows have as long as 'limits.drain' says. */
static int
stop(const struct ctl *c)
{
	struct pollfd p = { .events = POLLIN };
	pid_t pid;
	int fd = connect_to(c, &pid), r;

	if (fd < 0)
		return (unreachable(c));
	p.fd = pidfd_open(pid, 0);
	(void)close(fd);
	if (p.fd < 0 || pidfd_send_signal(p.fd, SIGTERM, NULL, 0) != 0) {
		fprintf(stderr, "assayctl: process %ld: %s\n", (long)pid,
		    strerror(errno));
		if (p.fd >= 0)
			(void)close(p.fd);
		return (UNREACHABLE);
	}
	r = poll(&p, 1,
	    c->timeout_s < INT_MAX / 1000 ? (int)c->timeout_s * 1000 : -1);
	(void)close(p.fd);
	if (r > 0 && c->json)
		puts("{\"ok\":true}");
	else if (r <= 0)
		fprintf(stderr,
		    "assayctl: time ran out before assayd had ended\n");
	return (r > 0 ? OK : PROBLEM);
}

/* Something to print, for which no assayd need run: a program beside our data. */
static int
recipe(char **argv)
{
	static char nft[] = PKGDATADIR "/recipes/nft";

	if (argv[0] == NULL || strcmp(argv[0], "nft") != 0) {
		fprintf(stderr, "assayctl: there is a recipe 'nft'\n");
		return (USAGE);
	}
	argv[0] = nft;
	(void)execv(nft, argv);
	fprintf(stderr, "assayctl: %s: %s\n", nft, strerror(errno));
	return (PROBLEM);
}

/* -1: go on, else the exit code. */
static int
read_options(struct ctl *c, int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL,
						   'j' },
		{ "timeout", required_argument, NULL, 't' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	char *end;
	int o;

	while ((o = getopt_long(argc, argv, "f:s:h", longs, NULL)) != -1)
		switch (o) {
		case 'f':
			c->file = optarg;
			break;
		case 's':
			c->socket = optarg;
			break;
		case 'j':
			c->json = true;
			break;
		case 't':
			c->timeout_s = (unsigned)strtoul(optarg, &end, 10);
			if (*end == 's')
				end++;
			if (*optarg < '0' || *optarg > '9' || *end != '\0')
				return (USAGE);
			break;
		case 'V':
			puts("assayctl " PACKAGE_VERSION);
			return (OK);
		case 'h':
			usage(stdout);
			return (OK);
		default:
			return (USAGE);
		}
	return (optind == argc - 1 ? -1 : USAGE);
}

static const struct command {
	const char *name;
	int (*run)(const struct ctl *);
	bool asks; /* the running assayd, at its socket */
} commands[] = { { "status", status, true }, { "check", check, false },
	{ "reload", reload, true }, { "stop", stop, true } };

static const struct command *
command_of(const char *name)
{
	unsigned i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return (&commands[i]);
	return (NULL);
}

int
main(int argc, char **argv)
{
	struct ctl c = { .timeout_s = TIMEOUT_S };
	const struct command *command = NULL;
	int code;

	/* What follows are its own options. */
	if (argc >= 2 && strcmp(argv[1], "recipe") == 0)
		return (recipe(argv + 2));
	code = read_options(&c, argc, argv);
	if (code < 0 && (command = command_of(argv[optind])) == NULL) {
		fprintf(stderr, "assayctl: unknown command '%s'\n",
		    argv[optind]);
		code = USAGE;
	}
	if (code == USAGE)
		usage(stderr);
	if (code >= 0)
		return (code);
	assert(command != NULL);
	if (command->asks && !find_socket(&c))
		return (UNREACHABLE);
	(void)signal(SIGPIPE, SIG_IGN);
	return (command->run(&c));
}
