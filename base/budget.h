/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The budget: how much of the machine peers may take up, and each client's
 * account of what is taken up for him.
 *
 * Nobody may have more than what is left over for all others: an account that
 * holds u of max while all accounts hold t may take n more only if
 * u + n <= max - t - n.  One client alone gets half, and whoever holds most is
 * the first to be refused; a small one always finds room.
 *
 * Room: base.  Units: bytes, or what the kind says.  Any thread; taking and
 * giving are two atomic additions, opening and closing an account takes a
 * lock.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct account;
struct budget;

enum budget_kind {
	BUDGET_MEMORY,
	BUDGET_TEMP,    /* temporary files */
	BUDGET_LINGER,  /* connections that only end; units: connections */
	BUDGET_NAMES,   /* that are being looked up; units: names */
	BUDGET_CLIENTS, /* connections of clients; units: descriptors */
	/*
	 * others that are open for them: connections to origins and services,
	 * pipes, files
	 */
	BUDGET_DESCRIPTORS,
	BUDGET_KINDS
};

/* Without limits.  Never NULL. */
struct budget *budget_new(void);
/* Every account must be closed. */
void budget_free(struct budget **);
/* From now on; what is held already stays held. */
void budget_set_limit(struct budget *, enum budget_kind, uint64_t max);
/* UINT64_MAX: none. */
uint64_t budget_limit(const struct budget *, enum budget_kind);
/* Held by all accounts together. */
uint64_t budget_used(const struct budget *, enum budget_kind);

/*
 * The account of the client with that key (peers_key()), opened if need be;
 * one reference.  It is closed when nobody refers to it any more: what a
 * client left behind counts for him when he comes back.
 */
struct account *account_open(struct budget *, uint64_t key);
/*
 * The client's that holds most; one reference.  NULL: none holds anything.  It
 * looks at all accounts: not to be asked for every request.
 */
struct account *budget_largest(struct budget *, enum budget_kind);
/*
 * The key of no client: what is kept open for whoever comes next and can be
 * closed at any time.
 */
#define ACCOUNT_KEPT UINT64_MAX
struct account *account_ref(struct account *); /* NULL: NULL */
void account_unref(struct account **); /* *a may be NULL; becomes NULL */

/*
 * An account that is NULL counts nothing and may hold everything, in all
 * functions below.
 */
/* Take n more.  false: that is too much for this client, nothing was taken. */
bool account_take(struct account *, enum budget_kind, uint64_t n);
/*
 * The same at the begin of something that will want more of the kind before
 * it ends: a quarter of the client's share is left for what is begun already.
 */
bool account_take_early(struct account *, enum budget_kind, uint64_t n);
/* The same for what one can do without: half of the share is left. */
bool account_take_spare(struct account *, enum budget_kind, uint64_t n);
/* Take n that are in use already, however much that is. */
void account_add(struct account *, enum budget_kind, uint64_t n);
/* Give n back. */
void account_give(struct account *, enum budget_kind, uint64_t n);
/* How much it could take now; 0: nothing. */
uint64_t account_room(const struct account *, enum budget_kind);
/*
 * The same for what can wait or lie elsewhere (bodies in files, output with
 * who sends it): half of the client's share is left for what can't.
 */
uint64_t account_spare(const struct account *, enum budget_kind);
uint64_t account_used(const struct account *, enum budget_kind);

/*
 * A thing that grows and shrinks, charged in grains so that a small one costs
 * nothing.  Embedded; {0} is empty.  One thread at a time.
 */
struct charge {
	struct account *account; /* counted while held > 0 */
	uint64_t held;           /* charged */
};

#define CHARGE_GRAIN 16384u

/*
 * It has n bytes of memory now, of which the first `free_of` are not counted
 * (they belong to what a connection is charged for).  a: of whom, borrowed;
 * asked only when something is to be charged for the first time.
 */
void charge_set(struct charge *, struct account *a, uint64_t n,
    uint64_t free_of);

#endif
