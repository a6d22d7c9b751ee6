/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Heads of HTTP/1 and ICAP messages, and trailer sections: octets in, a
 * struct http_msg out.  One parser for all of them, so that no way into the
 * house is laxer than another; what differs is in one table.
 *
 * Refused everywhere: bare CR, NUL, empty names, white space before the first
 * field.  Requests and trailers: names that are no token, lines without colon,
 * any control character, obs-fold and a blank before the colon as well.
 * Bare LF ends a line in responses alone, where it does not touch framing: a
 * Content-Length or Transfer-Encoding line neither ends in one nor follows one,
 * and none is in a head whose empty line is one.  Lines that are no field are
 * left out of responses, as in browsers, unless they speak of a length or an
 * encoding.  h1_head_is_odd() says both.
 * Responses: obs-fold becomes one space and blanks before the colon are
 * removed (RFC 9112 5.1, 5.2); the status line may end behind the code,
 * and codes go up to 999 (RFC 9110 15: those from 600 on count as 5xx).
 * ICAP responses: further blanks in the status line, any code of three digits.
 *
 * Room: http.  Units: octets.  Thread: its owner's.  Obeys RFC 9112 2..5.
 */
#ifndef HTTP_H1_HEAD_H
#define HTTP_H1_HEAD_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/chunk.h"
#include "base/fault.h"
#include "http/msg.h"

struct h1_head;

enum h1_kind {
	/* faults: ERR_REQ_SYNTAX, _VERSION, _LINE_LONG, _HEAD_LARGE */
	H1_REQUEST,
	H1_RESPONSE,      /* ERR_ORIGIN_SYNTAX, ERR_ORIGIN_HEAD_LARGE */
	H1_ICAP_RESPONSE, /* ERR_SCAN_PROTOCOL */
	/* fields and the empty line: trailers; faults as H1_REQUEST */
	H1_FIELDS
};

/* What a peer may make us hold. */
struct h1_limits {
	size_t line;    /* start line, without CRLF */
	size_t section; /* all field lines with their CRLF */
	size_t field;   /* one field, folds included */
	unsigned count; /* fields */
};

/* The usual ones, in the order of the members. */
extern const struct h1_limits h1_limits_client;  /* 16 K, 64 K, 32 K, 200 */
extern const struct h1_limits h1_limits_origin;  /* 16 K, 128 K, 64 K, 400 */
extern const struct h1_limits h1_limits_trailer; /* -, 16 K, 16 K, 100 */

enum h1_step {
	H1_MORE, /* all of the input was taken; the head goes on */
	H1_DONE, /* *msg is the message; exactly the head was taken */
	H1_BAD   /* cause in *f; final */
};

/*
 * A parser for one head, in the arena (as the message will be).  limits are
 * borrowed.
 */
struct h1_head *h1_head_new(struct arena *, enum h1_kind,
    const struct h1_limits *);
/*
 * Go on with what is in `in`.  Linear in what it is fed, however it is cut.
 * The message's target, uri and length are not looked at yet: see uri.h,
 * h1_frame.h.
 */
enum h1_step h1_head_feed(struct h1_head *, struct chq *in,
    struct http_msg **msg, struct fault *f);
/*
 * After H1_DONE: did a line end in LF alone, or was one no field and left out?
 * Others may read such a head in another way.
 */
bool h1_head_is_odd(const struct h1_head *);
/* Has anything but empty lines come: is a request under way? */
bool h1_head_begun(const struct h1_head *);

#endif
