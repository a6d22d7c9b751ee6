/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Landlock: no files but those named, TCP only where a box has a network, and
 * there no address to listen on; no signal and no abstract socket to anybody
 * outside.  The kernel's header may
 * be older than the kernel (Debian 12: ABI 2 in both, but backports run), so
 * the definitions are here, and the call is asked what there is.
 * linux: Documentation/userspace-api/landlock.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/sandbox_priv.h"

#define ABI_MOST 7        /* what is known here */
#define CREATE_VERSION 1u /* LANDLOCK_CREATE_RULESET_VERSION */
#define RULE_PATH 1       /* LANDLOCK_RULE_PATH_BENEATH */
#define RULE_PORT 2       /* LANDLOCK_RULE_NET_PORT */

/* LANDLOCK_ACCESS_FS_*, in the order of their bits. */
enum {
	EXECUTE = 1 << 0,
	WRITE_FILE = 1 << 1,
	READ_FILE = 1 << 2,
	READ_DIR = 1 << 3,
	REMOVE_DIR = 1 << 4,
	REMOVE_FILE = 1 << 5,
	MAKE_DIR = 1 << 7,
	MAKE_REG = 1 << 8,
	REFER = 1 << 13,
	TRUNCATE = 1 << 14,
	IOCTL_DEV = 1 << 15
};

#define OF_FILES (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV)
#define OF_WRITE                                                               \
	(WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | \
	    TRUNCATE)

/* How many rights each ABI knows. */
static const struct {
	unsigned char fs, net, scopes;
} known[ABI_MOST + 1] = { [1] = { 13, 0, 0 },
	[2] = { 14, 0, 0 },
	[3] = { 15, 0, 0 },
	[4] = { 15, 2, 0 },
	[5] = { 16, 2, 0 },
	[6] = { 16, 2, 2 },
	[7] = { 16, 2, 2 } };

/* struct landlock_ruleset_attr: a kernel takes one it knows no end of, if zero. */
struct ruleset {
	uint64_t fs, net, scopes;
};

#define NET_BIND 1u /* LANDLOCK_ACCESS_NET_BIND_TCP */

struct port_rule { /* struct landlock_net_port_attr */
	uint64_t allowed, port;
};

struct path_rule { /* struct landlock_path_beneath_attr */
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

static uint64_t
first(unsigned n)
{
	return ((UINT64_C(1) << n) - 1);
}

unsigned
sandbox_landlock_abi(void)
{
	long v = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);

	return (v <= 0 ? 0 : v > ABI_MOST ? ABI_MOST : (unsigned)v);
}

static uint64_t
rights(unsigned may, bool folder)
{
	uint64_t all = (may & SANDBOX_READ ? READ_FILE | READ_DIR : 0) |
	    (may & SANDBOX_WRITE ? OF_WRITE : 0) |
	    (may & SANDBOX_RUN ? EXECUTE : 0);

	return (folder ? all : all & OF_FILES);
}

static int
add_path(int set, const struct sandbox_path *p, uint64_t handled)
{
	struct path_rule rule;
	struct stat st;
	int err = 0;

	if ((rule.fd = open(p->path, O_PATH | O_CLOEXEC)) < 0)
		return (0); /* what it cannot reach it need not be allowed */
	if (fstat(rule.fd, &st) != 0)
		err = errno;
	else {
		rule.allowed = handled & rights(p->may, S_ISDIR(st.st_mode));
		if (rule.allowed != 0 &&
		    syscall(SYS_landlock_add_rule, set, RULE_PATH, &rule, 0) !=
			0)
			err = errno;
	}
	close(rule.fd);
	return (err);
}

static int
add_paths(int set, const struct sandbox *s, uint64_t handled)
{
	unsigned i;
	int err = 0;

	for (i = 0; i < s->n_paths && err == 0; i++)
		err = add_path(set, &s->paths[i], handled);
	return (err);
}

/* Port 0 is the kernel's choice of one: none that others expect. */
static int
add_bind(int set, const struct sandbox *s, uint64_t handled)
{
	const struct port_rule rule = { .allowed = NET_BIND };

	if (!s->binds || (handled & NET_BIND) == 0)
		return (0);
	return (syscall(SYS_landlock_add_rule, set, RULE_PORT, &rule, 0) == 0
		? 0
		: errno);
}

/* Network rights that a box has, beside the descriptors it is given. */
static const uint64_t net_rights[BOX_COUNT] = {
	[BOX_SERVE] = ~(uint64_t)NET_BIND,
	[BOX_SERVE_CLAM] = ~(uint64_t)NET_BIND,
	[BOX_SERVE_TOKEN] = ~(uint64_t)0, /* its module's affair */
	[BOX_FETCH] = ~(uint64_t)NET_BIND,
	[BOX_TOKEN] = ~(uint64_t)0,
};

int
sandbox_landlock(const struct sandbox *s, unsigned *abi)
{
	unsigned v = sandbox_landlock_abi();
	struct ruleset what = { .fs = first(known[v].fs),
		.net = first(known[v].net) & ~net_rights[s->box],
		.scopes = first(known[v].scopes) };
	size_t size = v >= 6 ? sizeof(what) : v >= 4 ? 16 : 8;
	int set, err;

	if (v == 0)
		return (errno != 0 ? errno : ENOSYS);
	set = (int)syscall(SYS_landlock_create_ruleset, &what, size, 0);
	if (set < 0)
		return (errno);
	if ((err = add_paths(set, s, what.fs)) == 0 &&
	    (err = add_bind(set, s, what.net)) == 0 &&
	    syscall(SYS_landlock_restrict_self, set, 0) != 0)
		err = errno;
	close(set);
	if (err == 0)
		*abi = v;
	return (err);
}
