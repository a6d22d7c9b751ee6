/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tunnel that nobody looks into: bytes between two sockets, moved inside
 * the kernel by splice(2) through a pipe a direction.  Pipes are taken from a
 * small stock when bytes come and given back when they are gone, so an idle
 * tunnel has none.  The process must ignore SIGPIPE: splice(2) has no flag
 * against it.
 *
 * Room: net.  Thread: its loop's.  Units: bytes, ms.
 */
#ifndef NET_SPLICE_H
#define NET_SPLICE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/chunk.h"
#include "base/loop.h"

struct account;

/* The stock of pipes of a loop. */
struct splicer;
/* kept: whose the pipes of the stock are, counted; NULL: nobody's. */
struct splicer *splicer_new(struct loop *, struct account *kept);
/* All its tunnels are freed. */
void splicer_free(struct splicer **);

enum splice_end {
	SPLICE_RUNNING,
	SPLICE_DONE,        /* both sides ended in order */
	SPLICE_IDLE,        /* no byte for idle_ms; both sides were reset */
	SPLICE_CLIENT_LOST, /* the client's side was reset or failed; */
	SPLICE_ORIGIN_LOST  /* the other side was reset in turn */
};

struct splice_options {
	uint64_t idle_ms; /* no byte either way; 0: no limit */
	/*
	 * borrowed as long as the splice: whose the descriptors are, and the
	 * memory of stuck bytes; NULL: nobody's
	 */
	struct account *account;
	/*
	 * What is below the origin's side may be cut, which its socket cannot
	 * show: if *cut is true when its bytes end, that is no end, but it is
	 * lost.  Borrowed as long as the splice; NULL: it cannot.
	 */
	const bool *cut;
	bool no_splice; /* copy instead, for tests */
};

struct splice;

/*
 * Connect the two sockets (connected, non-blocking TCP; owned from now on,
 * closed at the end).  to_origin_first and to_client_first (NULL: nothing) are
 * emptied and sent before anything else.  wake (borrowed) is woken once, when
 * the tunnel has ended; splice_free() is still owed then.
 */
struct splice *splice_start(struct splicer *, int client_fd, int origin_fd,
    struct chq *to_origin_first, struct chq *to_client_first,
    const struct splice_options *, struct task *wake);

/* How it ended, SPLICE_RUNNING while it has not. */
enum splice_end splice_ended(const struct splice *);
/* Handed to the kernel so far, the first bytes included. */
uint64_t splice_bytes_to_origin(const struct splice *);
uint64_t splice_bytes_to_client(const struct splice *);

/* Reset both sides if it still runs, and free it.  *s becomes NULL. */
void splice_free(struct splice **s);

#endif
