/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of room http share: heads from text, output as text. */
#ifndef HTTP_HELP_H
#define HTTP_HELP_H

#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/chunk.h"
#include "t/head.h"
#include "t/unit/unit.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* A literal with octets of zero inside. */
#define LIT(s)                     \
	{                          \
		(s), sizeof(s) - 1 \
	}

/* On a surprise, say in which row of a table it was. */
#define CHECK_ROW(row, what, cond)                                             \
	do {                                                                   \
		bool row_ok = (cond);                                          \
		if (!row_ok)                                                   \
			printf("# row %u: %s\n", (unsigned)(row), (what));     \
		CU_assertImplementation(row_ok, __LINE__, #cond, __FILE__, "", \
		    CU_FALSE);                                                 \
	} while (0)

/* Parse a head that must be good. */
static inline struct http_msg *
http_help_head(struct arena *a, enum h1_kind kind, const char *text)
{
	struct http_msg *m;
	struct fault f = { 0 };

	m = head_read(a, kind, str_of(text), &h1_limits_origin, &f);
	if (m == NULL)
		printf("# %s: %s\n", text, f.detail);
	CU_ASSERT_FATAL(m != NULL);
	return (m);
}

static inline bool
http_help_is(struct buf *b, const char *text)
{
	bool same = b->p != NULL && b->n == strlen(text) &&
	    memcmp(b->p, text, b->n) == 0;

	if (!same)
		printf("# is \"%.*s\"\n", (int)b->n, b->p != NULL ? b->p : "");
	buf_fini(b);
	return (same);
}

#endif
