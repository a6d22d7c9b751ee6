/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the supervisor counts: seen by others, and written by nobody else. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/sealed.h"
#include "proxy/figures.h"
#include "t/unit/unit.h"

static void
test_counts(void)
{
	int fd = -1;
	struct figures *own = figures_new(&fd);
	const struct figures *seen;

	CU_ASSERT_PTR_NOT_NULL_FATAL(own);
	CU_ASSERT_PTR_NOT_NULL_FATAL(seen = figures_join(fd));
	figure_add(own, FIGURE_SERVE_STARTED, 2);
	figure_add(own, FIGURE_SERVE_STARTED, 1);
	figure_set(own, FIGURE_RELOADS_REFUSED, UINT64_MAX);
	CU_ASSERT_EQUAL(figure_get(seen, FIGURE_SERVE_STARTED), 3);
	CU_ASSERT_EQUAL(figure_get(seen, FIGURE_RELOADS_REFUSED), UINT64_MAX);
	CU_ASSERT_EQUAL(figure_get(own, FIGURE_RELOADS_TAKEN), 0);
	CU_ASSERT_EQUAL(figure_get(NULL, FIGURE_RELOADS_TAKEN), 0);
	figure_add(NULL, FIGURE_RELOADS_TAKEN, 1);
	figures_free(&seen);
	CU_ASSERT_PTR_NULL(seen);
	close(fd);
	figures_free((const struct figures **)&own);
}

/* Who was taken over finds no way to write. */
static void
test_readers(void)
{
	int fd = -1;
	struct figures *own = figures_new(&fd);
	struct stat st;

	CU_ASSERT_PTR_NOT_NULL_FATAL(own);
	CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
	CU_ASSERT_EQUAL(mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, 0),
	    MAP_FAILED);
	CU_ASSERT_EQUAL(errno, EPERM);
	CU_ASSERT_EQUAL(pwrite(fd, "x", 1, 0), -1);
	CU_ASSERT_EQUAL(ftruncate(fd, 0), -1);
	CU_ASSERT_EQUAL(fallocate(fd,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    4096),
	    -1);
	CU_ASSERT_EQUAL(figure_get(own, FIGURE_SERVE_STARTED), 0);
	close(fd);
	figures_free((const struct figures **)&own);
}

/* What is not such a page is none. */
static void
test_others(void)
{
	char zeros[FIGURES * sizeof(uint64_t)] = { 0 };
	int fd = sealed_new("other", zeros, sizeof(zeros));

	CU_ASSERT_PTR_NULL(figures_join(fd)); /* it might be changed anyhow */
	close(fd);
	fd = memfd_create("other", MFD_CLOEXEC);
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)sizeof(zeros)), 0);
	CU_ASSERT_PTR_NULL(figures_join(fd));
	close(fd);
	CU_ASSERT_PTR_NULL(figures_join(-1));
}

UNIT_TESTS(proxy_figures, { "counted and seen", test_counts },
    { "readers cannot write", test_readers }, { "others", test_others })
