/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of lists, by format; see list.h for what each covers.
 * RFC 1123 2.1 (names), RFC 5891 (other scripts), draft-vixie-dnsop-dns-rpz.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <idn2.h>
#include <libpsl.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/policy/list_priv.h"

#define BOTH (LIST_IS_EXACT | LIST_IS_BELOW)

static bool
is_blank(char c)
{
	return (c == ' ' || c == '\t' || c == '\r');
}

static struct str
cut_from(struct str s, size_t n)
{
	return ((struct str){ s.p + n, s.n - n });
}

static struct str
trim(struct str s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = cut_from(s, 1);
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return (s);
}

/* The next word; rest is what follows it. */
static struct str
word(struct str *rest)
{
	struct str w = trim(*rest);
	size_t n = 0;

	while (n < w.n && !is_blank(w.p[n]))
		n++;
	*rest = trim(cut_from(w, n));
	w.n = n;
	return (w);
}

/* Up to a comment behind blanks. */
static struct str
without_comment(struct str s, char mark)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] == mark && (i == 0 || is_blank(s.p[i - 1])))
			return (trim((struct str){ s.p, i }));
	return (trim(s));
}

/* ---- addresses ---- */

static void
wide(uint64_t out[2], const unsigned char a[16])
{
	unsigned i;

	out[0] = out[1] = 0;
	for (i = 0; i < 16; i++)
		out[i / 8] = out[i / 8] << 8 | a[i];
}

/* The address, IPv4 as ::ffff:a.b.c.d; how many bits it has; 0: none. */
static unsigned
address(struct str s, uint64_t out[2])
{
	unsigned char a[16] = { [10] = 0xff, [11] = 0xff };
	char text[INET6_ADDRSTRLEN + 1];

	if (s.n > 1 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = (struct str){ s.p + 1, s.n - 2 };
	if (s.n == 0 || s.n >= sizeof(text))
		return (0);
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (inet_pton(AF_INET, text, a + 12) == 1) {
		wide(out, a);
		return (32);
	}
	if (inet_pton(AF_INET6, text, a) == 1) {
		wide(out, a);
		return (128);
	}
	return (0);
}

/* The addresses that begin with so many bits of r->from. */
static void
block(struct list_range *r, unsigned bits)
{
	uint64_t mask[2] = { UINT64_MAX, UINT64_MAX };
	unsigned i;

	mask[0] = bits >= 64 ? UINT64_MAX
	    : bits == 0      ? 0
			     : UINT64_MAX << (64 - bits);
	mask[1] = bits >= 128 ? UINT64_MAX
	    : bits <= 64      ? 0
			      : UINT64_MAX << (128 - bits);
	for (i = 0; i < 2; i++) {
		r->from[i] &= mask[i];
		r->to[i] = r->from[i] | ~mask[i];
	}
}

/*
 * IPv6 that begins below ::ffff:0:0/96 and reaches into it ("::/8") means no IPv4:
 * what is behind that block is left.
 */
static bool
is_one_family(struct list_range *r, unsigned bits)
{
	const uint64_t mapped = UINT64_C(0xffff) << 32;

	if (bits == 32)
		return (true);
	if (r->from[0] != 0)
		return (true);
	if (r->to[0] == 0)
		return (r->to[1] < mapped || r->from[1] > mapped + UINT32_MAX ||
		    r->from[1] >= mapped);
	if (r->from[1] <= mapped + UINT32_MAX)
		r->from[1] = mapped + UINT32_MAX + 1;
	return (true);
}

bool
list_range_parse(struct str s, struct list_range *r)
{
	size_t slash = str_index(s, '/'), dash = str_index(s, '-');
	unsigned bits, last;
	uint64_t v = 0;

	*r = (struct list_range){ 0 };
	if (slash < s.n) {
		bits = address((struct str){ s.p, slash }, r->from);
		if (bits == 0 || !str_to_u64(cut_from(s, slash + 1), bits, &v))
			return (false);
		block(r, (unsigned)v + 128 - bits);
		return (is_one_family(r, bits));
	}
	bits = address(trim((struct str){ s.p, dash }), r->from);
	if (dash == s.n) {
		memcpy(r->to, r->from, sizeof(r->to));
		return (bits != 0);
	}
	last = address(trim(cut_from(s, dash + 1)), r->to);
	return (bits != 0 && bits == last && is_one_family(r, bits) &&
	    (r->from[0] < r->to[0] ||
		(r->from[0] == r->to[0] && r->from[1] <= r->to[1])));
}

/* ---- names ---- */

/* Lower case of what may stand in a name; 0: may not. */
static const char in_name[256] = {
#define LETTERS(lo, hi) \
	[lo] = hi, [lo + 1] = hi + 1, [lo + 2] = hi + 2, [lo + 3] = hi + 3
	LETTERS('a', 'a'), LETTERS('e', 'e'), LETTERS('i', 'i'),
	LETTERS('m', 'm'), LETTERS('q', 'q'),
	LETTERS('u', 'u'), ['y'] = 'y', ['z'] = 'z', LETTERS('A', 'a'),
	LETTERS('E', 'e'), LETTERS('I', 'i'), LETTERS('M', 'm'),
	LETTERS('Q', 'q'), LETTERS('U', 'u'), ['Y'] = 'y', ['Z'] = 'z',
	LETTERS('0', '0'), LETTERS('4', '4'), ['8'] = '8', ['9'] = '9',
	['-'] = '-', ['_'] = '_', ['.'] = '.'
#undef LETTERS
};

/* Lower case in place; NULL, or what is wrong. */
static const char *
lower_name(char *p, size_t n)
{
	size_t i, label = 0;
	bool digits = true;

	if (n == 0 || n > 253)
		return (n == 0 ? "no host name" : "a name of over 253 octets");
	for (i = 0; i < n; i++) {
		char c = in_name[(unsigned char)p[i]];

		if (c == 0)
			return ("no host name");
		if (c == '.' && label == 0)
			return ("a name with an empty label");
		label = c == '.' ? 0 : label + 1;
		if (label > 63)
			return ("a label of over 63 octets");
		digits &= c == '.' || (c >= '0' && c <= '9');
		p[i] = c;
	}
	if (digits)
		return ("no address of four decimal numbers");
	return (label == 0 ? "a name with an empty label" : NULL);
}

static bool
has_high(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return (true);
	return (false);
}

/* Another script in its xn-- form (UTS 46). */
static bool
to_ascii(struct str s, char out[256], struct str *name)
{
	uint8_t text[1024], *ascii = NULL;
	bool fits = false;

	if (s.n >= sizeof(text))
		return (false);
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (idn2_lookup_u8(text, &ascii,
		IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) == IDN2_OK &&
	    strlen((char *)ascii) < 256) {
		*name = (struct str){ out, strlen((char *)ascii) };
		memcpy(out, ascii, name->n);
		fits = true;
	}
	idn2_free(ascii);
	return (fits);
}

/* "http://a.example:80" and "a.example." are a.example. */
static struct str
bare(struct str s)
{
	size_t i;

	for (i = 0; i + 3 <= s.n && s.p[i] != '/'; i++)
		if (memcmp(s.p + i, "://", 3) == 0) {
			s = cut_from(s, i + 3);
			if (s.n > 0 && s.p[s.n - 1] == '/')
				s.n--;
			break;
		}
	for (i = s.n; i > 0 && s.p[i - 1] >= '0' && s.p[i - 1] <= '9'; i--)
		;
	if (i > 1 && i < s.n && s.p[i - 1] == ':' &&
	    (s.p[i - 2] == ']' || str_index(s, ':') == i - 1))
		s.n = i - 1;
	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--;
	return (s);
}

static bool
is_public_suffix(struct str name)
{
	const psl_ctx_t *psl = psl_builtin();
	char text[256];

	if (psl == NULL || name.n >= sizeof(text))
		return (psl == NULL && str_index(name, '.') == name.n);
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	return (psl_is_public_suffix2(psl, text, PSL_TYPE_ANY) == 1);
}

/* A name, or an address for the ranges; as the caller says it covers. */
static enum list_said
say_name(struct list_sink *sink, struct str s, unsigned how, const char **why)
{
	struct list_range r;
	char room[256];

	s = bare(s);
	if (s.n > 0 &&
	    (s.p[0] == '[' || (s.p[s.n - 1] >= '0' && s.p[s.n - 1] <= '9') ||
		str_index(s, ':') < s.n) &&
	    str_index(s, '/') == s.n && str_index(s, '-') == s.n &&
	    list_range_parse(s, &r)) {
		if ((how & LIST_IS_EXCEPT) != 0)
			return (LIST_SAID_SKIPPED); /* ranges have none */
		sink->range(sink, &r);
		return (LIST_SAID);
	}
	if (has_high(s) && !to_ascii(s, room, &s)) {
		*why = "no host name";
		return (LIST_SAID_BAD);
	}
	if (str_index(s, '/') < s.n) {
		*why = "a path; the format 'urls' has them";
		return (LIST_SAID_BAD);
	}
	if ((*why = lower_name((char *)(uintptr_t)s.p, s.n)) != NULL)
		return (LIST_SAID_BAD);
	/* What a closing list excepts is open, and the other way round. */
	if (sink->opens == ((how & LIST_IS_EXCEPT) == 0) &&
	    (how & LIST_IS_BELOW) != 0 && is_public_suffix(s)) {
		*why = "a public suffix; it would open everybody's names";
		return (LIST_SAID_BAD);
	}
	sink->name(sink, s, how);
	return (LIST_SAID);
}

static enum list_said
domains(struct list_sink *sink, struct str s, const char **why)
{
	if (s.p[0] == '=')
		return (say_name(sink, cut_from(s, 1), LIST_IS_EXACT, why));
	if (s.n > 2 && s.p[0] == '*' && s.p[1] == '.')
		return (say_name(sink, cut_from(s, 2), LIST_IS_BELOW, why));
	if (s.p[0] == '.')
		s = cut_from(s, 1);
	return (say_name(sink, s, BOTH, why));
}

static enum list_said
squid(struct list_sink *sink, struct str s, const char **why)
{
	if (s.p[0] == '.')
		return (say_name(sink, cut_from(s, 1), BOTH, why));
	return (say_name(sink, s, LIST_IS_EXACT, why));
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
	struct str w = word(&s);
	enum list_said said = LIST_SAID_NOTHING, one;
	uint64_t a[2];

	if (address(w, a) == 0 || s.n == 0) {
		*why = "no address with names behind it";
		return (LIST_SAID_BAD);
	}
	while (s.n > 0) {
		w = word(&s);
		if (is_own(w))
			continue;
		one = say_name(sink, w, LIST_IS_EXACT, why);
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

	if (!has_high(host))
		return (n);
	if (!to_ascii(host, room, &host) || n + host.n > LIST_URL_ROOM)
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
	    (lower_name(plain, slash) != NULL &&
		address((struct str){ plain, slash }, a) == 0)) {
		*why = "no URL";
		return (LIST_SAID_BAD);
	}
	if (slash + 1 == n) /* a host alone */
		return (
		    say_name(sink, (struct str){ plain, slash }, BOTH, why));
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
	    !is_blank(s.p[2]) && s.p[2] != '#');
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
		s = cut_from(s, 2);
	}
	end = str_index(s, '$');
	if (end < s.n) {
		if (!str_eq(cut_from(s, end), STR("$important")))
			return (LIST_SAID_SKIPPED);
		how |= (how & LIST_IS_EXCEPT) != 0 ? 0 : LIST_IS_FIRM;
		s.n = end;
	}
	if (!str_starts(s, STR("||")))
		return (how == BOTH && str_index(s, '/') == s.n &&
			    str_index(s, '|') == s.n &&
			    str_index(s, '*') == s.n && str_index(s, '^') == s.n
			? say_name(sink, s, how, why)
			: LIST_SAID_SKIPPED);
	s = cut_from(s, 2);
	if (s.n > 1 && s.p[s.n - 1] == '|')
		s.n--;
	if (s.n < 2 || s.p[s.n - 1] != '^' || str_index(s, '/') < s.n ||
	    str_index(s, '*') < s.n)
		return (LIST_SAID_SKIPPED);
	s.n--;
	return (say_name(sink, s, how, why));
}

/* ---- zones ---- */

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
		owner = cut_from(owner, end < owner.n ? end + 1 : end);
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
		else if (zone.n > 1 && str_ieq(owner, cut_from(zone, 1)))
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

static enum list_said
rpz(struct list_reading *rd, struct list_sink *sink, struct str s,
    const char **why)
{
	struct str owner, type, rest;
	unsigned how = LIST_IS_EXACT;

	if (is_blank(s.p[0]) || s.p[0] == ')')
		return (LIST_SAID_NOTHING); /* of the record before */
	rest = without_comment(s, ';');
	owner = word(&rest);
	if (owner.n == 0)
		return (LIST_SAID_NOTHING);
	if (owner.p[0] == '$')
		return (rpz_directive(rd, owner, rest));
	do
		type = word(&rest);
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
		owner = cut_from(owner, 2);
	}
	return (say_name(sink, owner, how, why));
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
	    p[0] != '.' && lower_name(p, n) == NULL);
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
		return (trim(s).n == 0 || trim(s).p[0] == ';'
			? LIST_SAID_NOTHING
			: rpz(rd, sink, s, why));
	s = trim(s);
	if (s.n == 0 || s.p[0] == '!' || (s.p[0] == '#' && !is_cosmetic(s)) ||
	    str_istarts(s, STR("[Adblock")))
		return (LIST_SAID_NOTHING);
	if (format != LIST_ADBLOCK) {
		/* "192.0.2.0/24 ; SBL1" is how some feeds comment. */
		s = without_comment(without_comment(s, '#'), ';');
		if (s.n == 0)
			return (LIST_SAID_NOTHING);
	}
	if (format == LIST_HOSTS)
		return (hosts(sink, s, why));
	if (format != LIST_ADBLOCK && format != LIST_CIDR) {
		struct str rest = s;

		s = word(&rest);
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
	struct str rest = s, first = word(&rest), second = word(&rest);
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
	else if (second.n > 0 && second.p[0] != '#' && address(first, a) != 0)
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
		line = trim((struct str){ rest.p, end });
		rest = cut_from(rest, end < rest.n ? end + 1 : end);
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
