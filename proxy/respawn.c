/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How soon a process is started again, see respawn.h. */
#include <stdbool.h>
#include <string.h>
#include "proxy/respawn.h"

uint64_t
respawn_after(struct respawn *r, uint64_t now_ms, uint64_t life_ms)
{
	uint64_t *oldest;
	bool soon;

	if (life_ms >= RESPAWN_LIFE_MS)
		memset(r, 0, sizeof(*r));
	oldest = &r->died_at[r->deaths % RESPAWN_SOON];
	soon = r->deaths < RESPAWN_SOON || now_ms - *oldest > RESPAWN_SOON_MS;
	*oldest = now_ms;
	if (++r->deaths >= RESPAWN_DEATHS)
		return (RESPAWN_NEVER);
	if (soon && r->wait_ms == 0)
		return (0);
	r->wait_ms = r->wait_ms == 0 ? RESPAWN_FIRST_MS : 2 * r->wait_ms;
	if (r->wait_ms > RESPAWN_MOST_MS)
		r->wait_ms = RESPAWN_MOST_MS;
	return (r->wait_ms);
}
