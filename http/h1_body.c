/* SPDX-License-Identifier: GPL-2.0-or-later */
/* De-framing of bodies, see h1_body.h. */
#include <assert.h>
#include <string.h>
#include "http/chars.h"
#include "http/h1_body.h"
#include "http/h1_head.h"

/* Where the next octet stands. */
enum at {
	AT_DATA,     /* content: `left` octets of it */
	AT_SIZE,     /* chunk-size */
	AT_SIZE_BWS, /* behind it: BWS ";" */
	AT_EXT,      /* behind ";": BWS name */
	AT_EXT_NAME,
	AT_EXT_NAME_BWS, /* behind the name: BWS "=" or ";" */
	AT_EXT_VALUE,    /* behind "=": BWS value */
	AT_EXT_TOKEN,
	AT_EXT_QUOTED,
	AT_EXT_ESCAPE,  /* behind a backslash in quotes */
	AT_EXT_END,     /* behind a quoted value */
	AT_EXT_END_BWS, /* behind a value: BWS ";" */
	AT_LF,          /* of the size line */
	AT_DATA_CR,
	AT_DATA_LF, /* behind the content of a chunk */
	AT_TRAILER, /* at the trailer section or the final CRLF */
	AT_LAST_LF,
	AT_FIELDS, /* h->fields is at work */
	AT_END,
	AT_CUT,
	AT_BAD
};

void
h1_body_init(struct h1_body *b, struct arena *a, enum h1_framing framing,
    uint64_t length, enum err bad_code)
{
	*b = (struct h1_body){ .arena = a,
		.framing = framing,
		.bad_code = bad_code,
		.last_ext = STR("") };
	switch (framing) {
	case FRAMING_NONE:
		b->at = AT_END;
		break;
	case FRAMING_LENGTH:
		b->left = length;
		b->at = length > 0 ? AT_DATA : AT_END;
		break;
	case FRAMING_CHUNKED:
		b->at = AT_SIZE;
		break;
	case FRAMING_CLOSE:
		b->left = UINT64_MAX;
		b->at = AT_DATA;
		break;
	}
}

/* --- size lines --- */

static enum at
bad(struct h1_body *b, const char *why)
{
	b->why = why;
	return (AT_BAD);
}

static bool
is_bws(char c)
{
	return (c == ' ' || c == '\t');
}

/* RFC 9112 7.1: 1*HEXDIG, sixteen at most and below 2^63. */
static enum at
size_digit(struct h1_body *b, char c)
{
	int v = http_hex(c);

	if (v >= 0 && ++b->digits <= 16 && b->left <= (UINT64_MAX >> 5)) {
		b->left = b->left << 4 | (unsigned)v;
		return (AT_SIZE);
	}
	if (v >= 0 || b->digits == 0)
		return (bad(b,
		    v >= 0 ? "chunk size too large" : "chunk without size"));
	if (c == '\r')
		return (AT_LF);
	if (c == ';')
		return (AT_EXT);
	return (is_bws(c) ? AT_SIZE_BWS : bad(b, "junk in a chunk size"));
}

/* What may follow a whole extension, blanks already passed or not. */
static enum at
ext_next(struct h1_body *b, char c, enum at blank)
{
	if (c == ';')
		return (AT_EXT);
	if (is_bws(c))
		return (blank);
	if (c == '\r' && b->at != AT_EXT_NAME_BWS && b->at != AT_EXT_END_BWS)
		return (AT_LF);
	return (bad(b, "junk in a chunk extension"));
}

/* Inside quotes: HTAB, SP, VCHAR, obs-text; controls are refused. */
static enum at
quoted_octet(struct h1_body *b, char c)
{
	if (!http_char_is(c, CHAR_VALUE))
		return (bad(b, "control character in a chunk extension"));
	if (b->at == AT_EXT_ESCAPE)
		return (AT_EXT_QUOTED);
	return (c == '\\'  ? AT_EXT_ESCAPE
		: c == '"' ? AT_EXT_END
			   : AT_EXT_QUOTED);
}

/* RFC 9112 7.1.1: *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted ) ] ) */
static enum at
ext_octet(struct h1_body *b, char c)
{
	bool token = http_char_is(c, CHAR_TOKEN);

	switch (b->at) {
	case AT_SIZE_BWS:
		if (c == '\r' && b->bad_code == ERR_ORIGIN_CHUNK)
			return (AT_LF); /* old servers pad the size */
		return (is_bws(c)  ? AT_SIZE_BWS
			: c == ';' ? AT_EXT
				   : bad(b, "junk behind a chunk size"));
	case AT_EXT:
		return (token       ? AT_EXT_NAME
			: is_bws(c) ? AT_EXT
				    : bad(b, "chunk extension without a name"));
	case AT_EXT_NAME:
	case AT_EXT_NAME_BWS:
		if (token && b->at == AT_EXT_NAME)
			return (AT_EXT_NAME);
		return (
		    c == '=' ? AT_EXT_VALUE : ext_next(b, c, AT_EXT_NAME_BWS));
	case AT_EXT_VALUE:
		return (token      ? AT_EXT_TOKEN
			: c == '"' ? AT_EXT_QUOTED
			: is_bws(c)
			? AT_EXT_VALUE
			: bad(b, "chunk extension without its value"));
	case AT_EXT_TOKEN:
		return (token ? AT_EXT_TOKEN : ext_next(b, c, AT_EXT_END_BWS));
	case AT_EXT_QUOTED:
	case AT_EXT_ESCAPE:
		return (quoted_octet(b, c));
	default:
		return (ext_next(b, c, AT_EXT_END_BWS));
	}
}

/* The last chunk's extensions are kept for whoever asks (ICAP). */
static void
keep_ext(struct h1_body *b, char c)
{
	assert(b->ext_n < H1_CHUNK_LINE_MAX);
	if (b->ext == NULL)
		b->ext = arena_alloc(b->arena, H1_CHUNK_LINE_MAX);
	b->ext[b->ext_n++] = c;
}

/* The size line is complete. */
static enum at
size_line(struct h1_body *b)
{
	assert(b->at == AT_LF && b->digits > 0);
	b->digits = 0;
	b->line = 0;
	if (b->left > 0) {
		b->excess -= (uint32_t)(b->left < b->excess ? b->left
							    : b->excess);
		return (AT_DATA);
	}
	if (b->ext != NULL)
		b->last_ext = (struct str){ b->ext, b->ext_n };
	return (AT_TRAILER);
}

static enum at
size_line_octet(struct h1_body *b, char c)
{
	enum at next;

	if (b->at == AT_LF)
		return (c == '\n' ? size_line(b)
				  : bad(b, "size line ends without CRLF"));
	if (++b->line > H1_CHUNK_LINE_MAX)
		return (bad(b, "size line too long"));
	next = b->at == AT_SIZE ? size_digit(b, c) : ext_octet(b, c);
	if (next > AT_SIZE && next < AT_LF) {
		if (++b->excess > H1_CHUNK_EXCESS_MAX)
			return (bad(b, "too many chunk extensions"));
		if (b->left == 0)
			keep_ext(b, c);
	}
	return (next);
}

/* One octet that is not content. */
static enum at
octet(struct h1_body *b, char c)
{
	switch (b->at) {
	case AT_DATA_CR:
		return (c == '\r' ? AT_DATA_LF
				  : bad(b, "chunk longer than its size"));
	case AT_DATA_LF:
		return (
		    c == '\n' ? AT_SIZE : bad(b, "chunk ends without CRLF"));
	case AT_LAST_LF:
		return (c == '\n' ? AT_END : bad(b, "body ends without CRLF"));
	default:
		return (size_line_octet(b, c));
	}
}

/* --- trailers --- */

/*
 * RFC 9110 6.5.1: framing, routing, sign-in, modifiers, content
 * (CVE-2024-35161).
 */
bool
http_trailer_forbids(enum http_field_id id)
{
	static const bool forbidden[FIELD_COUNT] = {
		[FIELD_HOST] = true,
		[FIELD_CONNECTION] = true,
		[FIELD_PROXY_CONNECTION] = true,
		[FIELD_KEEP_ALIVE] = true,
		[FIELD_CONTENT_LENGTH] = true,
		[FIELD_TRANSFER_ENCODING] = true,
		[FIELD_TE] = true,
		[FIELD_TRAILER] = true,
		[FIELD_UPGRADE] = true,
		[FIELD_HTTP2_SETTINGS] = true,
		[FIELD_EXPECT] = true,
		[FIELD_VIA] = true,
		[FIELD_MAX_FORWARDS] = true,
		[FIELD_ALT_SVC] = true,
		[FIELD_PROXY_AUTHORIZATION] = true,
		[FIELD_PROXY_AUTHENTICATE] = true,
		[FIELD_PROXY_AUTHENTICATION_INFO] = true,
		[FIELD_AUTHORIZATION] = true,
		[FIELD_WWW_AUTHENTICATE] = true,
		[FIELD_COOKIE] = true,
		[FIELD_SET_COOKIE] = true,
		[FIELD_CONTENT_TYPE] = true,
		[FIELD_CONTENT_ENCODING] = true,
		[FIELD_CONTENT_DISPOSITION] = true,
		[FIELD_CONTENT_RANGE] = true,
		[FIELD_RANGE] = true,
		[FIELD_IF_RANGE] = true,
		[FIELD_IF_MATCH] = true,
		[FIELD_IF_NONE_MATCH] = true,
		[FIELD_IF_MODIFIED_SINCE] = true,
		[FIELD_IF_UNMODIFIED_SINCE] = true,
		[FIELD_LOCATION] = true,
		[FIELD_CACHE_CONTROL] = true,
		[FIELD_PRAGMA] = true,
		[FIELD_AGE] = true,
		[FIELD_EXPIRES] = true,
		[FIELD_VARY] = true,
		[FIELD_RETRY_AFTER] = true,
		[FIELD_ENCAPSULATED] = true,
		[FIELD_PREVIEW] = true,
	};

	assert(id < FIELD_COUNT);
	return (forbidden[id]);
}

static void
filter_trailer(struct h1_body *b, struct http_fields *l)
{
	unsigned i, to = 0;

	for (i = 0; i < l->n; i++)
		if (!http_trailer_forbids(l->v[i].id))
			l->v[to++] = l->v[i];
	l->n = to;
	b->trailer = *l;
}

static enum at
pull_fields(struct h1_body *b, struct chq *in)
{
	struct fault why = { 0 };
	struct http_msg *msg;

	assert(b->fields != NULL);
	switch (h1_head_feed(b->fields, in, &msg, &why)) {
	case H1_MORE:
		return (AT_FIELDS);
	case H1_DONE:
		filter_trailer(b, &msg->fields);
		return (AT_END);
	case H1_BAD:
		break;
	}
	return (bad(b, "malformed or too large trailer section"));
}

/* --- bodies --- */

/*
 * Framing octets at the front of in are taken, until content, the trailer or
 * an end is reached.  False: in is used up.
 */
static bool
pull_framing(struct h1_body *b, struct chq *in)
{
	const char *p;
	size_t n, i = 0;

	p = (const char *)chq_peek(in, &n);
	while (i < n && b->at != AT_DATA && b->at < AT_FIELDS) {
		if (b->at != AT_TRAILER)
			b->at = (uint8_t)octet(b, p[i++]);
		else if (p[i] == '\r') {
			b->at = AT_LAST_LF;
			i++;
		} else {
			b->fields = h1_head_new(b->arena, H1_FIELDS,
			    &h1_limits_trailer);
			b->at = AT_FIELDS;
		}
	}
	chq_drop(in, i);
	if (b->at == AT_FIELDS && chq_len(in) > 0)
		b->at = (uint8_t)pull_fields(b, in);
	return (n > 0);
}

/* Up to want octets of content; returns how many. */
static size_t
pull_data(struct h1_body *b, struct chq *in, struct chq *out, size_t want)
{
	size_t n = chq_len(in);

	assert(b->at == AT_DATA);
	if (n > want)
		n = want;
	if (n > b->left)
		n = (size_t)b->left;
	chq_move(out, in, n);
	b->content += n;
	if (b->framing != FRAMING_CLOSE && (b->left -= n) == 0)
		b->at = b->framing == FRAMING_LENGTH ? AT_END : AT_DATA_CR;
	return (n);
}

enum pull
h1_body_pull(struct h1_body *b, struct chq *in, struct chq *out, size_t want,
    struct fault *f)
{
	size_t got = 0, n;

	assert(want > 0);
	for (;;) {
		if (b->at == AT_DATA) {
			n = pull_data(b, in, out, want - got);
			if (n == 0)
				break;
			got += n;
		} else if (b->at >= AT_END || !pull_framing(b, in))
			break;
	}
	if (got > 0)
		return (PULL_MORE);
	switch (b->at) {
	case AT_END:
		return (PULL_END);
	case AT_CUT:
		return (PULL_CUT);
	case AT_BAD:
		(void)fault_set(f, b->bad_code, "%s", b->why);
		return (PULL_FAIL);
	default:
		return (PULL_WAIT);
	}
}

enum pull
h1_body_eof(struct h1_body *b, bool orderly)
{
	if (b->framing == FRAMING_CLOSE && b->at == AT_DATA)
		b->at = orderly ? AT_END : AT_CUT;
	else if (b->at < AT_END)
		b->at = AT_CUT;
	return (b->at == AT_END   ? PULL_END
		: b->at == AT_BAD ? PULL_FAIL
				  : PULL_CUT);
}

bool
h1_body_ext(const struct h1_body *b, struct str name, struct str *value)
{
	struct str rest = b->last_ext, one;
	size_t n, eq;

	while (rest.n > 0) {
		n = str_unquoted(rest, ';');
		one = (struct str){ rest.p, n };
		n += n < rest.n;
		rest = (struct str){ rest.p + n, rest.n - n };
		eq = str_index(one, '=');
		if (!str_ieq(str_trim((struct str){ one.p, eq }), name))
			continue;
		*value = eq == one.n
		    ? STR("")
		    : str_trim((struct str){ one.p + eq + 1, one.n - eq - 1 });
		return (true);
	}
	return (false);
}

size_t
h1_chunk_line(char out[static 20], size_t n)
{
	static const char hex[16] = "0123456789abcdef";
	unsigned shift = 60;
	char *p = out;

	while (shift > 0 && (n >> shift & 15) == 0)
		shift -= 4;
	do
		*p++ = hex[n >> shift & 15];
	while (shift > 0 && (shift -= 4, true));
	*p++ = '\r';
	*p++ = '\n';
	return ((size_t)(p - out));
}
