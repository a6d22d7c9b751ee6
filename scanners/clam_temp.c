/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The private folder of libclamav's files, see clam_core.h.
 *
 * Each is held by a lock on itself: what nobody holds is what a crash left,
 * and is removed by who comes next.
 *
 * Room: scanners.  Thread: any.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "scanners/clam_core.h"

#define NAME "clam-"
#define TRIES 100

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	remove(path);
	return (0);
}

void
clam_temp_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
remove_stale(const char *dir, const char *name)
{
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	    flock(fd, LOCK_EX | LOCK_NB) == 0)
		clam_temp_remove(path);
	close(fd);
}

void
clam_temp_clean(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if (strncmp(e->d_name, NAME, strlen(NAME)) == 0)
			remove_stale(dir, e->d_name);
	closedir(d);
}

/* Is what fd holds still the folder of this name? */
static bool
stands(const char *path, int fd)
{
	struct stat there, held;

	return (lstat(path, &there) == 0 && fstat(fd, &held) == 0 &&
	    there.st_ino == held.st_ino && there.st_dev == held.st_dev);
}

static char *
make_one(const char *dir, int *lock)
{
	char *path;

	*lock = -1;
	if (asprintf(&path, "%s/" NAME "XXXXXX", dir) < 0)
		abort();
	if (mkdtemp(path) != NULL) { /* 0700 */
		*lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (*lock >= 0 && flock(*lock, LOCK_EX) == 0 &&
		    stands(path, *lock))
			return (path);
	}
	if (*lock >= 0)
		close(*lock);
	*lock = -1;
	free(path);
	return (NULL);
}

/*
 * Another assayd that cleans may take the new folder for one that was left,
 * until it is held: then there is another try.  Only folders of our own are
 * locked: the one around them is everybody's, and who holds it holds us up.
 */
char *
clam_temp_make(const char *dir, int *lock)
{
	char *path = NULL;
	unsigned tries;

	clam_temp_clean(dir);
	for (tries = 0; tries < TRIES && path == NULL; tries++)
		path = make_one(dir, lock);
	return (path);
}
