/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Words, addresses and names in lines of lists, see list_priv.h.
 * RFC 1123 2.1 (names), RFC 5891 (other scripts).
 * Room: proxy.  Any thread.
 */
#include <arpa/inet.h>
#include <idn2.h>
#include <libpsl.h>
#include <string.h>
#include "proxy/policy/list_priv.h"

bool
list_is_blank(char c)
{
	return (c == ' ' || c == '\t' || c == '\r');
}

struct str
list_cut(struct str s, size_t n)
{
	return ((struct str){ s.p + n, s.n - n });
}

struct str
list_trim(struct str s)
{
	while (s.n > 0 && list_is_blank(s.p[0]))
		s = list_cut(s, 1);
	while (s.n > 0 && list_is_blank(s.p[s.n - 1]))
		s.n--;
	return (s);
}

/* The next word; rest is what follows it. */
struct str
list_word(struct str *rest)
{
	struct str w = list_trim(*rest);
	size_t n = 0;

	while (n < w.n && !list_is_blank(w.p[n]))
		n++;
	*rest = list_trim(list_cut(w, n));
	w.n = n;
	return (w);
}

/* Up to a comment behind blanks. */
struct str
list_without_comment(struct str s, char mark)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] == mark && (i == 0 || list_is_blank(s.p[i - 1])))
			return (list_trim((struct str){ s.p, i }));
	return (list_trim(s));
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
unsigned
list_address(struct str s, uint64_t out[2])
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
		bits = list_address((struct str){ s.p, slash }, r->from);
		if (bits == 0 || !str_to_u64(list_cut(s, slash + 1), bits, &v))
			return (false);
		block(r, (unsigned)v + 128 - bits);
		return (is_one_family(r, bits));
	}
	bits = list_address(list_trim((struct str){ s.p, dash }), r->from);
	if (dash == s.n) {
		memcpy(r->to, r->from, sizeof(r->to));
		return (bits != 0);
	}
	last = list_address(list_trim(list_cut(s, dash + 1)), r->to);
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
const char *
list_lower_name(char *p, size_t n)
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

bool
list_has_high(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return (true);
	return (false);
}

/* Another script in its xn-- form (UTS 46). */
bool
list_to_ascii(struct str s, char out[256], struct str *name)
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
			s = list_cut(s, i + 3);
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
enum list_said
list_say_name(struct list_sink *sink, struct str s, unsigned how,
    const char **why)
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
	if (list_has_high(s) && !list_to_ascii(s, room, &s)) {
		*why = "no host name";
		return (LIST_SAID_BAD);
	}
	if (str_index(s, '/') < s.n) {
		*why = "a path; the format 'urls' has them";
		return (LIST_SAID_BAD);
	}
	if ((*why = list_lower_name((char *)(uintptr_t)s.p, s.n)) != NULL)
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
