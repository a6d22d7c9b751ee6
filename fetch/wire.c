/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages of the process that fetches, see wire_priv.h. */
#include <assert.h>
#include <string.h>
#include "fetch/wire_priv.h"

/* No octet between fields or behind them: each that is sent was written. */
_Static_assert(sizeof(struct wire_ask) ==
	40 + FETCH_URL_MAX + FETCH_ETAG_MAX + FETCH_BODY_MAX,
    "padding");
_Static_assert(sizeof(struct wire_say) ==
	40 + FETCH_ETAG_MAX + FETCH_WHY_MAX + sizeof(struct sandbox_report),
    "padding");

const struct wire_kind wire_kinds[FETCH_KINDS] = {
#define K(name, words, most, ms, goes_first)  \
	[FETCH_##name] = { .max_bytes = most, \
		.deadline_ms = ms,            \
		.first = goes_first },
#include "fetch/kind.def"
#undef K
};

static const char *const outcomes[FETCH_OUTCOMES] = {
#define O(name, text) [FETCH_##name] = text,
#include "fetch/outcome.def"
#undef O
};

const char *
fetch_outcome_text(enum fetch_outcome o)
{
	assert(o < FETCH_OUTCOMES);
	return (outcomes[o]);
}

unsigned
wire_share(enum fetch_kind k, unsigned n)
{
	assert(k < FETCH_KINDS);
	return (wire_kinds[k].first ? n : FETCH_SHARE(n));
}

static bool
printable(const char *p, size_t room, char first)
{
	const char *end = memchr(p, '\0', room);

	if (end == NULL)
		return (false);
	for (; p < end; p++)
		if (*p < first || *p > '~')
			return (false);
	return (true);
}

bool
wire_word_ok(const char *p, size_t room)
{
	return (printable(p, room, '!'));
}

void
wire_text(char *to, size_t room, const char *text)
{
	size_t i;

	for (i = 0; i + 1 < room && text[i] != '\0'; i++)
		to[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	to[i] = '\0';
}

static bool
is_zero(const void *p, size_t n)
{
	const unsigned char *c = p;

	while (n > 0 && c[n - 1] == 0)
		n--;
	return (n == 0);
}

static bool
start_ok(const struct wire_ask *a)
{
	const struct wire_kind *k;

	if (a->kind >= FETCH_KINDS)
		return (false);
	k = &wire_kinds[a->kind];
	return (a->spare == 0 && a->deadline_ms > 0 &&
	    a->deadline_ms <= k->deadline_ms && a->max_bytes > 0 &&
	    a->max_bytes <= k->max_bytes && a->since >= 0 &&
	    a->body_n <= sizeof(a->body) &&
	    (a->body_n == 0 || a->kind == FETCH_OCSP) && a->url[0] != '\0' &&
	    wire_word_ok(a->url, sizeof(a->url)) &&
	    wire_word_ok(a->etag, sizeof(a->etag)) &&
	    is_zero(a->body + a->body_n, sizeof(a->body) - a->body_n));
}

bool
wire_ask_ok(const struct wire_ask *a)
{
	if (a->id == 0)
		return (false);
	if (a->op == WIRE_CANCEL)
		return (
		    is_zero((const char *)a + offsetof(struct wire_ask, kind),
			sizeof(*a) - offsetof(struct wire_ask, kind)));
	return (a->op == WIRE_START && start_ok(a));
}

static bool
result_ok(const struct wire_say *s)
{
	if (s->id == 0 || s->outcome >= FETCH_OUTCOMES || s->status > 999 ||
	    (s->size > 0 && s->outcome != FETCH_DONE) || s->fresh_s < -1 ||
	    s->fresh_s > WIRE_FRESH_MOST || s->modified < 0)
		return (false);
	return (wire_word_ok(s->etag, sizeof(s->etag)) &&
	    printable(s->why, sizeof(s->why), ' '));
}

bool
wire_say_ok(const struct wire_say *s)
{
	if (s->op == WIRE_WORKS)
		return (sandbox_report_ok(&s->report));
	return (s->op == WIRE_RESULT && result_ok(s));
}
