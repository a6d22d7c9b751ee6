/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connecting to a host by name: happy eyeballs (RFC 8305) over the resolver.
 * Families are interleaved, IPv6 first, an attempt starts 250 ms behind the
 * last one or as soon as that failed, the first that connects wins.
 *
 * Room: net.  Thread: its loop's.  Units: ms.
 */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/loop.h"
#include "base/str.h"
#include "net/address.h"
#include "net/resolve.h"
#include "net/egress.h"

/* Per loop: remembers for a while which addresses failed. */
struct dialer;
/* resolver (borrowed) outlives it. */
struct dialer *dialer_new(struct loop *, struct resolver *);
/* All dials are finished or cancelled. */
void dialer_free(struct dialer **);

struct dial_options {
	/*
	 * Asked for every candidate, port set, before a packet is sent to it;
	 * false: passed over.  NULL allows all.
	 */
	bool (*check)(void *arg, const struct sockaddr *candidate);
	void *arg;
	unsigned connect_timeout_ms; /* all attempts together; 0: 10000 */
	/*
	 * For whom: names and descriptors are counted for it, these until the
	 * end; then fd is the owner's to count.  Borrowed for the call.
	 */
	struct account *account;
	/* for what is begun: all of the share, see account_take_early() */
	bool late;
	/*
	 * How it leaves, with a slot of that; borrowed until the end.  NULL: as
	 * the kernel chooses.
	 */
	const struct egress *from;
	uint32_t slot;
};

struct dial_run;

/* Embedded; small: what a run needs is freed with its end. {0} is idle. */
struct dial {
	bool done;
	/*
	 * connected, non-blocking, TCP_NODELAY; the owner's once done without
	 * fault, else -1
	 */
	int fd;
	union address peer;         /* of fd, or the last candidate tried */
	char peer_ip[ADDRESS_TEXT]; /* of fd, without its port; else "" */
	unsigned attempts;          /* sockets opened */
	uint32_t dns_ms;            /* until the first usable address */
	uint32_t connect_ms;        /* from then to the end */
	struct fault fault;
	struct dial_run *run; /* private; NULL when idle */
};

/*
 * Connect to host (a name, or a literal with or without brackets) and port.
 * wake (borrowed) is woken once, later, when done is set.
 *
 * ERR_DNS_*: the resolver's.  ERR_DEST_DENIED: every candidate was refused
 * by check or can be nobody's (unspecified, multicast, broadcast); no packet
 * was sent.  ERR_CONNECT_REFUSED, ERR_CONNECT_FAIL: of the first attempt that
 * failed, when all have.  ERR_CONNECT_TIMEOUT.  ERR_DESCRIPTORS: our want, or
 * the account's share is used up.  ERR_NO_PORTS: no address to leave from has a
 * port left for this peer, or none is this machine's, or its system has no room
 * for a connection, or forbids it.
 */
void dial_start(struct dialer *, struct dial *, struct str host, uint16_t port,
    const struct dial_options *, struct task *wake);
/* Is it our want, which says nothing about who was to be connected to? */
bool dial_is_own_want(enum err);
/*
 * Give it up: descriptors are closed, also a connected one that nobody has
 * taken (fd is -1 then).  A wake-up queued already may still come.
 */
void dial_cancel(struct dial *);

#endif
