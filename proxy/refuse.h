/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that are not served: each gets a short answer, and is kept for
 * a moment so that what it has sent by then does not reset it (RFC 9112 9.6).
 * So many are kept at most, and few while descriptors run short: a flood of
 * them takes none from others.
 *
 * Room: proxy.  Thread: its worker's.
 */
#ifndef PROXY_REFUSE_H
#define PROXY_REFUSE_H

#include "base/loop.h"

struct account;

#define REFUSED_MAX 32
#define REFUSED_FEW 4

struct refused {
	int fd;
	uint64_t since;
};

struct refusals {
	struct account *account; /* borrowed: whose they are */
	struct timer timer;      /* reads what they send, closes them */
	int spare; /* to be closed when there is no other; -1: used */
	unsigned n;
	struct refused kept[REFUSED_MAX]; /* oldest first */
};

void refusals_init(struct refusals *, struct loop *, struct account *);
void refusals_fini(struct refusals *);
/* Answer and end it; the socket is taken over.  status: "503 ...". */
void refuse(struct refusals *, int fd, const char *status, const char *why);
/* accept(2) finds no descriptor: let go of one.  False: there is none. */
bool refusals_make_room(struct refusals *);

#endif
