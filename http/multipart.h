/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Splitting a multipart body into its parts (RFC 2046 5.1, RFC 7578): an
 * engine that is fed bytes, in any pieces, and says at which offsets the
 * contents of the parts lie and how they are coded.
 *
 * Receivers read multipart bodies in many ways.  The engine finds what any of
 * them may find: line ends may be CRLF or LF, blanks may follow a delimiter,
 * parts behind the closing delimiter count, and a body that ends early has a
 * last part.  What two receivers would split differently is said to be odd.
 *
 * Room: http.  Any thread.  Units: bytes.
 */
#ifndef HTTP_MULTIPART_H
#define HTTP_MULTIPART_H

#include <nettle/base64.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

#define MULTIPART_BOUNDARY_MAX 200 /* RFC 2046 allows 70 */
#define MULTIPART_HEAD_MAX 16384 /* of one part: no memory for an endless one */
#define MULTIPART_VALUE_MAX 256  /* kept of one field */

/* How a part is coded for transfer (RFC 2045 6), as bits: fields may repeat. */
#define MULTIPART_BASE64 1
#define MULTIPART_QUOTED 2
#define MULTIPART_UNKNOWN 4 /* something else than 7bit, 8bit, binary */

struct multipart_part {
	uint64_t at; /* of the content in the body */
	uint64_t length;
	unsigned transfer;                /* bits MULTIPART_ */
	char type[MULTIPART_VALUE_MAX];   /* Content-Type, "" for none */
	char coding[MULTIPART_VALUE_MAX]; /* Content-Encoding, "" for none */
};

enum multipart_got {
	MULTIPART_MORE, /* all bytes were taken, no part has ended */
	MULTIPART_PART  /* a part has ended; feed what is left again */
};

/* Embedded; the fields are the engine's. */
struct multipart {
	char delimiter[MULTIPART_BOUNDARY_MAX + 3]; /* "--boundary" */
	size_t length;                              /* of the delimiter */
	enum { MULTIPART_OUTSIDE, MULTIPART_HEAD, MULTIPART_CONTENT } phase;
	enum {
		MULTIPART_LINE_BEGIN,
		MULTIPART_LINE_INSIDE,
		MULTIPART_LINE_DELIMITER
	} line;
	size_t matched;    /* MULTIPART_LINE_BEGIN: of the delimiter */
	uint64_t at;       /* bytes taken */
	uint64_t line_end; /* where the end of the line before this one lies */
	char last;         /* the byte before at */
	/* MULTIPART_LINE_DELIMITER: dashes behind the delimiter */
	unsigned n_after;
	struct buf head;     /* of the part, line ends as they came */
	uint64_t delimiters; /* found */
	bool line_crlf;      /* the line before this one ended in CRLF */
	bool crlf, lf;       /* lines of the structure that ended so */
	bool odd;            /* receivers may split it differently */
	struct multipart_part part;
};

/*
 * Is it the type of a body that has parts, or may some receiver take it for
 * one?  Then boundary is its parameter (unquoted into room), empty where there
 * is none that all receivers would agree upon.
 */
bool multipart_type(struct str content_type,
    char room[MULTIPART_BOUNDARY_MAX + 1], struct str *boundary);

/* boundary: 1 to MULTIPART_BOUNDARY_MAX bytes. */
void multipart_init(struct multipart *, struct str boundary);
void multipart_fini(struct multipart *);
/* Take bytes from p on; *used says how many.  MULTIPART_PART: *part is filled. */
enum multipart_got multipart_feed(struct multipart *, const char *p, size_t n,
    size_t *used, struct multipart_part *part);
/* The body has ended.  True: inside a part, which *part describes. */
bool multipart_end(struct multipart *, struct multipart_part *part);
/*
 * After the end, with the whole body: is there anything that others take for
 * a delimiter or for the end of a head?  Some find the delimiter in the middle
 * of a line, and some know no line ends but CRLF.
 */
void multipart_compare(struct multipart *, const char *p, size_t n);
/* Would receivers split it differently?  Final behind multipart_compare(). */
bool multipart_is_odd(const struct multipart *);

/*
 * Undo a transfer coding, piece by piece, as lenient receivers do: base64
 * skips what is not of its alphabet and goes on behind padding, quoted-
 * printable keeps what is no code.
 */
struct multipart_decoder {
	unsigned transfer; /* MULTIPART_BASE64 or MULTIPART_QUOTED */
	struct base64_decode_ctx base64;
	unsigned held;   /* quoted: how many chars of a code */
	char pending[2]; /* quoted: behind "=" */
};

void multipart_decoder_init(struct multipart_decoder *, unsigned transfer);
/* Appends to out what the bytes give. */
void multipart_decode(struct multipart_decoder *, const char *p, size_t n,
    struct buf *out);

#endif
