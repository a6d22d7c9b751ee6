/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages between the supervisor and a serving process: one struct, over
 * base/channel.h.  message.def says what they mean.  Neither side believes the
 * other: message_receive() gives only such as the other side may send, with the
 * descriptor that belongs to it and a text that can be printed.
 *
 * Room: proxy.  Sending: any thread.
 */
#ifndef PROXY_MESSAGE_H
#define PROXY_MESSAGE_H

#include <stdint.h>
#include "base/channel.h"

struct buf;

enum message_sender { MESSAGE_SUPERVISOR, MESSAGE_SERVE };

enum message_kind {
#define M(name, sender, descriptor) MESSAGE_##name,
#include "proxy/message.def"
#undef M
	MESSAGE_KINDS
};

#define MESSAGE_NO_FD (-1) /* instead of an enum channel_type */

struct message {
	uint32_t kind; /* enum message_kind */
	uint32_t number;
	uint32_t index;
	int32_t pid;
	char text[240];
};

/*
 * fd is borrowed; -1: none.  False: the other end is gone, or (EAGAIN in errno)
 * does not read.
 */
bool message_send(int channel, const struct message *, int fd);
/*
 * The next one that the sender may send; *fd: the caller's, -1: none.  Waits
 * wait_ms at most.
 */
enum channel_end message_receive(int channel, enum message_sender,
    struct message *, int *fd, int wait_ms);

/* A configuration as it is handed over: sealed memory of these texts. */
struct setup {
	const char *file;   /* its name; "": built-in defaults */
	const char *listen; /* --listen; "": none */
	const char *text;   /* what is in the file */
	size_t n;
};

#define SETUP_MAX (9u << 20)

/* -1 with errno. */
int setup_pack(const struct setup *);
/* False: it is none.  The texts are in room, which the caller frees. */
bool setup_unpack(int fd, struct setup *, struct buf *room);

#endif
