/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The admin socket, see admin.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/list.h"
#include "proxy/admin.h"
#include "proxy/numbers.h"
#include "proxy/problem.h"

struct admin {
	struct admin_of of;
	struct loop *loop;
	struct watch *watch;
	int fd;
	struct list askers;
	unsigned n_askers;
};

/* Somebody who waits for an answer, or takes it. */
struct asker {
	struct list link;
	struct admin *admin;
	int fd;                      /* owned */
	struct numbers_round *round; /* NULL: it has come */
	char *text;                  /* owned; NULL: not yet */
	size_t n, at;
	struct watch *takes;
	struct timer end;
};

static void
asker_free(struct asker *a)
{
	list_remove(&a->link);
	a->admin->n_askers--;
	numbers_forget(&a->round);
	watch_free(&a->takes);
	timer_stop(&a->end);
	(void)close(a->fd);
	free(a->text);
	free(a);
}

static void
on_takes(void *arg, unsigned events)
{
	struct asker *a = arg;
	ssize_t n;

	(void)events;
	do {
		n = send(a->fd, a->text + a->at, a->n - a->at, MSG_NOSIGNAL);
		a->at += n > 0 ? (size_t)n : 0;
	} while (n > 0 && a->at < a->n);
	if (a->at == a->n || (errno != EAGAIN && errno != EINTR))
		asker_free(a);
	else
		watch_set(a->takes, WATCH_WRITE);
}

static void
on_end(struct timer *t)
{
	asker_free(CONTAINER_OF(t, struct asker, end));
}

static void
on_numbers(void *arg, const struct gen *g, const struct numbers *what)
{
	struct asker *a = arg;

	a->round = NULL;
	a->text = admin_status(&a->admin->of, g, what);
	a->n = strlen(a->text);
	on_takes(a, WATCH_WRITE);
}

static void
ask(struct admin *d, int fd)
{
	struct asker *a = calloc(1, sizeof(*a));

	if (a == NULL)
		abort();
	a->admin = d;
	a->fd = fd;
	list_append(&d->askers, &a->link);
	d->n_askers++;
	a->takes = watch_new(d->loop, fd, on_takes, a);
	timer_init(&a->end, d->loop, on_end);
	timer_set(&a->end, ADMIN_MS);
	a->round = numbers_ask(d->loop, *d->of.gen, d->of.workers, d->of.n,
	    on_numbers, a);
}

static void
on_connect(void *arg, unsigned events)
{
	struct admin *d = arg;
	int fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	if (d->n_askers >= ADMIN_ASKERS) /* who asks so often has answers */
		asker_free(CONTAINER_OF(d->askers.next, struct asker, link));
	ask(d, fd);
}

/* Nothing, or a socket, whose place ours takes if nobody listens on it. */
static bool
is_free(const char *path)
{
	struct stat st;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		errno = ENAMETOOLONG;
		return (false);
	}
	if (lstat(path, &st) != 0)
		return (errno == ENOENT);
	if (!S_ISSOCK(st.st_mode))
		errno = EEXIST;
	return (S_ISSOCK(st.st_mode));
}

void
admin_check(const char *path, const char *state, struct conf_problems *list)
{
	char *folder = strdup(path), *slash;

	if (folder == NULL)
		abort();
	if ((slash = strrchr(folder, '/')) != NULL)
		*(slash > folder ? slash : slash + 1) = '\0';
	if (!is_free(path) ||
	    (slash != NULL && strcmp(folder, state) != 0 &&
		access(folder, W_OK | X_OK) != 0))
		problem_add(list, false, "admin socket %s: %s", path,
		    strerror(errno));
	free(folder);
}

static int
open_socket(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, r;

	if (!is_free(path))
		return (-1);
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return (-1);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0) {
		errno = EADDRINUSE;
		close(fd);
		return (-1);
	}
	if (errno == ECONNREFUSED)
		(void)unlink(path);
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&un, sizeof(un));
	(void)umask(mask);
	if (r != 0 || listen(fd, 16) != 0) {
		close(fd);
		return (-1);
	}
	return (fd);
}

int
admin_open(const char *path, struct fault *f)
{
	int fd = open_socket(path);

	if (fd < 0)
		fault_set(f, ERR_SYSTEM, "admin socket %s: %s", path,
		    strerror(errno));
	return (fd);
}

struct admin *
admin_new(struct loop *loop, int fd, const struct admin_of *of)
{
	struct admin *a = calloc(1, sizeof(*a));

	if (a == NULL)
		abort();
	a->of = *of;
	a->loop = loop;
	a->fd = fd;
	list_init(&a->askers);
	a->watch = watch_new(loop, fd, on_connect, a);
	watch_set(a->watch, WATCH_READ);
	return (a);
}

void
admin_free(struct admin **ap)
{
	struct admin *a = *ap;

	*ap = NULL;
	if (a == NULL)
		return;
	while (!list_empty(&a->askers))
		asker_free(CONTAINER_OF(a->askers.next, struct asker, link));
	watch_free(&a->watch);
	close(a->fd);
	free(a);
}
