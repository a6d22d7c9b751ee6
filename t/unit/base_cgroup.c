/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of control groups as machines and containers show them: version 2
 * and 1, nested, with and without a namespace; what is used.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cgroup.h"
#include "t/unit/unit.h"

#define M (1024u * 1024u)

static char root[64];

static void
begin(void)
{
	snprintf(root, sizeof(root), "/tmp/assay-cgroup-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
}

static void
end(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -r %s", root);
	CU_ASSERT_EQUAL(system(command), 0);
}

/* Write a file, with its folders. */
static void
put(const char *name, const char *text)
{
	char path[PATH_MAX], *at;
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", root, name);
	for (at = path + strlen(root) + 1; *at != '\0'; at++)
		if (*at == '/') {
			*at = '\0';
			(void)mkdir(path, 0755);
			*at = '/';
		}
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static uint64_t
limit(void)
{
	struct cgroup_memory m;
	uint64_t max;

	cgroup_memory_find(&m, root);
	CU_ASSERT_EQUAL(m.limit == CGROUP_UNLIMITED, m.usage < 0);
	max = m.limit;
	cgroup_memory_fini(&m);
	return (max);
}

#define V2_MOUNT                                                            \
	"31 23 0:28 / /sys rw - sysfs sysfs rw\n"                           \
	"29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 " \
	"rw,nsdelegate\n"

static void
test_version_2(void)
{
	begin();
	CU_ASSERT_EQUAL(limit(), CGROUP_UNLIMITED);
	put("/proc/self/cgroup", "0::/system.slice/assay.service\n");
	CU_ASSERT_EQUAL(limit(), CGROUP_UNLIMITED);
	put("/proc/self/mountinfo", V2_MOUNT);
	CU_ASSERT_EQUAL(limit(), CGROUP_UNLIMITED);
	put("/sys/fs/cgroup/system.slice/assay.service/memory.max", "max\n");
	CU_ASSERT_EQUAL(limit(), CGROUP_UNLIMITED);
	put("/sys/fs/cgroup/system.slice/memory.current", "5\n");
	put("/sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
	CU_ASSERT_EQUAL(limit(), 1024u * M);
	put("/sys/fs/cgroup/system.slice/assay.service/memory.current", "5\n");
	put("/sys/fs/cgroup/system.slice/assay.service/memory.max",
	    "536870912\n");
	CU_ASSERT_EQUAL(limit(), 512u * M);
	put("/sys/fs/cgroup/system.slice/memory.max", "268435456\n");
	CU_ASSERT_EQUAL(limit(), 256u * M);
	/* Not what stands beside the way up. */
	put("/sys/fs/cgroup/user.slice/memory.max", "4096\n");
	put("/sys/memory.max", "4096\n");
	CU_ASSERT_EQUAL(limit(), 256u * M);
	end();
}

/* A container: its group is the root that it sees, or a path that is not. */
static void
test_containers(void)
{
	static const char *const paths[] = { "0::/\n", "0::/../../other\n",
		"0::/docker/0123\n" };
	unsigned i;

	for (i = 0; i < 3; i++) {
		begin();
		put("/proc/self/cgroup", paths[i]);
		put("/proc/self/mountinfo",
		    i < 2
			? V2_MOUNT
			: "29 23 0:26 /docker/0123 /sys/fs/cgroup ro - cgroup2 "
			  "cgroup rw\n");
		put("/sys/fs/cgroup/memory.current", "5\n");
		put("/sys/fs/cgroup/memory.max", "268435456\n");
		CU_ASSERT_EQUAL(limit(), 256u * M);
		end();
	}
}

static void
test_version_1(void)
{
	begin();
	put("/proc/self/cgroup", "5:cpu,memory:/a/b\n1:name=x:/\n0::/\n");
	put("/proc/self/mountinfo",
	    "34 31 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	    "35 31 0:32 / /sys/fs/cgroup/mem rw - cgroup cgroup rw,cpu,memory\n"
	    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/mem/a/b/memory.limit_in_bytes",
	    "9223372036854771712\n");
	put("/sys/fs/cgroup/mem/a/memory.limit_in_bytes",
	    "9223372036854771712\n");
	CU_ASSERT_EQUAL(limit(), CGROUP_UNLIMITED);
	put("/sys/fs/cgroup/mem/a/memory.usage_in_bytes", "7\n");
	put("/sys/fs/cgroup/mem/a/memory.limit_in_bytes", "134217728\n");
	CU_ASSERT_EQUAL(limit(), 128u * M);
	end();
}

static void
test_used(void)
{
	struct cgroup_memory m;
	uint64_t used;

	begin();
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", V2_MOUNT);
	put("/sys/fs/cgroup/memory.max", "268435456\n");
	put("/sys/fs/cgroup/memory.current", "200000000\n");
	put("/sys/fs/cgroup/memory.stat",
	    "anon 1\nfile 99\ninactive_file 50000000\nactive_file 1000000\n");
	cgroup_memory_find(&m, root);
	CU_ASSERT(cgroup_memory_used(&m, &used));
	CU_ASSERT_EQUAL(used, 149000000);
	/* It is read anew each time. */
	put("/sys/fs/cgroup/memory.current", "210000000\n");
	CU_ASSERT(cgroup_memory_used(&m, &used));
	CU_ASSERT_EQUAL(used, 159000000);
	put("/sys/fs/cgroup/memory.stat",
	    "inactive_file 5\ntotal_inactive_file 1000\ntotal_active_file "
	    "24\n");
	CU_ASSERT(cgroup_memory_used(&m, &used));
	CU_ASSERT_EQUAL(used, 210000000 - 1024);
	put("/sys/fs/cgroup/memory.current", "100\n");
	CU_ASSERT(cgroup_memory_used(&m, &used));
	CU_ASSERT_EQUAL(used, 0);
	put("/sys/fs/cgroup/memory.current", "");
	CU_ASSERT_FALSE(cgroup_memory_used(&m, &used));
	cgroup_memory_fini(&m);
	CU_ASSERT_FALSE(cgroup_memory_used(&m, &used));
	end();
}

/* Nothing that may stand there is followed or overrun. */
static void
test_odd(void)
{
	static char text[60000];
	unsigned i;

	begin();
	put("/proc/self/cgroup", ":\n0\n::\n0::\n");
	put("/proc/self/mountinfo",
	    "1\n1 2 3\n1 2 3 4 5\n1 2 3 4 5 - \n"
	    "1 2 3 / /sys/fs/cgroup a - cgroup2\n");
	CU_ASSERT_EQUAL(limit(), CGROUP_UNLIMITED);
	for (i = 0; i < 200; i++) {
		memset(text, 'x', sizeof(text) - 1);
		memcpy(text, "0::/", 4);
		text[unit_random(sizeof(text) - 1)] = '/';
		text[4 + unit_random(9000)] = '\n';
		put("/proc/self/cgroup", text);
		memcpy(text, V2_MOUNT, strlen(V2_MOUNT));
		put("/proc/self/mountinfo", text);
		CU_ASSERT_EQUAL(limit(), CGROUP_UNLIMITED);
	}
	end();
}

UNIT_TESTS(base_cgroup, { "version 2, nested", test_version_2 },
    { "containers", test_containers }, { "version 1", test_version_1 },
    { "what is used", test_used }, { "odd files", test_odd })
