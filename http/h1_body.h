/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The body of an HTTP/1 or ICAP message: framing off, octets through.
 * Slices move from the input to the output; no octet of content is copied.
 *
 * Room: http.  Units: octets.  Thread: its owner's.
 * Obeys RFC 9112 6, 7.1; RFC 9110 6.5.1.
 */
#ifndef HTTP_H1_BODY_H
#define HTTP_H1_BODY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/chunk.h"
#include "base/fault.h"
#include "http/h1_frame.h"
#include "http/msg.h"
#include "stream/source.h"

struct h1_head;

#define H1_CHUNK_LINE_MAX 4096 /* a chunk's size line */
/* Octets of extensions that content does not outweigh (CVE-2023-39326). */
#define H1_CHUNK_EXCESS_MAX 16384

/* Embedded; nothing to free but its arena.  Fields below are to read. */
struct h1_body {
	/* after PULL_END: what may be forwarded of the trailer */
	struct http_fields trailer;
	/* after PULL_END: the last chunk's extensions, ";ieof"; or "" */
	struct str last_ext;
	uint64_t content; /* octets moved so far */
	/* the rest is private */
	struct arena *arena;
	struct h1_head *fields; /* parser of the trailer */
	char *ext;
	const char *why;
	uint64_t left;
	uint32_t line, ext_n, excess;
	uint8_t digits, at;
	enum h1_framing framing;
	enum err bad_code;
};

/*
 * Begin.  length counts with FRAMING_LENGTH.  bad_code: what a broken coding
 * is called (ERR_REQ_CHUNK, ERR_ORIGIN_CHUNK, ERR_SCAN_PROTOCOL).  In those of
 * origins (ERR_ORIGIN_CHUNK) blanks may stand between a size and its CRLF.
 */
void h1_body_init(struct h1_body *, struct arena *, enum h1_framing,
    uint64_t length, enum err bad_code);

/*
 * Move up to want (> 0) octets of content from in to out.  PULL_MORE: some;
 * PULL_WAIT: in is used up; PULL_END: complete, and `in` begins with what
 * follows; PULL_FAIL: broken coding, cause in *f (may be NULL).  An end is
 * said again when asked again.
 */
enum pull h1_body_pull(struct h1_body *, struct chq *in, struct chq *out,
    size_t want, struct fault *f);
/*
 * The connection ended, and all that was read has been pulled.  PULL_END if
 * the body is complete: FRAMING_CLOSE needs an orderly end (FIN, or
 * close_notify where there is TLS: RFC 9112 9.8).  Else PULL_CUT; the caller
 * knows whose.  PULL_FAIL stays.
 */
enum pull h1_body_eof(struct h1_body *, bool orderly);

/*
 * An extension of the last chunk by its name: *value is its text (quotes
 * kept), empty where it has none.  After PULL_END.
 */
bool h1_body_ext(const struct h1_body *, struct str name, struct str *value);

/*
 * Writes the size line of a chunk of n > 0 octets and returns its length; the
 * caller puts a CRLF behind the content.
 */
size_t h1_chunk_line(char out[static 20], size_t n);
/* Is this field unfit for a trailer (RFC 9110 6.5.1)? */
bool http_trailer_forbids(enum http_field_id);

#endif
