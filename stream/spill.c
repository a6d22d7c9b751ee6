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
#include "base/budget.h"
#include "stream/body.h"
#include "stream/spill.h"

#define IOV_BATCH 1024 /* IOV_MAX of Linux */

struct spill {
	struct body_store *store;
	unsigned refs;
	int fd;
	struct account *account; /* counted; NULL: nobody's */
	uint64_t charged;        /* bytes taken from it */
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
spill_new(struct body_store *store, struct account *a, struct fault *f)
{
	struct spill *s;
	int fd;

	if (!account_take(a, BUDGET_DESCRIPTORS, 1)) {
		fault_set(f, ERR_DESCRIPTORS,
		    "this client has its share of them");
		return (NULL);
	}
	fd = open_unlinked(store->temp_dir);
	if (fd < 0) {
		account_give(a, BUDGET_DESCRIPTORS, 1);
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
	s->account = account_ref(a);
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
	account_give(s->account, BUDGET_TEMP, s->charged);
	account_give(s->account, BUDGET_DESCRIPTORS, 1);
	account_unref(&s->account);
	close(s->fd);
	free(s);
}

bool
spill_write_init(struct spill_write *w, struct spill *s, const struct chq *q,
    size_t n, uint64_t offset, struct fault *f)
{
	if (!account_take(s->account, BUDGET_TEMP, n)) {
		fault_set(f, ERR_TEMP_LIMIT,
		    "limits.temp has no more for this client");
		return (false);
	}
	s->charged += n;
	*w = (struct spill_write){ .spill = spill_ref(s), .offset = offset };
	chq_share(&w->data, q, 0, n);
	w->iov = calloc(w->data.count, sizeof(*w->iov));
	if (w->iov == NULL)
		abort();
	w->count = chq_iov(&w->data, w->iov, w->data.count);
	return (true);
}

/* Pass over what pwritev has taken from the front of the vector. */
static void
write_advance(struct iovec **iov, unsigned *count, size_t n)
{
	while (*count > 0 && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

void
spill_write_run(struct spill_write *w)
{
	struct iovec *iov = w->iov;
	unsigned count = w->count;
	uint64_t offset = w->offset;
	ssize_t n;

	while (count > 0) {
		n = pwritev(w->spill->fd, iov,
		    (int)(count < IOV_BATCH ? count : IOV_BATCH),
		    (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			w->error = n < 0 ? errno : ENOSPC;
			return;
		}
		offset += (uint64_t)n;
		write_advance(&iov, &count, (size_t)n);
	}
}

bool
spill_write_fini(struct spill_write *w, struct fault *f)
{
	if (w->error != 0)
		fault_set(f, ERR_TEMP_FULL, "%s: %s", w->spill->store->temp_dir,
		    strerror(w->error));
	chq_fini(&w->data);
	free(w->iov);
	spill_unref(&w->spill);
	return (w->error == 0);
}

int
spill_fd(const struct spill *s)
{
	return (s->fd);
}

int
spill_open(const struct spill *s)
{
	char name[32];

	/* It has no name of its own any more. */
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", s->fd);
	return (open(name, O_RDONLY | O_CLOEXEC));
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

ssize_t
spill_read_now(const struct spill *s, void *p, size_t n, uint64_t offset)
{
	struct iovec iov = { p, n };
	ssize_t r;

	do
		r = preadv2(s->fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		return (spill_read(s, p, n, offset));
	return (r);
}
