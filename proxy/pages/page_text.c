/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalogue of what pages say, see page_text.h. */
#include <assert.h>
#include <string.h>
#include "proxy/pages/page_text.h"
#include "base/text.h"

#define STOP PAGE_TONE_STOP
#define CARE PAGE_TONE_CARE
#define FAULT PAGE_TONE_FAULT

static const struct page_case_info cases[PAGE_CASE_COUNT] = {
#define CASE(name, tone, slug) [PAGE_CASE_##name] = { tone, slug },
#include "proxy/pages/page_case.def"
};

/* One more than the number, so that 0 is an omission. */
static const unsigned char case_of[ERR_COUNT] = {
#define FOR(err, name) [ERR_##err] = PAGE_CASE_##name + 1,
#include "proxy/pages/page_case.def"
};

const struct page_language page_english = {
	.text = {
#define TEXT(name, title, what, advice) \
	[PAGE_CASE_##name] = { title, what, advice },
#define WORD(name, text)
#include "etc/pages/en.def"
#undef WORD
#undef TEXT
	},
	.word = {
#define TEXT(name, title, what, advice)
#define WORD(name, text) [PAGE_WORD_##name] = { #name, text },
#include "etc/pages/en.def"
#undef WORD
#undef TEXT
	},
};

enum page_case
page_case_of(enum err code)
{
	assert(case_of[code] != 0);
	return ((enum page_case)(case_of[code] - 1));
}

const struct page_case_info *
page_case_info(enum page_case c)
{
	return (&cases[c]);
}

bool
page_case_find(struct str slug, enum page_case *found)
{
	unsigned i;

	for (i = 0; i < PAGE_CASE_COUNT; i++)
		if (str_eq(slug, str_of(cases[i].slug))) {
			*found = (enum page_case)i;
			return (true);
		}
	return (false);
}

void
page_text_add(struct buf *b, const struct page_language *l, const char *text,
    struct str host, unsigned retry_after_s)
{
	static const char host_place[] = "{host}", retry_place[] = "{retry}";
	const char *at;

	for (; (at = strchr(text, '{')) != NULL;) {
		buf_add(b, text, (size_t)(at - text));
		if (strncmp(at, host_place, sizeof(host_place) - 1) == 0) {
			if (host.n > 0)
				buf_str(b, host);
			else
				buf_cstr(b, l->word[PAGE_WORD_THE_SITE].text);
			text = at + sizeof(host_place) - 1;
			continue;
		}
		assert(strncmp(at, retry_place, sizeof(retry_place) - 1) == 0);
		text_add_u64(b, retry_after_s);
		text = at + sizeof(retry_place) - 1;
	}
	buf_cstr(b, text);
}
