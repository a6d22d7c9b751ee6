/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the supervisor has handed over for the configuration that comes next,
 * or (the first time) for good.
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_INBOX_H
#define PROXY_INBOX_H

#include "base/sandbox.h"
#include "proxy/conf/conf.h"
#include "proxy/message.h"

struct inbox_listener {
	int fd;
	unsigned worker;
	unsigned of; /* listener of the configuration */
};

/* A file that the configuration names (proxy/named.h). */
struct inbox_named {
	unsigned index;
	int fd;
};

/* Flows that were lost with a process (proxy/lost.h). */
struct inbox_lost {
	int flight;
	uint64_t died; /* Unix ms */
};

/* Of a clamav service. */
struct inbox_scans {
	int fd;          /* -1: this process has one already */
	uint32_t number; /* of its masters */
	unsigned of;     /* service of the configuration */
};

struct inbox {
	struct inbox_listener *listeners; /* owned, as are all descriptors */
	unsigned n_listeners;
	int admin; /* -1: none */
	int *logs; /* n_logs of them */
	unsigned n_logs;
	struct inbox_named *named; /* n_named of them, in order */
	unsigned n_named;
	int keys; /* -1: none */
	uint32_t keys_number;
	pid_t keys_pid;
	bool ca_made;
	struct inbox_scans *scans; /* n_scans of them */
	unsigned n_scans;
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
/*
 * The masters of that service, and the socket to them, the caller's; -1: this
 * process has one, or has to ask for one.  False: there are none.
 */
bool inbox_take_scans(struct inbox *, unsigned of, uint32_t *number, int *fd);
/* Those that nobody has taken. */
void inbox_drop_scans(struct inbox *);
/* Give the files of the next configuration to who loads it (base/handed.h). */
void inbox_give_named(struct inbox *, const struct conf *);
/* Close what nobody has taken out. */
void inbox_fini(struct inbox *);

#endif
