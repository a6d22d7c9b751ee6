/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The canary: a made-up text that each engine has a signature for, and two
 * files with it.  One needs temporary space to be opened (a zip), the other
 * the converters of the C library (HTML in UTF-16).  A libclamav that does
 * not find it there finds nothing else there either.
 *
 * Room: scanners.  Thread: any.
 */
#ifndef SCANNERS_CLAM_CANARY_H
#define SCANNERS_CLAM_CANARY_H

#include <stdbool.h>
#include <stddef.h>

#define CANARY_NAME "Assay.Canary"

struct clam_canary {
	char text[48]; /* letters and digits, other ones each time */
};

/* A file for scanning; free() it. */
struct clam_sample {
	void *p;
	size_t n;
};

void clam_canary_make(struct clam_canary *);
/* A signature file; false: it was not written, and is not there. */
bool clam_canary_write(const struct clam_canary *, const char *path);
struct clam_sample clam_canary_zip(const struct clam_canary *);
struct clam_sample clam_canary_html(const struct clam_canary *);

#endif
