/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instead of the other files of clamav in a build without
 * libclamav.  There is never an engine, hence never a scanner.
 * Room: scanners.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "scanners/clam.h"
#include "scanners/clam_keeper.h"

void
clam_prepare(void)
{
}

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

bool
clam_deliver(uint32_t number, int fd)
{
	(void)number;
	(void)fd;
	return (false);
}

uint32_t
clam_engine_number(const struct clam_engine *e)
{
	assert(e == NULL);
	return (0);
}

/* Nor are there masters: no configuration has a service that needs one. */

void
clam_open_fill(struct clam_open *m, const struct clam_options *o,
    const struct sandbox_user *user)
{
	(void)o;
	(void)user;
	memset(m, 0, sizeof(*m));
}

static struct clam_keeper *
no_keeper(struct fault *f)
{
	fault_set(f, ERR_CONFIG, "built without libclamav");
	return (NULL);
}

bool
clam_keeper_check(const struct clam_open *open, struct fault *f)
{
	(void)open;
	return (no_keeper(f) != NULL);
}

struct clam_keeper *
clam_keeper_new(const struct clam_open *open, char *const *env,
    const struct clam_keeper_news *news, struct fault *f)
{
	(void)open;
	(void)env;
	(void)news;
	return (no_keeper(f));
}

struct clam_keeper *
clam_keeper_adopt(const struct clam_open *open, char *const *env,
    const struct clam_keeper_news *news,
    const struct clam_kept kept[CLAM_MASTERS], bool leaves)
{
	(void)open;
	(void)env;
	(void)news;
	(void)kept;
	(void)leaves;
	abort(); /* the program before had libclamav: its format is another */
}

void
clam_keeper_free(struct clam_keeper **k)
{
	assert(*k == NULL);
}

int
clam_keeper_fd(const struct clam_keeper *k)
{
	assert(k != NULL);
	return (-1);
}

void
clam_keeper_look(struct clam_keeper *k)
{
	assert(k != NULL);
}

int
clam_keeper_client(struct clam_keeper *k, uint32_t who)
{
	(void)who;
	assert(k != NULL);
	return (-1);
}

bool
clam_keeper_awaits(const struct clam_keeper *k, uint32_t who)
{
	(void)who;
	assert(k != NULL);
	return (false);
}

void
clam_keeper_leave(struct clam_keeper *k)
{
	assert(k != NULL);
}

bool
clam_keeper_is_over(const struct clam_keeper *k)
{
	assert(k != NULL);
	return (true);
}

void
clam_keeper_put(struct clam_keeper *k, struct clam_kept kept[CLAM_MASTERS])
{
	(void)kept;
	assert(k != NULL);
}
