/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS with a parent proxy, under a connection that goes through it: what
 * stands on it (the origin's TLS, plain HTTP, a spliced tunnel) has an ordinary
 * socket, whose other end is here.  Octets are moved both ways, each side's
 * end is passed on, and what one side does not take, the other is not asked
 * for.
 *
 * A socket of this kind cannot be reset: whoever has to know whether the
 * parent ended in order asks outer_cut().
 *
 * Room: proxy/wire.  Thread: its worker's.
 */
#ifndef PROXY_WIRE_OUTER_H
#define PROXY_WIRE_OUTER_H

#include <stdbool.h>
#include "base/fault.h"

struct account;
struct chq;
struct link;
struct outer;
struct worker;
struct worker_gen;

/*
 * Over that link, which has TLS and is taken over; first (emptied) was read
 * from it already.  *fd is the caller's.  The generation, whose settings the
 * session points into, is counted.  NULL: ERR_DESCRIPTORS in f, and the link
 * is closed.
 */
struct outer *outer_start(struct worker *, struct worker_gen *,
    struct link **link, struct chq *first, struct account *, int *fd,
    struct fault *f);
/* For whom it is there. */
void outer_charge_to(struct outer *, struct account *);
/*
 * Has it ended before the parent said so, whoever's doing that was?  Valid
 * until outer_release().
 */
const bool *outer_cut(const struct outer *);
/*
 * The caller is done with it, and has closed its socket, or given it to
 * somebody who will: then it ends.  *o may be NULL; becomes NULL.
 */
void outer_release(struct outer **o);
/* The worker ends: so do all of them.  Nobody has one. */
void outer_end_all(struct worker *);

#endif
