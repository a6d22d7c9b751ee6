/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz files of compressed streams: whatever is found behind the first one
 * was seen coming without decompressing, and limits hold.
 */
#include <assert.h>
#include <stddef.h>
#include "scanners/members.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define MOST (1 << 18)
#define BLOCK 65536 /* it may be over by that much */

static void
take_apart(enum members what, const uint8_t *p, size_t n)
{
	struct decode_limits limits = { .max_bytes = MOST, .coded_bytes = n };
	struct decode_store out;
	enum decode_end end;
	bool more;

	decode_store_init(&out, "/tmp");
	end = members_open(what, p, n, &out, &limits, &more);
	assert(end == DECODE_DONE || end == DECODE_CUT || end == DECODE_LARGE);
	assert((end == DECODE_LARGE) == (out.length > MOST));
	assert(out.length <= MOST + BLOCK);
	assert(!more || members_of(p, n) == what);
	decode_store_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	take_apart(MEMBERS_GZIP, p, n);
	take_apart(MEMBERS_BZIP2, p, n);
	return (0);
}
