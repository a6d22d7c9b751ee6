/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that a configuration names and a serving process reads, in an
 * order that both sides of its channel know: the supervisor opens them, and
 * the serving process gets descriptors (base/handed.h).
 * Room: proxy.
 */
#ifndef PROXY_NAMED_H
#define PROXY_NAMED_H

#include <stdbool.h>
#include "proxy/conf/conf.h"

#define NAMED_MAX 65536 /* files of one configuration */

typedef void named_fn(void *arg, unsigned index, const char *path);

/* Call fn for each, from index 0 on. */
void named_each(const struct conf *, named_fn *, void *arg);
/* Does it read anything from a token instead? */
bool named_in_token(const struct conf *);

#endif
