/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fields of an answer that later services of the flow are sent ("share").
 * Only names that the configuration gives, only from the ICAP head of a
 * final answer: nothing that an HTTP sender wrote gets among them.
 * Room: icap.  Thread: its loop's.
 */
#include "http/chars.h"
#include "icap/tx.h"

static bool
is_shared(const struct icap_service *svc, struct str name)
{
	unsigned i;

	for (i = 0; i < svc->o.n_share; i++)
		if (str_ieq(name, str_of(svc->o.share[i])))
			return (true);
	return (false);
}

void
tx_share(struct icap_tx *tx)
{
	struct scan_shared *s = tx->scan->msg->shared;
	const struct http_fields *l;
	unsigned i;

	if (s == NULL || tx->svc->o.n_share == 0 || tx->answer == NULL ||
	    tx->scan->result.fault.code != ERR_NONE)
		return;
	l = &tx->answer->fields;
	shared_begin(s);
	for (i = 0; i < l->n; i++)
		if (is_shared(tx->svc, l->v[i].name) &&
		    http_is_value(l->v[i].value, false))
			(void)shared_add(s, tx->arena, l->v[i].name,
			    l->v[i].value);
}
