/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values made fit for showing, see text.h. */
#include <stdbool.h>
#include <string.h>
#include <unistr.h>
#include "base/text.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define ELLIPSIS "\xE2\x80\xA6"    /* U+2026 */

unsigned
text_utf8(struct str s, uint32_t *cp)
{
	ucs4_t c;
	int n;

	if (s.n == 0)
		return (0);
	n = u8_mbtoucr(&c, (const uint8_t *)s.p, s.n);
	if (n <= 0)
		return (0);
	*cp = c;
	return ((unsigned)n);
}

static bool
is_showable(uint32_t cp)
{
	if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
		return (false);
	/* marks, separators and overrides that rearrange a line (UAX #9) */
	if ((cp >= 0x200B && cp <= 0x200F) || (cp >= 0x2028 && cp <= 0x202E) ||
	    (cp >= 0x2060 && cp <= 0x206F))
		return (false);
	return (cp != 0x061C && cp != 0xFEFF && cp < 0xE0000);
}

struct str
text_clean(struct arena *a, struct str s, size_t max)
{
	size_t cap, n = 0, chars = 0;
	uint32_t cp;
	unsigned k;
	char *out;

	if (s.p == NULL)
		return (STR_NONE);
	cap = s.n < max * 4 ? s.n : max * 4; /* what can be read at most */
	out = arena_alloc(a, cap * 3 + sizeof(ELLIPSIS));
	for (; s.n > 0 && chars < max; chars++) {
		k = text_utf8(s, &cp);
		if (k > 0 && is_showable(cp)) {
			memcpy(out + n, s.p, k);
			n += k;
		} else {
			memcpy(out + n, REPLACEMENT, 3);
			n += 3;
			k = k > 0 ? k : 1;
		}
		s.p += k;
		s.n -= k;
	}
	if (s.n > 0) {
		memcpy(out + n, ELLIPSIS, 3);
		n += 3;
	}
	return ((struct str){ out, n });
}

static struct str
str_from(struct str s, size_t off)
{
	return ((struct str){ s.p + off, s.n - off });
}

/* Without what stands before the last "@" of the authority (RFC 9110 4.2.4). */
static struct str
without_userinfo(struct str rest)
{
	size_t end, i;

	for (end = 0; end < rest.n && rest.p[end] != '/'; end++)
		;
	for (i = end; i > 0; i--)
		if (rest.p[i - 1] == '@')
			return (str_from(rest, i));
	return (rest);
}

void
text_split_url(struct str url, struct text_url *u)
{
	size_t i, q;

	*u = (struct text_url){ .scheme = STR(""), .rest = url };
	u->rest.n = str_index(url, '#');
	q = str_index(u->rest, '?');
	if (q < u->rest.n) {
		u->query = str_from(u->rest, q + 1);
		u->rest.n = q;
	}
	i = str_index(u->rest, ':');
	if (i + 2 < u->rest.n && memcmp(u->rest.p + i, "://", 3) == 0) {
		u->scheme = (struct str){ url.p, i + 3 };
		u->rest = without_userinfo(str_from(u->rest, i + 3));
	}
}

struct str
text_clean_url(struct arena *a, struct str url, size_t max)
{
	struct text_url u;

	if (url.p == NULL)
		return (STR_NONE);
	text_split_url(url, &u);
	if (u.scheme.n + u.rest.n > max * 4)
		u.rest.n = u.scheme.n < max * 4 ? max * 4 - u.scheme.n : 0;
	return (text_clean(a,
	    arena_printf(a, "%.*s%.*s", STR_ARG(u.scheme), STR_ARG(u.rest)),
	    max));
}

void
text_add_html(struct buf *b, struct str s)
{
	const char *safe;
	size_t i, from = 0;

	for (i = 0; i < s.n; i++) {
		switch (s.p[i]) {
		case '&':
			safe = "&amp;";
			break;
		case '<':
			safe = "&lt;";
			break;
		case '>':
			safe = "&gt;";
			break;
		case '"':
			safe = "&quot;";
			break;
		case '\'':
			safe = "&#39;";
			break;
		default:
			continue;
		}
		buf_add(b, s.p + from, i - from);
		buf_cstr(b, safe);
		from = i + 1;
	}
	buf_add(b, s.p + from, s.n - from);
}

/* Write c's JSON escape (RFC 8259 7); returns its length. */
static size_t
json_escape(char out[6], unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	static const char letters[32] = { ['\b'] = 'b',
		['\t'] = 't',
		['\n'] = 'n',
		['\f'] = 'f',
		['\r'] = 'r' };
	char letter = c < 32 ? letters[c] : c == 0x7F ? 0 : (char)c;

	if (letter != 0) {
		out[0] = '\\';
		out[1] = letter;
		return (2);
	}
	memcpy(out, "\\u00", 4);
	out[4] = hex[c >> 4];
	out[5] = hex[c & 15];
	return (6);
}

/* How many bytes at the start of s need no escape. */
static size_t
json_plain(struct str s)
{
	unsigned char c;
	size_t i;

	for (i = 0; i < s.n; i++) {
		c = (unsigned char)s.p[i];
		if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\')
			break;
	}
	return (i);
}

void
text_add_json(struct buf *b, struct str s)
{
	char *out;
	uint32_t cp;
	size_t k;

	for (; s.n > 0; s.p += k, s.n -= k) {
		k = json_plain(s);
		if (k > 0) {
			buf_add(b, s.p, k);
			continue;
		}
		out = buf_room(b, 6);
		k = s.p[0] != '\0' ? text_utf8(s, &cp) : 0;
		if (k > 1) {
			memcpy(out, s.p, k);
			b->n += k;
		} else if (k == 1) {
			b->n += json_escape(out, (unsigned char)s.p[0]);
		} else {
			memcpy(out, REPLACEMENT, 3);
			b->n += 3;
			k = 1;
		}
	}
}

void
text_add_sf_string(struct buf *b, struct str s)
{
	size_t i;
	char c;

	buf_add(b, "\"", 1);
	for (i = 0; i < s.n; i++) {
		c = s.p[i];
		if (c == '"' || c == '\\')
			buf_add(b, "\\", 1);
		if (c < 0x20 || c > 0x7E)
			c = '?';
		buf_add(b, &c, 1);
	}
	buf_add(b, "\"", 1);
}

void
text_add_u64(struct buf *b, uint64_t v)
{
	char digits[20];
	unsigned at = sizeof(digits);

	do
		digits[--at] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	buf_add(b, digits + at, sizeof(digits) - at);
}
