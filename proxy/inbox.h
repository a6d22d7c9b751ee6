/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the supervisor has handed over for the configuration that comes next,
 * or (the first time) for good.
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_INBOX_H
#define PROXY_INBOX_H

#include "base/sandbox.h"
#include "proxy/message.h"

struct inbox_listener {
	int fd;
	unsigned worker;
	unsigned of; /* listener of the configuration */
};

/* Flows that were lost with a process (proxy/lost.h). */
struct inbox_lost {
	int flight;
	uint64_t died; /* Unix ms */
};

struct inbox {
	struct inbox_listener *listeners; /* owned, as are all descriptors */
	unsigned n_listeners;
	int admin; /* -1: none */
	int *logs; /* n_logs of them */
	unsigned n_logs;
	int keys; /* -1: none */
	uint32_t keys_number;
	pid_t keys_pid;
	bool ca_made;
	struct inbox_lost *lost; /* n_lost of them */
	unsigned n_lost;
	struct sandbox_user user;
	bool has_user;
	/* The last of all: */
	int setup;       /* -1: it has not come yet */
	unsigned number; /* of the generation */
	unsigned workers;
	pid_t supervisor;
};

void inbox_init(struct inbox *);
/* Take a message that is one of these; false: it is not, fd stays the caller's. */
bool inbox_take(struct inbox *, const struct message *, int fd);
/* Close what nobody has taken out. */
void inbox_fini(struct inbox *);

#endif
