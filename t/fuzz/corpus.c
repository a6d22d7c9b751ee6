/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a fuzz target has found before, without a fuzzer: t/unit/corpus_X runs
 * t/fuzz/x.c on each file of t/fuzz/corpus/x.  A target that no longer builds,
 * or an old fault that comes back, is seen in every "make check".
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Its octets, of exactly so many that a sanitizer sees what reads beyond. */
static uint8_t *
whole(const char *path, size_t *n)
{
	uint8_t *p = NULL;
	FILE *f = fopen(path, "rb");
	long end;

	if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (end = ftell(f)) < 0)
		goto out;
	rewind(f);
	*n = (size_t)end;
	if ((p = malloc(*n > 0 ? *n : 1)) != NULL && fread(p, 1, *n, f) != *n) {
		free(p);
		p = NULL;
	}
out:
	if (f != NULL)
		fclose(f);
	return (p);
}

/* How many inputs there were; 0: none, or one that cannot be read. */
static unsigned
run(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *e;
	char path[4096];
	unsigned runs = 0;
	uint8_t *p;
	size_t n;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		if ((p = whole(path, &n)) == NULL) {
			printf("# %s: %s\n", path, strerror(errno));
			runs = 0;
			break;
		}
		printf("# %s\n", e->d_name);
		fflush(stdout);
		(void)LLVMFuzzerTestOneInput(p, n);
		free(p);
		runs++;
	}
	if (dir != NULL)
		closedir(dir);
	return (runs);
}

int
main(void)
{
	const char *src = getenv("srcdir"), *name;
	char folder[2048];
	unsigned runs;

	name = strstr(program_invocation_short_name, "corpus_");
	if (name == NULL)
		return (2);
	(void)snprintf(folder, sizeof(folder), "%s/t/fuzz/corpus/%s",
	    src != NULL ? src : ".", name + strlen("corpus_"));
	printf("1..1\n");
	fflush(stdout);
	runs = run(folder);
	printf("%sok 1 - %u inputs of %s\n", runs > 0 ? "" : "not ", runs,
	    folder);
	return (runs == 0);
}
