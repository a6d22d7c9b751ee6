/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hosts(5) table: frozen once loaded, counted, shared by the workers of a
 * configuration generation.
 * Room: net.  Any thread.
 */
#ifndef NET_HOSTS_H
#define NET_HOSTS_H

#include "base/fault.h"
#include "base/str.h"
#include "net/address.h"

struct hosts;

/*
 * Read path; NULL or "" gives an empty table.  Lines and names that are not
 * understood are skipped, as other readers of the format do.  NULL with
 * ERR_CONFIG in f if the file cannot be read.  One reference, the caller's.
 */
struct hosts *hosts_load(const char *path, struct fault *f);
struct hosts *hosts_ref(struct hosts *);
void hosts_unref(struct hosts **);

/* Names in it. */
unsigned hosts_count(const struct hosts *);

/*
 * The addresses of a normalised name, in the order of the file, up to max
 * per family.  False: the name is not in the table.
 */
bool hosts_find(const struct hosts *, struct str name, unsigned max,
    union address *v6, unsigned *n_v6, union address *v4, unsigned *n_v4);

#endif
