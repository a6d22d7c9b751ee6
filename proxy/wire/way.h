/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way to an origin: a connection to it, straight or through a parent proxy
 * (upstreams:), as the route of a plan says.  This is the one place where
 * connections to origins are made; what stands on them does not know which
 * way they go.
 *
 * Through a parent the next of its addresses is tried while nothing of the
 * client's has left: after a failed connect or TLS, and after an answer that
 * says that it cannot reach the origin (502, 503, 504; SOCKS 1, 3..6).  When
 * none is left, 'on_error' decides.  After any other end, such as one without
 * an answer, another may be tried as well, but the way around them is closed.
 *
 * Room: proxy/wire.  Thread: its worker's.  Units: ms.
 */
#ifndef PROXY_WIRE_WAY_H
#define PROXY_WIRE_WAY_H

#include "base/chunk.h"
#include "net/dial.h"

struct account;
struct link;
struct outer;
struct task;
struct upstream_end;
struct way_run;
struct worker;
struct worker_gen;

struct way_want {
	unsigned route;  /* of a plan */
	uint32_t slot;   /* conf_out_slot() of that for its client */
	struct str host; /* what is connected to: a name, an address */
	uint16_t port;
	/*
	 * Requests in plain HTTP are all that will be sent: a parent that
	 * speaks HTTP may be asked by whole URLs.
	 */
	bool absolute;
	struct str via; /* of the CONNECT that it is for; absent: none */
	/*
	 * Asked for each address of the origin that is known here, before a
	 * packet is sent for it.  arg is borrowed until the way is done.
	 */
	bool (*check)(void *arg, const struct sockaddr *candidate);
	void *arg;
	struct account *account; /* borrowed for the call */
	unsigned connect_ms;     /* straight */
};

/* Embedded; may be copied once it is done.  {0} is idle. */
struct way {
	/*
	 * Of what was made: done, fault, times; fd is that of the way (-1: it
	 * is link); peer is the origin straight, the parent otherwise.
	 */
	struct dial dial;
	struct link *link; /* owned: TLS with a parent that has whole URLs */
	struct chq first;  /* what came from the origin already */
	/* the parent that it goes through, counted as busy; NULL: straight */
	struct upstream_end *end;
	struct outer *outer; /* owned: TLS with the parent, below fd */
	bool absolute;       /* whole URLs are sent; see way_authorization() */
	bool around;         /* straight, although the route is another */
	bool dest_known;
	/* through a parent: of the origin, with its port, where known */
	union address dest;
	char dest_ip[ADDRESS_TEXT];
	unsigned status;     /* fault: what the parent answered; 0: nothing */
	struct way_run *run; /* private; NULL: done or idle */
};

/*
 * wake (borrowed) is woken once, later, when dial.done is set.  The generation
 * is borrowed until the end.  Faults are those of dial_start() and ERR_PARENT_*.
 */
void way_start(struct worker *, struct worker_gen *, struct way *,
    const struct way_want *, struct task *wake);
/*
 * Only to that parent, and no further: does it take connections?  The
 * generation is borrowed until the end.
 */
void way_probe(struct worker *, struct worker_gen *, struct way *,
    struct upstream_end *, struct task *wake);
/*
 * Give it up in any state, or what is left of it: descriptors that nobody has
 * taken are closed.  Idle afterwards.
 */
void way_end(struct way *);

/* The origin's address; NULL: only the parent knows it. */
const struct sockaddr *way_dest(const struct way *);
/* Its text without the port, in an array of ADDRESS_TEXT. */
const char *way_dest_ip(const struct way *);
/* The value of Proxy-Authorization for whole URLs; STR_NONE: none. */
struct str way_authorization(const struct way *);
/* Who it is there for: what is below it is counted for him. */
void way_charge_to(struct way *, struct account *);

#endif
