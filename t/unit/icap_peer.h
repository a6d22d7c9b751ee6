/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ICAP server for tests, in threads, that does what a function says; and a
 * rig around the client: a loop, a service, messages, bodies.
 */
#ifndef ICAP_PEER_H
#define ICAP_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/loop.h"
#include "icap/icap.h"
#include "scanners/scanner.h"

struct peer;

/* One connection; a request of it at a time. */
struct peer_conn {
	struct peer *peer;
	int fd;
	unsigned nth;     /* connection of the peer, from 0 */
	unsigned request; /* REQMOD and RESPMOD on it, from 0 */
	char head[16384]; /* ICAP head, NUL-terminated */
	char http[32768]; /* encapsulated heads */
	size_t http_n;
	unsigned char *body; /* decoded so far */
	size_t body_n, body_cap;
	bool ieof;
	bool slow;                /* write byte by byte */
	unsigned char raw[65536]; /* read, not yet used */
	size_t raw_at, raw_n;
};

/* serve is called for each REQMOD and RESPMOD, in the connection's thread; false: close. */
typedef bool (*peer_fn)(struct peer_conn *);

/* options: whole answer to OPTIONS, NULL: a usual one; "": close. */
struct peer *peer_new(const char *options, peer_fn serve);
uint16_t peer_port(const struct peer *);
void peer_free(struct peer **);
/* How many connections, OPTIONS requests and transactions there were. */
unsigned peer_conns(const struct peer *);
unsigned peer_asked(const struct peer *);
unsigned peer_served(const struct peer *);

/* Chunks up to and with a zero chunk, appended to body.  False: cut. */
bool peer_read_body(struct peer_conn *);
bool peer_write(struct peer_conn *, const char *text);
bool peer_write_bytes(struct peer_conn *, const void *, size_t);
bool peer_write_chunk(struct peer_conn *, const void *, size_t);
void peer_reset(struct peer_conn *);
void peer_pause(unsigned ms);

/* The client's side. */
struct rig {
	struct loop *loop;
	struct body_store store;
	struct icap_shared shared;
	struct resolver *resolver;
	struct dialer *dialer;
	struct icap_options options; /* change before rig_start() */
	struct scanner *scanner;
	struct timer guard;
	unsigned late; /* the guard stopped it */
	unsigned notices;
	bool up;
};

void rig_init(struct rig *);
/* Services on these ports of 127.0.0.1; 0 ends the list. */
void rig_start(struct rig *, uint16_t port, uint16_t port2);
/* Frees the peers as well; peer2 may be NULL. */
void rig_end(struct rig *, struct peer **peer, struct peer **peer2);
/* Only what rig_init() has made: no service was started. */
void rig_fini(struct rig *);
/* Let the loop run for so long. */
void rig_wait(struct rig *, unsigned ms);

/* One scan of one message. */
struct
try {
	struct rig *rig;
	struct arena *arena;
	struct scan_message msg;
	struct scan_who who;
	struct scan scan;
	struct task task;
	struct body *body; /* adapted, taken */
	struct reader reader, keeper;
	unsigned char *got; /* of the adapted body */
	size_t got_n, got_cap;
	enum pull end; /* of the adapted body; PULL_MORE: none or unread */
	bool ended;
	bool hold;                  /* do not read the adapted body */
	struct timer pace;          /* of a slow body */
	struct test_source *source; /* of the message's body; its own */
};

/* What the message's body does. */
struct try_body {
	size_t size;
	bool known;        /* Content-Length */
	size_t cut_at;     /* > 0: the sender stops here */
	size_t piece;      /* > 0: so many bytes at a time ... */
	unsigned every_ms; /* ... each so many ms */
};

/* Heads as text; resp NULL: REQMOD.  body NULL: none. */
void try_init(struct try *, struct rig *, const char *req, const char *resp,
    const struct try_body *body);
void try_start(struct try *);
/* Run the loop until this one is over, adapted body included. */
void try_wait(struct try *);
void try_run(struct try *); /* both */
void try_fini(struct try *);
/* Byte i of every test body. */
unsigned char try_byte(size_t i);
/* Are these the bytes from..from+n of a test body? */
bool try_is_body(const unsigned char *p, size_t n, size_t from);

#endif
