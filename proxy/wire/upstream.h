/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An upstream at work: what its parent proxies are shown, which of them is
 * taken next, and which are down.  One for all workers of a generation.
 *
 * Three connects to a proxy that fail within ten seconds make it down.  Then
 * only probes go there (upstream_probe.h), until one succeeds; behind that one
 * flow tries it, and if that is well, all do.
 *
 * Room: proxy/wire.  Any thread.  Units: ms of the monotonic clock.
 */
#ifndef PROXY_WIRE_UPSTREAM_H
#define PROXY_WIRE_UPSTREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/str.h"
#include "proxy/conf/conf.h"

struct tls_peer;

enum upstream_state {
	UPSTREAM_UP,
	UPSTREAM_DOWN,
	UPSTREAM_HALF, /* a probe succeeded */
	UPSTREAM_TRIAL /* ... and one flow tries it */
};

/* One address of it. */
struct upstream_end {
	const struct conf_proxy *conf; /* borrowed */
	struct upstream *of;           /* borrowed */
	_Atomic unsigned state;        /* enum upstream_state */
	_Atomic unsigned busy;         /* connections through it */
	_Atomic uint64_t faults;       /* private: when they began, how many */
	_Atomic uint64_t probe_at;     /* private */
};

struct upstream {
	const struct conf_upstream *conf; /* borrowed */
	struct upstream_end *end;         /* owned: conf->url.n of them */
	struct tls_peer *tls;             /* owned; NULL: no https: address */
	char *user, *password;            /* owned; NULL: none */
	char *authorization; /* owned: of Proxy-Authorization; NULL: none */
	_Atomic unsigned turn;
	_Atomic uint64_t direct; /* connections around it (on_error) */
};

/*
 * Reads what the configuration names (its strings outlive it).  NULL with the
 * cause in f (ERR_CONFIG).
 */
struct upstream *upstream_new(const struct conf_upstream *, struct fault *f);
void upstream_free(struct upstream **);

/*
 * The next address that is not in tried (bits by number) and may be used;
 * it counts as busy until upstream_release().  *trial: only this flow tries
 * it, and upstream_good(), _bad() or _undecided() is owed.  NULL: none is up.
 */
struct upstream_end *upstream_pick(struct upstream *, unsigned tried,
    bool *trial);
void upstream_release(struct upstream_end *);
unsigned upstream_number(const struct upstream_end *);

/* A connect to it succeeded, failed (why: for the log), was given up. */
void upstream_good(struct upstream_end *);
void upstream_bad(struct upstream_end *, uint64_t now, const char *why);
void upstream_undecided(struct upstream_end *);

/* It is down; is a probe of it due?  For one caller each time. */
bool upstream_probe_due(struct upstream_end *, uint64_t now);
/* That has ended. */
void upstream_probed(struct upstream_end *, bool ok);
/* Is any address of it down? */
bool upstream_has_down(const struct upstream *);

#endif
