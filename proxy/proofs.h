/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names that a server at an address has proven by its certificate, so that
 * what is spliced there by name need not be tried again each time.  A worker's
 * own; so many at most, a newer one takes an older one's place.
 *
 * Room: proxy.  Thread: its worker's.  Units: ms.
 */
#ifndef PROXY_PROOFS_H
#define PROXY_PROOFS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"
#include "net/address.h"

struct proofs;

struct proofs *proofs_new(void);
void proofs_free(struct proofs **);
/* by: the number of the generation that verified; any other asks anew. */
void proofs_add(struct proofs *, const struct sockaddr *at, struct str name,
    unsigned by, uint64_t now);
/* Within the last hour, at this address and port? */
bool proofs_has(const struct proofs *, const struct sockaddr *at,
    struct str name, unsigned by, uint64_t now);

#endif
