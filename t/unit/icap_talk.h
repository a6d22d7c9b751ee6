/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One message to one scripted server, and what that saw of it. */
#ifndef ICAP_TALK_H
#define ICAP_TALK_H

#include <stdio.h>
#include "t/unit/icap_peer.h"
#include "t/unit/unit.h"

#define REQ                                                             \
	"POST http://a.example/f.bin?q HTTP/1.1\r\nHost: a.example\r\n" \
	"Cookie: c\r\n\r\n"
#define GET "GET https://a.example/f.bin HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define RESP "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"
#define ICAP200 "ICAP/1.0 200 OK\r\nISTag: \"tag-1\"\r\n"
#define ICAP204                                           \
	"ICAP/1.0 204 No Content\r\nISTag: \"tag-1\"\r\n" \
	"Encapsulated: null-body=0\r\n\r\n"
#define OPTIONS(fields)                                   \
	"ICAP/1.0 200 OK\r\nMethods: REQMOD, RESPMOD\r\n" \
	"ISTag: \"tag-1\"\r\n" fields "Encapsulated: null-body=0\r\n\r\n"

/* What the server saw of the last request; read after finish(). */
extern struct saw {
	char head[16384], http[32768];
	size_t preview_n, body_n;
	bool ieof, whole, good;
} saw;

/* For the server: the head, and the preview if there is one. */
bool see(struct peer_conn *);
/* "100 Continue" and the rest, if there is one. */
bool see_rest(struct peer_conn *);
void note_body(struct peer_conn *);
/* An ICAP head (without its end) with one head of kind "req" or "res". */
bool write_adapted(struct peer_conn *, const char *status, const char *kind,
    const char *head, bool body);
bool serve_204(struct peer_conn *);
bool serve_204_whole(struct peer_conn *);
/* Echo of the body as it comes, never holding more than a buffer. */
bool serve_pipe(struct peer_conn *);

/* What the next one() is about; finish() forgets it. */
extern const char *with_options;
extern const struct try_body *with_body;
extern bool as_resp;
extern void (*adjust)(struct rig *);

extern struct peer *peer;
extern struct rig rig;
extern struct try t;

void begin(peer_fn);
void message(void);
void one(peer_fn);
void finish(void);
void preview_off(struct rig *);

#define IS_CLEAN(n)                                                    \
	do {                                                           \
		CU_ASSERT_EQUAL(t.scan.result.fault.code, ERR_NONE);   \
		CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_CLEAN); \
		CU_ASSERT_EQUAL(t.scan.result.bytes, n);               \
		CU_ASSERT_FALSE(t.scan.result.has_message);            \
	} while (0)

#define FAILED(e)                                                          \
	do {                                                               \
		CU_ASSERT_EQUAL(t.scan.result.fault.code, e);              \
		CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_UNSCANNED); \
		CU_ASSERT_FALSE(t.scan.result.has_message);                \
		if (t.scan.result.fault.code != (e))                       \
			printf("# %s %s\n",                                \
			    err_info(t.scan.result.fault.code)->name,      \
			    t.scan.result.fault.detail);                   \
	} while (0)

#endif
