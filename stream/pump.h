/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pump: the one loop that moves a body, from a reader to a sink.  It
 * knows neither links nor framing.
 *
 * Room: stream.  Units: octets, ms.  Thread: its loop's.
 */
#ifndef STREAM_PUMP_H
#define STREAM_PUMP_H

#include "stream/body.h"
#include "stream/pace.h"
#include "stream/sink.h"

/* A body on its way out.  Embedded; {0} is not started. */
struct pump {
	struct reader reader;
	struct sink *sink;      /* borrowed; NULL: not started */
	uint64_t sent;          /* octets of content */
	uint64_t blocked_since; /* ms; 0: the peer takes what we have */
	uint64_t taken;   /* while blocked: sink_taken() at the last look */
	struct pace pace; /* of the peer, while blocked */
	enum pull end;    /* PULL_MORE: running */
	bool started;
	/* Is what goes out now all right?  NULL: always.  False ends it as PULL_FAIL. */
	bool (*check)(void *arg, const struct chq *);
	void *check_arg;
	/* What of the trailer (not NULL) goes out.  NULL: all of it. */
	const void *(*trim)(void *arg, const void *trailer);
	void *trim_arg;
};

/* Open a reader of the body with wake, at 0 and held there. */
void pump_hold(struct pump *, struct body *, struct task *wake);
/* The head is decided, which gave the sink: go on with the held reader. */
void pump_begin(struct pump *, struct sink *);
/*
 * Move what can be moved.  PULL_WAIT: woken later.  PULL_MORE: it has had its
 * share of this turn, and the reader's task is woken.  PULL_END: all is
 * written, its end included.  PULL_CUT, PULL_FAIL: the body broke off (or
 * disagrees with its length), and the sink is aborted.
 */
enum pull pump_run(struct pump *, uint64_t now);
/*
 * Running: write now what is released before offset to, though the body may
 * have broken off behind it.  True: all up to there has been written.
 */
bool pump_flush(struct pump *, uint64_t to);
/*
 * How does the peer take it?  silence: ms in which it took nothing at all.  A
 * window of TCP opens in steps, so only two slow times in a row count.
 */
enum pace_says pump_pace(struct pump *, uint64_t now, uint64_t silence,
    uint64_t rate);
/* When to look at that again, which is often while it is blocked; UINT64_MAX: it is not. */
uint64_t pump_pace_due(const struct pump *, uint64_t now, uint64_t silence);
/* Closes the reader and forgets the sink as it is; {0} again. */
void pump_stop(struct pump *);

#endif
