/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values from outside, made fit for the places where they are shown: pages,
 * header fields, log lines.  Nothing that a peer sent reaches any of these
 * but through here.
 * Room: base.  Any thread.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/str.h"

/*
 * Bytes of the UTF-8 character at the start of s (RFC 3629: no overlong
 * forms, no surrogates), 0 if there is none.  *cp is the code point.
 */
unsigned text_utf8(struct str s, uint32_t *cp);

/*
 * A copy fit for showing to people: valid UTF-8, at most max characters (then
 * "…" at the end); controls, line separators and characters that turn the
 * direction of what follows are U+FFFD.  STR_NONE stays STR_NONE.
 */
struct str text_clean(struct arena *, struct str s, size_t max);

/*
 * A URL as it may be shown: without userinfo, query and fragment; cleaned.
 */
struct str text_clean_url(struct arena *, struct str url, size_t max);

/* The parts of a URL that privacy looks at; they point into it. */
struct text_url {
	struct str scheme; /* with "://", empty if there is none */
	struct str rest;   /* host, port and path, without userinfo */
	struct str query;  /* behind the "?"; STR_NONE: there is no "?" */
};
void text_split_url(struct str url, struct text_url *);

/* Append s as HTML text or as an attribute in double quotes. */
void text_add_html(struct buf *, struct str s);
/*
 * Append the inside of a JSON string; invalid UTF-8 becomes U+FFFD, and so
 * does NUL, which many readers refuse.
 */
void text_add_json(struct buf *, struct str s);
/*
 * Append a String of structured fields, quotes included (RFC 8941 3.3.3);
 * what is not printable ASCII becomes "?".
 */
void text_add_sf_string(struct buf *, struct str s);
/* Append a decimal number. */
void text_add_u64(struct buf *, uint64_t v);

#endif
