/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP/1 server: one exchange at a time; what a client sends ahead waits
 * (RFC 9112 9.3.2).  Its states are in h1_server.def.
 *
 * Room: proxy/wire.  Thread: its loop's.  Obeys RFC 9112.
 */
#ifndef PROXY_WIRE_H1_SERVER_H
#define PROXY_WIRE_H1_SERVER_H

#include "proxy/wire/h1_duplex.h"
#include "proxy/wire/h1_in.h"
#include "proxy/wire/h1_sink.h"
#include "proxy/wire/server.h"

enum h1_server_state {
#define S(name, deadline, next) H1_SERVER_##name,
#include "proxy/wire/h1_server.def"
#undef S
	H1_SERVER_STATES
};

/* Embedded in the connection. */
struct h1_server {
	struct server server;
	enum h1_server_state state;
	struct timer timer; /* of the state */
	uint64_t deadline_at;
	struct server_limits limits; /* of the head under way */
	struct h1_in in;
	struct h1_sink out;
	struct h1_duplex raw; /* SWITCHED */
	struct exchange x;
	struct arena *arena;            /* owned; HEAD: where it goes */
	uint64_t in_before, out_before; /* the link's counters when x began */
	unsigned served;                /* exchanges that have ended */
	enum server_step over;          /* OVER: how */
	/* of the exchange */
	bool persists; /* the client lets the connection go on */
	bool http10;
	bool body_due; /* the body of the request has not been taken */
	bool expects;  /* it waits for "100 Continue" */
	bool answered;
	bool keep;       /* the head of the answer says that it goes on */
	bool wants_room; /* for an interim head */
};

/*
 * Begin to read requests.  A connection that says nothing at all is closed
 * like an unfinished head.
 */
struct server *h1_server_start(struct h1_server *,
    const struct server_options *);

#endif
