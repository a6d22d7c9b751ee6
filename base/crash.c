/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Crash reports, see crash.h.  What runs inside the handler takes no lock,
 * allocates nothing and calls only what signal-safety(7) lists.
 */
#include <elf.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include "base/crash.h"

#define MODULES_MAX 128
#define NAME_MAX_BYTES 48
#define ID_MAX_BYTES 20 /* SHA-1, as ld makes it */
#define STACK_BYTES 65536
#define HANG_S 2
#define NEAR_BITS 40 /* alike in all above: near each other */
#define SMALL 65536u
#define WORDS_MAX 64 /* of the stack, looked at for return addresses */
#define OWN_FRAMES 8 /* of the handler itself, at most */

struct module {
	char name[NAME_MAX_BYTES];
	uintptr_t base; /* the load address */
	uintptr_t text, text_end;
	unsigned char id[ID_MAX_BYTES];
	unsigned id_n;
};

struct line {
	atomic_uint n;
	char text[CRASH_LINE_MAX];
};

static int report = -1;
static struct module modules[MODULES_MAX];
static unsigned n_modules;
static struct line ring[CRASH_LINES];
static atomic_uint ring_at;
static atomic_flag reporting = ATOMIC_FLAG_INIT;
static _Thread_local volatile sig_atomic_t mine;
static _Thread_local const volatile uint32_t *place;
static _Thread_local void *stack;
static _Thread_local char thread_name[16];

static const struct {
	int number;
	const char *name;
} faults[] = { { SIGSEGV, "SIGSEGV" }, { SIGBUS, "SIGBUS" },
	{ SIGILL, "SIGILL" }, { SIGFPE, "SIGFPE" }, { SIGABRT, "SIGABRT" },
	{ SIGSYS, "SIGSYS" } };

#define N_FAULTS (sizeof(faults) / sizeof(faults[0]))

/* Writing, inside the handler. */

struct out {
	char line[CRASH_LINE_MAX + 64];
	size_t n;
};

static void
put(struct out *o, const char *s)
{
	while (*s != '\0' && o->n < sizeof(o->line) - 1)
		o->line[o->n++] = *s++;
}

static void
put_number(struct out *o, uint64_t v, unsigned base)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do
		*--at = "0123456789abcdef"[v % base];
	while ((v /= base) > 0);
	if (base == 16)
		put(o, "0x");
	put(o, at);
}

static void
put_end(struct out *o)
{
	o->line[o->n++] = '\n';
	if (write(report, o->line, o->n) < 0) {
		/* Nobody is left to tell. */
	}
	o->n = 0;
}

static bool
is_near(uintptr_t v, uintptr_t of)
{
	return (v >> NEAR_BITS == of >> NEAR_BITS);
}

/* May the report show it?  Content that stood in a register is no address. */
static bool
is_shown(uintptr_t v)
{
	unsigned i;
	char here;

	if (v < SMALL || v > UINTPTR_MAX - SMALL ||
	    is_near(v, (uintptr_t)&here))
		return (true);
	for (i = 0; i < n_modules; i++)
		if (is_near(v, modules[i].base))
			return (true);
	return (false);
}

static void
put_word(struct out *o, uintptr_t v)
{
	if (is_shown(v))
		put_number(o, v, 16);
	else
		put(o, "data");
}

static const struct module *
module_of(uintptr_t at)
{
	unsigned i;

	for (i = 0; i < n_modules; i++)
		if (at >= modules[i].text && at < modules[i].text_end)
			return (&modules[i]);
	return (NULL);
}

static void
put_code(struct out *o, const char *what, uintptr_t at)
{
	const struct module *m = module_of(at);

	put(o, what);
	if (m != NULL) {
		put(o, m->name);
		put(o, "+");
		put_number(o, at - m->base, 16);
	} else
		put_word(o, at);
	put_end(o);
}

static void
put_what(struct out *o, int number, const siginfo_t *info)
{
	unsigned i;

	put(o, "assay crash report 1");
	put_end(o);
	put(o, "signal ");
	for (i = 0; i < N_FAULTS; i++)
		if (faults[i].number == number)
			put(o, faults[i].name);
	if (info->si_code <= 0) { /* kill(2), tgkill(2), sigqueue(3) */
		put(o, " sent by process ");
		put_number(o, (uint64_t)(unsigned)info->si_pid, 10);
		put_end(o);
		return;
	}
	put(o, " code ");
	put_number(o, (uint64_t)(unsigned)info->si_code, 10);
	put_end(o);
	if (number == SIGSYS) { /* seccomp(2): what it tried */
		put(o, "call ");
		put_number(o, (uint64_t)(unsigned)info->si_syscall, 10);
		put_end(o);
	}
	if (number == SIGSYS || number == SIGABRT)
		return;
	put(o, "address ");
	put_word(o, (uintptr_t)info->si_addr);
	put_end(o);
}

static void
put_where(struct out *o)
{
	struct timespec t = { 0, 0 };

	put(o, "thread ");
	put(o, thread_name);
	put(o, " (");
	put_number(o, (uint64_t)gettid(), 10);
	put(o, ")");
	put_end(o);
	(void)clock_gettime(CLOCK_REALTIME, &t);
	put(o, "time ");
	put_number(o, (uint64_t)t.tv_sec, 10);
	put_end(o);
	if (place == NULL || *place == 0)
		return;
	put(o, "slot ");
	put_number(o, *place, 10);
	put_end(o);
}

#if defined(__x86_64__)
static const struct {
	const char *name;
	int at;
} registers[] = { { "rip", REG_RIP }, { "rsp", REG_RSP }, { "rbp", REG_RBP },
	{ "rax", REG_RAX }, { "rbx", REG_RBX }, { "rcx", REG_RCX },
	{ "rdx", REG_RDX }, { "rsi", REG_RSI }, { "rdi", REG_RDI },
	{ "r8", REG_R8 }, { "r9", REG_R9 }, { "r10", REG_R10 },
	{ "r11", REG_R11 }, { "r12", REG_R12 }, { "r13", REG_R13 },
	{ "r14", REG_R14 }, { "r15", REG_R15 } };

#define REGISTER(u, i) (uintptr_t)(u)->uc_mcontext.gregs[registers[i].at]
#define PC(u) (uintptr_t)(u)->uc_mcontext.gregs[REG_RIP]
#define SP(u) (uintptr_t)(u)->uc_mcontext.gregs[REG_RSP]
#elif defined(__aarch64__)
static const struct {
	const char *name;
	int at;
} registers[] = { { "x0", 0 }, { "x1", 1 }, { "x2", 2 }, { "x3", 3 },
	{ "x4", 4 }, { "x5", 5 }, { "x6", 6 }, { "x7", 7 }, { "x8", 8 },
	{ "x16", 16 }, { "x17", 17 }, { "x19", 19 }, { "x20", 20 },
	{ "x29", 29 }, { "x30", 30 } };

#define REGISTER(u, i) (uintptr_t)(u)->uc_mcontext.regs[registers[i].at]
#define PC(u) (uintptr_t)(u)->uc_mcontext.pc
#define SP(u) (uintptr_t)(u)->uc_mcontext.sp
#else
#define PC(u) ((void)(u), (uintptr_t)0)
#define SP(u) ((void)(u), (uintptr_t)0)
#endif

/*
 * Where it happened is no frame: nothing was called that has any.  Where the
 * machine's registers are not known: behind the handler and what called it.
 */
#ifdef REGISTER
#define FRAMES_WITHOUT_PC(n) (n)
#else
#define FRAMES_WITHOUT_PC(n) (2)
#endif

static void
put_registers(struct out *o, const ucontext_t *u)
{
#ifdef REGISTER
	unsigned i;

	for (i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		put(o, "register ");
		put(o, registers[i].name);
		put(o, " ");
		put_word(o, REGISTER(u, i));
		put_end(o);
	}
#else
	(void)o;
	(void)u;
#endif
}

/* Behind the frames of the handler: the first one is where it happened. */
static void
put_frames(struct out *o, uintptr_t pc)
{
	void *at[CRASH_FRAMES_MAX + OWN_FRAMES];
	int i, first = -1;
	int n = backtrace(at, CRASH_FRAMES_MAX + OWN_FRAMES);

	for (i = 0; i < n && i < OWN_FRAMES && first < 0; i++)
		if ((uintptr_t)at[i] == pc)
			first = i;
	if (first < 0) {
		put_code(o, "frame ", pc);
		first = FRAMES_WITHOUT_PC(n);
	}
	for (i = first; i < n && i < first + CRASH_FRAMES_MAX; i++)
		put_code(o, "frame ", (uintptr_t)at[i]);
}

static void
put_modules(struct out *o)
{
	const struct module *m;
	unsigned k;

	for (m = modules; m < modules + n_modules; m++) {
		put(o, "module ");
		put(o, m->name);
		put(o, " ");
		put_number(o, m->base, 16);
		put(o, " ");
		for (k = 0; k < m->id_n; k++) {
			o->line[o->n++] = "0123456789abcdef"[m->id[k] >> 4];
			o->line[o->n++] = "0123456789abcdef"[m->id[k] & 15];
		}
		put(o, m->id_n == 0 ? "-" : "");
		put_end(o);
	}
}

static void
put_log(struct out *o)
{
	unsigned end = atomic_load(&ring_at), i, k, n;
	const struct line *l;

	for (i = end > CRASH_LINES ? end - CRASH_LINES : 0; i < end; i++) {
		l = &ring[i % CRASH_LINES];
		n = atomic_load(&l->n);
		put(o, "log ");
		for (k = 0; k < n && k < CRASH_LINE_MAX; k++)
			o->line[o->n++] = l->text[k] >= 0x20 || l->text[k] < 0
			    ? l->text[k]
			    : '?';
		put_end(o);
	}
}

/*
 * A call of nothing: who called stands on the stack.  Of what lies there only
 * addresses of code are shown.  The stack may be gone: that is a second fault,
 * so this comes last.  It looks where no variable is.
 */
__attribute__((no_sanitize("address"))) static void
put_callers(struct out *o, uintptr_t sp)
{
	const uintptr_t *word = (const uintptr_t *)sp;
	unsigned i;

	if (sp == 0 || sp % sizeof(*word) != 0)
		return;
	for (i = 0; i < WORDS_MAX; i++)
		if (module_of(word[i]) != NULL)
			put_code(o, "perhaps ", word[i]);
}

static void
write_report(int number, const siginfo_t *info, const ucontext_t *u)
{
	static struct out o; /* only one thread is let in */

	put_what(&o, number, info);
	put_where(&o);
	put_registers(&o, u);
	put_frames(&o, PC(u));
	put_modules(&o);
	put_log(&o);
	if (module_of(PC(u)) == NULL)
		put_callers(&o, SP(u));
	put(&o, "end");
	put_end(&o);
}

/* The handler. */

static void
limit_time(void)
{
	sigset_t set;

	(void)signal(SIGALRM, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	(void)alarm(HANG_S);
}

/*
 * All other signals are blocked meanwhile, so that a fault in here is final.
 * The signal is raised again with its default action, which it takes when
 * this returns.
 */
static void
on_fault(int number, siginfo_t *info, void *context)
{
	if (mine) /* abort(3) unblocks its signal */
		_exit(128 + number);
	if (atomic_flag_test_and_set(&reporting))
		for (;;)
			(void)poll(NULL, 0, -1); /* the first one ends us */
	mine = 1;
	limit_time();
	write_report(number, info, context);
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

void
crash_unblock(sigset_t *set)
{
	unsigned i;

	for (i = 0; i < N_FAULTS; i++)
		sigdelset(set, faults[i].number);
}

/* What is loaded. */

static void
note_id(struct module *m, const struct dl_phdr_info *info, const ElfW(Phdr) * p)
{
	const char *at = (const char *)(info->dlpi_addr + p->p_vaddr);
	const char *end = at + p->p_memsz, *name, *id;
	const ElfW(Nhdr) * note;

	while ((size_t)(end - at) > sizeof(*note)) {
		note = (const void *)at;
		name = at + sizeof(*note);
		id = name + (note->n_namesz + 3) / 4 * 4;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
		    memcmp(name, "GNU", 4) == 0 &&
		    note->n_descsz <= ID_MAX_BYTES) {
			memcpy(m->id, id, note->n_descsz);
			m->id_n = note->n_descsz;
		}
		at = id + (note->n_descsz + 3) / 4 * 4;
	}
}

/* The program itself comes first, and without a name. */
static void
note_name(struct module *m, const struct dl_phdr_info *info)
{
	const char *full = info->dlpi_name, *slash;

	if (full == NULL || full[0] == '\0')
		full = n_modules == 0 ? program_invocation_short_name : "?";
	slash = strrchr(full, '/');
	strncpy(m->name, slash != NULL ? slash + 1 : full, sizeof(m->name) - 1);
	m->name[strcspn(m->name,
	    ": ")] = '\0'; /* of a role ("assayd: serve") */
}

static int
note_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct module *m = &modules[n_modules];
	const ElfW(Phdr) * p;
	unsigned i;

	(void)size;
	(void)arg;
	if (n_modules == MODULES_MAX)
		return (1);
	m->base = info->dlpi_addr;
	note_name(m, info);
	for (i = 0; i < info->dlpi_phnum; i++) {
		p = &info->dlpi_phdr[i];
		if (p->p_type == PT_NOTE)
			note_id(m, info, p);
		if (p->p_type != PT_LOAD || (p->p_flags & PF_X) == 0)
			continue;
		m->text = info->dlpi_addr + p->p_vaddr;
		m->text_end = m->text + p->p_memsz;
	}
	n_modules++;
	return (0);
}

/* Stacks. */

static size_t
stack_bytes(void)
{
	long least = sysconf(_SC_MINSIGSTKSZ);

	return (STACK_BYTES + (least > 0 ? (size_t)least : 0) / 4096 * 4096);
}

bool
crash_stack_new(const char *name)
{
	stack_t s = { .ss_size = stack_bytes() };
	unsigned i;

	for (i = 0; name[i] != '\0' && i < sizeof(thread_name) - 1; i++)
		thread_name[i] = name[i] >= 0x20 && name[i] < 0x7F ? name[i]
								   : '?';
	thread_name[i] = '\0';
	if (report < 0 || stack != NULL)
		return (true);
	s.ss_sp = mmap(NULL, s.ss_size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s.ss_sp == MAP_FAILED)
		return (false);
	if (sigaltstack(&s, NULL) != 0) {
		(void)munmap(s.ss_sp, s.ss_size);
		return (false);
	}
	stack = s.ss_sp;
	return (true);
}

void
crash_stack_free(void)
{
	stack_t none = { .ss_flags = SS_DISABLE };

	if (stack == NULL || sigaltstack(&none, NULL) != 0)
		return;
	(void)munmap(stack, stack_bytes());
	stack = NULL;
}

void
crash_place(const volatile uint32_t *p)
{
	place = p;
}

void
crash_note(const char *line, size_t n)
{
	struct line *l = &ring[atomic_fetch_add(&ring_at, 1) % CRASH_LINES];

	if (n > 0 && line[n - 1] == '\n')
		n--;
	if (n > CRASH_LINE_MAX)
		n = CRASH_LINE_MAX;
	atomic_store(&l->n, 0);
	memcpy(l->text, line, n);
	atomic_store(&l->n, (unsigned)n);
}

void
crash_init(int fd)
{
	struct sigaction a = { .sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK };
	char name[17] = "";
	void *at[4];
	unsigned i;

	if (fd < 0)
		return;
	report = fd;
	(void)backtrace(at, 4); /* loads what it needs */
	n_modules = 0;
	(void)dl_iterate_phdr(note_module, NULL);
	(void)prctl(PR_GET_NAME, name);
	(void)crash_stack_new(name);
	sigfillset(&a.sa_mask);
	for (i = 0; i < N_FAULTS; i++)
		(void)sigaction(faults[i].number, &a, NULL);
}

void
crash_report_to(int fd, const char *name)
{
	if (report < 0)
		return;
	report = fd;
	(void)crash_stack_new(name);
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int
crash_report_new(void)
{
	int fd = memfd_create("assay-crash", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return (-1);
	if (ftruncate(fd, CRASH_REPORT_MAX) == 0 &&
	    fcntl(fd, F_ADD_SEALS, SEALS) == 0)
		return (fd);
	close(fd);
	return (-1);
}

bool
crash_report_is(int fd)
{
	struct stat st;

	return (fcntl(fd, F_GET_SEALS) == SEALS && fstat(fd, &st) == 0 &&
	    st.st_size == (off_t)CRASH_REPORT_MAX);
}
