/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sink contract: where the bytes of a body go.  A source is pulled, a
 * sink is filled; a pump (stream/pump.h) joins the two.  Framing is behind the
 * sink.  The functions below are the only callers of a sink's type and check
 * every promise.
 *
 * Whoever lends a sink owns it, and takes it back when the message is over.
 * sink.end says then how that went: anything but PULL_END is a message that
 * its peer must not take for a whole one.
 * Room: stream.  Units: octets.  Thread: its loop's.
 */
#ifndef STREAM_SINK_H
#define STREAM_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/chunk.h"
#include "base/loop.h"
#include "stream/source.h"

struct sink;

struct sink_type {
	const char *name;
	/*
	 * How many octets of content it takes now.  After 0 the sink's owner
	 * must call sink_wake() when there is room, or when there never will
	 * be any.
	 */
	size_t (*room)(struct sink *);
	/*
	 * Take the first n octets of q, at most what room() said, which lose
	 * them.  False: they are more than was announced; none was taken.
	 */
	bool (*write)(struct sink *, struct chq *q, size_t n);
	/*
	 * The body is complete.  trailer is what came behind it (struct
	 * http_fields, opaque here), borrowed, or NULL.  PULL_END: its end is
	 * written.  PULL_CUT: it is shorter than was announced.
	 */
	enum pull (*end)(struct sink *, const void *trailer);
	/*
	 * The body broke off, and its peer must see that: from here on
	 * nothing more of this message is written.  May be NULL where the
	 * owner sees to that when it finds the sink without its end.
	 */
	void (*abort)(struct sink *);
	/* Octets, framing included, that the peer has acknowledged so far. */
	uint64_t (*taken)(struct sink *);
};

struct sink {
	const struct sink_type *type; /* NULL: lent to nobody */
	struct task *wake;            /* borrowed: the pump's */
	enum pull end;                /* PULL_MORE: it is being filled */
	bool waiting;                 /* there was no room at the last look */
};

/* wake: the task of the one who fills it. */
void sink_init(struct sink *, const struct sink_type *, struct task *wake);
/* Its owner: there is room.  Wakes the task, if it waits for that. */
void sink_wake(struct sink *);

/* 0: its task will be woken. */
size_t sink_room(struct sink *);
/* n > 0, at most what sink_room() has said.  False: the sink is aborted. */
bool sink_write(struct sink *, struct chq *q, size_t n);
/* PULL_END; PULL_CUT: shorter than announced, and the sink is aborted. */
enum pull sink_end(struct sink *, const void *trailer);
/* An end was said already: nothing. */
void sink_abort(struct sink *);
uint64_t sink_taken(struct sink *);

#endif
