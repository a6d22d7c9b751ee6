/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of response policy zones, see list.h: draft-vixie-dnsop-dns-rpz.
 * Room: proxy.  Any thread.
 */
#include <arpa/inet.h>
#include <string.h>
#include "proxy/policy/list_priv.h"

static bool
is_class_or_ttl(struct str w)
{
	uint64_t v;

	/* "1h" as well. */
	if (w.n > 1 && strchr("smhdwSMHDW", w.p[w.n - 1]) != NULL)
		w.n--;
	return (str_ieq(w, STR("IN")) || str_to_u64(w, UINT32_MAX, &v));
}

/* "24.0.2.0.192.rpz-ip" and "48.zz.1.db8.2001.rpz-ip". */
static enum list_said
rpz_address(struct list_sink *sink, struct str owner, const char **why)
{
	char text[INET6_ADDRSTRLEN + 8] = "";
	struct str part[10], prefix;
	struct list_range r;
	size_t n = 0, end, len = 0, i;
	bool v6;

	while (owner.n > 0 && n < 10) {
		end = str_index(owner, '.');
		part[n++] = (struct str){ owner.p, end };
		owner = list_cut(owner, end < owner.n ? end + 1 : end);
	}
	*why = "no address of a zone";
	if (owner.n > 0 || n < 3)
		return (LIST_SAID_BAD);
	prefix = part[0];
	v6 = n != 5;
	for (i = 1; i < n; i++)
		v6 |= str_ieq(part[i], STR("zz"));
	for (i = n - 1; i > 0; i--) {
		if (part[i].n > 4)
			return (LIST_SAID_BAD);
		if (v6 && str_ieq(part[i], STR("zz"))) {
			/* "::" */
			if (len == 0 || i == 1)
				text[len++] = ':';
			if (len > 0 && i == 1 && text[len - 1] != ':')
				text[len++] = ':';
		} else {
			memcpy(text + len, part[i].p, part[i].n);
			len += part[i].n;
		}
		if (i > 1)
			text[len++] = v6 ? ':' : '.';
	}
	text[len++] = '/';
	if (prefix.n > 3)
		return (LIST_SAID_BAD);
	memcpy(text + len, prefix.p, prefix.n);
	len += prefix.n;
	if (!list_range_parse((struct str){ text, len }, &r))
		return (LIST_SAID_BAD);
	sink->range(sink, &r);
	return (LIST_SAID);
}

/* Below the zone's own name; STR_NONE: the zone itself. */
static struct str
in_zone(struct list_reading *rd, struct str owner)
{
	struct str zone = str_of(rd->origin), below = str_of(rd->below);

	if (owner.n > 0 && owner.p[owner.n - 1] != '.' && below.n > 0 &&
	    owner.n + below.n < sizeof(rd->name)) {
		memcpy(rd->name, owner.p, owner.n);
		memcpy(rd->name + owner.n, below.p, below.n);
		owner = str_eq(owner, STR("@"))
		    ? (struct str){ below.p + 1, below.n - 1 }
		    : (struct str){ rd->name, owner.n + below.n };
		return (owner);
	}
	if (owner.n > 0 && owner.p[owner.n - 1] == '.') {
		owner.n--;
		if (zone.n > 1 && str_iends(owner, zone))
			owner.n -= zone.n;
		else if (zone.n > 1 && str_ieq(owner, list_cut(zone, 1)))
			return (STR_NONE);
	}
	return (str_eq(owner, STR("@")) ? STR_NONE : owner);
}

static enum list_said
rpz_directive(struct list_reading *rd, struct str w, struct str rest)
{
	if (str_ieq(w, STR("$ORIGIN")) && rest.n > 0 &&
	    rest.n + 2 < sizeof(rd->origin)) {
		struct str zone = str_of(rd->origin);

		if (rest.p[rest.n - 1] == '.')
			rest.n--;
		rd->below[0] = '\0';
		if (zone.n > 1 && str_iends(rest, zone)) {
			/* Below the zone: ".com" of names without a dot at the end. */
			rest.n -= zone.n;
			rd->below[0] = '.';
			memcpy(rd->below + 1, rest.p, rest.n);
			rd->below[rest.n + 1] = '\0';
			return (LIST_SAID_NOTHING);
		}
		rd->origin[0] = '.';
		memcpy(rd->origin + 1, rest.p, rest.n);
		rd->origin[rest.n + 1] = '\0';
	}
	return (LIST_SAID_NOTHING);
}

enum list_said
list_rpz(struct list_reading *rd, struct list_sink *sink, struct str s,
    const char **why)
{
	struct str owner, type, rest;
	unsigned how = LIST_IS_EXACT;

	if (list_is_blank(s.p[0]) || s.p[0] == ')')
		return (LIST_SAID_NOTHING); /* of the record before */
	rest = list_without_comment(s, ';');
	owner = list_word(&rest);
	if (owner.n == 0)
		return (LIST_SAID_NOTHING);
	if (owner.p[0] == '$')
		return (rpz_directive(rd, owner, rest));
	do
		type = list_word(&rest);
	while (is_class_or_ttl(type));
	if (str_ieq(type, STR("SOA")) || str_ieq(type, STR("NS")))
		return (LIST_SAID_NOTHING);
	owner = in_zone(rd, owner);
	if (owner.n == 0)
		return (LIST_SAID_NOTHING);
	if (type.n == 0) {
		*why = "no record";
		return (LIST_SAID_BAD);
	}
	if (str_ieq(type, STR("CNAME"))) {
		if (str_ieq(rest, STR("rpz-passthru.")) ||
		    str_ieq(rest, STR("rpz-passthru")))
			how |= LIST_IS_EXCEPT;
		else if (str_ieq(rest, STR("rpz-tcp-only.")))
			return (LIST_SAID_SKIPPED);
	}
	if (str_iends(owner, STR(".rpz-ip"))) {
		if ((how & LIST_IS_EXCEPT) != 0)
			return (LIST_SAID_SKIPPED);
		owner.n -= 7;
		return (rpz_address(sink, owner, why));
	}
	if (str_iends(owner, STR(".rpz-nsdname")) ||
	    str_iends(owner, STR(".rpz-nsip")) ||
	    str_iends(owner, STR(".rpz-client-ip")))
		return (LIST_SAID_SKIPPED);
	if (owner.n > 2 && owner.p[0] == '*' && owner.p[1] == '.') {
		how = (how & LIST_IS_EXCEPT) | LIST_IS_BELOW;
		owner = list_cut(owner, 2);
	}
	return (list_say_name(sink, owner, how, why));
}
