/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of the access log, see logs.h. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "proxy/audit/audit.h"
#include "proxy/audit/log.h"
#include "proxy/logs.h"
#include "proxy/problem.h"

const char *
logs_name(const struct conf_log_to *to)
{
	return (to->file != NULL ? to->file : "stdout");
}

/* Could it be opened?  Without making it. */
static void
check_log(const struct conf_log_to *to, struct conf_problems *list)
{
	const char *file = to->file;
	char folder[PATH_MAX];
	struct stat st;
	bool is_there = stat(file, &st) == 0, ok;
	int fd;

	snprintf(folder, sizeof(folder), "%s", file);
	if (!is_there)
		ok = errno == ENOENT &&
		    access(dirname(folder), W_OK | X_OK) == 0;
	else if (S_ISREG(st.st_mode))
		ok = access(file, W_OK) == 0;
	else { /* a device, a pipe that somebody must read */
		fd = open(file, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		ok = fd >= 0;
		if (ok)
			close(fd);
	}
	if (ok)
		return;
	problem_add(list, false, "cannot write '%s': %s%s", file,
	    strerror(errno),
	    errno == ENOENT ? "; make its folder, for the user that assayd "
			      "runs as"
			    : "");
	list->v[list->n - 1].line = to->line;
	list->v[list->n - 1].col = to->col;
}

void
logs_check(const struct conf *c, struct conf_problems *list)
{
	unsigned i;

	for (i = 0; i < c->log.access.n; i++)
		if (c->log.access.v[i].file != NULL)
			check_log(&c->log.access.v[i], list);
	for (i = 0; i < c->log.issued.n; i++)
		if (c->log.issued.v[i].file != NULL)
			check_log(&c->log.issued.v[i], list);
}

int *
logs_open(const struct conf_log_tos *to, const char *area,
    struct conf_problems *list)
{
	int *logs = calloc(to->n + 1, sizeof(*logs));
	struct fault f = { 0 };
	unsigned i;

	if (logs == NULL)
		abort();
	for (i = 0; i < to->n; i++)
		if ((logs[i] = audit_open(logs_name(&to->v[i]), &f)) < 0) {
			problem_fault(list, area, &f);
			logs_close(&logs, i);
			break;
		}
	return (logs);
}

void
logs_close(int **logs, unsigned n)
{
	if (*logs == NULL)
		return;
	while (n-- > 0)
		(void)close((*logs)[n]);
	free(*logs);
	*logs = NULL;
}

void
logs_reopen(const struct conf_log_tos *to, int *logs)
{
	struct fault f;
	unsigned i;
	int fd;

	for (i = 0; i < to->n; i++) {
		if (to->v[i].file == NULL)
			continue;
		f = (struct fault){ 0 };
		if ((fd = audit_open(to->v[i].file, &f)) < 0) {
			log_line(LEVEL_ERROR, "log",
			    "%s; the old file stays open", f.detail);
			continue;
		}
		(void)close(logs[i]);
		logs[i] = fd;
	}
}
