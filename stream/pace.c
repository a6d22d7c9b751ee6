/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pace of a peer, see pace.h. */
#include "stream/pace.h"

void
pace_wait(struct pace *p, uint64_t now)
{
	if (p->since == 0)
		p->since = now;
}

void
pace_pause(struct pace *p, uint64_t now)
{
	if (p->since != 0)
		p->waited += now - p->since;
	p->since = 0;
}

void
pace_got(struct pace *p, uint64_t octets)
{
	p->octets += octets;
}

bool
pace_is_slow(struct pace *p, uint64_t now, uint64_t rate, unsigned windows)
{
	uint64_t waited = p->waited + (p->since != 0 ? now - p->since : 0);

	if (waited >= PACE_MS) {
		p->slow = p->octets < rate * waited / 1000 ? p->slow + 1 : 0;
		p->octets = p->waited = 0;
		if (p->since != 0)
			p->since = now;
	}
	return (p->slow >= windows);
}
