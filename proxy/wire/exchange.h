/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An exchange: the client's half of one request, whatever its protocol.  A
 * server (server.h) makes one when there is a request, or when it has to be
 * told what is wrong with what came instead; a flow answers it and ends it.
 * The flow never sees the connection, which may carry other exchanges.
 *
 * The order: exchange_interim() and exchange_continue() any number of times,
 * exchange_respond() once, the sink until its end (or exchange_switch()); exchange_end() at any time,
 * once.  The body of the request may be had from the begin to the end.  While
 * the exchange is there, its server wakes `wake` when a fact changes that is
 * marked with (w).
 *
 * Room: proxy/wire.  Units: octets, ms.  Thread: its loop's.
 */
#ifndef PROXY_WIRE_EXCHANGE_H
#define PROXY_WIRE_EXCHANGE_H

#include "base/arena.h"
#include "base/fault.h"
#include "base/loop.h"
#include "http/msg.h"
#include "proxy/wire/duplex.h"
#include "stream/body.h"
#include "stream/pace.h"
#include "stream/sink.h"

struct exchange;

enum exchange_end {
	EXCHANGE_DONE, /* the answer is complete, its body has ended */
	/* it is not, or there is none: its client must see that */
	EXCHANGE_ABORT,
	/* not over HTTP/2: its client asks again over HTTP/1.1 */
	EXCHANGE_HTTP1,
	/* CONNECT is granted: what follows is not HTTP of ours */
	EXCHANGE_TUNNEL
};

struct exchange_type {
	bool http2; /* for the record: HTTP/2, else HTTP/1.x */
	/* What the functions below say. */
	struct body *(*body)(struct exchange *, struct body_store *);
	void (*interim)(struct exchange *, const struct http_msg *);
	bool (*takes_interim)(struct exchange *);
	void (*go_on)(struct exchange *);
	struct sink *(*respond)(struct exchange *, struct http_msg *,
	    bool has_body, bool keep);
	/* May be NULL, where no request can ask for that. */
	struct duplex *(*switched)(struct exchange *, struct http_msg *);
	void (*end)(struct exchange *, enum exchange_end);
	enum pace_says (*pace)(struct exchange *, uint64_t now,
	    uint64_t silence, uint64_t rate);
	uint64_t (*pace_due)(const struct exchange *, uint64_t now,
	    uint64_t silence, uint64_t rate);
	void (*count)(struct exchange *, uint64_t *in, uint64_t *out);
};

/* Embedded in what its server has of it.  The fields are for the flow to read. */
struct exchange {
	const struct exchange_type *type;
	struct task *wake; /* borrowed: the flow's; NULL: it is not there yet */
	/* owned, until the flow takes it; charged already */
	struct arena *arena;
	struct http_msg *req; /* in the arena; NULL: no request could be read */
	struct fault fault;   /* not ERR_NONE: it is refused, and gets a page */
	/* no answer leaves, whatever is said: it is for the record */
	bool mute;
	uint64_t began_at; /* its first octet */
	/* (w) from then on its client counts as gone; 0: it is there */
	uint64_t gone_at;
};

/*
 * The flow is there: wake is its task.  It takes the arena, in which the
 * request is, and frees it after exchange_end().
 */
struct arena *exchange_take(struct exchange *, struct task *wake);
/*
 * The body of the request, a new one (one reference); NULL: there is none.
 * Once, and before the answer.  What of it is unread when the exchange ends is
 * cut for all its readers.
 */
struct body *exchange_body(struct exchange *, struct body_store *);
/* Send a head with status 1xx, if the client knows such.  Only before the answer. */
void exchange_interim(struct exchange *, const struct http_msg *);
/* May an interim head be sent now?  (w) False: later. */
bool exchange_takes_interim(struct exchange *);
/* The body is wanted: "100 Continue", if the client waits for it.  May be repeated. */
void exchange_continue(struct exchange *);
/*
 * Send the head of the answer.  has_body: a body follows; its sink is returned,
 * lent until exchange_end(), and wakes the exchange's task.  Else NULL, and the
 * answer is complete.  keep: as far as the flow is concerned the connection may
 * go on; the server decides, and says so in the head.
 */
struct sink *exchange_respond(struct exchange *, struct http_msg *,
    bool has_body, bool keep);
/*
 * Send the head of a switch of protocols (101), which must be allowed, in the
 * place of an answer.  What the client sends behind its request, and is sent
 * behind this head, are octets of the other protocol.  Lent until
 * exchange_end(); wakes the exchange's task.  gone_at means nothing any more.
 */
struct duplex *exchange_switch(struct exchange *, struct http_msg *);
/*
 * The flow has no more to do with it; *x becomes NULL.  EXCHANGE_DONE: after
 * exchange_respond(), and the sink has had its end, or exchange_switch().
 * EXCHANGE_HTTP1: before the answer, where type->http2 (RFC 9113 7).
 * EXCHANGE_TUNNEL: instead
 * of an answer; the server says that CONNECT is granted, and gives what it has
 * read beyond back to the link.  NULL: nothing.
 */
void exchange_end(struct exchange **x, enum exchange_end);

/*
 * How does the body of the request come, while it is waited for?  Silent for
 * silence ms, or slower than rate octets a second?
 */
enum pace_says exchange_pace(struct exchange *, uint64_t now, uint64_t silence,
    uint64_t rate);
/* When that may change for the worse, at the earliest; UINT64_MAX: never. */
uint64_t exchange_pace_due(const struct exchange *, uint64_t now,
    uint64_t silence, uint64_t rate);
/*
 * Octets on the wire of this exchange so far, heads and framing included, as
 * far as they can be told from others.
 */
void exchange_count(struct exchange *, uint64_t *in, uint64_t *out);

#endif
