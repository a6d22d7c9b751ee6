/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests of links share: two ends of a connection on one loop, a wire
 * between them that cuts as it likes, and a certificate.
 */
#ifndef TLS_LAB_H
#define TLS_LAB_H

#include <stdbool.h>
#include <stdint.h>
#include "base/loop.h"
#include "certs/leaf.h"
#include "tls/link.h"
#include "tls/session.h"

/* Turn the loop until it is so; false: not within ms. */
bool lab_until(struct loop *, bool (*so)(void *), void *arg, unsigned ms);
/* Turn it for a while. */
void lab_run(struct loop *, unsigned ms);

/* A connected pair of TCP sockets on loopback, non-blocking. */
void lab_tcp(int fd[2]);
unsigned lab_count_fds(void);

/* A self-signed leaf, for any name; one for all, freed by lab_leaf_free(). */
struct leaf *lab_leaf(void);
void lab_leaf_free(void);

/* The byte at an offset of what an end sends. */
unsigned char lab_byte(unsigned salt, uint64_t offset);

/* One end: shakes hands, sends to_send bytes, checks what it gets. */
struct lab_end {
	int fd;            /* the link's; borrowed */
	struct link *link; /* owned */
	struct task task;
	unsigned salt, peer_salt;
	unsigned want, piece; /* most bytes read, written at once */
	uint64_t to_send, sent, got;
	bool paused; /* does not read */
	bool shut;   /* shuts down when all is sent */
	bool tls, wrong, starved;
	enum pull shake, end;
	struct fault fault;
};

void lab_end_init(struct lab_end *, struct loop *, int fd, unsigned salt);
/* Goes on at once. */
void lab_end_wake(struct lab_end *);
void lab_end_fini(struct lab_end *, enum link_end how);

/* Between two socket pairs: moves at most step bytes at once. */
struct lab_wire {
	int fd[2];          /* ours */
	unsigned step;      /* 0: any number */
	bool shut[2];       /* the end of fd[i] was passed on */
	uint64_t passed[2]; /* bytes that came from fd[i] */
	uint64_t cut[2];    /* no more than so many from fd[i], then FIN */
};

/* out: the two ends for others. */
void lab_wire_init(struct lab_wire *, int out[2]);
void lab_wire_fini(struct lab_wire *);
/* Like lab_until() with a wire at work. */
bool lab_wire_until(struct lab_wire *, struct loop *, bool (*so)(void *),
    void *arg, unsigned ms);

#endif
