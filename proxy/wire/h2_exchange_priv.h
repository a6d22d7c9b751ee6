/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of an HTTP/2 exchange share.
 * Room: proxy/wire, h2_exchange.c and h2_duplex.c only.
 */
#ifndef PROXY_WIRE_H2_EXCHANGE_PRIV_H
#define PROXY_WIRE_H2_EXCHANGE_PRIV_H

#include "proxy/wire/duplex.h"
#include "proxy/wire/h2_exchange.h"
#include "stream/pace.h"
#include "stream/sink.h"

struct h2_exchange {
	struct exchange x;
	struct list link;         /* of the server */
	struct h2_server *server; /* borrowed */
	struct h2_stream *st;     /* owned */
	struct source src;        /* the request's body ... */
	struct pace pace;         /* ... and how it comes */
	uint64_t silent_since;    /* ms; 0: nobody waits for octets */
	bool in_body;             /* src is lent, and has not ended */
	bool starved;             /* src waits for the stream */
	bool expects;             /* it waits for "100 Continue" */
	bool answered;
	bool extended;      /* its request was an extended CONNECT */
	bool switched;      /* ... which is granted */
	struct duplex raw;  /* of that */
	bool interim;       /* one is not given to the link yet */
	bool wants_interim; /* its flow waits to send another one */
	struct sink sink;   /* the answer's body ... */
	enum http_length length_is;
	uint64_t left;    /* ... LENGTH_KNOWN: to be written yet */
	uint64_t in, out; /* octets so far, about */
	bool looked;      /* at what is taken: who never waits costs no look */
	uint64_t taken_by[3]; /* ... by enum h2_wait, then */
	uint64_t taken;       /* what counts as taken of this one */
	uint64_t written;     /* of the body */
};

/* Something was written: the server gives it to the link. */
void h2_exchange_to_send(const struct h2_exchange *);
/* The stream's octets from now on: lent until exchange_end(). */
struct duplex *h2_duplex_begin(struct h2_exchange *);

#endif
