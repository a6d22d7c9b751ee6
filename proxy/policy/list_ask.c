/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What lists are asked for hosts, URLs and addresses, see list.h.
 * Room: proxy.  Any thread.
 */
#include "net/nets.h"
#include "proxy/policy/list_priv.h"

/* Exceptions beat what is listed, and what is firm beats exceptions. */
static bool
is_listed(unsigned got)
{
	return ((got & LIST_IS_FIRM) != 0 ||
	    ((got & LIST_IS_EXACT) != 0 && (got & LIST_IS_EXCEPT) == 0));
}

bool
list_has_host(const struct list *l, unsigned category, const struct list_key *k)
{
	unsigned i, got = 0;

	if (!l->table.names)
		return (false);
	for (i = 0; i < k->n; i++) {
		got |= list_table_find(&l->table, k->suffix[i].hash,
		    k->suffix[i].name, category,
		    i + 1 == k->n ? LIST_IS_EXACT : LIST_IS_BELOW);
		if (got != 0 && !l->table.excepts)
			return (true);
	}
	return (is_listed(got));
}

/* Where an entry may end: at each "/" and behind it, "?", "&", and the end. */
#define ARGUMENTS 32
#define CUTS (2 * LIST_DEPTH + ARGUMENTS + 6)

bool
list_has_url(const struct list *l, unsigned category, struct str url)
{
	char plain[LIST_URL_ROOM];
	uint16_t cut[CUTS];
	uint64_t hash[CUTS];
	unsigned n = 0, i;
	size_t len, at;

	if (!l->table.urls)
		return (false);
	if (url.n > LIST_LINE)
		url.n = LIST_LINE;
	len = list_url_plain(url, plain, sizeof(plain));
	if (len > LIST_LINE)
		len = LIST_LINE; /* no entry is longer */
	for (at = 1; at < len && plain[at] != '?'; at++) {
		if (plain[at] != '/' || n + 4 + ARGUMENTS > CUTS)
			continue;
		if (n == 0 || cut[n - 1] != at)
			cut[n++] = (uint16_t)at;
		cut[n++] = (uint16_t)(at + 1);
	}
	if (at < len && (n == 0 || cut[n - 1] != at))
		cut[n++] = (uint16_t)at;
	for (at++; at < len; at++)
		if (plain[at] == '&' && n + 2 < CUTS)
			cut[n++] = (uint16_t)at;
	if (len > 0 && (n == 0 || cut[n - 1] != len))
		cut[n++] = (uint16_t)len;
	if (n == 0)
		return (false);
	list_hash(plain, len, cut, n, true, hash);
	for (i = 0; i < n; i++)
		if (list_table_find(&l->table, hash[i],
			(struct str){ plain, cut[i] }, category,
			LIST_IS_EXACT) != 0)
			return (true);
	return (false);
}

bool
list_has_address(const struct list *l, unsigned category,
    const struct nets_addr *a)
{
	return (list_table_range(&l->table, category, a->inner) ||
	    list_table_range(&l->table, category, a->plain));
}
