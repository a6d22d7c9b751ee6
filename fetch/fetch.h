/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What assay gets for itself (lists, CRLs, OCSP responses, certificates of
 * issuers) is got by a process of its own, fetch/fetcher.h: whoever asks has
 * neither the connection nor the HTTP and TLS client in its memory.  This is
 * the asking side.  It believes nothing that the process says: what comes is
 * octets in sealed memory, no more than were asked for, and a result whose
 * every field was looked at.  What the octets mean, and whether they are
 * genuine, is the caller's to find out; so is keeping them.
 *
 * Room: fetch.  A client belongs to the thread of its home loop; fetch_start()
 * is called from any loop's thread, and its answer comes to that loop.
 * Units: ms, s where it says so.
 */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/loop.h"

#define FETCH_URL_MAX 2048 /* with its NUL, as the following */
#define FETCH_ETAG_MAX 128
#define FETCH_WHY_MAX 160
#define FETCH_BODY_MAX 1024      /* octets of a request */
#define FETCH_MOST 256           /* asked for at the same time */
#define FETCH_SHARE(n) ((n) / 4) /* of a kind that does not go first */
#define FETCH_GRACE_MS 2000 /* behind its deadline it has stopped answering */

enum fetch_kind {
#define K(name, text, most, ms, first) FETCH_##name,
#include "fetch/kind.def"
#undef K
	FETCH_KINDS
};

enum fetch_outcome {
#define O(name, text) FETCH_##name,
#include "fetch/outcome.def"
#undef O
	FETCH_OUTCOMES
};

struct fetch;
struct fetch_ticket;
struct sandbox_report;

/* Borrowed for the call of fetch_start(). */
struct fetch_request {
	enum fetch_kind kind;
	const char *url;
	uint64_t max_bytes;   /* 0: what the kind allows, as for more */
	unsigned deadline_ms; /* from now to the last octet; 0: likewise */
	/* of what there is already; NULL or "" and 0: it comes in any case */
	const char *etag;
	int64_t since;    /* its answer's modified */
	const void *body; /* FETCH_OCSP: the request, if by POST; no other's */
	size_t body_n;    /* <= FETCH_BODY_MAX */
};

struct fetch_answer {
	enum fetch_outcome outcome;
	unsigned status; /* of HTTP, the last; 0: none came */
	/*
	 * FETCH_DONE: sealed memory (base/sealed.h) of size octets, closed
	 * behind ready() unless that has taken it and set -1 here.  Else -1.
	 */
	int fd;
	size_t size;
	/* s that HTTP calls it fresh for (RFC 9111 4.2.1); -1: not said */
	int64_t fresh_s;
	int64_t modified;          /* s since 1970; 0: not said */
	char etag[FETCH_ETAG_MAX]; /* "": none */
	char why[FETCH_WHY_MAX]; /* printable; more about a failure; "": none */
};

/* Embedded; {0} is a wait that was not started. */
struct fetch_wait {
	/* Once, later, on the loop's thread. */
	void (*ready)(struct fetch_wait *, struct fetch_answer *);
	struct fetch_ticket *ticket; /* NULL: not waiting */
};

/* On the home loop's thread; may attach another, not free the client. */
struct fetch_events {
	/* The process works, in this sandbox. */
	void (*works)(void *arg, const struct sandbox_report *);
	/*
	 * The process that was attached last is gone, has said nonsense, or
	 * does not answer; what was asked of it has failed.  It sees the end
	 * of its socket.  why NULL: it has closed that.
	 */
	void (*lost)(void *arg, const char *why);
	void *arg;
};

struct fetch *fetch_new(struct loop *home, const struct fetch_events *);
/*
 * Ask the process at the other end of fd (taken; CHANNEL_PAIR) from now on.
 * Another that was attached before still answers what it was asked.
 */
void fetch_attach(struct fetch *, int fd);
/*
 * What is waited for fails.  Before any loop that waits is freed; no
 * fetch_cancel() comes behind it.
 */
void fetch_free(struct fetch **);

/*
 * Ask.  w->ready is set by the caller.  Never blocks; a request that is not
 * one (URL too long, or with octets that a URL has not) fails like any other.
 */
void fetch_start(struct fetch *, struct loop *, struct fetch_wait *w,
    const struct fetch_request *);
/* ready() will not be called any more; idempotent.  On the loop's thread. */
void fetch_cancel(struct fetch_wait *w);

struct fetch_stats {
	unsigned long asked, done, same, failed;
	unsigned pending;
	bool attached; /* there is a process */
};
void fetch_stats(struct fetch *, struct fetch_stats *);

/* "its name has no address" */
const char *fetch_outcome_text(enum fetch_outcome);

#endif
