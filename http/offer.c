/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content codings that an origin is offered, see offer.h. */
#include "http/offer.h"

static const struct str known[] = {
	STR("gzip"),
	STR("x-gzip"),
	STR("deflate"),
	STR("br"),
	STR("zstd"),
	STR("identity"),
};

/* Name of an element "gzip;q=0.5". */
static struct str
name_of(struct str element)
{
	element.n = str_index(element, ';');
	return (str_trim(element));
}

/* "*;q=0", "*;q=0.000": nothing that is not named. */
static bool
is_refusal(struct str element)
{
	size_t i = str_index(element, '=');
	bool any = false;

	for (i += i < element.n; i < element.n; i++) {
		if (element.p[i] != '0' && element.p[i] != '.')
			return (false);
		any = true;
	}
	return (any);
}

static bool
is_known(struct str name)
{
	return (str_ione_of(name, known, sizeof(known) / sizeof(known[0])));
}

void
http_offer_none(struct http_msg *req)
{
	http_fields_remove_named(&req->fields, STR("Available-Dictionary"));
	if (http_fields_get(&req->fields, FIELD_ACCEPT_ENCODING) != NULL)
		http_fields_set(req->arena, &req->fields, FIELD_ACCEPT_ENCODING,
		    STR("identity"));
}

void
http_offer_known(struct http_msg *req)
{
	const struct http_field *f;
	struct str rest, element;
	struct buf list = { 0 };
	bool any = false, star;

	http_fields_remove_named(&req->fields, STR("Available-Dictionary"));
	f = http_fields_get(&req->fields, FIELD_ACCEPT_ENCODING);
	if (f == NULL)
		return;
	for (; f != NULL; f = http_fields_next(&req->fields, f)) {
		rest = f->value;
		while (str_next_element(&rest, &element)) {
			star = str_eq(name_of(element), STR("*"));
			any |= star && !is_refusal(element);
			if (!is_known(name_of(element)) &&
			    !(star && is_refusal(element)))
				continue;
			if (list.n > 0)
				buf_cstr(&list, ", ");
			buf_str(&list, element);
		}
	}
	if (list.n == 0)
		buf_cstr(&list, any ? "gzip, deflate, br, zstd" : "identity");
	http_fields_set(req->arena, &req->fields, FIELD_ACCEPT_ENCODING,
	    arena_str(req->arena, buf_as_str(&list)));
	buf_fini(&list);
}
