/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lists of sandbox.def as filters.  libseccomp writes one, which takes 160
 * us; the bytes are kept, so that a process that is forked many times loads
 * them only.  Entry by the 32-bit and x32 tables ends a process: libseccomp
 * checks the architecture first.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/asan.h"
#include "base/sandbox_priv.h"

/* Whose needs a rule is for; the letters of sandbox.def. */
enum need { S = 1, G = 2, K = 4, T = 8, M = 16, C = 32, Z = 64 };

#define SERVES (S | (ASAN_ON ? Z : 0u))
static const unsigned needs[BOX_COUNT] = {
	[BOX_SERVE] = SERVES,
	[BOX_SERVE_CLAM] = SERVES | C,
	[BOX_SERVE_TOKEN] = SERVES | T | C,
	[BOX_FETCH] = G,
	[BOX_HOLDER] = K,
	[BOX_TOKEN] = T,
	[BOX_MASTER] = M,
	[BOX_SCANNER] = C,
};

#define INT UINT64_C(0xffffffff) /* the kernel looks at no more */
#define PTR UINT64_MAX
#define OPEN_WRITES (O_ACCMODE | O_CREAT | O_TRUNC)
#define OWN_PID 0x5a17c0deu /* stands for it until a filter is loaded */
#define FILTER_MOST 4096    /* BPF_MAXINSNS */

#ifdef __s390__
#define CLONE_FLAGS 1 /* clone(2): its first two are swapped there */
#else
#define CLONE_FLAGS 0
#endif

/* Namespaces: where the kernel believes anybody to be root. */
#define NEW_SPACES                                                     \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | \
	    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

struct rule {
	int call;
	unsigned needs, action, n_cmp;
	struct scmp_arg_cmp cmp[2];
};

#define IF(n, mask, value)                         \
	{                                          \
		n, SCMP_CMP_MASKED_EQ, mask, value \
	}

static const struct rule rules[] = {
#define RULE(name, in, what, n, ...) \
	{ .call = SCMP_SYS(name),    \
		.needs = in,         \
		.action = what,      \
		.n_cmp = n,          \
		.cmp = { __VA_ARGS__ } },
#define A(call, boxes) RULE(call, boxes, SCMP_ACT_ALLOW, 0, { 0 })
#define E(call, boxes, err) RULE(call, boxes, SCMP_ACT_ERRNO(err), 0, { 0 })
#define W(call, boxes, n, mask, value) \
	RULE(call, boxes, SCMP_ACT_ALLOW, 1, IF(n, mask, value))
#define V(call, boxes, n, mask, value, n2, mask2, value2)        \
	RULE(call, boxes, SCMP_ACT_ALLOW, 2, IF(n, mask, value), \
	    IF(n2, mask2, value2))
#define F(call, boxes, n, mask, value, err) \
	RULE(call, boxes, SCMP_ACT_ERRNO(err), 1, IF(n, mask, value))
#define O(call, boxes) W(call, boxes, 0, INT, OWN_PID)
#define X(call, boxes) RULE(call, boxes, SCMP_ACT_TRAP, 0, { 0 })
#include "base/sandbox.def"
};

/* Filters that have been made; n = 0: not yet. */
static struct made {
	unsigned n;
	struct sock_filter *code; /* owned, for good */
} made[BOX_COUNT];

#define N_RULES (sizeof(rules) / sizeof(rules[0]))

/*
 * What stands nowhere.  Serving is refused it, as by a kernel that does not
 * have the call: libraries take another way then, and what is an attack is
 * listed.  The others make few calls, and all are known.
 */
static uint32_t
otherwise(enum sandbox_box box)
{
	return ((needs[box] & S) != 0 ? SCMP_ACT_ERRNO(ENOSYS)
				      : SCMP_ACT_KILL_PROCESS);
}

/* Of two rules for a call in one box the one that lets more through counts. */
static unsigned
width(const struct rule *r)
{
	return (r->n_cmp > 0 ? 1 : r->action == SCMP_ACT_ALLOW ? 2 : 0);
}

static bool
overrules(const struct rule *a, const struct rule *b)
{
	if (width(a) != width(b))
		return (width(a) > width(b));
	return (a->action == SCMP_ACT_ALLOW && b->action != SCMP_ACT_ALLOW &&
	    memcmp(a->cmp, b->cmp, sizeof(a->cmp)) == 0);
}

static bool
is_overruled(const struct rule *r, unsigned needed)
{
	unsigned i;

	for (i = 0; i < N_RULES; i++)
		if (rules[i].call == r->call &&
		    (rules[i].needs & needed) != 0 && overrules(&rules[i], r))
			return (true);
	return (false);
}

static int
add_rules(scmp_filter_ctx ctx, enum sandbox_box box)
{
	const struct rule *r;
	unsigned i;
	int err;

	for (i = 0; i < N_RULES; i++) {
		r = &rules[i];
		if ((r->needs & needs[box]) == 0 ||
		    r->action == otherwise(box) || is_overruled(r, needs[box]))
			continue;
		err = seccomp_rule_add_array(ctx, r->action, r->call, r->n_cmp,
		    r->cmp);
		if (err < 0)
			return (-err);
	}
	return (0);
}

/* The filter's bytes as libseccomp writes them into a file. */
static int export(scmp_filter_ctx ctx, struct made *out)
{
	size_t most = FILTER_MOST * sizeof(*out->code);
	int fd = memfd_create("filter", MFD_CLOEXEC), err;
	ssize_t n = 0;

	if (fd < 0)
		return (errno);
	if ((out->code = malloc(most)) == NULL)
		abort();
	err = -seccomp_export_bpf(ctx, fd);
	if (err == 0 && (n = pread(fd, out->code, most, 0)) <= 0)
		err = n < 0 ? errno : EIO;
	close(fd);
	if (err != 0)
		free(out->code);
	else
		out->n = (unsigned)((size_t)n / sizeof(*out->code));
	return (err);
}

static int
make(enum sandbox_box box)
{
	scmp_filter_ctx ctx;
	int err;

	if (made[box].n > 0)
		return (0);
	if ((ctx = seccomp_init(otherwise(box))) == NULL)
		return (ENOSYS); /* it asks the kernel for that action */
	err = -seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH,
	    SCMP_ACT_KILL_PROCESS);
	if (err == 0)
		err = add_rules(ctx, box);
	if (err == 0)
		err = export(ctx, &made[box]);
	seccomp_release(ctx);
	assert(err >= 0 && (err == 0) == (made[box].n > 0));
	return (err);
}

bool
sandbox_prepare(enum sandbox_box box, struct fault *f)
{
	int err = make(box);

	assert(box < BOX_COUNT);
	if (err != 0)
		fault_set(f, ERR_SYSTEM, "filter of %s: %s",
		    sandbox_box_name(box), strerror(err));
	return (err == 0);
}

static void
put_own_pid(struct sock_filter *code, unsigned n)
{
	uint32_t pid = (uint32_t)getpid();
	unsigned i;

	for (i = 0; i < n; i++)
		if (BPF_CLASS(code[i].code) == BPF_JMP && code[i].k == OWN_PID)
			code[i].k = pid;
}

/* TSYNC: threads that a library has begun are bound as well. */
int
sandbox_seccomp(enum sandbox_box box)
{
	struct sock_fprog prog;
	int err = make(box);
	long r;

	if (err != 0)
		return (err);
	assert(made[box].n <= FILTER_MOST);
	put_own_pid(made[box].code, made[box].n);
	prog = (struct sock_fprog){ .len = (unsigned short)made[box].n,
		.filter = made[box].code };
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	    SECCOMP_FILTER_FLAG_TSYNC, &prog);
	if (r == 0)
		return (0);
	return (
	    r < 0 ? errno : EBUSY); /* > 0: a thread that could not follow */
}
