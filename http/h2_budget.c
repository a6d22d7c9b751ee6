/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leaky buckets, see h2_budget.h. */
#include <assert.h>
#include "http/h2_budget.h"

static const struct {
	uint32_t burst, rate, ahead; /* rate: a second */
	const char *text;
} kinds[H2_KINDS_N] = {
#define K(name, burst, rate, ahead, text) \
	[H2_SPEND_##name] = { burst, rate, ahead, text },
	H2_KINDS(K)
#undef K
};

bool
h2_budget_spend(struct h2_budget *b, enum h2_kind k, uint32_t n,
    uint64_t now_ms)
{
	uint64_t leaked, spent;

	assert(k < H2_KINDS_N);
	if (now_ms > b->at_ms[k]) {
		leaked = now_ms - b->at_ms[k] > 3600000
		    ? UINT64_MAX
		    : (now_ms - b->at_ms[k]) * kinds[k].rate;
		spent = b->spent[k] > 0 ? (uint64_t)b->spent[k] : 0;
		b->spent[k] -= (int64_t)(leaked < spent ? leaked : spent);
		b->at_ms[k] = now_ms;
	}
	b->spent[k] += (int64_t)n * 1000;
	return (b->spent[k] <= (int64_t)kinds[k].burst * 1000);
}

void
h2_budget_earn(struct h2_budget *b, enum h2_kind k, uint32_t n)
{
	int64_t least = (int64_t)kinds[k].ahead * -1000;

	assert(k < H2_KINDS_N);
	b->spent[k] -= (int64_t)n * 1000;
	if (b->spent[k] < least)
		b->spent[k] = least;
}

const char *
h2_budget_text(enum h2_kind k)
{
	assert(k < H2_KINDS_N);
	return (kinds[k].text);
}
