/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fields of a head of HTTP/2 become a struct http_msg, or the message is
 * malformed.  Requests are taken as strictly as h1_head.h takes them; answers
 * as widely, where nothing depends on it: what surrounds a value is trimmed,
 * fields of a connection and fields without a name are left out.
 * Obeys RFC 9113 8.2, 8.3, 8.5; RFC 8441 4.
 */
#include <assert.h>
#include <string.h>
#include "http/chars.h"
#include "http/h1_body.h"
#include "http/h2_priv.h"
#include "http/uri.h"

#define FIELD_OVERHEAD 32u /* RFC 9113 6.5.2: of a list's size */

static const struct h2_verdict fine = { ERR_NONE, NULL };

static struct h2_verdict
malformed(const struct h2_stream *st, const char *why)
{
	return ((struct h2_verdict){ h2_syntax(st->s), why });
}

/* --- pseudo fields --- */

#define SEEN_METHOD 1u
#define SEEN_SCHEME 2u
#define SEEN_AUTHORITY 4u
#define SEEN_PATH 8u
#define SEEN_PROTOCOL 16u
#define SEEN_STATUS 32u

static const struct {
	struct str name;
	bool is_request;
	uint8_t seen;
} pseudo[] = {
	{ STR(":method"), true, SEEN_METHOD },
	{ STR(":path"), true, SEEN_PATH },
	{ STR(":scheme"), true, SEEN_SCHEME },
	{ STR(":authority"), true, SEEN_AUTHORITY },
	{ STR(":protocol"), true, SEEN_PROTOCOL },
	{ STR(":status"), false, SEEN_STATUS },
};

static struct str *
pseudo_place(struct h2_head *h, uint8_t which)
{
	switch (which) {
	case SEEN_METHOD:
		return (&h->msg->method);
	case SEEN_PATH:
		return (&h->msg->target);
	case SEEN_SCHEME:
		return (&h->scheme);
	case SEEN_AUTHORITY:
		return (&h->authority);
	case SEEN_PROTOCOL:
		return (&h->msg->protocol);
	default:
		assert(which == SEEN_STATUS);
		return (&h->status);
	}
}

/* RFC 9113 8.3: known, once, in front of the others, not in trailers. */
static struct h2_verdict
pseudo_field(struct h2_stream *st, struct str name, struct str value)
{
	struct h2_head *h = &st->head;
	unsigned i;

	if (h->is_trailer || h->regular)
		return (malformed(st, "a pseudo field out of its place"));
	for (i = 0; i < sizeof(pseudo) / sizeof(pseudo[0]); i++)
		if (pseudo[i].is_request == st->s->cfg.server &&
		    str_eq(pseudo[i].name, name))
			break;
	if (i == sizeof(pseudo) / sizeof(pseudo[0]) ||
	    (pseudo[i].seen == SEEN_PROTOCOL && !st->s->cfg.connect))
		return (malformed(st, "an unknown pseudo field"));
	if ((h->seen & pseudo[i].seen) != 0)
		return (malformed(st, "a pseudo field is repeated"));
	if (!http_is_value(value, false))
		return (malformed(st, "control character in a pseudo field"));
	h->seen |= pseudo[i].seen;
	*pseudo_place(h, pseudo[i].seen) = arena_str(st->arena, value);
	return (fine);
}

/* --- fields --- */

/* RFC 9113 8.2.1: a token without capital letters. */
static bool
is_name(struct str s, bool *capital)
{
	bool token = s.n > 0;
	size_t i;

	*capital = false;
	for (i = 0; i < s.n; i++) {
		token &= http_char_is(s.p[i], CHAR_TOKEN);
		*capital |= s.p[i] >= 'A' && s.p[i] <= 'Z';
	}
	return (token && !*capital);
}

/* RFC 9113 8.2.2 */
static const bool of_connection[FIELD_COUNT] = {
	[FIELD_CONNECTION] = true,
	[FIELD_PROXY_CONNECTION] = true,
	[FIELD_KEEP_ALIVE] = true,
	[FIELD_UPGRADE] = true,
	[FIELD_TRANSFER_ENCODING] = true,
};

enum keep { KEEP, LEAVE_OUT, MALFORMED };

/* What to do with a field by its name. */
static enum keep
by_name(const struct h2_stream *st, enum http_field_id id, struct str value)
{
	bool strict = st->s->cfg.server;

	if (id == FIELD_TRANSFER_ENCODING)
		return (MALFORMED);
	if (of_connection[id])
		return (strict ? MALFORMED : LEAVE_OUT);
	if (id == FIELD_TE && (!strict || !str_ieq(value, STR("trailers"))))
		return (strict ? MALFORMED : LEAVE_OUT);
	if (st->head.is_trailer && http_trailer_forbids(id))
		return (LEAVE_OUT);
	return (KEEP);
}

/* Is there room for it? */
static bool
fits(struct h2_stream *st, enum http_field_id id, struct str value)
{
	const struct h1_limits *l = st->head.is_trailer ? &h1_limits_trailer
							: st->s->cfg.limits;
	const struct http_fields *f = st->head.is_trailer
	    ? &st->trailer
	    : &st->head.msg->fields;
	struct h2_head *h = &st->head;
	unsigned joined = h->crumbs > 0 ? h->crumbs - 1 : 0;

	if (id == FIELD_COOKIE && !h->is_trailer) {
		h->cookie += value.n + (h->crumbs++ > 0 ? 2 : 0);
		if (h->cookie > l->field)
			return (false);
		if (h->crumbs > 1) /* they become one */
			return (true);
	}
	return (value.n <= l->field && f->n - joined < l->count);
}

static struct h2_verdict
too_large(struct h2_stream *st)
{
	st->head.too_large = true;
	if (st->s->cfg.server && !st->head.is_trailer)
		return (fine); /* its owner answers it */
	return ((struct h2_verdict){ st->s->cfg.server ? ERR_REQ_HEAD_LARGE
						       : ERR_ORIGIN_HEAD_LARGE,
	    "field section too large" });
}

static struct h2_verdict
regular_field(struct h2_stream *st, struct str name, struct str value)
{
	bool strict = st->s->cfg.server, capital;
	enum http_field_id id;

	st->head.regular = true;
	if (!is_name(name, &capital)) {
		if (strict || capital)
			return (malformed(st, "not the name of a field"));
		return (fine);
	}
	if (!strict)
		value = str_trim(value);
	if (!http_is_value(value, !strict) || str_trim(value).n != value.n)
		return (malformed(st,
		    "control character or blank around the "
		    "value of a field"));
	id = http_field_id_of(name);
	switch (by_name(st, id, value)) {
	case MALFORMED:
		return (malformed(st, "a field of the connection"));
	case LEAVE_OUT:
		return (fine);
	case KEEP:
		break;
	}
	if (!fits(st, id, value))
		return (too_large(st));
	value = arena_str(st->arena, value);
	if (id != FIELD_OTHER)
		http_fields_add(st->arena,
		    st->head.is_trailer ? &st->trailer : &st->head.msg->fields,
		    id, value);
	else
		http_fields_add_named(st->arena,
		    st->head.is_trailer ? &st->trailer : &st->head.msg->fields,
		    arena_str(st->arena, name), value);
	return (fine);
}

static void
new_msg(struct h2_stream *st)
{
	st->head.msg = http_msg_new(st->arena, st->s->cfg.server);
	st->head.msg->version = HTTP_2;
}

void
h2_head_begin(struct h2_stream *st, bool is_trailer)
{
	st->head = (struct h2_head){ .is_trailer = is_trailer };
	if (st->owned && !is_trailer)
		new_msg(st);
}

struct h2_verdict
h2_head_field(struct h2_stream *st, struct str name, struct str value)
{
	struct h2_head *h = &st->head;
	size_t max = h->is_trailer ? h1_limits_trailer.section
				   : st->s->cfg.limits->section;

	if (!st->owned)
		return (fine);
	h->section += name.n + value.n + FIELD_OVERHEAD;
	if (h->section > 4 * max) /* CVE-2016-6581 */
		return ((struct h2_verdict){ st->s->cfg.server
			? ERR_REQ_HEAD_LARGE
			: ERR_ORIGIN_HEAD_LARGE,
		    "field section far too large" });
	if (h->section > max)
		return (too_large(st));
	if (h->too_large)
		return (fine);
	return (name.n > 0 && name.p[0] == ':'
		? pseudo_field(st, name, value)
		: regular_field(st, name, value));
}

/* --- requests --- */

/* RFC 9113 8.2.3: crumbs become one field, where the first one is. */
static void
join_cookies(struct h2_stream *st)
{
	struct http_fields *l = &st->head.msg->fields;
	struct http_field f;
	bool first = true;
	unsigned i, to = 0, joined = 0;
	char *text, *p;

	if (st->head.crumbs < 2)
		return;
	text = p = arena_alloc(st->arena, st->head.cookie + 1);
	for (i = 0; i < l->n; i++) {
		f = l->v[i];
		if (f.id != FIELD_COOKIE) {
			l->v[to++] = f;
			continue;
		}
		if (first) {
			l->v[to] = f;
			joined = to++;
		} else {
			*p++ = ';';
			*p++ = ' ';
		}
		first = false;
		memcpy(p, f.value.p, f.value.n);
		p += f.value.n;
	}
	assert((size_t)(p - text) == st->head.cookie);
	*p = '\0';
	l->n = to;
	/* The last crumb may be empty. */
	l->v[joined].value = str_trim((struct str){ text, st->head.cookie });
}

/* RFC 9112 3.2, as h1 does: octets above 0x7F are encoded in target.c. */
static bool
is_path(const struct http_msg *m)
{
	struct str s = m->target;
	size_t i;

	if (s.n == 0 ||
	    (s.p[0] != '/' &&
		!(m->method_id == METHOD_OPTIONS && str_eq(s, STR("*")))))
		return (false);
	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= 0x7f &&
		    !http_char_is(s.p[i], CHAR_TARGET))
			return (false);
	return (true);
}

static bool
is_scheme(const struct h2_stream *st, struct str s)
{
	if (st->s->cfg.scheme.n > 0)
		return (str_ieq(s, st->s->cfg.scheme));
	return (str_ieq(s, STR("https")) || str_ieq(s, STR("http")));
}

/*
 * RFC 9113 8.3.1: the authority becomes the Host field; one that was there is
 * the same, or the message malformed.
 */
static struct h2_verdict
check_authority(struct h2_stream *st)
{
	struct h2_head *h = &st->head;
	struct http_fields *l = &h->msg->fields;
	const struct http_field *host = http_fields_get(l, FIELD_HOST);
	struct http_uri u, v;
	uint16_t port = str_ieq(h->scheme, STR("http")) ? 80 : 443;

	if (host != NULL && http_fields_next(l, host) != NULL)
		return (malformed(st, "Host is repeated"));
	if ((h->seen & SEEN_AUTHORITY) == 0) {
		if (host == NULL)
			return (malformed(st, "neither :authority nor Host"));
		return (http_authority_parse(st->arena, host->value, port, &u)
			? fine
			: malformed(st, "Host is invalid"));
	}
	if (!http_authority_parse(st->arena, h->authority, port, &u))
		return (malformed(st, ":authority is invalid"));
	if (host == NULL) {
		http_fields_add(st->arena, l, FIELD_HOST, h->authority);
		return (fine);
	}
	if (!http_authority_parse(st->arena, host->value, port, &v) ||
	    !http_same_authority(&u, &v))
		return (malformed(st, "Host is not :authority"));
	((struct http_field *)(uintptr_t)host)->value = h->authority;
	return (fine);
}

/* RFC 9113 8.3.1, 8.5; RFC 8441 4: the pseudo fields of a request. */
static struct h2_verdict
check_pseudo(struct h2_stream *st)
{
	struct h2_head *h = &st->head;
	struct http_msg *m = h->msg;

	if (!http_is_token(m->method))
		return (malformed(st, ":method is missing or no token"));
	m->method_id = http_method_of(m->method);
	st->octets = m->method_id == METHOD_CONNECT;
	if (m->method_id == METHOD_CONNECT && (h->seen & SEEN_PROTOCOL) == 0) {
		if (h->seen != (SEEN_METHOD | SEEN_AUTHORITY))
			return (malformed(st, "not what CONNECT has"));
		m->target = h->authority;
		st->err = ERR_REQ_METHOD;
		st->why = "CONNECT in a connection of HTTP/2";
		return (fine);
	}
	if ((h->seen & SEEN_PROTOCOL) != 0 &&
	    (m->method_id != METHOD_CONNECT || !http_is_token(m->protocol)))
		return (malformed(st, ":protocol without CONNECT"));
	if (!is_scheme(st, h->scheme))
		return (malformed(st, ":scheme is missing or another"));
	if (!is_path(m))
		return (malformed(st, ":path is missing or invalid"));
	return (fine);
}

static struct h2_verdict
frame_request(struct h2_stream *st, bool end)
{
	struct http_msg *m = st->head.msg;
	uint64_t length;

	if (!http_content_length(&m->fields, false, &length) ||
	    (end && length != HTTP_LENGTH_UNKNOWN && length != 0))
		return ((struct h2_verdict){ ERR_REQ_FRAMING,
		    "invalid Content-Length, or one without a body" });
	http_length_set(m, NULL, !end, length);
	st->expect = length;
	return (fine);
}

/* What is no reason to reset it, but to answer it with an error. */
static void
answerable(struct h2_stream *st, enum err err, const char *why)
{
	if (st->err != ERR_NONE)
		return;
	st->err = err;
	st->why = why;
}

static struct h2_verdict
end_request(struct h2_stream *st, bool end)
{
	struct http_msg *m = st->head.msg;
	struct h2_verdict v;

	if (st->head.too_large) {
		answerable(st, ERR_REQ_HEAD_LARGE, "field section too large");
		m->method_id = http_method_of(m->method);
		http_length_set(m, NULL, !end, HTTP_LENGTH_UNKNOWN);
		return (fine);
	}
	v = check_pseudo(st);
	if (v.err == ERR_NONE)
		v = check_authority(st);
	if (v.err == ERR_NONE)
		v = frame_request(st, end);
	if (v.err != ERR_NONE)
		return (v);
	join_cookies(st);
	if (m->target.n > st->s->cfg.limits->line)
		answerable(st, ERR_REQ_LINE_LONG, "request target too long");
	if (http_expect_read(m, NULL) != ERR_NONE)
		answerable(st, ERR_REQ_EXPECT,
		    "only 100-continue can be expected");
	return (fine);
}

/* --- answers --- */

/* RFC 9113 8.3.2; 8.6: no 101 */
static bool
take_status(struct http_msg *m, struct str s)
{
	uint64_t v;

	if (s.n != 3 || !str_to_u64(s, 999, &v) || v < 100 || v == 101)
		return (false);
	m->status = (unsigned)v;
	m->reason = str_of(http_reason(m->status));
	return (true);
}

static struct h2_verdict
end_answer(struct h2_stream *st, bool end)
{
	struct http_msg *m = st->head.msg;
	uint64_t length;
	bool bodyless;

	if (!take_status(m, st->head.status))
		return (malformed(st, ":status is missing or invalid"));
	if (m->status < 200 && end)
		return (malformed(st, "an interim answer that ends"));
	if (!http_content_length(&m->fields, true, &length))
		return ((struct h2_verdict){ ERR_ORIGIN_FRAMING,
		    "invalid or differing Content-Length" });
	bodyless = http_status_is_bodyless(m->status) ||
	    st->req->method_id == METHOD_HEAD;
	st->octets = st->req->method_id == METHOD_CONNECT &&
	    m->status / 100 == 2;
	if (st->octets) /* RFC 9110 9.3.6 */
		length = HTTP_LENGTH_UNKNOWN;
	if (end && !bodyless && length != HTTP_LENGTH_UNKNOWN && length != 0)
		return ((struct h2_verdict){ ERR_ORIGIN_FRAMING,
		    "Content-Length without a body" });
	http_length_set(m, st->req, !end, length);
	if (st->octets && !end) /* RFC 8441 5: in DATA */
		m->length_is = LENGTH_UNKNOWN;
	if (m->status >= 200)
		st->expect = bodyless ? HTTP_LENGTH_UNKNOWN : length;
	return (fine);
}

struct h2_verdict
h2_head_end(struct h2_stream *st, bool end)
{
	if (st->head.is_trailer && st->octets) /* RFC 9113 8.5 */
		return (malformed(st, "fields behind CONNECT"));
	if (st->head.is_trailer)
		return (end ? fine
			    : malformed(st,
				  "a trailer that does not end the stream"));
	assert(st->head.msg != NULL);
	return (st->s->cfg.server ? end_request(st, end) : end_answer(st, end));
}
