/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of an HTTP/2 session, see h2.h. */
#ifndef HTTP_H2_PRIV_H
#define HTTP_H2_PRIV_H

#include <nghttp2/nghttp2.h>
#include "base/budget.h"
#include "base/list.h"
#include "http/length.h"
#include "http/h1_head.h"
#include "http/h2.h"
#include "http/h2_budget.h"

#define H2_PREFACE 24u         /* octets (RFC 9113 3.4) */
#define H2_FRAME_HEAD 9u       /* octets (RFC 9113 4.1) */
#define H2_WINDOW_FIRST 65535u /* RFC 9113 6.9.2 */
#define H2_RESETS 256u         /* of ours that are remembered */
#define H2_EARLY 16u           /* PRIORITY_UPDATEs that are remembered */

/* What a head is made of while its fields come. */
struct h2_head {
	struct http_msg *msg; /* NULL: none is under way */
	struct str scheme, authority, status;
	size_t section; /* decoded octets (RFC 9113 10.5.1) */
	size_t cookie;  /* octets of crumbs, joined */
	unsigned crumbs;
	bool is_trailer;
	bool regular;   /* past the pseudo fields */
	uint8_t seen;   /* which of those there were */
	bool too_large; /* what comes is not kept */
};

/* Heads that wait for the owner, in the arena. */
struct h2_waiting {
	struct http_msg *msg;
	struct h2_waiting *next;
};

struct h2_stream {
	struct h2_session *s;       /* borrowed */
	struct list all;            /* in s->streams */
	struct list newsy;          /* in s->newsy, or alone */
	struct list roomless;       /* in s->roomless, or alone */
	void *owner;                /* borrowed */
	struct arena *arena;        /* owned until it is taken (server) */
	const struct http_msg *req; /* client: borrowed */
	struct h2_waiting *first, **last;
	struct h2_head head;
	struct chq in;        /* body that came */
	struct chunk *tail;   /* small pieces are packed here */
	uint64_t got, expect; /* octets; HTTP_LENGTH_UNKNOWN */
	struct http_fields trailer;
	struct chq out;          /* body to be sent */
	size_t swept;            /* of it, at the last sweep */
	uint64_t put, promise;   /* as got, expect */
	struct arena *out_arena; /* owned: of out_trailer */
	struct http_fields out_trailer;
	/* detail of err, a constant; NULL: the connection's fault has it */
	const char *why;
	enum err err;
	enum h2_code code;
	int32_t id;
	uint32_t window; /* of what comes */
	uint64_t pulled; /* since it was widened */
	unsigned interims;
	size_t interim_octets; /* decoded; they stay in the arena */
	uint8_t news;
	bool owned; /* the owner has not freed it */
	bool arena_owned;
	bool final;    /* the (last) head has come */
	bool bodyless; /* no octet may follow it */
	bool octets;   /* CONNECT: DATA alone may follow it */
	bool in_end;   /* all of the body has come */
	bool answered; /* our (last) head is submitted */
	bool out_end;  /* all of our body was written */
	bool out_sent; /* END_STREAM is on its way */
	bool closed;   /* nghttp2 has forgotten it */
	bool reset;    /* its end came early */
	bool ours;     /* ... by us */
	bool lingers;  /* answered, at the last sweep */
	bool deferred; /* nghttp2 waits for octets of out */
};

/* Frame heads as they pass, see h2_frames.c. */
struct h2_frames {
	uint8_t hd[H2_FRAME_HEAD];
	unsigned hd_n;
	uint32_t left;      /* octets of payload, or preface */
	uint32_t block;     /* encoded octets of a head so far */
	uint32_t continued; /* ... in so many CONTINUATIONs */
	int32_t opening;    /* a stream whose HEADERS were seen */
	uint32_t body;      /* payload of a padded DATA frame */
	bool pad;           /* its first octet says how much */
	bool end_stream;
	bool in_block; /* END_HEADERS has not come */
};

struct h2_session {
	nghttp2_session *ng; /* owned */
	struct h2_config cfg;
	struct fault fault;
	struct list streams, newsy, roomless;
	unsigned n;                 /* streams */
	const struct chq *in;       /* while it is taken */
	const unsigned char *in_at; /* where its first slice is */
	size_t in_n;
	struct chq *to; /* while we give */
	size_t to_room;
	struct chunk *tail; /* small output, while we give */
	uint64_t now_ms;
	uint64_t held;  /* in all `in` of streams */
	uint64_t owed;  /* of the connection's window */
	uint64_t given; /* of bodies, so far */
	size_t unsent;  /* in all `out` of streams */
	struct h2_frames frames;
	struct h2_budget budget;
	int32_t last_id;           /* the newest that was opened */
	int32_t resets[H2_RESETS]; /* by us: what comes late is let be */
	int32_t early[H2_EARLY];   /* PRIORITY_UPDATE before HEADERS */
	unsigned resets_n, early_n;
	uint32_t pings; /* unanswered */
	bool goaway_came, goaway_sent, settings_came;
	bool leaving, leave_sent; /* a GOAWAY that refuses nothing yet */
	bool windows_moved;       /* ask the roomless again */
	bool failed;              /* what comes is ignored */
	bool told;                /* ... and all streams know */
	nghttp2_nv *nv;           /* owned: heads are put together here */
	unsigned nv_n, nv_cap;
	/* values that are made, until they are submitted */
	struct buf text;
	char digits[20], status[20];
	struct charge charge;
};

/* --- h2_session.c --- */

/* The connection has failed: tell the peer code, and every stream. */
void h2_fail(struct h2_session *, enum h2_code, enum err, const char *why);
/* One more of what budgets count; false: too many, the connection failed. */
bool h2_spend(struct h2_session *, enum h2_kind, uint32_t n);
/* ERR_REQ_SYNTAX or ERR_ORIGIN_SYNTAX, by role. */
enum err h2_syntax(const struct h2_session *);
/* What a stream may send before any of it is read. */
uint32_t h2_first_window(const struct h2_session *);
/* Small output, while we give. */
void h2_put(struct h2_session *, const void *p, size_t n);

/* --- h2_frames.c --- */

/* Pass octets to nghttp2, frame by frame. */
void h2_frames_take(struct h2_session *, const uint8_t *p, size_t n);
/* A head was good: what it cost is earned back. */
void h2_frames_earn(struct h2_session *);
/* We reset that stream: frames that cross ours on the way are no error. */
void h2_remember_reset(struct h2_session *, int32_t id);

/* --- h2_recv.c, h2_send.c: what nghttp2 calls --- */

void h2_recv_callbacks(nghttp2_session_callbacks *);
void h2_send_callbacks(nghttp2_session_callbacks *);
/* Where octets of a stream's body come from. */
nghttp2_data_provider h2_provider(struct h2_stream *);

/* --- h2_stream.c --- */

struct h2_stream *h2_stream_new(struct h2_session *, struct arena *);
void h2_news(struct h2_stream *, unsigned news);
/* Its end came early; the first cause is kept. */
void h2_stream_over(struct h2_stream *, enum h2_code, bool ours, enum err,
    const char *why);
/* Refuse what came on it: RST_STREAM, and its end. */
void h2_refuse(struct h2_stream *, enum h2_code, enum err, const char *why);
/* The owner and nghttp2 are both done with it: free it. */
void h2_stream_settle(struct h2_stream *);
/* Streams that waited for room and have some get their news. */
void h2_room_news(struct h2_session *);
void h2_queue_head(struct h2_stream *, struct http_msg *);

/* --- h2_fields.c: fields to messages --- */

/* What came of a field or a head. */
struct h2_verdict {
	enum err err; /* ERR_NONE: fine */
	const char *why;
};

void h2_head_begin(struct h2_stream *, bool is_trailer);
struct h2_verdict h2_head_field(struct h2_stream *, struct str name,
    struct str value);
/*
 * All fields are there: the message in st->head.msg is whole, or the trailer
 * in st->trailer.  end: no body follows.
 */
struct h2_verdict h2_head_end(struct h2_stream *, bool end);

/* --- h2_emit.c: messages to fields, in s->nv --- */

void h2_emit_request(struct h2_session *, const struct http_msg *);
void h2_emit_answer(struct h2_session *, const struct http_msg *);
void h2_emit_trailer(struct h2_session *, const struct http_fields *);

/* --- h2_mem.c --- */

/* nghttp2 takes a copy. */
extern nghttp2_mem h2_mem;

/* --- h2_priority.c --- */

/* RFC 9218 4: the value of a Priority field; false: not a valid one. */
bool h2_priority_parse(struct str value, nghttp2_extpri *);

#endif
