/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of a signature database, for who watches them.
 *
 * Room: scanners.  Thread: any.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "scanners/clam_priv.h"

/* What libclamav loads from a folder. */
/* clang-format off */
static const char *const suffixes[] = {
	".cvd", ".cld", ".cud", ".cat", ".cbc", ".cdb", ".cfg", ".crb", ".db",
	".fp", ".ftm", ".gdb", ".hdb", ".hdu", ".hsb", ".hsu", ".idb", ".ign",
	".ign2", ".imp", ".info", ".ioc", ".ldb", ".ldu", ".mdb", ".mdu",
	".msb", ".msu", ".ndb", ".ndu", ".pdb", ".pwdb", ".rmd", ".sdb",
	".sfp", ".wdb", ".yar", ".yara", ".zmd",
};
/* clang-format on */

static uint64_t
hash(uint64_t h, const void *p, size_t n)
{
	const unsigned char *c = p;

	while (n-- > 0) /* FNV-1a */
		h = (h ^ *c++) * 0x100000001b3u;
	return (h);
}

static uint64_t
print_file(const char *path)
{
	struct stat st;
	uint64_t h = hash(0xcbf29ce484222325u, path, strlen(path));

	if (stat(path, &st) != 0)
		return (0);
	h = hash(h, &st.st_mtim, sizeof(st.st_mtim));
	h = hash(h, &st.st_size, sizeof(st.st_size));
	return (hash(h, &st.st_ino, sizeof(st.st_ino)));
}

static bool
is_database(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (str_iends(str_of(name), str_of(suffixes[i])))
			return (true);
	return (false);
}

uint64_t
clam_files_print(const char *db)
{
	DIR *d = opendir(db);
	struct dirent *e;
	uint64_t sum = 1;
	char path[4096];

	if (d == NULL)
		return (print_file(db));
	while ((e = readdir(d)) != NULL) {
		if (!is_database(e->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", db, e->d_name);
		sum += print_file(path);
	}
	closedir(d);
	return (sum);
}
