/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes that are written once, then read: in memory, then in a file.  See decode.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "scanners/decode.h"

#define IN_MEMORY (1 << 20) /* more goes to a file */

void
decode_store_init(struct decode_store *s, const char *dir)
{
	*s = (struct decode_store){ .fd = -1, .dir = dir };
}

void
decode_store_charge_to(struct decode_store *s, struct account *a)
{
	s->account = a;
}

void
decode_store_fini(struct decode_store *s)
{
	struct account *a = s->account;

	free(s->p);
	charge_set(&s->charge, NULL, 0, 0);
	if (s->fd >= 0) {
		close(s->fd);
		account_give(a, BUDGET_DESCRIPTORS, 1);
	}
	account_give(a, BUDGET_TEMP, s->charged);
	decode_store_init(s, s->dir);
	s->account = a;
}

ssize_t
decode_store_read(void *arg, void *p, size_t n, uint64_t at)
{
	struct decode_store *s = arg;

	if (s->fd >= 0)
		return (pread(s->fd, p, n, (off_t)at));
	if (at >= s->length)
		return (0);
	if (n > s->length - at)
		n = (size_t)(s->length - at);
	memcpy(p, s->p + at, n);
	return ((ssize_t)n);
}

static int
file_open(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[4096];

	if (fd >= 0 ||
	    (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return (fd);
	snprintf(path, sizeof(path), "%s/decoded-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return (fd);
}

static bool
write_all(int fd, const unsigned char *p, size_t n)
{
	ssize_t w;

	while (n > 0) {
		w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return (false);
		p += w;
		n -= (size_t)w;
	}
	return (true);
}

/* n bytes more for a file that is counted. */
static bool
file_add(struct decode_store *s, int fd, const unsigned char *p, size_t n)
{
	if (!account_take(s->account, BUDGET_TEMP, n))
		return (false);
	s->charged += n;
	return (write_all(fd, p, n));
}

static bool
store_to_file(struct decode_store *s)
{
	int fd;

	if (!account_take(s->account, BUDGET_DESCRIPTORS, 1))
		return (false);
	fd = file_open(s->dir);
	if (fd < 0 || !file_add(s, fd, s->p, (size_t)s->length)) {
		if (fd >= 0)
			close(fd);
		account_give(s->account, BUDGET_DESCRIPTORS, 1);
		return (false);
	}
	free(s->p);
	s->p = NULL;
	charge_set(&s->charge, NULL, 0, 0);
	s->fd = fd;
	return (true);
}

/* Room grows from one block by doubling: no large page faults for small bodies. */
static bool
store_grow(struct decode_store *s, size_t n)
{
	size_t cap = 4096;
	void *p;

	while (cap < s->length + n)
		cap *= 2;
	p = realloc(s->p, cap);
	if (p != NULL) {
		s->p = p;
		charge_set(&s->charge, s->account, cap, 0);
	}
	return (p != NULL);
}

bool
decode_store_add(struct decode_store *s, const void *p, size_t n)
{
	if (n == 0)
		return (true);
	if (s->fd < 0 && s->length + n > IN_MEMORY && !store_to_file(s))
		return (false);
	if (s->fd >= 0) {
		if (!file_add(s, s->fd, p, n))
			return (false);
	} else {
		if (!store_grow(s, n))
			return (false);
		memcpy(s->p + s->length, p, n);
	}
	s->length += n;
	return (true);
}
