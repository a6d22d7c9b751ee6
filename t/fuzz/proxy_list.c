/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the lines of lists: the first octet says in which format, the rest is the
 * file.  What is said of a name, a URL or a range is in one spelling, within its
 * bounds, and found again where it was put.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/policy/list_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct list_found *found;

static void
on_name(struct list_sink *s, struct str name, unsigned how)
{
	size_t i;

	(void)s;
	assert(name.n > 0 && name.n <= 253 && name.p[name.n - 1] != '.');
	assert(
	    (how & ~15u) == 0 && (how & (LIST_IS_EXACT | LIST_IS_BELOW)) != 0);
	for (i = 0; i < name.n; i++)
		assert(name.p[i] > ' ' && name.p[i] < 0x7f &&
		    !(name.p[i] >= 'A' && name.p[i] <= 'Z'));
	list_found_name(found, name, how);
}

static void
on_url(struct list_sink *s, struct str url)
{
	(void)s;
	assert(url.n > 1 && url.n <= LIST_LINE && str_index(url, '/') < 254);
	list_found_url(found, url, 0);
}

static void
on_range(struct list_sink *s, const struct list_range *r)
{
	(void)s;
	assert(r->from[0] < r->to[0] ||
	    (r->from[0] == r->to[0] && r->from[1] <= r->to[1]));
	list_found_range(found, r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const enum list_format formats[] = { LIST_DOMAINS, LIST_SQUID,
		LIST_HOSTS, LIST_URLS, LIST_CIDR, LIST_ADBLOCK, LIST_RPZ };
	struct list_sink sink = { on_name, on_url, on_range, false };
	struct list_reading reading = { .origin = "" };
	struct list_table table;
	enum list_format format;
	const char *why;
	char *text, *at, *end;
	size_t len;

	if (n == 0)
		return (0);
	format = formats[(p[0] & 0x7f) % 7];
	sink.opens = (p[0] & 0x80) != 0;
	text = malloc(n);
	memcpy(text, p + 1, n - 1);
	text[n - 1] = '\0';
	(void)list_guess(text, n - 1);
	found = list_found_new(sink.opens);
	for (at = text; at < text + n - 1; at += len + 1) {
		end = memchr(at, '\n', (size_t)(text + n - 1 - at));
		len = (size_t)((end != NULL ? end : text + n - 1) - at);
		at[len] = '\0';
		if (len <= LIST_LINE)
			(void)list_line(&reading, format, at, len, &sink, &why);
	}
	list_table_make(&table, &found);
	list_table_fini(&table);
	free(text);
	return (0);
}
