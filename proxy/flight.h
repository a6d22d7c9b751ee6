/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight record: what is under way in a serving process, in memory that
 * its supervisor keeps when it dies.  One slot a flow or tunnel: reference,
 * client, host, how far it has come.  No path, no field, no content.
 *
 * The process writes by plain stores, each worker into slots of its own; who
 * reads it afterwards believes nothing: what comes out of flight_next() is
 * checked, bounded and printable, whatever stands there.  The memory is sealed
 * in its size, so that nobody is hurt by its end (SIGBUS).
 *
 * It also has the words of the watchdog: each worker's ticks, and what it
 * works on at the moment.
 *
 * Room: proxy.  Thread: flight_new() and the readers any, the rest its
 * worker's.
 */
#ifndef PROXY_FLIGHT_H
#define PROXY_FLIGHT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/str.h"

#define FLIGHT_TICK_MS 5000 /* how often a worker says that it moves */
#define FLIGHT_WORKERS 1024
#define FLIGHT_SLOTS 65536u /* shared out among the workers */
#define FLIGHT_HOST 156
#define FLIGHT_CLIENT 48
#define FLIGHT_REFERENCE 16

struct sockaddr;

/* How it came, and how it would be recorded. */
enum flight_mode { FLIGHT_PLAIN, FLIGHT_OPENED, FLIGHT_TUNNEL, FLIGHT_MODES };
enum flight_log {
	FLIGHT_LOG_FULL,
	FLIGHT_LOG_MINIMAL,
	FLIGHT_LOG_NONE, /* no record of it is wanted */
	FLIGHT_LOGS
};

/* In the shared memory. */
struct flight_slot {
	_Atomic uint32_t used; /* 0: free */
	uint8_t mode, log, state;
	uint8_t unused;
	uint16_t client_port, host_port;
	char reference[FLIGHT_REFERENCE]; /* each text ends in a NUL */
	char client[FLIGHT_CLIENT];
	char host[FLIGHT_HOST];
	uint64_t started;  /* Unix ms */
	uint64_t up, down; /* octets of the bodies */
};

struct flight_worker {
	_Atomic uint32_t ticks;  /* 0: it does not run */
	_Atomic uint32_t thread; /* its number, for tgkill(2) */
	volatile uint32_t at;    /* the slot that it works on; 0: none */
	char unused[52];         /* a cache line is one worker's */
};

struct flight_memory {
	struct flight_worker worker[FLIGHT_WORKERS];
	struct flight_slot slot[FLIGHT_SLOTS];
};

_Static_assert(sizeof(struct flight_slot) == 256, "whole cache lines");
_Static_assert(sizeof(struct flight_worker) == 64, "one cache line");

/* The supervisor's side. */

/* New memory, empty, its size sealed.  -1 with errno. */
int flight_memory_new(void);
/* The words of the workers, for reading; NULL with errno. */
const struct flight_worker *flight_words(int fd);
void flight_words_end(const struct flight_worker **);

/* What a slot said, checked: the texts are printable ASCII. */
struct flight_seen {
	uint32_t slot; /* 1, 2, ... as a crash report says it */
	enum flight_mode mode;
	enum flight_log log;
	uint16_t client_port, host_port;
	char reference[FLIGHT_REFERENCE];
	char client[FLIGHT_CLIENT]; /* an address */
	char host[FLIGHT_HOST];     /* may be empty */
	uint64_t started;
	uint64_t up, down;
};

/* Reads it from the begin on; {.fd = fd}, borrowed. */
struct flight_reader {
	int fd;
	uint32_t next;
};

/* The next flow that was under way; false: there is no more. */
bool flight_next(struct flight_reader *, struct flight_seen *);
/* It has been dealt with: no reader sees it again. */
void flight_forget(int fd, uint32_t slot);

/* The serving process's side. */

struct flight;

/*
 * Map fd (it may be closed then; -1: memory of our own, which nobody reads) for
 * so many workers.  NULL with errno: it is no memory of this kind.
 */
struct flight *flight_new(int fd, unsigned workers);
void flight_free(struct flight **);

/* A worker's part of it.  Embedded. */
struct flight_part {
	struct flight_slot *first; /* number 1; its own begin at from */
	struct flight_worker *words;
	uint32_t from, to; /* numbers of its slots, which begin at 1 */
	uint32_t *spare;   /* owned: numbers given back, the last one on top */
	uint32_t n_spare, unused; /* unused: the first that never was */
};

/* On its thread: from now on it ticks, and crash reports say its slot. */
void flight_part_begin(struct flight_part *, struct flight *, unsigned worker);
void flight_part_end(struct flight_part *);

struct flight_facts {
	const char *reference;
	const char *client; /* its address as text */
	uint16_t client_port;
	struct str host; /* may be empty, and longer than there is room for */
	uint16_t host_port;
	enum flight_mode mode;
	uint64_t started; /* Unix ms */
};

/* The number of its slot; 0: all are used, which the functions below take. */
uint32_t flight_begin(struct flight_part *, const struct flight_facts *);
void flight_end(struct flight_part *, uint32_t slot);

static inline void
flight_tick(struct flight_part *p)
{
	uint32_t n = atomic_load_explicit(&p->words->ticks,
			 memory_order_relaxed) +
	    1;

	atomic_store_explicit(&p->words->ticks, n > 0 ? n : 1,
	    memory_order_relaxed);
}

/* The worker works on it from now on; 0: on none. */
static inline void
flight_at(struct flight_part *p, uint32_t slot)
{
	p->words->at = slot;
}

/* A number of the flow's or tunnel's states, for whoever reads the memory. */
static inline void
flight_state(struct flight_part *p, uint32_t slot, uint8_t state)
{
	if (slot != 0)
		p->first[slot - 1].state = state;
}

/* It is decided how it is recorded. */
static inline void
flight_record_as(struct flight_part *p, uint32_t slot, enum flight_log log)
{
	if (slot != 0)
		p->first[slot - 1].log = (uint8_t)log;
}

static inline void
flight_count(struct flight_part *p, uint32_t slot, uint64_t up, uint64_t down)
{
	if (slot == 0)
		return;
	p->first[slot - 1].up = up;
	p->first[slot - 1].down = down;
}

#endif
