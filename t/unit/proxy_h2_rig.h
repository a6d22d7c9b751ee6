/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP/2 server of proxy/wire between nghttp2's own client and flows that
 * do what a test says.  One rig at a time; its loop is turned by the functions
 * below.
 *
 * Octet i of a body is lab_byte(the number of its stream, i), so that each side
 * can check what it gets; `wrong` counts what was none of them.
 */
#ifndef PROXY_H2_RIG_H
#define PROXY_H2_RIG_H

#include <nghttp2/nghttp2.h>
#include "proxy/wire/duplex.h"
#include "proxy/wire/h2_server.h"
#include "stream/body.h"
#include "t/unit/http_help.h"
#include "t/unit/tls_lab.h"

#define RIG_MS 20000  /* more than anything takes */
#define RIG_MOST 256u /* requests of one rig */

/* The client's half of a request. */
struct ask {
	int32_t id;
	bool asked;           /* its head is out */
	bool sends;           /* it has a body ... */
	size_t to_send, sent; /* ... so many octets yet, and so far ... */
	bool ends, sent_end;  /* ... which are the last, and are out */
	const char *trailer;  /* "name: value\n", or NULL */
	bool deferred;        /* nghttp2 waits for more of it */
	char interims[64];    /* "100 103 " */
	unsigned status;      /* 0: no answer yet */
	size_t got, unread;   /* octets of it; not consumed yet */
	bool ended;           /* by END_STREAM */
	char fields[256]; /* of the answer that begin with x- or sec-, ... */
	char behind[128]; /* ... and of its trailer, "name: value\n" */
	bool closed;      /* the stream */
	uint32_t code;    /* why */
};

/* The flow of an exchange. */
struct does {
	struct task task;
	struct exchange *x; /* NULL: it has ended */
	struct arena *arena;
	int32_t id;    /* of its stream, by its path or Referer; 0: unknown */
	char what[64]; /* "GET /1", of the request, or "" */
	enum err fault;
	bool expects;
	struct body *body;
	struct reader reader;
	size_t got;
	enum pull end;      /* of the request's body; PULL_MORE: not yet */
	struct sink *sink;  /* the answer's */
	struct duplex *raw; /* ... or this */
	uint64_t says;      /* octets, as does_answer() was told */
	size_t written;
	bool took, answered, whole;
	unsigned woken;
};

struct rig {
	struct loop *loop;
	struct task task;
	struct link *link; /* NULL: the server has closed it */
	struct h2_server h2;
	enum server_step step;
	bool drains;
	uint64_t request_ms, idle_ms;
	/* the client */
	int fd;
	nghttp2_session *ng;
	struct buf out;
	size_t piece; /* octets at once that reach the server; 0: all */
	bool keeps;   /* it opens no window by itself */
	bool mute;    /* it says nothing */
	bool eof;
	unsigned goaways;
	int32_t last_id; /* of the latest GOAWAY ... */
	uint32_t code;   /* ... and its code */
	struct ask ask[RIG_MOST];
	unsigned n_ask;
	struct does *does[RIG_MOST];
	unsigned n_does;
	unsigned wrong;
};

extern struct rig rig;

/* window: the client's for each answer; 0: 65535. */
void rig_begin(uint32_t window);
/* Ends what is open; nothing may be left behind. */
void rig_end(void);

/* Move octets once, and let everybody run. */
void rig_turn(void);
/* Move octets until nothing moves any more. */
void rig_settle(void);
/* Turn until it is so; false: it never was. */
bool rig_until(bool (*so)(void *), void *arg);

/* The client asks: "name: value" lines ended by LF.  sends: a body follows. */
struct ask *rig_ask(const char *head, bool sends);
/* A GET, or a POST with a body, of path "/" and the number of its stream. */
struct ask *rig_get(void);
struct ask *rig_post(void);
/* Octets of its body, and maybe its end. */
void rig_send(struct ask *, size_t n, bool end);
void rig_reset(struct ask *);
/* Let it take n octets that it got. */
void rig_consume(struct ask *, size_t n);

/* Its flow, once it has begun; NULL: there is none. */
struct does *rig_does(const struct ask *);
/* ... that began last. */
struct does *rig_last(void);
void does_body(struct does *);
/* Read up to n octets of the body. */
enum pull does_read(struct does *, size_t n);
void does_interim(struct does *, unsigned status);
/* length 0: no body; HTTP_LENGTH_UNKNOWN: one of unknown length. */
void does_answer(struct does *, unsigned status, uint64_t length);
/* Write up to n octets of the answer's body; returns how many. */
size_t does_write(struct does *, size_t n);
/* trailer: a field "x-t" behind it. */
void does_end(struct does *, bool trailer);
void does_finish(struct does *, enum exchange_end);

#endif
