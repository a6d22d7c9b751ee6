/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instead of the other files of clamav in a build without
 * libclamav.  There is never an engine, hence never a scanner.
 * Room: scanners.
 */
#include <assert.h>
#include <string.h>
#include "scanners/clam.h"

struct clam_engine *
clam_engine_open(const struct clam_options *o, struct fault *f)
{
	(void)o;
	fault_set(f, ERR_CONFIG, "built without libclamav");
	return (NULL);
}

struct clam_engine *
clam_engine_ref(struct clam_engine *e)
{
	assert(e == NULL);
	return (e);
}

void
clam_engine_unref(struct clam_engine **e)
{
	assert(*e == NULL);
}

void
clam_engine_info(struct clam_engine *e, struct clam_info *info)
{
	assert(e == NULL);
	memset(info, 0, sizeof(*info));
	info->library = "none";
}

unsigned
clam_engine_signatures(struct clam_engine *e)
{
	assert(e == NULL);
	return (0);
}

struct scanner *
clam_new(struct loop *loop, struct clam_engine *e, const struct clam_service *s)
{
	(void)loop;
	(void)s;
	assert(e != NULL); /* there is none to give */
	return (NULL);
}

unsigned
clam_busy(const struct scanner *s)
{
	assert(s == NULL);
	return (0);
}

void
clam_free(struct scanner **s)
{
	assert(*s == NULL);
}
