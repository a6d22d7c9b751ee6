/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the process that fetches is told at its start, and judges by.  Written
 * by who starts it, from a configuration that was checked; the process checks
 * that it is whole.
 * Room: fetch.
 */
#ifndef FETCH_RULES_PRIV_H
#define FETCH_RULES_PRIV_H

#include "base/arena.h"
#include "fetch/fetcher.h"

#define RULES_NETS 1024
#define RULES_SELF 256
#define RULES_PORTS 64
#define RULES_TEXT 1024

/* In sealed memory, by descriptor SPAWN_FD + 1. */
struct rules_wire {
	uint32_t n_deny, n_allow, n_self, n_ports;
	uint32_t deny_self, allow_self;
	struct {
		uint64_t addr[2], mask[2];
	} deny[RULES_NETS], allow[RULES_NETS];
	struct sockaddr_storage self[RULES_SELF];
	struct fetcher_ports ports[RULES_PORTS];
	char servers[RULES_TEXT], hosts[RULES_TEXT], roots[RULES_TEXT];
};

/* In the process. */
struct rules {
	struct arena *arena; /* owned: of the nets */
	struct nets deny, allow;
	struct rules_wire *wire; /* owned */
};

/* False: more than it has room for (ERR_CONFIG in f). */
bool rules_write(const struct fetcher_rules *, struct rules_wire *,
    struct fault *f);
/* False: that is none. */
bool rules_read(int fd, struct rules *);
void rules_fini(struct rules *);
/* ERR_NONE, else ERR_DEST_DENIED or ERR_PORT_DENIED in f. */
enum err rules_judge(const struct rules *, const struct sockaddr *,
    struct fault *f);

#endif
