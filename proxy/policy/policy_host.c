/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of host names for rules: one probe for each label of the host asked
 * for, however many names there are.
 * Room: proxy.  Any thread.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "http/uri.h"
#include "proxy/policy/match.h"

static char
lower(char c)
{
	return (c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
}

/* FNV-1a from the end, so that suffixes share the work. */
#define HASH_START 2166136261u
#define HASH_STEP(h, c) (((h) ^ (unsigned char)(c)) * 16777619u)

static uint32_t
hash_of(struct str s)
{
	uint32_t h = HASH_START;

	while (s.n > 0)
		h = HASH_STEP(h, s.p[--s.n]);
	return (h);
}

/* The slot of the name, or the free one where it belongs. */
static struct policy_host *
find_slot(const struct policy_hosts *s, struct str name, uint32_t hash)
{
	unsigned i = (hash ^ hash >> 15) & (s->cap - 1);

	while (s->slot[i].name.p != NULL &&
	    (s->slot[i].hash != hash || !str_eq(s->slot[i].name, name)))
		i = (i + 1) & (s->cap - 1);
	return (&s->slot[i]);
}

static void
grow(struct policy_hosts *s, struct arena *a)
{
	struct policy_hosts bigger = { NULL, s->n,
		s->cap == 0 ? 4 : s->cap * 2 };
	unsigned i;

	bigger.slot = arena_zalloc(a, bigger.cap * sizeof(*bigger.slot));
	for (i = 0; i < s->cap; i++)
		if (s->slot[i].name.p != NULL)
			*find_slot(&bigger, s->slot[i].name,
			    s->slot[i].hash) = s->slot[i];
	*s = bigger;
}

static bool
is_name_char(char c)
{
	return ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '-' || c == '_');
}

/* Labels of 1 to 63 octets, RFC 1035 2.3.1 and the underscore in use. */
static bool
is_name(struct str s)
{
	size_t i, label = 0;

	if (s.n == 0 || s.n > 253)
		return (false);
	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '.' && label == 0)
			return (false);
		label = s.p[i] == '.' ? 0 : label + 1;
		if (label > 63 || (label > 0 && !is_name_char(s.p[i])))
			return (false);
	}
	return (label > 0);
}

static bool
looks_numeric(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((s.p[i] < '0' || s.p[i] > '9') && s.p[i] != '.')
			return (false);
	return (true);
}

/* What to say about a text that is no pattern; NULL: nothing is wrong. */
static const char *
fault_of(const char *text, struct str name, unsigned how)
{
	if (strchr(text, '/') != NULL)
		return ("no host name; networks are for 'dest', paths for "
			"'url'");
	if (text[0] == '.')
		return ("no host name; 'example.com' covers subdomains, "
			"'*.example.com' means them alone");
	if (strcmp(text, "*") == 0 || strcmp(text, "any") == 0)
		return ("no host name; leave 'host' out to mean all");
	if (!is_name(name))
		return ("no host name; write letters, digits, '-' and dots, "
			"other scripts in their xn-- form, no port");
	if (looks_numeric(name) && (how & POLICY_HOST_EXACT) == 0)
		return ("no host name; addresses have no subdomains");
	if (looks_numeric(name))
		return ("not an IPv4 address; write four decimal numbers, "
			"networks are for 'dest'");
	return (NULL);
}

/* RFC 4291 2.5.5.2: an IPv4 address in IPv6's clothes is that address. */
struct str
policy_unmapped(struct str ip)
{
	struct str mapped = STR("::ffff:");

	if (str_istarts(ip, mapped) && str_index(ip, '.') < ip.n)
		return ((struct str){ ip.p + mapped.n, ip.n - mapped.n });
	return (ip);
}

/* By the reader of every host (http/uri.h): what it refuses never comes. */
static bool
host_of(struct arena *a, struct str text, struct http_uri *out)
{
	if (text.n > 0 && text.p[0] != '[' && str_index(text, ':') < text.n)
		text = arena_printf(a, "[%.*s]", STR_ARG(text));
	return (http_host_parse(a, text, out));
}

static void
insert(struct policy_hosts *s, struct arena *a, struct str name, unsigned how)
{
	struct policy_host *slot;
	uint32_t hash;
	struct str own;
	char *p;
	size_t i;

	if ((s->n + 1) * 2 > s->cap)
		grow(s, a);
	p = arena_alloc(a, name.n + 1);
	for (i = 0; i < name.n; i++)
		p[i] = lower(name.p[i]);
	p[name.n] = '\0';
	own = (struct str){ p, name.n };
	hash = hash_of(own);
	slot = find_slot(s, own, hash);
	if (slot->name.p == NULL) {
		slot->name = own;
		slot->hash = hash;
		s->n++;
	}
	slot->how |= how;
}

bool
policy_hosts_add(struct policy_hosts *s, struct arena *a, const char *text,
    char why[POLICY_WHY])
{
	struct str name = str_of(text);
	unsigned how = POLICY_HOST_EXACT | POLICY_HOST_BELOW;
	struct http_uri host = { 0 };
	const char *fault;

	if (text[0] == '=') {
		how = POLICY_HOST_EXACT;
		name = str_of(text + 1);
	} else if (text[0] == '*' && text[1] == '.') {
		how = POLICY_HOST_BELOW;
		name = str_of(text + 2);
	}
	if (host_of(a, name, &host) &&
	    (!host.host_is_ip || (how & POLICY_HOST_EXACT) != 0)) {
		insert(s, a, policy_unmapped(host.host),
		    host.host_is_ip ? POLICY_HOST_EXACT : how);
		return (true);
	}
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--; /* the root's dot */
	fault = fault_of(text, name, how);
	snprintf(why, POLICY_WHY, "%s",
	    fault != NULL
		? fault
		: "no host "
		  "name; some resolvers would take it for an address");
	return (false);
}

/* An IPv6 address as http/uri.h writes it; else as it is. */
static void
one_spelling(char text[256])
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) == 1)
		(void)inet_ntop(AF_INET6, &a, text, INET6_ADDRSTRLEN);
}

void
policy_host_key(struct policy_host_key *k, struct str host, bool is_ip)
{
	uint32_t h = HASH_START;
	size_t i;

	k->n = 0;
	k->is_ip = is_ip;
	if (host.n == 0 || host.n >= sizeof(k->text))
		return;
	memcpy(k->text, host.p, host.n);
	k->text[host.n] = '\0';
	for (i = 0; i < host.n; i++)
		k->text[i] = lower(k->text[i]);
	if (is_ip)
		one_spelling(k->text);
	i = is_ip ? strlen(k->text) : host.n;
	if (!is_ip && i > 1 && k->text[i - 1] == '.')
		i--;
	host = (struct str){ k->text, i };
	if (is_ip)
		host = policy_unmapped(host);
	i = host.n;
	while (i > 0) {
		h = HASH_STEP(h, host.p[--i]);
		if (i > 0 && (is_ip || host.p[i - 1] != '.'))
			continue;
		if (k->n == POLICY_LABELS)
			break; /* 255 octets have no more */
		k->suffix[k->n].name = (struct str){ host.p + i, host.n - i };
		k->suffix[k->n++].hash = h;
	}
}

bool
policy_hosts_match(const struct policy_hosts *s,
    const struct policy_host_key *k)
{
	const struct policy_host *slot;
	unsigned i;

	assert(s->cap > 0);
	for (i = 0; i < k->n; i++) {
		slot = find_slot(s, k->suffix[i].name, k->suffix[i].hash);
		if (slot->name.p != NULL &&
		    (slot->how &
			(i + 1 == k->n ? POLICY_HOST_EXACT
				       : POLICY_HOST_BELOW)) != 0)
			return (true);
	}
	return (false);
}
