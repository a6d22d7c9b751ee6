/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process that gets what assay needs for itself, by HTTP and HTTPS: the
 * only one that goes out on assay's own behalf, and the only one that uses
 * libcurl.  It has one client, at the other end of its socket (fetch/fetch.h),
 * and ends with that.
 *
 * What it may reach was said by who started it and never changes: each
 * address, at each redirection, is judged after its name was resolved and
 * again when its socket is made; proxies of the environment do not exist.
 * Nothing is fetched without bounds (fetch/kind.def; FETCHER_AT_ONCE at a
 * time, FETCHER_OF_HOST from one host, FETCHER_BYTES held), and nothing that
 * came is looked at here.  Kinds that go first take each place that becomes
 * free, and FETCHER_OF_HOST counts them alone; each other kind has a share of
 * the places.  So nobody who names what is fetched can stop revocation.
 *
 * Room: fetch.
 */
#ifndef FETCH_FETCHER_H
#define FETCH_FETCHER_H

#include "base/spawn.h"
#include "net/nets.h"

#define FETCHER_ROLE "assayd: fetch"

#define FETCHER_AT_ONCE 32
#define FETCHER_OF_HOST 4
#define FETCHER_BYTES (1u << 30)
#define FETCHER_REDIRECTS 3

struct fetcher_ports {
	uint16_t lo, hi;
};

/* Borrowed for the call of fetcher_start(). */
struct fetcher_rules {
	const struct nets *deny, *allow;     /* see nets_judge() */
	const struct sockaddr_storage *self; /* where assay listens */
	unsigned n_self;
	const struct fetcher_ports *ports; /* that may be connected to */
	unsigned n_ports;
	const char *servers; /* of names: "ip[:port],..."; NULL: the system's */
	const char *hosts;   /* hosts(5); NULL: none */
	char *const *env;    /* its environment; NULL: ours */
	const char *roots;   /* PEM file for https; NULL: the system's */
};

/*
 * Start it.  errors: as struct spawn has it.  True: *fd is the socket for
 * fetch_attach(), *c the child; both are the caller's.  False: ERR_SYSTEM in
 * f, or ERR_CONFIG: more networks, addresses or ports than it can be told.
 */
bool fetcher_start(const struct fetcher_rules *, int errors, struct child *c,
    int *fd, struct fault *f);

/* The role: main() of the process; its exit code. */
int fetcher_main(int argc, char **argv);

#endif
