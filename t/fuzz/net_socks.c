/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz what a parent proxy answers, by SOCKS5 (first octet even: with a user)
 * and to CONNECT: in one piece and octet by octet it is the same, what is
 * behind it is left, and what is refused has a reason.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "http/connect.h"
#include "net/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int
by_socks(const uint8_t *p, size_t n, size_t piece, bool user, size_t *used)
{
	struct socks_want w = { .host = STR("www.test"), .port = 443 };
	enum socks_step step = SOCKS_MORE;
	struct fault f = { 0 };
	struct buf out = { 0 };
	struct chq q = { 0 };
	struct socks s;
	size_t at, k;

	if (user)
		w.user = w.password = STR("amy");
	socks_begin(&s, &w, &out);
	for (at = 0; at < n && step == SOCKS_MORE; at += k) {
		k = n - at < piece ? n - at : piece;
		chq_copy(&q, p + at, k);
		step = socks_feed(&s, &q, &out, &f);
		assert(step != SOCKS_MORE || chq_len(&q) == 0);
	}
	*used = at - chq_len(&q);
	assert((step == SOCKS_BAD) == (f.code != ERR_NONE));
	assert(out.n <= 4 + 10 + 6 + 1 + SOCKS_TEXT);
	buf_fini(&out);
	chq_fini(&q);
	return ((int)step * 1000 + (int)f.code);
}

static int
by_connect(const uint8_t *p, size_t n, size_t piece, size_t *used)
{
	struct http_connect c = { .arena = arena_new(),
		.limits = &h1_limits_origin };
	enum http_connect_step step = HTTP_CONNECT_MORE;
	struct fault f = { 0 };
	struct chq q = { 0 };
	size_t at, k;

	for (at = 0; at < n && step == HTTP_CONNECT_MORE; at += k) {
		k = n - at < piece ? n - at : piece;
		chq_copy(&q, p + at, k);
		step = http_connect_feed(&c, &q, &f);
	}
	*used = step == HTTP_CONNECT_BAD ? 0 : at - chq_len(&q);
	assert((step == HTTP_CONNECT_BAD) == (f.code != ERR_NONE));
	assert((step == HTTP_CONNECT_OPEN) ==
	    (step != HTTP_CONNECT_BAD && c.status >= 200 && c.status <= 299));
	chq_fini(&q);
	arena_free(&c.arena);
	return ((int)step * 1000 + (int)c.status);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	size_t whole, parts;
	bool user;

	if (n == 0)
		return (0);
	user = (p[0] & 1) == 0;
	p++;
	n--;
	assert(by_socks(p, n, n + 1, user, &whole) ==
	    by_socks(p, n, 1, user, &parts));
	assert(whole == parts);
	assert(by_connect(p, n, n + 1, &whole) == by_connect(p, n, 1, &parts));
	assert(whole == parts);
	return (0);
}
