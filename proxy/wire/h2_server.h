/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP/2 server: many exchanges at a time, each of them a stream of the
 * session (http/h2.h).  It feeds the session what the link has, tells the
 * exchanges their news, and gives the link what the session has, so what is
 * written in a turn leaves together, in the order of the streams' priorities.
 *
 * The client's connection ends in order only by GOAWAY: when it was idle for
 * too long, when the worker drains, and when a sign-in was lost.  While it is
 * in use that is said a round trip before it counts, so that no request is
 * refused (RFC 9113 6.8).
 *
 * Room: proxy/wire.  Units: octets, ms.  Thread: its loop's.  Obeys RFC 9113.
 */
#ifndef PROXY_WIRE_H2_SERVER_H
#define PROXY_WIRE_H2_SERVER_H

#include "base/list.h"
#include "http/h2.h"
#include "proxy/wire/server.h"

enum h2_server_state {
#define S(name, next) H2_SERVER_##name,
#include "proxy/wire/h2_server.def"
#undef S
	H2_SERVER_STATES
};

/* Embedded in the connection. */
struct h2_server {
	struct server server;
	enum h2_server_state state;
	struct h2_session *session;  /* owned */
	struct list exchanges;       /* under way: struct h2_exchange ... */
	unsigned n;                  /* ... so many */
	bool interims;               /* some have, or wait for, interim heads */
	struct chq in, out;          /* empty between runs */
	struct timer timer;          /* what is due first */
	struct server_limits limits; /* of heads, from here on */
	uint64_t head_since;         /* a head is under way; 0: none is */
	/* nothing was under way; or the connection's begin */
	uint64_t quiet_since;
	uint64_t swept_at;   /* the last look at streams without exchange ... */
	uint64_t shut_at;    /* ... that nobody fetches */
	uint64_t taken;      /* what the client had taken of the link then */
	uint64_t link_taken; /* ... and at the last look ... */
	uint64_t looked_at;  /* ... ms; one a millisecond is enough */
	uint64_t leave_by;   /* LEAVING: however late the client answers */
	uint64_t gone_at;    /* LAST: its exchanges' gone_at; 0: it is there */
	enum server_step over; /* OVER: how */
};

/*
 * Begin to read requests.  A connection that does not say that it speaks
 * HTTP/2 is closed like an unfinished head.
 */
struct server *h2_server_start(struct h2_server *,
    const struct server_options *);
/* Octets of the link that the client's system has taken; never falls. */
uint64_t h2_server_taken(struct h2_server *);

#endif
