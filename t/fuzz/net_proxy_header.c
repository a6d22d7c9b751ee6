/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the reader of PROXY headers: what it says of a whole is what it said of
 * each begin of it, and what it points at is inside.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_inside(struct str s, const uint8_t *p, size_t size)
{
	assert(s.n == 0 ||
	    ((const uint8_t *)s.p >= p &&
		(const uint8_t *)s.p + s.n <= p + size));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum proxy_header_step whole, part;
	struct proxy_header h, other;
	size_t i;

	whole = proxy_header_parse(p, n, &h);
	if (whole == PROXY_HEADER_DONE) {
		assert(h.size > 0 && h.size <= n && h.size <= PROXY_HEADER_MAX);
		assert(!h.named || (!h.local && address_is_host(&h.source.sa)));
		check_inside(h.unique_id, p, h.size);
		check_inside(h.authority, p, h.size);
		check_inside(h.alpn, p, h.size);
	}
	assert(whole != PROXY_HEADER_MORE || n < PROXY_HEADER_MAX);
	for (i = 0; i < n && i < 64; i++) {
		part = proxy_header_parse(p, i, &other);
		assert(part == PROXY_HEADER_MORE ||
		    (part == whole &&
			(part == PROXY_HEADER_BAD || other.size == h.size)));
	}
	return (0);
}
