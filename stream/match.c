/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is a body what another one was?  See body.h. */
#include <string.h>
#include "stream/body.h"

#define BLOCK 4096

enum pull
reader_match(struct reader *r, struct chq *q)
{
	unsigned char a[BLOCK], b[BLOCK];
	struct chq was = { 0 };
	enum pull p = PULL_MORE;
	size_t n;

	while (p == PULL_MORE && chq_len(q) > 0) {
		n = chq_len(q) < BLOCK ? chq_len(q) : BLOCK;
		p = reader_pull(r, &was, n);
		n = chq_len(&was);
		chq_read(&was, 0, a, n);
		chq_read(q, 0, b, n);
		if (memcmp(a, b, n) != 0)
			p = PULL_END;
		else
			chq_drop(q, n);
		chq_drop(&was, n);
	}
	chq_fini(&was);
	return (p);
}

enum pull
reader_match_all(struct reader *r, struct reader *now, struct chq *q,
    uint64_t end)
{
	enum pull p = PULL_MORE;

	while (p == PULL_MORE) {
		if (chq_len(q) == 0)
			p = reader_pull(now, q, BLOCK);
		if (p == PULL_MORE)
			p = reader_match(r, q);
		else if (p == PULL_END) /* as long as the other? */
			return (r->offset == end ? PULL_END : PULL_FAIL);
		else
			return (p == PULL_WAIT ? PULL_WAIT : PULL_FAIL);
	}
	return (p == PULL_WAIT ? PULL_WAIT : PULL_FAIL);
}
