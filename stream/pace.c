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

static uint64_t
waited_by(const struct pace *p, uint64_t now)
{
	return (p->waited + (p->since != 0 ? now - p->since : 0));
}

uint64_t
pace_due(const struct pace *p, uint64_t now)
{
	uint64_t waited = waited_by(p, now);

	return (now + (waited < PACE_MS ? PACE_MS - waited : 0));
}

bool
pace_is_slow(struct pace *p, uint64_t now, uint64_t rate, unsigned windows)
{
	uint64_t waited = waited_by(p, now);

	if (waited >= PACE_MS) {
		p->slow = p->octets < rate * waited / 1000 ? p->slow + 1 : 0;
		p->octets = p->waited = 0;
		if (p->since != 0)
			p->since = now;
	}
	return (p->slow >= windows);
}
