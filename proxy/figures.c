/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the supervisor counts, see figures.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "proxy/figures.h"

#define SIZE sizeof(struct figures)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

struct figures {
	atomic_uint_least64_t v[FIGURES];
};

struct figures *
figures_new(int *fd)
{
	void *p = MAP_FAILED;

	*fd = memfd_create("figures", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd >= 0 && ftruncate(*fd, SIZE) == 0)
		p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd,
		    0);
	/* What is mapped already stays writable. */
	if (p != MAP_FAILED && fcntl(*fd, F_ADD_SEALS, SEALS) == 0)
		return (p);
	if (p != MAP_FAILED)
		(void)munmap(p, SIZE);
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	return (NULL);
}

const struct figures *
figures_join(int fd)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) != 0 || (size_t)st.st_size != SIZE ||
	    fcntl(fd, F_GET_SEALS) != SEALS)
		return (NULL);
	p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	return (p != MAP_FAILED ? p : NULL);
}

void
figures_free(const struct figures **fp)
{
	if (*fp != NULL)
		(void)munmap((void *)(uintptr_t)*fp, SIZE);
	*fp = NULL;
}

void
figure_add(struct figures *f, enum figure which, uint64_t n)
{
	if (f != NULL)
		atomic_fetch_add_explicit(&f->v[which], n,
		    memory_order_relaxed);
}

void
figure_set(struct figures *f, enum figure which, uint64_t n)
{
	if (f != NULL)
		atomic_store_explicit(&f->v[which], n, memory_order_relaxed);
}

uint64_t
figure_get(const struct figures *f, enum figure which)
{
	return (f == NULL
		? 0
		: atomic_load_explicit(&f->v[which], memory_order_relaxed));
}
