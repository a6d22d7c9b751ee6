/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hop-by-hop fields and what forwarding changes, see hop.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "http/chars.h"
#include "http/hop.h"

/* --- Connection --- */

static const bool is_hop[FIELD_COUNT] = {
	/* RFC 9110 7.6.1 */
	[FIELD_CONNECTION] = true,
	[FIELD_PROXY_CONNECTION] = true,
	[FIELD_KEEP_ALIVE] = true,
	[FIELD_TE] = true,
	[FIELD_TRAILER] = true,
	[FIELD_UPGRADE] = true,
	[FIELD_HTTP2_SETTINGS] = true,
	[FIELD_TRANSFER_ENCODING] = true,
	[FIELD_PROXY_SUPPORT] = true, /* RFC 4559 6 */
};

/* Framing, routing and scanning need them: no peer can have them removed. */
static const bool is_protected[FIELD_COUNT] = {
	[FIELD_HOST] = true,
	[FIELD_CONTENT_LENGTH] = true,
	[FIELD_VIA] = true,
	[FIELD_MAX_FORWARDS] = true,
	[FIELD_EXPECT] = true,
	[FIELD_CONTENT_TYPE] = true,
	[FIELD_CONTENT_ENCODING] = true,
	[FIELD_CONTENT_RANGE] = true,
	[FIELD_CONTENT_DISPOSITION] = true,
	[FIELD_CACHE_CONTROL] = true,
	[FIELD_SEC_WEBSOCKET_KEY] = true,
	[FIELD_SEC_WEBSOCKET_ACCEPT] = true,
	[FIELD_SEC_WEBSOCKET_VERSION] = true,
	[FIELD_SEC_WEBSOCKET_PROTOCOL] = true,
	[FIELD_SEC_WEBSOCKET_EXTENSIONS] = true,
};

/*
 * What Connection takes out.  Fields without an id are sorted by name when
 * they are first asked for: a list of 60 KB costs n log n.
 */
struct options {
	bool drop[FIELD_COUNT]; /* by id */
	bool *gone;             /* by index in the list; NULL: none */
	const struct http_field **sorted;
	unsigned n;
};

static int
name_order(struct str a, struct str b)
{
	size_t i;

	for (i = 0; i < a.n && i < b.n; i++)
		if (http_lower[(unsigned char)a.p[i]] !=
		    http_lower[(unsigned char)b.p[i]])
			return (http_lower[(unsigned char)a.p[i]] <
				    http_lower[(unsigned char)b.p[i]]
				? -1
				: 1);
	return (a.n < b.n ? -1 : a.n > b.n);
}

static int
field_order(const void *a, const void *b)
{
	return (name_order((*(const struct http_field *const *)a)->name,
	    (*(const struct http_field *const *)b)->name));
}

static void
sort_names(struct options *o, const struct http_msg *m)
{
	const struct http_fields *l = &m->fields;
	unsigned i;

	o->gone = arena_zalloc(m->arena, l->n * sizeof(*o->gone));
	o->sorted = arena_alloc(m->arena, l->n * sizeof(*o->sorted));
	for (i = 0; i < l->n; i++)
		if (l->v[i].id == FIELD_OTHER)
			o->sorted[o->n++] = &l->v[i];
	qsort(o->sorted, o->n, sizeof(*o->sorted), field_order);
}

/* Index of the first field that is not before name. */
static unsigned
search_name(const struct options *o, struct str name)
{
	unsigned low = 0, high = o->n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (name_order(o->sorted[mid]->name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return (low);
}

/* Once: an option that is repeated does not walk over its fields again. */
static void
drop_named(struct options *o, const struct http_fields *l, struct str name)
{
	unsigned i = search_name(o, name);

	for (; i < o->n && !o->gone[o->sorted[i] - l->v] &&
	     name_order(o->sorted[i]->name, name) == 0;
	     i++)
		o->gone[o->sorted[i] - l->v] = true;
}

static void
read_connection(struct options *o, const struct http_msg *m)
{
	const struct http_field *f = http_fields_get(&m->fields,
	    FIELD_CONNECTION);
	struct str rest, option;
	enum http_field_id id;

	for (; f != NULL; f = http_fields_next(&m->fields, f)) {
		rest = f->value;
		while (str_next_element(&rest, &option)) {
			id = http_field_id_of(option);
			if (id != FIELD_OTHER) {
				o->drop[id] |= !is_protected[id];
				continue;
			}
			if (str_ieq(option, STR("close")))
				continue;
			if (o->gone == NULL)
				sort_names(o, m);
			drop_named(o, &m->fields, option);
		}
	}
}

void
http_hop_strip(struct http_msg *m)
{
	struct http_fields *l = &m->fields;
	struct options o = { .gone = NULL };
	bool trailers;
	unsigned i, to = 0;

	memcpy(o.drop, is_hop, sizeof(o.drop));
	o.drop[FIELD_CONTENT_LENGTH] = m->is_request ||
	    m->length_is != LENGTH_NONE;
	trailers = http_fields_has_token(l, FIELD_TE, STR("trailers"));
	read_connection(&o, m);
	for (i = 0; i < l->n; i++) {
		if (o.drop[l->v[i].id] || (o.gone != NULL && o.gone[i]))
			continue;
		if (to != i)
			l->v[to] = l->v[i];
		to++;
	}
	l->n = to;
	if (trailers)
		http_fields_add(m->arena, l, FIELD_TE, STR("trailers"));
}

bool
http_wants_upgrade(const struct http_msg *m, struct str protocol)
{
	return (http_fields_has_token(&m->fields, FIELD_CONNECTION,
		    STR("upgrade")) &&
	    http_fields_has_token(&m->fields, FIELD_UPGRADE, protocol));
}

/* --- Via, Max-Forwards --- */

/* RFC 9110 7.6.3: received-protocol RWS received-by [ RWS comment ]: us? */
static bool
via_names(struct str element, struct str pseudonym)
{
	size_t n = 0;

	while (n < element.n && element.p[n] != ' ' && element.p[n] != '\t')
		n++;
	element.p += n;
	element.n -= n;
	element = str_trim(element);
	for (n = 0; n < element.n && element.p[n] != ' ' &&
	     element.p[n] != '\t' && element.p[n] != '(';
	     n++)
		;
	element.n = n;
	return (str_ieq(element, pseudonym));
}

static bool
passed_before(const struct http_fields *l, struct str pseudonym)
{
	const struct http_field *f = http_fields_get(l, FIELD_VIA);
	struct str rest, element;

	for (; f != NULL; f = http_fields_next(l, f)) {
		rest = f->value;
		while (str_next_element(&rest, &element))
			if (via_names(element, pseudonym))
				return (true);
	}
	return (false);
}

struct str
http_via(struct http_msg *m, struct str pseudonym, bool *looped)
{
	const struct http_fields *l = &m->fields;
	const struct http_field *f = http_fields_get(l, FIELD_VIA);
	struct buf all = { 0 };
	struct str s = STR_NONE;

	*looped = passed_before(l, pseudonym);
	for (; f != NULL; f = http_fields_next(l, f)) {
		if (all.n > 0)
			buf_cstr(&all, ", ");
		buf_str(&all, f->value);
	}
	if (all.n > 0)
		s = arena_str(m->arena, buf_as_str(&all));
	buf_fini(&all);
	return (s);
}

static void
add_via(struct http_msg *m, struct str pseudonym)
{
	/* Origins get the same octets however a request came. */
	struct str version = m->version == HTTP_2 && !m->is_request ? STR("2 ")
	    : m->version == HTTP_1_0 ? STR("1.0 ")
				     : STR("1.1 ");
	char *p = arena_alloc(m->arena, version.n + pseudonym.n);

	memcpy(p, version.p, version.n);
	memcpy(p + version.n, pseudonym.p, pseudonym.n);
	http_fields_add(m->arena, &m->fields, FIELD_VIA,
	    (struct str){ p, version.n + pseudonym.n });
}

static bool
counts_forwards(const struct http_msg *m)
{
	return (
	    (m->method_id == METHOD_OPTIONS || m->method_id == METHOD_TRACE) &&
	    http_fields_get(&m->fields, FIELD_MAX_FORWARDS) != NULL);
}

bool
http_forwards_spent(const struct http_msg *m)
{
	uint64_t n;

	return (counts_forwards(m) &&
	    str_to_u64(http_fields_value(&m->fields, FIELD_MAX_FORWARDS),
		UINT64_MAX, &n) &&
	    n == 0);
}

static enum err
count_forwards(struct http_msg *m, struct fault *f)
{
	uint64_t n;

	if (!counts_forwards(m))
		return (ERR_NONE);
	if (!str_to_u64(http_fields_value(&m->fields, FIELD_MAX_FORWARDS),
		UINT64_MAX, &n))
		return (fault_set(f, ERR_REQ_SYNTAX,
		    "Max-Forwards is not a number"));
	if (n == 0)
		return (fault_set(f, ERR_REQ_METHOD,
		    "Max-Forwards ends the way of the request here"));
	http_fields_set(m->arena, &m->fields, FIELD_MAX_FORWARDS,
	    arena_printf(m->arena, "%" PRIu64, n - 1));
	return (ERR_NONE);
}

enum err
http_forward_request(struct http_msg *m, struct str pseudonym, struct fault *f)
{
	enum err e;

	if (passed_before(&m->fields, pseudonym))
		return (fault_set(f, ERR_REQ_LOOP, "Via names %.*s already",
		    STR_ARG(pseudonym)));
	if ((e = count_forwards(m, f)) != ERR_NONE)
		return (e);
	http_fields_remove(&m->fields, FIELD_PROXY_AUTHORIZATION);
	add_via(m, pseudonym);
	return (ERR_NONE);
}

/* Behind what is there, in one field (RFC 9110 5.3). */
static void
say_behind(struct http_msg *m, enum http_field_id id, struct str said)
{
	const struct http_field *f = http_fields_get(&m->fields, id);
	struct buf all = { 0 };

	for (; f != NULL; f = http_fields_next(&m->fields, f)) {
		if (str_trim(f->value).n == 0)
			continue;
		buf_str(&all, f->value);
		buf_cstr(&all, ", ");
	}
	buf_str(&all, said);
	http_fields_remove(&m->fields, id);
	http_fields_add(m->arena, &m->fields, id,
	    arena_str(m->arena, buf_as_str(&all)));
	buf_fini(&all);
}

void
http_forward_client(struct http_msg *m, enum http_said xff,
    enum http_said forwarded, const char *address)
{
	bool v6 = strchr(address, ':') != NULL;

	if (xff == HTTP_SAID_DROP)
		http_fields_remove(&m->fields, FIELD_X_FORWARDED_FOR);
	else if (xff == HTTP_SAID_ADD)
		say_behind(m, FIELD_X_FORWARDED_FOR, str_of(address));
	if (forwarded == HTTP_SAID_DROP)
		http_fields_remove(&m->fields, FIELD_FORWARDED);
	else if (forwarded == HTTP_SAID_ADD) /* RFC 7239 6 */
		say_behind(m, FIELD_FORWARDED,
		    arena_printf(m->arena, v6 ? "for=\"[%s]\"" : "for=%s",
			address));
}

/* --- responses --- */

static char *
put_number(char *p, unsigned v, unsigned digits)
{
	unsigned i;

	for (i = digits; i > 0; i--, v /= 10)
		p[i - 1] = (char)('0' + v % 10);
	return (p + digits);
}

void
http_date_print(char out[static 30], time_t t)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;
	char *p = out;

	if (gmtime_r(&t, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	memcpy(p, days + 3 * tm.tm_wday, 3);
	memcpy(p + 3, ", ", 2);
	p = put_number(p + 5, (unsigned)tm.tm_mday, 2);
	*p++ = ' ';
	memcpy(p, months + 3 * tm.tm_mon, 3);
	p[3] = ' ';
	p = put_number(p + 4, (unsigned)tm.tm_year + 1900, 4);
	*p++ = ' ';
	p = put_number(p, (unsigned)tm.tm_hour, 2);
	*p++ = ':';
	p = put_number(p, (unsigned)tm.tm_min, 2);
	*p++ = ':';
	p = put_number(p, (unsigned)tm.tm_sec, 2);
	memcpy(p, " GMT", 5);
}

static void
add_date(struct http_msg *m, time_t now)
{
	char text[30];

	if (m->status < 200 || http_fields_get(&m->fields, FIELD_DATE) != NULL)
		return;
	http_date_print(text, now);
	http_fields_add(m->arena, &m->fields, FIELD_DATE,
	    arena_str(m->arena, str_of(text)));
}

void
http_forward_response(struct http_msg *m, struct str pseudonym, time_t now)
{
	http_fields_remove(&m->fields, FIELD_ALT_SVC);
	http_fields_remove(&m->fields, FIELD_PROXY_AUTHENTICATE);
	http_fields_remove(&m->fields, FIELD_PROXY_AUTHENTICATION_INFO);
	add_date(m, now);
	add_via(m, pseudonym);
}

/* --- what no scanner sees --- */

bool
http_interim_strip(struct http_msg *m, size_t *room)
{
	struct http_fields *l = &m->fields;
	size_t size = 0;
	unsigned i, to = 0;

	if (m->status != 100 && m->status != 102 && m->status != 103)
		return (false);
	for (i = 0; i < l->n && m->status == 103; i++) {
		if (!str_ieq(l->v[i].name, STR("Link")))
			continue;
		size += l->v[i].value.n;
		l->v[to++] = l->v[i];
	}
	l->n = to;
	if ((m->status == 103 && to == 0) || size > *room)
		return (false);
	*room -= size;
	m->reason = str_of(http_reason(m->status));
	m->length_is = LENGTH_NONE;
	return (true);
}

/* One to three digits: a code of gRPC. */
static bool
is_code(struct str v)
{
	return (v.n > 0 && v.n <= 3 && http_span(v, CHAR_DIGIT) == v.n);
}

static bool
is_small(struct str v)
{
	return (v.n <= HTTP_TRAILER_SMALL);
}

/* A small binary value, as gRPC writes them. */
static bool
is_base64(struct str v)
{
	char c;
	size_t i;

	for (i = 0; i < v.n; i++) {
		c = (char)http_lower[(unsigned char)v.p[i]];
		if ((c < 'a' || c > 'z') && !http_char_is(c, CHAR_DIGIT) &&
		    c != '+' && c != '/' && c != '=')
			return (false);
	}
	return (is_small(v));
}

static const struct {
	struct str name;
	bool (*allows)(struct str value);
} small[] = {
	{ STR("Grpc-Status"), is_code },
	{ STR("Grpc-Message"), is_small },
	{ STR("Grpc-Status-Details-Bin"), is_base64 },
	{ STR("Server-Timing"), is_small },
};

void
http_trailer_small(struct arena *a, const struct http_fields *from,
    struct http_fields *to)
{
	const struct http_field *f;
	unsigned i;

	for (i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
		f = http_fields_find(from, small[i].name);
		if (f != NULL && small[i].allows(f->value))
			http_fields_add_named(a, to, f->name, f->value);
	}
}
