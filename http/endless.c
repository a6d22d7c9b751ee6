/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers without an end, see endless.h. */
#include <string.h>
#include "http/chars.h"
#include "http/endless.h"
#include "http/types.h"

#define NAME_MAX_OCTETS 32 /* of a field of an event */
#define AWS_PRELUDE 12     /* octets in front of a frame */

/* --- which ones --- */

static const struct type {
	struct str name;
	bool prefix;
	enum http_endless kind;
} types[] = {
	{ STR("text/event-stream"), false, ENDLESS_EVENTS },
	{ STR("application/x-ndjson"), false, ENDLESS_LINES },
	{ STR("application/ndjson"), false, ENDLESS_LINES },
	{ STR("application/jsonl"), false, ENDLESS_LINES },
	{ STR("application/x-jsonlines"), false, ENDLESS_LINES },
	{ STR("application/stream+json"), false, ENDLESS_LINES },
	{ STR("application/jsonlines"), false, ENDLESS_LINES },
	{ STR("application/connect+"), true, ENDLESS_CONNECT },
	{ STR("application/vnd.amazon.eventstream"), false, ENDLESS_AWS },
	{ STR("application/grpc-web-text"), true, ENDLESS_GRPC_TEXT },
	{ STR("application/grpc-web"), true, ENDLESS_GRPC },
	{ STR("multipart/x-mixed-replace"), false, ENDLESS_PICTURES },
	{ STR("audio/"), true, ENDLESS_MEDIA },
	{ STR("video/"), true, ENDLESS_MEDIA },
};

static struct str
first_part(struct str v)
{
	v.n = str_index(v, ';');
	return (str_trim(v));
}

static enum http_endless
kind_of(struct str type)
{
	const struct type *t;
	size_t i;

	type = first_part(type);
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		t = &types[i];
		if (t->prefix ? str_istarts(type, t->name)
			      : str_ieq(type, t->name))
			return (t->kind);
	}
	return (ENDLESS_NOT);
}

/* RFC 6266 4.2: what is not inline is saved. */
static bool
is_saved(const struct http_msg *resp)
{
	const struct http_field *f = http_fields_get(&resp->fields,
	    FIELD_CONTENT_DISPOSITION);

	while (f != NULL && str_ieq(first_part(f->value), STR("inline")))
		f = http_fields_next(&resp->fields, f);
	return (f != NULL);
}

enum http_endless
http_endless_of(const struct http_msg *resp, const struct http_msg *req)
{
	enum http_endless kind;
	struct str type[2];

	if (resp->status != 200 || resp->length_is != LENGTH_UNKNOWN ||
	    is_saved(resp) || http_types(&resp->fields, type, 2) != 1)
		return (ENDLESS_NOT);
	kind = kind_of(type[0]);
	if (kind < ENDLESS_PICTURES &&
	    str_ieq(http_fields_value(&req->fields, FIELD_SEC_FETCH_MODE),
		STR("navigate")))
		return (ENDLESS_NOT);
	return (kind);
}

/*
 * Might one of those types be among these?  Nearly all requests say what they
 * accept, and nearly none means a stream: subtypes are known by two letters.
 */
static bool
may_be_asked(struct str v)
{
#define TWO(a, b) ((unsigned)(a) << 8 | (unsigned)(b))
	const unsigned char *at;
	size_t n;

	while ((n = str_index(v, '/')) + 2 < v.n) {
		v = (struct str){ v.p + n + 1, v.n - n - 1 };
		at = (const unsigned char *)v.p;
		switch (TWO(http_lower[at[0]], http_lower[at[1]])) {
		case TWO('e', 'v'):
		case TWO('x', '-'):
		case TWO('n', 'd'):
		case TWO('j', 's'):
		case TWO('s', 't'):
		case TWO('c', 'o'):
		case TWO('v', 'n'):
		case TWO('g', 'r'):
			return (true);
		default:
			break;
		}
	}
	return (false);
#undef TWO
}

bool
http_endless_is_asked(const struct http_msg *req)
{
	const struct http_field *f = http_fields_get(&req->fields,
	    FIELD_ACCEPT);
	struct str rest, element;
	enum http_endless kind;

	for (; f != NULL; f = http_fields_next(&req->fields, f)) {
		rest = f->value;
		if (!may_be_asked(rest))
			continue;
		while (str_next_element(&rest, &element)) {
			kind = kind_of(element);
			if (kind != ENDLESS_NOT && kind < ENDLESS_PICTURES)
				return (true);
		}
	}
	return (false);
}

/* --- the checks --- */

enum { LINE_BEGIN, LINE_NAME, LINE_REST };

static bool
is_text(unsigned char c)
{
	return (c == '\t' || (c >= ' ' && c != 0x7f));
}

/* Names that may stand without a colon (HTML 9.2.6). */
static bool
is_event_field(const struct http_endless_check *k)
{
	static const char *const names[] = { "data", "event", "id", "retry" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == k->n &&
		    memcmp(k->begin, names[i], k->n) == 0)
			return (true);
	return (k->n == 0);
}

/* Lines "name: anything", ": anything" or nothing. */
static bool
event_octet(struct http_endless_check *k, unsigned char c)
{
	bool end = c == '\r' || c == '\n';
	enum { MARK_TOLD = 3 };

	/* A byte order mark may stand in front (HTML 9.2.5). */
	if (k->left < MARK_TOLD) {
		if (c == (unsigned char)"\xef\xbb\xbf"[k->left]) {
			k->left++;
			return (true);
		}
		if (k->left > 0)
			return (false);
		k->left = MARK_TOLD;
	}
	if (k->at == LINE_REST) {
		k->at = end ? LINE_BEGIN : LINE_REST;
		k->n = 0;
		return (end || is_text(c));
	}
	if (end || c == ':') {
		if (end && !is_event_field(k))
			return (false);
		k->at = end ? LINE_BEGIN : LINE_REST;
		k->n = 0;
		return (true);
	}
	if (k->n >= NAME_MAX_OCTETS || !http_char_is((char)c, CHAR_TOKEN))
		return (false);
	k->at = LINE_NAME;
	k->begin[k->n++] = c;
	return (true);
}

/* Each line is an object or an array. */
static bool
lines_octet(struct http_endless_check *k, unsigned char c)
{
	if (c == '\n' || c == '\r') {
		k->at = LINE_BEGIN;
		return (true);
	}
	if (k->at == LINE_REST)
		return (is_text(c));
	if (c == ' ' || c == '\t')
		return (true);
	k->at = LINE_REST;
	return (c == '{' || c == '[');
}

/*
 * Frames: flags (of gRPC-Web: trailers, compressed; of Connect: the end,
 * compressed), four octets of length.
 */
static bool
grpc_octet(struct http_endless_check *k, unsigned char c, unsigned char flags)
{
	if (k->left > 0) {
		k->left--;
		return (true);
	}
	if (k->at == 0 && (c & ~flags) != 0)
		return (false);
	k->n = k->at == 0 ? 0 : k->n << 8 | c;
	if (++k->at == 5) {
		k->at = 0;
		k->left = k->n;
	}
	return (true);
}

/* The checksum of IEEE 802.3, bit by bit: for a few octets. */
static uint32_t
crc32_of(const unsigned char *p, size_t n)
{
	uint32_t v = UINT32_MAX;
	int i;

	for (; n > 0; n--)
		for (v ^= *p++, i = 0; i < 8; i++)
			v = v >> 1 ^ ((v & 1) != 0 ? 0xedb88320u : 0);
	return (~v);
}

static uint32_t
u32_at(const unsigned char *p)
{
	return ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | p[3]);
}

/* Frames: lengths of all and of its head, their checksum, the rest. */
static bool
aws_octet(struct http_endless_check *k, unsigned char c)
{
	const unsigned char *p = k->begin;

	if (k->left > 0) {
		k->left--;
		return (true);
	}
	k->begin[k->n++] = c;
	if (k->n < AWS_PRELUDE)
		return (true);
	k->n = 0;
	if (u32_at(p) < AWS_PRELUDE + 4 ||
	    u32_at(p + 4) > u32_at(p) - AWS_PRELUDE - 4 ||
	    u32_at(p + 8) != crc32_of(p, 8))
		return (false);
	k->left = u32_at(p) - AWS_PRELUDE;
	return (true);
}

static bool
grpc_text_octet(unsigned char c)
{
	return ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=' ||
	    c == '\r' || c == '\n');
}

static const struct magic {
	uint8_t at, n;
	const char *octets;
} magics[] = {
	{ 0, 3, "ID3" },
	{ 0, 4, "OggS" },
	{ 0, 4, "fLaC" },
	{ 0, 4, "RIFF" },
	{ 0, 4, "ADIF" },
	{ 0, 4, "\x1a\x45\xdf\xa3" },
	{ 0, 3, "FLV" },
	{ 4, 4, "ftyp" },
	{ 4, 4, "styp" },
	{ 4, 4, "moof" },
	{ 0, 4, "\0\0\1\xba" },
	{ 0, 4, "\0\0\1\xb3" },
	{ 0, 4, ".snd" },
	{ 0, 5, "#!AMR" },
};

#define MAGIC_OCTETS 8
#define TS_OCTETS 188 /* of a packet of an MPEG transport stream */

static bool
is_media(const unsigned char *p)
{
	size_t i;

	if (p[0] == 0xff && (p[1] & 0xe0) == 0xe0) /* a frame of MPEG */
		return (true);
	if (p[0] == 'G')
		return (p[TS_OCTETS] == 'G');
	for (i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if (memcmp(p + magics[i].at, magics[i].octets, magics[i].n) ==
		    0)
			return (true);
	return (false);
}

/* "--boundary", then the head of a part that is a picture. */
static bool
is_pictures(const struct http_endless_check *k, struct str s)
{
	static const struct str type = STR("content-type:");
	struct str line, value;
	size_t n;

	while (s.n > 0 && (*s.p == '\r' || *s.p == '\n'))
		s = (struct str){ s.p + 1, s.n - 1 };
	if (!str_starts(s, STR("--")))
		return (false);
	s = (struct str){ s.p + 2, s.n - 2 };
	/* Cameras write the dashes into the parameter, too. */
	if (!str_starts(s, k->boundary) &&
	    !(str_starts(k->boundary, STR("--")) &&
		str_starts(s,
		    (struct str){ k->boundary.p + 2, k->boundary.n - 2 })))
		return (false);
	for (; s.n > 0; s = (struct str){ s.p + n, s.n - n }) {
		n = str_index(s, '\n');
		line = str_trim((struct str){ s.p, n });
		n += n < s.n;
		if (!str_istarts(line, type))
			continue;
		value = str_trim(
		    (struct str){ line.p + type.n, line.n - type.n });
		return (str_istarts(value, STR("image/")));
	}
	return (false);
}

/* Has the head of the first part ended? */
static bool
has_head(const struct http_endless_check *k)
{
	const unsigned char *p = k->begin;
	uint32_t i;

	for (i = 4; i < k->n; i++)
		if (p[i] == '\n' &&
		    (p[i - 1] == '\n' ||
			(p[i - 1] == '\r' && p[i - 2] == '\n')))
			return (true);
	return (false);
}

/* Kinds that are known by their begin; then anything may come. */
static bool
begin_octet(struct http_endless_check *k, unsigned char c)
{
	k->begin[k->n++] = c;
	if (k->kind == ENDLESS_MEDIA) {
		k->at = k->n ==
		    (k->begin[0] == 'G' ? TS_OCTETS + 1 : MAGIC_OCTETS);
		return (k->at == 0 || is_media(k->begin));
	}
	k->at = c == '\n' && has_head(k);
	if (k->at == 0)
		return (k->n < ENDLESS_BEGIN);
	return (is_pictures(k, (struct str){ (const char *)k->begin, k->n }));
}

void
http_endless_begin(struct http_endless_check *k, enum http_endless kind,
    const struct http_msg *resp)
{
	*k = (struct http_endless_check){ .kind = kind };
	(void)multipart_type(http_fields_value(&resp->fields,
				 FIELD_CONTENT_TYPE),
	    k->room, &k->boundary);
	/* Without one everything would begin with it. */
	k->bad = kind == ENDLESS_NOT ||
	    (kind == ENDLESS_PICTURES && k->boundary.n == 0);
}

static bool
octet(struct http_endless_check *k, unsigned char c)
{
	switch (k->kind) {
	case ENDLESS_EVENTS:
		return (event_octet(k, c));
	case ENDLESS_LINES:
		return (lines_octet(k, c));
	case ENDLESS_GRPC:
		return (grpc_octet(k, c, 0x81));
	case ENDLESS_CONNECT:
		return (grpc_octet(k, c, 0x03));
	case ENDLESS_AWS:
		return (aws_octet(k, c));
	case ENDLESS_GRPC_TEXT:
		return (grpc_text_octet(c));
	case ENDLESS_PICTURES:
	case ENDLESS_MEDIA:
		return (k->at != 0 || begin_octet(k, c));
	case ENDLESS_NOT:
		break;
	}
	return (false);
}

bool
http_endless_feed(struct http_endless_check *k, const void *p, size_t n)
{
	const unsigned char *o = p;
	size_t i;

	for (i = 0; i < n && !k->bad; i++)
		k->bad = !octet(k, o[i]);
	return (!k->bad);
}
