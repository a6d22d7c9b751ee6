/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model of a message, its names, and the classes of octets. */
#include "http/chars.h"
#include "http/types.h"
#include "t/unit/http_help.h"

static const char *const canonical[] = {
#define F(id, name) name,
#include "http/field.def"
#undef F
};

static void
names(void)
{
	char text[64];
	unsigned i, j;
	enum http_field_id id;
	struct str s;

	for (i = 0; i < COUNT(canonical); i++) {
		id = (enum http_field_id)(i + 1);
		CU_ASSERT(http_field_id_of(str_of(canonical[i])) == id);
		CU_ASSERT(str_eq(http_field_name(id), str_of(canonical[i])));
		strcpy(text, canonical[i]);
		for (j = 0; text[j] != '\0'; j++)
			if (text[j] >= 'a' && text[j] <= 'z' &&
			    unit_random(2) == 0)
				text[j] -= 32;
			else
				text[j] = (char)
				    http_lower[(unsigned char)text[j]];
		s = str_of(text);
		CU_ASSERT(http_field_id_of(s) == id);
		text[unit_random((unsigned)s.n)] = '~';
		CU_ASSERT(http_field_id_of(s) == FIELD_OTHER);
	}
	CU_ASSERT(http_field_id_of(STR("")) == FIELD_OTHER);
	CU_ASSERT(http_field_id_of(STR("Hos")) == FIELD_OTHER);
	CU_ASSERT(http_field_id_of(STR("Hosts")) == FIELD_OTHER);
	CU_ASSERT(http_field_id_of(STR("Host ")) == FIELD_OTHER);
	CU_ASSERT(http_field_id_of(STR("content_length")) == FIELD_OTHER);
	CU_ASSERT(http_field_id_of(STR("Content\rLength")) == FIELD_OTHER);
}

static void
lists(void)
{
	struct arena *a = arena_new();
	struct http_fields l = { 0 };
	const struct http_field *f;
	unsigned i;

	CU_ASSERT(http_fields_get(&l, FIELD_HOST) == NULL);
	CU_ASSERT(http_fields_value(&l, FIELD_HOST).p == NULL);
	for (i = 0; i < 50; i++) {
		http_fields_add_named(a, &l, STR("set-cookie"),
		    arena_printf(a, "c=%u", i));
		http_fields_add_named(a, &l, STR("X-A"),
		    arena_printf(a, "%u", i));
		http_fields_add(a, &l, FIELD_VIA, STR("1.1 b"));
	}
	CU_ASSERT(l.n == 150);
	for (i = 0, f = http_fields_get(&l, FIELD_SET_COOKIE); f != NULL;
	     f = http_fields_next(&l, f), i++)
		CU_ASSERT(str_eq(f->value, arena_printf(a, "c=%u", i)) &&
		    str_eq(f->name, STR("set-cookie")));
	CU_ASSERT(i == 50);
	for (i = 0, f = http_fields_find(&l, STR("x-a")); f != NULL;
	     f = http_fields_next(&l, f))
		i++;
	CU_ASSERT(i == 50);
	http_fields_remove(&l, FIELD_SET_COOKIE);
	CU_ASSERT(l.n == 100);
	http_fields_remove_named(&l, STR("x-A"));
	CU_ASSERT(l.n == 50 && l.v[49].id == FIELD_VIA);
	http_fields_set(a, &l, FIELD_VIA, STR("1.1 c"));
	CU_ASSERT(l.n == 1);
	CU_ASSERT(str_eq(http_fields_value(&l, FIELD_VIA), STR("1.1 c")));
	http_fields_remove_named(&l, STR("VIA"));
	CU_ASSERT(l.n == 0);
	arena_free(&a);
}

static void
tokens(void)
{
	struct arena *a = arena_new();
	struct http_fields l = { 0 };

	http_fields_add(a, &l, FIELD_CONNECTION, STR("keep-alive, , X-A"));
	http_fields_add(a, &l, FIELD_CONNECTION, STR("\"a, close\""));
	http_fields_add(a, &l, FIELD_CONNECTION, STR("Upgrade\t"));
	CU_ASSERT(
	    http_fields_has_token(&l, FIELD_CONNECTION, STR("KEEP-ALIVE")));
	CU_ASSERT(http_fields_has_token(&l, FIELD_CONNECTION, STR("x-a")));
	CU_ASSERT(http_fields_has_token(&l, FIELD_CONNECTION, STR("upgrade")));
	CU_ASSERT(!http_fields_has_token(&l, FIELD_CONNECTION, STR("close")));
	CU_ASSERT(!http_fields_has_token(&l, FIELD_TE, STR("close")));
	arena_free(&a);
}

static void
copies(void)
{
	struct arena *a = arena_new(), *b = arena_new();
	struct http_msg *m = http_help_head(a, H1_REQUEST,
	    "PUT /x HTTP/1.0\r\nHost: a\r\nX-Y: z\r\nx-empty:\r\n\r\n");
	struct http_msg *c;

	m->length = 5;
	c = http_msg_copy(b, m);
	arena_free(&a);
	CU_ASSERT(c->arena == b && c->length == 5);
	CU_ASSERT(str_eq(c->method, STR("PUT")));
	CU_ASSERT(str_eq(c->target, STR("/x")) && c->version == HTTP_1_0);
	CU_ASSERT(c->fields.n == 3);
	CU_ASSERT(str_eq(c->fields.v[1].name, STR("X-Y")));
	CU_ASSERT(str_eq(c->fields.v[1].value, STR("z")));
	http_fields_add(b, &c->fields, FIELD_TE, STR("trailers"));
	CU_ASSERT(c->fields.n == 4);
	arena_free(&b);
}

static void
methods(void)
{
	CU_ASSERT(http_method_of(STR("GET")) == METHOD_GET);
	CU_ASSERT(http_method_of(STR("get")) == METHOD_OTHER);
	CU_ASSERT(http_method_of(STR("")) == METHOD_OTHER);
	CU_ASSERT(http_method_of(STR("PATCH")) == METHOD_PATCH);
	CU_ASSERT(http_method_of(STR("CONNECTED")) == METHOD_OTHER);
	CU_ASSERT(http_method_is_idempotent(METHOD_DELETE));
	CU_ASSERT(!http_method_is_idempotent(METHOD_POST));
	CU_ASSERT(!http_method_is_idempotent(METHOD_OTHER));
	CU_ASSERT(strcmp(http_reason(404), "Not Found") == 0);
	CU_ASSERT(strcmp(http_reason(599), "") == 0);
	CU_ASSERT(strcmp(http_reason(4000), "") == 0);
	CU_ASSERT(http_status_is_bodyless(103));
	CU_ASSERT(http_status_is_bodyless(204));
	CU_ASSERT(http_status_is_bodyless(304));
	CU_ASSERT(!http_status_is_bodyless(200));
}

static void
classes(void)
{
	unsigned c;
	bool token;

	for (c = 0; c < 256; c++) {
		token = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		    (c >= 'a' && c <= 'z') ||
		    (c != 0 && c < 128 &&
			strchr("!#$%&'*+-.^_`|~", (int)c) != NULL);
		CHECK_ROW(c, "token",
		    http_char_is((char)c, CHAR_TOKEN) == token);
		CHECK_ROW(c, "value",
		    http_char_is((char)c, CHAR_VALUE) ==
			(c == '\t' || (c >= 0x20 && c != 0x7f)));
		CHECK_ROW(c, "target",
		    http_char_is((char)c, CHAR_TARGET) ==
			(c > 0x20 && c < 0x7f && c != '#'));
		CHECK_ROW(c, "lower",
		    http_lower[c] == (c >= 'A' && c <= 'Z' ? c + 32 : c));
		CHECK_ROW(c, "hex",
		    (http_hex((char)c) >= 0) ==
			http_char_is((char)c, CHAR_HEX));
	}
	CU_ASSERT(http_hex('F') == 15 && http_hex('a') == 10);
}

/* Each octet at each place of a value of each small length. */
static void
values(void)
{
	char text[24];
	unsigned n, at, c;

	for (n = 1; n < sizeof(text); n++)
		for (at = 0; at < n; at++)
			for (c = 0; c < 256; c++) {
				struct str s = { text, n };

				memset(text, c % 2 ? 'x' : '\x80', n);
				text[at] = (char)c;
				CU_ASSERT(http_is_value(s, false) ==
				    http_char_is((char)c, CHAR_VALUE));
				CU_ASSERT(http_is_value(s, true) ==
				    (c != 0 && c != '\r' && c != '\n'));
			}
	CU_ASSERT(http_is_value(STR(""), false));
}

/* Types are "first|second|". */
static void
types(void)
{
	static const struct {
		const char *head, *types;
	} t[] = {
		{ "", "" },
		{ "Content-Type:\r\n", "" },
		{ "Content-Type: a/b ; c=d\r\n", "a/b|" },
		{ "Content-Type: a/b\r\nContent-Type: A/B;c\r\n", "a/b|" },
		{ "Content-Type: a/b\r\nContent-Type: c/d\r\n", "a/b|c/d|" },
		{ "Content-Type: a/b;x=\"y,z\", c/d\r\n", "a/b|c/d|" },
		{ "Content-Type: a, b, a, c, d\r\nContent-Type: e\r\n",
		    "a|b||" },
	};
	struct arena *a = arena_new();
	struct buf out = { 0 };
	struct http_msg *m;
	struct str v[3];
	unsigned i, k, n;

	for (i = 0; i < COUNT(t); i++) {
		m = http_help_head(a, H1_RESPONSE,
		    arena_printf(a, "HTTP/1.1 200 OK\r\n%s\r\n", t[i].head).p);
		n = http_types(&m->fields, v, 3);
		buf_cstr(&out, "");
		for (k = 0; k < n; k++)
			buf_printf(&out, "%.*s|", STR_ARG(v[k]));
		CHECK_ROW(i, t[i].head, http_help_is(&out, t[i].types));
	}
	arena_free(&a);
}

UNIT_TESTS(http_msg, { "names of fields", names }, { "lists of fields", lists },
    { "tokens in lists", tokens }, { "copies", copies },
    { "methods and codes", methods }, { "classes of octets", classes },
    { "values of fields", values }, { "types of a message", types })
