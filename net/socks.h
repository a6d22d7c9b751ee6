/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SOCKS5, the client's side of CONNECT: octets in, octets out, no I/O.
 * Methods: none, and user with password where there is one.  Nothing behind
 * the last octet of the server's answer is taken.
 *
 * Room: net.  Thread: its owner's.  Obeys RFC 1928, RFC 1929.
 */
#ifndef NET_SOCKS_H
#define NET_SOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/chunk.h"
#include "base/fault.h"
#include "base/str.h"

#define SOCKS_TEXT 255 /* the longest host, user and password */

enum socks_step {
	SOCKS_MORE, /* all of the input was taken; send what is in out */
	SOCKS_OPEN, /* exactly the answer was taken: the tunnel is open */
	SOCKS_BAD   /* cause in the fault; final */
};

enum socks_at { SOCKS_AT_METHOD, SOCKS_AT_USER, SOCKS_AT_REPLY, SOCKS_AT_END };

struct socks_want {
	/* the host is this address (borrowed for the call); NULL: a name */
	const struct sockaddr *address;
	struct str host; /* 1..SOCKS_TEXT octets, which the server looks up */
	uint16_t port;
	/* 1..SOCKS_TEXT octets each; absent: there is none */
	struct str user, password;
};

/* Embedded. */
struct socks {
	enum socks_at at;
	struct socks_want want; /* strings and address are borrowed */
	unsigned char in[4 + 1 + SOCKS_TEXT + 2]; /* of the answer so far */
	unsigned n;
	bool greeted;
	unsigned char reply; /* what it said, SOCKS_AT_REPLY; 0: nothing yet */
};

/* Begin: the greeting is added to out. */
void socks_begin(struct socks *, const struct socks_want *, struct buf *out);
/*
 * Go on with what has come; what is to be sent next is added to out.
 *
 * Faults: ERR_PARENT_PROTOCOL; ERR_PARENT_AUTH: no method in common, or the
 * password is refused; ERR_PARENT_DENIED: reply 2; ERR_CONNECT_FAIL: 3, 4;
 * ERR_CONNECT_REFUSED: 5; ERR_CONNECT_TIMEOUT: 6; ERR_PARENT_STATUS: others.
 */
enum socks_step socks_feed(struct socks *, struct chq *in, struct buf *out,
    struct fault *f);
/* Has it shown that it is a SOCKS5 server? */
bool socks_has_greeted(const struct socks *);

#endif
