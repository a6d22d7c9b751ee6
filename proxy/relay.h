/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Octets between two sides that have switched to a protocol nobody here
 * speaks.  What one side does not take, the other one is not asked for.
 *
 * Room: proxy.  Units: octets, ms.  Thread: its worker's.
 */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "base/loop.h"
#include "proxy/wire/duplex.h"

enum relay_end {
	RELAY_ON,   /* its task will be woken, or something is due */
	RELAY_DONE, /* a side has ended in order, and the other one with it */
	RELAY_IDLE, /* no octet either way for too long */
	RELAY_CLIENT_LOST, /* the client's side was reset or failed */
	RELAY_ORIGIN_LOST
};

struct relay_way {
	struct duplex *from, *to; /* borrowed */
	uint64_t octets;
	bool ended; /* and the other side was told */
	bool gone;  /* it has ended behind what is not taken */
};

/* Embedded; nothing to free. */
struct relay {
	struct relay_way up, down; /* to the origin, to the client */
	struct task *wake;         /* borrowed */
	uint64_t idle_ms;
	uint64_t moved_at;
};

/* Both sides wake the task, which runs the relay. */
void relay_begin(struct relay *, struct duplex *client, struct duplex *origin,
    uint64_t idle_ms, struct task *wake);
enum relay_end relay_run(struct relay *, uint64_t now);
/* When it is to be run though nobody woke it. */
uint64_t relay_due(const struct relay *);

#endif
