/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sink of an HTTP/1 message on a link: content by length, in chunks, or
 * until the connection ends.  The head is written by the sink's owner.
 *
 * Room: proxy.  Thread: its loop's.  Obeys RFC 9112 6, 7.1.
 */
#ifndef PROXY_WIRE_H1_SINK_H
#define PROXY_WIRE_H1_SINK_H

#include "http/h1_frame.h"
#include "http/msg.h"
#include "stream/sink.h"
#include "tls/link.h"

/* Embedded in the connection; {0} is lent to nobody. */
struct h1_sink {
	struct sink sink;
	struct link *link;       /* borrowed */
	enum h1_framing framing; /* on the wire */
	uint64_t left; /* FRAMING_LENGTH: octets still to be written */
};

/*
 * For the body that msg announces, whose head has been written with this
 * framing.  wake: the task of the one who fills
 * it; the link's owner calls h1_sink_wake(), unless that task is the owner.
 * A body that breaks off leaves the sink without its end: the connection must
 * be closed visibly then.
 */
struct sink *h1_sink_begin(struct h1_sink *, struct link *,
    const struct http_msg *msg, enum h1_framing, struct task *wake);
/* The link's owner runs: if there is room that was waited for, go on. */
void h1_sink_wake(struct h1_sink *);
/* Is a message under way in it, or has one broken off? */
bool h1_sink_is_open(const struct h1_sink *);

#endif
