/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The messages of the scan master and its scanners.  Each is one struct of
 * fixed size in one packet of a SOCK_SEQPACKET socket; there are no others.
 *
 *   owner   -> master   OPEN ATTACH LEAVE PING   who started it, descriptor 3
 *   master  -> owner    READY FAILED CHANGED TIRED PONG CRASHED
 *   server  -> master   NEW KILL                 who has bodies
 *   master  -> server   READY DIED
 *   server  -> scanner  SCAN
 *   scanner -> server   BORN VERDICT
 *
 * Nobody believes what he is told: whoever gets a message of another size, of
 * a kind that is not his, with another number of descriptors or a value out
 * of range takes it for a fault of the sender's process, and ends that.
 *
 * Room: scanners.  Thread: any.  Units: bytes, monotonic ms.
 */
#ifndef SCANNERS_CLAM_WIRE_H
#define SCANNERS_CLAM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/channel.h"
#include "base/sandbox.h"
#include "scanners/clam_core.h"
#include "scanners/decode.h"

#define CLAM_TEXT 160
#define CLAM_TYPE 512 /* of a longer Content-Type nothing is kept */
#define CLAM_FDS 2    /* with one message */
#define CLAM_PATH 4096
#define CLAM_SCANNERS 4096   /* of one server at most */
#define CLAM_SLOT (1u << 20) /* a scanner's memory for small bodies */

enum clam_kind {
	CLAM_OPEN = 1,
	CLAM_ATTACH, /* + a server's socket, instead of its one before */
	CLAM_LEAVE,  /* end when no server is there any more */
	CLAM_READY,
	CLAM_FAILED,
	CLAM_CHANGED, /* another database is there */
	CLAM_TIRED,   /* too many scanners have crashed */
	CLAM_PING,
	CLAM_PONG,
	CLAM_CRASHED, /* a scanner has; + its report */
	CLAM_NEW,     /* + the scanner's socket and slot */
	CLAM_KILL,
	CLAM_DIED,
	CLAM_BORN,
	CLAM_SCAN, /* + file, + memfd */
	CLAM_VERDICT,
	CLAM_KINDS
};

/* The first one, before anything else. */
struct clam_open {
	uint32_t kind;
	uint32_t watch_ms; /* how often the database is looked at */
	uint32_t scanners; /* of one server at most */
	uint32_t sandbox;  /* enum sandbox_mode */
	uint64_t temp;     /* temporary files of all scanners */
	struct clam_limits limits;
	struct sandbox_user user; /* whom it becomes; name "": nobody else */
	char db[CLAM_PATH];
	char temp_dir[CLAM_PATH]; /* in which it makes its own folder */
};

/*
 * ATTACH, LEAVE, CHANGED, TIRED, PING, PONG, NEW, KILL.  id: of a scanner, or
 * (ATTACH) of a server: it has one socket.  Else 0.
 */
struct clam_word {
	uint32_t kind;
	uint32_t id;
};

struct clam_ready {
	uint32_t kind;
	uint32_t signatures;
	uint32_t version; /* of the official daily database; 0: none */
	uint32_t fit;     /* it finds its test files */
	int64_t built_at;
	uint64_t life; /* another one for each master */
	char library[32];
	struct sandbox_report box; /* the master's */
};

struct clam_failed {
	uint32_t kind;
	char text[200];
};

struct clam_crashed {
	uint32_t kind;
	int32_t pid;
	int32_t how; /* as waitpid(2) says */
};

enum clam_death {
	CLAM_NOT_MADE,  /* of: errno */
	CLAM_EXITED,    /* of: status */
	CLAM_SIGNALLED, /* of: signal */
	CLAM_KILLED,    /* as it was asked to, or too late */
	CLAM_DEATHS
};

struct clam_died {
	uint32_t kind;
	uint32_t id;
	uint32_t how; /* enum clam_death */
	int32_t of;
};

struct clam_born {
	uint32_t kind;
	uint32_t fit;
	struct sandbox_report box;
};

/*
 * The body: file_bytes of the first descriptor, then memory_bytes of the next
 * one, then slot_bytes of the slot.  What is 0 has no descriptor.
 */
struct clam_scan_msg {
	uint32_t kind;
	uint32_t id;
	uint64_t file_bytes, memory_bytes, slot_bytes;
	uint64_t deadline;
	uint64_t temp_room; /* of files, that its client may still have */
	uint32_t blocks;    /* see struct clam_look */
	struct decode_list codings;
	char type[CLAM_TYPE];
};

struct clam_verdict {
	uint32_t kind;
	uint32_t id;      /* of the SCAN */
	uint32_t verdict; /* enum verdict: clean, unscanned or blocked */
	uint32_t gap;     /* enum scan_gap */
	uint64_t grown;   /* memory that it has more than when it was born */
	char threat[CLAM_TEXT];
	char reason[CLAM_TEXT];
	char note[CLAM_TEXT];
};

union clam_msg {
	uint32_t kind;
	struct clam_open open;
	struct clam_word word;
	struct clam_ready ready;
	struct clam_failed failed;
	struct clam_crashed crashed;
	struct clam_died died;
	struct clam_born born;
	struct clam_scan_msg scan;
	struct clam_verdict verdict;
};

struct clam_packet {
	union clam_msg m;
	int fd[CHANNEL_FDS]; /* the receiver's; -1: he has taken it */
	unsigned n_fds;
};

enum clam_got {
	CLAM_GOT,
	CLAM_NOTHING, /* not within the time */
	CLAM_ENDED,   /* the peer is gone */
	CLAM_UNREAD,  /* the same, and it had not read all that was sent */
	CLAM_BROKEN   /* that is no message of the kinds expected */
};

#define CLAM_BIT(kind) (1u << (kind))

/* kinds: CLAM_BITs that may come.  wait_ms: see channel_take(). */
enum clam_got clam_wire_recv(int fd, unsigned kinds, struct clam_packet *,
    int wait_ms);
/* Whatever descriptors came with it are closed. */
void clam_packet_drop(struct clam_packet *);
/* Take one of them. */
int clam_packet_take(struct clam_packet *, unsigned i);
/*
 * Send one of the structs above, kind set, without waiting.  fds stay the
 * caller's.  False: it was not sent.
 */
bool clam_wire_send(int fd, const void *msg, const int *fds, unsigned n_fds);
bool clam_wire_word(int fd, enum clam_kind, uint32_t id, const int *fds,
    unsigned n_fds);
/* A text that the other side shows: what is not printable becomes '?'. */
void clam_wire_text(char *to, size_t cap, const char *from);

#endif
