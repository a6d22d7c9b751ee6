/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sealed memory, see sealed.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/sealed.h"
#include "base/str.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static bool
write_all(int fd, const char *p, size_t n)
{
	ssize_t r;

	for (; n > 0; p += r, n -= (size_t)r)
		if ((r = write(fd, p, n)) <= 0) {
			if (r == 0 || errno != EINTR)
				return (false);
			r = 0;
		}
	return (true);
}

int
sealed_begin(const char *name)
{
	return (memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

bool
sealed_end(int fd)
{
	return (fcntl(fd, F_ADD_SEALS, SEALS) == 0);
}

int
sealed_new(const char *name, const void *p, size_t n)
{
	int fd = sealed_begin(name), e;

	if (fd < 0 || (write_all(fd, p, n) && sealed_end(fd)))
		return (fd);
	e = errno;
	(void)close(fd);
	errno = e;
	return (-1);
}

bool
sealed_is(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return (seals >= 0 && (seals & SEALS) == SEALS);
}

bool
sealed_read(int fd, struct buf *out, size_t max)
{
	struct stat st;
	char piece[4096];
	off_t at = 0;
	ssize_t r;

	errno = EPROTO;
	if (!sealed_is(fd) || fstat(fd, &st) != 0 || st.st_size < 0 ||
	    (uintmax_t)st.st_size > max)
		return (false);
	/* The position is shared with other processes: it is not used. */
	while ((r = pread(fd, piece, sizeof(piece), at)) > 0) {
		buf_add(out, piece, (size_t)r);
		at += r;
	}
	return (r == 0 && at == st.st_size);
}
