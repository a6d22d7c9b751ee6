/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gRPC over HTTP/2, see grpc.h. */
#include "http/grpc.h"
#include "http/types.h"

static const struct str known[] = {
	STR("gzip"),
	STR("deflate"),
	STR("identity"),
};

/* --- which messages --- */

/* The one type of a message, or STR_NONE. */
static struct str
type_of(const struct http_msg *m)
{
	struct str v[2];

	return (http_types(&m->fields, v, 2) == 1 ? v[0] : STR_NONE);
}

static bool
is_grpc(struct str type)
{
	return (str_ieq(type, STR("application/grpc")) ||
	    str_istarts(type, STR("application/grpc+")));
}

bool
http_grpc_is_call(const struct http_msg *req)
{
	const struct http_fields *l = &req->fields;

	return (req->method_id == METHOD_POST && is_grpc(type_of(req)) &&
	    http_fields_has_token(l, FIELD_TE, STR("trailers")) &&
	    http_fields_get(l, FIELD_SEC_FETCH_MODE) == NULL &&
	    http_fields_get(l, FIELD_EXPECT) == NULL);
}

bool
http_grpc_is_answer(const struct http_msg *resp)
{
	return (resp->status == 200 && is_grpc(type_of(resp)) &&
	    http_fields_get(&resp->fields, FIELD_CONTENT_ENCODING) == NULL &&
	    http_fields_get(&resp->fields, FIELD_CONTENT_DISPOSITION) == NULL);
}

bool
http_grpc_is_json(const struct http_msg *m)
{
	return (str_ieq(type_of(m), STR("application/grpc+json")));
}

/* Is type name, or name and a "+" with the form of the messages? */
static bool
is_type(struct str type, struct str name)
{
	return (str_ieq(type, name) ||
	    (type.n > name.n && type.p[name.n] == '+' &&
		str_istarts(type, name)));
}

enum http_grpc_form
http_grpc_form(struct str type)
{
	type.n = str_index(type, ';');
	type = str_trim(type);
	if (is_type(type, STR("application/grpc-web-text")))
		return (GRPC_FORM_TEXT);
	return (is_grpc(type) || is_type(type, STR("application/grpc-web"))
		? GRPC_FORM_FRAMES
		: GRPC_FORM_NONE);
}

/* --- how a call ends --- */

enum http_grpc_code
http_grpc_code_of(unsigned status)
{
	switch (status) {
	case 400:
		return (GRPC_INTERNAL);
	case 401:
	case 407:
		return (GRPC_UNAUTHENTICATED);
	case 403:
		return (GRPC_PERMISSION_DENIED);
	case 413:
		return (GRPC_RESOURCE_EXHAUSTED);
	case 429:
	case 502:
	case 503:
	case 504:
		return (GRPC_UNAVAILABLE);
	default:
		return (GRPC_UNKNOWN);
	}
}

struct str
http_grpc_text(struct arena *a, struct str s)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = arena_alloc(a, s.n * 3 + 1);
	size_t i, n = 0;
	unsigned char c;

	for (i = 0; i < s.n; i++) {
		c = (unsigned char)s.p[i];
		if (c >= ' ' && c <= '~' && c != '%') {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '%';
		out[n++] = hex[c >> 4];
		out[n++] = hex[c & 15];
	}
	return ((struct str){ out, n });
}

/* --- encodings of messages --- */

static bool
is_known(struct str name)
{
	return (str_ione_of(name, known, sizeof(known) / sizeof(known[0])));
}

void
http_grpc_offer_known(struct http_msg *m)
{
	static const struct str name = STR("grpc-accept-encoding");
	const struct http_field *f = http_fields_find(&m->fields, name);
	struct str rest, element;
	struct buf list = { 0 };

	if (f == NULL)
		return;
	rest = f->value;
	while (str_next_element(&rest, &element))
		if (is_known(element))
			buf_printf(&list, "%s%.*s", list.n > 0 ? "," : "",
			    STR_ARG(element));
	if (list.n == 0)
		buf_cstr(&list, "identity");
	http_fields_remove_named(&m->fields, name);
	http_fields_add_named(m->arena, &m->fields, name,
	    arena_str(m->arena, buf_as_str(&list)));
	buf_fini(&list);
}

/* --- frames --- */

bool
http_grpc_head(const unsigned char p[static HTTP_GRPC_HEAD], bool *compressed,
    uint32_t *length)
{
	*compressed = (p[0] & 1) != 0;
	*length = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 |
	    (uint32_t)p[3] << 8 | p[4];
	return (p[0] <= 1);
}
