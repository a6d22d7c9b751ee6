/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Escapes: a process enters each box as who has taken it over would find it,
 * and tries.  Each try is made as the user that runs this, and by root also
 * as another; once with all layers and once on a kernel without Landlock.
 * What a box is made for is tried as well: a box that refuses everything would
 * pass otherwise.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
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
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/asan.h"
#include "base/sandbox.h"
#include "t/unit/escapes.h"
#include "t/unit/unit.h"

/* The box. */

static struct sandbox_user other;

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

static void
enter(enum sandbox_box box, const struct sandbox_user *user)
{
	const struct sandbox_path paths[] = { { box == BOX_TOKEN ? "/"
								 : scene.own,
	    SANDBOX_READ | SANDBOX_WRITE } };
	const struct sandbox s = { .box = box,
		.paths = paths,
		.n_paths = box == BOX_HOLDER ? 0 : 1,
		.user = user };
	struct sandbox_report r;
	struct fault f = { 0 };

	if (!sandbox_drop(&s, &r, &f) || !sandbox_close(&s, &r, &f) ||
	    !r.seccomp)
		abort();
}

enum end { REFUSED, KILLED, DONE, BROKEN };

static enum end
attempt(const struct escape *t, enum sandbox_box box,
    const struct sandbox_user *user, bool old_kernel)
{
	pid_t pid;
	int how;

	fflush(stdout);
	if ((pid = fork()) == 0) {
		if (old_kernel)
			without_landlock();
		enter(box, user);
		_exit(t->fn() ? 1 : 0);
	}
	if (waitpid(pid, &how, 0) != pid)
		return (BROKEN);
	if (WIFSIGNALED(how))
		return (WTERMSIG(how) == SIGSYS ? KILLED : BROKEN);
	return (WEXITSTATUS(how) == 1 ? DONE : REFUSED);
}

/* Files as they were before the try; a box may have been meant to do it. */
static void
lay_out(const struct sandbox_user *user)
{
	uid_t uid = user != NULL ? user->uid : geteuid();
	gid_t gid = user != NULL ? user->gid : getegid();
	char name[128];
	int fd;

	snprintf(name, sizeof(name), "%s/fetched", scene.own);
	(void)unlink(name);
	fd = open(scene.secret, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, "key", 3) != 3)
		abort();
	close(fd);
	(void)unlink("/tmp/assay-escaped");
	(void)chmod(scene.own, 0755);
	if (chown(scene.top, uid, gid) != 0 || chown(scene.own, uid, gid) != 0)
		abort();
}

static void
all_tries(const struct sandbox_user *user, bool old_kernel)
{
	unsigned abi = old_kernel ? 0 : sandbox_landlock_abi(), i, box;
	enum end end;

	for (i = 0; i < n_escapes; i++)
		for (box = 0; box < BOX_COUNT; box++) {
			const struct escape *t = &escapes[i];
			unsigned bit = 1u << box;

			/* LeakSanitizer forks and traces: wider, see needs[]. */
			if (ASAN_ON && box <= BOX_SERVE_TOKEN)
				continue;
			if (box == BOX_TOKEN && t->fn == escape_own_memory)
				continue; /* as root it may, and gains nothing */
			if ((t->by_landlock & bit) != 0 && abi < t->abi)
				continue; /* nothing prevents it: it is said */
			lay_out(user);
			end = attempt(t, box, user, old_kernel);
			if ((end == DONE) == ((t->meant & bit) != 0) &&
			    end != BROKEN)
				continue;
			printf("# %s, %s%s%s: %s\n", sandbox_box_name(box),
			    t->name, user != NULL ? ", other user" : "",
			    old_kernel ? ", no Landlock" : "",
			    end == DONE         ? "possible"
				: end == BROKEN ? "ended oddly"
						: "not possible");
			CU_FAIL("escape");
		}
	CU_PASS("all tried");
}

static void
test_as_is(void)
{
	all_tries(NULL, false);
}

static void
test_other_user(void)
{
	if (geteuid() == 0)
		all_tries(&other, false);
	else
		CU_PASS("only root becomes another user");
}

static void
test_no_landlock(void)
{
	all_tries(geteuid() == 0 ? &other : NULL, true);
}

/* What they try to reach. */

static void
make_victim(void)
{
	if ((scene.victim = fork()) == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)signal(SIGUSR1, SIG_IGN);
		if (other.name[0] != '\0' &&
		    (setresgid(other.gid, other.gid, other.gid) != 0 ||
			setresuid(other.uid, other.uid, other.uid) != 0))
			abort();
		for (;;)
			pause();
	}
	scene.victim_fd = (int)syscall(SYS_pidfd_open, scene.victim, 0);
}

static void
make_listener(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t n = sizeof(scene.tcp);
	int fd[3];

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	scene.tcp = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	if (bind(fd[0], (struct sockaddr *)&scene.tcp, n) != 0 ||
	    getsockname(fd[0], (struct sockaddr *)&scene.tcp, &n) != 0)
		abort();
	strcpy(a.sun_path, scene.door);
	if (bind(fd[1], (struct sockaddr *)&a, sizeof(a)) != 0 ||
	    chmod(scene.door, 0777) != 0)
		abort();
	memset(a.sun_path, 0, sizeof(a.sun_path));
	memcpy(a.sun_path, scene.hidden, strlen(scene.hidden + 1) + 1);
	n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
	    strlen(scene.hidden + 1) + 1);
	if (bind(fd[2], (struct sockaddr *)&a, n) != 0 ||
	    listen(fd[0], 4096) != 0 || listen(fd[1], 4096) != 0 ||
	    listen(fd[2], 4096) != 0)
		abort();
}

/* At numbers that no standard stream has. */
static void
make_descriptors(void)
{
	char name[128];

	scene.sealed = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	scene.slot = memfd_create("slot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	snprintf(name, sizeof(name), "%s/spill", scene.top);
	scene.spill = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (scene.sealed < 0 || scene.slot < 0 ||
	    write(scene.sealed, "body", 4) != 4 ||
	    ftruncate(scene.slot, 4096) != 0 ||
	    ftruncate(scene.spill, 4096) != 0 ||
	    fcntl(scene.sealed, F_ADD_SEALS,
		F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) !=
		0 ||
	    fcntl(scene.slot, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		abort();
	(void)fchmod(scene.spill, 0666);
	close(scene.spill);
	scene.spill = open(name, O_RDONLY | O_CLOEXEC);
}

static void
prepare(void)
{
	char link_name[128];

	if (mkdtemp(scene.top) == NULL)
		abort();
	if (geteuid() == 0 && !sandbox_user_find("nobody", &other))
		abort();
	snprintf(scene.own, sizeof(scene.own), "%s/own", scene.top);
	snprintf(scene.secret, sizeof(scene.secret), "%s/secret", scene.top);
	snprintf(scene.door, sizeof(scene.door), "%s/door", scene.top);
	snprintf(scene.hidden + 1, sizeof(scene.hidden) - 1, "assay-escape-%d",
	    getpid());
	snprintf(link_name, sizeof(link_name), "%s/link", scene.own);
	if (mkdir(scene.own, 0755) != 0 ||
	    symlink(scene.secret, link_name) != 0)
		abort();
	(void)chmod(scene.top, 0755);
	make_victim();
	make_listener();
	make_descriptors();
	lay_out(NULL);
}

static int
suite(void)
{
	static const struct unit_test tests[] = {
		{ "every way out of every box", test_as_is },
		{ "and as another user", test_other_user },
		{ "and without Landlock", test_no_landlock }
	};

	return (
	    unit_main("base_escape", tests, sizeof(tests) / sizeof(tests[0])));
}

int
main(void)
{
	char command[sizeof(scene.top) + 16];
	int r;

	prepare();
	r = suite();
	(void)kill(scene.victim, SIGKILL);
	(void)waitpid(scene.victim, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", scene.top);
	return (system(command) == 0 ? r : 1);
}
