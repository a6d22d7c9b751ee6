/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The box of a serving process: what it covers when settings change; and that it is entered whole or, as wanted, not at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "config.h"
#include "base/asan.h"
#include "proxy/serve_box.h"
#include "t/unit/unit.h"

#ifdef __SANITIZE_THREAD__
#define TSAN 1
#else
#define TSAN 0
#endif

static char folder[] = "/tmp/assay-serve-box-XXXXXX";

static const char *
path(const char *name)
{
	static char out[8][sizeof(folder) + 64];
	static unsigned at;

	at = (at + 1) % 8;
	snprintf(out[at], sizeof(out[at]), "%s/%s", folder, name);
	return (out[at]);
}

/* Another file of that name. */
static void
put(const char *name)
{
	int fd = open(path("new"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
	    0600);

	if (fd < 0 || write(fd, "x", 1) != 1 ||
	    rename(path("new"), path(name)) != 0)
		abort();
	close(fd);
}

/* The box of a configuration: these settings, and the folders of the test. */
static struct serve_box *
box_of(const char *settings)
{
	struct conf_problems list = { 0 };
	struct serve_box *b;
	struct conf *c;
	char text[2048];

	snprintf(text, sizeof(text),
	    "state: %s\nca: {cert: %s, key: %s}\n"
	    "resolver: {hosts: %s}\n%s\n",
	    path("state"), path("keys/ca.pem"), path("keys/ca.key"),
	    path("keys/hosts"), settings);
	c = conf_parse("c", text, strlen(text), &list);
	if (c == NULL)
		conf_problems_print(&list, "c", stdout);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	b = serve_box_new(c);
	conf_unref(&c);
	conf_problems_fini(&list);
	return (b);
}

static char why[256];

/* Is a process with the first settings enough for the second ones, now? */
static bool
covers(struct serve_box *has, const char *settings)
{
	struct serve_box *wanted = box_of(settings);
	bool ok = serve_box_covers(has, wanted, why);

	serve_box_free(&wanted);
	return (ok);
}

#define NONE "services: {}"

/* Those that it names come as descriptors, whatever lies there. */
static void
test_named(void)
{
	struct serve_box *b = box_of(NONE);
	char text[512];

	CU_ASSERT_TRUE(covers(b, NONE));
	CU_ASSERT_TRUE(covers(b, NONE "\nworkers: 3\nclients: [private]"));
	snprintf(text, sizeof(text),
	    NONE "\ntls: {origin: {trust: [system, %s]}}",
	    path("trust/roots.pem"));
	CU_ASSERT_TRUE(covers(b, text));
	put("keys/hosts");
	CU_ASSERT_TRUE(covers(b, NONE));
	serve_box_free(&b);
}

/* Those of libclamav do not. */
static void
test_database(void)
{
#ifdef HAVE_CLAMAV
	bool landlock = sandbox_landlock_abi() > 0;
	const char *const
	    form = "services: {c: {url: 'clamav:%s', isolation: thread}}";
	struct serve_box *b;
	char text[512], other[512];

	snprintf(text, sizeof(text), form, path("trust"));
	snprintf(other, sizeof(other), form, path("keys"));
	b = box_of(text);
	CU_ASSERT_TRUE(covers(b, text));
	put("trust/roots.pem");
	CU_ASSERT_TRUE(covers(b, text));
	CU_ASSERT_EQUAL(covers(b, other), !landlock);
	if (landlock)
		CU_ASSERT_STRING_EQUAL(why, path("keys"));
	/* Another folder of that name. */
	CU_ASSERT_EQUAL(rename(path("trust"), path("moved")), 0);
	CU_ASSERT_EQUAL(mkdir(path("trust"), 0755), 0);
	CU_ASSERT_EQUAL(covers(b, text), !landlock);
	CU_ASSERT_EQUAL(rmdir(path("trust")), 0);
	CU_ASSERT_EQUAL(rename(path("moved"), path("trust")), 0);
	serve_box_free(&b);
#endif
}

static void
test_kinds(void)
{
#ifdef HAVE_CLAMAV
	static const char *const kinds[] = { NONE,
		"services: {c: {url: 'clamav:/tmp'}}",
		"services: {c: {url: 'clamav:/tmp', isolation: thread}}" };
	struct serve_box *b;
	unsigned i, k;

	for (i = 0; i < 3; i++) {
		b = box_of(kinds[i]);
		for (k = 0; k < 3; k++)
			/* Scan masters are the supervisor's. */
			CU_ASSERT_EQUAL(covers(b, kinds[k]),
			    (i == 2) == (k == 2));
		serve_box_free(&b);
	}
	b = box_of("sandbox: off\nservices: {}");
	for (k = 0; k < 3; k++)
		CU_ASSERT_TRUE(covers(b, kinds[k]));
	serve_box_free(&b);
#endif
}

/* A key in a token, whoever is shown it, takes the box of its module. */
static void
test_tokens(void)
{
	static const char *const whose[] = {
		"services: {c: {mode: resp, url: 'icaps://127.0.0.1/x', tls: ",
		"services: {}\nupstreams: {c: {url: 'https://p.test:1', tls: "
	};
	struct serve_box *none = box_of(NONE), *b;
	char text[2][512];
	unsigned i, k;

	for (i = 0; i < 2; i++)
		snprintf(text[i], sizeof(text[i]),
		    "%s{cert: %s, key: 'pkcs11:object=x'}}}", whose[i],
		    path("keys/ca.pem"));
	for (i = 0; i < 2; i++) {
		CU_ASSERT_FALSE(covers(none, text[i]));
		CU_ASSERT_STRING_EQUAL(why, "what it may do");
		b = box_of(text[i]);
		CU_ASSERT_FALSE(covers(b, NONE));
		for (k = 0; k < 2; k++)
			CU_ASSERT_TRUE(covers(b, text[k]));
		serve_box_free(&b);
	}
	serve_box_free(&none);
}

/* Entering. */

static void
without_landlock(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					  offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset,
		    0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0)
		abort();
}

static bool
can_open(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return (fd >= 0);
}

/* 0: in it; 1: refused to enter; more: which of its promises is broken. */
static int
enter(struct serve_box *b, bool landlock, const char *want)
{
	struct sandbox_report r;
	struct fault f = { 0 };
	char text[SANDBOX_TEXT];
	struct rlimit l;

	if (!landlock)
		without_landlock();
	if (!serve_box_enter(b, NULL, &r, &f))
		return (1);
	sandbox_text(&r, text);
	if (strncmp(text, want, strlen(want)) != 0)
		return (2);
	if (getrlimit(RLIMIT_CORE, &l) != 0 || l.rlim_max != 0)
		return (3);
	if (!can_open(path("state/tmp/x"), O_RDWR | O_CREAT) ||
	    !can_open("/dev/null", O_RDONLY) ||
	    !can_open("/proc/self/cgroup", O_RDONLY))
		return (4);
	/* Sanitizers' reports read what describes the program. */
	if (r.landlock > 0 && !ASAN_ON && !TSAN &&
	    (can_open(path("keys/ca.key"), O_RDONLY) ||
		can_open(path("keys/hosts"), O_RDONLY) ||
		can_open(path("state/crash"), O_RDONLY) ||
		can_open(path("trust/roots.pem"), O_RDONLY)))
		return (5);
	return (0);
}

static int
in_child(const char *settings, bool landlock, const char *want)
{
	struct serve_box *b = box_of(settings);
	pid_t pid;
	int how = 0;

	fflush(stdout);
	if ((pid = fork()) == 0)
		_exit(enter(b, landlock, want));
	CU_ASSERT_EQUAL(waitpid(pid, &how, 0), pid);
	serve_box_free(&b);
	return (WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how));
}

static void
test_enter(void)
{
	bool landlock = sandbox_landlock_abi() > 0;

	CU_ASSERT_EQUAL(in_child(NONE, landlock, "seccomp, "), 0);
	CU_ASSERT_EQUAL(in_child(NONE, false, "seccomp, no landlock (Func"), 0);
	CU_ASSERT_EQUAL(in_child("sandbox: require\n" NONE, false, ""), 1);
	if (landlock)
		CU_ASSERT_EQUAL(in_child("sandbox: require\n" NONE, true,
				    "seccomp, "),
		    0);
}

static void
prepare(void)
{
	static const char *const folders[] = { "state", "state/tmp", "keys",
		"trust" };
	unsigned i;

	if (mkdtemp(folder) == NULL)
		abort();
	for (i = 0; i < 4; i++)
		if (mkdir(path(folders[i]), 0755) != 0)
			abort();
	put("keys/ca.pem");
	put("keys/ca.key");
	put("keys/hosts");
	put("state/crash");
	put("trust/roots.pem");
}

int
main(void)
{
	static const struct unit_test tests[] = { { "files that it names",
						      test_named },
		{ "databases", test_database }, { "kinds", test_kinds },
		{ "tokens", test_tokens }, { "it is entered", test_enter } };
	char command[sizeof(folder) + 16];
	int r;

	prepare();
	r = unit_main("proxy_serve_box", tests,
	    sizeof(tests) / sizeof(tests[0]));
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return (system(command) == 0 ? r : 1);
}
