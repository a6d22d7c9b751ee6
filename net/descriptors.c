/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors, see descriptors.h. */
#include <limits.h>
#include <sys/resource.h>
#include "net/descriptors.h"

#define KEPT 16			/* for ourselves */

static int limit = INT_MAX;

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
descriptors_short(int fd, enum descriptor_use use)
{
	int kept = KEPT;

	if (use == DESCRIPTOR_CLIENT)
		kept += limit / 2;
	return (fd >= limit - kept);
}
