/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The calls of libclamav, see clam_calls.h. */
#undef _FILE_OFFSET_BITS /* both names of each call: open() and open64() */
#undef _FORTIFY_SOURCE   /* which has definitions of its own */
#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "scanners/clam_calls.h"

#define LEAP 1000000000 /* seconds: further than any time limit */

/* ThreadSanitizer itself makes such calls before it can be called. */
#define BARE __attribute__((no_sanitize_thread))

static _Thread_local struct clam_calls *inside;

/* The definition behind ours; looked up once. */
#define NEXT(call)                                                          \
	static __typeof__(&call) found;                                     \
	__typeof__(&call) next = __atomic_load_n(&found, __ATOMIC_RELAXED); \
                                                                            \
	if (next == NULL) {                                                 \
		next = (__typeof__(&call))dlsym(RTLD_NEXT, #call);          \
		__atomic_store_n(&found, next, __ATOMIC_RELAXED);           \
	}

BARE static _Atomic uint64_t *
own(const struct clam_calls *c)
{
	return (&c->temp->held[c->temp->me]);
}

BARE uint64_t
clam_temp_used(const struct clam_temp *t)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < t->n; i++)
		sum += atomic_load_explicit(&t->held[i], memory_order_relaxed);
	return (sum);
}

void
clam_calls_begin(struct clam_calls *c)
{
	assert(inside == NULL);
	inside = c;
}

void
clam_calls_end(void)
{
	struct clam_calls *c = inside;

	assert(c != NULL);
	inside = NULL;
	atomic_fetch_sub(own(c), c->written);
}

struct clam_calls *
clam_calls_leave(void)
{
	struct clam_calls *c = inside;

	assert(c != NULL);
	inside = NULL;
	return (c);
}

void
clam_calls_back(struct clam_calls *c)
{
	assert(inside == NULL);
	inside = c;
}

/* A call failed; errno stays. */
BARE static void
lacks(enum clam_lack what)
{
	if (inside == NULL)
		return;
	if (errno == EMFILE || errno == ENFILE)
		what = LACK_DESCRIPTORS;
	else if (errno == ENOMEM)
		what = LACK_MEMORY;
	inside->failed[what]++;
}

/* Failures that say nothing about the file: nobody could have opened it. */
BARE static bool
is_shortage(void)
{
	return (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
	    errno == EIO);
}

/* The clock. */

/* Each time further on: libclamav may be about to compute its limit. */
BARE int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct clam_calls *c = inside;
	struct timespec now;

	(void)zone; /* obsolete, and nobody here asks for it */
	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec;
	tv->tv_usec = now.tv_nsec / 1000;
	if (c == NULL)
		return (0);
	if (c->stopped || c->stop(c->stop_arg)) {
		c->stopped = true;
		tv->tv_sec += (time_t)++c->leaps * LEAP;
	}
	return (0);
}

/* Opening and making. */

BARE static int
opened(int fd, int flags)
{
	bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;

	if (fd < 0 && ((makes && errno != EEXIST) || is_shortage()))
		lacks(LACK_SPACE);
	return (fd);
}

BARE static mode_t
mode_of(int flags, va_list ap)
{
	return ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE
		? va_arg(ap, mode_t)
		: 0);
}

#define OPEN(call)                                               \
	BARE int call(const char *path, int flags, ...)          \
	{                                                        \
		va_list ap;                                      \
		mode_t mode;                                     \
		NEXT(call)                                       \
                                                                 \
		va_start(ap, flags);                             \
		mode = mode_of(flags, ap);                       \
		va_end(ap);                                      \
		return (opened(next(path, flags, mode), flags)); \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(call)                                                  \
	BARE int call(int dir, const char *path, int flags, ...)      \
	{                                                             \
		va_list ap;                                           \
		mode_t mode;                                          \
		NEXT(call)                                            \
                                                                      \
		va_start(ap, flags);                                  \
		mode = mode_of(flags, ap);                            \
		va_end(ap);                                           \
		return (opened(next(dir, path, flags, mode), flags)); \
	}
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(call)                                                           \
	BARE FILE *call(const char *restrict path, const char *restrict mode) \
	{                                                                     \
		FILE *f;                                                      \
		NEXT(call)                                                    \
                                                                              \
		f = next(path, mode);                                         \
		if (f == NULL && (mode[0] != 'r' || is_shortage()))           \
			lacks(LACK_SPACE);                                    \
		return (f);                                                   \
	}
FOPEN(fopen)
FOPEN(fopen64)

BARE int
mkdir(const char *path, mode_t mode)
{
	int r;
	NEXT(mkdir)

	r = next(path, mode);
	if (r != 0 && errno != EEXIST)
		lacks(LACK_SPACE);
	return (r);
}

BARE int
dup(int fd)
{
	int r;
	NEXT(dup)

	r = next(fd);
	if (r < 0 && is_shortage())
		lacks(LACK_DESCRIPTORS);
	return (r);
}

BARE DIR *
opendir(const char *path)
{
	DIR *d;
	NEXT(opendir)

	d = next(path);
	if (d == NULL && is_shortage())
		lacks(LACK_DESCRIPTORS);
	return (d);
}

#define MMAP(call, off)                                                    \
	BARE void *call(void *at, size_t n, int prot, int flags, int fd,   \
	    off offset)                                                    \
	{                                                                  \
		void *p;                                                   \
		NEXT(call)                                                 \
                                                                           \
		p = next(at, n, prot, flags, fd, offset);                  \
		if (p == MAP_FAILED && (is_shortage() || errno == EAGAIN)) \
			lacks(LACK_MEMORY);                                \
		return (p);                                                \
	}
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

/* A converter that cannot be loaded leaves a text as it is. */
BARE iconv_t
iconv_open(const char *to, const char *from)
{
	iconv_t cd;
	NEXT(iconv_open)

	cd = next(to, from);
	if (cd == (iconv_t)-1 && is_shortage())
		lacks(LACK_DESCRIPTORS);
	return (cd);
}

/* Writing, which is counted. */

/* May so many bytes be written?  Else the disk is as if it were full. */
BARE static bool
may_write(size_t n)
{
	struct clam_calls *c = inside;
	uint64_t used;

	if (c == NULL)
		return (true);
	atomic_fetch_add(own(c), n);
	used = clam_temp_used(c->temp);
	if (used <= c->temp->most || c->written + n <= c->temp->sure) {
		c->written += n;
		return (true);
	}
	atomic_fetch_sub(own(c), n);
	c->failed[LACK_LIMIT]++;
	errno = ENOSPC;
	return (false);
}

BARE static void
gives_back(uint64_t n)
{
	struct clam_calls *c = inside;

	if (c == NULL)
		return;
	if (n > c->written)
		n = c->written;
	c->written -= n;
	atomic_fetch_sub(own(c), n);
}

BARE static ssize_t
wrote(ssize_t r, size_t n)
{
	if (r < 0 && errno == EINTR)
		gives_back(n);
	else if (r < 0 || (size_t)r < n)
		lacks(LACK_SPACE);
	return (r);
}

BARE ssize_t
write(int fd, const void *p, size_t n)
{
	NEXT(write)

	if (!may_write(n))
		return (-1);
	return (wrote(next(fd, p, n), n));
}

#define PWRITE(call, off)                                              \
	BARE ssize_t call(int fd, const void *p, size_t n, off offset) \
	{                                                              \
		NEXT(call)                                             \
                                                                       \
		if (!may_write(n))                                     \
			return (-1);                                   \
		return (wrote(next(fd, p, n, offset), n));             \
	}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

BARE ssize_t
writev(int fd, const struct iovec *iov, int count)
{
	size_t n = 0;
	int i;
	NEXT(writev)

	for (i = 0; i < count; i++)
		n += iov[i].iov_len;
	if (!may_write(n))
		return (-1);
	return (wrote(next(fd, iov, count), n));
}

BARE size_t
fwrite(const void *restrict p, size_t size, size_t n, FILE *restrict f)
{
	size_t r;
	NEXT(fwrite)

	if (!may_write(size * n))
		return (0);
	r = next(p, size, n, f);
	if (r < n && size > 0)
		lacks(LACK_SPACE);
	return (r);
}

BARE int
fputs(const char *restrict s, FILE *restrict f)
{
	int r;
	NEXT(fputs)

	if (!may_write(inside != NULL ? strlen(s) : 0))
		return (EOF);
	r = next(s, f);
	if (r == EOF)
		lacks(LACK_SPACE);
	return (r);
}

BARE int
fflush(FILE *f)
{
	int r;
	NEXT(fflush)

	r = next(f);
	if (r == EOF)
		lacks(LACK_SPACE);
	return (r);
}

BARE int
fclose(FILE *f)
{
	bool bad = inside != NULL && ferror(f) != 0;
	int r;
	NEXT(fclose)

	r = next(f);
	if (r == EOF || bad)
		lacks(LACK_SPACE);
	return (r);
}

BARE int
unlink(const char *path)
{
	struct stat st = { .st_size = 0 };
	int r;
	NEXT(unlink)

	if (inside != NULL && (lstat(path, &st) != 0 || st.st_nlink != 1))
		st.st_size = 0;
	r = next(path);
	if (r == 0 && st.st_size > 0)
		gives_back((uint64_t)st.st_size);
	return (r);
}

/* Reading. */

BARE static ssize_t
was_read(ssize_t r)
{
	if (r < 0 && is_shortage())
		lacks(LACK_READ);
	return (r);
}

BARE ssize_t
read(int fd, void *p, size_t n)
{
	NEXT(read)

	return (was_read(next(fd, p, n)));
}

#define PREAD(call, off)                                         \
	BARE ssize_t call(int fd, void *p, size_t n, off offset) \
	{                                                        \
		NEXT(call)                                       \
                                                                 \
		return (was_read(next(fd, p, n, offset)));       \
	}
PREAD(pread, off_t)
PREAD(pread64, off64_t)
