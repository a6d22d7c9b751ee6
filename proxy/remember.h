/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was blocked of late, by its address without the query: whoever comes
 * back for the rest of it (range: allow) is to get the block again.  A small
 * set of hashes; newer ones take the place of older ones, and a false hit
 * only means that the whole is fetched and scanned.
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_REMEMBER_H
#define PROXY_REMEMBER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

#define REMEMBER_SLOTS 4096

/* {0} is empty. */
struct remember {
	_Atomic uint64_t slot[REMEMBER_SLOTS];
};

void remember_add(struct remember *, struct str url);
bool remember_has(struct remember *, struct str url);

#endif
