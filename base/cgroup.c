/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of our control group, see cgroup.h. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/cgroup.h"

#define FILE_MAX 16384
#define DEPTH_MAX 64

/* How a version names things. */
struct version {
	const char *type; /* of the mount */
	const char
	    *controller; /* in its options and in proc; NULL: not named */
	const char *limit, *usage;
	const char *cache[2]; /* in memory.stat, of all below as well */
};

static const struct version versions[] = {
	{ "cgroup2", NULL, "memory.max", "memory.current",
	    { "inactive_file", "active_file" } },
	{ "cgroup", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
	    { "total_inactive_file", "total_active_file" } }
};

/* Is the word one of those in a list with commas? */
static bool
in_list(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (; list != NULL; list = strchr(list, ',')) {
		list += *list == ',';
		if (strncmp(list, word, n) == 0 &&
		    (list[n] == ',' || list[n] == '\0'))
			return (true);
	}
	return (false);
}

/* "4:memory:/path", "0::/path": the path of the version's hierarchy. */
static bool
find_path(const char *root, const struct version *v, char path[PATH_MAX])
{
	char name[PATH_MAX], line[PATH_MAX + 200], *list, *at;
	bool found = false;
	FILE *f;

	snprintf(name, sizeof(name), "%s/proc/self/cgroup", root);
	if ((f = fopen(name, "re")) == NULL)
		return (false);
	while (!found && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if ((list = strchr(line, ':')) == NULL ||
		    (at = strchr(++list, ':')) == NULL)
			continue;
		*at++ = '\0';
		found = v->controller == NULL ? list[0] == '\0'
					      : in_list(list, v->controller);
		if (found)
			snprintf(path, PATH_MAX, "%.4095s", at);
	}
	(void)fclose(f);
	return (found);
}

/*
 * A line of mountinfo (proc(5)): where the hierarchy is mounted, and which of
 * its folders is there.
 */
static bool
read_mount(char *line, const struct version *v, char **at, char **top)
{
	char *word[6], *save, *type, *options;
	unsigned i;

	for (i = 0; i < 5; i++)
		if ((word[i] = strtok_r(i == 0 ? line : NULL, " ", &save)) ==
		    NULL)
			return (false);
	while ((type = strtok_r(NULL, " ", &save)) != NULL &&
	    strcmp(type, "-") != 0)
		;
	type = strtok_r(NULL, " ", &save);
	(void)strtok_r(NULL, " ", &save); /* the source */
	options = strtok_r(NULL, " \n", &save);
	*top = word[3];
	*at = word[4];
	return (type != NULL && strcmp(type, v->type) == 0 &&
	    (v->controller == NULL ||
		(options != NULL && in_list(options, v->controller))));
}

/* What of the path lies below the folder that is mounted; NULL: it does not. */
static const char *
below(const char *path, const char *top)
{
	size_t n = strlen(top);

	if (strcmp(top, "/") == 0)
		return (path);
	if (strncmp(path, top, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return (NULL);
	return (path + n);
}

/*
 * The folder of our group, and how much of it is the mount itself.  A path
 * that leads out of what is mounted (of a container that sees only its own
 * part) is the top of that.
 */
static bool
find_folder(const char *root, const struct version *v, char folder[PATH_MAX],
    size_t *mount_n)
{
	char path[PATH_MAX], name[PATH_MAX], line[2 * PATH_MAX], *at, *top;
	const char *rest;
	bool found = false;
	FILE *f;

	if (!find_path(root, v, path))
		return (false);
	snprintf(name, sizeof(name), "%s/proc/self/mountinfo", root);
	if ((f = fopen(name, "re")) == NULL)
		return (false);
	while (!found && fgets(line, sizeof(line), f) != NULL) {
		if (!read_mount(line, v, &at, &top))
			continue;
		rest = strstr(path, "..") != NULL ? NULL : below(path, top);
		*mount_n = strlen(root) + strlen(at);
		found = *mount_n + (rest != NULL ? strlen(rest) : 0) <
		    PATH_MAX - 64;
		if (found)
			snprintf(folder, PATH_MAX, "%.1000s%.2000s%.1000s",
			    root, at, rest != NULL ? rest : "");
	}
	(void)fclose(f);
	return (found);
}

static int
open_in(const char *folder, const char *name)
{
	char path[PATH_MAX + 40];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return (open(path, O_RDONLY | O_CLOEXEC));
}

/* From the begin; the text ends in a NUL.  False: nothing is there. */
static bool
read_text(int fd, char *text, size_t room)
{
	ssize_t n = fd < 0 ? -1 : pread(fd, text, room - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return (n > 0);
}

static bool
read_number(int fd, uint64_t *v)
{
	char text[64];

	return (read_text(fd, text, sizeof(text)) &&
	    sscanf(text, "%" SCNu64, v) == 1);
}

/* "max" is no number, and version 1 says a large one. */
static uint64_t
limit_of(const char *folder, const struct version *v)
{
	uint64_t max = CGROUP_UNLIMITED;
	int fd = open_in(folder, v->limit);

	if (!read_number(fd, &max) || max > INT64_MAX / 2 || max == 0)
		max = CGROUP_UNLIMITED;
	if (fd >= 0)
		close(fd);
	return (max);
}

/* The smaller limit so far; its counters are opened. */
static void
take(struct cgroup_memory *m, const char *folder, const struct version *v)
{
	uint64_t max = limit_of(folder, v);

	if (max >= m->limit)
		return;
	cgroup_memory_fini(m);
	m->limit = max;
	m->usage = open_in(folder, v->usage);
	m->stat = open_in(folder, "memory.stat");
}

void
cgroup_memory_find(struct cgroup_memory *m, const char *root)
{
	char folder[PATH_MAX], *end;
	unsigned i, depth;
	size_t mount_n;

	*m = (struct cgroup_memory){ CGROUP_UNLIMITED, -1, -1 };
	for (i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (!find_folder(root, &versions[i], folder, &mount_n))
			continue;
		for (depth = 0; depth < DEPTH_MAX; depth++) {
			take(m, folder, &versions[i]);
			if (strlen(folder) <= mount_n ||
			    (end = strrchr(folder, '/')) == NULL)
				break;
			*end = '\0';
		}
	}
}

void
cgroup_memory_fini(struct cgroup_memory *m)
{
	if (m->usage >= 0)
		close(m->usage);
	if (m->stat >= 0)
		close(m->stat);
	*m = (struct cgroup_memory){ CGROUP_UNLIMITED, -1, -1 };
}

/* The number behind a name in memory.stat; 0: it is not there. */
static uint64_t
stat_of(const char *text, const char *name)
{
	size_t n = strlen(name);
	uint64_t v = 0;

	for (; text != NULL; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (strncmp(text, name, n) == 0 && text[n] == ' ') {
			(void)sscanf(text + n, " %" SCNu64, &v);
			break;
		}
	}
	return (v);
}

bool
cgroup_memory_used(const struct cgroup_memory *m, uint64_t *used)
{
	char text[FILE_MAX];
	uint64_t cache = 0;
	unsigned i, k;

	if (m->limit == CGROUP_UNLIMITED || !read_number(m->usage, used))
		return (false);
	if (read_text(m->stat, text, sizeof(text)))
		for (i = 0; i < 2 && cache == 0; i++) {
			/* Version 1 has the names of version 2 for itself alone. */
			const struct version *v = &versions[1 - i];

			for (k = 0; k < 2; k++)
				cache += stat_of(text, v->cache[k]);
		}
	*used = *used > cache ? *used - cache : 0;
	return (true);
}
