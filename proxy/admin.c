/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The admin socket, see admin.h. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "config.h"
#include "proxy/admin.h"
#include "proxy/problem.h"

struct admin {
	struct gen *const *gen;
	struct proxy_shared *shared;
	struct watch *watch;
	pid_t pid; /* that people know */
	int fd;
};

static json_t *
services(const struct gen *g)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < g->conf->services.n; i++)
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:b}", "name",
			g->conf->services.v[i].name, "type",
			g->conf->services.v[i].type == CONF_CLAMAV ? "clamav"
								   : "icap",
			"used", (int)g->conf->services.v[i].used));
	return (list);
}

static char *
status(const struct admin *a)
{
	const struct gen *g = *a->gen;
	json_t *j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:o}",
	    "version", PACKAGE_VERSION, "pid", (json_int_t)a->pid, "generation",
	    (json_int_t)g->number, "clients",
	    (json_int_t)atomic_load(&a->shared->clients), "flows",
	    (json_int_t)atomic_load(&a->shared->flows), "audit_lost",
	    (json_int_t)audit_lost(g->audit), "ca_sha256", g->fingerprint,
	    "services", services(g));
	char *text = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	return (text);
}

static void
on_connect(void *arg, unsigned events)
{
	struct admin *a = arg;
	char *text;
	int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	text = status(a);
	(void)send(fd, text, strlen(text), MSG_NOSIGNAL);
	(void)send(fd, "\n", 1, MSG_NOSIGNAL);
	free(text);
	close(fd);
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
admin_new(struct loop *loop, int fd, pid_t pid, struct gen *const *gen,
    struct proxy_shared *shared)
{
	struct admin *a = calloc(1, sizeof(*a));

	a->gen = gen;
	a->shared = shared;
	a->pid = pid;
	a->fd = fd;
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
	watch_free(&a->watch);
	close(a->fd);
	free(a);
}
