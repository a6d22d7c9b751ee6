/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages between our processes: a SOCK_SEQPACKET pair, a message is one
 * struct of fixed size, and descriptors may come with it.  Neither side
 * believes the other: what is not exactly of that size, carries other
 * descriptors than the receiver takes, or is cut, is CHANNEL_BROKEN.  What is
 * in the struct is the receiver's to check (enums, texts, numbers).
 *
 * Room: base.  Any thread; one reader and one writer at a time.
 */
#ifndef BASE_CHANNEL_H
#define BASE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#define CHANNEL_FDS 16 /* descriptors of one message at most */

enum channel_end {
	CHANNEL_DONE,   /* the whole message is sent, or here */
	CHANNEL_LATE,   /* not within the time */
	CHANNEL_CLOSED, /* the other end is gone */
	CHANNEL_BROKEN  /* not a message of this kind, or errno says why */
};

/* What a received descriptor must be. */
enum channel_type {
	CHANNEL_FILE,     /* a file, pipe or terminal that can be written */
	CHANNEL_TEXT,     /* an ordinary file that can only be read */
	CHANNEL_LISTENER, /* TCP, listening */
	CHANNEL_LOCAL,    /* AF_UNIX, listening */
	CHANNEL_PAIR,     /* AF_UNIX, SOCK_SEQPACKET, connected */
	CHANNEL_SEALED    /* memory that nobody can change: base/sealed.h */
};

/* A pair, close-on-exec and non-blocking.  False with errno. */
bool channel_pair(int pair[2]);
/*
 * Send n octets and descriptors (borrowed).  Waits for room, wait_ms at most.
 */
enum channel_end channel_send(int fd, const void *msg, size_t n, const int *fds,
    unsigned n_fds, int wait_ms);
/*
 * Receive exactly n octets, and at most CHANNEL_FDS descriptors, which are the
 * caller's then and close-on-exec.  Waits wait_ms at most; 0: not.  Nothing is
 * left open when the result is another than CHANNEL_DONE.
 */
enum channel_end channel_recv(int fd, void *msg, size_t n, int fds[CHANNEL_FDS],
    unsigned *n_fds, int wait_ms);
/*
 * The same of a message of any length up to `most`; *n: which it has.
 * wait_ms < 0: for ever, on a socket that blocks.  CHANNEL_CLOSED with
 * ECONNRESET in errno: the other end has not read all that was sent to it.
 */
enum channel_end channel_take(int fd, void *msg, size_t most, size_t *n,
    int fds[CHANNEL_FDS], unsigned *n_fds, int wait_ms);
/* Is a descriptor what it should be? */
bool channel_is(int fd, enum channel_type);
/* All of them, at once: also sockets that linger. */
void channel_close(const int *fds, unsigned n);
/*
 * Close a channel whose other end is nobody's any more, with all descriptors
 * that have not been read from it, as channel_close() does.
 */
void channel_end(int fd);

#endif
