/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Crash reports: every signal of a fault, in the first thread and in another
 * one, on a stack that is used up, from a call of nothing; what stands in the
 * report, and that no content does; two threads that fault at once; a report
 * that has no room; a handler that hangs.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/crash.h"
#include "base/thread.h"
#include "t/unit/unit.h"

static char text[CRASH_REPORT_MAX + 1];
static int fd;
static volatile uint32_t slot = 17;
static void (*volatile nothing)(void);
static volatile int zero;
static volatile char *volatile hole;

/* How a child ends that runs this; its report is in text then. */
static int
crash_of(void (*run)(void), size_t room)
{
	struct rlimit none = { 0, 0 };
	ssize_t n;
	pid_t pid;
	int how;

	fd = memfd_create("report", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, (off_t)room) == 0);
	CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_ADD_SEALS,
				  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
	    0);
	fflush(stdout);
	if ((pid = fork()) == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		(void)freopen("/dev/null", "w", stderr);
		crash_init(fd);
		crash_place(&slot);
		crash_note("assayd: ready: one\n", 19);
		run();
		_exit(99);
	}
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &how, 0), pid);
	n = pread(fd, text, CRASH_REPORT_MAX, 0);
	CU_ASSERT_FATAL(n >= 0);
	text[n] = '\0';
	close(fd);
	return (how);
}

static bool
says(const char *what)
{
	if (strstr(text, what) != NULL)
		return (true);
	printf("# no \"%s\" in:\n# %s\n", what, text);
	return (false);
}

static bool
ends_with(const char *what)
{
	size_t n = strlen(text), m = strlen(what);

	return (n >= m && strcmp(text + n - m, what) == 0);
}

/* How often a line begins so. */
static unsigned
lines(const char *with)
{
	const char *at = text;
	unsigned n = 0;

	while ((at = strstr(at, with)) != NULL) {
		n += at == text || at[-1] == '\n';
		at++;
	}
	return (n);
}

/* A sanitizer would say it before the processor does. */
#define RAW __attribute__((no_sanitize("address", "undefined", "thread")))

RAW static void
write_to_nothing(void)
{
	*hole = 1;
}

static void
run_out_of_file(void)
{
	int f = memfd_create("empty", 0);
	volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, f, 0);

	(void)*p;
}

RAW static void
divide(void)
{
	zero = 7 / zero;
#if !defined(__x86_64__)
	(void)raise(SIGFPE);
#endif
}

static void
assertion(void)
{
	assert(zero == 1);
}

static void
system_call(void)
{
	(void)raise(SIGSYS);
}

RAW static void
illegal(void)
{
	__builtin_trap();
}

/* Each says its name, and the process ends by that signal. */
static void
test_signals(void)
{
	static const struct {
		void (*run)(void);
		int number, other;
		const char *name;
	} of[] = { { write_to_nothing, SIGSEGV, SIGSEGV,
		       "signal SIGSEGV code " },
		{ run_out_of_file, SIGBUS, SIGBUS, "signal SIGBUS code " },
		{ divide, SIGFPE, SIGFPE, "signal SIGFPE " },
		{ illegal, SIGILL, SIGTRAP, "signal SIGILL code " },
		{ assertion, SIGABRT, SIGABRT,
		    "signal SIGABRT sent by process " },
		{ system_call, SIGSYS, SIGSYS,
		    "signal SIGSYS sent by process " } };
	unsigned i;
	int how;

	for (i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		how = crash_of(of[i].run, CRASH_REPORT_MAX);
		CU_ASSERT(WIFSIGNALED(how));
		CU_ASSERT_EQUAL(WTERMSIG(how), of[i].number);
		CU_ASSERT(says(of[i].name));
		CU_ASSERT_EQUAL(strncmp(text, "assay crash report 1\n", 21), 0);
		CU_ASSERT(ends_with("\nend\n"));
		CU_ASSERT(lines("frame ") > 1);
	}
}

static void
test_what_it_says(void)
{
	const char *own = program_invocation_short_name;
	char line[200];

	(void)crash_of(write_to_nothing, CRASH_REPORT_MAX);
	CU_ASSERT(says("\naddress 0x0\n"));
	CU_ASSERT(says("\nslot 17\n"));
	CU_ASSERT(says("\nlog assayd: ready: one\n"));
	CU_ASSERT(lines("time ") == 1);
	/* The innermost frame is where it happened, in this program. */
	snprintf(line, sizeof(line), "\nframe %s+0x", own);
	CU_ASSERT(says(line));
	CU_ASSERT_PTR_EQUAL(strstr(text, "\nframe "), strstr(text, line));
	CU_ASSERT(lines("frame ") <= CRASH_FRAMES_MAX);
	snprintf(line, sizeof(line), "\nmodule %s 0x", own);
	CU_ASSERT(says(line));
	CU_ASSERT(lines("module libc.so") == 1);
	CU_ASSERT_EQUAL(lines("perhaps "), 0);
#if defined(__x86_64__)
	CU_ASSERT_EQUAL(lines("register "), 17);
#endif
}

/* The log's last lines, in order, and no more of them. */
static void
log_much(void)
{
	char line[600];
	int i, n;

	for (i = 0; i < 1000; i++) {
		n = snprintf(line, sizeof(line), "line %d %0400d\n", i, 7);
		crash_note(line, (size_t)n);
	}
	write_to_nothing();
}

static void
test_log(void)
{
	(void)crash_of(log_much, CRASH_REPORT_MAX);
	CU_ASSERT_EQUAL(lines("log "), CRASH_LINES);
	CU_ASSERT_EQUAL(lines("log line "), CRASH_LINES);
	CU_ASSERT_EQUAL(lines("log line 935 "), 0);
	CU_ASSERT_EQUAL(lines("log line 936 "), 1);
	CU_ASSERT_EQUAL(lines("log line 999 "), 1);
	CU_ASSERT(
	    strstr(text, "log line 936 ") < strstr(text, "log line 999 "));
	CU_ASSERT_EQUAL(lines("end"), 1);
}

/* Other threads. */

static void *
fault_in_thread(void *arg)
{
	(void)arg;
	crash_place(&slot);
	write_to_nothing();
	return (NULL);
}

static void
start_and_wait(void *(*run)(void *))
{
	pthread_t id;

	if (thread_start(&id, "worker/7", run, NULL) == 0)
		(void)pthread_join(id, NULL);
}

static void
in_thread(void)
{
	start_and_wait(fault_in_thread);
}

static int
use_stack(int depth)
{
	volatile char much[4096];

	much[0] = (char)depth;
	return (depth == -1 ? 0 : use_stack(depth + 1) + much[0]);
}

static void *
run_out_of_stack(void *arg)
{
	(void)arg;
	zero = use_stack(0);
	return (NULL);
}

static void
out_of_stack(void)
{
	start_and_wait(run_out_of_stack);
}

static void
test_threads(void)
{
	int how = crash_of(in_thread, CRASH_REPORT_MAX);

	CU_ASSERT(WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV);
	CU_ASSERT(says("\nthread worker/7 ("));
	CU_ASSERT(says("\nslot 17\n"));
	how = crash_of(out_of_stack, CRASH_REPORT_MAX);
	CU_ASSERT(WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV);
	CU_ASSERT(says("\nthread worker/7 ("));
	CU_ASSERT_EQUAL(lines("frame "), CRASH_FRAMES_MAX);
	CU_ASSERT(says("\nend\n"));
}

/* A thread that has ended has given its stack back. */
static void *
do_nothing(void *arg)
{
	return (arg);
}

static void
many_threads(void)
{
	unsigned i;

	for (i = 0; i < 2000; i++)
		start_and_wait(do_nothing);
	for (i = 0; i < 3; i++)
		crash_stack_free(); /* twice is nothing */
	_exit(crash_stack_new("again") ? 0 : 1);
}

static void
test_stacks_are_given_back(void)
{
	int how = crash_of(many_threads, CRASH_REPORT_MAX);

	CU_ASSERT(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

static _Atomic unsigned at_once;

static void *
fault_with_others(void *arg)
{
	atomic_fetch_add(&at_once, 1);
	while (atomic_load(&at_once) < 8)
		;
	return (fault_in_thread(arg));
}

static void
eight_at_once(void)
{
	pthread_t id;
	unsigned i;

	for (i = 0; i < 8; i++)
		(void)thread_start(&id, "many", fault_with_others, NULL);
	for (;;)
		pause();
}

/* One report, whole. */
static void
test_faults_at_once(void)
{
	int how = crash_of(eight_at_once, CRASH_REPORT_MAX);

	CU_ASSERT(WIFSIGNALED(how));
	CU_ASSERT_EQUAL(lines("assay crash report"), 1);
	CU_ASSERT_EQUAL(lines("end"), 1);
}

/* A call of nothing has no frames; who called is found on the stack. */
static void
call_nothing(void)
{
	nothing();
}

static void
test_call_of_nothing(void)
{
	char line[200];
	int how = crash_of(call_nothing, CRASH_REPORT_MAX);

	CU_ASSERT(WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV);
	CU_ASSERT(says("\nframe 0x0\n"));
	snprintf(line, sizeof(line), "\nperhaps %s+0x",
	    program_invocation_short_name);
	CU_ASSERT(says(line));
	CU_ASSERT(says("\nend\n"));
}

/* The stack is gone, too: the report has all but that. */
static void
lose_the_stack(void)
{
#if defined(__x86_64__)
	__asm__ volatile("xor %%esp, %%esp\n\tjmp *%%rsp" ::: "memory");
#endif
}

static void
test_no_stack_to_look_at(void)
{
#if defined(__x86_64__)
	int how = crash_of(lose_the_stack, CRASH_REPORT_MAX);

	CU_ASSERT(WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV);
	CU_ASSERT(says("\nregister rsp 0x0\n"));
	CU_ASSERT(says("\nlog assayd: ready: one\n"));
#endif
}

/* What content may stand in registers is not shown. */
static void
secret_in_registers(void)
{
#if defined(__x86_64__)
	__asm__ volatile(
	    "mov $0x5345435245542121, %%rax\n\t"
	    "mov $0x544553434552, %%rbx\n\t"
	    "mov $0x1234, %%rcx\n\tmov $-7, %%rdx\n\t"
	    "mov $0x4141414141414141, %%rsi\n\tmov (%%rsi), %%rdi\n\t" ::
		: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "memory");
#endif
}

static void
test_no_content(void)
{
#if defined(__x86_64__)
	int how = crash_of(secret_in_registers, CRASH_REPORT_MAX);

	CU_ASSERT(WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV);
	CU_ASSERT(says("\nregister rax data\n"));
	CU_ASSERT(says("\nregister rbx data\n"));
	CU_ASSERT(says("\nregister rcx 0x1234\n"));
	CU_ASSERT(says("\nregister rdx 0xfffffffffffffff9\n"));
	CU_ASSERT(says("\nregister rsi data\n"));
	CU_ASSERT_PTR_NULL(strstr(text, "5345"));
	CU_ASSERT_PTR_NULL(strstr(text, "4141"));
#endif
}

/* What does not fit is cut, and never beyond the room. */
static void
test_no_room(void)
{
	int how = crash_of(write_to_nothing, 300);

	CU_ASSERT(WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV);
	CU_ASSERT_EQUAL(strncmp(text, "assay crash report 1\nsignal SIGSEGV",
			    35),
	    0);
	CU_ASSERT(strlen(text) <= 300);
}

/* A pipe that nobody reads holds up the handler: it is ended. */
static int full[2];

static void
hang(void)
{
	char much[4096] = "";

	(void)fcntl(full[1], F_SETFL, O_NONBLOCK);
	while (write(full[1], much, sizeof(much)) > 0)
		;
	(void)fcntl(full[1], F_SETFL, 0);
	crash_init(full[1]);
	write_to_nothing();
}

static void
test_a_handler_that_hangs(void)
{
	int how;

	CU_ASSERT_EQUAL_FATAL(pipe(full), 0);
	how = crash_of(hang, CRASH_REPORT_MAX);
	CU_ASSERT(WIFSIGNALED(how) && WTERMSIG(how) == SIGALRM);
	close(full[0]);
	close(full[1]);
}

UNIT_TESTS(base_crash, { "every signal of a fault", test_signals },
    { "what a report says", test_what_it_says },
    { "the last lines of the log", test_log },
    { "other threads, a stack that is used up", test_threads },
    { "stacks are given back", test_stacks_are_given_back },
    { "faults at once", test_faults_at_once },
    { "a call of nothing", test_call_of_nothing },
    { "the stack is gone", test_no_stack_to_look_at },
    { "no content in registers", test_no_content },
    { "no room for a report", test_no_room },
    { "a handler that hangs", test_a_handler_that_hangs })
