/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model of a message: fields, methods, status codes; see msg.h. */
#include <assert.h>
#include <string.h>
#include "http/chars.h"
#include "http/msg.h"

#define FIELDS_FIRST 24 /* a browser's request fits */

/* --- names of fields --- */

static const struct str names[FIELD_COUNT] = {
#define F(id, name) [FIELD_##id] = { name, sizeof(name) - 1 },
#include "http/field.def"
#undef F
};

/*
 * Open addressing over length and three octets of the name; filled before
 * main() from names[], constant from then on.
 */
#define SLOTS 512
_Static_assert(FIELD_COUNT * 4 < SLOTS, "index too full: double SLOTS");
_Static_assert(FIELD_COUNT <= UINT8_MAX, "slots hold octets");
static uint8_t slots[SLOTS];
static size_t longest;

static inline unsigned
slot_of(struct str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	unsigned h;

	h = (unsigned)s.n * 0x9e3779b1u;
	h ^= http_lower[p[0]] * 0x85ebca6bu;
	h ^= http_lower[p[s.n / 2]] * 0xc2b2ae35u;
	h ^= http_lower[p[s.n - 1]] * 0x27d4eb2fu;
	return ((h ^ h >> 15) % SLOTS);
}

__attribute__((constructor)) static void
index_names(void)
{
	unsigned id, at;

	for (id = FIELD_OTHER + 1; id < FIELD_COUNT; id++) {
		at = slot_of(names[id]);
		while (slots[at] != 0)
			at = (at + 1) % SLOTS;
		slots[at] = (uint8_t)id;
		if (names[id].n > longest)
			longest = names[id].n;
	}
}

enum http_field_id
http_field_id_of(struct str name)
{
	unsigned at;
	struct str known;

	if (name.n == 0 || name.n > longest)
		return (FIELD_OTHER);
	for (at = slot_of(name); slots[at] != 0; at = (at + 1) % SLOTS) {
		known = names[slots[at]];
		if (known.n == name.n &&
		    (memcmp(known.p, name.p, name.n) == 0 ||
			str_ieq(known, name)))
			return ((enum http_field_id)slots[at]);
	}
	return (FIELD_OTHER);
}

struct str
http_field_name(enum http_field_id id)
{
	assert(id > FIELD_OTHER && id < FIELD_COUNT);
	return (names[id]);
}

/* --- messages --- */

struct http_msg *
http_msg_new(struct arena *a, bool is_request)
{
	struct http_msg *m = arena_zalloc(a, sizeof(*m));

	m->arena = a;
	m->is_request = is_request;
	m->version = HTTP_1_1;
	return (m);
}

static void
fields_copy(struct arena *a, struct http_fields *to,
    const struct http_fields *from)
{
	unsigned i;

	*to = (struct http_fields){ NULL, from->n, from->n };
	if (from->n == 0)
		return;
	to->v = arena_alloc(a, from->n * sizeof(*to->v));
	for (i = 0; i < from->n; i++) {
		to->v[i].id = from->v[i].id;
		to->v[i].name = from->v[i].id != FIELD_OTHER &&
			str_eq(from->v[i].name, names[from->v[i].id])
		    ? names[from->v[i].id]
		    : arena_str(a, from->v[i].name);
		to->v[i].value = arena_str(a, from->v[i].value);
	}
}

struct http_msg *
http_msg_copy(struct arena *a, const struct http_msg *from)
{
	struct http_msg *m = arena_alloc(a, sizeof(*m));

	*m = *from;
	m->arena = a;
	m->method = arena_str(a, from->method);
	m->target = arena_str(a, from->target);
	if (from->protocol.p != NULL)
		m->protocol = arena_str(a, from->protocol);
	m->uri.scheme = arena_str(a, from->uri.scheme);
	m->uri.host = arena_str(a, from->uri.host);
	m->uri.path = arena_str(a, from->uri.path);
	m->reason = arena_str(a, from->reason);
	fields_copy(a, &m->fields, &from->fields);
	return (m);
}

/* --- methods and status codes --- */

static const struct {
	struct str name;
	bool idempotent; /* RFC 9110 9.2.2 */
} methods[] = {
	[METHOD_OTHER] = { { "", 0 }, false },
	[METHOD_GET] = { { "GET", 3 }, true },
	[METHOD_HEAD] = { { "HEAD", 4 }, true },
	[METHOD_POST] = { { "POST", 4 }, false },
	[METHOD_PUT] = { { "PUT", 3 }, true },
	[METHOD_DELETE] = { { "DELETE", 6 }, true },
	[METHOD_CONNECT] = { { "CONNECT", 7 }, false },
	[METHOD_OPTIONS] = { { "OPTIONS", 7 }, true },
	[METHOD_TRACE] = { { "TRACE", 5 }, true },
	[METHOD_PATCH] = { { "PATCH", 5 }, false },
};

enum http_method
http_method_of(struct str method)
{
	unsigned i;

	for (i = METHOD_GET; i <= METHOD_PATCH; i++)
		if (str_eq(method, methods[i].name))
			return ((enum http_method)i);
	return (METHOD_OTHER);
}

bool
http_method_is_idempotent(enum http_method id)
{
	return (methods[id].idempotent);
}

/* The registry of RFC 9110 16.2, as far as servers use it. */
static const char *const reasons[600] = {
	[100] = "Continue",
	[101] = "Switching Protocols",
	[102] = "Processing",
	[103] = "Early Hints",
	[200] = "OK",
	[201] = "Created",
	[202] = "Accepted",
	[203] = "Non-Authoritative Information",
	[204] = "No Content",
	[205] = "Reset Content",
	[206] = "Partial Content",
	[207] = "Multi-Status",
	[208] = "Already Reported",
	[226] = "IM Used",
	[300] = "Multiple Choices",
	[301] = "Moved Permanently",
	[302] = "Found",
	[303] = "See Other",
	[304] = "Not Modified",
	[305] = "Use Proxy",
	[307] = "Temporary Redirect",
	[308] = "Permanent Redirect",
	[400] = "Bad Request",
	[401] = "Unauthorized",
	[402] = "Payment Required",
	[403] = "Forbidden",
	[404] = "Not Found",
	[405] = "Method Not Allowed",
	[406] = "Not Acceptable",
	[407] = "Proxy Authentication Required",
	[408] = "Request Timeout",
	[409] = "Conflict",
	[410] = "Gone",
	[411] = "Length Required",
	[412] = "Precondition Failed",
	[413] = "Content Too Large",
	[414] = "URI Too Long",
	[415] = "Unsupported Media Type",
	[416] = "Range Not Satisfiable",
	[417] = "Expectation Failed",
	[421] = "Misdirected Request",
	[422] = "Unprocessable Content",
	[423] = "Locked",
	[424] = "Failed Dependency",
	[425] = "Too Early",
	[426] = "Upgrade Required",
	[428] = "Precondition Required",
	[429] = "Too Many Requests",
	[431] = "Request Header Fields Too Large",
	[451] = "Unavailable For Legal Reasons",
	[500] = "Internal Server Error",
	[501] = "Not Implemented",
	[502] = "Bad Gateway",
	[503] = "Service Unavailable",
	[504] = "Gateway Timeout",
	[505] = "HTTP Version Not Supported",
	[506] = "Variant Also Negotiates",
	[507] = "Insufficient Storage",
	[508] = "Loop Detected",
	[510] = "Not Extended",
	[511] = "Network Authentication Required",
};

const char *
http_reason(unsigned status)
{
	if (status >= sizeof(reasons) / sizeof(reasons[0]) ||
	    reasons[status] == NULL)
		return ("");
	return (reasons[status]);
}

bool
http_status_is_bodyless(unsigned status)
{
	return (status / 100 == 1 || status == 204 || status == 304);
}

/* --- lists of fields --- */

/* Is f of that id; for FIELD_OTHER: of that name? */
static bool
field_is(const struct http_field *f, enum http_field_id id, struct str name)
{
	return (f->id == id && (id != FIELD_OTHER || str_ieq(f->name, name)));
}

static const struct http_field *
find_from(const struct http_fields *l, unsigned i, enum http_field_id id,
    struct str name)
{
	for (; i < l->n; i++)
		if (field_is(&l->v[i], id, name))
			return (&l->v[i]);
	return (NULL);
}

const struct http_field *
http_fields_get(const struct http_fields *l, enum http_field_id id)
{
	assert(id != FIELD_OTHER);
	return (find_from(l, 0, id, STR_NONE));
}

const struct http_field *
http_fields_next(const struct http_fields *l, const struct http_field *f)
{
	return (find_from(l, (unsigned)(f - l->v) + 1, f->id, f->name));
}

const struct http_field *
http_fields_find(const struct http_fields *l, struct str name)
{
	return (find_from(l, 0, http_field_id_of(name), name));
}

struct str
http_fields_value(const struct http_fields *l, enum http_field_id id)
{
	const struct http_field *f = http_fields_get(l, id);

	return (f != NULL ? f->value : STR_NONE);
}

static void
append(struct arena *a, struct http_fields *l, struct http_field f)
{
	struct http_field *v;

	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? FIELDS_FIRST : l->cap * 2;
		v = arena_alloc(a, l->cap * sizeof(*v));
		if (l->n > 0)
			memcpy(v, l->v, l->n * sizeof(*v));
		l->v = v;
	}
	l->v[l->n++] = f;
}

void
http_fields_add(struct arena *a, struct http_fields *l, enum http_field_id id,
    struct str value)
{
	append(a, l, (struct http_field){ http_field_name(id), value, id });
}

void
http_fields_add_named(struct arena *a, struct http_fields *l, struct str name,
    struct str value)
{
	append(a, l,
	    (struct http_field){ name, value, http_field_id_of(name) });
}

static void
remove_from(struct http_fields *l, enum http_field_id id, struct str name)
{
	const struct http_field *first = find_from(l, 0, id, name);
	unsigned i, to;

	if (first == NULL)
		return;
	to = (unsigned)(first - l->v);
	for (i = to + 1; i < l->n; i++)
		if (!field_is(&l->v[i], id, name))
			l->v[to++] = l->v[i];
	l->n = to;
}

void
http_fields_remove(struct http_fields *l, enum http_field_id id)
{
	assert(id != FIELD_OTHER);
	remove_from(l, id, STR_NONE);
}

void
http_fields_remove_named(struct http_fields *l, struct str name)
{
	remove_from(l, http_field_id_of(name), name);
}

void
http_fields_set(struct arena *a, struct http_fields *l, enum http_field_id id,
    struct str value)
{
	http_fields_remove(l, id);
	http_fields_add(a, l, id, value);
}

bool
http_fields_has_token(const struct http_fields *l, enum http_field_id id,
    struct str token)
{
	const struct http_field *f;
	struct str rest, element;

	for (f = http_fields_get(l, id); f != NULL;
	     f = http_fields_next(l, f)) {
		rest = f->value;
		while (str_next_element(&rest, &element))
			if (str_ieq(element, token))
				return (true);
	}
	return (false);
}
