/* SPDX-License-Identifier: GPL-2.0-or-later */
/* References, see reference.h. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "proxy/audit/reference.h"

#define POOL_WORDS 128 /* references for one getrandom() */

static _Thread_local uint64_t pool[POOL_WORDS];
static _Thread_local unsigned pool_left;

static void
pool_fill(void)
{
	char *p = (char *)pool;
	size_t left = sizeof(pool);
	ssize_t n;

	while (left > 0) {
		n = getrandom(p, left, 0);
		if (n < 0 && errno != EINTR)
			abort(); /* a kernel without random numbers */
		if (n > 0) {
			p += n;
			left -= (size_t)n;
		}
	}
	pool_left = POOL_WORDS;
}

void
reference_make(char out[REFERENCE_LEN + 1])
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	uint64_t bits;
	unsigned i;

	if (pool_left == 0)
		pool_fill();
	bits = pool[--pool_left];
	for (i = 0; i < REFERENCE_LEN; i++) {
		if (i == 4 || i == 9) {
			out[i] = '-';
			continue;
		}
		out[i] = digits[bits & 31];
		bits >>= 5;
	}
	out[i] = '\0';
}
