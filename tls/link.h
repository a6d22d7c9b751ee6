/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One transport for everything: a connected socket, plain or with TLS on it.
 * Buffers are ours: GnuTLS pulls from what was read from the kernel and
 * pushes into a bounded output buffer that is flushed once per turn.
 *
 * A link wakes its owner's task when it was told to wait for something
 * (PULL_WAIT of link_read, no link_room, a handshake under way).
 *
 * Room: tls.  Units: bytes.  Thread: its loop's.
 */
#ifndef TLS_LINK_H
#define TLS_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include "base/chunk.h"
#include "base/fault.h"
#include "base/loop.h"
#include "stream/source.h"

struct account;
struct link;
struct gnutls_session_int;

/*
 * Over a connected (or connecting) non-blocking socket, which it owns.
 * owner is borrowed and may be changed.
 */
struct link *link_new(struct loop *, int fd, struct task *owner);
void link_set_owner(struct link *, struct task *owner);
/*
 * It is a client's: looked at after the others (watch_behind), and its
 * descriptor is one of BUDGET_CLIENTS.  Before it is used or charged.
 */
void link_of_client(struct link *);
/*
 * For whom it is there (counted until the next call or the end; NULL: nobody).
 * Output that its peer does not take is his memory; where he has no more, it
 * gets little room.  Its descriptor is his, and an end that takes time
 * (LINK_CLOSE), too; where he has too many of these, they are short.
 */
void link_charge_to(struct link *, struct account *);

/*
 * Put TLS on it: the session (owned from now on) has credentials and
 * priorities set and has not been used.  Bytes already in the input queue
 * (a ClientHello that was peeked at) are the session's first.  What was
 * written before goes out before it, plain.
 */
void link_start_tls(struct link *, struct gnutls_session_int *session);
struct gnutls_session_int *link_tls(const struct link *); /* NULL: plain */
/*
 * Drive the handshake: PULL_END done, PULL_WAIT the owner will be woken,
 * PULL_FAIL with cause in f (alert sent).  cause: the error code to use.
 */
enum pull link_handshake(struct link *, enum err cause, struct fault *f);

/* Its client names a host with an underscore; before the handshake. */
void link_odd_name(struct link *);
/*
 * A client's: a server that asks for a new handshake (TLS 1.2, RFC 5246
 * 7.4.1.1; for a certificate that it does not insist on) gets one, if it
 * indicates renegotiation safely (RFC 5746).  GnuTLS sees to it that the
 * server stays who it was.  More than two, or without the indication: the
 * alert no_renegotiation.  Without this call any such request ends the link.
 */
void link_may_reshake(struct link *);
/* A server's: a ticket goes out with the next output (tls_server_ticket). */
void link_ticket_due(struct link *);

/*
 * Read decrypted bytes.  PULL_MORE: 1..want appended.  PULL_END: the peer
 * ended in order (close_notify, or FIN on a plain link).  PULL_CUT: FIN
 * without close_notify.  PULL_FAIL: reset or a TLS error; errno-like text in
 * link_error().  PULL_WAIT only when kernel and TLS library are both dry: the
 * owner is woken when bytes or an end arrive.
 */
enum pull link_read(struct link *, struct chq *out, size_t want);
/*
 * What is below it may be cut, which a plain link cannot see: if *cut is true
 * when its bytes end, that is PULL_CUT.  cut is borrowed as long as the owner
 * has the link.
 */
void link_cut_by(struct link *, const bool *cut);
/* Does the owner wait for bytes that have not come? */
bool link_is_waiting(const struct link *);
/* Give bytes back in front of what is to be read next. */
void link_unread(struct link *, struct chq *q);
/*
 * While nobody waits in link_read, a link still notices that its peer ends:
 * it reads ahead a little, and wakes the owner when FIN or a reset is seen.
 * One that never had to wait does so from link_look() on only.
 */
void link_look(struct link *);
bool link_peer_gone(const struct link *);
/*
 * Has it ended behind more than is read ahead?  What it sent is still to be
 * had.  A reset is never behind anything.
 */
bool link_peer_left(const struct link *);
/* Is anything to be read, or has it ended (asked of a pooled connection before reuse)?  TLS tickets do not count. */
bool link_is_stale(struct link *);

/* How many plaintext bytes may be written now; 0: the owner is woken when that changes. */
size_t link_room(struct link *);
/* Bytes that wait to be sent, sealed or not. */
size_t link_pending(const struct link *);
/* Append to the output; sent at the end of the turn or when a buffer is full. */
void link_write(struct link *, const void *p, size_t n);
/* The same for n bytes from the front of q, which lose them. */
void link_write_chq(struct link *, struct chq *q, size_t n);
/* Send what can be sent now. */
void link_flush(struct link *);
/* Everything written has been taken by the kernel. */
bool link_drained(const struct link *);
/* The output failed (reset, EPIPE): nothing more will go out. */
bool link_broken(const struct link *);
/* Text for logs: what made it fail, "" if nothing. */
const char *link_error(const struct link *);

uint64_t link_bytes_in(const struct link *); /* on the wire */
uint64_t link_bytes_out(const struct link *);
/* Of those: what the peer's system has taken (TCP's acknowledgement). */
uint64_t link_taken(const struct link *);

/* End our side in order: what is queued, close_notify, FIN.  Reading goes on. */
void link_shutdown(struct link *);
enum link_end {
	LINK_CLOSE, /* shutdown, then a short lingering read, then close */
	/* shutdown and close at once: all that was said was answered */
	LINK_QUIT,
	LINK_ABORT /* at once, without close_notify, reset: a visible cut */
};
/* Gives the link up; *l is NULL.  LINK_CLOSE finishes on its own in bounded time. */
void link_close(struct link **l, enum link_end how);
/*
 * Take the socket out (for splice): input not yet read is in *left, output
 * not yet sent in *unsent; plain links only.
 */
int link_take_fd(struct link **l, struct chq *left, struct chq *unsent);

/* The thread ends: free the buffers that its links shared. */
void link_thread_fini(void);

#endif
