/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that were opened by another process, see handed.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/handed.h"

static struct handed {
	struct handed *next;
	int fd; /* owned */
	char path[];
} * all;

static struct handed *
find(const char *path)
{
	struct handed *g;

	for (g = all; g != NULL && strcmp(g->path, path) != 0; g = g->next)
		;
	return (g);
}

void
handed_add(const char *path, int fd)
{
	struct handed *g = find(path);

	if (g != NULL) { /* named twice: the later one */
		(void)close(g->fd);
		g->fd = fd;
		return;
	}
	g = malloc(sizeof(*g) + strlen(path) + 1);
	if (g == NULL)
		abort();
	g->next = all;
	g->fd = fd;
	strcpy(g->path, path);
	all = g;
}

bool
handed_has(const char *path)
{
	return (find(path) != NULL);
}

void
handed_clear(void)
{
	struct handed *g;

	while ((g = all) != NULL) {
		all = g->next;
		(void)close(g->fd);
		free(g);
	}
}

bool
handed_stat(const char *path, struct stat *st)
{
	const struct handed *g = find(path);

	return (g != NULL ? fstat(g->fd, st) == 0 : stat(path, st) == 0);
}

int
handed_open(const char *path)
{
	const struct handed *g = find(path);
	struct stat st;
	int fd;

	if (g != NULL) {
		fd = fcntl(g->fd, F_DUPFD_CLOEXEC, 0);
		if (fd >= 0)
			(void)lseek(fd, 0, SEEK_SET);
	} else /* of a pipe or a device there may be no end */
		fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return (fd);
	(void)close(fd);
	errno = EINVAL;
	return (-1);
}

static unsigned char *
read_all(int fd, size_t *n)
{
	unsigned char *p = NULL, *more;
	size_t room = 0;
	ssize_t got = 1;

	for (*n = 0; got > 0; *n += (size_t)got) {
		if (room - *n < 2) {
			room = room == 0 ? 65536 : 2 * room;
			if ((more = realloc(p, room)) == NULL)
				abort();
			p = more;
		}
		do
			got = read(fd, p + *n, room - *n - 1);
		while (got < 0 && errno == EINTR);
		if (got >= 0 && *n + (size_t)got > HANDED_MOST) {
			got = -1;
			errno = EFBIG;
		}
		if (got < 0) {
			free(p);
			return (NULL);
		}
	}
	p[*n] = '\0';
	return (p);
}

unsigned char *
handed_read(const char *path, size_t *n)
{
	int fd = handed_open(path), err;
	unsigned char *p;

	if (fd < 0)
		return (NULL);
	p = read_all(fd, n);
	err = errno;
	(void)close(fd);
	errno = err;
	return (p);
}
