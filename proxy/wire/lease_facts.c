/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leases: their clocks, and facts for the record; see lease.h. */
#include <assert.h>
#include "proxy/wire/lease_priv.h"

/* Clocks. */

uint64_t
lease_head_due(const struct lease *l, uint64_t first, uint64_t rest)
{
	return (l->at != LEASE_AT_SENT
		? UINT64_MAX
		: l->asked_at + (l->begun ? rest : first));
}

bool
lease_is_late(const struct lease *l, uint64_t now, uint64_t first,
    uint64_t rest)
{
	return (now >= lease_head_due(l, first, rest));
}

uint64_t
lease_body_due(const struct lease *l, uint64_t now, uint64_t ms, uint64_t rate)
{
	return (l->at != LEASE_AT_ANSWERED
		? UINT64_MAX
		: l->origin->speech->due(l, now, ms, rate));
}

bool
lease_is_silent(const struct lease *l, uint64_t now, uint64_t ms)
{
	return (l->at == LEASE_AT_ANSWERED &&
	    l->origin->speech->silent(l, now, ms));
}

bool
lease_is_slow(struct lease *l, uint64_t now, uint64_t rate)
{
	return (l->at == LEASE_AT_ANSWERED &&
	    l->origin->speech->slow(l, now, rate));
}

void
lease_forgive(struct lease *l, uint64_t now)
{
	assert(lease_is_on(l));
	l->asked_at = now;
	l->origin->speech->forgive(l, now);
}

/* Facts. */

bool
lease_may_be_lost(const struct lease *l)
{
	return (l->reused || (l->origin != NULL && l->origin->h2 != NULL));
}

bool
lease_is_unseen(const struct lease *l)
{
	return (l->at == LEASE_AT_ENDED && l->unseen && l->heads == 0);
}

bool
lease_may_repeat(const struct lease *l)
{
	/* A leg of a sign-in means this connection alone. */
	return (
	    l->at == LEASE_AT_ENDED && l->reused && l->heads == 0 && !l->leg);
}

bool
lease_is_invalid(const struct lease *l)
{
	return (l->origin != NULL && l->origin->invalid);
}

void
lease_times(const struct lease *l, struct lease_times *t)
{
	*t = l->origin != NULL && !l->reused
	    ? l->origin->times
	    : (struct lease_times){ -1, -1, -1 };
}

const struct sockaddr *
lease_peer(const struct lease *l)
{
	const struct origin *o = l->origin;

	return (o != NULL && o->transport != NULL ? way_dest(&o->way) : NULL);
}

const struct upstream_end *
lease_parent(const struct lease *l)
{
	return (l->origin != NULL ? l->origin->way.end : NULL);
}

bool
lease_is_around(const struct lease *l)
{
	return (l->origin != NULL && l->origin->way.around);
}

unsigned
lease_parent_status(const struct lease *l)
{
	assert(l->at == LEASE_AT_FAILED);
	return (l->origin != NULL ? l->origin->way.status : 0);
}

const char *
lease_peer_ip(const struct lease *l)
{
	static const char none[ADDRESS_TEXT];

	return (lease_peer(l) != NULL ? way_dest_ip(&l->origin->way) : none);
}

const char *
lease_parent_ip(const struct lease *l)
{
	static const char none[ADDRESS_TEXT];

	return (lease_parent(l) != NULL ? l->origin->way.dial.peer_ip : none);
}

const char *
lease_lacks_ct(const struct lease *l)
{
	return (
	    lease_is_on(l) && l->place->tls ? l->origin->verify.lacks_ct : "");
}

void
lease_tls(const struct lease *l, struct str *version, struct str *cipher,
    struct str *protocol)
{
	*version = *cipher = *protocol = STR_NONE;
	if (!lease_is_on(l) || !l->place->tls)
		return;
	*version = tls_version_text(link_tls(l->origin->transport));
	*cipher = tls_cipher_text(link_tls(l->origin->transport));
	*protocol = tls_protocol_text(link_tls(l->origin->transport));
}
