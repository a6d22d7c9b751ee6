/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Spill files, see spill.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "stream/body.h"
#include "stream/spill.h"

#define IOV_BATCH 64

struct spill {
	struct body_store *store;
	unsigned refs;
	int fd;
	uint64_t charged;	/* bytes counted in store->temp_used */
};

/* O_TMPFILE where the file system has it, else a name that lives a moment. */
static int
open_unlinked(const char *dir)
{
	char name[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return (fd);
	if (snprintf(name, sizeof(name), "%s/spill.XXXXXX", dir) >=
	    (int)sizeof(name)) {
		errno = ENAMETOOLONG;
		return (-1);
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		(void)unlink(name);
	return (fd);
}

struct spill *
spill_new(struct body_store *store, struct fault *f)
{
	struct spill *s;
	int fd = open_unlinked(store->temp_dir);

	if (fd < 0) {
		fault_set(f, ERR_TEMP_FULL, "%s: %s", store->temp_dir,
		    strerror(errno));
		return (NULL);
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		abort();
	s->store = store;
	s->refs = 1;
	s->fd = fd;
	atomic_fetch_add_explicit(&store->spills, 1, memory_order_relaxed);
	return (s);
}

struct spill *
spill_ref(struct spill *s)
{
	s->refs++;
	return (s);
}

void
spill_unref(struct spill **sp)
{
	struct spill *s = *sp;

	*sp = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	atomic_fetch_sub_explicit(&s->store->temp_used, s->charged,
	    memory_order_relaxed);
	close(s->fd);
	free(s);
}

static bool
charge(struct spill *s, size_t n, struct fault *f)
{
	struct body_store *store = s->store;
	uint64_t used = atomic_fetch_add_explicit(&store->temp_used, n,
	    memory_order_relaxed) + n;

	s->charged += n;
	if (used <= store->max_temp)
		return (true);
	fault_set(f, ERR_TEMP_LIMIT, "limits.temp reached");
	return (false);
}

/* Drop what pwritev has taken from the front of the vector. */
static unsigned
iov_advance(struct iovec *iov, unsigned count, size_t n)
{
	unsigned i = 0, k;

	while (i < count && n >= iov[i].iov_len)
		n -= iov[i++].iov_len;
	if (i < count) {
		iov[i].iov_base = (char *)iov[i].iov_base + n;
		iov[i].iov_len -= n;
	}
	for (k = 0; i + k < count; k++)
		iov[k] = iov[i + k];
	return (k);
}

static bool
write_all(int fd, struct iovec *iov, unsigned count, uint64_t *offset)
{
	ssize_t w;

	while (count > 0) {
		w = pwritev(fd, iov, (int)count, (off_t)*offset);
		if (w < 0 && errno == EINTR)
			continue;
		if (w == 0)
			errno = ENOSPC;
		if (w <= 0)
			return (false);
		*offset += (uint64_t)w;
		count = iov_advance(iov, count, (size_t)w);
	}
	return (true);
}

bool
spill_write(struct spill *s, const struct chq *q, size_t n, uint64_t offset,
    struct fault *f)
{
	struct iovec iov[IOV_BATCH];
	struct chq part = { 0 };
	unsigned count, i;
	size_t bytes;

	if (!charge(s, n, f))
		return (false);
	chq_share(&part, q, 0, n);
	while (n > 0) {
		count = chq_iov(&part, iov, IOV_BATCH);
		for (bytes = 0, i = 0; i < count; i++)
			bytes += iov[i].iov_len;
		if (!write_all(s->fd, iov, count, &offset)) {
			fault_set(f, ERR_TEMP_FULL, "%s: %s",
			    s->store->temp_dir, strerror(errno));
			break;
		}
		chq_drop(&part, bytes);
		n -= bytes;
	}
	chq_fini(&part);
	return (n == 0);
}

ssize_t
spill_read(const struct spill *s, void *p, size_t n, uint64_t offset)
{
	size_t got = 0;
	ssize_t r;

	while (got < n) {
		r = pread(s->fd, (char *)p + got, n - got,
		    (off_t)(offset + got));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return (-1);
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return ((ssize_t)got);
}
