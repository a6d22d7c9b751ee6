/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the ClientHello parser.  The first byte chooses how the rest is cut:
 * whole and in pieces must give one result.
 */
#include <assert.h>
#include <string.h>
#include "base/chunk.h"
#include "tls/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum hello_step
run(struct hello *h, const uint8_t *p, size_t n, size_t part)
{
	struct chq q = { 0 };
	enum hello_step step = HELLO_MORE;
	size_t at, now;

	*h = (struct hello){ 0 };
	for (at = 0; at < n && step == HELLO_MORE; at += now) {
		now = n - at < part ? n - at : part;
		chq_copy(&q, p + at, now);
		step = hello_parse(h, &q);
	}
	chq_fini(&q);
	return (step);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct hello a, b;

	if (n == 0)
		return (0);
	assert(run(&a, p + 1, n - 1, n) == run(&b, p + 1, n - 1, 1u + p[0]));
	assert(strcmp(a.sni, b.sni) == 0 && a.max_version == b.max_version);
	assert(a.has_alpn == b.has_alpn && a.has_h2 == b.has_h2 &&
	    a.has_http11 == b.has_http11);
	hello_fini(&a);
	hello_fini(&b);
	return (0);
}
