/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The classes of octets, see chars.h. */
#include <string.h>
#include "http/chars.h"

#define T CHAR_TOKEN
#define H CHAR_HOST
#define D CHAR_DIGIT
#define X CHAR_HEX
#define P CHAR_TARGET
#define V CHAR_VALUE

#define DIGIT (T | H | D | X | P | V)
#define HEXAL (T | H | X | P | V)
#define ALPHA (T | H | P | V)

/* By the octets. */
/* clang-format off */
const uint8_t http_chars[256] = {
	['\t'] = V,
	[' '] = V,
	['"'] = P | V, ['#'] = T | V, ['('] = P | V, [')'] = P | V,
	[','] = P | V, ['/'] = P | V, [':' ... '@'] = P | V,
	['['] = P | V, ['\\'] = P | V, [']'] = P | V, ['{'] = P | V,
	['}'] = P | V,
	['!'] = T | P | V, ['$' ... '\''] = T | P | V, ['*'] = T | P | V,
	['+'] = T | P | V, ['^'] = T | P | V, ['`'] = T | P | V,
	['|'] = T | P | V, ['~'] = T | P | V,
	['-'] = T | H | P | V, ['.'] = T | H | P | V, ['_'] = T | H | P | V,
	['0' ... '9'] = DIGIT,
	['A' ... 'F'] = HEXAL, ['G' ... 'Z'] = ALPHA,
	['a' ... 'f'] = HEXAL, ['g' ... 'z'] = ALPHA,
	[0x80 ... 0xff] = V,
};

#define R4(n) (n), (n) + 1, (n) + 2, (n) + 3
#define R16(n) R4(n), R4((n) + 4), R4((n) + 8), R4((n) + 12)
#define R64(n) R16(n), R16((n) + 16), R16((n) + 32), R16((n) + 48)

const uint8_t http_lower[256] = {
	R16(0x00), R16(0x10), R16(0x20), R16(0x30),
	'@',
	'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
	'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
	R4('['), '_',
	R16(0x60), R16(0x70), R64(0x80), R64(0xc0),
};
/* clang-format on */

size_t
http_span(struct str s, unsigned mask)
{
	size_t i = 0;

	while (i < s.n && http_char_is(s.p[i], mask))
		i++;
	return (i);
}

bool
http_is_token(struct str s)
{
	return (s.n > 0 && http_span(s, CHAR_TOKEN) == s.n);
}

/* Is there a control character (HTAB included) among these eight octets? */
static bool
has_control(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t w, del;

	memcpy(&w, p, sizeof(w));
	del = w ^ (ones * 0x7f);
	return (((((w - ones * 0x20) & ~w) | ((del - ones) & ~del)) &
		    (ones * 0x80)) != 0);
}

static bool
value_octet(char c, bool lax)
{
	if (lax)
		return (c != '\0' && c != '\r' && c != '\n');
	return (http_char_is(c, CHAR_VALUE));
}

bool
http_is_value(struct str s, bool lax)
{
	size_t i = 0;

	while (i < s.n) {
		if (s.n - i >= 8 && !has_control(s.p + i)) {
			i += 8;
			continue;
		}
		/* The last eight; some of them were looked at before. */
		if (s.n >= 8 && s.n - i < 8 && !has_control(s.p + s.n - 8))
			return (true);
		if (!value_octet(s.p[i], lax))
			return (false);
		i++;
	}
	return (true);
}

int
http_hex(char c)
{
	if (c >= '0' && c <= '9')
		return (c - '0');
	if (c >= 'a' && c <= 'f')
		return (c - 'a' + 10);
	if (c >= 'A' && c <= 'F')
		return (c - 'A' + 10);
	return (-1);
}
