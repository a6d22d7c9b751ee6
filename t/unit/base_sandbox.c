/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Boxes: a child enters one, says what is in force, and tries.  What it is
 * stopped from is in base_escape.c; here is what it may, what a kernel lacks,
 * and that a layer never goes missing in silence.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/sandbox.h"
#include "t/unit/unit.h"

static char folder[] = "/tmp/assay-sandbox-XXXXXX";

static const char *
path(const char *name)
{
	static char out[8][sizeof(folder) + 64];
	static unsigned at;

	at = (at + 1) % 8;
	snprintf(out[at], sizeof(out[at]), "%s/%s", folder, name);
	return (out[at]);
}

static bool
put(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write(fd, "x", 1) == 1;

	if (fd >= 0)
		close(fd);
	return (ok);
}

static bool
can_open(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return (fd >= 0);
}

/*
 * A child that runs try: its exit status, or minus the signal that ended it.
 * What it says goes into *said.
 */
static struct sandbox_report said;

static int
in_child(int (*try)(void))
{
	struct sandbox_report *shared = mmap(NULL, sizeof(*shared),
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int how = 0;

	CU_ASSERT_FATAL(shared != MAP_FAILED);
	fflush(stdout);
	if ((pid = fork()) == 0) {
		int r = try();

		*shared = said;
		_exit(r);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &how, 0), pid);
	said = *shared;
	munmap(shared, sizeof(*shared));
	return (WIFSIGNALED(how) ? -WTERMSIG(how) : WEXITSTATUS(how));
}

static bool
enter(const struct sandbox *s)
{
	struct fault f = { 0 };
	bool ok = sandbox_drop(s, &said, &f) && sandbox_close(s, &said, &f);

	if (!ok && f.code != ERR_SYSTEM)
		abort();
	return (ok);
}

/* From now on these calls do not exist, as in an old kernel. */
static void
without(int first, int last)
{
	struct sock_filter code[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					  offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (unsigned)first, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (unsigned)last, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	/* Of every thread: a sanitizer may have one of its own. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_TSYNC, &prog) != 0)
		abort();
}

static void
without_landlock(void)
{
	without(SYS_landlock_create_ruleset, SYS_landlock_restrict_self);
}

static bool
says(const char *want)
{
	char text[SANDBOX_TEXT];

	sandbox_text(&said, text);
	if (strstr(text, want) != NULL)
		return (true);
	printf("# \"%s\", not \"%s\"\n", text, want);
	return (false);
}

/* Every box can be entered, and says so. */

static enum sandbox_box box;

static int
try_enter(void)
{
	return (enter(&(struct sandbox){ .box = box }) ? 0 : 1);
}

static void
test_enter(void)
{
	char want[64];

	for (box = 0; box < BOX_COUNT; box++) {
		CU_ASSERT_EQUAL(in_child(try_enter), 0);
		CU_ASSERT_TRUE(sandbox_report_ok(&said));
		CU_ASSERT_NOT_EQUAL(said.seccomp, SANDBOX_LIST_NONE);
		CU_ASSERT_EQUAL(said.landlock, sandbox_landlock_abi());
		snprintf(want, sizeof(want), "seccomp%s, %slandlock ",
		    box == BOX_TOKEN || box == BOX_SERVE_TOKEN
			? " of a token's module"
			: box == BOX_SERVE_CLAM ? " of libclamav"
						: "",
		    said.landlock > 0 ? "" : "no ");
		CU_ASSERT(says(want));
		CU_ASSERT(says(", user shared"));
	}
}

/* With a filter made beforehand, by a process that is in a box itself. */
static int
try_forked(void)
{
	struct fault f = { 0 };
	pid_t pid, self = getpid();
	int how;

	if (!sandbox_prepare(BOX_SCANNER, &f) ||
	    !enter(&(struct sandbox){ .box = BOX_MASTER }))
		return (1);
	if ((pid = fork()) == 0) {
		if (!enter(&(struct sandbox){ .box = BOX_SCANNER }))
			_exit(1);
		if (getpid() != self)
			raise(
			    SIGABRT); /* its own process id is in its filter */
		_exit(2);
	}
	if (waitpid(pid, &how, 0) != pid || !WIFSIGNALED(how))
		return (2);
	return (WTERMSIG(how) == SIGABRT ? 0 : WTERMSIG(how));
}

static void
test_forked(void)
{
	CU_ASSERT_EQUAL(in_child(try_forked), 0);
	CU_ASSERT_EQUAL(said.seccomp, 1);
}

/* What a kernel lacks is said, and with "require" a fault. */

static enum sandbox_mode mode;

static int
try_old_kernel(void)
{
	without_landlock();
	return (enter(&(struct sandbox){ .box = BOX_SCANNER, .mode = mode })
		? 0
		: 1);
}

static int
try_no_seccomp(void)
{
	without(SYS_seccomp, SYS_seccomp);
	return (enter(&(struct sandbox){ .box = BOX_SCANNER, .mode = mode })
		? 0
		: 1);
}

static int
try_mode(void)
{
	if (!enter(&(struct sandbox){ .box = BOX_SCANNER, .mode = mode }))
		return (1);
	return (can_open("/etc/passwd", O_RDONLY) ? 0 : 2);
}

static void
test_modes(void)
{
	mode = SANDBOX_PREFER;
	CU_ASSERT_EQUAL(in_child(try_old_kernel), 0);
	CU_ASSERT(says("seccomp, no landlock (Function not implemented)"));
	CU_ASSERT_EQUAL(in_child(try_no_seccomp), 0);
	CU_ASSERT(says("no seccomp (Function not implemented)"));
	mode = SANDBOX_REQUIRE;
	CU_ASSERT_EQUAL(in_child(try_old_kernel), 1);
	CU_ASSERT_EQUAL(in_child(try_no_seccomp), 1);
	CU_ASSERT_EQUAL(in_child(try_mode), sandbox_landlock_abi() > 0 ? 2 : 1);
	mode = SANDBOX_OFF;
	CU_ASSERT_EQUAL(in_child(try_mode), 0);
	CU_ASSERT(says("off, user shared"));
}

/* Files: these and no others. */

static int
try_files(void)
{
	const struct sandbox_path paths[] = { { path("read"), SANDBOX_READ },
		{ path("write"), SANDBOX_READ | SANDBOX_WRITE },
		{ path("one"), SANDBOX_READ },
		{ path("absent"), SANDBOX_READ } };
	const struct sandbox s = { .box = BOX_SERVE,
		.paths = paths,
		.n_paths = 4 };

	if (!enter(&s))
		return (1);
	if (!can_open(path("read/a"), O_RDONLY) ||
	    !can_open(path("one"), O_RDONLY))
		return (2);
	if (can_open(path("read/a"), O_WRONLY) || put(path("read/new")) ||
	    unlink(path("read/a")) == 0)
		return (3);
	if (!put(path("write/new")) ||
	    rename(path("write/new"), path("write/old")) != 0 ||
	    unlink(path("write/old")) != 0)
		return (4);
	return (0);
}

static int
try_outside(void)
{
	const struct sandbox_path paths[] = { { path("write"),
	    SANDBOX_READ | SANDBOX_WRITE } };
	const struct sandbox s = { .box = BOX_SERVE,
		.paths = paths,
		.n_paths = 1 };

	if (!enter(&s))
		return (1);
	if (can_open(path("one"), O_RDONLY) ||
	    can_open(path("write/../one"), O_RDONLY) ||
	    can_open(path("write/link"), O_RDONLY) ||
	    can_open("/etc/passwd", O_RDONLY) ||
	    can_open("/proc/self/mem", O_RDONLY))
		return (2);
	if (rename(path("write/a"), path("read/b")) == 0 ||
	    rename(path("read/a"), path("write/b")) == 0)
		return (3);
	return (put(path("new")) ? 4 : 0);
}

static void
test_files(void)
{
	if (sandbox_landlock_abi() == 0) {
		CU_PASS("no Landlock here");
		return;
	}
	CU_ASSERT_FATAL(mkdir(path("read"), 0700) == 0 &&
	    mkdir(path("write"), 0700) == 0 && put(path("one")) &&
	    put(path("read/a")) && put(path("write/a")) &&
	    symlink("../one", path("write/link")) == 0);
	CU_ASSERT_EQUAL(in_child(try_files), 0);
	CU_ASSERT_EQUAL(in_child(try_outside), 0);
}

/* Addresses of its own: where it says so, and never a port. */

static bool
can_bind(uint16_t port)
{
	const struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 &&
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) == 0;

	close(fd);
	return (ok);
}

static int
try_binds(void)
{
	const struct sandbox s = { .box = BOX_SERVE, .binds = true };

	if (!enter(&s))
		return (1);
	return (!can_bind(0) ? 2 : can_bind(54321) ? 3 : 0);
}

static int
try_no_binds(void)
{
	const struct sandbox s = { .box = BOX_SERVE };

	if (!enter(&s))
		return (1);
	return (can_bind(0) || can_bind(54321) ? 2 : 0);
}

static void
test_binds(void)
{
	if (sandbox_landlock_abi() < 4) {
		CU_PASS("no rights of networks here");
		return;
	}
	CU_ASSERT_EQUAL(in_child(try_binds), 0);
	CU_ASSERT_EQUAL(in_child(try_no_binds), 0);
}

/* Limits, user, capabilities. */

static uint64_t
effective(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long v = 1;
	char line[256];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "CapEff: %llx", &v) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return (v);
}

static const struct sandbox_limit limits[] = { { RLIMIT_NOFILE, 64 },
	{ RLIMIT_CORE, 0 } };
static struct sandbox_user nobody;

static int
try_drop(void)
{
	const struct sandbox s = { .box = BOX_SERVE,
		.limits = limits,
		.n_limits = 2,
		.user = geteuid() == 0 ? &nobody : NULL };
	struct fault f = { 0 };
	struct rlimit l;

	if (!sandbox_drop(&s, &said, &f))
		return (1);
	if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_max != 64 ||
	    l.rlim_cur != 64 || getrlimit(RLIMIT_CORE, &l) != 0 ||
	    l.rlim_max != 0)
		return (2);
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 ||
	    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return (3);
	if (effective() != 0)
		return (4);
	if (s.user != NULL &&
	    (getuid() != nobody.uid || getegid() != nobody.gid ||
		setuid(0) == 0))
		return (5);
	return (0);
}

/* Root, but in a container that lets nobody change users. */
static int
try_no_change(void)
{
	const struct sandbox s = { .box = BOX_SERVE,
		.mode = mode,
		.user = &nobody };
	struct fault f = { 0 };

	without(SYS_setresgid, SYS_setresgid);
	return (sandbox_drop(&s, &said, &f) ? 0 : 1);
}

static void
test_drop(void)
{
	CU_ASSERT_TRUE_FATAL(sandbox_user_find("nobody", &nobody));
	CU_ASSERT_FALSE(sandbox_user_find("no such user", &nobody));
	CU_ASSERT_STRING_EQUAL(nobody.name, "nobody");
	CU_ASSERT_EQUAL(in_child(try_drop), 0);
	CU_ASSERT_EQUAL(said.own_user, geteuid() == 0);
	CU_ASSERT(says(geteuid() == 0 ? "user nobody" : "user shared"));
	mode = SANDBOX_PREFER;
	CU_ASSERT_EQUAL(in_child(try_no_change), 0);
	CU_ASSERT(says("user shared (not nobody: "));
	mode = SANDBOX_REQUIRE;
	CU_ASSERT_EQUAL(in_child(try_no_change), 1);
}

/* Texts, and reports that are none. */
static void
test_report(void)
{
	said = (struct sandbox_report){ .seccomp = 1, .landlock = 2 };
	CU_ASSERT(says("seccomp, landlock 2 (no truncate, network, device, "
		       "signal rules), user shared"));
	said.landlock = 5;
	CU_ASSERT(says("seccomp, landlock 5 (no signal rules), user shared"));
	said.landlock = 6;
	CU_ASSERT(says("seccomp, landlock 6, user shared"));
	said.own_user = 1;
	strcpy(said.user, "assay-key");
	CU_ASSERT(says("seccomp, landlock 6, user assay-key"));
	CU_ASSERT_TRUE(sandbox_report_ok(&said));
	said.user[0] = '\n';
	CU_ASSERT_FALSE(sandbox_report_ok(&said));
	memset(said.user, 'a', sizeof(said.user));
	CU_ASSERT_FALSE(sandbox_report_ok(&said));
	said = (struct sandbox_report){ .seccomp = SANDBOX_LISTS };
	CU_ASSERT_FALSE(sandbox_report_ok(&said));
}

static int
suite(void)
{
	static const struct unit_test tests[] = { { "a box is entered",
						      test_enter },
		{ "a child of a box", test_forked },
		{ "what is missing is said", test_modes },
		{ "files", test_files }, { "binds", test_binds },
		{ "limits, user, capabilities", test_drop },
		{ "reports", test_report } };

	return (
	    unit_main("base_sandbox", tests, sizeof(tests) / sizeof(tests[0])));
}

int
main(void)
{
	char command[sizeof(folder) + 16];
	int r;

	if (mkdtemp(folder) == NULL)
		return (1);
	r = suite();
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return (system(command) == 0 ? r : 1);
}
