/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HTTP/2 on one connection, both roles: octets in, octets and news out.  No
 * socket, no clock, no task: the owner feeds what it read, asks which streams
 * have news, and sends what waits.  Nothing calls the owner back.
 *
 *	h2_session_take(s, in, now_ms);
 *	do {
 *		while ((st = h2_session_next(s, &news)) != NULL)
 *			... head_take(), pull(), write(), free() ...
 *		n = h2_session_give(s, out, link_room(l));
 *	} while (n > 0);		(giving makes room: there may be news)
 *	if (h2_session_is_over(s))
 *		... send what was given, close ...
 *
 * What comes is held against RFC 9113 8 before it becomes a struct http_msg:
 * the rules of h1_head.h and, for requests, nothing that h1 would not let
 * through either.  A malformed message is the end of its stream, not of the
 * connection.  A peer that makes work without a purpose is told
 * ENHANCE_YOUR_CALM (http/h2_budget.c has the table).
 *
 * Windows: a stream's is given back by h2_stream_pull() alone, so that a body
 * nobody reads stops its sender; the connection's is given back as octets
 * come, so that a held stream never stops its siblings.
 *
 * Room: http.  Units: octets, ms.  Thread: its loop's.
 * Obeys RFC 9113, 7541, 8441, 9218.
 */
#ifndef HTTP_H2_H
#define HTTP_H2_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/chunk.h"
#include "base/fault.h"
#include "http/msg.h"
#include "stream/source.h"

struct account;
struct h1_limits;
struct h2_session;
struct h2_stream;

/* RFC 9113 7 */
enum h2_code {
	H2_NO_ERROR,
	H2_PROTOCOL_ERROR,
	H2_INTERNAL_ERROR,
	H2_FLOW_CONTROL_ERROR,
	H2_SETTINGS_TIMEOUT,
	H2_STREAM_CLOSED,
	H2_FRAME_SIZE_ERROR,
	H2_REFUSED_STREAM,
	H2_CANCEL,
	H2_COMPRESSION_ERROR,
	H2_CONNECT_ERROR,
	H2_ENHANCE_YOUR_CALM,
	H2_INADEQUATE_SECURITY,
	H2_HTTP_1_1_REQUIRED
};

struct h2_config {
	bool server;  /* else we are the client */
	bool connect; /* server: offer extended CONNECT (RFC 8441) */
	/*
	 * server: a client is not stopped as soon as its request is answered,
	 * but at the second h2_session_sweep() from there: some that are told
	 * at once do not look at the answer.
	 */
	bool patient;
	uint32_t streams; /* open at once; 0: 100 */
	/*
	 * Of a stream whose body is read as fast as it comes, as long as the
	 * account has room; it begins with 64 KiB.  0: 256 KiB.
	 */
	uint32_t window;
	/*
	 * Octets that came and were not pulled, of all streams: beyond it
	 * the connection's window is kept back, and so it is while the
	 * account has no room.  0: what all streams may hold.
	 */
	uint64_t held;
	/* server: the only :scheme that requests may have; "": http, https */
	struct str scheme;
	/* Of heads, borrowed; NULL: h1_limits_client or _origin by role. */
	const struct h1_limits *limits;
	struct account *account; /* whose memory it is; borrowed */
};

/* A session with its preface and SETTINGS waiting to be sent.  Never NULL. */
struct h2_session *h2_session_new(const struct h2_config *);
/* *s may be NULL.  The owner has freed its streams. */
void h2_session_free(struct h2_session **s);

/* --- octets --- */

/*
 * All of `in` is taken (DATA of some size stays where it is, counted).  False:
 * the connection has failed, cause by h2_session_fault(); every stream that
 * was open has H2_NEWS_RESET, GOAWAY waits to be sent, and what else comes is
 * ignored.
 */
bool h2_session_take(struct h2_session *, struct chq *in, uint64_t now_ms);
/*
 * Append what is to be sent: about room octets, one frame without body more at
 * most.  Returns how many.
 */
size_t h2_session_give(struct h2_session *, struct chq *out, size_t room);
/*
 * Should more be read?  Not while the peer leaves answers to its PINGs,
 * SETTINGS and broken frames unread (CVE-2019-9512), and not when it is over.
 */
bool h2_session_wants_read(const struct h2_session *);
bool h2_session_wants_write(const struct h2_session *);
/* Nothing more will be read or written: GOAWAY is given and all is done. */
bool h2_session_is_over(const struct h2_session *);
/* The connection ended: streams that were open get their end, cause f. */
void h2_session_gone(struct h2_session *, const struct fault *f);
/* Why it failed; ERR_NONE: it did not. */
enum err h2_session_fault(const struct h2_session *, struct fault *f);
/* Memory that it holds, an estimate; charged to the account as it changes. */
size_t h2_session_bytes(const struct h2_session *);

/* --- the connection --- */

/* Streams that are open, or whose owner has not freed them. */
unsigned h2_session_streams(const struct h2_session *);
/* Is a block of header fields under way?  Its time is the owner's to limit. */
bool h2_session_in_head(const struct h2_session *);
/*
 * Server: say that it will take no new streams soon (RFC 9113 6.8): GOAWAY
 * with the highest number there is, and a PING behind it.  Those that are
 * opened until then are served.
 */
void h2_session_leave(struct h2_session *);
/*
 * That PING is answered: what the client has opened before it knew has come.
 * h2_session_drain() says so.
 */
bool h2_session_has_left(const struct h2_session *);
/*
 * Take no new streams: GOAWAY with the last one that was seen; those that are
 * open go on.  Twice does no harm.
 */
void h2_session_drain(struct h2_session *);
/*
 * Server, now and then: look at streams that their owners are done with, and
 * reset those whose client still sends a request that was answered at the last
 * call already (patient).  shut: also those of whose answer nothing has left
 * since the last such call, because a window is shut.
 */
void h2_session_sweep(struct h2_session *, bool shut);
/* End it now: GOAWAY with that code, cause f (NULL: none). */
void h2_session_end(struct h2_session *, enum h2_code, const struct fault *f);
/* Ask for a sign of life.  One that is unanswered is enough. */
void h2_session_ping(struct h2_session *);
bool h2_session_ping_unanswered(const struct h2_session *);
/* The peer's SETTINGS have come. */
bool h2_session_is_ready(const struct h2_session *);
/* Client: does the server take extended CONNECT (RFC 8441 3)? */
bool h2_session_may_connect(const struct h2_session *);
/*
 * Client: may one more request be sent now (the server's limit and ours, no
 * GOAWAY, numbers left)?
 */
bool h2_session_may_open(const struct h2_session *);
/* Client: how many requests may be open at once, by the server's limit and ours. */
unsigned h2_session_limit(const struct h2_session *);
/* Client: will it ever again?  False: make a new connection. */
bool h2_session_can_open(const struct h2_session *);
/*
 * Client: send a request (h2_session_may_open() said so).  The answer's heads
 * go into the arena, borrowed until the stream is freed, and so is req, whose
 * method counts.  end: without body.
 */
struct h2_stream *h2_session_open(struct h2_session *, struct arena *,
    const struct http_msg *req, bool end);

/* --- news of streams --- */

#define H2_NEWS_HEAD 1u /* h2_stream_head_take() */
#define H2_NEWS_DATA 2u /* octets or an end: h2_stream_pull() */
#define H2_NEWS_ROOM 4u /* h2_stream_room() is not 0 any more */
/*
 * Its end came early: h2_stream_fault().  An answer that is whole stays so;
 * then only our request is stopped, and there is no fault.
 */
#define H2_NEWS_RESET 8u

/*
 * The next stream with news, which are said once; NULL: no more.  In the order
 * in which they came.
 */
struct h2_stream *h2_session_next(struct h2_session *, unsigned *news);

/* The owner's own; NULL at first. */
void h2_stream_set_owner(struct h2_stream *, void *);
void *h2_stream_owner(const struct h2_stream *);

/*
 * The next head that has come: a request; an interim or the final answer.
 * NULL: none waits.  Its length is set, as length.h leaves it (unknown for
 * what flows behind an extended CONNECT); target is
 * :path, Host is the authority, uri is not filled (http_target_parse()).
 * h2_stream_fault() may say that a request is to be answered with an error;
 * its head may be incomplete.
 */
struct http_msg *h2_stream_head_take(struct h2_stream *);
/*
 * Server: the arena in which the request is, the owner's from now on, who
 * frees it after the stream.  Once; if it is not taken it ends with the stream.
 */
struct arena *h2_stream_arena_take(struct h2_stream *);
/*
 * Move up to want (> 0) octets of body to out and give their window back.
 * PULL_WAIT: H2_NEWS_DATA follows.  PULL_END: complete (and as long as
 * Content-Length said).  PULL_CUT: reset, or the connection went; PULL_FAIL:
 * it was malformed, or we reset it.  Causes in *f (may be NULL).
 */
enum pull h2_stream_pull(struct h2_stream *, struct chq *out, size_t want,
    struct fault *f);
/* Octets that came and were not pulled. */
size_t h2_stream_held(const struct h2_stream *);
/* Has its end come (there may be octets in front of it)? */
bool h2_stream_ended(const struct h2_stream *);
/* After PULL_END: trailer fields that may be forwarded; in the arena. */
const struct http_fields *h2_stream_trailer(const struct h2_stream *);
/* Let its sender send so much at once from now on; never less than before. */
void h2_stream_widen(struct h2_stream *, uint32_t window);
/*
 * What is wrong with it: why it was reset, or which error its request is to
 * be answered with.  ERR_NONE: nothing.
 */
enum err h2_stream_fault(const struct h2_stream *, struct fault *f);
/*
 * It was reset (by either side), with that code.  A request that got
 * H2_REFUSED_STREAM was not looked at by its server (RFC 9113 8.7).
 */
bool h2_stream_is_reset(const struct h2_stream *, enum h2_code *);

/* It was reset by us, because of what came or otherwise. */
bool h2_stream_is_ours(const struct h2_stream *);

/* --- sending; on a stream that is reset these do nothing --- */

/* Server: an interim answer, before the final one. */
void h2_stream_interim(struct h2_stream *, const struct http_msg *);
/* Server: the final answer.  end: nothing follows. */
void h2_stream_answer(struct h2_stream *, const struct http_msg *, bool end);
/*
 * How many octets of body may be written now: what the peer's windows and our
 * own output leave.  0: H2_NEWS_ROOM follows.
 */
size_t h2_stream_room(struct h2_stream *);
/* What is it that octets of it wait for? */
enum h2_wait {
	H2_WAIT_ROOM,   /* the owner's room, or others in front of it */
	H2_WAIT_WINDOW, /* the peer, to open the stream's window */
	H2_WAIT_WINDOWS /* ... the window of the connection */
};
enum h2_wait h2_stream_waits(const struct h2_stream *);
/* Octets of bodies that have been given so far, of all streams. */
uint64_t h2_session_given(const struct h2_session *);
/*
 * The first n (<= h2_stream_room()) octets of q, which loses them.  More than
 * the head's length: the stream is reset.
 */
void h2_stream_write(struct h2_stream *, struct chq *q, size_t n);
/* Octets written that are not given yet. */
size_t h2_stream_unsent(const struct h2_stream *);
/*
 * The body is complete; trailer NULL: none.  Fewer octets than the head's
 * length: the stream is reset, a visible cut.
 */
void h2_stream_end(struct h2_stream *, const struct http_fields *trailer);
/* End it at once, both ways; what waits is dropped.  Still to be freed. */
void h2_stream_reset(struct h2_stream *, enum h2_code);
/*
 * The owner is done with it.  What was written is still sent.  If it was
 * not complete, either way, the stream is reset.  *st may be NULL; becomes
 * NULL.  Until then a stream that was reset counts against the limit
 * (CVE-2023-44487: resets cannot fan out).
 */
void h2_stream_free(struct h2_stream **st);

#endif
