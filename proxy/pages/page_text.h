/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The catalogue of what pages say.  Cases are in page_case.def, the texts of
 * a language in etc/pages/<language>.def.
 * Room: proxy.  Any thread; all of it is constant.
 */
#ifndef PROXY_PAGE_TEXT_H
#define PROXY_PAGE_TEXT_H

#include <stdbool.h>
#include "base/fault.h"
#include "base/str.h"

enum page_case {
#define CASE(name, tone, slug) PAGE_CASE_##name,
#include "proxy/pages/page_case.def"
	PAGE_CASE_COUNT
};

enum page_word {
#define TEXT(name, title, what, advice)
#define WORD(name, text) PAGE_WORD_##name,
#include "etc/pages/en.def"
#undef WORD
#undef TEXT
	PAGE_WORD_COUNT
};

/* How serious: forbidden or harmful; take care; a mere fault. */
enum page_tone { PAGE_TONE_STOP, PAGE_TONE_CARE, PAGE_TONE_FAULT };

struct page_case_info {
	enum page_tone tone;
	const char *slug; /* in http://assay.internal/problem/<slug> */
};

struct page_text {
	const char *title;
	const char *what; /* with {host}, {retry} */
	const char *advice;
};

struct page_language {
	struct page_text text[PAGE_CASE_COUNT];
	struct {
		const char *name, *text;
	} word[PAGE_WORD_COUNT];
};

extern const struct page_language page_english;

/* The case that explains a fault. */
enum page_case page_case_of(enum err code);
const struct page_case_info *page_case_info(enum page_case);
/* By its name in problem types; false: there is none. */
bool page_case_find(struct str slug, enum page_case *);
/* Append a text with its places filled in. */
void page_text_add(struct buf *, const struct page_language *, const char *text,
    struct str host, unsigned retry_after_s);

#endif
