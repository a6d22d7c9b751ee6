/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ways out of a box, see escapes.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/sandbox.h"
#include "t/unit/escapes.h"

#define S (1u << BOX_SERVE)
#define L (1u << BOX_SERVE_CLAM)
#define P (1u << BOX_SERVE_TOKEN)
#define K (1u << BOX_HOLDER)
#define T (1u << BOX_TOKEN)
#define M (1u << BOX_MASTER)
#define C (1u << BOX_SCANNER)
#define G (1u << BOX_FETCH)
#define FILES (S | L | P | M | C) /* boxes that open files by name */
#define READS (FILES | G)         /* and one that only reads them */
#define NETWORK (S | L | P | G | T)

struct escape_scene scene = { .top = "/tmp/assay-escape-XXXXXX" };

static bool
is_open(int fd)
{
	if (fd >= 0)
		close(fd);
	return (fd >= 0);
}

static bool
can_open(const char *name, int flags)
{
	return (is_open(open(name, flags | O_CLOEXEC, 0600)));
}

static const char *
in_own(const char *name)
{
	static char out[128];

	snprintf(out, sizeof(out), "%s/%s", scene.own, name);
	return (out);
}

/* Each: true if it got what it wanted. */

static bool
try_own_folder(void)
{
	return (can_open(in_own("mine"), O_RDWR | O_CREAT) &&
	    unlink(in_own("mine")) == 0);
}

static bool
try_passwd(void)
{
	return (can_open("/etc/passwd", O_RDONLY));
}

static bool
try_secret(void)
{
	return (can_open(scene.secret, O_RDONLY));
}

static bool
try_dots(void)
{
	return (can_open(in_own("../secret"), O_RDONLY));
}

static bool
try_symlink(void)
{
	return (can_open(in_own("link"), O_RDONLY));
}

static bool
try_new_symlink(void)
{
	return (symlink(scene.secret, in_own("fresh")) == 0);
}

static bool
try_hard_link(void)
{
	return (link(scene.secret, in_own("hard")) == 0);
}

static bool
try_fetch(void)
{
	return (rename(scene.secret, in_own("fetched")) == 0);
}

static bool
try_remove(void)
{
	return (unlink(scene.secret) == 0);
}

static bool
try_make(void)
{
	return (can_open("/tmp/assay-escaped", O_WRONLY | O_CREAT));
}

static bool
try_truncate(void)
{
	return (truncate(scene.secret, 0) == 0);
}

static bool
try_chmod(void)
{
	struct stat before, after;

	return (stat(scene.own, &before) == 0 && chmod(scene.own, 0777) == 0 &&
	    stat(scene.own, &after) == 0 && before.st_mode != after.st_mode);
}

static bool
try_chown(void)
{
	return (chown(scene.own, 1, 1) == 0);
}

static bool
try_setxattr(void)
{
	return (setxattr(scene.own, "user.x", "y", 1, 0) == 0);
}

static bool
try_mknod(void)
{
	return (mknod(in_own("device"), S_IFCHR | 0600, 0x103) == 0);
}

static bool
try_handle(void)
{
	return (syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0) >= 0 ||
	    errno == EFAULT);
}

bool
escape_own_memory(void)
{
	return (can_open("/proc/self/mem", O_RDWR));
}

static bool
try_memory_file(void)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/mem", (int)scene.victim);
	return (can_open(name, O_RDONLY));
}

static bool
try_environ(void)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/environ", (int)scene.victim);
	return (can_open(name, O_RDONLY));
}

static bool
try_inet(void)
{
	return (is_open(socket(AF_INET, SOCK_STREAM, 0)));
}

static bool
try_udp(void)
{
	return (is_open(socket(AF_INET6, SOCK_DGRAM, 0)));
}

static bool
try_unix(void)
{
	return (is_open(socket(AF_UNIX, SOCK_STREAM, 0)));
}

static bool
try_packet(void)
{
	return (is_open(socket(AF_PACKET, SOCK_RAW, 0)));
}

static bool
try_raw(void)
{
	return (is_open(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)));
}

static bool
try_netlink(void)
{
	return (is_open(socket(AF_NETLINK, SOCK_RAW, 0)));
}

static bool
try_pair(void)
{
	int fd[2];

	return (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
}

static bool
try_connect(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return (fd >= 0 &&
	    connect(fd, (struct sockaddr *)&scene.tcp, sizeof(scene.tcp)) == 0);
}

static bool
connects(const char *name, size_t n)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(a.sun_path, name, n);
	return (fd >= 0 &&
	    connect(fd, (struct sockaddr *)&a,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0);
}

static bool
try_path_socket(void)
{
	return (connects(scene.door, strlen(scene.door)));
}

static bool
try_abstract_socket(void)
{
	return (connects(scene.hidden, strlen(scene.hidden + 1) + 1));
}

static bool
try_listen(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	    listen(fd, 1) == 0);
}

static bool
try_exec(void)
{
	char *argv[] = { (char *)(uintptr_t) "true", NULL };

	return (execve("/bin/true", argv, NULL) == 0);
}

static bool
try_exec_memfd(void)
{
	char *argv[] = { (char *)(uintptr_t) "x", NULL };

	return (syscall(SYS_execveat, scene.sealed, "", argv, NULL,
		    AT_EMPTY_PATH) == 0 ||
	    errno == ENOEXEC);
}

static bool
try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return (pid > 0);
}

static bool
try_kill(void)
{
	return (kill(scene.victim, SIGUSR1) == 0);
}

static bool
try_tgkill(void)
{
	return (syscall(SYS_tgkill, scene.victim, scene.victim, SIGUSR1) == 0);
}

static bool
try_queue(void)
{
	siginfo_t i = { .si_signo = SIGUSR1, .si_code = SI_QUEUE };

	return (syscall(SYS_rt_sigqueueinfo, scene.victim, SIGUSR1, &i) == 0);
}

static bool
try_pidfd_signal(void)
{
	return (syscall(SYS_pidfd_send_signal, scene.victim_fd, SIGUSR1, NULL,
		    0) == 0);
}

static bool
try_pidfd_getfd(void)
{
	return (syscall(SYS_pidfd_getfd, scene.victim_fd, 0, 0) >= 0);
}

static bool
try_owner(void)
{
	return (fcntl(scene.sealed, F_SETOWN, scene.victim) == 0);
}

static bool
try_ptrace(void)
{
	return (ptrace(PTRACE_ATTACH, scene.victim, NULL, NULL) == 0);
}

static bool
try_traceme(void)
{
	return (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
}

static bool
try_read_memory(void)
{
	char to[8];
	struct iovec l = { to, 8 }, r = { (void *)(uintptr_t)scene.top, 8 };

	return (process_vm_readv(scene.victim, &l, 1, &r, 1, 0) == 8);
}

static bool
try_write_memory(void)
{
	char from[8] = "escaped";
	struct iovec l = { from, 8 }, r = { (void *)(uintptr_t)scene.top, 8 };

	return (process_vm_writev(scene.victim, &l, 1, &r, 1, 0) == 8);
}

static bool
try_prlimit(void)
{
	struct rlimit l = { 1, 1 };

	return (prlimit(scene.victim, RLIMIT_NOFILE, &l, NULL) == 0);
}

static bool
mapped(void *p)
{
	return (p != MAP_FAILED);
}

static bool
try_map_code(void)
{
	return (mapped(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

static bool
try_code_of_file(void)
{
	return (mapped(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE,
	    scene.sealed, 0)));
}

static bool
try_turn_to_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return (mapped(p) && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0);
}

static bool
try_key_to_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return (mapped(p) &&
	    syscall(SYS_pkey_mprotect, p, 4096, PROT_EXEC, -1) == 0);
}

static bool
try_personality(void)
{
	return (syscall(SYS_personality, 0x0400000) >= 0);
}

static bool
try_user_namespace(void)
{
	return (unshare(CLONE_NEWUSER) == 0);
}

static bool
try_clone_namespace(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL,
	    0);

	if (pid == 0)
		_exit(0);
	return (pid > 0);
}

static bool
try_clone3(void)
{
	return (syscall(SYS_clone3, NULL, 0) >= 0 || errno != ENOSYS);
}

static bool
try_setns(void)
{
	return (setns(scene.victim_fd, CLONE_NEWNET) == 0);
}

static bool
try_mount(void)
{
	return (mount("none", scene.own, "tmpfs", 0, NULL) == 0);
}

static bool
try_chroot(void)
{
	return (chroot(scene.own) == 0);
}

static bool
try_root(void)
{
	return (setresuid(0, 0, 0) == 0 && geteuid() == 0 &&
	    can_open("/etc/shadow", O_RDONLY));
}

/* A call that exists: it got past the filter if it failed for its arguments. */
static bool
reached(long r)
{
	return (
	    r >= 0 || (errno != ENOSYS && errno != EPERM && errno != EACCES));
}

static bool
try_io_uring(void)
{
	return (reached(syscall(SYS_io_uring_setup, 0, NULL)));
}

static bool
try_bpf(void)
{
	return (reached(syscall(SYS_bpf, 0, NULL, 0)));
}

static bool
try_keyctl(void)
{
	return (reached(syscall(SYS_keyctl, 0, -3, 0)));
}

static bool
try_add_key(void)
{
	return (reached(syscall(SYS_add_key, "user", "x", "y", 1, -2)));
}

static bool
try_userfaultfd(void)
{
	return (reached(syscall(SYS_userfaultfd, 0)));
}

static bool
try_perf(void)
{
	return (reached(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)));
}

static bool
try_module(void)
{
	return (reached(syscall(SYS_init_module, NULL, 0, "")));
}

static bool
try_push_input(void)
{
	return (ioctl(0, TIOCSTI, "x") == 0 || errno == ENOTTY || errno == EIO);
}

static bool
try_scheduling(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return (sched_setaffinity(scene.victim, sizeof(set), &set) == 0);
}

#ifdef __x86_64__
static bool
try_x32(void)
{
	return (syscall(0x40000000 + SYS_getpid) > 0);
}

static bool
try_int80(void)
{
	long r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "a"(20L)
			 : "memory", "r8", "r9", "r10", "r11");
	return (r > 0);
}
#endif

/* What another has sealed. */

static bool
try_sealed(void)
{
	return (write(scene.sealed, "x", 1) == 1 ||
	    ftruncate(scene.sealed, 0) == 0);
}

static bool
reopens(int fd)
{
	char name[64];
	int again;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	again = open(name, O_RDWR | O_CLOEXEC);
	return (again >= 0 && write(again, "x", 1) == 1);
}

static bool
try_reopen_sealed(void)
{
	return (reopens(scene.sealed));
}

static bool
try_reopen_spill(void)
{
	return (reopens(scene.spill));
}

static bool
try_shrink(void)
{
	return (ftruncate(scene.slot, 0) == 0);
}

const struct escape escapes[] = { { "a file in its own folder", try_own_folder,
				      FILES | T, 0, 0 },
	{ "/etc/passwd", try_passwd, T, READS, 1 },
	{ "a key file", try_secret, T, READS, 1 },
	{ "a key file by ..", try_dots, T, READS, 1 },
	{ "a key file by a link", try_symlink, T, READS, 1 },
	{ "a symbolic link", try_new_symlink, 0, 0, 0 },
	{ "a hard link", try_hard_link, 0, 0, 0 },
	{ "a file moved into reach", try_fetch, T, FILES, 1 },
	{ "a file removed", try_remove, T, FILES, 1 },
	{ "a file elsewhere", try_make, T, FILES, 1 },
	{ "truncate", try_truncate, 0, 0, 0 }, { "chmod", try_chmod, 0, 0, 0 },
	{ "chown", try_chown, 0, 0, 0 }, { "setxattr", try_setxattr, 0, 0, 0 },
	{ "mknod", try_mknod, 0, 0, 0 },
	{ "open_by_handle_at", try_handle, 0, 0, 0 },
	{ "its own memory as a file", escape_own_memory, 0, FILES, 1 },
	{ "another's memory as a file", try_memory_file, 0, READS | T, 1 },
	{ "another's environment", try_environ, 0, READS | T, 1 },
	{ "an IPv4 socket", try_inet, NETWORK, 0, 0 },
	{ "an IPv6 socket", try_udp, NETWORK, 0, 0 },
	{ "a Unix socket", try_unix, T | P, 0, 0 },
	{ "a packet socket", try_packet, 0, 0, 0 },
	{ "a raw socket", try_raw, 0, 0, 0 },
	{ "a netlink socket", try_netlink, 0, 0, 0 },
	{ "a pair of sockets", try_pair, S | L | P | M, 0, 0 },
	{ "a connection", try_connect, NETWORK, 0, 0 },
	{ "a socket in the file system", try_path_socket, T | P, 0, 0 },
	{ "an abstract socket", try_abstract_socket, 0, T | P, 6 },
	{ "a listener", try_listen, 0, 0, 0 },
	{ "another program", try_exec, 0, 0, 0 },
	{ "a program in memory", try_exec_memfd, 0, 0, 0 },
	{ "fork", try_fork, M, 0, 0 }, { "kill", try_kill, 0, 0, 0 },
	{ "tgkill", try_tgkill, 0, M, 6 },
	{ "rt_sigqueueinfo", try_queue, 0, 0, 0 },
	{ "pidfd_send_signal", try_pidfd_signal, 0, M, 6 },
	{ "pidfd_getfd", try_pidfd_getfd, 0, 0, 0 },
	{ "signals by a descriptor", try_owner, 0, 0, 0 },
	{ "ptrace", try_ptrace, 0, 0, 0 },
	{ "PTRACE_TRACEME", try_traceme, 0, 0, 0 },
	{ "process_vm_readv", try_read_memory, 0, 0, 0 },
	{ "process_vm_writev", try_write_memory, 0, 0, 0 },
	{ "another's limits", try_prlimit, 0, 0, 0 },
	{ "memory as code", try_map_code, T | P, 0, 0 },
	{ "a file as code", try_code_of_file, T | P, 0, 0 },
	{ "memory that becomes code", try_turn_to_code, 0, 0, 0 },
	{ "pkey_mprotect", try_key_to_code, 0, 0, 0 },
	{ "personality", try_personality, 0, 0, 0 },
	{ "a user namespace", try_user_namespace, 0, 0, 0 },
	{ "a user namespace by clone", try_clone_namespace, 0, 0, 0 },
	{ "clone3", try_clone3, 0, 0, 0 }, { "setns", try_setns, 0, 0, 0 },
	{ "mount", try_mount, 0, 0, 0 }, { "chroot", try_chroot, 0, 0, 0 },
	{ "root", try_root, 0, 0, 0 }, { "io_uring", try_io_uring, 0, 0, 0 },
	{ "bpf", try_bpf, 0, 0, 0 }, { "keyctl", try_keyctl, 0, 0, 0 },
	{ "add_key", try_add_key, 0, 0, 0 },
	{ "userfaultfd", try_userfaultfd, 0, 0, 0 },
	{ "perf_event_open", try_perf, 0, 0, 0 },
	{ "init_module", try_module, 0, 0, 0 },
	{ "TIOCSTI", try_push_input, 0, 0, 0 },
	{ "another's processors", try_scheduling, 0, 0, 0 },
#ifdef __x86_64__
	{ "x32", try_x32, 0, 0, 0 }, { "int 0x80", try_int80, 0, 0, 0 },
#endif
	{ "a sealed body", try_sealed, 0, 0, 0 },
	{ "a sealed body opened anew", try_reopen_sealed, 0, 0, 0 },
	{ "a spilled body opened anew", try_reopen_spill, T, FILES, 1 },
	{ "a slot that shrinks", try_shrink, 0, 0, 0 } };

const unsigned n_escapes = sizeof(escapes) / sizeof(escapes[0]);
