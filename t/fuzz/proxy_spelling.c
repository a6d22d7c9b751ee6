/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the ways in which a URL may be read: none is longer than the URL, all
 * lie in the room, differ, and read again the first gives nothing but what it
 * leaves to loose readers.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/policy/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str url = { (const char *)p, n }, got[POLICY_SPELLINGS];
	char *room = malloc(POLICY_SPELLINGS * n + 1);
	unsigned i, k, found;

	if (room == NULL)
		abort();
	found = policy_url_spellings(url, got, room);
	assert(found <= POLICY_SPELLINGS);
	for (i = 0; i < found; i++) {
		assert(got[i].p >= room && got[i].n <= n);
		assert(got[i].p + got[i].n <= room + POLICY_SPELLINGS * n);
		assert(!str_eq(got[i], url));
		for (k = 0; k < i; k++)
			assert(!str_eq(got[i], got[k]));
	}
	free(room);
	return (0);
}
