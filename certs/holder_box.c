/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key holder's box (base/sandbox.h).  It reads the CA's files first, and
 * nothing hostile before it is inside: its owner alone asks until then.
 * A key in a token has a wider box, because what its module opens, and where
 * it connects, is not ours to know: files and sockets, threads, but no other
 * program, no other process, and root's rights only over the modes of files.
 */
#include <assert.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/asan.h"
#include "base/sandbox.h"
#include "certs/holder_priv.h"
#include "certs/keyholder.h"

#define OWN_USER "assay-key"
#define DESCRIPTORS 64
#define MEMORY (UINT64_C(256) << 20)
#define CA_FILE 65536

static const struct sandbox_limit at_start[] = { { RLIMIT_CORE, 0 },
	{ RLIMIT_NOFILE, DESCRIPTORS }, { RLIMIT_FSIZE, CA_FILE },
#if !ASAN_ON && !defined(__SANITIZE_THREAD__)
	{ RLIMIT_AS, MEMORY }, /* of sanitizers the shadow alone is more */
#endif
	{ RLIMIT_MEMLOCK, MEMORY } };

/* It writes nothing any more, and starts nothing. */
static const struct sandbox_limit with_key[] = { { RLIMIT_FSIZE, 0 },
	{ RLIMIT_NPROC, 0 } };

static const struct sandbox_path everywhere[] = { { "/",
    SANDBOX_READ | SANDBOX_WRITE } };

bool
holder_limits(struct fault *f)
{
	return (sandbox_limits(at_start, sizeof(at_start) / sizeof(at_start[0]),
	    f));
}

/* Where the key is, if no more may be locked. */
static bool
lock_heap(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from = 0, to = 0;
	char line[512];
	bool ok = false;

	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
		if (strstr(line, "[heap]") != NULL &&
		    sscanf(line, "%lx-%lx", &from, &to) == 2)
			ok = mlock((void *)from, to - from) == 0;
	if (maps != NULL)
		(void)fclose(maps);
	return (ok);
}

/*
 * As pages are touched: the libraries that it has and does not use are some
 * 60 MB.  Before the user changes, whose right it is.
 */
static bool
lock_memory(void)
{
	return (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0 ||
	    lock_heap());
}

static const struct sandbox_user *
own_user(struct sandbox_user *u)
{
	if (geteuid() != 0)
		return (NULL);
	if (!sandbox_user_find(OWN_USER, u) && !sandbox_user_find("nobody", u))
		*u = (struct sandbox_user){ .uid = 65534,
			.gid = 65534,
			.name = "65534" };
	return (u);
}

/*
 * No PR_SET_PDEATHSIG: it strikes when the *thread* that started us ends, and
 * that may be a signer of a pool.  The end of the socket says it better.
 */
bool
holder_enter(struct holder *h)
{
	struct sandbox_user user;
	struct sandbox s = { .box = BOX_HOLDER,
		.mode = sandbox_mode(),
		.limits = with_key,
		.n_limits = 2 };
	struct fault f = { ERR_NONE, "" };

	if (h->in_token) {
		s = (struct sandbox){ .box = BOX_TOKEN,
			.mode = s.mode,
			.capabilities = UINT64_C(1) << CAP_DAC_OVERRIDE,
			.paths = everywhere,
			.n_paths = 1 };
	} else
		s.user = own_user(&user);
	if (!lock_memory() && s.mode == SANDBOX_REQUIRE)
		return (holder_fail(h,
		    "memory of the key cannot be locked "
		    "(RLIMIT_MEMLOCK)"));
	if (!sandbox_drop(&s, &h->report, &f) ||
	    !sandbox_close(&s, &h->report, &f))
		return (holder_fail(h, "%s", f.detail));
	assert(s.mode == SANDBOX_OFF || s.mode != SANDBOX_REQUIRE ||
	    h->report.seccomp);
	return (true);
}
