/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state folder, see folders.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "proxy/folders.h"
#include "proxy/problem.h"

static bool
make_folder(const char *path, struct conf_problems *list)
{
	struct stat st;

	if (mkdir(path, 0700) != 0 && errno != EEXIST) {
		problem_add(list, false, "state folder %s: %s", path,
		    strerror(errno));
		return (false);
	}
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode) ||
	    access(path, W_OK | X_OK) != 0) {
		problem_add(list, false,
		    "state folder %s: not a writable folder", path);
		return (false);
	}
	return (true);
}

static bool
make_parents(const char *path)
{
	char part[1024];
	char *p;

	snprintf(part, sizeof(part), "%s", path);
	for (p = part + 1; *p != '\0'; p++)
		if (*p == '/') {
			*p = '\0';
			if (mkdir(part, 0755) != 0 && errno != EEXIST)
				return (false);
			*p = '/';
		}
	return (true);
}

/*
 * Give a folder to somebody, through a descriptor: its name may be in a folder
 * that he can write already, and must not lead us elsewhere.
 */
static bool
give_folder(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	bool ok = fd >= 0 && fstat(fd, &st) == 0;

	if (ok && (st.st_uid != uid || st.st_gid != gid))
		ok = fchown(fd, uid, gid) == 0;
	if (ok && (st.st_mode & 07777) != mode)
		ok = fchmod(fd, mode) == 0;
	if (fd >= 0)
		(void)close(fd);
	return (ok);
}

/* One of root's: entered by the user's group.  One of his own is right. */
static bool
open_to(const char *state, const struct sandbox_user *user)
{
	struct stat st;

	if (stat(state, &st) != 0)
		return (false);
	return (st.st_uid != 0 || user->uid == 0 ||
	    give_folder(state, 0, user->gid, (st.st_mode & 07700) | 050));
}

void
folders_make(const char *state, const struct sandbox_user *user,
    struct conf_problems *list)
{
	char tmp[1024];

	(void)snprintf(tmp, sizeof(tmp), "%s/tmp", state);
	if (!make_parents(state)) {
		problem_add(list, false, "state folder %s: %s", state,
		    strerror(errno));
		return;
	}
	if (!make_folder(state, list) || !make_folder(tmp, list))
		return;
	if (user == NULL) { /* of root without capabilities */
		if (geteuid() == 0 && !give_folder(tmp, 0, 0, 0700))
			problem_add(list, false, "state folder %s: %s", state,
			    strerror(errno));
		return;
	}
	if (!open_to(state, user) ||
	    !give_folder(tmp, user->uid, user->gid, 0700))
		problem_add(list, false, "state folder %s: for user %s: %s",
		    state, user->name, strerror(errno));
}
