/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host names, see hostname.h. */
#include <string.h>
#include "net/hostname.h"

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

static inline char
lower(char c)
{
	return (c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
}

static inline bool
is_digit(char c)
{
	return (c >= '0' && c <= '9');
}

/* '_' and '-' at any place: hosts with such names exist and are reached. */
static inline bool
is_name_char(char c)
{
	return ((c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_');
}

/* 123, 0x7f: what inet_aton() and browsers take for a part of an address. */
static bool
is_number(const char *p, size_t n)
{
	bool hex = n >= 2 && p[0] == '0' && p[1] == 'x';
	size_t i;

	for (i = hex ? 2 : 0; i < n; i++)
		if (!is_digit(p[i]) && !(hex && p[i] >= 'a' && p[i] <= 'f'))
			return (false);
	return (true);
}

bool
hostname_normalise(struct str name, char out[HOSTNAME_BYTES])
{
	size_t i, label = 0;

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	if (name.n == 0 || name.n >= HOSTNAME_BYTES)
		goto refuse;
	for (i = 0; i < name.n; i++) {
		out[i] = lower(name.p[i]);
		if (out[i] == '.') {
			if (i == label)
				goto refuse;
			label = i + 1;
		} else if (!is_name_char(out[i]) || i - label >= LABEL_MAX)
			goto refuse;
	}
	if (label == name.n || is_number(out + label, name.n - label))
		goto refuse;
	out[name.n] = '\0';
	return (true);
refuse:
	out[0] = '\0';
	return (false);
}

static inline uint64_t
mix(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return ((uint64_t)m ^ (uint64_t)(m >> 64));
}

uint64_t
hostname_hash(struct str name, uint64_t seed)
{
	const char *p = name.p;
	size_t n = name.n;
	uint64_t h = seed ^ n, block;

	for (; n > 0; p += sizeof(block), n -= sizeof(block)) {
		block = 0;
		memcpy(&block, p, n < sizeof(block) ? n : sizeof(block));
		h = mix(h ^ block, seed | 1);
		h = mix(h, 0x9e3779b97f4a7c15u);
		if (n <= sizeof(block))
			break;
	}
	return (mix(h, 0xd6e8feb86659fd93u));
}
