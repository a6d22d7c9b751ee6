/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Probes: while an address of an upstream is down, one worker at a time
 * connects to it now and then ('probe'), so that it comes back by itself.
 *
 * Room: proxy/wire.  Thread: its worker's.
 */
#ifndef PROXY_WIRE_UPSTREAM_PROBE_H
#define PROXY_WIRE_UPSTREAM_PROBE_H

struct upstream_probes;
struct worker;
struct worker_gen;

/* Of a generation's part of a worker, which owns it; NULL: no upstreams. */
struct upstream_probes *upstream_probes_new(struct worker *,
    struct worker_gen *);
/* *p may be NULL; becomes NULL. */
void upstream_probes_free(struct upstream_probes **p);
/* Some address is down: look after it until none is. */
void upstream_probes_wake(struct upstream_probes *);

#endif
