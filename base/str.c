/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counted strings and byte buffers, see str.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"

bool
str_eq(struct str a, struct str b)
{
	return (a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0));
}

static inline char
lower(char c)
{
	return (c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
}

bool
str_ieq(struct str a, struct str b)
{
	size_t i;

	if (a.n != b.n)
		return (false);
	for (i = 0; i < a.n; i++)
		if (a.p[i] != b.p[i] && lower(a.p[i]) != lower(b.p[i]))
			return (false);
	return (true);
}

bool
str_ione_of(struct str s, const struct str *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (str_ieq(s, list[i]))
			return (true);
	return (false);
}

static inline bool
is_ows(char c)
{
	return (c == ' ' || c == '\t');
}

struct str
str_trim(struct str s)
{
	while (s.n > 0 && is_ows(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && is_ows(s.p[s.n - 1]))
		s.n--;
	return (s);
}

bool
str_starts(struct str s, struct str head)
{
	return (str_eq((struct str){ s.p, head.n < s.n ? head.n : s.n }, head));
}

bool
str_istarts(struct str s, struct str head)
{
	return (
	    str_ieq((struct str){ s.p, head.n < s.n ? head.n : s.n }, head));
}

bool
str_iends(struct str s, struct str tail)
{
	size_t skip = s.n > tail.n ? s.n - tail.n : 0;

	if (skip > 0)
		s = (struct str){ s.p + skip, tail.n };
	return (str_ieq(s, tail));
}

size_t
str_index(struct str s, char c)
{
	const char *p = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

	return (p != NULL ? (size_t)(p - s.p) : s.n);
}

size_t
str_unquoted(struct str s, char c)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (quoted && s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
		else if (s.p[i] == c && !quoted)
			return (i);
	}
	return (s.n);
}

bool
str_next_element(struct str *rest, struct str *element)
{
	size_t n;

	while (rest->n > 0) {
		n = str_unquoted(*rest, ',');
		*element = str_trim((struct str){ rest->p, n });
		if (n < rest->n)
			n++; /* the comma */
		rest->p += n;
		rest->n -= n;
		if (element->n > 0)
			return (true);
	}
	return (false);
}

bool
str_to_u64(struct str s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	size_t i;

	if (s.n == 0)
		return (false);
	for (i = 0; i < s.n; i++) {
		unsigned d = (unsigned)(unsigned char)s.p[i] - '0';

		if (d > 9 || d > max || v > (max - d) / 10)
			return (false);
		v = v * 10 + d;
	}
	*out = v;
	return (true);
}

__attribute__((noinline)) static void
grow(struct buf *b, size_t n)
{
	size_t cap = b->cap * 2;

	if (cap < b->n + n + 1)
		cap = b->n + n + 1;
	if (cap < 256)
		cap = 256;
	b->p = realloc(b->p, cap);
	if (b->p == NULL)
		abort();
	b->cap = cap;
	b->p[b->n] = '\0';
}

char *
buf_room(struct buf *b, size_t n)
{
	assert(b->n < b->cap || b->p == NULL); /* its NUL is there */
	if (b->cap - b->n <= n)                /* {0}, too */
		grow(b, n);
	return (b->p + b->n);
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
	char *at = buf_room(b, n);

	if (n > 0)
		memcpy(at, p, n);
	at[n] = '\0';
	b->n += n;
}

void
buf_str(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.n);
}

void
buf_cstr(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n > 0) {
		(void)vsnprintf(buf_room(b, (size_t)n), (size_t)n + 1, fmt,
		    again);
		b->n += (size_t)n;
	}
	va_end(again);
}

struct str
buf_as_str(const struct buf *b)
{
	return ((struct str){ b->p, b->n });
}

void
buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}
