/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of lists, by format; see list.h for what each covers.
 */
#include <assert.h>
#include <string.h>
#include "proxy/policy/list_priv.h"

#define BOTH (LIST_IS_EXACT | LIST_IS_BELOW)

static enum list_said
domains(struct list_sink *sink, struct str s, const char **why)
{
	if (s.p[0] == '=')
		return (
		    list_say_name(sink, list_cut(s, 1), LIST_IS_EXACT, why));
	if (s.n > 2 && s.p[0] == '*' && s.p[1] == '.')
		return (
		    list_say_name(sink, list_cut(s, 2), LIST_IS_BELOW, why));
	if (s.p[0] == '.')
		s = list_cut(s, 1);
	return (list_say_name(sink, s, BOTH, why));
}

static enum list_said
squid(struct list_sink *sink, struct str s, const char **why)
{
	if (s.p[0] == '.')
		return (list_say_name(sink, list_cut(s, 1), BOTH, why));
	return (list_say_name(sink, s, LIST_IS_EXACT, why));
}

/* Names that every hosts file has for itself. */
static bool
is_own(struct str s)
{
	static const struct str own[] = { STR("localhost"),
		STR("localhost.localdomain"), STR("local"),
		STR("broadcasthost"), STR("0.0.0.0") };

	return (str_ione_of(s, own, sizeof(own) / sizeof(own[0])) ||
	    str_istarts(s, STR("ip6-")));
}

static enum list_said
hosts(struct list_sink *sink, struct str s, const char **why)
{
	struct str w = list_word(&s);
	enum list_said said = LIST_SAID_NOTHING, one;
	uint64_t a[2];

	if (list_address(w, a) == 0 || s.n == 0) {
		*why = "no address with names behind it";
		return (LIST_SAID_BAD);
	}
	while (s.n > 0) {
		w = list_word(&s);
		if (is_own(w))
			continue;
		one = list_say_name(sink, w, LIST_IS_EXACT, why);
		if (one > said)
			said = one;
	}
	return (said);
}

static unsigned
depth(struct str s)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < s.n && s.p[i] != '?'; i++)
		n += s.p[i] == '/';
	return (n);
}

static bool
has_control(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return (true);
	return (false);
}

/* A host of another script in its xn-- form; the new length, 0: it is none. */
static size_t
ascii_host(char plain[LIST_URL_ROOM], size_t n, size_t *slash)
{
	struct str host = { plain, *slash };
	char room[256];

	if (!list_has_high(host))
		return (n);
	if (!list_to_ascii(host, room, &host) || n + host.n > LIST_URL_ROOM)
		return (0);
	memmove(plain + host.n, plain + *slash, n - *slash);
	memcpy(plain, host.p, host.n);
	n = n - *slash + host.n;
	*slash = host.n;
	return (n);
}

static enum list_said
urls(struct list_sink *sink, struct str s, const char **why)
{
	char plain[LIST_URL_ROOM];
	size_t n = list_url_plain(s, plain, sizeof(plain)), slash;
	uint64_t a[2];

	slash = str_index((struct str){ plain, n }, '/');
	if (n > 0 && slash <= 1024)
		n = ascii_host(plain, n, &slash);
	if (n == 0 || slash == 0 || slash > 253 || has_control(s) ||
	    (list_lower_name(plain, slash) != NULL &&
		list_address((struct str){ plain, slash }, a) == 0)) {
		*why = "no URL";
		return (LIST_SAID_BAD);
	}
	if (slash + 1 == n) /* a host alone */
		return (list_say_name(sink, (struct str){ plain, slash }, BOTH,
		    why));
	if (n > LIST_LINE) {
		*why = "a URL of over 4096 octets";
		return (LIST_SAID_BAD);
	}
	if (depth((struct str){ plain, n }) > LIST_DEPTH) {
		*why = "a path of too many segments";
		return (LIST_SAID_BAD);
	}
	sink->url(sink, (struct str){ plain, n });
	return (LIST_SAID);
}

static enum list_said
cidr(struct list_sink *sink, struct str s, const char **why)
{
	struct list_range r;

	if (!list_range_parse(s, &r)) {
		*why = "no network, range or address";
		return (LIST_SAID_BAD);
	}
	sink->range(sink, &r);
	return (LIST_SAID);
}

static bool
has(struct str s, const char *what)
{
	return (memmem(s.p, s.n, what, strlen(what)) != NULL);
}

/* "##.banner" hides an element; "## Part 2" and "####" are comments. */
static bool
is_cosmetic(struct str s)
{
	return (s.n > 2 && s.p[0] == '#' && s.p[1] == '#' &&
	    !list_is_blank(s.p[2]) && s.p[2] != '#');
}

static enum list_said
adblock(struct list_sink *sink, struct str s, const char **why)
{
	unsigned how = BOTH;
	size_t end;

	if (has(s, "##") || has(s, "#@#") || has(s, "#?#") || has(s, "#$#"))
		return (LIST_SAID_SKIPPED);
	if (str_starts(s, STR("@@"))) {
		how |= LIST_IS_EXCEPT;
		s = list_cut(s, 2);
	}
	end = str_index(s, '$');
	if (end < s.n) {
		if (!str_eq(list_cut(s, end), STR("$important")))
			return (LIST_SAID_SKIPPED);
		how |= (how & LIST_IS_EXCEPT) != 0 ? 0 : LIST_IS_FIRM;
		s.n = end;
	}
	if (!str_starts(s, STR("||")))
		return (how == BOTH && str_index(s, '/') == s.n &&
			    str_index(s, '|') == s.n &&
			    str_index(s, '*') == s.n && str_index(s, '^') == s.n
			? list_say_name(sink, s, how, why)
			: LIST_SAID_SKIPPED);
	s = list_cut(s, 2);
	if (s.n > 1 && s.p[s.n - 1] == '|')
		s.n--;
	if (s.n < 2 || s.p[s.n - 1] != '^' || str_index(s, '/') < s.n ||
	    str_index(s, '*') < s.n)
		return (LIST_SAID_SKIPPED);
	s.n--;
	return (list_say_name(sink, s, how, why));
}

/* ---- all ---- */

/*
 * Nearly every line of a large list: a name and nothing else, which no other
 * reading is possible of.
 */
static bool
is_bare_name(char *p, size_t n)
{
	return (n > 0 && (p[n - 1] | 0x20) >= 'a' && (p[n - 1] | 0x20) <= 'z' &&
	    p[0] != '.' && list_lower_name(p, n) == NULL);
}

enum list_said
list_line(struct list_reading *rd, enum list_format format, char *p, size_t n,
    struct list_sink *sink, const char **why)
{
	struct str s = { p, n };

	*why = NULL;
	if (!sink->opens && (format == LIST_DOMAINS || format == LIST_SQUID) &&
	    is_bare_name(p, n)) {
		sink->name(sink, s,
		    format == LIST_SQUID ? LIST_IS_EXACT : BOTH);
		return (LIST_SAID);
	}
	if (format == LIST_RPZ)
		return (list_trim(s).n == 0 || list_trim(s).p[0] == ';'
			? LIST_SAID_NOTHING
			: list_rpz(rd, sink, s, why));
	s = list_trim(s);
	if (s.n == 0 || s.p[0] == '!' || (s.p[0] == '#' && !is_cosmetic(s)) ||
	    str_istarts(s, STR("[Adblock")))
		return (LIST_SAID_NOTHING);
	if (format != LIST_ADBLOCK) {
		/* "192.0.2.0/24 ; SBL1" is how some feeds comment. */
		s = list_without_comment(list_without_comment(s, '#'), ';');
		if (s.n == 0)
			return (LIST_SAID_NOTHING);
	}
	if (format == LIST_HOSTS)
		return (hosts(sink, s, why));
	if (format != LIST_ADBLOCK && format != LIST_CIDR) {
		struct str rest = s;

		s = list_word(&rest);
		if (rest.n > 0) {
			*why = "more than one word";
			return (LIST_SAID_BAD);
		}
	}
	switch (format) {
	case LIST_DOMAINS:
		return (domains(sink, s, why));
	case LIST_SQUID:
		return (squid(sink, s, why));
	case LIST_URLS:
		return (urls(sink, s, why));
	case LIST_CIDR:
		return (cidr(sink, s, why));
	case LIST_ADBLOCK:
		return (adblock(sink, s, why));
	case LIST_AUTO:
	case LIST_HOSTS:
	case LIST_RPZ:
	case LIST_UT1:
		break;
	}
	assert(false);
	return (LIST_SAID_NOTHING);
}

/* ---- which format ---- */

struct counts {
	unsigned lines, zone, adblock, cosmetic, hosts, cidr, urls, dotted;
};

static void
count_line(struct counts *c, struct str s)
{
	struct str rest = s, first = list_word(&rest),
		   second = list_word(&rest);
	struct list_range r;
	uint64_t a[2];

	c->lines++;
	if (str_ieq(first, STR("$TTL")) || str_ieq(first, STR("$ORIGIN")) ||
	    str_ieq(second, STR("CNAME")) || str_ieq(second, STR("SOA")) ||
	    (str_ieq(second, STR("IN")) && rest.n > 0))
		c->zone++;
	else if (str_starts(s, STR("||")) || str_starts(s, STR("@@")))
		c->adblock++;
	else if (has(s, "##") && second.n == 0)
		c->cosmetic++;
	else if (second.n > 0 && second.p[0] != '#' &&
	    list_address(first, a) != 0)
		c->hosts++;
	else if (list_range_parse(first, &r))
		c->cidr++;
	else if (str_index(first, '/') < first.n)
		c->urls++;
	else if (first.p[0] == '.')
		c->dotted++;
}

char
list_eol(const char *p, size_t n)
{
	return (memchr(p, '\n', n) == NULL && memchr(p, '\r', n) != NULL
		? '\r'
		: '\n');
}

enum list_format
list_guess(const char *p, size_t n)
{
	struct counts c = { 0 };
	struct str rest = { p, n }, line;
	char eol = list_eol(p, n);
	size_t end;

	while (rest.n > 0 && c.lines < 200) {
		end = str_index(rest, eol);
		line = list_trim((struct str){ rest.p, end });
		rest = list_cut(rest, end < rest.n ? end + 1 : end);
		if (str_istarts(line, STR("[Adblock")))
			return (LIST_ADBLOCK);
		if (line.n > 0 && strchr("#;!)", line.p[0]) == NULL)
			count_line(&c, line);
		else if (is_cosmetic(line))
			c.cosmetic++;
	}
	if (c.zone > 0)
		return (LIST_RPZ);
	if (c.hosts * 2 > c.lines)
		return (LIST_HOSTS);
	if (c.adblock > 0 || c.cosmetic > 0)
		return (LIST_ADBLOCK);
	if (c.cidr > 0 && c.cidr * 2 > c.lines)
		return (LIST_CIDR);
	if (c.urls > 0)
		return (LIST_URLS);
	/* One stray dot makes no Squid's list, where "a.example" is one name. */
	return (c.dotted * 10 > c.lines ? LIST_SQUID : LIST_DOMAINS);
}
