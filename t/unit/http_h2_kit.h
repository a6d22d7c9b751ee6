/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of HTTP/2: a client and a server session joined in memory, and a
 * raw peer that writes any frame it likes.
 */
#ifndef HTTP_H2_KIT_H
#define HTTP_H2_KIT_H

#include <nghttp2/nghttp2.h>
#include "http/h2.h"
#include "http/h2_budget.h"
#include "t/unit/http_help.h"

/* How octets are cut on their way. */
enum kit_cut { CUT_WHOLE, CUT_OCTETS, CUT_RANDOM };

struct kit {
	struct h2_session *client, *server;
	struct arena *a; /* of the client's answers */
	enum kit_cut cut;
	uint64_t now_ms;
};

void kit_init(struct kit *, const struct h2_config *client,
    const struct h2_config *server, enum kit_cut);
void kit_fini(struct kit *);
/* Move octets both ways until none is left.  False: one side has failed. */
bool kit_pump(struct kit *);
/* A request that h1 would have sent. */
struct http_msg *kit_request(struct arena *, const char *head);
struct http_msg *kit_answer(struct arena *, const struct http_msg *req,
    const char *head, uint64_t length);
/* The stream with news of that kind, or NULL; others are lost. */
struct h2_stream *kit_next(struct h2_session *, unsigned news);
/* Put text on a stream whose room is large enough. */
void kit_write(struct h2_stream *, const char *text, size_t n);
/* Pull everything; *end is what followed.  Caller's arena. */
struct str kit_pull(struct arena *, struct h2_stream *, enum pull *end);

/* --- a raw peer --- */

struct raw {
	struct h2_session *s; /* who is tested */
	nghttp2_hd_deflater *hd;
	struct buf out; /* frames to be sent */
	struct chq in;  /* what it said */
	uint64_t now_ms;
	struct arena *a;          /* client role: of its answers */
	struct h2_stream *own[4]; /* client role: its requests */
};

/* Its preface and SETTINGS are sent, and its answers are read. */
void raw_init(struct raw *, const struct h2_config *);
void raw_fini(struct raw *);
void raw_frame(struct raw *, uint8_t type, uint8_t flags, uint32_t id,
    const void *p, size_t n);
/*
 * HEADERS of text: "name: value" lines ended by LF; the colon that ends a
 * name is the first one behind its first octet.
 */
void raw_head(struct raw *, uint8_t flags, uint32_t id, const char *text);
void raw_head_n(struct raw *, uint8_t flags, uint32_t id, struct str text);
/* Encode them; the caller frees. */
struct buf raw_block(struct raw *, struct str text);
/* Send what was written, in pieces.  False: it has failed. */
bool raw_send(struct raw *, enum kit_cut);
/* Read what it has to say. */
void raw_read(struct raw *);
/*
 * The next frame that it said: type, or -1; id and code of RST_STREAM or
 * GOAWAY, payload length of others.
 */
int raw_next(struct raw *, uint32_t *id, uint32_t *code, uint8_t *flags);
/* Skip to the next frame of that type.  False: there is none. */
bool raw_find(struct raw *, int type, uint32_t *id, uint32_t *code);
/* Refuse news: free every stream that has some. */
void raw_free_streams(struct h2_session *);

#define GET ":method: GET\n:scheme: https\n:authority: a.example\n:path: /\n"
#define ES NGHTTP2_FLAG_END_STREAM
#define EH NGHTTP2_FLAG_END_HEADERS

#endif
