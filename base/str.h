/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counted strings, and a growing byte buffer.
 * Room: base.  Any thread; no object here is shared between threads.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes owned by somebody else; not NUL-terminated. {NULL, 0} is "absent". */
struct str {
	const char *p;
	size_t n;
};

#define STR(lit) ((struct str){ (lit), sizeof(lit) - 1 })
#define STR_NONE ((struct str){ NULL, 0 })
#define STR_ARG(s) (int)(s).n, (s).p /* for "%.*s" */

/* NULL gives STR_NONE. */
static inline struct str
str_of(const char *cstr)
{
	return (cstr == NULL ? STR_NONE : (struct str){ cstr, strlen(cstr) });
}

bool str_eq(struct str a, struct str b);
/* ASCII only, whatever the locale. */
bool str_ieq(struct str a, struct str b);
/* Is it one of the n in list?  ASCII only as well. */
bool str_ione_of(struct str s, const struct str *list, size_t n);
/* Remove SP and HTAB, and nothing else, at both ends (RFC 9110 5.6.3). */
struct str str_trim(struct str s);
/* Does s begin (end) with the other? */
bool str_starts(struct str s, struct str head);
bool str_istarts(struct str s, struct str head);
bool str_iends(struct str s, struct str tail);
/* First index of c, or s.n. */
size_t str_index(struct str s, char c);
/* The same, outside of quoted strings (RFC 9110 5.6.4). */
size_t str_unquoted(struct str s, char c);
/*
 * Take the next element of a comma-separated list (RFC 9110 5.6.1), trimmed,
 * empty elements skipped, quoted strings respected.  False: no further element.
 */
bool str_next_element(struct str *rest, struct str *element);
/* 1*DIGIT within max; false for anything else, empty included. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out);

/* A heap buffer that grows; {0} is an empty one. Aborts only when the system is out of memory. */
struct buf {
	char *p; /* owned; NUL-terminated behind n whenever p != NULL */
	size_t n;
	size_t cap;
};

void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_cstr(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));
/* Room for n more bytes; what was written there is added with b->n += . */
char *buf_room(struct buf *b, size_t n);
struct str buf_as_str(const struct buf *b);
void buf_fini(struct buf *b); /* frees; *b is {0} again */

#endif
