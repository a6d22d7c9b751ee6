/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors, see descriptors.h. */
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/budget.h"
#include "net/descriptors.h"

#define KEPT 16         /* for ourselves */
#define KEPT_A_WORKER 4 /* to ask for names */

static int limit = INT_MAX;
static int own; /* open before there are clients */

void
descriptors_raise(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return;
	if (r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
		(void)getrlimit(RLIMIT_NOFILE, &r);
	}
	limit = r.rlim_cur < INT_MAX ? (int)r.rlim_cur : INT_MAX;
}

bool
descriptors_short(int fd)
{
	return (fd >= limit - KEPT);
}

void
descriptors_count_own(unsigned workers)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	own = KEPT + KEPT_A_WORKER * (int)workers;
	if (fd < 0)
		return;
	own += fd; /* the lowest that is free */
	(void)close(fd);
}

void
descriptors_share(struct budget *b)
{
	uint64_t left = limit > own ? (uint64_t)(limit - own) : 0;

	budget_set_limit(b, BUDGET_CLIENTS, left / 2);
	budget_set_limit(b, BUDGET_DESCRIPTORS, left - left / 2);
}
