/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes of our own: what they are given, and what becomes of them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/spawn.h"
#include "t/unit/unit.h"

#define REPORT "test: report"
#define END "test: end"
#define WAIT "test: wait"

/* Roles: this program, started by the tests below. */

/* What is open, signals and environment, as text to the first descriptor. */
static int
role_report(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct sigaction sa;
	sigset_t mask;
	struct dirent *e;
	struct stat null, st;
	unsigned odd = 0, open_fds = 0, blocked = 0;
	int s;

	stat("/dev/null", &null);
	while ((e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(dir))
			open_fds |= 1u << atoi(e->d_name);
	closedir(dir);
	/* A handler does not outlive exec; a sanitizer brings its own. */
	for (s = 1; s < 32; s++)
		if (s != SIGKILL && s != SIGSTOP &&
		    (sigaction(s, NULL, &sa) != 0 || sa.sa_handler == SIG_IGN))
			odd++;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (s = 1; s < 32; s++)
		blocked += sigismember(&mask, s) == 1;
	dprintf(SPAWN_FD, "%x %u %u %d %s %d", open_fds, odd, blocked,
	    fstat(0, &st) == 0 && st.st_rdev == null.st_rdev,
	    getenv("HOME") != NULL ? getenv("HOME") : "-",
	    fstat(1, &st) == 0 && st.st_rdev == null.st_rdev);
	(void)!write(SPAWN_FD + 1, "2", 1);
	(void)!write(2, "errors", 6);
	return (0);
}

static int
role(const char *name)
{
	if (strcmp(name, REPORT) == 0)
		return (role_report());
	if (strcmp(name, WAIT) == 0)
		pause();
	return (strcmp(name, END) == 0 ? 7 : 0);
}

static void
read_all(int fd, char out[256])
{
	size_t n = 0;
	ssize_t r;

	while ((r = read(fd, out + n, 255 - n)) > 0)
		n += (size_t)r;
	out[n] = '\0';
	close(fd);
}

static void
report_of(bool keep_output, char *const *env, char said[256], char second[256],
    char errors[256])
{
	int one[2], two[2], err[2], how = -1;
	struct fault f = { ERR_NONE, "" };
	struct child c;

	/* Ends that lie where the other's place is, and some that leak. */
	(void)!pipe(one);
	(void)!pipe(two);
	(void)!pipe(err);
	CU_ASSERT_TRUE(spawn_start(&(struct spawn){ .role = REPORT,
				       .env = env,
				       .fd = { two[1], one[1] },
				       .n_fds = 2,
				       .keep_output = keep_output,
				       .errors = err[1] },
	    &c, &f));
	close(one[1]);
	close(two[1]);
	close(err[1]);
	read_all(two[0], said);
	read_all(one[0], second);
	read_all(err[0], errors);
	CU_ASSERT_TRUE(child_reap(&c, &how, 20000));
	CU_ASSERT(WIFEXITED(how) && WEXITSTATUS(how) == 0);
	CU_ASSERT_EQUAL(c.pid, 0);
}

static void
test_given(void)
{
	char home[] = "HOME=/else", *env[] = { home, NULL };
	char said[256], second[256], errors[256];
	int leak = open(".", O_RDONLY);

	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	report_of(false, env, said, second, errors);
	CU_ASSERT_STRING_EQUAL(said, "1f 0 29 1 /else 1");
	CU_ASSERT_STRING_EQUAL(second, "2");
	CU_ASSERT_STRING_EQUAL(errors, "errors");
	setenv("HOME", "/ours", 1);
	report_of(true, NULL, said, second, errors);
	CU_ASSERT(strncmp(said, "1f 0 29 1 /ours ", 16) == 0);
	close(leak);
}

static void
test_fate(void)
{
	struct fault f = { ERR_NONE, "" };
	struct spawn s = { .role = WAIT, .errors = -1 };
	struct child c;
	char text[80];
	int how = 0;

	CU_ASSERT_TRUE(spawn_start(&s, &c, &f));
	CU_ASSERT_FALSE(child_reap(&c, &how, 0));
	CU_ASSERT_TRUE(child_signal(&c, SIGKILL));
	CU_ASSERT_TRUE(child_reap(&c, &how, 20000));
	child_fate(how, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "was killed by signal 9 (Killed)");
	s.role = END;
	CU_ASSERT_TRUE(spawn_start(&s, &c, &f));
	CU_ASSERT_TRUE(child_reap(&c, &how, -1));
	child_fate(how, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "ended with status 7");
	CU_ASSERT_EQUAL(c.pidfd, -1);
	s.role = WAIT;
	CU_ASSERT_TRUE(spawn_start(&s, &c, &f));
	child_end(&c);
	CU_ASSERT_EQUAL(c.pid, 0);
	child_end(&c);
}

/* The program's file is the one that runs, whatever has its name now. */
static void
test_same_file(void)
{
	char self[4096], away[4200], said[256], second[256], errors[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	CU_ASSERT_FATAL(n > 0);
	self[n] = '\0';
	snprintf(away, sizeof(away), "%s.away", self);
	CU_ASSERT_EQUAL_FATAL(rename(self, away), 0);
	report_of(false, NULL, said, second, errors);
	CU_ASSERT_EQUAL(rename(away, self), 0);
	CU_ASSERT_STRING_EQUAL(second, "2");
}

/* Nothing stays behind of one that could not be started. */
static void
test_none(void)
{
	struct fault f = { ERR_NONE, "" };
	char *huge = malloc(300000), *env[] = { huge, NULL };
	int before = dup(0), after;
	struct child c;

	close(before);
	memset(huge, 'x', 299999); /* E2BIG, execve(2) */
	huge[299999] = '\0';
	CU_ASSERT_FALSE(spawn_start(&(struct spawn){ .role = END,
					.env = env,
					.errors = -1 },
	    &c, &f));
	CU_ASSERT_EQUAL(f.code, ERR_SYSTEM);
	CU_ASSERT_STRING_EQUAL(f.detail, END ": Argument list too long");
	CU_ASSERT_EQUAL(c.pid, 0);
	CU_ASSERT(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	after = dup(0);
	close(after);
	CU_ASSERT_EQUAL(before, after);
	free(huge);
}

/* From threads, at once: each child has its own. */
static void *
starter(void *arg)
{
	unsigned i, *ok = arg;
	struct fault f;
	char said[16];
	struct child c;
	int p[2], how;
	ssize_t n;

	for (i = 0; i < 20; i++) {
		f = (struct fault){ ERR_NONE, "" };
		(void)!pipe2(p, O_CLOEXEC);
		if (!spawn_start(&(struct spawn){ .role = REPORT,
				     .fd = { p[1], p[1] },
				     .n_fds = 2,
				     .errors = p[1] },
			&c, &f))
			continue;
		close(p[1]);
		while ((n = read(p[0], said, sizeof(said))) > 0)
			;
		close(p[0]); /* its end is seen: no other child had it */
		*ok += n == 0 && child_reap(&c, &how, -1) && how == 0;
	}
	return (NULL);
}

static void
test_threads(void)
{
	unsigned ok[4] = { 0 }, i;
	pthread_t t[4];

	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, starter, &ok[i]);
	for (i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		CU_ASSERT_EQUAL(ok[i], 20);
	}
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = { { "what a child is given",
						      test_given },
		{ "what becomes of it", test_fate },
		{ "it is the file that runs", test_same_file },
		{ "it cannot be started", test_none },
		{ "threads", test_threads } };

	(void)argc;
	if (strncmp(argv[0], "test: ", 6) == 0)
		return (role(argv[0]));
	spawn_init();
	return (
	    unit_main("base_spawn", tests, sizeof(tests) / sizeof(tests[0])));
}
